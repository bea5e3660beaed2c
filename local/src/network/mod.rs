//! A network between the processes of a local cluster that can be cut: a TCP proxy in front of each daemon.
//!
//! Daemons must be known to each other, and to clients, by the proxies' addresses ([`Network::add`]). What connects to a
//! proxy is told apart by the process that owns the other end ([`origin`]), so that every direction between two daemons,
//! and between a daemon and all clients, has a [`Link`] of its own. It needs no privileges.
//!
//! A DataNode says on which host it is found, but always at the port that it listens on: its proxy has an address of
//! its own, 127.0.1.N, and the same port.
//!
//! A link that holds says nothing to either side, as a network that drops every packet: bytes and the ends of
//! connections wait, and arrive when it opens again, late, as a retransmission would.

mod links;
mod origin;

pub use links::{Link, Party};

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as Bound};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::cluster::LocalCluster;
use crate::daemon::Daemon;
use crate::error::{LocalError, Result};
use crate::ports::{Reserved, free_port, is_free};
use links::{Gate, Links};

/// Bytes that are carried at once.
const BUFFER: usize = 64 << 10;
/// How long a daemon that listens may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// One daemon as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Which.
    pub daemon: Daemon,
    /// Where it really listens, `HOST:PORT`; `None` if it never did.
    pub listens: Option<String>,
    /// Its process; `None` if it does not run.
    pub pid: Option<u32>,
}

/// Who the daemons are.
pub trait Roster: Send + Sync + 'static {
    /// All daemons, in any order.
    fn members(&self) -> impl Future<Output = Vec<Member>> + Send;
}

impl Roster for LocalCluster {
    async fn members(&self) -> Vec<Member> {
        // A cluster that can't be read has no members: the connection is closed.
        let daemons = self.status().await.unwrap_or_default();
        let member = |status: crate::DaemonStatus| Member {
            daemon: status.daemon,
            listens: status.address,
            pid: status.pid,
        };
        daemons.into_iter().map(member).collect()
    }
}

/// The proxies. They end when this is dropped.
#[derive(Debug)]
pub struct Network<R = LocalCluster> {
    roster: Arc<R>,
    links: Arc<Links>,
    proxies: Mutex<JoinSet<()>>,
    /// Ports of DataNodes, which start later.
    kept: Mutex<Vec<Reserved>>,
}

impl<R: Roster> Network<R> {
    /// A network without a daemon.
    pub fn new(roster: R) -> Self {
        Self {
            roster: Arc::new(roster),
            links: Arc::new(Links::new()),
            proxies: Mutex::default(),
            kept: Mutex::default(),
        }
    }

    /// Begins to carry what comes for this daemon, and answers with the `HOST:PORT` under which it is to be known:
    /// see [`Options::advertise`](crate::Options::advertise). All its links are open.
    pub async fn add(&self, daemon: Daemon) -> Result<String> {
        let failed = |source| LocalError::Process { action: "listen for", daemon, source };
        let (listener, kept) = tokio::task::spawn_blocking(move || bind(daemon)).await??;
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).extend(kept);
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = TcpListener::from_std(listener).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?.to_string();
        let proxy = accept(listener, daemon, Arc::clone(&self.roster), Arc::clone(&self.links));
        self.proxies.lock().unwrap_or_else(PoisonError::into_inner).spawn(proxy);
        Ok(address)
    }

    /// How the network is between two parties, in this direction, from now on. Nothing lies between two clients.
    pub fn set(&self, from: Party, to: Party, link: Link) {
        self.links.set(from, to, link);
    }

    /// The same in both directions.
    pub fn set_both(&self, one: Party, other: Party, link: Link) {
        self.set(one, other, link);
        self.set(other, one, link);
    }

    /// Opens every link.
    pub fn heal(&self) {
        self.links.open_all();
    }
}

/// Where a daemon's proxy listens. A NameNode has a port of its own behind it; a DataNode's, at the same port, is kept until
/// it starts, as another one's proxy may be given that port too.
fn bind(daemon: Daemon) -> Result<(Bound, Option<Reserved>)> {
    let mut bound = None;
    free_port(|port| {
        bound = match daemon {
            Daemon::NameNode(_) => listener(Ipv4Addr::LOCALHOST, port).map(|listener| (listener, None)),
            Daemon::DataNode(number) => Reserved::port(Ipv4Addr::LOCALHOST, port).and_then(|kept| {
                let host = Ipv4Addr::new(127, 0, 1, number.to_be_bytes()[1]);
                Some((listener(host, port)?, Some(kept)))
            }),
        };
        bound.is_some()
    })?;
    bound.ok_or(LocalError::NoFreePort)
}

fn listener(host: Ipv4Addr, port: u16) -> Option<Bound> {
    if is_free(host, port) { Bound::bind((host, port)).ok() } else { None }
}

