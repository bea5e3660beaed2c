//! What the namespace told of a replica's file, as the header has it beside the path.

use dfs_proto::replica as stored;
use dfs_types::limits::MAX_PRINCIPAL_BYTES;
use dfs_types::{FsError, FsPath, GenStamp, Millis, Mode, Origin};
use prost::Message;

/// Most bytes of an encoded origin: two names, some numbers, and room for what may come.
pub(super) const MAX_ORIGIN_BYTES: usize = 1_024;

/// Why bytes are no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OriginError {
    /// They are no message.
    #[error("what the header says of the file can't be decoded ({0})")]
    Message(#[from] prost::DecodeError),
    /// A value is not possible.
    #[error("what the header says of the file is not possible ({0})")]
    Value(String),
}

impl From<FsError> for OriginError {
    fn from(error: FsError) -> Self {
        Self::Value(error.message)
    }
}

/// What was told, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    /// The chunk's generation then.
    pub(crate) generation: GenStamp,
    /// Unix time of the NameNode.
    pub(crate) at: Millis,
    /// The file.
    pub(crate) origin: Origin,
}

impl Told {
    /// All but the path.
    pub(super) fn encode(&self) -> Vec<u8> {
        let Self { generation, at, origin } = self;
        let Origin { path: _, owner, group, mode, mtime, replication, chunk_size, file_length, offset } =
            origin;
        let message = stored::Origin {
            generation: generation.0,
            told_ms: at.0,
            offset: *offset,
            file_length: *file_length,
            owner: owner.clone(),
            group: group.clone(),
            mode: mode.bits(),
            mtime_ms: mtime.0,
            replication: *replication,
            chunk_size: *chunk_size,
        };
        message.encode_to_vec()
    }

    /// Reads what was encoded, of the file at a path.
    pub(super) fn decode(bytes: &[u8], path: &str) -> Result<Self, OriginError> {
        let message = stored::Origin::decode(bytes)?;
        let stored::Origin { generation, told_ms, offset, file_length, owner, group, .. } = message;
        let stored::Origin { mode, mtime_ms, replication, chunk_size, .. } = message;
        if owner.len().max(group.len()) > MAX_PRINCIPAL_BYTES {
            return Err(OriginError::Value(format!("a name has more than {MAX_PRINCIPAL_BYTES} bytes")));
        }
        let path = FsPath::parse(path).map_err(FsError::from)?;
        let (mode, mtime) = (Mode::new(mode)?, Millis(mtime_ms));
        let origin = Origin { path, owner, group, mode, mtime, replication, chunk_size, file_length, offset };
        Ok(Self { generation: GenStamp(generation), at: Millis(told_ms), origin })
    }
}

#[cfg(test)]
pub(crate) fn example(path: &str, chunk: u64, generation: u64, length: u64) -> dfs_types::ChunkOrigin {
    dfs_types::ChunkOrigin {
        chunk: dfs_types::ChunkId(chunk),
        generation: GenStamp(generation),
        length,
        inode: dfs_types::InodeId(16_386),
        index: 3,
        origin: Origin {
            path: FsPath::parse(path).unwrap(),
            owner: "ann".to_owned(),
            group: "staff".to_owned(),
            mode: Mode::new(0o640).unwrap(),
            mtime: Millis(1_800_000_000_000),
            replication: 2,
            chunk_size: 64 << 20,
            file_length: (192 << 20) + length,
            offset: 192 << 20,
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_largest_origin_has_room() {
        let numbers =
            dfs_types::ChunkOrigin { chunk: dfs_types::ChunkId(1), ..example("/a", 1, u64::MAX, 1) };
        let name = "x".repeat(MAX_PRINCIPAL_BYTES);
        let origin = Origin {
            owner: name.clone(),
            group: name,
            mode: Mode::new(Mode::MASK).unwrap(),
            mtime: Millis(u64::MAX),
            replication: u32::MAX,
            chunk_size: u64::MAX,
            file_length: u64::MAX,
            offset: u64::MAX,
            ..numbers.origin
        };
        let told = Told { generation: GenStamp(u64::MAX), at: Millis(u64::MAX), origin };
        let bytes = told.encode();
        assert!(bytes.len() <= MAX_ORIGIN_BYTES, "{} bytes", bytes.len());
        assert_eq!(Told::decode(&bytes, "/a"), Ok(told));
    }

    #[test]
    fn what_a_later_release_adds_is_passed_over() {
        let told = Told { generation: GenStamp(1), at: Millis(2), origin: example("/a", 1, 1, 1).origin };
        // Field 1000, a number.
        let bytes = [told.encode().as_slice(), &[0xc0, 0x3e, 7]].concat();
        assert_eq!(Told::decode(&bytes, "/a"), Ok(told));
    }

    #[test]
    fn what_is_not_possible_is_refused() {
        let told = Told { generation: GenStamp(1), at: Millis(2), origin: example("/a", 1, 1, 1).origin };
        assert!(matches!(Told::decode(&told.encode(), "no path"), Err(OriginError::Value(_))));
        let long = stored::Origin { owner: "x".repeat(MAX_PRINCIPAL_BYTES + 1), ..stored::Origin::default() };
        assert!(matches!(Told::decode(&long.encode_to_vec(), "/a"), Err(OriginError::Value(_))));
        let odd = stored::Origin { mode: u32::MAX, ..stored::Origin::default() };
        assert!(matches!(Told::decode(&odd.encode_to_vec(), "/a"), Err(OriginError::Value(_))));
        assert!(matches!(Told::decode(&[0xff], "/a"), Err(OriginError::Message(_))));
    }

    proptest! {
        #[test]
        fn garbage_never_ends_the_process(bytes in proptest::collection::vec(any::<u8>(), 0..200), path in ".{0,20}") {
            drop(Told::decode(&bytes, &path));
        }
    }
}
