//! Patterns in remote paths: `*`, `?`, `[a-z]`, `{one,two}`, `**`, and `\` before a character that is meant as it is.
//!
//! As in a shell, a leading dot of a name must be matched by a dot, so that the temporary files of transfers under way
//! stay out of sight.

use std::collections::BTreeMap;

use dfs_types::{FileStatus, FsError, FsPath};
use globset::{GlobBuilder, GlobMatcher};

use crate::exit::{Failure, Outcome};
use crate::remote_path::{Typed, not_a_directory};

/// Most alternatives that the braces of one pattern may stand for.
const MAX_ALTERNATIVES: usize = 4_096;

/// What matching needs to know of a file system.
pub(crate) trait Tree {
    /// The status of a path, `None` if there is none.
    async fn status(&self, path: &FsPath) -> Outcome<Option<FileStatus>>;
    /// Names and statuses of a directory's entries.
    async fn entries(&self, path: &FsPath) -> Outcome<Vec<(String, FileStatus)>>;
}

/// One part of a pattern's path.
#[derive(Debug, Clone)]
enum Part {
    Literal(String),
    Pattern {
        matcher: GlobMatcher,
        dotted: bool,
    },
    /// `**`: any number of directories.
    Deep,
    /// `..` behind a pattern: one directory up.
    Up,
}

/// One path without braces, cut into parts.
#[derive(Debug)]
struct Alternative {
    parts: Vec<Part>,
    /// Only directories are meant.
    directory: bool,
    /// It ends in `.` or `..`.
    nameless: bool,
}

/// A path someone typed: with the alternatives of its braces, each cut into parts.
#[derive(Debug)]
pub(crate) struct Pattern {
    text: String,
    alternatives: Vec<Alternative>,
}

impl Pattern {
    /// Reads a path or pattern.
    pub(crate) fn parse(text: &str) -> Outcome<Self> {
        let text = text.to_owned();
        let alternatives =
            expand_braces(&text)?.iter().map(|text| Alternative::parse(text)).collect::<Outcome<_>>()?;
        Ok(Self { text, alternatives })
    }

    /// Whether what matches has no name of its own, as it was reached by `.` or `..` at the end.
    pub(crate) fn is_nameless(&self) -> bool {
        self.alternatives.iter().any(|alternative| alternative.nameless)
    }

    /// Everything that matches, sorted by path. Nothing is the error "not found", or "not a directory" if there are files
    /// where only directories are meant.
    pub(crate) async fn expand(&self, tree: &impl Tree) -> Outcome<Vec<(FsPath, FileStatus)>> {
        let (mut found, mut file) = (BTreeMap::new(), None);
        for Alternative { parts, directory, .. } in &self.alternatives {
            let mut matching = BTreeMap::new();
            expand_one(tree, parts, &mut matching).await?;
            for (path, status) in matching {
                if *directory && !status.is_directory() {
                    file.get_or_insert(path);
                } else {
                    found.insert(path, status);
                }
            }
        }
        if found.is_empty() {
            return Err(file
                .map_or_else(|| FsError::not_found(&self.text), |file| not_a_directory(&file))
                .into());
        }
        Ok(found.into_iter().collect())
    }
}

impl Alternative {
    fn parse(text: &str) -> Outcome<Self> {
        let typed = Typed::read(text)?;
        let mut parts = Vec::new();
        for text in typed.parts {
            match (text, parts.last()) {
                ("..", None) => {}
                ("..", Some(Part::Literal(_))) => drop(parts.pop()),
                ("..", Some(Part::Pattern { .. } | Part::Deep | Part::Up)) => parts.push(Part::Up),
                (text, _) => parts.push(part(text)?),
            }
        }
        Ok(Self { parts, directory: typed.directory, nameless: typed.nameless })
    }
}

/// A pattern for names, as `find --name` takes it.
#[derive(Debug)]
pub(crate) struct NamePattern(Vec<GlobMatcher>);

impl NamePattern {
    /// Reads a pattern; `any_case` makes no difference between `A` and `a`.
    pub(crate) fn parse(text: &str, any_case: bool) -> Outcome<Self> {
        let alternatives = expand_braces(text)?;
        let matchers =
            alternatives.iter().map(|alternative| matcher(&Glob::read(alternative).text, any_case));
        matchers.collect::<Outcome<_>>().map(Self)
    }

    /// Whether a name matches.
    pub(crate) fn is_match(&self, name: &str) -> bool {
        self.0.iter().any(|matcher| matcher.is_match(name))
    }
}

fn part(text: &str) -> Outcome<Part> {
    if text == "**" {
        return Ok(Part::Deep);
    }
    let glob = Glob::read(text);
    Ok(match glob.literal {
        Some(literal) => Part::Literal(literal),
        None => Part::Pattern { matcher: matcher(&glob.text, false)?, dotted: text.starts_with('.') },
    })
}

