//! Headers come back, old ones too, and what is no header is refused.

use proptest::prelude::*;

use super::super::origin::example;
use super::*;

fn header(path: &str, length: Option<u64>) -> Header {
    Header {
        version: Version::One,
        cluster: ClusterId::from_bytes(&[0xab; 16]).unwrap(),
        chunk: ChunkId(1_073_741_825),
        generation: GenStamp(1_001),
        inode: InodeId(16_386),
        index: 3,
        path: path.to_owned(),
        origin: Vec::new(),
        length,
        synced: [OddEnd { length: 700, sum: [1, 2, 3, 4] }, OddEnd::default()],
    }
}

fn of(path: &str, length: u64) -> ChunkOrigin {
    example(path, 1_073_741_825, 1_001, length)
}

fn told(path: &str, length: Option<u64>) -> Header {
    header("/as/opened", length).with_origin(&of(path, length.unwrap_or(0)), Millis(1_800_000_000_123))
}

#[test]
fn headers_come_back() {
    let long = format!("/{}", "x".repeat(250));
    for path in ["/", "/a/b c/ü", &long.repeat(16)] {
        for length in [None, Some(0), Some(64 << 20)] {
            let untold = Header { version: Version::Two, ..header(path, length) };
            for header in [header(path, length), untold, told(path, length)] {
                let bytes = header.encode();
                assert_eq!(bytes.len(), header.size());
                assert!(bytes.len() <= MAX_HEADER_BYTES);
                assert_eq!(Header::decode(&bytes), Ok(header));
            }
        }
    }
}

/// Headers of each version, as hexadecimal text. What was written once is read for ever, and written so as long as there is a
/// cluster of that level.
#[test]
fn headers_are_what_they_were() {
    let golden = [
        (header("/kept/dir/ü", Some(700)), include_str!("golden/version-1.txt")),
        (told("/kept/dir/ü", Some(700)), include_str!("golden/version-2.txt")),
    ];
    for (header, golden) in golden {
        let digits: String = golden.split_whitespace().collect();
        let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        let bytes: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
        let line = |bytes| format!("{:x}", Bytes::copy_from_slice(bytes));
        let encoded: Vec<_> = header.encode().chunks(32).map(line).collect();
        assert_eq!(Header::decode(&bytes).as_ref(), Ok(&header), "it is encoded as\n{}", encoded.join("\n"));
        assert_eq!(bytes, header.encode());
    }
}

#[test]
fn the_changing_parts_lie_in_the_first_sector() {
    let long = format!("/{}", "x".repeat(250)).repeat(16);
    for old in [header(&long, None), told(&long, None)] {
        let synced = [OddEnd { length: u64::MAX, sum: [255; 4] }; 2];
        let new = Header { generation: GenStamp(1_002), length: Some(77), synced, ..old.clone() };
        assert_eq!(old.encode()[512..], new.encode()[512..]);
    }
}

#[test]
fn a_header_says_what_was_told_of_this_replica() {
    let header = told("/a", Some(700));
    assert!(header.says(&of("/a", 700)) && !header.lacks_origin());
    let other = of("/a", 700);
    let chmodded = dfs_types::Origin { mode: dfs_types::Mode::FILE, ..other.origin.clone() };
    for differs in [
        of("/b", 700),
        of("/a", 701),
        ChunkOrigin { generation: GenStamp(1_002), ..other.clone() },
        ChunkOrigin { inode: InodeId(1), ..other.clone() },
        ChunkOrigin { index: 4, ..other.clone() },
        ChunkOrigin { origin: chmodded, ..other },
    ] {
        assert!(!header.says(&differs), "{differs:?}");
    }
    // The chunk has changed since, as by an append: what was told stays, and is known to be old.
    let appended = Header { generation: GenStamp(1_002), length: Some(900), ..header };
    assert!(appended.lacks_origin());
    assert_eq!(appended.told().unwrap().unwrap().origin, of("/a", 700).origin);
    assert!(!appended.says(&ChunkOrigin { generation: GenStamp(1_002), ..of("/a", 900) }));
    assert!(self::header("/a", Some(700)).lacks_origin());
}

/// Whatever stands there, the data can be read.
#[test]
fn an_origin_that_makes_no_sense_costs_only_itself() {
    let header = Header { origin: vec![0xff; 99], ..told("/a", Some(700)) };
    let read = Header::decode(&header.encode()).unwrap();
    assert_eq!(read, header);
    assert!(read.lacks_origin() && read.told().is_err() && !read.says(&of("/a", 700)));
}

