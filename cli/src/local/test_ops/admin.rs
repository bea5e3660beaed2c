//! What administrators ask and do.

use super::{Checked, Ops, Run, contains, equal};
use crate::exit::Outcome;

/// An address where nothing answers: port 1 is reserved and needs root to listen on.
const NOBODY: &str = "--namenode 127.0.0.1:1";
/// No kubeconfig has it.
const NO_CONTEXT: &str = "--context no-such-context";

pub(super) async fn checks(ops: &Ops, run: &mut Run) -> Outcome {
    run.check("report shows the DataNodes", async {
        let report = ops.json("report").await?;
        let nodes = report["nodes"].as_array().ok_or("there are no nodes")?;
        if !nodes.iter().any(|node| node["state"] == "live") {
            return Err(format!("no DataNode is live: {report}"));
        }
        contains(&ops.ok("report").await?, "HEARTBEAT")?;
        contains(&ops.ok("report -o wide").await?, "VERSION")
    })
    .await?;
    run.check("df shows space", async {
        let space = ops.json("df").await?;
        if space["capacity"].as_u64().unwrap_or(0) == 0 {
            return Err(format!("the cluster has no space: {space}"));
        }
        contains(&ops.ok("df -h").await?, "USE%")
    })
    .await?;
    let live = live_nodes(ops).await;
    if live.as_ref().is_ok_and(|live| *live >= 3) {
        run.check("setrep -w changes the number of replicas and waits for it", set_replication(ops)).await?;
    } else {
        Run::skip("setrep -w changes the number of replicas", "it takes three live DataNodes")?;
    }
    run.check("setrep refuses nonsense", async {
        ops.fails(2, "setrep 0 {}/small").await?;
        ops.fails(2, "setrep many {}/small").await?;
        ops.fails(3, "setrep 2 {}/none").await.map(drop)
    })
    .await?;
    run.check("fsck finds the files healthy", async {
        contains(&ops.ok("fsck {}").await?, "HEALTHY")?;
        let report = ops.json("report").await?;
        let addresses: Vec<_> = report["nodes"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|node| node["address"].as_str())
            .collect();
        let located = ops.ok("fsck {}/chunks --files --chunks --locations").await?;
        if !addresses.iter().any(|address| located.contains(address)) {
            return Err(format!("no DataNode of {addresses:?} is in: {located}"));
        }
        let check = ops.json("fsck {}/chunks --files").await?;
        equal(&check["summary"]["healthy"], &true.into())?;
        equal(&check["summary"]["chunks"], &6.into())?;
        ops.fails(3, "fsck {}/none").await.map(drop)
    })
    .await?;
    run.check("safe mode refuses changes and can be left", safe_mode(ops)).await?;
    run.check("completions are printed for each shell", async {
        for shell in ["bash", "zsh", "fish"] {
            contains(&ops.ok(&format!("completions {shell}")).await?, "dfs")?;
        }
        ops.fails(2, "completions none").await.map(drop)
    })
    .await?;
    run.check("help has examples", async {
        contains(&ops.ok("help").await?, "Examples:")?;
        contains(&ops.ok("help put").await?, "Examples:")?;
        contains(&ops.ok("put --help").await?, "Examples:")?;
        contains(&ops.ok("ls --help").await?, "Examples:")
    })
    .await?;
    run.check("a wrong command line has status 2", async {
        ops.fails(2, "nosuch").await?;
        ops.fails(2, "put").await?;
        ops.fails(2, "ls --nosuch").await.map(drop)
    })
    .await?;
    run.check("a cluster that does not answer has status 4", async {
        let nowhere = if ops.program.is_on_kubernetes() { NO_CONTEXT } else { NOBODY };
        ops.fails(4, &format!("ls / {nowhere}")).await?;
        ops.fails(4, &format!("put @/small {{}}/x {nowhere}")).await.map(drop)
    })
    .await
}

async fn live_nodes(ops: &Ops) -> Result<usize, String> {
    let report = ops.json("report").await?;
    let nodes = report["nodes"].as_array().ok_or("there are no nodes")?;
    Ok(nodes.iter().filter(|node| node["state"] == "live").count())
}

async fn set_replication(ops: &Ops) -> Checked {
    for replication in [2, 3] {
        ops.ok(&format!("setrep -w --timeout 60s {replication} {{}}/chunks")).await?;
        let info = ops.json("info {}/chunks").await?;
        let chunks = info[0]["chunks"].as_array().ok_or("there are no chunks")?;
        for chunk in chunks {
            equal(&chunk["replicas"].as_array().map(Vec::len), &Some(replication))?;
        }
    }
    Ok(())
}

async fn safe_mode(ops: &Ops) -> Checked {
    contains(&ops.ok("safemode get").await?, "off")?;
    contains(&ops.ok("safemode enter").await?, "on")?;
    let refused = async {
        ops.fails_saying(1, "mkdir {}/unsafe", "safe mode").await?;
        ops.ok("cat {}/small").await.map(drop)
    }
    .await;
    // Whatever came out, the cluster must be usable again.
    contains(&ops.ok("safemode leave").await?, "off")?;
    ops.ok("safemode wait --timeout 30s").await?;
    refused
}
