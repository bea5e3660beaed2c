//! Access control lists as POSIX and HDFS have them. Pure.
//!
//! What an inode has beside its mode is an [`Acl`]. Of the access ACL that are the entries of named users and groups, and
//! then also that of the owning group: the group bits of the mode are the mask then. The entries of the owner and of the
//! others are the mode's. Default entries, which only directories have, are all in the [`Acl`].

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::attributes::check_principal;
use crate::limits::{MAX_ACL_ENTRIES, MAX_ACL_NAME_BYTES};
use crate::{FileStatus, FsError, FsResult, Mode};

/// Permissions of one entry or class: read, write, execute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Perm(u8);

impl Perm {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// All of them.
    pub const ALL: Self = Self(0o7);

    /// Those with these bits, or an error if there are others.
    pub fn new(bits: u32) -> FsResult<Self> {
        match u8::try_from(bits) {
            Ok(bits) if bits <= Self::ALL.0 => Ok(Self(bits)),
            _ => Err(FsError::invalid(format!("the permissions {bits:o} are out of range: use 0 to 7"))),
        }
    }

    /// The lowest three bits.
    pub const fn truncate(bits: u32) -> Self {
        Self((bits & 0o7) as u8)
    }

    /// The bits.
    pub const fn bits(self) -> u32 {
        self.0 as u32
    }

    /// Those that both have.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those that one of both has.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it has all of these.
    pub const fn implies(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }
}

impl fmt::Display for Perm {
    /// `r-x`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bit, letter) in [(4, 'r'), (2, 'w'), (1, 'x')] {
            let letter = if self.0 & bit == 0 { '-' } else { letter };
            write!(f, "{letter}")?;
        }
        Ok(())
    }
}

impl FromStr for Perm {
    type Err = FsError;

    /// `r-x`, `rx`, or an octal digit.
    fn from_str(text: &str) -> FsResult<Self> {
        let wrong = || {
            FsError::invalid(format!(
                "Invalid permission in <aclSpec>: {text:?} is none: use letters of rwx-, as in r-x"
            ))
        };
        if let [digit @ b'0'..=b'7'] = text.as_bytes() {
            return Ok(Self(digit - b'0'));
        }
        if text.is_empty() || text.len() > 3 {
            return Err(wrong());
        }
        text.chars().try_fold(Self::NONE, |so_far, letter| match letter {
            'r' => Ok(so_far.or(Self(4))),
            'w' => Ok(so_far.or(Self(2))),
            'x' => Ok(so_far.or(Self(1))),
            '-' => Ok(so_far),
            _ => Err(wrong()),
        })
    }
}

/// What an entry is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AclScope {
    /// Access to the file or directory itself.
    Access,
    /// What is made in the directory later.
    Default,
}

/// Whom an entry is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AclKind {
    /// The owner, or the named user.
    User,
    /// The owning group, or the named group.
    Group,
    /// Not of anybody: the most that named users and all groups get.
    Mask,
    /// Everybody else.
    Other,
}

/// What tells an entry from the others of an ACL; in the order in which entries are shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AclKey {
    /// What for.
    pub scope: AclScope,
    /// Of whom.
    pub kind: AclKind,
    /// The user's or group's name; `None`: the owner or owning group, or the kind has none.
    pub name: Option<String>,
}

impl AclKey {
    /// The key of an entry without a name.
    pub const fn unnamed(scope: AclScope, kind: AclKind) -> Self {
        Self { scope, kind, name: None }
    }

    /// Reads `user:bob`, `default:group:`, `m` and the like, as `setfacl -x` takes them.
    pub fn parse(text: &str) -> FsResult<Self> {
        match Self::split(text)? {
            (key, None) => Ok(key),
            (_, Some(_)) => Err(invalid_spec(text)),
        }
    }

    /// The entries' keys of a list with commas.
    pub fn parse_list(text: &str) -> FsResult<Vec<Self>> {
        listed(text, Self::parse)
    }

