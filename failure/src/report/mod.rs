//! The report as files: for people, programs and CI.

mod junit;
mod markdown;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::outcome::{Mark, Outcome};
use crate::show::{Screen, bytes_in_words};

/// All that was run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Where: what the driver says of itself.
    pub site: String,
    /// One scenario each, in the order they ran.
    pub scenarios: Vec<Outcome>,
}

impl Report {
    /// Whether nothing was wrong. Skipped scenarios are not wrong, but something must have been tried.
    pub fn is_good(&self) -> bool {
        let wrong = self.count(Mark::Wrong);
        wrong == 0 && self.count(Mark::Good) > 0
    }

    /// How many scenarios ended like this.
    pub fn count(&self, mark: Mark) -> usize {
        self.scenarios.iter().filter(|scenario| scenario.mark == mark).count()
    }

    /// Writes `failures.md`, `failures.json` and `failures.xml` (JUnit) into a folder, which is made if it is missing.
    pub fn write(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let files = [
            ("failures.md", markdown::render(self)),
            ("failures.json", format!("{}\n", serde_json::to_string_pretty(self)?)),
            ("failures.xml", junit::render(self)?),
        ];
        let mut written = Vec::new();
        for (name, text) in files {
            let path = folder.join(name);
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            written.push(path);
        }
        Ok(written)
    }

    /// What went wrong, a sentence for each scenario that did.
    fn failures(&self) -> impl Iterator<Item = String> {
        self.scenarios.iter().filter_map(|scenario| {
            let failure = scenario.failure()?;
            Some(format!("{}: {failure}", scenario.name))
        })
    }

    /// The table at the end.
    pub fn show(&self, screen: &Screen) {
        let rows: Vec<_> = self.scenarios.iter().map(cells).collect();
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([HEADERS[column].len()]).max().unwrap_or(0)
        };
        let line = |cells: &[String; 7]| {
            let first = format!("{:width$}", cells[0], width = width(0));
            let others = (1..7).map(|column| format!("  {:>width$}", cells[column], width = width(column)));
            first + &others.collect::<String>()
        };
        screen.headline(&format!("    {}", line(&HEADERS.map(str::to_owned))));
        for (outcome, row) in self.scenarios.iter().zip(&rows) {
            screen.say(&format!(" {} {}", outcome.mark.symbol(), screen.marked(outcome.mark, &line(row))));
        }
        // The table is what is left of a long run in a terminal, and in CI's output: it must tell why, too.
        for failure in self.failures() {
            screen.say(&format!(" {} {}", Mark::Wrong.symbol(), screen.marked(Mark::Wrong, &failure)));
        }
        let [good, wrong, skipped] = [Mark::Good, Mark::Wrong, Mark::Skipped].map(|mark| self.count(mark));
        let sum = format!("{good} as expected, {wrong} wrong, {skipped} skipped");
        let mark = if self.is_good() { Mark::Good } else { Mark::Wrong };
        screen.say(&format!("\n{} {}", mark.symbol(), screen.marked(mark, &sum)));
    }
}

/// The columns of the table.
const HEADERS: [&str; 7] =
    ["scenario", "detected", "recovered", "all replicas", "copied", "client errors", "took"];

/// A scenario as a row of the table.
fn cells(outcome: &Outcome) -> [String; 7] {
    let time = |time: Option<Duration>| {
        time.map_or_else(|| "–".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()))
    };
    let measures = &outcome.measures;
    let copied = match measures.copied_bytes {
        0 => "–".to_owned(),
        bytes => bytes_in_words(bytes),
    };
    let round = if outcome.round > 1 { format!(" ({})", outcome.round) } else { String::new() };
    [
        format!("{}{round}", outcome.name),
        time(measures.detection),
        time(measures.recovery),
        time(measures.replication),
        copied,
        measures.client_errors.to_string(),
        time(Some(outcome.took)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Measures, Step};

    pub(super) fn sample() -> Report {
        let step = |title: &str, mark, note: &str| Step {
            title: title.into(),
            mark,
            note: note.into(),
            took: Duration::from_millis(1_500),
        };
        let outcome = |name, mark, reason, steps| Outcome {
            name,
            title: "what it is",
            round: 1,
            mark,
            reason,
            steps,
            measures: Measures { detection: Some(Duration::from_secs(4)), ..Measures::default() },
            took: Duration::from_secs(12),
        };
        Report {
            site: "a test".into(),
            scenarios: vec![
                outcome("fine", Mark::Good, None, vec![step("one", Mark::Degraded, "1 | 2 below target")]),
                outcome("bad", Mark::Wrong, None, vec![step("two", Mark::Wrong, "<lost> & gone\u{1b}[0m")]),
                outcome("not-here", Mark::Skipped, Some("no such disk".into()), Vec::new()),
            ],
        }
    }

    #[test]
    fn the_report_is_good_only_if_something_was_and_nothing_was_wrong() {
        let mut report = sample();
        assert!(!report.is_good());
        report.scenarios.remove(1);
        assert!(report.is_good());
        report.scenarios.remove(0);
        assert!(!report.is_good(), "everything was skipped");
    }

    #[test]
    fn what_went_wrong_is_told_again_at_the_end() {
        assert_eq!(sample().failures().collect::<Vec<_>>(), ["bad: two: <lost> & gone\u{1b}[0m"]);
    }

    #[test]
    fn all_three_files_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let files = sample().write(&folder.path().join("new")).unwrap();
        assert_eq!(files.len(), 3);
        let json: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&files[1]).unwrap()).unwrap();
        assert_eq!(json["scenarios"][1]["mark"], "wrong");
        assert_eq!(json["scenarios"][0]["measures"]["detection_seconds"], 4.0);
    }
}
