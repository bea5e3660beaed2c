//! What a source file refers to, read without a compiler: enough for code that is formatted and compiles.

/// A path that is written somewhere in a file, such as `crate::output::Out`, and the name it has there if it is imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) segments: Vec<String>,
    /// `None`: it is no import.
    pub(crate) imported_as: Option<String>,
}

/// What a file has outside of its tests.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) references: Vec<Reference>,
    /// Modules that are declared for tests only.
    pub(crate) test_modules: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    /// `::`
    Colons,
    Sign(char),
}

impl Source {
    /// Reads a file.
    pub(crate) fn read(text: &str) -> Self {
        let mut source = Self::default();
        let tokens = tokens(text);
        let mut rest = tokens.as_slice();
        while let Some((first, after)) = rest.split_first() {
            rest = match first {
                Token::Sign('#') if is_for_tests(rest) => source.skip_item(rest),
                Token::Word("use") => source.import(after, &[]),
                Token::Word(word) => {
                    let (segments, after) = path(word, after);
                    if segments.len() > 1 {
                        source.references.push(Reference { segments, imported_as: None });
                    }
                    after
                }
                Token::Colons | Token::Sign(_) => after,
            };
        }
        source
    }

    /// Passes over an item with its attributes, up to its `;` or the brace that closes it.
    fn skip_item<'a, 'b>(&mut self, mut rest: &'a [Token<'b>]) -> &'a [Token<'b>] {
        while let Some((Token::Sign('#'), after)) = rest.split_first() {
            rest = skip_brackets(after);
        }
        let mut depth = 0_usize;
        while let Some((first, after)) = rest.split_first() {
            rest = after;
            match (first, after) {
                (Token::Word("mod"), [Token::Word(name), ..]) if depth == 0 => {
                    self.test_modules.push((*name).to_owned());
                }
                (Token::Sign('{' | '(' | '['), _) => depth += 1,
                (Token::Sign(')' | ']'), _) => depth = depth.saturating_sub(1),
                (Token::Sign('}'), _) => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        break;
                    }
                }
                (Token::Sign(';'), _) if depth == 0 => break,
                _ => {}
            }
        }
        rest
    }

    /// Reads an import below `above`, be it the whole of it or one in its braces, up to what ends it.
    fn import<'a, 'b>(&mut self, mut rest: &'a [Token<'b>], above: &[String]) -> &'a [Token<'b>] {
        let mut segments = above.to_vec();
        let mut name = None;
        while let Some((first, after)) = rest.split_first() {
            match first {
                Token::Sign('{') => {
                    rest = after;
                    while !matches!(rest.first(), None | Some(Token::Sign('}'))) {
                        rest = self.import(rest, &segments);
                        if let Some((Token::Sign(','), after)) = rest.split_first() {
                            rest = after;
                        }
                    }
                    return rest.get(1..).unwrap_or_default();
                }
                // `impl Trait + use<'a>` is no import.
                Token::Sign(',' | '}' | ';' | '<') => break,
                Token::Word("as") => {
                    if let Some(Token::Word(other)) = after.first() {
                        name = Some((*other).to_owned());
                    }
                    rest = after.get(1..).unwrap_or_default();
                    continue;
                }
                // In braces it stands for what is before them.
                Token::Word("self") if !segments.is_empty() => {}
                Token::Word(word) => segments.push((*word).to_owned()),
                Token::Colons | Token::Sign(_) => {}
            }
            rest = after;
        }
        if let Some(last) = segments.last() {
            let imported_as = Some(name.unwrap_or_else(|| last.clone()));
            self.references.push(Reference { segments, imported_as });
        }
        rest
    }
}

/// Whether this is the beginning of `#[cfg(test)]`.
fn is_for_tests(tokens: &[Token<'_>]) -> bool {
    use Token::{Sign, Word};
    let test = [Sign('#'), Sign('['), Word("cfg"), Sign('('), Word("test"), Sign(')'), Sign(']')];
    tokens.starts_with(&test)
}

/// What follows the bracket that closes the first one.
fn skip_brackets<'a, 'b>(mut rest: &'a [Token<'b>]) -> &'a [Token<'b>] {
    let mut depth = 0_usize;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            Token::Sign('[') => depth += 1,
            Token::Sign(']') if depth <= 1 => break,
            Token::Sign(']') => depth -= 1,
            _ => {}
        }
    }
    rest
}

/// The path that begins with `first`, and what follows it.
fn path<'a, 'b>(first: &str, mut rest: &'a [Token<'b>]) -> (Vec<String>, &'a [Token<'b>]) {
    let mut segments = vec![first.to_owned()];
    while let [Token::Colons, Token::Word(word), after @ ..] = rest {
        segments.push((*word).to_owned());
        rest = after;
    }
    (segments, rest)
}

