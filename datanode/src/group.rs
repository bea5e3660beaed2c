//! The NameNodes this node reports to: those it was told of at its start, and those it learns of from them.
//!
//! Each has a reporter and a queue of its own. Learned ones follow the leader's list; those given at the start always
//! stay, except that one NameNode under two addresses gets one reporter: two would overtake each other.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dfs_daemon::{Readiness, Shutdown};
use dfs_types::{FsError, address};
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::commands::Inbox;
use crate::fence::Fence;
use crate::metrics::Metrics;
use crate::namenode::{Namenode, Speaker};
use crate::reports::{Queue, Reports};
use crate::store::Store;

/// Most NameNodes reported to. A group has up to three; more are on their way in or out.
const MAX_NAMENODES: usize = 16;

/// What all reporters share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Who speaks.
    pub(crate) speaker: Speaker,
    /// This node's replicas.
    pub(crate) store: Arc<Store>,
    /// Where orders go.
    pub(crate) inbox: Inbox,
    /// Whose orders count.
    pub(crate) fence: Arc<Fence>,
    /// Heartbeat interval, if it is not left to the NameNodes.
    pub(crate) interval: Option<Duration>,
    /// Set while the leading NameNode knows all replicas.
    pub(crate) readiness: Readiness,
    /// Whether the process is stopping.
    pub(crate) shutdown: Shutdown,
    /// Cancelled when nothing more will change: the last report and heartbeat are due.
    pub(crate) end: CancellationToken,
    /// Told of errors that end the process.
    pub(crate) fatal: mpsc::Sender<FsError>,
    /// The metrics.
    pub(crate) metrics: Arc<Metrics>,
}

/// What keeps one NameNode informed: how is in `reporter`.
#[derive(Debug)]
pub(crate) struct Reporter {
    /// All NameNodes, and what their reporters share.
    pub(crate) group: Arc<Group>,
    /// The NameNode.
    pub(crate) namenode: Arc<Namenode>,
    /// It was given at the start: that it belongs to another cluster is a mistake to be corrected.
    pub(crate) fixed: bool,
    /// What it has to be told.
    pub(crate) queue: Arc<Queue>,
    /// Cancelled when it is no longer to be reported to.
    pub(crate) gone: CancellationToken,
}

/// Reports to a NameNode until that is over.
pub(crate) type Report = fn(Reporter) -> BoxFuture<'static, ()>;

/// One NameNode.
#[derive(Debug)]
struct Member {
    /// Where it is reported to.
    address: String,
    /// What it calls itself; empty if it has not said.
    name: String,
    /// It was given at the start.
    fixed: bool,
    /// It knows all replicas.
    informed: bool,
    /// The term in which it said last that it leads, if it did.
    leads: Option<u64>,
    /// The way to it.
    namenode: Arc<Namenode>,
    queue: Arc<Queue>,
    /// Ends its reporter.
    gone: CancellationToken,
}

impl Member {
    fn is_called(&self, address: &str) -> bool {
        self.address == address || self.name == address
    }
}

#[derive(Debug, Default)]
struct Members {
    list: Vec<Member>,
    /// A leader has said who there is: what others say does not matter any more.
    led: bool,
}

impl Members {
    /// Who leads, as far as is known.
    fn leader(&self, fence: &Fence) -> Option<&Member> {
        self.list.iter().find(|member| member.leads.is_some_and(|term| fence.allows(term)))
    }
}

/// All NameNodes.
#[derive(Debug)]
pub(crate) struct Group {
    /// What all reporters share.
    pub(crate) shared: Shared,
    reports: Reports,
    members: Mutex<Members>,
    report: Report,
    tasks: TaskTracker,
}

impl Group {
    /// Begins to `report` to these NameNodes, and to those they know. The queues are added to `reports`.
    pub(crate) fn start(
        shared: Shared,
        reports: Reports,
        report: Report,
        namenodes: &[Arc<Namenode>],
    ) -> Arc<Self> {
        let members = Mutex::default();
        let group = Arc::new(Self { shared, reports, members, report, tasks: TaskTracker::new() });
        group.with(|members| {
            for namenode in namenodes {
                group.add(members, Arc::clone(namenode), true);
            }
        });
        group
    }

