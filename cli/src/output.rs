//! Standard output: tables, JSON, and times as text.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::time::{Duration, SystemTime};

use comfy_table::{CellAlignment, Row, Table, presets};
use dfs_types::{FileKind, FileStatus, FsPath, Millis};
use serde::Serialize;

use crate::exit::{Failure, Outcome};

/// Rows that are aligned and printed together, so that memory does not grow with a listing.
const BATCH: usize = 1_000;

/// Buffered standard output whose errors end the command.
pub(crate) struct Out {
    stdout: BufWriter<Stdout>,
}

impl Out {
    pub(crate) fn new() -> Self {
        Self { stdout: BufWriter::new(io::stdout()) }
    }

    /// One line.
    pub(crate) fn line(&mut self, text: &str) -> Outcome {
        writeln!(self.stdout, "{text}").map_err(Failure::output)
    }

    /// One JSON value, pretty.
    pub(crate) fn json(&mut self, value: &(impl Serialize + ?Sized)) -> Outcome {
        serde_json::to_writer_pretty(&mut self.stdout, value)
            .map_err(|error| Failure::output(error.into()))?;
        self.line("")
    }

    /// What was written becomes visible.
    pub(crate) fn flush(&mut self) -> Outcome {
        self.stdout.flush().map_err(Failure::output)
    }
}

/// A list that is printed while it grows: as an aligned table, or as one JSON array.
pub(crate) struct List {
    out: Out,
    form: Form,
}

enum Form {
    Json { any: bool },
    Table { header: Vec<&'static str>, right: &'static [usize], rows: Vec<Vec<String>> },
}

impl List {
    /// A list of JSON values.
    pub(crate) fn json() -> Self {
        Self { out: Out::new(), form: Form::Json { any: false } }
    }

    /// A table; an empty header prints none; `right` are the columns of numbers.
    pub(crate) fn table(header: &[&'static str], right: &'static [usize]) -> Self {
        Self { out: Out::new(), form: Form::Table { header: header.to_vec(), right, rows: Vec::new() } }
    }

    /// Adds one entry, as the value or as the cells the list's form asks for.
    pub(crate) fn push(&mut self, value: &impl Serialize, cells: impl FnOnce() -> Vec<String>) -> Outcome {
        match &mut self.form {
            Form::Json { any } => {
                let start = if *any { "," } else { "[" };
                *any = true;
                let text = serde_json::to_string(value).map_err(|error| Failure::Other(error.to_string()))?;
                self.out.line(&format!("{start}{text}"))
            }
            Form::Table { rows, .. } => {
                rows.push(cells());
                if rows.len() >= BATCH { self.print_rows() } else { Ok(()) }
            }
        }
    }

    /// A line between the rows of a table; JSON has none.
    pub(crate) fn heading(&mut self, text: &str) -> Outcome {
        self.print_rows()?;
        match self.form {
            Form::Json { .. } => Ok(()),
            Form::Table { .. } => self.out.line(text),
        }
    }

    /// Prints what waits.
    pub(crate) fn finish(mut self) -> Outcome {
        self.print_rows()?;
        match self.form {
            Form::Json { any: true } => self.out.line("]")?,
            Form::Json { any: false } => self.out.line("[]")?,
            Form::Table { .. } => {}
        }
        self.out.flush()
    }

    fn print_rows(&mut self) -> Outcome {
        let Form::Table { header, right, rows } = &mut self.form else { return Ok(()) };
        if rows.is_empty() {
            return Ok(());
        }
        let text = table(std::mem::take(header), std::mem::take(rows), right);
        self.out.line(&text)
    }
}

/// Aligned columns with two spaces between them and no lines.
pub(crate) fn table(header: Vec<&str>, rows: Vec<Vec<String>>, right: &[usize]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if !header.is_empty() {
        table.set_header(header);
    }
    table.add_rows(rows.into_iter().map(Row::from));
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if right.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// `2025-01-31 18:05` in UTC, to the minute, as `ls -l` shows times.
pub(crate) fn minute(time: Millis) -> String {
    let mut text = second(time);
    text.truncate("2025-01-31 18:05".len());
    text
}

/// `2025-01-31 18:05:59Z`.
pub(crate) fn second(time: Millis) -> String {
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_millis(time.0))
        // The last second of the year 9999 is the last that RFC 3339 can say.
        .filter(|_| time.0 < 253_402_300_800_000)
        .map_or_else(
            || format!("{} ms", time.0),
            |time| humantime::format_rfc3339_seconds(time).to_string().replace('T', " "),
        )
}

/// The present time, as the file system counts it.
pub(crate) fn now() -> Millis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// `drwxr-xr-x`.
pub(crate) fn kind_and_mode(status: &FileStatus) -> String {
    let kind = match status.kind {
        FileKind::File => '-',
        FileKind::Directory => 'd',
    };
    format!("{kind}{}", status.mode)
}

/// A path with what is known of it, as JSON output shows it.
#[derive(Debug, Serialize)]
pub(crate) struct Entry<'a> {
    pub(crate) path: &'a FsPath,
    #[serde(flatten)]
    pub(crate) status: &'a FileStatus,
}

/// Whether a person looks at standard error.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = vec![vec!["a".to_owned(), "5".to_owned()], vec!["long".to_owned(), "12345".to_owned()]];
        assert_eq!(table(vec!["NAME", "SIZE"], rows, &[1]), "NAME   SIZE\na         5\nlong  12345");
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(minute(Millis(0)), "1970-01-01 00:00");
        assert_eq!(second(Millis(1_738_346_759_999)), "2025-01-31 18:05:59Z");
        assert_eq!(second(Millis(u64::MAX)), format!("{} ms", u64::MAX));
    }
}