/// The header with other bytes at a place, and its own checksum right.
fn changed(header: &Header, at: usize, bytes: &[u8]) -> Result<Header, HeaderError> {
    let mut all = header.encode();
    all[at..at + bytes.len()].copy_from_slice(bytes);
    all[SUM_AT..SUM_AT + CHECKSUM_BYTES].fill(0);
    let sum = crc32c(&all).to_be_bytes();
    all[SUM_AT..SUM_AT + CHECKSUM_BYTES].copy_from_slice(&sum);
    Header::decode(&all)
}

#[test]
fn lengths_that_cannot_be_are_refused() {
    let good = told("/a", Some(700));
    let (size_at, path_at, origin_at) = (72, 76, 108);
    for (at, length) in [
        (size_at, 0),
        (size_at, 64),
        (size_at, u32::MAX),
        (path_at, u32::MAX),
        (path_at, MAX_PATH_BYTES as u32 + 1),
        (origin_at, u32::MAX),
        (origin_at, MAX_ORIGIN_BYTES as u32 + 1),
        (origin_at, MAX_ORIGIN_BYTES as u32),
    ] {
        let refused = changed(&good, at, &length.to_be_bytes());
        assert_eq!(refused, Err(HeaderError::Damaged), "{length} at {at}");
    }
    assert_eq!(changed(&good, size_at, &(good.size() as u32).to_be_bytes()), Ok(good.clone()));
    for version in [0_u16, 3, u16::MAX] {
        let refused = changed(&good, 8, &version.to_be_bytes());
        assert!(matches!(refused, Err(HeaderError::Format { .. })), "{refused:?}");
    }
    for end in 0..good.size() {
        assert!(Header::decode(&good.encode()[..end]).is_err(), "{end} bytes");
    }
}

#[test]
fn names_come_back_and_strangers_are_refused() {
    let name = format!("{}.{DATA_SUFFIX}", stem(ChunkId(5), GenStamp(1_001)));
    assert_eq!(parse_name(&name), Some((ChunkId(5), GenStamp(1_001), DATA_SUFFIX)));
    for name in ["", "5.chunk", "5_.chunk", "_7.chunk", "5_+7.chunk", "5_99999999999999999999.chunk", "a_b.c"]
    {
        assert_eq!(parse_name(name), None, "{name}");
    }
}

proptest! {
    #[test]
    fn damaged_headers_are_found(at in 0_usize..384, flip in 1_u8.., with_origin in any::<bool>()) {
        let header = if with_origin { told("/some/where", Some(9)) } else { header("/some/where", Some(9)) };
        let mut bytes = header.encode();
        prop_assume!(at < bytes.len());
        bytes[at] ^= flip;
        prop_assert!(Header::decode(&bytes).is_err());
    }

    #[test]
    fn garbage_is_no_header(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Header::decode(&bytes).is_err());
    }

    /// As whoever means harm would write it: the checksum is right.
    #[test]
    fn a_forged_header_never_ends_the_process(at in 8_usize..380, bytes in proptest::collection::vec(any::<u8>(), 1..8)) {
        let header = told("/some/where", Some(9));
        prop_assume!(at + bytes.len() <= header.size() && !(SUM_AT - 7..SUM_AT + 4).contains(&at));
        if let Ok(read) = changed(&header, at, &bytes) {
            drop(read.told());
            prop_assert_eq!(read.encode().len(), read.size());
        }
    }
}

/// What the release before wrote, in the golden directory that it left.
#[test]
fn headers_of_the_release_before_are_read_and_written_alike() {
    let replicas = [
        (
            1,
            8_893,
            include_bytes!("../../../tests/golden/level-1/dfs/current/01/1073741825_1001.crc").as_slice(),
        ),
        (2, 6, include_bytes!("../../../tests/golden/level-1/dfs/current/02/1073741826_1002.crc")),
        (3, 6, include_bytes!("../../../tests/golden/level-1/dfs/current/03/1073741827_1003.crc")),
    ];
    for (number, length, file) in replicas {
        let header = Header::decode(file).unwrap();
        assert_eq!(
            (header.version, header.chunk.0, header.generation.0),
            (Version::One, 1_073_741_824 + number, 1_000 + number)
        );
        assert_eq!((header.length, header.origin.len(), header.lacks_origin()), (Some(length), 0, true));
        assert_eq!(header.encode(), file[..header.size()]);
    }
}
