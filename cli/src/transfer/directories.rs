//! Directories of the cluster that a copied tree needs.

use std::collections::BTreeMap;

use dfs_client::Dfs;
use dfs_types::{CreateMode, ErrorCode, FsError, FsPath, Mode};

use super::attributes::{Attributes, OWNER_USES, Times};
use crate::exit::{Failure, Outcome};
use crate::remote;

/// Directories that one command has made. Those that are to be read-only, or to keep times, get there when everything is
/// in them. Of several sources that become one, the last one's attributes are kept, as with `cp -rp`.
#[derive(Debug, Default)]
pub(crate) struct Directories(BTreeMap<FsPath, (Mode, Option<Times>)>);

impl Directories {
    /// Makes a directory; one that exists is fine. The `top` of a tree may lack those above it, which are made too.
    pub(crate) async fn make(
        &mut self,
        dfs: &Dfs,
        path: FsPath,
        attributes: Attributes,
        above: Option<CreateMode>,
    ) -> Outcome {
        let Attributes { mode, exact, times } = attributes;
        let usable = |mode: Mode| Mode::truncate(mode.bits() | OWNER_USES);
        let during = CreateMode { mode: usable(mode.mode), unmasked: mode.unmasked.map(usable) };
        let mut made = dfs.mkdir(&path, during).await;
        if let (Err(error), Some(above), Some(parent)) = (&made, above, path.parent())
            && error.code == ErrorCode::NotFound
        {
            dfs.mkdir_all(&parent, above).await?;
            made = dfs.mkdir(&path, during).await;
        }
        let is_new = match made {
            Ok(_) => true,
            Err(error) if error.code == ErrorCode::AlreadyExists => {
                if !remote::status(dfs, &path).await?.is_some_and(|status| status.is_directory()) {
                    let message = format!("{path} is a file: a directory can't replace it");
                    return Err(FsError::new(ErrorCode::NotADirectory, message).into());
                }
                false
            }
            Err(error) => return Err(error.into()),
        };
        if exact || (is_new && during != mode) {
            self.0.insert(path, (mode.mode, times));
        }
        Ok(())
    }

    /// Gives them their attributes, those below before those above: above, the way to them may be closed then. Answers
    /// with what failed.
    pub(crate) async fn finish(self, dfs: &Dfs) -> Vec<Failure> {
        let mut failures = Vec::new();
        for (path, (mode, times)) in self.0.into_iter().rev() {
            let done = async {
                if let Some(Times { mtime, .. }) = times {
                    dfs.set_times(&path, Some(mtime), None).await?;
                }
                dfs.set_mode(&path, mode).await
            };
            failures.extend(done.await.err().map(Failure::from));
        }
        failures
    }
}
