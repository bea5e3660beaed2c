//! Answers that are meant to be different; each has its line in `docs/reference/hdfs-differences.md`. Both clusters must be the
//! same after them.

use dfs_types::{ErrorCode, FsError, FsResult};

use super::answer::{RemoteException, Value};
use super::operation::Operation;

/// The class that says that a permission is lacking.
const PERMISSION: &str = "AccessControlException";

/// Classes that say that a quota is exceeded: of names, and of space.
pub(super) const QUOTA: [&str; 2] = ["NSQuotaExceededException", "DSQuotaExceededException"];
/// What HDFS says of an append that it breaks by itself.
pub(super) const SMALL_BLOCK: &str = "< lastByteOffsetInBlock";
/// What HDFS looks at after permissions and after what lies above a path.
const LATER: [ErrorCode; 5] = [
    ErrorCode::NotFound,
    ErrorCode::IsADirectory,
    ErrorCode::AlreadyExists,
    ErrorCode::NotEmpty,
    ErrorCode::InvalidArgument,
];

/// Whether it is known that the answers to an operation differ in this way.
pub(super) fn is_known(
    operation: &Operation,
    ours: &FsResult<Value>,
    theirs: &Result<Value, RemoteException>,
) -> bool {
    match (ours, theirs) {
        // Nothing is changed by these, but for what is put right after a quota was exceeded.
        (Ok(_), Err(theirs)) => match operation {
            Operation::Create { overwrite, .. } => *overwrite && theirs.class == QUOTA[0],
            Operation::Rename { from, to, .. } => from == to,
            // HDFS's client can't append across the end of a small block that ends within a checksum's bytes.
            Operation::Append { .. } => theirs.message.contains(SMALL_BLOCK),
            Operation::SetOwner { .. } => theirs.message.contains("does not belong to"),
            Operation::Delete { .. } => *ours == Ok(Value::Existed(false)) && theirs.class == PERMISSION,
            _ => false,
        },
        // Several things are wrong, and HDFS names another one first.
        (Err(ours), Err(theirs)) => {
            matches!(theirs.class.as_str(), PERMISSION | "ParentNotDirectoryException")
                && LATER.contains(&ours.code)
        }
        (Err(ours), Ok(_)) => is_held_by_sticky(operation, ours),
        (Ok(_), Ok(_)) => false,
    }
}

/// Whether a file was not overwritten because others' files in a sticky directory stay; HDFS gives it to who overwrites it.
pub(super) fn is_held_by_sticky(operation: &Operation, ours: &FsError) -> bool {
    matches!(operation, Operation::Create { overwrite: true, .. })
        && ours.code == ErrorCode::PermissionDenied
        && ours.message.contains("sticky bit")
}
