//! The command line and environment of the NameNode, read and checked once.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use dfs_daemon::LogFile;
use dfs_daemon::telemetry::{LOG_FILES, LOG_MAX_BYTES, LOG_MIN_BYTES};
use dfs_types::address::{self, AddressError, Addresses};
use dfs_types::attributes::check_principal;
use dfs_types::limits::{
    BYTES_PER_CHECKSUM, DEAD_AFTER, DEFAULT_CHUNK_SIZE, DEFAULT_MIN_REPLICAS, DEFAULT_REPLICATION,
    HEARTBEAT_INTERVAL, LEASE_HARD_LIMIT, LEASE_SOFT_LIMIT, MAX_CHUNK_SIZE, MAX_REPLICATION, MIN_CHUNK_SIZE,
    RESTART_GRACE, STALE_AFTER,
};
use dfs_types::names::{NAMENODE_HTTP_PORT, NAMENODE_PORT};
use dfs_types::{ClusterId, GroupSource};
use humantime::Duration as Span;

/// Longest time any limit may be set to: beyond it a typing error is likelier than a wish.
const MAX_SPAN: Duration = Duration::from_hours(30 * 24);
/// A heartbeat interval must be longer than this: below it a NameNode would do little else.
const MIN_HEARTBEAT: Duration = Duration::from_millis(10);

/// Silence after which a leader is replaced, by default.
const ELECTION_TIMEOUT: Duration = Duration::from_millis(500);
/// It must be longer than this: below it a busy machine would change leaders all the time.
const MIN_ELECTION_TIMEOUT: Duration = Duration::from_millis(50);
/// Heartbeats of a leader in an election timeout, by default: several may be lost.
const HEARTBEATS_PER_ELECTION: u32 = 5;
/// And shorter than this: beyond it a typing error is likelier than a wish.
const MAX_ELECTION_TIMEOUT: Duration = Duration::from_mins(10);

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "dfs-namenode", version, about = "Keeps the namespace of a dfs cluster")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the binary does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve a formatted directory.
    Run(Box<RunArgs>),
    /// Make an empty namespace in a new or empty directory.
    Format(FormatArgs),
    /// Make a directory from a backup of the metadata, whose only NameNode it is from then on.
    Restore(RestoreArgs),
}

/// Flags of `format`.
#[derive(Debug, Args)]
pub struct FormatArgs {
    /// Directory to make the namespace in.
    #[arg(long, value_name = "DIR", env = "DFS_NAMENODE_DIR")]
    pub dir: PathBuf,
    /// Id of the new cluster; random if not given.
    #[arg(long, value_name = "UUID", env = "DFS_NAMENODE_CLUSTER_ID")]
    pub cluster_id: Option<ClusterId>,
}

