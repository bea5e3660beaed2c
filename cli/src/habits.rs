//! What people type out of habit where it would mean something else here.
//!
//! `find`'s own conditions have one dash, which would be read as a row of short options: `-name x` as the namespace `ame`.
//! In `dfs find` they are taken as `find` takes them; everywhere a namespace is not stuck to its `-n`, so that no word
//! becomes one by accident. `rm` takes HDFS's `-skipTrash`. `getfattr` and `setfattr` have `-n` for a name, and `-v` for a value.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Arg, Command};

/// The words of a command line as clap is to read them. `command` must be built.
pub(crate) fn understood(command: &Command, words: Vec<OsString>) -> Result<Vec<OsString>, clap::Error> {
    let mut words = words.into_iter().peekable();
    let mut read: Vec<OsString> = words.next().into_iter().collect();
    let mut at = command;
    while let Some(word) = words.next() {
        let Some(text) = word.to_str() else {
            read.push(word);
            continue;
        };
        if text == "--" {
            read.push(word);
            break;
        }
        let finds = at.get_name() == "find";
        if finds && let Some(next) = words.peek().and_then(|next| next.to_str()) {
            check_operator(command, text, next)?;
        }
        let value_follows = if let Some(name) = text.strip_prefix("--") {
            let value_follows = !name.contains('=') && option(at, |arg| has_long(arg, name));
            read.push(word);
            value_follows
        } else if let Some(condition) = finds.then(|| Condition::spelled(text)).flatten() {
            match condition {
                Condition::As(long, value_follows) => {
                    read.push(long.into());
                    value_follows
                }
                Condition::Always => false,
                Condition::Missing => return Err(missing(command, text)),
            }
        } else if text == "-skipTrash" && at.get_name() == "rm" {
            read.push("--skip-trash".into());
            false
        } else if let Some(long) = of_attributes(at, text) {
            read.push(long.into());
            true
        } else if let Some(letters) = text.strip_prefix('-') {
            let value_follows = short_options(command, at, text, letters)?;
            read.push(word);
            value_follows
        } else {
            at = at.find_subcommand(text).unwrap_or(at);
            read.push(word);
            false
        };
        if value_follows {
            read.extend(words.next());
        }
    }
    read.extend(words);
    Ok(read)
}

/// How `dfs find` means a condition with one dash.
enum Condition {
    /// As this option, and whether a value follows.
    As(&'static str, bool),
    /// It holds anyway.
    Always,
    /// Not at all.
    Missing,
}

impl Condition {
    fn spelled(word: &str) -> Option<Self> {
        Some(match word {
            "-name" => Self::As("--name", true),
            "-iname" => Self::As("--iname", true),
            "-type" => Self::As("--type", true),
            "-size" => Self::As("--size-in-units", true),
            "-mtime" => Self::As("--mtime", true),
            "-newer" => Self::As("--newer-than", true),
            "-maxdepth" => Self::As("--maxdepth", true),
            "-mindepth" => Self::As("--mindepth", true),
            "-empty" => Self::As("--empty", false),
            "-print0" => Self::As("--print0", false),
            "-print" | "-a" | "-and" => Self::Always,
            "-or" | "-not" | "!" | "(" | ")" | "-delete" | "-exec" | "-execdir" | "-ok" | "-okdir"
            | "-depth" | "-prune" | "-path" | "-ipath" | "-wholename" | "-regex" | "-iregex" | "-perm"
            | "-user" | "-group" | "-links" | "-inum" | "-ls" | "-printf" | "-fprint" | "-quit" | "-xdev"
            | "-mount" | "-mmin" | "-amin" | "-cmin" | "-atime" | "-ctime" | "-anewer" | "-cnewer"
            | "-newermt" | "-follow" | "-true" | "-false" | "-readable" | "-writable" | "-executable"
            | "-samefile" => Self::Missing,
            _ => return None,
        })
    }
}

/// The option, which has a value, that `getfattr` and `setfattr` have instead of one of all commands.
fn of_attributes(at: &Command, word: &str) -> Option<&'static str> {
    match (at.get_name(), word) {
        ("getfattr" | "setfattr", "-n") => Some("--name"),
        ("setfattr", "-v") => Some("--value"),
        _ => None,
    }
}

fn missing(command: &Command, word: &str) -> clap::Error {
    usage(
        command,
        &format!(
            "find has no '{word}': all conditions must hold, see 'dfs find --help'; to do something with what is found, \
             pipe it, as in 'dfs find /tmp -print0 | xargs -0 -r dfs rm --literal'"
        ),
    )
}

