//! The client library: the one place that knows how to call the NameNode, write a pipeline and read replicas.
//!
//! ```no_run
//! use dfs_client::{CreateOptions, Dfs};
//! use dfs_types::FsPath;
//! use tokio::io::AsyncWriteExt as _;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let dfs = Dfs::connect("namenode:9000").await?;
//! let path = FsPath::parse("/logs/today")?;
//! let mut writer = dfs.create(&path, CreateOptions { parents: true, ..CreateOptions::default() }).await?;
//! writer.write_all(b"hello").await?;
//! writer.close().await?;
//! let bytes = dfs.open(&path).await?.read_all().await?;
//! assert_eq!(&bytes[..], b"hello");
//! # Ok(())
//! # }
//! ```
//!
//! Every error is a [`dfs_types::FsError`]: a code for programs and a sentence for people. Wire types stay inside.

mod admin;
mod backup;
mod calls;
mod checksum;
mod chunk_reader;
mod chunk_writer;
mod connect;
mod datanodes;
mod destination;
mod dial;
mod duty;
mod error;
mod group;
mod handle;
mod lease;
mod lease_recovery;
mod locate;
mod memory;
mod namenode;
mod namespace;
mod one_cluster;
mod peers;
mod pipeline;
mod read;
mod replica_stream;
mod retry;
mod session;
mod settings;
mod stream;
mod trash;
mod users;
mod write;
mod write_target;

pub use backup::BackupSummary;
pub use checksum::FileChecksum;
pub use connect::Builder;
pub use destination::{Destination, DestinationOptions};
pub use dfs_types::{
    BalancerAction, BalancerStatus, ClusterReport, ClusterSetting, ClusterSettings, ContentSummary, Defaults,
    Duty, DutyReport, DutyState, Endpoint, FsStats, FsckChunk, FsckEntry, FsckFile, FsckSummary, GroupOrigin,
    GroupReport, GroupSource, LeaseRecovery, LimitChange, LocatedChunk, MemberRole, NamenodeMember,
    NodeReport, NodeState, Publication, QuarantinedChunk, RecoveryWait, Removed, SafeModeAction,
    SafeModeStatus, Superusers, Trash, TrashContent, Upgrade, UserGroups, Volume, WaitingChunk,
};
pub use dial::{Connector, TcpConnector};
pub use group::NamenodeGroup;
pub use handle::Dfs;
pub use locate::Locations;
pub use namespace::DirectoryEntry;
pub use read::FileReader;
pub use stream::FileStream;
pub use write::{AppendOptions, CreateOptions, Durability, FileWriter};
