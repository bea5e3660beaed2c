//! Every metric of the DataNode: names, help texts, units.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use dfs_daemon::{Described, Meter, Room};
use dfs_types::{FsError, Volume, VolumeHealth};
use prometheus::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, exponential_buckets,
};

use crate::memory::Memory;

/// First bucket, factor and number of the histograms of seconds: 0.1 ms to 26 s.
const SECONDS: (f64, f64, usize) = (0.000_1, 4.0, 10);

/// As [`SECONDS`], for requests that take as long as their sender or reader likes: 1 ms to 4.4 min.
const REQUEST_SECONDS: (f64, f64, usize) = (0.001, 4.0, 10);

/// What every name begins with.
const PREFIX: &str = "dfs_datanode";

/// The DataNode's metrics, registered once by whoever starts it.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// Requests to the data port that are over, by method and code.
    requests: IntCounterVec,
    /// How long they took, by method.
    request_seconds: HistogramVec,
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
    /// Write sessions that ended because their sender was idle and others waited for memory.
    pub(crate) made_way: IntCounter,
    /// Read sessions that ended because their reader took nothing.
    pub(crate) stalled: IntCounter,
    /// Seconds from a packet's arrival to its acknowledgement.
    pub(crate) write_seconds: Histogram,
    /// Seconds to read one packet from the disk.
    pub(crate) read_seconds: Histogram,
    /// Seconds to make one replica's files durable.
    pub(crate) fsync_seconds: Histogram,
    /// The volumes.
    volumes: Volumes,
    /// Jobs that wait for a disk thread or are done by one, by volume.
    pub(crate) disk_jobs: IntGaugeVec,
    /// Orders that wait or are carried out, by kind.
    pub(crate) orders: IntGaugeVec,
    /// Changes of replicas that the slowest NameNode has not been told of.
    pub(crate) unreported: IntGauge,
    /// Bytes that did not match their checksum, by where it was noticed: write, copy, scrub.
    pub(crate) checksum_failures: IntCounterVec,
    /// Bytes the scrubber read.
    pub(crate) scrubbed_bytes: IntCounter,
    /// Replicas that were verified since the process started.
    pub(crate) scrub_verified: IntGauge,
    /// Replicas that are to be verified in all.
    pub(crate) scrub_total: IntGauge,
    /// Headers that were to say what the namespace does, by result: done, no_room, failed.
    pub(crate) headers_written: IntCounterVec,
    /// Questions which files chunks are of, by result.
    pub(crate) origins_asked: IntCounterVec,
    /// Chunks whose files are to be asked for.
    pub(crate) origins_wanted: IntGauge,
    /// Copies sent to other DataNodes, by result: done, failed.
    pub(crate) copies: IntCounterVec,
    /// Reports to NameNodes, by kind and result.
    pub(crate) reports: IntCounterVec,
    /// Heartbeats to NameNodes, by result.
    pub(crate) heartbeats: IntCounterVec,
}

/// Gauges of each volume.
#[derive(Debug)]
struct Volumes {
    replicas: IntGaugeVec,
    capacity: IntGaugeVec,
    used: IntGaugeVec,
    available: IntGaugeVec,
    failed: IntGaugeVec,
    suspect: IntGaugeVec,
}

impl Volumes {
    fn register(meter: &Meter) -> prometheus::Result<Self> {
        let gauges = |name: &str, help: &str| meter.gauges(name, help, &["volume"]);
        Ok(Self {
            replicas: gauges("replicas", "Replicas on a volume")?,
            capacity: gauges(
                "volume_capacity_bytes",
                "Size of a volume's file system, which others may share; 0 if it failed",
            )?,
            used: gauges("volume_used_bytes", "Bytes of replicas on a volume")?,
            available: gauges("volume_available_bytes", "Bytes that new replicas may take on a volume")?,
            failed: gauges("volume_failed", "1 if the volume was taken out of use, else 0")?,
            suspect: gauges("volume_suspect", "1 while the volume's disk does not answer, else 0")?,
        })
    }
}

