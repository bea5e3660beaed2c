//! Replicas that are kept although the namespace does not know their chunks.

use crate::{ChunkId, Endpoint, ReplicaRecord};

/// A chunk that the namespace does not know, and its replicas, which are kept until a person decides. `N` is a node: its id in
/// the NameNode's decisions, where it is for whoever is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantinedChunk<N = Endpoint> {
    /// The chunk.
    pub chunk: ChunkId,
    /// Who holds what of it.
    pub replicas: Vec<(N, ReplicaRecord)>,
}
