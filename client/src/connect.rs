//! How a [`Dfs`] is made: its settings, and the first contact with the cluster.

use std::sync::Arc;
use std::time::Duration;

use dfs_types::limits::CONNECT_TIMEOUT;
use dfs_types::{Defaults, ErrorCode, FsError, FsResult, address};
use futures_util::future::join_all;
use tokio_util::task::AbortOnDropHandle;

use crate::datanodes::DataNodes;
use crate::dial::{Connector, TcpConnector};
use crate::group::{NamenodeGroup, group, learn_members};
use crate::handle::{Dfs, Inner, Settings};
use crate::lease::Leases;
use crate::memory::Memory;
use crate::namenode::NameNode;
use crate::namespace::fetch_defaults;
use crate::peers::{Address, MAX_NAMENODES};
use crate::retry::Patience;

/// Time within which [`Builder::connect`] must have found the leader.
const FIRST_CONTACT: Duration = Duration::from_secs(4);

/// Longest that a given address is waited for that the group does not know: it may be another name of a member, or be of
/// nobody any more. No new command is to lose more to one that is dead.
const STRANGER: Duration = Duration::from_millis(100);

/// Settings of a connection; see [`Dfs::builder`].
#[derive(Debug, Clone)]
pub struct Builder {
    namenodes: Vec<String>,
    user: Option<String>,
    groups: Option<Vec<String>>,
    connector: Arc<dyn Connector>,
    settings: Settings,
    follower_reads: bool,
    memory: Option<u64>,
}

impl Dfs {
    /// Connects to the NameNode at `address` (`HOST:PORT`) as the process's user.
    ///
    /// Fails with `Unavailable` within five seconds if nothing answers there.
    ///
    /// ```no_run
    /// # async fn example() -> dfs_types::FsResult<()> {
    /// let dfs = dfs_client::Dfs::connect("localhost:9000").await?;
    /// println!("{} chunks", dfs.fs_stats().await?.chunks);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect(address: impl Into<String>) -> FsResult<Self> {
        Self::builder().namenode(address).connect().await
    }

    /// Connects with other settings than the default ones.
    ///
    /// ```no_run
    /// # async fn example() -> dfs_types::FsResult<()> {
    /// let dfs = dfs_client::Dfs::builder()
    ///     .namenode("nn-0:9000")
    ///     .namenode("nn-1:9000")
    ///     .user("alice")
    ///     .connect()
    ///     .await?;
    /// # drop(dfs);
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder() -> Builder {
        Builder {
            namenodes: Vec::new(),
            user: None,
            groups: None,
            connector: Arc::new(TcpConnector),
            settings: Settings {
                connect_timeout: CONNECT_TIMEOUT,
                call_budget: Duration::from_secs(30),
                transfer_budget: Duration::from_mins(1),
                ack_timeout: Duration::from_secs(30),
                stall_timeout: Duration::from_secs(10),
                hedge_after: Duration::from_millis(300),
            },
            follower_reads: false,
            memory: None,
        }
    }
}

impl Builder {
    /// Adds a NameNode's `HOST:PORT`. With several the one that leads is found. The others of its group are learned
    /// from it once there is a connection: one address is enough as long as that NameNode can be reached then.
    #[must_use]
    pub fn namenode(mut self, address: impl Into<String>) -> Self {
        self.namenodes.push(address.into());
        self
    }

    /// Presents this user instead of `DFS_USER` or the process's user.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Presents these groups, the primary one first, instead of those the system knows of the user.
    #[must_use]
    pub fn groups(mut self, groups: Vec<String>) -> Self {
        self.groups = Some(groups);
        self
    }

    /// Opens connections in another way than by TCP.
    #[must_use]
    pub fn connector(mut self, connector: Arc<dyn Connector>) -> Self {
        self.connector = connector;
        self
    }

