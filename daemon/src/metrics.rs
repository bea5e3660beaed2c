//! Registering metrics in one place a process, so that what they are called and mean can also be listed.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, Result,
};

use crate::telemetry;

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations in buckets.
    Histogram,
}

impl Kind {
    /// Prometheus's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric that a process exports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Its whole name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// What it says.
    pub help: String,
    /// Its labels.
    pub labels: Vec<String>,
}

/// Registers the metrics of one process and remembers them. Clones share both.
#[derive(Debug, Clone)]
pub struct Meter {
    registry: Registry,
    prefix: &'static str,
    described: Arc<Mutex<Vec<Described>>>,
}

impl Meter {
    /// Names begin with `prefix` and an underscore.
    pub fn new(registry: &Registry, prefix: &'static str) -> Self {
        Self { registry: registry.clone(), prefix, described: Arc::default() }
    }

    /// What was registered, in order.
    pub fn described(&self) -> Vec<Described> {
        self.described.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A counter. Its name ends in `_total`.
    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter> {
        self.add(IntCounter::with_opts(self.opts(name, help))?, Kind::Counter, name, help, &[])
    }

    /// A counter for each set of labels. Its name ends in `_total`.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
        self.add(IntCounterVec::new(self.opts(name, help), labels)?, Kind::Counter, name, help, labels)
    }

    /// A gauge.
    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge> {
        self.add(IntGauge::with_opts(self.opts(name, help))?, Kind::Gauge, name, help, &[])
    }

    /// A gauge of parts: its name ends in `_ratio` or in a unit such as `_seconds`.
    pub fn float_gauge(&self, name: &str, help: &str) -> Result<Gauge> {
        self.add(Gauge::with_opts(self.opts(name, help))?, Kind::Gauge, name, help, &[])
    }

    /// A gauge for each set of labels, whose sum means something.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
        self.add(IntGaugeVec::new(self.opts(name, help), labels)?, Kind::Gauge, name, help, labels)
    }

    /// A histogram with these upper bounds.
    pub fn histogram(&self, name: &str, help: &str, buckets: Vec<f64>) -> Result<Histogram> {
        let options = HistogramOpts::from(self.opts(name, help)).buckets(buckets);
        self.add(Histogram::with_opts(options)?, Kind::Histogram, name, help, &[])
    }

    /// A histogram with these upper bounds for each set of labels.
    pub fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: Vec<f64>,
    ) -> Result<HistogramVec> {
        let options = HistogramOpts::from(self.opts(name, help)).buckets(buckets);
        self.add(HistogramVec::new(options, labels)?, Kind::Histogram, name, help, labels)
    }

    /// Tells which version of the program runs, how many lines its log lacks, and what the process takes: CPU, memory, files
    /// and threads, under the names that all of Prometheus's client libraries give them.
    pub fn process(&self, version: &str) -> Result<()> {
        let info = self.gauges("build_info", "1, with the version of the program as its label", &["version"]);
        info?.with_label_values(&[version]).set(1);
        let (name, help) = ("log_lines_dropped_total", "Lines of the log that could not be written");
        let lines = LogLines(Arc::new((IntCounter::with_opts(self.opts(name, help))?, Mutex::default())));
        self.add(lines, Kind::Counter, name, help, &[])?;
        let process = ProcessCollector::for_self();
        let described: Vec<_> = process.desc().into_iter().map(of_process).collect();
        self.registry.register(Box::new(process))?;
        self.described.lock().unwrap_or_else(PoisonError::into_inner).extend(described);
        Ok(())
    }

    fn opts(&self, name: &str, help: &str) -> Opts {
        Opts::new(name, help).namespace(self.prefix)
    }

    fn add<M: Collector + Clone + 'static>(
        &self,
        metric: M,
        kind: Kind,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<M> {
        self.registry.register(Box::new(metric.clone()))?;
        let described = Described {
            name: format!("{}_{name}", self.prefix),
            kind,
            help: help.to_owned(),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        };
        self.described.lock().unwrap_or_else(PoisonError::into_inner).push(described);
        Ok(metric)
    }
}

/// Brings its counter up to what the process's log counts itself.
#[derive(Clone)]
struct LogLines(Arc<(IntCounter, Mutex<()>)>);

impl Collector for LogLines {
    fn desc(&self) -> Vec<&Desc> {
        self.0.0.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let (counter, one_at_a_time) = &*self.0;
        let _turn = one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
        counter.inc_by(telemetry::dropped_lines().saturating_sub(counter.get()));
        counter.collect()
    }
}

fn of_process(metric: &Desc) -> Described {
    Described {
        name: metric.fq_name.clone(),
        kind: if metric.fq_name.ends_with("_total") { Kind::Counter } else { Kind::Gauge },
        help: metric.help.trim_end_matches('.').to_owned(),
        labels: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_registered_is_described_and_gathered() {
        let registry = Registry::new();
        let meter = Meter::new(&registry, "dfs_test");
        meter.counter("files_total", "Files").unwrap().inc();
        let seconds = meter.histograms("call_seconds", "Calls", &["method"], vec![1.0]).unwrap();
        seconds.with_label_values(&["get"]).observe(0.5);
        meter.float_gauge("full_ratio", "How full").unwrap().set(0.25);
        meter.process("1.2").unwrap();
        let described = meter.described();
        let gathered: Vec<String> = registry.gather().iter().map(|family| family.name().to_owned()).collect();
        let mut names: Vec<String> = described.iter().map(|metric| metric.name.clone()).collect();
        assert_eq!(names[1], "dfs_test_call_seconds");
        names.sort();
        assert_eq!(names, gathered);
        assert_eq!(
            (described[1].kind.name(), described[1].labels.as_slice()),
            ("histogram", &["method".to_owned()][..])
        );
        assert!(meter.counter("files_total", "Files").is_err(), "names are unique");
    }
}
