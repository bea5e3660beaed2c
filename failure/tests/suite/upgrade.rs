//! NameNodes of the release before: the present program with the levels of the one before.

use anyhow::{Context, Result, ensure};

use super::{build, played};

#[test]
fn a_group_is_upgraded_while_it_serves() -> Result<()> {
    build()?;
    let (status, outcome) = played(&["--run", "rolling-upgrade", "--earlier", "level-before"])?;
    if outcome["mark"] == "skipped" {
        println!("skipped: {}", outcome["reason"]);
        return Ok(());
    }
    let steps = outcome["steps"].as_array().context("steps were done")?;
    let wrong: Vec<_> = steps.iter().filter(|step| step["mark"] == "wrong").collect();
    ensure!(status == Some(0) && wrong.is_empty(), "{wrong:?}");
    Ok(())
}
