//! `dfs cluster`: DfsClusters as their operator sees them.

mod age;
mod events;
mod list;
mod status;

use dfs_kubernetes::ClusterName;
use dfs_kubernetes::crd::DfsCluster;
use kube::ResourceExt as _;

use crate::context::Context;
use crate::exit::Outcome;

/// How `dfs cluster` is typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Lists the clusters of a namespace, or of all.
    List(list::Args),
    /// Shows how a cluster is: what is ready, what is missing, what its operator waits for.
    Status(status::Args),
    /// Shows what happened to a cluster and its pods lately.
    Events(events::Args),
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        match self.command {
            Command::List(args) => args.run(context).await,
            Command::Status(args) => args.run(context).await,
            Command::Events(args) => args.run(context).await,
        }
    }
}

/// The full name of a cluster that the API server gave.
fn name_of(cluster: &DfsCluster) -> ClusterName {
    ClusterName::new(cluster.namespace().unwrap_or_default(), cluster.name_any())
}

/// What was named after the command, or else by `--cluster`.
fn named<'a>(argument: Option<&'a str>, context: &'a Context) -> Option<&'a str> {
    argument.or(context.global.cluster.as_deref())
}
