//! Three-way merge by lines, agreeing with `git merge-file`: on what is clean, and on the text of it.
//!
//! A rewrite of `xdl_do_merge` (git, `xdiff/xmerge.c`, level "zealous") over the hunks of [`super::diff`]. Edits that
//! touch each other conflict, equal edits do not. What git would do further to a conflict (narrowing it for
//! display) never makes it clean, so it is left out.

use std::ops::Range;

use gix_imara_diff::{Hunk, Interner, Token};

use super::diff::{Pieces, cut, differing, hunks};

/// Above so many lines between the common ends, base and one side together, the merge is a conflict without being
/// tried: random repeated lines cost lines^1.5, here about half a second a side. Only lines of four bytes and
/// less reach it within 512 KB.
const LINES_MAX: usize = (1 << 18) - 4;

/// To size the table of lines; only speed depends on it.
const LINE_BYTES_USUAL: usize = 24;

/// The outcome of a three-way merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merge {
    /// Both sides' edits, in one text.
    Clean(Vec<u8>),
    /// The two sides edited the same lines, or touching ones, differently (or more lines than can be compared in
    /// reasonable time). Somebody has to look.
    Conflict,
}

/// Merges what `mine` and `theirs` did to `base`.
///
/// Lines end with `\n`, which is part of the line: a changed line ending is a changed line, as is a missing
/// newline at the end. The contents are taken as they are; whether they are text is for the caller to check.
/// Swapping `mine` and `theirs` almost always gives the same, but not always: where git says otherwise
/// (repeated lines), so does this.
pub fn merge(base: &[u8], mine: &[u8], theirs: &[u8]) -> Merge {
    if mine == theirs || theirs == base {
        return Merge::Clean(mine.to_vec());
    }
    if mine == base {
        return Merge::Clean(theirs.to_vec());
    }
    let mut interner = Interner::new(base.len() / LINE_BYTES_USUAL);
    let base_lines = Pieces::lines(base, &mut interner);
    let mine_lines = base_lines.lines_like(base, mine, &mut interner);
    let theirs_lines = base_lines.lines_like(base, theirs, &mut interner);
    if [&mine_lines, &theirs_lines].iter().any(|lines| differing(&base_lines, lines) > LINES_MAX) {
        return Merge::Conflict;
    }
    let distinct = interner.num_tokens();
    let mine_side = Side::new(&base_lines, mine_lines, distinct);
    let theirs_side = Side::new(&base_lines, theirs_lines, distinct);

    let mut merged = Vec::with_capacity(mine.len() + theirs.len().saturating_sub(base.len()));
    let mut done = 0;
    for edit in combine(&mine_side, &theirs_side) {
        // What cannot be a range of lines would be a bug here; a conflict loses nothing.
        let (Some(at), Some(by)) = (edit.mine.lines(), edit.theirs.lines()) else { return Merge::Conflict };
        match edit.whose {
            Whose::Mine => continue,
            Whose::Theirs => {}
            Whose::Both => match (mine_side.lines.ids(at.clone()), theirs_side.lines.ids(by.clone())) {
                (Some(a), Some(b)) if !a.is_empty() && a == b => continue,
                (_, _) => return Merge::Conflict,
            },
        }
        let (at, by) = (mine_side.lines.bytes(at), theirs_side.lines.bytes(by));
        merged.extend_from_slice(cut(mine, done..at.start));
        merged.extend_from_slice(cut(theirs, by));
        done = at.end;
    }
    merged.extend_from_slice(cut(mine, done..mine.len()));
    Merge::Clean(merged)
}

/// Who made an edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Mine,
    Theirs,
    /// Overlapping or touching edits of both.
    Both,
}

/// A run of lines. Signed, as the arithmetic below goes through differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    start: i64,
    end: i64,
}

impl Run {
    fn of(range: &Range<u32>) -> Run {
        Run { start: i64::from(range.start), end: i64::from(range.end) }
    }

    fn moved(self, by: i64) -> Run {
        Run { start: self.start + by, end: self.end + by }
    }

    fn lines(self) -> Option<Range<usize>> {
        let (start, end) = (usize::try_from(self.start).ok()?, usize::try_from(self.end).ok()?);
        (start <= end).then_some(start..end)
    }
}

