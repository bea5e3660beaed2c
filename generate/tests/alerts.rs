//! Alerts and dashboard speak of metrics that exist, and do what they say. What needs promtool is skipped without it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use dfs_daemon::{Described, Kind};
use dfs_generate::{exported, run, tool};
use serde_json::{Value, json};

fn chart() -> PathBuf {
    Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).parent().unwrap().join("charts/dfs-operator")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(chart().join(path)).unwrap()
}

/// Every name that a query may use, with its labels.
fn known() -> BTreeMap<String, BTreeSet<String>> {
    let mut names = BTreeMap::new();
    for Described { name, kind, labels, .. } in
        exported().unwrap().into_iter().flat_map(|(_, _, metrics)| metrics)
    {
        let labels: BTreeSet<String> = labels.into_iter().collect();
        match kind {
            Kind::Counter | Kind::Gauge => {
                names.insert(name, labels);
            }
            Kind::Histogram => {
                for suffix in ["_bucket", "_sum", "_count"] {
                    let mut labels = labels.clone();
                    if suffix == "_bucket" {
                        labels.insert("le".to_owned());
                    }
                    names.insert(format!("{name}{suffix}"), labels);
                }
            }
        }
    }
    names
}

fn is_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_' || letter == ':'
}

/// The metrics in a query, each with the labels that its selector names.
fn used(query: &str) -> Vec<(String, BTreeSet<String>)> {
    let mut found = Vec::new();
    let mut rest = query;
    while let Some(at) = rest.find("dfs_") {
        let begins = !rest[..at].ends_with(is_word);
        let word: String = rest[at..].chars().take_while(|letter| is_word(*letter)).collect();
        rest = &rest[at + word.len()..];
        if !begins || word == "dfs_cluster" || word == "dfs_pool" {
            continue;
        }
        let selector =
            rest.strip_prefix('{').and_then(|inside| inside.split_once('}')).map_or("", |(inside, _)| inside);
        let labels = selector.split(',').filter_map(|part| {
            let label: String = part.trim().chars().take_while(|letter| is_word(*letter)).collect();
            (!label.is_empty()).then_some(label)
        });
        found.push((word, labels.collect()));
    }
    found
}

/// The queries of the rules, and the names that they record.
fn rules() -> (Vec<(String, String)>, BTreeSet<String>) {
    let file: Value = serde_saphyr::from_str(&read("files/alerts.yaml")).unwrap();
    let (mut queries, mut recorded) = (Vec::new(), BTreeSet::new());
    for rule in file["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap())
    {
        let text = |field: &str| rule[field].as_str().map(str::to_owned);
        recorded.extend(text("record"));
        queries.push((text("alert").or(text("record")).unwrap(), text("expr").unwrap()));
    }
    (queries, recorded)
}

/// The queries of the dashboard, by their panel's title.
fn panels() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&read("files/dashboard.json")).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            queries.push((
                panel["title"].as_str().unwrap().to_owned(),
                target["expr"].as_str().unwrap().to_owned(),
            ));
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if let Some(query) = variable["query"].as_str().filter(|query| query.contains("dfs_")) {
            queries.push((variable["name"].as_str().unwrap().to_owned(), query.to_owned()));
        }
    }
    queries
}

#[test]
fn every_metric_asked_for_is_exported() {
    let (known, (rules, recorded)) = (known(), rules());
    // What the monitors add to all of ours.
    let added = ["namespace", "pod", "dfs_cluster", "dfs_pool", "component"];
    let (mut asked, mut wrong) = (0, Vec::new());
    for (place, query) in rules.into_iter().chain(panels()) {
        for (name, labels) in used(&query) {
            asked += 1;
            if recorded.contains(&name) {
                continue;
            }
            let Some(has) = known.get(&name) else {
                wrong.push(format!("{place}: {name} is not exported"));
                continue;
            };
            let strange =
                labels.iter().filter(|label| !has.contains(*label) && !added.contains(&label.as_str()));
            wrong.extend(strange.map(|label| format!("{place}: {name} has no label {label}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(asked > 50, "only {asked} were found");
}

#[test]
fn names_are_told_from_the_rest_of_a_query() {
    let query = "sum by (dfs_cluster) (dfs_a_total{code=~\"x|y\", method!=\"z\"}) / xdfs_b + dfs_c_bucket and dfs_cluster:dfs_d:leader > 0";
    let labels = |labels: &[&str]| labels.iter().map(|label| (*label).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(
        used(query),
        [
            ("dfs_a_total".to_owned(), labels(&["code", "method"])),
            ("dfs_c_bucket".to_owned(), labels(&[])),
            ("dfs_cluster:dfs_d:leader".to_owned(), labels(&[])),
        ]
    );
}

#[test]
fn rules_fire_when_they_should() {
    let Some(promtool) = tool("promtool") else { return };
    let path = |name: &str| chart().join(name).to_str().unwrap().to_owned();
    run(&promtool, &["check", "rules", "--lint=all", "--lint-fatal", &path("files/alerts.yaml")]).unwrap();
    run(&promtool, &["test", "rules", &path("tests/alerts.yaml")]).unwrap();
}

#[test]
fn every_alert_is_tested() {
    let tests = read("tests/alerts.yaml");
    for (name, _) in rules().0.into_iter().filter(|(name, _)| !name.contains(':')) {
        assert!(tests.contains(&format!("alertname=\"{name}\"")), "{name} never fires in tests/alerts.yaml");
    }
}

#[test]
fn queries_of_the_dashboard_are_understood() {
    let Some(promtool) = tool("promtool") else { return };
    let rules: Vec<Value> = panels()
        .into_iter()
        .filter(|(_, query)| !query.starts_with("label_values"))
        .enumerate()
        .map(|(number, (_, query))| {
            let query =
                query.replace("$__rate_interval", "5m").replace("$namespace", "n").replace("$cluster", "c");
            json!({ "record": format!("panel:number:{number}"), "expr": query })
        })
        .collect();
    assert!(rules.len() > 30);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), json!({ "groups": [{ "name": "panels", "rules": rules }] }).to_string())
        .unwrap();
    run(&promtool, &["check", "rules", file.path().to_str().unwrap()]).unwrap();
}
