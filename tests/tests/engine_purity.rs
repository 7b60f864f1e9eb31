//! The house's invariants 1 and 6, read off the sources: the engine is pure and depends on an allow-list, SQL stands in
//! the stores only, and an error's status is chosen in one file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What the engine may depend on, each for one thing. A crate is added here with its reason, or not at all.
const ENGINE_DEPENDENCIES: [&str; 12] = [
    "argon2",           // boxes: the key of a passphrase
    "base64",           // contents that are no text, tokens
    "chacha20poly1305", // boxes: the cipher, small in wasm and in constant time without AES instructions
    "gix-imara-diff",   // the line diff, as git's
    "hkdf",             // boxes: the key of an auth secret or recovery code
    "jiff",             // times as RFC 3339; without its clock
    "miniz_oxide",      // keyframes
    "percent-encoding", // queries
    "serde",            // hashes as JSON
    "serde_json",       // the wire
    "sha2",             // hashes and tags
    "zeroize",          // boxes: keys are wiped
];

/// What the SQL of the engine's stores may depend on.
const SQLITE_DEPENDENCIES: [&str; 2] = ["nself-sync-engine", "serde_json"];

/// Crates that bring a clock, randomness, threads, IO, or a host, anywhere below the engine.
const IMPURE_CRATES: [&str; 16] = [
    "getrandom",
    "rand",
    "rand_core",
    "fastrand",
    "uuid",
    "time",
    "chrono",
    "tokio",
    "futures",
    "async-trait",
    "mio",
    "libc",
    "log",
    "tracing",
    "js-sys",
    "wasm-bindgen",
];

/// The modules of the standard library that have neither clock nor IO nor an order of iteration that varies.
const STD_MODULES: [&str; 12] =
    ["borrow", "cmp", "collections", "error", "fmt", "iter", "mem", "num", "ops", "slice", "str", "sync"];

/// What pure code that no input can bring to a panic does not say.
const IMPURE_WORDS: [&str; 27] = [
    "async ",
    ".await",
    "Future",
    "SystemTime",
    "Instant",
    "Timestamp::now",
    "Zoned::now",
    "HashMap",
    "HashSet",
    "RandomState",
    "thread_local",
    "Mutex",
    "RwLock",
    "println!",
    "eprintln!",
    "print!(",
    "dbg!",
    ".unwrap()",
    ".expect(",
    ".unwrap_err()",
    "panic!",
    "unreachable!",
    "todo!",
    "unimplemented!",
    "assert!",
    "assert_eq!",
    "unsafe ",
];

/// The statements of SQL, as this project writes them.
const SQL: [&str; 7] =
    ["SELECT ", "INSERT INTO", "INSERT OR", "UPDATE np_", "DELETE FROM", "CREATE TABLE", "ALTER TABLE"];

/// Where SQL may stand.
const SQL_FOLDERS: [&str; 2] = ["engine/sqlite/src", "native-server/src/store"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A source file of the product: its path within the repository, and its lines without comments.
struct Source {
    path: String,
    lines: Vec<String>,
}

/// The sources below a folder, but for unit tests.
fn sources(folder: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && name != "tests" && name != "testdata" {
                folders.push(path);
            } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default().to_owned());
                let path = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                sources.push(Source { path, lines: lines.collect() });
            }
        }
    }
    assert!(sources.len() > 1, "no sources in {folder}");
    sources
}

/// All that decides: the engine and the SQL that it shares with its hosts.
fn engine() -> Vec<Source> {
    ["engine/src", "engine/sqlite/src"].into_iter().flat_map(sources).collect()
}

/// Each line of these sources, with where it is.
fn lines(sources: &[Source]) -> impl Iterator<Item = (String, &str)> {
    sources.iter().flat_map(|source| {
        let numbered = source.lines.iter().enumerate();
        numbered.map(|(number, line)| (format!("{}:{}", source.path, number + 1), line.as_str()))
    })
}

fn found(places: Vec<String>) {
    assert!(places.is_empty(), "\n{}", places.join("\n"));
}

