//! What is there, reduced to what decisions need. Pure: Kubernetes objects and the file system's report in, plain values out.

use std::collections::{BTreeMap, BTreeSet};

use dfs_client::{ClusterReport, NamenodeGroup, NodeState, Volume};
use dfs_kubernetes::crd::{DfsClusterSpec, MAX_DATANODES, size_in_bytes};
use dfs_kubernetes::names::{Component, LABEL_COMPONENT, LABEL_POOL, PodHost, pod_ordinal};
use dfs_types::{ClusterId, MemberRole, NodeId, Space, VolumeHealth};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ContainerStatus, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

/// Label in which the StatefulSet controller tells which template a pod was made from.
const REVISION_LABEL: &str = "controller-revision-hash";
/// Longest text of a pod's trouble that is repeated, in characters.
const MAX_TROUBLE: usize = 300;

/// Everything about one cluster.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// StatefulSets by name.
    pub sets: BTreeMap<String, SetView>,
    /// Pods by name.
    pub pods: BTreeMap<String, PodView>,
    /// Claims by name.
    pub claims: BTreeMap<String, ClaimView>,
    /// What the NameNodes tell.
    pub files: Files,
}

impl Observed {
    /// How many pods each StatefulSet has by what is left of them: one more than the highest ordinal of a pod, or of a claim
    /// with what it holds. Those that somebody deleted do not count, nor do ordinals that no cluster can have: a claim of
    /// such a name is somebody else's, or a mistake that must not start a thousand pods.
    pub fn kept(&self) -> BTreeMap<String, u32> {
        let pods = self.pods.iter().filter(|(_, pod)| !pod.terminating).map(|(name, _)| name.as_str());
        let claims = self.claims.iter().filter(|(_, claim)| !claim.terminating);
        // A volume's name has no dash.
        let held = claims.filter_map(|(name, _)| Some(name.split_once('-')?.1));
        let mut kept = BTreeMap::new();
        for pod in pods.chain(held) {
            let (Some((set, _)), Some(ordinal)) = (pod.rsplit_once('-'), pod_ordinal(pod)) else { continue };
            if ordinal >= MAX_DATANODES {
                continue;
            }
            let most: &mut u32 = kept.entry(set.to_owned()).or_default();
            *most = (ordinal + 1).max(*most);
        }
        kept
    }

    /// The first pods of a StatefulSet, as many as it is to have, by name, with those that are missing.
    pub(crate) fn pods_of(
        &self,
        set: &str,
        replicas: u32,
    ) -> impl Iterator<Item = (String, Option<&PodView>)> {
        (0..replicas).map(move |ordinal| {
            let name = format!("{set}-{ordinal}");
            let pod = self.pods.get(&name);
            (name, pod)
        })
    }
}

/// What the file system tells of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Files {
    /// No NameNode serves yet, so nobody was asked.
    #[default]
    NotAsked,
    /// The NameNodes could not be asked, for this reason.
    Silent(String),
    /// It told.
    Told(Box<FilesView>),
}

impl Files {
    /// What it told.
    pub fn told(&self) -> Option<&FilesView> {
        match self {
            Self::Told(view) => Some(view),
            Self::NotAsked | Self::Silent(_) => None,
        }
    }
}

/// A StatefulSet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SetView {
    /// What tells it from another one of the same name.
    pub uid: String,
    /// Pods it is to have.
    pub replicas: u32,
    /// Revision of the template that pods are to be made from, if its controller has seen the last change.
    pub revision: Option<String>,
    /// Its claim templates by name.
    pub claims: BTreeMap<String, TemplateView>,
    /// Pool of its DataNodes.
    pub pool: Option<String>,
    /// Part of the cluster.
    pub component: Component,
}

