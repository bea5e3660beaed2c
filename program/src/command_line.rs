//! Reading the command line, and ending the program when it asks for help or is wrong.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::{Command, CommandFactory, FromArgMatches};

use crate::streams;

/// Status of a program whose output nobody reads any more, as a shell shows the end by SIGPIPE.
pub const BROKEN_PIPE: u8 = 141;

/// The command line as `C`, or the status with which the program ends: help was asked for, or something is wrong. All that
/// is to be said has been said then.
pub fn parse<C: CommandFactory + FromArgMatches>() -> Result<C, ExitCode> {
    parse_as(C::command(), |_, words| Ok(words))
}

/// As [`parse`], by a definition that was changed, of words that are `read` first by the built definition.
pub fn parse_as<C: FromArgMatches>(
    command: Command,
    read: impl FnOnce(&Command, Vec<OsString>) -> Result<Vec<OsString>, clap::Error>,
) -> Result<C, ExitCode> {
    let mut command = without_empty(command, &|name| env::var_os(name));
    command.build();
    let words = read(&command, env::args_os().collect());
    let matches = words.and_then(|words| command.try_get_matches_from_mut(words));
    let parsed = matches.and_then(|matches| C::from_arg_matches(&matches));
    parsed.map_err(|error| refused(error.format(&mut command)))
}

/// Prints what clap has to say: help goes to standard output and must get there, an error goes to standard error.
pub fn refused(error: clap::Error) -> ExitCode {
    if error.use_stderr() {
        // What can't be said is not said; the status says it.
        let _lost = error.print();
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
    }
    let printed = streams::check_output().and_then(|()| error.print()).and_then(|()| io::stdout().flush());
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(BROKEN_PIPE),
        Err(error) => {
            streams::tell(&format!("error: standard output: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// The value of a variable, if it is set to anything: one that is empty means what one means that is not set. Files of
/// variables and charts have many of them.
pub fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// The same for every variable that a definition and its subcommands read, by `lookup`: those that are empty are not read.
pub fn without_empty(command: Command, lookup: &dyn Fn(&OsStr) -> Option<OsString>) -> Command {
    command
        .mut_args(|arg| {
            let empty = arg.get_env().and_then(lookup).is_some_and(|value| value.is_empty());
            if empty { arg.env(Resettable::Reset) } else { arg }
        })
        .mut_subcommands(|command| without_empty(command, lookup))
}

/// Every variable that a definition and its subcommands read, with the subcommands that lead to it: for tests.
pub fn variables(command: &Command) -> Vec<(Vec<String>, OsString)> {
    let own = command.get_arguments().filter_map(|arg| arg.get_env());
    let mut found: Vec<_> = own.map(|name| (Vec::new(), name.to_owned())).collect();
    for inner in command.get_subcommands() {
        found.extend(variables(inner).into_iter().map(|(mut path, name)| {
            path.insert(0, inner.get_name().to_owned());
            (path, name)
        }));
    }
    found
}
