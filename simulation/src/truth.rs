//! How many intact replicas of each chunk are really on disks, whatever the NameNode believes. One byte a chunk.

/// Intact replicas on disks that are not lost, whether their node runs or not.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    intact: Vec<u8>,
    wanted: u8,
    /// Chunks with fewer replicas than wanted, but some.
    short: u64,
    /// Chunks without any.
    gone: u64,
}

impl Truth {
    /// `chunks` chunks that have all the replicas wanted.
    pub(crate) fn new(chunks: u32, wanted: u8) -> Self {
        Self { intact: vec![wanted; chunks as usize], wanted, short: 0, gone: 0 }
    }

    /// A further chunk without any replica yet; answers its number.
    pub(crate) fn add_chunk(&mut self) -> u32 {
        let number = self.intact.len() as u32;
        self.intact.push(0);
        self.gone += 1;
        number
    }

    /// Number of chunks.
    pub(crate) fn chunks(&self) -> u64 {
        self.intact.len() as u64
    }

    /// Intact replicas of a chunk.
    pub(crate) fn intact(&self, chunk: u32) -> u8 {
        self.intact.get(chunk as usize).copied().unwrap_or_default()
    }

    /// Chunks with fewer replicas than wanted, but some.
    pub(crate) fn short(&self) -> u64 {
        self.short
    }

    /// Chunks without any replica.
    pub(crate) fn gone(&self) -> u64 {
        self.gone
    }

    /// Chunks that have more replicas than wanted.
    pub(crate) fn surplus(&self) -> u64 {
        self.intact.iter().filter(|intact| **intact > self.wanted).count() as u64
    }

    /// A replica came.
    pub(crate) fn gain(&mut self, chunk: u32) {
        self.change(chunk, |intact| intact.saturating_add(1));
    }

    /// A replica went.
    pub(crate) fn lose(&mut self, chunk: u32) {
        self.change(chunk, |intact| intact.saturating_sub(1));
    }

    fn change(&mut self, chunk: u32, change: impl Fn(u8) -> u8) {
        let Some(intact) = self.intact.get_mut(chunk as usize) else {
            return;
        };
        let before = *intact;
        *intact = change(before);
        let after = *intact;
        self.gone = self.gone + u64::from(after == 0) - u64::from(before == 0);
        let short = |intact: u8| u64::from(intact > 0 && intact < self.wanted);
        self.short = self.short + short(after) - short(before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_follow_each_change() {
        let mut truth = Truth::new(2, 3);
        truth.lose(0);
        truth.gain(1);
        assert_eq!((truth.short(), truth.gone(), truth.surplus()), (1, 0, 1));
        truth.lose(0);
        truth.lose(0);
        assert_eq!((truth.short(), truth.gone(), truth.intact(0)), (0, 1, 0));
        assert_eq!(truth.add_chunk(), 2);
        (0..3).for_each(|_| truth.gain(2));
        assert_eq!((truth.short(), truth.gone(), truth.chunks()), (0, 1, 3));
    }
}