/// A claim template.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TemplateView {
    /// Bytes it asks for, if that can be read.
    pub bytes: Option<u64>,
    /// Name of its StorageClass, if it says one.
    pub class: Option<String>,
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PodView {
    /// What tells it from another one of the same name.
    pub uid: String,
    /// Part of the cluster.
    pub component: Component,
    /// Its pool, of a DataNode.
    pub pool: Option<String>,
    /// Revision of the template it was made from.
    pub revision: String,
    /// Whether it serves.
    pub ready: bool,
    /// Whether it is on its way out.
    pub terminating: bool,
    /// Seconds since it was made.
    pub age: i64,
    /// Why it does not run, if anybody says so.
    pub trouble: Option<String>,
}

/// A claim.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClaimView {
    /// Bytes asked for.
    pub requested: u64,
    /// Bytes it has; 0 until it is bound.
    pub capacity: u64,
    /// For how many seconds its volume has been larger than its file system, which a kubelet has to grow.
    pub unfinished: Option<i64>,
    /// Whether it is on its way out.
    pub terminating: bool,
}

/// A NameNode as its group sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberView {
    /// Its id in the group.
    pub id: u64,
    /// Its pod, if its address is one's.
    pub pod: Option<String>,
    /// What it is.
    pub role: MemberRole,
}

/// A DataNode as the leading NameNode sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// Its id.
    pub id: NodeId,
    /// Its pod, if its address is one's.
    pub pod: Option<String>,
    /// Whether it is heard of.
    pub state: NodeState,
    /// Whether it has told all it holds.
    pub reported: bool,
    /// Volumes it can't use.
    pub failed_volumes: u64,
}

/// What the leading NameNode tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesView {
    /// Id of the file system.
    pub cluster: ClusterId,
    /// The NameNodes.
    pub members: Vec<MemberView>,
    /// Whether it is in safe mode.
    pub safe_mode: bool,
    /// The DataNodes.
    pub nodes: Vec<NodeView>,
    /// All chunks.
    pub chunks: u64,
    /// Chunks with too few replicas.
    pub under_replicated: u64,
    /// Those of them that can have more on the DataNodes that are there.
    pub healable: u64,
    /// Chunks with one replica left though more are wanted.
    pub only_one_copy: u64,
    /// Chunks without a replica.
    pub missing: u64,
    /// Chunks without a good replica.
    pub corrupt: u64,
    /// Files whose bytes are waited for.
    pub waiting_recoveries: u64,
    /// Bytes of the disks of all volumes that are there, each counted once.
    pub capacity: u64,
    /// Bytes of replicas.
    pub used: u64,
}

impl FilesView {
    /// From what a client is told.
    pub fn new(report: &ClusterReport, group: &NamenodeGroup) -> Self {
        let pod_of = |host: &str| PodHost::parse(host).map(|host| host.pod.to_owned());
        let members = group
            .members
            .iter()
            .map(|member| MemberView {
                id: member.id,
                pod: member.address.rsplit_once(':').and_then(|(host, _)| pod_of(host)),
                role: member.role,
            })
            .collect();
        let there = || report.nodes.iter().filter(|node| node.state != NodeState::Dead);
        // Over all nodes at once: several may be on one disk.
        let space = Space::sum(there().flat_map(|node| &node.volumes).map(Volume::space));
        let nodes = report
            .nodes
            .iter()
            .map(|node| NodeView {
                id: node.node.id,
                pod: pod_of(&node.node.at.host),
                state: node.state,
                reported: node.reported,
                failed_volumes: node.volumes_that_are(VolumeHealth::Failed) as u64,
            })
            .collect();
        Self {
            cluster: report.cluster,
            members,
            safe_mode: report.safe_mode.on,
            nodes,
            chunks: report.chunks,
            under_replicated: report.under_replicated,
            healable: report.healable,
            only_one_copy: report.only_one_copy,
            missing: report.missing,
            corrupt: report.corrupt,
            waiting_recoveries: report.waiting_recoveries,
            capacity: space.capacity,
            used: space.used,
        }
    }