/// Flags of `restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// New or empty directory to make the namespace in.
    #[arg(long, value_name = "DIR", env = "DFS_NAMENODE_DIR")]
    pub dir: PathBuf,
    /// What `dfs admin backup` wrote.
    pub backup: PathBuf,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogStyle {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Flags of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Directory of the namespace.
    #[arg(long, value_name = "DIR", env = "DFS_NAMENODE_DIR")]
    dir: PathBuf,
    /// Address for clients and DataNodes; port 0 takes a free one.
    #[arg(long, value_name = "HOST:PORT", env = "DFS_NAMENODE_LISTEN",
          default_value_t = any_host(NAMENODE_PORT))]
    listen: String,
    /// Address for metrics, health and status; port 0 takes a free one.
    #[arg(long, value_name = "HOST:PORT", env = "DFS_NAMENODE_HTTP",
          default_value_t = any_host(NAMENODE_HTTP_PORT))]
    http: String,
    /// Address under which other NameNodes, DataNodes and clients reach this one; by default the one it listens on, with
    /// the host's name if that is every address.
    #[arg(long, value_name = "HOST:PORT", env = "DFS_NAMENODE_ADVERTISE", value_parser = parse_address)]
    advertise: Option<String>,
    /// Addresses of all NameNodes of the group, with commas between them and in the same order everywhere. With an empty
    /// directory this one joins the group it finds there, or begins one if it is the first and nobody has anything.
    #[arg(long, value_name = "HOST:PORT,...", env = "DFS_NAMENODE_PEERS")]
    peers: Vec<Addresses>,
    /// A leader that is silent for this long is replaced, after up to as long again.
    #[arg(long, value_name = "TIME", env = "DFS_NAMENODE_ELECTION_TIMEOUT",
          default_value_t = ELECTION_TIMEOUT.into())]
    election_timeout: Span,
    /// How often a leader tells the other NameNodes that it is there [default: five times in an election timeout].
    #[arg(long, value_name = "TIME", env = "DFS_NAMENODE_LEADER_HEARTBEAT_INTERVAL")]
    leader_heartbeat_interval: Option<Span>,
    /// Free space of the disk of --dir below which nothing new can be made, while deleting, closing and renaming go on (with
    /// k, m, g, t for powers of 1024) [default: 5 %, at most 1g]
    #[arg(long, value_name = "BYTES", env = "DFS_NAMENODE_MIN_FREE", value_parser = parse_bytes)]
    min_free: Option<u64>,
    /// Format the directory first if it is new or empty.
    #[arg(long, env = "DFS_NAMENODE_FORMAT_IF_EMPTY")]
    format_if_empty: bool,
    /// Finalized replicas a chunk needs before its file may be closed.
    #[arg(long, value_name = "N", env = "DFS_NAMENODE_MIN_REPLICAS", default_value_t = DEFAULT_MIN_REPLICAS,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_REPLICATION)))]
    min_replicas: u32,
    /// Replicas of a file whose creator does not say otherwise.
    #[arg(long, value_name = "N", env = "DFS_NAMENODE_DEFAULT_REPLICATION",
          default_value_t = DEFAULT_REPLICATION,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_REPLICATION)))]
    default_replication: u32,
    /// Bytes of a chunk of a file whose creator does not say otherwise.
    #[arg(long, value_name = "BYTES", env = "DFS_NAMENODE_DEFAULT_CHUNK_SIZE",
          default_value_t = DEFAULT_CHUNK_SIZE,
          value_parser = clap::value_parser!(u64).range(MIN_CHUNK_SIZE..=MAX_CHUNK_SIZE))]
    default_chunk_size: u64,
    /// How often DataNodes send a heartbeat.
    #[arg(long, value_name = "TIME", env = "DFS_NAMENODE_HEARTBEAT_INTERVAL",
          default_value_t = HEARTBEAT_INTERVAL.into())]
    heartbeat_interval: Span,
    /// Silence after which a DataNode is stale: last choice for reads, none for writes.
    #[arg(long, value_name = "TIME", env = "DFS_NAMENODE_STALE_AFTER", default_value_t = STALE_AFTER.into())]
    stale_after: Span,
    /// Silence after which a DataNode is dead and its replicas are copied elsewhere.
    #[arg(long, value_name = "TIME", env = "DFS_NAMENODE_DEAD_AFTER", default_value_t = DEAD_AFTER.into())]
    dead_after: Span,
    /// How long an announced restart of a DataNode may take before its replicas are copied elsewhere.
    #[arg(long, value_name = "TIME", env = "DFS_NAMENODE_RESTART_GRACE",
          default_value_t = RESTART_GRACE.into())]
    restart_grace: Span,
    /// Age of a lease after which another client may take the file over.
    #[arg(long, value_name = "TIME", env = "DFS_NAMENODE_LEASE_SOFT_LIMIT",
          default_value_t = LEASE_SOFT_LIMIT.into())]
    lease_soft_limit: Span,
    /// Age of a lease after which the NameNode closes the file itself.
    #[arg(long, value_name = "TIME", env = "DFS_NAMENODE_LEASE_HARD_LIMIT",
          default_value_t = LEASE_HARD_LIMIT.into())]
    lease_hard_limit: Span,
    /// User who may do anything [default: who runs this NameNode, by the name that his clients present].
    #[arg(long, value_name = "NAME", env = "DFS_NAMENODE_SUPERUSER")]
    superuser: Option<String>,
    /// Which groups a user is in: 'caller' believes what each request says; 'file:PATH' a file in the format of /etc/group,
    /// which is read again when it changes. The same for all NameNodes.
    #[arg(long, value_name = "SOURCE", env = "DFS_NAMENODE_GROUPS", default_value_t = GroupSource::Caller)]
    groups: GroupSource,
    /// Log filter, for example `info,dfs_namenode=debug`.
    #[arg(long, value_name = "DIRECTIVES", env = "DFS_NAMENODE_LOG")]
    log: Option<String>,
    /// How log lines look.
    #[arg(long, value_name = "FORMAT", env = "DFS_NAMENODE_LOG_FORMAT", default_value = "text")]
    log_format: LogStyle,
    /// File for log lines instead of standard error; when it is full it is renamed to FILE.1, FILE.1 to FILE.2 and so on.
    #[arg(long, value_name = "FILE", env = "DFS_NAMENODE_LOG_FILE")]
    log_file: Option<PathBuf>,
    /// Most bytes of one such file.
    #[arg(long, value_name = "BYTES", env = "DFS_NAMENODE_LOG_MAX_BYTES", default_value_t = LOG_MAX_BYTES,
          value_parser = clap::value_parser!(u64).range(LOG_MIN_BYTES..))]
    log_max_bytes: u64,
    /// Most such files, the one being written included.
    #[arg(long, value_name = "N", env = "DFS_NAMENODE_LOG_FILES", default_value_t = LOG_FILES,
          value_parser = clap::value_parser!(u32).range(1..=1_000))]
    log_files: u32,
}

