//! Circles between the modules of a crate: each of them imports the next, and so none can be understood, tested or moved
//! without the others. There are none, but for a module and what lies in its own folder, which are one thing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::source::{Reference, Source};

/// Files that put a crate together: they import from every module, and none from them.
const ROOTS: [&str; 2] = ["lib", "main"];
/// How often one name may stand for another before it is taken for one of another crate.
const MAX_NAMES: usize = 8;

/// Where a module is in its crate, from the root down.
type Module = Vec<String>;
/// The modules that each one imports from.
type Graph = BTreeMap<Module, BTreeSet<Module>>;

/// What the modules of one crate refer to. The root has no name.
#[derive(Default)]
struct Modules {
    references: BTreeMap<Module, Vec<Reference>>,
    /// Modules for tests, with all that is below them.
    tests: BTreeSet<Module>,
}

/// Tells every circle between modules, of the sources among these `files`.
pub(crate) fn check(root: &Path, files: &[PathBuf], broken: &mut Vec<String>) -> Result<()> {
    for (name, modules) in crates(root, files)? {
        broken.extend(circles(&modules.graph()).iter().map(|circle| told(&name, circle)));
    }
    Ok(())
}

/// Modules that all import each other, directly or not.
struct Circle {
    modules: Vec<Module>,
    /// A shortest way round from the first of them, which is the last here too.
    way: Vec<Module>,
}

/// What a circle breaks, and how it is mended.
fn told(name: &str, circle: &Circle) -> String {
    format!(
        "{name}: the modules {} import each other in a circle ({}): move what they share to where it belongs",
        listed(&circle.modules, ", "),
        listed(&circle.way, " → ")
    )
}

fn listed(modules: &[Module], between: &str) -> String {
    modules.iter().map(|module| module.join("::")).collect::<Vec<_>>().join(between)
}

/// The modules of every crate, by the folder of the crate.
fn crates(root: &Path, files: &[PathBuf]) -> Result<BTreeMap<String, Modules>> {
    let mut crates: BTreeMap<String, Modules> = BTreeMap::new();
    for path in files {
        let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
        let Some((folder, file)) = name.split_once("/src/") else { continue };
        let Some(module) = file.strip_suffix(".rs").filter(|file| !file.starts_with("gen/")) else {
            continue;
        };
        let text = fs::read_to_string(path).with_context(|| format!("reading {name}"))?;
        crates.entry(folder.to_owned()).or_default().add(module, &text);
    }
    Ok(crates)
}

impl Modules {
    /// Adds a file by its path below `src`, without its ending.
    fn add(&mut self, file: &str, text: &str) {
        let mut module: Module = file.split('/').map(str::to_owned).collect();
        if module.last().is_some_and(|last| last == "mod") || ROOTS.contains(&file) {
            module.pop();
        }
        let source = Source::read(text);
        self.tests.extend(source.test_modules.iter().map(|name| child(&module, name)));
        // A crate may have two roots.
        self.references.entry(module).or_default().extend(source.references);
    }

    /// The arrows between modules, but for those of the root and of tests, and those between a module and its own.
    fn graph(&self) -> Graph {
        let is_for_tests = |module: &Module| self.tests.iter().any(|tests| module.starts_with(tests));
        let mut graph = Graph::new();
        for (module, references) in &self.references {
            if module.is_empty() || is_for_tests(module) {
                continue;
            }
            let used = references.iter().filter_map(|reference| self.meant(module, &reference.segments, 0));
            let others =
                used.filter(|other| !other.starts_with(module.as_slice()) && !module.starts_with(other));
            graph.insert(module.clone(), others.filter(|other| !is_for_tests(other)).collect());
        }
        graph
    }

    /// The module that a path in `module` leads to, if it is one of the crate other than the root; `names` were followed so
    /// far.
    fn meant(&self, module: &Module, path: &[String], names: usize) -> Option<Module> {
        let (first, mut rest) = path.split_first()?;
        let mut at = match first.as_str() {
            "crate" => Module::new(),
            "self" => module.clone(),
            "super" => {
                let ups = 1 + rest.iter().take_while(|segment| *segment == "super").count();
                rest = rest.get(ups - 1..)?;
                module.get(..module.len().checked_sub(ups)?)?.to_vec()
            }
            name if self.references.contains_key(&child(module, name)) => child(module, name),
            name => return self.renamed(module, name, rest, names),
        };
        while let Some((name, after)) = rest.split_first() {
            let below = child(&at, name);
            if !self.references.contains_key(&below) {
                // What the root offers is somebody else's.
                return if at.is_empty() { self.renamed(&at, name, after, names) } else { Some(at) };
            }
            (at, rest) = (below, after);
        }
        Some(at).filter(|at| !at.is_empty())
    }

    /// The same for a path that begins with a name which is imported in `module`.
    fn renamed(&self, module: &Module, name: &str, rest: &[String], names: usize) -> Option<Module> {
        let imported = |reference: &&Reference| reference.imported_as.as_deref() == Some(name);
        let import = self.references.get(module)?.iter().find(imported).filter(|_| names < MAX_NAMES)?;
        let path: Vec<String> = import.segments.iter().chain(rest).cloned().collect();
        self.meant(module, &path, names + 1)
    }
}

fn child(module: &[String], name: &str) -> Module {
    module.iter().map(String::as_str).chain([name]).map(str::to_owned).collect()
}

