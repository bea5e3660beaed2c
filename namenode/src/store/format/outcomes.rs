//! Kept outcomes as protobuf.

use dfs_proto::stored;
use dfs_proto::stored::outcome::Kind as Stored;
use dfs_types::{ChunkId, FileKind, FileStatus, GenStamp, InodeId, Millis};

use super::super::edit::Outcome;
use super::edits::{Why, mode, path};

fn stored_status(status: &FileStatus) -> stored::Status {
    let FileStatus {
        inode,
        kind,
        owner,
        group,
        mode,
        mtime,
        atime,
        length,
        replication,
        chunk_size,
        children,
        open,
        has_acl,
    } = status;
    let kind = match kind {
        FileKind::File => stored::Kind::File,
        FileKind::Directory => stored::Kind::Directory,
    };
    stored::Status {
        inode: inode.0,
        kind: kind.into(),
        owner: owner.clone(),
        group: group.clone(),
        mode: mode.bits(),
        mtime_ms: mtime.0,
        atime_ms: atime.0,
        length: *length,
        replication: *replication,
        chunk_size: *chunk_size,
        children: *children,
        open: *open,
        has_acl: *has_acl,
    }
}

fn status(status: stored::Status) -> Result<FileStatus, Why> {
    let kind = match status.kind() {
        stored::Kind::File => FileKind::File,
        stored::Kind::Directory => FileKind::Directory,
        stored::Kind::Unspecified => return Err("it is neither a file nor a directory".to_owned()),
    };
    Ok(FileStatus {
        inode: InodeId(status.inode),
        kind,
        owner: status.owner,
        group: status.group,
        mode: mode(status.mode)?,
        mtime: Millis(status.mtime_ms),
        atime: Millis(status.atime_ms),
        length: status.length,
        replication: status.replication,
        chunk_size: status.chunk_size,
        children: status.children,
        open: status.open,
        has_acl: status.has_acl,
    })
}

impl From<&Outcome> for stored::Outcome {
    fn from(outcome: &Outcome) -> Self {
        let kind = match outcome {
            Outcome::Done => Stored::Done(stored::Nothing {}),
            Outcome::Status(status) => Stored::Status(stored_status(status)),
            Outcome::ChunkAdded { chunk, generation, index, offset } => {
                Stored::ChunkAdded(stored::ChunkAdded {
                    chunk: chunk.0,
                    generation: generation.0,
                    index: *index,
                    offset: *offset,
                })
            }
            Outcome::Generation(generation) => Stored::Generation(generation.0),
            Outcome::Deleted(deleted) => Stored::Deleted(*deleted),
            Outcome::Trashed(to) => Stored::Trashed(to.to_string()),
            Outcome::DeleteInParts => Stored::DeleteInParts(stored::Nothing {}),
            Outcome::Recovery { closed, chunks } => Stored::Recovery(stored::Recovery {
                closed: *closed,
                chunks: chunks.iter().map(|extent| (*extent).into()).collect(),
            }),
            Outcome::Reaped { inodes, more } => {
                Stored::Reaped(stored::Reaped { inodes: *inodes, more: *more })
            }
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<stored::Outcome> for Outcome {
    type Error = Why;

    fn try_from(outcome: stored::Outcome) -> Result<Self, Why> {
        Ok(match outcome.kind.ok_or_else(|| "what it tells is missing".to_owned())? {
            Stored::Done(_) => Self::Done,
            Stored::Status(found) => Self::Status(status(found)?),
            Stored::ChunkAdded(stored::ChunkAdded { chunk, generation, index, offset }) => {
                Self::ChunkAdded { chunk: ChunkId(chunk), generation: GenStamp(generation), index, offset }
            }
            Stored::Generation(generation) => Self::Generation(GenStamp(generation)),
            Stored::Deleted(deleted) => Self::Deleted(deleted),
            Stored::Trashed(to) => Self::Trashed(path(&to)?),
            Stored::DeleteInParts(_) => Self::DeleteInParts,
            Stored::Recovery(stored::Recovery { closed, chunks }) => {
                Self::Recovery { closed, chunks: chunks.into_iter().map(Into::into).collect() }
            }
            Stored::Reaped(stored::Reaped { inodes, more }) => Self::Reaped { inodes, more },
        })
    }
}
