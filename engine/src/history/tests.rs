use super::*;
use crate::text::Patch;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Segments as a store keeps them.
#[derive(Default)]
struct Rows(BTreeMap<Seq, Segment>);

impl Rows {
    fn newest(&self) -> Option<&Segment> {
        self.0.values().next_back()
    }

    fn of(&self, seq: Seq) -> &Segment {
        self.0.range(..=seq).next_back().expect("a segment").1
    }

    fn tail(&self) -> Tail {
        Tail::open("files/f", self.newest()).expect("readable")
    }

    fn write(&mut self, tail: Tail) {
        let SegmentWrite { key, start, keyframe, pack, .. } =
            tail.into_write().expect("something was appended");
        let keyframe = keyframe.or_else(|| self.0.get(&start).map(|row| row.keyframe.clone()));
        let keyframe = keyframe.expect("a new segment has a keyframe");
        self.0.insert(start, Segment { key, start, keyframe, pack });
    }

    /// Forgets what was before `floor`, as a store prunes.
    fn prune(&mut self, floor: Seq) {
        let standing = self.0.range(..=floor).next_back().map_or(0, |(start, _)| *start);
        self.0.retain(|start, _| *start >= standing);
        let Some(segment) = self.0.get(&standing).filter(|segment| segment.start <= floor) else { return };
        if let Some(trimmed) = segment.trim(floor).expect("readable") {
            let SegmentWrite { key, start, keyframe, pack, .. } = trimmed.segment;
            let keyframe = keyframe.expect("a trimmed segment is a new one");
            self.0.remove(&standing);
            self.0.insert(start, Segment { key, start, keyframe, pack });
        }
    }

    fn bytes(&self) -> usize {
        self.0.values().map(|row| row.keyframe.len() + row.pack.len()).sum()
    }
}

fn from(content: &[u8], created_at: Millis) -> Aside {
    Aside { hash: Hash::of(content), created_at, device_id: "desktop-1".to_owned() }
}

fn version(rows: &mut Rows, seq: Seq, content: Option<&[u8]>) {
    let mut tail = rows.tail();
    tail.version(seq, Cause::Push, content);
    rows.write(tail);
}

fn at(rows: &Rows, seq: Seq) -> At {
    rows.of(seq).at(seq).expect("readable")
}

/// Text that does not repeat, so that nothing about it is cheap by accident.
fn prose(bytes: usize) -> Vec<u8> {
    let mut seed = 11_u32;
    let mut word = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        format!("{:05} ", seed >> 15).into_bytes()
    };
    let mut text = Vec::new();
    while text.len() < bytes {
        text.extend(word());
    }
    text
}

#[test]
fn a_document_is_what_it_was_at_each_seq() {
    let mut rows = Rows::default();
    version(&mut rows, 3, Some(b"one"));
    version(&mut rows, 5, None);
    version(&mut rows, 8, Some(b"two"));
    assert_eq!(at(&rows, 3), At::Content(b"one".to_vec()));
    assert_eq!(at(&rows, 4), At::Content(b"one".to_vec()));
    assert_eq!((at(&rows, 5), at(&rows, 7)), (At::Removed, At::Removed));
    assert_eq!(at(&rows, 100), At::Content(b"two".to_vec()));
}

#[test]
fn an_aside_is_found_by_its_hash_and_is_never_head() {
    let mut rows = Rows::default();
    version(&mut rows, 1, Some(b"theirs"));
    let mut tail = rows.tail();
    tail.aside(2, Cause::Conflict, b"mine", &from(b"mine", 77));
    assert_eq!(tail.current(), b"theirs");
    rows.write(tail);
    assert_eq!(at(&rows, 2), At::Content(b"theirs".to_vec()));
    assert_eq!(rows.of(2).content(2, Hash::of(b"mine")), Ok(Some(b"mine".to_vec())));
    assert_eq!(rows.of(2).content(2, Hash::of(b"neither")), Ok(None));
    let entries = rows.of(2).entries().expect("readable");
    assert_eq!(entries.last().and_then(|entry| entry.aside.clone()), Some(from(b"mine", 77)));
}

#[test]
fn a_document_that_began_with_a_conflict_is_absent_until_its_first_version() {
    let mut rows = Rows::default();
    let mut tail = rows.tail();
    tail.aside(4, Cause::Conflict, b"mine", &from(b"mine", 1));
    rows.write(tail);
    assert_eq!(at(&rows, 4), At::Absent);
    version(&mut rows, 6, Some(b"mine"));
    assert_eq!((at(&rows, 5), at(&rows, 6)), (At::Absent, At::Content(b"mine".to_vec())));
}

