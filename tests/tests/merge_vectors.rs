//! The merge against the real `git merge-file`, baked by `src/bin/bake_merge.rs`, and against another merge library.

use std::path::Path;

use nself_sync_engine::text::{Merge, merge};
use serde_json::Value;

/// Names of vectors where the engine deliberately differs from git, each with the reason. None so far.
///
/// (One difference is too large for a vector: more than 262,140 differing lines, base and one side together, are a
/// conflict without being tried.)
const DELIBERATE_DIFFERENCES: &[&str] = &[];

#[test]
fn every_merge_is_what_git_merge_file_made_of_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/merge/cases.json");
    let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(cases.len() > 3_000, "only {} cases", cases.len());
    for case in &cases {
        let text = |key: &str| case[key].as_str().unwrap_or_else(|| panic!("{key} of {case}"));
        let expected = match &case["git"] {
            Value::Null => Merge::Conflict,
            git => Merge::Clean(git.as_str().unwrap().into()),
        };
        let merged = merge(text("base").as_bytes(), text("mine").as_bytes(), text("theirs").as_bytes());
        let differs = DELIBERATE_DIFFERENCES.contains(&text("name"));
        assert_eq!(merged != expected, differs, "{case}\nmerged to {merged:?}");
    }
}

/// Where a line stands twice in one of the texts, `diffy` 0.5 may take an edit to another of the places than git does, and
/// so lose a deletion or an insertion. (Over the letters a and b, up to four lines, 110 of the 29,791 cases; base aaa, mine
/// aa, theirs baa is one.) It is a sound second opinion where no text repeats a line, and there without exception.
#[test]
fn where_diffy_merges_cleanly_too_the_text_is_the_same() {
    let texts = texts_without_repeats();
    let mut both_clean = 0;
    for base in ["ab", "abcd"] {
        for mine in &texts {
            for theirs in &texts {
                let [b, m, t] = [base, mine.as_str(), theirs.as_str()].map(one_line_a_letter);
                let merged = merge(b.as_bytes(), m.as_bytes(), t.as_bytes());
                let (Merge::Clean(own), Ok(other)) = (merged, diffy::merge(&b, &m, &t)) else { continue };
                both_clean += 1;
                assert_eq!(
                    String::from_utf8(own).unwrap(),
                    other,
                    "base {base}, mine {mine}, theirs {theirs}"
                );
            }
        }
    }
    assert!(both_clean > 1_000, "only {both_clean}");
}

fn one_line_a_letter(letters: &str) -> String {
    letters.chars().flat_map(|letter| [letter, '\n']).collect()
}

/// All strings of at most four different letters from a to e.
fn texts_without_repeats() -> Vec<String> {
    let mut texts = vec![String::new()];
    let mut longest = 0..1;
    for _ in 0..4 {
        let longer: Vec<String> = texts[longest]
            .iter()
            .flat_map(|text| {
                ('a'..='e')
                    .filter(|&letter| !text.contains(letter))
                    .map(move |letter| format!("{text}{letter}"))
            })
            .collect();
        longest = texts.len()..texts.len() + longer.len();
        texts.extend(longer);
    }
    texts
}
