//! DataNodes that the replicated state remembers, whether they were heard of lately or not, and those that were forgotten for good.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dfs_types::{Address, DutyState, Millis, NodeDuty, NodeId};

use crate::cluster::{Cluster, Node};
use crate::event::{NodeRecord, NodeStats, VolumeRecord};
use crate::{NodeState, Volume};

/// A capacity that differs by less than one part of so many is the same: that of some file systems changes with what is in
/// them.
const CAPACITY_PART: u64 = 16;

/// A node that is remembered.
#[derive(Debug)]
struct Remembered {
    record: NodeRecord,
    /// How long it had not been heard of, as of when.
    silence: (Duration, Millis),
    /// Somebody said that its disks are gone.
    is_lost: bool,
}

/// What the replicated state remembers of nodes.
#[derive(Debug, Default)]
pub(super) struct Registry {
    remembered: BTreeMap<NodeId, Remembered>,
    forgotten: BTreeSet<NodeId>,
}

impl NodeRecord {
    /// What is to be remembered of a node that says this.
    pub fn of(release: &str, stats: &NodeStats) -> Self {
        let volume = |volume: &Volume| VolumeRecord {
            id: volume.id,
            path: volume.path.clone(),
            storage: volume.storage,
            capacity: volume.capacity,
        };
        // In an order that is the same for every process of the node.
        let mut volumes: Vec<VolumeRecord> = stats.volumes.iter().map(volume).collect();
        volumes.sort_unstable_by(|one, other| (&one.path, one.id).cmp(&(&other.path, other.id)));
        Self {
            address: stats.address.clone(),
            machine: stats.machine.clone(),
            release: release.to_owned(),
            volumes,
        }
    }
}

/// Whether what a node says is worth to be written in the place of what is known. A failed volume has no capacity: what it
/// had stays.
fn is_news(node: &Node, known: &NodeRecord) -> bool {
    let mut volumes: Vec<&Volume> = node.stats.volumes.iter().collect();
    volumes.sort_unstable_by_key(|volume| (&volume.path, volume.id));
    let is_same = |(says, known): (&&Volume, &VolumeRecord)| {
        let differs = says.capacity.abs_diff(known.capacity) > known.capacity / CAPACITY_PART;
        (says.id, &says.path, says.storage) == (known.id, &known.path, known.storage)
            && (says.capacity == 0 || !differs)
    };
    (&node.stats.address, &node.stats.machine, &node.version)
        != (&known.address, &known.machine, &known.release)
        || volumes.len() != known.volumes.len()
        || !volumes.iter().zip(&known.volumes).all(is_same)
}

impl Registry {
    /// The disks of a node that is only remembered are gone.
    pub(super) fn lose(&mut self, id: NodeId) {
        if let Some(known) = self.remembered.get_mut(&id) {
            known.is_lost = true;
        }
    }
}

/// A node that is remembered and was not heard of since this process began, or for so long that it has no place in the table.
#[derive(Debug)]
pub(crate) struct Absent<'a> {
    pub(crate) id: NodeId,
    pub(crate) record: &'a NodeRecord,
    /// Since it was heard of.
    pub(crate) silence: Duration,
    /// What it is taken for.
    pub(crate) state: NodeState,
    pub(crate) duty: DutyState,
    /// When its maintenance ends, if it is to be in maintenance.
    pub(crate) maintenance_until: Option<Millis>,
}

impl Cluster {
    /// Whether an administrator has forgotten the node for good.
    pub(crate) fn is_forgotten(&self, node: NodeId) -> bool {
        self.registry.forgotten.contains(&node)
    }

    /// Whether the node is known: heard of lately, or remembered.
    pub(crate) fn is_known(&self, node: NodeId) -> bool {
        self.nodes.find(node).is_some() || self.registry.remembered.contains_key(&node)
    }

    /// Where a node is or was.
    pub(crate) fn endpoint(&self, node: NodeId) -> Option<&Address> {
        let lately = self.by_id(node).map(|node| &node.stats.address);
        lately.or_else(|| self.registry.remembered.get(&node).map(|known| &known.record.address))
    }

    /// At most so many nodes of which the replicated state should remember what they say now, or that they are dead: what
    /// that is, and how long ago they were heard of.
    pub(crate) fn to_record(&self, limit: usize, now: Millis) -> Vec<(NodeId, NodeRecord, Duration)> {
        let due = |node: &&Node| {
            let known = self.registry.remembered.get(&node.id);
            let died = node.state == NodeState::Dead && node.noted != Some(node.seen);
            !self.is_forgotten(node.id) && (died || known.is_none_or(|known| is_news(node, &known.record)))
        };
        let news = self.nodes.iter().map(|(_, node)| node).filter(due).take(limit);
        news.map(|node| (node.id, NodeRecord::of(&node.version, &node.stats), now.since(node.seen))).collect()
    }

    /// The replicated state remembers this of a node.
    pub(crate) fn remember(&mut self, id: NodeId, mut record: NodeRecord, silence: Duration, now: Millis) {
        if let Some(index) = self.nodes.find(id)
            && let Some(node) = self.nodes.get_mut(index)
            && node.state == NodeState::Dead
        {
            node.noted = Some(node.seen);
        }
        // As in the replicated state: of a failed volume the capacity stays.
        let before = self.registry.remembered.get(&id).map_or(&[][..], |known| &known.record.volumes);
        for volume in record.volumes.iter_mut().filter(|volume| volume.capacity == 0) {
            let known = before.iter().find(|known| known.id == volume.id);
            volume.capacity = known.map_or(0, |known| known.capacity);
        }
        let remembered = Remembered { record, silence: (silence, now), is_lost: false };
        self.registry.remembered.insert(id, remembered);
    }

