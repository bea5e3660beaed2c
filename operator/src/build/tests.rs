//! Objects in full, as files that are read in reviews, and what must hold of all of them.

use std::path::PathBuf;

use dfs_kubernetes::crd::DfsCluster;
use serde_json::{Value, json};

use super::*;

pub(crate) fn cluster(spec: Value) -> DfsCluster {
    serde_json::from_value(json!({
        "apiVersion": "dfs.dev/v1alpha1", "kind": "DfsCluster",
        "metadata": { "name": "main", "namespace": "prod", "uid": "4711", "generation": 1 },
        "spec": spec,
    }))
    .unwrap()
}

pub(crate) fn minimal() -> DfsCluster {
    cluster(json!({ "dataNodePools": [
        { "name": "hot", "replicas": 3, "volumes": [{ "name": "d0", "size": "1Ti" }] },
    ] }))
}

fn rich() -> DfsCluster {
    cluster(json!({
        "image": {
            "repository": "images.example.com:5000/dfs", "tag": "1.2.3", "pullPolicy": "Always",
            "pullSecrets": ["registry"],
        },
        "replication": 2, "minReplicas": 1,
        "nameNode": {
            "replicas": 1,
            "storage": { "size": "20Gi", "storageClassName": "fast" }, "minFree": "2Gi",
            "electionTimeout": "2s", "heartbeatInterval": "500ms", "groupsConfigMap": "users",
            "resources": { "requests": { "cpu": "1", "memory": "2Gi" }, "limits": { "memory": "2Gi" } },
            "template": {
                "metadata": { "labels": { "team": "storage" }, "annotations": { "note": "x" } },
                "priorityClassName": "high",
            },
        },
        "dataNodePools": [
            {
                "name": "hot", "replicas": 2, "reserve": "10Gi",
                "volumes": [{ "name": "d0", "size": "1Ti", "storageClassName": "nvme" }, { "name": "d1", "size": "1Ti" }],
                "template": {
                    "nodeSelector": { "disk": "nvme" },
                    "tolerations": [{ "key": "storage", "operator": "Exists" }],
                    "topologySpreadConstraints": [
                        { "maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule" },
                    ],
                },
            },
            { "name": "cold", "replicas": 1, "volumes": [{ "name": "d0", "size": "4Ti" }] },
        ],
        "placement": { "zoneLabel": "zone", "rackLabel": "rack" },
        "repair": { "deadAfter": "30s", "restartGrace": "10m" },
        "log": { "level": "Debug", "format": "Text" },
        "commonMetadata": { "labels": { "cost": "42" }, "annotations": { "owner": "me" } },
    }))
}

fn default_image() -> DefaultImage {
    DefaultImage::parse("dfs:dev", PullPolicy::IfNotPresent).unwrap()
}

fn present() -> Present {
    let labels = [("topology.kubernetes.io/zone", "a"), ("zone", "z1"), ("rack", "r1")];
    let machine = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    Present { machines: Some([("w1".to_owned(), machine)].into()), ..Present::default() }
}

pub(crate) fn built(cluster: &DfsCluster, present: &Present) -> Objects {
    objects(cluster, &default_image(), present).unwrap()
}

fn json(objects: &Objects) -> Vec<Value> {
    let Objects { service_account, topology, services, budgets, sets } = objects;
    let mut all = vec![serde_json::to_value(service_account).unwrap()];
    all.extend(topology.iter().map(|object| serde_json::to_value(object).unwrap()));
    all.extend(services.iter().map(|object| serde_json::to_value(object).unwrap()));
    all.extend(budgets.iter().map(|object| serde_json::to_value(object).unwrap()));
    all.extend(sets.iter().map(|object| serde_json::to_value(object).unwrap()));
    all
}

/// Compares with the file; `DFS_GOLDEN=write` writes it.
fn check(name: &str, cluster: &DfsCluster) {
    let path = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap())
        .join("tests/golden")
        .join(format!("{name}.json"));
    let text = serde_json::to_string_pretty(&json(&built(cluster, &present()))).unwrap() + "\n";
    if std::env::var("DFS_GOLDEN").is_ok_and(|value| value == "write") {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let there = std::fs::read_to_string(&path).unwrap();
    assert!(
        there == text,
        "{} differs: look at 'DFS_GOLDEN=write cargo nextest run -p dfs-operator golden; git diff'",
        path.display()
    );
}

#[test]
fn golden_minimal() {
    check("minimal", &minimal());
}

#[test]
fn golden_rich() {
    check("rich", &rich());
}

#[test]
fn every_object_belongs_to_its_cluster() {
    for object in [minimal(), rich()].iter().flat_map(|cluster| json(&built(cluster, &present()))) {
        let meta = &object["metadata"];
        assert_eq!(meta["namespace"], "prod");
        assert_eq!(meta["labels"]["dfs.dev/cluster"], "main", "{object}");
        assert_eq!(meta["labels"]["app.kubernetes.io/managed-by"], "dfs-operator");
        assert_eq!(meta["ownerReferences"][0]["uid"], "4711");
        assert_eq!(meta["ownerReferences"][0]["controller"], true);
    }
}

