//! PROTOCOL section 5, patches: documents as what changed in them, in both directions. Nothing is guessed.

use nself_sync_tests::world::{Device, Reply, World, apply_patch, sha256_hex};
use serde_json::{Value, json};

use crate::case::{SMALL, THRESHOLD_5};

crate::cases![
    small_edit_of_a_big_file_comes_as_a_patch,
    patch_from_an_older_version_leads_to_head,
    patch_offsets_are_bytes_on_character_boundaries,
    patches_only_where_they_are_asked_for,
    push_that_asks_for_patches_gets_them_in_its_changes,
    new_and_binary_documents_come_whole,
    patches_of_pages_leave_fields_alone,
    snapshot_with_patches_gives_only_the_hash_of_what_did_not_change.config(THRESHOLD_5),
    pushed_patch_is_the_same_as_pushed_content,
    pushed_patch_with_several_triples_is_applied_in_order,
    pushed_patch_on_an_older_version_merges,
    pushed_patch_on_the_devices_own_unmerged_text_works,
    pushed_patch_on_an_unknown_base_is_rejected,
    pushed_patch_without_a_base_is_rejected,
    pushed_patch_past_the_end_of_its_base_is_rejected,
    pushed_patch_within_a_character_is_rejected,
    pushed_patch_with_another_result_is_rejected,
    pushed_patch_of_a_wrong_shape_is_rejected,
    pushed_patch_to_a_too_large_file_is_rejected.config(SMALL),
    empty_patch_is_unchanged,
    rejected_patch_sent_as_content_is_taken,
];

fn lines(count: usize) -> String {
    (0..count).map(|line| format!("line {line} with some words in it\n")).collect()
}

fn file(text: &str) -> Value {
    json!({"files": {"f": {"content": text}}})
}

fn small_edit_of_a_big_file_comes_as_a_patch(world: &World) {
    let base = lines(2000);
    let (mut a, mut b) = world.two_devices(file(&base));
    let edited = base.replacen("line 777 ", "line 777, edited, ", 1);
    a.push(file(&edited));
    let reply = b.pull_with("&patches=1");
    let entry = &reply["state"]["files"]["f"];
    assert!(entry.get("content").is_none() && entry["patch"].is_array(), "a patch: {entry}");
    assert_eq!(
        (&entry["base_hash"], &entry["hash"]),
        (&json!(sha256_hex(base.as_bytes())), &json!(sha256_hex(edited.as_bytes())))
    );
    assert!(entry.to_string().len() < 1000, "about the bytes that changed: {entry}");
    assert_eq!(b.view.files["f"], edited.as_bytes());
}

fn patch_from_an_older_version_leads_to_head(world: &World) {
    let mut text = lines(300);
    let (mut a, mut b) = world.two_devices(file(&text));
    for round in 0..8 {
        text = text.replacen(&format!("line {}0 ", round + 1), &format!("LINE {round} "), 1) + "more\n";
        a.push(file(&text));
    }
    b.pull_with("&patches=1");
    assert_eq!(b.view.files["f"], text.as_bytes());
}

fn patch_offsets_are_bytes_on_character_boundaries(world: &World) {
    let base = "ääääéé😀😀日本語\n".repeat(200);
    let edited = base.replacen("😀😀日", "😁😀月", 3).replacen('ä', "à", 2);
    let (mut a, mut b) = world.two_devices(file(&base));
    a.push(file(&edited));
    let reply = b.pull_with("&patches=1");
    let triples = reply["state"]["files"]["f"]["patch"].as_array().expect("a patch").clone();
    let mut at = 0;
    for triple in &triples {
        let (skip, delete) = (triple[0].as_u64().expect("skip"), triple[1].as_u64().expect("delete"));
        for step in [skip, delete] {
            at += usize::try_from(step).expect("it fits");
            assert!(base.is_char_boundary(at), "{triple} of {triples:?}");
        }
    }
    assert_eq!(b.view.files["f"], edited.as_bytes());
}

fn patches_only_where_they_are_asked_for(world: &World) {
    let base = lines(500);
    let (mut a, mut b) = world.two_devices(file(&base));
    a.push(file(&(base.clone() + "more\n")));
    let entry = b.pull()["state"]["files"]["f"].clone();
    assert!(entry.get("patch").is_none(), "{entry}");
    assert_eq!(entry["content"], base + "more\n");
}

fn push_that_asks_for_patches_gets_them_in_its_changes(world: &World) {
    let base = lines(500);
    let (mut a, mut b) = world.two_devices(file(&base));
    a.push(file(&(base.clone() + "more\n")));
    let mut body = b.body(json!({"n": 1}));
    body["patches"] = json!(true);
    let reply = b.push_body(&body);
    assert!(
        reply.entry("files", "f").is_some_and(|entry| entry["patch"].is_array()),
        "{:?}",
        reply.changes()
    );
    assert_eq!(b.view, world.view());
}

