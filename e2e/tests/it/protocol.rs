//! Strangers on the ports: whatever they send, the daemons answer with an error or a closed connection and go on.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dfs_local::{Options, TestCluster};
use dfs_proto::v1;
use dfs_proto::v1::chunks_client::ChunksClient;
use dfs_proto::v1::cluster_client::ClusterClient;
use dfs_proto::v1::namespace_client::NamespaceClient;
use dfs_types::FsPath;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::Code;

/// Within this time every daemon must have answered or hung up.
const PATIENCE: Duration = Duration::from_mins(1);

/// Sends `bytes`, says that nothing more will come, and returns what comes back.
async fn exchange(address: &str, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    let mut answer = Vec::new();
    // A daemon may hang up while it is still being talked to; that is an answer too.
    if stream.write_all(bytes).await.is_ok() && stream.shutdown().await.is_ok() {
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.context("no end of the answer")?;
    }
    Ok(answer)
}

pub(crate) async fn http_get(address: &str, path: &str) -> Result<(u16, String)> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.context("no end of the answer")??;
    let status = answer.split(' ').nth(1).context("a status line")?.parse()?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    Ok((status, body))
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_any_port_hurts_nobody() -> Result<()> {
    let cluster = TestCluster::start(Options::default()).await?;
    let dfs = cluster.client().await?;
    let mut random = SmallRng::seed_from_u64(1);
    let mut noise = vec![0; 64 << 10];
    random.fill_bytes(&mut noise);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut talks: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"\0".to_vec(),
        noise.clone(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"hrpc\x09\0\0".to_vec(),
        [&preface[..], &noise[..]].concat(),
        [&preface[..], &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0]].concat(),
        format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(1 << 20)).into_bytes(),
        format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "b".repeat(1 << 20)).into_bytes(),
        b"POST /metrics HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n".to_vec(),
    ];
    for length in [3, 17, 1_000] {
        talks.push(noise[..length].to_vec());
    }
    for daemon in cluster.status().await? {
        let addresses = [daemon.address.context("it listens")?, daemon.http.context("it listens")?];
        for address in &addresses {
            for talk in &talks {
                exchange(address, talk).await.with_context(|| format!("{} at {address}", daemon.daemon))?;
            }
        }
        let (status, _) = http_get(&addresses[1], "/livez").await?;
        ensure!(status == 200, "{} is not alive: {status}", daemon.daemon);
        let (status, _) = http_get(&addresses[1], "/no/such/page").await?;
        ensure!(status == 404, "a missing page answers {status}");
    }
    let root = dfs.stat(&FsPath::root()).await?;
    ensure!(root.is_directory());
    let after = cluster.status().await?;
    ensure!(after.iter().all(|daemon| daemon.pid.is_some()), "a daemon died: {after:?}");
    Ok(())
}

