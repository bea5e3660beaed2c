//! Statuses of clusters in all kinds of states.

use dfs_client::NodeState;
use dfs_kubernetes::names::Component;
use dfs_types::{ClusterId, MemberRole, NodeId};

use super::*;
use crate::build::tests::minimal;
use crate::observe::{MemberView, NodeView, SetView, TemplateView};
use crate::plan::plan;

fn now() -> Timestamp {
    "2026-01-01T00:00:00.123Z".parse().unwrap()
}

fn pod(component: Component) -> PodView {
    PodView {
        uid: "u".to_owned(),
        component,
        pool: None,
        revision: "one".to_owned(),
        ready: true,
        terminating: false,
        age: 1_000,
        trouble: None,
    }
}

fn healthy() -> Observed {
    let mut observed = Observed::default();
    for (name, component) in
        [("main-namenode", Component::NameNode), ("main-datanode-hot", Component::DataNode)]
    {
        let volume = if component == Component::NameNode { "metadata" } else { "d0" };
        let set = SetView {
            uid: "u".to_owned(),
            replicas: 3,
            revision: Some("one".to_owned()),
            claims: [(volume.to_owned(), TemplateView { bytes: None, class: None })].into(),
            pool: (component == Component::DataNode).then(|| "hot".to_owned()),
            component,
        };
        observed.sets.insert(name.to_owned(), set);
        for ordinal in 0..3 {
            observed.pods.insert(format!("{name}-{ordinal}"), pod(component));
        }
    }
    let member = |id: u64, role| MemberView { id, pod: Some(format!("main-namenode-{id}")), role };
    let node = |ordinal: u32| NodeView {
        id: NodeId::random(),
        pod: Some(format!("main-datanode-hot-{ordinal}")),
        state: NodeState::Live,
        reported: true,
        failed_volumes: 0,
    };
    observed.files = Files::Told(Box::new(FilesView {
        cluster: ClusterId::random(),
        members: vec![
            member(0, MemberRole::Follower),
            member(1, MemberRole::Leader),
            member(2, MemberRole::Follower),
        ],
        safe_mode: false,
        nodes: vec![node(0), node(1), node(2)],
        chunks: 10,
        under_replicated: 0,
        healable: 0,
        only_one_copy: 0,
        missing: 0,
        corrupt: 0,
        waiting_recoveries: 0,
        capacity: 1_000,
        used: 255,
    }));
    observed
}

fn told(observed: &mut Observed) -> &mut FilesView {
    match &mut observed.files {
        Files::Told(files) => files,
        Files::NotAsked | Files::Silent(_) => panic!("it tells"),
    }
}

/// The status when all that passes by itself has been so for a while.
fn of(
    spec: &DfsClusterSpec,
    observed: &Observed,
    failure: Option<&str>,
    old: &DfsClusterStatus,
) -> DfsClusterStatus {
    after(1_000, spec, observed, failure, old)
}

fn after(
    seconds: i64,
    spec: &DfsClusterSpec,
    observed: &Observed,
    failure: Option<&str>,
    old: &DfsClusterStatus,
) -> DfsClusterStatus {
    let name = ClusterName::new("prod", "main");
    let plan = plan(&name, spec, observed, old.cluster_id.as_deref());
    let mut since = Since::default();
    since.note(passing(&name, spec, observed), Timestamp::from_second(now().as_second() - seconds).unwrap());
    let facts = Facts {
        name: &name,
        spec,
        generation: Some(7),
        observed,
        plan: &plan,
        failure,
        since: &since,
        image: "dfs:dev".to_owned(),
        now: now(),
    };
    status(&facts, old)
}

fn first(observed: &Observed) -> DfsClusterStatus {
    of(&minimal().spec, observed, None, &DfsClusterStatus::default())
}

/// `TYPE=STATUS/REASON` of a condition.
fn said(status: &DfsClusterStatus, kind: &str) -> String {
    let condition = status.condition(kind).unwrap();
    format!("{}/{}", condition.status, condition.reason)
}

