//! Reads that any NameNode answers: never older than what the same client has seen.

use std::time::Duration;

use anyhow::{Result, ensure};
use dfs_client::Dfs;
use dfs_e2e::wait;
use dfs_local::{Daemon, Link, Party};
use dfs_types::{ErrorCode, FsPath, Mode};
use tokio::sync::watch;

use crate::stage::{Stage, party};

/// How long a read may take to find a follower.
const PATIENCE: Duration = Duration::from_mins(1);
/// Directories that a client makes and sees at once.
const OWN: usize = 150;
/// Most directories that one client makes and another one sees; they fit on one page.
const OTHERS: usize = 900;

fn path(text: &str) -> Result<FsPath> {
    Ok(FsPath::parse(text)?)
}

/// A client's own changes are seen by it at once, whoever answers.
async fn sees_its_own(dfs: Dfs) -> Result<()> {
    let root = path("/own")?;
    for number in 0..OWN {
        let (one, two) = (root.join(&format!("a{number}"))?, root.join(&format!("b{number}"))?);
        let made = dfs.mkdir(&one, Mode::DIRECTORY).await?;
        ensure!(dfs.stat(&one).await? == made, "{one} is not seen as it was made");
        dfs.rename(&one, &two, false).await?;
        ensure!(dfs.stat(&two).await?.inode == made.inode, "{two} is another one");
        let old = dfs.stat(&one).await.map_err(|error| error.code);
        ensure!(old == Err(ErrorCode::NotFound), "{one} was moved away and is seen: {old:?}");
        let (page, _) = dfs.list_page(&root, "", 0).await?;
        ensure!(page.len() == number + 1, "{} entries are listed, not {}", page.len(), number + 1);
    }
    Ok(())
}

/// Makes one directory after the other until told to stop.
async fn adds(dfs: Dfs, stop: watch::Receiver<bool>) -> Result<usize> {
    let mut made = 0;
    while made < OTHERS && !*stop.borrow() {
        dfs.mkdir(&path(&format!("/others/{made:03}"))?, Mode::DIRECTORY).await?;
        made += 1;
    }
    Ok(made)
}

/// Nothing that was seen is unseen later, whoever answers.
async fn never_goes_back(dfs: Dfs, stop: watch::Receiver<bool>) -> Result<usize> {
    let (mut seen, mut grown) = (0, 0);
    while !*stop.borrow() {
        let (page, _) = dfs.list_page(&path("/others")?, "", 0).await?;
        ensure!(page.len() >= seen, "{seen} entries were seen, and then {}", page.len());
        grown += usize::from(page.len() > seen);
        seen = page.len();
    }
    Ok(grown)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_is_never_older_than_what_its_client_has_seen() -> Result<()> {
    let stage = Stage::set_up(3, "dfs-namenode").await?;
    let reader = || async { anyhow::Ok(stage.client().await?.follower_reads(true).connect().await?) };
    let writer = stage.client().await?.connect().await?;
    for root in ["/own", "/others"] {
        writer.mkdir(&path(root)?, Mode::DIRECTORY).await?;
    }
    let (stop, stopped) = watch::channel(false);
    let own = tokio::spawn(sees_its_own(reader().await?));
    let adds = tokio::spawn(adds(writer.clone(), stopped.clone()));
    let watching = tokio::spawn(never_goes_back(reader().await?, stopped));

    // One follower is behind while all go on, then the leader changes.
    let Daemon::NameNode(leader) = stage.cluster.leader().await? else {
        anyhow::bail!("a DataNode leads");
    };
    let late = party(leader % 3 + 1);
    stage.network.set(party(leader), late, Link::Delayed(Duration::from_millis(150)));
    tokio::time::sleep(Duration::from_secs(2)).await;
    stage.network.heal();
    stage.cluster.kill(Daemon::NameNode(leader)).await?;
    writer.stat(&FsPath::root()).await?;
    stage.cluster.start(Daemon::NameNode(leader)).await?;
    own.await??;
    stop.send(true)?;
    let (made, grown) = (adds.await??, watching.await??);
    println!("{made} made, seen to grow {grown} times");
    ensure!(made > 0 && grown > 0, "nothing was seen");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_answer_clients_that_the_leader_does_not_reach() -> Result<()> {
    let stage = Stage::set_up(3, "dfs-namenode").await?;
    let limit = Duration::from_secs(2);
    let reader = stage.client().await?.follower_reads(true).call_budget(limit).connect().await?;
    let seen = path("/seen")?;
    reader.mkdir(&seen, Mode::DIRECTORY).await?;
    let Daemon::NameNode(leader) = stage.cluster.leader().await? else {
        anyhow::bail!("a DataNode leads");
    };
    stage.network.set_both(party(leader), Party::Clients, Link::Held);
    // Only followers can answer now. A read whose turn it is to be the leader's is in vain.
    for _ in 0..20 {
        wait::until("a follower answers", PATIENCE, || reader.stat(&seen)).await?;
    }
    let asked = stage.client().await?.call_budget(limit).connect().await;
    ensure!(asked.is_err(), "the leader can't be reached, and somebody answered as the leader");
    stage.network.heal();
    Ok(())
}