#[test]
fn what_comes_back_after_a_removal_costs_what_changed() {
    let mut rows = Rows::default();
    let text = prose(20_000);
    version(&mut rows, 1, Some(&text));
    version(&mut rows, 2, None);
    let before = rows.bytes();
    version(&mut rows, 3, Some(&[text.as_slice(), b"!"].concat()));
    assert!(rows.bytes() - before < 20, "{}", rows.bytes() - before);
}

#[test]
fn a_keystroke_is_stored_in_about_its_own_bytes() {
    let mut rows = Rows::default();
    let mut text = prose(50_000);
    version(&mut rows, 1, Some(&text));
    let before = rows.bytes();
    let keys = 200;
    for key in 0..keys {
        text.insert(25_000 + key, b'x');
        version(&mut rows, 2 + key as Seq, Some(&text));
    }
    let each = (rows.bytes() - before) / keys;
    assert!(each <= 12, "{each} bytes a keystroke");
}

#[test]
fn a_long_history_costs_at_most_about_twice_its_patches() {
    let mut rows = Rows::default();
    let mut text = prose(4_000);
    version(&mut rows, 1, Some(&text));
    let (first, mut patches) = (rows.bytes(), 0);
    for seq in 2..1_500 {
        let at = (seq * 37 % 3_900) as usize;
        let next = [&text[..at], format!("edit {seq} ").as_bytes(), &text[at + 7..]].concat();
        let mut patch = Vec::new();
        Patch::diff(&text, &next).encode(&mut patch);
        patches += patch.len();
        version(&mut rows, seq, Some(&next));
        text = next;
    }
    assert!(rows.0.len() > 3, "it rolled over");
    assert!(rows.bytes() - first < patches * 5 / 2, "{} for {patches}", rows.bytes() - first);
}

#[test]
fn a_pack_has_a_most_entries_and_a_most_bytes() {
    let mut rows = Rows::default();
    let text = prose(100_000);
    let versions: Vec<usize> = (0..PACK_ENTRIES_MAX + 500).collect();
    for some in versions.chunks(50) {
        let mut tail = rows.tail();
        for version in some {
            tail.version(*version as Seq + 1, Cause::Push, Some(&text[..90_000 + version]));
        }
        rows.write(tail);
    }
    assert!(rows.0.len() > 1, "it rolled over");
    for row in rows.0.values() {
        assert!(row.entries().expect("readable").len() <= PACK_ENTRIES_MAX);
        assert!(row.pack.len() <= PACK_BYTES.end() + 100);
    }
}

#[test]
fn what_one_seq_made_stays_in_one_segment() {
    let mut rows = Rows::default();
    version(&mut rows, 1, Some(b"theirs"));
    for seq in 2..10 {
        let (mine, merged) = (prose(3_000 + seq as usize), prose(4_000 + seq as usize));
        let mut tail = rows.tail();
        tail.aside(seq, Cause::Superseded, &mine, &from(&mine, 1));
        tail.version(seq, Cause::Merge, Some(&merged));
        rows.write(tail);
        let segment = rows.of(seq);
        assert_eq!(segment.content(seq, Hash::of(&mine)), Ok(Some(mine)));
        assert_eq!(segment.at(seq), Ok(At::Content(merged)));
    }
}

#[test]
fn trimming_forgets_old_contents_and_keeps_what_stands_at_the_floor() {
    let mut rows = Rows::default();
    let mut tail = rows.tail();
    tail.version(1, Cause::Push, Some(b"old"));
    tail.aside(2, Cause::Superseded, b"lost", &from(b"lost", 1));
    tail.version(3, Cause::Push, Some(b"standing"));
    tail.version(9, Cause::Push, Some(b"new"));
    rows.write(tail);
    let trimmed = rows.of(9).trim(5).expect("readable").expect("there is something to forget");
    assert_eq!((trimmed.segment.start, trimmed.first), (3, Some(Hash::of(b"standing"))));
    rows.prune(5);
    let segment = rows.of(9);
    assert_eq!(segment.at(5), Ok(At::Content(b"standing".to_vec())));
    assert_eq!(segment.at(9), Ok(At::Content(b"new".to_vec())));
    assert_eq!(segment.content(9, Hash::of(b"lost")), Ok(None));
    assert_eq!(segment.content(9, Hash::of(b"old")), Ok(None));
    assert_eq!(segment.trim(5), Ok(None), "nothing more to forget");
}

/// What happens to a document; texts by number.
#[derive(Debug, Clone)]
enum Happening {
    Version(Vec<u8>),
    Removal,
    Aside(Vec<u8>),
    /// A push that was merged: kept beside, and the result a version, both at one seq.
    Merged(Vec<u8>, Vec<u8>),
}

fn any_content() -> impl Strategy<Value = Vec<u8>> {
    let text =
        (0..6_usize, 0..900_usize).prop_map(|(from, bytes)| prose(3_000)[from * 300..][..bytes].to_vec());
    prop_oneof![3 => text, 1 => prop::collection::vec(any::<u8>(), 0..400), 1 => Just(Vec::new())]
}

