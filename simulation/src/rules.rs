//! Rules that no decision may break, checked against what is really on the disks and on the wires.

use std::collections::BTreeMap;
use std::time::Duration;

use dfs_namenode_core::Config;
use dfs_types::Millis;

use crate::network::{Network, Transfer};
use crate::settings::Settings;
use crate::truth::Truth;

/// Broken rules kept in words; further ones are only counted.
const KEPT: usize = 20;
/// Bytes of a copy for which the NameNode waits one more second, as its own decisions have it.
const PATIENCE_RATE: u64 = 8 << 20;

/// What was found, and what is needed to find it.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    found: Vec<String>,
    count: u64,
    /// Deletions told and not carried out yet, by chunk.
    condemned: BTreeMap<u32, u8>,
}

impl Rules {
    /// Broken rules in words.
    pub(crate) fn found(&self) -> &[String] {
        &self.found
    }

    /// How often a rule was broken.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// A rule is broken.
    pub(crate) fn broken(&mut self, now: Millis, what: impl FnOnce() -> String) {
        self.count += 1;
        if self.found.len() < KEPT {
            self.found.push(format!("{} s: {}", now.0 / 1_000, what()));
        }
    }

    /// A node that has the chunk is told to delete it: another replica must stay.
    pub(crate) fn deletion_told(&mut self, truth: &Truth, chunk: u32, node: usize, now: Millis) {
        let condemned = self.condemned.entry(chunk).or_default();
        *condemned += 1;
        let condemned = *condemned;
        if truth.intact(chunk) <= condemned {
            self.broken(now, || {
                format!("node {node} is told to delete chunk {chunk}, of which no replica would be left")
            });
        }
    }

    /// A deletion that was told is carried out or forgotten.
    pub(crate) fn deletion_over(&mut self, chunk: u32) {
        if let Some(condemned) = self.condemned.get_mut(&chunk) {
            *condemned -= 1;
            if *condemned == 0 {
                self.condemned.remove(&chunk);
            }
        }
    }

    /// A replica is about to be deleted.
    pub(crate) fn deleting(&mut self, truth: &Truth, chunk: u32, node: usize, now: Millis) {
        if truth.intact(chunk) <= 1 {
            self.broken(now, || format!("node {node} deletes the last replica of chunk {chunk}"));
        }
    }

    /// A node silent for `silence` takes part in an order; `patience` is the silence after which it is dead.
    pub(crate) fn ordered(
        &mut self,
        silence: Option<Duration>,
        patience: Duration,
        node: usize,
        now: Millis,
    ) {
        if silence.is_none_or(|silence| silence > patience) {
            self.broken(now, || format!("an order involves node {node}, which is dead"));
        }
    }

    /// No more copies are under way than allowed, on these nodes and in the whole cluster. Copies older than the
    /// NameNode waits for them are not counted: it has given them up.
    pub(crate) fn check_streams(
        &mut self,
        settings: &Settings,
        network: &Network,
        nodes: &[usize],
        now: Millis,
    ) {
        let Config { max_copies_per_node, max_copy_bytes_per_node, .. } = settings.config;
        let all = bound_of(settings, settings.config.max_copies, settings.config.max_copy_bytes);
        let patience =
            settings.config.copy_timeout + Duration::from_secs(settings.chunk_bytes / PATIENCE_RATE);
        let current = |transfer: &&Transfer| now.since(transfer.began) < patience;
        if network.transfers().len() > all {
            let count = network.transfers().iter().filter(current).count();
            if count > all {
                self.broken(now, || format!("{count} copies are under way: {all} are allowed"));
            }
        }
        let bound = bound_of(settings, max_copies_per_node, max_copy_bytes_per_node);
        for node in nodes {
            let streams = network.streams(*node);
            if streams.sending.max(streams.receiving) as usize <= bound {
                continue;
            }
            let transfers = || network.transfers().iter().filter(current);
            let sending = transfers().filter(|transfer| transfer.source == *node).count();
            let receiving = transfers().filter(|transfer| transfer.target == *node).count();
            if sending.max(receiving) > bound {
                self.broken(now, || {
                    format!(
                        "node {node} sends {sending} and receives {receiving} copies: {bound} are allowed"
                    )
                });
            }
        }
    }
}

/// Copies allowed by a limit of their number and one of their bytes.
fn bound_of(settings: &Settings, copies: u32, bytes: u64) -> usize {
    let by_bytes = bytes.checked_div(settings.chunk_bytes).unwrap_or(u64::MAX);
    u64::from(copies).min(by_bytes).max(1) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_replica_is_kept_even_from_two_orders_at_once() {
        let (mut rules, truth, now) = (Rules::default(), Truth::new(1, 2), Millis(0));
        rules.deletion_told(&truth, 0, 1, now);
        assert_eq!(rules.count(), 0);
        rules.deletion_told(&truth, 0, 2, now);
        assert_eq!(rules.count(), 1);
        rules.deletion_over(0);
        rules.deletion_over(0);
        rules.deletion_told(&truth, 0, 1, now);
        assert_eq!(rules.count(), 1);
        rules.deleting(&Truth::new(1, 1), 0, 1, now);
        assert_eq!(rules.count(), 2);
    }

    #[test]
    fn too_many_streams_are_found() {
        let settings = Settings::new(10, 10, 1);
        let mut network = Network::new(&settings, Millis(0));
        let mut rules = Rules::default();
        for target in 1..=3 {
            network.start(&settings, (0, 0, target), 0, false, Millis(0));
            rules.check_streams(&settings, &network, &[0, target], Millis(0));
        }
        assert_eq!(rules.found(), ["0 s: node 0 sends 3 and receives 0 copies: 2 are allowed"]);
    }

    #[test]
    fn too_many_copies_in_all_are_found() {
        let mut settings = Settings::new(10, 10, 1);
        settings.config.max_copies = 1;
        let mut network = Network::new(&settings, Millis(0));
        let mut rules = Rules::default();
        network.start(&settings, (0, 0, 1), 0, false, Millis(0));
        rules.check_streams(&settings, &network, &[], Millis(0));
        assert_eq!(rules.count(), 0);
        network.start(&settings, (0, 2, 3), 0, false, Millis(0));
        rules.check_streams(&settings, &network, &[], Millis(0));
        assert_eq!(rules.found(), ["0 s: 2 copies are under way: 1 are allowed"]);
        rules.check_streams(&settings, &network, &[], Millis(3_600_000));
        assert_eq!(rules.count(), 1, "these were given up long ago");
    }

    #[test]
    fn nobody_dead_is_involved() {
        let mut rules = Rules::default();
        let (patience, now) = (Duration::from_secs(15), Millis(0));
        rules.ordered(Some(Duration::from_secs(15)), patience, 1, now);
        assert_eq!(rules.count(), 0);
        rules.ordered(Some(Duration::from_secs(16)), patience, 1, now);
        rules.ordered(None, patience, 2, now);
        assert_eq!(rules.count(), 2);
    }
}