fn cargo(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(args).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "cargo {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What a crate of this workspace depends on itself, tests aside.
fn dependencies(package: &str) -> BTreeSet<String> {
    let metadata: Value =
        serde_json::from_str(&cargo(&["metadata", "--no-deps", "--format-version", "1", "--locked"]))
            .unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|one| one["name"] == package).unwrap();
    let dependencies = package["dependencies"].as_array().unwrap().iter();
    let shipped = dependencies.filter(|dependency| dependency["kind"] != "dev");
    shipped.map(|dependency| dependency["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_engine_depends_on_its_allow_list() {
    assert_eq!(dependencies("nself-sync-engine"), ENGINE_DEPENDENCIES.map(str::to_owned).into());
    assert_eq!(dependencies("nself-sync-sqlite"), SQLITE_DEPENDENCIES.map(str::to_owned).into());
}

#[test]
fn nothing_below_the_engine_has_a_clock_randomness_or_io() {
    let args = ["tree", "-p", "nself-sync-sqlite", "--edges", "normal,build", "--prefix", "none", "--locked"];
    let tree = cargo(&[&args[..], &["--target", "wasm32-unknown-unknown", "--format", "{p}"]].concat());
    let crates: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(crates.contains("sha2"), "{tree}");
    found(crates.into_iter().filter(|name| IMPURE_CRATES.contains(name)).map(str::to_owned).collect());
}

#[test]
fn the_engine_names_no_clock_randomness_io_or_panic() {
    found(impure(&engine()));
    assert!(!impure(&sources("native-server/src")).is_empty(), "the scan sees what it looks for");
}

fn impure(sources: &[Source]) -> Vec<String> {
    let impure = lines(sources).filter_map(|(place, line)| {
        let word = IMPURE_WORDS.iter().find(|word| line.contains(**word))?;
        Some(format!("{place}: {word}"))
    });
    impure.collect()
}

#[test]
fn the_engine_uses_the_pure_part_of_the_standard_library() {
    let sources = engine();
    let modules = lines(&sources).flat_map(|(place, line)| {
        let after = line.split("std::").skip(1).map(move |rest| {
            let module: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            (place.clone(), module)
        });
        after.collect::<Vec<_>>()
    });
    let others = modules.filter(|(_, module)| !STD_MODULES.contains(&module.as_str()));
    found(others.map(|(place, module)| format!("{place}: std::{module}")).collect());
}

/// `value["name"]` on an object is no index that can be out of range; everything else is.
#[test]
fn the_engine_indexes_nothing() {
    let sources = engine();
    let indexed = lines(&sources).filter_map(|(place, line)| {
        let bytes = line.as_bytes();
        let is_index = (1..bytes.len()).any(|at| {
            let before = bytes[at - 1];
            bytes[at] == b'['
                && (before.is_ascii_alphanumeric() || matches!(before, b'_' | b')' | b']'))
                && bytes.get(at + 1) != Some(&b'"')
        });
        is_index.then(|| format!("{place}: {}", line.trim()))
    });
    found(indexed.collect());
}

#[test]
fn sql_stands_in_the_stores_only() {
    let folders = ["engine", "native-server/src", "xtask/src"];
    let mut stores = 0;
    for folder in folders {
        let sources = sources(folder);
        let sql = lines(&sources).filter(|(_, line)| SQL.iter().any(|statement| line.contains(statement)));
        let (inside, outside): (Vec<String>, Vec<String>) = sql
            .map(|(place, _)| place)
            .partition(|place| SQL_FOLDERS.iter().any(|folder| place.starts_with(folder)));
        stores += inside.len();
        found(outside);
    }
    assert!(stores > 10, "the scan finds SQL where it is");
}

/// Replies that are no error say 200, 204 or 304 where they are made; a host has none to choose, but for the 500 of
/// a status that is none.
#[test]
fn an_errors_status_is_chosen_in_wire_only() {
    let engine = sources("engine/src");
    let elsewhere = lines(&engine).filter(|(place, _)| !place.starts_with("engine/src/wire"));
    let statuses = elsewhere.flat_map(|(place, line)| {
        let after = line.split("status: ").skip(1).map(move |rest| (place.clone(), rest));
        after.collect::<Vec<_>>()
    });
    let chosen = statuses.filter(|(_, rest)| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        !digits.is_empty() && !["200", "204", "304"].contains(&digits.as_str())
    });
    found(chosen.map(|(place, rest)| format!("{place}: status: {rest}")).collect());

    let server = sources("native-server/src");
    let chosen = lines(&server).filter(|(_, line)| {
        let names = line.split("StatusCode::").skip(1).any(|rest| {
            rest.starts_with(|c: char| c.is_ascii_uppercase()) && !rest.starts_with("INTERNAL_SERVER_ERROR")
        });
        names || line.contains("from_u16(4") || line.contains("from_u16(5")
    });
    found(chosen.map(|(place, line)| format!("{place}: {}", line.trim())).collect());
}