async fn accept<R: Roster>(listener: TcpListener, daemon: Daemon, roster: Arc<R>, links: Arc<Links>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // An error concerns the one connection that went away meanwhile.
                if let Ok((stream, from)) = accepted {
                    connections.spawn(connect(stream, from, daemon, Arc::clone(&roster), Arc::clone(&links)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Carries one connection to a daemon. An error of either side ends both, as it would without a proxy.
async fn connect<R: Roster>(
    near: TcpStream,
    from: SocketAddr,
    daemon: Daemon,
    roster: Arc<R>,
    links: Arc<Links>,
) -> io::Result<()> {
    let to = near.local_addr()?;
    let members = roster.members().await;
    let target =
        members.iter().find(|member| member.daemon == daemon).and_then(|member| member.listens.clone());
    let Some(target) = target else { return Ok(()) };
    let origin = tokio::task::spawn_blocking(move || origin::of(from, to, &members)).await??;
    let (origin, daemon) = (origin.map_or(Party::Clients, Party::Daemon), Party::Daemon(daemon));
    let mut there = links.gate(origin, daemon);
    let back = links.gate(daemon, origin);
    // Nothing of a connection that is held may reach the daemon, not even that there is one.
    there.pass().await;
    let far = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(target)).await??;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (near_reads, near_writes) = near.into_split();
    let (far_reads, far_writes) = far.into_split();
    tokio::try_join!(carry(near_reads, far_writes, there), carry(far_reads, near_writes, back))?;
    Ok(())
}

/// Carries one direction of a connection until its end.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut gate: Gate) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await;
        gate.pass().await;
        match read? {
            0 => return to.shutdown().await,
            length => to.write_all(&buffer[..length]).await?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);
    /// Long enough for a byte to pass, short enough to wait for in vain.
    const MOMENT: Duration = Duration::from_millis(200);

    struct Fixed(Vec<Member>);

    impl Roster for Fixed {
        async fn members(&self) -> Vec<Member> {
            self.0.clone()
        }
    }

    /// Answers every byte with itself.
    async fn echo() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut reads, mut writes) = stream.into_split();
                    tokio::io::copy(&mut reads, &mut writes).await
                });
            }
        });
        address
    }

    const OWN: Daemon = Daemon::NameNode(1);
    const OTHER: Daemon = Daemon::DataNode(1);

    /// One daemon is this process if `own`, and the other answers at the address in the answer.
    async fn network(own: bool) -> (Network<Fixed>, String) {
        let pid = own.then(std::process::id);
        let network = Network::new(Fixed(vec![
            Member { daemon: OWN, listens: None, pid },
            Member { daemon: OTHER, listens: Some(echo().await), pid: None },
        ]));
        let address = network.add(OTHER).await.unwrap();
        (network, address)
    }

    async fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
        let mut buffer = [0; 16];
        let length = tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await??;
        Ok(buffer[..length].to_vec())
    }

    async fn is_silent(stream: &mut TcpStream) -> bool {
        tokio::time::timeout(MOMENT, stream.read(&mut [0; 16])).await.is_err()
    }

    #[tokio::test]
    async fn each_direction_is_held_and_arrives_late() {
        let (network, address) = network(true).await;
        let (own, other) = (Party::Daemon(OWN), Party::Daemon(OTHER));
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(b"a").await.unwrap();
        assert_eq!(receive(&mut stream).await.unwrap(), b"a");
        for (from, to, text) in [(own, other, b"b"), (other, own, b"c")] {
            network.set(from, to, Link::Held);
            stream.write_all(text).await.unwrap();
            assert!(is_silent(&mut stream).await, "{from:?} to {to:?} is not held");
            network.heal();
            assert_eq!(receive(&mut stream).await.unwrap(), text);
        }
    }

    #[tokio::test]
    async fn a_strangers_connection_is_another_link() {
        let (network, address) = network(false).await;
        network.set_both(Party::Daemon(OWN), Party::Daemon(OTHER), Link::Held);
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(b"a").await.unwrap();
        assert_eq!(receive(&mut stream).await.unwrap(), b"a");
        network.set(Party::Daemon(OTHER), Party::Clients, Link::Held);
        stream.write_all(b"b").await.unwrap();
        assert!(is_silent(&mut stream).await);
    }

    #[tokio::test]
    async fn the_end_of_a_connection_passes_only_when_it_may() {
        let (network, address) = network(true).await;
        let mut stream = TcpStream::connect(&address).await.unwrap();
        network.set(Party::Daemon(OWN), Party::Daemon(OTHER), Link::Held);
        stream.shutdown().await.unwrap();
        assert!(is_silent(&mut stream).await, "the end was told");
        network.set(Party::Daemon(OWN), Party::Daemon(OTHER), Link::Delayed(Duration::from_millis(1)));
        assert_eq!(receive(&mut stream).await.unwrap(), b"", "the echo ends when it is told the end");
    }

    #[tokio::test]
    async fn a_member_that_does_not_listen_closes_the_connection() {
        let (network, _) = network(true).await;
        let address = network.add(OWN).await.unwrap();
        let mut stream = TcpStream::connect(&address).await.unwrap();
        assert_eq!(receive(&mut stream).await.unwrap_or_default(), b"");
    }

    #[tokio::test]
    async fn a_datanode_can_listen_on_the_port_of_its_proxy() {
        let (_network, address) = network(false).await;
        let (host, port) = address.rsplit_once(':').unwrap();
        assert_eq!(host, "127.0.1.1");
        TcpListener::bind((Ipv4Addr::LOCALHOST, port.parse().unwrap())).await.unwrap();
    }
}
