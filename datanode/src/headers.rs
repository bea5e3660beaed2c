//! `dfs-datanode headers`: what the headers of replicas say of their files, from the disks alone, for whoever must make a
//! namespace again. It only reads, a replica at a time, and needs no lock: a DataNode may be using the directory.

use std::fs::{self, DirEntry, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::{Args, ValueEnum};
use dfs_program::streams::{self, StandardOutput};
use dfs_program::terminal::{harmless_json, one_line, quoted};
use dfs_types::Millis;
use serde::Serialize;

use crate::volume::layout::replica_directories;
use crate::volume::origin::Told;
use crate::volume::replica_file::{Header, SUMS_SUFFIX, parse_name};

/// Flags of `headers`.
#[derive(Debug, Args)]
pub(crate) struct HeadersArgs {
    /// Directories of --volume, or copies of them; a DataNode may be using them
    #[arg(required = true, value_name = "DIR")]
    directories: Vec<PathBuf>,
    /// How they are printed: a table, or an object of JSON on each line
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// All that a header says. What was not told is left out.
#[derive(Debug, Serialize)]
struct Line<'a> {
    /// The file that was read.
    file: String,
    version: u16,
    cluster: String,
    /// Number of the namespace group.
    namespace_group: u16,
    inode: u64,
    chunk: u64,
    generation: u64,
    /// Which of the file's chunks it is.
    index: u64,
    /// Bytes of the replica; `null` while it is being written.
    length: Option<u64>,
    /// Of the file: as told, or else when the chunk was opened.
    path: &'a str,
    #[serde(flatten)]
    told: Option<ToldLine>,
    /// Why what was told can't be read.
    problem: Option<String>,
}

#[derive(Debug, Serialize)]
struct ToldLine {
    /// Unix milliseconds.
    told: u64,
    /// The generation then: with another one now, the chunk has changed since.
    told_generation: u64,
    offset: u64,
    file_length: u64,
    owner: String,
    group: String,
    /// As octal digits.
    mode: String,
    /// Unix milliseconds.
    mtime: u64,
    replication: u32,
    chunk_size: u64,
}

impl From<Told> for ToldLine {
    fn from(told: Told) -> Self {
        let Told { generation, at, origin } = told;
        Self {
            told: at.0,
            told_generation: generation.0,
            offset: origin.offset,
            file_length: origin.file_length,
            owner: origin.owner,
            group: origin.group,
            mode: format!("{:04o}", origin.mode.bits()),
            mtime: origin.mtime.0,
            replication: origin.replication,
            chunk_size: origin.chunk_size,
        }
    }
}

impl<'a> Line<'a> {
    fn new(file: &Path, header: &'a Header) -> Self {
        let (told, problem) = match header.told() {
            Ok(told) => (told, None),
            Err(error) => (None, Some(error.to_string())),
        };
        Self {
            file: file.to_string_lossy().into_owned(),
            version: header.version as u16,
            cluster: header.cluster.to_string(),
            namespace_group: header.chunk.group().0,
            inode: header.inode.0,
            chunk: header.chunk.0,
            generation: header.generation.0,
            index: header.index,
            length: header.length,
            path: &header.path,
            told: told.map(ToldLine::from),
            problem,
        }
    }

    fn text(&self) -> String {
        let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let told = self.told.as_ref();
        let word = |word: fn(&ToldLine) -> &str| told.map_or("-".into(), |told| quoted(word(told)));
        let time = |time: fn(&ToldLine) -> u64| {
            told.map_or_else(|| "-".to_owned(), |told| stamp(Millis(time(told))))
        };
        let current = match (told, &self.problem) {
            (_, Some(_)) => "damaged",
            (Some(told), None) if told.told_generation == self.generation => "yes",
            (Some(_), None) => "old",
            (None, None) => "no",
        };
        format!(
            "{} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {current} {}",
            self.namespace_group,
            self.inode,
            self.chunk,
            self.generation,
            self.index,
            number(told.map(|told| told.offset)),
            number(self.length),
            number(told.map(|told| told.file_length)),
            word(|told| &told.mode),
            word(|told| &told.owner),
            word(|told| &told.group),
            number(told.map(|told| told.replication.into())),
            number(told.map(|told| told.chunk_size)),
            time(|told| told.mtime),
            time(|told| told.told),
            quoted(self.path),
        )
    }
}

/// What the columns of a line of text are.
const TITLES: &str = "NAMESPACE_GROUP INODE CHUNK GENERATION INDEX OFFSET LENGTH FILE_LENGTH MODE OWNER GROUP REPLICATION CHUNK_SIZE \
                      MTIME TOLD_AT TOLD PATH";

/// A time as text without spaces; as a number if no calendar has it.
fn stamp(time: Millis) -> String {
    // The last second of the year 9999.
    const LAST: u64 = 253_402_300_799_000;
    if time.0 > LAST {
        return time.0.to_string();
    }
    humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + Duration::from_millis(time.0)).to_string()
}

