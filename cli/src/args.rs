//! The command line as a whole.

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::cmd;
use crate::context::Context;
use crate::exit::Outcome;
use crate::global::Global;

const EXAMPLES: &str = "\
Examples:
  dfs put -r ./photos /home/ann         copy a folder into the cluster
  dfs ls -lh /home/ann                  look at it
  dfs get -r '/logs/2025-*' .           copy what matches a pattern back
  dfs cat /a.txt | wc -l                use a file in a pipe
  dfs fsck /                            is every chunk where it should be?
  dfs local up                          a cluster on this machine, to try things out
  dfs --cluster main -n prod ls /       a cluster on Kubernetes, by nothing but a kubeconfig

Exit status: 0 done; 1 failed, in part or as a whole; 2 wrong command line; 3 no such file or node;
4 the cluster can't be reached; 130 interrupted; 141 the reader of the output is gone.";

/// `dfs` as it is typed.
#[derive(Debug, Parser)]
#[command(name = "dfs", version, about = "Works with the files of a dfs cluster", after_help = EXAMPLES)]
#[command(propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Copies local files or folders into the cluster.
    Put(cmd::put::Args),
    /// Copies files or folders out of the cluster.
    Get(cmd::get::Args),
    /// Lists files and directories.
    Ls(cmd::ls::Args),
    /// Shows a file's chunks and where their replicas are.
    Info(cmd::info::Args),
    /// Removes files and directories.
    Rm(cmd::rm::Args),
    /// Writes files to standard output.
    Cat(cmd::cat::Args),
    /// Makes directories.
    Mkdir(cmd::mkdir::Args),
    /// Renames or moves files and directories.
    Mv(cmd::mv::Args),
    /// Copies files within the cluster.
    Cp(cmd::cp::Args),
    /// Shows how much space files and directories take.
    Du(cmd::du::Args),
    /// Shows how much space the cluster has.
    Df(cmd::df::Args),
    /// Shows everything known of a file or directory.
    Stat(cmd::stat::Args),
    /// Shows the end of a file.
    Tail(cmd::tail::Args),
    /// Writes local files to the end of a file.
    Append(cmd::append::Args),
    /// Shortens files.
    Truncate(cmd::truncate::Args),
    /// Moves the contents of files to the end of another.
    Concat(cmd::concat::Args),
    /// Makes empty files or sets times to now.
    Touch(cmd::touch::Args),
    /// Sets how many replicas each chunk shall have.
    Setrep(cmd::setrep::Args),
    /// Limits how much directories may take.
    Quota(cmd::quota::Args),
    /// Brings back what was removed.
    Undelete(cmd::undelete::Args),
    /// Shows and empties the trash, and says how long it keeps what was removed.
    Trash(cmd::trash::Args),
    /// Changes permission bits.
    Chmod(cmd::chmod::Args),
    /// Changes owner and group.
    Chown(cmd::chown::Args),
    /// Shows access control lists.
    Getfacl(cmd::getfacl::Args),
    /// Changes access control lists.
    Setfacl(cmd::setfacl::Args),
    /// Shows extended attributes.
    Getfattr(cmd::getfattr::Args),
    /// Sets and removes extended attributes.
    Setfattr(cmd::setfattr::Args),
    /// Prints a checksum of a file's contents.
    Checksum(cmd::checksum::Args),
    /// Finds files and directories by name, type, size or age.
    Find(cmd::find::Args),
    /// Shows the cluster's nodes and its health.
    Report(cmd::report::Args),
    /// Checks that every chunk has its replicas.
    Fsck(cmd::fsck::Args),
    /// Shows, enters or leaves safe mode.
    Safemode(cmd::safemode::Args),
    /// Prints a script that completes commands in a shell.
    Completions(cmd::completions::Args),
    /// Evens out how full the DataNodes are.
    Balancer(cmd::balancer::Args),
    /// Shows and changes what NameNodes and DataNodes are used for; makes backups.
    Admin(cmd::admin::Args),
    /// Shows the clusters on Kubernetes.
    Cluster(cmd::cluster::Args),
    /// Runs a cluster on this machine.
    Local(cmd::local::Args),
}