fn new_and_binary_documents_come_whole(world: &World) {
    let (mut a, mut b) =
        world.two_devices(json!({"files": {"bin": {"content_base64": "AAEC"}, "t": {"content": "x\n"}}}));
    a.push(json!({"files": {"new": {"content": "n\n"}, "bin": {"content_base64": "AAED"}, "t": {"content_base64": "AA=="}}}));
    b.pull_with("&patches=1");
    assert_eq!(b.view, world.view());
}

fn patches_of_pages_leave_fields_alone(world: &World) {
    let base = lines(200);
    let (mut a, mut b) = world.two_devices(json!({"context_pages": {"p": {"content": base, "title": "t"}}}));
    a.push(json!({"context_pages": {"p": {"content": base.replacen("line 9 ", "line nine ", 1)}}}));
    let reply = b.pull_with("&patches=1");
    assert!(reply["state"]["context_pages"]["p"]["patch"].is_array(), "{reply}");
    assert_eq!(b.view, world.view());
}

fn snapshot_with_patches_gives_only_the_hash_of_what_did_not_change(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"files": {"same": {"content": lines(50)}, "f": {"content": lines(50)}, "gone": {"content": "x"}}}));
    a.push(json!({"files": {"f": {"content": lines(51)}, "gone": null, "new": {"content": "n\n"}}}));
    for n in 0..6 {
        a.push(json!({"n": n}));
    }
    let reply = b.pull_with("&patches=1");
    assert_eq!((&reply["kind"], &reply["reason"]), (&json!("snapshot"), &json!("behind_threshold")));
    let same = reply["state"]["files"]["same"].as_object().expect("an entry").clone();
    assert_eq!(same["hash"], sha256_hex(lines(50).as_bytes()));
    assert!(!["content", "patch", "content_base64"].iter().any(|name| same.contains_key(*name)), "{same:?}");
    assert_eq!(b.view, world.view());
}

fn patched(device: &mut Device, base: &str, patch: Value) -> Reply {
    device.push(json!({"files": {"f": {"patch": patch, "base_hash": sha256_hex(base.as_bytes())}}}))
}

