//! Everything that can be configured, in one place: flags, environment, defaults.

use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};
use dfs_daemon::telemetry::{LOG_FILES, LOG_MAX_BYTES, LOG_MIN_BYTES};
use dfs_types::StorageType;
use dfs_types::address::Addresses;
use dfs_types::limits::{MAX_LOCATION_BYTES, MAX_MACHINE_BYTES};
use dfs_types::names::{DATANODE_HTTP_PORT, DATANODE_PORT};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where a volume is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeDirectory {
    /// What its storage is.
    pub storage: StorageType,
    /// Its directory.
    pub path: PathBuf,
}

/// Settings of a DataNode, as flags or environment variables.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// Directory that holds replicas, after its storage type, if that is not [DISK]: [SSD]DIR, [ARCHIVE]DIR; give it again for
    /// each further disk. The variable names one directory
    #[arg(long = "volume", env = "DFS_DATANODE_VOLUME", value_name = "DIR", required = true,
        value_parser = OsStringValueParser::new().try_map(parse_volume))]
    pub volumes: Vec<VolumeDirectory>,
    /// NameNode to report to; give it again, or a list, for several; others of its group are learned from it
    #[arg(long = "namenode", env = "DFS_DATANODE_NAMENODE", value_name = "HOST:PORT", required = true)]
    pub namenodes: Vec<Addresses>,
    /// Address of the data port
    #[arg(long, env = "DFS_DATANODE_LISTEN", value_name = "HOST:PORT",
        default_value_t = SocketAddr::new(IpAddr::from([0, 0, 0, 0]), DATANODE_PORT))]
    pub listen: SocketAddr,
    /// Address of the HTTP port (metrics, health)
    #[arg(long, env = "DFS_DATANODE_HTTP", value_name = "HOST:PORT",
        default_value_t = SocketAddr::new(IpAddr::from([0, 0, 0, 0]), DATANODE_HTTP_PORT))]
    pub http: SocketAddr,
    /// Name or address under which clients and other DataNodes reach this node [default: the data port's address, or
    /// the host name if that is unspecified]
    #[arg(long, env = "DFS_DATANODE_ADVERTISE_HOST", value_name = "HOST")]
    pub advertise_host: Option<String>,
    /// Machine this node runs on, for placing replicas on different ones [default: the host by which it is reached]
    #[arg(long, env = "DFS_DATANODE_HOST", value_name = "NAME", value_parser = parse_machine)]
    pub host: Option<String>,
    /// Where this node is, for placing replicas apart
    #[arg(long, env = "DFS_DATANODE_TOPOLOGY", value_name = "/ZONE/RACK", default_value = "", value_parser = parse_topology)]
    pub topology: String,
    /// File that says where machines are, a line 'NAME /ZONE/RACK' each; the one of --host counts
    #[arg(
        long,
        env = "DFS_DATANODE_TOPOLOGY_FILE",
        value_name = "FILE",
        requires = "host",
        conflicts_with = "topology"
    )]
    pub topology_file: Option<PathBuf>,
    /// Bytes to leave free on each volume (with k, m, g, t for powers of 1024) [default: 5 %, at most 1g]
    #[arg(long, env = "DFS_DATANODE_RESERVE", value_name = "BYTES", value_parser = parse_bytes)]
    pub reserve: Option<u64>,
    /// Bytes a second that the scrubber reads to find damaged replicas; 0 for no scrubbing
    #[arg(long, env = "DFS_DATANODE_SCRUB_RATE", value_name = "BYTES", default_value = "8m", value_parser = parse_bytes)]
    pub scrub_rate: u64,
    /// How often the scrubber reads each replica
    #[arg(long, env = "DFS_DATANODE_SCRUB_INTERVAL", value_name = "DURATION", default_value = "7d",
        value_parser = humantime::parse_duration)]
    pub scrub_interval: Duration,
    /// Threads that read and write each volume
    #[arg(long, env = "DFS_DATANODE_THREADS_PER_VOLUME", value_name = "N", default_value_t = 4,
        value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads_per_volume: u16,
    /// Bytes that data on its way may take in memory [default: half of the memory limit of the control group, or an eighth of
    /// the machine's memory]
    #[arg(long, env = "DFS_DATANODE_MEMORY", value_name = "BYTES", value_parser = parse_bytes)]
    pub memory: Option<u64>,
    /// Silence of a disk after which its volume is suspect: nothing is placed there, and others are read first
    #[arg(long, env = "DFS_DATANODE_SUSPECT_AFTER", value_name = "DURATION", default_value = "5s",
        value_parser = parse_patience)]
    pub suspect_after: Duration,
    /// Silence of a disk after which its volume has failed: its replicas are lost and made anew elsewhere
    #[arg(long, env = "DFS_DATANODE_FAIL_AFTER", value_name = "DURATION", default_value = "50s",
        value_parser = parse_patience)]
    pub fail_after: Duration,
    /// Directory of --volume whose disk was replaced by an empty one: it becomes a new volume, and what the former one held
    /// is given up
    #[arg(long = "replaced-volume", env = "DFS_DATANODE_REPLACED_VOLUME", value_name = "DIR")]
    pub replaced_volumes: Vec<PathBuf>,
    /// How often to tell the NameNode that this node is alive [default: as the NameNode likes]
    #[arg(long, env = "DFS_DATANODE_HEARTBEAT_INTERVAL", value_name = "DURATION", value_parser = parse_interval)]
    pub heartbeat_interval: Option<Duration>,
    /// What to log, for example 'info' or 'info,dfs_datanode=debug' [default: info]
    #[arg(long, env = "DFS_DATANODE_LOG", value_name = "DIRECTIVES")]
    pub log: Option<String>,
    /// How log lines look
    #[arg(long, env = "DFS_DATANODE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// File for log lines instead of standard error; when it is full it is renamed to FILE.1, FILE.1 to FILE.2 and so on
    #[arg(long, env = "DFS_DATANODE_LOG_FILE", value_name = "FILE")]
    pub log_file: Option<PathBuf>,
    /// Most bytes of one such file
    #[arg(long, env = "DFS_DATANODE_LOG_MAX_BYTES", value_name = "BYTES", default_value_t = LOG_MAX_BYTES,
        value_parser = clap::value_parser!(u64).range(LOG_MIN_BYTES..))]
    pub log_max_bytes: u64,
    /// Most such files, the one being written included
    #[arg(long, env = "DFS_DATANODE_LOG_FILES", value_name = "N", default_value_t = LOG_FILES,
        value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub log_files: u32,
}

