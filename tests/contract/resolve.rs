//! PROTOCOL section 7: how a conflict ends.

use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nself_sync_tests::world::{World, assert_problem, id_of, sha256_hex};
use serde_json::json;

use crate::case::FILE_BLOCK;
use crate::conflicts::{BASE, MINE, THEIRS, conflict, conflict_of, file, gone};

crate::cases![
    resolution_mine_makes_mine_head,
    resolution_theirs_leaves_head,
    resolution_merged_makes_the_given_text_head,
    resolution_merged_takes_bytes_and_the_empty_text,
    resolution_makes_a_seq_and_says_where_head_is,
    resolution_mine_of_a_removal_removes,
    resolution_theirs_of_a_removal_stays_gone,
    resolution_mine_brings_a_removed_file_back,
    merged_without_content_is_400,
    merged_with_bad_content_is_refused_and_stays_open,
    unknown_resolution_is_400,
    unknown_conflict_is_404,
    wrong_types_in_a_resolution_are_400,
    resolved_twice_is_409_and_says_how_and_by_whom,
    two_resolutions_at_once_one_succeeds,
    resolution_at_the_same_time_as_a_push_loses_nothing,
    any_device_may_resolve,
    all_three_texts_stay_reachable_after_the_resolution,
    resolution_theirs_leaves_mine_in_the_history,
    resolved_conflict_is_no_longer_listed_or_counted,
    two_devices_in_conflict_with_the_same_head_are_two_conflicts,
    conflict_about_a_file_survives_further_edits_of_theirs,
    blocked_documents_only_where_so_configured.config(FILE_BLOCK),
];

