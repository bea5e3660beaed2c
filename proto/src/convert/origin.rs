//! Which files chunks are of.

use dfs_types::limits::MAX_PRINCIPAL_BYTES;
use dfs_types::{ChunkId, ChunkOrigin, FsError, FsPath, FsResult, GenStamp, InodeId, Millis, Mode, Origin};

use crate::v1;

/// A chunk and its file for the wire.
pub fn wire_chunk_origin(of: ChunkOrigin) -> v1::ChunkOrigin {
    let ChunkOrigin { chunk, generation, length, inode, index, origin } = of;
    let Origin { path, owner, group, mode, mtime, replication, chunk_size, file_length, offset } = origin;
    v1::ChunkOrigin {
        extent: Some(v1::ChunkExtent { chunk: chunk.0, generation: generation.0, length }),
        inode: inode.0,
        index,
        offset,
        file_length,
        path: path.as_str().to_owned(),
        owner,
        group,
        mode: mode.bits(),
        mtime: mtime.0,
        replication,
        chunk_size,
    }
}

/// Reads a chunk and its file.
pub fn chunk_origin(wire: v1::ChunkOrigin) -> FsResult<ChunkOrigin> {
    let v1::ChunkOrigin { extent, inode, index, offset, file_length, .. } = wire;
    let v1::ChunkOrigin { path, owner, group, mode, mtime, replication, chunk_size, .. } = wire;
    let v1::ChunkExtent { chunk, generation, length } =
        extent.ok_or_else(|| FsError::invalid("the answer lacks 'origin.extent'"))?;
    if owner.len().max(group.len()) > MAX_PRINCIPAL_BYTES {
        let why = format!("the owner or group of chunk {chunk} has more than {MAX_PRINCIPAL_BYTES} bytes");
        return Err(FsError::invalid(why));
    }
    let origin = Origin {
        path: FsPath::parse(&path)?,
        owner,
        group,
        mode: Mode::new(mode)?,
        mtime: Millis(mtime),
        replication,
        chunk_size,
        file_length,
        offset,
    };
    Ok(ChunkOrigin {
        chunk: ChunkId(chunk),
        generation: GenStamp(generation),
        length,
        inode: InodeId(inode),
        index,
        origin,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> ChunkOrigin {
        ChunkOrigin {
            chunk: ChunkId(1),
            generation: GenStamp(2),
            length: 3,
            inode: InodeId(4),
            index: 5,
            origin: Origin {
                path: FsPath::parse("/a/ü").unwrap(),
                owner: "ann".to_owned(),
                group: "staff".to_owned(),
                mode: Mode::new(0o640).unwrap(),
                mtime: Millis(6),
                replication: 7,
                chunk_size: 8,
                file_length: 9,
                offset: 10,
            },
        }
    }

    #[test]
    fn origins_come_back() {
        assert_eq!(chunk_origin(wire_chunk_origin(example())).unwrap(), example());
    }

    #[test]
    fn bad_origins_are_refused() {
        let good = wire_chunk_origin(example());
        for bad in [
            v1::ChunkOrigin { extent: None, ..good.clone() },
            v1::ChunkOrigin { path: "a".to_owned(), ..good.clone() },
            v1::ChunkOrigin { owner: "x".repeat(MAX_PRINCIPAL_BYTES + 1), ..good.clone() },
            v1::ChunkOrigin { group: "x".repeat(MAX_PRINCIPAL_BYTES + 1), ..good.clone() },
            v1::ChunkOrigin { mode: u32::MAX, ..good },
        ] {
            assert!(chunk_origin(bad.clone()).is_err(), "{bad:?}");
        }
    }
}
