//! Calls to the NameNodes: finding the leader, trying again, request ids.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dfs_proto::convert::{applied, from_status, leader};
use dfs_proto::v1;
use dfs_proto::v1::admin_client::AdminClient;
use dfs_proto::v1::namenodes_client::NamenodesClient;
use dfs_proto::v1::namespace_client::NamespaceClient;
use dfs_types::limits::{DATA_STREAM_WINDOW, MAX_NAMENODE_MESSAGE_BYTES};
use dfs_types::{Caller, ClientId, ErrorCode, FsError, FsResult, RequestId};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Response, Status};
use tracing::debug;

use crate::calls::{Call, Calls};
use crate::dial::{Connector, dial};
use crate::one_cluster::OneCluster;
use crate::peers::{Address, Peers};
use crate::retry::{Backoff, Patience};

/// Time for one try of one call; a server that waits for something itself answers before.
const TRY_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest that a timer is late because its machine is busy; what is later stood still.
const MOST_DELAY: Duration = Duration::from_secs(2);
/// Silence of a NameNode that answered before, after which another one is asked as well: longer than a leader takes for
/// almost any call, shorter than anybody likes to wait for one that hangs.
const SILENCE: Duration = Duration::from_millis(1_500);
/// The same for one that has not answered this client yet, or no longer does: nobody knows whether it runs. Longer than a
/// connection and a quick call take, and all that a new process loses to a NameNode that is dead.
const FIRST_SILENCE: Duration = Duration::from_millis(100);

/// The NameNodes of one cluster, of which one leads.
#[derive(Debug)]
pub(crate) struct NameNode {
    peers: Peers,
    connector: Arc<dyn Connector>,
    connect_timeout: Duration,
    client: ClientId,
    calls: Calls,
    caller: Caller,
    /// Highest index of the log that an answer reflected.
    applied: AtomicU64,
    follower_reads: bool,
    cluster: OneCluster,
}

/// Why a try of a call was in vain.
struct Refusal {
    error: FsError,
    /// Where the leader is, according to the one that refused.
    leader: Option<String>,
}

impl From<FsError> for Refusal {
    fn from(error: FsError) -> Self {
        Self { error, leader: None }
    }
}

/// Whether the same request may succeed a little later. A server that ran out of time says so, and the request id
/// keeps what it did nevertheless from being done twice.
fn may_succeed_later(code: ErrorCode) -> bool {
    code.is_transient() || code == ErrorCode::TimedOut
}

impl NameNode {
    /// NameNodes at `addresses`, at least one, asked on behalf of `caller`. Connects to none yet.
    pub(crate) fn new(
        addresses: Vec<String>,
        caller: Caller,
        connector: Arc<dyn Connector>,
        connect_timeout: Duration,
        follower_reads: bool,
    ) -> Self {
        Self {
            peers: Peers::new(addresses),
            connector,
            connect_timeout,
            client: ClientId::random(),
            calls: Calls::default(),
            caller,
            applied: AtomicU64::new(0),
            follower_reads,
            cluster: OneCluster::default(),
        }
    }

    /// This client instance's id.
    pub(crate) fn client(&self) -> ClientId {
        self.client
    }

    /// The addresses known.
    pub(crate) fn peers(&self) -> &Peers {
        &self.peers
    }

