//! Which bytes of a target can be copied from its base, in order.
//!
//! Common ends first, then a diff by lines, then inside each hunk by content-defined chunks (a long line, or
//! very many short ones) and by words, each trimmed to the bytes that differ. Every level is bounded: chunks
//! are 16 bytes or more, lines are taken only up to [`LINES_MAX`], words up to a budget.

use std::ops::Range;

use gix_imara_diff::Interner;

use super::{Pieces, common_prefix, common_suffix, cut, hunks};

/// Above so many lines on a side the chunk level comes first: its pieces are fewer and more distinct.
const LINES_MAX: usize = 1 << 16;
/// Hunks with both sides at least this long, in bytes, go through the chunk level.
const CHUNKED_BYTES_MIN: usize = 2048;
/// Hunks with both sides at least this long, in bytes, go through the word level.
const WORDS_BYTES_MIN: usize = 16;
/// What the word level may cost in one comparison, in steps of the diff's inner loop (about 0.2 s).
const WORD_STEPS_MAX: usize = 1 << 26;
/// Chunk lengths, in bytes: a chunk ends where the hash of its last eight bytes says so, one place in 32.
const CHUNK_BYTES: Range<usize> = 16..256;
/// A match shorter than this, in bytes, costs less as inserted text than as an operation of its own.
const MATCH_BYTES_MIN: usize = 8;

/// `len` bytes that stand at `base` in the base and at `target` in the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::text) struct Match {
    pub base: usize,
    pub target: usize,
    pub len: usize,
}

/// The matches from `base` to `target`, ascending and disjoint on both sides, none empty. Where both are
/// UTF-8 each begins and ends between characters.
pub(in crate::text) fn matches(base: &[u8], target: &[u8]) -> Vec<Match> {
    let mut matcher = Matcher { base, target, found: Vec::new(), word_steps_left: WORD_STEPS_MAX };
    let level =
        if lines(base) > LINES_MAX || lines(target) > LINES_MAX { Level::Chunks } else { Level::Lines };
    matcher.compare(0..base.len(), 0..target.len(), level);
    let mut found = matcher.found;
    if std::str::from_utf8(base).is_ok() && std::str::from_utf8(target).is_ok() {
        for m in &mut found {
            snap_to_characters(m, base, target);
        }
    }
    let keeps = |m: &Match| {
        let at_an_end = (m.base == 0 && m.target == 0)
            || (m.base + m.len == base.len() && m.target + m.len == target.len());
        m.len >= MATCH_BYTES_MIN || (m.len > 0 && at_an_end)
    };
    found.retain(keeps);
    found
}

fn lines(content: &[u8]) -> usize {
    content.iter().filter(|&&byte| byte == b'\n').count()
}

/// Shrinks a match to whole characters.
fn snap_to_characters(m: &mut Match, base: &[u8], target: &[u8]) {
    let inside = |bytes: &[u8], at: usize| bytes.get(at).is_some_and(|byte| byte & 0xC0 == 0x80);
    while m.len > 0 && inside(base, m.base) {
        *m = Match { base: m.base + 1, target: m.target + 1, len: m.len - 1 };
    }
    while m.len > 0 && (inside(base, m.base + m.len) || inside(target, m.target + m.len)) {
        m.len -= 1;
    }
}

/// What a hunk is cut into, from coarse to fine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Lines,
    Chunks,
    Words,
    Bytes,
}

struct Matcher<'a> {
    base: &'a [u8],
    target: &'a [u8],
    found: Vec<Match>,
    word_steps_left: usize,
}

impl<'a> Matcher<'a> {
    fn compare(&mut self, base: Range<usize>, target: Range<usize>, level: Level) {
        let (b, t) = (cut(self.base, base.clone()), cut(self.target, target.clone()));
        let prefix = common_prefix(b, t);
        let (b, t) = (cut(b, prefix..b.len()), cut(t, prefix..t.len()));
        let suffix = common_suffix(b, t);
        let (b, t) = (cut(b, 0..b.len() - suffix), cut(t, 0..t.len() - suffix));
        self.add(base.start, target.start, prefix);
        if !b.is_empty() && !t.is_empty() {
            self.compare_inside((base.start + prefix, b), (target.start + prefix, t), level);
        }
        self.add(base.end - suffix, target.end - suffix, suffix);
    }

