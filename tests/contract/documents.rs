//! PROTOCOL section 4, documents: every row of the table under both strategies, and what a base is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nself_sync_tests::world::{Device, Reply, World, sha256_hex};
use serde_json::{Value, json};

use crate::case::{LWW, SMALL};

crate::cases![
    // head same
    pushing_the_same_text_changes_nothing,
    edit_of_the_head_is_applied,
    removal_of_the_head_is_applied,
    under_lww_pushing_the_same_text_changes_nothing.config(LWW),
    under_lww_edit_of_the_head_is_applied.config(LWW),
    under_lww_removal_of_the_head_is_applied.config(LWW),
    // head changed
    unedited_copy_does_not_revert_anothers_edit,
    under_lww_unedited_copy_does_not_revert_anothers_edit.config(LWW),
    same_edit_on_both_sides_is_unchanged,
    under_lww_same_edit_on_both_sides_is_unchanged.config(LWW),
    edits_of_different_lines_merge,
    edits_of_the_same_line_are_a_conflict,
    under_lww_the_later_of_two_edits_stands_and_the_other_is_reachable.config(LWW),
    under_lww_edits_of_different_lines_do_not_merge_either.config(LWW),
    merge_that_would_be_too_large_is_a_conflict.config(SMALL),
    binary_on_any_side_is_a_conflict,
    under_lww_the_later_binary_stands.config(LWW),
    removal_of_what_another_edited_is_a_conflict,
    under_lww_removal_of_what_another_edited_removes.config(LWW),
    // head deleted
    stale_copy_of_a_removed_file_does_not_bring_it_back,
    under_lww_stale_copy_of_a_removed_file_does_not_bring_it_back.config(LWW),
    removal_on_both_sides_is_unchanged,
    under_lww_removal_on_both_sides_is_unchanged.config(LWW),
    edit_of_what_another_removed_is_a_conflict,
    under_lww_edit_of_what_another_removed_stands.config(LWW),
    // absent
    new_file_is_applied_and_removal_of_nothing_is_unchanged,
    under_lww_new_file_is_applied_and_removal_of_nothing_is_unchanged.config(LWW),
    absent_file_with_an_unknown_base_is_a_conflict_not_a_resurrection,
    under_lww_absent_file_with_an_unknown_base_is_applied.config(LWW),
    absent_file_offered_without_a_base_is_applied,
    // no base known
    two_new_files_of_one_name_are_a_conflict_without_a_base,
    under_lww_the_later_of_two_new_files_stands.config(LWW),
    two_new_equal_files_are_unchanged,
    under_lww_two_new_equal_files_are_unchanged.config(LWW),
    unknown_base_hash_is_a_conflict_without_a_base,
    null_base_hash_is_a_conflict_unless_equal,
    under_lww_unknown_and_null_base_hashes_write.config(LWW),
];

pub const BASE: &str = "1\n2\n3\n4\n5\n";
pub const FIRST: &str = "one\n2\n3\n4\n5\n";
pub const LAST: &str = "1\n2\n3\n4\nfive\n";
pub const BOTH: &str = "one\n2\n3\n4\nfive\n";
pub const RIVAL: &str = "uno\n2\n3\n4\n5\n";

pub fn file(text: &str) -> Value {
    json!({"files": {"f": {"content": text}}})
}

pub fn gone() -> Value {
    json!({"files": {"f": null}})
}

fn on_base(world: &World, base_hash: Value, text: &str) -> Reply {
    let mut c = world.device("web-c");
    c.push(json!({}));
    c.push(json!({"files": {"f": {"content": text, "base_hash": base_hash}}}))
}

pub fn start(world: &World) -> (Device, Device) {
    world.two_devices(file(BASE))
}

/// Head is `theirs` (null: removed) while `b` stands at BASE; then `b` pushes `mine`.
pub fn case(world: &World, theirs: Option<&str>, mine: Option<&str>) -> (Device, Device, Reply) {
    let (mut a, mut b) = start(world);
    a.push(theirs.map_or_else(gone, file));
    let reply = b.push(mine.map_or_else(gone, file));
    (a, b, reply)
}

