//! The lines of the results: kept as values, printed in tables, written as JSON.

use serde::Serialize;

use crate::process::Usage;

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
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::BytesPerSecond => format!("{}/s", bytes(value)),
            Self::PerSecond => format!("{value:.0}/s"),
        }
    }
}

impl Row {
    pub(crate) fn cells(&self) -> [String; 7] {
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

/// A Markdown table with columns as wide as their widest cell.
pub(crate) fn grid(head: &[&str], rows: Vec<Vec<String>>) -> String {
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
