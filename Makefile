# What people and CI call. `make help` lists it.

CARGO_TARGET_DIR ?= $(HOME)/.cache/dfs/target
# The links in bin/ lead there from wherever they are used.
export CARGO_TARGET_DIR := $(abspath $(CARGO_TARGET_DIR))

# The local cluster.
DATANODES     ?= 3
DATA          ?= ./data
NAMENODE_PORT ?= 9000

BINARIES = dfs dfs-namenode dfs-datanode
NEXTEST  = 0.9.151
DFS      = bin/dfs

.DEFAULT_GOAL := help
.PHONY: help setup build demo test run-cluster stop-cluster clean-data test-ops bench fmt lint generate deny

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  Variables: DATANODES=$(DATANODES) DATA=$(DATA) NAMENODE_PORT=$(NAMENODE_PORT) CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)"

setup: ## install what is missing: C compiler, crates, test runner
	@command -v cargo >/dev/null || { echo "cargo is missing: install the Rust toolchain from https://rustup.rs"; exit 1; }
	@command -v cc >/dev/null || { \
	  sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  $$sudo apt-get update -q && $$sudo apt-get install -y -q --no-install-recommends gcc libc6-dev; }
	cargo fetch --locked --quiet
	@cargo nextest --version >/dev/null 2>&1 || cargo install --locked cargo-nextest --version $(NEXTEST)

build: ## build the programs and link them into bin/
	cargo build --locked --release --bins -p dfs-cli -p dfs-namenode -p dfs-datanode
	@mkdir -p bin
	@for name in $(BINARIES); do ln -sfn "$(CARGO_TARGET_DIR)/release/$$name" "bin/$$name"; done

demo: setup build ## store real files, kill a DataNode, see that all is still there
	$(DFS) local demo

test: setup ## formatting, lints and every test
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo build --locked --workspace --bins
	cargo nextest run --locked --workspace
	cargo test --locked --workspace --doc
	cargo xtask check-generated
	cargo xtask tidy

run-cluster: build ## start a cluster on this machine, or what of it does not run
	$(DFS) local up --data "$(DATA)" --datanodes $(DATANODES) --namenode-port $(NAMENODE_PORT)

stop-cluster: ## stop it; the data stays
	$(DFS) local down --data "$(DATA)"

clean-data: ## remove the data of the stopped cluster
	$(DFS) local clean --data "$(DATA)"

test-ops: build ## try every operation on the running cluster
	$(DFS) local test-ops --namenode 127.0.0.1:$(NAMENODE_PORT)

bench: ## measure, beside the machine's limits
	cargo run --locked --release -p dfs-bench

fmt: ## format the code
	cargo fmt --all

lint: ## clippy, warnings are errors
	cargo clippy --locked --workspace --all-targets -- -D warnings

generate: ## write the generated files again
	cargo xtask generate

deny: ## check licences and advisories of the dependencies
	cargo deny --locked check
