//! One connection to a port of a pod.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use kube::api::Portforwarder;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// Bytes to and from a port of a pod. What the kubelet says against it (nothing listens there, the pod ended) becomes an
/// error of the next read; the port-forward ends with the stream.
pub struct PodStream {
    forwarder: Portforwarder,
    port: Port,
}

/// A port as the port-forward has it.
struct Port {
    pod: String,
    bytes: DuplexStream,
    /// Resolves when the kubelet complains, or to nothing at the end.
    refused: Option<BoxFuture<'static, Option<String>>>,
}

impl fmt::Debug for PodStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PodStream").field("pod", &self.port.pod).finish_non_exhaustive()
    }
}

impl PodStream {
    pub(super) fn new(
        pod: String,
        forwarder: Portforwarder,
        bytes: DuplexStream,
        refused: BoxFuture<'static, Option<String>>,
    ) -> Self {
        Self { forwarder, port: Port { pod, bytes, refused: Some(refused) } }
    }
}

impl Port {
    fn complaint(&mut self, context: &mut Context<'_>) -> Option<io::Error> {
        let refused = self.refused.as_mut()?;
        let Poll::Ready(said) = refused.poll_unpin(context) else { return None };
        self.refused = None;
        let text = format!("pod '{}': {}", self.pod, said?.trim());
        Some(io::Error::new(io::ErrorKind::ConnectionRefused, text))
    }
}

impl AsyncRead for Port {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(error) = self.complaint(context) {
            return Poll::Ready(Err(error));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.bytes).poll_read(context, buffer);
        // The end may come before the reason for it, and waits for that: it comes too, if only as nothing.
        let ended =
            matches!(read, Poll::Ready(Ok(()))) && buffer.filled().len() == before && buffer.remaining() > 0;
        if !ended || self.refused.is_none() {
            return read;
        }
        match self.complaint(context) {
            Some(error) => Poll::Ready(Err(error)),
            None if self.refused.is_none() => read,
            None => Poll::Pending,
        }
    }
}

impl AsyncRead for PodStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.port).poll_read(context, buffer)
    }
}

impl AsyncWrite for PodStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.port.bytes).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.port.bytes).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.port.bytes).poll_shutdown(context)
    }
}

impl Drop for PodStream {
    fn drop(&mut self) {
        // Nobody reads any more; without this a way to the API server that hangs would keep the task.
        self.forwarder.abort();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn the_reason_of_an_end_is_waited_for() {
        let ended = || {
            let (bytes, other) = tokio::io::duplex(8);
            drop(other);
            bytes
        };
        let late = |said: Option<String>| {
            let said = async {
                tokio::task::yield_now().await;
                said
            };
            Some(said.boxed())
        };
        let mut port =
            Port { pod: "a-0".to_owned(), bytes: ended(), refused: late(Some("nobody listens".to_owned())) };
        let error = port.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.to_string(), "pod 'a-0': nobody listens");
        let mut port = Port { pod: "a-0".to_owned(), bytes: ended(), refused: late(None) };
        assert_eq!(port.read(&mut [0; 8]).await.unwrap(), 0);
    }
}
