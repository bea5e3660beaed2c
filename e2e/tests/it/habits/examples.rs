//! Every example of every `--help` and of the documentation, run as it stands.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use dfs_client::CreateOptions;
use dfs_local::Options;
use dfs_types::{FsPath, Mode};
use futures_util::TryStreamExt;
use tokio::io::AsyncWriteExt;

use super::shell::Shell;

/// Pages with examples, from the top of the repository.
const PAGES: [&str; 6] = [
    "README.md",
    "docs/operations/datanodes.md",
    "docs/operations/kubernetes.md",
    "docs/operations/namenodes.md",
    "docs/operations/namespace.md",
    "docs/reference/admin-commands.md",
];

/// Commands of other programs, by how they begin, and where they are tried instead.
const OTHERS: [(&str, &str); 7] = [
    ("make", "the targets of the Makefile are what the CI runs"),
    ("helm", "needs a Kubernetes cluster: e2e/kubernetes"),
    ("kubectl", "needs a Kubernetes cluster: e2e/kubernetes"),
    ("curl", "needs host names of NameNodes"),
    ("export", "sets a variable for what follows"),
    ("dfs-namenode", "needs a directory of the system: namenode/tests and dfs local do the same elsewhere"),
    ("dfs-datanode", "needs a directory of the system: dfs local does the same elsewhere"),
];

/// Examples that can't be run here, and why.
const NOT_HERE: [(&str, &str); 18] = [
    ("dfs --cluster NAME --user dfs put file /", "needs a Kubernetes cluster: e2e/kubernetes"),
    ("dfs --cluster main -n prod ls /", "needs a Kubernetes cluster: e2e/kubernetes"),
    ("dfs cluster events main -n prod", "needs a Kubernetes cluster: e2e/kubernetes"),
    ("dfs cluster events main --watch", "needs a Kubernetes cluster: e2e/kubernetes"),
    ("dfs cluster list", "needs a Kubernetes cluster: e2e/kubernetes"),
    ("dfs cluster list -A -o json", "needs a Kubernetes cluster: e2e/kubernetes"),
    ("dfs cluster status main -n prod", "needs a Kubernetes cluster: e2e/kubernetes"),
    ("dfs cluster status main --wait --timeout 2m", "needs a Kubernetes cluster: e2e/kubernetes"),
    ("dfs local up", "takes ports that may be taken on this machine"),
    ("dfs local up --namenodes 3", "takes ports that may be taken on this machine"),
    ("dfs local up --datanodes 5 --data /tmp/five --namenode-port 9500", "takes ports that may be taken"),
    ("dfs local up --datanodes 4 --topology /a/1,/a/2,/b/1,/b/2", "takes ports that may be taken"),
    ("dfs admin node lost dn-4:9001", "asks a person, and wants a node that is dead"),
    ("dfs admin node forget dn-4:9001", "asks a person, and wants a node that is dead"),
    ("dfs admin node forget dn-4:9001 --yes", "wants a node that is dead"),
    ("dfs admin quarantine delete", "asks a person"),
    ("dfs admin quarantine delete 1073741901 1073741902", "needs replicas that a restore left behind"),
    ("dfs put -r ~/photos /", "its folder is the person's own: 'put -r ./photos' is the same"),
];

