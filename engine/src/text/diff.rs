//! Line diff as git computes it, and the byte-exact matching that patches are made of.
//!
//! The edit script is that of `gix-imara-diff`'s Myers, a port of git's `xdiff` with its cut-offs, so no
//! input costs quadratic time. Nothing in here can fail.

use std::ops::Range;

use gix_imara_diff::sources::byte_lines;
use gix_imara_diff::{Algorithm, Diff, Hunk, Interner, NoSliderHeuristic, Token};

mod matching;

pub(super) use matching::matches;

/// A content cut into pieces (lines, for a merge), each as a number: equal pieces have equal numbers.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    ids: Vec<Token>,
    /// Byte offset of each piece's end.
    ends: Vec<usize>,
}

impl Pieces {
    /// The lines of `content`, each with its newline; the last one may lack it.
    pub(super) fn lines<'a>(content: &'a [u8], interner: &mut Interner<&'a [u8]>) -> Pieces {
        let mut pieces = Pieces::default();
        pieces.push_lines(content, interner);
        pieces
    }

    /// The lines of `content`, where those it shares at both ends with `like` (whose lines are `self`) are
    /// copied instead of hashed again. The outcome is that of [`Pieces::lines`].
    pub(super) fn lines_like<'a>(
        &self,
        like: &[u8],
        content: &'a [u8],
        interner: &mut Interner<&'a [u8]>,
    ) -> Pieces {
        let prefix = common_prefix(like, content);
        // A last line without newline is a line only where the content ends too, so it is never copied here.
        let whole = self.ends.len() - usize::from(!like.ends_with(b"\n") && !self.ends.is_empty());
        let head = self.ends.partition_point(|&end| end <= prefix).min(whole);
        let head_bytes = self.end(head);

        let suffix =
            common_suffix(cut(like, head_bytes..like.len()), cut(content, head_bytes..content.len()));
        // Strictly inside the shared bytes: the newline before the line is shared as well.
        let tail = self.ends.partition_point(|&end| end <= like.len() - suffix) + 1;
        let tail = tail.clamp(head, self.ends.len().max(head));
        let tail_bytes = like.len() - self.end(tail);

        let mut pieces = Pieces::default();
        pieces.ids.extend_from_slice(self.ids.get(..head).unwrap_or_default());
        pieces.ends.extend_from_slice(self.ends.get(..head).unwrap_or_default());
        pieces.push_lines(cut(content, head_bytes..content.len() - tail_bytes), interner);
        pieces.ids.extend_from_slice(self.ids.get(tail..).unwrap_or_default());
        let from_end = self.ends.iter().skip(tail).map(|&end| content.len() - (like.len() - end));
        pieces.ends.extend(from_end);
        pieces
    }

    fn push_lines<'a>(&mut self, content: &'a [u8], interner: &mut Interner<&'a [u8]>) {
        for line in byte_lines(content) {
            self.push(line, interner);
        }
    }

    fn push<'a>(&mut self, piece: &'a [u8], interner: &mut Interner<&'a [u8]>) {
        self.ids.push(interner.intern(piece));
        self.ends.push(self.end(self.ends.len()) + piece.len());
    }

    /// How many pieces there are.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// The pieces of a range; `None` past the end.
    pub(super) fn ids(&self, pieces: Range<usize>) -> Option<&[Token]> {
        self.ids.get(pieces)
    }

    /// Where the first `count` pieces end, in bytes.
    pub(super) fn end(&self, count: usize) -> usize {
        count.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or(0)
    }

    /// The bytes of a range of pieces.
    pub(super) fn bytes(&self, pieces: Range<usize>) -> Range<usize> {
        self.end(pieces.start)..self.end(pieces.end)
    }
}

/// The hunks that lead from `before` to `after`, which share one interner of `distinct` pieces: those of
/// `git diff --no-indent-heuristic`. Where a hunk could stand at several places (repeated lines) it is
/// slid as git slides it, and that decides which merges are clean.
pub(super) fn hunks(before: &Pieces, after: &Pieces, distinct: u32) -> Vec<Hunk> {
    let mut diff = Diff::default();
    diff.compute_with(Algorithm::Myers, &before.ids, &after.ids, distinct);
    diff.postprocess_with(&before.ids, &after.ids, NoSliderHeuristic);
    diff.hunks().collect()
}

/// How many pieces lie between the common ends of two contents, in both together; 0 where they lie on one side only.
pub(super) fn differing(before: &Pieces, after: &Pieces) -> usize {
    let pairs = before.ids.iter().zip(&after.ids);
    let prefix = pairs.take_while(|(x, y)| x == y).count();
    let pairs = before.ids.iter().skip(prefix).rev().zip(after.ids.iter().skip(prefix).rev());
    let shared = prefix + pairs.take_while(|(x, y)| x == y).count();
    let (old, new) = (before.len() - shared, after.len() - shared);
    if old == 0 || new == 0 { 0 } else { old + new }
}

/// How many bytes two contents share at the start.
pub(super) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    const BLOCK: usize = 32;
    let (blocks_a, blocks_b) = (a.as_chunks::<BLOCK>().0, b.as_chunks::<BLOCK>().0);
    let blocks = blocks_a.iter().zip(blocks_b).take_while(|(x, y)| x == y).count() * BLOCK;
    blocks + a.iter().skip(blocks).zip(b.iter().skip(blocks)).take_while(|(x, y)| x == y).count()
}

/// How many bytes two contents share at the end.
pub(super) fn common_suffix(a: &[u8], b: &[u8]) -> usize {
    const BLOCK: usize = 32;
    let (blocks_a, blocks_b) = (a.as_rchunks::<BLOCK>().1, b.as_rchunks::<BLOCK>().1);
    let blocks = blocks_a.iter().rev().zip(blocks_b.iter().rev()).take_while(|(x, y)| x == y).count() * BLOCK;
    let rest = a.iter().rev().skip(blocks).zip(b.iter().rev().skip(blocks));
    blocks + rest.take_while(|(x, y)| x == y).count()
}

/// The part of `bytes` in `range`, empty where there is none.
pub(super) fn cut(bytes: &[u8], range: Range<usize>) -> &[u8] {
    bytes.get(range).unwrap_or_default()
}
