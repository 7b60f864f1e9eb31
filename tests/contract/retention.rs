//! PROTOCOL section 8, pruning: what it may take, and what it must never take.

use std::thread;

use nself_sync_tests::world::{World, assert_problem, sha256_hex};
use serde_json::{Value, json};

use crate::case::{Config, LWW};

crate::cases![
    state_is_the_same_after_pruning.own(),
    nothing_younger_than_the_retention_is_pruned.own(),
    pull_from_before_the_retention_is_a_whole_snapshot.own(),
    delta_from_the_edge_of_the_retention_is_right.own(),
    old_contents_go.own(),
    what_lost_under_lww_stays_for_the_retention_time.own().config(LWW),
    old_conflict_keeps_all_three_texts_and_can_be_resolved.own(),
    removed_file_is_not_brought_back_by_an_old_copy.own(),
    edit_of_a_file_removed_before_the_retention_is_not_lost.own(),
    push_from_before_the_retention_is_taken.own(),
    file_that_did_not_change_needs_no_old_history_to_be_edited.own(),
    last_push_of_a_naive_device_stays_its_base.own(),
    naive_full_state_does_not_revert_after_pruning.own(),
    naive_full_state_does_not_resurrect_after_pruning.own(),
    retry_after_a_long_sleep_is_still_a_replay.own(),
    retention_is_configurable.own().config(ONE_DAY),
    pruning_again_changes_nothing.own(),
    pruning_a_host_without_users_is_fine.own(),
    pruning_while_devices_push_harms_nobody.native(),
];

const ONE_DAY: Config = &[("PLUGIN_SYNC_RETENTION_DAYS", "1")];
const DAY_MS: u64 = 86_400_000;

const BASE: &str = "1\n2\n3\n4\n5\n";
const FIRST: &str = "one\n2\n3\n4\n5\n";
const LAST: &str = "1\n2\n3\n4\nfive\n";
const BOTH: &str = "one\n2\n3\n4\nfive\n";

fn file(text: &str) -> Value {
    json!({"files": {"f": {"content": text}}})
}

fn forty_days_later(world: &World) {
    world.host.advance(40 * DAY_MS);
    world.host.prune();
}

fn comparable(world: &World) -> Value {
    let mut snapshot = world.snapshot();
    snapshot.as_object_mut().expect("an object").remove("policy");
    snapshot
}

fn state_is_the_same_after_pruning(world: &World) {
    let (mut a, _) = world.two_devices(json!({"n": 0, "gone": 1, "sessions": {"s": {"t": 0}}, "files": {"f": {"content": BASE}, "g": {"content": "g"}}}));
    for n in 1..=70 {
        a.push(json!({"n": n, "files": {"f": {"content": format!("{BASE}{n}\n")}}}));
    }
    a.push(
        json!({"gone": null, "files": {"g": null}, "context_pages": {"p": {"title": "t", "content": "p\n"}}}),
    );
    let before = comparable(world);
    forty_days_later(world);
    assert_eq!(comparable(world), before, "seq, epoch, tag and state");
    assert_eq!(world.file("f"), Some(format!("{BASE}70\n")));
    a.pull();
    a.push(file("next\n"));
    assert_eq!(world.file("f").as_deref(), Some("next\n"));
}

fn nothing_younger_than_the_retention_is_pruned(world: &World) {
    let (mut a, b) = world.two_devices(file(BASE));
    a.push(file(FIRST));
    a.push(file(LAST));
    world.host.advance(29 * DAY_MS);
    world.host.prune();
    assert_eq!(b.clone().pull()["kind"], "delta");
    assert_eq!(world.history("files/f").len(), 3);
    for text in [BASE, FIRST, LAST] {
        assert!(world.reachable(text.as_bytes()));
    }
}

fn pull_from_before_the_retention_is_a_whole_snapshot(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"n": 0, "files": {"f": {"content": BASE}}}));
    for n in 1..=3 {
        a.push(json!({"n": n}));
    }
    forty_days_later(world);
    a.push(json!({"m": 1}));
    let reply = b.pull();
    assert_eq!((&reply["kind"], &reply["reason"]), (&json!("snapshot"), &json!("pruned")));
    assert_eq!(b.view, world.view());
    assert_eq!(b.pull()["kind"], "delta");
}

