//! Plans step by step, against a small Kubernetes of plain values that obeys them.

use dfs_client::NodeState;
use dfs_types::{ClusterId, MemberRole};

use super::*;
use crate::build::tests::minimal;
use crate::observe::{ClaimView, Files, FilesView, MemberView, NodeView, TemplateView};
use dfs_kubernetes::names::Component;

/// Three NameNodes and three DataNodes, all as asked for.
struct World {
    name: ClusterName,
    spec: DfsClusterSpec,
    observed: Observed,
    made: u32,
}

const SETS: [(&str, Component); 2] =
    [("main-namenode", Component::NameNode), ("main-datanode-hot", Component::DataNode)];

impl World {
    fn new() -> Self {
        let mut world = Self {
            name: ClusterName::new("prod", "main"),
            spec: minimal().spec,
            observed: Observed::default(),
            made: 0,
        };
        world.observed.files = Files::Told(Box::new(FilesView {
            cluster: ClusterId::random(),
            members: Vec::new(),
            safe_mode: false,
            nodes: Vec::new(),
            chunks: 100,
            under_replicated: 0,
            healable: 0,
            only_one_copy: 0,
            missing: 0,
            corrupt: 0,
            waiting_recoveries: 0,
            capacity: 100,
            used: 10,
        }));
        for (name, component) in SETS {
            let sizes = match component {
                Component::NameNode => [("metadata".to_owned(), 10 << 30)],
                Component::DataNode => [("d0".to_owned(), 1 << 40)],
            };
            let claims = sizes.map(|(name, bytes)| (name, TemplateView { bytes: Some(bytes), class: None }));
            let set = SetView {
                uid: format!("uid-{name}"),
                replicas: 3,
                revision: Some("one".to_owned()),
                claims: claims.into(),
                pool: (component == Component::DataNode).then(|| "hot".to_owned()),
                component,
            };
            let (volume, template) = set.claims.iter().next().unwrap();
            make_claims(&mut world.observed, name, volume, template.bytes.unwrap());
            world.observed.sets.insert(name.to_owned(), set);
            for ordinal in 0..3 {
                world.make_pod(name, ordinal);
            }
        }
        for id in 1..=3 {
            let role = if id == 1 { MemberRole::Leader } else { MemberRole::Follower };
            let pod = Some(format!("main-namenode-{}", id - 1));
            world.files().members.push(MemberView { id, pod, role });
        }
        for ordinal in 0..3 {
            let node = datanode(&format!("main-datanode-hot-{ordinal}"));
            world.files().nodes.push(node);
        }
        world
    }

    fn files(&mut self) -> &mut FilesView {
        match &mut self.observed.files {
            Files::Told(files) => files,
            Files::NotAsked | Files::Silent(_) => panic!("it always tells"),
        }
    }

    fn make_pod(&mut self, set: &str, ordinal: u32) {
        let view = &self.observed.sets[set];
        self.made += 1;
        let pod = PodView {
            uid: format!("pod-{}", self.made),
            component: view.component,
            pool: view.pool.clone(),
            revision: view.revision.clone().unwrap(),
            ready: true,
            terminating: false,
            age: 1_000,
            trouble: None,
        };
        self.observed.pods.insert(format!("{set}-{ordinal}"), pod);
    }

    fn plan(&self) -> Plan {
        plan(&self.name, &self.spec, &self.observed, None)
    }

    fn pod(&mut self, name: &str) -> &mut PodView {
        self.observed.pods.get_mut(name).unwrap()
    }

    fn set(&mut self, name: &str) -> &mut SetView {
        self.observed.sets.get_mut(name).unwrap()
    }

    fn new_template(&mut self, set: &str) {
        self.set(set).revision = Some("two".to_owned());
    }

    fn lead(&mut self, pod: &str) {
        for member in &mut self.files().members {
            let leads = member.pod.as_deref() == Some(pod);
            member.role = if leads { MemberRole::Leader } else { MemberRole::Follower };
        }
    }

