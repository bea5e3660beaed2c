//! Standard output: tables, JSON, and times as text.

use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::time::{Duration, SystemTime};

use dfs_program::streams::StandardOutput;
use dfs_program::terminal::{harmless, harmless_json, quoted};
use dfs_types::{FileKind, FileStatus, FsPath, Millis};
use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use crate::exit::{Failure, Outcome};

/// Rows that are aligned and printed together, so that memory does not grow with a listing.
const BATCH: usize = 1_000;

/// Buffered standard output whose errors end the command.
pub(crate) struct Out {
    stdout: BufWriter<StandardOutput>,
}

impl Out {
    pub(crate) fn new() -> Self {
        Self { stdout: BufWriter::new(StandardOutput) }
    }

    /// One line; on a terminal what is in it can't steer it.
    pub(crate) fn line(&mut self, text: &str) -> Outcome {
        let text = if io::stdout().is_terminal() { harmless(text) } else { Cow::Borrowed(text) };
        writeln!(self.stdout, "{text}").map_err(Failure::output)
    }

    /// A text as it is, and the NUL that ends it.
    pub(crate) fn nul_ended(&mut self, text: &str) -> Outcome {
        write!(self.stdout, "{text}\0").map_err(Failure::output)
    }

    /// One JSON value, pretty; nothing of one that JSON can't say.
    pub(crate) fn json(&mut self, value: &(impl Serialize + ?Sized)) -> Outcome {
        self.line(&json(value, true)?)
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
    Json {
        any: bool,
    },
    /// The last cell of each row, ended by NUL.
    Nul,
    Table {
        header: Vec<&'static str>,
        right: &'static [usize],
        rows: Vec<Vec<String>>,
    },
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

    /// Names that end with NUL, which no name contains: for programs that take any name.
    pub(crate) fn nul_ended() -> Self {
        Self { out: Out::new(), form: Form::Nul }
    }

    /// Adds one entry, as the value or as the cells the list's form asks for.
    pub(crate) fn push(&mut self, value: &impl Serialize, cells: impl FnOnce() -> Vec<String>) -> Outcome {
        match &mut self.form {
            Form::Json { any } => {
                let start = if *any { "," } else { "[" };
                *any = true;
                let text = json(value, false)?;
                self.out.line(&format!("{start}{text}"))
            }
            Form::Nul => self.out.nul_ended(&cells().pop().unwrap_or_default()),
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
            Form::Json { .. } | Form::Nul => Ok(()),
            Form::Table { .. } => self.out.line(text),
        }
    }

    /// Prints what waits.
    pub(crate) fn finish(mut self) -> Outcome {
        self.print_rows()?;
        match self.form {
            Form::Json { any: true } => self.out.line("]")?,
            Form::Json { any: false } => self.out.line("[]")?,
            Form::Nul | Form::Table { .. } => {}
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

/// Aligned columns with two spaces between them and no lines; every cell as [`name`] shows it.
pub(crate) fn table(header: Vec<&str>, rows: Vec<Vec<String>>, right: &[usize]) -> String {
    aligned(header, rows, right, io::stdout().is_terminal())
}

/// [`table`], for a terminal or for a program. What a cell has at its end stays; only what would fill up the last cell of
/// a line is not written.
fn aligned(header: Vec<&str>, rows: Vec<Vec<String>>, right: &[usize], terminal: bool) -> String {
    let header = header.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let lines: Vec<Vec<String>> = std::iter::once(header)
        .filter(|header| !header.is_empty())
        .chain(rows)
        .map(|row| row.into_iter().map(|cell| visible(&cell, terminal).into_owned()).collect())
        .collect();
    let mut widths: Vec<usize> = Vec::new();
    for line in &lines {
        widths.resize(widths.len().max(line.len()), 0);
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.width());
        }
    }
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        let mut spaces = 0;
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let fill = width - cell.width();
            let (before, after) = if right.contains(&column) { (fill, 0) } else { (0, fill) };
            spaces += before;
            if !cell.is_empty() {
                text.extend(std::iter::repeat_n(' ', spaces));
                text.push_str(cell);
                spaces = 0;
            }
            spaces += after + 2;
        }
    }
    text
}