/// Reads `[TYPE]DIR`, as HDFS writes it. A directory whose name begins with a bracket can be given as `[DISK][…`.
fn parse_volume(text: OsString) -> Result<VolumeDirectory, String> {
    // Names of directories need not be UTF-8.
    let bytes = text.as_bytes();
    let end = bytes.iter().position(|byte| *byte == b']').filter(|_| bytes.starts_with(b"["));
    let (storage, path) = match end {
        None => (StorageType::Disk, bytes),
        Some(end) => {
            let name = String::from_utf8_lossy(&bytes[1..end]);
            let names = || StorageType::ALL.map(StorageType::name).join(", ");
            let storage = StorageType::from_name(&name);
            let unknown = || format!("'{name}' is no storage type: use one of {}", names());
            (storage.ok_or_else(unknown)?, &bytes[end + 1..])
        }
    };
    if path.is_empty() {
        return Err("write a directory, for example /data or [SSD]/data".to_owned());
    }
    Ok(VolumeDirectory { storage, path: OsStr::from_bytes(path).into() })
}

fn parse_machine(text: &str) -> Result<String, String> {
    if (1..=MAX_MACHINE_BYTES).contains(&text.len()) && !text.contains(char::is_whitespace) {
        Ok(text.to_owned())
    } else {
        Err(format!("write a name without spaces, at most {MAX_MACHINE_BYTES} bytes"))
    }
}

/// Checks that `text` is /ZONE/RACK, or nothing.
pub(crate) fn parse_topology(text: &str) -> Result<String, String> {
    let fits = text.is_empty() || (text.starts_with('/') && !text.ends_with('/') && !text.contains("//"));
    if fits && text.len() <= MAX_LOCATION_BYTES {
        Ok(text.to_owned())
    } else {
        Err(format!("write /zone/rack, at most {MAX_LOCATION_BYTES} bytes"))
    }
}

