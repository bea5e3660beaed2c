//! Outcomes kept for retries of the same request.
//!
//! A client tells with each request the lowest of its calls that has no answer yet: it will never ask again for an earlier
//! one, so those outcomes go, and most clients have one or two. What such a call does when it comes late all the same is
//! refused, as nobody can tell any more whether it was done. Whatever clients say, there are [bounds](Bounds), and
//! nothing is kept for longer than [`RETRY_TTL`].

use std::collections::{BTreeMap, HashMap};

use dfs_types::limits::RETRY_TTL;
use dfs_types::{CallId, ClientId, FsError, RequestId};
use rusqlite::Connection;
use rusqlite::types::Type;

use super::Step;
use crate::store::column::number;
use crate::store::edit::{Edit, Outcome};
use crate::store::stop::Stop;

/// Every so many-th edit purges old outcomes, which spares the other edits the statement.
const PURGE_EVERY: u64 = 64;
/// Most outcomes purged at a time; more than [`PURGE_EVERY`], so that purging keeps up with any rate of edits.
const PURGE_LIMIT: usize = 4 * PURGE_EVERY as usize;

/// How much is kept.
#[derive(Debug, Clone, Copy)]
struct Bound {
    /// Outcomes.
    count: usize,
    /// Bytes of them.
    bytes: u64,
}

/// How much is kept of one client and of all. Part of the replicated state: the same on all members.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    client: Bound,
    all: Bound,
}

/// One client has about as many calls under way as the NameNode lets in. Commands of a minute's life leave one or two
/// outcomes each: two hundred a second are within the bound, for some 30 MiB of memory.
const BOUNDS: Bounds =
    Bounds { client: Bound { count: 4_096, bytes: 1 << 20 }, all: Bound { count: 131_072, bytes: 32 << 20 } };

/// An outcome that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    client: ClientId,
    call: CallId,
    /// When, by the group's clock.
    at: u64,
    bytes: u32,
}

/// What is kept of one client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct OfClient {
    /// Earlier calls without an outcome are refused.
    floor: CallId,
    /// Each call and the number of its row, by call.
    calls: Vec<(CallId, u64)>,
    bytes: u64,
}

/// What changes in the table when an outcome is kept.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    /// The floor to be noted with the new row.
    floor: CallId,
    /// Rows that go.
    gone: Vec<u64>,
    /// Rows with which a higher floor is to be noted.
    raised: Vec<(u64, CallId)>,
}

/// What is known of a request.
#[derive(Debug, PartialEq, Eq)]
enum Known {
    /// Its outcome is in this row.
    Row(u64),
    /// Its outcome is not kept any more, if it had one.
    Forgotten,
    /// Nothing.
    Nothing,
}

/// Which rows of `retry` there are. In memory: requests come from many clients in turn, so an index in the database would
/// have every edit change a page of its own.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    rows: BTreeMap<u64, Row>,
    clients: HashMap<ClientId, OfClient>,
    bytes: u64,
}

