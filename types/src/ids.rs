//! Newtypes for every identifier, so that a chunk id can't be passed where an inode id belongs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! number_type {
    ($(#[$doc:meta])* $name:ident($number:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $number);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new random id.
            pub fn random() -> Self {
                Self(Uuid::new_v4())
            }

            /// The id whose 16 bytes these are, or `None` if there are not exactly 16.
            pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
                Uuid::from_slice(bytes).ok().map(Self)
            }

            /// The id's 16 bytes.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

number_type! {
    /// A file or directory. Unique within a cluster and never used again; the root is [`InodeId::ROOT`].
    InodeId(u64)
}
number_type! {
    /// A chunk of a file. Unique within a cluster, never used again, always positive as an `i64` (HDFS's block id).
    ChunkId(u64)
}
number_type! {
    /// The version of a chunk. A replica with a lower stamp than the chunk's is stale.
    GenStamp(u64)
}
number_type! {
    /// A client's number for one of its requests; a retry carries the number of the first try.
    CallId(u64)
}

/// Bits of an inode's or chunk's id that count within its group: enough for a hundred thousand a second over 44 years. The
/// 16 above them are the group's number, and the highest is 0, so that ids are positive in every language.
const NUMBER_BITS: u32 = 47;

number_type! {
    /// A group of NameNodes, which has a namespace of its own. There is one today, 0. The number is part of the ids of its
    /// inodes and chunks, so that DataNodes can serve several groups, and replicas of different ones are never mistaken for
    /// each other.
    GroupNumber(u16)
}

impl InodeId {
    /// The root directory (HDFS uses the same number).
    pub const ROOT: Self = Self(16_385);

    /// The group whose namespace it is in.
    pub const fn group(self) -> GroupNumber {
        GroupNumber((self.0 >> NUMBER_BITS) as u16)
    }
}

impl ChunkId {
    /// The first chunk id of a new cluster (HDFS uses the same number).
    pub const FIRST: Self = Self(1_073_741_825);

    /// The group whose namespace it is of.
    pub const fn group(self) -> GroupNumber {
        GroupNumber((self.0 >> NUMBER_BITS) as u16)
    }
}

impl GenStamp {
    /// The first generation stamp of a new cluster (HDFS uses the same number).
    pub const FIRST: Self = Self(1_001);
}

uuid_id! {
    /// The cluster a directory was formatted for.
    ClusterId
}
uuid_id! {
    /// A DataNode: the id on its volumes, whatever its address.
    NodeId
}
uuid_id! {
    /// One directory a DataNode stores chunks in.
    VolumeId
}
uuid_id! {
    /// The file system that a volume is on: the same for all that share one, also on several DataNodes of a machine.
    /// It lasts until the machine's next start at least.
    FileSystemId
}
uuid_id! {
    /// One client instance, as the retry table knows it.
    ClientId
}

/// Names one request of one client: a retry with the same id gets the first answer instead of running again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RequestId {
    /// Who asks.
    pub client: ClientId,
    /// Which of its requests this is.
    pub call: CallId,
    /// The client waits for the answer to this one of its calls, and to none before it, nor will it ask for one again. 0:
    /// it does not say.
    pub lowest_unanswered: CallId,
}
