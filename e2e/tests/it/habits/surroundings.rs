//! Surroundings that are not as on the developer's machine: environment, limits, addresses, company.

use anyhow::{Result, ensure};

use super::shell::Shell;

/// What may be in an environment, or missing from it, changes no transfer.
pub(super) async fn environment(shell: &Shell) -> Result<()> {
    shell.ok("head -c 100000 /dev/urandom > f && dfs put f /f").await?;
    let proxies =
        ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "grpc_proxy", "all_proxy", "ALL_PROXY"];
    let proxies = proxies.map(|name| format!("{name}=http://127.0.0.1:9")).join(" ");
    for variables in [
        proxies.as_str(),
        "-u HOME",
        "-i DFS_NAMENODE=$DFS_NAMENODE PATH=$PATH",
        "LANG=xx LC_ALL=xx",
        "TZ=:/nonexistent",
        "TMPDIR=/nonexistent",
        "TERM=",
        "COLUMNS=1 LINES=1",
        "NO_COLOR=1 CLICOLOR_FORCE=1",
        "DFS_LOG=%%%=",
        "RUST_LOG=trace RUST_BACKTRACE=full",
        "DFS_NAMENODE=$DFS_NAMENODE,",
        "\"DFS_NAMENODE= $DFS_NAMENODE\"",
    ] {
        shell.ok(&format!("rm -f got; env {variables} dfs get /f got && cmp f got")).await?;
    }
    for size in ["rows 1 cols 1", "rows 0 cols 0", "rows 3 cols 20", "rows 1000 cols 1000"] {
        let calls = "dfs get -f /f got && dfs report && dfs ls -l / && dfs help && dfs put --help";
        let said = shell.ok(&format!("script -qec 'stty {size}; {calls}' /dev/null </dev/null")).await?;
        ensure!(!said.contains("panicked"), "a terminal of {size}: {said}");
    }
    // Where a person stands does not matter, if the target is elsewhere.
    shell.ok("mkdir gone && cd gone && rmdir ../gone && dfs get -f /f ../got && cd .. && cmp f got").await?;
    for (umask, mode) in [("077", "600"), ("022", "644"), ("000", "666")] {
        shell.ok(&format!("rm -f g; (umask {umask}; dfs get /f g) && test $(stat -c %a g) = {mode}")).await?;
        shell.ok(&format!("(umask {umask}; dfs mkdir /m && dfs put f /m/f && dfs touch /m/t)")).await?;
        let modes = shell.modes("/m").await?;
        ensure!(modes.values().all(|mode| *mode == 0o755 || *mode == 0o644), "umask {umask}: {modes:?}");
        shell.ok("dfs rm -r /m").await?;
    }
    Ok(())
}

/// Many transfers at once share the descriptors that there are.
pub(super) async fn few_descriptors(shell: &Shell) -> Result<()> {
    shell.ok("mkdir t && for i in $(seq 200); do echo $i > t/$i; done").await?;
    shell.ok("(ulimit -n 64; dfs put -r -j 64 t /)").await?;
    shell.ok("(ulimit -n 64; dfs put -r -f -j 64 t /)").await?;
    shell.ok("(ulimit -n 64; dfs get -r -j 100 /t back) && diff -r t back").await?;
    shell.prints("dfs ls /t | grep -c COPYING; true", "0").await
}

/// A listing of several pages has what stays exactly once and in order, whatever comes and goes meanwhile.
pub(super) async fn changes_under_a_listing(shell: &Shell) -> Result<()> {
    shell.ok("dfs mkdir /t && seq -f '/t/k%05g' 1 2 5000 | xargs dfs mkdir && dfs ls /t > all").await?;
    shell.prints("wc -l < all; sort all | uniq -d | wc -l; LC_ALL=C sort -c all", "2500 0").await?;
    let others = "while [ ! -e enough ]; do for i in 00002 01500 03000 04998; do \
                  dfs mkdir /t/k$i; dfs mv /t/k$i /t/m$i; dfs mv /t/m$i /t/a$i; dfs rm -r /t/a$i; done; \
                  touch changed; done & until [ -e changed ]; do sleep 0.1; done";
    let looks =
        "for run in 1 2 3 4 5 6 7 8; do dfs ls /t | grep '^k[0-9]*[13579]/$' | diff - all || failed=1; done";
    shell.ok(&format!("{others}; {looks}; touch enough; wait; [ -z \"$failed\" ]")).await?;
    Ok(())
}

