//! The plugin's files: by ɳSelf's rules, and by what the server really is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

mod compose;
mod dashboard;
mod hasura;
mod manifest;
mod nginx;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn plugin_file(name: &str) -> String {
    read(&format!("native-server/plugin/{name}"))
}

fn manifest() -> Value {
    serde_json::from_str(&plugin_file("plugin.json")).expect("JSON")
}

fn yaml(name: &str) -> Value {
    serde_saphyr::from_str(&plugin_file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn words(value: &Value) -> BTreeSet<String> {
    let words = value.as_array().unwrap_or_else(|| panic!("no list: {value}")).iter();
    words.map(|word| word.as_str().expect("a string").to_owned()).collect()
}

/// The variables that `.env.example` names; which of them are not commented out.
fn example() -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut all, mut set) = (BTreeSet::new(), BTreeSet::new());
    for line in plugin_file(".env.example").lines() {
        let Some((name, _)) = line.trim_start_matches("# ").split_once('=') else { continue };
        if !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_') {
            all.insert(name.to_owned());
            if !line.starts_with('#') {
                set.insert(name.to_owned());
            }
        }
    }
    (all, set)
}

/// The columns of each table that the migrations make.
fn tables() -> BTreeMap<String, BTreeSet<String>> {
    let mut tables = BTreeMap::new();
    for (name, sql) in migrations() {
        if name.ends_with(".down.sql") {
            continue;
        }
        for rest in sql.split("CREATE TABLE ").skip(1) {
            let (table, rest) = rest.split_once(" (").expect("its columns");
            let (columns, _) = rest.split_once("\n)").expect("the columns' end");
            let names = columns.lines().filter_map(|line| line.strip_prefix("    ")?.split(' ').next());
            let names = names.filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
            tables.insert(table.to_owned(), names.map(str::to_owned).collect());
        }
    }
    tables
}

fn migrations() -> Vec<(String, String)> {
    let entries = fs::read_dir(root().join("native-server/migrations")).expect("the folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names.into_iter().map(|name| (name.clone(), read(&format!("native-server/migrations/{name}")))).collect()
}

#[test]
fn dockerfile_is_of_this_projects_compiler_and_fetches_nothing() {
    let dockerfile = plugin_file("Dockerfile");
    let toolchain = read("rust-toolchain.toml");
    let channel = toolchain.split("channel = \"").nth(1).and_then(|rest| rest.split('"').next());
    let from = format!("FROM rust:{}-slim", channel.expect("the channel"));
    assert!(dockerfile.contains(&from), "{from}");
    for line in dockerfile.lines().filter(|line| line.starts_with("RUN")) {
        for word in ["apt", "curl", "wget", "rustup", "git "] {
            assert!(!line.contains(word), "{line}");
        }
    }
    assert!(dockerfile.lines().any(|line| line == "USER 65532:65532"), "not root");
    let exec = json!(["nself-sync", "healthcheck"]).to_string().replace(',', ", ");
    let check = dockerfile.lines().find(|line| line.starts_with("HEALTHCHECK")).expect("a health check");
    assert!(check.ends_with(&format!("CMD {exec}")), "{check}");
}

#[test]
fn each_migration_is_by_the_contract_and_can_be_undone() {
    let migrations = migrations();
    let ups: Vec<&String> =
        migrations.iter().map(|(name, _)| name).filter(|name| !name.ends_with(".down.sql")).collect();
    assert!(!ups.is_empty());
    for (n, up) in ups.iter().enumerate() {
        assert!(up.starts_with(&format!("{:03}_", n + 1)), "{up}: numbered without gaps");
        let down = up.replace(".sql", ".down.sql");
        let (_, undo) = migrations.iter().find(|(name, _)| *name == down).unwrap_or_else(|| panic!("{down}"));
        assert!(undo.contains(&format!("filename = '{up}'")), "{down} leaves the ledger as it was");
    }
    for (name, sql) in &migrations {
        let words: Vec<&str> = sql.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
        for word in ["COMMIT", "ROLLBACK", "CONCURRENTLY"] {
            assert!(!words.contains(&word), "{name}: {word}");
        }
    }
}
