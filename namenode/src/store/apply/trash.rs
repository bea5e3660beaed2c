//! Moving what is deleted into the trash, and what becomes of it there.

use dfs_types::trash::{CURRENT, HOMES, TRASH, is_checkpoint, is_in_trash};
use dfs_types::{ErrorCode, FileKind, FsError, FsPath, InodeId, LimitChange, Millis, Mode, Trash};

use super::Step;
use super::namespace::Move;
use crate::store::access::Authority;
use crate::store::edit::Outcome;
use crate::store::inode::{Extras, Inode};
use crate::store::resolve::{Resolved, resolve};
use crate::store::stop::Stop;
use crate::store::trash::{self, Due};
use crate::store::usage::Usage;

/// Longest time that deleted files can be kept: beyond it a typing error is likelier than a wish.
const MAX_KEEP: Millis = Millis(10 * 365 * 24 * 60 * 60 * 1_000);
/// Names that are tried for what has the name of something that was deleted before.
const NAMES_TRIED: u64 = 64;
/// As long as the name of a checkpoint.
const LONGER_NAME: &str = "yyMMddHHmmss";
/// Mode of a user's directories in the trash.
const PRIVATE: u32 = 0o700;
/// Mode of a directory with the trash of all users.
const SHARED: u32 = 0o1_777;

impl Step<'_, '_> {
    /// Moves what is at a path into its user's trash, or deletes it if there is none or it is there already.
    pub(super) fn trash(&mut self, path: &FsPath) -> Result<Outcome, Stop> {
        let found = self.resolve(path)?;
        let Some(target) = found.target().filter(|_| !path.is_root()) else {
            return self.delete(path, true, None);
        };
        let Trash { root, keep } = trash::of(self.connection, &found, self.authority.user())?;
        if keep.0 == 0 || is_in_trash(path) {
            return self.delete(path, true, None);
        }
        if root.starts_with(path) {
            return Err(FsError::invalid(format!(
                "the trash {root} is in {path}, so that can't be moved there: delete it for good with --skip-trash"
            ))
            .into());
        }
        self.check_removing(&found, target)?;
        self.check_own_trash(&root)?;
        let (to, below) = self.plan_in_trash(target, &root, path).map_err(|stop| match stop {
            Stop::Refused(error) => FsError::new(
                error.code,
                format!("{path} can't be moved to the trash ({error}): delete it for good with --skip-trash"),
            )
            .into(),
            broken => broken,
        })?;
        let place = self.resolve_as_namenode(&to)?;
        let made = place.missing().count() as i64 - 1;
        let made = Usage { directories: made, ..Usage::default() };
        self.check_quota(place.deepest().id, made)?;
        let change = self.weight(target)?.plus(made);
        let shared: Vec<InodeId> = found.chain().map(|inode| inode.id).collect();
        self.check_quota_up_to(place.deepest().id, change, &shared)?;

        self.make_in_trash(&root, &place, &to)?;
        let there = self.resolve_as_namenode(&to)?;
        let name = to.name().unwrap_or_default();
        let moved = found.existing()?.clone();
        self.move_entry(&moved, &Move { source: found, target: there, name, below })?;
        Ok(Outcome::Trashed(to))
    }

