//! What the pods of both roles have in common: rights, probes, spreading, claims.

use std::collections::BTreeMap;

use dfs_kubernetes::crd::PodTemplate;
use dfs_kubernetes::names::{Component, port};
use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EnvVar, EnvVarSource,
    HTTPGetAction, LocalObjectReference, ObjectFieldSelector, PersistentVolumeClaim,
    PersistentVolumeClaimSpec, PodAffinityTerm, PodAntiAffinity, PodSecurityContext, PodSpec,
    PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile, SecurityContext, TopologySpreadConstraint,
    Volume, VolumeMount, VolumeResourceRequirements, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Builder, image};

/// User and group of the processes, as in the image.
const USER: i64 = 65_532;
/// Old templates that are kept, to look back at.
const KEPT_REVISIONS: i32 = 3;

/// What the pods of one StatefulSet have of their own.
pub(super) struct Role<'a> {
    pub(super) component: Component,
    pub(super) pool: Option<&'a str>,
    pub(super) name: String,
    pub(super) service: String,
    pub(super) replicas: u32,
    pub(super) template: &'a PodTemplate,
    /// How long a clean stop may take, in seconds.
    pub(super) stop_seconds: i64,
    pub(super) container: Container,
    pub(super) volumes: Vec<Volume>,
    pub(super) claims: Vec<PersistentVolumeClaim>,
}

