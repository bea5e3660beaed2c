//! How the network is between any two parties.

use std::time::Duration;

use tokio::sync::watch;

/// Somebody who sends and receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Party {
    /// A member, by its number from 0.
    Member(usize),
    /// Everybody who is no member.
    Others,
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

/// All links: one row for each sender, one column for each receiver; the last of each is for the others.
#[derive(Debug)]
pub(super) struct Links {
    members: usize,
    table: watch::Sender<Vec<Vec<Link>>>,
}

impl Links {
    pub(super) fn new(members: usize) -> Self {
        let row = vec![Link::Open; members + 1];
        Self { members, table: watch::Sender::new(vec![row; members + 1]) }
    }

    fn index(&self, party: Party) -> usize {
        match party {
            Party::Member(member) => member,
            Party::Others => self.members,
        }
    }

    pub(super) fn set(&self, from: Party, to: Party, link: Link) {
        let (from, to) = (self.index(from), self.index(to));
        self.table.send_modify(|table| table[from][to] = link);
    }

    pub(super) fn open_all(&self) {
        self.table.send_modify(|table| table.iter_mut().for_each(|row| row.fill(Link::Open)));
    }

    pub(super) fn gate(&self, from: Party, to: Party) -> Gate {
        Gate { from: self.index(from), to: self.index(to), table: self.table.subscribe() }
    }
}

/// One link, for a connection that uses it.
#[derive(Debug)]
pub(super) struct Gate {
    from: usize,
    to: usize,
    table: watch::Receiver<Vec<Vec<Link>>>,
}

impl Gate {
    /// Waits until what was read may be handed on.
    pub(super) async fn pass(&mut self) {
        loop {
            let link = self.table.borrow_and_update()[self.from][self.to];
            match link {
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
