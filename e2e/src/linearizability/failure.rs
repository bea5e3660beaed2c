//! Why a history does not pass.

use thiserror::Error;

use super::{History, Model, Record};

/// Why a history does not pass.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Failure {
    /// No order of the operations explains what was answered.
    #[error("the history is not linearizable: {explanation}")]
    Violation {
        /// The longest order that was found, the answer it does not explain, and the whole history.
        explanation: String,
    },
    /// The search was given up.
    #[error(
        "{operations} operations could not be decided within {budget} steps: give it a larger budget, or make \
         histories with fewer operations at once"
    )]
    Undecided {
        /// Steps allowed.
        budget: u64,
        /// Operations of the history.
        operations: usize,
    },
}

/// How far a search came.
#[derive(Debug, Default)]
pub(super) struct Prefix {
    /// Operations in the order of their moments.
    pub(super) order: Vec<usize>,
    /// The first answer that comes too early for all of them.
    pub(super) stuck: Option<usize>,
}

impl Failure {
    pub(super) fn violation<M: Model>(initial: &M::State, history: &History<M>, furthest: &Prefix) -> Self {
        let mut lines = Vec::new();
        if let Some(stuck) = furthest.stuck.and_then(|stuck| history.get(stuck)) {
            lines.push(format!("the longest order found does not explain {}", line(stuck)));
        }
        lines.push(format!("an order of {} operations from {initial:?}:", furthest.order.len()));
        let mut state = initial.clone();
        for record in furthest.order.iter().filter_map(|operation| history.get(*operation)) {
            let answer = record.answered.as_ref().map(|(_, answer)| answer);
            state = M::step(&state, &record.operation, answer).unwrap_or(state);
            lines.push(format!("  {} -> {state:?}", line(record)));
        }
        lines.push("all operations by their calls:".to_owned());
        let mut all: Vec<_> = history.iter().collect();
        all.sort_by_key(|record| record.called);
        lines.extend(all.into_iter().map(|record| format!("  {}", line(record))));
        Self::Violation { explanation: lines.join("\n") }
    }
}

fn line<O: std::fmt::Debug, A: std::fmt::Debug>(record: &Record<O, A>) -> String {
    let Record { client, operation, called, answered } = record;
    let outcome = match answered {
        Some((time, answer)) => format!("{time:.6?}] {answer:?}"),
        None => "…] unknown".to_owned(),
    };
    format!("client {client} [{called:.6?} {outcome}: {operation:?}")
}