    /// Time within which one connection must be open (default 3 s).
    #[must_use]
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.settings.connect_timeout = limit;
        self
    }

    /// How long a call is tried again after transient errors (default 30 s).
    #[must_use]
    pub fn call_budget(mut self, budget: Duration) -> Self {
        self.settings.call_budget = budget;
        self
    }

    /// How long a running transfer goes on trying without progress (default 60 s).
    #[must_use]
    pub fn transfer_budget(mut self, budget: Duration) -> Self {
        self.settings.transfer_budget = budget;
        self
    }

    /// Time without an acknowledgement after which a pipeline is taken for broken (default 30 s; three times that while
    /// data is synced). The DataNodes of the pipeline wait for each other a share of it, so that it is the one that hangs
    /// that loses its place.
    #[must_use]
    pub fn ack_timeout(mut self, limit: Duration) -> Self {
        self.settings.ack_timeout = limit;
        self
    }

    /// Time without a byte after which a read turns to another replica (default 10 s).
    #[must_use]
    pub fn stall_timeout(mut self, limit: Duration) -> Self {
        self.settings.stall_timeout = limit;
        self
    }

    /// Time without a first byte after which a second replica is asked as well (default 300 ms).
    #[must_use]
    pub fn hedge_after(mut self, limit: Duration) -> Self {
        self.settings.hedge_after = limit;
        self
    }

    /// Bytes that data being written and read ahead may take in memory (default, and at most: 192 MiB; at least 16 MiB),
    /// beside one packet of 512 KiB for each open writer and reader.
    #[must_use]
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// Lets every NameNode answer what changes nothing (attributes, listings, sums, where chunks are), each in turn
    /// (default: only the one that leads).
    ///
    /// Promised is then: an answer is at least as new as everything that this client and its clones have seen before,
    /// their own changes included, and as what the leader had when the client connected. It may lack what others changed
    /// since: reads are not linearizable across clients. A NameNode that is behind lets the leader answer.
    #[must_use]
    pub fn follower_reads(mut self, allowed: bool) -> Self {
        self.follower_reads = allowed;
        self
    }

    /// Connects: finds the NameNode that leads and learns which cluster it is.
    ///
    /// Errors: `InvalidArgument` for a bad address or user, `Unavailable` within five seconds if no NameNode answers,
    /// `WrongCluster` if those that were given are of several clusters.
    pub async fn connect(self) -> FsResult<Dfs> {
        let (connector, settings, memory) = (Arc::clone(&self.connector), self.settings, self.memory);
        let namenode = self.unconnected().await?;
        let first = Patience::steady(FIRST_CONTACT.min(settings.call_budget));
        let (Defaults { cluster, min_replicas, .. }, members) = fetch_defaults(&namenode, first).await?;
        check_given(&namenode, &members).await?;
        let namenode = Arc::new(namenode);
        let learning = tokio::spawn(learn_members(
            Arc::downgrade(&namenode),
            Patience::steady(settings.connect_timeout),
        ));
        let memory = Memory::new(memory);
        let inner = Inner {
            nodes: DataNodes::new(connector, settings.connect_timeout, memory.stream_window()),
            leases: Arc::new(Leases::new(Arc::clone(&namenode))),
            memory,
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            namenode,
            settings,
            cluster,
            min_replicas,
            _learning: AbortOnDropHandle::new(learning),
        };
        Ok(Dfs { inner: Arc::new(inner) })
    }

    /// The NameNodes of the cluster, without connecting for anything else: [`Dfs::namenodes`] for when no leader can be
    /// found, and so no connection be made.
    ///
    /// Errors: as [`Builder::connect`], but any NameNode will do.
    pub async fn namenodes(self) -> FsResult<NamenodeGroup> {
        let first = Patience::steady(FIRST_CONTACT.min(self.settings.call_budget));
        group(&self.unconnected().await?, first).await
    }

    async fn unconnected(self) -> FsResult<NameNode> {
        let Self { namenodes, user, groups, connector, settings, follower_reads, memory: _ } = self;
        if namenodes.is_empty() || namenodes.len() > MAX_NAMENODES {
            return Err(FsError::invalid(format!(
                "{} NameNode addresses are given: give 1 to {MAX_NAMENODES}",
                namenodes.len()
            )));
        }
        for given in &namenodes {
            address::check(given)
                .map_err(|error| FsError::invalid(format!("'{given}' is no NameNode's address: {error}")))?;
        }
        let caller = tokio::task::spawn_blocking(move || dfs_identity::caller(user, groups))
            .await
            .map_err(|error| FsError::internal(format!("looking up the user failed: {error}")))??;
        Ok(NameNode::new(namenodes, caller, connector, settings.connect_timeout, follower_reads))
    }
}

/// Asks those given addresses that are not among the group's, `members`, of which cluster they are. With one address, or
/// those that the group itself uses, nobody is asked.
async fn check_given(namenode: &NameNode, members: &[String]) -> FsResult<()> {
    let given = namenode.peers().given();
    if given.len() < 2 {
        return Ok(());
    }
    // Who was silent when the leader was looked for has been waited for already.
    let is_stranger = |address: &&Address| {
        !members.iter().any(|member| **member == ***address) && !namenode.peers().is_shunned(address)
    };
    let strangers = given.iter().filter(is_stranger);
    let answers = join_all(strangers.map(|address| namenode.members_at(address, STRANGER))).await;
    // One that does not answer is no NameNode of another cluster now; later answers are checked too.
    let wrong =
        answers.into_iter().filter_map(Result::err).find(|error| error.code == ErrorCode::WrongCluster);
    wrong.map_or(Ok(()), Err)
}
