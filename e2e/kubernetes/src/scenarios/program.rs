//! The program `dfs` as a person calls it, with nothing but a kubeconfig.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::ground::run;
use crate::pods::Pods;

/// Calls it with these words, for this cluster. Answers with what it printed and how long it took.
pub(super) async fn dfs(pods: &Pods, words: &[&str]) -> Result<(Vec<u8>, Duration)> {
    let mut command = pods.ground.command(&pods.ground.program);
    command.args(["--cluster", &pods.name.name, "--namespace", &pods.name.namespace]);
    command.args(["--user", crate::pods::SUPERUSER]).args(words);
    let began = Instant::now();
    Ok((run(&mut command).await?, began.elapsed()))
}

/// Calls it as kubectl's plugin, which is found on PATH by its name.
pub(super) async fn kubectl_dfs(pods: &Pods, folder: &Path, words: &[&str]) -> Result<String> {
    let plugins = folder.join("plugins");
    tokio::fs::create_dir_all(&plugins).await?;
    tokio::fs::symlink(&pods.ground.program, plugins.join("kubectl-dfs")).await?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(plugins).chain(std::env::split_paths(&path)))?;
    let mut command = pods.ground.command(Path::new("kubectl"));
    command
        .env("PATH", path)
        .args(["dfs", "--cluster", &pods.name.name, "-n", &pods.name.namespace])
        .args(words);
    Ok(String::from_utf8(run(&mut command).await?)?)
}

/// The SHA-256 of a file.
pub(super) async fn digest(file: &Path) -> Result<Vec<u8>> {
    let file = file.to_owned();
    tokio::task::spawn_blocking(move || {
        use sha2::Digest as _;
        let (mut hasher, mut file) = (sha2::Sha256::new(), std::fs::File::open(file)?);
        let mut bytes = vec![0; 1 << 20];
        loop {
            match std::io::Read::read(&mut file, &mut bytes)? {
                0 => return Ok(hasher.finalize().to_vec()),
                read => hasher.update(&bytes[..read]),
            }
        }
    })
    .await?
}