    /// One call of the `Namespace` service, which the leader answers.
    pub(crate) async fn namespace<T, F, Fut>(&self, patience: Patience, call: F) -> FsResult<T>
    where
        F: Fn(NamespaceClient<Channel>, v1::Context) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        self.lead(patience, |channel, context| call(namespace_client(channel), context)).await
    }

    /// One call of the `Namespace` service that changes nothing: any NameNode may answer if this client reads from
    /// followers, provided that it has applied all that this client has seen.
    pub(crate) async fn look<T, F, Fut>(&self, patience: Patience, call: F) -> FsResult<T>
    where
        F: Fn(NamespaceClient<Channel>, v1::Context) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let call = |channel, context| call(namespace_client(channel), context);
        // The leader is told too: its database may be a moment behind what a follower has shown.
        let seen = self.follower_reads.then(|| self.applied.load(Ordering::Relaxed));
        let to_leader =
            |channel, context: v1::Context| call(channel, v1::Context { follower_read_at: seen, ..context });
        let Some(address) = seen.and_then(|_| self.peers.turn()) else {
            return self.lead(patience, to_leader).await;
        };
        let limit = TRY_TIMEOUT.min(patience.total);
        let context = v1::Context { follower_read_at: seen, ..self.context(&self.calls.begin()) };
        let mut follower = pin!(self.attempt(&address, limit, context, &call));
        let silence = silence(&self.peers, &address);
        let refusal = match tokio::time::timeout(silence, &mut follower).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(refusal)) => refusal,
            Err(_silent) => tokio::select! {
                answer = &mut follower => match answer {
                    Ok(answer) => return Ok(answer),
                    Err(refusal) => refusal,
                },
                answer = self.lead(patience, to_leader) => {
                    self.peers.lost(&address);
                    return answer;
                }
            },
        };
        let Refusal { error, .. } = refusal;
        if is_answer(error.code) {
            return Err(error);
        }
        debug!(%error, code = %error.code, %address, "no answer to a read, asking the leader");
        self.lead(patience, to_leader).await
    }

    /// One call of the `Admin` service, which the leader answers.
    pub(crate) async fn admin<T, F, Fut>(&self, patience: Patience, call: F) -> FsResult<T>
    where
        F: Fn(AdminClient<Channel>, v1::Context) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        self.lead(patience, |channel, context| {
            let client = AdminClient::new(channel).max_decoding_message_size(MAX_NAMENODE_MESSAGE_BYTES);
            call(client, context)
        })
        .await
    }

    /// One call of the `Namenodes` service that the leader answers.
    pub(crate) async fn group<T, F, Fut>(&self, patience: Patience, call: F) -> FsResult<T>
    where
        F: Fn(NamenodesClient<Channel>, v1::Context) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        self.lead(patience, |channel, context| {
            let client = NamenodesClient::new(channel).max_decoding_message_size(MAX_NAMENODE_MESSAGE_BYTES);
            call(client, context)
        })
        .await
    }

    /// The group's members as a NameNode tells them, and that NameNode's address: the first to answer of all that are
    /// known, be it the leader or not.
    pub(crate) async fn members(&self, patience: Patience) -> FsResult<(Address, v1::NamenodesReply)> {
        let started = Instant::now();
        let mut backoff = Backoff::searching(patience.total);
        loop {
            let error = match self.members_of_any(backoff.deadline()).await {
                Err(error) if may_succeed_later(error.code) => error,
                answer => return answer,
            };
            if !backoff.pause().await {
                return Err(self.gave_up(error, started.elapsed()));
            }
        }
    }

    /// Asks every NameNode known for the members until one answers: the next one as soon as the one before refuses or is
    /// silent.
    async fn members_of_any(&self, deadline: Instant) -> FsResult<(Address, v1::NamenodesReply)> {
        let mut error = FsError::new(ErrorCode::Unavailable, "no NameNode is known");
        let mut tries = FuturesUnordered::new();
        let mut rest = self.peers.all().into_iter();
        let mut silent_at = None;
        loop {
            if silent_at.is_none_or(|at| at <= Instant::now())
                && let Some(address) = rest.next()
            {
                let silence = silence(&self.peers, &address);
                silent_at = Some(Instant::now() + silence);
                let limit = SILENCE.min(deadline.saturating_duration_since(Instant::now()));
                tries.push(async move {
                    let answer = self.members_at(&address, limit).await;
                    (address, answer)
                });
            }
            tokio::select! {
                biased;
                answered = tries.next() => match answered {
                    Some((address, Ok(reply))) => return Ok((address, reply)),
                    Some((_, Err(refused))) if may_succeed_later(refused.code) => {
                        error = refused;
                        silent_at = None;
                    }
                    Some((_, Err(refused))) => return Err(refused),
                    None => return Err(error),
                },
                () = until(silent_at), if rest.len() > 0 => {}
            }
        }
    }

    /// The group's members as the NameNode at `address` tells them, within `limit` and without much patience.
    pub(crate) async fn members_at(
        &self,
        address: &Address,
        limit: Duration,
    ) -> FsResult<v1::NamenodesReply> {
        let call = |channel, context| async move {
            NamenodesClient::new(channel).list(v1::NamenodesRequest { context: Some(context) }).await
        };
        let answer =
            self.attempt(address, SILENCE.min(limit), self.context(&self.calls.begin()), &call).await;
        answer.map_err(|refusal| refusal.error)
    }

    /// The context of a request.
    fn context(&self, call: &Call<'_>) -> v1::Context {
        let id = RequestId { client: self.client, call: call.id, lowest_unanswered: call.lowest_unanswered };
        v1::Context { id: Some(id.into()), caller: Some(self.caller.clone().into()), follower_read_at: None }
    }

    /// Tries a call that the leader answers, with the same request id each time, until it succeeds, fails for good or
    /// patience ends.
    ///
    /// A try that gets no answer for [`SILENCE`] goes on while others are asked ([`FIRST_SILENCE`] for a NameNode that never
    /// answered): a leader may take its time, one that hangs has been replaced meanwhile. Whoever answers as leader wins;
    /// what an abandoned try did, or does later, is not done again, as all tries are the same request.
    async fn lead<T, F, Fut>(&self, patience: Patience, call: F) -> FsResult<T>
    where
        F: Fn(Channel, v1::Context) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        // Until this returns the same request may be sent once more.
        let call_id = self.calls.begin();
        let context = self.context(&call_id);
        let started = Instant::now();
        let mut deadline = started + patience.total;
        let mut search = Search::new(&self.peers, patience.total);
        let mut backoff = Backoff::new(patience.total);
        let mut tries = FuturesUnordered::new();
        let mut failure = FsError::new(ErrorCode::Unavailable, "none was asked");
        loop {
            if tries.is_empty() && search.ask_at >= deadline {
                return Err(self.gave_up(failure, started.elapsed()));
            }
            let may_ask = search.ask_at < deadline && search.under_way.len() < self.peers.count();
            if may_ask && search.ask_at <= Instant::now() {
                // Not by a timer: it would be rounded up to the next millisecond.
                if let Some(address) = search.next() {
                    let begun = Instant::now();
                    let left = deadline.saturating_duration_since(begun);
                    let limit = TRY_TIMEOUT.min(left);
                    let (this, context, call) = (self, context.clone(), &call);
                    tries.push(async move {
                        let outcome = this.attempt(&address, limit, context, call).await;
                        // Patience is then what it was before.
                        let renewed = stood_still(begun, limit).then(|| Instant::now() + left);
                        (address, outcome, renewed)
                    });
                }
                continue;
            }
            let (address, refusal) = tokio::select! {
                biased;
                Some((address, outcome, renewed)) = tries.next(), if !tries.is_empty() => match outcome {
                    Ok(answer) => {
                        search.found(&address);
                        return Ok(answer);
                    }
                    Err(refusal) => {
                        deadline = renewed.map_or(deadline, |renewed| deadline.max(renewed));
                        (address, refusal)
                    }
                },
                () = tokio::time::sleep_until(search.ask_at), if may_ask => continue,
            };
            let Refusal { error, leader } = refusal;
            debug!(%error, code = %error.code, %address, "namenode call failed");
            if matches!(error.code, ErrorCode::Unavailable | ErrorCode::NotLeader) {
                search.refused(&address, leader.as_deref());
            } else {
                // It leads, and says no, or not yet.
                tries.clear();
                search.found(&address);
                let hopeless = error.code == ErrorCode::SafeMode && started.elapsed() >= patience.safe_mode;
                if !may_succeed_later(error.code) || hopeless {
                    return Err(error);
                }
                search.again_at(Instant::now() + backoff.next_pause());
            }
            failure = error;
        }
    }

    /// One try at one NameNode.
    async fn attempt<T, F, Fut>(
        &self,
        address: &Address,
        limit: Duration,
        context: v1::Context,
        call: &F,
    ) -> Result<T, Refusal>
    where
        F: Fn(Channel, v1::Context) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let answer = async {
            let channel = if let Some(channel) = self.peers.channel(address) {
                channel
            } else {
                let limit = self.connect_timeout.min(limit);
                let channel = dial(self.connector.as_ref(), address, limit, DATA_STREAM_WINDOW).await?;
                self.peers.keep(address, channel.clone());
                channel
            };
            match call(channel, context).await {
                Ok(response) => {
                    self.cluster.check(address, response.metadata(), &self.peers)?;
                    self.note_applied(response.metadata());
                    Ok(response.into_inner())
                }
                Err(status) => {
                    self.cluster.check(address, status.metadata(), &self.peers)?;
                    self.note_applied(status.metadata());
                    Err(Refusal { leader: leader(&status), error: from_status(&status) })
                }
            }
        };
        let answer = tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| {
            let text = format!("the NameNode at {address} did not answer within {limit:?}");
            Err(FsError::new(ErrorCode::Unavailable, text).into())
        });
        match &answer {
            Err(Refusal { error: FsError { code: ErrorCode::Unavailable, .. }, .. }) => {
                self.peers.lost(address);
            }
            Ok(_) | Err(_) => self.peers.answered(address),
        }
        answer
    }

    fn note_applied(&self, metadata: &MetadataMap) {
        if let Some(index) = applied(metadata) {
            self.applied.fetch_max(index, Ordering::Relaxed);
        }
    }

    fn gave_up(&self, error: FsError, tried: Duration) -> FsError {
        if error.code != ErrorCode::Unavailable && error.code != ErrorCode::NotLeader {
            return error;
        }
        let message = format!(
            "no NameNode answered as leader at {} for {:.1} s ({}): check the address and that it runs",
            self.peers.all().join(", "),
            tried.as_secs_f64(),
            error.message
        );
        FsError::new(ErrorCode::Unavailable, message)
    }
}

