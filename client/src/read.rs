//! [`FileReader`]: a file open for reading.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use dfs_types::{FileStatus, FsError, FsPath, FsResult};
use futures_util::stream::{Stream as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncSeek, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use crate::chunk_reader::ChunkReader;
use crate::error::{context, to_io};
use crate::handle::Dfs;
use crate::locate::ReadSource;
use crate::stream::FileStream;

/// A file open for reading, as long as it was when it was opened. Every byte is checked against its checksum; a
/// replica that fails is replaced by another one.
///
/// Positioned reads ([`FileReader::read_at`]) take `&self` and may run concurrently; [`AsyncRead`] and [`AsyncSeek`]
/// read in order with read-ahead.
#[derive(Debug)]
pub struct FileReader {
    source: Arc<ReadSource>,
    status: FileStatus,
    position: u64,
    stream: Option<FileStream>,
    /// Bytes taken from the stream that were not read yet.
    rest: Bytes,
}

impl Dfs {
    /// Opens a file for reading. A file being written can be read up to its writer's last flush.
    ///
    /// ```no_run
    /// # async fn example(dfs: dfs_client::Dfs) -> dfs_types::FsResult<()> {
    /// let reader = dfs.open(&dfs_types::FsPath::parse("/a")?).await?;
    /// let header = reader.read_at(0, 16).await?;
    /// let footer = reader.read_at(reader.len().saturating_sub(8), 8).await?;
    /// # drop((header, footer));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn open(&self, path: &FsPath) -> FsResult<FileReader> {
        let (source, status) = ReadSource::open(Arc::clone(&self.inner), path).await?;
        Ok(FileReader { source: Arc::new(source), status, position: 0, stream: None, rest: Bytes::new() })
    }
}

impl FileReader {
    /// The file's attributes when it was opened; of a file being written with the length that can be read.
    pub fn status(&self) -> &FileStatus {
        &self.status
    }

    /// Bytes that can be read.
    pub fn len(&self) -> u64 {
        self.source.length
    }

    /// Whether there is nothing to read.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// At most `length` bytes from `offset` on; fewer only at the end of the file.
    pub async fn read_at(&self, offset: u64, length: usize) -> FsResult<Bytes> {
        let end = offset.saturating_add(length as u64).min(self.len());
        let mut position = offset;
        let mut all = BytesMut::new();
        while position < end {
            let mut reader = ChunkReader::new(Arc::clone(&self.source), position, end).await?;
            while let Some(bytes) = reader.next().await? {
                position += bytes.len() as u64;
                if all.is_empty() && position == end {
                    return Ok(bytes);
                }
                if all.is_empty() {
                    all.reserve((end - offset) as usize);
                }
                all.extend_from_slice(&bytes);
            }
        }
        Ok(all.freeze())
    }

    /// The whole file, in memory.
    pub async fn read_all(&self) -> FsResult<Bytes> {
        let length = usize::try_from(self.len())
            .map_err(|_| FsError::invalid(format!("{} does not fit into memory", self.source.path)))?;
        let mut stream = self.stream(0..self.len());
        let mut all = BytesMut::new();
        while let Some(bytes) = stream.next().await {
            let bytes = bytes?;
            if bytes.len() == length {
                return Ok(bytes);
            }
            if all.is_empty() {
                all.reserve(length);
            }
            all.extend_from_slice(&bytes);
        }
        Ok(all.freeze())
    }

    /// The bytes of `range`, cut to the file's length, as a stream with read-ahead.
    pub fn stream(&self, range: Range<u64>) -> FileStream {
        let end = range.end.min(self.len());
        FileStream::new(Arc::clone(&self.source), range.start.min(end), end)
    }

    /// Copies the whole file to `target` and flushes it; answers with the number of bytes.
    pub async fn copy_to(&self, target: &mut (impl AsyncWrite + Unpin)) -> FsResult<u64> {
        let failed = |error: io::Error| {
            let error = FsError::new(dfs_types::ErrorCode::Io, error.to_string());
            context("writing what was read failed", error)
        };
        let mut stream = self.stream(0..self.len());
        let mut copied = 0;
        while let Some(bytes) = stream.next().await {
            let bytes = bytes?;
            target.write_all(&bytes).await.map_err(failed)?;
            copied += bytes.len() as u64;
        }
        target.flush().await.map_err(failed)?;
        Ok(copied)
    }
}

impl AsyncRead for FileReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        target: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.rest.is_empty() {
            let (from, to) = (this.position, this.source.length);
            let stream =
                this.stream.get_or_insert_with(|| FileStream::new(Arc::clone(&this.source), from, to));
            match ready!(Pin::new(stream).poll_next(cx)) {
                Some(Ok(bytes)) => this.rest = bytes,
                Some(Err(error)) => {
                    this.stream = None;
                    return Poll::Ready(Err(to_io(error)));
                }
                None => return Poll::Ready(Ok(())),
            }
        }
        let taken = this.rest.len().min(target.remaining());
        target.put_slice(&this.rest.split_to(taken));
        this.position += taken as u64;
        Poll::Ready(Ok(()))
    }
}

impl AsyncSeek for FileReader {
    fn start_seek(mut self: Pin<&mut Self>, to: io::SeekFrom) -> io::Result<()> {
        let target = match to {
            io::SeekFrom::Start(offset) => Some(offset),
            io::SeekFrom::End(by) => self.source.length.checked_add_signed(by),
            io::SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        let target =
            target.ok_or_else(|| to_io(FsError::invalid("the position to seek to is out of range")))?;
        let ahead = target.checked_sub(self.position).and_then(|ahead| usize::try_from(ahead).ok());
        match ahead {
            Some(ahead) if ahead <= self.rest.len() => self.rest.advance(ahead),
            _ => {
                self.rest = Bytes::new();
                self.stream = None;
            }
        }
        self.position = target;
        Ok(())
    }

    fn poll_complete(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Poll::Ready(Ok(self.position))
    }
}
