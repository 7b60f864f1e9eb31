use proptest::prelude::*;

use super::*;

/// One letter stands for one line.
fn lines(letters: &str) -> Vec<u8> {
    letters.chars().flat_map(|letter| [letter as u8, b'\n']).collect()
}

fn check(base: &str, mine: &str, theirs: &str, expected: Option<&str>) {
    let merged = merge(&lines(base), &lines(mine), &lines(theirs));
    let expected = expected.map_or(Merge::Conflict, |text| Merge::Clean(lines(text)));
    assert_eq!(merged, expected, "base {base}, mine {mine}, theirs {theirs}");
}

fn check_text(base: &str, mine: &str, theirs: &str, expected: Option<&str>) {
    let expected = expected.map_or(Merge::Conflict, |text| Merge::Clean(text.into()));
    assert_eq!(merge(base.as_bytes(), mine.as_bytes(), theirs.as_bytes()), expected);
    assert_eq!(merge(base.as_bytes(), theirs.as_bytes(), mine.as_bytes()), expected);
}

#[test]
fn repeated_lines_merge_as_git_merges_them() {
    check("ab", "b", "ba", Some("ba"));
    check("ab", "bb", "abbb", Some("bbbb"));
    check("aaba", "caba", "aa", Some("ca"));
    check("aaaa", "aa", "baaa", Some("ba"));
    check("aa", "a", "ba", None);
    check("eb", "bb", "ebb", Some("bbb"));
    check("aaa", "aa", "Daa", Some("Da"));
    check("ba", "aa", "a", None);
    check("bb", "Db", "b", None);
}

#[test]
fn edits_apart_from_each_other_are_both_taken() {
    check("abcde", "Abcde", "abcdE", Some("AbcdE"));
    check("abcde", "bcde", "abcdef", Some("bcdef"));
    check("abcde", "abxcde", "abcd", Some("abxcd"));
}

#[test]
fn edits_that_touch_conflict() {
    check("abc", "aXc", "abY", None);
    check("abc", "abcX", "abcY", None);
    check("abc", "ac", "aXc", None);
}

#[test]
fn the_same_edit_on_both_sides_is_taken_once() {
    check("abc", "aXc", "aXc", Some("aXc"));
    check("abcdef", "aXcdef", "aXcdeF", Some("aXcdeF"));
    check("", "ab", "ab", Some("ab"));
    check("ab", "", "", Some(""));
}

#[test]
fn a_side_that_did_nothing_yields() {
    check("abc", "abc", "xyz", Some("xyz"));
    check("abc", "xyz", "abc", Some("xyz"));
    check("", "", "a", Some("a"));
    check("a", "", "a", Some(""));
}

#[test]
fn a_missing_newline_at_the_end_is_an_edit_of_the_last_line() {
    check_text("a\nb\nc\n", "A\nb\nc\n", "a\nb\nc", Some("A\nb\nc"));
    check_text("a\nb\nc", "A\nb\nc", "a\nb\nc\n", Some("A\nb\nc\n"));
    check_text("a\nb", "a\nb\nc", "a\nb\nd", None);
    check_text("a\nb", "x\na\nb", "a\nb\nd", Some("x\na\nb\nd"));
    check_text("a", "a\n", "b", None);
}

#[test]
fn changed_line_endings_conflict_with_every_edit() {
    check_text("a\nb\nc\n", "a\r\nb\r\nc\r\n", "a\nB\nc\n", None);
    check_text("a\r\nb\r\nc\r\n", "A\r\nb\r\nc\r\n", "a\r\nb\r\nC\r\n", Some("A\r\nb\r\nC\r\n"));
}

#[test]
fn large_texts_of_equal_lines_merge() {
    let base = b"same\n".repeat(100_000);
    let with = |at: usize, line: &[u8]| [&base[..at * 5], line, &base[at * 5..]].concat();
    let (mine, theirs) = (with(10, b"mine\n"), with(90_000, b"theirs\n"));
    let both = [&base[..50], b"mine\n", &base[50..450_000], b"theirs\n", &base[450_000..]].concat();
    assert_eq!(merge(&base, &mine, &theirs), Merge::Clean(both));
}

#[test]
fn more_lines_than_can_be_compared_are_a_conflict() {
    let (base, mine, theirs) = (b"a\nb\n".repeat(100_000), b"b\na\n".repeat(100_000), b"c\n".repeat(100_000));
    assert_eq!(merge(&base, &mine, &theirs), Merge::Conflict);
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => (0_u8..4).prop_map(|letter| vec![b'a' + letter, b'\n']),
        1 => Just(b"\n".to_vec()),
        1 => Just(b"x\r\n".to_vec()),
        1 => Just(b"unfinished".to_vec()),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn copying_shared_lines_equals_cutting_them(like in text(), content in text()) {
        let mut interner = Interner::new(0);
        let base = Pieces::lines(&like, &mut interner);
        let (copied, cut) = (base.lines_like(&like, &content, &mut interner), Pieces::lines(&content, &mut interner));
        prop_assert_eq!(copied.ids(0..copied.len()), cut.ids(0..cut.len()));
        for count in 0..=cut.len() {
            prop_assert_eq!(copied.end(count), cut.end(count));
        }
    }

    #[test]
    fn every_line_of_a_clean_merge_is_from_one_of_the_three(base in text(), mine in text(), theirs in text()) {
        if let Merge::Clean(merged) = merge(&base, &mine, &theirs) {
            let all = [base, b"\n".to_vec(), mine, b"\n".to_vec(), theirs].concat();
            let known: Vec<&[u8]> = all.split(|&byte| byte == b'\n').collect();
            prop_assert!(merged.split(|&byte| byte == b'\n').all(|line| line.is_empty() || known.contains(&line)));
        }
    }

    #[test]
    fn what_one_side_did_alone_is_the_merge(base in text(), mine in text()) {
        prop_assert_eq!(merge(&base, &mine, &base), Merge::Clean(mine.clone()));
        prop_assert_eq!(merge(&base, &base, &mine), Merge::Clean(mine.clone()));
        prop_assert_eq!(merge(&base, &mine, &mine), Merge::Clean(mine));
    }
}
