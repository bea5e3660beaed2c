//! Everything that one run measured, and how it is shown.

use serde::Serialize;

use crate::limits::Limits;
use crate::table::{Figure, Memory, Row, Unit, bytes, grid};
use crate::yardsticks::Yardsticks;

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