fn pushed_patch_is_the_same_as_pushed_content(world: &World) {
    let base = "fn main() {}\n";
    let (mut a, mut b) = world.two_devices(file(base));
    let reply = a.push(json!({"files": {"f": {
        "patch": [[11, 0, "\n    run();\n"]], "base_hash": sha256_hex(base.as_bytes()), "hash": sha256_hex(b"fn main() {\n    run();\n}\n"),
    }}}));
    assert_eq!(reply.status("files/f"), "applied");
    assert_eq!(world.file("f").as_deref(), Some("fn main() {\n    run();\n}\n"));
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn pushed_patch_with_several_triples_is_applied_in_order(world: &World) {
    let base = "aaa bbb 日本 ccc\n";
    let (mut a, _) = world.two_devices(file(base));
    let patch = json!([[0, 1, "A"], [3, 3, ""], [1, 6, "Nippon 😀"], [4, 1, ""]]);
    let want = String::from_utf8(apply_patch(base.as_bytes(), &patch)).expect("text");
    assert_eq!(want, "Aaa  Nippon 😀 ccc", "the case itself is right");
    assert_eq!(patched(&mut a, base, patch).status("files/f"), "applied");
    assert_eq!(world.file("f"), Some(want));
}

fn pushed_patch_on_an_older_version_merges(world: &World) {
    let base = "1\n2\n3\n4\n5\n";
    let (mut a, mut b) = world.two_devices(file(base));
    a.push(file("one\n2\n3\n4\n5\n"));
    assert_eq!(patched(&mut b, base, json!([[8, 1, "five"]])).status("files/f"), "merged");
    assert_eq!(world.file("f").as_deref(), Some("one\n2\n3\n4\nfive\n"));
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn pushed_patch_on_the_devices_own_unmerged_text_works(world: &World) {
    let (mut a, b) = world.two_devices(file("1\n2\n3\n4\n5\n"));
    a.push(file("one\n2\n3\n4\n5\n"));
    let mut b = b.naive();
    let own = "1\n2\n3\n4\nfive\n";
    assert_eq!(b.push(file(own)).status("files/f"), "merged");
    let reply = patched(&mut b, own, json!([[13, 0, "6\n"]]));
    assert_eq!(reply.status("files/f"), "merged", "{}", reply.value);
    assert_eq!(world.file("f").as_deref(), Some("one\n2\n3\n4\nfive\n6\n"));
}

fn assert_not_patched(world: &World, entry: &Value) {
    let (mut a, _) = world.another_user().two_devices(file("a日b\n"));
    let before = a.view.clone();
    let reply = a.push(json!({"n": 1, "files": {"f": entry}}));
    let code = reply.rejected("files/f");
    assert!(matches!(code, "base_unknown" | "invalid_entry"), "{entry}: {code}");
    let mut want = before;
    want.scalars.insert("n".into(), json!(1));
    assert_eq!(a.world.view(), want, "the rest is applied, the file is as it was");
}

fn base_hash() -> String {
    sha256_hex("a日b\n".as_bytes())
}

fn pushed_patch_on_an_unknown_base_is_rejected(world: &World) {
    assert_not_patched(
        world,
        &json!({"patch": [[0, 1, "x"]], "base_hash": sha256_hex(b"nobody knows this")}),
    );
    assert_not_patched(world, &json!({"patch": [[0, 0, "x"]], "base_hash": null}));
}

fn pushed_patch_without_a_base_is_rejected(world: &World) {
    let (mut a, _) = world.two_devices(file("a\n"));
    let reply = a.push(json!({"files": {"f": {"patch": [[0, 1, "x"]]}}}));
    assert_eq!(reply.status("files/f"), "rejected", "{}", reply.value);
    assert_eq!(world.file("f").as_deref(), Some("a\n"));
}

fn pushed_patch_past_the_end_of_its_base_is_rejected(world: &World) {
    for patch in [
        json!([[7, 0, "x"]]),
        json!([[0, 7, ""]]),
        json!([[5, 2, ""]]),
        json!([[6, 0, ""], [1, 0, "x"]]),
        json!([[(1u64 << 53) - 1, 0, "x"]]),
        json!([[u64::MAX, u64::MAX, "x"]]),
        json!([[1, u64::MAX, "x"]]),
    ] {
        assert_not_patched(world, &json!({"patch": patch, "base_hash": base_hash()}));
    }
}

fn pushed_patch_within_a_character_is_rejected(world: &World) {
    for patch in [json!([[2, 0, "x"]]), json!([[1, 1, ""]]), json!([[1, 2, "x"]]), json!([[3, 1, ""]])] {
        assert_not_patched(world, &json!({"patch": patch, "base_hash": base_hash()}));
    }
}

fn pushed_patch_with_another_result_is_rejected(world: &World) {
    assert_not_patched(
        world,
        &json!({"patch": [[0, 1, "x"]], "base_hash": base_hash(), "hash": sha256_hex(b"something else")}),
    );
}

fn pushed_patch_of_a_wrong_shape_is_rejected(world: &World) {
    let (mut a, _) = world.two_devices(file("a\n"));
    let shapes = [
        json!("x"),
        json!({}),
        json!(5),
        json!([0, 1, "x"]),
        json!([[0, 1]]),
        json!([["0", 1, "x"]]),
        json!([[0, 1, 5]]),
        json!([[-1, 0, "x"]]),
        json!([[0.5, 0, "x"]]),
        json!([null]),
    ];
    for patch in shapes {
        let reply = a.push(json!({"files": {"f": {"patch": patch, "base_hash": sha256_hex(b"a\n")}}}));
        assert_eq!(reply.status("files/f"), "rejected", "{patch}: {}", reply.value);
    }
    assert_eq!(world.file("f").as_deref(), Some("a\n"));
}

fn pushed_patch_to_a_too_large_file_is_rejected(world: &World) {
    let (mut a, _) = world.two_devices(file("a\n"));
    let reply = patched(&mut a, "a\n", json!([[0, 0, "x".repeat(1023)]]));
    assert_eq!(reply.rejected("files/f"), "file_too_large");
    let reply = patched(&mut a, "a\n", json!([[0, 0, "x".repeat(1022)]]));
    assert_eq!(reply.status("files/f"), "applied");
}

fn empty_patch_is_unchanged(world: &World) {
    let (mut a, _) = world.two_devices(file("a\n"));
    assert_eq!(patched(&mut a, "a\n", json!([])).status("files/f"), "unchanged");
}

fn rejected_patch_sent_as_content_is_taken(world: &World) {
    let (mut a, _) = world.two_devices(file("a\n"));
    assert_eq!(patched(&mut a, "lost\n", json!([[0, 1, "x"]])).rejected("files/f"), "base_unknown");
    assert_eq!(a.push(file("xost\n")).status("files/f"), "applied");
    assert_eq!(world.file("f").as_deref(), Some("xost\n"));
}
