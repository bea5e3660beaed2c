//! Directories, names and attributes.

use super::{Ops, Run, contains, equal};
use crate::exit::Outcome;

pub(super) async fn checks(ops: &Ops, run: &mut Run) -> Outcome {
    run.check("mkdir makes a directory", async {
        ops.ok("mkdir {}/dir").await?;
        equal(ops.ok("ls {}").await?.trim(), "dir/")
    })
    .await?;
    run.check("mkdir refuses what exists", ops.fails_saying(1, "mkdir {}/dir", "exists")).await?;
    run.check("mkdir refuses a missing parent", async { ops.fails(3, "mkdir {}/no/dir").await.map(drop) })
        .await?;
    run.check("mkdir -p makes parents and accepts what exists", async {
        ops.ok("mkdir -p {}/p/q/r").await?;
        ops.ok("mkdir -p {}/p/q/r").await?;
        contains(&ops.ok("ls -R {}/p").await?, "/p/q/r/")
    })
    .await?;
    run.check("mkdir -m sets the mode", async {
        ops.ok("mkdir -m 700 {}/private").await?;
        equal(&ops.json("stat {}/private").await?[0]["mode"], &0o700.into())
    })
    .await?;
    run.check("a path must be absolute, and is read as in a shell", async {
        ops.fails_saying(2, "mkdir relative", "absolute").await?;
        let listed = ops.ok("ls -d {}//p/./q/../q/r/").await?;
        equal(&listed.trim_end().ends_with("/p/q/r/"), &true)?;
        ops.fails_saying(2, "rm -r {}/p/q/..", "'..'").await
    })
    .await?;
    run.check("touch makes an empty file and later sets its time", async {
        ops.ok("touch {}/touched").await?;
        let before = ops.json("stat {}/touched").await?;
        equal(&before[0]["length"], &0.into())?;
        ops.ok("touch {}/touched").await?;
        let after = ops.json("stat {}/touched").await?;
        if after[0]["mtime"].as_u64() < before[0]["mtime"].as_u64() {
            return Err("the time went back".to_owned());
        }
        ops.ok("touch -c {}/untouched").await?;
        ops.fails(3, "stat {}/untouched").await.map(drop)
    })
    .await?;
    run.check("ls -l shows mode, replication, owner and time", async {
        let text = ops.ok("ls -l {}").await?;
        contains(&text, "drwx")?;
        contains(&text, "-rw-")?;
        contains(&text, "touched")
    })
    .await?;
    run.check("ls -o json and -o wide list the same", async {
        let names = ops.json("ls {}").await?;
        let rows = ops.ok("ls -o wide {}").await?.lines().count();
        equal(&names.as_array().map(Vec::len), &Some(rows))
    })
    .await?;
    run.check("ls of nothing fails with status 3", ops.fails_saying(3, "ls {}/none", "no such file")).await?;
    patterns(ops, run).await?;
    run.check("stat shows a file and a directory", async {
        contains(&ops.ok("stat {}/touched").await?, "file")?;
        contains(&ops.ok("stat {}/dir").await?, "directory")?;
        ops.fails(3, "stat {}/none").await.map(drop)
    })
    .await?;
    moves(ops, run).await?;
    run.check("chmod takes octal and symbolic modes", async {
        ops.ok("chmod 600 {}/touched").await?;
        equal(&ops.json("stat {}/touched").await?[0]["mode"], &0o600.into())?;
        ops.ok("chmod u+x,go=r {}/touched").await?;
        equal(&ops.json("stat {}/touched").await?[0]["mode"], &0o744.into())?;
        ops.ok("chmod -R g=rwx,o=rx {}/p").await?;
        equal(&ops.json("stat {}/p/q/r").await?[0]["mode"], &0o775.into())
    })
    .await?;
    run.check("chmod refuses nonsense", async {
        ops.fails(2, "chmod 999 {}/touched").await?;
        ops.fails(2, "chmod u+q {}/touched").await?;
        ops.fails(3, "chmod 600 {}/none").await.map(drop)
    })
    .await?;
    run.check("chown sets owner and group", async {
        ops.ok("chown ann:staff {}/touched").await?;
        let status = ops.json("stat {}/touched").await?;
        equal(&status[0]["owner"], &"ann".into())?;
        equal(&status[0]["group"], &"staff".into())?;
        ops.ok("chown :crew {}/touched").await?;
        equal(&ops.json("stat {}/touched").await?[0]["group"], &"crew".into())
    })
    .await?;
    run.check("another user may not change or remove what is not theirs", async {
        ops.fails_saying(1, "rm --user stranger {}/touched", "ermission").await?;
        ops.fails(1, "chmod --user stranger 777 {}/touched").await?;
        ops.fails(1, "mkdir --user stranger {}/theirs").await?;
        ops.fails(1, "ls --user stranger {}/private").await?;
        ops.fails(1, "chown --user ann root {}/touched").await.map(drop)
    })
    .await?;
    attributes(ops, run).await
}