impl Command {
    /// The word that was typed.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Put(_) => "put",
            Self::Get(_) => "get",
            Self::Ls(_) => "ls",
            Self::Info(_) => "info",
            Self::Rm(_) => "rm",
            Self::Cat(_) => "cat",
            Self::Mkdir(_) => "mkdir",
            Self::Mv(_) => "mv",
            Self::Cp(_) => "cp",
            Self::Du(_) => "du",
            Self::Df(_) => "df",
            Self::Stat(_) => "stat",
            Self::Tail(_) => "tail",
            Self::Append(_) => "append",
            Self::Truncate(_) => "truncate",
            Self::Concat(_) => "concat",
            Self::Touch(_) => "touch",
            Self::Setrep(_) => "setrep",
            Self::Quota(_) => "quota",
            Self::Undelete(_) => "undelete",
            Self::Trash(_) => "trash",
            Self::Chmod(_) => "chmod",
            Self::Chown(_) => "chown",
            Self::Getfacl(_) => "getfacl",
            Self::Setfacl(_) => "setfacl",
            Self::Getfattr(_) => "getfattr",
            Self::Setfattr(_) => "setfattr",
            Self::Checksum(_) => "checksum",
            Self::Find(_) => "find",
            Self::Report(_) => "report",
            Self::Fsck(_) => "fsck",
            Self::Safemode(_) => "safemode",
            Self::Completions(_) => "completions",
            Self::Balancer(_) => "balancer",
            Self::Admin(_) => "admin",
            Self::Cluster(_) => "cluster",
            Self::Local(_) => "local",
        }
    }

    /// Does it. Commands that would leave something half done when interrupted watch `context.stop` themselves and
    /// clean up; the others are simply dropped.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        match self {
            Self::Put(args) => args.run(context).await,
            Self::Get(args) => args.run(context).await,
            Self::Cp(args) => args.run(context).await,
            Self::Touch(args) => args.run(context).await,
            Self::Append(args) => args.run(context).await,
            Self::Local(args) => args.run(context).await,
            Self::Ls(args) => context.until_stop(args.run(context)).await,
            Self::Info(args) => context.until_stop(args.run(context)).await,
            Self::Rm(args) => context.until_stop(args.run(context)).await,
            Self::Cat(args) => context.until_stop(args.run(context)).await,
            Self::Mkdir(args) => context.until_stop(args.run(context)).await,
            Self::Mv(args) => context.until_stop(args.run(context)).await,
            Self::Du(args) => context.until_stop(args.run(context)).await,
            Self::Df(args) => context.until_stop(args.run(context)).await,
            Self::Stat(args) => context.until_stop(args.run(context)).await,
            Self::Tail(args) => context.until_stop(args.run(context)).await,
            Self::Truncate(args) => context.until_stop(args.run(context)).await,
            Self::Concat(args) => context.until_stop(args.run(context)).await,
            Self::Setrep(args) => context.until_stop(args.run(context)).await,
            Self::Undelete(args) => context.until_stop(args.run(context)).await,
            Self::Trash(args) => context.until_stop(args.run(context)).await,
            Self::Quota(args) => context.until_stop(args.run(context)).await,
            Self::Chmod(args) => context.until_stop(args.run(context)).await,
            Self::Chown(args) => context.until_stop(args.run(context)).await,
            Self::Getfacl(args) => context.until_stop(args.run(context)).await,
            Self::Setfacl(args) => context.until_stop(args.run(context)).await,
            Self::Getfattr(args) => context.until_stop(args.run(context)).await,
            Self::Setfattr(args) => context.until_stop(args.run(context)).await,
            Self::Checksum(args) => context.until_stop(args.run(context)).await,
            Self::Find(args) => context.until_stop(args.run(context)).await,
            Self::Report(args) => context.until_stop(args.run(context)).await,
            Self::Fsck(args) => context.until_stop(args.run(context)).await,
            Self::Safemode(args) => context.until_stop(args.run(context)).await,
            Self::Balancer(args) => context.until_stop(args.run(context)).await,
            Self::Admin(args) => context.until_stop(args.run(context)).await,
            Self::Cluster(args) => context.until_stop(args.run(context)).await,
            Self::Completions(args) => args.run(&mut Cli::command()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::error::ErrorKind;
    use dfs_program::command_line;

    use super::*;
    use crate::habits;
    use crate::reach::Reach;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn variables_that_are_set_to_nothing_are_not_read() {
        let empty = |command| command_line::without_empty(command, &|_| Some(OsString::new()));
        assert!(!command_line::variables(&Cli::command()).is_empty());
        assert_eq!(command_line::variables(&empty(Cli::command())), []);
        let full = command_line::without_empty(Cli::command(), &|_| Some("x".into()));
        assert_eq!(command_line::variables(&full), command_line::variables(&Cli::command()));
    }

    #[test]
    fn every_command_is_typed_as_it_is_called() {
        let named: Vec<String> =
            Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
        for line in [
            "put -r -f -p -j 8 --replication 2 --chunk-size 1MiB --no-sync a b /c",
            "put - /c",
            "get -r -f -p /a /b .",
            "ls -lRh /",
            "ls -l -r -h -o json",
            "info /a",
            "rm -rf /a /b",
            "rm --literal /a[1]",
            "cat /a /b",
            "mkdir -p /a/b",
            "mv -f /a /b",
            "cp -r /a /b",
            "du -sh /",
            "df -h",
            "stat /a",
            "tail -c 10KiB -f /a",
            "touch /a",
            "append a - /b",
            "truncate 64MiB /a /b",
            "concat /a /b /c",
            "setrep -w 2 /a",
            "quota set --names 10 --space 1GiB /a /b",
            "quota clear --names /a",
            "quota show -h /a",
            "rm --skip-trash /a",
            "undelete /a /b",
            "trash list --files --all -h",
            "trash empty --all --yes",
            "trash keep /a 7d",
            "trash keep / default",
            "trash show /a",
            "chmod -R u+x,go-w /a",
            "chmod 644 /a",
            "chown -R ann:staff /a",
            "getfacl -R /a",
            "setfacl -R -m user:bob:rwx,default:user:bob:r-x /a /b",
            "setfacl -x user:bob,mask /a",
            "setfacl -b /a",
            "setfacl -k /a",
            "setfacl --set u::rw,g::r,o::- /a",
            "getfattr -R -d -e base64 /a",
            "getfattr --name user.a /a",
            "setfattr --name user.a --value -1 /a",
            "setfattr -x user.a /a",
            "checksum /a",
            "find / --name *.log --type f --size +1MiB",
            "report",
            "fsck / --files --chunks --locations",
            "safemode get",
            "completions bash",
            "admin namenodes -o json",
            "admin transfer-leader",
            "admin transfer-leader --to 3",
            "admin remove-namenode 2",
            "admin backup -f /tmp/backup",
            "admin node list -o wide",
            "admin node decommission dn-1:9001 3f2a --wait --timeout 1h",
            "admin node recommission dn-1:9001",
            "admin node maintenance dn-1:9001 --for 2h -w",
            "admin node lost 3f2a --yes",
            "admin quarantine list",
            "admin quarantine delete --yes",
            "admin quarantine delete 1073741825 1073741826 -y",
            "admin upgrade status -o json",
            "admin upgrade finalize --yes",
            "admin groups",
            "admin groups ann bob -o json",
            "admin superuser",
            "admin settings",
            "admin settings set umask 027",
            "admin settings set access-time-precision 1h",
            "admin settings reset umask",
            "admin recover-lease /logs/today",
            "admin recover-lease /logs/today --accept-loss --timeout 1m",
            "fsck / --list waiting",
            "balancer start --threshold 2.5% --bandwidth 64m --wait",
            "balancer status --wait --timeout 10m",
            "balancer stop",
            "fsck / --list missing,corrupt --list open",
            "local up --datanodes 4 --namenodes 3",
            "cluster list -A",
            "cluster status main -n prod -o json",
            "cluster events --cluster main --watch",
            "ls / --cluster main --namespace prod --context staging",
        ] {
            let words = std::iter::once("dfs").chain(line.split(' '));
            let cli = Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(cli.command.name(), line.split(' ').next().unwrap());
            assert!(named.iter().any(|name| name == cli.command.name()), "{line}");
        }
    }

    #[test]
    fn every_example_of_the_help_is_a_command_line() {
        let mut built = Cli::command();
        built.build();
        let (mut todo, mut count) = (vec![Cli::command()], 0);
        while let Some(command) = todo.pop() {
            todo.extend(command.get_subcommands().cloned());
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples = help.split_once("Examples:\n").map_or("", |(_, examples)| examples);
            for line in examples.lines().take_while(|line| line.starts_with("  ")) {
                // What is said of it, and other programs.
                let line = line.trim_start().split("  ").next().unwrap_or_default();
                let line = line.get(line.find("dfs ").expect("an example is of dfs")..).unwrap_or_default();
                let line = line.split([')', '|', '>']).next().unwrap_or_default();
                let words = line.split_whitespace().map(|word| word.trim_matches('\'').into()).collect();
                let parsed = habits::understood(&built, words).and_then(Cli::try_parse_from);
                assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
                count += 1;
            }
        }
        assert!(count >= 50, "only {count} examples were found");
    }

    /// Options that texts of one file offer in a command other than its own.
    fn commands_of(file: &str) -> Vec<&str> {
        match file {
            "transfer" => vec!["put", "get", "cp"],
            "remote_path" | "remote" | "glob" | "exit" | "reach" | "global" | "context" => vec![],
            "node" => vec!["admin node lost"],
            "recover_lease" => vec!["admin recover-lease"],
            "quarantine" => vec!["admin quarantine delete"],
            "confirm" => vec!["admin node lost", "admin quarantine delete", "admin upgrade finalize"],
            "upgrade" => vec!["admin upgrade finalize"],
            command => vec![command],
        }
    }

    /// Options that a line of source offers to people.
    fn offers(line: &str) -> impl Iterator<Item = &str> {
        let code = Some(line).filter(|line| !line.trim_start().starts_with(['/', '#'])).unwrap_or_default();
        ["add ", "give ", "by "].into_iter().flat_map(move |verb| code.match_indices(verb)).filter_map(
            |(at, _)| {
                let option = code[at..].split_whitespace().nth(1)?;
                let option = option.trim_end_matches(|last: char| !last.is_ascii_alphanumeric());
                option.starts_with('-').then_some(option)
            },
        )
    }

    fn has_option(line: &str, option: &str) -> bool {
        let mut command = Cli::command();
        command.build();
        let mut command = &command;
        for name in line.split(' ').filter(|name| !name.is_empty()) {
            command = command.find_subcommand(name).unwrap_or_else(|| panic!("{name} is no command"));
        }
        command.get_arguments().any(|argument| match option.strip_prefix("--") {
            Some(long) => argument.get_long() == Some(long),
            None => argument.get_short().is_some_and(|short| option == format!("-{short}")),
        })
    }

    #[test]
    fn errors_offer_only_options_that_exist() {
        let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let (mut todo, mut seen) = (vec![source.clone()], 0);
        while let Some(path) = todo.pop() {
            if path.is_dir() {
                let entries = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
                todo.extend(entries.filter(|path| !path.ends_with("local")));
                continue;
            }
            let below = path.strip_prefix(&source).unwrap();
            let names: Vec<_> = below
                .iter()
                .filter_map(|name| name.to_str())
                .map(|name| name.trim_end_matches(".rs"))
                .filter(|name| !["cmd", "mod", "wait", "names"].contains(name))
                .collect();
            // The command line itself and its examples are checked by being parsed.
            let Some(file) =
                names.first().filter(|name| !["args", "main", "local", "cluster"].contains(name))
            else {
                continue;
            };
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for option in code.lines().flat_map(offers) {
                seen += 1;
                let commands = commands_of(file);
                let known = match commands.as_slice() {
                    [] => has_option("", option),
                    commands => commands.iter().all(|line| has_option(line, option)),
                };
                assert!(known, "{}: '{option}' is no option of {commands:?}", path.display());
            }
        }
        assert!(seen >= 8, "only {seen} offers were found");
    }

    #[test]
    fn wrong_command_lines_are_refused() {
        for line in [
            "",
            "nosuch",
            "put",
            "put a",
            "get /a",
            "rm",
            "setrep x /a",
            "chmod 999 /a",
            "ls -Q /",
            "setfacl /a",
            "setfacl -b -k /a",
            "setfacl -m user:bob /a",
            "setfacl -x user:bob:rwx /a",
            "getfattr /a",
            "getfattr --name a /a",
            "setfattr /a",
            "setfattr -x user.a --value 1 /a",
            "setfattr --name user.a --value 0xf /a",
            "admin",
            "admin transfer-leader --to 0",
            "admin transfer-leader 1",
            "admin remove-namenode",
            "admin remove-namenode nn-1",
            "admin backup",
            "admin node",
            "admin node decommission",
            "admin node maintenance dn-1:9001 --for long",
            "admin node recommission --wait",
            "admin quarantine",
            "admin quarantine delete all",
            "admin upgrade",
            "admin settings set",
            "admin settings set umask",
            "admin settings set umask 8",
            "admin settings set access-time-precision 1ms",
            "admin settings reset trash",
            "balancer",
            "balancer start --threshold 0%",
            "balancer start --bandwidth fast",
            "balancer stop --wait",
            "fsck / --list broken",
            "fsck / --list missing --files",
            "local up --namenodes 0",
            "local up --namenodes 6",
            "ls / --namenode host",
            "ls / --namenode host:",
            "ls / --namenode host:99999",
            "ls / --namenode :9000",
            "ls / --namenode http://host:9000",
            "ls / --namenode a:1,b",
        ] {
            let words = std::iter::once("dfs").chain(line.split(' ').filter(|word| !word.is_empty()));
            let error = Cli::try_parse_from(words).unwrap_err();
            assert_ne!(error.kind(), ErrorKind::DisplayHelp, "{line}");
        }
    }

    #[test]
    fn namenodes_are_given_as_a_list_or_one_by_one() {
        for line in ["ls /", "ls / --namenode a:1,b:2", "--namenode a:1 ls / --namenode b:2"] {
            let cli = Cli::try_parse_from(std::iter::once("dfs").chain(line.split(' '))).unwrap();
            let expected: &[&str] = match line {
                "ls /" => &["127.0.0.1:9000"],
                // Of an option given before and after the command the latter counts.
                "--namenode a:1 ls / --namenode b:2" => &["b:2"],
                _ => &["a:1", "b:2"],
            };
            let expected = expected.iter().map(|address| (*address).to_owned()).collect();
            assert_eq!(cli.global.reach(), Reach::Addresses(expected), "{line}");
            assert!(!cli.global.follower_reads);
        }
        let line = "dfs ls / --namenode a:1 --namenode b:2 --follower-reads";
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        assert_eq!(cli.global.reach(), Reach::Addresses(vec!["a:1".to_owned(), "b:2".to_owned()]));
        assert!(cli.global.follower_reads);
    }

    #[test]
    fn kubernetes_is_meant_where_something_of_it_is_named() {
        let kubernetes = |cluster: Option<&str>, namespace: Option<&str>| Reach::Kubernetes {
            cluster: cluster.map(str::to_owned),
            namespace: namespace.map(str::to_owned),
        };
        for (line, plugin, expected) in [
            ("dfs ls /", true, kubernetes(None, None)),
            ("dfs ls / -n prod", false, kubernetes(None, Some("prod"))),
            ("dfs --cluster main ls /", false, kubernetes(Some("main"), None)),
            ("dfs ls / --cluster main -n prod", true, kubernetes(Some("main"), Some("prod"))),
            // An address may come from the environment, the name of a cluster is always typed.
            ("dfs ls / --namenode a:1 --cluster main", false, kubernetes(Some("main"), None)),
            ("dfs ls / --namenode a:1", true, Reach::Addresses(vec!["a:1".to_owned()])),
        ] {
            let mut global = Cli::try_parse_from(line.split(' ')).unwrap().global;
            global.plugin = plugin;
            assert_eq!(global.reach(), expected, "{line}");
        }
    }
}
