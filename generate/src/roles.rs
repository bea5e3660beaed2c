//! What the operator may do, as the chart's roles have it.

use anyhow::Result;
use k8s_openapi::api::rbac::v1::PolicyRule;
use serde::Serialize;

#[derive(Serialize)]
struct Rules<'a> {
    rules: &'a [PolicyRule],
}

/// The rules, to be put below a role's metadata.
pub(crate) fn yaml(rules: &[PolicyRule]) -> Result<String> {
    Ok(serde_saphyr::to_string(&Rules { rules })?)
}