impl Kept {
    /// Reads what there is.
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let mut kept = Self::default();
        let mut statement = connection
            .prepare("SELECT number, client, call, at, floor, length(outcome) FROM retry ORDER BY number")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let client = ClientId::from_bytes(row.get_ref(1)?.as_blob()?).ok_or_else(|| {
                rusqlite::Error::FromSqlConversionFailure(1, Type::Blob, "a client's id has 16 bytes".into())
            })?;
            let (call, floor) = (CallId(number(row, 2)?), CallId(number(row, 4)?));
            let bytes = u32::try_from(number(row, 5)?).unwrap_or(u32::MAX);
            kept.insert(number(row, 0)?, Row { client, call, at: number(row, 3)?, bytes });
            kept.raise(client, floor);
        }
        Ok(kept)
    }

    /// When the oldest was kept, by the group's clock.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.rows.first_key_value().map(|(_, row)| row.at)
    }

    fn find(&self, request: RequestId) -> Known {
        let Some(client) = self.clients.get(&request.client) else {
            return Known::Nothing;
        };
        match client.calls.binary_search_by_key(&request.call, |(call, _)| *call) {
            Ok(at) => client.calls.get(at).map_or(Known::Nothing, |(_, number)| Known::Row(*number)),
            Err(_) if request.call < client.floor => Known::Forgotten,
            Err(_) => Known::Nothing,
        }
    }

    fn raise(&mut self, client: ClientId, floor: CallId) {
        if let Some(client) = self.clients.get_mut(&client) {
            client.floor = client.floor.max(floor);
        }
    }

    fn insert(&mut self, number: u64, row: Row) {
        let client = self.clients.entry(row.client).or_default();
        let at = client.calls.partition_point(|(call, _)| *call < row.call);
        client.calls.insert(at, (row.call, number));
        client.bytes += u64::from(row.bytes);
        self.bytes += u64::from(row.bytes);
        self.rows.insert(number, row);
    }

    /// A client of which nothing is left is forgotten.
    fn remove(&mut self, number: u64) -> Option<Row> {
        let row = self.rows.remove(&number)?;
        self.bytes -= u64::from(row.bytes);
        if let Some(client) = self.clients.get_mut(&row.client) {
            client.bytes -= u64::from(row.bytes);
            client.calls.retain(|(_, other)| *other != number);
            if client.calls.is_empty() {
                self.clients.remove(&row.client);
            }
        }
        Some(row)
    }

    /// Takes in an outcome under the number of its row, and drops what need not or can't be kept beside it.
    fn keep(&mut self, number: u64, request: RequestId, at: u64, bytes: usize, bounds: Bounds) -> Changes {
        let RequestId { client: id, call, lowest_unanswered } = request;
        let mut changes = Changes::default();
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.insert(number, Row { client: id, call, at, bytes });
        // Its own call has no answer yet, whatever it says.
        self.raise(id, lowest_unanswered.min(call));
        let surplus = |client: &OfClient| {
            let full = client.calls.len() > bounds.client.count || client.bytes > bounds.client.bytes;
            let (first, row) = *client.calls.iter().find(|(_, row)| *row != number)?;
            (first < client.floor || full).then_some((first, row))
        };
        while let Some((first, row)) = self.clients.get(&id).and_then(surplus) {
            self.remove(row);
            self.raise(id, CallId(first.0.saturating_add(1)));
            changes.gone.push(row);
        }
        while (self.rows.len() > bounds.all.count || self.bytes > bounds.all.bytes)
            && let Some(oldest) = self.rows.keys().next().copied().filter(|oldest| *oldest != number)
            && let Some(row) = self.remove(oldest)
        {
            changes.gone.push(oldest);
            self.raise(row.client, CallId(row.call.0.saturating_add(1)));
            let left = self.clients.get(&row.client);
            let newest = left.and_then(|client| client.calls.iter().map(|(_, row)| *row).max());
            let floor = left.map(|client| client.floor);
            changes.raised.extend(newest.filter(|newest| *newest != number).zip(floor));
        }
        changes.floor = self.clients.get(&id).map(|client| client.floor).unwrap_or_default();
        changes
    }

    /// Forgets up to `limit` outcomes kept before the time `oldest`; answers the last of them.
    fn purge(&mut self, oldest: u64, limit: usize) -> Option<u64> {
        let mut last = None;
        for _ in 0..limit {
            let Some((number, _)) = self.rows.first_key_value().filter(|(_, row)| row.at < oldest) else {
                break;
            };
            let number = *number;
            self.remove(number);
            last = Some(number);
        }
        last
    }
}

/// Whether running the edit twice, with others' edits in between, differs from running it once.
pub(super) fn is_kept(edit: &Edit) -> bool {
    match edit {
        Edit::Mkdir { .. }
        | Edit::Create { .. }
        | Edit::AddChunk { .. }
        | Edit::AbandonChunk { .. }
        | Edit::NewGeneration { .. }
        | Edit::UpdatePipeline { .. }
        | Edit::Rename { .. }
        | Edit::Delete { .. }
        | Edit::SetReplication { .. }
        | Edit::SetMode { .. }
        | Edit::SetOwner { .. }
        | Edit::SetTimes { .. }
        | Edit::Touch { .. }
        | Edit::ChangeAcl { .. }
        | Edit::SetXattr { .. }
        | Edit::RemoveXattr { .. }
        | Edit::Discard { .. }
        | Edit::Complete { publish: Some(_), .. }
        | Edit::Append { .. }
        | Edit::Truncate { .. }
        | Edit::Concat { .. }
        | Edit::SetQuota { .. }
        | Edit::Trash { .. }
        | Edit::SetTrash { .. }
        | Edit::SetNodeDuty { .. }
        | Edit::SetBalancer { .. }
        | Edit::SetSafeMode { .. }
        | Edit::SetSetting { .. } => true,
        Edit::CommitLength { .. }
        | Edit::CommitChunk { .. }
        | Edit::Complete { publish: None, .. }
        | Edit::BeginRecovery { .. }
        | Edit::CommitRecovery { .. }
        | Edit::TendTrash { .. }
        | Edit::Reap { .. }
        | Edit::EndBalancer { .. }
        | Edit::PurgeOutcomes { .. }
        | Edit::RecordNodes { .. }
        | Edit::ForgetNodes { .. }
        | Edit::RaiseLevel { .. } => false,
    }
}

