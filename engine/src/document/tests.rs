use crate::call::Call;
use crate::decide::{self, Context};
use crate::history::{Aside, Tail};
use crate::ids::{Fresh, Hash, Seq};
use crate::policy::{ConflictBlock, Policy, Strategy};
use crate::push::{Outcome, Push};
use crate::slice::{Cause, Conflict, Document, Head, Located, Pushed, Segment, Side, Slice};
use crate::wire;
use serde_json::{Value, json};

const KEY: &str = "files/f";
const BASE: &str = "one\ntwo\nthree\nfour\n";
const MINE: &str = "ONE\ntwo\nthree\nfour\n";
const THEIRS: &str = "one\ntwo\nthree\nFOUR\n";
const BOTH: &str = "ONE\ntwo\nthree\nFOUR\n";
const CLASH: &str = "First\ntwo\nthree\nfour\n";
const BINARY: &str = "\0";
const MINE_ON: &str = "ONE AND ON\ntwo\nthree\nfour\n";
const BOTH_ON: &str = "ONE AND ON\ntwo\nthree\nFOUR\n";
const MINE_LONGER: &str = "zero\none\ntwo\nthree\nfour\n";
const THEIRS_LONGER: &str = "one\ntwo\nthree\nfour\nfive\n";
const BOTH_LONGER: &str = "zero\none\ntwo\nthree\nfour\nfive\n";

/// The text with this hash.
fn named(hash: Hash) -> &'static str {
    let all =
        [BASE, MINE, THEIRS, BOTH, CLASH, BINARY, MINE_ON, BOTH_ON, MINE_LONGER, THEIRS_LONGER, BOTH_LONGER];
    all.into_iter().find(|text| Hash::of(text.as_bytes()) == hash).expect("a text of these tests")
}

