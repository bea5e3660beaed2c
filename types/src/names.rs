//! Names and port numbers that processes, scripts and charts share.

/// NameNode: gRPC (and Hadoop RPC) port.
pub const NAMENODE_PORT: u16 = 9_000;
/// NameNode: HTTP port (metrics, health).
pub const NAMENODE_HTTP_PORT: u16 = 9_870;
/// First DataNode of a local cluster: gRPC port; further ones count up.
pub const DATANODE_PORT: u16 = 9_001;
/// First DataNode of a local cluster: HTTP port; further ones count up.
pub const DATANODE_HTTP_PORT: u16 = 9_864;

/// Environment variable with the NameNodes' `HOST:PORT` for clients, with commas between them.
pub const ENV_NAMENODE: &str = "DFS_NAMENODE";
/// Environment variable with the user name a client presents.
pub const ENV_USER: &str = "DFS_USER";
/// Environment variable that lets a client read from NameNodes that do not lead.
pub const ENV_FOLLOWER_READS: &str = "DFS_FOLLOWER_READS";
/// Environment variable with the log filter of every process (`tracing` directives).
pub const ENV_LOG: &str = "DFS_LOG";

/// Group that, like the user who runs the NameNode, may do anything (HDFS's `dfs.permissions.superusergroup`).
pub const SUPERGROUP: &str = "supergroup";
