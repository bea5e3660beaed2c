//! Other programs.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

/// Longest that one may take: kind may have to pull an image.
const PATIENCE: Duration = Duration::from_mins(6);
/// Characters of an error that are shown.
const MAX_SHOWN: usize = 2_000;

/// Runs a command to its end and answers with what it wrote; fails with its words if it fails.
pub(crate) async fn run(command: &mut Command) -> Result<Vec<u8>> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let words: Vec<_> = command.as_std().get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = child.spawn().with_context(|| format!("'{name}' can't be started: is it on PATH?"))?;
    let line = format!("{name} {}", words.join(" "));
    let ended = tokio::time::timeout(PATIENCE, child.wait_with_output())
        .await
        .with_context(|| format!("'{line}' did not end within {PATIENCE:?}"))??;
    if !ended.status.success() {
        // Some tell what went wrong in their output.
        let said = [&ended.stdout, &ended.stderr].map(|said| String::from_utf8_lossy(said)).concat();
        let start = said.trim().chars().count().saturating_sub(MAX_SHOWN);
        let end: String = said.trim().chars().skip(start).collect();
        bail!("'{line}' failed ({}): {end}", ended.status);
    }
    Ok(ended.stdout)
}