fn any_happening() -> impl Strategy<Value = (Seq, Happening)> {
    let happening = prop_oneof![
        5 => any_content().prop_map(Happening::Version),
        1 => Just(Happening::Removal),
        2 => any_content().prop_map(Happening::Aside),
        1 => (any_content(), any_content()).prop_map(|(mine, merged)| Happening::Merged(mine, merged)),
    ];
    (1..4_u64, happening)
}

/// What a history was told, and so what it must know.
#[derive(Default)]
struct Told {
    /// From each seq on.
    at: BTreeMap<Seq, At>,
    /// Contents: where they are kept, and whether as a version.
    contents: Vec<(Seq, Vec<u8>, bool)>,
}

fn record(happenings: &[(Seq, Happening)]) -> (Rows, Told, Seq) {
    let (mut rows, mut told, mut seq) = (Rows::default(), Told::default(), 0);
    for (step, happening) in happenings {
        seq += step;
        let mut tail = rows.tail();
        match happening {
            Happening::Removal => {
                tail.version(seq, Cause::Push, None);
                told.at.insert(seq, At::Removed);
            }
            Happening::Version(content) => {
                tail.version(seq, Cause::Push, Some(content));
                told.version(seq, content);
            }
            Happening::Aside(content) => {
                tail.aside(seq, Cause::Conflict, content, &from(content, seq));
                told.contents.push((seq, content.clone(), false));
            }
            Happening::Merged(mine, merged) => {
                tail.aside(seq, Cause::Superseded, mine, &from(mine, seq));
                tail.version(seq, Cause::Merge, Some(merged));
                told.contents.push((seq, mine.clone(), false));
                told.version(seq, merged);
            }
        }
        rows.write(tail);
    }
    (rows, told, seq)
}

impl Told {
    fn version(&mut self, seq: Seq, content: &[u8]) {
        self.at.insert(seq, At::Content(content.to_vec()));
        self.contents.push((seq, content.to_vec(), true));
    }

    fn at(&self, seq: Seq) -> At {
        self.at.range(..=seq).next_back().map_or(At::Absent, |(_, at)| at.clone())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_version_and_aside_is_rebuilt(happenings in prop::collection::vec(any_happening(), 1..50)) {
        let (rows, told, last) = record(&happenings);
        let first = *rows.0.keys().next().expect("a segment");
        for seq in first..=last + 2 {
            prop_assert_eq!(at(&rows, seq), told.at(seq), "at {}", seq);
        }
        for (seq, content, _) in &told.contents {
            prop_assert_eq!(rows.of(*seq).content(*seq, Hash::of(content)), Ok(Some(content.clone())));
        }
        let newest = told.contents.iter().rfind(|(_, _, is_version)| *is_version);
        let tail = rows.tail();
        prop_assert_eq!(tail.current(), newest.map_or(&[][..], |(_, content, _)| content));
    }

    #[test]
    fn a_pruned_history_knows_all_from_its_floor_on(
        happenings in prop::collection::vec(any_happening(), 1..40),
        floors in prop::collection::vec(1..90_u64, 1..3),
    ) {
        let (mut rows, told, last) = record(&happenings);
        let first = *rows.0.keys().next().expect("a segment");
        let mut floor = 0;
        for next in floors {
            floor = next.min(last).max(floor).max(first);
            rows.prune(floor);
            for seq in floor..=last + 2 {
                prop_assert_eq!(at(&rows, seq), told.at(seq), "at {} over {}", seq, floor);
            }
            for (seq, content, _) in told.contents.iter().filter(|(seq, ..)| *seq > floor) {
                prop_assert_eq!(rows.of(*seq).content(*seq, Hash::of(content)), Ok(Some(content.clone())));
            }
        }
        // And goes on as if nothing had been forgotten.
        version(&mut rows, last + 5, Some(b"on and on"));
        prop_assert_eq!(at(&rows, last + 5), At::Content(b"on and on".to_vec()));
        prop_assert_eq!(at(&rows, last + 4), told.at(last));
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic(
        keyframe in prop::collection::vec(any::<u8>(), 0..40),
        pack in prop::collection::vec(prop_oneof![0..6_u8, any::<u8>()], 0..60),
        floor in 0..20_u64,
    ) {
        let segment = Segment { key: "files/f".to_owned(), start: 3, keyframe, pack };
        let _ = (segment.at(9), segment.content(9, Hash::of(b"")), segment.entries(), segment.trim(floor));
        let _ = Tail::open("files/f", Some(&segment)).map(|mut tail| tail.version(12, Cause::Push, Some(b"x")));
    }
}
