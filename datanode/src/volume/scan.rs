//! The walk over a volume at start: which replicas are there, and what the last crash tore.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use dfs_types::checksum::{checksum_length, crc32c};
use dfs_types::limits::{BYTES_PER_CHECKSUM, CHECKSUM_BYTES, MAX_CHUNK_SIZE};
use dfs_types::{ChunkId, GenStamp};
use tracing::{info, warn};

use super::layout::Place;
use super::replica::State;
use super::replica_file::{
    DATA_SUFFIX, FIXED_BYTES, Header, MAX_HEADER_BYTES, SUMS_SUFFIX, parse_name, read_up_to, sum_position,
};
use super::{ReplicaPaths, Volume, is_full, is_process_error};
use crate::disk_pool::disk_answered;

/// Bytes of data read at once when a torn replica is checked; a multiple of 512.
const CHECK_BYTES: usize = 1 << 20;
/// Size of the smallest header, and the step of its possible sizes.
const HEADER_STEP: u64 = FIXED_BYTES as u64;

/// A replica found on the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// The chunk.
    pub(crate) chunk: ChunkId,
    /// Its generation.
    pub(crate) generation: GenStamp,
    /// Where its files are.
    pub(crate) place: Place,
    /// Bytes of data.
    pub(crate) length: u64,
    /// [`State::Finalized`], [`State::Rwr`] or [`State::Corrupt`].
    pub(crate) state: State,
}

/// Sizes of the two files of one replica, as far as they exist.
#[derive(Debug, Clone, Copy, Default)]
struct Sizes {
    data: Option<u64>,
    sums: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Orphan {
    chunk: ChunkId,
    generation: GenStamp,
    place: Place,
    size: u64,
}

/// Walks the volume. Copies that were coming in are removed, torn replicas are cut to what their checksums prove, and
/// whatever does not fit together or cannot be read is found to be corrupt. Blocks.
pub(crate) fn scan(volume: &Volume) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    let (mut lone_data, mut lone_sums) = (Vec::new(), BTreeMap::new());
    for (place, directory) in volume.directories() {
        let mut replicas = BTreeMap::<(ChunkId, GenStamp), Sizes>::new();
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            disk_answered();
            if place == Place::Tmp {
                clear(volume, &entry.path())?;
                continue;
            }
            let name = entry.file_name();
            let Some((chunk, generation, suffix)) = name.to_str().and_then(parse_name) else {
                warn!(path = %entry.path().display(), "unknown file among the replicas");
                continue;
            };
            let sizes = replicas.entry((chunk, generation)).or_default();
            match suffix {
                DATA_SUFFIX => sizes.data = Some(entry.metadata()?.len()),
                SUMS_SUFFIX => sizes.sums = Some(entry.metadata()?.len()),
                _ => warn!(path = %entry.path().display(), "unknown file among the replicas"),
            }
        }
        for ((chunk, generation), sizes) in replicas {
            let orphan = |size| Orphan { chunk, generation, place, size };
            match sizes {
                Sizes { data: Some(data), sums: Some(sums) } => {
                    found.push(judge(volume, place, chunk, generation, data, sums)?);
                }
                Sizes { data: Some(data), sums: None } => lone_data.push(orphan(data)),
                Sizes { data: None, sums: Some(sums) } => {
                    lone_sums.insert(chunk, orphan(sums));
                }
                Sizes { data: None, sums: None } => {}
            }
        }
    }
    reunite(volume, lone_data, lone_sums, &mut found)?;
    Ok(found)
}

/// A crash between the two renames of a replica leaves its checksums ahead of its data: they go back beside the data.
/// Checksums whose data is nowhere are what a crash leaves of a creation or a deletion.
fn reunite(
    volume: &Volume,
    lone_data: Vec<Orphan>,
    mut lone_sums: BTreeMap<ChunkId, Orphan>,
    found: &mut Vec<Found>,
) -> io::Result<()> {
    for Orphan { chunk, generation, place, size } in lone_data {
        let here = volume.replica(place, chunk, generation);
        if let Some(sums) = lone_sums.remove(&chunk) {
            info!(%chunk, %generation, "a move of the replica was interrupted and is taken back");
            let ahead = volume.replica(sums.place, chunk, sums.generation).sums;
            volume.with_room(|| fs::rename(&ahead, &here.sums))?;
            found.push(judge(volume, place, chunk, generation, size, sums.size)?);
        } else {
            warn!(%chunk, %generation, "the replica has no checksums");
            found.push(Found { chunk, generation, place, length: size, state: State::Corrupt });
        }
    }
    for Orphan { chunk, generation, place, .. } in lone_sums.into_values() {
        info!(%chunk, %generation, "checksums without data are removed");
        clear(volume, &volume.replica(place, chunk, generation).sums)?;
    }
    Ok(())
}