    /// Does what a step says, as Kubernetes and the file system would. Answers with what it did.
    fn obey(&mut self, step: &Step) -> String {
        match step {
            Step::ReplacePod { pod, uid } => {
                assert_eq!(self.observed.pods[pod].uid, *uid, "that very pod");
                let (set, ordinal) = pod.rsplit_once('-').unwrap();
                let (set, ordinal) = (set.to_owned(), ordinal.parse().unwrap());
                self.make_pod(&set, ordinal);
                format!("replace {pod}")
            }
            Step::MoveLeader { from } => {
                let to = self.files().members.iter().find(|member| member.pod.as_ref() != Some(from));
                let to = to.unwrap().pod.clone().unwrap();
                self.lead(&to);
                format!("move leader from {from}")
            }
            other => format!("{other:?}"),
        }
    }

    /// What is done until nothing is left to do.
    fn run(&mut self) -> Vec<String> {
        let mut done = Vec::new();
        for _ in 0..100 {
            let plan = self.plan();
            if plan.is_idle() {
                return done;
            }
            assert!(plan.steps.len() <= 1, "one at a time: {plan:?}");
            assert!(!plan.steps.is_empty(), "it would wait for ever: {plan:?}");
            for step in &plan.steps {
                done.push(self.obey(step));
            }
        }
        panic!("it never ends: {done:?}");
    }

    fn refused(&self) -> Vec<String> {
        self.plan().refused.iter().map(|refusal| refusal.words().to_owned()).collect()
    }

    fn waits(&self) -> Vec<String> {
        self.plan().waiting.into_iter().map(|wait| wait.what).collect()
    }
}

fn make_claims(observed: &mut Observed, set: &str, volume: &str, size: u64) {
    for ordinal in 0..3 {
        let claim = ClusterName::claim(volume, &format!("{set}-{ordinal}"));
        observed.claims.insert(
            claim,
            ClaimView { requested: size, capacity: size, unfinished: None, terminating: false },
        );
    }
}

fn datanode(pod: &str) -> NodeView {
    NodeView {
        id: NodeId::random(),
        pod: Some(pod.to_owned()),
        state: NodeState::Live,
        reported: true,
        failed_volumes: 0,
    }
}

#[test]
fn nothing_is_done_when_all_is_as_asked_for() {
    let world = World::new();
    assert_eq!(world.plan(), Plan::default());
    assert_eq!(world.plan().work(), None);
}

#[test]
fn namenodes_are_replaced_one_by_one_and_the_leader_last() {
    let mut world = World::new();
    world.lead("main-namenode-1");
    world.new_template("main-namenode");
    assert_eq!(world.plan().work(), Some(Work::Rolling));
    assert_eq!(
        world.run(),
        [
            "replace main-namenode-0",
            "replace main-namenode-2",
            "move leader from main-namenode-1",
            "replace main-namenode-1",
        ]
    );
}

#[test]
fn datanodes_come_after_the_namenodes() {
    let mut world = World::new();
    world.new_template("main-namenode");
    world.new_template("main-datanode-hot");
    let done = world.run();
    assert_eq!(done.len(), 7, "{done:?}");
    assert_eq!(
        done[4..],
        ["replace main-datanode-hot-0", "replace main-datanode-hot-1", "replace main-datanode-hot-2"]
    );
}

#[test]
fn a_roll_waits_for_whatever_could_be_lost() {
    type Change = fn(&mut World);
    let namenodes: &[(Change, &str)] = &[
        (|world| world.pod("main-namenode-2").ready = false, "NameNode main-namenode-2 to serve"),
        (|world| world.pod("main-namenode-2").terminating = true, "NameNode main-namenode-2 to serve"),
        (|world| drop(world.observed.pods.remove("main-namenode-2")), "NameNode main-namenode-2 to serve"),
        (|world| world.files().members[2].role = MemberRole::Learner, "main-namenode-2 to catch up"),
        (|world| world.files().members[2].role = MemberRole::Unreachable, "main-namenode-2 to catch up"),
        (|world| world.files().members[0].role = MemberRole::Candidate, "a NameNode to lead"),
        (|world| world.observed.files = Files::Silent("no".to_owned()), "an answer of the NameNodes"),
        (|world| world.set("main-namenode").revision = None, "take over its template"),
    ];
    for (change, what) in namenodes {
        let mut world = World::new();
        world.new_template("main-namenode");
        // The one that is away is of the new template already.
        world.make_pod("main-namenode", 2);
        change(&mut world);
        assert_eq!(world.plan().steps, [], "{what}");
        assert!(world.waits()[0].contains(what), "{what}: {:?}", world.waits());
    }
    let datanodes: &[(Change, &str)] = &[
        (|world| world.pod("main-datanode-hot-2").ready = false, "DataNode main-datanode-hot-2 to serve"),
        (|world| world.files().healable = 7, "7 under-replicated chunks to be copied"),
        (|world| world.files().safe_mode = true, "the end of safe mode"),
        (|world| world.files().nodes[1].reported = false, "main-datanode-hot-1 to report what it holds"),
        (
            |world| world.files().nodes[1].state = NodeState::Stale,
            "main-datanode-hot-1 to report what it holds",
        ),
        (|world| world.observed.files = Files::NotAsked, "an answer of the NameNodes"),
    ];
    for (change, what) in datanodes {
        let mut world = World::new();
        world.new_template("main-datanode-hot");
        world.make_pod("main-datanode-hot", 2);
        change(&mut world);
        assert_eq!(world.plan().steps, [], "{what}");
        assert!(world.waits()[0].contains(what), "{what}: {:?}", world.waits());
    }
}

