//! The engine against the wire vectors, baked by `src/bin/bake_wire.rs`: the same inputs give the same bytes, today and
//! in every build of the engine. Where an output is to change, clients and stored data that are out there must bear it.

use std::path::{Path, PathBuf};

use serde_json::Value;

#[path = "wire/answers.rs"]
mod answers;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/wire")
}

fn check(file: &str) {
    let (_, answer) = answers::FILES.into_iter().find(|(name, _)| *name == file).unwrap();
    let text = std::fs::read(folder().join(format!("{file}.json"))).unwrap();
    let cases: Vec<Value> = serde_json::from_slice(&text).unwrap();
    assert!(cases.len() > 40, "only {} cases", cases.len());
    for case in cases {
        let output = answer(&case["input"]).unwrap_or_else(|error| panic!("{}: {error:#}", case["name"]));
        assert_eq!(output, case["output"], "{file}: {}", case["name"]);
    }
}

#[test]
fn patches_are_the_baked_bytes() {
    check("patch");
}

#[test]
fn states_and_deltas_are_the_baked_texts() {
    check("delta");
}

#[test]
fn keys_are_told_apart_as_baked() {
    check("keys");
}

#[test]
fn problems_are_the_baked_bodies() {
    check("problems");
}

#[test]
fn every_file_of_vectors_is_checked() {
    let mut files: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, ["delta.json", "keys.json", "patch.json", "problems.json"]);
}
