//! Rules of the repository that no compiler checks.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::{arrows, circles};

/// A source file longer than this has two rooms in one.
const MAX_LINES: usize = 800;
/// Names that say nothing of what is inside.
const NAMELESS: [&str; 6] = ["util", "utils", "common", "helper", "helpers", "manager"];
/// Words that mark unfinished work.
const UNFINISHED: [&str; 3] = ["FIXME", "XXX", "HACK"];

/// Fails with every broken rule.
pub(crate) fn check(root: &Path) -> Result<()> {
    let mut broken = Vec::new();
    let files = tracked_files(root)?;
    check_sources(root, &files, &mut broken)?;
    circles::check(root, &files, &mut broken)?;
    arrows::check(root, &mut broken)?;
    ensure!(broken.is_empty(), "{} rules are broken:\n  {}", broken.len(), broken.join("\n  "));
    Ok(())
}

fn check_sources(root: &Path, files: &[PathBuf], broken: &mut Vec<String>) -> Result<()> {
    for path in files {
        let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
        if path.extension().is_some_and(|extension| extension == "rs") && !name.contains("/gen/") {
            check_source(path, &name, broken)?;
        }
    }
    Ok(())
}

fn check_source(path: &Path, name: &str, broken: &mut Vec<String>) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {name}"))?;
    let lines = text.lines().count();
    if lines > MAX_LINES {
        broken.push(format!("{name} has {lines} lines: {MAX_LINES} at most"));
    }
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if NAMELESS.contains(&stem) {
        broken.push(format!("{name}: '{stem}' does not say what is inside"));
    }
    if !name.starts_with("xtask/") {
        for (number, line) in text.lines().enumerate() {
            if UNFINISHED.iter().any(|word| line.contains(word)) {
                broken.push(format!("{name}:{} is marked unfinished", number + 1));
            }
        }
    }
    Ok(())
}

/// Every file below `root` but for what builds leave there and hidden folders.
fn tracked_files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))? {
            let entry = entry?;
            let name = entry.file_name();
            let hidden = name.to_string_lossy().starts_with('.');
            if hidden || ["target", "data", "bin"].iter().any(|skip| name == *skip) {
                continue;
            }
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_keeps_its_rules() {
        check(&crate::root().unwrap()).unwrap();
    }

    #[test]
    fn broken_rules_are_found() {
        let root = tempfile::tempdir().unwrap();
        let mut broken = Vec::new();
        fs::write(root.path().join("main.rs"), "//! Well.\n").unwrap();
        check_sources(root.path(), &tracked_files(root.path()).unwrap(), &mut broken).unwrap();
        assert_eq!(broken, Vec::<String>::new());
        fs::write(root.path().join("utils.rs"), format!("// {}\n", "FIXME")).unwrap();
        fs::write(root.path().join("long.rs"), "\n".repeat(MAX_LINES + 1)).unwrap();
        check_sources(root.path(), &tracked_files(root.path()).unwrap(), &mut broken).unwrap();
        let message = broken.join("\n");
        for expected in ["'utils'", "marked unfinished", "801 lines"] {
            assert!(message.contains(expected), "{message}");
        }
    }
}