    /// DataNodes that never come back, as they were seen last, with their pods. A DataNode is what is written on its volumes:
    /// when its pod serves as another one, the volumes are gone.
    pub fn lost(&self) -> impl Iterator<Item = (&NodeView, &str)> {
        self.nodes.iter().filter(|node| node.state != NodeState::Live).filter_map(|node| {
            let pod = node.pod.as_deref()?;
            self.serving().any(|other| other.pod.as_deref() == Some(pod)).then_some((node, pod))
        })
    }

    /// Whether a DataNode may soon be found lost or dead: it is not heard of, or its pod is another one already.
    pub fn is_uneasy(&self) -> bool {
        let mut pods = BTreeSet::new();
        self.nodes.iter().any(|node| match node.state {
            NodeState::Stale => true,
            NodeState::Live => node.pod.as_deref().is_some_and(|pod| !pods.insert(pod)),
            NodeState::Dead => false,
        })
    }

    /// The NameNode that leads.
    pub fn leader(&self) -> Option<&MemberView> {
        self.members.iter().find(|member| member.role == MemberRole::Leader)
    }

    /// DataNodes that are heard of and have told all they hold.
    pub fn serving(&self) -> impl Iterator<Item = &NodeView> {
        self.nodes.iter().filter(|node| node.state == NodeState::Live && node.reported)
    }

    /// Whether chunks want what they could have, or what every file is to have. A file that asks for more replicas than there are
    /// DataNodes is in no danger for that.
    pub fn in_want(&self, spec: &DfsClusterSpec) -> bool {
        self.healable > 0 || (self.under_replicated > 0 && self.serving().count() < spec.replication as usize)
    }

    /// Whether the DataNode of this pod serves.
    pub fn serves(&self, pod: &str) -> bool {
        self.serving().any(|node| node.pod.as_deref() == Some(pod))
    }
}

/// The part of the cluster that labels tell.
fn component(labels: Option<&BTreeMap<String, String>>) -> Option<Component> {
    let label = labels?.get(LABEL_COMPONENT)?;
    [Component::NameNode, Component::DataNode].into_iter().find(|component| component.label() == label)
}

impl SetView {
    /// From the object; `None` if it is not one of ours.
    pub fn new(set: &StatefulSet) -> Option<(String, Self)> {
        let labels = set.metadata.labels.as_ref();
        let spec = set.spec.as_ref()?;
        let status = set.status.as_ref();
        let seen = status.and_then(|status| status.observed_generation) >= set.metadata.generation;
        let template = |claim: &PersistentVolumeClaim| TemplateView {
            bytes: requested(claim),
            class: claim.spec.as_ref().and_then(|spec| spec.storage_class_name.clone()),
        };
        let claims = spec
            .volume_claim_templates
            .iter()
            .flatten()
            .filter_map(|claim| Some((claim.metadata.name.clone()?, template(claim))))
            .collect();
        let view = Self {
            uid: set.metadata.uid.clone()?,
            replicas: u32::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0),
            revision: status.filter(|_| seen).and_then(|status| status.update_revision.clone()),
            claims,
            pool: labels.and_then(|labels| labels.get(LABEL_POOL).cloned()),
            component: component(labels)?,
        };
        Some((set.metadata.name.clone()?, view))
    }
}

impl PodView {
    /// From the object; `None` if it is not one of ours.
    pub fn new(pod: &Pod, now: Timestamp) -> Option<(String, Self)> {
        let labels = pod.metadata.labels.as_ref();
        let status = pod.status.as_ref();
        let conditions = || status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
        let made = pod.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
        let view = Self {
            uid: pod.metadata.uid.clone()?,
            component: component(labels)?,
            pool: labels.and_then(|labels| labels.get(LABEL_POOL).cloned()),
            revision: labels.and_then(|labels| labels.get(REVISION_LABEL).cloned()).unwrap_or_default(),
            ready: conditions().any(|condition| condition.type_ == "Ready" && condition.status == "True"),
            terminating: pod.metadata.deletion_timestamp.is_some(),
            age: now.as_second().saturating_sub(made.as_second()),
            trouble: trouble(pod),
        };
        Some((pod.metadata.name.clone()?, view))
    }
}