/// A name, or anything that others have chosen, as standard output takes it: to a program as it is, on a terminal so that
/// it is seen whole and moves nothing, as `ls` does.
pub(crate) fn name(text: &str) -> Cow<'_, str> {
    visible(text, io::stdout().is_terminal())
}

/// Quotes what a terminal would not show.
fn visible(text: &str, terminal: bool) -> Cow<'_, str> {
    if terminal { quoted(text) } else { Cow::Borrowed(text) }
}

/// A value as JSON in which what would steer a terminal is escaped, wherever it goes: the same value for every reader.
pub(crate) fn json(value: &(impl Serialize + ?Sized), pretty: bool) -> Outcome<String> {
    let text = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    let text = text.map_err(|error| Failure::Other(error.to_string()))?;
    Ok(harmless_json(text))
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

/// `rwxr-xr-x`, with `+` behind it if an ACL says more.
pub(crate) fn mode(status: &FileStatus) -> String {
    let more = if status.has_acl { "+" } else { "" };
    format!("{}{more}", status.mode)
}

/// The same behind the kind: `drwxr-xr-x`.
pub(crate) fn kind_and_mode(status: &FileStatus) -> String {
    let kind = match status.kind {
        FileKind::File => '-',
        FileKind::Directory => 'd',
    };
    format!("{kind}{}", mode(status))
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
    use dfs_program::terminal::steers;

    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = vec![vec!["a".to_owned(), "5".to_owned()], vec!["long".to_owned(), "12345".to_owned()]];
        let text = aligned(vec!["NAME", "SIZE"], rows, &[1], false);
        assert_eq!(text, "NAME   SIZE\na         5\nlong  12345");
    }

    #[test]
    fn cells_keep_their_white_space_and_nothing_is_filled_up_after_them() {
        for name in
            ["trail ", " lead", "Icon\r", "nbsp\u{a0}", "wide\u{3000}", "tab\t", "two  inside", "a\nb"]
        {
            let alone = vec![vec![name.to_owned()], vec!["a longer name than these".to_owned()]];
            let text = aligned(Vec::new(), alone, &[], false);
            assert_eq!(text, format!("{name}\na longer name than these"));
            let last = vec![vec!["1".to_owned(), name.to_owned()]];
            assert_eq!(aligned(Vec::new(), last, &[0], false), format!("1  {name}"));
        }
        let empty = vec![vec!["a".to_owned(), String::new()], vec!["bcd".to_owned(), "e".to_owned()]];
        assert_eq!(aligned(Vec::new(), empty, &[], false), "a\nbcd  e");
        assert_eq!(aligned(Vec::new(), vec![vec!["ü漢".to_owned(), "x".to_owned()]], &[], false), "ü漢  x");
    }

    #[test]
    fn a_terminal_is_shown_names_and_not_steered_by_them() {
        for (name, shown) in
            [("plain ü 漢 🦀", "plain ü 漢 🦀"), ("a\nb", "$'a\\nb'"), ("\u{1b}[31mred", "$'\\u001b[31mred'")]
        {
            assert_eq!(visible(name, true), shown);
            assert_eq!(visible(name, false), name);
        }
        let row = vec![vec!["\u{1b}]0;x\u{7}".to_owned(), "b".to_owned()]];
        assert_eq!(aligned(Vec::new(), row, &[], true), "$'\\u001b]0;x\\u0007'  b");
    }

    #[test]
    fn json_has_every_character_and_steers_nothing() {
        let name = (1..=0x10_ffff).filter_map(char::from_u32).collect::<String>();
        for pretty in [false, true] {
            let text = json(&[&name], pretty).unwrap();
            assert!(!text.contains(|character: char| steers(character) && character != '\n'));
            assert_eq!(serde_json::from_str::<Vec<String>>(&text).unwrap(), [name.as_str()]);
        }
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(minute(Millis(0)), "1970-01-01 00:00");
        assert_eq!(second(Millis(1_738_346_759_999)), "2025-01-31 18:05:59Z");
        assert_eq!(second(Millis(u64::MAX)), format!("{} ms", u64::MAX));
    }
}
