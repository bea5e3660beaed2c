//! A network between processes of one machine that can be cut: a TCP proxy in front of each *member*.
//!
//! Members must be known to each other, and to everybody else, by the proxies' addresses ([`Network::addresses`]). What
//! connects to a proxy is told apart by the process that owns the other end ([`origin`]), so that every direction between
//! two members, and between a member and all that is not one, has a [`Link`] of its own. It needs no privileges.
//!
//! A link that holds says nothing to either side, as a network that drops every packet: bytes and the ends of
//! connections wait, and arrive when it opens again, late, as a retransmission would.

mod links;
mod origin;

pub use links::{Link, Party};

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use links::{Gate, Links};

/// Bytes that are carried at once.
const BUFFER: usize = 64 << 10;
/// How long a member that listens may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// One member as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Where it really listens, `HOST:PORT`; `None` if it never did.
    pub listens: Option<String>,
    /// Its process; `None` if it does not run.
    pub pid: Option<u32>,
}

/// Who the members are.
pub trait Roster: Send + Sync + 'static {
    /// All members, in the order of the proxies.
    fn members(&self) -> impl Future<Output = Vec<Member>> + Send;
}

/// The proxies. They end when this is dropped.
#[derive(Debug)]
pub struct Network {
    listeners: Vec<TcpListener>,
    addresses: Vec<String>,
    links: Arc<Links>,
    proxies: JoinSet<()>,
}

impl Network {
    /// Binds the proxies of `members` members. All links are open; connections wait for [`Network::serve`].
    pub async fn bind(members: usize) -> io::Result<Self> {
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        for _ in 0..members {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            addresses.push(listener.local_addr()?.to_string());
            listeners.push(listener);
        }
        Ok(Self { listeners, addresses, links: Arc::new(Links::new(members)), proxies: JoinSet::new() })
    }

    /// `HOST:PORT` under which each member is to be known.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Begins to carry what comes for the members of `roster`.
    pub fn serve<R: Roster>(&mut self, roster: R) {
        let roster = Arc::new(roster);
        for (member, listener) in self.listeners.drain(..).enumerate() {
            self.proxies.spawn(accept(listener, member, Arc::clone(&roster), Arc::clone(&self.links)));
        }
    }

    /// How the network is between two parties, in this direction, from now on. Nothing lies between two that are no
    /// members.
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

async fn accept<R: Roster>(listener: TcpListener, member: usize, roster: Arc<R>, links: Arc<Links>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // An error concerns the one connection that went away meanwhile.
                if let Ok((stream, from)) = accepted {
                    connections.spawn(connect(stream, from, member, Arc::clone(&roster), Arc::clone(&links)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Carries one connection to a member. An error of either side ends both, as it would without a proxy.
async fn connect<R: Roster>(
    near: TcpStream,
    from: SocketAddr,
    member: usize,
    roster: Arc<R>,
    links: Arc<Links>,
) -> io::Result<()> {
    let to = near.local_addr()?;
    let members = roster.members().await;
    let Some(target) = members.get(member).and_then(|member| member.listens.clone()) else { return Ok(()) };
    let pids: Vec<_> = members.iter().map(|member| member.pid).collect();
    let origin = tokio::task::spawn_blocking(move || origin::of(from, to, &pids)).await??;
    let (origin, member) = (origin.map_or(Party::Others, Party::Member), Party::Member(member));
    let mut there = links.gate(origin, member);
    let back = links.gate(member, origin);
    // Nothing of a connection that is held may reach the member, not even that there is one.
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

    /// Member 0 is this process if `own`, and member 1 answers.
    async fn network(own: bool) -> Network {
        let mut network = Network::bind(2).await.unwrap();
        let pid = own.then(std::process::id);
        network.serve(Fixed(vec![
            Member { listens: None, pid },
            Member { listens: Some(echo().await), pid: None },
        ]));
        network
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
        let network = network(true).await;
        let (own, other) = (Party::Member(0), Party::Member(1));
        let mut stream = TcpStream::connect(&network.addresses()[1]).await.unwrap();
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
        let network = network(false).await;
        network.set_both(Party::Member(0), Party::Member(1), Link::Held);
        let mut stream = TcpStream::connect(&network.addresses()[1]).await.unwrap();
        stream.write_all(b"a").await.unwrap();
        assert_eq!(receive(&mut stream).await.unwrap(), b"a");
        network.set(Party::Member(1), Party::Others, Link::Held);
        stream.write_all(b"b").await.unwrap();
        assert!(is_silent(&mut stream).await);
    }

    #[tokio::test]
    async fn the_end_of_a_connection_passes_only_when_it_may() {
        let network = network(true).await;
        let mut stream = TcpStream::connect(&network.addresses()[1]).await.unwrap();
        network.set(Party::Member(0), Party::Member(1), Link::Held);
        stream.shutdown().await.unwrap();
        assert!(is_silent(&mut stream).await, "the end was told");
        network.set(Party::Member(0), Party::Member(1), Link::Delayed(Duration::from_millis(1)));
        assert_eq!(receive(&mut stream).await.unwrap(), b"", "the echo ends when it is told the end");
    }

    #[tokio::test]
    async fn a_member_that_does_not_listen_closes_the_connection() {
        let network = network(true).await;
        let mut stream = TcpStream::connect(&network.addresses()[0]).await.unwrap();
        assert_eq!(receive(&mut stream).await.unwrap_or_default(), b"");
    }
}
