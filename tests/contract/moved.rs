//! PROTOCOL section 7, resolving while head moves on: nobody overwrites text that nobody saw.

use nself_sync_tests::world::{Device, World, assert_problem, sha256_hex};
use serde_json::{Value, json};

crate::cases![
    resolution_merges_onto_a_head_that_moved_elsewhere,
    resolution_theirs_keeps_the_head_that_moved,
    resolution_that_does_not_merge_is_409_conflict_moved,
    resolution_that_names_the_present_head_replaces_it,
    resolution_that_names_a_hash_nobody_knows_is_conflict_moved,
    resolution_that_names_an_older_theirs_is_merged_from_there,
    resolution_that_believes_the_file_gone_is_conflict_moved,
    resolution_that_knows_the_file_gone_brings_its_text,
    removal_as_resolution_against_a_moved_head_is_conflict_moved,
    list_shows_theirs_and_its_device_as_head_is_now,
    list_shows_theirs_as_null_when_it_was_removed_meanwhile,
    force_makes_the_resolution_head_and_keeps_what_was_there,
    force_where_it_merges_merges,
    force_against_a_removal_blocks_nobody,
    busy_writer_cannot_lock_another_out,
    moved_conflict_stays_open_and_resolvable,
    merged_resolution_onto_a_moved_head_keeps_the_given_text,
];

const BASE: &str = "1\n2\n3\n4\n5\n";
const THEIRS: &str = "theirs\n2\n3\n4\n5\n";
const MINE: &str = "mine\n2\n3\n4\n5\n";
/// Head after another edit, elsewhere and at the same place.
const ELSEWHERE: &str = "theirs\n2\n3\n4\nfive\n";
const SAME_PLACE: &str = "theirs again\n2\n3\n4\n5\n";

fn file(text: &str) -> Value {
    json!({"files": {"f": {"content": text}}})
}

fn gone() -> Value {
    json!({"files": {"f": null}})
}

fn hash(text: &str) -> String {
    sha256_hex(text.as_bytes())
}

/// `a` pushed THEIRS, `b` MINE; then `c` moved head on.
fn moved(world: &World, head: Value) -> (Device, Device, Device, Value) {
    let (mut a, mut b) = world.two_devices(file(BASE));
    a.push(file(THEIRS));
    assert_eq!(b.push(file(MINE)).status("files/f"), "conflict");
    let conflict = world.only_conflict();
    let mut c = world.device("web-c");
    c.pull();
    assert_eq!(c.push(head).status("files/f"), "applied");
    (a, b, c, conflict)
}

fn assert_moved(world: &World, conflict: &Value, body: Value) {
    let before = world.snapshot();
    let response = world.resolve(conflict, body);
    assert_problem(&response, 409, "conflict_moved");
    assert_eq!(world.snapshot()["state"], before["state"], "nothing is overwritten");
    assert_eq!(world.conflicts().len(), 1, "it stays open");
    if let Some(entry) = before["state"]["files"].get("f") {
        let hash = entry["hash"].as_str().expect("a hash");
        assert!(response.text().contains(hash), "the present theirs by hash: {}", response.show());
    }
}

fn resolution_merges_onto_a_head_that_moved_elsewhere(world: &World) {
    let (mut a, mut b, mut c, conflict) = moved(world, file(ELSEWHERE));
    let reply = world.resolved(&conflict, json!({"resolution": "mine"}));
    let want = "mine\n2\n3\n4\nfive\n";
    assert_eq!(world.file("f").as_deref(), Some(want));
    assert_eq!(reply["file"]["hash"], hash(want));
    assert!(world.reachable(MINE.as_bytes()));
    world.assert_converged(&mut [&mut a, &mut b, &mut c]);
}

fn resolution_theirs_keeps_the_head_that_moved(world: &World) {
    for head in [ELSEWHERE, SAME_PLACE] {
        let world = world.another_user();
        let (.., conflict) = moved(&world, file(head));
        world.resolved(&conflict, json!({"resolution": "theirs"}));
        assert_eq!(world.file("f").as_deref(), Some(head));
    }
}

fn resolution_that_does_not_merge_is_409_conflict_moved(world: &World) {
    let (.., conflict) = moved(world, file(SAME_PLACE));
    assert_moved(world, &conflict, json!({"resolution": "mine"}));
    assert_moved(world, &conflict, json!({"resolution": "merged", "content": "both\n2\n3\n4\n5\n"}));
}

fn resolution_that_names_the_present_head_replaces_it(world: &World) {
    let (mut a, mut b, mut c, conflict) = moved(world, file(SAME_PLACE));
    world.resolved(&conflict, json!({"resolution": "mine", "theirs_hash": hash(SAME_PLACE)}));
    assert_eq!(world.file("f").as_deref(), Some(MINE));
    assert!(world.reachable(SAME_PLACE.as_bytes()));
    world.assert_converged(&mut [&mut a, &mut b, &mut c]);
}

fn resolution_that_names_a_hash_nobody_knows_is_conflict_moved(world: &World) {
    let (.., conflict) = moved(world, file(ELSEWHERE));
    assert_moved(world, &conflict, json!({"resolution": "mine", "theirs_hash": hash("nobody knows this")}));
}

fn resolution_that_names_an_older_theirs_is_merged_from_there(world: &World) {
    let (_, _, mut c, conflict) = moved(world, file(SAME_PLACE));
    c.push(file("theirs again\n2\n3\n4\nfive\n"));
    assert_moved(world, &conflict, json!({"resolution": "mine"}));
    world.resolved(&conflict, json!({"resolution": "mine", "theirs_hash": hash(SAME_PLACE)}));
    assert_eq!(world.file("f").as_deref(), Some("mine\n2\n3\n4\nfive\n"));
}

