//! Safe mode: no changes, no copies, no deletions until enough is known of where the chunks are.

use dfs_types::SafeModeStatus;

/// Why safe mode is on or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The namespace's chunks are being loaded.
    Loading,
    /// Reports are coming in.
    Waiting,
    /// It ended.
    Off,
    /// An administrator wants it.
    Manual,
}

/// Whether safe mode is on.
#[derive(Debug)]
pub(super) struct SafeMode {
    phase: Phase,
    /// What the world was last told.
    announced: bool,
}

impl SafeMode {
    pub(super) fn new() -> Self {
        Self { phase: Phase::Loading, announced: true }
    }

    pub(super) fn is_on(&self) -> bool {
        self.phase != Phase::Off
    }

    /// All chunks of the namespace are known.
    pub(super) fn loaded(&mut self) {
        if self.phase == Phase::Loading {
            self.phase = Phase::Waiting;
        }
    }

    /// An administrator switches it; `true` if that ends it. The leader he looked at leaves it whatever is reported; a
    /// follower, which may know less, waits for reports as after its start.
    pub(super) fn set(&mut self, on: bool, leads: bool) -> bool {
        let was_on = self.is_on();
        self.phase = match (on, leads, self.phase) {
            (true, _, _) => Phase::Manual,
            (false, true, _) => Phase::Off,
            (false, false, Phase::Manual) => Phase::Waiting,
            (false, false, phase) => phase,
        };
        was_on && !self.is_on()
    }

    /// Ends it if it waits for reports and enough are in; `true` if so.
    pub(super) fn check(&mut self, reported: u64, needed: u64) -> bool {
        let ends = self.phase == Phase::Waiting && reported >= needed;
        if ends {
            self.phase = Phase::Off;
        }
        ends
    }

    /// Whether it is on, if the world has not been told yet.
    pub(super) fn announce(&mut self) -> Option<bool> {
        let on = self.is_on();
        let changed = on != self.announced;
        self.announced = on;
        changed.then_some(on)
    }

    pub(super) fn view(&self, reported: u64, needed: u64) -> SafeModeStatus {
        SafeModeStatus { on: self.is_on(), manual: self.phase == Phase::Manual, reported, needed }
    }
}

/// Chunks out of `committed` that must have a good replica.
pub(super) fn needed(committed: u64, threshold: f64) -> u64 {
    ((committed as f64 * threshold).ceil() as u64).min(committed)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dfs_types::ReplicaState;

    use super::*;
    use crate::test_support::{LENGTH, Rig, record};

    #[test]
    fn ends_when_enough_is_reported_but_not_before_all_is_loaded() {
        let mut mode = SafeMode::new();
        assert!(!mode.check(0, 0));
        mode.loaded();
        assert!(!mode.check(4, 5));
        assert_eq!(mode.announce(), None);
        assert!(mode.check(5, 5));
        assert_eq!((mode.announce(), mode.announce()), (Some(false), None));
    }

    #[test]
    fn an_administrator_has_the_last_word() {
        let mut mode = SafeMode::new();
        mode.loaded();
        assert!(!mode.set(true, true));
        assert!(!mode.check(5, 5));
        assert!(mode.view(5, 5).manual);
        assert!(mode.set(false, true));
        assert!(!mode.set(false, true), "it was off");
    }

    #[test]
    fn a_follower_leaves_it_when_it_knows_enough() {
        let mut mode = SafeMode::new();
        mode.loaded();
        assert!(!mode.set(false, false) && mode.is_on(), "it was only started");
        assert!(!mode.set(true, false));
        assert!(!mode.check(5, 5));
        assert!(!mode.set(false, false));
        assert!(!mode.check(4, 5) && mode.is_on());
        assert!(mode.check(5, 5) && !mode.is_on());
        assert!(!mode.set(false, false), "it is off already");
    }

    #[test]
    fn what_was_not_finished_is_not_waited_for() {
        let mut rig = Rig::with_nodes(1);
        rig.add_chunk(10, LENGTH, 1);
        rig.core.loaded(rig.now);
        rig.run(Duration::from_secs(1), &[0]);
        assert!(rig.core.safe_mode().on, "nobody has told anything of the chunk");
        rig.report(0, vec![record(10, ReplicaState::Rwr)]);
        rig.run(Duration::from_secs(1), &[0]);
        assert!(!rig.core.safe_mode().on);
    }

    #[test]
    fn a_threshold_is_rounded_up() {
        assert_eq!([needed(0, 0.999), needed(1, 0.999), needed(10_000, 0.999)], [0, 1, 9_990]);
        assert_eq!(needed(10, 7.0), 10);
    }
}
