//! The three-way merge against libgit2's, on the same texts in the same run.

use super::text::{edited, source};
use super::{Figure, median_ns};
use git2::{MergeFileInput, MergeFileOptions, merge_file};
use nself_sync_engine::text::{Merge, merge};

/// Sizes of the texts in bytes, and edits a side.
const CASES: [(usize, usize); 4] = [(2 << 10, 2), (16 << 10, 6), (128 << 10, 20), (512 << 10, 100)];

/// Nanoseconds a byte of the three texts, ours and libgit2's.
pub fn run() -> Vec<Figure> {
    // The first object of the library starts it; merging alone does not.
    let _started = git2::Config::new();
    let mut figures = Vec::new();
    let (mut ours_sum, mut theirs_sum) = (0.0, 0.0);
    for (bytes, edits) in CASES {
        let base = source(7, bytes);
        let (mine, theirs) = (edited(&base, 11, edits, 0), edited(&base, 13, edits, 2));
        let total = (base.len() + mine.len() + theirs.len()) as f64;
        let merged = git(&base, &mine, &theirs);
        match merge(base.as_bytes(), mine.as_bytes(), theirs.as_bytes()) {
            Merge::Clean(clean) => assert_eq!(Some(clean), merged, "both merge to the same text"),
            Merge::Conflict => assert_eq!(None, merged, "both see a conflict"),
        }
        let ours = median_ns(|| merge(base.as_bytes(), mine.as_bytes(), theirs.as_bytes())) / total;
        let theirs = median_ns(|| git(&base, &mine, &theirs)) / total;
        let name = format!("merge {} KiB, {edits} edits a side", bytes >> 10);
        figures.push(Figure::new(name.clone(), ours, "ns/byte"));
        figures.push(Figure::new(format!("{name}, libgit2"), theirs, "ns/byte"));
        ours_sum += ours;
        theirs_sum += theirs;
    }
    figures
        .push(Figure::new("merge: time of ours to libgit2's", ours_sum / theirs_sum, "ratio").at_most(1.0));
    figures
}

/// libgit2's merge; `None`: a conflict.
fn git(base: &str, mine: &str, theirs: &str) -> Option<Vec<u8>> {
    let (ancestor, ours, others) = (input(base), input(mine), input(theirs));
    let result = merge_file(&ancestor, &ours, &others, Some(&mut MergeFileOptions::new()));
    let result = result.expect("libgit2 merges texts");
    result.is_automergeable().then(|| result.content().to_vec())
}

fn input(text: &str) -> MergeFileInput<'_> {
    let mut input = MergeFileInput::new();
    input.content(text.as_bytes());
    input
}
