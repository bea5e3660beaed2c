//! Patterns in remote paths: `*`, `?`, `[a-z]`, `{one,two}`, `**`, and `\` before a character that is meant as it is.
//!
//! As in a shell, a leading dot of a name must be matched by a dot, so that the temporary files of transfers under way
//! stay out of sight; each alternative in braces is a path of its own; and what nothing matches is looked up as it was
//! typed, so that a name that was given to a file finds it. Programs, which hand over names, say `--literal`.

use std::collections::BTreeMap;

use dfs_types::{FileStatus, FsError, FsPath};
use globset::{GlobBuilder, GlobMatcher};

use crate::exit::{Failure, Outcome};
use crate::remote_path::{RemotePath, Typed, not_a_directory};

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
    text: String,
    parts: Vec<Part>,
    /// Only directories are meant.
    directory: bool,
    /// It ends in `.` or `..`.
    nameless: bool,
    /// What it is as a name, if that may be another path.
    name: Option<FsPath>,
}

/// How paths of the cluster are typed, in commands that take patterns.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Reading {
    /// Paths are names, not patterns: for those that a program hands over.
    #[arg(long)]
    literal: bool,
}

impl Reading {
    /// Reads a path or pattern.
    pub(crate) fn pattern(self, text: &str) -> Outcome<Pattern> {
        if self.literal { Pattern::literal(text) } else { Pattern::parse(text) }
    }

    /// Reads all of them, so that nothing is done before all can be meant.
    pub(crate) fn patterns(self, texts: &[String]) -> Outcome<Vec<Pattern>> {
        texts.iter().map(|text| self.pattern(text)).collect()
    }
}

/// What a pattern stands for.
#[derive(Debug, Default)]
pub(crate) struct Expansion {
    /// Everything that matches.
    pub(crate) found: BTreeMap<FsPath, FileStatus>,
    /// For each alternative that nothing matches "not found", or "not a directory" if there are files where only
    /// directories are meant.
    pub(crate) missed: Vec<FsError>,
}

/// A path someone typed: with the alternatives of its braces, each cut into parts.
#[derive(Debug)]
pub(crate) struct Pattern {
    text: String,
    alternatives: Vec<Alternative>,
    /// What it is as a name, if it has alternatives.
    name: Option<FsPath>,
}

impl Pattern {
    /// Reads a path or pattern.
    fn parse(text: &str) -> Outcome<Self> {
        let alternatives: Vec<_> =
            expand_braces(text)?.into_iter().map(Alternative::parse).collect::<Outcome<_>>()?;
        let name = if alternatives.len() > 1 { name(text) } else { None };
        Ok(Self { text: text.to_owned(), alternatives, name })
    }

    /// Reads a path in which no letter has a meaning of its own.
    fn literal(text: &str) -> Outcome<Self> {
        let Typed { directory, nameless, .. } = Typed::read(text)?;
        let path = RemotePath::parse(text)?.path;
        let parts = path.parts().map(|name| Part::Literal(name.to_owned())).collect();
        let text = text.to_owned();
        let only = Alternative { text: text.clone(), parts, directory, nameless, name: None };
        Ok(Self { text, alternatives: vec![only], name: None })
    }

    /// As it was typed.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether what matches has no name of its own, as it was reached by `.` or `..` at the end.
    pub(crate) fn is_nameless(&self) -> bool {
        self.alternatives.iter().any(|alternative| alternative.nameless)
    }

    /// Everything that matches, and what does not.
    pub(crate) async fn expand(&self, tree: &impl Tree) -> Outcome<Expansion> {
        let mut expansion = Expansion::default();
        for alternative in &self.alternatives {
            alternative.expand(tree, &mut expansion).await?;
        }
        // Braces that stand for nothing may be those of a name.
        if expansion.found.is_empty()
            && let Some(name) = &self.name
            && let Some(status) = tree.status(name).await?
        {
            return Ok(Expansion { found: BTreeMap::from([(name.clone(), status)]), missed: Vec::new() });
        }
        Ok(expansion)
    }
}

impl Alternative {
    fn parse(text: String) -> Outcome<Self> {
        let typed = Typed::read(&text)?;
        let mut parts = Vec::new();
        for text in typed.parts {
            match (text, parts.last()) {
                ("..", None) => {}
                ("..", Some(Part::Literal(_))) => drop(parts.pop()),
                ("..", Some(Part::Pattern { .. } | Part::Deep | Part::Up)) => parts.push(Part::Up),
                (text, _) => parts.push(part(text)?),
            }
        }
        let (directory, nameless) = (typed.directory, typed.nameless);
        let name = if text.contains(['*', '?', '[', '\\']) { name(&text) } else { None };
        Ok(Self { text, parts, directory, nameless, name })
    }

    /// Adds what matches, or that nothing does.
    async fn expand(&self, tree: &impl Tree, expansion: &mut Expansion) -> Outcome {
        let (mut matching, mut file) = (BTreeMap::new(), None);
        expand_one(tree, &self.parts, &mut matching).await?;
        let mut is_meant = |path: &FsPath, status: &FileStatus| {
            let meant = !self.directory || status.is_directory();
            if !meant {
                file.get_or_insert_with(|| path.clone());
            }
            meant
        };
        matching.retain(|path, status| is_meant(path, status));
        if matching.is_empty()
            && let Some(name) = &self.name
            && let Some(status) = tree.status(name).await?
            && is_meant(name, &status)
        {
            matching.insert(name.clone(), status);
        }
        if matching.is_empty() {
            let missed = file.map_or_else(|| FsError::not_found(&self.text), |file| not_a_directory(&file));
            expansion.missed.push(missed);
        }
        expansion.found.extend(matching);
        Ok(())
    }
}

