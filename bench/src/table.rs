//! Results: kept as values, printed as a table, written as JSON.

use serde::Serialize;

use crate::limits::Limits;
use crate::process::Usage;
use crate::yardsticks::Yardsticks;

/// One measured line.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    /// What was done.
    pub(crate) work: String,
    /// How often in a second, or bytes in a second.
    pub(crate) rate: f64,
    /// Unit of `rate`.
    pub(crate) unit: Unit,
    /// Seconds it took.
    pub(crate) seconds: f64,
    /// The limit that binds it: name, and value in the same unit.
    pub(crate) limit: Option<(&'static str, f64)>,
    /// Latency at the median, in microseconds.
    pub(crate) p50_us: Option<u64>,
    /// Latency that one in a hundred exceeds, in microseconds.
    pub(crate) p99_us: Option<u64>,
    /// CPU seconds of clients and of servers.
    pub(crate) cpu_seconds: Option<(f64, f64)>,
}

/// What a rate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    /// Bytes.
    BytesPerSecond,
    /// Operations or files.
    PerSecond,
}

/// What one process used over the whole run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Memory {
    /// Which process, and when.
    pub(crate) process: String,
    /// What it used.
    pub(crate) usage: Usage,
}

/// A figure that is no rate.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    /// What it is.
    pub(crate) name: String,
    /// How much.
    pub(crate) value: f64,
    /// Of what.
    pub(crate) unit: &'static str,
}

/// Everything one run measured.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    /// Start of the run, Unix seconds.
    pub(crate) started: u64,
    /// The command line.
    pub(crate) command: String,
    /// Cores of the machine.
    pub(crate) cores: usize,
    /// The machine's limits.
    pub(crate) limits: Limits,
    /// What others can do on it.
    pub(crate) yardsticks: Yardsticks,
    /// Rates.
    pub(crate) rows: Vec<Row>,
    /// Memory.
    pub(crate) memory: Vec<Memory>,
    /// The rest.
    pub(crate) figures: Vec<Figure>,
}

/// Bytes for people: binary units.
pub(crate) fn bytes(value: f64) -> String {
    let mut value = value;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1_024.0 {
            return format!("{value:.1} {unit}");
        }
        value /= 1_024.0;
    }
    format!("{value:.1} TiB")
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::BytesPerSecond => format!("{}/s", bytes(value)),
            Self::PerSecond => format!("{value:.0}/s"),
        }
    }
}

impl Row {
    fn cells(&self) -> [String; 7] {
        let dash = || "-".to_owned();
        let (limit, share) = self.limit.map_or_else(
            || (dash(), dash()),
            |(name, value)| {
                (format!("{name} {}", self.unit.show(value)), format!("{:.0} %", 100.0 * self.rate / value))
            },
        );
        let latency = self.p50_us.zip(self.p99_us).map_or_else(dash, |(p50, p99)| format!("{p50} / {p99}"));
        let cpu = self.cpu_seconds.map_or_else(dash, |(client, server)| format!("{client:.1} + {server:.1}"));
        [
            self.work.clone(),
            self.unit.show(self.rate),
            format!("{:.2}", self.seconds),
            share,
            limit,
            latency,
            cpu,
        ]
    }
}

impl Results {
    /// Everything as Markdown, which also reads well on a terminal.
    pub(crate) fn markdown(&self) -> String {
        let limits = &self.limits;
        let mut text = format!("## Limits of this machine ({} cores)\n\n", self.cores);
        let rate = Unit::BytesPerSecond;
        text += &grid(
            &["limit", "value"],
            [
                ("disk write + fsync", rate.show(limits.disk_write_fsync)),
                ("page cache write", rate.show(limits.page_cache_write)),
                ("disk read", rate.show(limits.disk_read)),
                ("loopback", rate.show(limits.loopback)),
                ("CRC32C of 512-byte units, one core", rate.show(limits.crc32c)),
                ("memcpy, one core", rate.show(limits.memcpy)),
                ("4 KiB append + fdatasync", Unit::PerSecond.show(limits.fsyncs_per_second)),
                ("raw pipeline ×3", rate.show(limits.pipeline)),
                ("raw pipeline ×3 + fsync", rate.show(limits.pipeline_fsync)),
                ("raw fetch", rate.show(limits.fetch)),
                (
                    "SQLite, one row a synced transaction",
                    Unit::PerSecond.show(self.yardsticks.sqlite_commits),
                ),
                ("SQLite, rows in transactions of 100", Unit::PerSecond.show(self.yardsticks.sqlite_rows)),
            ]
            .map(|(name, value)| vec![name.to_owned(), value])
            .to_vec(),
        );
        text += "\n## Results\n\n";
        text += &grid(
            &["work", "rate", "s", "share", "limit that binds", "p50 / p99 µs", "CPU s client + server"],
            self.rows.iter().map(|row| row.cells().to_vec()).collect(),
        );
        text += "\n## Memory\n\n";
        text += &grid(
            &["process", "peak", "at the end"],
            self.memory
                .iter()
                .map(|Memory { process, usage }| {
                    vec![process.clone(), bytes(usage.peak_memory as f64), bytes(usage.memory as f64)]
                })
                .collect(),
        );
        if !self.figures.is_empty() {
            text += "\n## Figures\n\n";
            text += &grid(
                &["figure", "value"],
                self.figures
                    .iter()
                    .map(|figure| {
                        let value = match figure.unit {
                            "bytes" => bytes(figure.value),
                            unit => format!("{:.2} {unit}", figure.value),
                        };
                        vec![figure.name.clone(), value]
                    })
                    .collect(),
            );
        }
        text
    }
}

/// A Markdown table with columns as wide as their widest cell.
fn grid(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let widths: Vec<usize> = head
        .iter()
        .enumerate()
        .map(|(column, title)| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .chain([title.chars().count()])
                .max()
                .unwrap_or_default()
        })
        .collect();
    let line = |cells: Vec<String>| {
        let padded: Vec<String> =
            cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("| {} |\n", padded.join(" | "))
    };
    let mut text = line(head.iter().map(|title| (*title).to_owned()).collect());
    text += &line(widths.iter().map(|width| "-".repeat(*width)).collect());
    for row in rows {
        text += &line(row);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_its_share_of_the_limit() {
        let row = Row {
            work: "put".into(),
            rate: 512.0 * 1_048_576.0,
            unit: Unit::BytesPerSecond,
            seconds: 2.0,
            limit: Some(("disk", 1_024.0 * 1_048_576.0)),
            p50_us: None,
            p99_us: None,
            cpu_seconds: Some((1.0, 2.5)),
        };
        assert_eq!(
            row.cells(),
            ["put", "512.0 MiB/s", "2.00", "50 %", "disk 1.0 GiB/s", "-", "1.0 + 2.5"].map(str::to_owned)
        );
    }

    #[test]
    fn columns_line_up() {
        let text = grid(&["a", "b"], vec![vec!["long cell".into(), "x".into()]]);
        let widths: Vec<usize> = text.lines().map(|line| line.chars().count()).collect();
        assert!(widths.windows(2).all(|pair| pair[0] == pair[1]), "{text}");
    }
}
