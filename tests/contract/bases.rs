//! PROTOCOL section 4: what the base of a pushed document is, and that typing on from it loses nothing.

use nself_sync_tests::world::{World, sha256_hex};
use serde_json::{Value, json};

use crate::case::{FILE_BLOCK, LWW};
use crate::documents::{BASE, BOTH, FIRST, LAST, RIVAL, assert_head, case, file, gone, start};

crate::cases![
    // what the base is
    base_hash_names_an_older_version,
    base_hash_of_the_head_sets_an_old_text_back,
    removal_of_a_file_one_never_had_is_unchanged,
    naive_device_does_not_conflict_with_itself,
    naive_device_does_not_conflict_with_its_own_merge,
    naive_device_may_remove_and_write_again,
    rejected_push_is_no_base,
    unchanged_push_is_a_base,
    blocked_push_is_no_base.config(FILE_BLOCK),
    conflicting_push_is_a_base.config(FILE_BLOCK),
    device_that_took_the_merge_in_goes_on_from_it,
    lost_reply_then_more_typing_keeps_everything,
    same_documents_in_pages_follow_the_same_rows,
    under_lww_same_documents_in_pages_follow_the_same_rows.config(LWW),
    three_devices_typing_in_turns_converge,
    conflict_keeps_theirs_at_head_and_all_three_texts,
];

fn page(text: Option<&str>) -> Value {
    json!({"context_pages": {"p": text.map_or(Value::Null, |text| json!({"content": text}))}})
}

/// Base, theirs, mine; then the result and the content at head.
type Row<'r> = (Option<&'r str>, Option<&'r str>, Option<&'r str>, &'r str, Option<&'r str>);

fn assert_page_rows(world: &World, rows: &[Row]) {
    for (base, theirs, mine, status, head) in rows {
        let world = world.another_user();
        let (mut a, mut b) = world.two_devices(base.map_or_else(|| json!({}), |text| page(Some(text))));
        a.push(page(*theirs));
        let reply = b.push(page(*mine));
        assert_eq!(reply.status("context_pages/p"), *status, "{base:?} {theirs:?} {mine:?}: {}", reply.value);
        let have = world.view().pages.get("p").and_then(|page| page.content.clone());
        assert_eq!(have.as_deref(), head.map(str::as_bytes), "{base:?} {theirs:?} {mine:?}");
        assert_eq!(world.conflicts().len(), usize::from(*status == "conflict"));
        world.assert_converged(&mut [&mut a, &mut b]);
    }
}

fn base_hash_names_an_older_version(world: &World) {
    let (mut a, mut b) = start(world);
    a.push(file(FIRST));
    b.pull();
    let reply = b.push(json!({"files": {"f": {"content": LAST, "base_hash": sha256_hex(BASE.as_bytes())}}}));
    assert_head(world, &reply, "merged", Some(BOTH));
}

fn base_hash_of_the_head_sets_an_old_text_back(world: &World) {
    let (mut a, mut b) = start(world);
    a.push(file(FIRST));
    b.pull();
    let reply = b.push(json!({"files": {"f": {"content": BASE, "base_hash": sha256_hex(FIRST.as_bytes())}}}));
    assert_head(world, &reply, "applied", Some(BASE));
    a.pull();
    assert_head(world, &a.push(gone()), "applied", None);
}

fn removal_of_a_file_one_never_had_is_unchanged(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"other": 1}));
    a.push(file(FIRST));
    let reply = b.push(gone());
    assert_head(world, &reply, "unchanged", Some(FIRST));
    assert_eq!(b.view, world.view());
}

fn naive_device_does_not_conflict_with_itself(world: &World) {
    let mut a = world.device("desktop-a").naive();
    for text in [BASE, FIRST, RIVAL, LAST] {
        assert_head(world, &a.push(file(text)), "applied", Some(text));
    }
}

