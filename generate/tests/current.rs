//! Committed files are what the code makes now.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use dfs_generate::{check, from_chart, from_code};

fn root() -> PathBuf {
    Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).parent().unwrap().to_owned()
}

#[test]
fn files_made_from_code_are_current() {
    check(&root(), from_code().unwrap()).unwrap();
}

#[test]
fn manifests_are_what_the_chart_makes() {
    if let Some(manifests) = from_chart(&root()).unwrap() {
        check(&root(), manifests).unwrap();
    }
}