    /// The key, and what is behind it.
    fn split(text: &str) -> FsResult<(Self, Option<&str>)> {
        let mut fields: Vec<&str> = text.split(':').collect();
        let scope = if matches!(fields.first(), Some(&("default" | "d"))) {
            fields.remove(0);
            AclScope::Default
        } else {
            AclScope::Access
        };
        let kind = match fields.first().copied() {
            Some("user" | "u") => AclKind::User,
            Some("group" | "g") => AclKind::Group,
            Some("mask" | "m") => AclKind::Mask,
            Some("other" | "o") => AclKind::Other,
            _ => return Err(invalid_spec(text)),
        };
        let nameless = matches!(kind, AclKind::Mask | AclKind::Other);
        // 'o:rx' is short for 'other::rx'.
        let (name, rest) = match fields.get(1..).unwrap_or_default() {
            [] => ("", None),
            [perm] if nameless && !perm.is_empty() => ("", Some(*perm)),
            [name] => (*name, None),
            [name, rest] => (*name, Some(*rest)),
            _ => return Err(invalid_spec(text)),
        };
        if !name.is_empty() {
            check_principal(if kind == AclKind::User { "user" } else { "group" }, name)?;
        }
        let name = (!name.is_empty()).then(|| name.to_owned());
        Ok((Self { scope, kind, name }, rest))
    }

    /// Whether the mask applies to it.
    pub fn is_masked(&self) -> bool {
        self.name.is_some() || self.kind == AclKind::Group
    }

    fn check(&self) -> FsResult<()> {
        if self.name.is_some() && matches!(self.kind, AclKind::Mask | AclKind::Other) {
            return Err(invalid(&format!("this entry type must not have a name: {self}: leave it out")));
        }
        match &self.name {
            Some(name) => check_principal(if self.kind == AclKind::User { "user" } else { "group" }, name),
            None => Ok(()),
        }
    }
}

impl fmt::Display for AclKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scope == AclScope::Default {
            f.write_str("default:")?;
        }
        let kind = match self.kind {
            AclKind::User => "user",
            AclKind::Group => "group",
            AclKind::Mask => "mask",
            AclKind::Other => "other",
        };
        write!(f, "{kind}:{}", self.name.as_deref().unwrap_or_default())
    }
}

/// One entry of an ACL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AclEntry {
    /// What for and of whom.
    pub key: AclKey,
    /// What they may do.
    pub perm: Perm,
}

impl AclEntry {
    /// Reads entries with commas between them, as `setfacl -m` takes them.
    pub fn parse_list(text: &str) -> FsResult<Vec<Self>> {
        listed(text, str::parse)
    }
}

impl FromStr for AclEntry {
    type Err = FsError;

    /// `user:bob:rwx`, `default:group::r-x`, `m::r` and the like.
    fn from_str(text: &str) -> FsResult<Self> {
        match AclKey::split(text)? {
            (key, Some(perm)) => Ok(Self { key, perm: perm.parse()? }),
            (_, None) => Err(invalid_spec(text)),
        }
    }
}

impl fmt::Display for AclEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.key, self.perm)
    }
}

fn listed<T>(text: &str, parse: impl Fn(&str) -> FsResult<T>) -> FsResult<Vec<T>> {
    text.split(',').map(|entry| parse(entry.trim())).collect()
}

fn invalid_spec(text: &str) -> FsError {
    FsError::invalid(format!(
        "Invalid <aclSpec>: {text:?}: write [default:]user|group|mask|other:[NAME]:PERMISSIONS, and no permissions to remove \
         an entry"
    ))
}

fn invalid(why: &str) -> FsError {
    FsError::invalid(format!("Invalid ACL: {why}"))
}

/// A change of an ACL, as HDFS has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AclChange {
    /// These entries take the place of all of their scopes; none: as [`AclChange::Remove`].
    Set(Vec<AclEntry>),
    /// These entries are new, or other than they were.
    Modify(Vec<AclEntry>),
    /// These entries go.
    RemoveEntries(Vec<AclKey>),
    /// Everything goes that is more than the mode.
    Remove,
    /// All default entries go.
    RemoveDefault,
}

/// All entries of both scopes by their keys.
type Entries = BTreeMap<AclKey, Perm>;

/// What an inode has beside its mode; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acl {
    /// Ordered by key, so that those of access come first.
    entries: Vec<AclEntry>,
    /// How many are of the scope access.
    access: usize,
}

