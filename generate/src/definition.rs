//! The definition of `DfsCluster`, and the values of the chart that makes one.

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// The definition as the chart installs it. It outlives the release: with it all `DfsCluster`s would go.
pub(crate) fn yaml() -> Result<String> {
    let mut definition = dfs_kubernetes::crd::definition();
    let annotations = definition.metadata.annotations.get_or_insert_default();
    annotations.insert("helm.sh/resource-policy".to_owned(), "keep".to_owned());
    Ok(format!(
        "# Generated from the Rust types: `cargo xtask generate`.\n{}",
        serde_saphyr::to_string(&definition)?
    ))
}

/// The JSON schema of the values of `charts/dfs-cluster`: its `spec` is that of a `DfsCluster`.
pub(crate) fn values_schema() -> Result<String> {
    let definition = serde_json::to_value(dfs_kubernetes::crd::definition())?;
    let spec = definition
        .pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec")
        .context("the definition has a spec")?;
    let mut spec = spec.clone();
    only_json_schema(&mut spec);
    let strings = json!({ "type": "object", "additionalProperties": { "type": "string" } });
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart dfs-cluster; generated from the definition of DfsCluster",
        "type": "object",
        "additionalProperties": false,
        "required": ["spec"],
        "properties": {
            "global": { "type": "object" },
            "name": { "type": "string", "maxLength": 40 },
            "labels": strings,
            "annotations": strings,
            "spec": spec,
        },
    });
    Ok(format!("{}\n", serde_json::to_string_pretty(&schema)?))
}

/// Takes away what only Kubernetes understands, and makes misspelt fields an error, which the API server would drop.
fn only_json_schema(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let number_or_text = fields.get("x-kubernetes-int-or-string").is_some();
            // Properties may be called like that; extensions of a schema are.
            fields.retain(|name, _| !name.starts_with("x-kubernetes-"));
            if number_or_text {
                fields.insert("type".to_owned(), json!(["integer", "string"]));
            }
            if fields.get("nullable") == Some(&Value::Bool(true)) {
                fields.remove("nullable");
            }
            fields.values_mut().for_each(only_json_schema);
            if fields.get("properties").is_some_and(Value::is_object)
                && !fields.contains_key("additionalProperties")
            {
                fields.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(only_json_schema),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
