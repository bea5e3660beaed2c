//! One budget of bytes for everything that a process holds for others: who wants to hold some asks first, and waits.
//!
//! Work comes in classes, each of which has a share that nobody else takes; what is left is common. Whoever waits for others
//! while it holds some waits only for classes that come before its own (a node of a pipeline for those after it). So
//! the work of the first class always ends, then there is room for the next one, and so on: a circle of nodes that wait for
//! each other cannot close, however small the budgets are.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::{IntCounter, IntGauge};
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use crate::Meter;

/// The budget of a process. Clones share it.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
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

/// Who has how much. Decides, and waits for nobody.
#[derive(Debug)]
struct State {
    total: u64,
    classes: Vec<Class>,
    peak: u64,
    /// Where the next round of giving begins, so that no class has to wait for ever for the common part.
    turn: usize,
    next: u64,
}

#[derive(Debug, Default)]
struct Class {
    share: u64,
    taken: u64,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    asked: Asked,
    granted: oneshot::Sender<Grant>,
}

/// How many bytes somebody needs, and how many it could make use of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Without these it cannot go on.
    pub least: u64,
    /// With these it is fastest: given as long as three quarters of the budget are free.
    pub most: u64,
}

/// Bytes of a budget; given back when dropped.
#[derive(Debug)]
pub struct Grant {
    shared: Arc<Shared>,
    class: usize,
    bytes: u64,
}

/// Nothing became free in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no memory became free within {0:?}")]
pub struct Exhausted(pub Duration);

impl Budget {
    /// A budget of `total` bytes with a share for each class, registered with `meter`. The shares must leave each class room
    /// for the largest that it asks for at least; `total` is raised to their sum.
    pub fn new(total: u64, shares: &[u64], meter: &Meter) -> prometheus::Result<Self> {
        let total = total.max(shares.iter().sum());
        let classes = shares.iter().map(|share| Class { share: *share, ..Class::default() }).collect();
        let metrics = Metrics::register(meter)?;
        metrics.total.set(gauge(total));
        let state = Mutex::new(State { total, classes, peak: 0, turn: 0, next: 0 });
        Ok(Self(Arc::new(Shared { state, scarce: Notify::new(), metrics })))
    }

    /// All bytes of it.
    pub fn total(&self) -> u64 {
        self.0.lock().total
    }

    /// The most that was taken at once so far.
    pub fn peak(&self) -> u64 {
        self.0.lock().peak
    }

    /// Bytes for work of a class, waiting for them at most `limit`. Within a class the first come are the first served.
    pub async fn take(&self, class: usize, asked: Asked, limit: Duration) -> Result<Grant, Exhausted> {
        let (number, granted) = {
            let mut state = self.0.lock();
            let number = state.next;
            state.next += 1;
            let (sender, granted) = oneshot::channel();
            let class = class.min(state.classes.len().saturating_sub(1));
            let Some(queue) = state.classes.get_mut(class) else { return Err(Exhausted(limit)) };
            queue.waiting.push_back(Waiting { number, asked, granted: sender });
            drop(state);
            self.0.give();
            (number, granted)
        };
        let waiting = Turn { shared: &self.0, number };
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
            if self.0.lock().classes.iter().any(|class| !class.waiting.is_empty()) {
                return;
            }
            told.await;
        }
    }
}

impl Grant {
    /// How many bytes there are.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives back all but `bytes`.
    pub fn shrink(&mut self, bytes: u64) {
        let back = self.bytes.saturating_sub(bytes);
        self.bytes -= back;
        self.shared.back(self.class, back);
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.shared.back(self.class, self.bytes);
    }
}

/// A place in a queue, left when dropped.
struct Turn<'a> {
    shared: &'a Arc<Shared>,
    number: u64,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        for class in &mut self.shared.lock().classes {
            class.waiting.retain(|waiting| waiting.number != self.number);
        }
        // Whoever stood behind may be content with less.
        self.shared.give();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn back(self: &Arc<Self>, class: usize, bytes: u64) {
        if let Some(class) = self.lock().classes.get_mut(class) {
            class.taken = class.taken.saturating_sub(bytes);
        }
        self.give();
    }

    /// Gives what is free to those that wait. Grants that nobody takes any more come back when they are dropped, so it is
    /// done again until there are none.
    fn give(self: &Arc<Self>) {
        let mut state = self.lock();
        let given = state.give();
        self.metrics.taken.set(gauge(state.taken()));
        self.metrics.peak.set(gauge(state.peak));
        let waiting: usize = state.classes.iter().map(|class| class.waiting.len()).sum();
        self.metrics.waiting.set(gauge(waiting as u64));
        drop(state);
        for (class, bytes, granted) in given {
            // Dropping what could not be sent gives it back, which comes here again.
            drop(granted.send(Grant { shared: Arc::clone(self), class, bytes }));
        }
        if waiting > 0 {
            self.scarce.notify_waiters();
        }
    }
}