    fn resolve_as_namenode<'p>(&self, path: &'p FsPath) -> Result<Resolved<'p>, Stop> {
        let authority = Authority { caller: None, superuser: self.authority.superuser };
        resolve(path, authority, |parent, name| Ok(self.view.entry(self.connection, parent, name)?))
    }

    /// Nobody's files go where another one can look at them.
    fn check_own_trash(&self, root: &FsPath) -> Result<(), Stop> {
        let found = self.resolve_as_namenode(root)?;
        match found.target() {
            Some(inode) if inode.owner != self.authority.user() => Err(FsError::new(
                ErrorCode::PermissionDenied,
                format!(
                    "the trash {root} belongs to {}, not to {}: delete for good with --skip-trash, or ask an administrator \
                     to give it to its user",
                    inode.owner,
                    self.authority.user()
                ),
            )
            .into()),
            Some(_) | None => Ok(()),
        }
    }

    /// Where something goes in a trash, and how far what is below it reaches.
    fn plan_in_trash(&self, target: &Inode, root: &FsPath, path: &FsPath) -> Result<(FsPath, u64), Stop> {
        let current = root.join(CURRENT)?;
        let to = self.place_in_trash(&current, path)?;
        // As a checkpoint, whose name is longer, it must not be too long either.
        let rest = to.as_str().strip_prefix(current.as_str()).unwrap_or_default();
        let later = FsPath::parse(&format!("{root}/{LONGER_NAME}{rest}"))?;
        let below = self.reach_when_moved(target, path, &later)?;
        Ok((to, below))
    }

    /// Where something from `path` goes in `Current`. What is in the way there was deleted before: then its name, or that of a
    /// directory above it, gets the time as an ending, as Hadoop's trash does it.
    fn place_in_trash(&self, current: &FsPath, path: &FsPath) -> Result<FsPath, Stop> {
        let mut at = current.clone();
        let last = path.parts().count() - 1;
        for (depth, part) in path.parts().enumerate() {
            let mut next = at.join(part)?;
            for more in 0..NAMES_TRIED {
                let there = self.resolve_as_namenode(&next)?;
                let in_the_way = there.target().is_some_and(|inode| depth == last || !inode.is_directory());
                if !in_the_way {
                    break;
                }
                next = at.join(&format!("{part}{}", self.now.0.saturating_add(more)))?;
            }
            at = next;
        }
        if self.resolve_as_namenode(&at)?.target().is_some() {
            return Err(FsError::new(ErrorCode::AlreadyExists, format!("{at} exists already")).into());
        }
        Ok(at)
    }

    /// Makes the directories that are missing above a place in a user's trash; they are the user's own from the trash down.
    fn make_in_trash(&mut self, root: &FsPath, place: &Resolved<'_>, to: &FsPath) -> Result<(), Stop> {
        let mut directory = place.deepest().as_ref().clone();
        let missing: Vec<&str> = place.missing().collect();
        let mut depth = to.parts().count() - missing.len();
        let own = root.parts().count();
        let is_home = root.parts().next() == Some(HOMES) && root.name() == Some(TRASH);
        for name in missing.iter().take(missing.len() - 1).copied() {
            depth += 1;
            let mode = Mode::truncate(PRIVATE);
            let draft = self.draft(&directory, name, FileKind::Directory, mode.into());
            // Whatever a default ACL would let others do there.
            let mut made = Inode { mode, acl: None, ..draft };
            if is_home && depth == 1 {
                made.owner = self.authority.superuser.to_owned();
                made.mode = Mode::DIRECTORY;
            } else if !is_home && depth < own {
                made.owner = self.authority.superuser.to_owned();
                made.mode = Mode::truncate(SHARED);
            }
            self.insert(&made)?;
            self.count_entries(&directory, 1)?;
            directory = made;
        }
        Ok(())
    }

    /// How long what is deleted below a directory is kept there. 0: it is deleted at once.
    pub(super) fn set_trash(&mut self, path: &FsPath, keep: LimitChange) -> Result<Outcome, Stop> {
        self.authority.check_super("changing how long deleted files are kept")?;
        if let LimitChange::Set(keep) = keep
            && keep > MAX_KEEP.0
        {
            return Err(FsError::invalid(format!(
                "keeping deleted files for {} days is not possible: at most {} days",
                keep / (24 * 60 * 60 * 1_000),
                MAX_KEEP.0 / (24 * 60 * 60 * 1_000)
            ))
            .into());
        }
        let found = self.resolve(path)?;
        let directory = found.existing_directory()?;
        if is_in_trash(path) {
            return Err(FsError::invalid(format!("{path} is in a trash: name a directory outside")).into());
        }
        let id = directory.id.0 as i64;
        let keeps = match keep {
            LimitChange::Keep => return Ok(Outcome::Done),
            LimitChange::Clear => {
                self.write("DELETE FROM trash WHERE inode = ?1", [id])?;
                false
            }
            LimitChange::Set(keep) => {
                self.write("INSERT OR REPLACE INTO trash (inode, keep) VALUES (?1, ?2)", (id, keep as i64))?;
                true
            }
        };
        let extras = directory.extras.with(Extras::TRASH, keeps);
        self.set_extras(directory, extras)?;
        Ok(Outcome::Done)
    }

    /// Does in a user's trash what is due: `Current` becomes a checkpoint called `name`, and what was kept long enough goes.
    /// Whether it was is decided here, by the group's clock.
    pub(super) fn tend_trash(&mut self, root: &FsPath, name: &str) -> Result<Outcome, Stop> {
        self.authority.check_super("tending the trash")?;
        if !is_in_trash(root) || !is_checkpoint(name) {
            return Err(FsError::invalid(format!("{root} is no trash, or {name:?} no checkpoint")).into());
        }
        let found = self.resolve_as_namenode(root)?;
        let directory = found.existing_directory()?.clone();
        // The trash of what is in it: the same as of what was deleted.
        let Trash { keep, .. } = trash::of(self.connection, &found, self.authority.superuser)?;
        let clock = self.counters.clock;
        for entry in trash::kept(self.connection, directory.id)? {
            match trash::due(self.connection, &entry, keep, clock)? {
                Ok(Due::Begin) => self.begin_keeping(&entry, clock)?,
                Ok(Due::Checkpoint) => self.put_aside(&entry, root, name)?,
                Ok(Due::Expire) => {
                    self.remove_entry(&entry)?;
                    self.count_entries(&directory, -1)?;
                }
                Err(_) => {}
            }
        }
        Ok(Outcome::Done)
    }

    /// From now on counts how long an entry of a trash is kept.
    fn begin_keeping(&mut self, entry: &Inode, clock: u64) -> Result<(), Stop> {
        self.write(
            "INSERT OR REPLACE INTO checkpoint (inode, since) VALUES (?1, ?2)",
            (entry.id.0 as i64, clock as i64),
        )?;
        self.set_extras(entry, entry.extras.with(Extras::CHECKPOINT, true))
    }

    /// `Current` becomes a checkpoint, if there is none of that name.
    fn put_aside(&mut self, entry: &Inode, root: &FsPath, name: &str) -> Result<(), Stop> {
        let to = root.join(name)?;
        let place = self.resolve_as_namenode(&to)?;
        if place.target().is_some() {
            return Ok(());
        }
        // What a client moved here may be too long for that name: then it stays until somebody empties the trash.
        let below = match self.reach_when_moved(entry, &root.join(CURRENT)?, &to) {
            Err(Stop::Refused(_)) => return Ok(()),
            below => below?,
        };
        self.reach_down(&place, below)?;
        let renamed = self.rename_within(entry, name)?;
        self.begin_keeping(&renamed, self.counters.clock)
    }

    /// Gives an entry another name in its directory, which is free.
    fn rename_within(&mut self, entry: &Inode, name: &str) -> Result<Inode, Stop> {
        let renamed = Inode { name: name.to_owned(), ..entry.clone() };
        self.view.forget(entry);
        self.view.put(renamed.clone());
        self.write(
            "UPDATE inode SET name = ?3 WHERE parent = ?1 AND name = ?2",
            (entry.parent.0 as i64, &entry.name, name),
        )?;
        Ok(renamed)
    }
}