fn context(user: &str) -> v1::Context {
    v1::Context {
        id: Some(v1::RequestId { client: vec![1; 16], call: 1, lowest_unanswered: 1 }),
        caller: Some(v1::Caller { user: user.into(), groups: vec![] }),
        follower_read_at: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_refused_in_words() -> Result<()> {
    let cluster = TestCluster::start(Options { datanodes: 1, ..Options::default() }).await?;
    let namenode = format!("http://{}", cluster.namenode_addresses().await?.remove(0));
    let mut namespace = NamespaceClient::connect(namenode.clone()).await?;

    let paths = ["", "relative", "/a//b", "/a/../b", "/nul\0", &format!("/{}", "n".repeat(256))];
    for path in paths {
        let request = v1::StatRequest { context: Some(context("u")), path: path.to_owned() };
        let status = namespace.stat(request).await.expect_err("a bad path is refused");
        ensure!(status.code() == Code::InvalidArgument, "{path:?}: {status:?}");
        ensure!(!status.message().is_empty(), "{path:?} is refused without a word");
    }
    let no_context = v1::StatRequest { context: None, path: "/".into() };
    let status = namespace.stat(no_context).await.expect_err("a caller is needed");
    ensure!(status.code() == Code::InvalidArgument, "{status:?}");
    for user in ["", "a:b", "line\nbreak", &"u".repeat(300)] {
        let request = v1::StatRequest { context: Some(context(user)), path: "/".into() };
        let status = namespace.stat(request).await.expect_err("a bad user is refused");
        ensure!(status.code() == Code::InvalidArgument, "{user:?}: {status:?}");
    }
    let request = v1::MkdirRequest {
        context: Some(context("root")),
        path: "/m".into(),
        mode: 0o7777,
        parents: false,
        unmasked: None,
    };
    let status = namespace.mkdir(request).await.expect_err("setuid is refused");
    ensure!(status.code() == Code::InvalidArgument, "{status:?}");

    let mut nodes = ClusterClient::connect(namenode).await?;
    let stranger = v1::RegisterRequest {
        cluster: vec![9; 16],
        node: Some(v1::Node {
            id: vec![3; 16],
            host: "127.0.0.1".into(),
            data_port: 1,
            http_port: 2,
            location: String::new(),
            storage_type: None,
        }),
        incarnation: vec![4; 16],
        version: "0".into(),
        volumes: vec![],
        machine: String::new(),
    };
    let status = nodes.register(stranger).await.expect_err("another cluster's node is refused");
    ensure!(status.message().contains("cluster"), "{status:?}");

    let daemons = cluster.status().await?;
    let datanode = daemons.iter().find(|daemon| daemon.daemon == dfs_local::Daemon::DataNode(1));
    let address = datanode.and_then(|daemon| daemon.address.clone()).context("a DataNode listens")?;
    let mut chunks = ChunksClient::connect(format!("http://{address}")).await?;
    let request = v1::ReadRequest { chunk: 1, ..v1::ReadRequest::default() };
    chunks.read(request).await.expect_err("a read without cluster and target is refused");
    let packet_first = v1::WriteRequest {
        kind: Some(v1::write_request::Kind::Packet(v1::Packet { sequence: 5, ..v1::Packet::default() })),
    };
    let answer = chunks.write(tokio_stream::iter([packet_first])).await;
    let refused = match answer {
        Err(_) => true,
        Ok(reply) => match reply.into_inner().message().await {
            Err(_) => true,
            Ok(Some(v1::WriteReply { kind: Some(v1::write_reply::Kind::Setup(setup)) })) => {
                setup.error.is_some()
            }
            Ok(_) => false,
        },
    };
    ensure!(refused, "a write that starts with a packet was taken");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_health_are_served() -> Result<()> {
    let cluster = TestCluster::start(Options { datanodes: 1, ..Options::default() }).await?;
    for daemon in cluster.status().await? {
        let http = daemon.http.context("it listens")?;
        let (status, body) = http_get(&http, "/readyz").await?;
        ensure!(status == 200, "{} is not ready: {body}", daemon.daemon);
        let (status, text) = http_get(&http, "/metrics").await?;
        ensure!(status == 200);
        let prefix = match daemon.daemon {
            dfs_local::Daemon::NameNode(_) => "dfs_namenode_",
            dfs_local::Daemon::DataNode(_) => "dfs_datanode_",
        };
        let names = text.lines().filter(|line| line.starts_with("# TYPE")).count();
        ensure!(names >= 10, "{} has only {names} metrics", daemon.daemon);
        let strange =
            text.lines().find(|line| !["#", prefix, "process_"].iter().any(|begin| line.starts_with(begin)));
        ensure!(strange.is_none(), "{} exports {strange:?}, not {prefix}…", daemon.daemon);
        let memory = text.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
        let memory: u64 = memory.context("it tells what memory it takes")?.parse()?;
        ensure!((1 << 20..1 << 32).contains(&memory), "{} takes {memory} bytes", daemon.daemon);
    }
    Ok(())
}
