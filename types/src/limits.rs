//! Every number that two crates must agree on, with its unit and the reason for its value.

use std::time::Duration;

/// Bytes of data that one checksum covers; HDFS's `dfs.bytes-per-checksum`, which its wire protocol needs.
pub const BYTES_PER_CHECKSUM: usize = 512;
/// Bytes of one stored checksum (CRC32C).
pub const CHECKSUM_BYTES: usize = 4;

/// Bytes of a chunk if the file's creator does not say otherwise.
pub const DEFAULT_CHUNK_SIZE: u64 = 64 << 20;
/// Smallest chunk size accepted, in bytes: one checksum unit. Tests and Hadoop's contract suites use tiny chunks.
pub const MIN_CHUNK_SIZE: u64 = BYTES_PER_CHECKSUM as u64;
/// Largest chunk size accepted, in bytes; a replica's length must fit 32 bits in the chunk map.
pub const MAX_CHUNK_SIZE: u64 = 2 << 30;

/// Replicas of a chunk if the file's creator does not say otherwise.
pub const DEFAULT_REPLICATION: u32 = 3;
/// Most replicas a file may ask for; HDFS's `dfs.replication.max`.
pub const MAX_REPLICATION: u32 = 512;
/// Finalized replicas a chunk needs before its file may be closed (capped by the file's own replication).
pub const DEFAULT_MIN_REPLICAS: u32 = 2;

/// Longest name of one directory entry, in bytes (as POSIX `NAME_MAX`).
pub const MAX_NAME_BYTES: usize = 255;
/// Longest path, in bytes (as POSIX `PATH_MAX`).
pub const MAX_PATH_BYTES: usize = 4_096;
/// Longest user, group, client or lease holder name, in bytes.
pub const MAX_PRINCIPAL_BYTES: usize = 255;
/// Longest name of the machine that a DataNode runs on, in bytes: a host name's limit.
pub const MAX_MACHINE_BYTES: usize = 255;
/// Longest location of a DataNode (`/zone/rack`), in bytes.
pub const MAX_LOCATION_BYTES: usize = 255;
/// Most groups a caller may carry; more than any kernel's `NGROUPS` in practice.
pub const MAX_GROUPS: usize = 1_024;
/// Largest file of groups that a NameNode reads, in bytes.
pub const MAX_GROUP_FILE_BYTES: u64 = 1 << 20;
/// Longest line of it, in bytes: a group of some thousand users; several lines may name the same group.
pub const MAX_GROUP_LINE_BYTES: usize = 64 << 10;
/// Most users whose groups one request asks for: with all groups that a file can give them the answer has some 8 MiB.
pub const MAX_USERS_ASKED: usize = 32;
/// Shortest precision of access times that can be set: below it each read would be a change of the namespace.
pub const MIN_ACCESS_TIME_PRECISION: Duration = Duration::from_secs(1);
/// Longest one: beyond it a typing error is likelier than a wish.
pub const MAX_ACCESS_TIME_PRECISION: Duration = Duration::from_hours(366 * 24);
/// Most chunks of one file: bounds every answer that lists them (1 Mi × 64 MiB = 64 TiB).
pub const MAX_CHUNKS_PER_FILE: u64 = 1 << 20;
/// Most files whose chunks one call hands over to another file.
pub const MAX_CONCATENATED: usize = 1_024;

/// Most entries of one scope, access or default, of an ACL (as in HDFS).
pub const MAX_ACL_ENTRIES: usize = 32;
/// Most bytes of the names in an ACL together: directories are kept in memory with theirs.
pub const MAX_ACL_NAME_BYTES: usize = 2_048;
/// Most extended attributes of one file or directory; HDFS's `dfs.namenode.fs-limits.max-xattrs-per-inode`.
pub const MAX_XATTRS: usize = 32;
/// Most bytes of an extended attribute's name and value together; HDFS's `dfs.namenode.fs-limits.max-xattr-size`.
pub const MAX_XATTR_BYTES: usize = 16 << 10;

/// Entries in one page of a directory listing (as HDFS's `dfs.ls.limit`).
pub const LIST_PAGE: usize = 1_000;

