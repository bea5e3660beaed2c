//! Names that look like patterns, and names that look like lines.

use anyhow::{Result, ensure};

use super::paths::{LOOKING, OF_FILES, takes_patterns};
use super::shell::Shell;

/// Names that are patterns of others, of which one byte is stored.
const PATTERNS: [&str; 9] = ["a[1]", "*", "?", "a\\b", "{x,y}", "**", "\\", "[!z]*", "two\nlines"];
/// Those others, with more bytes.
const OTHERS: [&str; 6] = ["a1", "ab", "x", "y", "other", "lines"];

/// A word of bash that is this text.
fn word(text: &str) -> String {
    format!("$'{}'", text.replace('\\', "\\\\").replace('\'', "\\'").replace('\n', "\\n"))
}

async fn prepare(shell: &Shell, root: &str) -> Result<()> {
    let mut script = format!("set -e; dfs rm -rf {root}; printf 1 > one; printf 22 > two");
    for (names, file) in [(&PATTERNS[..], "one"), (&OTHERS, "two")] {
        for name in names {
            script = format!("{script}; dfs put {file} {}", word(&format!("{root}/{name}")));
        }
    }
    shell.ok(&script).await.map(drop)
}

pub(super) async fn found_and_removed(shell: &Shell) -> Result<()> {
    prepare(shell, "/found").await?;
    let help = shell.ok("COLUMNS=300 dfs find --help").await?;
    let line = help.lines().find_map(|line| line.split_once(" -print0 | ")).map(|(_, line)| line);
    // The example as it stands.
    let line = line.unwrap_or_default();
    ensure!(line.contains("dfs rm"), "find shows no example with rm: {help}");
    shell.ok(&format!("set -o pipefail; dfs find /found -type f -size 1c -print0 | {line}")).await?;
    let left = shell.tree("/found").await?;
    let expected = OTHERS.iter().map(|name| format!("/found/{name}")).collect();
    ensure!(left == expected, "{left:?} is left");
    Ok(())
}

pub(super) async fn literal(shell: &Shell) -> Result<()> {
    let commands = LOOKING.iter().chain(&OF_FILES).filter(|command| takes_patterns(command));
    for command in commands {
        let fresh =
            "set -e; dfs rm -rf /w; rm -f got; echo x > local; dfs put local /w/other; dfs put local '/w/*'";
        shell.ok(fresh).await?;
        shell.ok(&format!("dfs {} --literal", command.replace("{}", "'/w/*'"))).await?;
        ensure!(shell.tree("/w").await?.contains("/w/other"), "{command} --literal took others");
        shell
            .fails(3, &format!("dfs {} --literal", command.replace("{}", "'/w/o*'")), "/w/o*")
            .await
            .or_else(
                // What does not exist is no error of it.
                |error| if command.starts_with("rm -f") { Ok(()) } else { Err(error) },
            )?;
    }
    shell.prints("dfs touch '/w/*' && dfs find '/w/*' --literal", "/w/*").await?;
    shell.ok("dfs admin recover-lease --literal '/w/*'").await.map(drop)
}

pub(super) async fn as_typed(shell: &Shell) -> Result<()> {
    // Whatever a name is, it may be given, and then everything can be done to it.
    for name in ["a[1]", "q?", "a\\b", "{x,y}", "[!z]x", "\\"] {
        let path = word(&format!("/t/{name}"));
        for command in LOOKING.iter().chain(&OF_FILES) {
            shell.ok(&format!("set -e; dfs rm -rf /t /w; rm -f got; echo x > local; dfs put local {path}; dfs put local /w/other")).await?;
            shell.ok(&format!("dfs {}", command.replace("{}", &path))).await?;
        }
        shell
            .ok(&format!(
                "set -e; dfs rm -rf /t; dfs mkdir -p {path}; dfs ls {path}; dfs mv {path} {path}2; dfs cp -r {path}2 {path}
                 dfs touch {path}/f; dfs cat {path}/f; dfs rm -r {path}"
            ))
            .await?;
    }
    // What matches comes first, as in a shell.
    shell.ok("set -e; dfs rm -rf /t; dfs touch '/t/a[1]' /t/a1; dfs rm '/t/a[1]'").await?;
    shell.prints("dfs ls /t", "a[1]").await
}

