//! `dfs df`.

use clap::ArgAction;
use serde::Serialize;

use crate::context::Context;
use crate::exit::Outcome;
use crate::global::Format;
use crate::output::{Out, table};
use crate::size;

/// How `dfs df` is typed.
#[derive(Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    after_help = "\
Bytes are those of the DataNodes' disks: a file takes its length times its replication."
)]
pub(crate) struct Args {
    /// Sizes with units.
    #[arg(short, long)]
    human: bool,
    /// Print help.
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

#[derive(Serialize)]
struct Space<'a> {
    namenode: &'a str,
    capacity: u64,
    used: u64,
    available: u64,
    live_nodes: u64,
    dead_nodes: u64,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let stats = context.dfs().await?.fs_stats().await?;
        let namenodes = context.global.reach().shown();
        let space = Space {
            namenode: &namenodes,
            capacity: stats.capacity,
            used: stats.used,
            available: stats.remaining,
            live_nodes: stats.live_nodes,
            dead_nodes: stats.dead_nodes,
        };
        let mut out = Out::new();
        if context.global.output == Format::Json {
            out.json(&space)?;
            return out.flush();
        }
        let percent =
            if space.capacity == 0 { 0.0 } else { space.used as f64 / space.capacity as f64 * 100.0 };
        let mut header = vec!["CLUSTER", "SIZE", "USED", "AVAILABLE", "USE%"];
        let mut row = vec![
            space.namenode.to_owned(),
            size::show(space.capacity, self.human),
            size::show(space.used, self.human),
            size::show(space.available, self.human),
            format!("{percent:.1}%"),
        ];
        if context.global.output == Format::Wide {
            header.extend(["LIVE", "DEAD"]);
            row.extend([space.live_nodes.to_string(), space.dead_nodes.to_string()]);
        }
        out.line(&table(header, vec![row], &[1, 2, 3, 4, 5, 6]))?;
        out.flush()
    }
}
