//! Names, meanings and units of everything the NameNode counts.

use std::time::Duration;

use dfs_daemon::{Described, Meter, Room};
use dfs_namenode_core::{NodeState, Queues, Totals};
use dfs_types::{BalancerStatus, DutyState, MemberRole, NodeReport, Upgrade, VolumeHealth};
use prometheus::{
    Gauge, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    exponential_buckets,
};

use crate::api::Namenode;
use crate::api::admin::Report;
use crate::serve::http::duty_name;
use crate::store::{Disk, DiskState, Observer, broken_edits};

/// What every name begins with.
const PREFIX: &str = "dfs_namenode";

/// Upper bounds of time histograms: 50 µs to 26 s, each twice the one before.
fn time_buckets() -> prometheus::Result<Vec<f64>> {
    exponential_buckets(0.000_05, 2.0, 20)
}

/// All states of a duty.
const DUTIES: [DutyState; 5] = [
    DutyState::InService,
    DutyState::Decommissioning,
    DutyState::Decommissioned,
    DutyState::EnteringMaintenance,
    DutyState::InMaintenance,
];

/// The process's metrics. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    in_flight: IntGaugeVec,
    edits: IntCounter,
    commit_edits: Histogram,
    commit_seconds: Histogram,
    log_sync_seconds: Histogram,
    term: IntGauge,
    leader: IntGauge,
    applied: IntGauge,
    level: IntGauge,
    known_level: IntGauge,
    broken_edits: IntCounter,
    groups_stale: IntGauge,
    members: IntGauge,
    unreachable_members: IntGauge,
    disk: MetadataDisk,
    chunks: Chunks,
    datanodes: IntGaugeVec,
    duties: IntGaugeVec,
    volumes: IntGaugeVec,
    recovery_queue: IntGaugeVec,
    balancer: Balancer,
    capacity_bytes: IntGauge,
    used_bytes: IntGauge,
    available_bytes: IntGauge,
    pending: Pending,
    safe_mode: IntGauge,
    files: IntGauge,
    directories: IntGauge,
    open_files: IntGauge,
}

/// How chunks are. One chunk may be several of these, so they are metrics of their own: their sum means nothing.
#[derive(Debug, Clone)]
struct Chunks {
    all: IntGauge,
    under_replicated: IntGauge,
    over_replicated: IntGauge,
    only_one_copy: IntGauge,
    missing: IntGauge,
    corrupt: IntGauge,
    misplaced: IntGauge,
}

impl Chunks {
    fn new(meter: &Meter) -> prometheus::Result<Self> {
        Ok(Self {
            all: meter.gauge("chunks", "Chunks")?,
            under_replicated: meter.gauge(
                "chunks_under_replicated",
                "Chunks that can be read, but have fewer good replicas than wanted",
            )?,
            over_replicated: meter.gauge("chunks_over_replicated", "Chunks with more good replicas than wanted")?,
            only_one_copy: meter.gauge(
                "chunks_only_one_copy",
                "Chunks with one good replica that want more; they are under-replicated too",
            )?,
            missing: meter.gauge("chunks_missing", "Chunks of which no replica is known")?,
            corrupt: meter.gauge("chunks_corrupt", "Chunks of which only damaged replicas are known")?,
            misplaced: meter.gauge(
                "chunks_misplaced",
                "Chunks whose replicas share a host, a rack or a zone although there are others; on the leader",
            )?,
        })
    }

    fn set(&self, totals: &Totals) {
        set(&self.all, totals.chunks);
        set(&self.under_replicated, totals.under_replicated);
        set(&self.over_replicated, totals.over_replicated);
        set(&self.only_one_copy, totals.only_one_copy);
        set(&self.missing, totals.missing);
        set(&self.corrupt, totals.corrupt);
        set(&self.misplaced, totals.misplaced);
    }
}

/// The disk of the NameNode's own directory.
#[derive(Debug, Clone)]
struct MetadataDisk {
    capacity: IntGauge,
    available: IntGauge,
    min_free: IntGauge,
    low: IntGauge,
    full: IntGauge,
    write_seconds: Gauge,
}

