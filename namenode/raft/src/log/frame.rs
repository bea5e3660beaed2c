//! How the log is encoded: segments of frames, both in units of one sector.
//!
//! ```text
//! segment   header (one sector), frames, zeros up to its size
//! header    magic u32, CRC32C u32 of the rest of the sector, sequence number u64, size of the segment u64,
//!           number of its first frame u64, index u64 and term u64 of the entry before its first,
//!           term u64, vote u64, commit u64, begins anew u8, zeros
//! frame     magic u32, CRC32C u32 of the three that follow, length of the body u64, number u64,
//!           CRC32C u32 of all sectors from here on, body, zeros up to the end of its last sector;
//!           every sector of it but the first begins with one byte that isn't zero
//! body      has term and vote u8, [term u64, vote u64, commit u64],
//!           entries: (index u64, term u64, kind u8, length u64, data, length u64, context)
//! ```
//!
//! All numbers are little-endian. A device writes a sector as a whole or not at all. Because a frame has its sectors for
//! itself, writing one endangers no other. Because no sector of a frame begins with zero, one that was not written is
//! told from one that was, whatever the entries contain. And because a frame's first sector can't be mistaken for
//! another one, frames can be looked for behind something unreadable.

use dfs_types::checksum::crc32c;
use dfs_types::format::REPLICATED_LOG;
use raft::eraftpb::{Entry, EntryType, HardState};

/// Bytes that a device writes as a whole.
pub(super) const SECTOR: usize = 512;

/// First bytes of a segment: what it is and the version of this format.
const SEGMENT_MAGIC: [u8; 4] = [b'd', b'f', b'L', b'0' + REPLICATED_LOG.version as u8];
/// First bytes of a frame.
const FRAME_MAGIC: [u8; 4] = *b"dfLf";
/// First byte of a frame's other sectors.
const MORE: u8 = 0xa7;
/// Bytes of a frame before its body.
const HEADER: usize = 28;
/// Bytes of an entry besides data and context.
const ENTRY: usize = 33;

/// What a segment says about itself. It is enough to begin reading with this segment.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SegmentHeader {
    /// Its place in the order of segments.
    pub(super) sequence: u64,
    /// Bytes of the file.
    pub(super) size: u64,
    /// Number of the first frame in it.
    pub(super) first_frame: u64,
    /// Index and term of the entry before its first.
    pub(super) start: (u64, u64),
    /// Term, vote and commit index when it was begun.
    pub(super) hard_state: HardState,
    /// Whether everything before it is forgotten.
    pub(super) anew: bool,
}

impl SegmentHeader {
    /// One sector.
    pub(super) fn encode(&self) -> Vec<u8> {
        let Self { sequence, size, first_frame, start: (index, term), hard_state, anew } = self;
        let mut sector = Vec::with_capacity(SECTOR);
        sector.extend_from_slice(&SEGMENT_MAGIC);
        sector.extend_from_slice(&[0; 4]);
        for number in [sequence, size, first_frame, index, term] {
            sector.extend_from_slice(&number.to_le_bytes());
        }
        for number in [hard_state.term, hard_state.vote, hard_state.commit] {
            sector.extend_from_slice(&number.to_le_bytes());
        }
        sector.push(u8::from(*anew));
        sector.resize(SECTOR, 0);
        let checksum = crc32c(&sector[8..]);
        sector[4..8].copy_from_slice(&checksum.to_le_bytes());
        sector
    }

    /// `None` if this is no header.
    pub(super) fn decode(sector: &[u8]) -> Option<Self> {
        let mut from = Source(sector.get(..SECTOR)?);
        if from.bytes(4)? != SEGMENT_MAGIC || from.u32()? != crc32c(from.0) {
            return None;
        }
        Some(Self {
            sequence: from.u64()?,
            size: from.u64()?,
            first_frame: from.u64()?,
            start: (from.u64()?, from.u64()?),
            hard_state: from.hard_state()?,
            anew: from.u8()? != 0,
        })
    }
}

/// What the first sector of a frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHeader {
    /// Bytes of the body.
    length: u64,
    /// One more than that of the frame before.
    pub(super) number: u64,
    checksum: u32,
}

impl FrameHeader {
    /// `None` if no frame begins here.
    pub(super) fn decode(sector: &[u8]) -> Option<Self> {
        let mut from = Source(sector.get(..HEADER)?);
        if from.bytes(4)? != FRAME_MAGIC || from.u32()? != crc32c(from.0) {
            return None;
        }
        Some(Self { length: from.u64()?, number: from.u64()?, checksum: from.u32()? })
    }

    /// Bytes of all sectors of the frame.
    pub(super) fn extent(&self) -> u64 {
        extent(self.length)
    }
}

/// What one append made durable.
#[derive(Debug, PartialEq)]
pub(super) struct Frame {
    /// Term, vote and commit index, if they were given.
    pub(super) hard_state: Option<HardState>,
    /// Entries in order.
    pub(super) entries: Vec<Entry>,
}