/// Why nothing more is printed, or what was passed over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Standard output takes no more.
    #[error("standard output: {0}")]
    Output(#[source] io::Error),
    /// Some were told of while the others were printed.
    #[error("{0} files or directories could not be read: all others are printed")]
    PassedOver(u64),
}

/// Prints them all. What can't be read is told of on standard error and passed over.
pub(crate) fn print(args: &HeadersArgs) -> Result<(), Error> {
    let mut out = BufWriter::new(StandardOutput);
    let mut walk = Walk { format: args.output, passed_over: 0 };
    if args.output == Format::Text {
        writeln!(out, "{TITLES}").map_err(Error::Output)?;
    }
    for directory in &args.directories {
        walk.volume(directory, &mut out)?;
    }
    out.flush().map_err(Error::Output)?;
    if walk.passed_over > 0 { Err(Error::PassedOver(walk.passed_over)) } else { Ok(()) }
}

struct Walk {
    format: Format,
    passed_over: u64,
}

impl Walk {
    fn pass_over(&mut self, path: &Path, why: &dyn std::fmt::Display) {
        self.passed_over += 1;
        streams::tell(&one_line(&format!("error: {}: {why}", path.display())));
    }

    fn volume(&mut self, volume: &Path, out: &mut impl Write) -> Result<(), Error> {
        if !replica_directories(volume).any(|directory| directory.is_dir()) {
            self.pass_over(
                volume,
                &"it is no volume: give the directory of a --volume, which has a directory 'dfs'",
            );
            return Ok(());
        }
        for directory in replica_directories(volume) {
            let entries = match fs::read_dir(&directory) {
                Ok(entries) => entries,
                // Copies need not have the empty ones.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    self.pass_over(&directory, &error);
                    continue;
                }
            };
            for entry in entries {
                match entry {
                    Ok(entry) => self.entry(&entry, out)?,
                    Err(error) => {
                        self.pass_over(&directory, &error);
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn entry(&mut self, entry: &DirEntry, out: &mut impl Write) -> Result<(), Error> {
        let name = entry.file_name();
        if name.to_str().and_then(parse_name).is_none_or(|(_, _, suffix)| suffix != SUMS_SUFFIX) {
            return Ok(());
        }
        let path = entry.path();
        let header = match File::open(&path).and_then(|sums| Header::read(&sums)) {
            Ok(Ok(header)) => header,
            Ok(Err(error)) => {
                self.pass_over(&path, &error);
                return Ok(());
            }
            // It was moved or removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                self.pass_over(&path, &error);
                return Ok(());
            }
        };
        let line = Line::new(&path, &header);
        let text = match self.format {
            Format::Text => line.text(),
            Format::Json => {
                harmless_json(serde_json::to_string(&line).map_err(|error| Error::Output(error.into()))?)
            }
        };
        writeln!(out, "{text}").map_err(Error::Output)
    }
}
