# What people and CI call. `make help` lists it.

CARGO_TARGET_DIR ?= $(HOME)/.cache/dfs/target
# The links in bin/ lead there from wherever they are used.
export CARGO_TARGET_DIR := $(abspath $(CARGO_TARGET_DIR))

# The local cluster.
NAMENODES     ?= 1
DATANODES     ?= 3
DATA          ?= ./data
NAMENODE_PORT ?= 9000

# The failure suite: scenarios (all, or names with commas between them; nothing: a menu on a terminal, else all), how
# often, and where its report goes.
FAILURE_TEST   ?=
ROUNDS         ?= 1
FAILURE_REPORT ?= failure-report

# The image (the one of the release before is called like it, with '-earlier'), and the end-to-end tests: which scenarios, and
# where their report goes. Without KUBECONFIG they make a cluster
# with kind, of KIND_IMAGE's version (empty: kind's own choice).
IMAGE          ?= dfs:dev
E2E            ?=
E2E_REPORT     ?= e2e-report
KIND_IMAGE     ?=

# Further arguments of the benchmark, such as BENCH='--only large'.
BENCH ?=

# What `make simulate` plays; '--help' tells what there is.
SIMULATE ?= --scenario rack-lost --chunks 10000000

# STATIC=1 makes the programs of bin/ those that the image has, so that who needs both builds them once.
STATIC  ?=
static   = $(if $(STATIC),image/static)
# Older versions of make do not export variables to what they call themselves.
programs = $(if $(STATIC),$(shell CARGO_TARGET_DIR="$(CARGO_TARGET_DIR)" image/static path),$(CARGO_TARGET_DIR)/release)

BINARIES = dfs dfs-namenode dfs-datanode
NEXTEST  = 0.9.151
DENY     = 0.20.2
DFS      = bin/dfs

.DEFAULT_GOAL := help
.PHONY: help setup setup-build setup-test build demo test run-cluster stop-cluster clean-data test-ops failure-test image image-earlier e2e bench simulate fmt lint generate deny

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  Variables: FAILURE_TEST=all ROUNDS=$(ROUNDS) FAILURE_REPORT=$(FAILURE_REPORT)"
	@echo "  NAMENODES=$(NAMENODES) DATANODES=$(DATANODES) DATA=$(DATA) NAMENODE_PORT=$(NAMENODE_PORT) CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)"

setup: setup-build setup-test ## install what is missing: Debian packages, crates, test runner

# Installs the Debian packages $(2) if there is no command $(1).
package = @command -v $(1) >/dev/null || { \
	  command -v apt-get >/dev/null || { echo "install these packages: $(2)"; exit 1; }; \
	  sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  $$sudo apt-get update -qq && $$sudo apt-get install -y -qq --no-install-recommends $(2); }

# What the programs are built with.
setup-build:
	@command -v cargo >/dev/null || { echo "cargo is missing: install the Rust toolchain from https://rustup.rs"; exit 1; }
	$(call package,cc,gcc libc6-dev)

# What only tests need.
setup-test: setup-build
	$(call package,faketime,faketime)
	cargo fetch --locked --quiet
	@cargo nextest --version >/dev/null 2>&1 || CARGO_TARGET_DIR="$(CARGO_TARGET_DIR)/tools" cargo install --locked \
	  --no-default-features --features default-no-update cargo-nextest --version $(NEXTEST)

build: ## build the programs and link them into bin/
	$(static) cargo build --locked --release --bins -p dfs-cli -p dfs-namenode -p dfs-datanode
	@mkdir -p bin
	@for name in $(BINARIES); do ln -sfn "$(programs)/$$name" "bin/$$name"; done

demo: setup-build build ## store real files, kill a DataNode, see that all is still there
	$(DFS) local demo

test: setup ## formatting, lints and every test
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	# With the features that tests have: otherwise everything is compiled once more.
	cargo build --locked --workspace --bins --tests
	cargo nextest run --locked --workspace
	cargo test --locked --workspace --doc
	CARGO_MANIFEST_DIR="$(CURDIR)/xtask" "$(CARGO_TARGET_DIR)/debug/dfs-xtask" check-generated
	CARGO_MANIFEST_DIR="$(CURDIR)/xtask" "$(CARGO_TARGET_DIR)/debug/dfs-xtask" tidy

run-cluster: build ## start a cluster on this machine, or what of it does not run
	$(DFS) local up --data "$(DATA)" --namenodes $(NAMENODES) --datanodes $(DATANODES) --namenode-port $(NAMENODE_PORT)

stop-cluster: ## stop it; the data stays
	$(DFS) local down --data "$(DATA)"

clean-data: ## remove the data of the stopped cluster
	$(DFS) local clean --data "$(DATA)"

test-ops: build ## try every operation on the running cluster
	$(DFS) local test-ops --namenode 127.0.0.1:$(NAMENODE_PORT)

failure-test: build ## break a cluster of its own in every way, and see that it survives
	cargo build --locked --release -p dfs-failure
	"$(CARGO_TARGET_DIR)/release/dfs-failure-test" $(if $(FAILURE_TEST),--run "$(FAILURE_TEST)") --rounds $(ROUNDS) --report "$(FAILURE_REPORT)"

image: ## build the image for Kubernetes (IMAGE=dfs:dev)
	image/build "$(IMAGE)"

image-earlier: ## the same, and one of the release before, to try upgrades with
	image/build "$(IMAGE)" "$(IMAGE)-earlier"

e2e: image-earlier ## break clusters on a real Kubernetes: kind's, or KUBECONFIG's
	image/static cargo build --locked --release -p dfs-kubernetes-e2e
	"$$(image/static path)/dfs-kubernetes-test" --image "$(IMAGE)" --earlier-image "$(IMAGE)-earlier" \
	  $(if $(KIND_IMAGE),--kind-image "$(KIND_IMAGE)") \
	  $(if $(E2E),--run "$(E2E)") --report "$(E2E_REPORT)"

bench: build ## measure, beside the machine's limits
	cargo run --locked --release -p dfs-bench -- $(BENCH)

simulate: ## play a scenario with thousands of DataNodes in virtual time around the real decisions
	cargo run --locked --release -p dfs-simulation -- $(SIMULATE)

fmt: ## format the code
	cargo fmt --all

lint: ## clippy, warnings are errors
	cargo clippy --locked --workspace --all-targets -- -D warnings

generate: ## write the generated files again
	cargo xtask generate

deny: ## check licences, bans and sources of the dependencies
	@cargo deny --version >/dev/null 2>&1 || CARGO_TARGET_DIR="$(CARGO_TARGET_DIR)/tools" \
	  cargo install --locked cargo-deny --version $(DENY)
	cargo deny --locked check bans licenses sources
