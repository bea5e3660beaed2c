//! What helm makes of the charts. Skipped where helm is not on the PATH.
//!
//! `UPDATE_GOLDEN=1 cargo nextest run -p dfs-generate` writes the golden files anew.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use dfs_generate::{render, run, tool};
use dfs_kubernetes::crd::DfsCluster;
use dfs_operator::config::{Cli, Command};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).parent().unwrap().to_owned()
}

/// Everything switched on.
const EVERYTHING: &str = "
image: {repository: registry.example/dfs, tag: 'sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef', pullSecrets: [pull]}
replicas: 2
serviceAccount: {annotations: {example.com/role: storage}}
podLabels: {team: storage}
podAnnotations: {example.com/scrape: 'no'}
nodeSelector: {disk: fast}
tolerations: [{key: storage, operator: Exists}]
affinity: {nodeAffinity: {}}
topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]
priorityClassName: high
monitoring:
  labels: {release: prometheus}
  interval: 15s
  podMonitor: {enabled: true}
  serviceMonitor: {enabled: true}
  rules: {enabled: true}
  dashboard: {enabled: true, annotations: {folder: storage}}
";

/// Helm, and a file with these values.
struct Helm {
    program: PathBuf,
    values: tempfile::NamedTempFile,
}

impl Helm {
    fn with(values: &str) -> Option<Self> {
        let program = tool("helm")?;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), values).unwrap();
        Some(Self { program, values: file })
    }

    fn render(&self, chart: &str, flags: &[&str]) -> anyhow::Result<String> {
        let values = ["--values", self.values.path().to_str().unwrap()];
        render(&self.program, &root(), chart, "dfs", "storage", &[&values, flags].concat())
    }

    fn objects(&self, chart: &str, flags: &[&str]) -> Vec<Value> {
        objects(&self.render(chart, flags).unwrap())
    }
}

fn objects(text: &str) -> Vec<Value> {
    let documents = serde_saphyr::from_multiple::<Value>(text).unwrap();
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

fn kinds(objects: &[Value]) -> BTreeSet<&str> {
    objects.iter().filter_map(|object| object["kind"].as_str()).collect()
}

fn one<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    let first = found.next().unwrap_or_else(|| panic!("there is no {kind}"));
    assert!(found.next().is_none(), "there are two of {kind}");
    first
}

#[test]
fn charts_are_well_formed() {
    let Some(helm) = tool("helm") else { return };
    for chart in ["dfs-operator", "dfs-cluster"] {
        let folder = root().join("charts").join(chart);
        run(&helm, &["lint", "--strict", folder.to_str().unwrap()]).unwrap();
    }
}

#[test]
fn rendered_charts_are_as_before() {
    for (golden, chart, values, flags) in [
        ("default", "dfs-operator", "", &["--set", "crds.create=false"][..]),
        (
            "namespaced",
            "dfs-operator",
            "{namespaced: true, nodeLabels: false, rbac: {aggregate: false}, crds: {create: false}}",
            &[],
        ),
        (
            "everything",
            "dfs-operator",
            EVERYTHING,
            &["--set", "crds.create=false,monitoring.rules.enabled=false,monitoring.dashboard.enabled=false"],
        ),
        ("cluster", "dfs-cluster", "{labels: {team: storage}, spec: {replication: 2}}", &[]),
    ] {
        let Some(helm) = Helm::with(values) else { return };
        let rendered = helm.render(chart, flags).unwrap();
        let path = root().join(format!("generate/tests/golden/{golden}.yaml"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &rendered).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == rendered,
            "{golden}.yaml differs; run with UPDATE_GOLDEN=1 and look at the change:\n{rendered}"
        );
    }
}

