//! `dfs local`.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use dfs_local::options::{MAX_DATANODES, MAX_NAMENODES};
use dfs_local::{Lifetime, LocalCluster, Options, Ports, ProcessState, path_text};
use dfs_types::names::NAMENODE_PORT;

use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::global::Format;
use crate::local::{demo, test_ops};
use crate::output::{Out, name, table};

/// How `dfs local` is typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Starts the cluster, or what of it does not run.
    Up(UpArgs),
    /// Stops the cluster; its data stays.
    Down(DataArgs),
    /// Shows the cluster's processes.
    Status(DataArgs),
    /// Removes the data of a stopped cluster.
    Clean(DataArgs),
    /// Tries every operation on the running cluster ('--namenode' or '--cluster' says which).
    TestOps,
    /// Shows what the file system does, on a cluster of its own that is removed again.
    Demo(demo::Args),
}

/// Where a cluster is.
#[derive(Debug, clap::Args)]
struct DataArgs {
    /// Folder of the cluster.
    #[arg(long, value_name = "DIR", default_value = "./data")]
    data: PathBuf,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  dfs local up                                     NameNode on port 9000, three DataNodes
  dfs local up --namenodes 3                       a group that survives the loss of any one NameNode
  dfs local up --datanodes 5 --data /tmp/five --namenode-port 9500
  dfs local up --datanodes 4 --topology /a/1,/a/2,/b/1,/b/2
  dfs local up --free-ports --namenode-arg=--dead-after=1m")]
struct UpArgs {
    #[command(flatten)]
    place: DataArgs,
    /// NameNodes, 1 or 3: others join a cluster that runs; none leaves it by a smaller number.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_NAMENODES)))]
    namenodes: u16,
    /// DataNodes.
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_DATANODES)))]
    datanodes: u16,
    /// Volumes of each DataNode.
    #[arg(long, value_name = "N", default_value_t = NonZeroU16::MIN)]
    volumes: NonZeroU16,
    /// Where each DataNode is, in order, with commas between them; further ones are nowhere in particular.
    #[arg(long, value_name = "/ZONE/RACK,...", value_delimiter = ',')]
    topology: Vec<String>,
    /// Port of the first NameNode; all others lie at the same distances as usual.
    #[arg(long, value_name = "PORT", default_value_t = NAMENODE_PORT)]
    namenode_port: u16,
    /// Any ports that are free.
    #[arg(long, conflicts_with = "namenode_port")]
    free_ports: bool,
    /// A further argument for every NameNode; may be repeated.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    namenode_arg: Vec<String>,
    /// A further argument for every DataNode; may be repeated.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    datanode_arg: Vec<String>,
    /// How long to wait until everything is ready.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "60s")]
    timeout: Duration,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        match self.command {
            Command::Up(args) => context.until_stop(args.run(context)).await,
            Command::Down(args) => context.until_stop(args.down()).await,
            Command::Status(args) => context.until_stop(args.status(context)).await,
            Command::Clean(args) => context.until_stop(args.clean()).await,
            Command::TestOps => {
                let global = &context.global;
                context.until_stop(test_ops::run(global.connection(), global.user.clone())).await
            }
            Command::Demo(args) => context.until_stop(Box::pin(demo::run(&args))).await,
        }
    }
}

impl UpArgs {
    async fn run(self, context: &Context) -> Outcome {
        let options = Options {
            ports: if self.free_ports { Ports::Free } else { Ports::From(self.namenode_port) },
            namenodes: self.namenodes,
            datanodes: self.datanodes,
            volumes: self.volumes.get(),
            topology: self.topology,
            namenode_args: self.namenode_arg,
            datanode_args: self.datanode_arg,
            ready_within: self.timeout,
            lifetime: Lifetime::Detached,
            ..Options::default()
        };
        let cluster = LocalCluster::new(&self.place.data, &options)?;
        let up = cluster.up(&options).await?;
        let mut out = Out::new();
        if context.global.output == Format::Json {
            out.json(&up)?;
            return out.flush();
        }
        let data = path_text(cluster.data());
        let data = name(&data);
        let namenodes = up.namenodes.join(",");
        if up.started.is_empty() {
            out.line(&format!("the cluster in {data} is running already, NameNode {namenodes}"))?;
        } else {
            let names: Vec<String> = up.started.iter().map(ToString::to_string).collect();
            out.line(&format!("started {} in {data}, NameNode {namenodes}", names.join(", ")))?;
        }
        if namenodes != format!("127.0.0.1:{NAMENODE_PORT}") {
            out.line(&format!("reach it with: export {}={namenodes}", dfs_types::names::ENV_NAMENODE))?;
        }
        out.flush()
    }
}

impl DataArgs {
    fn cluster(&self) -> Outcome<LocalCluster> {
        Ok(LocalCluster::new(&self.data, &Options::default())?)
    }

    async fn down(self) -> Outcome {
        let stopped = self.cluster()?.down().await?;
        let mut out = Out::new();
        if stopped.is_empty() {
            out.line("the cluster was not running")?;
        } else {
            let names: Vec<String> = stopped.iter().map(ToString::to_string).collect();
            out.line(&format!("stopped {}", names.join(", ")))?;
        }
        out.flush()
    }

    async fn clean(self) -> Outcome {
        let cluster = self.cluster()?;
        cluster.clean().await?;
        let mut out = Out::new();
        out.line(&format!("removed {}", name(&path_text(cluster.data()))))?;
        out.flush()
    }

    async fn status(self, context: &Context) -> Outcome {
        let daemons = self.cluster()?.status().await?;
        let mut out = Out::new();
        if context.global.output == Format::Json {
            out.json(&daemons)?;
        } else {
            let shown = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            let rows = daemons.iter().map(|daemon| {
                vec![
                    daemon.daemon.to_string(),
                    match daemon.state {
                        ProcessState::Running => "running",
                        ProcessState::Paused => "paused",
                        ProcessState::Stopped => "stopped",
                    }
                    .to_owned(),
                    daemon.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
                    shown(&daemon.address),
                    shown(&daemon.http),
                    path_text(&daemon.log),
                ]
            });
            out.line(&table(vec!["DAEMON", "STATE", "PID", "ADDRESS", "HTTP", "LOG"], rows.collect(), &[2]))?;
        }
        out.flush()?;
        if daemons.iter().all(|daemon| daemon.state == ProcessState::Running) {
            Ok(())
        } else {
            Err(Failure::Reported(1))
        }
    }
}