    /// Compares two parts, each given with its offset, that differ in their first and last bytes.
    fn compare_inside(&mut self, base: (usize, &'a [u8]), target: (usize, &'a [u8]), level: Level) {
        let shorter = base.1.len().min(target.1.len());
        match level {
            Level::Lines => self.compare_pieces(base, target, end_of_line, Level::Chunks, false),
            Level::Chunks if shorter >= CHUNKED_BYTES_MIN => {
                self.compare_pieces(base, target, end_of_chunk, Level::Words, false);
            }
            Level::Chunks | Level::Words if shorter >= WORDS_BYTES_MIN => {
                self.compare_pieces(base, target, end_of_word, Level::Bytes, true);
            }
            Level::Chunks | Level::Words | Level::Bytes => {}
        }
    }

    fn compare_pieces(
        &mut self,
        (base_at, base): (usize, &'a [u8]),
        (target_at, target): (usize, &'a [u8]),
        end_of_piece: fn(&[u8]) -> usize,
        finer: Level,
        budgeted: bool,
    ) {
        let mut interner = Interner::new(0);
        let before = Pieces::cut_at(base, end_of_piece, &mut interner);
        let after = Pieces::cut_at(target, end_of_piece, &mut interner);
        if budgeted {
            let pieces = before.len() + after.len();
            let Some(left) = self.word_steps_left.checked_sub(pieces * pieces.min(512)) else { return };
            self.word_steps_left = left;
        }
        let (mut base_done, mut target_done) = (0, 0);
        for hunk in hunks(&before, &after, interner.num_tokens()) {
            let old = before.bytes(hunk.before.start as usize..hunk.before.end as usize);
            let new = after.bytes(hunk.after.start as usize..hunk.after.end as usize);
            self.add(base_at + base_done, target_at + target_done, old.start - base_done);
            (base_done, target_done) = (old.end, new.end);
            self.compare(
                base_at + old.start..base_at + old.end,
                target_at + new.start..target_at + new.end,
                finer,
            );
        }
        self.add(base_at + base_done, target_at + target_done, base.len() - base_done);
    }

    fn add(&mut self, base: usize, target: usize, len: usize) {
        match self.found.last_mut() {
            Some(m) if m.base + m.len == base && m.target + m.len == target => m.len += len,
            _ if len == 0 => {}
            _ => self.found.push(Match { base, target, len }),
        }
    }
}

impl Pieces {
    fn cut_at<'a>(
        mut content: &'a [u8],
        end_of_piece: fn(&[u8]) -> usize,
        interner: &mut Interner<&'a [u8]>,
    ) -> Pieces {
        let mut pieces = Pieces::default();
        while !content.is_empty() {
            let (piece, rest) = content.split_at(end_of_piece(content).clamp(1, content.len()));
            pieces.push(piece, interner);
            content = rest;
        }
        pieces
    }
}

fn end_of_line(rest: &[u8]) -> usize {
    rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |at| at + 1)
}

/// A place that depends on the eight bytes before it alone, so that two texts are cut alike again soon after
/// an edit, wherever their lines end.
fn end_of_chunk(rest: &[u8]) -> usize {
    let mut hash = 0_u32;
    for (at, &byte) in rest.iter().enumerate().take(CHUNK_BYTES.end) {
        hash = (hash << 4).wrapping_add(u32::from(byte).wrapping_mul(0x9E37_79B1) >> 8);
        if at + 1 >= CHUNK_BYTES.start && hash >> 27 == 0 {
            return at + 1;
        }
    }
    CHUNK_BYTES.end
}

/// A word, a run of blanks, or one other byte. Bytes beyond ASCII count as letters.
fn end_of_word(rest: &[u8]) -> usize {
    let letter = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80;
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    match rest.first() {
        Some(first) if letter(first) => rest.iter().take_while(|byte| letter(byte)).count(),
        Some(first) if blank(first) => rest.iter().take_while(|byte| blank(byte)).count(),
        Some(_) | None => 1,
    }
}
