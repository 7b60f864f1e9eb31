use super::{Place, Progress, Record, commits};
use crate::error::Reject;
use crate::ids::{Hash, Platform, Tag, User};
use crate::slice::{
    Cause, Conflict, Delta, Device, Document, Head, LastPush, Located, Pushed, Resolved, Scalar, Segment,
    Side, Version,
};
use serde_json::json;

fn head() -> Head {
    let tag = Tag([0xfe; 8]);
    Head { seq: 9, floor: 2, floor_tag: tag, tag, conflicts_open: 1, ..Head::new("epoch".to_owned()) }
}

fn conflict(id: &str, resolved: Option<Resolved>) -> Record {
    Record::Conflict(Conflict {
        id: id.to_owned(),
        key: "files/a".to_owned(),
        base: None,
        mine: Some(Side::new(vec![0, 255, 10])),
        theirs: Some(Side::new(Vec::new())),
        mine_device_id: "a".to_owned(),
        theirs_device_id: "b".to_owned(),
        seq: 8,
        created_at: 5,
        resolved,
    })
}

/// One record of each kind and variant.
fn records() -> Vec<Record> {
    let device = Device {
        device_id: "desktop-ä\"\n".to_owned(),
        platform: Platform::Web,
        created_at: 1,
        last_seen: 2,
        seq: 3,
        removed_at: None,
        sync_token: Some(Hash([7; 32])),
        last_push: Some(LastPush {
            push_no: 4,
            body: Hash([8; 32]),
            seq: 5,
            tag: Tag([9; 8]),
            registered: true,
            results: r#"{"files/a":{"status":"merged"}}"#.to_owned(),
        }),
    };
    let removed = Device {
        device_id: "gone".to_owned(),
        removed_at: Some(6),
        sync_token: None,
        last_push: None,
        ..device.clone()
    };
    let scalar = Scalar {
        value: Some(json!({"b": [1, -0.5, "\u{0}"], "a": null})),
        seq: 4,
        device_id: "gone".to_owned(),
        changed_at: 1 << 53,
    };
    let document = Document { hash: Some(Hash([1; 32])), size: 3, seq: 5, device_id: "gone".to_owned() };
    let version = Version {
        key: "n".to_owned(),
        seq: 4,
        no: 1,
        cause: Cause::Superseded,
        device_id: "gone".to_owned(),
        created_at: 3,
        value: None,
    };
    let resolved = Resolved { at: 7, resolution: "mine".to_owned(), device_id: None };
    vec![
        Record::User(User { account: "primary".to_owned(), id: "u".to_owned() }, head()),
        Record::Device(device),
        Record::Device(removed),
        Record::Scalar("n".to_owned(), Scalar { changed_at: (1 << 53) - 1, ..scalar.clone() }),
        Record::Scalar("sessions/s".to_owned(), Scalar { value: None, changed_at: 0, ..scalar }),
        Record::Document("files/a".to_owned(), document.clone()),
        Record::Document("files/b".to_owned(), Document { hash: None, size: 0, ..document }),
        Record::Delta(Delta {
            seq: 3,
            device_id: "gone".to_owned(),
            created_at: 4,
            tag: Tag([2; 8]),
            diff: r#"{"n": 1.0}"#.to_owned(),
        }),
        Record::Version(Version { value: Some(json!(1)), no: 0, cause: Cause::Merge, ..version.clone() }),
        Record::Version(version),
        Record::Segment(Segment {
            key: "files/a".to_owned(),
            start: 3,
            keyframe: vec![1, 2],
            pack: Vec::new(),
        }),
        Record::Located(Located { prefix: -3, seq: 3, key: "files/a".to_owned() }),
        Record::Located(Located { prefix: i64::MAX, seq: 3, key: "files/a".to_owned() }),
        Record::Pushed("gone".to_owned(), "n".to_owned(), Pushed { seq: 4, at: 0, hash: None }),
        conflict("1", None),
        conflict("2", Some(resolved)),
    ]
}

fn stream() -> String {
    let (mut progress, mut lines) = (Progress::default(), String::new());
    for record in records() {
        progress.write(&record, &mut lines);
    }
    let end = Record::End(progress.lines, progress.hash);
    progress.write(&end, &mut lines);
    lines
}

fn read(stream: &str) -> Result<(Vec<Record>, Progress), Reject> {
    let mut progress = Progress::default();
    let records = stream.lines().map(|line| progress.read(line)).collect::<Result<_, _>>()?;
    Ok((records, progress))
}

