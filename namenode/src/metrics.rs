//! Names, meanings and units of everything the NameNode counts.

use std::time::Duration;

use dfs_namenode_core::{BalancerView, Queues};
use dfs_types::{DutyState, MemberRole};
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    exponential_buckets,
};

use crate::api::Namenode;
use crate::api::admin::Report;
use crate::serve::http::duty_name;
use crate::store::{Counts, Observer};

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
    edits: IntCounter,
    commit_edits: Histogram,
    commit_seconds: Histogram,
    log_sync_seconds: Histogram,
    term: IntGauge,
    leads: IntGauge,
    applied: IntGauge,
    members: IntGaugeVec,
    chunks: IntGaugeVec,
    nodes: IntGaugeVec,
    duties: IntGaugeVec,
    recovery_queue: IntGaugeVec,
    balancer: IntGaugeVec,
    bytes: IntGaugeVec,
    pending: IntGaugeVec,
    safe_mode: IntGauge,
    files: IntGauge,
    directories: IntGauge,
    leases: IntGauge,
}

impl Metrics {
    /// Registers all metrics. Fails if one of the names is taken.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let vec = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(vec.clone()))?;
            prometheus::Result::Ok(vec)
        };
        let gauges = |name: &str, help: &str, label: &str| {
            let vec = IntGaugeVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(vec.clone()))?;
            prometheus::Result::Ok(vec)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            prometheus::Result::Ok(gauge)
        };
        let histogram = |name: &str, help: &str, buckets: Vec<f64>| {
            let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?;
            registry.register(Box::new(histogram.clone()))?;
            prometheus::Result::Ok(histogram)
        };
        let request_seconds = HistogramVec::new(
            HistogramOpts::new("dfs_namenode_rpc_seconds", "Time until a request was answered.")
                .buckets(time_buckets()?),
            &["method"],
        )?;
        registry.register(Box::new(request_seconds.clone()))?;
        let edits = IntCounter::new("dfs_namenode_edits_total", "Edits applied.")?;
        registry.register(Box::new(edits.clone()))?;
        Ok(Self {
            requests: counters(
                "dfs_namenode_rpc_requests_total",
                "Requests answered, by method and error code ('ok' without error).",
                &["method", "code"],
            )?,
            request_seconds,
            edits,
            commit_edits: histogram(
                "dfs_namenode_commit_edits",
                "Edits that shared one transaction.",
                exponential_buckets(1.0, 2.0, 12)?,
            )?,
            commit_seconds: histogram(
                "dfs_namenode_commit_seconds",
                "Time of a transaction that applies edits, from the first one until they can be read.",
                time_buckets()?,
            )?,
            log_sync_seconds: histogram(
                "dfs_namenode_log_sync_seconds",
                "Time to write entries to the replicated log and sync it.",
                time_buckets()?,
            )?,
            term: gauge("dfs_namenode_term", "Term of this member of the group of NameNodes.")?,
            leads: gauge("dfs_namenode_leads", "1 if this NameNode leads, else 0.")?,
            applied: gauge("dfs_namenode_applied_index", "Index of the log entry applied last.")?,
            members: gauges(
                "dfs_namenode_members",
                "NameNodes of the group as this one sees them: 'all', and those 'unreachable' (leader only).",
                "state",
            )?,
            chunks: gauges("dfs_namenode_chunks", "Chunks by state; 'all' counts each once.", "state")?,
            nodes: gauges("dfs_namenode_nodes", "DataNodes by state.", "state")?,
            duties: gauges("dfs_namenode_nodes_by_duty", "DataNodes by what they are used for.", "duty")?,
            recovery_queue: gauges(
                "dfs_namenode_recovery_queue",
                "Chunks that wait to be copied, by how badly they need it; on the leader.",
                "urgency",
            )?,
            balancer: gauges(
                "dfs_namenode_balancer",
                "The balancer: its settings, how nodes are filled in thousandths, and what it moved since it started.",
                "what",
            )?,
            bytes: gauges(
                "dfs_namenode_bytes",
                "Bytes of the DataNodes that are not dead: 'capacity', 'used', 'available'.",
                "kind",
            )?,
            pending: gauges(
                "dfs_namenode_pending",
                "Replicas: 'copies' (with their 'copy_bytes') and 'deletions' ordered, 'quarantined' ones of no known chunk; 'depending_chunks' that \
                 keep nodes from leaving.",
                "kind",
            )?,
            safe_mode: gauge("dfs_namenode_safe_mode", "1 in safe mode, else 0.")?,
            files: gauge("dfs_namenode_files", "Files in the namespace.")?,
            directories: gauge("dfs_namenode_directories", "Directories in the namespace.")?,
            leases: gauge("dfs_namenode_leases", "Files open for writing.")?,
        })
    }

    /// A request was answered (or dropped) after `time`.
    pub fn rpc(&self, method: &str, code: &str, time: Duration) {
        self.requests.with_label_values(&[method, code]).inc();
        self.request_seconds.with_label_values(&[method]).observe(time.as_secs_f64());
    }

    /// What this member of the group is now.
    pub fn group(&self, namenode: &Namenode) {
        let (term, leads) = namenode.term();
        self.term.set(term as i64);
        self.leads.set(leads.into());
        self.applied.set(namenode.applied() as i64);
        let members = namenode.members();
        let unreachable = members.iter().filter(|member| member.role == MemberRole::Unreachable).count();
        self.members.with_label_values(&["all"]).set(members.len() as i64);
        self.members.with_label_values(&["unreachable"]).set(unreachable as i64);
    }

    /// What the cluster looks like now.
    pub fn cluster(&self, report: &Report) {
        let Report { cluster: _, safe_mode, nodes, totals, counts, balancer } = report;
        self.namespace(counts);
        self.balancer(balancer);
        let set = |gauges: &IntGaugeVec, label: &str, value: u64| {
            gauges.with_label_values(&[label]).set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        for (state, value) in [
            ("all", totals.chunks),
            ("under_replicated", totals.under_replicated),
            ("over_replicated", totals.over_replicated),
            ("only_one_copy", totals.only_one_copy),
            ("missing", totals.missing),
            ("corrupt", totals.corrupt),
            ("misplaced", totals.misplaced),
        ] {
            set(&self.chunks, state, value);
        }
        for (state, value) in
            [("live", totals.live_nodes), ("stale", totals.stale_nodes), ("dead", totals.dead_nodes)]
        {
            set(&self.nodes, state, value);
        }
        set(&self.bytes, "capacity", totals.capacity);
        set(&self.bytes, "used", totals.used);
        set(&self.bytes, "available", totals.available);
        let Queues { last_copy, few, some, misplaced } = totals.queued;
        for (urgency, count) in
            [("last_copy", last_copy), ("few", few), ("some", some), ("misplaced", misplaced)]
        {
            set(&self.recovery_queue, urgency, count);
        }
        set(&self.pending, "copies", totals.pending_copies);
        set(&self.pending, "copy_bytes", totals.pending_copy_bytes);
        set(&self.pending, "deletions", totals.pending_deletions);
        set(&self.pending, "quarantined", totals.quarantined);
        self.safe_mode.set(i64::from(safe_mode.on));
        for state in DUTIES {
            let count = nodes.iter().filter(|node| node.duty == state).count();
            set(&self.duties, duty_name(state), count as u64);
        }
        let depending = nodes.iter().map(|node| node.depending_chunks).sum();
        set(&self.pending, "depending_chunks", depending);
    }

    fn balancer(&self, view: &BalancerView) {
        for (what, value) in [
            ("running", u64::from(view.running)),
            ("balanced", u64::from(view.balanced)),
            ("threshold_permille", u64::from(view.threshold_permille)),
            ("mean_permille", u64::from(view.mean_permille)),
            ("lowest_permille", u64::from(view.lowest_permille)),
            ("highest_permille", u64::from(view.highest_permille)),
            ("bytes_per_second", view.bytes_per_second),
            ("moved_chunks", view.moved_chunks),
            ("moved_bytes", view.moved_bytes),
            ("pending_moves", view.pending_moves),
            ("bytes_to_move", view.bytes_to_move),
        ] {
            self.balancer.with_label_values(&[what]).set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }

    /// What the namespace holds now.
    fn namespace(&self, counts: &Counts) {
        for (gauge, value) in [
            (&self.files, counts.files),
            (&self.directories, counts.directories),
            (&self.leases, counts.open_files),
        ] {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
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