/// Everything the DataNode exports, for the manual.
pub fn describe() -> prometheus::Result<Vec<Described>> {
    let meter = Metrics::meter(&Registry::new());
    Metrics::on(&meter)?;
    Memory::new(0, &meter)?;
    Room::new(0, &meter)?;
    Ok(meter.described())
}

impl Metrics {
    /// What names and remembers the metrics of a DataNode in `registry`.
    pub(crate) fn meter(registry: &Registry) -> Meter {
        Meter::new(registry, PREFIX)
    }

    /// Creates the metrics. Fails if they are there already.
    pub(crate) fn on(meter: &Meter) -> prometheus::Result<Self> {
        let buckets = |(start, factor, count)| exponential_buckets(start, factor, count);
        let seconds = |name: &str, help: &str| meter.histogram(name, help, buckets(SECONDS)?);
        meter.process(env!("CARGO_PKG_VERSION"))?;
        Ok(Self {
            requests: meter.counters(
                "requests_total",
                "Requests to the data port that are over, by method and error code ('ok' without error, 'cancelled' if the client left)",
                &["method", "code"],
            )?,
            request_seconds: meter.histograms(
                "request_seconds",
                "Time until a request was over; as long as their client likes for read and write",
                &["method"],
                buckets(REQUEST_SECONDS)?,
            )?,
            read_bytes: meter.counter("read_bytes_total", "Bytes of data sent to readers")?,
            written_bytes: meter.counter("written_bytes_total", "Bytes of data written to replicas")?,
            packets_read: meter.counter("read_packets_total", "Packets sent to readers")?,
            packets_written: meter.counter("written_packets_total", "Packets written to replicas")?,
            sessions: meter.gauges("sessions", "Sessions under way, by kind: write, read, copy", &["kind"])?,
            made_way: meter.counter(
                "idle_writers_total",
                "Write sessions ended because their sender was idle and others waited for memory; it begins again",
            )?,
            stalled: meter.counter(
                "stalled_readers_total",
                "Connections closed because their reader took nothing of an answer for a minute",
            )?,
            write_seconds: seconds("write_packet_seconds", "From a packet's arrival to its acknowledgement")?,
            read_seconds: seconds("read_packet_seconds", "Reading one packet from the disk")?,
            fsync_seconds: seconds("fsync_seconds", "Making one replica's files durable")?,
            volumes: Volumes::register(meter)?,
            disk_jobs: meter.gauges(
                "disk_jobs",
                "Jobs that wait for a disk thread of a volume or are done by one",
                &["volume"],
            )?,
            orders: meter.gauges(
                "orders",
                "Orders of the NameNode that wait or are carried out, by kind: copy, delete, recover",
                &["kind"],
            )?,
            unreported: meter.gauge(
                "unreported_changes",
                "Changes of replicas that the slowest NameNode has not been told of",
            )?,
            checksum_failures: meter.counters(
                "checksum_failures_total",
                "Times bytes did not match their checksum, by where it was noticed: write, copy, scrub",
                &["where"],
            )?,
            scrubbed_bytes: meter.counter("scrubbed_bytes_total", "Bytes the scrubber read")?,
            scrub_verified: meter
                .gauge("scrub_verified_replicas", "Replicas verified since the process started")?,
            scrub_total: meter.gauge("scrub_replicas", "Replicas to be verified in all")?,
            headers_written: meter.counters(
                "headers_written_total",
                "Headers of replicas written anew with what the namespace says of the file, by result: done, no_room, failed",
                &["result"],
            )?,
            origins_asked: meter.counters(
                "origins_asked_total",
                "Questions to the leading NameNode which files chunks are of, by result",
                &["result"],
            )?,
            origins_wanted: meter.gauge(
                "origins_wanted",
                "Chunks whose replicas were finalized and whose headers do not say yet what their file is",
            )?,
            copies: meter.counters(
                "copies_total",
                "Copies sent to other DataNodes, by result: done, failed",
                &["result"],
            )?,
            reports: meter.counters(
                "reports_total",
                "Reports to NameNodes, by kind (slice: of a full report, incremental) and result",
                &["kind", "result"],
            )?,
            heartbeats: meter.counters("heartbeats_total", "Heartbeats to NameNodes, by result", &["result"])?,
        })
    }