impl Step<'_, '_> {
    /// The outcome of an earlier try.
    pub(super) fn outcome_of(&self, request: RequestId) -> Result<Option<Outcome>, Stop> {
        let number = match self.kept.find(request) {
            Known::Row(number) => number,
            Known::Nothing => return Ok(None),
            Known::Forgotten => {
                return Err(Stop::Refused(FsError::invalid(format!(
                    "call {} of this client comes after later ones were answered, and its outcome is not kept any more: \
                     look whether it was done before asking again",
                    request.call
                ))));
            }
        };
        let outcome = self
            .connection
            .prepare_cached("SELECT outcome FROM retry WHERE number = ?1")?
            .query_row([number as i64], |row| {
                let bytes = row.get_ref(0)?.as_blob()?;
                Outcome::decode(bytes).map_err(|error| {
                    rusqlite::Error::FromSqlConversionFailure(0, Type::Blob, Box::new(error))
                })
            })?;
        Ok(Some(outcome))
    }

    /// Stores the outcome of an edit that succeeded.
    pub(super) fn keep_for_retries(&mut self, request: RequestId, outcome: &Outcome) -> Result<(), Stop> {
        let bytes =
            outcome.encode().map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        let (number, at) = (self.counters.next_outcome, self.counters.clock);
        self.counters.next_outcome += 1;
        let Changes { floor, gone, raised } = self.kept.keep(number, request, at, bytes.len(), BOUNDS);
        self.write(
            "INSERT INTO retry (number, client, call, at, floor, outcome) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            (
                number as i64,
                request.client.as_bytes(),
                request.call.0 as i64,
                at as i64,
                floor.0 as i64,
                bytes,
            ),
        )?;
        for number in gone {
            self.write("DELETE FROM retry WHERE number = ?1", [number as i64])?;
        }
        for (number, floor) in raised {
            self.write("UPDATE retry SET floor = ?2 WHERE number = ?1", [number as i64, floor.0 as i64])?;
        }
        Ok(())
    }

    /// Forgets some outcomes that are too old for retries, if it is this edit's turn.
    pub(super) fn purge_old_outcomes(&mut self) -> Result<(), Stop> {
        if self.counters.edits.is_multiple_of(PURGE_EVERY) {
            self.purge(PURGE_LIMIT)?;
        }
        Ok(())
    }

    /// Forgets up to `limit` outcomes that are too old for retries.
    pub(super) fn purge_outcomes(&mut self, limit: u32) -> Result<Outcome, Stop> {
        self.authority.check_super("forgetting old outcomes")?;
        self.purge(limit as usize)?;
        Ok(Outcome::Done)
    }

    fn purge(&mut self, limit: usize) -> Result<(), Stop> {
        let oldest = self.counters.clock.saturating_sub(RETRY_TTL.as_millis() as u64);
        if let Some(last) = self.kept.purge(oldest, limit) {
            self.write("DELETE FROM retry WHERE number <= ?1", [last as i64])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SMALL: Bounds =
        Bounds { client: Bound { count: 4, bytes: 100 }, all: Bound { count: 6, bytes: 1_000 } };

    fn request(client: u8, call: u64, lowest_unanswered: u64) -> RequestId {
        let client = ClientId::from_bytes(&[client; 16]).unwrap();
        RequestId { client, call: CallId(call), lowest_unanswered: CallId(lowest_unanswered) }
    }

    /// Keeps outcomes of 10 bytes, with the next number each.
    struct Table(Kept, u64);

    impl Table {
        fn keep(&mut self, request: RequestId) -> Changes {
            self.1 += 1;
            self.0.keep(self.1, request, self.1, 10, SMALL)
        }
    }

    fn table() -> Table {
        Table(Kept::default(), 0)
    }

    #[test]
    fn what_was_answered_goes_and_is_refused_from_then_on() {
        let mut table = table();
        table.keep(request(1, 5, 5));
        table.keep(request(1, 7, 5));
        assert_eq!(table.0.find(request(1, 5, 0)), Known::Row(1));
        assert_eq!(table.0.find(request(1, 6, 0)), Known::Nothing, "it is on its way");
        assert_eq!(table.0.find(request(1, 4, 0)), Known::Forgotten);
        let changes = table.keep(request(1, 8, 7));
        assert_eq!(changes, Changes { floor: CallId(7), gone: vec![1], raised: vec![] });
        assert_eq!(table.0.find(request(1, 5, 0)), Known::Forgotten);
        assert_eq!(table.0.find(request(1, 7, 0)), Known::Row(2));
        assert_eq!(table.0.find(request(2, 5, 0)), Known::Nothing, "another client's");
    }

    #[test]
    fn an_outcome_is_kept_whatever_its_client_says_of_itself() {
        let mut table = table();
        table.keep(request(1, 3, 900));
        assert_eq!(table.0.find(request(1, 3, 0)), Known::Row(1));
        table.keep(request(1, 2, 0));
        assert_eq!(table.0.find(request(1, 2, 0)), Known::Row(2), "one that came late");
    }

    #[test]
    fn one_client_has_its_bounds() {
        let mut table = table();
        for call in 1..=100 {
            table.keep(request(1, call, 0));
            assert!(table.0.rows.len() <= 4);
        }
        assert_eq!(table.0.find(request(1, 97, 0)), Known::Row(97));
        assert_eq!(table.0.find(request(1, 96, 0)), Known::Forgotten);
        let changes = table.0.keep(101, request(1, 101, 0), 101, 75, SMALL);
        assert_eq!(changes.gone, [97, 98], "75 and 2 times 10 bytes are within 100");
    }

    #[test]
    fn all_together_have_theirs_and_the_oldest_go_first() {
        let mut table = table();
        table.keep(request(1, 1, 0));
        table.keep(request(1, 2, 0));
        for client in 2..=5 {
            table.keep(request(client, 1, 0));
        }
        let changes = table.keep(request(6, 1, 0));
        assert_eq!((changes.gone, changes.raised), (vec![1], vec![(2, CallId(2))]));
        assert_eq!(table.0.find(request(1, 1, 0)), Known::Forgotten);
        for client in 7..=250 {
            table.keep(request(client, 1, 0));
            assert_eq!((table.0.rows.len(), table.0.clients.len(), table.0.bytes), (6, 6, 60));
        }
        assert_eq!(table.0.find(request(1, 1, 0)), Known::Nothing, "nothing is left of it");
    }

    proptest! {
        /// What a member reads at its start is what the others have, whatever was asked in which order.
        #[test]
        fn it_can_be_read_back(asked in proptest::collection::vec((0_u8..3, 0_u64..12, 0_u64..12, 1_usize..60), 0..80)) {
            let mut kept = Kept::default();
            // The table as it is in the database: each row with its floor.
            let mut stored: BTreeMap<u64, (Row, CallId)> = BTreeMap::new();
            let mut seen = Vec::new();
            for (number, (client, call, lowest, bytes)) in (1..).zip(asked) {
                let request = request(client, call, lowest);
                if kept.find(request) != Known::Nothing {
                    continue;
                }
                let Changes { floor, gone, raised } = kept.keep(number, request, number, bytes, SMALL);
                let row = Row { client: request.client, call: request.call, at: number, bytes: bytes as u32 };
                stored.insert(number, (row, floor));
                for number in gone {
                    prop_assert!(stored.remove(&number).is_some());
                }
                for (number, floor) in raised {
                    stored.get_mut(&number).unwrap().1 = floor;
                }
                seen.push(request);
                let mut read = Kept::default();
                for (number, (row, floor)) in &stored {
                    read.insert(*number, *row);
                    read.raise(row.client, *floor);
                }
                prop_assert_eq!(&read, &kept);
                prop_assert!(kept.rows.len() <= SMALL.all.count && kept.bytes <= SMALL.all.bytes);
                prop_assert_eq!(kept.find(request), Known::Row(number), "the newest can be asked for again");
                // No request is done twice as long as something of its client was known all the time.
                seen.retain(|request| kept.clients.contains_key(&request.client));
                for request in &seen {
                    prop_assert_ne!(kept.find(*request), Known::Nothing, "{:?}", request);
                }
            }
        }
    }

    #[test]
    fn old_ones_are_purged_from_the_front() {
        let mut table = table();
        (1..=5).for_each(|client| drop(table.keep(request(client, 1, 0))));
        assert_eq!((table.0.purge(4, 2), table.0.oldest()), (Some(2), Some(3)));
        assert_eq!((table.0.purge(4, 9), table.0.purge(4, 9)), (Some(3), None));
        assert_eq!((table.0.rows.len(), table.0.clients.len(), table.0.bytes), (2, 2, 20));
    }
}