fn parse_address(text: &str) -> Result<String, AddressError> {
    address::check(text).map(|()| text.to_owned())
}

fn any_host(port: u16) -> String {
    format!("0.0.0.0:{port}")
}

/// A combination of settings that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

/// Everything `run` was told, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory of the namespace.
    pub dir: PathBuf,
    /// Address for clients and DataNodes.
    pub listen: String,
    /// Address of the HTTP port.
    pub http: String,
    /// Address under which this NameNode is reached, if not the one it listens on.
    pub advertise: Option<String>,
    /// Addresses of all NameNodes of the group.
    pub peers: Vec<String>,
    /// Silence after which a leader is replaced.
    pub election_timeout: Duration,
    /// How often a leader tells the others that it is there, at most half of that.
    pub leader_heartbeat_interval: Duration,
    /// Free bytes of the disk below which the namespace may not grow, if not the usual share.
    pub min_free: Option<u64>,
    /// Whether to format a new or empty directory.
    pub format_if_empty: bool,
    /// What the API decides by.
    pub settings: Settings,
    /// Times by which DataNodes and leases are judged.
    pub times: Times,
    /// User who may do anything.
    pub superuser: String,
    /// Which groups a user is in.
    pub groups: GroupSource,
    /// Log filter.
    pub log: Option<String>,
    /// How log lines look.
    pub log_style: LogStyle,
    /// Where they go, if not to standard error.
    pub log_file: Option<LogFile>,
}

/// What the API decides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Finalized replicas a chunk needs before its file may be closed.
    pub min_replicas: u32,
    /// Replicas of a file whose creator does not say otherwise.
    pub default_replication: u32,
    /// Bytes of a chunk of a file whose creator does not say otherwise.
    pub default_chunk_size: u64,
    /// How often DataNodes send a heartbeat.
    pub heartbeat_interval: Duration,
}

/// Times by which DataNodes and leases are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Silence after which a DataNode is stale.
    pub stale_after: Duration,
    /// Silence after which a DataNode is dead.
    pub dead_after: Duration,
    /// How long an announced restart may take.
    pub restart_grace: Duration,
    /// Age of a lease after which another client may take the file over.
    pub lease_soft_limit: Duration,
    /// Age of a lease after which the NameNode closes the file itself.
    pub lease_hard_limit: Duration,
}

