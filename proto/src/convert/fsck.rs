//! What the file check finds.

use dfs_types::{
    ChunkId, Endpoint, FsError, FsResult, FsckChunk, FsckEntry, FsckFile, FsckSummary, GenStamp, RecoveryWait,
};

use super::error::incomplete;
use super::values::{file_status, path, wire_file_status};
use crate::v1;
use crate::v1::fsck_reply::Kind;

impl TryFrom<v1::FsckReply> for FsckEntry {
    type Error = FsError;

    fn try_from(reply: v1::FsckReply) -> FsResult<Self> {
        match reply.kind.ok_or_else(|| incomplete("fsck.kind"))? {
            Kind::File(file) => file.try_into().map(Self::File),
            Kind::Summary(summary) => Ok(Self::Summary(summary.into())),
        }
    }
}

impl From<FsckEntry> for v1::FsckReply {
    fn from(entry: FsckEntry) -> Self {
        let kind = match entry {
            FsckEntry::File(file) => Kind::File(file.into()),
            FsckEntry::Summary(summary) => Kind::Summary(summary.into()),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<v1::FsckFile> for FsckFile {
    type Error = FsError;

    fn try_from(file: v1::FsckFile) -> FsResult<Self> {
        let v1::FsckFile { path: at, status, chunks } = file;
        Ok(Self {
            path: path(&at)?,
            status: file_status(status.ok_or_else(|| incomplete("status"))?)?,
            chunks: chunks.into_iter().map(FsckChunk::try_from).collect::<FsResult<_>>()?,
        })
    }
}

impl From<FsckFile> for v1::FsckFile {
    fn from(file: FsckFile) -> Self {
        let FsckFile { path, status, chunks } = file;
        Self {
            path: path.into(),
            status: Some(wire_file_status(status)),
            chunks: chunks.into_iter().map(v1::FsckChunk::from).collect(),
        }
    }
}

impl TryFrom<v1::FsckChunk> for FsckChunk {
    type Error = FsError;

    fn try_from(chunk: v1::FsckChunk) -> FsResult<Self> {
        let v1::FsckChunk { chunk: id, generation, length, expected, nodes, leaving, .. } = chunk;
        let v1::FsckChunk { corrupt, under_construction, misplaced, wait, .. } = chunk;
        Ok(Self {
            chunk: ChunkId(id),
            generation: GenStamp(generation),
            length,
            expected,
            nodes: nodes.into_iter().map(Endpoint::try_from).collect::<FsResult<_>>()?,
            leaving,
            corrupt,
            under_construction,
            misplaced,
            wait: wait.map(RecoveryWait::try_from).transpose()?,
        })
    }
}

impl From<FsckChunk> for v1::FsckChunk {
    fn from(chunk: FsckChunk) -> Self {
        let FsckChunk { chunk: id, generation, length, expected, nodes, leaving, .. } = chunk;
        let FsckChunk { corrupt, under_construction, misplaced, wait, .. } = chunk;
        Self {
            chunk: id.0,
            generation: generation.0,
            length,
            expected,
            nodes: nodes.into_iter().map(v1::Node::from).collect(),
            leaving,
            corrupt,
            under_construction,
            misplaced,
            wait: wait.map(v1::RecoveryWait::from),
        }
    }
}

impl From<v1::FsckSummary> for FsckSummary {
    fn from(summary: v1::FsckSummary) -> Self {
        let v1::FsckSummary { files, directories, chunks, bytes, open_files, replicas, healthy, .. } =
            summary;
        let v1::FsckSummary { under_replicated, over_replicated, missing, corrupt, .. } = summary;
        let v1::FsckSummary { misplaced, waiting, .. } = summary;
        Self {
            files,
            directories,
            chunks,
            bytes,
            under_replicated,
            over_replicated,
            missing,
            corrupt,
            open_files,
            replicas,
            healthy,
            misplaced,
            waiting,
        }
    }
}

impl From<FsckSummary> for v1::FsckSummary {
    fn from(summary: FsckSummary) -> Self {
        let FsckSummary { files, directories, chunks, bytes, open_files, replicas, healthy, .. } = summary;
        let FsckSummary { under_replicated, over_replicated, missing, corrupt, .. } = summary;
        let FsckSummary { misplaced, waiting, .. } = summary;
        Self {
            files,
            directories,
            chunks,
            bytes,
            under_replicated,
            over_replicated,
            missing,
            corrupt,
            open_files,
            replicas,
            healthy,
            misplaced,
            waiting,
        }
    }
}

#[cfg(test)]
mod tests {
    use dfs_types::{Address, FileKind, FileStatus, FsPath, InodeId, Millis, Mode, NodeId};

    use super::*;

    #[test]
    fn files_come_as_they_were_sent() {
        let status = FileStatus {
            inode: InodeId(1),
            kind: FileKind::File,
            owner: "o".into(),
            group: "g".into(),
            mode: Mode::new(0o640).unwrap(),
            mtime: Millis(2),
            atime: Millis(3),
            length: 4,
            replication: 5,
            chunk_size: 6,
            children: 0,
            open: true,
            has_acl: false,
        };
        let at = Address { host: "h".into(), data_port: 1, http_port: 2, location: "/z/r".into() };
        let wait = RecoveryWait {
            since: Millis(1),
            expected: 2,
            best: None,
            missing: vec![(NodeId::random(), None)],
            loss_accepted: false,
        };
        let chunk = FsckChunk {
            chunk: ChunkId(7),
            generation: GenStamp(1_001),
            length: 1,
            expected: 2,
            nodes: vec![Endpoint { id: NodeId::random(), at, storage: None }],
            leaving: 3,
            corrupt: 4,
            under_construction: true,
            misplaced: false,
            wait: None,
        };
        let waits =
            FsckChunk { under_construction: false, misplaced: true, wait: Some(wait), ..chunk.clone() };
        let path = FsPath::parse("/f").unwrap();
        let file = FsckFile { path, status, chunks: vec![chunk, waits] };
        let entry = FsckEntry::File(file.clone());
        assert_eq!(FsckEntry::try_from(v1::FsckReply::from(entry.clone())), Ok(entry));
        let wire = || v1::FsckFile::from(file.clone());
        let lost = v1::FsckChunk { nodes: vec![v1::Node::default()], ..v1::FsckChunk::default() };
        for bad in [
            None,
            Some(Kind::File(v1::FsckFile { path: "f".into(), ..wire() })),
            Some(Kind::File(v1::FsckFile { status: None, ..wire() })),
            Some(Kind::File(v1::FsckFile { chunks: vec![lost], ..wire() })),
        ] {
            assert!(FsckEntry::try_from(v1::FsckReply { kind: bad }).is_err());
        }
    }

    #[test]
    fn the_summary_comes_as_it_was_sent() {
        let summary = FsckSummary {
            files: 1,
            directories: 2,
            chunks: 3,
            bytes: 4,
            under_replicated: 5,
            over_replicated: 6,
            missing: 7,
            corrupt: 8,
            open_files: 9,
            replicas: 10,
            healthy: true,
            misplaced: 11,
            waiting: 12,
        };
        let entry = FsckEntry::Summary(summary);
        assert_eq!(FsckEntry::try_from(v1::FsckReply::from(entry.clone())), Ok(entry));
    }
}
