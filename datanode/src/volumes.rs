//! From directories on the command line to volumes in use. Each directory is asked on threads of its own from the first
//! moment: a disk that does not answer costs only itself.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dfs_types::{ClusterId, FsError, NodeId, VolumeHealth, VolumeId};
use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{error, info, warn};

use crate::config::Config;
use crate::disk_pool::DiskPool;
use crate::ending::Error;
use crate::volume::health::{NoAnswer, Patience};
use crate::volume::layout::{self, Directory, Identity, Sibling, common_owner};
use crate::volume::{Formatted, Volume};

/// Volumes that cannot be used.
pub(crate) type Lost = Vec<(VolumeId, PathBuf)>;

/// A locked directory, with the threads that ask its disk.
#[derive(Debug)]
pub(crate) struct Candidate {
    pool: DiskPool,
    directory: Directory,
    identity: Option<Identity>,
    siblings: Vec<Sibling>,
}

impl Candidate {
    /// The directory, as configured.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl From<layout::Error> for Error {
    fn from(error: layout::Error) -> Self {
        let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
        Self::Volume(format!("{error}{cause}"))
    }
}

/// Does something that may hang on a thread that nobody waits for longer than `limit`, not even the end of the process.
pub(crate) async fn aside<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (answer, result) = oneshot::channel();
    std::thread::Builder::new().name("aside".to_owned()).spawn(move || {
        // Nobody may be waiting any more.
        let _ = answer.send(work());
    })?;
    match timeout(limit, result).await {
        Ok(result) => result.unwrap_or_else(|_| Err(io::Error::other("its thread broke off"))),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the disk does not answer")),
    }
}

fn patience(config: &Config) -> Patience {
    Patience { suspect_after: config.suspect_after, fail_after: config.fail_after }
}

fn look(path: &Path) -> Result<(Directory, Option<Identity>, Vec<Sibling>), layout::Error> {
    let directory = Directory::lock(path)?;
    let identity = directory.identity()?;
    let siblings = if identity.is_some() { directory.siblings() } else { Ok(Vec::new()) };
    let siblings = siblings.unwrap_or_else(|error| {
        warn!(%error, "which volumes the node had is not known from this one");
        Vec::new()
    });
    Ok((directory, identity, siblings))
}

/// Locks all volumes. One with an I/O error, one that does not answer, and one that is empty though it held a volume of
/// this node cost only themselves, as long as there is another; anything else is a mistake that somebody has to look at.
pub(crate) async fn lock_all(config: &Config) -> Result<(Vec<Candidate>, Lost), Error> {
    let patience = patience(config);
    if patience.suspect_after >= patience.fail_after {
        let why = "--suspect-after must be less than --fail-after".to_owned();
        return Err(FsError::invalid(why).into());
    }
    let paths = || config.volumes.iter().map(|volume| &volume.path);
    let looks = paths().map(|path| async move {
        let pool = DiskPool::start("disk", usize::from(config.threads_per_volume));
        let failed = |source| layout::Error::Io { what: "start its threads", path: path.clone(), source };
        let pool = pool.map_err(failed)?;
        let at = path.clone();
        let looked = patience.wait(&pool, VolumeHealth::Failed, pool.run(move || look(&at))).await;
        let (directory, identity, siblings) = looked.unwrap_or_else(|why| {
            Err(layout::Error::Io { what: "use it", path: path.clone(), source: silent(why) })
        })?;
        Ok(Candidate { pool, directory, identity, siblings })
    });
    let (mut candidates, mut lost) = (Vec::new(), Vec::new());
    let mut failure = None;
    for (path, looked) in paths().zip(join_all(looks).await) {
        match looked {
            Ok(candidate) => candidates.push(candidate),
            Err(error @ layout::Error::Io { .. }) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                error!(volume = %path.display(), %error, cause, "volume is out of use");
                lost.push((VolumeId::random(), path.clone()));
                failure.get_or_insert(error);
            }
            Err(error) => return Err(error.into()),
        }
    }
    match failure {
        Some(error) if candidates.is_empty() => Err(error.into()),
        Some(_) | None => Ok(set_apart(config, candidates, lost)),
    }
}

/// The volumes that the node had, by their directories, as far as those that are here remember.
fn remembered(candidates: &[Candidate]) -> BTreeMap<PathBuf, VolumeId> {
    let siblings = candidates.iter().flat_map(|candidate| &candidate.siblings);
    siblings.map(|sibling| (sibling.path.clone(), sibling.volume_id)).collect()
}

/// The volume that an empty directory should be, and so is not to be used; `None` if it held none, or somebody says that
/// its disk was replaced.
fn missed(path: &Path, known: &BTreeMap<PathBuf, VolumeId>, replaced: &[PathBuf]) -> Option<VolumeId> {
    #[cfg(feature = "seeded-bug")]
    if crate::seeded::has(crate::seeded::Bug::FormatsAnything) {
        return None;
    }
    known.get(path).copied().filter(|_| replaced.iter().all(|replaced| replaced != path))
}

