//! A user id that no user database knows, as OpenShift and `runAsUser` give it to a container.

use std::path::Path;
use std::process::{Output, Stdio};

use anyhow::{Context, Result, ensure};
use dfs_local::programs;
use tokio::process::Command;

/// Nobody's id.
const UID: u32 = 2_001_004_711;

/// `dfs` with these arguments, as that user and with nothing of this process's environment.
async fn dfs(words: &[&str], data: &Path) -> Result<Output> {
    let mut command = Command::new(programs()?.join("dfs"));
    command.uid(UID).gid(UID).current_dir("/").env_clear().stdin(Stdio::null());
    Ok(command.args(words).env("HOME", data).output().await?)
}

async fn done(words: &[&str], data: &Path) -> Result<String> {
    let output = dfs(words, data).await?;
    let text = String::from_utf8([output.stdout, output.stderr].concat())?;
    ensure!(output.status.success(), "dfs {}: {}: {text}", words.join(" "), output.status);
    Ok(text)
}

async fn is_superuser(at: &str, data: &Path) -> Result<()> {
    let namenode = done(&["local", "status", "--data", at, "-o", "json"], data).await?;
    let daemons: serde_json::Value = serde_json::from_str(&namenode)?;
    let of_namenode = |daemon: &&serde_json::Value| daemon["daemon"] == "namenode-1";
    let found = daemons.as_array().and_then(|daemons| daemons.iter().find(of_namenode));
    let address =
        found.and_then(|daemon| daemon["address"].as_str()).context("a NameNode with an address")?;
    let to = ["--namenode", address];

    let root = done(&[&["stat", "/", "-o", "json"][..], &to].concat(), data).await?;
    let root: serde_json::Value = serde_json::from_str(&root)?;
    let owner = root[0]["owner"].as_str().context("the root has an owner")?;
    ensure!(owner.parse() == Ok(UID), "the root is of {owner}");
    done(&[&["mkdir", "/x"][..], &to].concat(), data).await?;
    done(&[&["chown", "ann", "/x"][..], &to].concat(), data).await?;
    done(&[&["safemode", "enter"][..], &to].concat(), data).await?;
    done(&[&["safemode", "leave"][..], &to].concat(), data).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_runs_the_namenode_is_superuser_also_without_a_name() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: running programs as another user needs root");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    rustix::fs::chown(
        folder.path(),
        Some(rustix::process::Uid::from_raw(UID)),
        Some(rustix::process::Gid::from_raw(UID)),
    )?;
    let data = folder.path();
    if dfs(&["--version"], data).await.is_err() {
        println!("skipped: another user can't run the programs where they are");
        return Ok(());
    }
    let at = data.join("cluster");
    let at = at.to_str().context("a folder with a UTF-8 name")?;
    let up = done(&["local", "up", "--free-ports", "--datanodes", "1", "--data", at], data).await;
    let outcome = match up {
        Ok(_) => is_superuser(at, data).await,
        Err(error) => Err(error),
    };
    done(&["local", "down", "--data", at], data).await?;
    outcome
}