    fn with<T>(&self, with: impl FnOnce(&mut Members) -> T) -> T {
        with(&mut self.members.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(self: &Arc<Self>, members: &mut Members, namenode: Arc<Namenode>, fixed: bool) {
        let address = namenode.to_string();
        if members.list.iter().any(|member| member.is_called(&address)) {
            return;
        }
        if members.list.len() >= MAX_NAMENODES {
            warn!(namenode = address, "not reported to: there are {MAX_NAMENODES} NameNodes already");
            return;
        }
        let (queue, gone) = (Arc::<Queue>::default(), CancellationToken::new());
        self.reports.add(Arc::clone(&queue));
        let reporter = Reporter {
            group: Arc::clone(self),
            namenode: Arc::clone(&namenode),
            fixed,
            queue: Arc::clone(&queue),
            gone: gone.clone(),
        };
        self.tasks.spawn((self.report)(reporter));
        let (name, informed, leads) = (String::new(), false, None);
        members.list.push(Member { address, name, fixed, informed, leads, namenode, queue, gone });
    }

    /// Takes out the members for which `goes` says so, and ends their reporters.
    fn remove(&self, members: &mut Members, goes: impl Fn(&Member) -> bool) {
        for member in members.list.extract_if(.., |member| goes(member)) {
            info!(namenode = member.address, "no longer reported to");
            self.reports.remove(&member.queue);
            member.gone.cancel();
        }
    }

    /// The NameNode at `address` has taken this process in. It calls itself `name` and knows `namenodes`.
    pub(crate) fn registered(self: &Arc<Self>, address: &str, name: &str, namenodes: &[String]) {
        self.with(|members| {
            if let Some(member) = members.list.iter_mut().find(|member| member.address == address) {
                member.informed = false;
                name.clone_into(&mut member.name);
            }
            if !name.is_empty() {
                let same: Vec<&Member> =
                    members.list.iter().filter(|member| member.is_called(name)).collect();
                // The one given at the start, or the first of those.
                let stays = same.iter().find(|member| member.fixed).or(same.first());
                let stays = stays.map(|member| member.address.clone()).unwrap_or_default();
                self.remove(members, |member| member.is_called(name) && member.address != stays);
            }
            if !members.led {
                self.learn(members, namenodes);
            }
            self.tell_readiness(members);
        });
    }

    /// The NameNode at `address` knows all replicas.
    pub(crate) fn informed(&self, address: &str) {
        self.with(|members| {
            if let Some(member) = members.list.iter_mut().find(|member| member.address == address) {
                member.informed = true;
            }
            self.tell_readiness(members);
        });
    }

    /// The NameNode at `address` says whether it leads, and which NameNodes there are. Answers whether its orders are
    /// to be obeyed.
    pub(crate) fn heard(self: &Arc<Self>, address: &str, leads: Option<u64>, namenodes: &[String]) -> bool {
        let obeyed = leads.is_some_and(|term| self.shared.fence.heard(term));
        self.with(|members| {
            if let Some(member) = members.list.iter_mut().find(|member| member.address == address) {
                member.leads = leads;
            }
            if obeyed && !namenodes.is_empty() {
                members.led = true;
                let is_listed = |member: &Member| namenodes.iter().any(|there| member.is_called(there));
                self.remove(members, |member| !member.fixed && !is_listed(member));
            }
            if obeyed || !members.led {
                self.learn(members, namenodes);
            }
            self.tell_readiness(members);
        });
        obeyed
    }

    /// The NameNode that leads, as far as is known.
    pub(crate) fn leader(&self) -> Option<Arc<Namenode>> {
        self.with(|members| members.leader(&self.shared.fence).map(|member| Arc::clone(&member.namenode)))
    }

    fn learn(self: &Arc<Self>, members: &mut Members, namenodes: &[String]) {
        for known in namenodes.iter().take(MAX_NAMENODES) {
            if members.list.iter().any(|member| member.is_called(known)) {
                continue;
            }
            let namenode = address::check(known)
                .map_err(|error| FsError::invalid(error.to_string()))
                .and_then(|()| Namenode::new(known, self.shared.speaker.clone()));
            match namenode {
                Ok(namenode) => {
                    info!(%namenode, "learned of a NameNode");
                    self.add(members, Arc::new(namenode), false);
                }
                Err(error) => warn!(address = known, %error, "a NameNode has no usable address"),
            }
        }
    }

    /// Ready is the node when the leading NameNode, or any before one leads, knows all its replicas.
    fn tell_readiness(&self, members: &Members) {
        let Shared { readiness, shutdown, fence, .. } = &self.shared;
        if shutdown.is_requested() {
            return;
        }
        let ready = match members.leader(fence) {
            Some(leader) => leader.informed,
            None => members.list.iter().any(|member| member.informed),
        };
        if ready {
            readiness.ready();
        } else {
            readiness.waiting("not every replica is known to the leading NameNode yet");
        }
    }

    /// Waits until every reporter has ended.
    pub(crate) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}
