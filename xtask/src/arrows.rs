//! Arrows between the workspace's crates. The table in `ARCHITECTURE.md` declares them, for people and for this check;
//! `cargo metadata` tells which there are. Both must be the same, so that the map is never older than the code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// The page with the table.
const PAGE: &str = "ARCHITECTURE.md";
/// What all names of the workspace's crates begin with, and the table leaves out.
const PREFIX: &str = "dfs-";
/// Libraries that a crate does not use itself, as they do what the crate never does. Its tests may.
const FORBIDDEN_LIBRARIES: [(&str, &[&str]); 6] = [
    ("dfs-types", &["tokio", "tonic", "rusqlite", "serde_json"]),
    ("dfs-program", &["tokio", "tonic"]),
    ("dfs-namenode-core", &["tokio", "tonic", "rusqlite"]),
    ("dfs-datanode", &["rusqlite"]),
    ("dfs-client", &["rusqlite"]),
    ("dfs-cli", &["rusqlite"]),
];

/// What of the output of `cargo metadata` is looked at.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

/// A crate of the workspace.
#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

/// What a crate depends on, under its own name even where the manifest renames it.
#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `dev`, `build`, or nothing.
    kind: Option<String>,
}

impl Dependency {
    fn is_for_tests(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }
}

/// The crates of the workspace that one crate depends on.
#[derive(Default)]
struct Arrows {
    /// To be built.
    uses: BTreeSet<String>,
    /// Further ones for its tests.
    tests: BTreeSet<String>,
}

/// The arrows of each crate.
type Graph = BTreeMap<String, Arrows>;

/// Tells every arrow that is in the table or in the workspace but not in both, and every forbidden library.
pub(crate) fn check(root: &Path, broken: &mut Vec<String>) -> Result<()> {
    let page = fs::read_to_string(root.join(PAGE)).with_context(|| format!("reading {PAGE}"))?;
    let metadata: Metadata = serde_json::from_slice(&ask_cargo(root)?).context("reading what cargo says")?;
    compare(&actual(&metadata), &declared(&page)?, broken);
    check_libraries(&metadata, &FORBIDDEN_LIBRARIES, broken);
    Ok(())
}

/// Without dependencies from elsewhere, so that it needs neither the network nor what was fetched.
fn ask_cargo(root: &Path) -> Result<Vec<u8>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--locked"])
        .current_dir(root)
        .output()
        .context("starting cargo")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo metadata failed: {}", complaint.trim());
    Ok(output.stdout)
}

/// The arrows that cargo knows.
fn actual(metadata: &Metadata) -> Graph {
    let members: BTreeSet<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    let arrows_of = |package: &Package| {
        let mut arrows = Arrows::default();
        for dependency in package.dependencies.iter().filter(|one| members.contains(one.name.as_str())) {
            let kind = if dependency.is_for_tests() { &mut arrows.tests } else { &mut arrows.uses };
            kind.insert(dependency.name.clone());
        }
        // A manifest may repeat a crate for the tests, with other features: that is no further arrow.
        arrows.tests.retain(|name| !arrows.uses.contains(name));
        arrows
    };
    metadata.packages.iter().map(|package| (package.name.clone(), arrows_of(package))).collect()
}

/// The arrows that the page's table allows: of its rows the columns `crate` and `uses` are read, and nothing else.
fn declared(page: &str) -> Result<Graph> {
    let mut rows = page.lines().map(cells).skip_while(|row| !row.contains(&"uses"));
    let header =
        rows.next().with_context(|| format!("{PAGE} has no table with a column 'uses': restore it"))?;
    let column = |title| header.iter().position(|cell| *cell == title);
    let name_column = column("crate").with_context(|| format!("{PAGE} has no column 'crate': restore it"))?;
    let uses_column = column("uses").context("the header was found by it")?;
    let mut graph = Graph::new();
    // The line below the header is made of dashes.
    for row in rows.skip(1).take_while(|row| !row.is_empty()) {
        let cell = |column: usize| row.get(column).copied().unwrap_or_default();
        let name = cell(name_column).trim_matches('`');
        let other = graph.insert(name.to_owned(), parse_arrows(cell(uses_column)));
        ensure!(other.is_none(), "{PAGE} has two rows for {name}: remove one");
    }
    Ok(graph)
}

