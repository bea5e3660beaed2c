//! What `rm` removes is in the trash.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::shell::{PATIENCE, Shell};

/// Ann has a directory of her own.
const ANN: &str = "set -e; dfs mkdir -p /home/ann; dfs chown ann /home/ann; echo one | dfs --user ann put - /home/ann/file; ";

pub(super) async fn comes_back(shell: &Shell) -> Result<()> {
    shell.ok(ANN).await?;
    shell.ok("dfs --user ann rm /home/ann/file").await?;
    shell.fails(3, "dfs stat /home/ann/file", "no such file").await?;
    shell.prints("dfs --user ann cat /user/ann/.Trash/Current/home/ann/file", "one").await?;
    shell
        .prints("dfs --user ann trash list --files | tail -n +2 | awk '{ print $NF }'", "/home/ann/file")
        .await?;
    // Another one was removed at the same path: the last comes back first.
    shell.ok("echo two | dfs --user ann put - /home/ann/file; dfs --user ann rm /home/ann/file").await?;
    shell.prints("dfs --user ann undelete /home/ann/file; dfs cat /home/ann/file", "two").await?;
    shell.fails(1, "dfs --user ann undelete /home/ann/file", "exists").await?;
    shell.ok("dfs mv /home/ann/file /home/ann/two").await?;
    shell.prints("dfs --user ann undelete /home/ann/file; dfs cat /home/ann/file", "one").await?;
    shell.fails(3, "dfs --user ann undelete /home/ann/other", "dfs trash list").await?;
    // Where a file was, a directory was made, and something in that was removed too.
    shell.ok("set -e; U='dfs --user ann'; $U touch /home/ann/a; $U rm /home/ann/a; $U mkdir /home/ann/a; echo b | $U put - /home/ann/a/b; $U rm /home/ann/a/b").await?;
    shell.prints("dfs --user ann undelete /home/ann/a/b; dfs cat /home/ann/a/b", "b").await?;
    // As Hadoop's shell says it.
    shell.ok("dfs --user ann rm -skipTrash /home/ann/a/b").await?;
    shell.fails(3, "dfs --user ann undelete /home/ann/a/b", "not in the trash").await?;
    // A directory with all that is in it.
    shell.ok("dfs --user ann mkdir /home/ann/d; echo in | dfs --user ann put - /home/ann/d/in").await?;
    shell.fails(1, "dfs --user ann rm /home/ann/d", "add -r").await?;
    shell.ok("dfs --user ann rm -r /home/ann/d").await?;
    shell.prints("dfs --user ann undelete /home/ann/d; dfs cat /home/ann/d/in", "in").await
}

pub(super) async fn is_private(shell: &Shell) -> Result<()> {
    shell.ok(ANN).await?;
    shell.ok("dfs --user ann rm /home/ann/file").await?;
    shell.fails(1, "dfs --user bob cat /user/ann/.Trash/Current/home/ann/file", "Permission denied").await?;
    shell.prints("dfs --user bob trash list -o json", "[]").await?;
    shell.fails(1, "dfs --user bob trash list --all", "bob may not").await?;
    shell.fails(1, "dfs --user bob trash keep /home 0s", "superuser").await?;
    shell
        .prints("dfs trash list --all | tail -n +2 | awk '{ print $NF }'", "/user/ann/.Trash/Current")
        .await?;
    // For good: with another switch, or from the trash.
    shell.ok("echo x | dfs --user ann put - /home/ann/x; dfs --user ann rm --skip-trash /home/ann/x").await?;
    shell.fails(3, "dfs --user ann undelete /home/ann/x", "not in the trash").await?;
    shell.fails(2, "dfs --user ann trash empty < /dev/null", "--yes").await?;
    shell.ok("dfs --user ann trash empty --yes").await?;
    shell.prints("dfs --user ann trash list -o json", "[]").await?;
    shell.ok("echo x | dfs put - /x; dfs rm /x").await?;
    shell.fails(1, "dfs rm -r /user", "--skip-trash").await
}

pub(super) async fn goes_in_time(shell: &Shell) -> Result<()> {
    shell.ok("set -e; dfs mkdir /short /off; dfs trash keep /short 3s; dfs trash keep /off 0s").await?;
    shell
        .ok("head -c 100000 /dev/urandom > local; dfs put local /short/file; dfs put local /off/file")
        .await?;
    shell.ok("dfs rm /off/file").await?;
    shell.fails(3, "dfs undelete /off/file", "not in the trash").await?;
    shell.ok("dfs rm /short/file").await?;
    shell.prints("dfs trash list -o json | grep -c /short/.Trash/", "1").await?;
    // Said again, so that the leader looks at once.
    shell.ok("dfs trash keep /short 3s").await?;
    let began = Instant::now();
    while !shell.ok("dfs trash list -o json").await?.trim().eq("[]") {
        ensure!(began.elapsed() < PATIENCE, "it is still in the trash");
    }
    loop {
        let report = shell.dfs.report().await?;
        if report.chunks == 0 {
            return Ok(());
        }
        ensure!(began.elapsed() < PATIENCE, "{} chunks are still there", report.chunks);
    }
}
