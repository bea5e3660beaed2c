//! Asking before what can't be undone.

use std::io::{self, BufRead, IsTerminal, Write};

use dfs_program::terminal::one_line;

use crate::exit::{Failure, Outcome};

/// Goes on if `yes` was given on the command line, or if the person at the terminal types it.
pub(crate) async fn confirm(what: String, yes: bool) -> Outcome {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::Usage(format!("{what}: give --yes if you mean it")));
    }
    let answer = tokio::task::spawn_blocking(move || ask(&what)).await?;
    match answer {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::Other("nothing was changed".to_owned())),
        Err(error) => Err(Failure::Other(format!("reading the answer failed ({error}): give --yes instead"))),
    }
}

fn ask(what: &str) -> io::Result<bool> {
    let mut stderr = io::stderr().lock();
    write!(stderr, "{}. Type 'yes' to go on: ", one_line(what))?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("yes"))
}
