//! What a simulation showed.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

/// How evenly the nodes' disks are used, in percent of each.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Balance {
    /// Mean.
    pub mean: f64,
    /// Standard deviation.
    pub deviation: f64,
    /// Least used node.
    pub least: f64,
    /// Most used node.
    pub most: f64,
}

impl Balance {
    /// Of these shares from 0 to 1.
    pub(crate) fn of(shares: &[f64]) -> Self {
        let count = shares.len().max(1) as f64;
        let mean = shares.iter().sum::<f64>() / count;
        let variance = shares.iter().map(|share| (share - mean).powi(2)).sum::<f64>() / count;
        let least = shares.iter().copied().fold(f64::INFINITY, f64::min);
        let most = shares.iter().copied().fold(0.0, f64::max);
        Self {
            mean: 100.0 * mean,
            deviation: 100.0 * variance.sqrt(),
            least: 100.0 * if least.is_finite() { least } else { 0.0 },
            most: 100.0 * most,
        }
    }
}

/// Processor time of one kind of calls into the NameNode's decisions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Work {
    /// What for.
    pub kind: &'static str,
    /// Number of calls.
    pub calls: u64,
    /// Seconds of all.
    pub seconds: f64,
    /// Milliseconds of the longest measured: one tick or report, or a tenth of all heartbeats.
    pub longest_ms: f64,
}

/// What depends on the machine that simulates: nothing of it influences what happens.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Costs {
    /// Processor time in the NameNode's decisions, by kind, from the first chunk loaded.
    pub work: Vec<Work>,
    /// Seconds of it until the scenario began, per million chunks.
    pub start_seconds_per_million_chunks: f64,
    /// Seconds of it from then on.
    pub scenario_seconds: f64,
    /// The same per million chunks.
    pub scenario_seconds_per_million_chunks: f64,
    /// The same in milliseconds per second of virtual time.
    pub scenario_ms_per_virtual_second: f64,
    /// Bytes of memory that the decisions took when all replicas were reported, per chunk.
    pub bytes_per_chunk: f64,
    /// MiB of it in all.
    pub namenode_mib: u64,
    /// Most MiB that this process used, with the simulated DataNodes.
    pub peak_mib: u64,
    /// Seconds that the simulation took.
    pub real_seconds: f64,
}

/// What happened in virtual time: the same for the same seed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Which scenario.
    pub scenario: &'static str,
    /// Nodes, chunks at the beginning and replicas of each, really simulated.
    pub nodes: u16,
    /// See `nodes`.
    pub chunks: u32,
    /// See `nodes`.
    pub replication: u8,
    /// MiB of each chunk.
    pub chunk_mib: u64,
    /// Seed.
    pub seed: u64,
    /// Whether all became as it should be before the deadline.
    pub converged: bool,
    /// Seconds until then, or until the deadline.
    pub seconds: f64,
    /// Seconds until the first and the last node was declared dead, if any was.
    pub first_death: Option<f64>,
    /// See `first_death`.
    pub last_death: Option<f64>,
    /// How often a node was declared dead.
    pub deaths: u64,
    /// Seconds until safe mode ended, if the scenario began in it.
    pub safe_mode_ended: Option<f64>,
    /// Seconds until every chunk had its replicas on disks, if some had not.
    pub full_replication: Option<f64>,
    /// Most chunks that had too few replicas on disks at a time.
    pub most_short: u64,
    /// Chunks of which the scenario destroyed every replica.
    pub chunks_gone: u64,
    /// Chunks written meanwhile.
    pub chunks_written: u64,
    /// Copies that arrived.
    pub copies: u64,
    /// Copies that did not.
    pub failed_copies: u64,
    /// GiB that all copies moved.
    pub moved_gib: f64,
    /// Replicas deleted.
    pub deletions: u64,
    /// Full reports taken in.
    pub full_reports: u64,
    /// Use of the disks before the scenario.
    pub balance_before: Balance,
    /// Use of the disks after it.
    pub balance_after: Balance,
    /// Whether all nodes were as even as wanted when the balancer ended, if it did.
    pub balanced: Option<bool>,
    /// Most copies that one node sent, and received, at a time.
    pub most_sending: u32,
    /// See `most_sending`.
    pub most_receiving: u32,
    /// Most copies in the whole cluster at a time.
    pub most_copies: usize,
    /// Most MB of copies that one node sent, and received, in a second.
    pub most_sent_mb: f64,
    /// See `most_sent_mb`.
    pub most_received_mb: f64,
    /// By how many percent clients were slowed on nodes that took part in copies.
    pub clients_slowed: f64,
    /// How often a rule was broken.
    pub rules_broken: u64,
    /// The first broken rules in words.
    pub broken: Vec<String>,
    /// Depends on all that happened, and on its order.
    pub digest: String,
    /// What the decisions cost on this machine: differs from run to run.
    pub costs: Costs,
}

