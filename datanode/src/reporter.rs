//! The two loops that keep one NameNode informed.
//!
//! The report loop owns the order of everything that is told of replicas: it registers and sends reports, never two at
//! once. Each has the changes since the one before and, while the NameNode wants a full report, the next slice of it: what
//! closes a file never waits for more than one slice. The heartbeat loop only says that the node is alive, and takes
//! orders in.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dfs_types::limits::{HEARTBEAT_INTERVAL, REPORT_PAGE};
use dfs_types::{ChunkId, ErrorCode, FsError, FsResult};
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

use crate::group::{Reporter, Shared};
use crate::metrics::result_label;
use crate::namenode::{Answer, Pulse, Wishes};

/// First and longest pause before something that failed is tried again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long the last report and heartbeat may take.
const FAREWELL: Duration = Duration::from_secs(2);
/// After the last of its copies a node sends so many heartbeats so many times as often: waiting for the regular one would
/// take longer than the copies.
const SOONER: u32 = 4;
/// Heartbeat intervals that are taken from a NameNode.
const INTERVALS: std::ops::RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(30);

/// Pauses that double up to a limit, each shortened at random by up to a half, so that many nodes do not come at once.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Backoff {
    /// Begins with the shortest.
    pub(crate) fn new() -> Self {
        Self(BACKOFF.0)
    }

    /// The next pause; `random` shortens it.
    pub(crate) fn next(&mut self, random: u32) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(BACKOFF.1);
        pause.mul_f64(1.0 - f64::from(random) / f64::from(u32::MAX) / 2.0)
    }
}

/// Keeps a NameNode informed until the end, or an error that ends the process.
pub(crate) fn report(reporter: Reporter) -> BoxFuture<'static, ()> {
    Box::pin(reporter.run())
}

impl Reporter {
    async fn run(self) {
        let Shared { interval, end, .. } = &self.group.shared;
        let interval = AtomicU64::new(interval.unwrap_or(HEARTBEAT_INTERVAL).as_millis() as u64);
        tokio::select! {
            () = self.report(&interval) => {}
            () = self.beat(&interval) => {}
            () = self.gone.cancelled() => {}
            () = end.cancelled() => {
                if timeout(FAREWELL, self.farewell()).await.is_err() {
                    warn!(namenode = %self.namenode, "namenode does not take the farewell in time");
                }
            }
        }
    }

    /// Tells what is left to tell, and that this process is gone on purpose.
    async fn farewell(&self) {
        if !self.queue.is_registered() {
            return;
        }
        let (batch, _) = self.queue.take(REPORT_PAGE);
        if !batch.is_empty() {
            let told = self.namenode.report(&batch, None).await;
            self.count_report("incremental", &told);
        }
        if let Err(error) = self.namenode.heartbeat(&self.pulse()).await {
            warn!(namenode = %self.namenode, %error, "namenode does not know of the stop");
        }
    }

    fn count_report<T>(&self, kind: &str, told: &FsResult<T>) {
        self.group.shared.metrics.reports.with_label_values(&[kind, result_label(told)]).inc();
    }

    /// Notes what the NameNode wants, as it says to a heartbeat.
    fn heed(&self, wishes: Wishes) {
        let Wishes { register, report_from } = wishes;
        if let Some(from) = report_from {
            self.queue.report_wanted(from);
        }
        if register {
            self.queue.set_registered(false, None);
        }
    }

    /// Notes what the NameNode answers to a heartbeat, before which so many replicas had come. Only the newest leader's
    /// orders are taken.
    fn hear(&self, answer: Answer, births: u64) {
        let Answer { wishes, orders, leads, namenodes, level } = answer;
        let obeyed = self.group.heard(self.namenode.address(), leads, &namenodes);
        self.heed(wishes);
        let Some(term) = leads.filter(|_| obeyed) else {
            if !orders.is_empty() {
                debug!(namenode = %self.namenode, orders = orders.len(), "orders of a NameNode that does not lead");
            }
            return;
        };
        self.group.shared.store.set_level(level);
        for order in orders {
            match order {
                Ok(order) => self.group.shared.inbox.take(&self.namenode, term, births, order),
                Err(error) => warn!(namenode = %self.namenode, %error, "an order is not understood"),
            }
        }
    }

    /// Notes an error. Answers whether it ends the process.
    fn is_fatal(&self, what: &'static str, error: FsError) -> bool {
        if error.code == ErrorCode::WrongCluster && self.fixed {
            // A full channel means that the process is ending already.
            let _ = self.group.shared.fatal.try_send(error);
            return true;
        }
        if error.code == ErrorCode::NotRegistered {
            self.queue.set_registered(false, None);
        }
        warn!(namenode = %self.namenode, %error, what, "namenode not reached or not willing");
        false
    }