fn field(stream: &str) -> String {
    match read(stream) {
        Err(Reject::InvalidField { field, detail }) => format!("{field}: {detail}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_record_is_read_back_as_it_was() {
    let (mut read, progress) = read(&stream()).expect("a sound stream");
    assert!(progress.is_done() && matches!(read.pop(), Some(Record::End(16, _))));
    assert_eq!(read, records());
}

#[test]
fn what_is_not_as_it_was_written_is_refused() {
    let stream = stream();
    let lines: Vec<&str> = stream.lines().collect();
    let joined = |lines: &[&str]| lines.join("\n");
    for left_out in 1..lines.len() - 1 {
        let mut cut = lines.clone();
        cut.remove(left_out);
        assert!(field(&joined(&cut)).contains("lines: 16 lines were written"), "{left_out}");
    }
    for at in 0..lines.len() - 2 {
        let mut swapped = lines.clone();
        swapped.swap(at, at + 1);
        assert!(field(&joined(&swapped)).contains("record: out of order"), "{at}");
    }
    for (from, to) in [("\"seq\":4", "\"seq\":5"), ("\"AP8K\"", "\"AP8L\""), ("\"no\":1", "\"no\":2")] {
        assert!(stream.contains(from), "{from}");
        let altered = field(&stream.replacen(from, to, 1));
        assert!(altered.contains("line 17: sha256") && altered.contains("altered"), "{altered}");
    }
    let (_, cut) = read(&joined(&lines[..lines.len() - 1])).expect("sound so far");
    assert!(!cut.is_done(), "without its end it is not whole");
    let mut twice = lines.clone();
    twice.push(lines[lines.len() - 1]);
    assert!(field(&joined(&twice)).contains("line 18: record: out of order"));
}

#[test]
fn wrong_line_is_named_with_its_field_and_what_is_allowed() {
    let stream = stream();
    let cases = [
        ("\"version\":1", "\"version\":2", "line 1: version: 2 is not known, allowed is 1"),
        ("\"floor\":2", "\"floor\":10", "line 1: floor: it is not above seq"),
        ("\"push_no\":4", "\"push_no\":-4", "line 2: last_push.push_no: allowed is a whole number"),
        ("\"platform\":\"web\"", "\"platform\":\"linux\"", "line 2: platform: allowed is desktop"),
        ("\"platform\":\"web\",", "", "line 2: platform: it is missing"),
        ("\"value\":null", "\"value\":null,\"more\":1", "line 5: more: no such field"),
        ("\"prefix\":\"fffffffffffffffd\"", "\"prefix\":-3", "line 12: prefix: allowed is 16 hex digits"),
        ("\"AP8K\"", "\"AP8\"", "line 15: mine.content: allowed is base64"),
        ("\"record\":\"delta\"", "\"record\":\"beta\"", "line 8: record: no kind"),
        ("\"id\":\"1\"", "\"id\":\"\\u0000\"", "line 15: id: allowed is text without NUL"),
        ("{\"changed_at\"", "[\"changed_at\"", "line 4: record: the line is not a JSON object"),
    ];
    for (from, to, wanted) in cases {
        assert!(stream.contains(from), "{from}");
        let said = field(&stream.replacen(from, to, 1));
        assert!(said.starts_with(wanted), "{said}");
    }
}

#[test]
fn progress_survives_as_text() {
    let mut progress = Progress::default();
    for record in records() {
        progress.write(&record, &mut String::new());
        assert_eq!(Progress::from_text(&progress.to_text()), Some(progress.clone()));
    }
    assert_eq!(progress.place, Some(Place::Conflict("2".to_owned())));
    for text in ["", "x", "e30"] {
        assert_eq!(Progress::from_text(text), None);
    }
}

#[test]
fn what_one_device_pushed_is_one_commit() {
    let pushed = |device: &str, key: &str| {
        let row = Pushed { seq: 1, at: 0, hash: None };
        Record::Pushed(device.to_owned(), key.to_owned(), row)
    };
    let commits = commits(vec![pushed("a", "x"), pushed("a", "y"), pushed("b", "x")]);
    let by: Vec<(&str, usize)> = commits
        .iter()
        .map(|commit| (commit.pushed_by.as_str(), commit.pushed.len()))
        .filter(|(_, rows)| *rows > 0)
        .collect();
    assert_eq!(by, [("a", 2), ("b", 1)]);
}
