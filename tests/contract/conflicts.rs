//! PROTOCOL sections 4 and 7: what a conflict is, whom it blocks, and how it ends.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nself_sync_tests::world::{Device, World, assert_problem, id_of, sha256_hex};
use serde_json::{Value, json};

crate::cases![
    list_has_every_field,
    fresh_user_has_no_conflicts,
    push_reply_carries_the_conflict_it_made,
    conflict_of_a_page_names_its_collection,
    binary_sides_come_as_base64,
    blocked_device_is_refused_with_its_conflicts_and_nothing_is_applied,
    refusal_of_a_blocked_device_carries_no_content,
    blocked_device_still_pulls,
    the_other_device_is_not_blocked,
    device_goes_on_after_the_resolution,
    device_in_two_conflicts_stays_blocked_until_both_are_resolved,
];

pub const BASE: &str = "1\n2\n3\n";
pub const THEIRS: &str = "theirs\n2\n3\n";
pub const MINE: &str = "mine\n2\n3\n";

pub fn file(text: &str) -> Value {
    json!({"files": {"f": {"content": text}}})
}

pub fn gone() -> Value {
    json!({"files": {"f": null}})
}

/// `a` pushed theirs, then `b` pushed mine, both on BASE.
pub fn conflict_of(world: &World, theirs: Value, mine: Value) -> (Device, Device, Value) {
    let (mut a, mut b) = world.two_devices(file(BASE));
    a.push(theirs);
    assert_eq!(b.push(mine).status("files/f"), "conflict");
    let conflict = world.only_conflict();
    (a, b, conflict)
}

pub fn conflict(world: &World) -> (Device, Device, Value) {
    conflict_of(world, file(THEIRS), file(MINE))
}

fn list_has_every_field(world: &World) {
    let (a, b, conflict) = conflict(world);
    assert!(!id_of(&conflict).is_empty());
    assert_eq!((&conflict["file_path"], &conflict["collection"]), (&json!("f"), &json!("files")));
    for (name, text) in [("base", BASE), ("mine", MINE), ("theirs", THEIRS)] {
        assert_eq!(conflict[name]["content"], text, "{name}");
        assert_eq!(conflict[name]["hash"], sha256_hex(text.as_bytes()), "{name}");
    }
    assert_eq!((&conflict["mine_device_id"], &conflict["theirs_device_id"]), (&json!(b.id), &json!(a.id)));
    assert_eq!(conflict["seq"], world.head());
    assert!(conflict["created_at"].is_string());
}

fn fresh_user_has_no_conflicts(world: &World) {
    assert_eq!(world.get_json("/sync/conflicts"), json!({"conflicts": []}));
}

fn push_reply_carries_the_conflict_it_made(world: &World) {
    let (mut a, mut b) = world.two_devices(file(BASE));
    a.push(file(THEIRS));
    let reply = b.push(json!({"n": 1, "files": {"f": {"content": MINE}}}));
    assert_eq!(reply.conflicts().len(), 1, "{}", reply.value);
    let (sent, listed) = (&reply.conflicts()[0], world.only_conflict());
    for name in ["id", "file_path", "collection", "mine_device_id", "theirs_device_id", "seq"] {
        assert_eq!(sent[name], listed[name], "{name}");
    }
    assert_eq!(reply.status("n"), "applied", "the rest of the push is applied");
}

fn conflict_of_a_page_names_its_collection(world: &World) {
    let page = |text: &str| json!({"context_pages": {"p1": {"content": text}}});
    let (mut a, mut b) = world.two_devices(page(BASE));
    a.push(page(THEIRS));
    b.push(page(MINE));
    let conflict = world.only_conflict();
    assert_eq!((&conflict["collection"], &conflict["file_path"]), (&json!("context_pages"), &json!("p1")));
    world.resolved(&conflict, json!({"resolution": "mine"}));
    assert_eq!(world.view().pages["p1"].content.as_deref(), Some(MINE.as_bytes()));
}

