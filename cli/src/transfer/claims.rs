//! What the running command makes itself: two sources of one name must not become one file.

use std::collections::HashMap;
use std::fmt::{self, Display};
use std::hash::Hash;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dfs_types::{ErrorCode, FsError};
use tokio::sync::Notify;

use crate::exit::Outcome;

/// A local path, as it is; shown as far as it can be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place(pub(crate) PathBuf);

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.display(), f)
    }
}

/// Targets of one command, each with the source it is made from.
#[derive(Debug)]
pub(crate) struct Claims<T, S> {
    /// `None`: there is only one source, in which no name comes twice.
    targets: Option<Arc<Targets<T, S>>>,
}

#[derive(Debug)]
struct Targets<T, S> {
    made: Mutex<HashMap<T, Made<S>>>,
    /// A claim was kept or given up.
    decided: Notify,
}

#[derive(Debug)]
struct Made<S> {
    source: S,
    /// It is there; else it may come, or not.
    done: bool,
}

impl<T, S> Targets<T, S> {
    fn lock(&self) -> MutexGuard<'_, HashMap<T, Made<S>>> {
        // Nothing is left half done under the lock.
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A target that is being made. Unless it is kept, another source may have it: the first one failed.
#[derive(Debug)]
#[must_use]
pub(crate) struct Claim<T: Eq + Hash, S> {
    /// `None`: nobody else can want it, or somebody has made it before.
    pending: Option<(Arc<Targets<T, S>>, T)>,
}

impl<T: Eq + Hash, S> Claim<T, S> {
    /// The target was made.
    pub(crate) fn keep(mut self) {
        if let Some((targets, target)) = self.pending.take() {
            if let Some(made) = targets.lock().get_mut(&target) {
                made.done = true;
            }
            targets.decided.notify_waiters();
        }
    }
}

/// Decides on the claim of a tree by what comes first in it, its root; after that there is nothing to decide.
pub(crate) fn decide_by_root<T: Eq + Hash, S>(claim: &mut Option<Claim<T, S>>, is_made: bool) {
    if let Some(claim) = claim.take().filter(|_| is_made) {
        claim.keep();
    }
}

impl<T: Eq + Hash, S> Drop for Claim<T, S> {
    fn drop(&mut self) {
        if let Some((targets, target)) = self.pending.take() {
            targets.lock().remove(&target);
            targets.decided.notify_waiters();
        }
    }
}

/// What is known of a target.
enum Known<T: Eq + Hash, S> {
    Free(Claim<T, S>),
    /// This very source makes it, or has made it.
    Mine,
    /// Another source has made it.
    Others,
}

impl<T: Display + Eq + Hash + Clone, S: Display + Eq + Clone> Claims<T, S> {
    /// For a command of so many sources.
    pub(crate) fn new(sources: usize) -> Self {
        let targets = || Arc::new(Targets { made: Mutex::new(HashMap::new()), decided: Notify::new() });
        Self { targets: (sources > 1).then(targets) }
    }

    /// Takes `target` for `source`; `None` if this very source has it already, so that nothing is left to do. If another
    /// has it, the error says so; while another is at it, that is waited for.
    pub(crate) async fn take(&self, target: T, source: S) -> Outcome<Option<Claim<T, S>>> {
        match self.decide(&target, &source).await {
            Known::Free(claim) => Ok(Some(claim)),
            Known::Mine => Ok(None),
            Known::Others => {
                let message = format!("will not overwrite just-created {target} with {source}");
                Err(FsError::new(ErrorCode::AlreadyExists, message).into())
            }
        }
    }

    /// Like [`Claims::take`], for a directory: those of several sources become one.
    pub(crate) async fn merge(&self, target: T, source: S) -> Option<Claim<T, S>> {
        match self.decide(&target, &source).await {
            Known::Free(claim) => Some(claim),
            Known::Mine => None,
            Known::Others => Some(Claim { pending: None }),
        }
    }