/// Whether this process stood still (stopped, or its machine was) while it waited for an answer with a limit: nobody was
/// asked then, so it is none of the caller's patience.
fn stood_still(begun: Instant, limit: Duration) -> bool {
    begun.elapsed().saturating_sub(limit) > MOST_DELAY
}

/// How long the one at `address` may be silent before another one is asked as well.
fn silence(peers: &Peers, address: &Address) -> Duration {
    if peers.has_answered(address) { SILENCE } else { FIRST_SILENCE }
}

/// Waits until `time`; without one, not at all.
async fn until(time: Option<Instant>) {
    if let Some(time) = time {
        tokio::time::sleep_until(time).await;
    }
}

fn namespace_client(channel: Channel) -> NamespaceClient<Channel> {
    NamespaceClient::new(channel).max_decoding_message_size(MAX_NAMENODE_MESSAGE_BYTES)
}

/// Whether this error tells what the namespace is like, and not what the NameNode that was asked is like.
fn is_answer(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NotFound
            | ErrorCode::NotADirectory
            | ErrorCode::IsADirectory
            | ErrorCode::PermissionDenied
            | ErrorCode::InvalidArgument
    )
}

/// The search for the leader during one call.
struct Search<'a> {
    peers: &'a Peers,
    /// Those that have been asked in this round, or did not answer yet.
    asked: Vec<Address>,
    /// Those that did not answer yet.
    under_way: Vec<Address>,
    /// When to ask another one.
    ask_at: Instant,
    /// Pauses between rounds.
    rounds: Backoff,
}