/// The text's tokens without comments, strings and characters.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after = rest.get(first.len_utf8()..).unwrap_or_default();
        rest = if rest.starts_with("//") {
            rest.find('\n').and_then(|end| rest.get(end..)).unwrap_or_default()
        } else if rest.starts_with("/*") {
            after_comment(rest)
        } else if first == '"' {
            after_string(after)
        } else if let Some(after) = after_raw_string(rest) {
            after
        } else if first == '\'' {
            after_character(after)
        } else if let Some(after) = rest.strip_prefix("::") {
            found.push(Token::Colons);
            after
        } else if is_part_of_word(first) {
            let end = rest.find(|other| !is_part_of_word(other)).unwrap_or(rest.len());
            let (word, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
            found.push(Token::Word(word));
            after
        } else {
            if !first.is_whitespace() {
                found.push(Token::Sign(first));
            }
            after
        };
    }
    found
}

fn is_part_of_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// What follows a comment `/* … */`, which may have others in it.
fn after_comment(text: &str) -> &str {
    let (mut depth, mut rest) = (0_usize, text);
    while let Some(first) = rest.chars().next() {
        let (change, length) = match rest.get(..2) {
            Some("/*") => (1, 2),
            Some("*/") => (-1, 2),
            _ => (0, first.len_utf8()),
        };
        depth = depth.saturating_add_signed(change);
        rest = rest.get(length..).unwrap_or_default();
        if depth == 0 {
            break;
        }
    }
    rest
}

/// What follows the quote that closes a string, of which this is the inside.
fn after_string(inside: &str) -> &str {
    let mut escaped = false;
    for (at, character) in inside.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return inside.get(at + 1..).unwrap_or_default(),
            _ => {}
        }
    }
    ""
}

/// What follows `r"…"` or `br#"…"#`, if the text begins with one.
fn after_raw_string(text: &str) -> Option<&str> {
    let from = ["r", "br", "cr"].iter().find_map(|prefix| text.strip_prefix(prefix))?;
    let inside = from.trim_start_matches('#');
    let end = format!("\"{}", "#".repeat(from.len() - inside.len()));
    let inside = inside.strip_prefix('"')?;
    Some(inside.split_once(&end).map_or("", |(_, after)| after))
}

/// What follows a character such as `'a'`, of which the first quote is left out, or the quote of a lifetime.
fn after_character(inside: &str) -> &str {
    let mut characters = inside.chars();
    match characters.next() {
        // What is escaped may be the quote itself.
        Some('\\') => {
            characters.next();
            characters.as_str().split_once('\'').map_or("", |(_, after)| after)
        }
        Some(_) => characters.as_str().strip_prefix('\'').unwrap_or(inside),
        None => inside,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paths of a text, imports with what they are called.
    fn read(text: &str) -> Vec<String> {
        let shown = |reference: &Reference| {
            let path = reference.segments.join("::");
            reference.imported_as.as_ref().map_or_else(|| path.clone(), |name| format!("{path} as {name}"))
        };
        Source::read(text).references.iter().map(shown).collect()
    }

    #[test]
    fn imports_are_taken_apart() {
        let text = "use crate::a::{self, B, c::{D as E, f}, g::*};\npub(crate) use super::h::I;";
        let expected = [
            "crate::a as a",
            "crate::a::B as B",
            "crate::a::c::D as E",
            "crate::a::c::f as f",
            "crate::a::g as g",
            "super::h::I as I",
        ];
        assert_eq!(read(text), expected);
    }

    #[test]
    fn paths_in_code_are_seen() {
        assert_eq!(
            read("fn f(a: &crate::b::C) -> D { e::f(super::g::<H>()) }"),
            ["crate::b::C", "e::f", "super::g"]
        );
        assert_eq!(read("fn f<'a>() -> impl I + use<'a> { crate::x::y() }"), ["crate::x::y"]);
    }

    #[test]
    fn comments_and_strings_are_not_read() {
        let text = "// crate::a::b\n/* crate::a /* crate::b */ crate::c */ \"crate::d \\\" crate::e\" \
                    r#\"crate::f \" crate::g\"# '\"' '\\'' b'\"' &'static crate::seen::It";
        assert_eq!(read(text), ["crate::seen::It"]);
    }

    #[test]
    fn tests_are_not_read() {
        let text = "use crate::a;\n#[cfg(test)]\n#[allow(dead_code)]\nmod tests { use crate::b; fn f() { {} } }\n\
                    #[cfg(test)]\npub(crate) mod samples;\n#[cfg(test)]\nfn g(x: [u8; 2]) { crate::c::d() }\n\
                    use crate::e;";
        assert_eq!(read(text), ["crate::a as a", "crate::e as e"]);
        assert_eq!(Source::read(text).test_modules, ["tests", "samples"]);
    }
}