fn delta_from_the_edge_of_the_retention_is_right(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"n": 0, "gone": 1, "files": {"f": {"content": BASE}}}));
    a.push(json!({"n": 1}));
    b.pull();
    forty_days_later(world);
    let at_head = b.clone().pull();
    assert_eq!(
        (&at_head["kind"], &at_head["state"]),
        (&json!("delta"), &json!({})),
        "who has seen all lacks nothing"
    );
    a.push(json!({"gone": null, "files": {"f": {"content": FIRST}}}));
    a.push(json!({"m": 2, "files": {"g": {"content": "g\n"}}}));
    world.host.prune();
    let reply = b.pull();
    assert_eq!(reply["kind"], "delta", "{reply}");
    assert_eq!(b.view, world.view());
}

fn old_contents_go(world: &World) {
    let mut a = world.device("desktop-a");
    for text in ["first\n", "second\n", "third\n"] {
        a.push(file(text));
    }
    forty_days_later(world);
    assert!(!world.reachable(b"first\n"), "what nothing needs is pruned");
    assert!(world.reachable(b"third\n"));
    let first = sha256_hex(b"first\n");
    assert!(
        world.history("files/f").iter().all(|version| version["hash"] != first),
        "nor does the history name it"
    );
}

fn what_lost_under_lww_stays_for_the_retention_time(world: &World) {
    let (mut a, mut b) = world.two_devices(file(BASE));
    a.push(file(FIRST));
    b.push(file("mine\n"));
    a.pull();
    a.push(file("next\n"));
    world.host.advance(25 * DAY_MS);
    world.host.prune();
    assert!(world.reachable(FIRST.as_bytes()));
    assert!(world.history("files/f").iter().any(|version| version["hash"] == sha256_hex(FIRST.as_bytes())));
}

fn old_conflict_keeps_all_three_texts_and_can_be_resolved(world: &World) {
    let (mut a, mut b) = world.two_devices(file(BASE));
    a.push(file(FIRST));
    assert_eq!(b.push(file("uno\n2\n3\n4\n5\n")).status("files/f"), "conflict");
    a.push(file(BOTH));
    forty_days_later(world);
    let conflict = world.only_conflict();
    assert_eq!(conflict["base"]["content"], BASE);
    assert_eq!(conflict["mine"]["content"], "uno\n2\n3\n4\n5\n");
    assert_eq!(conflict["theirs"]["content"], BOTH);
    b.pull();
    assert_problem(&b.try_push(json!({"n": 1})), 409, "conflicts_unresolved");
    // The theirs that it was made with is still the base of merging the resolution onto head.
    world.resolved(&conflict, json!({"resolution": "mine"}));
    assert_eq!(world.file("f").as_deref(), Some("uno\n2\n3\n4\nfive\n"));
    b.pull();
    b.push(json!({"n": 1}));
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn removed_file_is_not_brought_back_by_an_old_copy(world: &World) {
    let (mut a, mut b) = world.two_devices(file(BASE));
    a.push(json!({"files": {"f": null}}));
    forty_days_later(world);
    let reply = b.push(json!({"files": {"f": {"content": LAST, "base_hash": sha256_hex(BASE.as_bytes())}}}));
    assert_eq!(reply.status("files/f"), "conflict");
    assert_eq!(world.file("f"), None, "never resurrected by itself");
    let conflict = world.only_conflict();
    assert_eq!((&conflict["mine"]["content"], &conflict["theirs"]), (&json!(LAST), &json!(null)));
}

fn edit_of_a_file_removed_before_the_retention_is_not_lost(world: &World) {
    let (mut a, mut b) = world.two_devices(file(BASE));
    a.push(json!({"files": {"f": null}}));
    forty_days_later(world);
    let status = b.push(file(LAST)).status("files/f").to_owned();
    let in_conflict = world.conflicts().iter().any(|conflict| conflict["mine"]["content"] == LAST);
    assert!(world.file("f").as_deref() == Some(LAST) || in_conflict, "{status}: the edit is somewhere");
}

fn push_from_before_the_retention_is_taken(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"n": 0}));
    for n in 1..=3 {
        a.push(json!({"n": n}));
    }
    forty_days_later(world);
    let reply = b.push(json!({"from_b": 1}));
    assert_eq!(reply.status("from_b"), "applied");
    assert_eq!(
        (&reply.value["changes"]["kind"], &reply.value["changes"]["reason"]),
        (&json!("behind"), &json!("pruned"))
    );
    let pull = b.pull();
    assert_eq!((&pull["kind"], &pull["reason"]), (&json!("snapshot"), &json!("pruned")));
    assert_eq!(b.view, world.view());
}

fn file_that_did_not_change_needs_no_old_history_to_be_edited(world: &World) {
    let (mut a, mut b) = world.two_devices(file(BASE));
    for n in 1..=3 {
        a.push(json!({"n": n}));
    }
    forty_days_later(world);
    a.push(json!({"n": 4}));
    assert_eq!(b.push(file(LAST)).status("files/f"), "applied");
    assert_eq!(world.file("f").as_deref(), Some(LAST));
    assert!(world.conflicts().is_empty());
}

