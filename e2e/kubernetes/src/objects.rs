//! What the tests do with objects of the API server, whatever cluster they are of.

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, LogParams};
use kube::{Api, ResourceExt as _};

/// Label of everything that the tests make in the cluster.
pub(crate) const LABEL: &str = "dfs.dev/e2e";
/// Lines of a pod's log that are kept.
const LOG_LINES: i64 = 20_000;

/// Whether a pod serves.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Deletes an object; one that is gone already will do.
pub(crate) async fn delete<K>(api: &Api<K>, name: &str, params: &DeleteParams) -> Result<()>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    match api.delete(name, params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error).with_context(|| format!("deleting {name}")),
    }
}

/// What pods logged, by name; of one that was started again, also what the one before logged.
pub(crate) async fn logs(api: &Api<Pod>, selector: &str) -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for pod in api.list(&ListParams::default().labels(selector)).await? {
        for previous in [true, false] {
            let wanted = LogParams { previous, tail_lines: Some(LOG_LINES), ..LogParams::default() };
            // A pod that never ran has no log, and that is no news.
            if let Ok(text) = api.logs(&pod.name_any(), &wanted).await {
                let of = if previous { "previous.log" } else { "log" };
                all.push((format!("{}.{of}", pod.name_any()), text));
            }
        }
    }
    Ok(all)
}
