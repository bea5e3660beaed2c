//! Decisions with altered orders.

use dfs_namenode_core::{
    Command, Core, Effect, Event, Placement, PlacementError, PlacementRequest, Ticket, Totals,
};
use dfs_simulation::Decisions;
use dfs_types::{BalancerStatus, ChunkId, Millis, NodeId};

/// A real NameNode whose orders somebody changes on their way.
pub(crate) struct Altered<A> {
    pub(crate) core: Core,
    /// Is told who gets which orders, and answers what it gets instead.
    pub(crate) alter: A,
}

impl<A: FnMut(NodeId, Vec<Command>) -> Vec<Command>> Decisions for Altered<A> {
    fn apply(&mut self, event: Event, now: Millis) -> Vec<Effect> {
        self.core.apply(event, now)
    }

    fn take_commands(&mut self, node: NodeId, now: Millis) -> Vec<Command> {
        let commands = self.core.take_commands(node, now);
        (self.alter)(node, commands)
    }

    fn choose_targets(
        &mut self,
        request: &PlacementRequest,
        now: Millis,
    ) -> Result<Placement, PlacementError> {
        self.core.choose_targets(request, now)
    }

    fn bind_placement(&mut self, ticket: Ticket, chunk: ChunkId) {
        self.core.bind_placement(ticket, chunk);
    }

    fn loaded(&mut self, next: ChunkId, now: Millis) {
        Decisions::loaded(&mut self.core, next, now);
    }

    fn wants_report(&mut self, node: NodeId, now: Millis) -> Option<ChunkId> {
        self.core.wants_report(node, now)
    }

    fn owes_report(&self, node: NodeId) -> bool {
        self.core.owes_report(node)
    }

    fn in_safe_mode(&self) -> bool {
        self.core.in_safe_mode()
    }

    fn totals(&self, now: Millis) -> Totals {
        self.core.totals(now)
    }

    fn balancer(&self) -> BalancerStatus {
        self.core.balancer()
    }

    fn violations(&self) -> Vec<String> {
        self.core.violations()
    }
}
