//! Bakes `tests/vectors/merge/cases.json`: three-way merges, and what the real `git merge-file` says to them.
//!
//! `cargo run -p nself-sync-tests --bin bake_merge` writes the file anew, always with the same cases; only git's
//! answers may change. Every case stands in both directions.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

const RANDOM_CASES: usize = 1_500;

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut baked = Vec::new();
    for (name, texts) in named_cases().into_iter().chain(random_cases()) {
        let [base, mine, theirs] = &texts;
        for (name, mine, theirs) in [(name.clone(), mine, theirs), (format!("{name}, swapped"), theirs, mine)]
        {
            let git = ask_git(folder.path(), base, mine, theirs).with_context(|| name.clone())?;
            baked.push(json!({"name": name, "base": base, "mine": mine, "theirs": theirs, "git": git}));
        }
    }
    let lines: Vec<String> = baked.iter().map(Value::to_string).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/merge/cases.json");
    fs::write(path, format!("[\n{}\n]\n", lines.join(",\n")))?;
    Ok(())
}

/// The merged text, or `None` for a conflict.
fn ask_git(folder: &Path, base: &str, mine: &str, theirs: &str) -> Result<Option<String>> {
    for (file, text) in [("base", base), ("mine", mine), ("theirs", theirs)] {
        fs::write(folder.join(file), text)?;
    }
    let output = Command::new("git")
        .args(["merge-file", "-q", "-p", "mine", "base", "theirs"])
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CEILING_DIRECTORIES", folder)
        .output()?;
    match output.status.code() {
        Some(0) => Ok(Some(String::from_utf8(output.stdout)?)),
        // The number of conflicts; 255 is an error.
        Some(1..=127) => Ok(None),
        Some(_) | None => {
            bail!("git merge-file: {} {}", output.status, String::from_utf8_lossy(&output.stderr))
        }
    }
}

/// A case: base, mine, theirs.
type Texts = [String; 3];

fn named_cases() -> Vec<(String, Texts)> {
    let exact = |(name, base, mine, theirs): &(&str, &str, &str, &str)| {
        ((*name).to_owned(), [*base, *mine, *theirs].map(str::to_owned))
    };
    let letters = |(name, base, mine, theirs): &(&str, &str, &str, &str)| {
        ((*name).to_owned(), [*base, *mine, *theirs].map(one_line_a_letter))
    };
    let mut cases: Vec<_> = EXACT.iter().map(exact).chain(LETTERS.iter().map(letters)).collect();
    cases.extend(long_cases());
    cases
}

fn one_line_a_letter(letters: &str) -> String {
    letters.chars().flat_map(|letter| [letter, '\n']).collect()
}

/// Texts as they are: ends of lines and of files.
const EXACT: &[(&str, &str, &str, &str)] = &[
    ("no newline at the end of base", "a\nb\nc", "A\nb\nc\n", "a\nb\nc\n"),
    ("no newline at the end of mine", "a\nb\nc\n", "A\nb\nc", "a\nb\nc\nd\n"),
    ("only mine lost its last newline", "a\nb\nc\n", "a\nb\nc", "A\nb\nc\n"),
    ("no newline anywhere", "a\nb\nc", "A\nb\nc", "a\nb\nC"),
    ("no newline, both append", "a\nb", "a\nb\nc", "a\nb\nd"),
    ("no newline, both append the same", "a\nb", "a\nb\nc", "a\nb\nc"),
    ("no newline, one appends, one prepends", "a\nb", "a\nb\nc", "x\na\nb"),
    ("one gains its newline, one edits above", "a\nb\nc", "a\nb\nc\n", "A\nb\nc"),
    ("one gains its newline, one edits that line", "a\nb\nc", "a\nb\nc\n", "a\nb\nC"),
    ("both gain the newline, one edits too", "a\nb\nc", "a\nb\nc\n", "A\nb\nc\n"),
    ("one line, both edit it", "one", "two", "three"),
    ("one line, both edit it alike", "one", "two", "two"),
    ("one line, one edits it", "one", "two", "one"),
    ("one line, with newline, against none", "one\n", "one", "two\n"),
    ("empty base, both add", "", "a\n", "b\n"),
    ("empty base, both add the same", "", "a\nb\n", "a\nb\n"),
    ("empty base, one adds", "", "a\n", ""),
    ("empty base, both begin the same", "", "a\nb\n", "a\nc\n"),
    ("mine emptied, theirs as it was", "a\nb\n", "", "a\nb\n"),
    ("mine emptied, theirs edited", "a\nb\n", "", "a\nB\n"),
    ("mine emptied, theirs appended", "a\nb\n", "", "a\nb\nc\n"),
    ("both emptied", "a\nb\n", "", ""),
    ("all empty", "", "", ""),
    ("newlines only", "\n\n\n", "\n\n", "\n\n\n\n"),
    ("a newline against nothing", "", "\n", ""),
    ("a newline against two", "\n", "", "\n\n"),
    ("CRLF everywhere", "a\r\nb\r\nc\r\n", "A\r\nb\r\nc\r\n", "a\r\nb\r\nC\r\n"),
    ("mine converted to CRLF", "a\nb\nc\n", "a\r\nb\r\nc\r\n", "a\nB\nc\n"),
    ("mine converted to CRLF, theirs appended", "a\nb\n", "a\r\nb\r\n", "a\nb\nc\n"),
    ("both converted to CRLF, one edits", "a\nb\nc\n", "a\r\nb\r\nc\r\n", "a\r\nB\r\nc\r\n"),
    ("mine converted from CRLF", "a\r\nb\r\nc\r\n", "a\nb\nc\n", "a\r\nb\r\nC\r\n"),
    ("mixed endings, edits apart", "a\r\nb\nc\r\nd\n", "A\r\nb\nc\r\nd\n", "a\r\nb\nc\r\nD\n"),
    ("CR alone is no line end", "a\rb\rc\n", "A\rb\rc\n", "a\rb\rC\n"),
    ("CR at the end of the file", "a\nb\r", "A\nb\r", "a\nb\r\n"),
    ("UTF-8, edits apart", "é\nж\n€\n😀\n", "è\nж\n€\n😀\n", "é\nж\n€\n😁\n"),
    ("UTF-8, same character by other bytes", "e\u{301}\nb\nc\n", "é\nb\nc\n", "e\u{301}\nb\nC\n"),
    ("byte order mark", "a\nb\nc\n", "\u{feff}a\nb\nc\n", "a\nb\nC\n"),
    ("trailing blanks", "a\nb\nc\nd\n", "a \nb\nc\nd\n", "a\nb\nc\nd \n"),
    ("tabs against blanks", "\ta\nb\n", "    a\nb\n", "\ta\nc\n"),
    (
        "conflict markers as text",
        "<<<<<<< a\n=======\n>>>>>>> b\n",
        "<<<<<<< a\nx\n=======\n>>>>>>> b\n",
        "<<<<<<< a\n=======\n>>>>>>> c\n",
    ),
    ("JSON on one line", "{\"a\":1,\"b\":2}", "{\"a\":3,\"b\":2}", "{\"a\":1,\"b\":4}"),
];

