use super::Holdings;
use anyhow::{Result, bail};
use nself_sync_engine::ids::Hash;
use serde_json::{Value, json};

const TEXT: &str = "a first line that is long enough for a patch to pay\n";

fn no_fetch(hash: &str) -> Result<Vec<u8>> {
    bail!("nobody should need {hash}")
}

fn apply(holds: &mut Holdings, state: Value, is_snapshot: bool) {
    holds.apply(state.as_object().unwrap(), is_snapshot, &mut no_fetch).unwrap();
}

/// Holds `files/a.txt` with [`TEXT`], agreed with the host.
fn holding_text() -> Holdings {
    let mut holds = Holdings::default();
    holds.edit("files/a.txt", Some(TEXT.into()));
    assert_eq!(holds.state_to_push(), json!({"files": {"a.txt": {"content": TEXT}}}));
    holds.settle(&json!({})).unwrap();
    holds
}

#[test]
fn a_small_edit_goes_as_a_patch_and_again_in_full_when_asked() {
    let mut holds = holding_text();
    let edited = format!("{TEXT}and a second\n");
    holds.edit("files/a.txt", Some(edited.clone().into_bytes()));
    let entry = holds.state_to_push()["files"]["a.txt"].clone();
    assert_eq!(entry["patch"], json!([[TEXT.len(), 0, "and a second\n"]]));
    assert_eq!(entry["base_hash"], Hash::of(TEXT.as_bytes()).to_string());

    holds.settle(&json!({"files/a.txt": {"status": "rejected", "code": "base_unknown"}})).unwrap();
    assert!(holds.needs_full_push());
    assert_eq!(holds.state_to_push()["files"]["a.txt"]["content"], edited);
    holds.settle(&json!({})).unwrap();
    assert!(!holds.is_edited() && !holds.needs_full_push());
}

#[test]
fn a_refused_text_waits_for_another_edit() {
    let mut holds = holding_text();
    holds.edit("files/a.txt", Some(vec![b'x'; 100]));
    let result = json!({"files/a.txt": {"status": "rejected", "code": "file_too_large"}});
    assert_eq!(holds.settle(&result).unwrap()[0].code, "file_too_large");
    assert!(!holds.is_edited());
    holds.edit("files/a.txt", Some(vec![b'x'; 10]));
    assert!(holds.is_edited());
}

#[test]
fn a_patch_applies_to_what_was_pushed_and_to_what_was_there_before() {
    for base in ["pushed\n", TEXT] {
        let mut holds = holding_text();
        holds.edit("files/a.txt", Some("pushed\n".into()));
        holds.settle(&json!({"files/a.txt": {"status": "merged"}})).unwrap();
        let merged = format!("{base}theirs\n");
        let entry = json!({
            "patch": [[base.len(), 0, "theirs\n"]],
            "base_hash": Hash::of(base.as_bytes()),
            "hash": Hash::of(merged.as_bytes()),
        });
        apply(&mut holds, json!({"files": {"a.txt": entry}}), false);
        assert_eq!(holds.document("files/a.txt"), Some(merged.as_bytes()));
        assert!(!holds.is_edited());
    }
}

#[test]
fn a_snapshot_replaces_all_but_what_was_edited() {
    let mut holds = holding_text();
    holds.set("active_file", json!("a.txt"));
    holds.set("sessions/s1/title", json!("one"));
    holds.settle(&json!({})).unwrap();
    holds.edit("files/mine.txt", Some("mine".into()));
    holds.set("cursor", json!(3));
    let page = json!({"title": "Notes", "content": "# Plan\n", "hash": Hash::of(b"# Plan\n")});
    apply(&mut holds, json!({"context_pages": {"p1": page}, "active_file": "b.txt"}), true);
    let documents: Vec<&str> = holds.documents().map(|(key, _)| key).collect();
    assert_eq!(documents, ["context_pages/p1", "files/mine.txt"]);
    let scalars = ["active_file", "cursor", "sessions/s1/title", "context_pages/p1/title"];
    let values = scalars.map(|key| holds.scalar(key).cloned().unwrap_or_default());
    assert_eq!(values, [json!("b.txt"), json!(3), json!(null), json!("Notes")]);
}

#[test]
fn null_in_a_delta_removes() {
    let mut holds = holding_text();
    holds.set("sessions/s1/title", json!("one"));
    holds.set("open_session_id", json!("s1"));
    holds.settle(&json!({})).unwrap();
    apply(
        &mut holds,
        json!({"files": {"a.txt": null}, "sessions": {"s1": null}, "open_session_id": null}),
        false,
    );
    assert_eq!(holds.documents().count(), 0);
    assert_eq!((holds.scalar("sessions/s1/title"), holds.scalar("open_session_id")), (None, None));
}
