//! Domain values that every crate of the file system agrees on.
//!
//! This crate does no I/O, reads no clock and spawns nothing: it can be used from the pure decision code of the
//! NameNode as well as from the command line.

pub mod acl;
pub mod address;
pub mod attributes;
pub mod backup;
pub mod balancer;
pub mod checksum;
pub mod cluster;
pub mod command;
pub mod duty;
pub mod endpoint;
pub mod error;
pub mod extent;
pub mod format;
pub mod fsck;
pub mod groups;
pub mod ids;
pub mod layout;
pub mod limits;
pub mod located;
pub mod member;
pub mod names;
pub mod node_report;
pub mod origin;
pub mod path;
pub mod quarantine;
pub mod quota;
pub mod recovery;
pub mod replica;
pub mod safe_mode;
pub mod settings;
pub mod time;
pub mod trash;
pub mod volume;
pub mod xattr;

pub use acl::{Acl, AclChange, AclEntry, AclKey, AclKind, AclScope, AclStatus, Perm};
pub use attributes::{Caller, CreateMode, FileKind, FileStatus, Mode};
pub use balancer::{BalancerAction, BalancerStatus};
pub use cluster::{ClusterReport, ContentSummary, Defaults, FsStats};
pub use command::Command;
pub use duty::{Duty, DutyState, NodeDuty};
pub use endpoint::{Address, Endpoint};
pub use error::{ErrorCode, FsError, FsResult};
pub use extent::{Extent, Publication};
pub use fsck::{FsckChunk, FsckEntry, FsckFile, FsckSummary};
pub use groups::{GroupOrigin, GroupReport, GroupSource, Superusers, UserGroups};
pub use ids::{
    CallId, ChunkId, ClientId, ClusterId, FileSystemId, GenStamp, GroupNumber, InodeId, NodeId, RequestId,
    VolumeId,
};
pub use layout::Layout;
pub use located::LocatedChunk;
pub use member::{MemberRole, NamenodeMember, Upgrade};
pub use node_report::{DutyReport, NodeReport};
pub use origin::{ChunkOrigin, Origin};
pub use path::FsPath;
pub use quarantine::QuarantinedChunk;
pub use quota::{LimitChange, Quota};
pub use recovery::{LeaseRecovery, RecoveryWait, WaitingChunk};
pub use replica::{ReplicaRecord, ReplicaState};
pub use safe_mode::{SafeModeAction, SafeModeStatus};
pub use settings::{ClusterSetting, ClusterSettings};
pub use time::Millis;
pub use trash::{Removed, Trash, TrashContent};
pub use volume::{NodeState, Space, StorageType, Volume, VolumeHealth, VolumeSpace};
pub use xattr::{Xattr, XattrName, XattrSetFlag, XattrSpace};