/// The cells of a row; nothing if the line is no row.
fn cells(line: &str) -> Vec<&str> {
    let inner = line.trim().strip_prefix('|').map(|rest| rest.strip_suffix('|').unwrap_or(rest));
    inner.map(|inner| inner.split('|').map(str::trim).collect()).unwrap_or_default()
}

/// Reads `types, proto; tests: fault-disk`. What is misspelt becomes the name of a crate that nothing depends on.
fn parse_arrows(cell: &str) -> Arrows {
    let mut arrows = Arrows::default();
    for part in cell.split(';').map(str::trim) {
        let (kind, names) = match part.strip_prefix("tests:") {
            Some(names) => (&mut arrows.tests, names),
            None => (&mut arrows.uses, part),
        };
        let names = names.split(',').map(str::trim).filter(|name| !matches!(*name, "" | "–"));
        kind.extend(names.map(|name| format!("{PREFIX}{name}")));
    }
    arrows
}

/// Tells each crate that only one of the two has, and each arrow.
fn compare(actual: &Graph, declared: &Graph, broken: &mut Vec<String>) {
    for (name, has) in actual {
        let Some(may) = declared.get(name) else {
            broken.push(format!("{name} is missing in the table of {PAGE}: add a row"));
            continue;
        };
        compare_kind(&format!("{name} depends"), &has.uses, &may.uses, broken);
        compare_kind(&format!("the tests of {name} depend"), &has.tests, &may.tests, broken);
    }
    for name in declared.keys().filter(|name| !actual.contains_key(*name)) {
        broken.push(format!("{PAGE} lists {name}, which is no crate of the workspace: remove the row"));
    }
}

/// Compares what a crate depends on for one purpose. `subject` is the beginning of a sentence that ends with another crate's name.
fn compare_kind(subject: &str, has: &BTreeSet<String>, may: &BTreeSet<String>, broken: &mut Vec<String>) {
    for other in has.difference(may) {
        let allowed = format!("which {PAGE} does not allow: remove it or change the table");
        broken.push(format!("{subject} on {other}, {allowed}"));
    }
    for other in may.difference(has) {
        broken.push(format!("{PAGE} says that {subject} on {other}, which is not so: change the table"));
    }
}