#[test]
fn what_is_installed_depends_on_the_values() {
    let Some(helm) = Helm::with("") else { return };
    let plain = helm.objects("dfs-operator", &[]);
    let crd = one(&plain, "CustomResourceDefinition");
    assert_eq!(crd["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    assert!(!kinds(&plain).iter().any(|kind| kind.ends_with("Monitor") || *kind == "PrometheusRule"));
    let everything = Helm::with(EVERYTHING).unwrap().objects("dfs-operator", &[]);
    for kind in ["PodMonitor", "ServiceMonitor", "PrometheusRule", "PodDisruptionBudget", "ConfigMap"] {
        one(&everything, kind);
    }
    let rules = &one(&everything, "PrometheusRule")["spec"]["groups"];
    assert!(rules.as_array().unwrap().len() > 3);
    let dashboard = one(&everything, "ConfigMap")["data"]["dfs.json"].as_str().unwrap().to_owned();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    assert_eq!(dashboard["uid"], "dfs");
}

#[test]
fn an_operator_of_one_namespace_has_no_rights_elsewhere() {
    let Some(helm) = Helm::with("{namespaced: true, nodeLabels: false, rbac: {aggregate: false}}") else {
        return;
    };
    let objects = helm.objects("dfs-operator", &[]);
    let kinds = kinds(&objects);
    assert!(!kinds.contains("ClusterRole") && !kinds.contains("ClusterRoleBinding"), "{kinds:?}");
    assert!(objects.iter().filter(|object| object["kind"] == "Role").count() == 2);
}

#[test]
fn the_operator_understands_its_arguments() {
    for values in [
        "",
        EVERYTHING,
        "{namespaced: true, nodeLabels: false, log: {level: 'info,dfs_operator=debug', format: text}}",
    ] {
        let Some(helm) = Helm::with(values) else { return };
        let objects = helm.objects("dfs-operator", &[]);
        let container = &one(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0];
        let strings = |list: &Value| -> Vec<String> {
            list.as_array()
                .unwrap()
                .iter()
                .map(|text| text.as_str().unwrap().replace("$(POD_NAMESPACE)", "storage"))
                .collect()
        };
        let line = [strings(&container["command"]), strings(&container["args"])].concat();
        let Command::Run(arguments) = Cli::try_parse_from(&line).unwrap().command else { panic!("{line:?}") };
        arguments.default_image().unwrap();
        assert_eq!(arguments.namespace.is_some(), values.contains("namespaced"), "{line:?}");
        assert_eq!(arguments.lease_namespace.as_deref(), Some("storage"));
    }
}

#[test]
fn the_pod_keeps_the_restricted_security_standard() {
    let Some(helm) = Helm::with("") else { return };
    let objects = helm.objects("dfs-operator", &[]);
    for pod in [&one(&objects, "Deployment")["spec"]["template"]["spec"], &one(&objects, "Pod")["spec"]] {
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        for container in pod["containers"].as_array().unwrap() {
            let security = &container["securityContext"];
            assert_eq!(security["allowPrivilegeEscalation"], false);
            assert_eq!(security["readOnlyRootFilesystem"], true);
            assert_eq!(security["capabilities"]["drop"][0], "ALL");
        }
        for forbidden in ["hostNetwork", "hostPID", "hostIPC", "volumes"] {
            assert!(pod.get(forbidden).is_none(), "{forbidden}");
        }
    }
}

#[test]
fn wrong_values_are_refused_with_their_name() {
    for (chart, values, named) in [
        ("dfs-operator", "{replicas: -1}", "replicas"),
        ("dfs-operator", "{replica: 2}", "replica"),
        ("dfs-operator", "{image: {tag: 'a b'}}", "tag"),
        ("dfs-operator", "{image: {pullPolicy: Sometimes}}", "pullPolicy"),
        ("dfs-operator", "{namespaced: 'yes please'}", "namespaced"),
        ("dfs-operator", "{log: {format: xml}}", "format"),
        ("dfs-operator", "{monitoring: {podMonitors: {enabled: true}}}", "podMonitors"),
        ("dfs-operator", "{monitoring: {interval: often}}", "interval"),
        ("dfs-cluster", "{spec: {replication: 0}}", "replication"),
        ("dfs-cluster", "{spec: {replicas: 3}}", "replicas"),
        ("dfs-cluster", "{spec: {dataNodePools: []}}", "dataNodePools"),
        ("dfs-cluster", "{spec: {dataNodePools: [{name: a, replicas: 1}]}}", "volumes"),
        (
            "dfs-cluster",
            "{spec: {dataNodePools: [{name: A, replicas: 1, volumes: [{name: d, size: 1Gi}]}]}}",
            "name",
        ),
    ] {
        let Some(helm) = Helm::with(values) else { return };
        let error = helm.render(chart, &[]).unwrap_err().to_string();
        assert!(error.contains(named), "{values}: {error}");
    }
}

/// Every sample and every example in the chart's notes is a `DfsCluster` of ours.
#[test]
fn the_command_of_the_readme_makes_a_cluster() {
    let readme = std::fs::read_to_string(root().join("charts/dfs-cluster/README.md")).unwrap();
    let (_, json) = readme.split_once("--set-json '").unwrap();
    let (json, _) = json.split_once('\'').unwrap();
    let Some(helm) = Helm::with("{}") else { return };
    let objects = helm.objects("dfs-cluster", &["--set-json", json]);
    let pool = &one(&objects, "DfsCluster")["spec"]["dataNodePools"][0];
    assert_eq!((&pool["replicas"], &pool["volumes"][0]["size"]), (&3.into(), &"100Gi".into()));
}

#[test]
fn samples_are_clusters() {
    let samples = root().join("manifests/samples");
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(samples).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let cluster: DfsCluster =
            serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let written = serde_saphyr::from_str::<Value>(&text).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert_eq!(cluster.metadata.name.as_deref(), Some(name.as_str()));
        // A misspelt field would be gone.
        let read = serde_json::to_value(&cluster).unwrap();
        assert_contains(&read["spec"], &written["spec"], &name);
        names.insert(name);
    }
    assert_eq!(names, ["ha", "minimal", "pools", "zones"].map(str::to_owned).into());
}

fn assert_contains(read: &Value, written: &Value, path: &str) {
    match written {
        Value::Object(fields) => {
            for (name, value) in fields {
                assert_contains(&read[name], value, &format!("{path}.{name}"));
            }
        }
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                assert_contains(&read[number], item, &format!("{path}[{number}]"));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            assert_eq!(read, written, "{path}");
        }
    }
}
