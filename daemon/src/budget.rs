//! One budget of bytes for everything that a process holds for others: who wants to hold some asks first, and waits.
//!
//! Work comes in classes, each of which has a share that nobody else takes; what is left is common. Classes stand in lines:
//! whoever waits for others while it holds some waits only for classes that come before its own in its line (a node of a
//! pipeline for those after it), and wherever it holds some, those have their shares. So the work of the first class always
//! ends, then there is room for the next one, and so on: a circle of nodes that wait for each other cannot close, however
//! small the budgets are.

mod state;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::{IntCounter, IntGauge};
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use crate::Meter;
use state::{Given, State};

/// The budget of a process. Clones share it.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State<oneshot::Sender<Grant>>>,
    /// Told when somebody begins to wait.
    scarce: Notify,
    metrics: Metrics,
}

#[derive(Debug)]
struct Metrics {
    total: IntGauge,
    taken: IntGauge,
    peak: IntGauge,
    waiting: IntGauge,
    refused: IntCounter,
}

/// Classes of work of which each waits only for those before it.
#[derive(Debug, Clone)]
pub struct Line {
    /// Their shares.
    pub classes: Vec<Share>,
    /// So many of them have their shares also while nobody uses them; a later one only while it, or one after it, is used.
    pub always: usize,
}

/// What is kept for a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// How many bytes; `least` at least.
    pub bytes: u64,
    /// The most that one of the class asks for at least.
    pub least: u64,
}

/// A class: a line, and which of its classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    /// The line.
    pub line: usize,
    /// How many come before it.
    pub place: usize,
}

/// How many bytes somebody needs, and how many it could make use of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Without these it cannot go on.
    pub least: u64,
    /// With these it is fastest: given as long as three quarters of the budget are free and nobody else waits.
    pub most: u64,
}

/// Bytes of a budget; given back when dropped.
#[derive(Debug)]
pub struct Grant {
    shared: Arc<Shared>,
    class: Class,
    bytes: AtomicU64,
}

/// Nothing became free in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no memory became free within {0:?}")]
pub struct Exhausted(pub Duration);

impl Budget {
    /// A budget of `total` bytes, registered with `meter`. It is raised to the sum of the shares that are always kept, and
    /// exceeded by what classes lack that share a line too long for it.
    pub fn new(total: u64, lines: &[Line], meter: &Meter) -> prometheus::Result<Self> {
        let state = State::new(total, lines);
        let metrics = Metrics::register(meter)?;
        metrics.total.set(gauge(state.total()));
        Ok(Self(Arc::new(Shared { state: Mutex::new(state), scarce: Notify::new(), metrics })))
    }

    /// All bytes of it.
    pub fn total(&self) -> u64 {
        self.0.lock().total()
    }

    /// The most that was taken at once so far.
    pub fn peak(&self) -> u64 {
        self.0.lock().peak()
    }

    /// Bytes for work of a class, waiting for them at most `limit`. Within a class the first come are the first served.
    pub async fn take(&self, class: Class, asked: Asked, limit: Duration) -> Result<Grant, Exhausted> {
        let (sender, granted) = oneshot::channel();
        let number = self.0.lock().wait(class, asked, sender);
        let waiting = Turn { shared: &self.0, number };
        self.0.give();
        let result = timeout(limit, granted).await;
        drop(waiting);
        if let Ok(Ok(grant)) = result {
            return Ok(grant);
        }
        self.0.metrics.refused.inc();
        Err(Exhausted(limit))
    }

    /// Returns when somebody has to wait for bytes: whoever holds some without need should give them back.
    pub async fn scarce(&self) {
        loop {
            let told = self.0.scarce.notified();
            if self.0.lock().waiting() > 0 {
                return;
            }
            told.await;
        }
    }
}

impl Grant {
    /// How many bytes there are.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Gives back all but `bytes`.
    pub fn shrink(&self, bytes: u64) {
        let before = self.bytes.fetch_min(bytes, Ordering::Relaxed);
        self.shared.back(self.class, before.saturating_sub(bytes), false);
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.shared.back(self.class, self.bytes(), true);
    }
}

/// A place in a queue, left when dropped.
struct Turn<'a> {
    shared: &'a Arc<Shared>,
    number: u64,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.shared.lock().leave(self.number);
        // Whoever stood behind may be content with less.
        self.shared.give();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State<oneshot::Sender<Grant>>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn back(self: &Arc<Self>, class: Class, bytes: u64, all: bool) {
        self.lock().back(class, bytes, all);
        self.give();
    }

    /// Gives what is free to those that wait. Grants that nobody takes any more come back when they are dropped, so it is
    /// done again until there are none.
    fn give(self: &Arc<Self>) {
        let mut state = self.lock();
        let given = state.give();
        self.metrics.taken.set(gauge(state.taken()));
        self.metrics.peak.set(gauge(state.peak()));
        let waiting = state.waiting();
        self.metrics.waiting.set(gauge(waiting as u64));
        drop(state);
        for Given { class, bytes, to } in given {
            // Dropping what could not be sent gives it back, which comes here again.
            drop(to.send(Grant { shared: Arc::clone(self), class, bytes: bytes.into() }));
        }
        if waiting > 0 {
            self.scarce.notify_waiters();
        }
    }
}