impl Acl {
    /// The ACL with these entries, which somebody had from [`Acl::entries`]; `None` if there are none.
    pub fn from_entries(entries: Vec<AclEntry>) -> FsResult<Option<Self>> {
        let entries = map_of(entries)?;
        check_count(&entries)?;
        entries.keys().try_for_each(AclKey::check)?;
        Ok(Self::of(entries))
    }

    fn of(entries: Entries) -> Option<Self> {
        let entries: Vec<_> = entries.into_iter().map(|(key, perm)| AclEntry { key, perm }).collect();
        let access = entries.iter().filter(|entry| entry.key.scope == AclScope::Access).count();
        (!entries.is_empty()).then_some(Self { entries, access })
    }

    /// The entries that are not the mode's.
    pub fn entries(&self) -> &[AclEntry] {
        &self.entries
    }

    /// The entries of named users, of the owning group, and of named groups; none: the mode alone says who has access.
    pub fn access(&self) -> &[AclEntry] {
        self.entries.get(..self.access).unwrap_or_default()
    }

    /// The default entries.
    pub fn default(&self) -> &[AclEntry] {
        self.entries.get(self.access..).unwrap_or_default()
    }

    /// Mode and ACL of something new in a directory with this ACL, whose creator wants the permissions `wanted` before any
    /// umask; `None` if the directory has no default entries.
    pub fn inherited(&self, wanted: Mode, is_directory: bool) -> Option<(Mode, Option<Self>)> {
        if self.default().is_empty() {
            return None;
        }
        let is_minimal = self.default().len() == MINIMAL;
        let mut all = Entries::new();
        for AclEntry { key, perm } in self.default() {
            let limit = match key.kind {
                AclKind::User if key.name.is_none() => class(wanted, OWNER),
                AclKind::Group if is_minimal => class(wanted, GROUP),
                AclKind::Mask => class(wanted, GROUP),
                AclKind::Other => class(wanted, OTHER),
                AclKind::User | AclKind::Group => Perm::ALL,
            };
            all.insert(AclKey { scope: AclScope::Access, ..key.clone() }, perm.and(limit));
            if is_directory {
                all.insert(key.clone(), *perm);
            }
        }
        Some(split(all, wanted))
    }
}

impl AclChange {
    /// Mode and ACL of an inode after the change.
    pub fn apply(&self, mode: Mode, acl: Option<&Acl>, is_directory: bool) -> FsResult<(Mode, Option<Acl>)> {
        let now = entries_of(mode, acl);
        let changed = match self {
            Self::Set(entries) if !entries.is_empty() => replaced(&now, entries)?,
            Self::Set(_) | Self::Remove => return Ok(removed(mode, acl)),
            Self::Modify(entries) => merged(now, entries)?,
            Self::RemoveEntries(keys) => filtered(now, keys)?,
            Self::RemoveDefault => now.into_iter().filter(|(key, _)| key.scope == AclScope::Access).collect(),
        };
        check_whole(&changed)?;
        let has_default = changed.keys().any(|key| key.scope == AclScope::Default);
        if has_default && !is_directory {
            return Err(invalid("only directories may have a default ACL: leave out its entries"));
        }
        Ok(split(changed, mode))
    }

    /// Whether an inode may have more to store after it.
    pub fn grows(&self) -> bool {
        match self {
            Self::Set(_) | Self::Modify(_) => true,
            Self::RemoveEntries(_) | Self::Remove | Self::RemoveDefault => false,
        }
    }

    /// Refuses what no change can have, before it is looked at with an inode.
    pub fn check(&self) -> FsResult<()> {
        match self {
            Self::Set(entries) | Self::Modify(entries) => {
                let entries = map_of(entries.clone())?;
                check_count(&entries)?;
                entries.keys().try_for_each(AclKey::check)
            }
            Self::RemoveEntries(keys) => {
                let entries: Entries = keys.iter().map(|key| (key.clone(), Perm::NONE)).collect();
                check_count(&entries)?;
                keys.iter().try_for_each(AclKey::check)
            }
            Self::Remove | Self::RemoveDefault => Ok(()),
        }
    }
}

/// What is known of an inode's ACL, all at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AclStatus {
    /// Its attributes.
    pub status: FileStatus,
    /// What it has beside its mode.
    pub acl: Option<Acl>,
}