#[test]
fn pods_keep_to_the_restricted_standard() {
    for set in built(&rich(), &present()).sets.iter().chain(&built(&minimal(), &present()).sets) {
        let set = serde_json::to_value(set).unwrap();
        let pod = &set["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        assert_eq!(pod["automountServiceAccountToken"], false);
        for container in pod["containers"].as_array().unwrap() {
            assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
            assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
            assert_eq!(container["securityContext"]["capabilities"]["drop"], json!(["ALL"]));
            assert!(container["resources"]["requests"]["memory"].is_string());
        }
        for volume in pod["volumes"].as_array().into_iter().flatten() {
            assert!(volume["hostPath"].is_null());
        }
    }
}

#[test]
fn selectors_hold_no_version_and_claims_nothing_that_changes() {
    let old = built(&minimal(), &present());
    let new = built(
        &cluster(json!({
            "image": { "tag": "2.0" }, "commonMetadata": { "labels": { "a": "b" } },
            "dataNodePools": [{ "name": "hot", "replicas": 3, "volumes": [{ "name": "d0", "size": "1Ti" }] }],
        })),
        &present(),
    );
    for (old, new) in old.sets.iter().zip(&new.sets) {
        let (old, new) = (old.spec.as_ref().unwrap(), new.spec.as_ref().unwrap());
        assert_eq!(old.selector, new.selector);
        assert_eq!(old.volume_claim_templates, new.volume_claim_templates);
        assert_ne!(old.template, new.template);
    }
}

#[test]
fn what_is_there_never_shrinks_and_keeps_what_can_not_change() {
    let mut there = built(&minimal(), &present());
    let pool = there.sets.pop().unwrap();
    let mut present = present();
    present.sets.insert("main-datanode-hot".to_owned(), pool.clone());
    let smaller = cluster(json!({ "dataNodePools": [
        { "name": "hot", "replicas": 1, "volumes": [{ "name": "d0", "size": "2Ti" }] },
    ] }));
    let set = built(&smaller, &present).sets.pop().unwrap().spec.unwrap();
    let before = pool.spec.unwrap();
    assert_eq!(set.replicas, Some(3));
    assert_eq!(set.volume_claim_templates, before.volume_claim_templates);
    let larger = cluster(json!({ "dataNodePools": [
        { "name": "hot", "replicas": 5, "volumes": [{ "name": "d0", "size": "1Ti" }] },
    ] }));
    assert_eq!(built(&larger, &present).sets.pop().unwrap().spec.unwrap().replicas, Some(5));
}

#[test]
fn a_set_that_is_there_is_wanted_as_it_was_before() {
    let mut cluster = minimal();
    cluster.spec.data_node_pools[0].volumes[0].size = "1024Gi".to_owned();
    let before = built(&cluster, &present()).sets;
    let mut present = present();
    for set in &before {
        // As the API server gives it back.
        let mut live = set.clone();
        live.spec.as_mut().unwrap().template = k8s_openapi::api::core::v1::PodTemplateSpec::default();
        for claim in live.spec.as_mut().unwrap().volume_claim_templates.as_mut().unwrap() {
            let spec = claim.spec.as_mut().unwrap();
            spec.volume_mode = Some("Filesystem".to_owned());
            let requests = spec.resources.as_mut().unwrap().requests.as_mut().unwrap();
            if let Some(size) = requests.get_mut("storage").filter(|size| size.0 == "1024Gi") {
                size.0 = "1Ti".to_owned();
            }
            claim.status = serde_json::from_value(json!({ "phase": "Pending" })).unwrap();
        }
        present.sets.insert(live.metadata.name.clone().unwrap(), live);
    }
    assert_eq!(built(&cluster, &present).sets, before);
}

#[test]
fn a_set_that_is_made_anew_has_the_pods_it_had() {
    let mut present = present();
    present.kept.insert("main-datanode-hot".to_owned(), 5);
    let set = built(&minimal(), &present).sets.pop().unwrap();
    assert_eq!(set.spec.unwrap().replicas, Some(5));
}

#[test]
fn without_rights_on_machines_there_is_no_topology() {
    let objects = built(&minimal(), &Present::default());
    assert_eq!(objects.topology, None);
    let pool = serde_json::to_string(&objects.sets[1]).unwrap();
    assert!(!pool.contains("topology-file") && !pool.contains("configMap"), "{pool}");
    assert!(pool.contains("--host=$(NODE_NAME)"));
}

#[test]
fn images_are_put_together() {
    let image_of = |spec: Value| image(&cluster(spec).spec, &default_image());
    let pools = json!([]);
    for (given, is) in [
        (json!({}), "dfs:dev"),
        (json!({ "tag": "1.0" }), "dfs:1.0"),
        (json!({ "repository": "host:5000/a" }), "host:5000/a:dev"),
        (json!({ "tag": "@sha256:00" }), "dfs@sha256:00"),
    ] {
        assert_eq!(image_of(json!({ "image": given, "dataNodePools": pools })), is);
    }
}
