//! Several sources that meet at one target, beside GNU's `cp`.

use anyhow::{Result, ensure};

use super::shell::{Shell, local_mode};

pub(super) async fn just_created(shell: &Shell) -> Result<()> {
    const SAYS: &str = "will not overwrite just-created";
    let fresh = "set -e; rm -rf just; mkdir just; cd just; mkdir -p a/t b/t out; echo 1 > a/x; echo 2 > b/x
                 echo 1 > a/t/f; echo 2 > b/t/f; echo 3 > b/t/g
                 dfs rm -rf /j; dfs put -r . /j";
    for (script, left) in [
        // What is moved is in the one place or the other.
        ("mv -f /j/a/x /j/b/x /j/out", "/j/b/x /j/out/x"),
        ("mv -f /j/a/t /j/b/t /j/out", "/j/a/x /j/b/t/f /j/b/t/g /j/b/x /j/out/t/f"),
        ("cp -f /j/a/x /j/b/x /j/out", "/j/out/x"),
        ("cp -rf /j/a/t /j/b/t /j/out", "/j/out/t/f /j/out/t/g"),
        ("cp -rf -j 16 '/j/[ab]/t' '/j/[ab]/x' /j/out", "/j/out/t/f /j/out/t/g /j/out/x"),
        ("put -f a/x b/x /j/out", "/j/out/x"),
        ("put -rf a/t b/t /j/out", "/j/out/t/f /j/out/t/g"),
        ("put -rf -j 16 a/. b/. /j/new", "/j/new/t/f /j/new/t/g /j/new/x"),
    ] {
        shell.ok(fresh).await?;
        shell.fails(1, &format!("cd just; dfs {script}"), SAYS).await?;
        let left: Vec<_> = left.split(' ').collect();
        let tree = shell.tree("/j").await?;
        for path in &left {
            ensure!(tree.contains(*path), "{script}: {path} is missing in {tree:?}");
        }
        // The first one won.
        let first = left.iter().find(|path| path.starts_with("/j/out") || path.starts_with("/j/new"));
        if let Some(first) = first {
            shell.prints(&format!("dfs cat {first}"), "1").await?;
        }
    }
    for (script, words) in [
        ("get -f /j/a/x /j/b/x out", "1"),
        ("get -rf /j/a/t /j/b/t out", "1"),
        ("get -rf -j 16 /j/a/. /j/b/. out", "1 1"),
        ("get -rf -j 16 '/j/[ab]/*' out", "1 1"),
    ] {
        shell.ok(fresh).await?;
        shell.fails(1, &format!("cd just; dfs {script}"), SAYS).await?;
        shell.prints("cd just/out; cat $(find . -name x -o -name f)", words).await?;
    }
    // The same once more is no danger.
    shell.ok(fresh).await?;
    for script in [
        "put -f a/x a/x /j/out",
        "put -rf a/t a/t /j/out",
        "cp -f /j/a/x /j/a/x /j/out",
        "cp -rf /j/a/t /j/a/t /j/out",
        "get -f /j/a/x /j/a/x out",
        "get -rf /j/a/t /j/a/t out",
        "mv -f /j/a/x /j/a/x /j/out",
    ] {
        let ended = shell.run(&format!("cd just; dfs {script}")).await?;
        ensure!(ended.status == Some(0) && ended.stderr.contains("more than once"), "{script}: {ended:?}");
    }
    Ok(())
}

/// Makes a source whose copy fails, unless a superuser makes it, and another one of the same name.
const FAILING: &str = "set -e; dfs rm -rf /fail; rm -rf fail; mkdir -p fail/b fail/out; cd fail
    echo b > b/mem; dfs mkdir -m 777 /fail /fail/out
    dfs put b/mem /fail/a/mem; dfs put b/mem /fail/b/mem; dfs chmod 000 /fail/a/mem; dfs chmod 777 /fail/b";

pub(super) async fn failed_sources(shell: &Shell) -> Result<()> {
    for (script, made) in [
        // It opens, and can't be read.
        ("put -f /proc/self/mem b/mem /fail/out", "dfs cat /fail/out/mem"),
        ("cp -f /fail/a/mem /fail/b/mem /fail/out", "dfs cat /fail/out/mem"),
        ("cp -f -j 1 /fail/a/mem /fail/b/mem /fail/out", "dfs cat /fail/out/mem"),
        ("mv -f /fail/a/mem /fail/b/mem /fail/out", "dfs cat /fail/out/mem"),
        ("get -f /fail/a/mem /fail/b/mem out", "cat out/mem"),
        ("get -f -j 1 /fail/a/mem /fail/b/mem out", "cat out/mem"),
    ] {
        shell.ok(FAILING).await?;
        let ended = shell.run(&format!("cd fail; DFS_USER=ann dfs {script}")).await?;
        ensure!(ended.status == Some(1) && !ended.stderr.contains("just-created"), "{script}: {ended:?}");
        shell.prints(&format!("cd fail; {made}"), "b").await?;
    }
    Ok(())
}

