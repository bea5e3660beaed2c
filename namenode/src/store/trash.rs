//! Where deleted files and directories are kept for a while, and for how long.
//!
//! A directory with a time of its own in the table `trash` has the trash of everything below it: `DIR/.Trash/USER`. What is
//! below none has its trash where Hadoop's clients look for it: `/user/USER/.Trash`. There `Current` has what was deleted
//! last, under the path that it had; from time to time it is renamed to a checkpoint, which goes when its time is over. When
//! those times began is noted in the table `checkpoint`, by the group's clock, which no wrong clock can change.

use dfs_types::trash::{CURRENT, HOMES, TRASH, is_checkpoint};
use dfs_types::{Caller, FsError, FsPath, FsResult, InodeId, Millis, Trash, TrashContent};
use rusqlite::{Connection, OptionalExtension};

use super::access::Place;
use super::column::number;
use super::inode::{Extras, Inode, entries};
use super::resolve::Resolved;
use super::snapshot::Snapshot;
use super::stop::Stop;

/// How long deleted files are kept where nobody said otherwise.
pub(crate) const USUAL_KEEP: Millis = Millis(24 * 60 * 60 * 1_000);
/// Parts of the time that files are kept, after each of which there is a checkpoint.
const CHECKPOINTS: u64 = 24;
/// Most entries of a user's trash that are looked at.
const MOST_TENDED: usize = 256;
/// Directories that are looked at in one step of a search.
const STEP_DIRECTORIES: usize = 1_024;

/// How long what is deleted in a directory and below it is kept, if that was said of it.
pub(crate) fn own_keep(connection: &Connection, directory: InodeId) -> rusqlite::Result<Option<Millis>> {
    connection
        .prepare_cached("SELECT keep FROM trash WHERE inode = ?1")?
        .query_row([directory.0 as i64], |row| number(row, 0).map(Millis))
        .optional()
}

/// Since when, by the group's clock, `Current` or a checkpoint has been what it is, if that is counted.
pub(crate) fn since(connection: &Connection, entry: &Inode) -> rusqlite::Result<Option<u64>> {
    if !entry.extras.has(Extras::CHECKPOINT) {
        return Ok(None);
    }
    connection
        .prepare_cached("SELECT since FROM checkpoint WHERE inode = ?1")?
        .query_row([entry.id.0 as i64], |row| number(row, 0))
        .optional()
}

/// The trash of what a user deletes at a path.
pub(crate) fn of(connection: &Connection, found: &Resolved<'_>, user: &str) -> Result<Trash, Stop> {
    let above: Vec<_> = found.chain().take(found.depth()).collect();
    for (depth, directory) in above.iter().enumerate().skip(1).rev() {
        if directory.extras.has(Extras::TRASH) {
            let keep = own_keep(connection, directory.id)?.unwrap_or(USUAL_KEEP);
            let base = FsPath::parse(&Place { path: found.path(), depth }.text())?;
            return Ok(Trash { root: base.join(TRASH)?.join(as_name(user)?)?, keep });
        }
    }
    Ok(Trash { root: home(user)?, keep: keep_of_homes(connection)? })
}

/// How long the trash in homes keeps.
fn keep_of_homes(connection: &Connection) -> rusqlite::Result<Millis> {
    Ok(own_keep(connection, InodeId::ROOT)?.unwrap_or(USUAL_KEEP))
}

/// How long a user's trash keeps what is in it; `None` if it is none.
pub(crate) fn keep_of(connection: &Connection, root: &Resolved<'_>) -> rusqlite::Result<Option<Millis>> {
    if is_home_trash(root.path()) {
        return keep_of_homes(connection).map(Some);
    }
    let parts: Vec<&str> = root.path().parts().collect();
    let [.., TRASH, _user] = parts[..] else { return Ok(None) };
    match root.chain().nth(parts.len() - 2) {
        Some(base) if base.extras.has(Extras::TRASH) => own_keep(connection, base.id),
        Some(_) | None => Ok(None),
    }
}

/// Whether a path is that of a user's home.
pub(crate) fn is_home(path: &FsPath) -> bool {
    path.parts().count() == 2 && path.parts().next() == Some(HOMES)
}

/// Whether a path is that of the trash in a user's home.
pub(crate) fn is_home_trash(path: &FsPath) -> bool {
    path.name() == Some(TRASH) && path.parent().is_some_and(|home| is_home(&home))
}