fn resolution_mine_makes_mine_head(world: &World) {
    let (mut a, mut b, conflict) = conflict(world);
    let reply = world.resolved(&conflict, json!({"resolution": "mine"}));
    assert_eq!(
        (&reply["resolution"], &reply["file"]["hash"]),
        (&json!("mine"), &json!(sha256_hex(MINE.as_bytes())))
    );
    assert_eq!(world.file("f").as_deref(), Some(MINE));
    assert_eq!(a.pull()["state"]["files"]["f"]["content"], MINE);
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn resolution_theirs_leaves_head(world: &World) {
    let (mut a, mut b, conflict) = conflict(world);
    let reply = world.resolved(&conflict, json!({"resolution": "theirs"}));
    assert_eq!(
        (&reply["resolution"], &reply["file"]["hash"]),
        (&json!("theirs"), &json!(sha256_hex(THEIRS.as_bytes())))
    );
    assert_eq!(world.file("f").as_deref(), Some(THEIRS));
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn resolution_merged_makes_the_given_text_head(world: &World) {
    let (mut a, mut b, conflict) = conflict(world);
    let text = "mine and theirs\n2\n3\n";
    let reply =
        world.resolved(&conflict, json!({"resolution": "merged", "content": text, "device_id": a.id}));
    assert_eq!(
        (&reply["resolution"], &reply["file"]["hash"]),
        (&json!("merged"), &json!(sha256_hex(text.as_bytes())))
    );
    assert_eq!(world.file("f").as_deref(), Some(text));
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn resolution_merged_takes_bytes_and_the_empty_text(world: &World) {
    let (.., first) = conflict(world);
    world.resolved(&first, json!({"resolution": "merged", "content_base64": STANDARD.encode(b"\0\xff")}));
    assert_eq!(world.view().files["f"], b"\0\xff");
    let other = world.another_user();
    let (.., second) = conflict(&other);
    other.resolved(&second, json!({"resolution": "merged", "content": ""}));
    assert_eq!(other.file("f").as_deref(), Some(""), "an empty text is content");
}

fn resolution_makes_a_seq_and_says_where_head_is(world: &World) {
    for resolution in ["mine", "theirs"] {
        let world = world.another_user();
        let (.., conflict) = conflict(&world);
        let before = world.head();
        let reply = world.resolved(&conflict, json!({"resolution": resolution}));
        let after = world.snapshot();
        assert_eq!(reply["seq"], before + 1, "{resolution}");
        for name in ["seq", "epoch", "tag"] {
            assert_eq!(reply[name], after[name], "{name}");
        }
    }
}

fn resolution_mine_of_a_removal_removes(world: &World) {
    let (mut a, mut b, conflict) = conflict_of(world, file(THEIRS), gone());
    assert_eq!(conflict["mine"], json!(null));
    let reply = world.resolved(&conflict, json!({"resolution": "mine"}));
    assert_eq!(reply["file"], json!(null));
    assert_eq!(world.file("f"), None);
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn resolution_theirs_of_a_removal_stays_gone(world: &World) {
    let (mut a, mut b, conflict) = conflict_of(world, gone(), file(MINE));
    assert_eq!(conflict["theirs"], json!(null));
    let reply = world.resolved(&conflict, json!({"resolution": "theirs"}));
    assert_eq!(reply["file"], json!(null));
    assert_eq!(world.file("f"), None);
    assert!(world.reachable(MINE.as_bytes()), "what lost is in reach");
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn resolution_mine_brings_a_removed_file_back(world: &World) {
    let (mut a, mut b, conflict) = conflict_of(world, gone(), file(MINE));
    world.resolved(&conflict, json!({"resolution": "mine"}));
    assert_eq!(world.file("f").as_deref(), Some(MINE));
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn merged_without_content_is_400(world: &World) {
    let (.., conflict) = conflict(world);
    assert_problem(&world.resolve(&conflict, json!({"resolution": "merged"})), 400, "content_required");
    assert_problem(
        &world.resolve(&conflict, json!({"resolution": "merged", "content": null})),
        400,
        "content_required",
    );
    assert_eq!(world.conflicts().len(), 1);
}

fn merged_with_bad_content_is_refused_and_stays_open(world: &World) {
    let (.., conflict) = conflict(world);
    let head = world.head();
    for body in [
        json!({"resolution": "merged", "content": 5}),
        json!({"resolution": "merged", "content_base64": "%%"}),
    ] {
        let response = world.resolve(&conflict, body.clone());
        assert_eq!(response.status, 400, "{body}: {}", response.show());
    }
    assert_eq!((world.conflicts().len(), world.head()), (1, head));
}

fn unknown_resolution_is_400(world: &World) {
    let (.., conflict) = conflict(world);
    for resolution in ["both", "", "Mine", "ours"] {
        let response = world.resolve(&conflict, json!({"resolution": resolution, "content": "x"}));
        assert_problem(&response, 400, "invalid_resolution");
    }
    assert_eq!(world.conflicts().len(), 1);
}

fn unknown_conflict_is_404(world: &World) {
    for id in ["nothing", "0", "ffffffff-ffff-ffff-ffff-ffffffffffff", "%2F", "%F0%9F%98%80"] {
        let response = world.post(&format!("/sync/conflicts/{id}/resolve"), &json!({"resolution": "mine"}));
        assert_problem(&response, 404, "not_found");
    }
    let other = world.another_user();
    let (.., theirs) = conflict(&other);
    assert_problem(&world.resolve(&theirs, json!({"resolution": "mine"})), 404, "not_found");
    assert_eq!(other.conflicts().len(), 1);
}

fn wrong_types_in_a_resolution_are_400(world: &World) {
    let (.., conflict) = conflict(world);
    let bodies = [
        json!({}),
        json!({"resolution": 5}),
        json!({"resolution": null}),
        json!({"resolution": "mine", "device_id": 5}),
        json!({"resolution": "mine", "theirs_hash": 5}),
        json!({"resolution": "mine", "force": "yes"}),
        json!([]),
    ];
    for body in bodies {
        let response = world.resolve(&conflict, body.clone());
        assert_eq!(response.status, 400, "{body}: {}", response.show());
    }
    assert_eq!(world.conflicts().len(), 1);
}

fn resolved_twice_is_409_and_says_how_and_by_whom(world: &World) {
    let (a, _, conflict) = conflict(world);
    world.resolved(&conflict, json!({"resolution": "mine", "device_id": a.id}));
    let head = world.head();
    for resolution in ["mine", "theirs"] {
        let response = world.resolve(&conflict, json!({"resolution": resolution}));
        assert_problem(&response, 409, "conflict_resolved");
        let text = response.text();
        assert!(text.contains(&a.id) && text.contains("mine"), "by whom and how: {}", response.show());
        let created_at = conflict["created_at"].as_str().expect("a time");
        assert!(text.contains(&created_at[..5]), "and when: {}", response.show());
    }
    assert_eq!(world.head(), head);
}

fn two_resolutions_at_once_one_succeeds(world: &World) {
    let (.., conflict) = conflict(world);
    let head = world.head();
    let answers: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = ["mine", "theirs", "mine", "theirs"]
            .map(|resolution| {
                let conflict = &conflict;
                scope.spawn(move || (resolution, world.resolve(conflict, json!({"resolution": resolution}))))
            })
            .into_iter()
            .collect();
        running.into_iter().map(|thread| thread.join().expect("it resolves")).collect()
    });
    let won: Vec<_> = answers.iter().filter(|(_, response)| response.status == 200).collect();
    assert_eq!(won.len(), 1, "exactly one");
    let want = if won[0].0 == "mine" { MINE } else { THEIRS };
    assert_eq!(world.file("f").as_deref(), Some(want));
    assert_eq!(world.head(), head + 1);
    for (_, response) in answers.iter().filter(|(_, response)| response.status != 200) {
        assert_problem(response, 409, "conflict_resolved");
    }
}

fn resolution_at_the_same_time_as_a_push_loses_nothing(world: &World) {
    for _ in 0..5 {
        let world = world.another_user();
        let (mut a, mut b, conflict) = conflict(&world);
        let (response, pushed) = thread::scope(|scope| {
            let resolving = scope.spawn(|| world.resolve(&conflict, json!({"resolution": "mine"})));
            let pushing = scope.spawn(|| a.push(file("theirs\n2\n3\nfour\n")));
            (resolving.join().expect("it resolves"), pushing.join().expect("it pushes"))
        });
        assert_eq!(response.status, 200, "the two touch other lines: {}", response.show());
        assert!(matches!(pushed.status("files/f"), "applied" | "merged"), "{}", pushed.value);
        assert_eq!(world.file("f").as_deref(), Some("mine\n2\n3\nfour\n"));
        world.assert_converged(&mut [&mut a, &mut b]);
    }
}

fn any_device_may_resolve(world: &World) {
    let (_, mut b, conflict) = conflict(world);
    let mut c = world.device("web-c");
    c.push(json!({}));
    let path = format!("/sync/conflicts/{}/resolve", nself_sync_tests::world::encode(id_of(&conflict)));
    let request = nself_sync_tests::hosts::Request::new("POST", &path)
        .bearer(&c.auth())
        .json(&json!({"resolution": "mine"}));
    assert_eq!(world.send(request).status, 200);
    b.push(json!({"n": 1}));
    let again = world.resolve(&conflict, json!({"resolution": "mine"}));
    assert!(again.text().contains("web-c"), "the token says by whom: {}", again.show());
}

fn all_three_texts_stay_reachable_after_the_resolution(world: &World) {
    let (.., conflict) = conflict(world);
    world.resolved(&conflict, json!({"resolution": "merged", "content": "something else\n"}));
    for text in [BASE, MINE, THEIRS, "something else\n"] {
        assert!(world.reachable(text.as_bytes()), "{text:?}");
    }
    let versions = world.history("files/f");
    for text in [BASE, MINE, THEIRS, "something else\n"] {
        let hash = sha256_hex(text.as_bytes());
        assert!(versions.iter().any(|version| version["hash"] == hash), "{text:?} in {versions:?}");
    }
}

fn resolution_theirs_leaves_mine_in_the_history(world: &World) {
    let (.., conflict) = conflict(world);
    world.resolved(&conflict, json!({"resolution": "theirs"}));
    let versions = world.history("files/f");
    assert!(versions.iter().any(|version| version["hash"] == sha256_hex(MINE.as_bytes())), "{versions:?}");
}

fn resolved_conflict_is_no_longer_listed_or_counted(world: &World) {
    let (mut a, _, conflict) = conflict(world);
    assert_eq!(a.pull()["conflicts_open"], 1);
    world.resolved(&conflict, json!({"resolution": "theirs"}));
    assert!(world.conflicts().is_empty());
    assert_eq!(a.pull()["conflicts_open"], 0);
    assert_eq!(a.push(json!({})).value["conflicts_open"], 0);
}

fn two_devices_in_conflict_with_the_same_head_are_two_conflicts(world: &World) {
    let (mut a, mut b) = world.two_devices(file(BASE));
    let mut c = world.device("web-c");
    c.push(json!({}));
    c.pull();
    a.push(file(THEIRS));
    b.push(file(MINE));
    c.push(file("also mine\n2\n3\n"));
    let conflicts = world.conflicts();
    assert_eq!(conflicts.len(), 2, "{conflicts:?}");
    for conflict in &conflicts {
        let response = world.resolve(conflict, json!({"resolution": "theirs"}));
        assert_eq!(response.status, 200, "{}", response.show());
    }
    world.assert_converged(&mut [&mut a, &mut b, &mut c]);
    b.push(json!({"n": 1}));
    c.push(json!({"n": 2}));
}

fn conflict_about_a_file_survives_further_edits_of_theirs(world: &World) {
    let (mut a, ..) = conflict(world);
    let next = "theirs\n2\n3\n4\n";
    a.push(file(next));
    let conflict = world.only_conflict();
    assert_eq!(conflict["mine"]["content"], MINE);
    assert_eq!(conflict["base"]["content"], BASE);
    assert_eq!(conflict["theirs"]["content"], next, "lists show theirs as head is now");
}

fn blocked_documents_only_where_so_configured(world: &World) {
    let (mut a, mut b, conflict) = conflict(world);
    let reply = b.push(json!({"n": 1, "files": {"f": {"content": "mine 2\n"}, "g": {"content": "g\n"}}}));
    assert_eq!(
        (reply.status("files/f"), reply.status("files/g"), reply.status("n")),
        ("blocked", "applied", "applied")
    );
    let removal = b.push(gone());
    assert_eq!(removal.status("files/f"), "blocked");
    assert_eq!(world.file("f").as_deref(), Some(THEIRS));
    world.resolved(&conflict, json!({"resolution": "mine"}));
    world.assert_converged(&mut [&mut a, &mut b]);
    assert_eq!(b.push(file("mine 2\n2\n3\n")).status("files/f"), "applied");
}
