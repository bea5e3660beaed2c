//! The trash, and quotas.

use super::{Ops, Run, contains, equal};
use crate::exit::Outcome;

pub(super) async fn checks(ops: &Ops, run: &mut Run) -> Outcome {
    run.check("rm keeps what it removes in the trash, and undelete brings it back", async {
        ops.write("kept", b"kept").await?;
        ops.ok("mkdir {}/trash").await?;
        ops.ok("put @/kept {}/trash/file").await?;
        ops.ok("rm {}/trash/file").await?;
        ops.fails(3, "stat {}/trash/file").await?;
        contains(&ops.ok("trash list --files").await?, "/trash/file")?;
        ops.ok("undelete {}/trash/file").await?;
        equal(ops.ok("cat {}/trash/file").await?.as_str(), "kept")?;
        ops.fails_saying(3, "undelete {}/trash/file", "not in the trash").await
    })
    .await?;
    run.check("rm --skip-trash keeps nothing", async {
        ops.ok("rm --skip-trash {}/trash/file").await?;
        ops.fails_saying(3, "undelete {}/trash/file", "not in the trash").await
    })
    .await?;
    run.check("a directory can keep nothing, or have a trash of its own", async {
        ops.ok("trash keep {}/trash 0s").await?;
        contains(&ops.ok("trash show {}/trash/file").await?, "nothing is kept")?;
        ops.ok("trash keep {}/trash 7d").await?;
        let shown = ops.json("trash show {}/trash/file").await?;
        equal(&shown["keep_ms"], &(7 * 24 * 60 * 60 * 1_000).into())?;
        contains(&shown["root"].to_string(), "/trash/.Trash/")?;
        ops.ok("trash keep {}/trash default").await?;
        ops.fails(2, "trash keep {}/trash soon").await.map(drop)
    })
    .await?;
    run.check("a quota is shown, kept and cleared", async {
        ops.ok("mkdir {}/quota").await?;
        ops.ok("quota set --names 2 --space 1GiB {}/quota").await?;
        ops.ok("touch {}/quota/one").await?;
        ops.fails_saying(1, "touch {}/quota/two", "quota").await?;
        let shown = ops.json("quota show {}/quota").await?;
        equal(&shown[0]["names"], &2.into())?;
        equal(&shown[0]["space_quota"], &(1_u64 << 30).into())?;
        ops.ok("quota clear --names {}/quota").await?;
        ops.ok("touch {}/quota/two").await?;
        ops.ok("quota clear {}/quota").await?;
        ops.fails(2, "quota set {}/quota").await?;
        ops.fails(2, "quota set --names 0 {}/quota").await.map(drop)
    })
    .await
}