fn parse_bytes(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let (digits, shift) = match lower.char_indices().last() {
        Some((at, 'k')) => (&lower[..at], 10),
        Some((at, 'm')) => (&lower[..at], 20),
        Some((at, 'g')) => (&lower[..at], 30),
        Some((at, 't')) => (&lower[..at], 40),
        Some(_) | None => (lower.as_str(), 0),
    };
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    number.ok_or_else(|| "write a number of bytes, for example 8m or 1048576".to_owned())
}

fn parse_patience(text: &str) -> Result<Duration, String> {
    let patience = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (Duration::from_millis(500)..=Duration::from_hours(1)).contains(&patience) {
        Ok(patience)
    } else {
        Err("use 500ms to 1h".to_owned())
    }
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (Duration::from_millis(50)..=Duration::from_secs(30)).contains(&interval) {
        Ok(interval)
    } else {
        Err("use 50ms to 30s".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        config: Config,
    }

    fn parse(flags: &[&str]) -> Result<Config, clap::Error> {
        Command::try_parse_from([&["x"], flags].concat()).map(|command| command.config)
    }

    #[test]
    fn defaults_and_lists() {
        let config = parse(&["--volume", "/a", "--volume", "/b", "--namenode", "n0:1,n1:2"]).unwrap();
        let disk = |path: &str| VolumeDirectory { storage: StorageType::Disk, path: path.into() };
        assert_eq!(config.volumes, [disk("/a"), disk("/b")]);
        assert_eq!(config.namenodes, [Addresses(vec!["n0:1".to_owned(), "n1:2".to_owned()])]);
        // A comma is a letter like any other in a directory's name.
        let config = parse(&["--volume", "/a, b", "--namenode", "n0:1"]).unwrap();
        assert_eq!(config.volumes, [disk("/a, b")]);
        let config = parse(&["--volume", "[ssd]/a", "--volume", "[DISK][b]", "--namenode", "n0:1"]).unwrap();
        assert_eq!(
            config.volumes,
            [VolumeDirectory { storage: StorageType::Ssd, path: "/a".into() }, disk("[b]")]
        );
        let config = parse(&["--volume", "/a", "--namenode", "n0:1"]).unwrap();
        assert_eq!((config.scrub_rate, config.reserve), (8 << 20, None));
        assert_eq!(config.listen.port(), DATANODE_PORT);
        let node = ["--volume", "/a", "--namenode", "n:1", "--host", "w1", "--topology-file", "/t"];
        let config = parse(&node).unwrap();
        assert_eq!((config.host.as_deref(), config.topology_file), (Some("w1"), Some("/t".into())));
    }

    #[test]
    fn nonsense_is_refused() {
        let good = ["--volume", "/a", "--namenode", "n:1"];
        for bad in [
            ["--volume", "[TAPE]/a"],
            ["--volume", "[SSD]"],
            ["--reserve", "lots"],
            ["--reserve", "99999999t"],
            ["--topology", "rack"],
            ["--topology", "/a//b"],
            ["--namenode", "nowhere"],
            ["--namenode", "nn:0"],
            ["--namenode", "n n:1"],
            ["--heartbeat-interval", "1ms"],
            ["--threads-per-volume", "0"],
            ["--suspect-after", "1ms"],
            ["--fail-after", "2h"],
            ["--listen", "9001"],
            ["--host", ""],
            ["--host", "a b"],
            ["--topology-file", "/t"],
        ] {
            assert!(parse(&[&good[..], &bad[..]].concat()).is_err(), "{bad:?}");
        }
        assert!(parse(&["--namenode", "n:1"]).is_err(), "a volume is needed");
        let twice = ["--host", "w1", "--topology-file", "/t", "--topology", "/a"];
        assert!(parse(&[&good[..], &twice].concat()).is_err(), "one of both says where the node is");
        assert_eq!(parse_bytes("3K"), Ok(3_072));
    }
}
