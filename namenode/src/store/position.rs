//! How far the replicated log is applied, and who belongs to the group; part of the database.

use std::collections::BTreeMap;

use dfs_namenode_raft::ConfState;
use rusqlite::types::Type;
use rusqlite::{Connection, Error};

use super::column::number;

/// The members of the group as of an entry of the log. Voters decide; while the voters change, the outgoing ones do too.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Members {
    /// Those who vote.
    pub voters: Vec<u64>,
    /// Those who get every entry and do not vote yet.
    pub learners: Vec<u64>,
    /// Voters that are being replaced.
    pub voters_outgoing: Vec<u64>,
    /// Voters that become learners.
    pub learners_next: Vec<u64>,
    /// Whether the change is finished by the leader itself.
    pub auto_leave: bool,
}

impl Members {
    /// Everybody, in the order of their ids.
    pub fn all(&self) -> Vec<u64> {
        let Self { voters, learners, voters_outgoing, learners_next, auto_leave: _ } = self;
        let mut all = [voters.as_slice(), learners, voters_outgoing, learners_next].concat();
        all.sort_unstable();
        all.dedup();
        all
    }
}

impl From<ConfState> for Members {
    fn from(mut state: ConfState) -> Self {
        Self {
            voters: state.take_voters(),
            learners: state.take_learners(),
            voters_outgoing: state.take_voters_outgoing(),
            learners_next: state.take_learners_next(),
            auto_leave: state.auto_leave,
        }
    }
}

impl From<Members> for ConfState {
    fn from(members: Members) -> Self {
        let Members { voters, learners, voters_outgoing, learners_next, auto_leave } = members;
        Self { voters, learners, voters_outgoing, learners_next, auto_leave, ..Self::default() }
    }
}

/// The entry of the log that was applied last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Position {
    /// Its index.
    pub applied: u64,
    /// Its term.
    pub term: u64,
    /// Index of the entry that the database began with, be it new, a snapshot or a backup: the log needs nothing before.
    pub installed: u64,
    /// Its term.
    pub installed_term: u64,
    /// The members of the group.
    pub members: Members,
}

impl Position {
    /// A group of one begins after an entry that only the snapshot of an empty namespace has: so every further member
    /// gets that snapshot, and with it knows the first one.
    pub(crate) fn of_new_group(id: u64) -> Self {
        Self::alone(id, 1, 1)
    }

    /// The only member, as of an entry.
    pub(crate) fn alone(id: u64, applied: u64, term: u64) -> Self {
        let members = Members { voters: vec![id], ..Members::default() };
        Self { applied, term, installed: applied, installed_term: term, members }
    }

    /// Reads it.
    pub(crate) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let query = "SELECT applied, term, installed, installed_term, members FROM position";
        connection.prepare_cached(query)?.query_row([], |row| {
            let members = Members::decode(row.get_ref(4)?.as_blob()?)
                .map_err(|error| Error::FromSqlConversionFailure(4, Type::Blob, Box::new(error)))?;
            Ok(Self {
                applied: number(row, 0)?,
                term: number(row, 1)?,
                installed: number(row, 2)?,
                installed_term: number(row, 3)?,
                members,
            })
        })
    }

    /// Writes it into a new database.
    pub(crate) fn insert(&self, connection: &Connection) -> rusqlite::Result<()> {
        let Self { applied, term, installed, installed_term, members } = self;
        let members = encode(members)?;
        let numbers = [*applied, *term, *installed, *installed_term].map(|number| number as i64);
        let [applied, term, installed, installed_term] = numbers;
        connection.execute(
            "INSERT OR REPLACE INTO position VALUES (1, ?1, ?2, ?3, ?4, ?5)",
            (applied, term, installed, installed_term, members),
        )?;
        Ok(())
    }

    /// Notes an entry as applied.
    pub(crate) fn advance(connection: &Connection, applied: u64, term: u64) -> rusqlite::Result<()> {
        connection
            .prepare_cached("UPDATE position SET applied = ?1, term = ?2")?
            .execute((applied as i64, term as i64))?;
        Ok(())
    }
}

/// Changes the members; those who left lose their address.
pub(crate) fn set_members(connection: &Connection, members: &Members) -> rusqlite::Result<()> {
    connection.prepare_cached("UPDATE position SET members = ?1")?.execute([encode(members)?])?;
    let all = members.all();
    for id in addresses(connection)?.into_keys().filter(|id| !all.contains(id)) {
        connection.execute("DELETE FROM member WHERE id = ?1", [id as i64])?;
    }
    Ok(())
}

/// Sets where a member is.
pub(crate) fn set_address(connection: &Connection, id: u64, address: &str) -> rusqlite::Result<()> {
    connection.execute("INSERT OR REPLACE INTO member VALUES (?1, ?2)", (id as i64, address))?;
    Ok(())
}

/// Where the members are.
pub(crate) fn addresses(connection: &Connection) -> rusqlite::Result<BTreeMap<u64, String>> {
    let mut statement = connection.prepare_cached("SELECT id, address FROM member")?;
    statement.query_map([], |row| Ok((number(row, 0)?, row.get(1)?)))?.collect()
}

fn encode(members: &Members) -> rusqlite::Result<Vec<u8>> {
    members.encode().map_err(|error| Error::ToSqlConversionFailure(Box::new(error)))
}
