//! Keeping pods away: a StatefulSet makes a pod anew as soon as it is gone, and a test may want it gone for a while. An
//! admission policy refuses the pods that a ConfigMap of their namespace names. Neither the operator nor the StatefulSet is
//! touched: for them it is a cluster that has no room at present.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use dfs_e2e::wait;
use dfs_failure::health::patience;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use crate::site::LABEL;

/// Name of the policy, and its field manager.
const NAME: &str = "dfs-e2e-hold";
/// Name of the ConfigMap.
const HELD: &str = "held";

/// The pods of one namespace that are kept away.
#[derive(Clone)]
pub(crate) struct Hold {
    config_maps: Api<ConfigMap>,
    pods: Api<Pod>,
}

impl Hold {
    /// Of this namespace.
    pub(crate) fn new(client: Client, namespace: &str) -> Self {
        Self {
            config_maps: Api::namespaced(client.clone(), namespace),
            pods: Api::namespaced(client, namespace),
        }
    }

    /// Installs the policy, for all namespaces of the tests.
    pub(crate) async fn install(client: Client) -> Result<()> {
        let policy: ValidatingAdmissionPolicy = serde_json::from_value(json!({
            "metadata": { "name": NAME },
            "spec": {
                "failurePolicy": "Fail",
                "paramKind": { "apiVersion": "v1", "kind": "ConfigMap" },
                "matchConstraints": { "resourceRules": [
                    { "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"] },
                ] },
                "validations": [{
                    "expression": "!has(params.data) || !(object.metadata.name in params.data)",
                    "message": "the tests keep this pod away",
                }],
            },
        }))?;
        let binding: ValidatingAdmissionPolicyBinding = serde_json::from_value(json!({
            "metadata": { "name": NAME },
            "spec": {
                "policyName": NAME,
                "validationActions": ["Deny"],
                // Without a namespace it is the one of the pod.
                "paramRef": { "name": HELD, "parameterNotFoundAction": "Allow" },
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
        let found = self.config_maps.get_opt(HELD).await?;
        Ok(found.and_then(|map| map.data).unwrap_or_default().into_keys().collect())
    }

    async fn set(&self, pods: &BTreeSet<String>) -> Result<()> {
        let data: BTreeMap<_, _> = pods.iter().map(|pod| (pod.clone(), "held".to_owned())).collect();
        let map =
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": HELD }, "data": data });
        self.config_maps.patch(HELD, &PatchParams::apply(NAME).force(), &Patch::Apply(&map)).await?;
        Ok(())
    }

    /// Removes the policy.
    pub(crate) async fn uninstall(client: Client) -> Result<()> {
        let params = DeleteParams::default();
        super::delete(&Api::<ValidatingAdmissionPolicyBinding>::all(client.clone()), NAME, &params).await?;
        super::delete(&Api::<ValidatingAdmissionPolicy>::all(client), NAME, &params).await
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
                            ensure!(refused, "it does not")
                        }
                        // Asked whether there is room for it, it found the name taken: it would take it.
                        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
                            ensure!(!refused, "it does not");
                        }
                        Ok(_) => ensure!(!refused, "it does not"),
                        Err(_) => bail!("it says: {said:?}"),
                    }
                    anyhow::Ok(())
                }
            },
        )
        .await
    }
}