/// One letter stands for one line.
const LETTERS: &[(&str, &str, &str, &str)] = &[
    ("repeated lines 1", "ab", "b", "ba"),
    ("repeated lines 2", "ab", "bb", "abbb"),
    ("repeated lines 3", "aaba", "caba", "aa"),
    ("repeated lines 4", "aaaa", "aa", "baaa"),
    ("repeated lines 5", "aa", "a", "ba"),
    ("repeated lines 6", "eb", "bb", "ebb"),
    ("repeated lines 7", "aaa", "aa", "Daa"),
    ("repeated lines 8", "ba", "aa", "a"),
    ("repeated lines 9", "bb", "Db", "b"),
    ("edits apart", "abcde", "Abcde", "abcdE"),
    ("edits one line apart", "abc", "Abc", "abC"),
    ("adjacent edits", "abcd", "aBcd", "abCd"),
    ("adjacent insertion and edit", "abc", "aXbc", "aBc"),
    ("adjacent insertion and deletion", "abcd", "abXcd", "acd"),
    ("the same line edited differently", "abc", "aXc", "aYc"),
    ("the same line edited alike", "abc", "aXc", "aXc"),
    ("the same edit, and one more", "abcdef", "aXcdef", "aXcdeF"),
    ("the same edit, and one more beside it", "abcd", "aXcd", "aXYd"),
    ("both insert differently", "abc", "abXc", "abYc"),
    ("both insert the same", "abc", "abXc", "abXc"),
    ("both insert the same, one also elsewhere", "abc", "abXc", "ZabXc"),
    ("both insert, one more than the other", "abc", "abXc", "abXYc"),
    ("both prepend", "abc", "Xabc", "Yabc"),
    ("both append", "abc", "abcX", "abcY"),
    ("one prepends, one appends", "abc", "Xabc", "abcY"),
    ("delete against edit", "abc", "ac", "aXc"),
    ("delete against edit within", "abcdef", "af", "abcXef"),
    ("delete against insertion within", "abcdef", "af", "abcXdef"),
    ("delete against insertion before", "abcdef", "abef", "abXcdef"),
    ("both delete the same", "abcd", "ad", "ad"),
    ("both delete, overlapping", "abcdef", "aef", "abf"),
    ("both delete, apart", "abcdef", "bcdef", "abcde"),
    ("both delete, adjacent", "abcd", "acd", "abd"),
    ("one deletes all but one", "abcde", "c", "abcdE"),
    ("a block moved down, edited by the other", "abcdefgh", "adefbcgh", "abXdefgh"),
    ("a block moved, the other edits elsewhere", "abcdefgh", "adefbcgh", "abcdefgH"),
    ("both move the same block, alike", "abcdefgh", "adefbcgh", "adefbcgh"),
    ("both move the same block, elsewhere", "abcdefgh", "adefbcgh", "bcadefgh"),
    ("lines swapped", "abcd", "bacd", "abdc"),
    ("a block repeated", "abc", "abcabc", "abC"),
    ("a function inserted before a like one", "{x}{y}", "{x}{z}{y}", "{x}{y}{w}"),
    ("braces repeated", "{a}{b}{c}", "{a}{d}{b}{c}", "{a}{b}{e}{c}"),
    ("blank lines between", "a..b..c", "a.b..c", "a..b...c"),
    ("blank line added by both", "ab", "a.b", "a.b"),
    ("blank line added, and one with text", "ab", "a.b", "a.X.b"),
    ("one edits every line, one edits one", "abcdef", "ABCDEF", "abcdeX"),
    ("one edits every second line, one the others", "abcdef", "AbCdEf", "aBcDeF"),
    ("insertions around the same line", "abc", "aXbc", "abYc"),
    ("insertion where the other replaced", "abcde", "abXcde", "aYZde"),
    ("like insertions at both ends of a run", "aaaa", "Xaaaa", "aaaaX"),
    ("a run made shorter by both", "aaaaa", "aaa", "aaaa"),
    ("a run made longer by both", "aa", "aaa", "aaaa"),
    ("a run made longer and shorter", "aaa", "aaaa", "aa"),
];