fn matcher(glob: &str, any_case: bool) -> Outcome<GlobMatcher> {
    let mut builder = GlobBuilder::new(glob);
    let built = builder.literal_separator(true).backslash_escape(true).case_insensitive(any_case).build();
    let glob = built.map_err(|error| Failure::Usage(format!("pattern '{glob}': {}", error.kind())))?;
    Ok(glob.compile_matcher())
}

/// A pattern whose braces are expanded, as globset takes it: what is no pattern is escaped, so that it means itself.
struct Glob {
    text: String,
    /// The name, if it is just one.
    literal: Option<String>,
}

impl Glob {
    fn read(pattern: &str) -> Self {
        let (mut text, mut literal) = (String::new(), Some(String::new()));
        let mut rest = pattern.chars();
        while let Some(character) = rest.next() {
            let class = if character == '[' { class(rest.as_str()) } else { None };
            let plain = match (character, class) {
                ('*' | '?', _) => {
                    text.push(character);
                    literal = None;
                    continue;
                }
                (_, Some((class, after))) => {
                    text.push('[');
                    text.push_str(class);
                    literal = None;
                    rest = after.chars();
                    continue;
                }
                ('\\', None) => rest.next().unwrap_or('\\'),
                (character, None) => character,
            };
            if matches!(plain, '*' | '?' | '[' | ']' | '{' | '}' | '\\') {
                text.push('\\');
            }
            text.push(plain);
            if let Some(literal) = &mut literal {
                literal.push(plain);
            }
        }
        Self { text, literal }
    }
}

/// What, after its `[`, is a class of characters with the bracket that closes it, and what follows; `None` if the
/// bracket means itself, because nothing closes it or because a range in it is the wrong way round.
fn class(after: &str) -> Option<(&str, &str)> {
    let inside = after.strip_prefix(['!', '^']).unwrap_or(after);
    let start = after.len() - inside.len();
    // A bracket that comes first is one of the characters.
    let first = inside.chars().next()?.len_utf8();
    let close = first + inside.get(first..)?.find(']')?;
    let members: Vec<char> = inside.get(..close)?.chars().collect();
    let mut at = 0;
    while let Some(&low) = members.get(at) {
        match (members.get(at + 1), members.get(at + 2)) {
            (Some('-'), Some(&high)) if low > high => return None,
            (Some('-'), Some(_)) => at += 3,
            _ => at += 1,
        }
    }
    after.split_at_checked(start + close + 1)
}

/// `/a/{b,c/d}` is `/a/b` and `/a/c/d`. Braces without a comma, or without their partner, mean themselves.
fn expand_braces(text: &str) -> Outcome<Vec<String>> {
    let (mut done, mut todo) = (Vec::new(), vec![text.to_owned()]);
    while let Some(text) = todo.pop() {
        if done.len() + todo.len() > MAX_ALTERNATIVES {
            return Err(Failure::Usage(format!(
                "the braces stand for more than {MAX_ALTERNATIVES} paths: name fewer at once"
            )));
        }
        match first_braces(&text) {
            None => done.push(text),
            Some((before, choices, after)) => {
                todo.extend(choices.iter().rev().map(|choice| format!("{before}{choice}{after}")));
            }
        }
    }
    Ok(done)
}

/// The text before, the choices in, and the text after the first pair of braces that has a comma.
fn first_braces(text: &str) -> Option<(&str, Vec<&str>, &str)> {
    let mut open: Vec<(usize, Vec<usize>)> = Vec::new();
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' => open.push((at, Vec::new())),
            ',' => {
                if let Some((_, commas)) = open.last_mut() {
                    commas.push(at);
                }
            }
            '}' => {
                let Some((start, commas)) = open.pop() else { continue };
                if commas.is_empty() {
                    continue;
                }
                let mut choices = Vec::new();
                let mut from = start + 1;
                for comma in commas.into_iter().chain([at]) {
                    choices.push(text.get(from..comma)?);
                    from = comma + 1;
                }
                return Some((text.get(..start)?, choices, text.get(at + 1..)?));
            }
            _ => {}
        }
    }
    None
}

