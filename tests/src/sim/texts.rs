//! Random edits. Lines come from a small pool, so that equal edits and conflicts happen, or carry a token that no other
//! line has, so that what becomes of one edit can be told.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::rng::Rng;

const POOL: [&str; 7] =
    ["fn main() {", "}", "let x = 1;", "let x = 2;", "", "end", "\u{e4}\u{20ac}\u{1f600}"];

/// Makes tokens that no other line has.
#[derive(Debug, Clone, Default)]
pub struct Mint(u64);

impl Mint {
    fn line(&mut self, rng: &mut Rng) -> String {
        if rng.percent(55) {
            return (*rng.pick(&POOL)).to_owned();
        }
        self.0 += 1;
        format!("<{}>", self.0)
    }

    /// A value that nothing else has.
    pub fn number(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

/// The tokens in a content.
pub fn tokens(content: &[u8]) -> BTreeSet<u64> {
    let text = String::from_utf8_lossy(content);
    let lines = text.lines().map(str::trim_end);
    lines.filter_map(|line| line.strip_prefix('<')?.strip_suffix('>')?.parse().ok()).collect()
}

/// A new content.
pub fn fresh(rng: &mut Rng, mint: &mut Mint, bytes_max: usize) -> Vec<u8> {
    match rng.below(20) {
        0 => Vec::new(),
        1 => binary(rng),
        2 => vec![b'x'; bytes_max + 1],
        _ => {
            let lines = 1 + rng.below(7);
            let mut text = String::from_utf8_lossy(&of_lines(rng, mint, lines)).into_owned();
            if bytes_max > 1000 && rng.percent(50) {
                text.insert_str(0, &format!("{}\n", "long ".repeat(60)));
            }
            if rng.percent(20) {
                text.pop();
            }
            text.into_bytes()
        }
    }
}

/// A text of so many lines.
pub fn of_lines(rng: &mut Rng, mint: &mut Mint, lines: usize) -> Vec<u8> {
    (0..lines).flat_map(|_| (mint.line(rng) + "\n").into_bytes()).collect()
}

fn binary(rng: &mut Rng) -> Vec<u8> {
    vec![0, 159, 146, 150, u8::try_from(rng.below(4)).unwrap_or(0)]
}

/// An edit of a content: of one or two lines, rarely of all of it.
pub fn edited(rng: &mut Rng, mint: &mut Mint, content: &[u8], bytes_max: usize) -> Vec<u8> {
    let text = match std::str::from_utf8(content) {
        Ok(text) if !text.contains('\0') && !rng.percent(6) => text.to_owned(),
        _ => return fresh(rng, mint, bytes_max),
    };
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    for _ in 0..1 + rng.below(2) {
        let line = mint.line(rng) + "\n";
        let at = rng.below(lines.len() + 1);
        match rng.below(10) {
            0..=4 => lines.insert(at, line),
            5..=6 if at < lines.len() => drop(lines.remove(at)),
            7..=8 if at < lines.len() => lines[at] = line,
            _ => {
                if let Some(last) = lines.last_mut() {
                    *last = last.trim_end_matches('\n').to_owned() + if rng.percent(50) { "\n" } else { "" };
                }
            }
        }
    }
    lines.concat().into_bytes()
}

/// A value for a scalar; never null.
pub fn value(rng: &mut Rng, mint: &mut Mint, key: &str) -> Value {
    if key == "env_encrypted" && rng.percent(75) {
        return json!({ "v": 1, "wraps": [{ "kid": "k" }], "ct": mint.number() });
    }
    match rng.below(5) {
        0..=1 if key == "env_encrypted" => json!("sealed by hand"),
        0 => json!({ "line": rng.below(3), "col": rng.below(2) }),
        1 => json!([rng.below(2), null]),
        2 => json!(mint.number()),
        3 => json!(["running", "idle", "done"][rng.below(3)]),
        _ => json!(rng.below(3)),
    }
}
