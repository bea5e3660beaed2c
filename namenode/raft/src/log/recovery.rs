//! Reading a log again, and telling a write that was never finished from damage.
//!
//! What was synced must be found again or the member must stop: it may have voted or acknowledged because of it. What
//! was not synced when the process or the machine died was promised to nobody and may go. One append is one write and one
//! sync, and the next begins only after that, so **at most the last frame is unfinished**. These are all states that a
//! crash can leave:
//!
//! * *In an append.* Some sectors of the last frame are written, the others are the zeros that were synced before the
//!   segment was used. None written: nothing is there. All written: the frame is valid and counts as appended, which
//!   Raft allows (nobody was told that it was not). As it may be in the page cache only, also after a failed sync, it is
//!   written and synced once more before anybody relies on it. Otherwise it is *torn*: at least one of its sectors is all
//!   zeros. As its first sector is written or not as a whole, its length is known or nothing is. It is cut, that is
//!   overwritten by zeros and synced, so that no later frame seems to follow something unreadable. A crash while
//!   cutting leaves a torn frame again.
//! * *While a segment is made.* It is called `spare` or `next` until its zeros, its header and its size are synced;
//!   such files are removed. A crash before the new name is synced leaves the name or not; there is no frame in
//!   it before it is. So a file with a segment's name but no valid header, or of another size than the header says,
//!   does not come from a crash, not even an empty one: its header may have been a vote or a reset.
//! * *In a reset.* The new segment says that everything before is forgotten. If it is there, older segments are removed
//!   (again), in any order; if it is not, the reset never happened.
//! * *In a trim.* Segments are removed oldest first, each durably before the next, so that none is ever missing in the
//!   middle. Each header has what is needed to begin with it. If entries of a dropped segment were replaced
//!   in a kept one, the kept one begins with entries before its start: those then become the start (`View::put`).
//!
//! Everything else is damage: a frame that can't be read although a later frame or segment is there, a last frame whose
//! sectors were all written but don't fit its checksum, anything that is not zero where no frame explains it, frames or
//! segments that are missing according to the numbers of those after them. A lost last frame of which nothing is left
//! (its sectors are zeros again) can't be told from one that was never written; neither can a synced one that lost
//! single sectors to zeros.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use raft::eraftpb::HardState;

use super::Error;
use super::frame::{Frame, FrameHeader, SECTOR, SegmentHeader, is_more};
use super::segment::{self, Segment, refused, remove, sync_names};
use super::view::View;

/// A segment that is not appended to any more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Older {
    pub(super) sequence: u64,
    /// Index of the last entry in it; zero if there is none.
    pub(super) last_entry: u64,
}

/// What was found.
pub(super) struct Recovered {
    pub(super) view: View,
    pub(super) hard_state: HardState,
    /// Number of the next frame.
    pub(super) next_frame: u64,
    pub(super) older: VecDeque<Older>,
    pub(super) present: Segment,
}

/// Reads the log in `dir`; `None` if there is none yet.
pub(super) fn recover(dir: &Path) -> Result<Option<Recovered>, Error> {
    // Names may be in memory only if the last process died between a rename and its sync.
    sync_names(dir)?;
    let headers = live_headers(dir)?;
    let (Some(first), Some(last)) = (headers.front(), headers.back()) else { return Ok(None) };
    let mut replay = Replay {
        view: View::new(first.start),
        hard_state: HardState::default(),
        next_frame: first.first_frame,
        end: 0,
        last_frame: None,
    };
    let mut older = VecDeque::new();
    for header in &headers {
        let path = segment::path(dir, header.sequence);
        let bytes = fs::read(&path).map_err(refused("reading", &path))?;
        let last_entry = replay.segment(&path, header, &bytes)?;
        if header.sequence != last.sequence {
            replay.ends_in_zeros(&path, &bytes)?;
            older.push_back(Older { sequence: header.sequence, last_entry });
            continue;
        }
        let file = OpenOptions::new().write(true).open(&path).map_err(refused("opening", &path))?;
        replay.settle_end(&path, &bytes, &file)?;
        let (sequence, size) = (header.sequence, header.size);
        let present = Segment { path, file, sequence, size, end: replay.end as u64, last_entry };
        let Replay { view, hard_state, next_frame, .. } = replay;
        return Ok(Some(Recovered { view, hard_state, next_frame, older, present }));
    }
    Ok(None)
}

/// Headers of the segments that count, in order. Those before a reset are removed.
fn live_headers(dir: &Path) -> Result<VecDeque<SegmentHeader>, Error> {
    let mut sequences = Vec::new();
    for entry in fs::read_dir(dir).map_err(refused("reading", dir))? {
        let name = entry.map_err(refused("reading", dir))?.file_name();
        sequences.extend(name.to_str().and_then(segment::sequence));
    }
    sequences.sort_unstable();
    let mut headers = VecDeque::<SegmentHeader>::new();
    while let Some(sequence) = sequences.pop() {
        if let Some(later) = headers.front()
            && sequence + 1 != later.sequence
        {
            let path = segment::path(dir, later.sequence - 1);
            return Err(damaged(&path, 0, "the file is missing although later ones are there"));
        }
        let header = read_header(&segment::path(dir, sequence), sequence)?;
        let anew = header.anew;
        headers.push_front(header);
        if anew {
            break;
        }
    }
    for forgotten in sequences {
        remove(&segment::path(dir, forgotten))?;
    }
    Ok(headers)
}

