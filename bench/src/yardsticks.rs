//! What others can do on this machine in the same run: a plain echo over TCP and over tonic, in a process of its own as our
//! servers are, and SQLite. None of it is ours, so a fault of ours can't hide in it.

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::StreamExt as _;
use hdrhistogram::Histogram;
use rusqlite::Connection;
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::table::{Row, Unit};

/// Bytes of an echoed message: about those of a `stat`.
const MESSAGE: usize = 128;
/// Seconds that each echo is given.
const SECONDS: f64 = 1.5;
/// Bytes of an inserted row.
const ROW: usize = 100;
/// Rows of a batch: as many edits as a busy NameNode commits together.
const BATCH: u32 = 100;
/// The echo's method.
const METHOD: &str = "/yardstick.Echo/Echo";

/// Round trips a second by number of clients.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Echo {
    /// How many clients.
    pub(crate) clients: usize,
    /// Of plain TCP.
    pub(crate) tcp: f64,
    /// Of plain tonic.
    pub(crate) grpc: f64,
}

/// Everything measured here.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Yardsticks {
    /// Echoes at each number of clients.
    pub(crate) echoes: Vec<Echo>,
    /// SQLite, write-ahead log: transactions of one row a second, each synced.
    pub(crate) sqlite_commits: f64,
    /// SQLite: rows a second in transactions of [`BATCH`], not synced.
    pub(crate) sqlite_rows: f64,
}

impl Yardsticks {
    /// Round trips of plain tonic a second with so many clients.
    pub(crate) fn grpc(&self, clients: usize) -> Option<f64> {
        self.echoes.iter().find(|echo| echo.clients == clients).map(|echo| echo.grpc)
    }
}

/// Measures all of it, echoes with each of these numbers of `clients`; the databases lie in `disk`. Also the rows to show.
pub(crate) async fn measure(disk: &Path, clients: &[usize]) -> Result<(Yardsticks, Vec<Row>)> {
    let server = EchoServer::start()?;
    let (mut echoes, mut rows) = (Vec::new(), Vec::new());
    for &count in clients {
        let tcp = tcp_echoes(&server.tcp, count).await?;
        let grpc = grpc_echoes(&server.grpc, count).await?;
        echoes.push(Echo { clients: count, tcp: tcp.rate(), grpc: grpc.rate() });
        rows.push(tcp.row(format!("plain TCP echo, {count} clients")));
        rows.push(grpc.row(format!("plain tonic echo, {count} clients")));
    }
    let folder = disk.to_owned();
    let sqlite = tokio::task::spawn_blocking(move || {
        anyhow::Ok((sqlite_commits(&folder.join("commits"))?, sqlite_rows(&folder.join("rows"))?))
    });
    let (sqlite_commits, sqlite_rows) = sqlite.await??;
    Ok((Yardsticks { echoes, sqlite_commits, sqlite_rows }, rows))
}

/// The other process. It ends with its standard input, so with this one, however that ends.
struct EchoServer {
    process: Child,
    tcp: String,
    grpc: String,
}

impl EchoServer {
    fn start() -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("--serve-echo")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the echo server")?;
        let output = process.stdout.take().context("its output is a pipe")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let (tcp, grpc) = line.trim().split_once(' ').context("the echo server tells its addresses")?;
        Ok(Self { tcp: tcp.to_owned(), grpc: grpc.to_owned(), process })
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        drop(self.process.wait());
    }
}

/// Echoes until standard input ends.
pub(crate) async fn serve() -> Result<()> {
    let tcp = TcpListener::bind("127.0.0.1:0").await?;
    let grpc = TcpListener::bind("127.0.0.1:0").await?;
    println!("{} {}", tcp.local_addr()?, grpc.local_addr()?);
    tokio::spawn(async move {
        while let Ok((stream, _)) = tcp.accept().await {
            tokio::spawn(echo_tcp(stream));
        }
    });
    let incoming = TcpIncoming::from(grpc).with_nodelay(Some(true));
    tokio::spawn(Server::builder().add_service(EchoService).serve_with_incoming(incoming));
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
    Ok(())
}

async fn echo_tcp(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut message = [0; MESSAGE];
    loop {
        stream.read_exact(&mut message).await?;
        stream.write_all(&message).await?;
    }
}

#[derive(Clone)]
struct EchoService;

impl NamedService for EchoService {
    const NAME: &'static str = "yardstick.Echo";
}

impl UnaryService<Vec<u8>> for EchoService {
    type Response = Vec<u8>;
    type Future = std::future::Ready<Result<Response<Vec<u8>>, Status>>;

