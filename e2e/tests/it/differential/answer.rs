//! What a cluster answers, and whether two answers say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use dfs_types::{ErrorCode, FsError};

/// What an operation gives when it succeeds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value {
    Done,
    Existed(bool),
    Names(BTreeSet<String>),
    Content(Vec<u8>),
}

/// Why HDFS refused something.
#[derive(Debug)]
pub(super) struct RemoteException {
    /// Its class, without the package.
    pub(super) class: String,
    pub(super) message: String,
}

/// A file or directory with all that is compared.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) is_directory: bool,
    pub(super) owner: String,
    pub(super) group: String,
    /// In octal.
    pub(super) mode: String,
    pub(super) length: u64,
    pub(super) replication: u64,
    pub(super) chunk_size: u64,
    pub(super) mtime: Time,
    /// Of a file.
    pub(super) atime: Option<Time>,
    pub(super) has_acl: bool,
    /// What there is beside the mode.
    pub(super) acl: BTreeSet<String>,
    /// Values in hexadecimal.
    pub(super) xattrs: BTreeMap<String, String>,
    /// Of a directory.
    pub(super) summary: Option<Summary>,
    /// CRC32C of a file's bytes, in hexadecimal.
    pub(super) checksum: Option<String>,
}

/// A time: those that scripts set are compared, and those of clocks are not.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Time {
    Set(u64),
    Clock,
}

/// Later than any that a script sets, in milliseconds.
const EARLIEST_CLOCK: u64 = 1_000_000;

impl From<u64> for Time {
    fn from(millis: u64) -> Self {
        if millis < EARLIEST_CLOCK { Self::Set(millis) } else { Self::Clock }
    }
}

/// Sums over a tree, and its quota.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) files: u64,
    pub(super) directories: u64,
    pub(super) length: u64,
    pub(super) space: u64,
    pub(super) names_quota: Option<u64>,
    pub(super) space_quota: Option<u64>,
}

/// All below a directory, and itself, by path.
pub(super) type State = BTreeMap<String, Node>;

/// What HDFS says with the class `IOException` and others without a meaning of their own: parts of messages, and codes of ours
/// for the same.
const BY_MESSAGE: [(&str, &[ErrorCode]); 9] = [
    ("Path is not a file", &[ErrorCode::IsADirectory]),
    ("SETREPLICATION answers false", &[ErrorCode::NotFound, ErrorCode::IsADirectory]),
    ("is a directory or file under source", &[ErrorCode::InvalidArgument]),
    ("rename destination directory is not empty", &[ErrorCode::NotEmpty]),
    ("must both be", &[ErrorCode::IsADirectory, ErrorCode::NotADirectory, ErrorCode::AlreadyExists]),
    ("(is not a directory)", &[ErrorCode::NotADirectory]),
    ("does not exist. The CREATE flag must be specified", &[ErrorCode::NotFound]),
    ("already exists. The REPLACE flag must be specified", &[ErrorCode::AlreadyExists]),
    ("No matching attributes found for remove operation", &[ErrorCode::NotFound]),
];

/// Codes of ours that say what an exception of HDFS says.
fn codes(RemoteException { class, message }: &RemoteException) -> &'static [ErrorCode] {
    if let Some((_, codes)) = BY_MESSAGE.iter().find(|(part, _)| message.contains(part)) {
        return codes;
    }
    match class.as_str() {
        "FileNotFoundException" => &[ErrorCode::NotFound, ErrorCode::NotADirectory],
        "FileAlreadyExistsException" => &[ErrorCode::AlreadyExists, ErrorCode::IsADirectory],
        "ParentNotDirectoryException" | "PathIsNotDirectoryException" => &[ErrorCode::NotADirectory],
        "AccessControlException" => &[ErrorCode::PermissionDenied],
        "PathIsNotEmptyDirectoryException" => &[ErrorCode::NotEmpty],
        "NSQuotaExceededException" | "DSQuotaExceededException" => &[ErrorCode::QuotaExceeded],
        "AclException" | "HadoopIllegalArgumentException" | "IllegalArgumentException" => {
            &[ErrorCode::InvalidArgument]
        }
        _ => &[],
    }
}

/// Whether both answers say the same.
pub(super) fn agree(ours: &Result<Value, FsError>, theirs: &Result<Value, RemoteException>) -> bool {
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => ours == theirs,
        (Err(ours), Err(theirs)) => codes(theirs).contains(&ours.code),
        (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
    }
}

/// Where two states differ, in words; nothing if they do not.
pub(super) fn differences(ours: &State, theirs: &State) -> String {
    let paths: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let mut text = String::new();
    for path in paths {
        let (ours, theirs) = (ours.get(path), theirs.get(path));
        if ours != theirs {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{path}\n  ours: {ours:?}\n  HDFS: {theirs:?}");
        }
    }
    text
}
