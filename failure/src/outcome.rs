//! What came of a scenario, for people and programs.

use std::time::Duration;

use serde::Serialize;

/// How a step or a scenario went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mark {
    /// It was not tried.
    Skipped,
    /// As expected.
    Good,
    /// As expected, but less than it should be: the numbers are in the note.
    Degraded,
    /// Not as expected.
    Wrong,
}

impl Mark {
    /// For the start of a line.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Good => "✅",
            Self::Wrong => "❌",
            Self::Degraded => "⚠️ ",
            Self::Skipped => "⏭️ ",
        }
    }
}

/// One line.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// What was tried.
    pub title: String,
    /// How it went.
    pub mark: Mark,
    /// Numbers, or why it is wrong.
    pub note: String,
    /// How long it took.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub took: Duration,
}

/// Numbers of one scenario. Times are counted from the moment of the failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Measures {
    /// Until the cluster said that something is wrong.
    #[serde(rename = "detection_seconds", serialize_with = "maybe_seconds")]
    pub detection: Option<Duration>,
    /// Until clients were served as before.
    #[serde(rename = "recovery_seconds", serialize_with = "maybe_seconds")]
    pub recovery: Option<Duration>,
    /// Until every chunk had all its replicas.
    #[serde(rename = "replication_seconds", serialize_with = "maybe_seconds")]
    pub replication: Option<Duration>,
    /// Bytes that DataNodes copied among themselves.
    pub copied_bytes: u64,
    /// Operations of clients that failed and should not have.
    pub client_errors: u64,
}

/// One scenario, done or skipped.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Its name.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub title: &'static str,
    /// Which time this was, from 1.
    pub round: u32,
    /// Wrong if one of its steps was; skipped if it was not tried.
    pub mark: Mark,
    /// Why it was skipped.
    pub reason: Option<String>,
    /// What was done, in order.
    pub steps: Vec<Step>,
    /// Numbers.
    pub measures: Measures,
    /// How long all of it took.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub took: Duration,
}

impl Outcome {
    /// The first step that went wrong, as a sentence.
    pub fn failure(&self) -> Option<String> {
        let step = self.steps.iter().find(|step| step.mark == Mark::Wrong)?;
        Some(format!("{}: {}", step.title, step.note))
    }

    /// The marks of all steps together: the worst one counts, but what was degraded on the way and is good at the end
    /// is as it should be.
    pub(crate) fn sum(steps: &[Step]) -> Mark {
        if steps.iter().any(|step| step.mark == Mark::Wrong) { Mark::Wrong } else { Mark::Good }
    }
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

#[expect(clippy::ref_option, reason = "the form that serde asks for")]
fn maybe_seconds<S: serde::Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs_f64()).serialize(serializer)
}
