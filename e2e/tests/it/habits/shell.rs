//! A person at a shell: the real `dfs` on a real cluster, in a folder of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use dfs_client::Dfs;
use dfs_local::{Options, TestCluster, programs};
use dfs_types::FsPath;
use futures_util::TryStreamExt;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// Longest that a script may take, also on a machine that is busy with other things.
pub(super) const PATIENCE: Duration = Duration::from_mins(2);

/// How a script ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Exit status; `None` if a signal ended it.
    pub(super) status: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// A cluster and a folder.
pub(super) struct Shell {
    pub(super) cluster: TestCluster,
    pub(super) dfs: Dfs,
    folder: TempDir,
    programs: PathBuf,
    namenode: String,
}

impl Shell {
    pub(super) async fn start() -> Result<Self> {
        Self::with(Options::default()).await
    }

    pub(super) async fn with(options: Options) -> Result<Self> {
        let cluster = TestCluster::start(options).await?;
        Ok(Self {
            dfs: cluster.client().await?,
            folder: tempfile::tempdir()?,
            programs: programs()?,
            namenode: cluster.namenode_addresses().await?.join(","),
            cluster,
        })
    }

    /// A path in the folder that scripts begin in.
    pub(super) fn local(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A script of bash, which ends with the status of its last command, about to be started.
    pub(super) fn command(&self, script: &str) -> Result<Command> {
        let mut path = self.programs.clone().into_os_string();
        if let Some(others) = std::env::var_os("PATH") {
            path.push(":");
            path.push(others);
        }
        let mut command = Command::new("bash");
        command
            .args(["-c", &format!("umask 022; {script}")])
            .current_dir(self.folder.path())
            .env("PATH", path)
            .env("DFS_NAMENODE", &self.namenode)
            .env_remove("DFS_USER")
            .env_remove("DFS_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        ensure!(self.programs.join("dfs").is_file(), "the program 'dfs' is missing: cargo build --bins");
        Ok(command)
    }

    pub(super) async fn run(&self, script: &str) -> Result<Ended> {
        let child = self.command(script)?.spawn().context("bash")?;
        ended(child).await.with_context(|| format!("{script}: it does not end"))
    }

    /// The script must succeed; answers with what it printed.
    pub(super) async fn ok(&self, script: &str) -> Result<String> {
        let Ended { status, stdout, stderr } = self.run(script).await?;
        ensure!(status == Some(0), "{script}: status {status:?}: {stderr}{stdout}");
        Ok(stdout)
    }

    /// What the script prints must be these words, whatever lies between them.
    pub(super) async fn prints(&self, script: &str, words: &str) -> Result<()> {
        let stdout = self.ok(script).await?;
        let found = stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        ensure!(found == words, "{script}: printed '{found}' instead of '{words}'");
        Ok(())
    }

    /// The script must end with this status, and its errors must say `says` and offer only options that there are.
    pub(super) async fn fails(&self, status: i32, script: &str, says: &str) -> Result<()> {
        let ended = self.run(script).await?;
        ensure!(ended.status == Some(status), "{script}: status {:?}: {}", ended.status, ended.stderr);
        ensure!(ended.stderr.contains(says), "{script}: '{says}' is missing in: {}", ended.stderr);
        for line in ended.stderr.lines() {
            self.check_offers(line, script).await.with_context(|| script.to_owned())?;
        }
        Ok(())
    }

    /// Every option that an error names must be in the help of its command, or of the one that is quoted with it.
    async fn check_offers(&self, line: &str, script: &str) -> Result<()> {
        let Some(line) = line.strip_prefix("dfs: ") else { return Ok(()) };
        let (command, message) = line.split_once(": ").context("an error without its command")?;
        // A command below another one has options of its own.
        let below =
            script.split_once(&format!("dfs {command} ")).and_then(|(_, rest)| rest.split(' ').next());
        let below =
            below.filter(|name| name.chars().all(|letter| letter.is_ascii_lowercase())).unwrap_or_default();
        let command = format!("{command} {below}");
        for (index, piece) in message.split('\'').enumerate() {
            // Every second piece is between quotation marks.
            let quoted = (index % 2 == 1).then(|| piece.strip_prefix("dfs ")).flatten();
            let named = quoted.and_then(|quoted| quoted.split(' ').next()).map(str::to_owned);
            let whose = named.unwrap_or_else(|| command.clone());
            for word in piece.split([' ', ',', ':', ';', '(', ')']).filter(|word| is_option(word)) {
                let help = self.ok(&format!("dfs {whose} --help")).await?;
                let known = help.split([' ', ',', '\n', '=', '.']).any(|known| known == word);
                ensure!(known, "'{word}' is no option of 'dfs {whose}': {message}");
            }
        }
        Ok(())
    }

    /// Everything below a directory of the cluster, hidden or not; directories end with a slash.
    pub(super) async fn tree(&self, root: &str) -> Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        let mut directories = vec![FsPath::parse(root)?];
        while let Some(directory) = directories.pop() {
            let entries: Vec<_> = self.dfs.list(&directory).try_collect().await?;
            for entry in entries {
                let path = directory.join(&entry.name)?;
                if entry.status.is_directory() {
                    found.insert(format!("{path}/"));
                    directories.push(path);
                } else {
                    found.insert(path.to_string());
                }
            }
        }
        Ok(found)
    }

    /// Entries of a local folder, hidden or not.
    pub(super) fn local_names(&self, folder: &str) -> Result<BTreeSet<String>> {
        let entries = std::fs::read_dir(self.local(folder))?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    /// Permission bits below a directory of the cluster, by path.
    pub(super) async fn modes(&self, root: &str) -> Result<BTreeMap<String, u32>> {
        let mut modes = BTreeMap::new();
        for path in self.tree(root).await?.into_iter().chain([root.to_owned()]) {
            let path = FsPath::parse(path.trim_end_matches('/'))?;
            modes.insert(path.to_string(), self.dfs.stat(&path).await?.mode.bits());
        }
        Ok(modes)
    }
}

fn is_option(word: &str) -> bool {
    let name = word.trim_start_matches('-');
    name.len() < word.len() && name.starts_with(|first: char| first.is_ascii_lowercase())
}

/// Waits for the end of a process.
pub(super) async fn ended(child: Child) -> Result<Ended> {
    let Ok(output) = tokio::time::timeout(PATIENCE, child.wait_with_output()).await else {
        bail!("nothing after {PATIENCE:?}");
    };
    let output = output?;
    Ok(Ended {
        status: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// The permission bits of a local file.
pub(super) fn local_mode(path: &Path) -> Result<u32> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::symlink_metadata(path)?.permissions().mode() & 0o7777)
}