/// Removes what is worth nothing. What cannot be removed because the disk is full stays until the next start.
fn clear(volume: &Volume, path: &Path) -> io::Result<()> {
    match volume.with_room(|| fs::remove_file(path)) {
        Err(error) if is_full(&error) => {
            warn!(path = %path.display(), %error, "a useless file cannot be removed");
            Ok(())
        }
        done => done,
    }
}

fn judge(
    volume: &Volume,
    place: Place,
    chunk: ChunkId,
    generation: GenStamp,
    data: u64,
    sums: u64,
) -> io::Result<Found> {
    let (length, state) = match place {
        Place::Current if fits(data, sums) => (data, State::Finalized),
        Place::Current => (data, State::Corrupt),
        Place::Rbw | Place::Tmp => {
            match salvage(volume, &volume.replica(place, chunk, generation), chunk, data) {
                Ok(Some(length)) => (length, State::Rwr),
                Ok(None) => (data, State::Corrupt),
                Err(error) if is_process_error(&error) || concerns_volume(&error) => return Err(error),
                // A bad sector costs its replica, not all the others.
                Err(error) => {
                    warn!(%chunk, %generation, %error, "the replica cannot be read");
                    (data, State::Corrupt)
                }
            }
        }
    };
    if state == State::Corrupt {
        warn!(%chunk, %generation, data, sums, "the replica is damaged");
    }
    Ok(Found { chunk, generation, place, length, state })
}

/// Whether an error met at one replica says that the device is gone or takes no writes, so that the next replica would
/// fare no better.
fn concerns_volume(error: &io::Error) -> bool {
    use rustix::io::Errno;
    Errno::from_io_error(error).is_some_and(|errno| [Errno::NXIO, Errno::NODEV, Errno::ROFS].contains(&errno))
}

/// Whether the sizes can belong together. The header's own statement is checked whenever the replica is opened; here
/// that would cost a seek for each replica.
fn fits(data: u64, sums: u64) -> bool {
    let largest = MAX_HEADER_BYTES as u64;
    data <= MAX_CHUNK_SIZE
        && sums
            .checked_sub(checksum_length(data))
            .is_some_and(|header| header % HEADER_STEP == 0 && (HEADER_STEP..=largest).contains(&header))
}

/// Cuts a torn replica to the bytes that its checksums prove, and answers how many they are; `None` if not even its
/// header is readable. Without a header nothing of it was ever synced: it has no bytes.
fn salvage(volume: &Volume, paths: &ReplicaPaths, chunk: ChunkId, size: u64) -> io::Result<Option<u64>> {
    let data = File::options().read(true).write(true).open(&paths.data)?;
    let sums = File::options().read(true).write(true).open(&paths.sums)?;
    let Ok(header) = Header::read(&sums)? else {
        return Ok(Header::is_blank(&sums)?.then_some(0));
    };
    if header.chunk != chunk || size > MAX_CHUNK_SIZE {
        return Ok(None);
    }
    let Proven { length, tail } = prove(&data, &sums, &header, size)?;
    let trim = || {
        if let Some(sum) = tail {
            sums.write_all_at(&sum, sum_position(header.size() as u64, length))?;
        }
        data.set_len(length)?;
        sums.set_len(header.size() as u64 + checksum_length(length))
    };
    match volume.with_room(trim) {
        // What lies behind the proven bytes is cut off by whoever finalizes it.
        Err(error) if is_full(&error) && tail.is_none() => {}
        trimmed => trimmed?,
    }
    Ok(Some(length))
}

/// What of a torn replica is right.
#[derive(Debug, Default, PartialEq, Eq)]
struct Proven {
    /// Bytes from the start on.
    length: u64,
    /// Checksum of the last odd ones, if another one stands in its place.
    tail: Option<[u8; CHECKSUM_BYTES]>,
}