    /// An administrator has forgotten a node: it counts for nothing, and its place in the table is given up once it is dead.
    pub(crate) fn forget(&mut self, id: NodeId) {
        self.registry.remembered.remove(&id);
        self.registry.forgotten.insert(id);
    }

    /// The nodes that are remembered only. `nothing_lost`: no chunk lacks all of its replicas, which is all that can be known
    /// of what they held.
    pub(crate) fn absent(&self, nothing_lost: bool, now: Millis) -> impl Iterator<Item = Absent<'_>> {
        // A moment ago nobody had been heard of.
        let fresh = self.is_fresh(now);
        let absent = self.registry.remembered.iter().filter(|(id, _)| self.nodes.find(**id).is_none());
        absent.map(move |(id, known)| {
            let state = if fresh && !known.is_lost { NodeState::Stale } else { NodeState::Dead };
            let (duty, maintenance_until) = match self.duty_of(*id) {
                NodeDuty::InService => (DutyState::InService, None),
                NodeDuty::Decommission if nothing_lost => (DutyState::Decommissioned, None),
                NodeDuty::Decommission => (DutyState::Decommissioning, None),
                NodeDuty::Maintenance { until } => (DutyState::EnteringMaintenance, Some(until)),
            };
            let (silence, at) = known.silence;
            let silence = silence.saturating_add(now.since(at));
            Absent { id: *id, record: &known.record, silence, state, duty, maintenance_until }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Event;
    use crate::test_support::{Rig, node_id, stats};

    fn remember(rig: &mut Rig, n: u16, silence: Duration) {
        let record = NodeRecord::of("1", &stats(n));
        rig.apply(Event::NodeRecorded { node: node_id(n), record, silence });
    }

    fn due(rig: &Rig) -> Vec<NodeId> {
        rig.core.to_record(100, rig.now).into_iter().map(|(id, _, _)| id).collect()
    }

    #[test]
    fn what_nodes_say_is_noted_once_and_again_when_they_die() {
        let mut rig = Rig::with_nodes(3);
        assert_eq!(due(&rig).len(), 3);
        assert_eq!(rig.core.to_record(2, rig.now).len(), 2);
        for (id, record, silence) in rig.core.to_record(100, rig.now) {
            rig.apply(Event::NodeRecorded { node: id, record, silence });
        }
        assert_eq!(due(&rig), []);
        rig.run(Duration::from_mins(1), &[0, 1]);
        let dead = rig.core.to_record(100, rig.now);
        assert_eq!(dead.iter().map(|(id, _, _)| *id).collect::<Vec<_>>(), [node_id(2)]);
        assert!(dead[0].2 >= Duration::from_secs(59), "{:?}", dead[0].2);
        remember(&mut rig, 2, dead[0].2);
        assert_eq!(due(&rig), [], "of a death once");
        let mut larger = stats(0);
        larger.volumes[0].capacity += larger.volumes[0].capacity / 20;
        rig.join(0, larger.clone());
        assert_eq!(due(&rig), [], "a little more is nothing new");
        larger.volumes[0].capacity *= 2;
        rig.join(0, larger);
        assert_eq!(due(&rig), [node_id(0)]);
        let mut moved = stats(1);
        moved.address.data_port += 1;
        rig.join(1, moved);
        assert_eq!(due(&rig), [node_id(0), node_id(1)]);
    }

    #[test]
    fn who_is_remembered_is_told_without_having_been_heard_of() {
        let mut rig = Rig::default();
        let hour = Duration::from_hours(1);
        remember(&mut rig, 7, hour);
        let view = |rig: &Rig| rig.core.nodes(rig.now).pop().unwrap();
        assert_eq!((view(&rig).state, view(&rig).node.at), (NodeState::Stale, stats(7).address));
        rig.run(Duration::from_secs(20), &[]);
        assert_eq!(view(&rig).state, NodeState::Dead);
        assert!(view(&rig).silent >= hour + Duration::from_secs(19));
        assert_eq!(rig.core.totals(rig.now).dead_nodes, 1);
        assert!(rig.core.is_known(node_id(7)) && rig.core.endpoint(node_id(7)).is_some());
        rig.join(7, stats(7));
        assert_eq!((rig.core.nodes(rig.now).len(), view(&rig).state), (1, NodeState::Live));
        // Gone from the table after a day, and still remembered.
        rig.run(Duration::from_secs(30), &[]);
        rig.now = rig.now.plus(Duration::from_hours(25));
        rig.run(Duration::from_secs(30), &[]);
        assert_eq!(view(&rig).state, NodeState::Dead);
        rig.check();
    }

    #[test]
    fn who_is_forgotten_is_gone_for_good() {
        let mut rig = Rig::with_nodes(2);
        rig.chunk(10, 2, &[0, 1]);
        rig.out_of_safe_mode();
        remember(&mut rig, 0, Duration::ZERO);
        rig.run(Duration::from_mins(1), &[1]);
        rig.apply(Event::NodeForgotten { node: node_id(0) });
        rig.run(Duration::from_secs(5), &[1]);
        let ids: Vec<_> = rig.core.nodes(rig.now).into_iter().map(|view| view.node.id).collect();
        assert_eq!(ids, [node_id(1)]);
        assert!(rig.core.is_forgotten(node_id(0)) && !rig.core.is_known(node_id(0)));
        assert_eq!(due(&rig), [node_id(1)]);
        rig.check();
    }
}
