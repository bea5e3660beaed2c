//! Which groups a user is in. Everybody who takes a request from outside asks here, so that no protocol believes more than
//! another.

mod mapping;

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use dfs_daemon::Shutdown;
use dfs_types::limits::MAX_GROUP_FILE_BYTES;
use dfs_types::{Caller, GroupOrigin, GroupSource, UserGroups};
use tracing::{info, warn};

use mapping::Mapping;

/// How often it is looked whether the file is another one.
const LOOK: Duration = Duration::from_secs(3);

/// The file of groups can't be used at the start.
#[derive(Debug, thiserror::Error)]
#[error("the file of groups {path} can't be used ({why}): correct it, or start with --groups caller")]
pub struct Unusable {
    path: String,
    why: String,
}

/// The groups of users.
#[derive(Debug)]
pub struct Groups {
    source: GroupSource,
    /// What the file said when it was right last.
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    mapping: Arc<Mapping>,
    /// Which file that was.
    stamp: Option<Stamp>,
    problem: Option<String>,
}

/// What tells a file from one that took its place, or from itself before it was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl From<&Metadata> for Stamp {
    fn from(file: &Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
            bytes: file.len(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

/// Reads the file. Blocks.
fn read(path: &str) -> Result<(Mapping, Stamp), String> {
    let open = || {
        // A pipe would keep who opens it waiting.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        let file = File::open(path)?;
        let stamp = Stamp::from(&file.metadata()?);
        let mut text = Vec::new();
        file.take(MAX_GROUP_FILE_BYTES + 1).read_to_end(&mut text)?;
        Ok((text, stamp))
    };
    let (text, stamp) = open().map_err(|error| error.to_string())?;
    if text.len() as u64 > MAX_GROUP_FILE_BYTES {
        return Err(format!("it has more than {MAX_GROUP_FILE_BYTES} bytes"));
    }
    let mapping = Mapping::parse(&text).map_err(|mistake| mistake.to_string())?;
    Ok((mapping, stamp))
}

impl Groups {
    /// Groups of this source. Reads its file, if it has one. Blocks.
    pub fn load(source: GroupSource) -> Result<Self, Unusable> {
        let mut known = Known::default();
        if let GroupSource::File(path) = &source {
            let (mapping, stamp) = read(path).map_err(|why| Unusable { path: path.clone(), why })?;
            known = Known { mapping: Arc::new(mapping), stamp: Some(stamp), problem: None };
        }
        Ok(Self { source, known: RwLock::new(known) })
    }

    /// The caller as he is believed to be, whatever groups he claims.
    pub fn resolve(&self, claim: Caller) -> Caller {
        match &self.source {
            GroupSource::Caller => claim,
            GroupSource::File(_) => {
                Caller { groups: self.mapping().groups_of(&claim.user), user: claim.user }
            }
        }
    }

    /// The groups of these users, as far as they are known; `asking` was resolved.
    pub fn of(&self, asking: &Caller, users: Vec<String>) -> Vec<UserGroups> {
        let mapping = self.mapping();
        let groups = |user: &str| match &self.source {
            GroupSource::Caller => (user == asking.user).then(|| asking.groups.clone()),
            GroupSource::File(_) => Some(mapping.groups_of(user)),
        };
        users.into_iter().map(|user| UserGroups { groups: groups(&user), user }).collect()
    }

    /// Who is in a group, ordered by name; `None` if only requests say it.
    pub fn members_of(&self, group: &str) -> Option<Vec<String>> {
        match &self.source {
            GroupSource::Caller => None,
            GroupSource::File(_) => Some(self.mapping().members_of(group)),
        }
    }

    /// Where they come from.
    pub fn origin(&self) -> GroupOrigin {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        GroupOrigin { source: self.source.clone(), problem: known.problem.clone() }
    }

    fn mapping(&self) -> Arc<Mapping> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner).mapping)
    }

    /// Reads the file again when it was changed, until a stop is requested.
    pub async fn keep(self: Arc<Self>, shutdown: Shutdown) {
        if self.source == GroupSource::Caller {
            return;
        }
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = shutdown.requested() => return,
            }
            let this = Arc::clone(&self);
            if let Err(error) = tokio::task::spawn_blocking(move || this.look()).await {
                warn!(%error, "looking at the file of groups failed");
            }
        }
    }

    /// Reads the file if it is another one than it was, or could not be used. If it can't be, what it said before counts.
    /// Blocks.
    fn look(&self) {
        let GroupSource::File(path) = &self.source else { return };
        let seen = std::fs::metadata(path).ok().map(|file| Stamp::from(&file));
        let is_known = |known: &Known| known.problem.is_none() && known.stamp == seen;
        if is_known(&self.known.read().unwrap_or_else(PoisonError::into_inner)) {
            return;
        }
        let found = read(path);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        match found {
            Ok((mapping, stamp)) => {
                info!(path, "the file of groups was read");
                *known = Known { mapping: Arc::new(mapping), stamp: Some(stamp), problem: None };
            }
            Err(why) => {
                if known.problem.as_ref() != Some(&why) {
                    warn!(path, why, "the file of groups can't be used: what it said before counts");
                }
                known.problem = Some(why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn from(path: &Path) -> Result<Groups, Unusable> {
        Groups::load(GroupSource::File(path.to_str().unwrap().to_owned()))
    }

    fn claim(user: &str) -> Caller {
        Caller { user: user.to_owned(), groups: vec!["supergroup".to_owned()] }
    }

    /// Puts a new file in its place, as administrators and Kubernetes do.
    fn put(path: &Path, text: &str) {
        let draft = path.with_extension("new");
        std::fs::write(&draft, text).unwrap();
        std::fs::rename(draft, path).unwrap();
    }

    #[test]
    fn the_file_counts_and_no_claim() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("groups");
        std::fs::write(&file, "staff:x:1:ann\nops:x:2:ann,bob\n").unwrap();
        let groups = from(&file).unwrap();
        assert_eq!(groups.resolve(claim("ann")).groups, ["staff", "ops"]);
        assert_eq!(groups.resolve(claim("eve")), Caller { user: "eve".into(), groups: vec![] });
        assert_eq!(groups.members_of("ops").unwrap(), ["ann", "bob"]);
        let of = groups.of(&groups.resolve(claim("eve")), vec!["bob".into(), "eve".into()]);
        assert_eq!(of[0], UserGroups { user: "bob".into(), groups: Some(vec!["ops".into()]) });
        assert_eq!(of[1], UserGroups { user: "eve".into(), groups: Some(vec![]) });
    }

    #[test]
    fn without_a_file_the_claim_counts() {
        let groups = Groups::load(GroupSource::Caller).unwrap();
        assert_eq!(groups.resolve(claim("eve")), claim("eve"));
        assert_eq!(groups.members_of("supergroup"), None);
        let of = groups.of(&claim("eve"), vec!["eve".into(), "ann".into()]);
        assert_eq!((of[0].groups.as_deref(), &of[1].groups), (Some(&claim("eve").groups[..]), &None));
        assert_eq!(groups.origin(), GroupOrigin { source: GroupSource::Caller, problem: None });
    }

    #[test]
    fn a_changed_file_is_read_and_a_wrong_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("groups");
        std::fs::write(&file, "staff:x:1:ann\n").unwrap();
        let groups = from(&file).unwrap();
        let of_ann = || groups.resolve(claim("ann")).groups;
        let problem = || groups.origin().problem;
        groups.look();
        assert_eq!((of_ann(), problem()), (vec!["staff".to_owned()], None));

        put(&file, "other:x:1:ann\n");
        groups.look();
        assert_eq!((of_ann(), problem()), (vec!["other".to_owned()], None), "as long as before");
        for wrong in ["other", &"#".repeat(MAX_GROUP_FILE_BYTES as usize + 1)] {
            put(&file, wrong);
            groups.look();
            assert_eq!(of_ann(), ["other"]);
            assert!(problem().is_some_and(|why| why.contains("line 1") || why.contains("more than")));
        }
        std::fs::remove_file(&file).unwrap();
        groups.look();
        assert_eq!(of_ann(), ["other"]);
        assert!(problem().is_some());
        std::fs::create_dir(&file).unwrap();
        groups.look();
        assert_eq!(problem().unwrap(), "it is no file");
        std::fs::remove_dir(&file).unwrap();
        put(&file, "third:x:1:ann\n");
        groups.look();
        assert_eq!((of_ann(), problem()), (vec!["third".to_owned()], None));
    }

    #[test]
    fn at_the_start_the_file_must_be_right() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("groups");
        let missing = from(&file).unwrap_err().to_string();
        assert!(missing.contains("groups") && missing.contains("--groups caller"), "{missing}");
        std::fs::write(&file, "staff\n").unwrap();
        assert!(from(&file).unwrap_err().to_string().contains("line 1"));
    }
}
