//! For CI systems.

use anyhow::Result;
use quick_junit::{NonSuccessKind, Report as Xml, TestCase, TestCaseStatus, TestSuite};

use super::Report;
use crate::outcome::{Mark, Outcome};

/// The report as JUnit XML: one test case a scenario.
pub(super) fn render(report: &Report) -> Result<String> {
    let mut xml = Xml::new("dfs-failure-test");
    let mut suite = TestSuite::new(format!("failures on {}", report.site));
    suite.add_test_cases(report.scenarios.iter().map(case));
    suite.set_time(report.scenarios.iter().map(|outcome| outcome.took).sum());
    xml.add_test_suite(suite);
    Ok(xml.to_string()?)
}

fn case(outcome: &Outcome) -> TestCase {
    let status = match outcome.mark {
        Mark::Good | Mark::Degraded => TestCaseStatus::success(),
        Mark::Skipped => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(outcome.reason.clone().unwrap_or_default());
            status
        }
        Mark::Wrong => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(outcome.failure().unwrap_or_default());
            status
        }
    };
    let name = if outcome.round > 1 {
        format!("{}-{}", outcome.name, outcome.round)
    } else {
        outcome.name.to_owned()
    };
    let mut case = TestCase::new(name, status);
    case.set_time(outcome.took);
    let lines =
        outcome.steps.iter().map(|step| format!("{} {}: {}\n", step.mark.symbol(), step.title, step.note));
    case.set_system_out(lines.collect::<String>());
    case
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn the_file_is_read_back_as_it_was_meant() {
        let text = render(&sample()).unwrap();
        let read = Xml::deserialize_from_str(&text).unwrap();
        assert_eq!((read.tests, read.failures), (3, 1));
        let cases = &read.test_suites[0].test_cases;
        assert!(matches!(cases[0].status, TestCaseStatus::Success { .. }));
        let TestCaseStatus::NonSuccess { message, .. } = &cases[1].status else { panic!("{text}") };
        assert!(message.as_ref().unwrap().as_str().starts_with("two: <lost> & gone"), "{text}");
        assert!(matches!(cases[2].status, TestCaseStatus::Skipped { .. }));
    }
}