async fn attributes(ops: &Ops, run: &mut Run) -> Outcome {
    run.check("an ACL lets a named user in, the mask keeps him out, and what is new inherits it", async {
        ops.ok("mkdir -m 700 {}/acl").await?;
        ops.ok("setfacl -m user:stranger:r-x,default:user:stranger:r-- {}/acl").await?;
        ops.ok("ls --user stranger {}/acl").await?;
        contains(&ops.ok("ls -ld {}/acl").await?, "drwxr-x---+")?;
        ops.ok("touch {}/acl/new").await?;
        contains(&ops.ok("getfacl {}/acl/new").await?, "user:stranger:r--")?;
        ops.ok("chmod g= {}/acl").await?;
        contains(&ops.ok("getfacl {}/acl").await?, "user:stranger:r-x\t#effective:---")?;
        ops.fails(1, "ls --user stranger {}/acl").await?;
        ops.fails(1, "setfacl --user stranger -b {}/acl").await?;
        ops.fails(2, "setfacl -m user:stranger {}/acl").await?;
        ops.ok("setfacl -b {}/acl").await?;
        equal(&ops.json("stat {}/acl").await?[0]["has_acl"], &false.into())
    })
    .await?;
    run.check("extended attributes are set, shown and removed", async {
        ops.ok("setfattr -n user.origin -v scan {}/touched").await?;
        contains(&ops.ok("getfattr -d {}/touched").await?, "user.origin=\"scan\"")?;
        ops.ok("setfattr -n user.origin -v 0x00ff {}/touched").await?;
        contains(&ops.ok("getfattr -n user.origin -e hex {}/touched").await?, "user.origin=0x00ff")?;
        let shown = ops.json("getfattr -d {}/touched").await?;
        equal(&shown[0]["xattrs"][0]["name"], &"user.origin".into())?;
        ops.fails(1, "setfattr --user stranger -n trusted.a {}/touched").await?;
        ops.ok("setfattr -x user.origin {}/touched").await?;
        ops.fails(3, "getfattr -n user.origin {}/touched").await.map(drop)
    })
    .await
}

async fn patterns(ops: &Ops, run: &mut Run) -> Outcome {
    run.check("patterns find what they say", async {
        ops.ok("mkdir -p {}/glob/2024/x {}/glob/2025/x").await?;
        ops.ok("touch {}/glob/2024/a.log {}/glob/2024/b.txt {}/glob/2025/a.log {}/glob/2025/x/c.log").await?;
        for (pattern, count) in [
            ("{}/glob/202?/a.log", 2),
            ("{}/glob/202[0-4]/*.*", 2),
            ("{}/glob/2024/{a.log,b.txt}", 2),
            ("{}/glob/**/*.log", 3),
            ("{}/glob/*/x", 2),
        ] {
            let found = ops.ok(&format!("ls -d {pattern}")).await?;
            if found.lines().count() != count {
                return Err(format!("{pattern} found: {found}"));
            }
        }
        ops.fails(3, "ls {}/glob/*.none").await?;
        // A bracket that nothing closes is no pattern: it is a name, which nothing has.
        ops.fails(3, "ls {}/glob/[").await.map(drop)
    })
    .await?;
    run.check("find selects by name, type, size and depth", async {
        equal(&ops.ok("find {}/glob --name *.log --type f").await?.lines().count(), &3)?;
        equal(&ops.ok("find {}/glob --type d").await?.lines().count(), &5)?;
        equal(&ops.ok("find {}/glob --size +1").await?.lines().count(), &0)?;
        equal(&ops.ok("find {}/glob --newer 1h --name a.*").await?.lines().count(), &2)?;
        equal(&ops.ok("find {}/glob --maxdepth 1").await?.lines().count(), &3)?;
        ops.fails(2, "find {}/glob --type x").await.map(drop)
    })
    .await
}

async fn moves(ops: &Ops, run: &mut Run) -> Outcome {
    run.check("mv renames and moves into a directory", async {
        ops.ok("touch {}/one {}/two").await?;
        ops.ok("mv {}/one {}/eins").await?;
        ops.ok("mv {}/eins {}/two {}/dir").await?;
        equal(ops.ok("ls {}/dir").await?.trim(), "eins\ntwo")?;
        ops.fails(3, "stat {}/one").await.map(drop)
    })
    .await?;
    run.check("mv replaces a file only with -f", async {
        ops.ok("touch {}/dir/drei").await?;
        ops.fails(1, "mv {}/dir/drei {}/dir/two").await?;
        ops.ok("mv -f {}/dir/drei {}/dir/two").await?;
        ops.fails(3, "mv {}/dir/drei {}/dir/two").await.map(drop)
    })
    .await?;
    run.check("mv refuses to move a directory into itself", async {
        ops.fails(1, "mv {}/p {}/p/q").await?;
        ops.ok("stat {}/p/q/r").await.map(drop)
    })
    .await
}
