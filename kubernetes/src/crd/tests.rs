//! The definition, and the rules in it, without an API server. What schemas check (lengths, patterns, required fields) only
//! an API server does: `e2e/` tries that.

use kube::core::cel::Validator;
use serde_json::{Value, json};

use super::*;

fn schema() -> Value {
    let crd = serde_json::to_value(definition()).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

fn cluster(spec: Value) -> Value {
    json!({ "apiVersion": "dfs.dev/v1alpha1", "kind": "DfsCluster", "metadata": { "name": "main" }, "spec": spec })
}

fn pool(name: &str, replicas: u32, size: &str) -> Value {
    json!({ "name": name, "replicas": replicas, "volumes": [{ "name": "d0", "size": size }] })
}

fn minimal() -> Value {
    cluster(json!({ "dataNodePools": [pool("main", 3, "1Gi")] }))
}

/// Messages of the rules that are broken.
fn broken(object: &Value, old: Option<&Value>) -> Vec<String> {
    match Validator::new().validate(&schema(), object, old) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.as_slice().iter().map(|error| error.message.clone()).collect(),
    }
}

fn with(path: &str, value: Value) -> Value {
    let mut object = minimal();
    set(&mut object, path, value);
    object
}

/// Sets the field at a JSON pointer; the objects on its way are made.
fn set(object: &mut Value, path: &str, value: Value) {
    let mut at = object;
    for part in path.trim_start_matches('/').split('/') {
        at = match part.parse::<usize>() {
            Ok(index) => &mut at[index],
            Err(_) => &mut at[part],
        };
    }
    *at = value;
}

#[test]
fn a_minimal_cluster_has_sensible_defaults() {
    let read: DfsCluster = serde_json::from_value(minimal()).unwrap();
    let spec = &read.spec;
    assert_eq!((spec.replication, spec.effective_min_replicas(), spec.name_node.replicas), (3, 2, 3));
    assert_eq!(spec.placement.zone_label, "topology.kubernetes.io/zone");
    assert_eq!((spec.repair.dead_after.as_str(), spec.data_nodes()), ("15s", 3));
    assert_eq!(broken(&minimal(), None), Vec::<String>::new());
    let single: DfsCluster = serde_json::from_value(with("/spec/replication", json!(1))).unwrap();
    assert_eq!(single.spec.effective_min_replicas(), 1);
}

#[test]
fn what_can_not_be_is_refused_in_words() {
    for (path, value, says) in [
        ("/metadata/name", json!("1st"), "begin it with a small letter"),
        ("/metadata/name", json!("a.b"), "begin it with a small letter"),
        ("/metadata/name", json!("a".repeat(names::MAX_CLUSTER_NAME + 1)), "longer than 40"),
        ("/metadata/name", json!("main-namenode"), "use one that does not end in"),
        ("/metadata/name", json!("main-datanode"), "use one that does not end in"),
        (
            "/metadata/name",
            json!("a".repeat(names::MAX_CLUSTER_AND_POOL_NAME - "main".len() + 1)),
            "more than 42 characters together",
        ),
        ("/spec/minReplicas", json!(4), "minReplicas is larger than replication"),
        ("/spec/nameNode/replicas", json!(2), "write 3 NameNodes"),
        ("/spec/nameNode/replicas", json!(0), "write 3 NameNodes"),
        ("/spec/nameNode/storage/size", json!("10"), "write a unit"),
        ("/spec/nameNode/electionTimeout", json!("50ms"), "100ms to 1m"),
        ("/spec/nameNode/electionTimeout", json!("2m"), "100ms to 1m"),
        ("/spec/nameNode/heartbeatInterval", json!("300ms"), "half of electionTimeout"),
        ("/spec/nameNode/heartbeatInterval", json!("1ms"), "10ms to half"),
        ("/spec/dataNodePools/0/volumes/0/size", json!("1Mi"), "write a unit"),
        ("/spec/repair/deadAfter", json!("5s"), "deadAfter must be more than 5s"),
        ("/spec/repair/deadAfter", json!("2000h"), "deadAfter must be more than 5s"),
        ("/spec/repair/restartGrace", json!("0s"), "restartGrace must be more than 0s"),
        ("/spec/commonMetadata/labels", json!({ "dfs.dev/cluster": "other" }), "use another prefix"),
        ("/spec/commonMetadata/annotations", json!({ "dfs.dev/x": "y" }), "use another prefix"),
        (
            "/spec/nameNode/template/metadata/labels",
            json!({ "app.kubernetes.io/name": "x" }),
            "use another prefix",
        ),
    ] {
        let errors = broken(&with(path, value.clone()), None);
        assert!(errors.iter().any(|error| error.contains(says)), "{path} = {value}: {errors:?}");
    }
}

#[test]
fn names_that_just_fit_are_allowed() {
    let longest = names::MAX_CLUSTER_AND_POOL_NAME - "main".len();
    assert_eq!(broken(&with("/metadata/name", json!("a".repeat(longest))), None), Vec::<String>::new());
}

