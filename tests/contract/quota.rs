//! PROTOCOL sections 8 and 9: what one user may store.

use nself_sync_tests::world::{Device, World, assert_problem, sha256_hex};
use serde_json::{Value, json};

use crate::case::Config;
use crate::durability::native;

crate::cases![
    push_over_the_quota_is_refused_whole_and_removals_pass.config(ONE_MIB),
    replay_and_resolution_pass_over_the_quota.config(ONE_MIB),
    quota_is_each_users_own.config(ONE_MIB),
    pruning_makes_room.own().config(ONE_MIB),
    raised_quota_takes_pushes_again.native().config(ONE_MIB),
    what_is_counted_is_what_is_stored.native(),
    state_that_an_older_server_did_not_count_is_counted.native().only("postgres"),
    state_that_no_snapshot_could_carry_is_refused_and_removals_pass,
];

const ONE_MIB: Config = &[("PLUGIN_SYNC_QUOTA_MB", "1")];

/// What the host adds up, of all its users.
const STORED: &str = "SELECT (SELECT coalesce(sum(octet_length(data)), 0) FROM np_sync_contents)
    + (SELECT coalesce(sum(octet_length(key)), 0) FROM np_sync_contents WHERE part = 1)
    + (SELECT coalesce(sum(octet_length(key)), 0) FROM np_sync_versions)
    + (SELECT coalesce(sum(octet_length(CAST(value AS TEXT))), 0) FROM np_sync_versions)
    + (SELECT coalesce(sum(coalesce(base_size, 0) + coalesce(mine_size, 0) + coalesce(theirs_size, 0)), 0)
        FROM np_sync_conflicts)";

/// What every snapshot has to carry.
const AT_HEAD: &str = "SELECT
    (SELECT coalesce(sum(64 + octet_length(key) + coalesce(octet_length(CAST(value AS TEXT)), 0)), 0) FROM np_sync_state)
    + (SELECT coalesce(sum(64 + octet_length(key)), 0) FROM np_sync_files)";

/// A file of so many KiB that do not compress.
fn noise(kib: usize, seed: u64) -> Value {
    let hex: String = (0..kib * 16).map(|n| sha256_hex(format!("{seed} {n}").as_bytes())).collect();
    json!({ "content": hex })
}

/// Fills most of a MiB: hex deflates to somewhat over a half.
fn fill(device: &mut Device) {
    for n in 0..3 {
        device.push(json!({"files": {(format!("f{n}")): noise(500, n)}}));
    }
}

fn push_over_the_quota_is_refused_whole_and_removals_pass(world: &World) {
    let mut a = world.device("desktop-a");
    fill(&mut a);
    let before = world.snapshot();
    let refused = a.try_push(json!({"n": 1, "files": {"f3": noise(500, 3)}}));
    assert_problem(&refused, 507, "quota_exceeded");
    assert!(refused.json()["detail"].as_str().expect("a detail").contains("1048576"), "{}", refused.show());
    assert_eq!(world.snapshot(), before, "nothing of it was applied");
    a.push(json!({}));
    a.push(json!({"files": {"f0": noise(500, 0)}}));
    assert_eq!(world.head(), 3, "what is there already adds nothing");
    let small = a.push(json!({"n": 1}));
    assert_eq!(small.status("n"), "applied", "there is room for so much");
    let removal = a.push(json!({"n": null, "files": {"f0": null, "f1": null}}));
    assert_eq!(removal.status("files/f0"), "applied");
    let kept = world.get("/sync/history?key=files%2Ff0");
    assert_eq!(kept.status, 200);
    let refused = a.try_push(json!({"files": {"f3": noise(500, 3)}}));
    assert_problem(&refused, 507, "quota_exceeded");
}

fn replay_and_resolution_pass_over_the_quota(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"files": {"c": {"content": "base\n"}}}));
    fill(&mut a);
    b.pull();
    a.push(json!({"files": {"c": {"content": "theirs\n"}}}));
    let body = b.body(json!({"files": {"c": {"content": "mine\n"}}}));
    let first = b.push_body(&body);
    assert_eq!(first.status("files/c"), "conflict");
    let mut n = 10;
    while a.try_push(json!({"files": {(format!("f{n}")): noise(20, n)}})).status == 200 {
        n += 1;
        a.pull();
        assert!(n < 100, "the quota is met");
    }
    let again = b.send(&body);
    assert_eq!((again.status, again.header("Idempotency-Replayed")), (200, Some("true")));
    world.resolved(&world.only_conflict(), json!({"resolution": "merged", "content": "both\n".repeat(5000)}));
    assert!(world.conflicts().is_empty());
}

fn quota_is_each_users_own(world: &World) {
    fill(&mut world.device("desktop-a"));
    fill(&mut world.another_user().device("desktop-a"));
}

