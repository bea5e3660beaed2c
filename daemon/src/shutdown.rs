//! A clean stop: one token that everything watches, one tracker that counts what still runs.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

/// Handed to every task of a process.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    /// A new one; nothing is stopped yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts `task`, which must end soon after [`Shutdown::requested`].
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(task);
    }

    /// Asks everything to stop.
    pub fn request(&self) {
        self.token.cancel();
    }

    /// Waits until a stop is asked for.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    /// Whether a stop was asked for.
    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// The token itself, for libraries that take one.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Requests a stop when the process gets SIGTERM or SIGINT.
    pub fn on_signals(&self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let token = self.token.clone();
        tokio::spawn(async move {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
                () = token.cancelled() => return,
            };
            token.cancel();
            info!(signal = name, "stopping");
        });
        Ok(())
    }

    /// Waits until every task has ended, at most `limit`. Answers whether all did.
    pub async fn finish(&self, limit: Duration) -> bool {
        self.request();
        self.tasks.close();
        let all = tokio::time::timeout(limit, self.tasks.wait()).await.is_ok();
        if !all {
            warn!(running = self.tasks.len(), "tasks did not end in time");
        }
        all
    }
}