#[test]
fn a_want_that_can_not_end_holds_nothing_up() {
    let mut world = World::new();
    // Files that ask for more replicas than there are DataNodes.
    world.files().under_replicated = 100;
    world.new_template("main-datanode-hot");
    assert_eq!(world.run().len(), 3);
}

#[test]
fn what_a_wrong_spec_left_is_replaced_first() {
    let mut world = World::new();
    world.new_template("main-namenode");
    world.make_pod("main-namenode", 2);
    world.pod("main-namenode-2").ready = false;
    // The correction: the broken pod is outdated now, and so are the others.
    world.set("main-namenode").revision = Some("three".to_owned());
    assert_eq!(world.plan().steps.len(), 1);
    assert_eq!(world.run()[0], "replace main-namenode-2");
}

#[test]
fn an_image_that_does_not_start_holds_the_roll_up_and_is_told_of_until_it_is_corrected() {
    for (set, pod) in [("main-namenode", "main-namenode-0"), ("main-datanode-hot", "main-datanode-hot-0")] {
        let mut world = World::new();
        world.lead("main-namenode-2");
        // The release before, after the upgrade was finalized.
        world.new_template(set);
        world.make_pod(set, 0);
        world.pod(pod).ready = false;
        world.pod(pod).trouble = Some("CrashLoopBackOff: error: no such level".to_owned());
        assert_eq!(world.plan().steps, [], "the others serve on");
        let waits = world.waits();
        assert!(
            waits[0].contains(pod) && waits[0].ends_with("(CrashLoopBackOff: error: no such level)"),
            "{waits:?}"
        );
        // The template is again that of the others.
        world.set(set).revision = Some("one".to_owned());
        assert_eq!(world.run(), [format!("replace {pod}")]);
    }
}

#[test]
fn who_does_not_serve_is_left_alone_while_others_do_not_either() {
    // A: a wrong image was rolled back when NameNode 0 crashed, and a blip makes NameNode 1 unready.
    let mut world = World::new();
    world.new_template("main-namenode");
    world.pod("main-namenode-0").ready = false;
    world.pod("main-namenode-0").trouble = Some("CrashLoopBackOff".to_owned());
    world.pod("main-namenode-1").ready = false;
    let Some(Step::ReplacePod { pod, .. }) = world.plan().steps.pop() else { panic!("{:?}", world.plan()) };
    assert_eq!(pod, "main-namenode-0", "it can't get worse");
    world.make_pod("main-namenode", 0);
    world.pod("main-namenode-0").ready = false;
    assert_eq!(world.plan().steps, [], "two of three are away");
    assert!(world.waits()[0].contains("main-namenode-0 to serve"), "{:?}", world.waits());
    // B: the leader began anew, and no DataNode has reported to it yet.
    let mut world = World::new();
    world.new_template("main-datanode-hot");
    for ordinal in 0..3 {
        world.pod(&format!("main-datanode-hot-{ordinal}")).ready = false;
        world.files().nodes[ordinal].reported = false;
    }
    assert_eq!(world.plan().steps, []);
    for ordinal in 0..2 {
        world.pod(&format!("main-datanode-hot-{ordinal}")).ready = true;
    }
    assert_eq!(world.plan().steps, [], "two have reported to nobody yet");
    for ordinal in 0..2 {
        world.files().nodes[ordinal].reported = true;
    }
    let Some(Step::ReplacePod { pod, .. }) = world.plan().steps.pop() else { panic!("{:?}", world.plan()) };
    assert_eq!(pod, "main-datanode-hot-2", "all others serve");
    world.files().healable = 5;
    assert_eq!(world.plan().steps.len(), 1, "they are in want because it does not serve");
    world.files().safe_mode = true;
    assert_eq!(world.plan().steps, []);
}