#[test]
fn changes_that_would_lose_something_are_refused() {
    let class = |class: &str| json!({ "name": "d0", "size": "1Gi", "storageClassName": class });
    for (path, old, new, says) in [
        ("/spec/nameNode/replicas", json!(1), json!(3), "can't be changed yet"),
        ("/spec/nameNode/electionTimeout", json!("500ms"), json!("2s"), "chosen when the cluster is made"),
        (
            "/spec/nameNode/storage/storageClassName",
            json!("a"),
            json!("b"),
            "storageClassName can't be changed",
        ),
        ("/spec/dataNodePools/0/volumes/0", class("a"), class("b"), "storageClassName can't be changed"),
        (
            "/spec/dataNodePools/0/volumes",
            json!([class("a")]),
            json!([class("a"), { "name": "d1", "size": "1Gi" }]),
            "chosen when it is made",
        ),
        (
            "/spec/dataNodePools/0/volumes",
            json!([class("a")]),
            json!([{ "name": "d1", "size": "1Gi", "storageClassName": "a" }]),
            "chosen when it is made",
        ),
    ] {
        let errors = broken(&with(path, new.clone()), Some(&with(path, old.clone())));
        assert!(errors.iter().any(|error| error.contains(says)), "{path}: {old} to {new}: {errors:?}");
    }
}

#[test]
fn changes_that_are_fine_are_allowed() {
    for (path, old, new) in [
        ("/spec/dataNodePools/0/volumes/0/size", json!("1024Gi"), json!("1Ti")),
        ("/spec/dataNodePools/0/replicas", json!(3), json!(5)),
        ("/spec/replication", json!(3), json!(2)),
        ("/spec/nameNode/heartbeatInterval", json!("100ms"), json!("250ms")),
        ("/spec/nameNode/minFree", json!("1Gi"), json!("2Gi")),
        ("/spec/nameNode/groupsConfigMap", json!("a"), json!("users.b")),
        (
            "/spec/dataNodePools",
            json!([pool("a", 3, "1Gi")]),
            json!([pool("b", 1, "1Gi"), pool("a", 3, "1Gi")]),
        ),
        ("/spec/image", json!({}), json!({ "tag": "1.0" })),
        ("/spec/nameNode/storage/size", json!("1Gi"), json!("1.5Gi")),
        // What could not grow must be written back; the operator refuses what would be less than a claim has.
        ("/spec/dataNodePools/0/volumes/0/size", json!("2Ti"), json!("1Ti")),
        (
            "/spec/dataNodePools/0/volumes",
            json!([{ "name": "d0", "size": "1Gi" }, { "name": "d1", "size": "1Gi" }]),
            json!([{ "name": "d1", "size": "1Gi" }, { "name": "d0", "size": "1Gi" }]),
        ),
    ] {
        let (old, new) = (with(path, old), with(path, new));
        assert_eq!(broken(&new, Some(&old)), Vec::<String>::new(), "{path}");
    }
}

/// Every property that people can set or see, with its path.
fn properties<'a>(schema: &'a Value, path: &str, found: &mut Vec<(String, &'a Value)>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        properties(property, &path, found);
        properties(&property["items"], &path, found);
        found.push((path, property));
    }
}

#[test]
fn every_field_is_explained_and_bounded() {
    let schema = schema();
    let mut found = Vec::new();
    for part in ["spec", "status"] {
        properties(&schema["properties"][part], part, &mut found);
    }
    assert!(found.len() > 60, "{}", found.len());
    for (path, property) in &found {
        assert!(
            property["description"].as_str().is_some_and(|text| text.len() > 5),
            "{path} is not explained"
        );
        let format = property["format"].as_str().unwrap_or_default();
        assert!(!format.starts_with("uint"), "{path} has the format {format}");
    }
    // Names of pods must fit into labels.
    let (_, name) = found.iter().find(|(name, _)| name == "spec.dataNodePools.name").unwrap();
    assert_eq!(name["maxLength"], names::MAX_POOL_NAME);
    // Rules over lists need bounds, else the API server refuses the definition.
    for path in ["spec.dataNodePools", "spec.dataNodePools.volumes"] {
        let (_, property) = found.iter().find(|(name, _)| name == path).unwrap();
        assert!(property["maxItems"].is_u64(), "{path}");
        assert_eq!(property["x-kubernetes-list-type"], "map", "{path}");
    }
}

#[test]
fn the_definition_is_what_kubectl_shows() {
    let crd = definition();
    assert_eq!(crd.metadata.name.as_deref(), Some("dfsclusters.dfs.dev"));
    assert_eq!(crd.spec.names.short_names.as_deref(), Some(&["dfsc".to_owned()][..]));
    let version = &crd.spec.versions[0];
    assert!(version.subresources.as_ref().is_some_and(|subresources| subresources.status.is_some()));
    let columns = version.additional_printer_columns.as_deref().unwrap_or_default();
    assert_eq!(columns.first().map(|column| column.name.as_str()), Some("Available"));
    assert_eq!(columns.last().map(|column| column.name.as_str()), Some("Age"));
    // Client-side `kubectl apply` keeps a copy in an annotation of at most 256 KiB.
    let size = serde_json::to_vec(&crd).unwrap().len();
    assert!(size < 250_000, "{size} bytes");
}
