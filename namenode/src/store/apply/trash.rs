//! Moving what is deleted into the trash, and what becomes of it there.

use dfs_types::trash::{CURRENT, TRASH, is_checkpoint};
use dfs_types::{ErrorCode, FileKind, FsError, FsPath, InodeId, LimitChange, Millis, Mode, Trash};

use super::Step;
use super::namespace::{Move, not_empty};
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
    pub(super) fn trash(
        &mut self,
        path: &FsPath,
        recursive: bool,
        expected: Option<InodeId>,
    ) -> Result<Outcome, Stop> {
        let found = self.resolve(path)?;
        let is_meant = |target: &Inode| expected.is_none_or(|expected| expected == target.id);
        let Some(target) = found.target().filter(|target| !path.is_root() && is_meant(target)) else {
            return self.delete(path, recursive, expected);
        };
        let Trash { root, keep } = trash::of(self.connection, &found, self.authority.user())?;
        if keep.0 == 0 || trash::is_in_trash(&found) {
            return self.delete(path, recursive, expected);
        }
        self.check_removing(&found, target)?;
        if target.children > 0 && !recursive {
            return Err(not_empty(path).into());
        }
        let (to, below) =
            self.plan_in_trash(&found, target, &root).map_err(|stop| or_for_good(stop, path))?;
        let place = self.resolve_as_namenode(&to)?;
        self.check_room_in_trash(&found, target, &place).map_err(|stop| or_for_good(stop, path))?;

        self.make_in_trash(&root, &place, &to)?;
        let there = self.resolve_as_namenode(&to)?;
        let current = there.chain().nth(root.parts().count() + 1).cloned();
        let name = to.name().unwrap_or_default();
        let moved = found.existing()?.clone();
        self.move_entry(&moved, &Move { source: found, target: there, name, below })?;
        if let Some(current) = current.filter(|current| !current.extras.has(Extras::CHECKPOINT)) {
            // It may have been counted since.
            let now = self.view.changed(&current).unwrap_or(&current).clone();
            self.begin_keeping(&now, self.counters.clock)?;
        }
        Ok(Outcome::Trashed(to))
    }

    fn resolve_as_namenode<'p>(&self, path: &'p FsPath) -> Result<Resolved<'p>, Stop> {
        let authority = Authority { caller: None, superuser: self.authority.superuser };
        resolve(path, authority, |parent, name| Ok(self.view.entry(self.connection, parent, name)?))
    }

    /// Where something goes in a trash, and how far what is below it reaches, if it may go there.
    fn plan_in_trash(
        &self,
        found: &Resolved<'_>,
        target: &Inode,
        root: &FsPath,
    ) -> Result<(FsPath, u64), Stop> {
        let path = found.path();
        if root.starts_with(path) {
            return Err(FsError::invalid(format!("{root} is in it")).into());
        }
        self.check_place_of_trash(root)?;
        let current = root.join(CURRENT)?;
        let to = self.place_in_trash(&current, path)?;
        // As a checkpoint, whose name is longer, it must not be too long either.
        let rest = to.as_str().strip_prefix(current.as_str()).unwrap_or_default();
        let later = FsPath::parse(&format!("{root}/{LONGER_NAME}{rest}"))?;
        let below = self.reach_when_moved(target, path, &later)?;
        Ok((to, below))
    }

    /// Whether the quotas of a trash let something be put there.
    fn check_room_in_trash(
        &mut self,
        found: &Resolved<'_>,
        target: &Inode,
        place: &Resolved<'_>,
    ) -> Result<(), Stop> {
        let made = place.missing().count() as i64 - 1;
        let made = Usage { directories: made, ..Usage::default() };
        self.check_quota(place.deepest().id, made)?;
        let change = self.weight(target)?.plus(made);
        let shared: Vec<InodeId> = found.chain().map(|inode| inode.id).collect();
        self.check_quota_up_to(place.deepest().id, change, &shared)
    }

    /// Nobody's files go where another one can look at them, or take them from.
    fn check_place_of_trash(&self, root: &FsPath) -> Result<(), Stop> {
        let user = self.authority.user();
        for own in [root.clone(), root.join(CURRENT)?] {
            let found = self.resolve_as_namenode(&own)?;
            let Some(inode) = found.target() else { continue };
            if inode.owner != user || !inode.is_directory() {
                return Err(denied(format!("{own} belongs to {}, not to {user}", inode.owner)));
            }
        }
        let all = root.parent().filter(|_| !trash::is_home_trash(root));
        let Some(all) = all else { return Ok(()) };
        match self.resolve_as_namenode(&all)?.target() {
            Some(inode) if !self.is_for_all(inode) => Err(denied(format!(
                "{all} is not the superuser's, or without the sticky bit, and so no place for a trash"
            ))),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether everybody can have his trash in a directory, without one being able to take another's away.
    fn is_for_all(&self, inode: &Inode) -> bool {
        inode.is_directory() && inode.mode.is_sticky() && inode.owner == self.authority.superuser
    }

    /// Where something from `path` goes in `Current`. What is in the way there was deleted before: then its name, or that of a
    /// directory above it, gets the time as an ending, as Hadoop's trash does it. So does a directory of somebody else that
    /// was deleted: nothing is put into that.
    fn place_in_trash(&self, current: &FsPath, path: &FsPath) -> Result<FsPath, Stop> {
        let mut at = current.clone();
        let mut directory = self.resolve_as_namenode(current)?.target().cloned();
        let last = path.parts().count() - 1;
        for (depth, part) in path.parts().enumerate() {
            let (mut name, mut tried) = (part.to_owned(), 0);
            let mut entry = None;
            while let Some(above) = &directory {
                entry = self.view.entry(self.connection, above.id, &name)?;
                let in_the_way = entry.as_ref().is_some_and(|inode| {
                    depth == last || !inode.is_directory() || inode.owner != self.authority.user()
                });
                if !in_the_way {
                    break;
                }
                if tried == NAMES_TRIED {
                    let text = format!("{at} has too many of that name");
                    return Err(FsError::new(ErrorCode::AlreadyExists, text).into());
                }
                name = format!("{part}{}", self.now.0.saturating_add(tried));
                tried += 1;
            }
            at = at.join(&name)?;
            directory = entry;
        }
        Ok(at)
    }

    /// Makes the directories that are missing above a place in a user's trash; they are the user's own from the trash down.
    fn make_in_trash(&mut self, root: &FsPath, place: &Resolved<'_>, to: &FsPath) -> Result<(), Stop> {
        let mut directory = place.deepest().as_ref().clone();
        let missing: Vec<&str> = place.missing().collect();
        let (_, above) = missing.split_last().unwrap_or((&"", &[]));
        let mut depth = to.parts().count() - missing.len();
        let own = root.parts().count();
        let is_home = trash::is_home_trash(root);
        let first = directory.id;
        for (made_so_far, name) in above.iter().enumerate() {
            depth += 1;
            let (mut owner, mut mode) = (self.authority.user(), Mode::truncate(PRIVATE));
            if is_home && depth == 1 {
                (owner, mode) = (self.authority.superuser, Mode::DIRECTORY);
            } else if !is_home && depth < own {
                (owner, mode) = (self.authority.superuser, Mode::truncate(SHARED));
            }
            let owner = owner.to_owned();
            let draft = self.draft(&directory, name, FileKind::Directory, mode.into());
            // Whatever a default ACL would let others do there.
            let made = Inode { owner, mode, acl: None, ..draft };
            self.insert_row(&made)?;
            self.begin_usage(&made, (above.len() - 1 - made_so_far) as i64);
            self.count_entries(&directory, 1)?;
            directory = made;
        }
        self.charge(first, Usage { directories: above.len() as i64, ..Usage::default() })
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
        let directory = found.existing_directory()?.clone();
        if trash::is_in_trash(&found) || path.name() == Some(TRASH) {
            return Err(FsError::invalid(format!("{path} is in a trash: name a directory outside")).into());
        }
        if trash::is_home(path) {
            return Err(FsError::invalid(format!(
                "{path} has the trash of what its user deletes elsewhere: name a directory in it, or one above"
            ))
            .into());
        }
        let id = directory.id.0 as i64;
        let keeps = match keep {
            LimitChange::Keep => return Ok(Outcome::Done),
            LimitChange::Clear => {
                self.write("DELETE FROM trash WHERE inode = ?1", [id])?;
                false
            }
            LimitChange::Set(keep) => {
                if keep > 0 && !path.is_root() {
                    self.make_trash_for_all(&found, &directory)?;
                }
                self.write("INSERT OR REPLACE INTO trash (inode, keep) VALUES (?1, ?2)", (id, keep as i64))?;
                true
            }
        };
        let now = self.view.changed(&directory).unwrap_or(&directory).clone();
        self.set_extras(&now, now.extras.with(Extras::TRASH, keeps))?;
        Ok(Outcome::Done)
    }

    /// Makes the place for everybody's trash in a directory, before anybody else makes another one.
    fn make_trash_for_all(&mut self, found: &Resolved<'_>, directory: &Inode) -> Result<(), Stop> {
        let all = found.path().join(TRASH)?;
        if let Some(there) = self.view.entry(self.connection, directory.id, TRASH)? {
            if self.is_for_all(&there) {
                return Ok(());
            }
            return Err(FsError::new(
                ErrorCode::AlreadyExists,
                format!("{all} is there and is no place for a trash: give it to the superuser and set its sticky bit"),
            )
            .into());
        }
        self.check_quota(directory.id, Usage::DIRECTORY)?;
        let place = self.resolve_as_namenode(&all)?;
        self.reach_down(&place, 0)?;
        let (owner, mode) = (self.authority.superuser.to_owned(), Mode::truncate(SHARED));
        let draft = self.draft(directory, TRASH, FileKind::Directory, mode.into());
        self.insert(&Inode { owner, mode, acl: None, ..draft })?;
        self.count_entries(directory, 1)
    }

    /// Does in a user's trash what is due: `Current` becomes a checkpoint called `name`, and what was kept long enough goes.
    /// Whether it was is decided here, by the group's clock.
    pub(super) fn tend_trash(&mut self, root: &FsPath, name: &str) -> Result<Outcome, Stop> {
        self.authority.check_super("tending the trash")?;
        let found = self.resolve_as_namenode(root)?;
        let directory = found.existing_directory()?.clone();
        let keep = trash::keep_of(self.connection, &found)?.filter(|_| is_checkpoint(name));
        let Some(keep) = keep else {
            return Err(FsError::invalid(format!("{root} is no trash, or {name:?} no checkpoint")).into());
        };
        let clock = self.counters.clock;
        for entry in trash::kept(self.connection, directory.id)? {
            let since = trash::since(self.connection, &entry)?;
            match trash::due(&entry, since, keep, clock) {
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

    /// `Current` becomes a checkpoint, unless there is one of that name: then, or if what a client moved there is too long for
    /// the name, it is tried again after as long a time.
    fn put_aside(&mut self, entry: &Inode, root: &FsPath, name: &str) -> Result<(), Stop> {
        let clock = self.counters.clock;
        let (Ok(from), Ok(to)) = (root.join(CURRENT), root.join(name)) else {
            return self.begin_keeping(entry, clock);
        };
        let place = self.resolve_as_namenode(&to)?;
        let below = match self.reach_when_moved(entry, &from, &to) {
            Err(Stop::Refused(_)) => return self.begin_keeping(entry, clock),
            below => below?,
        };
        if place.target().is_some() {
            return self.begin_keeping(entry, clock);
        }
        self.reach_down(&place, below)?;
        let renamed = self.rename_within(entry, name)?;
        self.begin_keeping(&renamed, clock)
    }

    /// From now on counts how long an entry of a trash is kept.
    fn begin_keeping(&mut self, entry: &Inode, clock: u64) -> Result<(), Stop> {
        self.write(
            "INSERT OR REPLACE INTO checkpoint (inode, since) VALUES (?1, ?2)",
            (entry.id.0 as i64, clock as i64),
        )?;
        self.set_extras(entry, entry.extras.with(Extras::CHECKPOINT, true))
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

fn denied(message: String) -> Stop {
    FsError::new(ErrorCode::PermissionDenied, message).into()
}

/// Why something can't be moved to the trash, and what can be done instead.
fn or_for_good(stop: Stop, path: &FsPath) -> Stop {
    match stop {
        Stop::Refused(error) => FsError::new(
            error.code,
            format!("{path} can't be moved to the trash ({error}): delete it for good with --skip-trash"),
        )
        .into(),
        broken @ Stop::Broken(_) => broken,
    }
}
