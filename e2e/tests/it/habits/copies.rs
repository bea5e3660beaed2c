//! `put`, `get`, `cp` and `mv` beside GNU's `cp` and `mv`.

use std::fs;
use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};

use super::shell::{Shell, local_mode};

pub(super) async fn missing_directories(shell: &Shell) -> Result<()> {
    // The usage of the project this one began as, word for word.
    shell
        .ok("set -e; echo hello > local_file.txt
             dfs put ./local_file.txt /dfs/remote_file.txt
             dfs ls /dfs/
             dfs info /dfs/remote_file.txt
             dfs get /dfs/remote_file.txt ./downloaded_file.txt
             cmp local_file.txt downloaded_file.txt
             dfs rm /dfs/remote_file.txt")
        .await?;
    shell.ok("mkdir miss; cd miss; echo a > a; echo b > b; mkdir t; echo c > t/c").await?;
    for (script, tree) in [
        ("put a /m/one/two", "/m/one/two"),
        ("put a b /m/several", "/m/several/a /m/several/b"),
        ("put a /m/slash/", "/m/slash/a"),
        ("put -r t /m/tree", "/m/tree/c"),
        ("put -r t /m/tree/", "/m/tree/c"),
        ("put -r t a /m/both", "/m/both/a /m/both/t/c"),
        ("put -r t/. /m/what/is/in/it", "/m/what/is/in/it/c"),
        ("put - /m/in/put < a", "/m/in/put"),
        ("cp /src/a /m/one/two", "/m/one/two"),
        ("cp /src/a /src/b /m/several", "/m/several/a /m/several/b"),
        ("cp /src/a /m/slash/", "/m/slash/a"),
        ("cp -r /src /m/tree/", "/m/tree/a /m/tree/b"),
        ("touch /m/new/one /m/new/two", "/m/new/one /m/new/two"),
    ] {
        shell.ok("dfs rm -rf /m; dfs put -f miss/a miss/b /src/").await?;
        shell.ok(&format!("cd miss; dfs {script}")).await?;
        shell.prints("dfs find /m --type f", tree).await?;
    }
    // These make none, as their models.
    shell.ok("dfs rm -rf /m").await?;
    shell.fails(3, "dfs mv /src/a /m/x", "make it first").await?;
    shell.fails(3, "dfs mv /src/a /m/", "mkdir -p").await?;
    shell.fails(3, "dfs mv /src/a /src/b /m", "mkdir -p").await?;
    shell.fails(3, "dfs mv /src/none /src/a /m", "").await?;
    shell.fails(3, "dfs mkdir /m/x", "add -p").await?;
    shell.fails(3, "dfs touch /m/x/", "mkdir -p").await?;
    shell.fails(1, "dfs get /src/a nowhere/x", "nowhere/x").await?;
    shell.fails(1, "dfs get /src/a nowhere/", "make it first").await?;
    shell.fails(1, "dfs get /src/a /src/b nowhere", "make it first").await?;
    shell.fails(3, "dfs put none /m/x", "none").await?;
    shell.fails(1, "dfs put miss/t /m/x", "add -r").await?;
    shell.fails(1, "dfs cp /src /m/x", "add -r").await?;
    shell.fails(1, "dfs get /src x", "add -r").await?;
    shell.fails(1, "dfs rm /src", "add -r").await?;
    shell.fails(2, "dfs put - /src", "name a file").await?;
    for copy in ["put miss/a /src/b", "cp /src/a /src/b", "mv /src/a /src/b", "get /src/a miss/b"] {
        shell.fails(1, &format!("dfs {copy}"), "add -f").await?;
    }
    // A parent that is a file is no missing directory.
    shell.fails(1, "dfs put miss/a /src/b/x", "/src/b is a file").await?;
    shell.fails(1, "dfs touch /src/b/x/y", "/src/b is a file").await?;
    ensure!(!shell.tree("/").await?.contains("/m/"), "a refused command made directories");
    Ok(())
}

pub(super) async fn devices(shell: &Shell) -> Result<()> {
    shell.ok("mkdir dev; cd dev; seq 30000 > want; dfs put want /dev/want").await?;
    // Read, if they are named.
    for script in [
        "dfs put <(cat want) /dev/copy",
        "cat want | dfs put /dev/stdin /dev/copy",
        "cat want | dfs put /dev/fd/0 /dev/copy",
        "dfs put /dev/fd/3 /dev/copy 3< want",
        "mkfifo in; cat want > in & dfs put in /dev/copy",
    ] {
        shell.ok(&format!("cd dev; {script}")).await?;
        shell
            .ok("cd dev; dfs cat /dev/copy | cmp - want; dfs stat -o json /dev/copy | grep -q '\"mode\":420'")
            .await?;
        shell.ok("dfs rm /dev/copy").await?;
    }
    // In a tree they are skipped, and the status tells.
    shell
        .ok("cd dev; mkdir tree; mkfifo tree/pipe; ln -s /dev/null tree/null; echo ok > tree/file
             ln -s none tree/dangling; ln -s . tree/loop")
        .await?;
    for what in ["tree/pipe", "tree/null", "tree/dangling", "tree/loop"] {
        shell.fails(1, "cd dev; dfs rm -rf /dev/tree; dfs put -r tree /dev/", what).await?;
    }
    shell.prints("dfs ls /dev/tree", "file").await?;
    // Written through, and never replaced.
    shell
        .ok("cd dev; mkfifo out; mkdir through; ln -s want2 link; echo old > want2; ln -s none dangling")
        .await?;
    for script in [
        "cat out > got & dfs get /dev/want out; wait",
        "cat out > got & dfs get -f /dev/want out; wait",
        "ln -sf out tofifo; cat out > got & dfs get /dev/want tofifo; wait",
        "dfs get /dev/want /dev/fd/3 3> got",
        "dfs get /dev/want /dev/stdout > got",
        "dfs get -f /dev/want /dev/stdout | cat > got",
        "dfs get -fp /dev/want link; cp want2 got",
    ] {
        shell.ok(&format!("cd dev; rm -f got; {script}; cmp got want; [ -p out ]; [ -L link ]")).await?;
    }
    shell
        .prints("cd dev; echo first > log; dfs get /dev/want /dev/fd/3 3>> log; head -2 log", "first 1")
        .await?;
    shell.fails(1, "cd dev; dfs get -f /dev/want dangling", "leads nowhere").await?;
    shell.fails(1, "dfs get /dev/want /dev/full", "/dev/full").await?;
    // Only what is named is written through: a tree stops at nothing that might wait for ever.
    shell
        .fails(
            1,
            "cd dev/through; mkfifo want; dfs get -f /dev/want .; s=$?; [ -p want ] && exit $s",
            "a named pipe",
        )
        .await?;
    // Backups likewise.
    shell
        .ok("set -e; cd dev; cat out > got & dfs admin backup -f out; wait; [ -p out ]
             dfs admin backup whole; dfs admin backup /dev/fd/3 3> third; [ -s got ] && [ -s third ] && [ -s whole ]
             echo old > old; ln -s old tothat; dfs admin backup -f tothat; [ -L tothat ] && cmp -n 4 old whole")
        .await?;
    shell.fails(1, "cd dev; dfs admin backup whole", "whole").await?;
    if shell.run("cd dev; mknod null c 1 3").await?.status == Some(0) {
        shell
            .ok("cd dev; set -e; dfs get -f /dev/want null; dfs get -p /dev/want null; dfs admin backup -f null
                 [ -c null ]; dfs put null /dev/empty; [ \"$(dfs cat /dev/empty | wc -c)\" = 0 ]")
            .await?;
    }
    Ok(())
}

pub(super) async fn trees(shell: &Shell) -> Result<()> {
    let make =
        "set -e; chmod -R u+rwX tr 2>/dev/null || true; rm -rf tr; mkdir tr; cd tr; mkdir -p t/ro/in t/own
                echo x > t/ro/in/x; echo s > t/ro/s; printf '#!/bin/sh\\n' > t/run; chmod 750 t/run
                chmod 600 t/ro/s; chmod 700 t/own; chmod 555 t/ro/in t/ro; chmod 1777 t";
    let unmake = "chmod -R u+rwX tr; dfs rm -rf /tr";
    // Copies have what `cp -r` gives, with and without -p: in the cluster, from there, and back.
    for (cp, dfs) in [("cp -r", "-r"), ("cp -rp", "-rp")] {
        shell
            .ok(&format!(
                "{make}; {cp} t model
                 dfs put {dfs} t /tr/put; dfs cp {dfs} /tr/put /tr/cp; dfs get {dfs} /tr/cp got"
            ))
            .await?;
        let modes = |root: &str| {
            let script = format!("cd tr/{root}; find . -printf '%P %m\\n' | sort");
            async move { shell.ok(&script).await }
        };
        ensure!(
            modes("got").await? == modes("model").await?,
            "{dfs}: {} instead of {}",
            modes("got").await?,
            modes("model").await?
        );
        for root in ["/tr/put", "/tr/cp"] {
            for (path, mode) in shell.modes(root).await? {
                let local = shell.local(&path.replacen(root, "tr/model", 1));
                let expected = local_mode(&local)?;
                ensure!(mode == expected, "{dfs}: {path} has {mode:o} instead of {expected:o}");
            }
        }
        shell.ok("diff -r tr/got tr/model").await?;
        shell.ok(unmake).await?;
    }
    // Someone who is no superuser, to whom closed directories are closed.
    shell
        .ok(&format!(
            "{make}; dfs mkdir -m 777 /tr; export DFS_USER=ann
             dfs put -rp t /tr/put; dfs cp -r /tr/put /tr/cp; dfs cp -rp /tr/put/ro /tr/ro
             [ \"$(dfs cat /tr/put/ro/in/x /tr/cp/ro/in/x /tr/ro/in/x)\" = $'x\\nx\\nx' ]"
        ))
        .await?;
    shell.ok(unmake).await?;
    // What is replaced keeps its permission bits.
    shell
        .ok("mkdir -p tr; cd tr; echo 1 > f; chmod 644 f; dfs put f /tr/f; dfs chmod 600 /tr/f; dfs put -f f /tr/f
             touch g; chmod 640 g; dfs get -f /tr/f g")
        .await?;
    ensure!(
        shell.modes("/tr").await?["/tr/f"] == 0o600 && local_mode(&shell.local("tr/g"))? == 0o640,
        "bits of what was replaced"
    );
    shell.ok(unmake).await?;
    Ok(())
}

pub(super) async fn in_the_way(shell: &Shell) -> Result<()> {
    // A file in the way of a directory is said once, and the rest is copied. A link in a tree is not followed out of it.
    shell
        .ok("set -e; mkdir -p way/t/b way/out way/old/src; cd way; echo c > t/b/c; echo z > t/z; dfs put -r t /way/src
             dfs touch /way/t/b; ln -s ../../out old/src/b")
        .await?;
    shell.fails(1, "cd way; dfs put -r t /way/", "/way/t/b is a file").await?;
    shell.prints("dfs find /way/t --type f", "/way/t/b /way/t/z").await?;
    shell.fails(1, "cd way; dfs get -r /way/src old", "src/b").await?;
    shell.prints("cd way; find out old -type f", "old/src/z").await
}

pub(super) async fn dots(shell: &Shell) -> Result<()> {
    for (script, tree) in [
        ("cd t; dfs put -r . /tr/new", "/tr/new/a /tr/new/b/c"),
        ("cd t; dfs put -r . /tr/old", "/tr/old/a /tr/old/b/c"),
        ("dfs put -r t/. /tr/old", "/tr/old/a /tr/old/b/c"),
        ("dfs put -r t/ /tr/old", "/tr/old/t/a /tr/old/t/b/c"),
        ("cd t/b; dfs put -r .. /tr/old", "/tr/old/a /tr/old/b/c"),
        ("dfs put -r t/b/.. /tr/new", "/tr/new/a /tr/new/b/c"),
        ("dfs cp -r /src2/. /tr/old", "/tr/old/a /tr/old/b/c"),
        ("dfs cp -r /src2/./ /tr/new", "/tr/new/a /tr/new/b/c"),
        ("dfs cp -r /src2/b/.. /tr/old", "/tr/old/a /tr/old/b/c"),
        ("dfs cp -r /src2/ /tr/old", "/tr/old/src2/a /tr/old/src2/b/c"),
        ("dfs cp -r '/src2/b/.' /tr/old", "/tr/old/c"),
    ] {
        shell
            .ok(&format!(
                "set -e; dfs rm -rf /tr /src2; rm -rf dots; mkdir -p dots/t/b; cd dots; echo a > t/a; echo c > t/b/c
                 dfs put -r t /src2; dfs mkdir -p /tr/old; {script}"
            ))
            .await?;
        shell.prints("dfs find /tr --type f", tree).await?;
    }
    for (script, tree) in [
        ("dfs get -r /src2/. .", "./a ./b/c"),
        ("dfs get -r /src2 .", "./src2/a ./src2/b/c"),
        ("dfs get -r /src2 new", "./new/a ./new/b/c"),
        ("dfs get -r /src2 new/", "./new/a ./new/b/c"),
        ("mkdir new; dfs get -r /src2/ new/", "./new/src2/a ./new/src2/b/c"),
        ("dfs get -r /src2/b/.. new", "./new/a ./new/b/c"),
    ] {
        shell
            .prints(&format!("rm -rf dots; mkdir dots; cd dots; {script}; find . -type f | sort"), tree)
            .await?;
    }
    Ok(())
}

pub(super) async fn times(shell: &Shell) -> Result<()> {
    shell.ok("mkdir times; cd times; echo x > f").await?;
    let local = shell.local("times/f");
    let set = |time: SystemTime| -> Result<Option<SystemTime>> {
        let file = fs::File::options().write(true).open(&local)?;
        file.set_modified(time)?;
        // A file system may have no room for it.
        Ok((file.metadata()?.modified()? == time).then_some(time))
    };
    // 1970, beyond signed and unsigned 32 bits, the year 3000.
    for seconds in [0, 1, 2_147_483_648, 4_294_967_296, 32_503_680_000] {
        let Some(time) = set(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))? else { continue };
        shell.ok("cd times; dfs put -pf f /times/f; rm -f back; dfs get -p /times/f back; dfs cp -pf /times/f /times/g").await?;
        for path in ["/times/f", "/times/g"] {
            let mtime = shell.dfs.stat(&dfs_types::FsPath::parse(path)?).await?.mtime.0;
            ensure!(mtime == seconds * 1_000, "{path}: {mtime} instead of {seconds} s");
        }
        let back = fs::metadata(shell.local("times/back"))?.modified()?;
        ensure!(back == time, "{back:?} instead of {time:?}");
    }
    if set(SystemTime::UNIX_EPOCH - Duration::from_hours(24))?.is_some() {
        let before = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis();
        shell.fails(1, "cd times; dfs put -pf f /times/old", "before 1970").await?;
        let mtime = shell.dfs.stat(&dfs_types::FsPath::parse("/times/old")?).await?.mtime.0;
        ensure!(u128::from(mtime) + 60_000 > before, "{mtime}: neither refused nor the present time");
        shell.fails(1, "cd times; mkdir t; mv f t/; echo y > t/other; dfs put -rp t /times/t", "t/f").await?;
        shell.prints("dfs ls /times/t", "f other").await?;
    }
    Ok(())
}

pub(super) async fn strange_names(shell: &Shell) -> Result<()> {
    shell.ok("mkdir utf; cd utf; mkdir $'d\\xff' t; echo 1 > $'caf\\xe9'; echo 2 > $'d\\xff/in'; echo 3 > t/$'\\xff'; echo 4 > t/ok").await?;
    shell.ok("cd utf; dfs put $'caf\\xe9' /utf/plain; dfs put -r $'d\\xff' /utf/tree; dfs get /utf/plain $'back\\xff'").await?;
    shell.prints("cd utf; cat $'back\\xff'; dfs cat /utf/plain /utf/tree/in", "1 1 2").await?;
    shell.fails(1, "cd utf; dfs put $'caf\\xe9' /utf/", "caf\\xe9").await?;
    shell.fails(1, "cd utf; dfs put -r t /utf/", "\\xff").await?;
    shell.prints("dfs ls /utf/t", "ok").await
}
