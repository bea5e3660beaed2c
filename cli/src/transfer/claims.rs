//! What the running command has made itself: two sources of one name must not become one file.

use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;

use dfs_types::{ErrorCode, FsError};

use crate::exit::Outcome;

/// Targets of one command, each with the source it was made from.
#[derive(Debug)]
pub(crate) struct Claims<T> {
    /// `None`: there is only one source, in which no name comes twice.
    made: Option<HashMap<T, String>>,
}

impl<T: Display + Eq + Hash> Claims<T> {
    /// For a command of so many sources.
    pub(crate) fn new(sources: usize) -> Self {
        Self { made: (sources > 1).then(HashMap::new) }
    }

    /// Takes `target` for `source`; `false` if this very source has it already, so that nothing is left to do. If
    /// another has it, the error says so.
    pub(crate) fn take(&mut self, target: T, source: &(impl Display + ?Sized)) -> Outcome<bool> {
        let source = source.to_string();
        let Some(made) = &mut self.made else { return Ok(true) };
        match made.get(&target) {
            Some(first) if *first == source => Ok(false),
            Some(_) => {
                let message = format!("will not overwrite just-created {target} with {source}");
                Err(FsError::new(ErrorCode::AlreadyExists, message).into())
            }
            None => {
                made.insert(target, source);
                Ok(true)
            }
        }
    }

    /// Like [`Claims::take`], for a directory: those of several sources become one.
    pub(crate) fn merge(&mut self, target: T, source: &(impl Display + ?Sized)) -> bool {
        let source = source.to_string();
        let Some(made) = &mut self.made else { return true };
        if let Some(first) = made.get(&target) {
            return *first != source;
        }
        made.insert(target, source);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_has_one_source() {
        let mut claims = Claims::new(2);
        assert!(claims.take("/to/x", "a/x").unwrap());
        assert!(claims.take("/to/y", "a/y").unwrap());
        assert!(!claims.take("/to/x", "a/x").unwrap());
        let message = claims.take("/to/x", "b/x").unwrap_err().message().unwrap();
        assert_eq!(message, "will not overwrite just-created /to/x with b/x");
    }

    #[test]
    fn directories_are_merged_unless_it_is_the_same_again() {
        let mut claims = Claims::new(2);
        assert!(claims.merge("/to/d", "a/d"));
        assert!(claims.merge("/to/d", "b/d"));
        assert!(!claims.merge("/to/d", "a/d"));
        assert!(claims.take("/to/d", "c/d").is_err());
    }

    #[test]
    fn a_single_source_needs_no_memory() {
        let mut claims = Claims::new(1);
        assert!(claims.take("/to/x", "a").unwrap() && claims.take("/to/x", "b").unwrap());
        assert!(claims.made.is_none());
    }
}
