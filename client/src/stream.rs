//! [`FileStream`]: the bytes of a file in order, read ahead.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use dfs_types::limits::PACKET_BYTES;
use dfs_types::{FsError, FsResult};
use futures_util::Stream;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::chunk_reader::ChunkReader;
use crate::locate::ReadSource;

/// The next chunk's stream is opened when so many bytes are left of the present one.
const OPEN_NEXT_AT: u64 = 16 << 20;
/// A consumer that takes nothing for so long lets the stream be closed: it would occupy the connection's window,
/// which other readers share. It is opened again when the consumer goes on.
const IDLE: Duration = Duration::from_secs(2);

/// What a chunk's task tells the consumer.
enum Item {
    /// First: where the chunk's part of the range ends.
    End(u64),
    /// The next bytes.
    Data(Bytes),
}

/// One chunk being read ahead.
#[derive(Debug)]
struct Pump {
    items: mpsc::Receiver<FsResult<Item>>,
    end: Option<u64>,
    _task: AbortOnDropHandle<()>,
}

impl Pump {
    fn start(source: Arc<ReadSource>, position: u64, end: u64) -> Self {
        let (packets, permit) = source.dfs.memory.read_ahead(PACKET_BYTES);
        let (sender, items) = mpsc::channel(packets);
        let task = tokio::spawn(async move {
            if let Err(error) = pump(source, position, end, &sender).await {
                // The consumer may be gone.
                let _ = sender.send(Err(error)).await;
            }
            drop(permit);
        });
        Self { items, end: None, _task: AbortOnDropHandle::new(task) }
    }
}

async fn pump(
    source: Arc<ReadSource>,
    position: u64,
    end: u64,
    items: &mpsc::Sender<FsResult<Item>>,
) -> FsResult<()> {
    let mut reader = ChunkReader::new(source, position, end).await?;
    // A failed send means that nobody wants the rest.
    if items.send(Ok(Item::End(reader.end()))).await.is_err() {
        return Ok(());
    }
    while let Some(bytes) = reader.next().await? {
        let room = if let Ok(room) = tokio::time::timeout(IDLE, items.reserve()).await {
            room
        } else {
            reader.pause();
            items.reserve().await
        };
        match room {
            Ok(room) => room.send(Ok(Item::Data(bytes))),
            Err(_) => return Ok(()),
        }
    }
    Ok(())
}

/// The bytes of a range of a file, in order, checked, a packet at a time; made by
/// [`FileReader::stream`](crate::FileReader::stream). Ends after the first error.
#[derive(Debug)]
pub struct FileStream {
    source: Arc<ReadSource>,
    position: u64,
    end: u64,
    current: Option<Pump>,
    next: Option<Pump>,
}

impl FileStream {
    pub(crate) fn new(source: Arc<ReadSource>, position: u64, end: u64) -> Self {
        Self { source, position, end, current: None, next: None }
    }

    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<FsResult<Bytes>>> {
        while self.position < self.end {
            let (source, next) = (&self.source, &mut self.next);
            let start = || Pump::start(Arc::clone(source), self.position, self.end);
            let pump = self.current.get_or_insert_with(|| next.take().unwrap_or_else(start));
            match ready!(pump.items.poll_recv(cx)) {
                Some(Ok(Item::End(end))) => pump.end = Some(end),
                Some(Ok(Item::Data(bytes))) => {
                    self.position += bytes.len() as u64;
                    self.open_next();
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None if pump.end == Some(self.position) => self.current = None,
                None => {
                    let text = format!("reading {} stopped at byte {}", self.source.path, self.position);
                    return Poll::Ready(Some(Err(FsError::internal(text))));
                }
            }
        }
        Poll::Ready(None)
    }

    /// Opens the next chunk's stream while the present one drains.
    fn open_next(&mut self) {
        let Some(end) = self.current.as_ref().and_then(|pump| pump.end) else { return };
        if self.next.is_none() && end < self.end && end.saturating_sub(self.position) <= OPEN_NEXT_AT {
            self.next = Some(Pump::start(Arc::clone(&self.source), end, self.end));
        }
    }
}

impl Stream for FileStream {
    type Item = FsResult<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.poll_item(cx));
        if let Some(Err(_)) = item {
            self.end = self.position;
            self.current = None;
            self.next = None;
        }
        Poll::Ready(item)
    }
}
