//! One reading of remote paths by all commands.

use anyhow::{Result, ensure};

use super::shell::Shell;

/// Commands about one file or directory; `{}` is its path.
pub(super) const LOOKING: [&str; 8] =
    ["ls {}", "ls -d {}", "stat {}", "du {}", "find {}", "fsck {}", "setrep 2 {}", "chmod u+r {}"];
/// Commands about a file.
pub(super) const OF_FILES: [&str; 14] = [
    "cat {}",
    "tail {}",
    "checksum {}",
    "info {}",
    "get {} got",
    "get {} -",
    "cp {} /w/copy",
    "mv {} /w/moved",
    "rm {}",
    "rm -f {}",
    "touch {}",
    "chown ann {}",
    "put -f local {}",
    "cp -f /w/other {}",
];
/// Commands that a pattern for names is of no use to.
const NO_PATTERN: [&str; 3] = ["touch", "put", "cp -f"];

/// Whether a command of these takes patterns.
pub(super) fn takes_patterns(command: &str) -> bool {
    !NO_PATTERN.iter().any(|known| command.starts_with(known))
}

pub(super) async fn slashes(shell: &Shell) -> Result<()> {
    let fresh =
        "dfs rm -rf /s; dfs mkdir -p /s/d1/in /s/d2; echo x | dfs put - /s/file; echo y | dfs put - /s/d1/y";
    shell.ok(fresh).await?;
    shell.prints("dfs ls -d '/s/*/'", "/s/d1/ /s/d2/").await?;
    shell.prints("dfs ls -d '/s/*/*/'", "/s/d1/in/").await?;
    shell.prints("dfs find '/s/*/' --type f", "/s/d1/y").await?;
    shell.ok("dfs rm -r '/s/*/'").await?;
    shell.prints("dfs find /s --type f", "/s/file").await?;
    // A file is no directory, whatever is to be done with it.
    shell.ok(&format!("{fresh}; echo local > local; dfs put -f local /w/other")).await?;
    for name in ["/s/file/", "/s/file//", "/s/file/.", "'/s/f*/'", "'/s/{file,none}/'"] {
        for command in LOOKING.iter().chain(&OF_FILES) {
            if name.contains(['*', '{']) && !takes_patterns(command) {
                continue;
            }
            // `.` and `..` are never removed or moved, whatever they are.
            let no_name = name.ends_with('.') && (command.starts_with("rm") || command.starts_with("mv"));
            let status = if no_name && command.starts_with("rm") { 2 } else { 1 };
            let says = if status == 2 { "'.'" } else { "is a file, not a directory" };
            shell.fails(status, &format!("dfs {}", command.replace("{}", name)), says).await?;
        }
    }
    shell.fails(1, "dfs mkdir /s/file/", "exists").await?;
    shell.fails(1, "dfs mkdir -p /s/file/", "exists").await?;
    shell.fails(1, "dfs mv /s/d2 /s/file/", "is a file, not a directory").await?;
    shell.fails(1, "mkdir d; dfs put -r d /s/file/", "is a file").await?;
    shell.fails(1, "dfs cp -r /s/d1 /s/file/", "is a file, not a directory").await?;
    shell.prints("dfs cat /s/file; ls got 2>/dev/null | wc -l", "x 0").await?;
    // A directory may have its slash everywhere.
    shell.ok("dfs mkdir /s/d3/ && dfs touch /s/d3/ && dfs mv /s/d3/ /s/d4/ && dfs rm -r /s/d4/ && dfs chmod 700 /s/d2/").await?;
    shell.fails(2, "dfs rm -r /s/d1/.", "'.'").await?;
    shell.fails(2, "dfs rm -rf /s/d1/..", "'..'").await?;
    shell.fails(2, "dfs rm -rf /s/..", "'..'").await?;
    shell.fails(2, "dfs rm -rf /", "root").await?;
    shell.fails(2, "dfs mv /s/d1/. /s/d9", "name").await?;
    shell.prints("dfs ls /s", "d1/ d2/ file").await
}

pub(super) async fn forms(shell: &Shell) -> Result<()> {
    let fresh = "dfs rm -rf /w; rm -f got; echo local > local; dfs put local /w/other; dfs put local /w/d/f";
    shell.ok(fresh).await?;
    for form in [
        "/w/d/f",
        "//w///d//f",
        "/w/./d/./f",
        "/w/x/../d/f",
        "/../w/d/f",
        "dfs:///w/d/f",
        "dfs:/w/d/f",
        "hdfs:///w/d/f",
    ] {
        for command in LOOKING.iter().chain(&OF_FILES) {
            let changes =
                ["mv", "rm", "cp {}", "get {} got"].iter().any(|change| command.starts_with(change));
            if changes {
                shell.ok(fresh).await?;
            }
            shell.ok(&format!("dfs {}", command.replace("{}", form))).await?;
            if command.starts_with("rm") || command.starts_with("mv") {
                ensure!(!shell.tree("/w").await?.contains("/w/d/f"), "{command} of {form} did nothing");
                shell.ok(fresh).await?;
            }
        }
        // As a target, and of a directory.
        let directory = form.trim_end_matches("/f");
        shell
            .ok(&format!(
                "dfs rm -rf /w/d; dfs mkdir -p {directory}; dfs mkdir {directory}/sub/; dfs put local {directory}/sub
                 dfs put local {directory}/f; dfs cp {form} {directory}/sub/g; dfs mv {directory}/sub/g {directory}/h"
            ))
            .await?;
        let tree = shell.tree("/w/d").await?;
        let expected = ["/w/d/f", "/w/d/h", "/w/d/sub/", "/w/d/sub/local"].map(str::to_owned);
        ensure!(tree == expected.into(), "{form}: {tree:?}");
    }
    // What no command takes, all refuse in the same words.
    for (form, says) in [
        ("w/d/f", "start it with '/'"),
        ("./f", "start it with '/'"),
        ("'~/f'", "start it with '/'"),
        ("''", "start it with '/'"),
        ("hdfs://nn:9000/w/d/f", "--namenode"),
        ("s3://w/d/f", "start it with '/'"),
    ] {
        let all = LOOKING.iter().chain(&OF_FILES).copied();
        for command in
            all.chain(["mkdir {}", "mkdir -p {}", "mv /w/other {}", "put local {}", "get -r {} got"])
        {
            shell.fails(2, &format!("dfs {}", command.replace("{}", form)), says).await?;
        }
    }
    Ok(())
}
