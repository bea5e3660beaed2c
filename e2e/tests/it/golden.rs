//! A cluster that programs of an earlier release left behind after `kill -9` goes on with the present ones.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dfs_e2e::{content, wait};
use dfs_local::{Daemon, Options, TestCluster};
use dfs_types::FsPath;
use dfs_types::format::{FIRST_LEVEL, LEVEL};

use crate::origins::{EAGER, headers, say_what_stat_says};

const PATIENCE: Duration = Duration::from_mins(2);
/// Bytes of a segment of a NameNode's log; the zeros at its end are not in the golden file.
const SEGMENT: u64 = 8 << 20;
/// What the open file was written with.
const OPEN: (u64, usize) = (7, 5_000);

fn golden(of: &str, level: u16) -> Result<PathBuf> {
    // Asked at run time: a target directory shared by two clones would keep the other's path.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").context("cargo runs this test")?;
    Ok(Path::new(&here).with_file_name(of).join(format!("tests/golden/level-{level}")))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (entry, target) = (entry?, to.to_owned());
        let target = target.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// Puts the directories of that release where the cluster's are.
fn left_by(level: u16, cluster: &TestCluster) -> Result<()> {
    let namenode = cluster.directory(Daemon::NameNode(1));
    copy(&golden("namenode", level)?, &namenode)?;
    fs::write(namenode.join("lock"), "")?;
    for segment in fs::read_dir(namenode.join("log"))? {
        File::options().write(true).open(segment?.path())?.set_len(SEGMENT)?;
    }
    let volume = cluster.directory(Daemon::DataNode(1));
    copy(&golden("datanode", level)?, &volume)?;
    // Directories without files are not kept in a repository.
    for directory in (0..=255).map(|number| format!("current/{number:02x}")).chain(["tmp".to_owned()]) {
        fs::create_dir_all(volume.join("dfs").join(directory))?;
    }
    Ok(())
}

async fn check(dfs: &dfs_client::Dfs) -> Result<()> {
    let numbers: Vec<_> = (1..=2_000).map(|number| format!("{number}\n")).collect();
    let path = FsPath::parse("/kept/numbers")?;
    ensure!(
        dfs.open(&path).await?.read_all().await? == numbers.concat().as_bytes(),
        "other numbers than were written"
    );
    let path = FsPath::parse("/kept/dir/moved")?;
    ensure!(dfs.open(&path).await?.read_all().await? == b"hello\n"[..], "another greeting");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_an_earlier_release_goes_on() -> Result<()> {
    for level in FIRST_LEVEL..LEVEL {
        let times = ["--restart-grace", "3s", "--lease-soft-limit", "3s", "--min-replicas", "1"];
        let namenode_args = times.map(str::to_owned).to_vec();
        let datanode_args = EAGER.map(str::to_owned).to_vec();
        let options = Options { namenode_args, datanode_args, datanodes: 1, ..Options::default() };
        let cluster = TestCluster::prepare(&options).await?;
        left_by(level, &cluster)?;
        cluster.up(&options).await?;
        let dfs = cluster.client().await?;
        let found = dfs.upgrade().await?;
        ensure!((found.level, found.highest) == (level.into(), LEVEL.into()), "{found:?}");
        check(&dfs).await?;
        // Headers too are as programs of that level read them.
        for header in headers(&cluster, 1).await?.into_values().flatten() {
            ensure!(header["version"] == 1, "{header}");
        }

        let raised = dfs.finalize_upgrade().await?;
        ensure!(raised.level == u32::from(LEVEL), "{raised:?}");
        check(&dfs).await?;
        let kept = ["/kept/numbers", "/kept/dir/moved"].map(FsPath::parse);
        let [numbers, moved] = kept;
        say_what_stat_says(&cluster, 1, &dfs, &[numbers?, moved?]).await?;
        let open = FsPath::parse("/kept/open")?;
        let length = wait::until("the open file to be closed", PATIENCE, || async {
            let recovery = dfs.lease_recovery(&open, false).await?;
            ensure!(recovery.closed, "{recovery:?}");
            anyhow::Ok(dfs.stat(&open).await?.length)
        })
        .await?;
        let (seed, synced) = OPEN;
        ensure!(length >= synced as u64, "{length} bytes are left of {synced}");
        let written = content::bytes(seed, length as usize);
        ensure!(dfs.open(&open).await?.read_all().await? == written, "other bytes than were synced");
        cluster.kill_all(&[Daemon::NameNode(1), Daemon::DataNode(1)]).await?;
        cluster.start_all(&[Daemon::NameNode(1), Daemon::DataNode(1)]).await?;
        check(&cluster.client().await?).await?;
    }
    Ok(())
}