impl Config {
    /// Checks what the parser cannot see: how settings fit together.
    pub fn new(args: RunArgs) -> Result<Self, Invalid> {
        let settings = Settings {
            min_replicas: args.min_replicas,
            default_replication: args.default_replication,
            default_chunk_size: args.default_chunk_size,
            heartbeat_interval: *args.heartbeat_interval,
        };
        if !settings.default_chunk_size.is_multiple_of(BYTES_PER_CHECKSUM as u64) {
            return Err(Invalid(format!(
                "--default-chunk-size {} is not a multiple of {BYTES_PER_CHECKSUM}",
                settings.default_chunk_size
            )));
        }
        let times = Times {
            stale_after: *args.stale_after,
            dead_after: *args.dead_after,
            restart_grace: *args.restart_grace,
            lease_soft_limit: *args.lease_soft_limit,
            lease_hard_limit: *args.lease_hard_limit,
        };
        check_order(&[
            ("the minimum", MIN_HEARTBEAT),
            ("--heartbeat-interval", settings.heartbeat_interval),
            ("--stale-after", times.stale_after),
            ("--dead-after", times.dead_after),
            ("the maximum", MAX_SPAN),
        ])?;
        check_order(&[("--restart-grace", times.restart_grace), ("the maximum", MAX_SPAN)])?;
        check_order(&[
            ("--heartbeat-interval", settings.heartbeat_interval),
            ("--lease-soft-limit", times.lease_soft_limit),
            ("--lease-hard-limit", times.lease_hard_limit),
            ("the maximum", MAX_SPAN),
        ])?;
        check_order(&[
            ("the minimum", MIN_ELECTION_TIMEOUT),
            ("--election-timeout", *args.election_timeout),
            ("the maximum", MAX_ELECTION_TIMEOUT),
        ])?;
        let leader_heartbeat_interval = args
            .leader_heartbeat_interval
            .map_or(*args.election_timeout / HEARTBEATS_PER_ELECTION, |interval| *interval);
        if leader_heartbeat_interval * 2 > *args.election_timeout || leader_heartbeat_interval < MIN_HEARTBEAT
        {
            return Err(Invalid(format!(
                "--leader-heartbeat-interval ({}) must be {} to half of --election-timeout ({})",
                Span::from(leader_heartbeat_interval),
                Span::from(MIN_HEARTBEAT),
                args.election_timeout
            )));
        }
        for (flag, address) in [("--listen", &args.listen), ("--http", &args.http)] {
            if let Err(error) = address::check_listening(address) {
                return Err(Invalid(format!("{flag}: '{address}' can't be listened on: {error}")));
            }
        }
        let peers: Vec<String> = args.peers.into_iter().flat_map(|Addresses(list)| list).collect();
        if !peers.is_empty() && args.advertise.as_ref().is_none_or(|own| !peers.contains(own)) {
            return Err(Invalid("--peers must name this NameNode too, as --advertise does".to_owned()));
        }
        let superuser = args.superuser.unwrap_or_else(dfs_identity::process_user);
        check_principal("superuser", &superuser).map_err(|error| Invalid(error.message))?;
        Ok(Self {
            dir: args.dir,
            listen: args.listen,
            http: args.http,
            advertise: args.advertise,
            peers,
            election_timeout: *args.election_timeout,
            leader_heartbeat_interval,
            min_free: args.min_free,
            format_if_empty: args.format_if_empty,
            settings,
            times,
            superuser,
            groups: args.groups,
            log: args.log,
            log_style: args.log_format,
            log_file: args.log_file.map(|path| LogFile {
                path,
                max_bytes: args.log_max_bytes,
                files: args.log_files,
            }),
        })
    }
}

/// Bytes, with a letter for a power of 1024.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is no number of bytes: write one such as 512m or 2g");
    let split = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("'{text}' is more than any disk has"))
}