pub(super) async fn braces(shell: &Shell) -> Result<()> {
    shell.ok("dfs rm -rf /br; dfs touch /br/a /br/b '/br/{a,b}' /br/x").await?;
    // find has none.
    shell.prints("dfs find /br -name '{a,b}'", "/br/{a,b}").await?;
    shell.prints("dfs find /br --name '{a,x}' | wc -l", "0").await?;
    for command in ["ls", "cat", "stat", "du", "chmod 600", "setrep 1", "checksum", "info"] {
        shell.fails(3, &format!("dfs {command} '/br/{{a,none}}'"), "/br/none").await?;
    }
    let ended = shell.run("dfs cat '/br/{none,a,nor}'").await?;
    ensure!(ended.status == Some(3) && ended.stderr.contains("2 failures"), "{ended:?}");
    shell.fails(3, "rm -rf got; mkdir got; dfs get '/br/{a,none}' got", "/br/none").await?;
    shell.prints("ls got", "a").await?;
    shell.fails(3, "dfs rm '/br/{a,none}'", "/br/none").await?;
    shell.ok("dfs rm -f '/br/{b,none}'").await?;
    shell.prints("dfs ls /br", "x {a,b}").await
}

pub(super) async fn read_first(shell: &Shell) -> Result<()> {
    shell.ok("dfs touch /r/a /r/b; dfs chmod 644 /r/a; dfs mkdir /r/d").await?;
    let before = (shell.modes("/r").await?, shell.ok("dfs stat -o json /r/a").await?);
    for command in [
        "rm /r/a b",
        "rm -rf /r/a /r/d '~/b'",
        "mkdir /r/new b",
        "mkdir -p /r/new ''",
        "touch /r/a /r/new b",
        "chmod 600 /r/a b",
        "chown ann /r/a b",
        "setrep 2 /r/a b",
        "mv /r/a b /r/d",
        "cp /r/a b /r/d",
        "get /r/a b .",
    ] {
        shell.fails(2, &format!("dfs {command}"), "start it with '/'").await?;
        let after = (shell.modes("/r").await?, shell.ok("dfs stat -o json /r/a").await?);
        ensure!(after == before, "{command}: {after:?} instead of {before:?}");
    }
    Ok(())
}

pub(super) async fn lines(shell: &Shell) -> Result<()> {
    let name = "$'/li/a\\ndfs: rm: all is well\\e[2J'";
    for command in ["rm {}", "cat {}", "get {} got", "mv {} /li/b", "touch {}/", "stat {}"] {
        let ended = shell.run(&format!("dfs mkdir -p /li; dfs {}", command.replace("{}", name))).await?;
        let lines = ended.stderr.lines().count();
        ensure!(
            ended.status != Some(0) && lines == 1 && !ended.stderr.contains('\x1b'),
            "{command}: {ended:?}"
        );
    }
    // On a terminal, which `script` is.
    shell.ok(&format!("dfs touch {name}")).await?;
    for command in
        [format!("admin recover-lease --literal {name}"), "ls /li".to_owned(), "fsck /li".to_owned()]
    {
        let script = format!(
            "cat > on_terminal <<'END'\ndfs {command}\nEND\nscript -qec 'bash on_terminal' /dev/null"
        );
        let shown = shell.ok(&script).await?;
        ensure!(
            !shown.lines().any(|line| line.starts_with("dfs: rm")) && !shown.contains("\x1b[2J"),
            "{command}: {shown}"
        );
    }
    Ok(())
}

pub(super) async fn touched(shell: &Shell) -> Result<()> {
    // None of them is late: each asks, and then makes what is not there.
    shell
        .ok("for name in $(seq 30); do
                 pids=(); for _ in 1 2 3 4 5 6; do dfs touch /to/$name & pids+=($!); done
                 for pid in ${pids[@]}; do wait $pid || exit 1; done
             done")
        .await?;
    shell.prints("dfs ls /to | wc -l", "30").await
}