/// Three people start the same cluster at the same time; a record names the process of somebody else.
pub(super) async fn company(shell: &Shell) -> Result<()> {
    let up = "dfs local up --free-ports --data c";
    let together = format!(
        "for i in 1 2 3; do {up} > up$i 2>&1 & pids+=\" $!\"; done; for p in $pids; do wait $p || exit; done"
    );
    let tried = async {
        shell.ok(&together).await?;
        let running = "ps -eo args | grep -c \"^[^ ]*/dfs-[a-z]*node run .*$PWD/c/\"";
        shell.prints(running, "4").await?;
        shell.ok("dfs local down --data c").await?;
        // As after a restart of the machine: the numbers belong to others now.
        let taken = "sleep 600 & stranger=$!; \
                     sed -i \"s/\\\"pid\\\": *[0-9]*/\\\"pid\\\": $stranger/\" c/cluster.json";
        let left_alone = "kill -0 $stranger && kill $stranger";
        shell
            .ok(&format!("{taken}; dfs local status --data c; dfs local down --data c; {left_alone}"))
            .await?;
        shell.ok(&format!("{taken}; {up} && {left_alone}")).await?;
        shell.prints(running, "4").await
    };
    let tried = tried.await;
    let ended = shell.ok("dfs local down --data c").await;
    tried?;
    ended.map(|_| ())
}

/// A cluster whose addresses are all of version 6.
pub(super) async fn version_six(shell: &Shell) -> Result<()> {
    let alone = "unshare --user --map-root-user --net";
    let possible =
        shell.run(&format!("{alone} sh -c 'ip link set lo up && test -e /proc/net/if_inet6'")).await?;
    if possible.status != Some(0) {
        #[allow(clippy::print_stderr, reason = "tests say what they leave out")]
        {
            eprintln!("skipped: there can be no network of its own with IPv6 here: {}", possible.stderr);
        }
        return Ok(());
    }
    let script = "ip link set lo up
        export DFS_NAMENODE=[::1]:9000
        dfs-namenode run --dir nn --format-if-empty --listen $DFS_NAMENODE --http [::1]:0 2>nn.log & pids=$!
        for i in 1 2 3; do
            dfs-datanode run --volume v$i --namenode $DFS_NAMENODE --listen [::1]:0 --http [::1]:0 2>v$i.log & pids+=\" $!\"
        done
        trap 'kill $pids; wait' EXIT
        head -c 3000000 /dev/urandom > six
        until dfs put -f --replication 3 six /six 2>error; do
            [ $SECONDS -lt 60 ] || { cat error; exit 1; }
        done
        dfs get /six back && cmp six back || exit
        node=$(dfs admin node list -o json | grep -o '\"address\": *\"[^\"]*\"' | head -1 | cut -d'\"' -f4)
        case $node in '[::1]:'*) ;; *) echo \"a node is shown as $node\"; exit 1;; esac
        dfs admin node maintenance $node --for 1m && dfs admin node recommission $node || exit
        dfs admin namenodes | grep -F \"$DFS_NAMENODE\" || exit
        for wrong in ::1:9000 '[::1]' '[]:1'; do
            dfs --namenode $wrong ls /; [ $? = 2 ] || { echo \"$wrong is taken for an address\"; exit 1; }
        done";
    std::fs::write(shell.local("six.sh"), script)?;
    shell.ok(&format!("{alone} bash six.sh")).await?;
    Ok(())
}
