//! Calls to the NameNode: finding the leader, trying again, request ids.

use std::future::Future;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dfs_proto::convert::from_status;
use dfs_proto::v1;
use dfs_proto::v1::admin_client::AdminClient;
use dfs_proto::v1::namespace_client::NamespaceClient;
use dfs_types::limits::MAX_NAMENODE_MESSAGE_BYTES;
use dfs_types::{CallId, Caller, ClientId, ErrorCode, FsError, FsResult, RequestId};
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Response, Status};
use tracing::debug;

use crate::dial::{Connector, dial};
use crate::retry::{Backoff, Patience};

/// Time for one try of one call; a server that waits for something itself answers before.
const TRY_TIMEOUT: Duration = Duration::from_secs(20);

/// The NameNodes of one cluster, of which one leads.
#[derive(Debug)]
pub(crate) struct NameNode {
    addresses: Vec<String>,
    channels: Mutex<Vec<Option<Channel>>>,
    leader: AtomicUsize,
    connector: Arc<dyn Connector>,
    connect_timeout: Duration,
    client: ClientId,
    calls: AtomicU64,
    caller: Caller,
}

impl NameNode {
    /// NameNodes at `addresses`, at least one, asked on behalf of `caller`. Connects to none yet.
    pub(crate) fn new(
        addresses: Vec<String>,
        caller: Caller,
        connector: Arc<dyn Connector>,
        connect_timeout: Duration,
    ) -> Self {
        Self {
            channels: Mutex::new(vec![None; addresses.len()]),
            addresses,
            leader: AtomicUsize::new(0),
            connector,
            connect_timeout,
            client: ClientId::random(),
            calls: AtomicU64::new(1),
            caller,
        }
    }

    /// This client instance's id.
    pub(crate) fn client(&self) -> ClientId {
        self.client
    }

    /// One call of the `Namespace` service.
    pub(crate) async fn namespace<T, F, Fut>(&self, patience: Patience, mut call: F) -> FsResult<T>
    where
        F: FnMut(NamespaceClient<Channel>, v1::Context) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        self.call(patience, |channel, context| {
            let client = NamespaceClient::new(channel).max_decoding_message_size(MAX_NAMENODE_MESSAGE_BYTES);
            call(client, context)
        })
        .await
    }

    /// One call of the `Admin` service.
    pub(crate) async fn admin<T, F, Fut>(&self, patience: Patience, mut call: F) -> FsResult<T>
    where
        F: FnMut(AdminClient<Channel>, v1::Context) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        self.call(patience, |channel, context| {
            let client = AdminClient::new(channel).max_decoding_message_size(MAX_NAMENODE_MESSAGE_BYTES);
            call(client, context)
        })
        .await
    }

    /// Tries a call, with the same request id each time, until it succeeds, fails for good or patience ends.
    async fn call<T, F, Fut>(&self, patience: Patience, mut call: F) -> FsResult<T>
    where
        F: FnMut(Channel, v1::Context) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let id = RequestId { client: self.client, call: CallId(self.calls.fetch_add(1, Ordering::Relaxed)) };
        let context = v1::Context {
            id: Some(id.into()),
            caller: Some(self.caller.clone().into()),
            follower_read_at: None,
        };
        let started = Instant::now();
        let mut backoff = Backoff::new(patience.total);
        let mut silent = 0;
        loop {
            let target = self.leader.load(Ordering::Relaxed);
            let error = match self.attempt(target, backoff.deadline(), &context, &mut call).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let hopeless = error.code == ErrorCode::SafeMode && started.elapsed() >= patience.safe_mode;
            if !error.code.is_transient() || hopeless {
                return Err(error);
            }
            debug!(%error, code = %error.code, call = id.call.0, "namenode call failed, trying again");
            let elsewhere = matches!(error.code, ErrorCode::Unavailable | ErrorCode::NotLeader);
            if elsewhere {
                self.leave(target);
                silent += 1;
            }
            // The other NameNodes are asked at once; only a whole round without a leader is a reason to wait.
            if elsewhere && silent % self.addresses.len() != 0 {
                continue;
            }
            if !backoff.pause().await {
                return Err(self.gave_up(error, started.elapsed()));
            }
        }
    }

    async fn attempt<T, F, Fut>(
        &self,
        target: usize,
        deadline: Instant,
        context: &v1::Context,
        call: &mut F,
    ) -> FsResult<T>
    where
        F: FnMut(Channel, v1::Context) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let address = self.addresses.get(target).map_or("", String::as_str);
        let left = deadline.saturating_duration_since(Instant::now());
        let cached = self.lock().get(target).cloned().flatten();
        let channel = if let Some(channel) = cached {
            channel
        } else {
            let channel = dial(self.connector.as_ref(), address, self.connect_timeout.min(left)).await?;
            if let Some(slot) = self.lock().get_mut(target) {
                *slot = Some(channel.clone());
            }
            channel
        };
        let limit = TRY_TIMEOUT.min(deadline.saturating_duration_since(Instant::now()));
        match tokio::time::timeout(limit, call(channel, context.clone())).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(from_status(&status)),
            Err(_) => Err(FsError::new(
                ErrorCode::Unavailable,
                format!("the NameNode at {address} did not answer within {limit:?}"),
            )),
        }
    }

    /// Forgets the connection to `target` and turns to the next NameNode, unless another call did so already.
    fn leave(&self, target: usize) {
        if let Some(slot) = self.lock().get_mut(target) {
            *slot = None;
        }
        let next = (target + 1) % self.addresses.len();
        // Failing means that another call turned to the next one already.
        let _ = self.leader.compare_exchange(target, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn gave_up(&self, error: FsError, tried: Duration) -> FsError {
        if error.code != ErrorCode::Unavailable && error.code != ErrorCode::NotLeader {
            return error;
        }
        let message = format!(
            "no NameNode answered as leader at {} for {:.1} s ({}): check the address and that it runs",
            self.addresses.join(", "),
            tried.as_secs_f64(),
            error.message
        );
        FsError::new(ErrorCode::Unavailable, message)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Option<Channel>>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
