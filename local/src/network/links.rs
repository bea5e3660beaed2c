//! How the network is between any two parties.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::watch;

use crate::daemon::Daemon;

/// Somebody who sends and receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Party {
    /// A daemon of the cluster.
    Daemon(Daemon),
    /// Everybody who is none: the clients.
    Clients,
}

/// What happens to bytes in one direction between two parties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// They pass.
    Open,
    /// They pass this much later.
    Delayed(Duration),
    /// They wait.
    Held,
}

/// All links that are not open, by sender and receiver.
#[derive(Debug)]
pub(super) struct Links(watch::Sender<HashMap<(Party, Party), Link>>);

impl Links {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(HashMap::new()))
    }

    pub(super) fn set(&self, from: Party, to: Party, link: Link) {
        self.0.send_modify(|table| {
            table.insert((from, to), link);
        });
    }

    pub(super) fn open_all(&self) {
        self.0.send_modify(HashMap::clear);
    }

    pub(super) fn gate(&self, from: Party, to: Party) -> Gate {
        Gate { between: (from, to), table: self.0.subscribe() }
    }
}

/// One link, for a connection that uses it.
#[derive(Debug)]
pub(super) struct Gate {
    between: (Party, Party),
    table: watch::Receiver<HashMap<(Party, Party), Link>>,
}

impl Gate {
    /// Waits until what was read may be handed on.
    pub(super) async fn pass(&mut self) {
        loop {
            let link = self.table.borrow_and_update().get(&self.between).copied();
            match link.unwrap_or(Link::Open) {
                Link::Open => return,
                Link::Delayed(time) => return tokio::time::sleep(time).await,
                // Without a network there is nobody left to hold anything.
                Link::Held => {
                    if self.table.changed().await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}