impl Outcome {
    /// Whether all is well.
    pub fn is_good(&self) -> bool {
        self.converged && self.rules_broken == 0
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.lines() {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name:<28} {value}");
        }
        let _ = writeln!(
            text,
            "\n{:<28} {:>12} {:>10} {:>12}",
            "NameNode's processor time", "calls", "seconds", "longest ms"
        );
        for Work { kind, calls, seconds, longest_ms } in &self.costs.work {
            let _ = writeln!(text, "{kind:<28} {calls:>12} {seconds:>10.2} {longest_ms:>12.2}");
        }
        for broken in &self.broken {
            let _ = writeln!(text, "broken: {broken}");
        }
        text
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let balance = |it: &Balance| {
            format!(
                "mean {:.2} %, deviation {:.2} %, from {:.2} % to {:.2} %",
                it.mean, it.deviation, it.least, it.most
            )
        };
        let costs = &self.costs;
        let mut lines = vec![
            ("scenario", format!("{}, seed {}", self.scenario, self.seed)),
            (
                "simulated",
                format!(
                    "{} nodes, {} chunks of {} MiB, {} replicas",
                    self.nodes, self.chunks, self.chunk_mib, self.replication
                ),
            ),
            (
                "result",
                format!(
                    "{}, {} broken rules",
                    if self.converged { "converged" } else { "NOT CONVERGED" },
                    self.rules_broken
                ),
            ),
            ("virtual time", format!("{:.1} s", self.seconds)),
            (
                "declared dead",
                match (self.first_death, self.last_death) {
                    (Some(first), Some(last)) => {
                        format!("{} times, first after {first:.1} s, last after {last:.1} s", self.deaths)
                    }
                    _ => "nobody".to_owned(),
                },
            ),
            (
                "full replication",
                match self.full_replication {
                    Some(seconds) => format!("after {seconds:.1} s, {} chunks were short", self.most_short),
                    None => "never less".to_owned(),
                } + &format!(", {} chunks gone", self.chunks_gone),
            ),
            (
                "copies",
                format!(
                    "{} arrived, {} failed, {:.1} GiB moved",
                    self.copies, self.failed_copies, self.moved_gib
                ),
            ),
            ("deletions", self.deletions.to_string()),
            ("full reports", self.full_reports.to_string()),
            ("chunks written", self.chunks_written.to_string()),
            ("use before", balance(&self.balance_before)),
            ("use after", balance(&self.balance_after)),
            (
                "peak of one node",
                format!(
                    "sends {} copies, {:.0} MB/s; receives {}, {:.0} MB/s",
                    self.most_sending, self.most_sent_mb, self.most_receiving, self.most_received_mb
                ),
            ),
            ("peak of the cluster", format!("{} copies", self.most_copies)),
            ("clients slowed", format!("{:.1} %", self.clients_slowed)),
            (
                "NameNode memory",
                format!(
                    "{} MiB, {:.1} bytes per chunk; peak with DataNodes {} MiB",
                    costs.namenode_mib, costs.bytes_per_chunk, costs.peak_mib
                ),
            ),
            (
                "NameNode CPU, start",
                format!("{:.2} s per million chunks", costs.start_seconds_per_million_chunks),
            ),
            (
                "NameNode CPU, scenario",
                format!(
                    "{:.2} s, {:.3} s per million chunks, {:.2} ms per virtual second",
                    costs.scenario_seconds,
                    costs.scenario_seconds_per_million_chunks,
                    costs.scenario_ms_per_virtual_second
                ),
            ),
            ("took", format!("{:.1} s", costs.real_seconds)),
        ];
        if let Some(balanced) = self.balanced {
            let what = if balanced {
                "all nodes are within the threshold"
            } else {
                "nodes are left beyond the threshold"
            };
            lines.push(("balancer", what.to_owned()));
        }
        if let Some(seconds) = self.safe_mode_ended {
            lines.insert(4, ("safe mode ended", format!("after {seconds:.1} s")));
        }
        lines
    }
}

/// Seconds, as people like them.
pub(crate) fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_balance_is_mean_and_deviation() {
        let balance = Balance::of(&[0.2, 0.4]);
        let expected = [30.0, 10.0, 20.0, 40.0];
        for (value, expected) in
            [balance.mean, balance.deviation, balance.least, balance.most].into_iter().zip(expected)
        {
            assert!((value - expected).abs() < 1e-9, "{balance:?}");
        }
    }
}