/// Long enough for the diff's cut-offs and its pruning of frequent lines.
fn long_cases() -> Vec<(String, Texts)> {
    let numbers: Vec<String> = (0..400).map(|n| format!("line {n}\n")).collect();
    let with = |lines: &[String], edits: &[(usize, &str)]| -> String {
        let text = |(at, line): (usize, &String)| {
            edits.iter().find(|(edit, _)| *edit == at).map_or(line.clone(), |(_, text)| (*text).to_owned())
        };
        lines.iter().enumerate().map(text).collect()
    };
    let functions: Vec<String> = (0..80)
        .flat_map(|n| [format!("fn f{n}() {{\n"), format!("    {};\n", n % 7), "}\n".into(), "\n".into()])
        .collect();
    let shuffled: String = (0..300).map(|n| format!("{}\n", n * 7919 % 300)).collect();
    let few = |step: usize| -> String { (0..300).map(|n| format!("{}\n", n * n * step % 11 % 4)).collect() };
    vec![
        (
            "long, edits far apart".into(),
            [with(&numbers, &[]), with(&numbers, &[(3, "X\n")]), with(&numbers, &[(390, "Y\n"), (391, "")])],
        ),
        (
            "long, every 4th line against one".into(),
            [
                with(&numbers, &[]),
                numbers
                    .iter()
                    .enumerate()
                    .map(|(n, line)| if n % 4 == 0 { "x\n".to_owned() } else { line.clone() })
                    .collect(),
                with(&numbers, &[(202, "Y\n")]),
            ],
        ),
        (
            "functions, one inserted, one removed".into(),
            [
                with(&functions, &[]),
                with(&functions, &[(40, "fn new() {\n    0;\n}\n\nfn f10() {\n")]),
                with(&functions, &[(120, ""), (121, ""), (122, ""), (123, "")]),
            ],
        ),
        ("sorted against shuffled".into(), [with(&numbers, &[]), shuffled, with(&numbers, &[(5, "X\n")])]),
        ("few distinct lines".into(), [few(1), few(2), few(3)]),
        ("few distinct lines, one edit".into(), [few(1), few(2), format!("{}X\n", few(1))]),
    ]
}

/// Small alphabets, so that lines repeat and edits meet. No case twice.
fn random_cases() -> Vec<(String, Texts)> {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut seen = BTreeSet::new();
    while seen.len() < RANDOM_CASES {
        let letters = 2 + random.below(4);
        let base = random.text(10, letters);
        let (mine, theirs) = match random.below(3) {
            0 => (random.text(10, letters), random.text(10, letters)),
            _ => (random.edited(&base, letters + 2), random.edited(&base, letters + 2)),
        };
        if mine != theirs && mine != base && theirs != base {
            seen.insert([base, mine, theirs]);
        }
    }
    seen.into_iter().enumerate().map(|(n, texts)| (format!("random {n}"), texts)).collect()
}

/// xorshift64: the same cases on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 33) % bound as u64) as usize
    }

    fn letter(&mut self, letters: usize) -> char {
        char::from(b'a' + self.below(letters) as u8)
    }

    /// Up to `lines_max` lines, at times without the last newline.
    fn text(&mut self, lines_max: usize, letters: usize) -> String {
        let lines: Vec<char> = (0..self.below(lines_max + 1)).map(|_| self.letter(letters)).collect();
        self.written(&lines)
    }

    fn edited(&mut self, text: &str, letters: usize) -> String {
        let mut lines: Vec<char> = text.chars().filter(|&letter| letter != '\n').collect();
        for _ in 0..=self.below(3) {
            let at = self.below(lines.len() + 1);
            let letter = self.letter(letters);
            match self.below(3) {
                0 => lines.insert(at, letter),
                1 if at < lines.len() => lines[at] = letter,
                _ => drop(lines.drain(at..(at + self.below(3)).min(lines.len()))),
            }
        }
        self.written(&lines)
    }

    fn written(&mut self, lines: &[char]) -> String {
        let mut text: String = lines.iter().flat_map(|&letter| [letter, '\n']).collect();
        if self.below(6) == 0 {
            text.pop();
        }
        text
    }
}
