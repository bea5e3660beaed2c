//! What administrators decide about users and the cluster, as they type it.

use anyhow::{Result, ensure};
use dfs_client::{Builder, Dfs};
use dfs_e2e::wait;
use dfs_local::Options;
use dfs_types::{ErrorCode, FsPath, Millis, Mode};

use super::shell::{PATIENCE, Shell};

/// A cluster whose groups are those of a file.
pub(super) async fn groups() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("groups");
    std::fs::write(&file, "supergroup:x:1:ann\nstaff:x:2:ann,bob\n")?;
    let file = file.display();
    let options = Options { namenode_args: vec![format!("--groups=file:{file}")], ..Options::default() };
    let shell = Shell::with(options).await?;
    let from = format!("groups are those of the NameNode's file {file}");
    shell
        .prints("dfs admin groups ann bob eve", &format!("ann : supergroup staff bob : staff eve : {from}"))
        .await?;
    shell.prints("dfs --user bob admin groups", &format!("bob : staff {from}")).await?;
    let json: serde_json::Value =
        serde_json::from_str(&shell.ok("dfs --user eve admin superuser -o json").await?)?;
    let expected = (&serde_json::json!("supergroup"), &serde_json::json!(["ann"]));
    ensure!((&json["supergroup"], &json["members"]) == expected, "{json}");
    ensure!(json["source"] == format!("file:{file}") && json["problem"].is_null(), "{json}");

    shell.ok("dfs mkdir /team && dfs chown :staff /team && dfs chmod 770 /team").await?;
    shell.ok("dfs --user bob mkdir /team/b").await?;
    shell.fails(1, "dfs --user eve ls /team", "Permission denied").await?;
    shell.ok("dfs --user ann mkdir /anns").await?;
    let addresses = shell.cluster.namenode_addresses().await?;
    let claims = addresses.into_iter().fold(Dfs::builder(), Builder::namenode);
    let eve = claims.user("eve").groups(vec!["supergroup".to_owned()]).connect().await?;
    let refused = eve.mkdir_all(&FsPath::parse("/eves")?, Mode::DIRECTORY).await;
    ensure!(refused.is_err_and(|error| error.code == ErrorCode::PermissionDenied), "a claim counts");
    Ok(())
}

pub(super) async fn settings(shell: &Shell) -> Result<()> {
    let status = async |at: &str| -> Result<_> { Ok(shell.dfs.stat(&FsPath::parse(at)?).await?) };
    shell.fails(1, "dfs --user bob admin settings set umask 0", "supergroup").await?;
    shell.fails(2, "dfs admin settings set umask 1000", "umask of 1000").await?;
    shell.fails(2, "dfs admin settings reset trash", "access-time-precision").await?;
    let set = shell.ok("dfs admin settings set umask 027 -o json").await?;
    let set: serde_json::Value = serde_json::from_str(&set)?;
    ensure!(set["settings"][0]["value"] == "027" && set["settings"][0]["default"] == "000", "{set}");
    shell.ok("echo x > x && dfs mkdir /d && dfs put x /d/f").await?;
    ensure!(status("/d").await?.mode.bits() == 0o750, "the umask does not count for directories");
    ensure!(status("/d/f").await?.mode.bits() == 0o640, "the umask does not count for files");
    shell.ok("dfs admin settings reset umask && dfs mkdir /e").await?;
    ensure!(status("/e").await?.mode.bits() == 0o755, "the umask is still there");

    let old = Millis(1_000);
    shell.dfs.set_times(&FsPath::parse("/d/f")?, None, Some(old)).await?;
    shell.ok("dfs cat /d/f").await?;
    ensure!(status("/d/f").await?.atime == old, "reading sets access times by default");
    shell.prints("dfs admin settings set access-time-precision 1h | grep -o '1h  *off'", "1h off").await?;
    shell.ok("dfs cat /d/f").await?;
    let is_set = async || {
        ensure!(status("/d/f").await?.atime > old, "it is as it was");
        Ok(())
    };
    wait::until("the access time of what was read", PATIENCE, is_set).await
}
