//! Spreads bytes over time.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Lets so many bytes a second through.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Bytes a second; 0 for no limit.
    rate: u64,
    next: Instant,
}

impl Pace {
    /// `rate` bytes a second; 0: as fast as it goes.
    pub(crate) fn new(rate: u64) -> Self {
        Self { rate, next: Instant::now() }
    }

    /// Waits until `bytes` more may go. What was not used before is lost.
    pub(crate) async fn take(&mut self, bytes: u64) {
        if self.rate == 0 {
            return;
        }
        // A timer for a moment that is past or now may take up to a millisecond.
        if self.next > Instant::now() {
            sleep_until(self.next).await;
        }
        self.next = Instant::now() + Duration::from_secs_f64(bytes as f64 / self.rate as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bytes_take_their_time() {
        for (rate, seconds) in [(1_000, 4), (0, 0)] {
            let (mut pace, start) = (Pace::new(rate), Instant::now());
            for _ in 0..5 {
                pace.take(1_000).await;
            }
            assert_eq!(start.elapsed().as_secs(), seconds, "the last second is what follows");
        }
    }
}
