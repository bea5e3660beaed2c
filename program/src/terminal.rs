//! Names and sentences that others have chosen, so that they are seen whole and steer no terminal.

use std::borrow::Cow;

/// Quotes what can't be seen or would steer a terminal, in the form that bash reads back.
pub fn quoted(text: &str) -> Cow<'_, str> {
    if text.contains(steers) {
        let mut quoted = "$'".to_owned();
        for character in text.chars() {
            match character {
                '\'' | '\\' => quoted.extend(['\\', character]),
                character => push_harmless(&mut quoted, character),
            }
        }
        quoted.push('\'');
        return Cow::Owned(quoted);
    }
    let edge = |character: Option<char>| character.is_some_and(char::is_whitespace);
    if edge(text.chars().next()) || edge(text.chars().next_back()) {
        return Cow::Owned(format!("'{}'", text.replace('\'', r"'\''")));
    }
    Cow::Borrowed(text)
}

/// Text whose names can't steer a terminal; its own line ends stay, so that it is for what has been made of lines.
pub fn harmless(text: &str) -> Cow<'_, str> {
    escape(text, |character| steers(character) && character != '\n')
}

/// A sentence whose names can't steer a terminal nor begin a line of their own.
pub fn one_line(text: &str) -> Cow<'_, str> {
    escape(text, steers)
}

fn escape(text: &str, wanted: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&wanted) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if wanted(character) {
            push_harmless(&mut safe, character);
        } else {
            safe.push(character);
        }
    }
    Cow::Owned(safe)
}

/// Whether a terminal does something else with a character than to show it where it stands: control characters, and those
/// that reorder, break or hide text.
pub fn steers(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

fn push_harmless(text: &mut String, character: char) {
    match character {
        '\n' => text.push_str("\\n"),
        '\r' => text.push_str("\\r"),
        '\t' => text.push_str("\\t"),
        character if steers(character) => text.push_str(&escaped(character)),
        character => text.push(character),
    }
}

/// A character as bash's `$'…'` reads it.
fn escaped(character: char) -> String {
    match u32::from(character) {
        number @ ..=0xffff => format!("\\u{number:04x}"),
        number => format!("\\U{number:08x}"),
    }
}

/// JSON in which what would steer a terminal is escaped: the same value for every reader.
pub fn harmless_json(text: String) -> String {
    // JSON has ASCII's own control characters escaped already, so what is left of the kind is inside strings.
    if !text.contains(|character: char| steers(character) && character != '\n') {
        return text;
    }
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if !steers(character) || character == '\n' {
            safe.push(character);
            continue;
        }
        safe.extend(character.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_as_bash_reads_them() {
        for (name, shown) in [
            ("plain ü 漢 🦀", "plain ü 漢 🦀"),
            ("trail ", "'trail '"),
            ("it's\u{a0}", "'it'\\''s\u{a0}'"),
            ("Icon\r", "$'Icon\\r'"),
            ("a\nb", "$'a\\nb'"),
            ("\u{1b}[31mred", "$'\\u001b[31mred'"),
            ("it's\t\\", "$'it\\'s\\t\\\\'"),
            ("a\u{202e}b", "$'a\\u202eb'"),
            ("\u{9b}2J", "$'\\u009b2J'"),
            ("\u{e0041}", "$'\\U000e0041'"),
        ] {
            assert_eq!(quoted(name), shown);
        }
    }

    #[test]
    fn sentences_steer_nothing() {
        assert_eq!(harmless("two\nlines\u{1b}c"), "two\nlines\\u001bc");
        assert_eq!(one_line("/a\ndfs: all is well\r\u{1b}c"), "/a\\ndfs: all is well\\r\\u001bc");
        assert!(matches!(one_line("plain ü 漢 🦀"), Cow::Borrowed(_)));
        assert_eq!(harmless_json("\"a\u{202e}b\"".to_owned()), "\"a\\u202eb\"");
    }
}
