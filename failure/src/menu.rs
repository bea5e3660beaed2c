//! Asking a person what to run.

use std::fmt::Write as _;
use std::io::{BufRead, Write};

use anyhow::{Result, bail};

use crate::scenarios::Scenario;

/// Finds scenarios by what was typed: `all`, names or numbers with commas or spaces between them.
///
/// ```
/// use dfs_failure::{menu, scenarios};
/// let all = scenarios::all();
/// assert_eq!(menu::choose(all, "all").unwrap().len(), all.len());
/// assert_eq!(menu::choose(all, "2, 1").unwrap()[0].name, all[1].name);
/// assert!(menu::choose(all, "everything").is_err());
/// ```
pub fn choose(all: &'static [Scenario], typed: &str) -> Result<Vec<&'static Scenario>> {
    let words = typed.split([',', ' ']).map(str::trim).filter(|word| !word.is_empty());
    let mut chosen = Vec::new();
    for word in words {
        if word == "all" {
            return Ok(all.iter().collect());
        }
        let number = word.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        let found =
            number.and_then(|index| all.get(index)).or_else(|| all.iter().find(|one| one.name == word));
        match found {
            Some(scenario) => chosen.push(scenario),
            None => bail!("there is no scenario '{word}': use 'all', a name or a number from --list"),
        }
    }
    if chosen.is_empty() {
        bail!("no scenario is named: use 'all', names or numbers from --list");
    }
    Ok(chosen)
}

/// The list, for people.
pub fn list(all: &[Scenario]) -> String {
    let width = all.iter().map(|scenario| scenario.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    let mut group = "";
    for (index, scenario) in all.iter().enumerate() {
        if scenario.group != group {
            group = scenario.group;
            // Writing into a text can't fail.
            let _ = writeln!(text, "\n{group}");
        }
        let _ = writeln!(text, "  {:>2}  {:width$}  {}", index + 1, scenario.name, scenario.title);
    }
    text
}

/// Shows the menu and asks until the answer makes sense. `None`: nothing is to be run.
pub fn ask(
    all: &'static [Scenario],
    input: &mut impl BufRead,
    output: &mut impl Write,
) -> Result<Option<Vec<&'static Scenario>>> {
    writeln!(output, "{}", list(all))?;
    loop {
        let typed = question(input, output, "Which ones? Numbers, names, 'all', or 'q' to quit: ")?;
        let Some(typed) = typed.filter(|typed| typed != "q") else { return Ok(None) };
        match choose(all, &typed) {
            Ok(chosen) => {
                let what = format!(
                    "This starts a cluster of its own in a temporary directory and stops, kills and damages its \
                     processes. Your own clusters are not touched. Run {} scenarios? [y/N] ",
                    chosen.len()
                );
                let answer = question(input, output, &what)?;
                return Ok(answer.filter(|answer| answer.eq_ignore_ascii_case("y")).map(|_| chosen));
            }
            Err(error) => writeln!(output, "{error}")?,
        }
    }
}

/// One line; `None` at the end of the input.
fn question(input: &mut impl BufRead, output: &mut impl Write, text: &str) -> Result<Option<String>> {
    write!(output, "{text}")?;
    output.flush()?;
    let mut line = String::new();
    let read = input.read_line(&mut line)?;
    Ok((read > 0).then(|| line.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios;

    fn asked(typed: &str) -> (Option<usize>, String) {
        let mut output = Vec::new();
        let chosen = ask(scenarios::all(), &mut typed.as_bytes(), &mut output).unwrap();
        (chosen.map(|chosen| chosen.len()), String::from_utf8(output).unwrap())
    }

    #[test]
    fn nothing_runs_without_a_yes() {
        assert_eq!(asked("all\ny\n").0, Some(scenarios::all().len()));
        assert_eq!(asked("1 2\nY\n").0, Some(2));
        for typed in ["", "q\n", "all\n", "all\nn\n", "all\n\n"] {
            assert_eq!(asked(typed).0, None, "{typed:?}");
        }
    }

    #[test]
    fn a_typing_error_is_asked_about_again() {
        let (chosen, output) = asked("0\n99\nnonsense\n1\ny\n");
        assert_eq!(chosen, Some(1));
        assert!(output.contains("there is no scenario 'nonsense'"), "{output}");
    }
}
