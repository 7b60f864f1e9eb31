use super::*;
use serde_json::{Map, json};

mod laws;

fn object(value: Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

fn state(value: Value) -> State {
    State::parse(&object(value)).expect("a state")
}

fn delta(value: Value) -> Delta {
    Delta::parse(&object(value)).expect("a delta")
}

fn applied(before: &State, delta: &Delta) -> State {
    let mut after = before.clone();
    after.apply(delta).expect("nothing is missing");
    after
}

fn hash(content: &str) -> Hash {
    Hash::of(content.as_bytes())
}

/// Long enough for a patch to be the smaller.
fn page(word: &str) -> String {
    (0..40).map(|line| format!("line {line} of a page\n")).collect::<String>() + word
}

fn patch_change(from: &str, to: &str, seq: Seq) -> Value {
    let patch = crate::text::Patch::diff(from.as_bytes(), to.as_bytes()).to_json();
    json!({ "patch": patch, "base_hash": hash(from), "hash": hash(to), "size": to.len(), "seq": seq })
}

#[test]
fn a_state_is_rendered_as_it_was_read() {
    let given = json!({
        "active_file": "a.rs", "cursor": { "line": 3, "marks": [null] },
        "sessions": { "s1": { "title": "Fix", "content": "a session's field like any other" } },
        "files": {
            "a.rs": { "content": "fn\r\n", "hash": hash("fn\r\n"), "size": 4, "seq": 7 },
            "b/c.bin": { "content_base64": "AAE=", "hash": Hash::of(&[0, 1]), "size": 2 },
        },
        "context_pages": { "p1": { "title": "Notes", "content": "", "hash": hash(""), "size": 0, "seq": 2 } },
    });
    assert_eq!(Value::Object(state(given.clone()).render()), given);
}

#[test]
fn nulls_empty_entries_and_empty_collections_are_not_there() {
    let read = state(json!({
        "a": null, "sessions": { "s1": {}, "s2": { "title": null }, "s3": null }, "files": {}, "context_pages": { "p1": {} },
    }));
    assert_eq!(read, State::default());
    assert!(read.render().is_empty());
}

#[test]
fn text_or_binary_follows_the_bytes_not_the_member_used() {
    let read = state(json!({ "files": { "a": { "content_base64": "YWJj" }, "b": { "content": "a\u{0}" } } }));
    let shown = read.render();
    assert_eq!(shown["files"]["a"]["content"], "abc");
    assert_eq!(shown["files"]["b"]["content_base64"], "YQA=");
}

#[test]
fn what_is_not_a_state_is_named_by_its_key() {
    let cases = [
        (json!({ "sessions": 5 }), "sessions"),
        (json!({ "files": null }), "files"),
        (json!({ "files": { "../a": null } }), "files/../a"),
        (json!({ "files": { "a": { "seq": 3 } } }), "files/a"),
        (json!({ "files": { "a": { "content": null } } }), "files/a"),
        (json!({ "files": { "a": { "content": "x", "hash": hash("y") } } }), "files/a"),
        (json!({ "files": { "a": { "content": "x", "content_base64": "eA==" } } }), "files/a"),
        (json!({ "files": { "a": { "content_base64": "?" } } }), "files/a"),
        (json!({ "files": { "a": { "patch": [], "hash": hash("") } } }), "files/a"),
        (json!({ "files": { "a": { "hash": "12" } } }), "files/a"),
        (json!({ "files": { "a": { "content": "x", "seq": -1 } } }), "files/a"),
        (json!({ "sessions": { "s1": [] } }), "sessions/s1"),
        (json!({ "sessions": { "s/1": {} } }), "sessions/s/1"),
        (json!({ "sessions": { "s1": { "a/b": 1 } } }), "sessions/s1/a/b"),
        (json!({ "a\nb": 1 }), "a\nb"),
    ];
    for (given, key) in cases {
        assert_eq!(
            Delta::parse(&object(given.clone())).map_err(|error| error.key),
            Err(key.to_owned()),
            "{given}"
        );
    }
    let incomplete = object(json!({ "files": { "a": { "hash": hash("x") } } }));
    assert_eq!(State::parse(&incomplete).map_err(|error| error.key), Err("files/a".to_owned()));
}

#[test]
fn a_diff_tells_only_what_changed() {
    let before = state(json!({
        "same": 1, "other": [1], "gone": true,
        "sessions": { "s1": { "title": "a", "status": "b" }, "s2": { "title": "c" }, "s3": { "x": 1 } },
        "files": { "a": { "content": "a", "seq": 1 }, "b": { "content": "b", "seq": 1 }, "c": { "content": "" } },
        "context_pages": { "p1": { "title": "t", "content": "x" }, "p2": { "content": "y" } },
    }));
    let after = state(json!({
        "same": 1, "other": [1, 2], "new": {},
        "sessions": { "s1": { "title": "a", "status": "B" }, "s3": { "y": 1 } },
        "files": { "a": { "content": "a", "seq": 1 }, "b": { "content": "B", "seq": 2 } },
        "context_pages": { "p1": { "title": "t" } },
    }));
    let diff = Delta::diff(&before, &after);
    let told = json!({
        "other": [1, 2], "new": {}, "gone": null,
        "sessions": { "s1": { "status": "B" }, "s2": null, "s3": { "x": null, "y": 1 } },
        "files": { "b": { "content": "B", "hash": hash("B"), "size": 1, "seq": 2 }, "c": null },
        "context_pages": { "p1": { "content": null }, "p2": null },
    });
    assert_eq!(diff.render(), [object(told)]);
    assert!(Delta::diff(&after, &after).is_empty());
    assert!(Delta::diff(&after, &after).render().is_empty());
}

#[test]
fn key_order_is_no_change_and_neither_is_a_seq_that_is_not_known() {
    let before =
        state(json!({ "cursor": { "line": 1, "col": 2 }, "files": { "a": { "content": "x", "seq": 4 } } }));
    let mut after = state(serde_json::from_str(r#"{"cursor":{"col":2,"line":1}}"#).expect("JSON"));
    after.write("files/a", Some(b"x".to_vec())).expect("a file");
    assert!(Delta::diff(&before, &after).is_empty());
    assert_eq!(applied(&before, &Delta::diff(&State::default(), &after)), before);
}

#[test]
fn a_file_is_replaced_whole_and_a_page_field_by_field() {
    let before = state(json!({
        "files": { "a": { "content": "x", "seq": 1 } },
        "context_pages": { "p1": { "title": "t", "tags": ["u"], "content": "x", "seq": 1 } },
    }));
    let change = delta(json!({
        "files": { "a": { "content_base64": "AA==" } },
        "context_pages": { "p1": { "tags": null, "content": "y" } },
    }));
    let after = applied(&before, &change).render();
    assert_eq!(after["files"]["a"], json!({ "content_base64": "AA==", "hash": Hash::of(&[0]), "size": 1 }));
    assert_eq!(
        after["context_pages"]["p1"],
        json!({ "title": "t", "content": "y", "hash": hash("y"), "size": 1 })
    );
}

#[test]
fn a_page_lives_on_without_content_and_an_entry_ends_with_its_last_field() {
    let before = state(json!({
        "sessions": { "s1": { "title": "t" } }, "context_pages": { "p1": { "title": "t", "content": "x" } },
    }));
    let change = delta(json!({
        "sessions": { "s1": { "title": null } }, "context_pages": { "p1": { "content": null } },
    }));
    let after = applied(&before, &change);
    assert_eq!(Value::Object(after.render()), json!({ "context_pages": { "p1": { "title": "t" } } }));
    assert!(!after.has_entry("sessions/s1"));
}

#[test]
fn removing_an_entry_does_not_touch_its_neighbours() {
    let before = state(
        json!({ "sessions": { "s": { "a": 1 }, "s.": { "a": 1 }, "s0": { "a": 1 }, "s1": { "a": 1 } } }),
    );
    let after = applied(&before, &delta(json!({ "sessions": { "s": null } })));
    let left = json!({ "sessions": { "s.": { "a": 1 }, "s0": { "a": 1 }, "s1": { "a": 1 } } });
    assert_eq!(Value::Object(after.render()), left);
}

#[test]
fn a_patch_is_applied_to_the_content_it_was_made_for() {
    let (one, two) = (page("one"), page("two"));
    let before = state(json!({ "files": { "a": { "content": one, "seq": 1 } } }));
    let after = applied(&before, &delta(json!({ "files": { "a": patch_change(&one, &two, 2) } })));
    assert_eq!(after, state(json!({ "files": { "a": { "content": two, "seq": 2 } } })));
}

#[test]
fn a_bare_hash_keeps_the_content_that_is_held() {
    let before = state(json!({ "files": { "a": { "content": "x", "seq": 1 } } }));
    let bare = json!({ "files": { "a": { "hash": hash("x"), "size": 1, "seq": 3 } } });
    let after = applied(&before, &delta(bare));
    assert_eq!(after, state(json!({ "files": { "a": { "content": "x", "seq": 3 } } })));
}

#[test]
fn what_is_not_held_is_told_and_nothing_is_applied_until_it_is_supplied() {
    let (one, two, three) = (page("one"), page("two"), page("three"));
    let before = state(json!({ "n": 1, "files": { "a": { "content": one } } }));
    let mut wrong = patch_change(&one, &two, 2);
    wrong["hash"] = json!(hash(&three));
    let mut past_end = patch_change(&one, &two, 2);
    past_end["patch"] = json!([[100_000, 1, "x"]]);
    let changes = json!({
        "n": 2,
        "files": {
            "a": wrong, // the result has another hash
            "b": patch_change(&one, &two, 2), // its base is not held
            "c": { "hash": hash("c"), "size": 1, "seq": 2 },
            "d": { "content": "d" },
        },
    });
    let mut change = delta(changes);
    let mut held = before.clone();
    let missing = [("files/a", hash(&three)), ("files/b", hash(&two)), ("files/c", hash("c"))];
    let missing = missing.map(|(key, hash)| (key.to_owned(), hash));
    assert_eq!(held.apply(&change), Err(Missing { contents: missing.into() }));
    assert_eq!(held, before);

    for content in [three.as_bytes(), two.as_bytes(), b"c"] {
        assert!(change.supply(content));
    }
    assert!(!change.supply(b"of no use"));
    held.apply(&change).expect("all is there");
    assert_eq!(held.document("files/a").map(Document::content), Some(three.as_bytes()));
    assert_eq!(held.scalar("n"), Some(&json!(2)));

    let mut held = before.clone();
    assert!(held.apply(&delta(json!({ "files": { "a": past_end } }))).is_err());
    assert_eq!(held, before);
}

#[test]
fn a_snapshot_replaces_all_but_takes_contents_it_names_by_hash() {
    let (one, two) = (page("one"), page("two"));
    let mut held = state(json!({
        "old": 1, "sessions": { "s1": { "title": "t" } },
        "files": { "a": { "content": "x", "seq": 1 }, "b": { "content": one, "seq": 1 }, "c": { "content": "c" } },
    }));
    let snapshot = delta(json!({
        "new": 1,
        "files": { "a": { "hash": hash("x"), "size": 1, "seq": 1 }, "b": patch_change(&one, &two, 9) },
    }));
    held.reset(&snapshot).expect("all is held");
    let files = json!({ "a": { "content": "x", "seq": 1 }, "b": { "content": two, "seq": 9 } });
    assert_eq!(held, state(json!({ "new": 1, "files": files })));
    assert!(State::default().reset(&snapshot).is_err());
}

#[test]
fn squashed_patches_are_composed() {
    let (one, two, three) = (page("one"), page("two"), page("three"));
    let change = |from: &str, to: &str, seq| delta(json!({ "files": { "a": patch_change(from, to, seq) } }));
    let squash = change(&one, &two, 2).squash(change(&two, &three, 3));
    let told = squash.render();
    assert_eq!(told[0]["files"]["a"]["base_hash"], json!(hash(&one)));
    let before = state(json!({ "files": { "a": { "content": one, "seq": 1 } } }));
    let after = state(json!({ "files": { "a": { "content": three, "seq": 3 } } }));
    assert_eq!(applied(&before, &squash), after);
}

#[test]
fn a_patch_after_a_content_is_a_content() {
    let (one, two) = (page("one"), page("two"));
    let first = delta(json!({ "files": { "a": { "content": one, "seq": 1 } } }));
    let squash = first.squash(delta(json!({ "files": { "a": patch_change(&one, &two, 2) } })));
    let after = state(json!({ "files": { "a": { "content": two, "seq": 2 } } }));
    assert_eq!(squash, Delta::diff(&State::default(), &after));
}

#[test]
fn a_bare_hash_after_its_content_keeps_the_content() {
    let first = delta(json!({ "files": { "a": { "content": "x", "seq": 1 } } }));
    let squash = first.squash(delta(json!({ "files": { "a": { "hash": hash("x"), "size": 1, "seq": 2 } } })));
    assert_eq!(
        applied(&State::default(), &squash),
        state(json!({ "files": { "a": { "content": "x", "seq": 2 } } }))
    );
}

#[test]
fn a_patch_that_does_not_fit_what_came_before_is_left_to_be_fetched() {
    let (one, two) = (page("one"), page("two"));
    let mut wrong = patch_change(&one, &two, 2);
    wrong["patch"] = json!([[0, 1, "L"]]);
    let first = delta(json!({ "files": { "a": { "content": one, "seq": 1 } } }));
    let squash = first.squash(delta(json!({ "files": { "a": wrong } })));
    let missing = State::default().apply(&squash).expect_err("its content is not known");
    assert_eq!(missing.contents, [("files/a".to_owned(), hash(&two))].into());
}

#[test]
fn an_entry_removed_and_made_anew_keeps_nothing_of_before() {
    let before = state(json!({
        "sessions": { "s1": { "title": "old", "status": "old" }, "s2": { "x": 1 } },
        "context_pages": { "p1": { "title": "old", "content": "old" } },
    }));
    let gone = delta(json!({ "sessions": { "s1": null }, "context_pages": { "p1": null } }));
    let anew = delta(json!({
        "sessions": { "s1": { "title": "new", "status": null } }, "context_pages": { "p1": { "tags": [] } },
    }));
    let squash = gone.squash(anew);
    let after = json!({
        "sessions": { "s1": { "title": "new" }, "s2": { "x": 1 } }, "context_pages": { "p1": { "tags": [] } },
    });
    assert_eq!(applied(&before, &squash), state(after));
    // One object cannot say that; two in a row do.
    let told = squash.render();
    assert_eq!(told.len(), 2);
    let again = told.iter().map(|object| Delta::parse(object).expect("a delta")).reduce(Delta::squash);
    assert_eq!(again, Some(squash));
}

#[test]
fn local_edits_go_by_changed_keys() {
    let mut held = State::default();
    held.set("active_file", json!("a")).expect("a scalar");
    held.set("sessions/s1/title", json!("t")).expect("a field");
    held.write("context_pages/p1", Some(b"x".to_vec())).expect("a page");
    assert!(held.has_entry("sessions/s1") && held.has_entry("context_pages/p1"));
    held.set("sessions/s1/title", Value::Null).expect("a field");
    assert!(!held.has_entry("sessions/s1"));
    held.remove_entry("context_pages/p1");
    assert_eq!(Value::Object(held.render()), json!({ "active_file": "a" }));
    for key in ["files/a", "sessions/s1", "sessions", "", "context_pages/p1/content", "x/y"] {
        assert!(held.set(key, json!(1)).is_err(), "{key}");
    }
    for key in ["active_file", "sessions/s1", "files/../a", "context_pages/p1/title"] {
        assert!(held.write(key, None).is_err(), "{key}");
    }
}
