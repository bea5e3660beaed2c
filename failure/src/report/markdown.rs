//! For people.

use std::fmt::Write as _;

use super::{HEADERS, Report, cells};
use crate::outcome::Mark;

/// The report as Markdown.
pub(super) fn render(report: &Report) -> String {
    let mut text = format!(
        "# Failure suite\n\nOn {}: {} as expected, {} wrong, {} skipped.\n\n",
        report.site,
        report.count(Mark::Good),
        report.count(Mark::Wrong),
        report.count(Mark::Skipped)
    );
    row(&mut text, std::iter::once("").chain(HEADERS));
    row(&mut text, ["---", "---"].into_iter().chain(HEADERS[1..].iter().map(|_| "---:")));
    for outcome in &report.scenarios {
        let cells = cells(outcome);
        row(
            &mut text,
            std::iter::once(outcome.mark.symbol().trim_end()).chain(cells.iter().map(String::as_str)),
        );
    }
    for outcome in &report.scenarios {
        // Writing into a text can't fail.
        let _ =
            write!(text, "\n## {} {}\n\n{}\n", outcome.mark.symbol().trim_end(), outcome.name, outcome.title);
        if let Some(reason) = &outcome.reason {
            let _ = write!(text, "\nSkipped: {reason}\n");
        }
        if !outcome.steps.is_empty() {
            text.push('\n');
        }
        for step in &outcome.steps {
            let note = if step.note.is_empty() { String::new() } else { format!(": {}", escape(&step.note)) };
            let mark = step.mark.symbol().trim_end();
            let _ =
                writeln!(text, "- {mark} {}{note} ({:.1} s)", escape(&step.title), step.took.as_secs_f64());
        }
    }
    text
}

fn row<'a>(text: &mut String, cells: impl Iterator<Item = &'a str>) {
    for cell in cells {
        let _ = write!(text, "| {} ", escape(cell));
    }
    text.push_str("|\n");
}

/// One line that means only itself.
fn escape(text: &str) -> String {
    let line = text.lines().map(str::trim_end).collect::<Vec<_>>().join(" / ");
    line.replace('|', "\\|").replace('<', "&lt;").chars().filter(|found| !found.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn every_scenario_is_there_and_nothing_breaks_the_table() {
        let text = render(&sample());
        assert!(text.contains("1 as expected, 1 wrong, 1 skipped"), "{text}");
        assert!(text.contains("| ❌ | bad | 4.0 s |"), "{text}");
        assert!(text.contains("1 \\| 2 below target"), "{text}");
        assert!(text.contains("&lt;lost> & gone[0m"), "{text}");
        assert!(text.contains("Skipped: no such disk"), "{text}");
    }
}
