//! The bytes of one file: as they are read, and what the disk has of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng, RngExt};

/// Bytes of a page: what the kernel writes back at once.
pub(crate) const PAGE: usize = 4096;
/// Bytes that a disk writes as a whole or not at all.
pub(crate) const SECTOR: usize = 512;
/// Of the pages that are written again before they were synced, one in so many was on the disk meanwhile.
const WRITTEN_BACK: u32 = 4;
/// Of the pages that are neither kept nor lost, one in so many is torn.
const TORN: u32 = 4;

type Page = Arc<[u8; PAGE]>;

/// The bytes of one file. A page that is absent reads as zeros.
#[derive(Debug, Default)]
pub(crate) struct Content {
    size: u64,
    pages: BTreeMap<u64, Page>,
    /// What the disk has of the pages that were changed since the last sync, and of no other.
    stored: BTreeMap<u64, Option<Page>>,
    stored_size: u64,
    /// Pages in `stored`.
    kept: u64,
}

fn place(offset: u64) -> (u64, usize) {
    (offset / PAGE as u64, (offset % PAGE as u64) as usize)
}

impl Content {
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Pages that what is read consists of.
    pub(crate) fn pages(&self) -> u64 {
        self.pages.len() as u64
    }

    /// Pages whose former bytes are kept because they are still on the disk.
    pub(crate) fn kept(&self) -> u64 {
        self.kept
    }

    /// Pages that a write there would add.
    pub(crate) fn would_add(&self, offset: u64, length: u64) -> u64 {
        let end = (offset + length).div_ceil(PAGE as u64);
        let first = offset / PAGE as u64;
        (end - first).saturating_sub(self.pages.range(first..end).count() as u64)
    }

    /// Whether something of it is not synced.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.stored.is_empty() || self.size != self.stored_size
    }

    /// Notes what the disk has of a page before it changes.
    fn touch(&mut self, page: u64, random: &mut SmallRng) {
        let former = match self.stored.get(&page) {
            None => None,
            Some(stored) if random.random_ratio(1, WRITTEN_BACK) => stored.as_ref(),
            Some(_) => return,
        };
        let present = self.pages.get(&page).cloned();
        self.kept = self.kept + u64::from(present.is_some()) - u64::from(former.is_some());
        self.stored.insert(page, present);
    }

    pub(crate) fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let length = (length as u64).min(self.size.saturating_sub(offset)) as usize;
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let (page, within) = place(offset + bytes.len() as u64);
            let count = (PAGE - within).min(length - bytes.len());
            match self.pages.get(&page) {
                Some(page) => bytes.extend_from_slice(&page[within..within + count]),
                None => bytes.resize(bytes.len() + count, 0),
            }
        }
        bytes
    }

    pub(crate) fn write(&mut self, offset: u64, mut data: &[u8], random: &mut SmallRng) {
        let mut at = offset;
        while !data.is_empty() {
            let (page, within) = place(at);
            let (now, later) = data.split_at(data.len().min(PAGE - within));
            self.touch(page, random);
            let page = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(page)[within..within + now.len()].copy_from_slice(now);
            at += now.len() as u64;
            data = later;
        }
        self.size = self.size.max(at);
    }

    /// Sets the length; what is added reads as zeros.
    pub(crate) fn resize(&mut self, size: u64, random: &mut SmallRng) {
        if size < self.size {
            self.zero(size, self.size - size, random);
        }
        self.size = size;
    }

    /// Makes a range zeros and gives up its whole pages; the length stays.
    pub(crate) fn zero(&mut self, offset: u64, length: u64, random: &mut SmallRng) {
        let end = offset + length;
        let pages: Vec<u64> = self
            .pages
            .range(offset / PAGE as u64..end.div_ceil(PAGE as u64))
            .map(|(page, _)| *page)
            .collect();
        for page in pages {
            self.touch(page, random);
            let start = page * PAGE as u64;
            // Beyond the length a page is always zeros.
            let stop = if end >= self.size { start + PAGE as u64 } else { end.min(start + PAGE as u64) };
            if offset <= start && stop == start + PAGE as u64 {
                self.pages.remove(&page);
            } else if let Some(page) = self.pages.get_mut(&page) {
                let from = offset.saturating_sub(start) as usize;
                Arc::make_mut(page)[from..(stop - start) as usize].fill(0);
            }
        }
    }

    /// Takes up room for a range without changing what is read of it.
    pub(crate) fn reserve(&mut self, offset: u64, length: u64, random: &mut SmallRng) {
        for page in offset / PAGE as u64..(offset + length).div_ceil(PAGE as u64) {
            if !self.pages.contains_key(&page) {
                self.touch(page, random);
                self.pages.insert(page, Arc::new([0; PAGE]));
            }
        }
    }

    /// Flips the lowest bit of a byte, on the disk too: this is rot, no write. Answers whether there is such a byte.
    pub(crate) fn flip(&mut self, offset: u64) -> bool {
        if offset >= self.size {
            return false;
        }
        let (page, within) = place(offset);
        let present = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE]));
        Arc::make_mut(present)[within] ^= 1;
        if let Some(Some(stored)) = self.stored.get_mut(&page) {
            Arc::make_mut(stored)[within] ^= 1;
        }
        true
    }

    /// Everything written so far is on the disk.
    pub(crate) fn sync(&mut self) {
        self.stored.clear();
        self.kept = 0;
        self.stored_size = self.size;
    }

    /// The power is cut: of what was not synced each page is kept with this chance, lost or torn. Answers how many
    /// were not kept.
    pub(crate) fn cut(&mut self, keep: f64, random: &mut SmallRng) -> u64 {
        let mut lost = 0;
        for (page, stored) in std::mem::take(&mut self.stored) {
            if random.random_bool(keep) {
                continue;
            }
            lost += 1;
            let torn = random.random_ratio(1, TORN) && keep > 0.0;
            match (stored, self.pages.get_mut(&page)) {
                (stored, Some(present)) if torn => tear(Arc::make_mut(present), stored.as_deref(), random),
                (Some(stored), _) => {
                    self.pages.insert(page, stored);
                }
                (None, _) => {
                    self.pages.remove(&page);
                }
            }
        }
        self.size = self.cut_size(keep, random);
        self.trim();
        (self.stored_size, self.kept) = (self.size, 0);
        lost
    }

    fn cut_size(&self, keep: f64, random: &mut SmallRng) -> u64 {
        let (low, high) = (self.size.min(self.stored_size), self.size.max(self.stored_size));
        if random.random_bool(keep) {
            self.size
        } else if keep > 0.0 && random.random_bool(0.5) {
            // Somewhere between, as the kernel writes back page by page.
            random.random_range(low..=high).next_multiple_of(PAGE as u64).min(high)
        } else {
            self.stored_size
        }
    }

    /// Removes what lies beyond the length.
    fn trim(&mut self) {
        let (page, within) = place(self.size);
        let beyond = if within == 0 { page } else { page + 1 };
        drop(self.pages.split_off(&beyond));
        if within > 0
            && let Some(last) = self.pages.get_mut(&page)
        {
            Arc::make_mut(last)[within..].fill(0);
        }
    }
}

/// Leaves the first sectors as they were written last and makes the others what was on the disk.
fn tear(present: &mut [u8; PAGE], stored: Option<&[u8; PAGE]>, random: &mut impl Rng) {
    let from = SECTOR * random.random_range(1..PAGE / SECTOR);
    match stored {
        Some(stored) => present[from..].copy_from_slice(&stored[from..]),
        None => present[from..].fill(0),
    }
}