impl<'a> Search<'a> {
    fn new(peers: &'a Peers, budget: Duration) -> Self {
        Self {
            peers,
            asked: Vec::new(),
            under_way: Vec::new(),
            ask_at: Instant::now(),
            rounds: Backoff::searching(budget),
        }
    }

    /// Whom to ask now. After a whole round without a leader there is nobody until the pause is over.
    fn next(&mut self) -> Option<Address> {
        let Some(address) = self.peers.next(&self.asked) else {
            self.asked.clone_from(&self.under_way);
            self.ask_at = Instant::now() + self.rounds.next_pause();
            return None;
        };
        self.asked.push(Arc::clone(&address));
        self.under_way.push(Arc::clone(&address));
        self.ask_at = Instant::now() + silence(self.peers, &address);
        Some(address)
    }

    /// This one does not lead or can't be reached; perhaps it knows who leads.
    fn refused(&mut self, address: &Address, leader: Option<&str>) {
        self.under_way.retain(|other| other != address);
        let among = |list: &[Address]| list.iter().find(|other| leader == Some(&***other)).cloned();
        self.ask_at = Instant::now();
        if let Some(leader) = among(&self.under_way) {
            // It is being asked: a leader that only takes its time.
            self.ask_at += silence(self.peers, &leader);
            return;
        }
        let fresh = among(&self.asked).is_none();
        if !leader.is_some_and(|leader| fresh && self.peers.follow(leader)) {
            self.peers.leave(address);
        }
    }

    /// This one leads; those that are silent meanwhile do not.
    fn found(&mut self, address: &Address) {
        self.peers.leads(address);
        for silent in self.under_way.drain(..).filter(|silent| silent != address) {
            self.peers.lost(&silent);
        }
    }

    /// The next try begins a new round.
    fn again_at(&mut self, time: Instant) {
        self.asked.clear();
        self.ask_at = time;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_that_the_process_stood_still_is_told_from_a_busy_machine() {
        let (begun, limit) = (Instant::now(), Duration::from_secs(4));
        for (at, expected) in [(3, false), (5, false), (6, false), (79, true)] {
            tokio::time::advance(begun + Duration::from_secs(at) - Instant::now()).await;
            assert_eq!(stood_still(begun, limit), expected, "after {at} s");
        }
    }
}
