//! Files of the directory that are on their way in or out, and of no use after a crash.

use std::path::{Path, PathBuf};

/// Such a file; it goes with this value.
#[derive(Debug)]
pub struct PartFile(PathBuf);

impl PartFile {
    /// A name for a new file of this kind. Nothing is made yet.
    pub(crate) fn new(directory: &Path, kind: &str) -> Self {
        Self(directory.join(format!("{kind}-{}.part", uuid::Uuid::new_v4())))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        match std::fs::remove_file(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(file = %self.0.display(), %error, "a file stays behind until the next start");
            }
            Ok(()) | Err(_) => {}
        }
    }
}