#[test]
fn a_healthy_cluster_says_so() {
    let status = first(&healthy());
    assert_eq!(said(&status, "Available"), "True/Serving");
    assert_eq!(said(&status, "Progressing"), "False/Complete");
    assert_eq!(said(&status, "Degraded"), "False/Healthy");
    assert_eq!(status.waiting_for, None);
    let name_nodes = status.name_nodes.as_ref().unwrap();
    assert_eq!(
        (name_nodes.ready, name_nodes.updated, name_nodes.leader.as_deref()),
        (3, 3, Some("main-namenode-1"))
    );
    assert_eq!(status.pools[0].ready, 3);
    assert_eq!(status.capacity.as_ref().unwrap().used_percent, 25);
    assert_eq!(status.observed_generation, Some(7));
    for condition in &status.conditions {
        assert_eq!(condition.observed_generation, Some(7));
    }
}

#[test]
fn what_is_read_back_is_what_was_written() {
    let status = first(&healthy());
    let text = serde_json::to_string(&status).unwrap();
    assert_eq!(serde_json::from_str::<DfsClusterStatus>(&text).unwrap(), status);
    assert!(!text.contains("null"), "{text}");
}

#[test]
fn nothing_new_is_nothing_to_write() {
    let observed = healthy();
    let old = first(&observed);
    let mut later = of(&minimal().spec, &observed, None, &old);
    assert_eq!(later, old);
    later.capacity.as_mut().unwrap().used_bytes += 1;
    later.chunks.as_mut().unwrap().total += 1;
    assert_eq!(patience(&old, &later), Some(NUMBERS), "files come and go");
    later.conditions[0].message.push('.');
    assert_eq!(patience(&old, &later), Some(WORDS), "words hold numbers too");
    later.chunks.as_mut().unwrap().missing += 1;
    assert_eq!(patience(&old, &later), Some(Duration::ZERO));
    let mut more = later.clone();
    more.chunks.as_mut().unwrap().missing += 1;
    more.chunks.as_mut().unwrap().under_replicated = 0;
    assert_eq!(patience(&later, &more), Some(NUMBERS), "one more is nothing new");
    assert_eq!(patience(&old, &old.clone()), None);
}

#[test]
fn times_change_only_with_the_status_of_a_condition() {
    let mut observed = healthy();
    let mut old = first(&observed);
    for condition in &mut old.conditions {
        condition.last_transition_time = Time(Timestamp::UNIX_EPOCH);
    }
    told(&mut observed).healable = 3;
    let new = of(&minimal().spec, &observed, None, &old);
    let time = |kind| new.condition(kind).unwrap().last_transition_time.0;
    assert_eq!(time("Available"), Timestamp::UNIX_EPOCH);
    assert_eq!(time("Degraded").as_second(), now().as_second());
}