    fn call(&mut self, request: Request<Vec<u8>>) -> Self::Future {
        std::future::ready(Ok(Response::new(request.into_inner())))
    }
}

impl Service<http::Request<Body>> for EchoService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            Ok(Grpc::new(ProstCodec::<Vec<u8>, Vec<u8>>::default()).unary(Self, request).await)
        })
    }
}

/// What some clients did.
struct Done {
    time: Duration,
    latencies: Histogram<u64>,
}

impl Done {
    fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.time.as_secs_f64()
    }

    fn row(&self, work: String) -> Row {
        Row {
            work,
            rate: self.rate(),
            unit: Unit::PerSecond,
            seconds: self.time.as_secs_f64(),
            limit: None,
            p50_us: Some(self.latencies.value_at_quantile(0.5)),
            p99_us: Some(self.latencies.value_at_quantile(0.99)),
            cpu_seconds: None,
        }
    }
}

/// Lets every one of these clients do its work again and again until the time is up.
async fn repeat<C, F>(clients: Vec<C>, work: F) -> Result<Done>
where
    C: Send + 'static,
    F: AsyncEcho<C>,
{
    let start = Instant::now();
    let deadline = start + Duration::from_secs_f64(SECONDS);
    let mut tasks = futures_util::stream::FuturesUnordered::new();
    for mut client in clients {
        let work = work.clone();
        tasks.push(tokio::spawn(async move {
            let mut latencies = Histogram::<u64>::new(3)?;
            while Instant::now() < deadline {
                let begin = Instant::now();
                work.echo(&mut client).await?;
                latencies.record(begin.elapsed().as_micros() as u64)?;
            }
            anyhow::Ok(latencies)
        }));
    }
    let mut all = Histogram::<u64>::new(3)?;
    while let Some(done) = tasks.next().await {
        all.add(done??)?;
    }
    Ok(Done { time: start.elapsed(), latencies: all })
}

/// One round trip.
trait AsyncEcho<C>: Clone + Send + Sync + 'static {
    fn echo(&self, client: &mut C) -> impl Future<Output = Result<()>> + Send;
}

#[derive(Clone)]
struct Tcp;

impl AsyncEcho<TcpStream> for Tcp {
    async fn echo(&self, client: &mut TcpStream) -> Result<()> {
        let mut message = [7; MESSAGE];
        client.write_all(&message).await?;
        client.read_exact(&mut message).await?;
        Ok(())
    }
}

#[derive(Clone)]
struct Tonic;

impl AsyncEcho<Channel> for Tonic {
    async fn echo(&self, client: &mut Channel) -> Result<()> {
        let mut grpc = tonic::client::Grpc::new(client);
        grpc.ready().await?;
        let codec = ProstCodec::<Vec<u8>, Vec<u8>>::default();
        let path = http::uri::PathAndQuery::from_static(METHOD);
        grpc.unary(Request::new(vec![7; MESSAGE]), path, codec).await?;
        Ok(())
    }
}

async fn tcp_echoes(address: &str, count: usize) -> Result<Done> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        clients.push(stream);
    }
    repeat(clients, Tcp).await
}

async fn grpc_echoes(address: &str, count: usize) -> Result<Done> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true).connect().await?);
    }
    repeat(clients, Tonic).await
}

fn database(path: &Path, synchronous: &str) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.execute_batch("CREATE TABLE entry (id INTEGER PRIMARY KEY, parent INTEGER, value BLOB)")?;
    Ok(connection)
}

/// Inserts transactions of `rows` rows for a second; answers rows a second.
fn insert(mut connection: Connection, rows: u32) -> Result<f64> {
    let value = vec![7_u8; ROW];
    let start = Instant::now();
    let mut done = 0_u32;
    while start.elapsed() < Duration::from_secs(1) {
        let transaction = connection.transaction()?;
        {
            let mut statement =
                transaction.prepare_cached("INSERT INTO entry (parent, value) VALUES (?1, ?2)")?;
            for _ in 0..rows {
                statement.execute((done, &value))?;
                done += 1;
            }
        }
        transaction.commit()?;
    }
    Ok(f64::from(done) / start.elapsed().as_secs_f64())
}

fn sqlite_commits(path: &Path) -> Result<f64> {
    insert(database(path, "FULL")?, 1)
}

fn sqlite_rows(path: &Path) -> Result<f64> {
    insert(database(path, "OFF")?, BATCH)
}
