//! What a person sees while scenarios run: a line a step, in colour on a terminal.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::outcome::{Mark, Step};

/// Takes lines and writes them, one at a time.
pub struct Screen {
    colours: bool,
    out: Mutex<Box<dyn Write + Send>>,
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Screen").field("colours", &self.colours).finish_non_exhaustive()
    }
}

impl Screen {
    /// Standard output: with colours if it is a terminal and `NO_COLOR` is not set.
    pub fn stdout() -> Self {
        let out = std::io::stdout();
        let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self::new(Box::new(std::io::stdout()), out.is_terminal() && !forbidden)
    }

    /// Anything else.
    pub fn new(out: Box<dyn Write + Send>, colours: bool) -> Self {
        Self { colours, out: Mutex::new(out) }
    }

    /// A line as it is.
    pub fn say(&self, text: &str) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // Who closed the terminal does not read it; the report and the exit status still count.
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }

    /// The headline of a scenario.
    pub fn headline(&self, text: &str) {
        self.say(&format!("\n{}", self.paint("1", text)));
    }

    /// A step that is done.
    pub fn step(&self, step: &Step) {
        let note = if step.note.is_empty() { String::new() } else { format!(": {}", step.note) };
        let text = format!("{}{note}", step.title);
        let time = self.paint("2", &format!("({})", in_words(step.took)));
        self.say(&format!("  {} {} {time}", step.mark.symbol(), self.marked(step.mark, &text)));
    }

    /// Text in the colour of a mark.
    pub fn marked(&self, mark: Mark, text: &str) -> String {
        let colour = match mark {
            Mark::Good => "32",
            Mark::Wrong => "31",
            Mark::Degraded => "33",
            Mark::Skipped => "2",
        };
        self.paint(colour, text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A time for people.
pub fn in_words(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else if time < Duration::from_mins(2) {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} min {} s", time.as_secs() / 60, time.as_secs() % 60)
    }
}

/// Bytes for people.
pub fn bytes_in_words(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{:.0} KiB", bytes as f64 / 1_024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn shown(colours: bool, mark: Mark) -> String {
        let written = Written::default();
        let screen = Screen::new(Box::new(written.clone()), colours);
        let took = Duration::from_millis(1_234);
        screen.step(&Step { title: "a step".into(), mark, note: "why".into(), took });
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn colours_only_where_they_are_wanted() {
        assert_eq!(shown(false, Mark::Wrong), "  ❌ a step: why (1.2 s)\n");
        assert!(shown(true, Mark::Wrong).contains("\x1b[31ma step: why\x1b[0m"));
        assert!(shown(true, Mark::Good).contains("\x1b[32m"));
        assert!(shown(true, Mark::Degraded).contains("\x1b[33m"));
    }
}
