//! The one accept loop of all ports: limits, deadlines, and what happens when there is no room.
//!
//! ```text
//!  listener ──accept──> silent ──first bytes──> Incoming ──> the port's server
//!              │          │ nothing came in time: closed
//!              └── no room, no descriptors: the longest idle connection is closed, and the loop waits
//! ```
//!
//! A connection costs nothing but its descriptor until its first bytes are there: this is where protocols that share a port
//! can be told apart. Connections with a request under way are never closed to make room. Some places are kept for the HTTP
//! port: whoever asks there whether the process lives must get an answer however busy the other ports are.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::Stream;
use futures_util::task::AtomicWaker;
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec};
use rustix::io::Errno;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tonic::transport::server::Connected;
use tracing::{debug, warn};

use crate::{Meter, Shutdown};

/// How long a new connection may say nothing.
const FIRST_BYTES: Duration = Duration::from_secs(30);
/// Silence after which a connection without a request is closed. Peers that speak HTTP/2 answer pings more often.
const IDLE: Duration = Duration::from_mins(2);
/// A connection is not closed to make room before it had so much time for its request.
const NEWCOMER: Duration = Duration::from_secs(1);
/// How often idle connections are looked for.
const SWEEP: Duration = Duration::from_secs(10);
/// How long the loop waits for room before it looks again which connection could make some.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Pause after a failed accept: it doubles up to the longest, so that no failure makes the loop spin.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));
/// Connections that have spoken and wait for their server.
const SPOKEN: usize = 16;
/// The port of probes and metrics.
const HTTP: &str = "http";
/// Places that are kept for it, but no more than a quarter of all.
const KEPT: usize = 8;
/// Silence after which the kernel asks the peer whether it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Room for the connections to all ports of a process. Clones share it.
#[derive(Debug, Clone)]
pub struct Room(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: usize,
    /// Places of the HTTP port that no other port takes.
    kept: usize,
    started: Instant,
    table: Mutex<Table>,
    freed: Notify,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    open: HashMap<u64, Arc<State>>,
    /// How many of them are to the HTTP port.
    http: usize,
}

#[derive(Debug)]
struct Metrics {
    open: IntGaugeVec,
    limit: IntGauge,
    closed: IntCounterVec,
    errors: IntCounterVec,
}

/// What is known of an open connection.
#[derive(Debug)]
struct State {
    peer: SocketAddr,
    port: &'static str,
    started: Instant,
    /// When bytes last went through, in milliseconds after `started`.
    active: AtomicU64,
    requests: AtomicUsize,
    closed: AtomicBool,
    waker: AtomicWaker,
}