impl MetadataDisk {
    fn new(meter: &Meter) -> prometheus::Result<Self> {
        Ok(Self {
            capacity: meter
                .gauge("metadata_disk_capacity_bytes", "Size of the disk of this NameNode's directory")?,
            available: meter
                .gauge("metadata_disk_available_bytes", "Bytes that this NameNode may still write there")?,
            min_free: meter.gauge(
                "metadata_disk_min_free_bytes",
                "Free bytes there below which nothing new can be made",
            )?,
            low: meter.gauge("metadata_disk_low", "1 if there is less than that, else 0")?,
            full: meter.gauge("metadata_disk_full", "1 if the log or the database wait for room, else 0")?,
            write_seconds: meter.float_gauge(
                "metadata_disk_write_seconds",
                "How long the oldest write there that is not finished has taken; 0 if there is none",
            )?,
        })
    }

    fn set(&self, disk: &Disk) {
        let Disk { state, note: _, space, min_free, busy, full: _ } = disk;
        set(&self.capacity, space.capacity);
        set(&self.available, space.available);
        set(&self.min_free, *min_free);
        set(&self.low, (*state >= DiskState::Low && space.available < *min_free).into());
        set(&self.full, (*state == DiskState::Full).into());
        self.write_seconds.set(busy.as_secs_f64());
    }
}

/// What waits to be done.
#[derive(Debug, Clone)]
struct Pending {
    copies: IntGauge,
    copy_bytes: IntGauge,
    deletions: IntGauge,
    quarantined: IntGauge,
    waiting_recoveries: IntGauge,
    depending: IntGauge,
}

impl Pending {
    fn new(meter: &Meter) -> prometheus::Result<Self> {
        Ok(Self {
            copies: meter.gauge("pending_copies", "Copies ordered and not reported yet")?,
            copy_bytes: meter
                .gauge("pending_copy_bytes", "Bytes of the copies ordered and not reported yet")?,
            deletions: meter
                .gauge("pending_deletions", "Deletions of replicas ordered and not reported yet")?,
            quarantined: meter
                .gauge("quarantined_replicas", "Replicas that are kept though no such chunk was ever made")?,
            waiting_recoveries: meter.gauge(
                "recoveries_waiting",
                "Chunks of files without a writer that wait for a replica with all that was acknowledged; on the leader",
            )?,
            depending: meter.gauge(
                "depending_chunks",
                "Chunks to be copied or closed before DataNodes can leave or rest",
            )?,
        })
    }

    fn set(&self, totals: &Totals, nodes: &[NodeReport]) {
        set(&self.copies, totals.pending_copies);
        set(&self.copy_bytes, totals.pending_copy_bytes);
        set(&self.deletions, totals.pending_deletions);
        set(&self.quarantined, totals.quarantined);
        set(&self.waiting_recoveries, totals.waiting_recoveries);
        set(&self.depending, nodes.iter().map(|node| node.depending_chunks).sum());
    }
}

/// What the balancer does, on the leader.
#[derive(Debug, Clone)]
struct Balancer {
    running: IntGauge,
    balanced: IntGauge,
    threshold: Gauge,
    mean: Gauge,
    lowest: Gauge,
    highest: Gauge,
    bytes_per_second: IntGauge,
    moved_chunks: IntGauge,
    moved_bytes: IntGauge,
    pending_moves: IntGauge,
    bytes_to_move: IntGauge,
}

impl Balancer {
    fn new(meter: &Meter) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| meter.gauge(name, help);
        let ratio = |name: &str, help: &str| meter.float_gauge(name, help);
        Ok(Self {
            running: gauge("balancer_running", "1 if the balancer works, else 0")?,
            balanced: gauge(
                "balancer_balanced",
                "1 if no DataNode is further from the mean than the threshold, else 0",
            )?,
            threshold: ratio(
                "balancer_threshold_ratio",
                "How far a DataNode's used share may lie from the mean",
            )?,
            mean: ratio("datanode_used_mean_ratio", "Used share of the space of all DataNodes")?,
            lowest: ratio("datanode_used_lowest_ratio", "Used share of the emptiest DataNode")?,
            highest: ratio("datanode_used_highest_ratio", "Used share of the fullest DataNode")?,
            bytes_per_second: gauge(
                "balancer_node_bytes_per_second",
                "Most that the balancer moves to or from a DataNode",
            )?,
            moved_chunks: gauge("balancer_moved_chunks", "Chunks moved since the balancer was started")?,
            moved_bytes: gauge("balancer_moved_bytes", "Bytes moved since the balancer was started")?,
            pending_moves: gauge("balancer_pending_moves", "Moves of chunks under way")?,
            bytes_to_move: gauge("balancer_remaining_bytes", "Bytes that the balancer has still to move")?,
        })
    }

    fn set(&self, view: &BalancerStatus) {
        set(&self.running, view.running.into());
        set(&self.balanced, view.balanced.into());
        self.threshold.set(ratio(view.threshold_permille));
        self.mean.set(ratio(view.mean_permille));
        self.lowest.set(ratio(view.lowest_permille));
        self.highest.set(ratio(view.highest_permille));
        set(&self.bytes_per_second, view.bytes_per_second);
        set(&self.moved_chunks, view.moved_chunks);
        set(&self.moved_bytes, view.moved_bytes);
        set(&self.pending_moves, view.pending_moves);
        set(&self.bytes_to_move, view.bytes_to_move);
    }
}