/// How many bytes of `data`, at most `size`, match their checksums from the start on.
fn prove(data: &File, sums: &File, header: &Header, size: u64) -> io::Result<Proven> {
    let mut proven = 0;
    while proven < size {
        disk_answered();
        let bytes = read_up_to(data, proven, CHECK_BYTES)?;
        let wanted = checksum_length(bytes.len() as u64) as usize;
        let stored = read_up_to(sums, sum_position(header.size() as u64, proven), wanted)?;
        let mut stored = stored.chunks_exact(CHECKSUM_BYTES);
        let before = proven;
        for unit in bytes.chunks(BYTES_PER_CHECKSUM) {
            let sum = stored.next();
            if sum != Some(crc32c(unit).to_be_bytes().as_slice()) {
                return Ok(prove_tail(unit, sum, proven, header));
            }
            proven += unit.len() as u64;
        }
        if proven - before < CHECK_BYTES as u64 {
            break;
        }
    }
    Ok(Proven { length: proven, tail: None })
}

/// How much of the first unit that does not match its checksum is right: it begins at `start`.
fn prove_tail(unit: &[u8], sum: Option<&[u8]>, start: u64, header: &Header) -> Proven {
    let matches = |length: usize, sum: &[u8]| crc32c(&unit[..length]).to_be_bytes() == sum;
    // A flushed tail that was about to grow: its data is longer than its checksum says.
    let flushed = sum.and_then(|sum| (1..unit.len()).rev().find(|length| matches(*length, sum)));
    let flushed = Proven { length: start + flushed.unwrap_or(0) as u64, tail: None };
    // Or its checksum is one over bytes that never came. What was synced is noted.
    let noted = header.synced.iter().filter_map(|end| {
        let odd = usize::try_from(end.length.checked_sub(start)?).ok()?;
        let right = (1..=unit.len()).contains(&odd) && matches(odd, &end.sum);
        right.then_some(Proven { length: end.length, tail: Some(end.sum) })
    });
    let longest = noted.max_by_key(|proven| proven.length).unwrap_or_default();
    if longest.length > flushed.length { longest } else { flushed }
}

#[cfg(test)]
mod tests {
    use dfs_types::{ClusterId, InodeId, checksum};
    use proptest::prelude::*;

    use super::super::replica_file::{OddEnd, Version};
    use super::*;

    fn header(chunk: u64, synced: [OddEnd; 2]) -> Header {
        Header {
            version: Version::One,
            cluster: ClusterId::random(),
            chunk: ChunkId(chunk),
            generation: GenStamp(7),
            inode: InodeId(1),
            index: 0,
            path: "/f".to_owned(),
            origin: Vec::new(),
            length: None,
            synced,
        }
    }

    /// What is proven of these bytes with these checksums.
    fn proven(data: &[u8], sums: &[u8], synced: [OddEnd; 2]) -> Proven {
        let header = header(1, synced);
        let file = |bytes: &[u8]| {
            let mut file = tempfile::tempfile().unwrap();
            io::Write::write_all(&mut file, bytes).unwrap();
            file
        };
        let sums = [header.encode().as_slice(), sums].concat();
        prove(&file(data), &file(&sums), &header, data.len() as u64).unwrap()
    }

