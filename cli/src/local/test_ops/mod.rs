//! `dfs local test-ops`: every operation against a running cluster, through the real program: what it prints, how it
//! exits, what is stored, and what happens to wrong input.

mod admin;
mod files;
mod namespace;
mod removal;
mod trees;

use std::io;
use std::path::{Path, PathBuf};

use dfs_program::streams;
use serde_json::Value;

use super::program::{Ended, Program};
use crate::exit::{Failure, Outcome};

/// Outcome of one check; the text says what was not as it should be.
type Checked = Result<(), String>;

/// Runs all checks against the cluster that these options lead to, as this user.
pub(crate) async fn run(connection: Vec<String>, user: Option<String>) -> Outcome {
    let local = tokio::task::spawn_blocking(|| tempfile::Builder::new().prefix("dfs-test-ops-").tempdir())
        .await?
        .map_err(|error| Failure::Other(format!("cannot make a temporary folder: {error}")))?;
    let ops = Ops {
        program: Program::new(connection, user)?,
        remote: format!("/test-ops-{}", uuid::Uuid::new_v4().simple()),
        local: local.path().to_owned(),
    };
    let mut run = Run::default();
    ops.ok("mkdir {}").await.map_err(|why| Failure::Other(format!("the cluster can't be used: {why}")))?;
    namespace::checks(&ops, &mut run).await?;
    files::checks(&ops, &mut run).await?;
    trees::checks(&ops, &mut run).await?;
    removal::checks(&ops, &mut run).await?;
    admin::checks(&ops, &mut run).await?;
    run.check("rm -r removes everything that was made here", async {
        let trash = ops.json("trash show {}").await?;
        let root = trash["root"].as_str().ok_or("the trash is nowhere")?.to_owned();
        ops.ok("rm -r --skip-trash {}").await?;
        ops.fails(3, "ls {}").await?;
        ops.ok(&format!("rm -rf {root}/Current{{}}")).await.map(drop)
    })
    .await?;
    run.finish()
}

/// Counts and prints.
#[derive(Default)]
struct Run {
    passed: u32,
    failed: u32,
}

impl Run {
    async fn check(&mut self, title: &str, work: impl Future<Output = Checked>) -> Outcome {
        match work.await {
            Ok(()) => {
                self.passed += 1;
                say(&format!("✅ {title}"))
            }
            Err(why) => {
                self.failed += 1;
                say(&format!("❌ {title}: {}", why.trim_end()))
            }
        }
    }

    /// A check that this cluster gives no occasion for.
    fn skip(title: &str, why: &str) -> Outcome {
        say(&format!("⚠️  {title}: not tried, {why}"))
    }

    fn finish(self) -> Outcome {
        say(&format!("{} passed, {} failed", self.passed, self.failed))?;
        if self.failed == 0 { Ok(()) } else { Err(Failure::Reported(1)) }
    }
}

fn say(text: &str) -> Outcome {
    streams::print(&format!("{text}\n")).map_err(Failure::output)
}

/// Calls the program and looks at the outcome.
///
/// A command is written as it would be typed, with a space between the words, `{}` for this run's remote directory and
/// `@` for its local folder.
struct Ops {
    program: Program,
    remote: String,
    local: PathBuf,
}

impl Ops {
    fn words(&self, command: &str) -> Vec<String> {
        let local = self.local.display().to_string();
        command.split(' ').map(|word| word.replace("{}", &self.remote).replace('@', &local)).collect()
    }

    async fn call(&self, command: &str, input: &[u8]) -> Result<Ended, String> {
        self.program.run(&self.words(command), input).await
    }

    /// The command must succeed; answers with what it printed.
    async fn ok(&self, command: &str) -> Result<String, String> {
        self.ok_with(command, b"").await
    }

    async fn ok_with(&self, command: &str, input: &[u8]) -> Result<String, String> {
        let bytes = self.bytes(command, input).await?;
        String::from_utf8(bytes).map_err(|error| format!("'dfs {command}' printed no text: {error}"))
    }

    async fn bytes(&self, command: &str, input: &[u8]) -> Result<Vec<u8>, String> {
        let ended = self.call(command, input).await?;
        match ended.status {
            Some(0) => Ok(ended.stdout),
            status => Err(format!("'dfs {command}' ended with {status:?}: {}", ended.stderr)),
        }
    }

    async fn json(&self, command: &str) -> Result<Value, String> {
        let text = self.ok(&format!("{command} -o json")).await?;
        serde_json::from_str(&text)
            .map_err(|error| format!("'dfs {command}' printed no JSON: {error}: {text}"))
    }

    /// The command must end with this status and an error in the usual form, which is the answer.
    async fn fails(&self, status: i32, command: &str) -> Result<String, String> {
        let ended = self.call(command, b"").await?;
        if ended.status != Some(status) {
            return Err(format!(
                "'dfs {command}' ended with {:?} instead of {status}: {}",
                ended.status, ended.stderr
            ));
        }
        // Status 2 is also the parser's, which has its own form.
        if ended.stderr.is_empty() || (status != 2 && !ended.stderr.starts_with("dfs: ")) {
            return Err(format!("'dfs {command}' does not say why it failed: {:?}", ended.stderr));
        }
        Ok(ended.stderr)
    }

    /// The command must fail with a message that has `text` in it.
    async fn fails_saying(&self, status: i32, command: &str, text: &str) -> Checked {
        contains(&self.fails(status, command).await?, text)
    }

    /// Writes a local file.
    async fn write(&self, name: &str, content: &[u8]) -> Checked {
        let (path, content) = (self.local.join(name), content.to_vec());
        blocking(move || {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            std::fs::write(&path, content)
        })
        .await
    }

    async fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        let path = self.local.join(name);
        blocking(move || std::fs::read(path)).await
    }

    fn path(&self, name: &str) -> PathBuf {
        self.local.join(Path::new(name))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, String> {
    let outcome = tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?;
    outcome.map_err(|error| format!("a local file: {error}"))
}

fn contains(text: &str, part: &str) -> Checked {
    if text.contains(part) { Ok(()) } else { Err(format!("'{part}' is missing in: {text}")) }
}

fn equal<T: PartialEq + std::fmt::Debug + ?Sized>(found: &T, expected: &T) -> Checked {
    if found == expected { Ok(()) } else { Err(format!("{found:?} instead of {expected:?}")) }
}

/// Contents may be too long to show.
fn same_bytes(found: &[u8], expected: &[u8]) -> Checked {
    if found == expected {
        return Ok(());
    }
    let at = found.iter().zip(expected).position(|(found, expected)| found != expected);
    Err(format!("{} bytes instead of {}, different from byte {at:?} on", found.len(), expected.len()))
}

/// Bytes without a short period, so that swapped parts are noticed.
fn sample(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