fn set(gauge: &IntGauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}

fn ratio(permille: impl Into<f64>) -> f64 {
    permille.into() / 1_000.0
}

/// Everything the NameNode exports, for the manual.
pub fn describe() -> prometheus::Result<Vec<Described>> {
    let meter = Metrics::meter(&Registry::new());
    Metrics::on(&meter)?;
    Room::new(0, &meter)?;
    Ok(meter.described())
}

impl Metrics {
    /// What names and remembers the metrics of a NameNode in `registry`.
    pub fn meter(registry: &Registry) -> Meter {
        Meter::new(registry, PREFIX)
    }

    /// Registers all metrics. Fails if one of the names is taken.
    pub fn on(meter: &Meter) -> prometheus::Result<Self> {
        meter.process(env!("CARGO_PKG_VERSION"))?;
        Ok(Self {
            requests: meter.counters(
                "rpc_requests_total",
                "Requests answered, by method and error code ('ok' without error)",
                &["method", "code"],
            )?,
            request_seconds: meter.histograms(
                "rpc_seconds",
                "Time until a request was answered",
                &["method"],
                time_buckets()?,
            )?,
            in_flight: meter.gauges(
                "rpc_in_flight",
                "Requests under way, by who asks: client, datanode, namenode",
                &["from"],
            )?,
            edits: meter.counter("edits_total", "Edits applied")?,
            commit_edits: meter.histogram(
                "commit_edits",
                "Edits that shared one transaction",
                exponential_buckets(1.0, 2.0, 12)?,
            )?,
            commit_seconds: meter.histogram(
                "commit_seconds",
                "Time of a transaction that applies edits, from the first one until they can be read",
                time_buckets()?,
            )?,
            log_sync_seconds: meter.histogram(
                "log_sync_seconds",
                "Time to write entries to the replicated log and sync it",
                time_buckets()?,
            )?,
            term: meter.gauge("term", "Term of this member of the group of NameNodes")?,
            leader: meter.gauge("leader", "1 if this NameNode leads, else 0")?,
            applied: meter.gauge("applied_index", "Index of the log entry applied last")?,
            level: meter.gauge("feature_level", "Feature level of the cluster")?,
            known_level: meter.gauge(
                "feature_level_known",
                "Highest feature level that this NameNode knows; above the cluster's until an upgrade is finalized",
            )?,
            broken_edits: meter
                .counter("edits_broken_total", "Edits that were refused because they broke a rule, which is a bug")?,
            groups_stale: meter.gauge(
                "groups_stale",
                "1 if the file of groups can't be used and what it said before counts, else 0",
            )?,
            members: meter.gauge("members", "NameNodes of the group")?,
            unreachable_members: meter.gauge(
                "members_unreachable",
                "NameNodes of the group that the leader has not heard of lately; on the leader",
            )?,
            disk: MetadataDisk::new(meter)?,
            chunks: Chunks::new(meter)?,
            datanodes: meter.gauges("datanodes", "DataNodes by state: live, stale, dead", &["state"])?,
            duties: meter.gauges("datanodes_by_duty", "DataNodes by what they are used for", &["duty"])?,
            volumes: meter.gauges(
                "volumes",
                "Volumes of the DataNodes that are not dead, by health: healthy, suspect, failed",
                &["health"],
            )?,
            recovery_queue: meter.gauges(
                "recovery_queue_chunks",
                "Chunks that wait to be copied, by how badly they need it: last_copy, few, some, misplaced; on the leader",
                &["urgency"],
            )?,
            balancer: Balancer::new(meter)?,
            capacity_bytes: meter.gauge("capacity_bytes", "Size of the disks in use of DataNodes that are not dead, each counted once")?,
            used_bytes: meter.gauge("used_bytes", "Bytes of replicas on them")?,
            available_bytes: meter.gauge("available_bytes", "Bytes that new replicas may take there")?,
            pending: Pending::new(meter)?,
            safe_mode: meter.gauge("safe_mode", "1 in safe mode, else 0")?,
            files: meter.gauge("files", "Files in the namespace")?,
            directories: meter.gauge("directories", "Directories in the namespace")?,
            open_files: meter.gauge("open_files", "Files open for writing")?,
        })
    }