fn last_push_of_a_naive_device_stays_its_base(world: &World) {
    let mut a = world.device("desktop-a").naive();
    a.push(file(BASE));
    let mut b = world.device("mobile-b");
    b.pull();
    b.push(file(FIRST));
    forty_days_later(world);
    assert_eq!(a.push(file(BASE)).status("files/f"), "unchanged", "its full state is not an edit");
    assert_eq!(world.file("f").as_deref(), Some(FIRST));
    assert_eq!(a.push(file(LAST)).status("files/f"), "merged");
    assert_eq!(world.file("f").as_deref(), Some(BOTH));
}

fn naive_full_state_does_not_revert_after_pruning(world: &World) {
    let mut a = world.device("desktop-a").naive();
    let full = json!({"n": 1, "sessions": {"s": {"title": "old"}}});
    a.push(full.clone());
    let mut b = world.device("mobile-b");
    b.pull();
    b.push(json!({"n": 2, "sessions": {"s": {"title": "new"}}}));
    forty_days_later(world);
    a.push(full);
    assert_eq!(world.snapshot()["state"], json!({"n": 2, "sessions": {"s": {"title": "new"}}}));
}

fn naive_full_state_does_not_resurrect_after_pruning(world: &World) {
    let mut a = world.device("desktop-a").naive();
    let full = json!({"n": 1, "sessions": {"s": {"title": "t"}}, "files": {"f": {"content": BASE}}, "context_pages": {"p": {"title": "t"}}});
    a.push(full.clone());
    let mut b = world.device("mobile-b");
    b.pull();
    b.push(json!({"n": null, "sessions": {"s": null}, "files": {"f": null}, "context_pages": {"p": null}}));
    forty_days_later(world);
    a.push(full);
    assert_eq!(world.snapshot()["state"], json!({}), "deleted stays deleted");
    assert!(world.conflicts().is_empty());
}

fn retry_after_a_long_sleep_is_still_a_replay(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"n": 0}));
    let body = a.body(json!({"n": 1, "bad/key": 1}));
    let lost = a.send(&body).json();
    b.pull();
    b.push(json!({"n": 2}));
    forty_days_later(world);
    let reply = a.push_body(&body);
    assert_eq!((&reply.value["seq"], &reply.value["results"]), (&lost["seq"], &lost["results"]));
    assert_eq!(world.scalar("n"), 2);
}

fn retention_is_configurable(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"n": 0}));
    a.push(json!({"n": 1}));
    world.host.advance(2 * DAY_MS);
    a.push(json!({"n": 2}));
    world.host.prune();
    let reply = b.pull();
    assert_eq!((&reply["kind"], &reply["reason"]), (&json!("snapshot"), &json!("pruned")));
    assert_eq!(b.view.scalars["n"], 2);
}

fn pruning_again_changes_nothing(world: &World) {
    let (mut a, mut b) = world.two_devices(file(BASE));
    a.push(file(FIRST));
    b.push(file("uno\n2\n3\n4\n5\n"));
    forty_days_later(world);
    let before = (comparable(world), world.history("files/f"), world.conflicts());
    world.host.prune();
    world.host.prune();
    assert_eq!((comparable(world), world.history("files/f"), world.conflicts()), before);
}

fn pruning_a_host_without_users_is_fine(world: &World) {
    world.host.prune();
    forty_days_later(world);
    world.device("desktop-a").push(json!({"n": 1}));
    assert_eq!(world.head(), 1);
}

fn pruning_while_devices_push_harms_nobody(world: &World) {
    let (mut a, mut b) = world.two_devices(file("0\n\n\n\n0\n"));
    for n in 0..30 {
        a.push(json!({"n": n, "files": {"f": {"content": format!("{n}\n\n\n\n0\n")}}}));
    }
    b.pull();
    world.host.advance(40 * DAY_MS);
    thread::scope(|scope| {
        scope.spawn(|| (0..4).for_each(|_| world.host.prune()));
        scope.spawn(|| {
            for n in 0..40 {
                a.push(json!({"n": n, "files": {"a": {"content": format!("{n}\n")}}}));
            }
        });
        scope.spawn(|| {
            for n in 0..40 {
                b.push(json!({"m": n, "files": {"b": {"content": format!("{n}\n")}}}));
            }
        });
    });
    world.assert_converged(&mut [&mut a, &mut b]);
    assert_eq!((world.scalar("n"), world.scalar("m")), (json!(39), json!(39)));
    assert_eq!(world.file("f").as_deref(), Some("29\n\n\n\n0\n"));
}