/// Whether a path leads into a trash: that of a home, or that of a directory with a time of its own.
pub(crate) fn is_in_trash(found: &Resolved<'_>) -> bool {
    let mut parts = found.path().parts().zip(found.chain()).enumerate();
    let of_home = found.path().parts().next() == Some(HOMES);
    parts.any(|(depth, (part, above))| {
        part == TRASH && ((of_home && depth == 2) || above.extras.has(Extras::TRASH))
    })
}

/// The trash of a user for what has none nearer.
fn home(user: &str) -> FsResult<FsPath> {
    Ok(FsPath::root().join(HOMES)?.join(as_name(user)?)?.join(TRASH)?)
}

/// The name of a user's directory.
fn as_name(user: &str) -> FsResult<&str> {
    FsPath::root().join(user).map(|_| user).map_err(|_| {
        FsError::invalid(format!(
            "the user name {user:?} can't be that of a directory, so there is no trash: delete for good with --skip-trash"
        ))
    })
}

/// After which time `Current` becomes a checkpoint.
pub(crate) fn period(keep: Millis) -> u64 {
    (keep.0 / CHECKPOINTS).max(1)
}

/// What is to be done about an entry of a user's trash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Its time begins.
    Begin,
    /// `Current` becomes a checkpoint.
    Checkpoint,
    /// Its time is over.
    Expire,
}

/// `Current` and the first checkpoints in a user's trash.
pub(crate) fn kept(connection: &Connection, trash: InodeId) -> rusqlite::Result<Vec<Inode>> {
    let mut kept: Vec<Inode> = Inode::by_name(connection, trash, CURRENT)?.into_iter().collect();
    // Their names begin with a digit.
    let others = entries(connection, trash, "/", MOST_TENDED)?.into_iter();
    let others = others.take_while(|entry| entry.name.as_str() < ":");
    kept.extend(others.filter(|entry| is_checkpoint(&entry.name)));
    kept.retain(Inode::is_directory);
    Ok(kept)
}

/// What is to be done at a time of the group's clock about an entry that has been what it is `since` then; and if nothing, at
/// which time there will be.
pub(crate) fn due(entry: &Inode, since: Option<u64>, keep: Millis, clock: u64) -> Result<Due, Option<u64>> {
    if keep.0 == 0 {
        return Err(None);
    }
    let is_current = entry.name == CURRENT;
    let Some(since) = since else {
        return if is_current && entry.children == 0 { Err(None) } else { Ok(Due::Begin) };
    };
    let (what, lasts) = if is_current { (Due::Checkpoint, period(keep)) } else { (Due::Expire, keep.0) };
    let then = since.saturating_add(lasts);
    if clock >= then { Ok(what) } else { Err(Some(then)) }
}

/// `Current` or a checkpoint as others are told of it.
fn content(
    root: &FsPath,
    entry: &Inode,
    since: Option<u64>,
    keep: Millis,
    clock: u64,
) -> Result<TrashContent, Stop> {
    // What is in `Current` is kept from the next checkpoint on, so longer than this.
    let then = since.unwrap_or(clock).saturating_add(keep.0);
    Ok(TrashContent {
        path: root.join(&entry.name)?,
        inode: entry.id,
        owner: entry.owner.clone(),
        age: since.map(|since| Millis(clock.saturating_sub(since))),
        left: (keep.0 > 0).then(|| Millis(then.saturating_sub(clock))),
    })
}

/// What is in the trash of all users.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrashReport {
    /// Users' trash in which something is due.
    pub due: Vec<FsPath>,
    /// What there is.
    pub contents: Vec<TrashContent>,
    /// When the next thing is due, by the group's clock.
    pub next: Option<Millis>,
}

/// A search for all that is in the trash.
#[derive(Debug)]
pub(crate) struct Search {
    /// Directories with a trash of their own, how long that keeps, and the user after whom it goes on.
    bases: Vec<(FsPath, Millis, String)>,
    /// Homes are looked at after this name; `None`: all were.
    homes_after: Option<String>,
    keep_of_homes: Millis,
    clock: u64,
    /// What was found so far.
    pub report: TrashReport,
}

impl Search {
    /// Whether everything was looked at.
    pub(crate) fn is_done(&self) -> bool {
        self.bases.is_empty() && self.homes_after.is_none()
    }
}