#[test]
fn a_set_with_more_pods_than_asked_for_is_not_made_anew() {
    let mut world = World::new();
    world.spec.data_node_pools[0].replicas = 2;
    world.spec.data_node_pools[0].volumes[0].size = "2Ti".to_owned();
    let steps = world.plan().steps;
    assert_eq!(steps.len(), 3, "the claims grow all the same: {steps:?}");
    assert!(!steps.iter().any(|step| matches!(step, Step::RemakeSet { .. })), "{steps:?}");
}

#[test]
fn volumes_that_can_not_be_are_refused_in_words() {
    let mut world = World::new();
    world.spec.data_node_pools[0].volumes[0].size = "512Gi".to_owned();
    let refused = world.refused();
    assert_eq!(refused.len(), 3);
    assert_eq!(
        refused[0],
        "claim d0-main-datanode-hot-0 asks for 1Ti and can't shrink: write at least 1Ti, not 512Gi"
    );
    let mut world = World::new();
    world.spec.data_node_pools[0].volumes[0].size = "much".to_owned();
    assert!(world.refused()[0].contains("can't have the size 'much'"), "{:?}", world.refused());
    let mut world = World::new();
    world.spec.data_node_pools[0].reserve = Some("99999999999Ti".to_owned());
    assert!(world.refused()[0].contains("can't reserve '99999999999Ti'"), "{:?}", world.refused());
}

#[test]
fn a_pool_that_was_put_back_with_other_volumes_is_refused() {
    for change in [
        |world: &mut World| world.spec.data_node_pools[0].volumes[0].name = "d1".to_owned(),
        |world: &mut World| {
            world.spec.data_node_pools[0].volumes[0].storage_class_name = Some("fast".to_owned());
        },
    ] {
        let mut world = World::new();
        assert_eq!(unfit(&world.name, &world.spec, &world.observed), [].into());
        change(&mut world);
        let unfit = unfit(&world.name, &world.spec, &world.observed);
        assert_eq!(unfit.keys().collect::<Vec<_>>(), ["main-datanode-hot"], "it is not applied");
        assert!(world.refused()[0].contains("use another name for the pool"), "{:?}", world.refused());
        assert_eq!(world.plan().steps, []);
    }
}

#[test]
fn a_volume_that_grows_only_at_a_start_has_its_pod_replaced() {
    let mut world = World::new();
    let claim = world.observed.claims.get_mut("d0-main-datanode-hot-1").unwrap();
    claim.unfinished = Some(30);
    assert_eq!(world.plan().steps, [], "the kubelet may be about to do it");
    world.observed.claims.get_mut("d0-main-datanode-hot-1").unwrap().unfinished = Some(400);
    let Some(Step::ReplacePod { pod, .. }) = world.plan().steps.pop() else { panic!("{:?}", world.plan()) };
    assert_eq!(pod, "main-datanode-hot-1");
    world.pod("main-datanode-hot-1").age = 100;
    assert_eq!(world.plan().steps, [], "that was done");
}

#[test]
fn a_set_that_was_just_made_starts_and_does_not_roll() {
    let mut world = World::new();
    world.set("main-namenode").revision = None;
    assert_eq!(world.plan().work(), Some(Work::Rolling));
    world.observed.pods.clear();
    assert_eq!(world.plan().work(), Some(Work::Starting));
}

#[test]
fn nothing_is_done_while_another_file_system_is_served() {
    let mut world = World::new();
    world.new_template("main-namenode");
    let served = world.files().cluster.to_string();
    let planned = |known| plan(&world.name, &world.spec, &world.observed, Some(known));
    assert_eq!(planned(served.as_str()).steps.len(), 1);
    let other = planned("another");
    assert_eq!((other.steps.len(), other.waiting.len()), (0, 0));
    assert!(
        matches!(&other.refused[..], [Refusal::OtherFileSystem(words)] if words.contains("restore")),
        "{other:?}"
    );
}