#[test]
fn each_trouble_has_its_condition() {
    type Change = fn(&mut Observed);
    let cases: &[(Change, &str, &str, &str)] = &[
        (
            |o| o.files = Files::Silent("nobody answers".to_owned()),
            "Available",
            "False/NoLeader",
            "nobody answers",
        ),
        (
            |o| told(o).members[1].role = MemberRole::Follower,
            "Available",
            "False/NoLeader",
            "no NameNode leads",
        ),
        (|o| told(o).safe_mode = true, "Available", "False/SafeMode", "safe mode"),
        (|o| told(o).nodes.truncate(1), "Available", "False/TooFewDataNodes", "1 DataNodes serve"),
        (
            |o| (told(o).under_replicated, told(o).healable) = (5, 5),
            "Degraded",
            "True/UnderReplicated",
            "5 chunks have too few replicas",
        ),
        (|o| told(o).missing = 1, "Degraded", "True/ChunksMissing", "1 chunks have no replica"),
        (|o| told(o).corrupt = 1, "Degraded", "True/ChunksCorrupt", "no good replica"),
        (|o| told(o).nodes[0].failed_volumes = 2, "Degraded", "True/VolumeFailed", "2 volumes failed"),
        (
            |o| o.pods.get_mut("main-datanode-hot-1").unwrap().ready = false,
            "Degraded",
            "True/DataNodeDown",
            "1 pod is not ready: main-datanode-hot-1",
        ),
        (
            |o| o.pods.get_mut("main-namenode-2").unwrap().ready = false,
            "Degraded",
            "True/NameNodeDown",
            "main-namenode-2",
        ),
        (
            |o| o.pods.get_mut("main-namenode-2").unwrap().ready = false,
            "Progressing",
            "True/PodsStarting",
            "pod main-namenode-2 to serve",
        ),
        (
            |o| o.sets.get_mut("main-namenode").unwrap().revision = Some("two".to_owned()),
            "Progressing",
            "True/Rolling",
            "main-namenode-0",
        ),
    ];
    for (change, kind, verdict, says) in cases {
        let mut observed = healthy();
        let old = first(&observed);
        change(&mut observed);
        let status = of(&minimal().spec, &observed, None, &old);
        assert_eq!(said(&status, kind), *verdict, "{says}");
        let message = &status.condition(kind).unwrap().message;
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn a_pod_that_just_started_is_not_down() {
    let mut observed = healthy();
    let old = first(&observed);
    let pod = observed.pods.get_mut("main-datanode-hot-1").unwrap();
    (pod.ready, pod.age) = (false, 5);
    assert_eq!(said(&of(&minimal().spec, &observed, None, &old), "Degraded"), "False/Healthy");
}

#[test]
fn what_passes_by_itself_is_told_only_when_it_does_not() {
    let whole = healthy();
    let old = first(&whole);
    let mut observed = whole.clone();
    let spec = minimal().spec;
    told(&mut observed).under_replicated = 9;
    assert_eq!(said(&of(&spec, &observed, None, &old), "Degraded"), "False/Healthy", "it can't heal");
    told(&mut observed).healable = 9;
    assert_eq!(said(&after(9, &spec, &observed, None, &old), "Degraded"), "False/Healthy");
    let told_so = after(10, &spec, &observed, None, &old);
    assert_eq!(said(&told_so, "Degraded"), "True/UnderReplicated");
    assert_eq!(said(&after(0, &spec, &observed, None, &told_so), "Degraded"), "True/UnderReplicated");
    observed.files = Files::Silent("away".to_owned());
    let name = ClusterName::new("prod", "main");
    let silent = passing(&name, &spec, &observed);
    assert_eq!(silent.len(), 1, "nobody says that it is over: {silent:?}");
    let mut observed = whole;
    observed.pods.remove("main-datanode-hot-1");
    assert_eq!(said(&after(60, &spec, &observed, None, &old), "Degraded"), "False/Healthy");
    let down = after(100, &spec, &observed, None, &old);
    assert_eq!(said(&down, "Degraded"), "True/DataNodeDown");
}

#[test]
fn chunks_of_lost_volumes_are_told_at_once() {
    let mut observed = healthy();
    let old = first(&observed);
    let spec = minimal().spec;
    let files = told(&mut observed);
    files.nodes[1].state = NodeState::Dead;
    (files.under_replicated, files.healable) = (4, 4);
    assert_eq!(
        said(&after(0, &spec, &observed, None, &old), "Degraded"),
        "False/Healthy",
        "it may come back"
    );
    let files = told(&mut observed);
    let anew = NodeView { id: NodeId::random(), state: NodeState::Live, ..files.nodes[1].clone() };
    files.nodes.push(anew);
    let lost = after(0, &spec, &observed, None, &old);
    assert_eq!(said(&lost, "Degraded"), "True/UnderReplicated");
    let message = &lost.condition("Degraded").unwrap().message;
    assert!(message.contains("the volumes of main-datanode-hot-1 were lost"), "{message}");
    let files = told(&mut observed);
    (files.under_replicated, files.healable) = (0, 0);
    assert_eq!(said(&after(0, &spec, &observed, None, &lost), "Degraded"), "False/Healthy", "all is copied");
    told(&mut observed).nodes[1].state = NodeState::Stale;
    let going = after(0, &spec, &observed, None, &old);
    assert_eq!(said(&going, "Degraded"), "True/UnderReplicated", "it is given up now");
}

#[test]
fn who_may_be_lost_soon_is_no_rest() {
    let mut observed = healthy();
    assert!(!told(&mut observed).is_uneasy());
    let files = told(&mut observed);
    let anew = NodeView { id: NodeId::random(), ..files.nodes[1].clone() };
    files.nodes.push(anew);
    assert!(files.is_uneasy(), "the old one is not missed yet");
    files.nodes[1].state = NodeState::Stale;
    assert!(files.is_uneasy());
    files.nodes[1].state = NodeState::Dead;
    assert!(!files.is_uneasy());
}

#[test]
fn a_datanode_that_has_not_reported_does_not_count_as_ready() {
    let mut observed = healthy();
    told(&mut observed).nodes[1].reported = false;
    let status = first(&observed);
    assert_eq!((status.pools[0].ready, status.data_nodes.unwrap().ready), (2, 2));
    assert_eq!(status.name_nodes.unwrap().ready, 3);
    observed.files = Files::Silent("away".to_owned());
    assert_eq!(first(&observed).pools[0].ready, 3, "nobody can tell");
}

#[test]
fn another_file_system_is_never_taken_for_the_old_one() {
    let mut observed = healthy();
    let old = first(&observed);
    told(&mut observed).cluster = ClusterId::random();
    let status = of(&minimal().spec, &observed, None, &old);
    assert_eq!(status.cluster_id, old.cluster_id);
    assert_eq!(said(&status, "Available"), "False/ClusterIdChanged");
    assert_eq!(said(&status, "Progressing"), "False/ClusterIdChanged");
    assert_eq!(said(&status, "Degraded"), "True/ClusterIdChanged");
}

#[test]
fn a_refusal_does_not_hide_what_is_under_way() {
    let mut observed = healthy();
    let old = first(&observed);
    let mut spec = minimal().spec;
    spec.data_node_pools[0].replicas = 2;
    observed.sets.get_mut("main-namenode").unwrap().revision = Some("two".to_owned());
    let status = of(&spec, &observed, None, &old);
    assert_eq!(said(&status, "Progressing"), "True/Rolling");
    let message = &status.condition("Progressing").unwrap().message;
    assert!(message.contains("main-namenode-0") && message.contains("keeps its 3 DataNodes"), "{message}");
}

#[test]
fn the_beginning_is_no_trouble() {
    let status = first(&Observed::default());
    assert_eq!(said(&status, "Available"), "False/Starting");
    assert_eq!(said(&status, "Progressing"), "True/PodsStarting");
    assert_eq!(said(&status, "Degraded"), "Unknown/Unknown");
    assert_eq!(status.waiting_for.as_deref(), Some("StatefulSet main-namenode"));
}

#[test]
fn specs_that_are_not_obeyed_say_so() {
    let observed = healthy();
    let old = first(&observed);
    let mut spec = minimal().spec;
    spec.data_node_pools[0].replicas = 2;
    let status = of(&spec, &observed, None, &old);
    assert_eq!(said(&status, "Progressing"), "False/ScaleDownRefused");
    assert_eq!((status.pools[0].desired, status.pools[0].ready), (2, 3));
    spec.data_node_pools[0].replicas = 1;
    assert_eq!(said(&of(&spec, &observed, None, &old), "Progressing"), "False/InvalidSpec");
    spec.paused = true;
    assert_eq!(said(&of(&spec, &observed, None, &old), "Progressing"), "False/Paused");
    let failed = of(&minimal().spec, &observed, Some("no such StorageClass"), &old);
    assert_eq!(said(&failed, "Progressing"), "False/ReconcileFailed");
    assert_eq!(failed.condition("Progressing").unwrap().message, "no such StorageClass");
}

#[test]
fn what_nobody_can_tell_stays() {
    let mut observed = healthy();
    let old = first(&observed);
    observed.files = Files::Silent("away".to_owned());
    let new = of(&minimal().spec, &observed, None, &old);
    assert_eq!((&new.cluster_id, &new.chunks, &new.capacity), (&old.cluster_id, &old.chunks, &old.capacity));
}