pub fn assert_head(world: &World, reply: &Reply, status: &str, head: Option<&str>) {
    assert_eq!(reply.status("files/f"), status, "{}", reply.value);
    assert_eq!(world.file("f").as_deref(), head);
    if status != "conflict" {
        assert!(world.conflicts().is_empty(), "no conflict: {:?}", world.conflicts());
    }
}

fn assert_conflict(world: &World, base: Value, mine: Value, theirs: Value) {
    let conflict = world.only_conflict();
    for (name, want) in [("base", base), ("mine", mine), ("theirs", theirs)] {
        let have = &conflict[name];
        let text = if have.is_null() { Value::Null } else { have["content"].clone() };
        assert_eq!(text, want, "{name} of {conflict}");
    }
}

fn pushing_the_same_text_changes_nothing(world: &World) {
    let (_, mut b) = start(world);
    let head = world.head();
    assert_head(world, &b.push(file(BASE)), "unchanged", Some(BASE));
    assert_eq!(world.head(), head);
}

fn edit_of_the_head_is_applied(world: &World) {
    let (mut a, mut b) = start(world);
    assert_head(world, &b.push(file(LAST)), "applied", Some(LAST));
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn removal_of_the_head_is_applied(world: &World) {
    let (mut a, mut b) = start(world);
    assert_head(world, &b.push(gone()), "applied", None);
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn under_lww_pushing_the_same_text_changes_nothing(world: &World) {
    pushing_the_same_text_changes_nothing(world);
}

fn under_lww_edit_of_the_head_is_applied(world: &World) {
    edit_of_the_head_is_applied(world);
}

fn under_lww_removal_of_the_head_is_applied(world: &World) {
    removal_of_the_head_is_applied(world);
}

fn unedited_copy_does_not_revert_anothers_edit(world: &World) {
    let (mut a, mut b, reply) = case(world, Some(FIRST), Some(BASE));
    assert_head(world, &reply, "unchanged", Some(FIRST));
    assert_eq!(reply.entry("files", "f").expect("head differs from what was carried")["content"], FIRST);
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn under_lww_unedited_copy_does_not_revert_anothers_edit(world: &World) {
    unedited_copy_does_not_revert_anothers_edit(world);
}

fn same_edit_on_both_sides_is_unchanged(world: &World) {
    let (mut a, mut b, reply) = case(world, Some(FIRST), Some(FIRST));
    assert_head(world, &reply, "unchanged", Some(FIRST));
    assert_eq!(reply.entry("files", "f"), None, "it already has what head is");
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn under_lww_same_edit_on_both_sides_is_unchanged(world: &World) {
    same_edit_on_both_sides_is_unchanged(world);
}

fn edits_of_different_lines_merge(world: &World) {
    let (mut a, mut b, reply) = case(world, Some(FIRST), Some(LAST));
    assert_head(world, &reply, "merged", Some(BOTH));
    assert_eq!(reply.value["results"]["files/f"]["hash"], sha256_hex(BOTH.as_bytes()));
    assert!(world.reachable(LAST.as_bytes()), "the pushed text stays in the history");
    let versions = world.history("files/f");
    let kept = versions.iter().find(|version| version["hash"] == sha256_hex(LAST.as_bytes()));
    assert_eq!(kept.expect("the pushed text")["cause"], "superseded", "{versions:?}");
    let head = versions.iter().find(|version| version["hash"] == sha256_hex(BOTH.as_bytes()));
    assert_eq!(head.expect("the merged text")["cause"], "merge", "{versions:?}");
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn edits_of_the_same_line_are_a_conflict(world: &World) {
    let (mut a, mut b, reply) = case(world, Some(FIRST), Some(RIVAL));
    assert_head(world, &reply, "conflict", Some(FIRST));
    assert_eq!(reply.entry("files", "f").expect("theirs")["content"], FIRST);
    assert_conflict(world, json!(BASE), json!(RIVAL), json!(FIRST));
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn under_lww_the_later_of_two_edits_stands_and_the_other_is_reachable(world: &World) {
    let (mut a, mut b, reply) = case(world, Some(FIRST), Some(RIVAL));
    assert_head(world, &reply, "applied", Some(RIVAL));
    assert!(world.reachable(FIRST.as_bytes()), "the version that lost stays");
    assert!(world.history("files/f").iter().any(|version| version["hash"] == sha256_hex(FIRST.as_bytes())));
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn under_lww_edits_of_different_lines_do_not_merge_either(world: &World) {
    let (_, _, reply) = case(world, Some(FIRST), Some(LAST));
    assert_head(world, &reply, "applied", Some(LAST));
    assert!(world.reachable(FIRST.as_bytes()));
}

fn merge_that_would_be_too_large_is_a_conflict(world: &World) {
    let middle = "m\n".repeat(300);
    let long = "x".repeat(300);
    let (mut a, mut b) = world.two_devices(file(&middle));
    a.push(file(&format!("{long}\n{middle}")));
    let reply = b.push(file(&format!("{middle}{long}\n")));
    assert_head(world, &reply, "conflict", Some(&format!("{long}\n{middle}")));
    assert_eq!(world.only_conflict()["mine"]["content"], format!("{middle}{long}\n"));
}

fn bytes(content: &[u8]) -> Value {
    json!({"files": {"f": {"content_base64": STANDARD.encode(content)}}})
}

fn binary_on_any_side_is_a_conflict(world: &World) {
    let text = |text: &str| bytes(text.as_bytes());
    let sides = [
        (bytes(b"\0base\n2\n3\n4\n5\n"), text(FIRST), text(LAST)),
        (text(BASE), bytes(b"one\n2\n3\n4\n\xff\n"), text(LAST)),
        (text(BASE), text(FIRST), bytes(b"1\n2\n3\n4\n\0\n")),
    ];
    for (base, theirs, mine) in sides {
        let world = world.another_user();
        let (mut a, mut b) = world.two_devices(base);
        a.push(theirs.clone());
        assert_eq!(b.push(mine).status("files/f"), "conflict", "theirs {theirs}");
        assert_eq!(b.view, a.view, "theirs stays");
        assert_eq!(world.conflicts().len(), 1);
    }
}

fn under_lww_the_later_binary_stands(world: &World) {
    let (mut a, mut b) = world.two_devices(bytes(b"\0base"));
    a.push(bytes(b"\0theirs"));
    assert_eq!(b.push(bytes(b"\0mine")).status("files/f"), "applied");
    assert_eq!(world.view().files["f"], b"\0mine");
    assert!(world.reachable(b"\0theirs"));
}

fn removal_of_what_another_edited_is_a_conflict(world: &World) {
    let (mut a, mut b, reply) = case(world, Some(FIRST), None);
    assert_head(world, &reply, "conflict", Some(FIRST));
    assert_conflict(world, json!(BASE), json!(null), json!(FIRST));
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn under_lww_removal_of_what_another_edited_removes(world: &World) {
    let (mut a, mut b, reply) = case(world, Some(FIRST), None);
    assert_head(world, &reply, "applied", None);
    assert!(world.reachable(FIRST.as_bytes()));
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn stale_copy_of_a_removed_file_does_not_bring_it_back(world: &World) {
    let (mut a, mut b, reply) = case(world, None, Some(BASE));
    assert_head(world, &reply, "unchanged", None);
    assert_eq!(reply.entry("files", "f"), Some(&json!(null)), "the device is told that it is gone");
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn under_lww_stale_copy_of_a_removed_file_does_not_bring_it_back(world: &World) {
    stale_copy_of_a_removed_file_does_not_bring_it_back(world);
}

fn removal_on_both_sides_is_unchanged(world: &World) {
    let (_, _, reply) = case(world, None, None);
    assert_head(world, &reply, "unchanged", None);
}

fn under_lww_removal_on_both_sides_is_unchanged(world: &World) {
    removal_on_both_sides_is_unchanged(world);
}

fn edit_of_what_another_removed_is_a_conflict(world: &World) {
    let (mut a, mut b, reply) = case(world, None, Some(LAST));
    assert_head(world, &reply, "conflict", None);
    assert_conflict(world, json!(BASE), json!(LAST), json!(null));
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn under_lww_edit_of_what_another_removed_stands(world: &World) {
    let (mut a, mut b, reply) = case(world, None, Some(LAST));
    assert_head(world, &reply, "applied", Some(LAST));
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn new_file_is_applied_and_removal_of_nothing_is_unchanged(world: &World) {
    let mut a = world.device("desktop-a");
    let reply = a.push(json!({"files": {"f": {"content": BASE}, "never": null}}));
    assert_head(world, &reply, "applied", Some(BASE));
    assert_eq!(reply.status("files/never"), "unchanged");
}

fn under_lww_new_file_is_applied_and_removal_of_nothing_is_unchanged(world: &World) {
    new_file_is_applied_and_removal_of_nothing_is_unchanged(world);
}

fn absent_file_with_an_unknown_base_is_a_conflict_not_a_resurrection(world: &World) {
    let reply = on_base(world, json!(sha256_hex(b"nobody knows this text")), LAST);
    assert_head(world, &reply, "conflict", None);
    assert_conflict(world, json!(null), json!(LAST), json!(null));
}

fn under_lww_absent_file_with_an_unknown_base_is_applied(world: &World) {
    let reply = on_base(world, json!(sha256_hex(b"nobody knows this text")), LAST);
    assert_head(world, &reply, "applied", Some(LAST));
}

fn absent_file_offered_without_a_base_is_applied(world: &World) {
    let reply = on_base(world, json!(null), LAST);
    assert_head(world, &reply, "applied", Some(LAST));
}

fn two_new(world: &World, theirs: &str, mine: &str) -> Reply {
    let (mut a, mut b) = world.two_devices(json!({"other": 1}));
    a.push(file(theirs));
    b.push(file(mine))
}

fn two_new_files_of_one_name_are_a_conflict_without_a_base(world: &World) {
    let reply = two_new(world, FIRST, LAST);
    assert_head(world, &reply, "conflict", Some(FIRST));
    assert_conflict(world, json!(null), json!(LAST), json!(FIRST));
}

fn under_lww_the_later_of_two_new_files_stands(world: &World) {
    let reply = two_new(world, FIRST, LAST);
    assert_head(world, &reply, "applied", Some(LAST));
    assert!(world.reachable(FIRST.as_bytes()));
}

fn two_new_equal_files_are_unchanged(world: &World) {
    let reply = two_new(world, FIRST, FIRST);
    assert_head(world, &reply, "unchanged", Some(FIRST));
}

fn under_lww_two_new_equal_files_are_unchanged(world: &World) {
    two_new_equal_files_are_unchanged(world);
}

fn unknown_base_hash_is_a_conflict_without_a_base(world: &World) {
    start(world);
    let reply = on_base(world, json!(sha256_hex(b"nobody knows this text")), LAST);
    assert_head(world, &reply, "conflict", Some(BASE));
    assert_conflict(world, json!(null), json!(LAST), json!(BASE));
}

fn null_base_hash_is_a_conflict_unless_equal(world: &World) {
    let (_, mut b) = start(world);
    let reply = b.push(json!({"files": {"f": {"content": BASE, "base_hash": null}}}));
    assert_head(world, &reply, "unchanged", Some(BASE));
    let reply = b.push(json!({"files": {"f": {"content": LAST, "base_hash": null}}}));
    assert_head(world, &reply, "conflict", Some(BASE));
    assert_conflict(world, json!(null), json!(LAST), json!(BASE));
}

fn under_lww_unknown_and_null_base_hashes_write(world: &World) {
    let (_, mut b) = start(world);
    let reply = b.push(json!({"files": {"f": {"content": LAST, "base_hash": null}}}));
    assert_head(world, &reply, "applied", Some(LAST));
    let reply = on_base(world, json!(sha256_hex(b"nobody knows this text")), FIRST);
    assert_head(world, &reply, "applied", Some(FIRST));
}