impl AclStatus {
    /// All entries, those that the mode says included, in the order in which they are shown; each with what the mask leaves
    /// of it.
    pub fn entries(&self) -> Vec<(AclEntry, Perm)> {
        let all = entries_of(self.status.mode, self.acl.as_ref());
        let mask_of = |key: &AclKey| all.get(&AclKey::unnamed(key.scope, AclKind::Mask)).copied();
        let masked = |(key, perm): (&AclKey, &Perm)| {
            let mask = mask_of(key).filter(|_| key.is_masked());
            (AclEntry { key: key.clone(), perm: *perm }, perm.and(mask.unwrap_or(Perm::ALL)))
        };
        all.iter().map(masked).collect()
    }
}

/// Number of entries of an ACL that says no more than a mode.
const MINIMAL: usize = 3;

/// Where in a mode a class has its bits.
const OWNER: u32 = 6;
const GROUP: u32 = 3;
const OTHER: u32 = 0;

fn class(mode: Mode, shift: u32) -> Perm {
    Perm::truncate(mode.bits() >> shift)
}

fn entries_of(mode: Mode, acl: Option<&Acl>) -> Entries {
    let mut all: Entries = acl
        .map(Acl::entries)
        .unwrap_or_default()
        .iter()
        .cloned()
        .map(|AclEntry { key, perm }| (key, perm))
        .collect();
    let is_extended = acl.is_some_and(|acl| !acl.access().is_empty());
    let group_class = if is_extended { AclKind::Mask } else { AclKind::Group };
    for (kind, shift) in [(AclKind::User, OWNER), (group_class, GROUP), (AclKind::Other, OTHER)] {
        all.insert(AclKey::unnamed(AclScope::Access, kind), class(mode, shift));
    }
    all
}

/// What of a whole ACL is the mode's, and what is not.
fn split(mut all: Entries, mode: Mode) -> (Mode, Option<Acl>) {
    let of = |all: &Entries, kind| all.get(&AclKey::unnamed(AclScope::Access, kind)).copied();
    let mask = of(&all, AclKind::Mask);
    let owner = of(&all, AclKind::User).unwrap_or_default();
    let group = mask.or(of(&all, AclKind::Group)).unwrap_or_default();
    let other = of(&all, AclKind::Other).unwrap_or_default();
    for kind in [AclKind::User, AclKind::Mask, AclKind::Other] {
        all.remove(&AclKey::unnamed(AclScope::Access, kind));
    }
    if mask.is_none() {
        all.remove(&AclKey::unnamed(AclScope::Access, AclKind::Group));
    }
    let bits = owner.bits() << OWNER | group.bits() << GROUP | other.bits() << OTHER;
    (Mode::truncate(mode.bits() & !0o777 | bits), Acl::of(all))
}

/// The group bits are the owning group's again.
fn removed(mode: Mode, acl: Option<&Acl>) -> (Mode, Option<Acl>) {
    let access = acl.map(Acl::access).unwrap_or_default();
    let group = access.iter().find(|entry| entry.key.kind == AclKind::Group && entry.key.name.is_none());
    let bits = mode.bits();
    let bits = group.map_or(bits, |group| bits & !(0o7 << GROUP) | group.perm.bits() << GROUP);
    (Mode::truncate(bits), None)
}

/// A whole ACL while it is changed, apart from its masks.
#[derive(Default)]
struct Draft {
    entries: Entries,
    masks: BTreeMap<AclScope, Perm>,
    /// Scopes that were changed, and those whose mask was said.
    changed: Vec<AclScope>,
    said: Vec<AclScope>,
}

impl Draft {
    fn keep(&mut self, key: AclKey, perm: Perm) {
        if key.kind == AclKind::Mask {
            self.masks.insert(key.scope, perm);
        } else {
            self.entries.insert(key, perm);
        }
    }

    fn note(&mut self, key: &AclKey) {
        self.changed.push(key.scope);
        if key.kind == AclKind::Mask {
            self.said.push(key.scope);
        }
    }