#[test]
fn a_single_namenode_is_just_replaced() {
    let mut world = World::new();
    world.spec.name_node.replicas = 1;
    world.set("main-namenode").replicas = 1;
    world.observed.pods.remove("main-namenode-1");
    world.observed.pods.remove("main-namenode-2");
    world.new_template("main-namenode");
    assert_eq!(world.run(), ["replace main-namenode-0"]);
}

#[test]
fn fewer_datanodes_than_there_are_is_refused_in_words() {
    let mut world = World::new();
    world.spec.data_node_pools[0].replicas = 2;
    let refused = world.refused();
    assert!(refused[0].contains("pool hot keeps its 3 DataNodes although 2 are asked for"), "{refused:?}");
    world.spec.data_node_pools.clear();
    let refused = world.refused();
    assert!(refused[0].contains("put the pool back"), "{refused:?}");
    assert_eq!(world.plan().steps, []);
}

#[test]
fn a_datanode_whose_volumes_were_lost_is_given_up_at_once() {
    let mut world = World::new();
    let old = world.files().nodes[1].clone();
    world.files().nodes[1].state = NodeState::Stale;
    assert_eq!(world.plan().steps, [], "it may come back");
    world.files().nodes.push(datanode("main-datanode-hot-1"));
    let lost = (old.id, "main-datanode-hot-1".to_owned());
    assert_eq!(world.plan().steps, [Step::AnnounceLoss { nodes: vec![lost] }]);
    world.files().nodes[1].state = NodeState::Dead;
    world.files().healable = 1;
    assert_eq!(world.plan().steps, [], "everybody knows");
    world.files().healable = 0;
    world.files().waiting_recoveries = 1;
    assert_eq!(world.plan().steps, [], "it may be what is waited for");
    world.files().waiting_recoveries = 0;
    let lost = (old.id, "main-datanode-hot-1".to_owned());
    assert_eq!(world.plan().steps, [Step::ForgetNodes { nodes: vec![lost] }]);
}

#[test]
fn claims_grow_before_their_template_is_made_anew() {
    let mut world = World::new();
    world.spec.data_node_pools[0].volumes[0].size = "2Ti".to_owned();
    let steps = world.plan().steps;
    assert_eq!(steps.len(), 4);
    assert_eq!(
        steps[0],
        Step::GrowClaim {
            set: "main-datanode-hot".to_owned(),
            claim: "d0-main-datanode-hot-0".to_owned(),
            size: "2Ti".to_owned(),
        }
    );
    assert!(matches!(&steps[3], Step::RemakeSet { set, .. } if set == "main-datanode-hot"));
    for claim in world.observed.claims.values_mut().filter(|claim| claim.requested == 1 << 40) {
        claim.requested = 2 << 40;
    }
    world.set("main-datanode-hot").claims.get_mut("d0").unwrap().bytes = Some(2 << 40);
    assert_eq!(world.plan().steps, []);
    assert_eq!(world.plan().work(), Some(Work::Resizing));
    assert_eq!(world.waits()[0], "claim d0-main-datanode-hot-0 to grow to 2Ti");
}

#[test]
fn pods_that_do_not_serve_are_told_of_with_their_trouble() {
    let mut world = World::new();
    world.pod("main-datanode-hot-1").ready = false;
    world.pod("main-datanode-hot-1").trouble = Some("ImagePullBackOff: no such image".to_owned());
    assert_eq!(world.waits(), ["pod main-datanode-hot-1: ImagePullBackOff: no such image"]);
    assert_eq!(world.plan().work(), Some(Work::Starting));
    world.pod("main-datanode-hot-1").trouble = Some("not scheduled: unbound claims".to_owned());
    world.observed.claims.get_mut("d0-main-datanode-hot-1").unwrap().capacity = 0;
    assert_eq!(
        world.waits(),
        [
            "pod main-datanode-hot-1: not scheduled: unbound claims; claim d0-main-datanode-hot-1 waits for a volume of the \
          default StorageClass"
        ]
    );
    let nothing = Observed::default();
    let plan = plan(&world.name, &world.spec, &nothing, None);
    assert_eq!(plan.waiting.len(), 2, "two StatefulSets: {plan:?}");
}
