//! What the operator may do, and nothing else: the chart and `manifests/` are generated from this.

use k8s_openapi::api::rbac::v1::PolicyRule;

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> PolicyRule {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    PolicyRule {
        api_groups: Some(owned(&[group])),
        resources: Some(owned(resources)),
        verbs: owned(verbs),
        ..PolicyRule::default()
    }
}

/// Rights in each namespace with DfsClusters: a ClusterRole with a ClusterRoleBinding, or a Role in one namespace.
pub fn namespace_rules() -> Vec<PolicyRule> {
    // The watches see labelled objects only: whether another one's is in the way is asked by name.
    const OWN: &[&str] = &["get", "list", "watch", "create", "patch"];
    vec![
        rule("dfs.dev", &["dfsclusters"], &["get", "list", "watch"]),
        rule("dfs.dev", &["dfsclusters/status"], &["patch"]),
        rule("apps", &["statefulsets"], &["get", "list", "watch", "create", "patch", "delete"]),
        rule("", &["services", "configmaps", "serviceaccounts"], OWN),
        rule("policy", &["poddisruptionbudgets"], OWN),
        rule("", &["pods"], &["list", "watch"]),
        // Pods are replaced as a drain replaces them.
        rule("", &["pods/eviction"], &["create"]),
        rule("", &["persistentvolumeclaims"], &["list", "watch", "patch"]),
        rule("events.k8s.io", &["events"], &["create", "patch"]),
    ]
}

/// Rights in the whole Kubernetes cluster: the labels of machines. Without them DataNodes are told of no zones and racks.
pub fn cluster_rules() -> Vec<PolicyRule> {
    vec![rule("", &["nodes"], &["list", "watch"])]
}

/// Rights in the operator's own namespace: the Lease of this name. What is created has no name yet.
pub fn lease_rules(name: &str) -> Vec<PolicyRule> {
    let leases = |verbs| rule("coordination.k8s.io", &["leases"], verbs);
    let own = PolicyRule { resource_names: Some(vec![name.to_owned()]), ..leases(&["get", "update"]) };
    vec![leases(&["create"]), own]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_granted_wholesale() {
        let rules = [namespace_rules(), cluster_rules(), lease_rules("lease")].concat();
        for rule in &rules {
            assert!(!rule.verbs.iter().any(|verb| verb == "*"));
            let resources = rule.resources.iter().flatten();
            for resource in resources {
                assert!(resource != "*" && resource != "secrets", "{resource}");
            }
        }
        let deletes: Vec<_> = rules
            .iter()
            .filter(|rule| rule.verbs.iter().any(|verb| verb == "delete"))
            .flat_map(|rule| rule.resources.iter().flatten())
            .collect();
        assert_eq!(deletes, ["statefulsets"], "claims hold data and are never deleted");
        let others: Vec<_> =
            rules.iter().filter(|rule| rule.verbs.iter().any(|verb| verb == "update")).collect();
        assert!(others.iter().all(|rule| rule.resource_names.is_some()), "{others:?}");
    }
}
