//! Habits of people who know `cp`, `mv`, `rm` and `rsync`, on one cluster: what they type does what they expect.

mod copies;
mod examples;
mod leftovers;
mod paths;
mod shell;

use anyhow::{Context, Result, ensure};

use self::shell::Shell;

#[tokio::test(flavor = "multi_thread")]
async fn commands_do_what_people_are_used_to() -> Result<()> {
    let shell = Shell::start().await?;
    let all = [
        ("missing directories", copies::missing_directories(&shell).await),
        ("what was just created", copies::just_created(&shell).await),
        ("devices and pipes", copies::devices(&shell).await),
        ("trees", copies::trees(&shell).await),
        ("times", copies::times(&shell).await),
        ("names that are not UTF-8", copies::strange_names(&shell).await),
        ("slashes", paths::slashes(&shell).await),
        ("forms of paths", paths::forms(&shell).await),
    ];
    let failed: Vec<_> = all
        .into_iter()
        .filter_map(|(what, outcome)| outcome.err().map(|error| format!("{what}: {error:#}")))
        .collect();
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_behind() -> Result<()> {
    let shell = Shell::start().await?;
    leftovers::signals(&shell).await.context("signals")?;
    leftovers::hang_up_that_is_ignored(&shell).await.context("nohup")?;
    leftovers::moved_parents(&shell).await.context("moved parents")?;
    leftovers::no_room(&shell).await.context("no room")
}