impl State {
    fn taken(&self) -> u64 {
        self.classes.iter().map(|class| class.taken).sum()
    }

    /// What is neither taken nor kept for a class.
    fn common(&self) -> u64 {
        let bound: u64 = self.classes.iter().map(|class| class.taken.max(class.share)).sum();
        self.total.saturating_sub(bound)
    }

    /// How many bytes can be given to a class now.
    fn fits(&self, class: &Class, asked: Asked) -> Option<u64> {
        let room = class.share.saturating_sub(class.taken) + self.common();
        let plenty = asked.most <= room && self.taken() + asked.most <= self.total / 4;
        if plenty { Some(asked.most) } else { (asked.least <= room).then_some(asked.least) }
    }

    /// Grants what can be granted: class and bytes of each, and to whom.
    fn give(&mut self) -> Vec<(usize, u64, oneshot::Sender<Grant>)> {
        let mut given = Vec::new();
        let count = self.classes.len();
        let mut refused = 0;
        while refused < count {
            let index = self.turn % count;
            self.turn = (index + 1) % count;
            let fits = self.classes.get(index).and_then(|class| {
                let asked = class.waiting.front()?.asked;
                self.fits(class, asked)
            });
            let first = self.classes.get_mut(index).and_then(|class| {
                let bytes = fits?;
                class.taken += bytes;
                Some((bytes, class.waiting.pop_front()?))
            });
            match first {
                Some((bytes, waiting)) => {
                    refused = 0;
                    given.push((index, bytes, waiting.granted));
                }
                None => refused += 1,
            }
        }
        self.peak = self.peak.max(self.taken());
        given
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
        Budget::new(total, shares, &Meter::new(&Registry::new(), "dfs_test")).unwrap()
    }

    fn asks(least: u64) -> Asked {
        Asked { least, most: least }
    }

    #[tokio::test]
    async fn never_more_than_the_total_and_shares_stay_free_for_their_class() {
        let budget = budget(10, &[3, 3]);
        let mut held = Vec::new();
        for _ in 0..7 {
            held.push(budget.take(1, asks(1), LONG).await.unwrap());
        }
        assert_eq!(
            budget.take(1, asks(1), SOON).await.unwrap_err(),
            Exhausted(SOON),
            "3 are the other class's"
        );
        held.push(budget.take(0, asks(3), LONG).await.unwrap());
        assert!(budget.take(0, asks(1), SOON).await.is_err());
        assert_eq!((budget.total(), budget.peak()), (10, 10));
        drop(held);
        assert_eq!(budget.take(9, asks(7), LONG).await.unwrap().bytes(), 7, "unknown classes are the last");
    }

    #[tokio::test]
    async fn much_is_given_only_while_most_is_free() {
        let budget = budget(20, &[2]);
        let asked = Asked { least: 1, most: 4 };
        let first = budget.take(0, asked, LONG).await.unwrap();
        let mut second = budget.take(0, asks(4), LONG).await.unwrap();
        let third = budget.take(0, asked, LONG).await.unwrap();
        assert_eq!((first.bytes(), second.bytes(), third.bytes()), (4, 4, 1));
        second.shrink(1);
        assert_eq!((second.bytes(), budget.0.lock().taken()), (1, 6));
    }

    #[tokio::test]
    async fn what_comes_back_goes_to_the_first_that_waits() {
        let budget = budget(4, &[4]);
        let held = budget.take(0, asks(4), LONG).await.unwrap();
        let scarce = tokio::spawn({
            let budget = budget.clone();
            async move { budget.scarce().await }
        });
        let given_up = budget.take(0, asks(4), SOON).await;
        assert!(given_up.is_err());
        scarce.await.unwrap();
        let waiting: Vec<_> = (1..=2)
            .map(|bytes| {
                let budget = budget.clone();
                tokio::spawn(async move { budget.take(0, asks(bytes), LONG).await.unwrap() })
            })
            .collect();
        while budget.0.lock().classes[0].waiting.len() < 2 {
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
    #[tokio::test]
    async fn a_circle_of_pipelines_does_not_close() {
        let nodes: Vec<Budget> = (0..3).map(|_| budget(4, &[1, 1, 1])).collect();
        let pipelines: Vec<_> = (0..90)
            .map(|number| {
                let nodes = nodes.clone();
                tokio::spawn(async move {
                    let mut held = Vec::new();
                    for (class, hop) in [2, 1, 0].into_iter().zip(0..) {
                        let node = &nodes[(number + hop) % nodes.len()];
                        held.push(node.take(class, asks(1), LONG).await.unwrap());
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        for pipeline in pipelines {
            pipeline.await.unwrap();
        }
        assert!(nodes.iter().all(|node| node.0.lock().taken() == 0 && node.peak() <= node.total()));
    }
}