/// What became of a pushed document.
#[derive(Debug, PartialEq)]
enum Came {
    Unchanged,
    /// It is head.
    Mine,
    Deleted,
    Merged(&'static str),
    /// A conflict, by its three sides.
    Conflict(Option<&'static str>, Option<&'static str>, Option<&'static str>),
    Blocked,
    Rejected(&'static str),
}
use Came::{Blocked, Deleted, Merged, Mine, Rejected, Unchanged};

fn conflict(
    base: impl Into<Option<&'static str>>,
    mine: impl Into<Option<&'static str>>,
    theirs: impl Into<Option<&'static str>>,
) -> Came {
    Came::Conflict(base.into(), mine.into(), theirs.into())
}

/// A document's history and one push of device `me`, from seq 1 unless said otherwise.
struct Case {
    slice: Slice,
    tail: Tail,
    seq: Seq,
    head: Seq,
    floor: Seq,
    policy: Policy,
}

impl Case {
    /// A document that was nothing, or `base`, at the device's seq 1.
    fn at_base(base: impl Into<Option<&'static str>>) -> Case {
        let tail = Tail::open(KEY, None).expect("readable");
        let case =
            Case { slice: Slice::default(), tail, seq: 1, head: 1, floor: 0, policy: Policy::default() };
        match base.into() {
            Some(base) => case.version(1, Some(base)),
            None => case,
        }
    }

    fn version(mut self, seq: Seq, content: Option<&str>) -> Case {
        let bytes = content.map(str::as_bytes);
        self.tail.version(seq, Cause::Push, bytes);
        let hash = bytes.map(Hash::of);
        let size = content.map_or(0, str::len);
        let row = Document { hash, size, seq, device_id: "other".to_owned() };
        self.slice.documents.insert(KEY.to_owned(), row);
        self.located(hash, seq)
    }

    /// Head by others, after the device's seq.
    fn head(self, content: impl Into<Option<&'static str>>) -> Case {
        let case = self.version(2, content.into());
        Case { head: 2, ..case }
    }

    /// What the device pushed without having seen the answer, and is not head.
    fn pushed_aside(mut self, seq: Seq, content: &str) -> Case {
        let hash = Hash::of(content.as_bytes());
        let from = Aside { hash, created_at: 0, device_id: "me".to_owned() };
        self.tail.aside(seq, Cause::Superseded, content.as_bytes(), &from);
        self.slice.pushed.insert(KEY.to_owned(), Pushed { seq, at: seq, hash: Some(hash) });
        self.located(Some(hash), seq)
    }

    fn located(mut self, hash: Option<Hash>, seq: Seq) -> Case {
        let place = |hash: Hash| Located { prefix: hash.prefix(), key: KEY.to_owned(), seq };
        self.slice.located.extend(hash.map(place));
        self
    }

    fn lww(mut self) -> Case {
        self.policy.strategy = Strategy::Lww;
        self
    }

    fn push(self, content: impl Into<Option<&'static str>>) -> Came {
        let entry = content.into().map_or(Value::Null, |content| json!({ "content": content }));
        self.push_entry(entry)
    }

    fn push_entry(mut self, entry: Value) -> Came {
        let body = json!({ "device_id": "me", "seq": self.seq, "state": { "files": { "f": entry } } });
        let push: Push = match wire::push(body.to_string().as_bytes(), &self.policy).expect("a push") {
            Call::Push(push) => *push,
            other => panic!("{other:?}"),
        };
        if let Some(write) = self.tail.into_write() {
            let (key, keyframe) = (write.key, write.keyframe.expect("a new segment"));
            let segment = Segment { key: key.clone(), start: write.start, keyframe, pack: write.pack };
            self.slice.segments.insert((key, write.start), segment);
        }
        let head = Head { seq: self.head, floor: self.floor, ..Head::new("e".to_owned()) };
        let context = Context {
            push: &push,
            slice: &self.slice,
            head: &head,
            policy: &self.policy,
            now: 0,
            fresh: Fresh([0; 32]),
        };
        let (commit, outcomes) = decide::decide(&context).expect("readable").into_commit(&context);
        let is_deleted = commit.documents.iter().any(|(_, row)| row.hash.is_none());
        match &outcomes[KEY] {
            Outcome::Unchanged => {
                assert!(commit.delta.is_none(), "unchanged means unchanged");
                Unchanged
            }
            Outcome::Applied if is_deleted => Deleted,
            Outcome::Applied => Mine,
            Outcome::Merged(hash) => Merged(named(*hash)),
            Outcome::Conflict(_) => {
                assert!(commit.documents.is_empty(), "head stays");
                let Conflict { base, mine, theirs, .. } = commit.conflicts[0].clone();
                let text = |side: Option<Side>| side.map(|side| named(side.hash));
                conflict(text(base), text(mine), text(theirs))
            }
            Outcome::Blocked => Blocked,
            Outcome::Rejected(rejection) => Rejected(rejection.code),
            Outcome::Superseded => panic!("no document is superseded"),
        }
    }
}

fn hash(content: &str) -> Hash {
    Hash::of(content.as_bytes())
}

/// One row of the table, under both strategies: head, mine, what comes of it.
fn row(
    base: impl Into<Option<&'static str>>,
    head: impl Into<Option<&'static str>>,
    mine: impl Into<Option<&'static str>>,
    merge: Came,
    lww: Came,
) {
    let (base, head, mine) = (base.into(), head.into(), mine.into());
    let case = || if head == base { Case::at_base(base) } else { Case::at_base(base).head(head) };
    assert_eq!(case().push(mine), merge, "{base:?} {head:?} {mine:?}");
    assert_eq!(case().lww().push(mine), lww, "{base:?} {head:?} {mine:?} under lww");
}

#[test]
fn head_same_mine_same_changed_or_deleted() {
    row(BASE, BASE, BASE, Unchanged, Unchanged);
    row(BASE, BASE, MINE, Mine, Mine);
    row(BASE, BASE, None, Deleted, Deleted);
}

#[test]
fn head_changed_mine_same() {
    row(BASE, THEIRS, BASE, Unchanged, Unchanged);
}

#[test]
fn head_changed_and_mine_equal() {
    row(BASE, MINE, MINE, Unchanged, Unchanged);
}

#[test]
fn both_changed_apart_or_at_the_same_place() {
    row(BASE, THEIRS, MINE, Merged(BOTH), Mine);
    row(BASE, CLASH, MINE, conflict(BASE, MINE, CLASH), Mine);
    // Mine is in head already, and head has more.
    row(BASE, BOTH, MINE, Merged(BOTH), Mine);
}

#[test]
fn both_changed_one_of_the_three_is_binary() {
    row(BINARY, THEIRS, MINE, conflict(BINARY, MINE, THEIRS), Mine);
    row(BASE, BINARY, MINE, conflict(BASE, MINE, BINARY), Mine);
    row(BASE, THEIRS, BINARY, conflict(BASE, BINARY, THEIRS), Mine);
}

#[test]
fn a_merge_over_the_size_limit_is_a_conflict() {
    let limited = |bytes| {
        let mut case = Case::at_base(BASE).head(THEIRS_LONGER);
        case.policy.file_bytes_max = bytes;
        case.push(MINE_LONGER)
    };
    assert_eq!(limited(BOTH_LONGER.len()), Merged(BOTH_LONGER));
    assert_eq!(limited(BOTH_LONGER.len() - 1), conflict(BASE, MINE_LONGER, THEIRS_LONGER));
}

#[test]
fn head_changed_mine_deleted() {
    row(BASE, THEIRS, None, conflict(BASE, None, THEIRS), Deleted);
}

#[test]
fn head_deleted_mine_same_deleted_or_changed() {
    row(BASE, None, BASE, Unchanged, Unchanged);
    row(BASE, None, None, Unchanged, Unchanged);
    row(BASE, None, MINE, conflict(BASE, MINE, None), Mine);
}

#[test]
fn absent_and_never_known() {
    row(None, None, MINE, Mine, Mine);
    row(None, None, None, Unchanged, Unchanged);
}

#[test]
fn absent_with_a_base_that_nobody_knows() {
    let entry = || json!({ "content": MINE, "base_hash": hash("pruned") });
    assert_eq!(Case::at_base(None).push_entry(entry()), conflict(None, MINE, None));
    assert_eq!(Case::at_base(None).lww().push_entry(entry()), Mine);
    let gone = || Case::at_base(BASE).head(None);
    assert_eq!(gone().push_entry(entry()), conflict(None, MINE, None));
    assert_eq!(gone().lww().push_entry(entry()), Mine);
}

#[test]
fn added_by_both() {
    row(None, THEIRS, MINE, conflict(None, MINE, THEIRS), Mine);
    row(None, MINE, MINE, Unchanged, Unchanged);
    // Removing what one never had.
    row(None, THEIRS, None, Unchanged, Unchanged);
}

#[test]
fn no_base_known() {
    for base_hash in [Value::Null, json!(hash("nobody knows"))] {
        let offer = |content: &str| json!({ "content": content, "base_hash": base_hash });
        assert_eq!(Case::at_base(BASE).push_entry(offer(MINE)), conflict(None, MINE, BASE));
        assert_eq!(Case::at_base(BASE).lww().push_entry(offer(MINE)), Mine);
        assert_eq!(Case::at_base(BASE).push_entry(offer(BASE)), Unchanged);
    }
    // Offered again after a restore that lost it.
    assert_eq!(Case::at_base(None).push_entry(json!({ "content": MINE, "base_hash": null })), Mine);
}

#[test]
fn a_pruned_base_is_no_base_and_resurrects_nothing() {
    let pruned = |case: Case| Case { floor: 2, head: 3, ..case };
    let moved = || pruned(Case::at_base(BASE).head(CLASH).version(3, Some(THEIRS)));
    assert_eq!(moved().push(MINE), conflict(None, MINE, THEIRS));
    let removed = || pruned(Case::at_base(BASE).head(CLASH).version(3, None));
    assert_eq!(removed().push(MINE), conflict(None, MINE, None));
    assert_eq!(removed().lww().push(MINE), Mine);
    // Head's version is older than the device's seq: it is the base, though history before is gone.
    let old = Case { floor: 2, head: 3, ..Case::at_base(BASE) };
    assert_eq!(old.push(MINE), Mine);
}

#[test]
fn a_base_that_is_named_is_taken_from_the_history() {
    let case = || Case::at_base(BASE).head(THEIRS);
    assert_eq!(case().push_entry(json!({ "content": MINE, "base_hash": hash(BASE) })), Merged(BOTH));
    assert_eq!(case().push_entry(json!({ "content": CLASH, "base_hash": hash(THEIRS) })), Mine);
    // Content that nobody knows is not thrown away, also where it says that it is its own base.
    let unknown = json!({ "content": CLASH, "base_hash": hash(CLASH) });
    assert_eq!(case().push_entry(unknown), conflict(None, CLASH, THEIRS));
}

#[test]
fn a_client_that_ignores_replies_does_not_conflict_with_itself() {
    // It pushed MINE from seq 1, which was merged into head, and edits on from its own text.
    let case =
        || Case { head: 3, ..Case::at_base(BASE).head(THEIRS).pushed_aside(3, MINE).version(3, Some(BOTH)) };
    assert_eq!(case().push(MINE), Unchanged);
    assert_eq!(case().push(MINE_ON), Merged(BOTH_ON));
    assert_eq!(case().push(BASE), Merged(THEIRS), "it takes its own edit back, not theirs");
    // Once its seq says that it has seen the reply, head is the base.
    assert_eq!(Case { seq: 3, ..case() }.push(MINE), Mine);
}

#[test]
fn a_patch_is_applied_to_the_base_it_names() {
    let patch = |base: &str, result: Value| json!({ "patch": [[0, 3, "ONE"]], "base_hash": hash(base), "hash": result });
    let case = || Case::at_base(BASE).head(THEIRS);
    assert_eq!(case().push_entry(patch(BASE, json!(hash(MINE)))), Merged(BOTH));
    assert_eq!(case().push_entry(patch(BASE, Value::Null)), Merged(BOTH));
    assert_eq!(case().push_entry(patch(THEIRS, json!(hash(BOTH)))), Mine);
    let unknown = Rejected("base_unknown");
    assert_eq!(case().push_entry(patch("nobody knows", Value::Null)), unknown);
    assert_eq!(case().push_entry(patch(BASE, json!(hash(THEIRS)))), unknown);
    let past_end = json!({ "patch": [[100, 1, ""]], "base_hash": hash(BASE) });
    assert_eq!(case().push_entry(past_end), unknown);
    let within_a_character = json!({ "patch": [[1, 0, "x"]], "base_hash": hash("é") });
    assert_eq!(Case::at_base("é").push_entry(within_a_character), unknown);
}

#[test]
fn a_document_over_the_limit_is_rejected_alone() {
    let mut case = Case::at_base(BASE);
    case.policy.file_bytes_max = MINE.len() - 1;
    assert_eq!(case.push(MINE), Rejected("file_too_large"));
    let mut case = Case::at_base(BASE);
    case.policy.file_bytes_max = 1;
    assert_eq!(case.push(None), Deleted, "a removal has no size");
}

#[test]
fn an_open_conflict_blocks_its_document_where_files_are_blocked() {
    let blocked = |block| {
        let mut case = Case::at_base(BASE);
        let open = Conflict {
            id: "c1".to_owned(),
            key: KEY.to_owned(),
            base: None,
            mine: None,
            theirs: None,
            mine_device_id: "me".to_owned(),
            theirs_device_id: "other".to_owned(),
            seq: 1,
            created_at: 0,
            resolved: None,
        };
        case.slice.conflicts.insert(open.id.clone(), open);
        case.policy.conflict_block = block;
        case
    };
    assert_eq!(blocked(ConflictBlock::File).push(MINE), Blocked);
    assert_eq!(blocked(ConflictBlock::File).lww().push(MINE), Mine);
}