    const NONE: [OddEnd; 2] = [OddEnd { length: 0, sum: [0; CHECKSUM_BYTES] }; 2];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_proven_ends_before_the_damage(length in 1_usize..5_000, bad in 0_usize..5_000, cut in 0_usize..40) {
            prop_assume!(bad < length);
            let mut data: Vec<u8> = (0..length).map(|byte| (byte * 31 % 251) as u8).collect();
            let sums = checksum::compute(&data);
            let kept = sums.len().saturating_sub(cut);
            data[bad] ^= 0x40;
            let expected = (bad / BYTES_PER_CHECKSUM).min(kept / CHECKSUM_BYTES) * BYTES_PER_CHECKSUM;
            let expected = Proven { length: expected as u64, tail: None };
            prop_assert_eq!(proven(&data, &sums[..kept], NONE), expected);
        }
    }

    #[test]
    fn a_tail_that_was_growing_keeps_what_was_flushed() {
        let data: Vec<u8> = (0..1_024).map(|byte| (byte % 251) as u8).collect();
        let found = proven(&data, &checksum::compute(&data[..700]), NONE);
        assert_eq!(found, Proven { length: 700, tail: None });
    }

    /// The disk got the checksum of the longer unit and not the bytes, or only some.
    #[test]
    fn a_tail_that_was_growing_keeps_what_was_synced() {
        let data: Vec<u8> = (0..1_024).map(|byte| (byte % 251) as u8).collect();
        let end = |length: usize| OddEnd {
            length: length as u64,
            sum: crc32c(&data[length - length % BYTES_PER_CHECKSUM..length]).to_be_bytes(),
        };
        let sums = checksum::compute(&data[..1_000]);
        let kept = |length| Proven { length: end(length).length, tail: Some(end(length).sum) };
        for synced in [[end(700), OddEnd::default()], [end(700), end(600)], [end(300), end(700)]] {
            assert_eq!(proven(&data[..700], &sums, synced), kept(700));
            let zeros = [&data[..700], &[0; 300]].concat();
            assert_eq!(proven(&zeros, &sums, synced), kept(700));
        }
        // The note of a longer end came, and its bytes did not.
        assert_eq!(proven(&data[..700], &sums, [end(900), end(700)]), kept(700));
        // What is noted is no more than a claim.
        let wrong = OddEnd { sum: [1; CHECKSUM_BYTES], ..end(700) };
        assert_eq!(proven(&data[..700], &sums, [wrong; 2]), Proven { length: 512, tail: None });
    }

    #[test]
    fn a_tail_that_is_proven_by_its_note_is_a_replica_like_any_other() {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::for_test(dir.path());
        let paths = volume.replica(Place::Rbw, ChunkId(1), GenStamp(7));
        let synced = OddEnd { length: 700, sum: crc32c(&[5; 188]).to_be_bytes() };
        fs::write(&paths.data, [5; 700]).unwrap();
        let header = header(1, [synced, OddEnd::default()]);
        fs::write(&paths.sums, [header.encode(), checksum::compute(&[5; 1_000]).to_vec()].concat()).unwrap();
        // The second time its checksum is in its place.
        for _ in 0..2 {
            let found = scan(&volume).unwrap();
            assert_eq!((found[0].length, found[0].state), (700, State::Rwr));
        }
        let sums = fs::read(&paths.sums).unwrap();
        assert_eq!(sums[header.size()..], checksum::compute(&[5; 700]));
    }

    #[test]
    fn a_replica_that_never_got_its_header_has_no_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::for_test(dir.path());
        let damaged = [&[1], header(3, NONE).encode().as_slice()].concat();
        for (chunk, sums) in [(1, Vec::new()), (2, vec![0; 300]), (3, damaged)] {
            let paths = volume.replica(Place::Rbw, ChunkId(chunk), GenStamp(7));
            fs::write(&paths.data, [5; 600]).unwrap();
            fs::write(&paths.sums, sums).unwrap();
        }
        let found = scan(&volume).unwrap();
        let states: Vec<_> = found.iter().map(|found| (found.length, found.state)).collect();
        assert_eq!(states, [(0, State::Rwr), (0, State::Rwr), (600, State::Corrupt)]);
    }

    #[test]
    fn an_unreadable_replica_costs_only_itself() {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::for_test(dir.path());
        let [unreadable, good] = [1, 2].map(|chunk| volume.replica(Place::Rbw, ChunkId(chunk), GenStamp(7)));
        fs::create_dir(&unreadable.data).unwrap();
        fs::write(&unreadable.sums, header(1, NONE).encode()).unwrap();
        fs::write(&good.data, [5; 600]).unwrap();
        fs::write(&good.sums, [header(2, NONE).encode(), checksum::compute(&[5; 600]).to_vec()].concat())
            .unwrap();

        let found = scan(&volume).unwrap();
        let states: Vec<_> = found.iter().map(|found| (found.chunk.0, found.state)).collect();
        assert_eq!(states, [(1, State::Corrupt), (2, State::Rwr)]);
        assert_eq!(found[1].length, 600);
    }

    #[test]
    fn sizes_that_cannot_belong_together_are_found() {
        assert!(fits(1_000, 128 + 8));
        assert!(fits(0, 128));
        let largest = MAX_HEADER_BYTES as u64;
        assert!(fits(0, largest) && !fits(0, largest + 128));
        for (data, sums) in
            [(1_000, 128 + 4), (1_000, 8), (1_000, 0), (1_000, 130 + 8), (0, 0), (u64::MAX, 128)]
        {
            assert!(!fits(data, sums), "{data} {sums}");
        }
    }
}