fn binary_sides_come_as_base64(world: &World) {
    let bytes = |content: &[u8]| json!({"files": {"f": {"content_base64": STANDARD.encode(content)}}});
    let (.., conflict) = conflict_of(world, bytes(b"\0theirs"), bytes(b"\0mine"));
    assert_eq!(conflict["mine"]["content_base64"], STANDARD.encode(b"\0mine"));
    assert_eq!(conflict["theirs"]["content_base64"], STANDARD.encode(b"\0theirs"));
    assert_eq!(conflict["base"]["content"], BASE);
    world.resolved(&conflict, json!({"resolution": "mine"}));
    assert_eq!(world.view().files["f"], b"\0mine");
}

fn blocked_device_is_refused_with_its_conflicts_and_nothing_is_applied(world: &World) {
    let (_, mut b, conflict) = conflict(world);
    let before = world.snapshot();
    let response = b.try_push(json!({"n": 1, "files": {"other": {"content": "x\n"}}}));
    assert_problem(&response, 409, "conflicts_unresolved");
    assert_eq!(response.json()["conflicts"][0]["id"], conflict["id"], "{}", response.show());
    assert_eq!(world.snapshot()["state"], before["state"]);
    assert_eq!(world.head(), before["seq"].as_u64().expect("a seq"));
    assert_eq!(b.try_push(json!({})).status, 409, "also a push of nothing");
}

fn refusal_of_a_blocked_device_carries_no_content(world: &World) {
    let secret = "very secret text";
    let (_, mut b, _) =
        conflict_of(world, file(&format!("{secret} theirs\n")), file(&format!("{secret} mine\n")));
    let response = b.try_push(json!({"n": 1}));
    assert_problem(&response, 409, "conflicts_unresolved");
    assert!(!response.text().contains(secret), "{}", response.show());
    let mine = &response.json()["conflicts"][0]["mine"];
    assert_eq!(mine["hash"], sha256_hex(format!("{secret} mine\n").as_bytes()), "ids, hashes and sizes");
}

fn blocked_device_still_pulls(world: &World) {
    let (mut a, mut b, _) = conflict(world);
    a.push(json!({"n": 1}));
    assert_eq!(b.pull()["state"]["n"], 1);
    assert_eq!(b.view, world.view());
}

fn the_other_device_is_not_blocked(world: &World) {
    let (mut a, ..) = conflict(world);
    assert_eq!(a.push(json!({"n": 1})).status("n"), "applied");
    assert_eq!(
        a.push(file("theirs again\n2\n3\n")).status("files/f"),
        "applied",
        "of the conflicted file either"
    );
}

fn device_goes_on_after_the_resolution(world: &World) {
    let (mut a, mut b, conflict) = conflict(world);
    assert_eq!(b.try_push(json!({"n": 1})).status, 409);
    world.resolved(&conflict, json!({"resolution": "mine"}));
    assert_eq!(b.push(json!({"n": 1})).status("n"), "applied");
    assert_eq!(b.view.files["f"], MINE.as_bytes());
    assert_eq!(b.push(file("mine again\n2\n3\n")).status("files/f"), "applied");
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn device_in_two_conflicts_stays_blocked_until_both_are_resolved(world: &World) {
    let both = |text: &str| json!({"files": {"f": {"content": text}, "g": {"content": text}}});
    let (mut a, mut b) = world.two_devices(both(BASE));
    a.push(both(THEIRS));
    assert_eq!(b.push(both(MINE)).conflicts().len(), 2);
    let conflicts = world.conflicts();
    world.resolved(&conflicts[0], json!({"resolution": "mine"}));
    let refused = b.try_push(json!({"n": 1}));
    assert_problem(&refused, 409, "conflicts_unresolved");
    assert_eq!(refused.json()["conflicts"].as_array().map(Vec::len), Some(1));
    world.resolved(&conflicts[1], json!({"resolution": "theirs"}));
    b.push(json!({"n": 1}));
    world.assert_converged(&mut [&mut a, &mut b]);
}