/// Fails unless each time is shorter than the next.
fn check_order(times: &[(&str, Duration)]) -> Result<(), Invalid> {
    for pair in times.windows(2) {
        if let [(short, short_time), (long, long_time)] = pair
            && short_time >= long_time
        {
            return Err(Invalid(format!(
                "{short} ({}) must be shorter than {long} ({})",
                Span::from(*short_time),
                Span::from(*long_time)
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::CommandFactory as _;
    use dfs_program::command_line;

    use super::*;

    fn parse(flags: &[&str]) -> Result<Config, String> {
        let base = ["dfs-namenode", "run", "--dir", "d"];
        let cli = Cli::try_parse_from(base.iter().chain(flags)).map_err(|error| error.to_string())?;
        match cli.command {
            Command::Run(args) => Config::new(*args).map_err(|error| error.to_string()),
            Command::Format(_) | Command::Restore(_) => Err("not run".to_owned()),
        }
    }

    #[test]
    fn variables_that_are_set_to_nothing_are_not_read() {
        let empty = |command| command_line::without_empty(command, &|_| Some(OsString::new()));
        assert!(!command_line::variables(&Cli::command()).is_empty());
        assert_eq!(command_line::variables(&empty(Cli::command())), []);
        let full = command_line::without_empty(Cli::command(), &|_| Some("x".into()));
        assert_eq!(command_line::variables(&full), command_line::variables(&Cli::command()));
    }

    #[test]
    fn defaults_are_valid() {
        let config = parse(&[]).unwrap();
        assert_eq!(config.listen, "0.0.0.0:9000");
        assert_eq!(config.settings.min_replicas, DEFAULT_MIN_REPLICAS);
        assert_eq!(config.times.dead_after, DEAD_AFTER);
        assert!(!config.superuser.is_empty());
        assert_eq!(config.groups, GroupSource::Caller);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_flag() {
        for (flags, says) in [
            (vec!["--min-replicas", "0"], "--min-replicas"),
            (vec!["--default-chunk-size", "1000"], "multiple of 512"),
            (vec!["--stale-after", "1s"], "--stale-after"),
            (vec!["--dead-after", "2s"], "--dead-after"),
            (vec!["--dead-after", "5y"], "the maximum"),
            (vec!["--heartbeat-interval", "1ms"], "--heartbeat-interval"),
            (vec!["--lease-hard-limit", "10s"], "--lease-hard-limit"),
            (vec!["--superuser", "a:b"], "superuser"),
            (vec!["--groups", "ldap"], "caller or file:PATH"),
            (vec!["--stale-after", "soon"], "--stale-after"),
            (vec!["--election-timeout", "1ms"], "--election-timeout"),
            (vec!["--advertise", "nn-0"], "HOST:PORT"),
            (vec!["--listen", "nn-0"], "--listen: 'nn-0'"),
            (vec!["--http", "0.0.0.0:99999"], "--http: '0.0.0.0:99999'"),
            (vec!["--peers", "a:1,b:http", "--advertise", "a:1"], "--peers"),
            (vec!["--leader-heartbeat-interval", "300ms"], "half of --election-timeout (500ms)"),
            (vec!["--leader-heartbeat-interval", "1ms"], "--leader-heartbeat-interval (1ms) must be 10ms"),
            (vec!["--min-free", "lots"], "--min-free"),
            (vec!["--min-free", "99999999t"], "--min-free"),
            (vec!["--advertise", "a:1", "--peers", "b:1,c:1"], "--advertise"),
            (vec!["--peers", "b:1,c:1"], "--advertise"),
        ] {
            let error = parse(&flags).unwrap_err();
            assert!(error.contains(says), "{flags:?}: {error}");
        }
    }

    #[test]
    fn who_runs_the_namenode_is_superuser_by_the_name_that_his_clients_present() {
        assert_eq!(parse(&[]).unwrap().superuser, dfs_identity::caller(None, None).unwrap().user);
    }
}