    /// Counts a request of a `client`, `datanode` or `namenode` as under way until it is dropped.
    pub fn in_flight(&self, from: &str) -> InFlight {
        let gauge = self.in_flight.with_label_values(&[from]);
        gauge.inc();
        InFlight(gauge)
    }

    /// A request was answered (or dropped) after `time`.
    pub fn rpc(&self, method: &str, code: &str, time: Duration) {
        self.requests.with_label_values(&[method, code]).inc();
        self.request_seconds.with_label_values(&[method]).observe(time.as_secs_f64());
    }

    /// What this member of the group is now.
    pub fn group(&self, namenode: &Namenode) {
        let (term, leads) = namenode.term();
        set(&self.term, term);
        self.leader.set(leads.into());
        set(&self.applied, namenode.applied());
        let Upgrade { level, highest, members, .. } = namenode.upgrade();
        set(&self.level, level.into());
        set(&self.known_level, highest.into());
        self.groups_stale.set(namenode.group_origin().problem.is_some().into());
        self.broken_edits.inc_by(broken_edits().saturating_sub(self.broken_edits.get()));
        let unreachable = members.iter().filter(|member| member.role == MemberRole::Unreachable).count();
        set(&self.members, members.len() as u64);
        set(&self.unreachable_members, unreachable as u64);
    }

    /// How the disk of this NameNode is now.
    pub fn disk(&self, disk: &Disk) {
        self.disk.set(disk);
    }

    /// What the cluster looks like now.
    pub fn cluster(&self, report: &Report) {
        let Report { cluster: _, safe_mode, nodes, totals, counts, balancer } = report;
        set(&self.files, counts.files);
        set(&self.directories, counts.directories);
        set(&self.open_files, counts.open_files);
        self.safe_mode.set(i64::from(safe_mode.on));
        self.balancer.set(balancer);
        self.chunks.set(totals);
        self.pending.set(totals, nodes);
        set(&self.capacity_bytes, totals.capacity);
        set(&self.used_bytes, totals.used);
        set(&self.available_bytes, totals.available);
        let set_one =
            |gauges: &IntGaugeVec, label: &str, value: u64| set(&gauges.with_label_values(&[label]), value);
        for (state, value) in
            [("live", totals.live_nodes), ("stale", totals.stale_nodes), ("dead", totals.dead_nodes)]
        {
            set_one(&self.datanodes, state, value);
        }
        for state in DUTIES {
            let count = nodes.iter().filter(|node| node.duty == state).count();
            set_one(&self.duties, duty_name(state), count as u64);
        }
        let volumes =
            || nodes.iter().filter(|node| node.state != NodeState::Dead).flat_map(|node| &node.volumes);
        for health in VolumeHealth::ALL {
            let count = volumes().filter(|volume| volume.health == health).count();
            set_one(&self.volumes, health.name(), count as u64);
        }
        let Queues { last_copy, few, some, misplaced } = totals.queued;
        for (urgency, count) in
            [("last_copy", last_copy), ("few", few), ("some", some), ("misplaced", misplaced)]
        {
            set_one(&self.recovery_queue, urgency, count);
        }
    }
}

/// One request under way.
#[derive(Debug)]
pub struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Observer for Metrics {
    fn on_commit(&self, edits: usize, took: Duration) {
        self.edits.inc_by(edits as u64);
        self.commit_edits.observe(edits as f64);
        self.commit_seconds.observe(took.as_secs_f64());
    }

    fn on_sync(&self, took: Duration) {
        self.log_sync_seconds.observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        for Described { name, kind, help, labels: _ } in describe().unwrap() {
            assert!(
                (name.starts_with("dfs_namenode_") || name.starts_with("process_")) && !help.ends_with('.'),
                "{name}"
            );
            assert_eq!(name.ends_with("_total"), kind == dfs_daemon::Kind::Counter, "{name}");
        }
        assert!(Metrics::on(&Metrics::meter(&Registry::new())).is_ok());
    }
}