fn naive_device_does_not_conflict_with_its_own_merge(world: &World) {
    let mut a = world.device("desktop-a").naive();
    a.push(file(BASE));
    let mut b = world.device("mobile-b");
    b.pull();
    b.push(file(LAST));
    assert_head(world, &a.push(file(FIRST)), "merged", Some(BOTH));
    // Its own text goes on without the five; that was never its edit.
    let reply = a.push(file("one\ntwo\n3\n4\n5\n"));
    assert_head(world, &reply, "merged", Some("one\ntwo\n3\n4\nfive\n"));
    let reply = a.push(file("one\ntwo\n3\n4\n5\n"));
    assert_head(world, &reply, "unchanged", Some("one\ntwo\n3\n4\nfive\n"));
}

fn naive_device_may_remove_and_write_again(world: &World) {
    let mut a = world.device("desktop-a").naive();
    a.push(file(BASE));
    assert_head(world, &a.push(gone()), "applied", None);
    assert_head(world, &a.push(gone()), "unchanged", None);
    assert_head(world, &a.push(file(FIRST)), "applied", Some(FIRST));
}

fn rejected_push_is_no_base(world: &World) {
    let mut a = world.device("desktop-a").naive();
    a.push(file(BASE));
    let mut b = world.device("mobile-b");
    b.pull();
    b.push(file(LAST));
    assert_eq!(a.push(file(&"x\n".repeat(300_000))).rejected("files/f"), "file_too_large");
    assert_head(world, &a.push(file(FIRST)), "merged", Some(BOTH));
}

fn unchanged_push_is_a_base(world: &World) {
    let (mut a, b) = start(world);
    let mut b = b.naive();
    a.push(file(FIRST));
    assert_head(world, &b.push(file(FIRST)), "unchanged", Some(FIRST));
    a.push(file(BOTH));
    let reply = b.push(file("one\nzwei\n3\n4\n5\n"));
    assert_head(world, &reply, "merged", Some("one\nzwei\n3\n4\nfive\n"));
}

fn blocked_push_is_no_base(world: &World) {
    let (mut a, b) = start(world);
    let mut b = b.naive();
    a.push(file(FIRST));
    assert_eq!(b.push(file(RIVAL)).status("files/f"), "conflict");
    assert_eq!(b.push(file("blocked\n")).status("files/f"), "blocked");
    assert!(!world.reachable(b"blocked\n"), "a blocked push is not stored");
    world.resolved(&world.only_conflict(), json!({"resolution": "theirs"}));
    // The last push that counts is the one that became the conflict: going on from it is one edit of line 5.
    let reply = b.push(file("uno\n2\n3\n4\nfive\n"));
    assert_head(world, &reply, "merged", Some(BOTH));
}

fn conflicting_push_is_a_base(world: &World) {
    let (mut a, b) = start(world);
    let mut b = b.naive();
    a.push(file(FIRST));
    assert_eq!(b.push(file(RIVAL)).status("files/f"), "conflict");
    world.resolved(&world.only_conflict(), json!({"resolution": "theirs"}));
    let reply = b.push(file(RIVAL));
    assert_head(world, &reply, "unchanged", Some(FIRST));
}

