//! Orders to DataNodes.

use dfs_types::{ChunkId, Command, Endpoint, FsError, FsResult, GenStamp};

use super::values::pipeline;
use crate::v1;
use crate::v1::command::Kind;

impl TryFrom<v1::Command> for Command<Endpoint> {
    type Error = FsError;

    fn try_from(command: v1::Command) -> FsResult<Self> {
        match command.kind {
            Some(Kind::Copy(v1::CopyCommand { extent, targets, bytes_per_second })) => {
                let extent = extent.ok_or_else(|| FsError::invalid("a copy command lacks its chunk"))?;
                Ok(Self::Copy {
                    chunk: ChunkId(extent.chunk),
                    generation: GenStamp(extent.generation),
                    length: extent.length,
                    targets: pipeline(targets)?,
                    bytes_per_second,
                })
            }
            Some(Kind::Delete(delete)) => {
                let replicas = delete.replicas.iter();
                let replicas = replicas.map(|replica| (ChunkId(replica.chunk), GenStamp(replica.generation)));
                Ok(Self::Delete { replicas: replicas.collect() })
            }
            Some(Kind::Recover(v1::RecoverCommand { chunk, new_generation, holders, acknowledged })) => {
                Ok(Self::Recover {
                    chunk: ChunkId(chunk),
                    new_generation: GenStamp(new_generation),
                    acknowledged,
                    holders: pipeline(holders)?,
                })
            }
            None => Err(FsError::invalid("a command is empty or unknown to this version")),
        }
    }
}

impl From<Command<Endpoint>> for v1::Command {
    fn from(command: Command<Endpoint>) -> Self {
        let nodes = |nodes: Vec<Endpoint>| nodes.into_iter().map(v1::Node::from).collect();
        let kind = match command {
            Command::Copy { chunk, generation, length, targets, bytes_per_second } => {
                Kind::Copy(v1::CopyCommand {
                    extent: Some(v1::ChunkExtent { chunk: chunk.0, generation: generation.0, length }),
                    targets: nodes(targets),
                    bytes_per_second,
                })
            }
            Command::Delete { replicas } => {
                let replicas = replicas.into_iter().map(|(chunk, generation)| v1::DeletedReplica {
                    chunk: chunk.0,
                    generation: generation.0,
                });
                Kind::Delete(v1::DeleteCommand { replicas: replicas.collect() })
            }
            Command::Recover { chunk, new_generation, acknowledged, holders } => {
                Kind::Recover(v1::RecoverCommand {
                    chunk: chunk.0,
                    new_generation: new_generation.0,
                    acknowledged,
                    holders: nodes(holders),
                })
            }
        };
        Self { kind: Some(kind) }
    }
}

#[cfg(test)]
mod tests {
    use dfs_types::{Address, NodeId, StorageType};

    use super::*;

    #[test]
    fn commands_come_as_they_were_sent() {
        let at = Address { host: "h".into(), data_port: 1, http_port: 2, location: "/z/r".into() };
        let node = Endpoint { id: NodeId::random(), at, storage: Some(StorageType::Archive) };
        let (chunk, generation) = (ChunkId(7), GenStamp(1_001));
        for command in [
            Command::Copy { chunk, generation, length: 5, targets: vec![node.clone()], bytes_per_second: 9 },
            Command::Delete { replicas: vec![(chunk, generation), (ChunkId(8), generation)] },
            Command::Recover { chunk, new_generation: generation, acknowledged: 3, holders: vec![node] },
        ] {
            assert_eq!(Command::try_from(v1::Command::from(command.clone())).unwrap(), command);
        }
        let too_many = v1::RecoverCommand { holders: vec![v1::Node::default(); 100], ..Default::default() };
        for bad in [None, Some(Kind::Copy(v1::CopyCommand::default())), Some(Kind::Recover(too_many))] {
            assert!(Command::try_from(v1::Command { kind: bad }).is_err());
        }
    }
}