    async fn decide(&self, target: &T, source: &S) -> Known<T, S> {
        let Some(targets) = &self.targets else { return Known::Free(Claim { pending: None }) };
        loop {
            let mut decided = pin!(targets.decided.notified());
            // From now on no decision is missed.
            decided.as_mut().enable();
            match look(targets, target, source) {
                Some(known) => return known,
                None => decided.await,
            }
        }
    }
}

/// What is known now; nothing while another source may make it.
fn look<T: Eq + Hash + Clone, S: Eq + Clone>(
    targets: &Arc<Targets<T, S>>,
    target: &T,
    source: &S,
) -> Option<Known<T, S>> {
    let mut made = targets.lock();
    match made.get(target) {
        Some(first) if first.source == *source => Some(Known::Mine),
        Some(first) => first.done.then_some(Known::Others),
        None => {
            made.insert(target.clone(), Made { source: source.clone(), done: false });
            Some(Known::Free(Claim { pending: Some((Arc::clone(targets), target.clone())) }))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::time::Duration;

    use super::*;

    async fn make(claims: &Claims<&'static str, &'static str>, target: &'static str, source: &'static str) {
        claims.take(target, source).await.unwrap().unwrap().keep();
    }

    #[tokio::test]
    async fn a_target_has_one_source() {
        let claims = Claims::new(2);
        make(&claims, "/to/x", "a/x").await;
        make(&claims, "/to/y", "a/y").await;
        assert!(claims.take("/to/x", "a/x").await.unwrap().is_none());
        let message = claims.take("/to/x", "b/x").await.unwrap_err().message().unwrap();
        assert_eq!(message, "will not overwrite just-created /to/x with b/x");
    }

    #[tokio::test]
    async fn a_source_that_failed_has_no_target() {
        let claims = Claims::new(2);
        drop(claims.take("/to/x", "a/x").await.unwrap().unwrap());
        make(&claims, "/to/x", "b/x").await;
        assert!(claims.take("/to/x", "a/x").await.is_err());
    }

    #[tokio::test]
    async fn what_is_not_decided_is_waited_for() {
        let claims = Arc::new(Claims::new(2));
        for fails in [true, false] {
            let target = if fails { "/to/x" } else { "/to/y" };
            let first = claims.take(target, "a").await.unwrap().unwrap();
            let other = Arc::clone(&claims);
            let mut second = tokio::spawn(async move {
                let taken = other.take(target, "b").await;
                taken.map(|claim| claim.map(Claim::keep))
            });
            tokio::task::yield_now().await;
            assert!(tokio::time::timeout(Duration::from_millis(1), &mut second).await.is_err());
            if fails {
                drop(first);
            } else {
                first.keep();
            }
            assert_eq!(second.await.unwrap().is_ok(), fails);
        }
    }

    #[tokio::test]
    async fn directories_are_merged_unless_it_is_the_same_again() {
        let claims = Claims::new(2);
        claims.merge("/to/d", "a/d").await.unwrap().keep();
        claims.merge("/to/d", "b/d").await.unwrap().keep();
        // That it is not made anew by the second does not mean that it is not there.
        drop(claims.merge("/to/d", "c/d").await.unwrap());
        assert!(claims.merge("/to/d", "a/d").await.is_none());
        assert!(claims.take("/to/d", "d/d").await.is_err());
    }

    #[tokio::test]
    async fn sources_that_look_alike_are_not_the_same() {
        let place = |name: &[u8]| Place(PathBuf::from(OsStr::from_bytes(name)));
        let (one, other) = (place(b"a\xff"), place(b"a\xfe"));
        assert_eq!(one.to_string(), other.to_string());
        let claims = Claims::new(2);
        claims.take("/to/x", one.clone()).await.unwrap().unwrap().keep();
        assert!(claims.take("/to/x", one).await.unwrap().is_none());
        assert!(claims.take("/to/x", other).await.is_err());
    }

    #[tokio::test]
    async fn a_single_source_needs_no_memory() {
        let claims = Claims::new(1);
        make(&claims, "/to/x", "a").await;
        make(&claims, "/to/x", "b").await;
        assert!(claims.targets.is_none());
    }
}
