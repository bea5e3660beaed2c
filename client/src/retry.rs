//! How long and how often to try again.

use std::time::Duration;

use tokio::time::Instant;

/// Pause before the second try; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Longest pause between two rounds in search of a leader: a new one is elected in about half a second.
const LONGEST_SEARCH_PAUSE: Duration = Duration::from_millis(250);

/// Longest pause before who was told to wait for its turn asks again: it has already waited.
const LONGEST_TURN_PAUSE: Duration = Duration::from_millis(100);

/// Growing pauses with jitter, up to a deadline.
#[derive(Debug)]
pub(crate) struct Backoff {
    deadline: Instant,
    pause: Duration,
    longest: Duration,
}

impl Backoff {
    /// Tries may go on for `budget` from now.
    pub(crate) fn new(budget: Duration) -> Self {
        Self { deadline: Instant::now() + budget, pause: FIRST_PAUSE, longest: LONGEST_PAUSE }
    }

    /// The same for the search for a leader, with shorter pauses.
    pub(crate) fn searching(budget: Duration) -> Self {
        Self { longest: LONGEST_SEARCH_PAUSE, ..Self::new(budget) }
    }

    /// The same for who waits for its turn at nodes that make it wait themselves.
    pub(crate) fn queueing(budget: Duration) -> Self {
        Self { longest: LONGEST_TURN_PAUSE, ..Self::new(budget) }
    }

    /// When tries end.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// How long to wait before the next try.
    pub(crate) fn next_pause(&mut self) -> Duration {
        let pause = self.pause.mul_f64(rand::random_range(0.5..1.0));
        self.pause = (self.pause * 2).min(self.longest);
        pause
    }

    /// Waits before the next try. `false`, at once, if it would begin after the deadline.
    pub(crate) async fn pause(&mut self) -> bool {
        let pause = self.next_pause();
        if Instant::now() + pause >= self.deadline {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }
}

/// Waits as long as fits the number of failures in a row, with jitter.
pub(crate) async fn pause_after(failures: u32) {
    let pause = FIRST_PAUSE.saturating_mul(1 << failures.min(10)).min(LONGEST_PAUSE);
    tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
}

/// How patient one call to the NameNode is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Time for all tries together.
    pub(crate) total: Duration,
    /// Time after which "safe mode" is an answer and not a reason to try again.
    pub(crate) safe_mode: Duration,
}

impl Patience {
    /// Tries for `total`, whatever the transient error.
    pub(crate) fn steady(total: Duration) -> Self {
        Self { total, safe_mode: total }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_limit_of_each_kind() {
        let budget = Duration::from_hours(1);
        let kinds = [
            (Backoff::new(budget), LONGEST_PAUSE),
            (Backoff::searching(budget), LONGEST_SEARCH_PAUSE),
            (Backoff::queueing(budget), LONGEST_TURN_PAUSE),
        ];
        for (mut backoff, longest) in kinds {
            let pauses: Vec<Duration> = (0..50).map(|_| backoff.next_pause()).collect();
            assert!(pauses[0] <= FIRST_PAUSE, "{pauses:?}");
            assert!(pauses.iter().all(|pause| *pause <= longest), "{pauses:?}");
            assert!(pauses[20..].iter().all(|pause| *pause >= longest / 2), "{pauses:?}");
        }
    }
}