impl State {
    fn touch(&self) {
        self.active.store(self.started.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    fn silence(&self) -> Duration {
        self.started.elapsed().saturating_sub(Duration::from_millis(self.active.load(Ordering::Relaxed)))
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.waker.wake();
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// A connection as far as it matters for who has to go.
#[derive(Debug, Clone, Copy)]
struct Seen {
    id: u64,
    requests: usize,
    silence: Duration,
}

/// Which connection makes room for another one: the one that has been silent longest, if it has no request under way.
fn dispensable(open: impl Iterator<Item = Seen>) -> Option<u64> {
    let idle = open.filter(|seen| seen.requests == 0 && seen.silence >= NEWCOMER);
    idle.max_by_key(|seen| seen.silence).map(|seen| seen.id)
}

impl Room {
    /// Room for `limit` connections, over which `meter` is told.
    pub fn new(limit: usize, meter: &Meter) -> prometheus::Result<Self> {
        let metrics = Metrics::register(meter)?;
        metrics.limit.set(i64::try_from(limit).unwrap_or(i64::MAX));
        let (table, freed) = (Mutex::default(), Notify::new());
        let kept = KEPT.min(limit / 4);
        Ok(Self(Arc::new(Shared { limit, kept, started: Instant::now(), table, freed, metrics })))
    }

    /// Accepts connections to a port until a stop is requested, and hands over those that say something.
    pub fn accept(
        &self,
        port: &'static str,
        listener: TcpListener,
        shutdown: &Shutdown,
    ) -> io::Result<Incoming> {
        let address = listener.local_addr()?;
        let (spoken, connections) = mpsc::channel(SPOKEN);
        let accepting = Accepting { room: self.clone(), port, listener, spoken };
        let stop = shutdown.clone();
        shutdown.spawn(async move {
            tokio::select! {
                () = stop.requested() => {}
                () = accepting.run(&stop) => {}
            }
        });
        Ok(Incoming { connections, address })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, stream: TcpStream, peer: SocketAddr, port: &'static str) -> Connection {
        let started = self.0.started;
        let state = Arc::new(State {
            peer,
            port,
            started,
            active: AtomicU64::new(started.elapsed().as_millis() as u64),
            requests: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        });
        let mut table = self.lock();
        let id = table.next;
        table.next += 1;
        table.open.insert(id, Arc::clone(&state));
        table.http += usize::from(port == HTTP);
        drop(table);
        self.0.metrics.open.with_label_values(&[port]).inc();
        Connection { stream, state, place: Place { room: self.clone(), id, port } }
    }

    fn seen(table: &Table) -> impl Iterator<Item = Seen> {
        table.open.iter().filter(|(_, state)| !state.is_closed()).map(|(id, state)| Seen {
            id: *id,
            requests: state.requests.load(Ordering::Relaxed),
            silence: state.silence(),
        })
    }

    fn has_place(&self, table: &Table, port: &str) -> bool {
        let kept = if port == HTTP { 0 } else { self.0.kept.saturating_sub(table.http) };
        table.open.len() + kept < self.0.limit
    }

    /// Closes the connection that can best be done without for one to this port, if there is one.
    fn make_room(&self, port: &str) -> bool {
        let table = self.lock();
        // One in a kept place would make no room for another port.
        let useful = |state: &State| state.port != HTTP || port == HTTP || table.http > self.0.kept;
        let seen =
            Self::seen(&table).filter(|seen| table.open.get(&seen.id).is_some_and(|state| useful(state)));
        let Some(state) = dispensable(seen).and_then(|id| table.open.get(&id)) else {
            return false;
        };
        state.close();
        self.0.metrics.closed.with_label_values(&["no_room"]).inc();
        true
    }

    /// Closes connections that have said nothing for long and have no request under way.
    fn sweep(&self) {
        let table = self.lock();
        let idle = Self::seen(&table).filter(|seen| seen.requests == 0 && seen.silence >= IDLE);
        for state in idle.filter_map(|seen| table.open.get(&seen.id)) {
            state.close();
            self.0.metrics.closed.with_label_values(&["idle"]).inc();
        }
    }

    /// Waits until there is room for one more to this port.
    async fn place(&self, port: &str) {
        loop {
            let freed = self.0.freed.notified();
            if self.has_place(&self.lock(), port) {
                return;
            }
            self.make_room(port);
            // Whether it was that or not, connections may become idle meanwhile.
            let _ = timeout(LOOK_AGAIN, freed).await;
        }
    }
}

/// Whether the error says that this process or the machine has nothing left for a connection. Others are about the one that
/// would have been accepted.
fn lacks_resources(error: &io::Error) -> bool {
    let lacking = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS];
    Errno::from_io_error(error).is_some_and(|errno| lacking.contains(&errno))
}

/// The loop of one port.
struct Accepting {
    room: Room,
    port: &'static str,
    listener: TcpListener,
    spoken: mpsc::Sender<Connection>,
}

impl Accepting {
    async fn run(self, stop: &Shutdown) {
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (shortest, longest) = PAUSE;
        let mut pause = shortest;
        loop {
            let accepted = tokio::select! {
                accepted = self.next() => accepted,
                _ = sweep.tick() => {
                    self.room.sweep();
                    continue;
                }
            };
            match accepted {
                Ok((stream, peer)) => {
                    pause = shortest;
                    self.listen_to(stream, peer, stop.clone());
                }
                Err(error) => {
                    self.room.0.metrics.errors.with_label_values(&[self.port]).inc();
                    if !lacks_resources(&error) {
                        debug!(port = self.port, %error, "a connection went before it was accepted");
                        sleep(shortest).await;
                        continue;
                    }
                    let made_room = self.room.make_room(self.port);
                    if pause == shortest {
                        warn!(port = self.port, %error, made_room, "a connection cannot be accepted");
                    }
                    sleep(pause).await;
                    pause = (pause * 2).min(longest);
                }
            }
        }
    }

    async fn next(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.room.place(self.port).await;
        self.listener.accept().await
    }

    /// Hands the connection over when its first bytes are there.
    fn listen_to(&self, stream: TcpStream, peer: SocketAddr, stop: Shutdown) {
        // Both only make a good connection better.
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEP_ALIVE));
        let mut connection = self.room.enter(stream, peer, self.port);
        let (spoken, port) = (self.spoken.clone(), self.port);
        tokio::spawn(async move {
            let speaks = std::future::poll_fn(|context| connection.poll_speaks(context));
            let spoke = tokio::select! {
                spoke = timeout(FIRST_BYTES, speaks) => matches!(spoke, Ok(Ok(true))),
                () = stop.requested() => false,
            };
            if spoke {
                // The server may be gone.
                let _ = spoken.send(connection).await;
            } else {
                connection.place.room.0.metrics.closed.with_label_values(&["silent"]).inc();
                debug!(port, "a connection said nothing and is closed");
            }
        });
    }
}

/// The connections to a port that have said something.
#[derive(Debug)]
pub struct Incoming {
    connections: mpsc::Receiver<Connection>,
    address: SocketAddr,
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.connections.poll_recv(context).map(|connection| connection.map(Ok))
    }
}

