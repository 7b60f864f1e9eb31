//! What a person does with two versions: carries an edit over, letter by letter.
//!
//! The engine merges by lines and calls anything less a conflict. A person who sees the conflict keeps both edits,
//! wherever in the line they are. [`carry`] is that person, so that a replay can go on without one.

use gix_imara_diff::{Algorithm, Diff, InternedInput};
use std::ops::Range;

/// Makes on `theirs` the edit that led from `base` to `mine`: what either deleted is gone, what either inserted is
/// there, *theirs* first where both inserted at one place, and once where both inserted the same.
pub fn carry(base: &str, mine: &str, theirs: &str) -> String {
    if theirs == base || theirs == mine {
        return mine.to_owned();
    }
    let base: Vec<char> = base.chars().collect();
    let (theirs, mine) = (edits(&base, theirs), edits(&base, mine));
    let ends = |edit: &Edit| [edit.gone.start, edit.gone.end];
    let mut places: Vec<usize> = theirs.iter().chain(&mine).flat_map(ends).collect();
    places.push(base.len());
    places.sort_unstable();
    places.dedup();

    let (mut carried, mut done) = (String::new(), 0);
    let mut sides = [theirs.as_slice(), mine.as_slice()];
    for place in places {
        let is_gone = sides.iter().any(|side| side.first().is_some_and(|edit| edit.gone.contains(&done)));
        if !is_gone {
            carried.extend(&base[done..place]);
        }
        done = place;
        let [theirs, mine] = sides.map(|side| side.iter().take(2).find(|edit| edit.gone.start == place));
        carried.extend(theirs.iter().flat_map(|edit| &edit.insert));
        let mine = mine.filter(|mine| theirs.is_none_or(|theirs| theirs.insert != mine.insert));
        carried.extend(mine.iter().flat_map(|edit| &edit.insert));
        for side in &mut sides {
            let ended = side.iter().take_while(|edit| edit.gone.end <= place).count();
            *side = &side[ended..];
        }
    }
    carried
}

/// A stretch of the base, replaced.
struct Edit {
    gone: Range<usize>,
    insert: Vec<char>,
}

/// What leads from `base` to `target`. The engine's patches are made to be small, not to say where each letter went.
fn edits(base: &[char], target: &str) -> Vec<Edit> {
    let target: Vec<char> = target.chars().collect();
    let same = |(a, b): &(&char, &char)| a == b;
    let prefix = base.iter().zip(&target).take_while(same).count();
    let longest = base.len().min(target.len()) - prefix;
    let suffix = base.iter().rev().zip(target.iter().rev()).take(longest).take_while(same).count();
    let changed = &target[prefix..target.len() - suffix];
    let mut input = InternedInput::default();
    input.update_before(base[prefix..base.len() - suffix].iter().copied());
    input.update_after(changed.iter().copied());
    let diff = Diff::compute(Algorithm::Histogram, &input);
    let edit = |hunk: gix_imara_diff::Hunk| Edit {
        gone: prefix + hunk.before.start as usize..prefix + hunk.before.end as usize,
        insert: changed[hunk.after.start as usize..hunk.after.end as usize].to_vec(),
    };
    diff.hunks().map(edit).collect()
}

#[cfg(test)]
mod tests {
    use super::carry;

    #[track_caller]
    fn check(base: &str, mine: &str, theirs: &str, expected: &str) {
        assert_eq!(carry(base, mine, theirs), expected);
    }

    #[test]
    fn edits_in_one_line_are_both_kept() {
        check("the cat sat\n", "the black cat sat\n", "the cat sat down\n", "the black cat sat down\n");
        check("the cat sat\n", "the cat sat\n", "a cat\n", "a cat\n");
        check("the cat sat\n", "a cat\n", "the cat sat\n", "a cat\n");
    }

    #[test]
    fn an_insert_inside_what_the_other_deleted_stays() {
        check("one BIG three", "one three", "one BIGXX three", "one XXthree");
        check("one BIG three", "one BIGXX three", "one three", "one XXthree");
    }

    #[test]
    fn inserts_at_one_place_come_theirs_first_and_equal_ones_once() {
        check("ab", "a1b", "a2b", "a21b");
        check("ab", "abX", "abY", "abYX");
        check("", "mine", "theirs", "theirsmine");
        check("ab", "a1b", "a1bc", "a1bc");
        check("äb", "äéb", "äéb ", "äéb ");
    }

    #[test]
    fn what_both_deleted_is_gone_once() {
        check("abcdef", "af", "abef", "af");
        check("abcdef", "", "abef", "");
    }
}