    async fn report(&self, interval: &AtomicU64) {
        let mut backoff = Backoff::new();
        loop {
            let failure = if self.queue.is_registered() {
                self.report_once().await
            } else {
                self.register(interval).await
            };
            match failure {
                Ok(()) => backoff = Backoff::new(),
                Err((what, error)) => {
                    if self.is_fatal(what, error) {
                        return;
                    }
                    sleep(backoff.next(rand::random())).await;
                }
            }
        }
    }

    async fn register(&self, interval: &AtomicU64) -> Result<(), (&'static str, FsError)> {
        let Shared { store, interval: own, .. } = &self.group.shared;
        let registered = self.namenode.register(Some(store.cluster), &store.volume_states()).await;
        let welcome = registered.map_err(|error| ("registration", error))?;
        info!(namenode = %self.namenode, node = %store.node, "registered");
        if own.is_none() && INTERVALS.contains(&welcome.heartbeat_interval) {
            interval.store(welcome.heartbeat_interval.as_millis() as u64, Ordering::Relaxed);
        }
        self.group.registered(self.namenode.address(), &welcome.address, &welcome.namenodes);
        self.queue.set_registered(true, welcome.report_from);
        Ok(())
    }

    /// Sends what waits, or waits until something does.
    async fn report_once(&self) -> Result<(), (&'static str, FsError)> {
        let Shared { store, fence, .. } = &self.group.shared;
        // From before anything of this is looked at.
        let term = fence.term();
        let (batch, slice) = match self.queue.wanted() {
            Some(from) => store.slice(&self.queue, from, term),
            None => (self.queue.take(REPORT_PAGE).0, None),
        };
        if batch.is_empty() && slice.is_none() {
            self.queue.woken().await;
            return Ok(());
        }
        let kind = if slice.is_some() { "slice" } else { "incremental" };
        let ends = slice.as_ref().is_some_and(|slice| slice.last == ChunkId(u64::MAX));
        let told = self.namenode.report(&batch, slice).await;
        match &told {
            Ok(wishes) => self.queue.answered(wishes.report_from),
            Err(_) => self.queue.unanswered(),
        }
        self.count_report(kind, &told);
        match told {
            Ok(Wishes { register: true, .. }) => {
                self.queue.put_back(batch);
                self.queue.set_registered(false, None);
                Ok(())
            }
            Ok(Wishes { register: false, report_from }) => {
                batch.accepted();
                if ends && report_from.is_none() {
                    self.group.informed(self.namenode.address());
                }
                Ok(())
            }
            Err(error) => {
                self.queue.put_back(batch);
                Err(("report", error))
            }
        }
    }

    async fn beat(&self, interval: &AtomicU64) {
        let mut told_of_stop = false;
        let mut copies = self.group.shared.inbox.unfinished_copies();
        let mut soon: u32 = 0;
        loop {
            let regular = Duration::from_millis(interval.load(Ordering::Relaxed));
            let next = Instant::now() + if soon > 0 { regular / SOONER } else { regular };
            soon = soon.saturating_sub(1);
            if self.queue.is_registered() {
                let pulse = self.pulse();
                told_of_stop |= pulse.stopping;
                let births = self.group.shared.store.births();
                let reply = self.namenode.heartbeat(&pulse).await;
                self.group.shared.metrics.heartbeats.with_label_values(&[result_label(&reply)]).inc();
                match reply {
                    Ok(answer) => self.hear(answer, births),
                    Err(error) => {
                        if self.is_fatal("heartbeat", error) {
                            return;
                        }
                    }
                }
            }
            let busy = *copies.borrow() > 0;
            tokio::select! {
                () = sleep_until(next) => {}
                // Every copy ordered is done: more may be waiting, or be planned in a moment.
                () = none_left(&mut copies), if busy => soon = SOONER,
                // The NameNode should know at once.
                () = self.group.shared.shutdown.requested(), if !told_of_stop => {
                    if !self.queue.is_registered() {
                        sleep_until(next).await;
                    }
                }
            }
        }
    }

    fn pulse(&self) -> Pulse {
        let Shared { store, metrics, shutdown, fence, .. } = &self.group.shared;
        let active = |kind| u32::try_from(metrics.sessions.with_label_values(&[kind]).get()).unwrap_or(0);
        // Before the volumes: what a change takes or gives back is done when it is counted.
        let as_of = store.changes();
        Pulse {
            as_of,
            volumes: store.volume_states(),
            writes: active("write"),
            reads: active("read"),
            copies: active("copy"),
            stopping: shutdown.is_requested(),
            fence: fence.term(),
        }
    }
}

/// Waits until no copy waits or is being sent.
async fn none_left(unfinished: &mut tokio::sync::watch::Receiver<usize>) {
    // An error means that nobody takes orders any more, which is the same.
    drop(unfinished.wait_for(|count| *count == 0).await);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit() {
        let mut backoff = Backoff::new();
        let pauses: Vec<_> = (0..8).map(|_| backoff.next(0).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(Backoff::new().next(u32::MAX).as_millis(), 50);
    }
}
