//! What fits on a volume, and which volume takes the next replica.

pub(crate) use dfs_types::checksum::stored_bytes;

/// Bytes of one file system, which may have several volumes. "Reserved" is promised to replicas that are being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Space {
    /// Bytes of the file system.
    pub(crate) capacity: u64,
    /// Bytes free for this process when last asked, less what was written since.
    free: u64,
    /// Bytes to be left free.
    keep_free: u64,
    /// Bytes promised to replicas being written and not yet written.
    reserved: u64,
}

/// What is left free on a volume of `capacity` bytes if nobody says otherwise: 5 %, at most 1 GiB.
pub(crate) const fn default_reserve(capacity: u64) -> u64 {
    let share = capacity / 20;
    if share < 1 << 30 { share } else { 1 << 30 }
}

impl Space {
    /// A file system where `keep_free` bytes are left free.
    pub(crate) fn new(capacity: u64, free: u64, keep_free: u64) -> Self {
        Self { capacity, free, keep_free, ..Self::default() }
    }

    /// Takes over what the file system says now.
    pub(crate) fn refresh(&mut self, capacity: u64, free: u64) {
        self.capacity = capacity;
        self.free = free;
    }

    /// Bytes that new replicas may take.
    pub(crate) fn available(&self) -> u64 {
        self.free.saturating_sub(self.keep_free).saturating_sub(self.reserved)
    }

    /// Promises room for `bytes`; `false` if there is not enough.
    pub(crate) fn reserve(&mut self, bytes: u64) -> bool {
        let fits = self.available() >= bytes;
        if fits {
            self.reserved += bytes;
        }
        fits
    }

    /// Takes back what is left of a promise.
    pub(crate) fn release(&mut self, bytes: u64) {
        self.reserved = self.reserved.saturating_sub(bytes);
    }

    /// `bytes` of a replica were written.
    pub(crate) fn wrote(&mut self, bytes: u64) {
        self.free = self.free.saturating_sub(bytes);
    }

    /// `bytes` of a replica were removed or cut off.
    pub(crate) fn removed(&mut self, bytes: u64) {
        self.free = self.free.saturating_add(bytes).min(self.capacity);
    }
}

/// Chooses among volumes with `available` bytes each one with at least `needed`, with a probability in proportion to
/// what is available, so that volumes fill evenly and all disks work. `random` decides. `None` if none has room.
pub(crate) fn choose(available: &[u64], needed: u64, random: u64) -> Option<usize> {
    let weight = |bytes: u64| if bytes >= needed { u128::from(bytes).max(1) } else { 0 };
    let total: u128 = available.iter().map(|bytes| weight(*bytes)).sum();
    if total == 0 {
        return None;
    }
    // 32 bits of chance are enough, and the product cannot overflow.
    let mut point = (u128::from(random >> 32) * total) >> 32;
    available.iter().position(|bytes| {
        let weight = weight(*bytes);
        let here = point < weight;
        point = point.saturating_sub(weight);
        here
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn promises_are_kept_apart() {
        let mut space = Space::new(1_000, 500, 100);
        assert!(space.reserve(300));
        assert!(!space.reserve(101));
        assert_eq!(space.available(), 100);
        space.release(100);
        space.wrote(100);
        assert_eq!(space.available(), 100);
        space.release(200);
        assert_eq!(space.available(), 300);
        space.removed(100);
        assert_eq!(space.available(), 400);
    }

    #[test]
    fn the_reserve_is_small_on_small_volumes() {
        assert_eq!(default_reserve(1 << 30), (1 << 30) / 20);
        assert_eq!(default_reserve(1 << 50), 1 << 30);
    }

    proptest! {
        #[test]
        fn only_volumes_with_room_are_chosen(available in proptest::collection::vec(any::<u64>(), 0..6), needed: u64, random: u64) {
            match choose(&available, needed, random) {
                Some(index) => prop_assert!(available[index] >= needed),
                None => prop_assert!(available.iter().all(|bytes| *bytes < needed)),
            }
        }
    }

    #[test]
    fn larger_volumes_get_more() {
        let mut counts = [0_u32; 2];
        for step in 0..1_000_u64 {
            counts[choose(&[100, 300], 1, step * (u64::MAX / 1_000)).unwrap()] += 1;
        }
        assert!((240..=260).contains(&counts[0]), "{counts:?}");
    }
}
