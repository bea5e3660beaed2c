//! Moving bytes: files in, out and within the cluster, several at a time.

pub(crate) mod attributes;
pub(crate) mod claims;
pub(crate) mod directories;
pub(crate) mod download;
pub(crate) mod jobs;
pub(crate) mod local_tree;
pub(crate) mod progress;
pub(crate) mod standard_streams;
pub(crate) mod target;
pub(crate) mod upload;

use dfs_types::{FileStatus, FsPath};

/// Files transferred at the same time if not said otherwise: enough to hide the round trips of small files, few enough
/// that large ones are written one after the other on the disks.
pub(crate) const DEFAULT_PARALLEL: u16 = 6;
/// Bytes that are read from a local file at once.
const READ_BYTES: usize = 1 << 20;
/// Pieces of that size that wait between a local file and the network, for each transfer.
const PIECES: usize = 4;

/// How the hidden names end under which transfers write.
const HIDDEN_END: &str = "._COPYING_";

/// Whether a file is only there to be published by whoever writes it (ADR 0029): nothing for a copy of what is around it.
pub(crate) fn is_under_way(path: &FsPath, status: &FileStatus) -> bool {
    status.open && path.name().is_some_and(|name| name.starts_with('.') && name.ends_with(HIDDEN_END))
}

/// A name beside `name`, hidden and unique, under which a transfer writes until it is complete.
fn hidden_name(name: &str, random: u64) -> String {
    // Names have a limit: the temporary one must fit it as well.
    let most = dfs_types::limits::MAX_NAME_BYTES - "..0123456789abcdef".len() - HIDDEN_END.len();
    let mut end = name.len().min(most);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!(".{}.{random:016x}{HIDDEN_END}", name.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_names_are_valid() {
        for name in ["a", &"n".repeat(255), &"ü".repeat(127)] {
            let hidden = hidden_name(name, u64::MAX);
            dfs_types::path::check_name(&hidden).unwrap();
            assert!(hidden.starts_with('.'));
        }
        assert_ne!(hidden_name("a", 1), hidden_name("a", 2));
    }
}