/// The circles, each module in one at most.
fn circles(graph: &Graph) -> Vec<Circle> {
    let mut found: Vec<Circle> = Vec::new();
    for module in graph.keys() {
        if found.iter().any(|circle| circle.modules.contains(module)) {
            continue;
        }
        if let Some(round) = way(graph, module, module) {
            let is_in_it =
                |other: &&Module| way(graph, module, other).is_some() && way(graph, other, module).is_some();
            found.push(Circle { modules: graph.keys().filter(is_in_it).cloned().collect(), way: round });
        }
    }
    found
}

/// A shortest way along at least one arrow.
fn way(graph: &Graph, from: &Module, to: &Module) -> Option<Vec<Module>> {
    let mut came_from: BTreeMap<&Module, &Module> = BTreeMap::new();
    let mut todo = VecDeque::from([from]);
    while let Some(module) = todo.pop_front() {
        for next in graph.get(module).into_iter().flatten() {
            if came_from.contains_key(next) {
                continue;
            }
            came_from.insert(next, module);
            if next == to {
                let mut way = vec![next.clone()];
                let mut at = module;
                while at != from {
                    way.push(at.clone());
                    at = came_from.get(at)?;
                }
                way.push(from.clone());
                way.reverse();
                return Some(way);
            }
            todo.push_back(next);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The circles of a crate with these files.
    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let mut modules = Modules::default();
        for (file, text) in files {
            modules.add(file, text);
        }
        circles(&modules.graph()).iter().map(|circle| listed(&circle.way, " ")).collect()
    }

    #[test]
    fn arrows_in_one_direction_are_none() {
        let files = [
            ("main", "mod a; mod b; mod c; use crate::a::A;"),
            ("a", "use crate::b::B; use super::c;"),
            ("b", "use crate::c::C; use tokio::sync;"),
            ("c", "pub fn c() {}"),
        ];
        assert_eq!(found(&files), Vec::<String>::new());
    }

    #[test]
    fn a_circle_is_told_as_it_goes_round() {
        let files = [
            ("a", "use crate::b::B;"),
            ("b", "use super::{c::C, d::D};"),
            ("c", "use crate::{a, d};"),
            ("d", "use dfs_types::a;"),
        ];
        assert_eq!(found(&files), ["a b c a"]);
    }

    #[test]
    fn every_set_of_modules_is_told_once() {
        let files = [
            ("a", "use crate::b::B;"),
            ("b", "use crate::a::A;"),
            ("c", "use crate::d;"),
            ("d", "use crate::c;"),
        ];
        assert_eq!(found(&files), ["a b a", "c d c"]);
    }

    #[test]
    fn no_other_spelling_hides_a_circle() {
        let back = ("b", "use crate::a::A;");
        for (text, why) in [
            ("fn f() { crate::b::g() }", "a path in a body"),
            ("fn f() { use crate::b::g; g() }", "an import in a body"),
            ("fn f() { super::b::g() }", "a path from above"),
            ("use crate::b as other;", "another name"),
            ("use crate::B;", "what the root offers"),
        ] {
            let files = [("lib", "mod a; mod b; pub use b::B;"), ("a", text), back];
            assert_eq!(found(&files), ["a b a"], "{why}");
        }
        let files = [("a", "use crate::b; fn f(c: b::c::C) {}"), ("b/mod", ""), ("b/c", "use crate::a::A;")];
        assert_eq!(found(&files), ["a b::c a"], "by the name of a module above");
    }

    #[test]
    fn a_module_and_its_own_are_one() {
        let files = [
            ("a/mod", "mod b; mod c; use b::B; use self::c::C;"),
            ("a/b", "use super::A; use crate::a::D;"),
            ("a/c", "use super::b::B;"),
        ];
        assert_eq!(found(&files), Vec::<String>::new());
        let files = [("a/mod", "mod b; mod c;"), ("a/b", "use super::c::C;"), ("a/c", "use super::b::B;")];
        assert_eq!(found(&files), ["a::b a::c a::b"], "but not two of them");
    }

    #[test]
    fn tests_may_use_what_they_like() {
        let files = [
            ("a", "use crate::b::B;"),
            ("b", "#[cfg(test)] mod samples; #[cfg(test)] mod tests { use crate::a::A; }"),
            ("b/samples", "use crate::a::A; use crate::c::C;"),
            ("c", "use crate::b::samples::d;"),
        ];
        assert_eq!(found(&files), Vec::<String>::new());
    }

    #[test]
    fn crates_and_modules_are_told_by_where_files_lie() {
        let root = tempfile::tempdir().unwrap();
        let mut files = Vec::new();
        for (name, text) in [
            ("one/src/lib.rs", ""),
            ("one/src/a.rs", "use crate::b::c::C;"),
            ("one/src/b.rs", "pub mod c;"),
            ("one/src/b/c.rs", "use crate::d::D;"),
            ("one/tests/it.rs", "mod a;"),
            ("one/src/d.rs", "use crate::b::c::D; use crate::a::A;"),
            ("two/src/a.rs", "use crate::b::B;"),
            ("two/src/b.rs", "use crate::a::A;"),
        ] {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            files.push(path);
        }
        let mut broken = Vec::new();
        check(root.path(), &files, &mut broken).unwrap();
        let [one, two] = &broken[..] else { panic!("{broken:?}") };
        assert!(one.starts_with("one: the modules a, b::c, d import"), "{one}");
        assert!(one.contains("(a → b::c → d → a)"), "{one}");
        assert!(two.starts_with("two: the modules a, b import"), "{two}");
    }
}
