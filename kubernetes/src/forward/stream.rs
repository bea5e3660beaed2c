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
    pod: String,
    forwarder: Portforwarder,
    bytes: DuplexStream,
    /// Resolves when the kubelet complains, or to nothing at the end.
    refused: Option<BoxFuture<'static, Option<String>>>,
}

impl fmt::Debug for PodStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PodStream").field("pod", &self.pod).finish_non_exhaustive()
    }
}

impl PodStream {
    pub(super) fn new(
        pod: String,
        forwarder: Portforwarder,
        bytes: DuplexStream,
        refused: BoxFuture<'static, Option<String>>,
    ) -> Self {
        Self { pod, forwarder, bytes, refused: Some(refused) }
    }

    fn complaint(&mut self, context: &mut Context<'_>) -> Option<io::Error> {
        let refused = self.refused.as_mut()?;
        let Poll::Ready(said) = refused.poll_unpin(context) else { return None };
        self.refused = None;
        let text = format!("pod '{}': {}", self.pod, said?.trim());
        Some(io::Error::new(io::ErrorKind::ConnectionRefused, text))
    }
}

impl AsyncRead for PodStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(error) = self.complaint(context) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.bytes).poll_read(context, buffer)
    }
}

impl AsyncWrite for PodStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.bytes).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_shutdown(context)
    }
}

impl Drop for PodStream {
    fn drop(&mut self) {
        // Nobody reads any more; without this a way to the API server that hangs would keep the task.
        self.forwarder.abort();
    }
}