/// What an example needs beside the prepared tree.
const BEFORE: [(&str, &str); 15] = [
    ("dfs getfattr -d /a.txt", "dfs setfattr -n user.origin -v x /a.txt"),
    ("dfs undelete /docs/report.pdf", "dfs rm /docs/report.pdf"),
    (
        "dfs concat /data/all /data/part-1 /data/part-2",
        "for part in all part-1 part-2; do dfs put file /data/$part; done",
    ),
    ("dfs append today.log /logs/all.log", "echo x > today.log"),
    ("dfs truncate 64MiB /data/a.bin", "head -c 65M /dev/zero | dfs put - /data/a.bin"),
    ("dfs getfattr -n user.origin -e hex /a.txt", "dfs setfattr -n user.origin -v x /a.txt"),
    ("dfs setfattr -x user.origin /a.txt", "dfs setfattr -n user.origin -v x /a.txt"),
    ("dfs mkdir /data", "dfs rm -r /data"),
    ("dfs mv /a.txt /b.txt /docs", "dfs touch /b.txt"),
    ("dfs put report.pdf /docs/", "dfs rm /docs/report.pdf"),
    ("dfs get /docs/report.pdf .", "rm report.pdf"),
    ("tar c . | dfs put - /backup.tar", "dfs rm /backup.tar"),
    ("dfs completions zsh > ~/.zfunc/_dfs", "mkdir -p ~/.zfunc"),
    ("dfs completions fish > ~/.config/fish/completions/dfs.fish", "mkdir -p ~/.config/fish/completions"),
    ("dfs admin remove-namenode 3", "dfs admin transfer-leader --to 1 || true"),
];

/// What is to be put right again behind an example.
const AFTER: [(&str, &str); 3] = [
    ("dfs admin node", "dfs admin node recommission dn-4:9001"),
    ("dfs admin settings set umask", "dfs admin settings reset umask"),
    ("dfs local up", "dfs local down"),
];

