//! Every format that lasts: what is stored on disks or travels in files, with its version. A program reads what this table
//! says, and refuses anything else in a sentence that names both versions.
//!
//! A change of one of these is a new version with a migration and golden data (`CONTRIBUTING.md`), from the first versions
//! here on. What is replicated between NameNodes has feature levels besides: see [`LEVELS`].

/// A format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// What it is called in errors.
    pub name: &'static str,
    /// Where it is.
    pub place: &'static str,
    /// What has it.
    pub holds: &'static str,
    /// Who writes and reads it.
    pub owner: &'static str,
    /// The version that is written.
    pub version: u32,
    /// The oldest version that is read; a migration brings it to `version`.
    pub oldest: u32,
}

/// The feature levels, and what each brought to what is replicated. A cluster is at one of them; what a later one brought
/// is only written when all NameNodes know it and an administrator has finalized it (`dfs admin upgrade finalize`). Until
/// then the programs of the release before can go on with the same directories.
pub const LEVELS: [(u16, &str); 3] = [
    (1, "edits, outcomes and members as protobuf in envelopes"),
    (
        2,
        "the nodes that an open chunk is written to, of which all must answer before acknowledged bytes count as lost; \
         DataNodes and their volumes are remembered until an administrator forgets them; on DataNodes, version 2 of the \
         headers of replicas, with what a rebuild of the namespace needs",
    ),
    (
        3,
        "files are appended to, truncated and concatenated; what the tree below each directory takes is counted, and limited \
         by quotas; what is removed is kept in the trash; ACLs and extended attributes; settings \
         of the cluster: umask, precision of access times",
    ),
];
/// The feature level from which on DataNodes write headers of version 2, which have the facts of the file.
pub const ORIGINS: u16 = 2;
/// The lowest feature level.
pub const FIRST_LEVEL: u16 = LEVELS[0].0;
/// The highest feature level that this program knows: a new cluster begins with it.
pub const LEVEL: u16 = LEVELS[LEVELS.len() - 1].0;
/// Versions that the namespace database had before the first level as it is now: those that came since count with them.
const BEFORE_LEVELS: u32 = 9;

/// Version of the namespace database of a cluster at a feature level: the two are raised together, by the same entry of
/// the log.
pub const fn database_version(level: u16) -> u32 {
    BEFORE_LEVELS + level as u32
}

/// The feature level of a namespace database of this version; `None` if this program knows no such level.
pub const fn level_of_database(version: u32) -> Option<u16> {
    match version.checked_sub(BEFORE_LEVELS) {
        Some(level) if level >= FIRST_LEVEL as u32 && level <= LEVEL as u32 => Some(level as u16),
        _ => None,
    }
}

/// A NameNode's directory.
pub const NAMENODE_DIRECTORY: Format = Format {
    name: "NameNode directory",
    place: "DIR/VERSION",
    holds: "which files a NameNode's directory has, and whose it is",
    owner: "NameNode",
    version: 5,
    oldest: 5,
};

/// The tables of the namespace.
pub const NAMESPACE_DATABASE: Format = Format {
    name: "namespace database",
    place: "DIR/namespace.db, PRAGMA user_version; also the data of snapshots and backups",
    holds: "files, extents, chunks, leases, outcomes, members, duties and settings",
    owner: "NameNode",
    version: database_version(LEVEL),
    oldest: database_version(FIRST_LEVEL),
};

/// The replicated log's segments.
pub const REPLICATED_LOG: Format = Format {
    name: "replicated log",
    place: "DIR/log/*, first bytes of each segment",
    holds: "entries, term and vote",
    owner: "NameNode",
    version: 1,
    oldest: 1,
};

/// Values in envelopes.
pub const STORED_VALUE: Format = Format {
    name: "stored value",
    place: "data of log entries; table retry, column outcome; table position, column members; table inode, column acl",
    holds: "edits, outcomes, members, ACLs (proto/stored.proto), each with the feature level that it needs",
    owner: "NameNode",
    version: 1,
    oldest: 1,
};

/// Backups.
pub const BACKUP: Format = Format {
    name: "backup",
    place: "a file that 'dfs admin backup' wrote",
    holds: "a namespace database with checksums",
    owner: "NameNode; dfs checks it",
    version: 1,
    oldest: 1,
};

/// A DataNode's volume.
pub const VOLUME: Format = Format {
    name: "volume",
    place: "VOLUME/dfs/VERSION",
    holds: "whose volume it is, and how its folders are laid out",
    owner: "DataNode",
    version: 1,
    oldest: 1,
};

/// The file beside a replica's data.
pub const REPLICA_CHECKSUMS: Format = Format {
    name: "replica's checksum file",
    place: "VOLUME/dfs, each .crc file, bytes 8 and 9",
    holds: "what the replica is of, since version 2 with what its file is (proto/replica.proto), and a checksum for each 512 bytes",
    owner: "DataNode",
    version: 2,
    oldest: 1,
};

/// All of them.
pub const ALL: [Format; 7] =
    [NAMENODE_DIRECTORY, NAMESPACE_DATABASE, REPLICATED_LOG, STORED_VALUE, BACKUP, VOLUME, REPLICA_CHECKSUMS];