/// Only what the crate itself uses counts: tests may use what they test against.
fn check_libraries(metadata: &Metadata, forbidden: &[(&str, &[&str])], broken: &mut Vec<String>) {
    for (name, libraries) in forbidden {
        let Some(package) = metadata.packages.iter().find(|package| package.name == *name) else {
            broken.push(format!("xtask forbids libraries to {name}, which is no crate: change {}", file!()));
            continue;
        };
        let dependencies = package.dependencies.iter().filter(|dependency| !dependency.is_for_tests());
        let used: BTreeSet<&str> = dependencies.map(|dependency| dependency.name.as_str()).collect();
        for library in libraries.iter().filter(|library| used.contains(*library)) {
            broken.push(format!("{name} must not use {library}: move what needs it to another crate"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A workspace of four crates, as cargo describes it.
    const METADATA: &str = r#"{"packages": [
        {"name": "dfs-types", "dependencies": [{"name": "thiserror", "kind": null}]},
        {"name": "dfs-disk", "dependencies": []},
        {"name": "dfs-proto", "dependencies": [{"name": "dfs-types", "kind": "build"}]},
        {"name": "dfs-client", "dependencies": [
            {"name": "dfs-types", "kind": null}, {"name": "dfs-proto", "kind": null},
            {"name": "dfs-types", "kind": "dev"}, {"name": "dfs-disk", "kind": "dev"},
            {"name": "tokio", "kind": null}, {"name": "tempfile", "kind": "dev"}]}]}"#;
    /// The page that fits it.
    const DESCRIPTION: &str = "# Architecture\n\n\
        | folder | crate | uses | owns |\n\
        | --- | --- | --- | --- |\n\
        | `types/` | `dfs-types` | – | ids |\n\
        | `disk/` | `dfs-disk` | – | a disk |\n\
        | `proto/` | `dfs-proto` | types | messages |\n\
        | `client/` | `dfs-client` | proto, types; tests: disk | calls |\n\n\
        | another | table |\n";

    fn metadata() -> Metadata {
        serde_json::from_str(METADATA).unwrap()
    }

    /// What is told when the page has `after` where the one that fits has `before`.
    fn told(before: &str, after: &str) -> Vec<String> {
        assert!(DESCRIPTION.contains(before), "{before}");
        let mut broken = Vec::new();
        let page = DESCRIPTION.replace(before, after);
        compare(&actual(&metadata()), &declared(&page).unwrap(), &mut broken);
        broken
    }

    #[test]
    fn a_table_that_fits_is_accepted() {
        assert_eq!(told("", ""), Vec::<String>::new());
    }

    #[test]
    fn an_arrow_that_is_not_allowed_is_found() {
        let end = "which ARCHITECTURE.md does not allow: remove it or change the table";
        assert_eq!(told("proto, types;", "types;"), [format!("dfs-client depends on dfs-proto, {end}")]);
        assert_eq!(told("; tests: disk", ""), [format!("the tests of dfs-client depend on dfs-disk, {end}")]);
    }

    #[test]
    fn an_arrow_that_tests_may_have_is_not_one_of_the_crate() {
        let told = told("proto, types; tests: disk", "types; tests: disk, proto");
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("dfs-client depends on dfs-proto, which"), "{told:?}");
    }

    #[test]
    fn an_allowed_arrow_that_does_not_exist_is_found() {
        let end = "which is not so: change the table";
        let expected = format!("ARCHITECTURE.md says that dfs-proto depends on dfs-disk, {end}");
        assert_eq!(told("| types | messages", "| disk, types | messages"), [expected]);
        let expected = format!("ARCHITECTURE.md says that the tests of dfs-client depend on dfs-gone, {end}");
        assert_eq!(told("tests: disk", "tests: disk, gone"), [expected]);
    }

    #[test]
    fn a_crate_without_a_row_and_a_row_without_a_crate_are_found() {
        let expected = "dfs-disk is missing in the table of ARCHITECTURE.md: add a row";
        assert_eq!(told("| `disk/` | `dfs-disk` | – | a disk |\n", ""), [expected]);
        let expected = "ARCHITECTURE.md lists dfs-gone, which is no crate of the workspace: remove the row";
        assert_eq!(told("| `disk/`", "| `gone/` | `dfs-gone` | types | |\n| `disk/`"), [expected]);
    }

    #[test]
    fn a_page_whose_table_cannot_be_read_is_refused() {
        assert!(declared("# Architecture\n").is_err());
        assert!(declared(&DESCRIPTION.replace("| crate |", "| name |")).is_err());
        assert!(declared(&DESCRIPTION.replace("`dfs-disk`", "`dfs-types`")).is_err());
    }

    #[test]
    fn a_forbidden_library_is_found() {
        let told = |forbidden| {
            let mut broken = Vec::new();
            check_libraries(&metadata(), forbidden, &mut broken);
            broken
        };
        let expected = "dfs-client must not use tokio: move what needs it to another crate";
        assert_eq!(told(&[("dfs-client", &["tokio", "tempfile", "tonic"])]), [expected]);
        assert_eq!(told(&[("dfs-gone", &[])]).len(), 1);
    }
}
