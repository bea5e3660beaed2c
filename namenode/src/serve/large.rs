//! Requests with large messages: how many of them may be in memory at once.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use dfs_types::limits::MAX_NAMENODE_MESSAGE_BYTES;
use http_body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;
use tonic::body::Body;

/// Bytes of a request that nobody counts: nearly all requests are smaller.
const SMALL: u64 = 64 << 10;
/// Parts of the process's memory that large requests may take.
const PARTS: u64 = 8;
/// How many of them there may be at least and at most.
const AT_ONCE: std::ops::RangeInclusive<u64> = 2..=256;

/// A request's place among the large ones, once it has one. Kept until the request is answered.
pub(super) type Place = Arc<OnceLock<OwnedSemaphorePermit>>;

/// How many large requests may be in memory at once. One that has begun always ends: its place is for the largest message.
#[derive(Debug)]
pub(super) struct Large(Arc<Semaphore>);

impl Large {
    /// For a process with so much memory.
    pub(super) fn new(memory: u64) -> Self {
        let at_once =
            (memory / PARTS / MAX_NAMENODE_MESSAGE_BYTES as u64).clamp(*AT_ONCE.start(), *AT_ONCE.end());
        Self(Arc::new(Semaphore::new(at_once as usize)))
    }

    /// The body of a request, which waits for a place as soon as it turns out to be large.
    pub(super) fn watch(&self, body: Body) -> (Body, Place) {
        let place = Place::default();
        let watched = Watched {
            body,
            read: 0,
            places: PollSemaphore::new(Arc::clone(&self.0)),
            place: Arc::clone(&place),
        };
        (Body::new(watched), place)
    }
}

struct Watched {
    body: Body,
    read: u64,
    places: PollSemaphore,
    place: Place,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        if self.read > SMALL && self.place.get().is_none() {
            let Some(permit) = ready!(self.places.poll_acquire(context)) else {
                return Poll::Ready(Some(Err(tonic::Status::from_error(Box::new(io::Error::other(
                    "the process is stopping",
                ))))));
            };
            // Nobody else sets it.
            let _ = self.place.set(permit);
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            self.read += frame.data_ref().map_or(0, |data| data.remaining() as u64);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::future::poll_fn;

    use http_body::Body as _;

    use super::*;

    struct Parts(VecDeque<usize>);

    impl http_body::Body for Parts {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(|length| Ok(Frame::data(Bytes::from(vec![0; length])))))
        }
    }

    fn body(parts: &[usize]) -> Body {
        Body::new(Parts(parts.iter().copied().collect()))
    }

    async fn next(body: &mut Body) -> Option<usize> {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
        Some(frame.unwrap().into_data().unwrap().len())
    }

    #[tokio::test]
    async fn large_requests_wait_for_each_other_and_small_ones_for_nobody() {
        let large = Large::new(0);
        let mut running = Vec::new();
        for _ in 0..2 {
            let (mut body, place) = large.watch(body(&[70_000, 70_000]));
            assert_eq!((next(&mut body).await, next(&mut body).await), (Some(70_000), Some(70_000)));
            running.push((body, place));
        }
        let (mut third, place) = large.watch(body(&[70_000, 5]));
        assert_eq!(next(&mut third).await, Some(70_000), "it may be the end of it");
        let mut waiting = tokio::spawn(async move { next(&mut third).await });
        tokio::task::yield_now().await;
        assert!(place.get().is_none() && !waiting.is_finished(), "there are two places");
        let (mut small, _) = large.watch(body(&[60_000, 100]));
        assert_eq!((next(&mut small).await, next(&mut small).await), (Some(60_000), Some(100)));
        drop(running.pop().map(|(body, _place)| body));
        tokio::task::yield_now().await;
        assert!(place.get().is_some(), "a place became free");
        assert_eq!((&mut waiting).await.unwrap(), Some(5));
    }
}