/// `-o` is for the output here, and `find`'s "or" where another condition follows it.
fn check_operator(command: &Command, word: &str, next: &str) -> Result<(), clap::Error> {
    if word == "-o" && (next.starts_with('-') || next == "!" || next == "(") {
        return Err(missing(command, word));
    }
    Ok(())
}

/// Whether a value follows a word of short options.
fn short_options(command: &Command, at: &Command, word: &str, letters: &str) -> Result<bool, clap::Error> {
    for (index, letter) in letters.char_indices() {
        let named = |arg: &&Arg| {
            arg.get_short() == Some(letter)
                || arg.get_all_short_aliases().is_some_and(|aliases| aliases.contains(&letter))
        };
        // What is no option is for clap to tell.
        let Some(arg) = at.get_arguments().find(named) else { return Ok(false) };
        if !arg.get_action().takes_values() {
            continue;
        }
        let value = letters.get(index + letter.len_utf8()..).unwrap_or_default();
        if arg.get_id() == "namespace" && !value.is_empty() && !value.starts_with('=') {
            let message =
                format!("unexpected argument '{word}': if a namespace is meant, write '-n NAMESPACE'");
            return Err(usage(command, &message));
        }
        return Ok(value.is_empty());
    }
    Ok(false)
}

fn has_long(arg: &Arg, name: &str) -> bool {
    arg.get_long() == Some(name) || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&name))
}

/// Whether there is such an option and it takes a value.
fn option(at: &Command, named: impl Fn(&Arg) -> bool) -> bool {
    at.get_arguments().any(|arg| named(arg) && arg.get_action().takes_values())
}

fn usage(command: &Command, message: &str) -> clap::Error {
    command.clone().error(ErrorKind::UnknownArgument, message)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Cli;

    fn read(line: &str) -> Result<String, clap::Error> {
        let mut command = Cli::command();
        command.build();
        let words = line.split(' ').map(OsString::from).collect();
        let words = understood(&command, words)?;
        let words: Vec<_> = words.iter().map(|word| word.to_str().unwrap()).collect();
        // What is understood is also accepted.
        command.try_get_matches_from_mut(&words)?;
        Ok(words.join(" "))
    }

    #[test]
    fn find_takes_its_own_spellings() {
        for (line, meant) in [
            ("dfs find / -name x", "dfs find / --name x"),
            ("dfs find / -iname *.LOG -print", "dfs find / --iname *.LOG"),
            ("dfs find -name x", "dfs find --name x"),
            ("dfs find / /tmp -type f -a -size +10M", "dfs find / /tmp --type f --size-in-units +10M"),
            ("dfs find / -size -1k -mtime -7 -print0", "dfs find / --size-in-units -1k --mtime -7 --print0"),
            ("dfs find / -maxdepth 2 -mindepth 1 -empty", "dfs find / --maxdepth 2 --mindepth 1 --empty"),
            ("dfs find / -newer /a", "dfs find / --newer-than /a"),
            ("dfs -n prod -o json find / -name -name", "dfs -n prod -o json find / --name -name"),
            ("dfs --namenode find:1 find / -name x", "dfs --namenode find:1 find / --name x"),
            ("dfs find / --name -type", "dfs find / --name -type"),
            ("dfs find / -o json", "dfs find / -o json"),
            ("dfs -n prod getfattr -n user.a /", "dfs -n prod getfattr --name user.a /"),
            ("dfs setfattr -n user.a -v -v /", "dfs setfattr --name user.a --value -v /"),
        ] {
            assert_eq!(read(line).unwrap_or_else(|error| panic!("{line}: {error}")), meant);
        }
        for line in [
            "dfs find / -name x -o -name y",
            "dfs find / ! -name y",
            "dfs find / -name x -delete",
            "dfs find / -exec ls ;",
            "dfs find / -nme x",
            "dfs find / -frobnicate",
        ] {
            let error = read(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}: {error}");
        }
    }

    #[test]
    fn no_word_becomes_a_namespace_by_accident() {
        for line in ["dfs ls -name /", "dfs -ninja ls /", "dfs ls -lname /", "dfs admin node list -not"] {
            let error = read(line).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnknownArgument, "{line}");
            assert!(error.to_string().contains("-n NAMESPACE"), "{line}: {error}");
        }
        for line in [
            "dfs -n prod ls /",
            "dfs ls -ln prod /",
            "dfs ls -n=prod /",
            "dfs --namespace prod ls -lh /",
            "dfs ls -ojson /",
            "dfs tail -c 5 -n prod /a",
            "dfs chmod -R u+x,go-w /a",
            "dfs rm -- -name",
        ] {
            assert_eq!(read(line).unwrap_or_else(|error| panic!("{line}: {error}")), line);
        }
    }
}