fn pruning_makes_room(world: &World) {
    let mut a = world.device("desktop-a");
    fill(&mut a);
    a.push(json!({"files": {"f0": null, "f1": null}}));
    assert_problem(&a.try_push(json!({"files": {"g": noise(500, 4)}})), 507, "quota_exceeded");
    world.host.advance(40 * 24 * 3_600_000);
    world.host.prune();
    a.pull();
    assert_eq!(a.push(json!({"files": {"g": noise(500, 4)}})).status("files/g"), "applied");
}

fn raised_quota_takes_pushes_again(world: &World) {
    let mut a = world.device("desktop-a");
    fill(&mut a);
    let more = json!({"files": {"g": noise(500, 4)}});
    assert_problem(&a.try_push(more.clone()), 507, "quota_exceeded");
    native(world).restart_with(&[("PLUGIN_SYNC_QUOTA_MB", "2")]).expect("it starts");
    assert_eq!(a.push(more).status("files/g"), "applied");
}

fn what_is_counted_is_what_is_stored(world: &World) {
    let check = |what: &str| {
        let number = |sql: &str| native(world).number(sql).expect("a number");
        assert_eq!(number("SELECT sum(bytes) FROM np_sync_heads"), number(STORED), "{what}");
        assert_eq!(number("SELECT sum(state_bytes) FROM np_sync_heads"), number(AT_HEAD), "{what}");
    };
    let (mut a, mut b) = world.two_devices(json!({
        "n": {"ö": [1, 2.5, "x"]}, "sessions": {"s": {"title": "t"}},
        "files": {"f": {"content": "1\n2\n3\n4\n5\n"}, "g": {"content": "g\n"}, "big": noise(100, 1)},
        "context_pages": {"p": {"title": "t", "content": "page\n"}},
    }));
    check("new keys of all kinds");
    a.push(json!({"n": 2, "files": {"f": {"content": "one\n2\n3\n4\n5\n"}, "g": {"content": "theirs\n"}, "big": noise(100, 2)}}));
    b.push(json!({"n": 3, "files": {"f": {"content": "1\n2\n3\n4\nfive\n"}, "g": {"content": "mine\n"}}}));
    check("a merge, a conflict, a value that lost");
    world.resolved(&world.only_conflict(), json!({"resolution": "mine"}));
    a.pull();
    a.push(json!({"sessions": {"s": null}, "context_pages": {"p": null}, "files": {"f": null}}));
    check("a resolution, removals");
    for n in 0..30 {
        a.push(json!({"n": n, "files": {"g": noise(2, n), "big": noise(100, n % 3)}}));
    }
    check("segments that are full");
    let before = native(world).number("SELECT sum(bytes) FROM np_sync_heads").expect("a number");
    world.host.advance(40 * 24 * 3_600_000);
    world.host.prune();
    check("pruned");
    let after = native(world).number("SELECT sum(bytes) FROM np_sync_heads").expect("a number");
    assert!(after > 0 && after < before / 2, "{before} before, {after} after");
}

fn state_that_an_older_server_did_not_count_is_counted(world: &World) {
    let number = |sql: &str| native(world).number(sql).expect("a number");
    let mut a = world.device("desktop-a");
    for n in 0..3 {
        a.push(json!({"n": n, "sessions": {(format!("s{n}")): {"title": "t"}}, "files": {"f": noise(1, n)}}));
        number(
            "WITH older AS (UPDATE np_sync_heads SET state_seq = CASE WHEN seq = 1 THEN NULL ELSE seq - 1 END, state_bytes = 7
            RETURNING 1) SELECT count(*) FROM older",
        );
    }
    assert!(native(world).run(&["verify"]).expect("it runs").0.success(), "it is no finding");
    a.push(json!({"n": 9}));
    assert_eq!(number("SELECT sum(state_bytes) FROM np_sync_heads"), number(AT_HEAD));
}

fn state_that_no_snapshot_could_carry_is_refused_and_removals_pass(world: &World) {
    let mut a = world.device("desktop-a");
    let notes = |push: usize| -> Value {
        (0..60)
            .map(|n| (format!("note-{push}-{n}"), json!("n".repeat(60_000))))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let mut pushes = 0;
    let refused = loop {
        let answer = a.try_push(notes(pushes));
        if answer.status != 200 {
            break answer;
        }
        a.pull();
        pushes += 1;
        assert!(pushes < 40, "there is a limit");
    };
    assert_problem(&refused, 507, "quota_exceeded");
    assert_eq!(world.head(), pushes as u64, "nothing of it was applied");
    let snapshot = world.snapshot();
    assert_eq!(
        snapshot["state"].as_object().expect("an object").len(),
        pushes * 60,
        "and all before it is told"
    );
    assert_eq!(
        a.push(json!({"note-0-0": "m".repeat(60_000)})).status("note-0-0"),
        "applied",
        "it adds nothing"
    );
    let removals =
        notes(0).as_object().expect("an object").keys().map(|key| (key.clone(), Value::Null)).collect();
    assert_eq!(a.push(Value::Object(removals)).status("note-0-0"), "applied");
    assert_eq!(a.push(notes(pushes)).status(&format!("note-{pushes}-0")), "applied", "there is room again");
}
