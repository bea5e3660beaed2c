//! Keeping pods away: a StatefulSet makes a pod anew as soon as it is gone, and a test may want it gone for a while. An
//! admission policy refuses the pods that an annotation of their namespace names. Neither the operator nor the StatefulSet is
//! touched: for them it is a cluster that has no room at present.
//!
//! It has no parameters: an API server does not find them any more once a policy was deleted and made anew.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use dfs_e2e::wait;
use dfs_failure::health::patience;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use crate::objects::{LABEL, delete};

/// Name of the policy, and its field manager.
const NAME: &str = "dfs-e2e-hold";
/// The annotation: names of pods, with commas between them.
const HELD: &str = "dfs.dev/e2e-held";

/// The pods of one namespace that are kept away.
#[derive(Clone)]
pub(crate) struct Hold {
    namespaces: Api<Namespace>,
    namespace: String,
    pods: Api<Pod>,
}

impl Hold {
    /// Of this namespace.
    pub(crate) fn new(client: Client, namespace: &str) -> Self {
        Self {
            namespaces: Api::all(client.clone()),
            namespace: namespace.to_owned(),
            pods: Api::namespaced(client, namespace),
        }
    }

    /// Installs the policy, for all namespaces of the tests.
    pub(crate) async fn install(client: Client) -> Result<()> {
        let policy: ValidatingAdmissionPolicy = serde_json::from_value(json!({
            "metadata": { "name": NAME },
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": { "resourceRules": [
                    { "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"] },
                ] },
                "validations": [{
                    "expression": format!(
                        "!has(namespaceObject.metadata.annotations) || !('{HELD}' in namespaceObject.metadata.annotations) \
                         || !(object.metadata.name in namespaceObject.metadata.annotations['{HELD}'].split(','))"
                    ),
                    "message": "the tests keep this pod away",
                }],
            },
        }))?;
        let binding: ValidatingAdmissionPolicyBinding = serde_json::from_value(json!({
            "metadata": { "name": NAME },
            "spec": {
                "policyName": NAME,
                "validationActions": ["Deny"],
                "matchResources": { "namespaceSelector": {
                    "matchExpressions": [{ "key": LABEL, "operator": "Exists" }],
                } },
            },
        }))?;
        let apply = PatchParams::apply(NAME).force();
        let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
        policies
            .patch(NAME, &apply, &Patch::Apply(&policy))
            .await
            .context("installing an admission policy")?;
        let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client);
        bindings.patch(NAME, &apply, &Patch::Apply(&binding)).await.context("binding an admission policy")?;
        Ok(())
    }

    /// The pods that are kept away at present.
    pub(crate) async fn held(&self) -> Result<BTreeSet<String>> {
        let namespace = self.namespaces.get(&self.namespace).await?;
        let held = namespace.annotations().get(HELD).map(String::as_str).unwrap_or_default();
        Ok(held.split(',').filter(|pod| !pod.is_empty()).map(str::to_owned).collect())
    }

    async fn set(&self, pods: &BTreeSet<String>) -> Result<()> {
        let held = pods.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        let patch = json!({ "metadata": { "annotations": { HELD: held } } });
        self.namespaces.patch(&self.namespace, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        Ok(())
    }

    /// Removes the policy.
    pub(crate) async fn uninstall(client: Client) -> Result<()> {
        let params = DeleteParams::default();
        delete(&Api::<ValidatingAdmissionPolicyBinding>::all(client.clone()), NAME, &params).await?;
        delete(&Api::<ValidatingAdmissionPolicy>::all(client), NAME, &params).await
    }

    /// Keeps these away too: when this returns, none of them can be made.
    pub(crate) async fn keep_away(&self, pods: &[String]) -> Result<()> {
        let mut held = self.held().await?;
        held.extend(pods.iter().cloned());
        self.set(&held).await?;
        for pod in pods {
            self.until(pod, true).await?;
        }
        Ok(())
    }

    /// Lets these come: when this returns, each of them can be made.
    pub(crate) async fn let_come(&self, pods: &[String]) -> Result<()> {
        let mut held = self.held().await?;
        if !pods.iter().any(|pod| held.contains(pod)) {
            return Ok(());
        }
        held.retain(|pod| !pods.contains(pod));
        self.set(&held).await?;
        for pod in pods {
            self.until(pod, false).await?;
        }
        Ok(())
    }

    /// The API server learns of a change a moment later: asks it until it would refuse the pod, or not.
    async fn until(&self, pod: &str, refused: bool) -> Result<()> {
        let trial: Pod = serde_json::from_value(json!({
            "metadata": { "name": pod },
            // Without these the namespace's security standard refuses it, and the policy is not asked.
            "spec": {
                "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
                "containers": [{ "name": "trial", "image": "none", "securityContext": {
                    "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] },
                } }],
            },
        }))?;
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        wait::until(
            &format!("the API server {} {pod}", if refused { "refuses" } else { "takes" }),
            patience(),
            || {
                let (trial, dry) = (trial.clone(), dry.clone());
                async move {
                    let said = self.pods.create(&dry, &trial).await;
                    match &said {
                        Err(kube::Error::Api(status)) if status.message.contains(NAME) => {
                            ensure!(refused, "it refuses it");
                        }
                        // Asked whether there is room for it, it found the name taken: it would take it.
                        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
                            ensure!(!refused, "it takes it");
                        }
                        Ok(_) => ensure!(!refused, "it takes it"),
                        Err(_) => bail!("it says: {said:?}"),
                    }
                    anyhow::Ok(())
                }
            },
        )
        .await
    }
}