/// Takes those out that should not be empty: their disk is not mounted, or somebody emptied them. Nothing is written there.
fn set_apart(config: &Config, candidates: Vec<Candidate>, lost: Lost) -> (Vec<Candidate>, Lost) {
    let known = remembered(&candidates);
    let known_as = |(id, path): (VolumeId, PathBuf)| (known.get(&path).copied().unwrap_or(id), path);
    let mut lost: Lost = lost.into_iter().map(known_as).collect();
    let mut stay = Vec::new();
    for candidate in candidates {
        let path = candidate.path();
        match missed(path, &known, &config.replaced_volumes).filter(|_| candidate.identity.is_none()) {
            Some(id) => {
                error!(
                    volume = %path.display(),
                    %id,
                    "the volume is empty, but it held replicas of this node, and is out of use: mount its disk; if that \
                     was replaced by an empty one, start once with --replaced-volume"
                );
                lost.push((id, path.to_owned()));
            }
            None => stay.push(candidate),
        }
    }
    (stay, lost)
}

/// Whose the formatted ones are; `None` if none is formatted.
pub(crate) fn owner(candidates: &[Candidate]) -> Result<Option<(ClusterId, NodeId)>, Error> {
    let identities: Vec<_> =
        candidates.iter().map(|candidate| (candidate.path().to_owned(), candidate.identity)).collect();
    Ok(common_owner(&identities, None)?)
}

/// Formats what is not formatted and takes everything into use. Then every volume is told which others there are.
pub(crate) async fn open_all(
    config: &Config,
    candidates: Vec<Candidate>,
    mut lost: Lost,
    owner: (ClusterId, NodeId),
) -> Result<(Vec<Volume>, Lost), Error> {
    let known = remembered(&candidates);
    let opened = join_all(candidates.into_iter().map(|candidate| open(config, candidate, owner))).await;
    let mut volumes = Vec::new();
    for opened in opened {
        match opened {
            Ok(volume) => volumes.push(volume),
            Err(Unopened { id: Some(id), path, error }) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                error!(volume = %path.display(), %error, cause, "volume is out of use");
                lost.push((id, path));
            }
            Err(Unopened { id: None, error, .. }) => return Err(error.into()),
        }
    }
    let in_use = volumes.iter().map(|(volume, _)| (volume.path.clone(), volume.id));
    // Those that are out of use now are still this node's.
    let missing = lost.iter().filter_map(|(_, path)| known.get_key_value(path));
    let missing = missing.map(|(path, id)| (path.clone(), *id));
    let all: BTreeMap<PathBuf, VolumeId> = in_use.chain(missing).collect();
    let all: Vec<Sibling> = all.into_iter().map(|(path, volume_id)| Sibling { volume_id, path }).collect();
    join_all(volumes.iter().filter(|(_, before)| *before != all).map(|(volume, _)| volume.remember(&all)))
        .await;
    Ok((volumes.into_iter().map(|(volume, _)| volume).collect(), lost))
}

/// A volume that cannot be used.
struct Unopened {
    /// Its id, if it was formatted before.
    id: Option<VolumeId>,
    path: PathBuf,
    error: layout::Error,
}

/// Takes one into use; answers also what it remembered of the others.
async fn open(
    config: &Config,
    candidate: Candidate,
    owner: (ClusterId, NodeId),
) -> Result<(Volume, Vec<Sibling>), Unopened> {
    let Candidate { pool, directory, identity, siblings } = candidate;
    let (path, id) = (directory.path().to_owned(), identity.map(|identity| identity.volume_id));
    let io_error = |what, path: PathBuf| move |source| layout::Error::Io { what, path, source };
    let failed = io_error("measure it", path.clone());
    let job = move || {
        let identity = identity.map_or_else(|| format(&directory, owner), Ok)?;
        Formatted::look(directory, identity).map_err(failed)
    };
    let patience = patience(config);
    let looked = patience.wait(&pool, VolumeHealth::Failed, pool.run(job)).await;
    let looked = looked.unwrap_or_else(|why| Err(io_error("use it", path.clone())(silent(why))));
    match looked {
        Ok(formatted) => Ok((Volume::open(formatted, config.reserve, pool, patience), siblings)),
        Err(error) => Err(Unopened { id, path, error }),
    }
}

fn format(directory: &Directory, (cluster, node): (ClusterId, NodeId)) -> Result<Identity, layout::Error> {
    let new = Identity::new(cluster, node);
    directory.format(new)?;
    info!(volume = %directory.path().display(), %cluster, %node, "volume formatted");
    Ok(new)
}

fn silent(why: NoAnswer) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_directory_is_new_unless_it_held_a_volume() {
        let (a, b) = (VolumeId::random(), VolumeId::random());
        let known = BTreeMap::from([("/a".into(), a), ("/b".into(), b)]);
        assert_eq!(missed(Path::new("/b"), &known, &[]), Some(b));
        assert_eq!(missed(Path::new("/c"), &known, &[]), None);
        assert_eq!(missed(Path::new("/b"), &known, &["/a".into()]), Some(b));
        assert_eq!(missed(Path::new("/b"), &known, &["/b".into()]), None);
    }
}
