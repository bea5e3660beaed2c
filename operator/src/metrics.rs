//! What the operator counts.

use std::time::Duration;

use dfs_daemon::{Described, Meter, Room};
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, Registry, exponential_buckets};

/// Begins the names of all metrics.
const PREFIX: &str = "dfs_operator";

/// How a reconciliation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything is as asked for.
    Settled,
    /// Something is under way.
    Waiting,
    /// It is to be tried again.
    Failed,
}

impl Outcome {
    const ALL: [Self; 3] = [Self::Settled, Self::Waiting, Self::Failed];

    fn label(self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
        }
    }
}

/// The operator's metrics. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    reconciles: IntCounterVec,
    duration: Histogram,
    steps: IntCounterVec,
    applied: IntCounterVec,
    status_patches: IntCounter,
    watch_errors: IntCounterVec,
    clusters: IntGauge,
    leading: IntGauge,
}

/// What the operator exports.
pub fn describe() -> prometheus::Result<Vec<Described>> {
    let meter = Metrics::meter(&Registry::new());
    Metrics::on(&meter)?;
    Room::new(0, &meter)?;
    Ok(meter.described())
}

impl Metrics {
    /// What names and remembers the operator's metrics in `registry`.
    pub fn meter(registry: &Registry) -> Meter {
        Meter::new(registry, PREFIX)
    }

    /// Registers all of them.
    pub fn on(meter: &Meter) -> prometheus::Result<Self> {
        meter.process(env!("CARGO_PKG_VERSION"))?;
        let metrics = Self {
            reconciles: meter.counters(
                "reconciles_total",
                "Reconciliations of DfsClusters, by how they ended: settled, waiting for something, or failed",
                &["outcome"],
            )?,
            duration: meter.histogram(
                "reconcile_duration_seconds",
                "Time that reconciliations took",
                exponential_buckets(0.001, 4.0, 8)?,
            )?,
            steps: meter.counters("steps_total", "Things done beyond applying objects, by kind", &["step"])?,
            applied: meter.counters(
                "objects_applied_total",
                "Objects sent to the API server, by kind",
                &["kind"],
            )?,
            status_patches: meter
                .counter("status_patches_total", "Changes written to the status of DfsClusters")?,
            watch_errors: meter.counters("watch_errors_total", "Watches that broke, by kind", &["kind"])?,
            clusters: meter.gauge("clusters", "DfsClusters that are looked after")?,
            leading: meter.gauge("leading", "1 if this operator does the work, 0 if it stands by")?,
        };
        for outcome in Outcome::ALL {
            metrics.reconciles.with_label_values(&[outcome.label()]);
        }
        Ok(metrics)
    }

    /// A reconciliation ended.
    pub fn reconciled(&self, outcome: Outcome, took: Duration) {
        self.reconciles.with_label_values(&[outcome.label()]).inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// Something was done.
    pub fn step(&self, step: &str) {
        self.steps.with_label_values(&[step]).inc();
    }

    /// An object was sent to the API server.
    pub fn applied(&self, kind: &str) {
        self.applied.with_label_values(&[kind]).inc();
    }

    /// A status was written.
    pub fn status_patched(&self) {
        self.status_patches.inc();
    }

    /// A watch broke.
    pub fn watch_failed(&self, kind: &str) {
        self.watch_errors.with_label_values(&[kind]).inc();
    }

    /// So many clusters are looked after.
    pub fn clusters(&self, number: usize) {
        self.clusters.set(i64::try_from(number).unwrap_or(i64::MAX));
    }

    /// Whether this operator does the work.
    pub fn leading(&self, leads: bool) {
        self.leading.set(i64::from(leads));
    }
}