fn resolution_that_believes_the_file_gone_is_conflict_moved(world: &World) {
    let (.., conflict) = moved(world, file(ELSEWHERE));
    assert_moved(world, &conflict, json!({"resolution": "mine", "theirs_hash": null}));
}

fn resolution_that_knows_the_file_gone_brings_its_text(world: &World) {
    let (mut a, mut b, mut c, conflict) = moved(world, gone());
    assert_moved(world, &conflict, json!({"resolution": "mine"}));
    world.resolved(&conflict, json!({"resolution": "mine", "theirs_hash": null}));
    assert_eq!(world.file("f").as_deref(), Some(MINE));
    world.assert_converged(&mut [&mut a, &mut b, &mut c]);
}

fn removal_as_resolution_against_a_moved_head_is_conflict_moved(world: &World) {
    let (mut a, mut b) = world.two_devices(file(BASE));
    a.push(file(THEIRS));
    b.push(gone());
    let conflict = world.only_conflict();
    a.push(file(ELSEWHERE));
    assert_moved(world, &conflict, json!({"resolution": "mine"}));
    world.resolved(&conflict, json!({"resolution": "mine", "theirs_hash": hash(ELSEWHERE)}));
    assert_eq!(world.file("f"), None);
}

fn list_shows_theirs_and_its_device_as_head_is_now(world: &World) {
    let (.., c, _) = moved(world, file(ELSEWHERE));
    let conflict = world.only_conflict();
    assert_eq!(
        (&conflict["theirs"]["content"], &conflict["theirs_device_id"]),
        (&json!(ELSEWHERE), &json!(c.id))
    );
    assert_eq!((&conflict["mine"]["content"], &conflict["base"]["content"]), (&json!(MINE), &json!(BASE)));
}

fn list_shows_theirs_as_null_when_it_was_removed_meanwhile(world: &World) {
    moved(world, gone());
    let conflict = world.only_conflict();
    assert_eq!((&conflict["theirs"], &conflict["theirs_device_id"]), (&json!(null), &json!("web-c")));
}

fn force_makes_the_resolution_head_and_keeps_what_was_there(world: &World) {
    let (mut a, mut b, mut c, conflict) = moved(world, file(SAME_PLACE));
    world.resolved(&conflict, json!({"resolution": "mine", "force": true}));
    assert_eq!(world.file("f").as_deref(), Some(MINE));
    let kept = world.only_conflict();
    assert_ne!(kept["id"], conflict["id"]);
    assert_eq!((&kept["mine"]["content"], &kept["mine_device_id"]), (&json!(SAME_PLACE), &json!(c.id)));
    assert_eq!(kept["theirs"]["content"], MINE);
    assert_problem(&c.try_push(json!({"n": 1})), 409, "conflicts_unresolved");
    b.push(json!({"n": 2}));
    world.resolved(&kept, json!({"resolution": "theirs"}));
    c.push(json!({"n": 3}));
    world.assert_converged(&mut [&mut a, &mut b, &mut c]);
}

fn force_where_it_merges_merges(world: &World) {
    let (.., conflict) = moved(world, file(ELSEWHERE));
    world.resolved(&conflict, json!({"resolution": "mine", "force": true}));
    assert_eq!(
        world.file("f").as_deref(),
        Some("mine\n2\n3\n4\nfive\n"),
        "force is looked at only where the merge fails"
    );
    assert!(world.conflicts().is_empty());
}

fn force_against_a_removal_blocks_nobody(world: &World) {
    let (_, _, mut c, conflict) = moved(world, gone());
    world.resolved(&conflict, json!({"resolution": "mine", "force": true}));
    assert_eq!(world.file("f").as_deref(), Some(MINE));
    assert_eq!(c.push(json!({"n": 1})).status("n"), "applied");
}

fn busy_writer_cannot_lock_another_out(world: &World) {
    let (_, mut b, mut c, conflict) = moved(world, file(SAME_PLACE));
    for round in 0..3 {
        let shown = world.only_conflict()["theirs"]["hash"].clone();
        c.push(file(&format!("theirs, round {round}\n2\n3\n4\n5\n")));
        assert_moved(world, &conflict, json!({"resolution": "mine", "theirs_hash": shown}));
    }
    world.resolved(&conflict, json!({"resolution": "mine", "force": true}));
    b.push(json!({"n": 1}));
    assert_eq!(
        world.only_conflict()["mine"]["content"],
        "theirs, round 2\n2\n3\n4\n5\n",
        "the writer's text is kept"
    );
}

fn moved_conflict_stays_open_and_resolvable(world: &World) {
    let (_, mut b, _, conflict) = moved(world, file(SAME_PLACE));
    assert_moved(world, &conflict, json!({"resolution": "mine"}));
    assert_eq!(b.try_push(json!({"n": 1})).status, 409);
    let now = world.only_conflict();
    assert_eq!(now["id"], conflict["id"]);
    world.resolved(&now, json!({"resolution": "mine", "theirs_hash": now["theirs"]["hash"]}));
    b.push(json!({"n": 1}));
    assert_eq!(b.view, world.view());
}

fn merged_resolution_onto_a_moved_head_keeps_the_given_text(world: &World) {
    let (.., conflict) = moved(world, file(ELSEWHERE));
    let given = "mine and theirs\n2\n3\n4\n5\n";
    world.resolved(&conflict, json!({"resolution": "merged", "content": given}));
    assert_eq!(world.file("f").as_deref(), Some("mine and theirs\n2\n3\n4\nfive\n"));
    assert!(
        world.reachable(given.as_bytes()),
        "a merged resolution keeps what the person gave, like a merge"
    );
}
