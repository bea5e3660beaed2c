//! Which leader of the NameNodes this process obeys.

use std::sync::atomic::{AtomicU64, Ordering};

/// The highest term of a leading NameNode that this process has heard of. Whoever leads in an older term has been
/// replaced, and may not know it.
#[derive(Debug, Default)]
pub(crate) struct Fence(AtomicU64);

impl Fence {
    /// The term; 0 before any leader was heard of.
    pub(crate) fn term(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// A NameNode says that it leads in `term`. Answers whether it is to be obeyed.
    pub(crate) fn heard(&self, term: u64) -> bool {
        self.0.fetch_max(term, Ordering::SeqCst) <= term
    }

    /// Whether an order of this term may still be carried out.
    pub(crate) fn allows(&self, term: u64) -> bool {
        self.term() <= term
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_leader_is_obeyed() {
        let fence = Fence::default();
        assert!(fence.allows(0) && fence.heard(3) && fence.heard(3));
        assert!(!fence.heard(2) && !fence.allows(2) && fence.allows(3));
        assert!(fence.heard(4) && !fence.allows(3));
        assert_eq!(fence.term(), 4);
    }
}
