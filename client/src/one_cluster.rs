//! All NameNodes that a client talks to are of one cluster: every answer says of which its sender is.
//!
//! When several addresses are given, the first answer also tells where that NameNode's group is. Given addresses that are not
//! among them are asked too, before anything is done: otherwise each command would work with the cluster that is quicker,
//! and change to the other one when that fails.

use std::sync::{Arc, OnceLock};

use dfs_proto::convert;
use dfs_types::{ClusterId, ErrorCode, FsError, FsResult};
use tonic::metadata::MetadataMap;

use crate::peers::{Address, Peers};

/// The cluster of the first answer, and who gave it.
#[derive(Debug, Default)]
pub(crate) struct OneCluster(OnceLock<(ClusterId, Address)>);

impl OneCluster {
    /// Checks of which cluster the answer from `address` is.
    ///
    /// Errors: `WrongCluster` if somebody gave that address; `Unavailable` for one that was learned, where a NameNode of
    /// another cluster has taken the place of one of ours.
    pub(crate) fn check(&self, address: &Address, metadata: &MetadataMap, peers: &Peers) -> FsResult<()> {
        let Some(found) = convert::cluster(metadata) else { return Ok(()) };
        let (cluster, first) = self.0.get_or_init(|| (found, Arc::clone(address)));
        if *cluster == found {
            return Ok(());
        }
        let code =
            if peers.given().contains(address) { ErrorCode::WrongCluster } else { ErrorCode::Unavailable };
        Err(FsError::new(
            code,
            format!(
                "the NameNode at {first} is of cluster {cluster} and the one at {address} of cluster {found}: give NameNodes \
                 of one cluster only"
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(cluster: ClusterId) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        convert::set_cluster(&mut metadata, cluster);
        metadata
    }

    #[test]
    fn the_first_answer_counts() {
        let (one, other) = (ClusterId::random(), ClusterId::random());
        let peers = Peers::new(vec!["a:1".to_owned(), "b:1".to_owned()]);
        peers.learn(&["c:1".to_owned()]);
        let [a, b, c] = ["a:1", "b:1", "c:1"].map(Address::from);
        let clusters = OneCluster::default();
        clusters.check(&b, &MetadataMap::new(), &peers).unwrap();
        clusters.check(&a, &answer(one), &peers).unwrap();
        clusters.check(&b, &answer(one), &peers).unwrap();
        let error = clusters.check(&b, &answer(other), &peers).unwrap_err();
        assert_eq!(error.code, ErrorCode::WrongCluster);
        for part in ["a:1", "b:1", &one.to_string(), &other.to_string()] {
            assert!(error.message.contains(part), "{error}");
        }
        let error = clusters.check(&c, &answer(other), &peers).unwrap_err();
        assert_eq!(error.code, ErrorCode::Unavailable, "nobody gave that one");
    }
}