    /// What a volume is now.
    pub(crate) fn volume(&self, state: &Volume) {
        let Volume { id: _, path, file_system: _, storage: _, health, capacity, used, available, replicas } =
            state;
        self.volume_health(Path::new(path), *health);
        let set = |gauges: &IntGaugeVec, value: u64| {
            gauges.with_label_values(&[path]).set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        let Volumes {
            replicas: replica_gauges,
            capacity: sizes,
            used: takes,
            available: rooms,
            failed: _,
            suspect: _,
        } = &self.volumes;
        set(replica_gauges, *replicas);
        set(sizes, *capacity);
        set(takes, *used);
        set(rooms, *available);
    }

    /// How a volume's disk is now.
    pub(crate) fn volume_health(&self, path: &Path, health: VolumeHealth) {
        let path = path.to_string_lossy();
        let Volumes { failed, suspect, .. } = &self.volumes;
        failed.with_label_values(&[&*path]).set(i64::from(health == VolumeHealth::Failed));
        suspect.with_label_values(&[&*path]).set(i64::from(health == VolumeHealth::Suspect));
    }
}

/// Counts one request when it is over; as `cancelled` if nobody says how it ended.
#[derive(Debug)]
pub(crate) struct Counted {
    metrics: Arc<Metrics>,
    method: &'static str,
    started: Instant,
    code: Option<&'static str>,
}

impl Counted {
    /// A request of this method begins.
    pub(crate) fn begin(metrics: &Arc<Metrics>, method: &'static str) -> Self {
        Self { metrics: Arc::clone(metrics), method, started: Instant::now(), code: None }
    }

    /// How it goes; the first error stays.
    pub(crate) fn ends(&mut self, error: Option<&FsError>) {
        self.code = match (error, self.code) {
            (None, None) => Some("ok"),
            (Some(error), None | Some("ok")) => Some(error.code.name()),
            (None | Some(_), told) => told,
        };
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let code = self.code.unwrap_or("cancelled");
        self.metrics.requests.with_label_values(&[self.method, code]).inc();
        let seconds = self.started.elapsed().as_secs_f64();
        self.metrics.request_seconds.with_label_values(&[self.method]).observe(seconds);
    }
}

/// The label value for a result.
pub(crate) fn result_label<T, E>(result: &Result<T, E>) -> &'static str {
    if result.is_ok() { "done" } else { "failed" }
}

/// Counts one session or order as under way until it is dropped.
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

impl Active {
    /// An order of this kind: copy, delete or recover.
    pub(crate) fn order(metrics: &Metrics, kind: &str) -> Self {
        let gauge = metrics.orders.with_label_values(&[kind]);
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
    fn metrics_register_once_and_follow_the_conventions() {
        let meter = Metrics::meter(&Registry::new());
        let metrics = Metrics::on(&meter).unwrap();
        drop(Active::count(&metrics, "write"));
        metrics.read_bytes.inc();
        assert!(Metrics::on(&meter).is_err());
        for Described { name, kind, help, labels: _ } in describe().unwrap() {
            assert!(
                (name.starts_with("dfs_datanode_") || name.starts_with("process_")) && !help.ends_with('.'),
                "{name}"
            );
            assert_eq!(name.ends_with("_total"), kind == dfs_daemon::Kind::Counter, "{name}");
        }
    }

    #[test]
    fn requests_are_counted_by_how_they_end() {
        let metrics = Arc::new(Metrics::on(&Metrics::meter(&Registry::new())).unwrap());
        let request = |ends: &[Option<&FsError>]| {
            let mut request = Counted::begin(&metrics, "read");
            for end in ends {
                request.ends(*end);
            }
        };
        let error = FsError::invalid("no");
        request(&[]);
        request(&[None]);
        request(&[None, Some(&error), None]);
        for (code, times) in [("cancelled", 1), ("ok", 1), ("invalid_argument", 1)] {
            assert_eq!(metrics.requests.with_label_values(&["read", code]).get(), times, "{code}");
        }
    }
}
