//! The tests of power cuts can fail: a disk that says it synced and did not is the same as a program that did not sync,
//! and what is lost then is seen.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use dfs_client::{CreateOptions, Dfs};
use dfs_e2e::{content, wait};
use dfs_local::Daemon;
use dfs_types::{ErrorCode, FsPath, Mode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::machines::Machines;

/// Cuts within which a loss must show. A cut keeps everything now and then.
const TRIES: u64 = 10;
/// Within this files that are there are read, which a first cut without lies shows.
const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_namenode_that_does_not_sync_loses_edits() -> Result<()> {
    let Some(machines) = Machines::set_up(1).await? else { return Ok(()) };
    let liar = Daemon::NameNode(1);
    for round in 0..TRIES {
        machines.disk(liar)?.ignore_sync(true);
        let dfs = machines.cluster().client().await?;
        let mut made = Vec::new();
        for number in 0..50 {
            let path = FsPath::parse(&format!("/{round}-{number}"))?;
            dfs.mkdir(&path, Mode::DIRECTORY).await?;
            made.push(path);
        }
        machines.cut(&[liar], round).await?;
        if let Err(error) = machines.ready().await {
            let text = error.to_string();
            ensure!(text.contains("damaged"), "it does not start, but not because of what was lost: {text}");
            println!("found in round {round}: {}", text.lines().last().unwrap_or_default());
            return Ok(());
        }
        let dfs = machines.cluster().client().await?;
        for path in made {
            match dfs.stat(&path).await {
                Ok(_) => {}
                Err(error) if error.code == ErrorCode::NotFound => {
                    println!("found in round {round}: {path} is lost");
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    bail!("{TRIES} power cuts did not show that the NameNode's disk lied")
}

async fn put(dfs: &Dfs, path: &FsPath, data: &[u8]) -> Result<()> {
    let mut writer = dfs.create(path, CreateOptions::default()).await?;
    writer.write_all(data).await?;
    writer.close().await?;
    Ok(())
}

async fn get(dfs: &Dfs, path: &FsPath) -> Result<Vec<u8>> {
    let mut data = Vec::new();
    dfs.open(path).await?.read_to_end(&mut data).await?;
    Ok(data)
}

#[tokio::test(flavor = "multi_thread")]
async fn datanodes_that_do_not_sync_lose_files() -> Result<()> {
    let Some(machines) = Machines::set_up(1).await? else { return Ok(()) };
    let liars: Vec<Daemon> =
        machines.all().into_iter().filter(|daemon| matches!(daemon, Daemon::DataNode(_))).collect();
    for round in 0..TRIES {
        let lies = round > 0;
        for liar in &liars {
            machines.disk(*liar)?.ignore_sync(lies);
        }
        match files_after_a_cut(&machines, &liars, round).await {
            Ok(()) => {}
            Err(error) if lies => {
                println!("found in round {round}: {error:#}");
                return Ok(());
            }
            Err(error) => return Err(error.context("nothing lied yet")),
        }
    }
    bail!("{TRIES} power cuts did not show that the DataNodes' disks lied")
}

/// Writes files, cuts the power of these machines, and reads the files.
async fn files_after_a_cut(machines: &Machines, victims: &[Daemon], round: u64) -> Result<()> {
    let cluster = machines.cluster();
    let addresses = cluster.namenode_addresses().await?;
    // Not as patient as others: a chunk that is lost is waited for in vain.
    let impatient = addresses.into_iter().fold(Dfs::builder(), dfs_client::Builder::namenode);
    let dfs = impatient.transfer_budget(Duration::from_secs(2)).connect().await?;
    let mut files = Vec::new();
    for number in 0..5 {
        let (path, data) = (FsPath::parse(&format!("/{round}-{number}"))?, content::bytes(number, 300_000));
        put(&dfs, &path, &data).await?;
        files.push((path, data));
    }
    machines.cut(victims, 10 * round).await?;
    cluster.start_all(victims).await?;
    wait::until("every file is read", PATIENCE, || async {
        for (path, data) in &files {
            ensure!(get(&dfs, path).await? == *data, "{path} was read with other bytes than were written");
        }
        anyhow::Ok(())
    })
    .await
}
