//! `dfs completions`.

use clap_complete::Shell;

use crate::exit::{Failure, Outcome};
use crate::output::Out;

/// How `dfs completions` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  source <(dfs completions bash)
  dfs completions zsh > ~/.zfunc/_dfs
  dfs completions fish > ~/.config/fish/completions/dfs.fish")]
pub(crate) struct Args {
    /// For which shell.
    shell: Shell,
}

impl Args {
    /// Prints the script for `command`, the command line as a whole.
    pub(crate) fn run(&self, command: &mut clap::Command) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, command, "dfs", &mut script);
        let script = String::from_utf8(script).map_err(|error| Failure::Other(error.to_string()))?;
        let mut out = Out::new();
        out.line(script.trim_end())?;
        out.flush()
    }
}