/// Why a pod does not run, in the words of whoever knows.
fn trouble(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let scheduled = status.conditions.iter().flatten().find(|condition| condition.type_ == "PodScheduled");
    let text = match scheduled {
        Some(condition) if condition.status == "False" => {
            format!("not scheduled: {}", condition.message.as_deref().unwrap_or("no machine fits"))
        }
        Some(_) | None => status.container_statuses.iter().flatten().find_map(container_trouble)?,
    };
    // The last line of a log can be long, and can have several lines.
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    Some(line.chars().take(MAX_TROUBLE).collect())
}

fn container_trouble(container: &ContainerStatus) -> Option<String> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref()?;
    if matches!(reason, "ContainerCreating" | "PodInitializing") {
        return None;
    }
    let ended = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let last = ended.and_then(|ended| ended.message.as_deref()).map(last_words);
    let last = last.filter(|message| !message.is_empty());
    Some(match last.or(waiting.message.as_deref()) {
        Some(message) => format!("{reason}: {message}"),
        None => reason.to_owned(),
    })
}

/// Why a process ended: our programs say it last, after what they logged, which comes along with it.
fn last_words(message: &str) -> &str {
    message.rfind("\nerror: ").map_or(message, |at| &message[at + 1..])
}

/// Bytes that a claim or its template asks for.
pub(crate) fn requested(claim: &PersistentVolumeClaim) -> Option<u64> {
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    size_in_bytes(&requests.get("storage")?.0)
}

