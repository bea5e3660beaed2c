//! The list of everything that is stored.

use std::fmt::Write as _;

use anyhow::Result;
use dfs_types::format::{ALL, Format, LEVEL, LEVELS};

/// The page of the manual.
pub(crate) fn manual() -> Result<String> {
    let mut page = String::from(
        "# Stored formats\n\nGenerated from the code: `cargo xtask generate`. A program reads these versions and refuses \
         others in a sentence that names both.\n\n| format | where | what it holds | written and read by | version | oldest \
         read |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    for Format { name, place, holds, owner, version, oldest } in ALL {
        writeln!(page, "| {name} | {place} | {holds} | {owner} | {version} | {oldest} |")?;
    }
    write!(
        page,
        "\n## Feature levels\n\nThe highest that NameNodes of this release know is {LEVEL}; the namespace database's version goes \
         with it. `dfs admin upgrade status` tells the cluster's: see [upgrades](../operations/namenodes.md#upgrades).\n\n\
         | level | what it brought |\n| --- | --- |\n"
    )?;
    for (level, brought) in LEVELS {
        writeln!(page, "| {level} | {brought} |")?;
    }
    Ok(page)
}