impl axum::serve::Listener for Incoming {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        match self.connections.recv().await {
            Some(connection) => (connection, self.address),
            // The process stops, of which the server learns from somebody else.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// An accepted connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    state: Arc<State>,
    place: Place,
}

/// A connection's place in the room, left when dropped.
#[derive(Debug)]
struct Place {
    room: Room,
    id: u64,
    port: &'static str,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.room.lock();
        table.open.remove(&self.id);
        table.http -= usize::from(self.port == HTTP);
        drop(table);
        self.room.0.metrics.open.with_label_values(&[self.port]).dec();
        self.room.0.freed.notify_waiters();
    }
}

impl Connection {
    /// Ready when the peer has said something, which stays to be read; `false` if it hung up.
    fn poll_speaks(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut byte = [0; 1];
        let mut first = ReadBuf::new(&mut byte);
        self.poll_through(context, |stream, context| stream.poll_peek(context, &mut first))
            .map(|peeked| peeked.map(|bytes| bytes > 0))
    }

    fn poll_through<T>(
        &mut self,
        context: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let polled = poll(Pin::new(&mut self.stream), context);
        match &polled {
            Poll::Ready(_) => self.state.touch(),
            Poll::Pending => self.state.waker.register(context.waker()),
        }
        // Looked at after the waker is registered, so that closing cannot be missed.
        if self.state.is_closed() {
            Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
        } else {
            polled
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_through(context, |stream, context| stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_through(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_through(context, |stream, context| stream.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Connected for Connection {
    type ConnectInfo = Info;

    fn connect_info(&self) -> Info {
        Info(Arc::clone(&self.state))
    }
}

/// What a request knows of the connection it came by.
#[derive(Debug, Clone)]
pub struct Info(Arc<State>);

impl Info {
    /// Who is at the other end.
    pub fn peer(&self) -> SocketAddr {
        self.0.peer
    }

    /// Closes the connection, whatever is under way on it.
    pub fn close(&self) {
        self.0.close();
    }
}

/// A request under way: as long as it is, its connection stays.
#[derive(Debug)]
struct UnderWay(Info);

impl UnderWay {
    fn begin(info: &Info) -> Self {
        info.0.requests.fetch_add(1, Ordering::Relaxed);
        Self(info.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.0.touch();
        self.0.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts the requests of each connection, from their headers to the end of their answer.
#[derive(Debug, Clone, Copy, Default)]
pub struct CountRequests;

impl<S> tower::Layer<S> for CountRequests {
    type Service = Counting<S>;

    fn layer(&self, inner: S) -> Counting<S> {
        Counting(inner)
    }
}

/// A service whose requests are counted.
#[derive(Debug, Clone)]
pub struct Counting<S>(S);

impl<S, Q, R> tower::Service<http::Request<Q>> for Counting<S>
where
    S: tower::Service<http::Request<Q>, Response = http::Response<R>>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Answer<R>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Q>) -> Self::Future {
        let under_way = request.extensions().get::<Info>().map(UnderWay::begin);
        let answer = self.0.call(request);
        Box::pin(async move { Ok(answer.await?.map(|body| Answer { body, _under_way: under_way })) })
    }
}

/// The body of an answer, which ends the request when it is dropped.
#[derive(Debug)]
pub struct Answer<R> {
    body: R,
    _under_way: Option<UnderWay>,
}

impl<R: axum::body::HttpBody + Unpin> axum::body::HttpBody for Answer<R> {
    type Data = R::Data;
    type Error = R::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<R::Data>, R::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

impl Metrics {
    fn register(meter: &Meter) -> prometheus::Result<Self> {
        Ok(Self {
            open: meter.gauges("connections", "Open connections that others made, by port", &["port"])?,
            limit: meter.gauge("connections_limit", "Connections for which there is room")?,
            closed: meter.counters(
                "connections_closed_total",
                "Connections closed by this side, by reason: silent (nothing came), idle, no_room (another one needed the place)",
                &["reason"],
            )?,
            errors: meter.counters(
                "accept_errors_total",
                "Connections that could not be accepted, for example for want of descriptors, by port",
                &["port"],
            )?,
        })
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn room(limit: usize) -> Room {
        Room::new(limit, &Meter::new(&Registry::new(), "dfs_test")).unwrap()
    }

    #[test]
    fn the_longest_silent_connection_without_a_request_goes_first() {
        let seen = |id, requests, seconds| Seen { id, requests, silence: Duration::from_secs(seconds) };
        assert_eq!(dispensable([seen(1, 0, 5), seen(2, 0, 9), seen(3, 1, 99)].into_iter()), Some(2));
        assert_eq!(dispensable([seen(1, 1, 500), seen(2, 0, 0)].into_iter()), None, "busy, and just come");
    }

    #[test]
    fn only_want_of_something_is_a_reason_to_make_room() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS] {
            assert!(lacks_resources(&errno.into()), "{errno}");
        }
        for errno in [Errno::CONNABORTED, Errno::NETDOWN, Errno::PERM, Errno::PROTO] {
            assert!(!lacks_resources(&errno.into()), "{errno}");
        }
    }

    async fn listening(room: &Room, shutdown: &Shutdown) -> Incoming {
        listening_as("test", room, shutdown).await
    }

    async fn listening_as(port: &'static str, room: &Room, shutdown: &Shutdown) -> Incoming {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        room.accept(port, listener, shutdown).unwrap()
    }

    /// A connection that has spoken, from both ends.
    async fn spoken(incoming: &mut Incoming) -> (TcpStream, Connection) {
        let mut client = TcpStream::connect(incoming.address).await.unwrap();
        client.write_all(b"x").await.unwrap();
        (client, incoming.connections.recv().await.unwrap())
    }

    #[tokio::test]
    async fn busy_connections_leave_places_for_probes() {
        let (room, shutdown) = (room(8), Shutdown::new());
        let mut data = listening(&room, &shutdown).await;
        let mut http = listening_as(HTTP, &room, &shutdown).await;
        let mut busy = Vec::new();
        for _ in 0..6 {
            let (client, connection) = spoken(&mut data).await;
            busy.push((client, UnderWay::begin(&connection.connect_info()), connection));
        }
        // The kernel takes it, but nobody hears it.
        let mut seventh = TcpStream::connect(data.address).await.unwrap();
        seventh.write_all(b"x").await.unwrap();
        let probes = [spoken(&mut http).await, spoken(&mut http).await];
        assert!(!room.has_place(&room.lock(), "test"));
        assert!(data.connections.try_recv().is_err());
        drop(probes);
        busy.pop();
        data.connections.recv().await.unwrap();
        shutdown.finish(Duration::from_secs(10)).await;
    }

    #[tokio::test]
    async fn who_speaks_is_handed_over_and_the_silent_wait_for_nobody() {
        let (room, shutdown) = (room(8), Shutdown::new());
        let mut incoming = listening(&room, &shutdown).await;
        let _silent = TcpStream::connect(incoming.address).await.unwrap();
        let mut speaks = TcpStream::connect(incoming.address).await.unwrap();
        speaks.write_all(b"hello").await.unwrap();
        let mut connection = incoming.connections.recv().await.unwrap();
        let mut word = [0; 5];
        connection.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"hello", "nothing is lost");
        assert_eq!(room.lock().open.len(), 2);
        assert!(shutdown.finish(Duration::from_secs(10)).await, "the loop ends");
    }

    #[tokio::test]
    async fn a_full_room_lets_an_idle_one_go_and_keeps_the_busy_one() {
        let (room, shutdown) = (room(2), Shutdown::new());
        let mut incoming = listening(&room, &shutdown).await;
        let mut clients = Vec::new();
        let mut connections = Vec::new();
        for _ in 0..2 {
            let mut client = TcpStream::connect(incoming.address).await.unwrap();
            client.write_all(b"x").await.unwrap();
            clients.push(client);
            connections.push(incoming.connections.recv().await.unwrap());
        }
        let busy = UnderWay::begin(&connections[0].connect_info());
        let mut third = TcpStream::connect(incoming.address).await.unwrap();
        third.write_all(b"y").await.unwrap();
        // The idle one is told, and the third comes in when it has left.
        let mut idle = connections.pop().unwrap();
        let mut byte = [0; 1];
        idle.read_exact(&mut byte).await.unwrap_or_default();
        assert!(idle.read(&mut byte).await.is_err(), "it is closed");
        drop(idle);
        let _third = incoming.connections.recv().await.unwrap();
        clients[0].write_all(b"z").await.unwrap();
        connections[0].read_exact(&mut [0; 2]).await.unwrap();
        drop(busy);
        shutdown.finish(Duration::from_secs(10)).await;
    }
}