impl ClaimView {
    /// From the object; `None` if it asks for no bytes.
    pub fn new(claim: &PersistentVolumeClaim, now: Timestamp) -> Option<(String, Self)> {
        let status = claim.status.as_ref();
        let capacity = status.and_then(|status| status.capacity.as_ref());
        let mut conditions = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
        let pending = conditions
            .find(|condition| condition.type_ == "FileSystemResizePending" && condition.status == "True");
        let since =
            |time: Option<&Time>| time.map_or(0, |time| now.as_second().saturating_sub(time.0.as_second()));
        let view = Self {
            requested: requested(claim)?,
            capacity: capacity.and_then(|capacity| size_in_bytes(&capacity.get("storage")?.0)).unwrap_or(0),
            unfinished: pending.map(|condition| since(condition.last_transition_time.as_ref())),
            terminating: claim.metadata.deletion_timestamp.is_some(),
        };
        Some((claim.metadata.name.clone()?, view))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(status: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {
                "name": "main-datanode-hot-1", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {
                    "app.kubernetes.io/component": "datanode", "dfs.dev/pool": "hot",
                    "controller-revision-hash": "main-datanode-hot-abc",
                },
            },
            "status": status,
        }))
        .unwrap()
    }

    fn view(status: serde_json::Value) -> PodView {
        let now = "2026-01-01T00:01:40Z".parse().unwrap();
        PodView::new(&pod(status), now).unwrap().1
    }

    #[test]
    fn pods_tell_what_they_are() {
        let ready = view(json!({ "conditions": [{ "type": "Ready", "status": "True" }] }));
        assert!(ready.ready && !ready.terminating);
        assert_eq!((ready.age, ready.pool.as_deref()), (100, Some("hot")));
        assert_eq!(ready.trouble, None);
    }

    #[test]
    fn trouble_is_told_in_the_words_of_whoever_knows() {
        let waiting = |reason: &str, message: &str, last: &str| {
            view(json!({ "containerStatuses": [{
                "name": "datanode", "ready": false, "restartCount": 1, "image": "", "imageID": "",
                "state": { "waiting": { "reason": reason, "message": message } },
                "lastState": { "terminated": { "exitCode": 1, "message": last } },
            }] }))
            .trouble
        };
        assert_eq!(waiting("ContainerCreating", "", ""), None);
        assert_eq!(
            waiting("ImagePullBackOff", "Back-off pulling image", "").as_deref(),
            Some("ImagePullBackOff: Back-off pulling image")
        );
        assert_eq!(
            waiting("CrashLoopBackOff", "back-off 10s", "error: the volume\n belongs to another\n")
                .as_deref(),
            Some("CrashLoopBackOff: error: the volume belongs to another")
        );
        let logged =
            format!("{}error: no such level\n", "12:00:01  INFO it starts, error: none\n".repeat(20));
        assert_eq!(
            waiting("CrashLoopBackOff", "back-off 10s", &logged).as_deref(),
            Some("CrashLoopBackOff: error: no such level")
        );
        let unscheduled = json!({ "conditions": [
            { "type": "PodScheduled", "status": "False", "message": "0/4 nodes are available" },
        ] });
        assert_eq!(view(unscheduled).trouble.as_deref(), Some("not scheduled: 0/4 nodes are available"));
    }

    #[test]
    fn a_set_has_the_pods_of_which_something_is_left() {
        let claim = |terminating| ClaimView { requested: 1, capacity: 1, unfinished: None, terminating };
        let mut observed = Observed::default();
        let pod = PodView { terminating: false, ..view(json!({})) };
        observed.pods.insert("main-datanode-hot-1".to_owned(), pod.clone());
        observed.pods.insert("main-datanode-hot-7".to_owned(), PodView { terminating: true, ..pod });
        observed.claims.insert("d0-main-datanode-hot-4".to_owned(), claim(false));
        observed.claims.insert("d0-main-datanode-hot-5".to_owned(), claim(true));
        observed.claims.insert("d0-main-datanode-hot-x-9".to_owned(), claim(false));
        for absurd in ["5000", "4294967295", "99999999999999999999"] {
            observed.claims.insert(format!("d0-main-datanode-hot-{absurd}"), claim(false));
        }
        let kept = [("main-datanode-hot".to_owned(), 5), ("main-datanode-hot-x".to_owned(), 10)];
        assert_eq!(observed.kept(), BTreeMap::from(kept));
    }

    #[test]
    fn a_claim_tells_what_it_waits_for() {
        let claim = serde_json::from_value(json!({
            "metadata": { "name": "d0-main-datanode-hot-0" },
            "spec": { "resources": { "requests": { "storage": "2Gi" } } },
            "status": {
                "capacity": { "storage": "1Gi" },
                "conditions": [{
                    "type": "FileSystemResizePending", "status": "True",
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                }],
            },
        }))
        .unwrap();
        let view =
            ClaimView { requested: 2 << 30, capacity: 1 << 30, unfinished: Some(100), terminating: false };
        let now = "2026-01-01T00:01:40Z".parse().unwrap();
        assert_eq!(ClaimView::new(&claim, now).unwrap().1, view);
    }

    #[test]
    fn a_set_tells_its_revision_only_when_its_controller_has_seen_the_last_change() {
        let set = |seen: i64| -> StatefulSet {
            serde_json::from_value(json!({
                "metadata": {
                    "name": "main-namenode", "uid": "u", "generation": 2,
                    "labels": { "app.kubernetes.io/component": "namenode" },
                },
                "spec": {
                    "replicas": 3, "serviceName": "main-namenode", "selector": {}, "template": {},
                    "volumeClaimTemplates": [{
                        "metadata": { "name": "metadata" },
                        "spec": { "resources": { "requests": { "storage": "1Gi" } }, "storageClassName": "fast" },
                    }],
                },
                "status": { "replicas": 3, "observedGeneration": seen, "updateRevision": "main-namenode-1" },
            }))
            .unwrap()
        };
        let (name, view) = SetView::new(&set(2)).unwrap();
        assert_eq!((name.as_str(), view.replicas), ("main-namenode", 3));
        assert_eq!(view.revision.as_deref(), Some("main-namenode-1"));
        let template = TemplateView { bytes: Some(1 << 30), class: Some("fast".to_owned()) };
        assert_eq!(view.claims, BTreeMap::from([("metadata".to_owned(), template)]));
        assert_eq!(SetView::new(&set(1)).unwrap().1.revision, None);
    }
}