/// Bytes of data in one packet of a chunk stream: large enough that per-message cost vanishes, small enough that
/// a dozen in flight stay within the memory limits. A multiple of [`BYTES_PER_CHECKSUM`].
pub const PACKET_BYTES: usize = 512 << 10;
/// Largest packet accepted from the wire, in bytes of data: what a DataNode must have room for before it begins a session.
pub const MAX_PACKET_BYTES: usize = PACKET_BYTES;
/// Largest gRPC message accepted on the data port, in bytes: a packet, its checksums, and room for a header.
pub const MAX_DATA_MESSAGE_BYTES: usize = MAX_PACKET_BYTES + MAX_PACKET_BYTES / 64 + (64 << 10);
/// Largest gRPC message accepted by the NameNode, in bytes (a page of a chunk report, a list of locations).
pub const MAX_NAMENODE_MESSAGE_BYTES: usize = 16 << 20;
/// HTTP/2 flow control window of a stream on the data port, in bytes; a DataNode with little memory has smaller ones.
pub const DATA_STREAM_WINDOW: u32 = 1 << 20;
/// Write and read sessions that a DataNode may have open at once.
pub const DATA_SESSIONS: usize = 1_024;
/// Streams that a client opens on one connection to a DataNode before it opens another connection.
pub const STREAMS_PER_CONNECTION: usize = 32;
/// Streams that a DataNode allows on one connection: those that end count until both sides know of it.
pub const MAX_STREAMS: u32 = 2 * STREAMS_PER_CONNECTION as u32;

/// Replicas in one slice of a full report, and changes in one message: taking them in keeps a NameNode's engine busy for
/// some 10 ms, and everybody else waits for it.
pub const REPORT_PAGE: usize = 8_192;
/// Chunks whose files a DataNode may ask for in one message: a NameNode's reader answers in some 10 ms, and the answer has 1.2 MiB
/// at most.
pub const DESCRIBED_CHUNKS: usize = 256;
/// How many times longer than plain packets those may take that make every node of a pipeline sync: a disk writes out what
/// it has taken in so far.
pub const SYNC_PATIENCE: u32 = 3;
/// Most DataNodes in one pipeline; a higher replication is reached by copying afterwards.
pub const MAX_PIPELINE: usize = 16;

/// How often a DataNode sends a heartbeat.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// Silence after which a DataNode is *stale*: last choice for reads, none for writes.
pub const STALE_AFTER: Duration = Duration::from_secs(5);
/// Silence after which a DataNode is *dead* and its replicas are copied elsewhere.
pub const DEAD_AFTER: Duration = Duration::from_secs(15);
/// How long an announced restart may take before its replicas are copied elsewhere.
pub const RESTART_GRACE: Duration = Duration::from_mins(2);

/// How often a client renews its leases.
pub const LEASE_RENEW_INTERVAL: Duration = Duration::from_secs(15);
/// Age of a lease after which another client may take the file over (HDFS's soft limit).
pub const LEASE_SOFT_LIMIT: Duration = Duration::from_mins(1);
/// Age of a lease after which the NameNode closes the file itself (HDFS's hard limit is 20 minutes; ours is
/// shorter because a client here renews four times a minute).
pub const LEASE_HARD_LIMIT: Duration = Duration::from_mins(5);

/// How long the answer to a request is kept for its retries (HDFS's retry cache keeps 10 minutes too).
pub const RETRY_TTL: Duration = Duration::from_mins(10);

/// Share of chunks that must have a reported replica before safe mode ends.
pub const SAFE_MODE_THRESHOLD: f64 = 0.999;

/// Time within which a connection must be open.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Longest that a DataNode lets a write or read wait for its turn, in memory; then it answers that it is busy.
pub const MEMORY_WAIT: Duration = Duration::from_secs(4);

/// Longest that it takes to set up a pipeline of `nodes` nodes, if all are well: each waits for its turn in memory, opens its
/// files and connects to the next.
pub const fn pipeline_setup_limit(nodes: u32) -> Duration {
    CONNECT_TIMEOUT.saturating_mul(2).saturating_add(MEMORY_WAIT).saturating_mul(nodes)
}