pub(super) async fn sources_that_look_alike(shell: &Shell) -> Result<()> {
    // Both are shown alike, and are two files and two folders.
    shell
        .ok("mkdir alike; cd alike; mkdir $'\\xff' $'\\xfe'; echo 1 > $'\\xff/x'; echo 2 > $'\\xfe/x'
             echo 1 > $'\\xff/only-ff'; echo 2 > $'\\xfe/only-fe'")
        .await?;
    for script in ["put -f $'\\xff/x' $'\\xfe/x' /alike/", "put -rf $'\\xff/.' $'\\xfe/.' /alike/"] {
        let ended = shell.run(&format!("dfs rm -rf /alike; cd alike; dfs {script}")).await?;
        ensure!(
            ended.status == Some(1)
                && ended.stderr.contains("will not overwrite just-created")
                && !ended.stderr.contains("more than once"),
            "{script}: {ended:?}"
        );
        shell.prints("dfs cat /alike/x", "1").await?;
    }
    shell.prints("dfs ls /alike", "only-fe only-ff x").await
}

pub(super) async fn directories(shell: &Shell) -> Result<()> {
    let make = "set -e; chmod -R u+rwX mg 2>/dev/null || true; rm -rf mg; dfs rm -rf /mg; mkdir mg; cd mg
                mkdir -p a/t/s b/t/s model got; echo 1 > a/t/f; echo 2 > b/t/g; echo 3 > b/t/s/h
                chmod 700 a/t; chmod 711 a/t/s; chmod 750 b/t; chmod 705 b/t/s
                dfs put -rp a b /mg/src/";
    for options in ["-r", "-rp"] {
        for order in [["a", "b"], ["b", "a"]] {
            let [first, second] = order;
            let local = format!("{first}/t {second}/t");
            let remote = format!("/mg/src/{first}/t /mg/src/{second}/t");
            shell
                .ok(&format!(
                    "{make}; cp {options} {local} model
                     dfs put {options} {local} /mg/put/; dfs cp {options} {remote} /mg/cp/
                     dfs get {options} {remote} got"
                ))
                .await?;
            for path in ["t", "t/s", "t/f", "t/g", "t/s/h"] {
                let expected = local_mode(&shell.local(&format!("mg/model/{path}")))?;
                let got = local_mode(&shell.local(&format!("mg/got/{path}")))?;
                ensure!(got == expected, "get {options} {order:?}: {path} has {got:o}, not {expected:o}");
                for root in ["/mg/put", "/mg/cp"] {
                    let mode = shell.modes(root).await?[&format!("{root}/{path}")];
                    ensure!(
                        mode == expected,
                        "{root} {options} {order:?}: {path} has {mode:o}, not {expected:o}"
                    );
                }
            }
        }
    }
    // A directory that is closed in the end is open until everything is in it: also to those whom it will be closed to.
    shell
        .ok(&format!(
            "{make}; chmod 555 a/t; dfs chmod 555 /mg/src/a/t; dfs chmod -R a+r /mg/src/b; dfs mkdir -m 777 /mg/put /mg/cp
             dfs chmod 755 /mg/src/a/t/s /mg/src/b/t/s /mg/src/b/t; export DFS_USER=ann
             dfs put -r a/t b/t /mg/put; dfs cp -r /mg/src/a/t /mg/src/b/t /mg/cp; dfs get -r /mg/src/a/t /mg/src/b/t got"
        ))
        .await?;
    for root in ["/mg/put", "/mg/cp"] {
        let tree = shell.tree(&format!("{root}/t")).await?;
        ensure!(tree.len() == 4, "{root}: {tree:?}");
        let mode = shell.modes(root).await?[&format!("{root}/t")];
        ensure!(mode == 0o555, "{root}: {mode:o}");
    }
    shell.prints("cd mg/got; find . -type f | sort", "./t/f ./t/g ./t/s/h").await?;
    shell.ok("chmod -R u+rwX mg").await.map(drop)
}