impl Metrics {
    fn register(meter: &Meter) -> prometheus::Result<Self> {
        Ok(Self {
            total: meter.gauge("memory_budget_bytes", "Bytes that data in flight may take")?,
            taken: meter.gauge("memory_taken_bytes", "Bytes of the budget that are given to sessions")?,
            peak: meter.gauge("memory_peak_bytes", "Most bytes of the budget that were given at once")?,
            waiting: meter.gauge("memory_waiting", "Sessions that wait for bytes of the budget")?,
            refused: meter.counter(
                "memory_refused_total",
                "Sessions that were refused as 'busy' because no bytes of the budget became free in time",
            )?,
        })
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::*;

    const SOON: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(30);

    fn budget(total: u64, shares: &[u64]) -> Budget {
        let classes = shares.iter().map(|bytes| Share { bytes: *bytes, least: 1 }).collect();
        let line = Line { classes, always: 3 };
        Budget::new(total, &[line], &Meter::new(&Registry::new(), "dfs_test")).unwrap()
    }

    fn at(place: usize) -> Class {
        Class { line: 0, place }
    }

    fn asks(least: u64) -> Asked {
        Asked { least, most: least }
    }

    #[tokio::test]
    async fn never_more_than_the_total_and_shares_stay_free_for_their_class() {
        let budget = budget(10, &[3, 3]);
        let mut held = Vec::new();
        for _ in 0..5 {
            held.push(budget.take(at(1), asks(1), LONG).await.unwrap());
        }
        assert_eq!(
            budget.take(at(1), asks(1), SOON).await.unwrap_err(),
            Exhausted(SOON),
            "room for as many of the class before it is left"
        );
        held.push(budget.take(at(0), asks(5), LONG).await.unwrap());
        assert!(budget.take(at(0), asks(1), SOON).await.is_err());
        assert_eq!((budget.total(), budget.peak()), (10, 10));
        drop(held);
        assert_eq!(budget.0.lock().taken(), 0);
        assert!(budget.take(at(9), asks(1), SOON).await.is_err(), "there is no such class");
    }

    #[tokio::test]
    async fn much_is_given_only_while_most_is_free() {
        let budget = budget(20, &[2]);
        let asked = Asked { least: 1, most: 4 };
        let first = budget.take(at(0), asked, LONG).await.unwrap();
        let second = budget.take(at(0), asks(4), LONG).await.unwrap();
        let third = budget.take(at(0), asked, LONG).await.unwrap();
        assert_eq!((first.bytes(), second.bytes(), third.bytes()), (4, 4, 1));
        second.shrink(1);
        assert_eq!((second.bytes(), budget.0.lock().taken()), (1, 6));
    }

    #[tokio::test]
    async fn what_comes_back_goes_to_the_first_that_waits() {
        let budget = budget(4, &[4]);
        let held = budget.take(at(0), asks(4), LONG).await.unwrap();
        let scarce = tokio::spawn({
            let budget = budget.clone();
            async move { budget.scarce().await }
        });
        let given_up = budget.take(at(0), asks(4), SOON).await;
        assert!(given_up.is_err());
        scarce.await.unwrap();
        let waiting: Vec<_> = (1..=2)
            .map(|bytes| {
                let budget = budget.clone();
                tokio::spawn(async move { budget.take(at(0), asks(bytes), LONG).await.unwrap() })
            })
            .collect();
        while budget.0.lock().waiting() < 2 {
            tokio::task::yield_now().await;
        }
        drop(held);
        let mut all = Vec::new();
        for grant in waiting {
            all.push(grant.await.unwrap());
        }
        assert_eq!(budget.0.lock().taken(), 3);
        all.clear();
        assert_eq!(budget.0.lock().taken(), 0);
    }

    /// Nodes in a circle, each with room for little more than its shares, and pipelines that begin at each of them. Node
    /// `n` of a pipeline holds its bytes while it waits for those after it.
    async fn circle(count: usize, depth: usize, total: u64) {
        let nodes: Vec<Budget> = (0..count).map(|_| budget(total, &[1; 16])).collect();
        let pipelines: Vec<_> = (0..90)
            .map(|number| {
                let nodes = nodes.clone();
                tokio::spawn(async move {
                    let mut held = Vec::new();
                    for (class, hop) in (0..depth).rev().zip(0..) {
                        let node = &nodes[(number + hop) % nodes.len()];
                        held.push(node.take(at(class), asks(1), LONG).await.unwrap());
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        for pipeline in pipelines {
            pipeline.await.unwrap();
        }
        assert!(nodes.iter().all(|node| node.0.lock().taken() == 0));
    }

    #[tokio::test]
    async fn a_circle_of_pipelines_does_not_close() {
        circle(3, 3, 4).await;
        circle(7, 7, 7).await;
        circle(5, 16, 4).await;
    }
}