fn device_that_took_the_merge_in_goes_on_from_it(world: &World) {
    let (mut a, mut b, reply) = case(world, Some(FIRST), Some(LAST));
    assert_head(world, &reply, "merged", Some(BOTH));
    assert_eq!(b.view.files["f"], BOTH.as_bytes());
    let next = "one\n2\nthree\n4\nfive\n";
    assert_head(world, &b.push(file(next)), "applied", Some(next));
    assert_head(world, &b.push(file(LAST)), "applied", Some(LAST));
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn lost_reply_then_more_typing_keeps_everything(world: &World) {
    let (mut a, mut b) = start(world);
    a.push(file(FIRST));
    let lost = b.body(file(LAST));
    assert_eq!(b.send(&lost).status, 200);
    // Settled by retry, as the protocol asks, then on from the text on the screen, rebased onto what came.
    b.push_body(&lost);
    assert_eq!(b.view.files["f"], BOTH.as_bytes());
    // A client that does not retry, but types on and pushes from the seq it had.
    let mut naive = world.device("web-c");
    naive.pull();
    naive.push(json!({}));
    let mut naive = naive.naive();
    naive.push(file("one\n2\n3\n4\nfive\n6\n"));
    b.push(file("ONE\n2\n3\n4\nfive\n"));
    let reply = naive.push(file("one\n2\n3\n4\nfive\n6\n7\n"));
    assert_eq!(reply.status("files/f"), "merged");
    assert_eq!(world.file("f").as_deref(), Some("ONE\n2\n3\n4\nfive\n6\n7\n"));
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn same_documents_in_pages_follow_the_same_rows(world: &World) {
    assert_page_rows(
        world,
        &[
            (Some(BASE), Some(FIRST), Some(BASE), "unchanged", Some(FIRST)),
            (Some(BASE), Some(FIRST), Some(FIRST), "unchanged", Some(FIRST)),
            (Some(BASE), Some(FIRST), Some(LAST), "merged", Some(BOTH)),
            (Some(BASE), Some(FIRST), Some(RIVAL), "conflict", Some(FIRST)),
            (Some(BASE), Some(FIRST), None, "conflict", Some(FIRST)),
            (Some(BASE), None, Some(BASE), "unchanged", None),
            (Some(BASE), None, Some(LAST), "conflict", None),
            (Some(BASE), None, None, "unchanged", None),
            (None, Some(FIRST), Some(LAST), "conflict", Some(FIRST)),
            (None, Some(FIRST), Some(FIRST), "unchanged", Some(FIRST)),
        ],
    );
}

fn under_lww_same_documents_in_pages_follow_the_same_rows(world: &World) {
    assert_page_rows(
        world,
        &[
            (Some(BASE), Some(FIRST), Some(BASE), "unchanged", Some(FIRST)),
            (Some(BASE), Some(FIRST), Some(LAST), "applied", Some(LAST)),
            (Some(BASE), Some(FIRST), None, "applied", None),
            (Some(BASE), None, Some(BASE), "unchanged", None),
            (Some(BASE), None, Some(LAST), "applied", Some(LAST)),
            (None, Some(FIRST), Some(LAST), "applied", Some(LAST)),
            (None, Some(FIRST), Some(FIRST), "unchanged", Some(FIRST)),
        ],
    );
}

fn three_devices_typing_in_turns_converge(world: &World) {
    let lines = |edited: &[(usize, String)]| -> String {
        let mut lines: Vec<String> = (0..40).map(|line| format!("line {line}\n")).collect();
        for (line, text) in edited {
            lines[*line].clone_from(text);
        }
        lines.concat()
    };
    let (mut a, mut b) = world.two_devices(file(&lines(&[])));
    let mut c = world.device("web-c");
    c.pull();
    c.push(json!({}));
    for round in 0..6 {
        for (index, device) in [&mut a, &mut b, &mut c].into_iter().enumerate() {
            let text = String::from_utf8(device.view.files["f"].clone()).expect("text");
            let line = 2 + index * 13 + round % 2 * 5;
            let old = text.lines().nth(line).expect("the line").to_owned();
            let new = text.replacen(&format!("{old}\n"), &format!("{old} {index}.{round}\n"), 1);
            let reply = device.push(file(&new));
            assert!(matches!(reply.status("files/f"), "applied" | "merged"), "{}", reply.value);
        }
    }
    world.assert_converged(&mut [&mut a, &mut b, &mut c]);
    let text = world.file("f").expect("the file");
    for index in 0..3 {
        for round in 0..6 {
            assert!(
                text.contains(&format!(" {index}.{round}")),
                "edit {index}.{round} is in the text:\n{text}"
            );
        }
    }
}

fn conflict_keeps_theirs_at_head_and_all_three_texts(world: &World) {
    let (_, _, reply) = case(world, Some(FIRST), Some(RIVAL));
    assert_eq!(reply.conflicts().len(), 1, "{}", reply.value);
    for text in [BASE, FIRST, RIVAL] {
        assert!(world.reachable(text.as_bytes()), "{text:?}");
    }
}
