//! Which DataNodes somebody means.

use dfs_client::NodeReport;
use dfs_types::{ErrorCode, FsError, NodeId};

use crate::exit::Outcome;

/// The nodes these names mean, each by its id, the beginning of its id, or HOST:PORT.
pub(super) fn resolve(nodes: &[NodeReport], names: &[String]) -> Outcome<Vec<NodeId>> {
    names.iter().map(|name| Ok(find(nodes, name)?)).collect()
}

fn find(nodes: &[NodeReport], name: &str) -> Result<NodeId, FsError> {
    // One that was not heard of for long is known by its duty only.
    if let Ok(id) = name.parse::<NodeId>() {
        return Ok(id);
    }
    let lower = name.to_ascii_lowercase();
    let is_meant = |node: &&NodeReport| {
        node.node.address() == lower || (!lower.is_empty() && node.node.id.to_string().starts_with(&lower))
    };
    let found: Vec<&NodeReport> = nodes.iter().filter(is_meant).collect();
    match found.as_slice() {
        [node] => Ok(node.node.id),
        [] => Err(FsError::new(
            ErrorCode::NotFound,
            format!("no DataNode '{name}' is known: 'dfs admin node list' shows them"),
        )),
        several => {
            let ids: Vec<String> = several.iter().map(|node| node.node.id.to_string()).collect();
            Err(FsError::invalid(format!("'{name}' can be any of {}: give more of the id", ids.join(", "))))
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use dfs_client::{DutyState, Endpoint, NodeState};

    use dfs_types::Address;

    use super::*;

    pub(crate) fn node(id: &str, host: &str, duty: DutyState, depending_chunks: u64) -> NodeReport {
        NodeReport {
            node: Endpoint {
                id: id.parse().unwrap(),
                at: Address {
                    host: host.to_owned(),
                    data_port: 9_001,
                    http_port: 9_002,
                    location: "/z/r".to_owned(),
                },
                storage: None,
            },
            state: NodeState::Live,
            silent: Duration::from_secs(1),
            volumes: Vec::new(),
            replicas: 3,
            active_writes: 0,
            active_reads: 0,
            active_copies: 0,
            version: "1".to_owned(),
            reported: true,
            duty,
            depending_chunks,
            maintenance_until: None,
        }
    }

    const A: &str = "0a000000-0000-4000-8000-000000000001";
    const B: &str = "0a100000-0000-4000-8000-000000000002";

    fn found(name: &str) -> Result<String, ErrorCode> {
        let nodes = [node(A, "dn-a", DutyState::InService, 0), node(B, "dn-b", DutyState::InService, 0)];
        find(&nodes, name).map(|id| id.to_string()).map_err(|error| error.code)
    }

    #[test]
    fn nodes_are_named_in_three_ways() {
        for name in [A, &A.to_uppercase(), "0a0", "0A00", "dn-a:9001", "DN-A:9001"] {
            assert_eq!(found(name), Ok(A.to_owned()), "{name}");
        }
        assert_eq!(found("dn-b:9001"), Ok(B.to_owned()));
        let stranger = "ffffffff-0000-4000-8000-000000000001";
        assert_eq!(found(stranger), Ok(stranger.to_owned()), "the NameNode knows whether there is one");
        for name in ["dn-a", "dn-a:9002", "b", "1", "dn-c:9001", ""] {
            assert_eq!(found(name), Err(ErrorCode::NotFound), "{name}");
        }
        assert_eq!(found("0a"), Err(ErrorCode::InvalidArgument));
    }
}
