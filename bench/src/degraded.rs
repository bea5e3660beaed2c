//! How long a new `dfs ls` takes while one of three NameNodes is dead: it has to find out by itself, every time.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dfs_local::Daemon;
use hdrhistogram::Histogram;
use socket2::{Domain, Socket, Type};

use crate::rig::Rig;
use crate::table::Figure;
use crate::transfer::dfs_program;

/// Commands of each kind.
const COMMANDS: usize = 20;
/// Within this time another NameNode leads.
const PATIENCE: Duration = Duration::from_mins(1);
/// Connections that are tried before a port has to be full.
const FILLERS: usize = 64;

/// A port at which nothing comes back, not even a refusal: its queue of connections is full, so the system drops what
/// else arrives, as a machine that lost its power does.
struct BlackHole {
    address: SocketAddr,
    _listener: TcpListener,
    _fillers: Vec<TcpStream>,
}

impl BlackHole {
    fn open() -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        socket.listen(0)?;
        let listener = TcpListener::from(socket);
        let address = listener.local_addr()?;
        let mut fillers = Vec::new();
        while fillers.len() < FILLERS {
            match TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
                Ok(stream) => fillers.push(stream),
                Err(_) => return Ok(Self { address, _listener: listener, _fillers: fillers }),
            }
        }
        anyhow::bail!("the system still takes connections that nobody accepts")
    }
}

/// New commands with these NameNodes, in milliseconds.
fn list(addresses: &[String]) -> Result<Histogram<u64>> {
    let mut times = Histogram::<u64>::new(3)?;
    for _ in 0..COMMANDS {
        let start = Instant::now();
        let status = Command::new(dfs_program()?)
            .args(["--namenode", &addresses.join(","), "ls", "/"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()?;
        ensure!(status.success(), "dfs ls failed: {status}");
        times.record(start.elapsed().as_millis() as u64)?;
    }
    Ok(times)
}

fn figures(what: &str, times: &Histogram<u64>) -> [Figure; 2] {
    let figure = |name, value: u64| Figure {
        name: format!("new 'dfs ls', {what}, {name}"),
        value: value as f64,
        unit: "ms",
    };
    [figure("median", times.value_at_quantile(0.5)), figure("longest", times.max())]
}

/// All NameNodes well; then the first that is asked does not answer: its process is stopped, or its machine is.
pub(crate) async fn measure(rig: &Rig) -> Result<Vec<Figure>> {
    let addresses = rig.cluster.namenode_addresses().await?;
    let mut all = Vec::from(figures("all NameNodes well", &list(&addresses)?));

    let stopped = Daemon::NameNode(1);
    rig.cluster.pause(stopped).await?;
    let measured = stopped_first(&addresses).await;
    rig.cluster.resume(stopped).await?;
    all.extend(measured?);
    Ok(all)
}

async fn stopped_first(addresses: &[String]) -> Result<Vec<Figure>> {
    let (_, others) = addresses.split_first().context("there are NameNodes")?;
    // Another one has to lead before: an election is not what is measured.
    let builder = others.iter().cloned().fold(dfs_client::Dfs::builder(), dfs_client::Builder::namenode);
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = builder.clone().connect().await {
        ensure!(Instant::now() < deadline, "no other NameNode leads: {error}");
    }
    let mut all = Vec::from(figures("the first of three NameNodes stopped", &list(addresses)?));
    let hole = BlackHole::open()?;
    let with_hole: Vec<_> = std::iter::once(hole.address.to_string()).chain(others.iter().cloned()).collect();
    all.extend(figures("the first of three NameNodes without power", &list(&with_hole)?));
    Ok(all)
}