/// The path that a pattern is when it is read as a name, if it can be one.
fn name(text: &str) -> Option<FsPath> {
    RemotePath::parse(text).ok().map(|typed| typed.path)
}

/// A pattern for names, as `find --name` takes it. As there, braces are no more than letters.
#[derive(Debug)]
pub(crate) struct NamePattern(GlobMatcher);

impl NamePattern {
    /// Reads a pattern; `any_case` makes no difference between `A` and `a`.
    pub(crate) fn parse(text: &str, any_case: bool) -> Outcome<Self> {
        matcher(&Glob::read(text).text, any_case).map(Self)
    }

    /// Whether a name matches.
    pub(crate) fn is_match(&self, name: &str) -> bool {
        self.0.is_match(name)
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
            has_acl: false,
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
        "/odd/b[x]",
        "/odd/q?",
        "/odd/{x,y}",
    ]);

    async fn matches(pattern: &str) -> Vec<String> {
        expanded(&Pattern::parse(pattern).unwrap()).await.0
    }

    /// What matches, and what is said of what does not.
    async fn expanded(pattern: &Pattern) -> (Vec<String>, Vec<String>) {
        let Expansion { found, missed } = pattern.expand(&TREE).await.unwrap();
        let found: Vec<_> = found.into_keys().map(|path| path.to_string()).collect();
        assert!(!found.is_empty() || !missed.is_empty());
        (found, missed.into_iter().map(|error| error.message).collect())
    }

    #[tokio::test]
    async fn what_nothing_matches_is_looked_up_as_it_was_typed() {
        for (pattern, expected) in [
            ("/data[1]", "/data[1]"),
            ("/odd/b[x]", "/odd/b[x]"),
            ("/odd/q?", "/odd/q?"),
            ("/odd/back\\slash", "/odd/back\\slash"),
            ("/odd/{x,y}", "/odd/{x,y}"),
            ("/odd/x/../b[x]", "/odd/b[x]"),
            ("/odd/{b[x],none}", "/odd/b[x]"),
        ] {
            assert_eq!(matches(pattern).await, [expected], "{pattern}");
        }
        // Where something matches, that is meant.
        assert_eq!(matches("/odd*name").await, ["/odd*name"]);
        assert_eq!(matches("/o*").await, ["/odd", "/odd*name"]);
        assert_eq!(matches("/dat[a]").await, ["/data"]);
    }

    #[tokio::test]
    async fn a_literal_path_means_itself_and_nothing_else() {
        for (text, found) in [
            ("/odd*name", true),
            ("/odd/b[x]", true),
            ("/odd/{x,y}", true),
            ("/odd/back\\slash", true),
            ("/odd/./../odd/[", true),
            ("/*", false),
            ("/dat[a]", false),
            ("/odd\\*name", false),
            ("/{data,logs}", false),
            ("/**", false),
        ] {
            let pattern = Reading { literal: true }.pattern(text).unwrap();
            let (matching, missed) = expanded(&pattern).await;
            if found {
                assert_eq!(matching, [text.replace("/./../odd", "")], "{text}");
            } else {
                assert!(matching.is_empty() && missed[0].contains(text), "{text}: {missed:?}");
            }
        }
        assert!(Reading { literal: true }.pattern("a").is_err());
        assert!(Reading { literal: true }.pattern("/a/..").unwrap().is_nameless());
    }

    #[tokio::test]
    async fn each_alternative_that_nothing_matches_is_told() {
        let (found, missed) = expanded(&Pattern::parse("/{data,none,nor}").unwrap()).await;
        assert_eq!(found, ["/data"]);
        assert!(missed.len() == 2 && missed[0].contains("/none") && missed[1].contains("/nor"), "{missed:?}");
        let (found, missed) = expanded(&Pattern::parse("/{data,logs}/").unwrap()).await;
        assert_eq!(found, ["/logs"]);
        assert!(missed.len() == 1 && missed[0].contains("/data is a file"), "{missed:?}");
        let (found, missed) = expanded(&Pattern::parse("/logs/{*/a.log,*/c.log}").unwrap()).await;
        assert_eq!(found, ["/logs/2024/a.log", "/logs/2025/a.log"]);
        assert!(missed.len() == 1 && missed[0].contains("c.log"), "{missed:?}");
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
            if pattern.contains(',') {
                continue;
            }
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
        assert!(NamePattern::parse("*.tXt", true).unwrap().is_match("A.Txt"));
        assert!(!NamePattern::parse("*.tXt", false).unwrap().is_match("A.Txt"));
    }

    #[test]
    fn braces_in_the_pattern_of_a_name_are_letters() {
        let pattern = NamePattern::parse("{a,b}*", false).unwrap();
        assert!(pattern.is_match("{a,b}") && pattern.is_match("{a,b}.log"));
        assert!(!pattern.is_match("a") && !pattern.is_match("b.log"));
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
            let Expansion { found, missed } = Pattern::parse(pattern).unwrap().expand(&TREE).await.unwrap();
            assert!(found.is_empty(), "{pattern}: {found:?}");
            let codes: Vec<_> = missed.iter().map(|error| error.code).collect();
            assert_eq!(codes, [ErrorCode::NotADirectory], "{pattern}");
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