/// An edit, as the lines of both sides that it covers.
#[derive(Debug)]
struct Edit {
    whose: Whose,
    mine: Run,
    theirs: Run,
}

/// One side of the merge: its lines, and what it did to the base.
struct Side {
    lines: Pieces,
    hunks: Vec<Hunk>,
    /// How many more lines it has than the base.
    grew: i64,
}

impl Side {
    fn new(base: &Pieces, lines: Pieces, distinct: u32) -> Side {
        let hunks = hunks(base, &lines, distinct);
        let grew = lines.len() as i64 - base.len() as i64;
        Side { lines, hunks, grew }
    }

    fn inserted(&self, hunk: &Hunk) -> Option<&[Token]> {
        self.lines.ids(hunk.after.start as usize..hunk.after.end as usize)
    }
}

/// Lays two edit scripts over the same base beside each other, in order. Hunks that are equal on both sides give no
/// edit: the merged text is `mine` wherever there is none.
fn combine(mine: &Side, theirs: &Side) -> Vec<Edit> {
    let mut edits = Vec::new();
    let (mut mine_left, mut theirs_left) = (mine.hunks.iter().peekable(), theirs.hunks.iter().peekable());
    loop {
        match (mine_left.peek(), theirs_left.peek()) {
            (None, None) => return edits,
            (Some(m), None) => {
                add(&mut edits, only_mine(m, theirs.grew));
                mine_left.next();
            }
            (None, Some(t)) => {
                add(&mut edits, only_theirs(t, mine.grew));
                theirs_left.next();
            }
            (Some(m), Some(t)) if m.before.end < t.before.start => {
                add(&mut edits, only_mine(m, i64::from(t.after.start) - i64::from(t.before.start)));
                mine_left.next();
            }
            (Some(m), Some(t)) if t.before.end < m.before.start => {
                add(&mut edits, only_theirs(t, i64::from(m.after.start) - i64::from(m.before.start)));
                theirs_left.next();
            }
            (Some(m), Some(t)) => {
                if m.before != t.before || mine.inserted(m) != theirs.inserted(t) {
                    add(&mut edits, both(m, t));
                }
                let (mine_end, theirs_end) = (m.before.end, t.before.end);
                if mine_end >= theirs_end {
                    theirs_left.next();
                }
                if theirs_end >= mine_end {
                    mine_left.next();
                }
            }
        }
    }
}

/// `shift`: how far lines of the base have moved in theirs, here.
fn only_mine(hunk: &Hunk, shift: i64) -> Edit {
    Edit { whose: Whose::Mine, mine: Run::of(&hunk.after), theirs: Run::of(&hunk.before).moved(shift) }
}

/// `shift`: how far lines of the base have moved in mine, here.
fn only_theirs(hunk: &Hunk, shift: i64) -> Edit {
    Edit { whose: Whose::Theirs, mine: Run::of(&hunk.before).moved(shift), theirs: Run::of(&hunk.after) }
}

/// Two hunks that overlap or touch: each side's lines are widened to what the other one covers of the base.
fn both(m: &Hunk, t: &Hunk) -> Edit {
    let starts_later = i64::from(m.before.start) - i64::from(t.before.start);
    let ends_later = i64::from(m.before.end) - i64::from(t.before.end);
    let (mine, theirs) = (Run::of(&m.after), Run::of(&t.after));
    Edit {
        whose: Whose::Both,
        mine: Run { start: mine.start - starts_later.max(0), end: mine.end - ends_later.min(0) },
        theirs: Run { start: theirs.start + starts_later.min(0), end: theirs.end + ends_later.max(0) },
    }
}

/// Appends an edit; one that touches the last, on either side, becomes one with it.
fn add(edits: &mut Vec<Edit>, edit: Edit) {
    match edits.last_mut() {
        Some(last) if edit.mine.start <= last.mine.end || edit.theirs.start <= last.theirs.end => {
            if edit.whose != last.whose {
                last.whose = Whose::Both;
            }
            last.mine.end = edit.mine.end;
            last.theirs.end = edit.theirs.end;
        }
        Some(_) | None => edits.push(edit),
    }
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