impl Builder<'_> {
    pub(super) fn stateful_set(&self, role: Role<'_>) -> StatefulSet {
        let selector = self.name.selector_labels(role.component, role.pool);
        let mut metadata = self.metadata(role.name);
        metadata.labels.get_or_insert_default().extend(selector.clone());
        let retain = || Some("Retain".to_owned());
        let mut pod_labels = role.template.metadata.labels.clone();
        pod_labels.extend(self.name.cluster_labels());
        pod_labels.extend(selector.clone());
        let annotations = &role.template.metadata.annotations;
        let pod = self.pod(
            role.component,
            &selector,
            role.template,
            role.stop_seconds,
            role.container,
            role.volumes,
        );
        StatefulSet {
            metadata,
            spec: Some(StatefulSetSpec {
                replicas: Some(i32::try_from(role.replicas).unwrap_or(i32::MAX)),
                service_name: Some(role.service),
                selector: LabelSelector { match_labels: Some(selector), ..LabelSelector::default() },
                // NameNodes form their group only when all of them are there; DataNodes do not depend on each other.
                pod_management_policy: Some("Parallel".to_owned()),
                // Pods are replaced by the operator, who knows when that costs nothing.
                update_strategy: Some(StatefulSetUpdateStrategy {
                    type_: Some("OnDelete".to_owned()),
                    ..StatefulSetUpdateStrategy::default()
                }),
                persistent_volume_claim_retention_policy: Some(
                    StatefulSetPersistentVolumeClaimRetentionPolicy {
                        when_deleted: retain(),
                        when_scaled: retain(),
                    },
                ),
                revision_history_limit: Some(KEPT_REVISIONS),
                template: PodTemplateSpec {
                    metadata: Some(ObjectMeta {
                        labels: Some(pod_labels),
                        annotations: (!annotations.is_empty()).then(|| annotations.clone()),
                        ..ObjectMeta::default()
                    }),
                    spec: Some(pod),
                },
                volume_claim_templates: Some(role.claims),
                ..StatefulSetSpec::default()
            }),
            ..StatefulSet::default()
        }
    }

    fn pod(
        &self,
        component: Component,
        selector: &BTreeMap<String, String>,
        template: &PodTemplate,
        stop_seconds: i64,
        container: Container,
        volumes: Vec<Volume>,
    ) -> PodSpec {
        let PodTemplate {
            metadata: _,
            node_selector,
            tolerations,
            affinity,
            topology_spread_constraints,
            priority_class_name,
        } = template;
        let secrets = &self.spec.image.pull_secrets;
        PodSpec {
            service_account_name: Some(self.name.service_account()),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(USER),
                run_as_group: Some(USER),
                fs_group: Some(USER),
                // A volume with millions of chunks is not gone through at each start.
                fs_group_change_policy: Some("OnRootMismatch".to_owned()),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    ..SeccompProfile::default()
                }),
                ..PodSecurityContext::default()
            }),
            image_pull_secrets: (!secrets.is_empty())
                .then(|| secrets.iter().map(|name| LocalObjectReference { name: name.clone() }).collect()),
            node_selector: (!node_selector.is_empty()).then(|| node_selector.clone()),
            tolerations: (!tolerations.is_empty()).then(|| tolerations.clone()),
            affinity: Some(self.apart(selector, affinity.as_ref())),
            priority_class_name: priority_class_name.clone(),
            topology_spread_constraints: Some(self.spread(component, selector, topology_spread_constraints)),
            termination_grace_period_seconds: Some(stop_seconds),
            containers: vec![container],
            volumes: (!volumes.is_empty()).then_some(volumes),
            ..PodSpec::default()
        }
    }

    /// Over machines as far as possible. Not harder than that: on a small or damaged cluster a pod beside another one is better
    /// than no pod, and replicas are kept apart by machine anyhow.
    fn spread(
        &self,
        component: Component,
        selector: &BTreeMap<String, String>,
        given: &[TopologySpreadConstraint],
    ) -> Vec<TopologySpreadConstraint> {
        let select = |labels: BTreeMap<String, String>| {
            Some(LabelSelector { match_labels: Some(labels), ..LabelSelector::default() })
        };
        if !given.is_empty() {
            return given
                .iter()
                .map(|constraint| TopologySpreadConstraint {
                    label_selector: constraint.label_selector.clone().or_else(|| select(selector.clone())),
                    ..constraint.clone()
                })
                .collect();
        }
        let constraint = |key: &str, labels| TopologySpreadConstraint {
            max_skew: 1,
            topology_key: key.to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: select(labels),
            ..TopologySpreadConstraint::default()
        };
        vec![constraint("kubernetes.io/hostname", self.name.selector_labels(component, None))]
    }

    /// Rather in another zone than the others, unless what is asked for says how they are kept apart. No spread constraint: it
    /// would leave machines without a zone's label out.
    fn apart(&self, selector: &BTreeMap<String, String>, given: Option<&Affinity>) -> Affinity {
        let given = given.cloned().unwrap_or_default();
        if given.pod_anti_affinity.is_some() {
            return given;
        }
        let term = |key: &str, weight| WeightedPodAffinityTerm {
            weight,
            pod_affinity_term: PodAffinityTerm {
                topology_key: key.to_owned(),
                label_selector: Some(LabelSelector {
                    match_labels: Some(selector.clone()),
                    ..LabelSelector::default()
                }),
                ..PodAffinityTerm::default()
            },
        };
        let preferred = vec![term("kubernetes.io/hostname", 100), term(&self.spec.placement.zone_label, 50)];
        Affinity {
            pod_anti_affinity: Some(PodAntiAffinity {
                preferred_during_scheduling_ignored_during_execution: Some(preferred),
                ..PodAntiAffinity::default()
            }),
            ..given
        }
    }

    /// A container with what both roles need; the rest is up to the caller.
    pub(super) fn container(
        &self,
        name: &str,
        program: &str,
        args: Vec<String>,
        ports: &[(&str, u16)],
        resources: Option<&ResourceRequirements>,
    ) -> Container {
        let pull_policy = self.spec.image.pull_policy.unwrap_or(self.default_image.pull_policy);
        Container {
            name: name.to_owned(),
            image: Some(image(self.spec, self.default_image)),
            image_pull_policy: Some(pull_policy.as_str().to_owned()),
            command: Some(vec![format!("/{program}")]),
            args: Some(args),
            env: Some(vec![
                from_field("POD_NAME", "metadata.name"),
                from_field("NODE_NAME", "spec.nodeName"),
            ]),
            ports: Some(
                ports
                    .iter()
                    .map(|(name, number)| ContainerPort {
                        name: Some((*name).to_owned()),
                        container_port: i32::from(*number),
                        protocol: Some("TCP".to_owned()),
                        ..ContainerPort::default()
                    })
                    .collect(),
            ),
            resources: Some(resources.cloned().unwrap_or_else(default_resources)),
            // Opening a large volume happens with the HTTP port open, so this is about the process itself.
            startup_probe: Some(probe("/livez", 1, 60)),
            liveness_probe: Some(probe("/livez", 10, 6)),
            readiness_probe: Some(probe("/readyz", 2, 2)),
            security_context: Some(SecurityContext {
                allow_privilege_escalation: Some(false),
                read_only_root_filesystem: Some(true),
                run_as_non_root: Some(true),
                capabilities: Some(Capabilities {
                    drop: Some(vec!["ALL".to_owned()]),
                    ..Capabilities::default()
                }),
                ..SecurityContext::default()
            }),
            // The reason for which a process could not start is its last line.
            termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
            ..Container::default()
        }
    }

    /// Flags of both daemons about logs.
    pub(super) fn log_flags(&self) -> [String; 2] {
        let log = &self.spec.log;
        [super::flag("log", log.level.as_str()), super::flag("log-format", log.format.as_str())]
    }

    /// A claim template. Its labels are those that never change, as the template itself can't.
    pub(super) fn claim(
        &self,
        component: Component,
        pool: Option<&str>,
        name: &str,
        size: &str,
        class: Option<&str>,
    ) -> PersistentVolumeClaim {
        let mut labels = self.name.cluster_labels();
        labels.extend(self.name.selector_labels(component, pool));
        PersistentVolumeClaim {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                labels: Some(labels),
                ..ObjectMeta::default()
            },
            spec: Some(PersistentVolumeClaimSpec {
                access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
                storage_class_name: class.map(str::to_owned),
                resources: Some(VolumeResourceRequirements {
                    requests: Some(BTreeMap::from([("storage".to_owned(), Quantity(size.to_owned()))])),
                    ..VolumeResourceRequirements::default()
                }),
                ..PersistentVolumeClaimSpec::default()
            }),
            ..PersistentVolumeClaim::default()
        }
    }
}

/// What a ConfigMap has, as files.
pub(super) fn config_map(name: &str, map: String) -> Volume {
    Volume {
        name: name.to_owned(),
        config_map: Some(ConfigMapVolumeSource { name: map, ..ConfigMapVolumeSource::default() }),
        ..Volume::default()
    }
}

/// Where a container reads what it can't change.
pub(super) fn mount_read_only(name: &str, path: &str) -> VolumeMount {
    VolumeMount { read_only: Some(true), ..mount(name, path) }
}

/// Where a claim is mounted.
pub(super) fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}

fn default_resources() -> ResourceRequirements {
    let requests = [("cpu", "100m"), ("memory", "256Mi")];
    ResourceRequirements {
        requests: Some(
            requests.iter().map(|(name, size)| ((*name).to_owned(), Quantity((*size).to_owned()))).collect(),
        ),
        ..ResourceRequirements::default()
    }
}

fn from_field(name: &str, path: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: path.to_owned(),
                ..ObjectFieldSelector::default()
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

fn probe(path: &str, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(port::HTTP.to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        failure_threshold: Some(failures),
        // A probe of a machine under full load is slow, and nothing is wrong.
        timeout_seconds: Some(5),
        ..Probe::default()
    }
}