fn read_header(path: &Path, sequence: u64) -> Result<SegmentHeader, Error> {
    let mut sector = Vec::new();
    let file = File::open(path).map_err(refused("opening", path))?;
    file.take(SECTOR as u64).read_to_end(&mut sector).map_err(refused("reading", path))?;
    let header =
        SegmentHeader::decode(&sector).ok_or_else(|| damaged(path, 0, "its header can't be read"))?;
    if header.sequence != sequence {
        return Err(damaged(path, 0, "its header belongs to a file of another name"));
    }
    Ok(header)
}

/// What has been read so far.
struct Replay {
    view: View,
    hard_state: HardState,
    next_frame: u64,
    /// Where the frames of the last segment read end.
    end: usize,
    /// Where the last frame is in it.
    last_frame: Option<usize>,
}

impl Replay {
    /// Applies the frames of a segment up to the first place without a valid one. Tells the index of the last entry in it.
    fn segment(&mut self, path: &Path, header: &SegmentHeader, bytes: &[u8]) -> Result<u64, Error> {
        if bytes.len() as u64 != header.size {
            let what = format!("the file has {} bytes instead of {}", bytes.len(), header.size);
            return Err(damaged(path, bytes.len().min(header.size as usize), what));
        }
        if header.first_frame != self.next_frame || header.start != self.view.last() {
            return Err(damaged(path, 0, "what the file before it should end with is missing"));
        }
        self.hard_state = header.hard_state.clone();
        self.end = SECTOR;
        self.last_frame = None;
        let mut last_entry = 0;
        while let Some((header, frame)) = frame_at(&bytes[self.end..], self.next_frame) {
            self.last_frame = Some(self.end);
            if let Some(hard_state) = frame.hard_state {
                self.hard_state = hard_state;
            }
            for entry in frame.entries {
                let index = entry.index;
                last_entry = index;
                if !self.view.put(entry) {
                    return Err(damaged(path, self.end, format!("entries before entry {index} are missing")));
                }
            }
            self.end += header.extent() as usize;
            self.next_frame += 1;
        }
        Ok(last_entry)
    }

    /// In a segment that others follow, nothing comes after the last frame.
    fn ends_in_zeros(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        match bytes[self.end..].iter().position(|byte| *byte != 0) {
            None => Ok(()),
            Some(at) => {
                Err(damaged(path, self.end + at, "a frame can't be read although later files are there"))
            }
        }
    }

    /// Looks at what follows the last valid frame of the last segment, cuts what is torn, and makes durable what counts.
    fn settle_end(&self, path: &Path, bytes: &[u8], file: &File) -> Result<(), Error> {
        let tail = &bytes[self.end..];
        let (at, piece) = match torn_bytes(tail, self.next_frame) {
            Ok(0) => match self.last_frame {
                None => return Ok(()),
                Some(at) => (at, bytes[at..self.end].to_vec()),
            },
            Ok(torn) => {
                tracing::warn!(path = %path.display(), offset = self.end, "the log's last write was never finished, so nobody was told of it: it is dropped");
                (self.end, vec![0; torn])
            }
            Err(what) => return Err(damaged(path, self.end, what)),
        };
        file.write_all_at(&piece, at as u64).map_err(refused("writing", path))?;
        file.sync_data().map_err(refused("syncing", path))
    }
}

/// The frame with this number, if it begins here and is whole.
fn frame_at(bytes: &[u8], number: u64) -> Option<(FrameHeader, Frame)> {
    let header = FrameHeader::decode(bytes).filter(|header| header.number == number)?;
    Some((header, Frame::decode(&header, bytes)?))
}

/// How many bytes after the last valid frame are a torn one, number `next`; zero if nothing is there. An error if
/// what is there does not come from a write that was not finished.
fn torn_bytes(tail: &[u8], next: u64) -> Result<usize, &'static str> {
    let Some(last) = tail.iter().rposition(|byte| *byte != 0) else { return Ok(0) };
    let mut sectors = tail[..(last + 1).next_multiple_of(SECTOR)].chunks(SECTOR);
    let used = sectors.len();
    let first = sectors.next().unwrap_or_default();
    let blank = |sector: &[u8]| sector.iter().all(|byte| *byte == 0);
    if sectors.clone().any(|sector| FrameHeader::decode(sector).is_some_and(|later| later.number > next)) {
        return Err("a frame can't be read although later ones follow");
    }
    if !sectors.clone().all(|sector| blank(sector) || is_more(sector)) {
        return Err("there is something that was never written");
    }
    if blank(first) {
        return Ok(used * SECTOR);
    }
    let Some(header) = FrameHeader::decode(first).filter(|header| header.number == next) else {
        return Err("the header of the last frame is not what was written");
    };
    match usize::try_from(header.extent()) {
        Ok(extent) if extent > tail.len() || extent < used * SECTOR => {
            Err("the last frame does not end where it should")
        }
        // A sector after the last one used was not written either.
        Ok(extent) if extent > used * SECTOR || sectors.any(blank) => Ok(used * SECTOR),
        _ => Err("the last frame was written as a whole but is not what was written"),
    }
}

fn damaged(path: &Path, offset: usize, what: impl Into<String>) -> Error {
    Error::Damaged { path: PathBuf::from(path), offset: offset as u64, what: what.into() }
}
