//! What was synced within a checksum's 512 bytes survives, although what follows overwrites that checksum.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use bytes::Bytes;
use dfs_client::{CreateOptions, Dfs};
use dfs_e2e::{content, wait};
use dfs_local::Daemon;
use dfs_types::FsPath;
use futures_util::future::try_join_all;
use tokio::io::AsyncReadExt;

use super::PATIENCE;
use super::machines::Machines;

/// Files that are open when the power goes. Each has one replica, so no other one covers for a loss.
const FILES: u64 = 24;
/// Bytes that are written after the synced ones: some packets of 512 KiB, which leave the client by themselves.
const MORE: usize = 1_200_000;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_synced_within_a_checksum_survives_what_follows() -> Result<()> {
    let Some(machines) = Machines::set_up(1).await? else { return Ok(()) };
    let cluster = machines.cluster();
    let dfs = cluster.client().await?;
    let datanodes: Vec<Daemon> =
        machines.all().into_iter().filter(|daemon| matches!(daemon, Daemon::DataNode(_))).collect();
    let options = || CreateOptions { replication: Some(1), ..CreateOptions::default() };
    let (mut files, mut writers) = (Vec::new(), Vec::new());
    for number in 0..FILES {
        let (path, synced) = (FsPath::parse(&format!("/{number}"))?, 3_000 + 97 * number as usize);
        let bytes = Bytes::from(content::bytes(number, synced + MORE));
        let mut writer = dfs.create(&path, options()).await?;
        writer.write_bytes(bytes.slice(..synced)).await?;
        writer.hsync().await?;
        writer.write_bytes(bytes.slice(synced..)).await?;
        writers.push(writer);
        files.push((path, bytes, synced));
    }
    let volumes: Vec<PathBuf> = datanodes.iter().map(|node| cluster.directory(*node)).collect();
    wait::until("what follows is written", PATIENCE, || async {
        let overtaken = written(&volumes)?.into_iter().filter(|length| *length > MORE as u64 / 3).count();
        ensure!(overtaken == FILES as usize, "of {overtaken} files");
        anyhow::Ok(())
    })
    .await?;
    machines.cut(&datanodes, 1).await?;
    cluster.start_all(&datanodes).await?;
    drop(writers);
    let found = try_join_all(files.iter().map(|(path, ..)| {
        wait::until("a file whose writer is gone is read", PATIENCE, || recovered(&dfs, path))
    }));
    let mut shorter = 0;
    for ((path, bytes, synced), found) in files.iter().zip(found.await?) {
        ensure!(found.len() >= *synced, "{path} has {} bytes, and {synced} were synced", found.len());
        ensure!(bytes.starts_with(&found), "{path} has other bytes than were written");
        shorter += u32::from(found.len() < bytes.len());
    }
    println!("{shorter} of {FILES} files lost what was not synced");
    ensure!(shorter > 0, "nothing was lost, so nothing was tested");
    Ok(())
}

/// The lengths of the chunks that are being written.
fn written(volumes: &[PathBuf]) -> Result<Vec<u64>> {
    let mut lengths = Vec::new();
    for volume in volumes {
        for entry in fs::read_dir(volume.join("dfs/rbw"))? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|extension| extension == "chunk") {
                lengths.push(entry.metadata()?.len());
            }
        }
    }
    Ok(lengths)
}

async fn recovered(dfs: &Dfs, path: &FsPath) -> Result<Vec<u8>> {
    ensure!(dfs.recover_lease(path).await?, "its lease is being recovered");
    let mut data = Vec::new();
    dfs.open(path).await?.read_to_end(&mut data).await?;
    Ok(data)
}