async fn expand_one(tree: &impl Tree, parts: &[Part], found: &mut BTreeMap<FsPath, FileStatus>) -> Outcome {
    // Everything up to the first real pattern is one path, asked for once.
    let literals = parts.iter().take_while(|part| matches!(part, Part::Literal(_))).count();
    let (head, rest) = parts.split_at(literals);
    let mut start = FsPath::root();
    for part in head {
        if let Part::Literal(name) = part {
            start = start.join(name)?;
        }
    }
    let Some(status) = tree.status(&start).await? else { return Ok(()) };
    let mut todo = vec![(start, status, rest)];
    while let Some((path, status, rest)) = todo.pop() {
        let Some((part, after)) = rest.split_first() else {
            found.insert(path, status);
            continue;
        };
        if !status.is_directory() {
            if matches!(part, Part::Deep) {
                todo.push((path, status, after));
            }
            continue;
        }
        match part {
            Part::Literal(name) => {
                let path = path.join(name)?;
                if let Some(status) = tree.status(&path).await? {
                    todo.push((path, status, after));
                }
            }
            Part::Pattern { matcher, dotted } => {
                for (name, status) in tree.entries(&path).await? {
                    if matcher.is_match(&name) && (*dotted || !name.starts_with('.')) {
                        todo.push((path.join(&name)?, status, after));
                    }
                }
            }
            Part::Deep => {
                for (name, status) in tree.entries(&path).await? {
                    let visible = !name.starts_with('.');
                    // A file ends the descent: it matches if nothing is asked for after the `**`.
                    if visible && (status.is_directory() || after.is_empty()) {
                        todo.push((path.join(&name)?, status, rest));
                    }
                }
                todo.push((path, status, after));
            }
            Part::Up => {
                let above = path.parent().unwrap_or(path);
                if let Some(status) = tree.status(&above).await? {
                    todo.push((above, status, after));
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use dfs_types::{ErrorCode, FileKind, InodeId, Millis, Mode};

    use super::*;
    use crate::remote_path::RemotePath;

    /// A file system of paths; those that end with a slash are directories.
    struct Paths(&'static [&'static str]);

    fn entry(kind: FileKind) -> FileStatus {
        FileStatus {
            inode: InodeId(1),
            kind,
            owner: String::new(),
            group: String::new(),
            mode: Mode::FILE,
            mtime: Millis(0),
            atime: Millis(0),
            length: 0,
            replication: 1,
            chunk_size: 1,
            children: 0,
            open: false,
        }
    }

    impl Paths {
        fn all(&self) -> impl Iterator<Item = (FsPath, FileStatus)> {
            self.0.iter().map(|text| {
                let kind = if text.ends_with('/') { FileKind::Directory } else { FileKind::File };
                (RemotePath::parse(text).unwrap().path, entry(kind))
            })
        }
    }

    impl Tree for Paths {
        async fn status(&self, path: &FsPath) -> Outcome<Option<FileStatus>> {
            if path.is_root() {
                return Ok(Some(entry(FileKind::Directory)));
            }
            Ok(self.all().find(|(known, _)| known == path).map(|(_, status)| status))
        }

        async fn entries(&self, path: &FsPath) -> Outcome<Vec<(String, FileStatus)>> {
            Ok(self
                .all()
                .filter(|(known, _)| known.parent().as_ref() == Some(path))
                .map(|(known, status)| (known.name().unwrap().to_owned(), status))
                .collect())
        }
    }

    const TREE: Paths = Paths(&[
        "/logs/",
        "/logs/2024/",
        "/logs/2024/a.log",
        "/logs/2024/b.txt",
        "/logs/2025/",
        "/logs/2025/a.log",
        "/logs/.hidden",
        "/data",
        "/data[1]",
        "/odd*name",
        "/odd/",
        "/odd/{Tenant}.v1",
        "/odd/{1234-ab}.dat",
        "/odd/open{brace",
        "/odd/a}b",
        "/odd/[",
        "/odd/[a",
        "/odd/a]b",
        "/odd/[z-a]",
        "/odd/back\\slash",
    ]);

    async fn matches(pattern: &str) -> Vec<String> {
        match Pattern::parse(pattern).unwrap().expand(&TREE).await {
            Ok(found) => found.into_iter().map(|(path, _)| path.to_string()).collect(),
            Err(failure) => {
                assert_eq!(failure.status(), 3, "{failure:?}");
                Vec::new()
            }
        }
    }

    #[tokio::test]
    async fn patterns_match_as_in_a_shell() {
        for (pattern, expected) in [
            ("/", vec!["/"]),
            ("/data", vec!["/data"]),
            ("/logs/", vec!["/logs"]),
            ("/none", vec![]),
            ("/*", vec!["/data", "/data[1]", "/logs", "/odd", "/odd*name"]),
            ("/logs/*", vec!["/logs/2024", "/logs/2025"]),
            ("/logs/.*", vec!["/logs/.hidden"]),
            ("/logs/202[0-4]/?.log", vec!["/logs/2024/a.log"]),
            ("/logs/*/a.log", vec!["/logs/2024/a.log", "/logs/2025/a.log"]),
            ("/logs/{2024/b,2025/a}.*", vec!["/logs/2024/b.txt", "/logs/2025/a.log"]),
            ("/logs/**/a.log", vec!["/logs/2024/a.log", "/logs/2025/a.log"]),
            ("/**/*.txt", vec!["/logs/2024/b.txt"]),
            ("/logs/**/2024", vec!["/logs/2024"]),
            ("/odd\\*name", vec!["/odd*name"]),
            ("/data/*", vec![]),
            // Only directories end in a slash.
            ("/*/", vec!["/logs", "/odd"]),
            ("/logs/*/", vec!["/logs/2024", "/logs/2025"]),
            ("/logs/**/", vec!["/logs", "/logs/2024", "/logs/2025"]),
            ("/{data,logs}/", vec!["/logs"]),
            ("//logs//2024/./*.log", vec!["/logs/2024/a.log"]),
            ("/logs/2024/../2025/a.log", vec!["/logs/2025/a.log"]),
            ("/logs/202?/../.hidden", vec!["/logs/.hidden"]),
            ("/logs/*/..", vec!["/logs"]),
            ("hdfs:///logs/202[4]", vec!["/logs/2024"]),
            ("/logs/2024/*/x", vec![]),
        ] {
            assert_eq!(matches(pattern).await, expected, "{pattern}");
        }
        assert_eq!(
            matches("/logs/2024/**").await,
            ["/logs/2024", "/logs/2024/a.log", "/logs/2024/b.txt"],
            "everything at and below"
        );
    }

    #[tokio::test]
    async fn what_can_not_be_a_pattern_means_itself() {
        for (pattern, name) in [
            ("{Tenant}.v1", "{Tenant}.v1"),
            ("{Tenant}.*", "{Tenant}.v1"),
            ("*{Tenant}*", "{Tenant}.v1"),
            ("{1234*", "{1234-ab}.dat"),
            ("{1234-ab}.{dat,txt}", "{1234-ab}.dat"),
            ("*{brace", "open{brace"),
            ("open{*", "open{brace"),
            ("a}?", "a}b"),
            ("[", "["),
            ("[a", "[a"),
            ("[[]a", "[a"),
            ("?[a", ""),
            ("[?", "[a"),
            ("a]*", "a]b"),
            ("a[]]b", "a]b"),
            ("[z-a]", "[z-a]"),
            ("[z-a*", "[z-a]"),
            ("back\\\\slash", "back\\slash"),
            ("back\\\\*", "back\\slash"),
            ("*\\", ""),
        ] {
            let expected = if name.is_empty() { Vec::new() } else { vec![format!("/odd/{name}")] };
            assert_eq!(matches(&format!("/odd/{pattern}")).await, expected, "{pattern}");
            let found = NamePattern::parse(pattern, false).unwrap();
            let names = TREE.0.iter().filter_map(|path| path.strip_prefix("/odd/"));
            let names: Vec<&str> = names.filter(|name| found.is_match(name)).collect();
            assert_eq!(
                names,
                expected.iter().map(|path| &path["/odd/".len()..]).collect::<Vec<_>>(),
                "{pattern}"
            );
        }
    }

    #[test]
    fn names_match_in_any_case_if_asked_to() {
        assert!(NamePattern::parse("*.{log,TXT}", true).unwrap().is_match("A.Txt"));
        assert!(!NamePattern::parse("*.{log,TXT}", false).unwrap().is_match("A.Txt"));
    }

    #[test]
    fn braces_are_expanded() {
        for (text, expected) in [
            ("/a", vec!["/a"]),
            ("/{a,b}", vec!["/a", "/b"]),
            ("/{a,b{c,d}}", vec!["/a", "/bc", "/bd"]),
            ("/{a}", vec!["/{a}"]),
            ("/{a,b", vec!["/{a,b"]),
            ("/a,b}", vec!["/a,b}"]),
        ] {
            let mut found = expand_braces(text).unwrap();
            found.sort();
            found.dedup();
            assert_eq!(found, expected, "{text}");
        }
        assert!(expand_braces(&"{a,b}".repeat(20)).is_err());
    }

    #[tokio::test]
    async fn a_file_named_like_a_directory_is_an_error_of_its_own() {
        for pattern in ["/data/", "/data/.", "/dat?/", "/logs/**/a.log/"] {
            match Pattern::parse(pattern).unwrap().expand(&TREE).await {
                Err(Failure::Fs(error)) => assert_eq!(error.code, ErrorCode::NotADirectory, "{pattern}"),
                other => panic!("{pattern}: {other:?}"),
            }
        }
        assert!(Pattern::parse("/logs/.").unwrap().is_nameless());
        assert!(!Pattern::parse("/logs/").unwrap().is_nameless());
    }

    #[test]
    fn wrong_paths_and_patterns_are_refused() {
        for text in ["", "a", "~/a", "hdfs://nn/a"] {
            assert_eq!(Pattern::parse(text).unwrap_err().status(), 2, "{text}");
        }
    }
}
