//! Whole trees in, out and within the cluster.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use super::{Ops, Run, blocking, contains, equal, same_bytes, sample};
use crate::exit::Outcome;

/// Files of the tree, beside one behind a symbolic link.
const FILES: [&str; 5] =
    ["tree/a.txt", "tree/b/c.bin", "tree/b/ü with space", "tree/b/deep/er/d", "tree/.dot"];

pub(super) async fn checks(ops: &Ops, run: &mut Run) -> Outcome {
    run.check("put -r stores a tree", async {
        for (index, name) in FILES.into_iter().enumerate() {
            ops.write(name, &sample(index * 70_000)).await?;
        }
        let tree = ops.path("tree");
        blocking(move || {
            std::fs::create_dir(tree.join("nothing"))?;
            symlink("a.txt", tree.join("link"))
        })
        .await?;
        ops.ok("put -r @/tree {}/tree").await?;
        let list = ops.ok("ls -R {}/tree").await?;
        for name in ["/a.txt", "/b/c.bin", "/b/ü with space", "/b/deep/er/d", "/.dot", "/nothing/", "/link"]
        {
            contains(&list, name)?;
        }
        Ok(())
    })
    .await?;
    run.check("get -r brings it back", async {
        ops.ok("get -r {}/tree @/back").await?;
        for name in FILES.into_iter().chain(["tree/link"]) {
            let back = name.replacen("tree", "back", 1);
            same_bytes(&ops.read(&back).await?, &ops.read(name).await?)?;
        }
        let nothing = ops.path("back/nothing");
        equal(&blocking(move || Ok(nothing.is_dir())).await?, &true)
    })
    .await?;
    run.check("put -r into an existing directory makes one in it", async {
        ops.ok("mkdir {}/home").await?;
        ops.ok("put -r @/tree {}/home").await?;
        ops.ok("stat {}/home/tree/a.txt").await.map(drop)
    })
    .await?;
    run.check("put -r again goes on after each existing file and fails as a whole", async {
        ops.write("tree/new", b"new").await?;
        let errors = ops.fails(1, "put -r @/tree {}/home").await?;
        contains(&errors, "a.txt exists")?;
        contains(&errors, "6 failures")?;
        ops.ok("stat {}/home/tree/new").await?;
        ops.ok("put -rf @/tree {}/home").await.map(drop)
    })
    .await?;
    run.check("put -r skips what is no file, says so and does not run in circles", async {
        ops.write("odd/file", b"x").await?;
        let odd = ops.path("odd");
        let socket = blocking(move || {
            symlink(".", odd.join("circle"))?;
            symlink("nowhere", odd.join("broken"))?;
            UnixListener::bind(odd.join("socket"))
        })
        .await?;
        let ended = ops.call("put -r @/odd {}/odd", b"").await?;
        drop(socket);
        equal(&ended.status, &Some(1))?;
        for what in ["circle", "broken", "socket"] {
            contains(&ended.stderr, what)?;
        }
        equal(ops.ok("ls {}/odd").await?.trim(), "file")
    })
    .await?;
    run.check("put -r names a file whose name is not UTF-8 and stores the others", async {
        use std::os::unix::ffi::OsStrExt;
        ops.write("bytes/good", b"x").await?;
        let strange = ops.path("bytes").join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
        blocking(move || std::fs::write(strange, "x")).await?;
        contains(&ops.fails(1, "put -r @/bytes {}/bytes").await?, "not UTF-8")?;
        equal(ops.ok("ls {}/bytes").await?.trim(), "good")
    })
    .await?;
    run.check("cp -r copies a tree, but not into itself", async {
        ops.ok("cp -r {}/tree {}/copied").await?;
        same_bytes(&ops.bytes("cat {}/copied/b/c.bin", b"").await?, &sample(70_000))?;
        ops.fails_saying(1, "cp -r {}/tree {}/tree/b", "into itself").await?;
        ops.fails_saying(1, "cp {}/tree {}/x", "-r").await
    })
    .await?;
    run.check("du counts bytes and files", async {
        let sums = ops.json("du -s {}/tree").await?;
        // Five files of 0, 70, 140, 210 and 280 kB; the link is a copy of the empty one.
        equal(&sums[0]["length"], &700_000.into())?;
        equal(&sums[0]["files"], &6.into())?;
        contains(&ops.ok("du -h {}/tree").await?, "KiB")?;
        ops.fails(3, "du {}/none").await.map(drop)
    })
    .await?;
    run.check("rm removes files, and directories only with -r", async {
        ops.ok("rm {}/copied/a.txt").await?;
        ops.fails_saying(1, "rm {}/copied", "-r").await?;
        ops.ok("rm -r {}/copied").await?;
        ops.fails(3, "stat {}/copied").await.map(drop)
    })
    .await?;
    run.check("rm of nothing fails, but not with -f; the root stays", async {
        ops.fails(3, "rm {}/none").await?;
        ops.ok("rm -f {}/none").await?;
        ops.fails(2, "rm -rf /").await.map(drop)
    })
    .await
}