impl Snapshot<'_> {
    /// Where what a user removes at a path goes.
    pub(crate) fn trash_of(&self, caller: &Caller, path: &FsPath) -> Result<Trash, Stop> {
        of(self.connection, &self.resolve(caller, path)?, &caller.user)
    }

    /// What is in the trash of one user at a time of the group's clock.
    pub(crate) fn trash_of_user(&self, user: &str, clock: u64) -> Result<Vec<TrashContent>, Stop> {
        let mut roots = vec![(home(user)?, keep_of_homes(self.connection)?)];
        for (base, keep) in self.bases()? {
            roots.push((base.join(TRASH)?.join(as_name(user)?)?, keep));
        }
        let mut contents = Vec::new();
        for (root, keep) in roots {
            let Some(trash) = self.directory_at(&root)?.filter(|trash| trash.owner == user) else { continue };
            for entry in kept(self.connection, trash.id)?.iter().filter(|entry| entry.children > 0) {
                contents.push(content(&root, entry, since(self.connection, entry)?, keep, clock)?);
            }
        }
        Ok(contents)
    }

    /// Directories with a trash of their own, and how long that keeps.
    fn bases(&self) -> Result<Vec<(FsPath, Millis)>, Stop> {
        let mut statement = self.connection.prepare_cached("SELECT inode, keep FROM trash ORDER BY inode")?;
        let rows = statement
            .query_map([], |row| Ok((InodeId(number(row, 0)?), Millis(number(row, 1)?))))?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        let mut bases = Vec::new();
        for (inode, keep) in rows {
            if let Some(path) = self.path_of(inode)?.filter(|path| !path.is_root()) {
                bases.push((path, keep));
            }
        }
        Ok(bases)
    }

    /// Begins to look at all trash, at a time of the group's clock.
    pub(crate) fn begin_trash(&self, clock: u64) -> Result<Search, Stop> {
        let bases = self.bases()?.into_iter().map(|(base, keep)| (base, keep, String::new())).collect();
        let keep_of_homes = keep_of_homes(self.connection)?;
        let report = TrashReport::default();
        Ok(Search { bases, homes_after: Some(String::new()), keep_of_homes, clock, report })
    }

    /// Goes on with a search for one step.
    pub(crate) fn go_on_with_trash(&self, mut search: Search) -> Result<Search, Stop> {
        if let Some((base, keep, after)) = search.bases.pop() {
            let all = base.join(TRASH)?;
            let Some(directory) = self.directory_at(&all)? else { return Ok(search) };
            let users = self.entries(directory.id, &after, STEP_DIRECTORIES)?;
            if let Some(last) = users.last().filter(|_| users.len() == STEP_DIRECTORIES) {
                search.bases.push((base, keep, last.name.clone()));
            }
            for user in users {
                self.look_at_trash(&mut search, &all.join(&user.name)?, &user, keep)?;
            }
            return Ok(search);
        }
        let homes = FsPath::root().join(HOMES)?;
        let after = search.homes_after.take();
        let (Some(directory), Some(after)) = (self.directory_at(&homes)?, after) else { return Ok(search) };
        let users = self.entries(directory.id, &after, STEP_DIRECTORIES)?;
        if users.len() == STEP_DIRECTORIES {
            search.homes_after = users.last().map(|last| last.name.clone());
        }
        for user in users.iter().filter(|user| user.is_directory()) {
            if let Some(trash) = Inode::by_name(self.connection, user.id, TRASH)? {
                let root = homes.join(&user.name)?.join(TRASH)?;
                let keep = search.keep_of_homes;
                self.look_at_trash(&mut search, &root, &trash, keep)?;
            }
        }
        Ok(search)
    }

    fn look_at_trash(
        &self,
        search: &mut Search,
        root: &FsPath,
        trash: &Inode,
        keep: Millis,
    ) -> Result<(), Stop> {
        if !trash.is_directory() {
            return Ok(());
        }
        let mut is_due = false;
        for entry in kept(self.connection, trash.id)? {
            let since = since(self.connection, &entry)?;
            match due(&entry, since, keep, search.clock) {
                Ok(_) => is_due = true,
                Err(then) => {
                    let next = [search.report.next, then.map(Millis)].into_iter().flatten().min();
                    search.report.next = next;
                }
            }
            if entry.children > 0 {
                search.report.contents.push(content(root, &entry, since, keep, search.clock)?);
            }
        }
        if is_due {
            search.report.due.push(root.clone());
        }
        Ok(())
    }

    /// The directory at a path, for the NameNode itself; nothing if there is none.
    fn directory_at(&self, path: &FsPath) -> Result<Option<Inode>, Stop> {
        let mut found = Inode::by_id(self.connection, InodeId::ROOT)?;
        for part in path.parts() {
            let Some(directory) = found.filter(Inode::is_directory) else { return Ok(None) };
            found = Inode::by_name(self.connection, directory.id, part)?;
        }
        Ok(found.filter(Inode::is_directory))
    }
}
