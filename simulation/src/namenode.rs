//! The NameNode's decisions as the simulation sees them, and the processor time they take.

use std::time::Duration;

use dfs_namenode_core::{
    Command, Core, Effect, Event, Placement, PlacementError, PlacementRequest, Ticket, Totals,
};
use dfs_types::{BalancerStatus, ChunkId, Millis, NodeId};
use rustix::time::{ClockId, clock_gettime};

/// What decides: [`Core`], or in tests something around it that breaks a rule.
pub trait Decisions {
    /// [`Core::apply`].
    fn apply(&mut self, event: Event, now: Millis) -> Vec<Effect>;
    /// [`Core::take_commands`].
    fn take_commands(&mut self, node: NodeId, now: Millis) -> Vec<Command>;
    /// [`Core::choose_targets`].
    fn choose_targets(
        &mut self,
        request: &PlacementRequest,
        now: Millis,
    ) -> Result<Placement, PlacementError>;
    /// [`Core::bind_placement`].
    fn bind_placement(&mut self, ticket: Ticket, chunk: ChunkId);
    /// [`Core::set_next_chunk`] and [`Core::loaded`].
    fn loaded(&mut self, next: ChunkId, now: Millis);
    /// [`Core::wants_report`].
    fn wants_report(&mut self, node: NodeId, now: Millis) -> Option<ChunkId>;
    /// [`Core::owes_report`].
    fn owes_report(&self, node: NodeId) -> bool;
    /// Whether safe mode is on.
    fn in_safe_mode(&self) -> bool;
    /// [`Core::totals`].
    fn totals(&self, now: Millis) -> Totals;
    /// [`Core::balancer`].
    fn balancer(&self) -> BalancerStatus;
    /// [`Core::violations`].
    fn violations(&self) -> Vec<String>;
}

impl Decisions for Core {
    fn apply(&mut self, event: Event, now: Millis) -> Vec<Effect> {
        self.apply(event, now)
    }

    fn take_commands(&mut self, node: NodeId, now: Millis) -> Vec<Command> {
        self.take_commands(node, now)
    }

    fn choose_targets(
        &mut self,
        request: &PlacementRequest,
        now: Millis,
    ) -> Result<Placement, PlacementError> {
        self.choose_targets(request, now)
    }

    fn bind_placement(&mut self, ticket: Ticket, chunk: ChunkId) {
        self.bind_placement(ticket, chunk);
    }

    fn loaded(&mut self, next: ChunkId, now: Millis) {
        self.set_next_chunk(next);
        self.loaded(now);
    }

    fn wants_report(&mut self, node: NodeId, now: Millis) -> Option<ChunkId> {
        self.wants_report(node, now)
    }

    fn owes_report(&self, node: NodeId) -> bool {
        self.owes_report(node)
    }

    fn in_safe_mode(&self) -> bool {
        self.safe_mode().on
    }

    fn totals(&self, now: Millis) -> Totals {
        self.totals(now)
    }

    fn balancer(&self) -> BalancerStatus {
        self.balancer()
    }

    fn violations(&self) -> Vec<String> {
        self.violations()
    }
}

/// Processor time of calls of one kind.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spent {
    /// Calls.
    pub(crate) calls: u64,
    /// All of them together.
    pub(crate) all: Duration,
    /// The longest measured at once.
    pub(crate) longest: Duration,
}

impl Spent {
    /// Runs `work`, which makes `calls` calls, and adds the processor time of this thread it takes.
    pub(crate) fn measure<R>(&mut self, calls: u64, work: impl FnOnce() -> R) -> R {
        let before = processor_time();
        let result = work();
        let time = processor_time().saturating_sub(before);
        self.calls += calls;
        self.all += time;
        self.longest = self.longest.max(time);
        result
    }
}

/// Processor time by what it is spent on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Meter {
    /// Chunks of the namespace.
    pub(crate) loading: Spent,
    /// Full reports.
    pub(crate) reports: Spent,
    /// Processes that register.
    pub(crate) registrations: Spent,
    /// Heartbeats and the orders in their replies.
    pub(crate) heartbeats: Spent,
    /// Replicas that came and went.
    pub(crate) changes: Spent,
    /// Ticks.
    pub(crate) ticks: Spent,
    /// Nodes chosen for new chunks.
    pub(crate) placement: Spent,
    /// Everything else: writers, administrators.
    pub(crate) rest: Spent,
}

impl Meter {
    /// All kinds with their names.
    pub(crate) fn kinds(&self) -> [(&'static str, Spent); 8] {
        let Self { loading, reports, registrations, heartbeats, changes, ticks, placement, rest } = *self;
        [
            ("loading", loading),
            ("full reports", reports),
            ("registrations", registrations),
            ("heartbeats", heartbeats),
            ("changes", changes),
            ("ticks", ticks),
            ("placement", placement),
            ("rest", rest),
        ]
    }
}

/// Processor time that this thread has used.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Bytes of memory that this process uses now, and the most it ever used; 0 where the system does not tell.
pub(crate) fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kibibytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default()
    };
    (kibibytes("VmRSS:") << 10, kibibytes("VmHWM:") << 10)
}
