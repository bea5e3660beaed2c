//! Several transfers at a time, the rest waiting in line.

use std::num::NonZeroU16;

use rustix::process::{Resource, getrlimit};
use tokio::task::JoinSet;

use super::progress::Progress;
use crate::exit::{Failure, Failures, Outcome};

/// Files, connections and streams that are open beside transfers.
const OTHER_FILES: usize = 32;
/// Files that one transfer has open: its own and its folder.
const FILES_OF_ONE: usize = 2;

/// Transfers that run beside each other. Failures are printed and counted; an interruption makes all of them clean up.
pub(crate) struct Jobs<'a> {
    running: JoinSet<Outcome>,
    limit: usize,
    progress: Progress,
    failures: &'a mut Failures,
    /// What ended the command before its time.
    fatal: Option<Failure>,
}

impl<'a> Jobs<'a> {
    /// At most `limit` at a time, and no more than there are descriptors for.
    pub(crate) fn new(limit: NonZeroU16, progress: &Progress, failures: &'a mut Failures) -> Self {
        Self {
            running: JoinSet::new(),
            limit: usize::from(limit.get()).min(room(getrlimit(Resource::Nofile).current)),
            progress: progress.clone(),
            failures,
            fatal: None,
        }
    }

    /// Starts a transfer, as soon as there is room; `false` if the command is to end.
    pub(crate) async fn start(&mut self, job: impl Future<Output = Outcome> + Send + 'static) -> bool {
        while self.running.len() >= self.limit && self.fatal.is_none() {
            self.wait_for_one().await;
        }
        if self.fatal.is_none() {
            self.running.spawn(job);
        }
        self.fatal.is_none()
    }

    /// Takes over the outcome of something that was done in between; `false` if the command is to end.
    pub(crate) fn note(&mut self, outcome: Outcome) -> bool {
        let progress = self.progress.clone();
        if let Err(fatal) = progress.around(|| self.failures.keep(outcome)) {
            self.fatal.get_or_insert(fatal);
        }
        self.fatal.is_none()
    }

    /// Waits for all of them: each has cleaned up behind itself.
    pub(crate) async fn finish(mut self) -> Outcome {
        while !self.running.is_empty() {
            self.wait_for_one().await;
        }
        self.fatal.map_or(Ok(()), Err)
    }

    async fn wait_for_one(&mut self) {
        if let Some(joined) = self.running.join_next().await {
            self.note(joined.unwrap_or_else(|error| Err(error.into())));
        }
    }
}

/// How many transfers can be under way with so many open files allowed; `None`: any number.
fn room(files: Option<u64>) -> usize {
    let files = files.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
    (files.saturating_sub(OTHER_FILES) / FILES_OF_ONE).max(1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn descriptors_limit_the_number() {
        for (files, expected) in [(Some(0), 1), (Some(64), 16), (Some(256), 112), (None, usize::MAX / 2 - 16)]
        {
            assert_eq!(room(files), expected, "{files:?}");
        }
    }

    #[tokio::test]
    async fn no_more_than_the_limit_run_and_failures_do_not_stop_the_rest() {
        let mut failures = Failures::of("test");
        let progress = Progress::new(false);
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let ran = Arc::new(AtomicUsize::new(0));
        let mut jobs = Jobs::new(NonZeroU16::new(3).unwrap(), &progress, &mut failures);
        for number in 0..20 {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            let ran = Arc::clone(&ran);
            let job = async move {
                ran.fetch_add(1, Ordering::SeqCst);
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                now.fetch_sub(1, Ordering::SeqCst);
                if number % 10 == 0 { Err(Failure::Reported(1)) } else { Ok(()) }
            };
            assert!(jobs.start(job).await);
        }
        jobs.finish().await.unwrap();
        assert_eq!(most.load(Ordering::SeqCst), 3);
        assert_eq!(ran.load(Ordering::SeqCst), 20);
        assert_eq!(failures.finish().unwrap_err().status(), 1);
    }

    #[tokio::test]
    async fn an_interruption_waits_for_those_that_clean_up() {
        let mut failures = Failures::of("test");
        let progress = Progress::new(false);
        let mut jobs = Jobs::new(NonZeroU16::new(2).unwrap(), &progress, &mut failures);
        let cleaned = Arc::new(AtomicUsize::new(0));
        let slow = Arc::clone(&cleaned);
        jobs.start(async { Err(Failure::Interrupted) }).await;
        jobs.start(async move {
            tokio::task::yield_now().await;
            slow.fetch_add(1, Ordering::SeqCst);
            Err(Failure::Interrupted)
        })
        .await;
        assert!(!jobs.start(async { Ok(()) }).await);
        assert_eq!(jobs.finish().await.unwrap_err().status(), 130);
        assert_eq!(cleaned.load(Ordering::SeqCst), 1);
    }
}
