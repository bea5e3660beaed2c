//! Waiting until DataNodes may be stopped.

use std::time::{Duration, Instant};

use dfs_client::{Dfs, DutyState, NodeReport};
use dfs_types::{ErrorCode, FsError, NodeId};
use indicatif::ProgressBar;

use super::{chosen, duty_name};
use crate::exit::{Failure, Outcome};

/// How often the nodes are looked at.
const POLL: Duration = Duration::from_millis(500);

/// Nodes that are on their way out.
pub(super) struct Waiting<'a> {
    pub(super) dfs: &'a Dfs,
    pub(super) ids: &'a [NodeId],
    /// How long to wait at most.
    pub(super) limit: Duration,
}

impl Waiting<'_> {
    /// Waits until nothing depends on any of them; somebody who takes one back ends it with an error.
    pub(super) async fn until_free(&self) -> Outcome<Vec<NodeReport>> {
        let deadline = Instant::now() + self.limit;
        // Draws nothing where nobody looks.
        let bar = ProgressBar::new_spinner();
        loop {
            let nodes = chosen(self.dfs.report().await?.nodes, self.ids);
            if let Some(back) = nodes.iter().find(|node| node.duty == DutyState::InService) {
                let address = back.node.address();
                return Err(Failure::Other(format!(
                    "{address} is in service: its duty ended or was changed"
                )));
            }
            let left: Vec<&NodeReport> = nodes.iter().filter(|node| !is_free(node)).collect();
            if left.is_empty() {
                bar.finish_and_clear();
                return Ok(nodes);
            }
            let progress = progress(&left);
            if Instant::now() >= deadline {
                bar.finish_and_clear();
                let message = format!(
                    "not done after {:?}, it goes on without being waited for: {progress}",
                    self.limit
                );
                return Err(FsError::new(ErrorCode::TimedOut, message).into());
            }
            bar.set_message(progress);
            bar.tick();
            tokio::time::sleep(POLL).await;
        }
    }
}

fn is_free(node: &NodeReport) -> bool {
    matches!(node.duty, DutyState::Decommissioned | DutyState::InMaintenance)
}

/// The first few of them and what they wait for.
fn progress(left: &[&NodeReport]) -> String {
    const NAMED: usize = 3;
    let named = left.iter().take(NAMED).map(|node| {
        format!(
            "{} {}: {} chunks depend on it",
            node.node.address(),
            duty_name(node.duty),
            node.depending_chunks
        )
    });
    let mut parts: Vec<String> = named.collect();
    if left.len() > NAMED {
        parts.push(format!("{} more", left.len() - NAMED));
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::super::names::tests::node;
    use super::*;

    #[test]
    fn what_is_waited_for_is_told() {
        let id = |n: u32| format!("0a00000{n}-0000-4000-8000-000000000001");
        let nodes: Vec<NodeReport> =
            (0..5).map(|n| node(&id(n), &format!("dn-{n}"), DutyState::Decommissioning, 7)).collect();
        let left: Vec<&NodeReport> = nodes.iter().collect();
        assert_eq!(progress(&left[..1]), "dn-0:9001 decommissioning: 7 chunks depend on it");
        assert!(progress(&left).ends_with("; 2 more"));
        assert!(!is_free(&nodes[0]) && is_free(&node(&id(9), "x", DutyState::InMaintenance, 0)));
    }
}