/// Files of the prepared tree.
const FILES: [&str; 16] = [
    "/a.bin",
    "/a.txt",
    "/current",
    "/data/2025/x",
    "/docs/report.pdf",
    "/home/ann/letter",
    "/logs/all.log",
    "/logs/2025-01/app.log",
    "/logs/2025-02/app.log",
    "/logs/today",
    "/logs/today.log",
    "/new",
    "/photos/cat.jpg",
    "/shared/x",
    "/tmp/a.txt",
    "/tmp/b.log",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_example_can_be_run() -> Result<()> {
    let shell = Shell::with(Options { namenodes: 3, datanodes: 4, ..Options::default() }).await?;
    let mut examples = BTreeSet::new();
    of_help(&shell, "dfs", &mut examples).await?;
    ensure!(examples.len() >= 50, "the help has only {} examples", examples.len());
    let before = examples.len();
    for page in PAGES {
        of_page(page, &mut examples)?;
    }
    ensure!(examples.len() >= before + 10, "the pages have only {} more", examples.len() - before);
    for (listed, _) in NOT_HERE.iter().chain(&BEFORE) {
        ensure!(examples.contains(*listed), "there is no such example any more: {listed}");
    }
    // A member that has left the group does not come back: last.
    let mut examples: Vec<String> = examples.into_iter().collect();
    examples.sort_by_key(|example| example.contains("remove-namenode"));
    let node = Node::last(&shell).await?;
    let mut failed = Vec::new();
    for example in examples {
        if NOT_HERE.iter().any(|(listed, _)| *listed == example) {
            continue;
        }
        if let Err(error) = run(&shell, &node, &example).await {
            failed.push(format!("{error:#}"));
        }
    }
    ensure!(failed.is_empty(), "{} examples fail:\n{}", failed.len(), failed.join("\n"));
    Ok(())
}

/// A DataNode that stands for those of the examples.
struct Node {
    id: String,
    address: String,
}

impl Node {
    async fn last(shell: &Shell) -> Result<Self> {
        let list: serde_json::Value = serde_json::from_str(&shell.ok("dfs admin node list -o json").await?)?;
        let node = list["nodes"].as_array().and_then(|nodes| nodes.last()).context("a DataNode")?;
        let text = |field: &str| node[field].as_str().map(str::to_owned).context("a field of the node");
        Ok(Self { id: text("id")?, address: text("address")? })
    }

    fn stands_in(&self, script: &str) -> String {
        script
            .replace("dn-4:9001", &self.address)
            .replace("3f2a", &self.id)
            .replace(" /backups/", " backups/")
    }
}

async fn run(shell: &Shell, node: &Node, example: &str) -> Result<()> {
    prepare(shell).await.context("the prepared tree")?;
    let home = "export HOME=$PWD/home; cd home/work";
    for (_, first) in BEFORE.iter().filter(|(of, _)| *of == example) {
        shell.ok(&format!("{home}; {first}")).await?;
    }
    let outcome = shell.ok(&format!("set -o pipefail; {home}; {}", node.stands_in(example))).await;
    for (_, last) in AFTER.iter().filter(|(of, _)| example.starts_with(of)) {
        shell.ok(&format!("{home}; {}", node.stands_in(last))).await?;
    }
    outcome.map(drop)
}

/// Makes the local folder and the tree of the cluster anew.
async fn prepare(shell: &Shell) -> Result<()> {
    shell
        .ok("rm -rf home && mkdir -p home/work/photos home/work/logs home/work/backups && cd home/work &&
             echo x > report.pdf && echo x > photos/cat.jpg && echo x > file && tar cf ../backup.tar report.pdf")
        .await?;
    let tar = std::fs::read(shell.local("home/backup.tar"))?;
    let dfs = &shell.dfs;
    let entries: Vec<_> = dfs.list(&FsPath::root()).try_collect().await?;
    for entry in entries {
        dfs.delete(&FsPath::root().join(&entry.name)?, true).await?;
    }
    for (path, content) in
        FILES.map(|path| (path, &b"one line\n"[..])).into_iter().chain([("/backup.tar", &tar[..])])
    {
        let options = CreateOptions { parents: true, ..CreateOptions::default() };
        let mut file = dfs.create(&FsPath::parse(path)?, options).await?;
        file.write_all(content).await?;
        file.close().await?;
    }
    dfs.mkdir_all(&FsPath::parse("/tmp/old/deep")?, Mode::DIRECTORY).await?;
    Ok(())
}

/// The examples of a command and of those below it.
async fn of_help(shell: &Shell, command: &str, examples: &mut BTreeSet<String>) -> Result<()> {
    // Wide enough that no line is broken.
    let help = shell.ok(&format!("COLUMNS=300 {command} --help")).await?;
    if let Some((_, after)) = help.split_once("Examples:\n") {
        for line in after.lines().take_while(|line| line.starts_with("  ")) {
            // Two spaces or more separate it from what is said of it.
            let line = line.trim_start();
            examples.insert(line.split_once("  ").map_or(line, |(example, _)| example).trim_end().to_owned());
        }
    }
    let Some((_, commands)) = help.split_once("Commands:\n") else { return Ok(()) };
    for line in commands.lines().take_while(|line| !line.is_empty()) {
        let name = line.strip_prefix("  ").filter(|name| !name.starts_with(' '));
        if let Some(name) =
            name.and_then(|name| name.split_whitespace().next()).filter(|name| *name != "help")
        {
            Box::pin(of_help(shell, &format!("{command} {name}"), examples)).await?;
        }
    }
    Ok(())
}

/// The examples in a page's blocks of shell commands.
fn of_page(page: &str, examples: &mut BTreeSet<String>) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(page);
    let text = std::fs::read_to_string(&path).with_context(|| page.to_owned())?.replace("\\\n", " ");
    let mut block = None;
    for line in text.lines() {
        block = match (block, line.strip_prefix("```")) {
            (None, Some(kind)) => Some(kind),
            (Some(_), Some(_)) => None,
            (block, None) => block,
        };
        let command = match block {
            Some("sh") => line,
            // The other lines are what it prints.
            Some("console") => line.strip_prefix("$ ").unwrap_or_default(),
            Some(_) | None => continue,
        };
        let command = command.split_once(" #").map_or(command, |(command, _)| command).trim();
        let command = command.strip_prefix("bin/").unwrap_or(command);
        let first = command.split_whitespace().next().unwrap_or_default();
        if first == "dfs" {
            examples.insert(command.to_owned());
        } else if !first.is_empty() && !first.starts_with("```") && !first.starts_with('#') {
            let known = OTHERS.iter().any(|(other, _)| *other == first);
            ensure!(known, "{page}: who tries '{command}'?");
        }
    }
    Ok(())
}
