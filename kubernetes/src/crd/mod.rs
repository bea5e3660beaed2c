//! The resource `DfsCluster`, as people write it and as the API server checks it.
//!
//! What types can't say is said in rules (CEL) beside the fields; what even they can't say is answered by the operator in
//! a condition. Every field's documentation is what `kubectl explain` shows.

// KubeSchema repeats each type, `pub` and all, inside of a function.
#[allow(unreachable_pub)]
mod pod;
#[allow(unreachable_pub)]
mod spec;
#[allow(unreachable_pub)]
mod status;
#[allow(unreachable_pub)]
mod storage;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use serde_json::Value;

pub use pod::{ObjectMetadata, PodTemplate};
pub use spec::{
    DataNodePool, DfsCluster, DfsClusterSpec, Image, Log, LogFormat, LogLevel, MAX_DATANODES, NameNode,
    Placement, PullPolicy, Repair,
};
pub use status::{
    Capacity, Chunks, DataNodeStatus, DfsClusterStatus, NameNodeStatus, PoolStatus, condition, reason,
};
pub use storage::{Storage, Volume, size_in_bytes};

use crate::names;

/// The definition to install, as the chart and `manifests/` have it.
pub fn definition() -> CustomResourceDefinition {
    let mut crd = DfsCluster::crd();
    let labels = crd.metadata.labels.get_or_insert_default();
    labels.insert(names::LABEL_NAME.to_owned(), "dfs".to_owned());
    labels.insert(names::LABEL_PART_OF.to_owned(), "dfs".to_owned());
    let mut value = serde_json::to_value(crd).expect("a definition is plain data");
    name_known_formats(&mut value);
    serde_json::from_value(value).expect("only names of formats were changed")
}

/// Kubernetes knows no unsigned numbers, and warns whoever installs a definition that has them; the minimum says it too.
fn name_known_formats(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::String(format)) = fields.get_mut("format") {
                match format.as_str() {
                    "uint64" | "uint" => "int64".clone_into(format),
                    "uint8" | "uint16" | "uint32" => "int32".clone_into(format),
                    _ => {}
                }
            }
            fields.values_mut().for_each(name_known_formats);
        }
        Value::Array(items) => items.iter_mut().for_each(name_known_formats),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests;