impl Frame {
    /// The frame of `header`, from the bytes that begin with it; `None` if they are not what was written.
    pub(super) fn decode(header: &FrameHeader, bytes: &[u8]) -> Option<Self> {
        let sectors = bytes.get(..usize::try_from(header.extent()).ok()?)?;
        if crc32c(&sectors[HEADER..]) != header.checksum {
            return None;
        }
        let mut body = sectors[HEADER..SECTOR].to_vec();
        for sector in sectors[SECTOR..].chunks(SECTOR) {
            body.extend_from_slice(&sector[1..]);
        }
        let mut from = Source(body.get(..usize::try_from(header.length).ok()?)?);
        let hard_state = if from.u8()? == 0 { None } else { Some(from.hard_state()?) };
        let mut entries = Vec::new();
        while !from.0.is_empty() {
            entries.push(from.entry()?);
        }
        Some(Self { hard_state, entries })
    }
}

/// Whether `sector` may be one of a frame that is not the first.
pub(super) fn is_more(sector: &[u8]) -> bool {
    sector.first() == Some(&MORE)
}

/// Bytes of the sectors that a body of `length` bytes takes.
fn extent(length: u64) -> u64 {
    let in_others = length.saturating_sub((SECTOR - HEADER) as u64);
    in_others.div_ceil(SECTOR as u64 - 1).saturating_add(1).saturating_mul(SECTOR as u64)
}

/// Sectors of frame `number`.
pub(super) fn encode(number: u64, hard_state: Option<&HardState>, entries: &[Entry]) -> Vec<u8> {
    let of_entries: usize = entries.iter().map(|entry| ENTRY + entry.data.len() + entry.context.len()).sum();
    let length = (1 + hard_state.map_or(0, |_| 24) + of_entries) as u64;
    let mut into = Sectors(Vec::with_capacity(extent(length) as usize));
    into.put(&[0; HEADER]);
    into.put(&[u8::from(hard_state.is_some())]);
    if let Some(hard_state) = hard_state {
        for number in [hard_state.term, hard_state.vote, hard_state.commit] {
            into.put(&number.to_le_bytes());
        }
    }
    for entry in entries {
        into.put(&entry.index.to_le_bytes());
        into.put(&entry.term.to_le_bytes());
        into.put(&[kind_to_byte(entry.entry_type)]);
        for bytes in [&entry.data, &entry.context] {
            into.put(&(bytes.len() as u64).to_le_bytes());
            into.put(bytes);
        }
    }
    let Sectors(mut sectors) = into;
    sectors.resize(extent(length) as usize, 0);
    let checksum = crc32c(&sectors[HEADER..]);
    sectors[..4].copy_from_slice(&FRAME_MAGIC);
    sectors[8..16].copy_from_slice(&length.to_le_bytes());
    sectors[16..24].copy_from_slice(&number.to_le_bytes());
    sectors[24..HEADER].copy_from_slice(&checksum.to_le_bytes());
    let of_header = crc32c(&sectors[8..HEADER]);
    sectors[4..8].copy_from_slice(&of_header.to_le_bytes());
    sectors
}

/// Sectors of one frame, each but the first with its mark.
struct Sectors(Vec<u8>);

impl Sectors {
    fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let filled = self.0.len() % SECTOR;
            if filled == 0 && !self.0.is_empty() {
                self.0.push(MORE);
                continue;
            }
            let (now, later) = bytes.split_at(bytes.len().min(SECTOR - filled));
            self.0.extend_from_slice(now);
            bytes = later;
        }
    }
}

/// Bytes that are still to be decoded.
struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    fn bytes(&mut self, count: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(count).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.bytes(1)?.first().copied()
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.bytes(8)?.try_into().ok()?))
    }

    fn hard_state(&mut self) -> Option<HardState> {
        let (term, vote, commit) = (self.u64()?, self.u64()?, self.u64()?);
        Some(HardState { term, vote, commit, ..HardState::default() })
    }

    fn entry(&mut self) -> Option<Entry> {
        let (index, term, entry_type) = (self.u64()?, self.u64()?, kind_of_byte(self.u8()?)?);
        let mut pieces = [Vec::new(), Vec::new()];
        for piece in &mut pieces {
            let length = self.u64()?;
            *piece = self.bytes(length)?.to_vec();
        }
        let [data, context] = pieces.map(Into::into);
        Some(Entry { entry_type, term, index, data, context, ..Entry::default() })
    }
}

fn kind_to_byte(kind: EntryType) -> u8 {
    match kind {
        EntryType::EntryNormal => 0,
        EntryType::EntryConfChange => 1,
        EntryType::EntryConfChangeV2 => 2,
    }
}

fn kind_of_byte(byte: u8) -> Option<EntryType> {
    match byte {
        0 => Some(EntryType::EntryNormal),
        1 => Some(EntryType::EntryConfChange),
        2 => Some(EntryType::EntryConfChangeV2),
        _ => None,
    }
}