    /// With the default entries that a default ACL must have, and masks.
    fn finish(mut self) -> FsResult<Entries> {
        if self.entries.keys().any(|key| key.scope == AclScope::Default) {
            for kind in [AclKind::User, AclKind::Group, AclKind::Other] {
                if let Some(access) = self.entries.get(&AclKey::unnamed(AclScope::Access, kind)).copied() {
                    self.entries.entry(AclKey::unnamed(AclScope::Default, kind)).or_insert(access);
                }
            }
        }
        for scope in [AclScope::Access, AclScope::Default] {
            let entries = || self.entries.iter().filter(|(key, _)| key.scope == scope);
            if entries().next().is_none() {
                continue;
            }
            let is_needed = entries().any(|(key, _)| key.name.is_some());
            let is_said = self.said.contains(&scope);
            let mask = match self.masks.get(&scope) {
                None if is_needed && is_said => {
                    return Err(invalid(
                        "mask is required and cannot be deleted: remove the named entries too",
                    ));
                }
                // Said just now, or nobody touched this scope.
                Some(mask) if is_said || !self.changed.contains(&scope) => *mask,
                None if !is_needed => continue,
                Some(_) | None => entries()
                    .filter(|(key, _)| key.is_masked())
                    .fold(Perm::NONE, |union, (_, perm)| union.or(*perm)),
            };
            self.entries.insert(AclKey::unnamed(scope, AclKind::Mask), mask);
        }
        Ok(self.entries)
    }
}

fn replaced(now: &Entries, entries: &[AclEntry]) -> FsResult<Entries> {
    let mut draft = Draft::default();
    for (key, perm) in map_of(entries.to_vec())? {
        draft.note(&key);
        draft.keep(key, perm);
    }
    for (key, perm) in now {
        if !draft.changed.contains(&key.scope) {
            draft.keep(key.clone(), *perm);
        }
    }
    draft.finish()
}

fn merged(now: Entries, entries: &[AclEntry]) -> FsResult<Entries> {
    let mut draft = Draft::default();
    for (key, perm) in now {
        draft.keep(key, perm);
    }
    for (key, perm) in map_of(entries.to_vec())? {
        draft.note(&key);
        draft.keep(key, perm);
    }
    draft.finish()
}

fn filtered(now: Entries, keys: &[AclKey]) -> FsResult<Entries> {
    let mut draft = Draft::default();
    for (key, perm) in now {
        if keys.contains(&key) {
            draft.note(&key);
        } else {
            draft.keep(key, perm);
        }
    }
    draft.finish()
}

fn map_of(entries: Vec<AclEntry>) -> FsResult<Entries> {
    let count = entries.len();
    let entries: Entries = entries.into_iter().map(|AclEntry { key, perm }| (key, perm)).collect();
    if entries.len() < count {
        return Err(invalid("multiple entries with same scope, type and name: give each once"));
    }
    Ok(entries)
}

fn check_count(entries: &Entries) -> FsResult<()> {
    for (scope, what) in [(AclScope::Access, "access"), (AclScope::Default, "default")] {
        let count = entries.keys().filter(|key| key.scope == scope).count();
        if count > MAX_ACL_ENTRIES {
            return Err(invalid(&format!(
                "ACL has {count} {what} entries, which exceeds maximum of {MAX_ACL_ENTRIES}: use groups"
            )));
        }
    }
    let bytes: usize = entries.keys().filter_map(|key| key.name.as_ref()).map(String::len).sum();
    if bytes > MAX_ACL_NAME_BYTES {
        return Err(invalid(&format!(
            "the names in the ACL have {bytes} bytes, which exceeds maximum of {MAX_ACL_NAME_BYTES}: use groups"
        )));
    }
    Ok(())
}

/// Whether a whole ACL has what it must have, and no more than it may.
fn check_whole(entries: &Entries) -> FsResult<()> {
    entries.keys().try_for_each(AclKey::check)?;
    check_count(entries)?;
    let has_all = |scope| {
        [AclKind::User, AclKind::Group, AclKind::Other]
            .iter()
            .all(|kind| entries.contains_key(&AclKey::unnamed(scope, *kind)))
    };
    if !has_all(AclScope::Access) {
        return Err(invalid("the user, group and other entries are required: give all three"));
    }
    let has_default = entries.keys().any(|key| key.scope == AclScope::Default);
    if has_default && !has_all(AclScope::Default) {
        return Err(FsError::invalid(
            "Invalid default ACL: the user, group and other entries are required: give all three",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
