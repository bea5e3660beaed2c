//! Every metric of the DataNode: names, help texts, units.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    exponential_buckets,
};

/// First bucket, factor and number of the histograms of seconds: 0.1 ms to 26 s.
const SECONDS: (f64, f64, usize) = (0.000_1, 4.0, 10);

/// The DataNode's metrics, registered once by whoever starts it.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// Bytes of data sent to readers.
    pub(crate) read_bytes: IntCounter,
    /// Bytes of data written to replicas.
    pub(crate) written_bytes: IntCounter,
    /// Packets sent to readers.
    pub(crate) packets_read: IntCounter,
    /// Packets written to replicas.
    pub(crate) packets_written: IntCounter,
    /// Sessions under way, by kind: write, read, copy.
    pub(crate) sessions: IntGaugeVec,
    /// Seconds from a packet's arrival to its acknowledgement.
    pub(crate) write_seconds: Histogram,
    /// Seconds to read one packet from the disk.
    pub(crate) read_seconds: Histogram,
    /// Seconds to make one replica's files durable.
    pub(crate) fsync_seconds: Histogram,
    /// Replicas, by volume.
    pub(crate) replicas: IntGaugeVec,
    /// Bytes of a volume, by volume and kind: capacity, used, available.
    pub(crate) volume_bytes: IntGaugeVec,
    /// Whether a volume was taken out of use, by volume.
    pub(crate) volume_failed: IntGaugeVec,
    /// Bytes that did not match their checksum, by where it was noticed: write, copy, scrub.
    pub(crate) checksum_failures: IntCounterVec,
    /// Bytes the scrubber read.
    pub(crate) scrubbed_bytes: IntCounter,
    /// Replicas that were verified since the process started.
    pub(crate) scrub_verified: IntGauge,
    /// Replicas that are to be verified in all.
    pub(crate) scrub_total: IntGauge,
    /// Copies sent to other DataNodes, by result: done, failed.
    pub(crate) copies: IntCounterVec,
    /// Reports to NameNodes, by kind and result.
    pub(crate) reports: IntCounterVec,
    /// Heartbeats to NameNodes, by result.
    pub(crate) heartbeats: IntCounterVec,
}

impl Metrics {
    /// Creates the metrics and adds them to `registry`. Fails if they are there already.
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str| -> prometheus::Result<IntCounter> {
            let metric = IntCounter::with_opts(opts(name, help))?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let counters = |name: &str, help: &str, labels: &[&str]| -> prometheus::Result<IntCounterVec> {
            let metric = IntCounterVec::new(opts(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let gauge = |name: &str, help: &str| -> prometheus::Result<IntGauge> {
            let metric = IntGauge::with_opts(opts(name, help))?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| -> prometheus::Result<IntGaugeVec> {
            let metric = IntGaugeVec::new(opts(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let seconds = |name: &str, help: &str| -> prometheus::Result<Histogram> {
            let (start, factor, count) = SECONDS;
            let options = HistogramOpts::from(opts(name, help));
            let buckets = exponential_buckets(start, factor, count)?;
            let metric = Histogram::with_opts(options.buckets(buckets))?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        Ok(Self {
            read_bytes: counter("read_bytes_total", "Bytes of data sent to readers")?,
            written_bytes: counter("written_bytes_total", "Bytes of data written to replicas")?,
            packets_read: counter("read_packets_total", "Packets sent to readers")?,
            packets_written: counter("written_packets_total", "Packets written to replicas")?,
            sessions: gauges("sessions_active", "Sessions under way", &["kind"])?,
            write_seconds: seconds("write_packet_seconds", "From a packet's arrival to its acknowledgement")?,
            read_seconds: seconds("read_packet_seconds", "Reading one packet from the disk")?,
            fsync_seconds: seconds("fsync_seconds", "Making one replica's files durable")?,
            replicas: gauges("replicas", "Replicas on a volume", &["volume"])?,
            volume_bytes: gauges("volume_bytes", "Capacity, used and available bytes", &["volume", "kind"])?,
            volume_failed: gauges("volume_failed", "1 if the volume was taken out of use", &["volume"])?,
            checksum_failures: counters(
                "checksum_failures_total",
                "Times bytes did not match their checksum",
                &["where"],
            )?,
            scrubbed_bytes: counter("scrubbed_bytes_total", "Bytes the scrubber read")?,
            scrub_verified: gauge("scrub_verified_replicas", "Replicas verified since the process started")?,
            scrub_total: gauge("scrub_replicas", "Replicas to be verified in all")?,
            copies: counters("copies_total", "Copies sent to other DataNodes", &["result"])?,
            reports: counters("reports_total", "Reports to NameNodes", &["kind", "result"])?,
            heartbeats: counters("heartbeats_total", "Heartbeats to NameNodes", &["result"])?,
        })
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("dfs_datanode")
}

/// The label value for a result.
pub(crate) fn result_label<T, E>(result: &Result<T, E>) -> &'static str {
    if result.is_ok() { "done" } else { "failed" }
}

/// Counts one session as under way until it is dropped.
#[derive(Debug)]
pub(crate) struct Active(IntGauge);

impl Active {
    /// A session of this kind: write, read or copy.
    pub(crate) fn count(metrics: &Metrics, kind: &str) -> Self {
        let gauge = metrics.sessions.with_label_values(&[kind]);
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_register_once_under_their_prefix() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        drop(Active::count(&metrics, "write"));
        metrics.read_bytes.inc();
        assert!(registry.gather().iter().all(|family| family.name().starts_with("dfs_datanode_")));
        assert!(Metrics::register(&registry).is_err());
    }
}
