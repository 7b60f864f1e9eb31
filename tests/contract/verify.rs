//! `nself-sync verify`: a sound data base is called sound, and every kind of damage is found and named.

use std::fs;

use nself_sync_tests::world::World;
use serde_json::json;

use crate::durability::native;

crate::cases![
    sound_data_base_is_called_sound.native(),
    every_kind_of_damage_is_found_and_named.native(),
    row_that_cannot_be_read_keeps_nobody_else_from_being_looked_at.native().only("sqlite"),
    verify_writes_nothing_and_prints_the_state_hash.native(),
    verify_without_a_data_base_says_so.native(),
];

/// What verify says, and that it says it by its exit code.
fn verify(world: &World, more: &[&str]) -> (bool, String) {
    let (status, text) = native(world).run(&[&["verify"], more].concat()).expect("it runs");
    assert!(matches!(status.code(), Some(0 | 1)) && !text.contains("panicked"), "{status}: {text}");
    (status.success(), text)
}

/// Nine seqs: values, a merge, an aside, a conflict of `mobile-b`, a removal.
fn user(world: &World) -> World {
    let world = world.another_user();
    let base = "1\n2\n3\n4\n5\n";
    let (mut a, mut b) = world.two_devices(json!({
        "n": 0, "files": {"f": {"content": base}, "g": {"content": base}, "h": {"content": "h\n"}},
        "sessions": {"s": {"t": 1}}, "context_pages": {"p": {"content": "p\n", "title": "p"}},
    }));
    a.push(json!({"n": 1, "files": {"f": {"content": "one\n2\n3\n4\n5\n"}}}));
    a.push(json!({"n": 2, "sessions": {"s": null}, "files": {"h": null}}));
    assert_eq!(
        b.push(json!({"files": {"f": {"content": "1\n2\n3\n4\nfive\n"}}})).status("files/f"),
        "merged"
    );
    a.pull();
    a.push(json!({"files": {"g": {"content": "theirs\n"}}}));
    assert_eq!(b.push(json!({"files": {"g": {"content": "mine\n"}}})).status("files/g"), "conflict");
    world
}

/// SQL of either dialect: `WHOSE` are the user's rows, `BYTES` some bytes, `HASH` 32 of them, `TAG` 8.
fn damage(world: &World, sql: &str) {
    let (whose, bytes): (String, fn(&str) -> String) = match world.host.name() {
        "postgres" => (format!("user_id = '{}'", world.user), |hex| format!("'\\x{hex}'::bytea")),
        _ => {
            let number = format!("SELECT user_no FROM np_sync_heads WHERE user_id = '{}'", world.user);
            (format!("user_no = ({number})"), |hex| format!("x'{hex}'"))
        }
    };
    let sql = sql
        .replace("WHOSE", &whose)
        .replace("BYTES", &bytes("09ff"))
        .replace("HASH", &bytes(&"ab".repeat(32)))
        .replace("TAG", &bytes(&"ab".repeat(8)));
    native(world).damage(&sql).expect("it is SQL");
}

fn sound_data_base_is_called_sound(world: &World) {
    assert_eq!(verify(world, &[]), (true, "0 users: everything is sound\n".to_owned()));
    user(world);
    let one = user(world).user;
    assert_eq!(verify(world, &["--user", &one]).1.lines().last(), Some("1 user: everything is sound"));
    assert_eq!(verify(world, &[]), (true, "2 users: everything is sound\n".to_owned()));
}

fn every_kind_of_damage_is_found_and_named(world: &World) {
    let sound = user(world);
    let cases = [
        (
            "DELETE FROM np_sync_deltas WHERE WHOSE AND seq = 2",
            "np_sync_deltas, seq 3: the one before it is 1",
        ),
        (
            "DELETE FROM np_sync_deltas WHERE WHOSE AND seq = 6",
            "np_sync_deltas: they end at seq 5, head is 6",
        ),
        (
            "UPDATE np_sync_deltas SET tag = TAG WHERE WHOSE AND seq = 2",
            "np_sync_deltas, seq 2: its tag does not follow",
        ),
        (
            "UPDATE np_sync_deltas SET diff = '{\"n\":7}' WHERE WHOSE AND seq = 2",
            "np_sync_deltas, seq 2: its tag",
        ),
        (
            "UPDATE np_sync_deltas SET diff = '{\"n\":7}' WHERE WHOSE AND seq = 2",
            "np_sync_versions, seq 2: not what",
        ),
        ("UPDATE np_sync_heads SET seq = 9 WHERE WHOSE", "np_sync_deltas: they end at seq 6, head is 9"),
        ("UPDATE np_sync_heads SET tag = TAG WHERE WHOSE", "np_sync_heads: its tag is not that of delta 6"),
        ("UPDATE np_sync_heads SET floor = 9 WHERE WHOSE", "np_sync_heads: floor 9 is above seq"),
        ("UPDATE np_sync_heads SET floor_tag = TAG WHERE WHOSE", "np_sync_deltas, seq 1: its tag"),
        (
            "UPDATE np_sync_heads SET conflicts_open = 5 WHERE WHOSE",
            "np_sync_heads: conflicts_open is 5, there are 1",
        ),
        ("UPDATE np_sync_heads SET bytes = 5 WHERE WHOSE", "np_sync_heads: bytes is 5, counted are"),
        ("UPDATE np_sync_devices SET seq = 99 WHERE WHOSE", "np_sync_devices, seq 99: it is above head, 6"),
        (
            "UPDATE np_sync_devices SET push_results = '{' WHERE WHOSE",
            "np_sync_devices, device desktop-a: push_results",
        ),
        (
            "UPDATE np_sync_devices SET removed_at = created_at WHERE WHOSE",
            "np_sync_devices, device desktop-a: it is removed",
        ),
        ("DELETE FROM np_sync_devices WHERE WHOSE", "np_sync_pushed, device mobile-b: it is not there"),
        (
            "DELETE FROM np_sync_contents WHERE WHOSE",
            "np_sync_files, seq 4: the content of a document is not there",
        ),
        (
            "UPDATE np_sync_contents SET data = BYTES WHERE WHOSE AND part = 1",
            "segment 1 of a document: keyframe",
        ),
        (
            "UPDATE np_sync_contents SET data = BYTES WHERE WHOSE AND part = 0",
            "segment 1 of a document: pack",
        ),
        (
            "DELETE FROM np_sync_hashes WHERE WHOSE AND seq = 2",
            "np_sync_hashes, seq 2: a content is not found by its hash",
        ),
        (
            "DELETE FROM np_sync_hashes WHERE WHOSE AND seq = 6",
            "np_sync_hashes, seq 6: a content is not found by its hash",
        ),
        (
            "UPDATE np_sync_hashes SET seq = 3 WHERE WHOSE AND seq = 2",
            "np_sync_hashes, seq 3: there is no content",
        ),
        (
            "UPDATE np_sync_files SET hash = HASH WHERE WHOSE AND seq = 5",
            "np_sync_files, seq 5: the content of a document",
        ),
        (
            "UPDATE np_sync_files SET size = size + 1 WHERE WHOSE AND seq = 5",
            "np_sync_files, seq 5: size is not",
        ),
        (
            "UPDATE np_sync_files SET hash = NULL WHERE WHOSE AND seq = 5",
            "np_sync_files, seq 5: removed, and its history",
        ),
        (
            "UPDATE np_sync_state SET value = '7' WHERE WHOSE AND key = 'n'",
            "np_sync_state, seq 3: its newest version",
        ),
        (
            "DELETE FROM np_sync_versions WHERE WHOSE AND key = 'n' AND seq = 1",
            "np_sync_versions, seq 1: not what its delta",
        ),
        (
            "UPDATE np_sync_versions SET value = '7' WHERE WHOSE AND key = 'n' AND seq = 2",
            "np_sync_versions, seq 2: not what",
        ),
        (
            "DELETE FROM np_sync_versions WHERE WHOSE AND key = 'sessions/s'",
            "np_sync_versions, np_sync_contents, seq 3: a removal",
        ),
        ("UPDATE np_sync_conflicts SET mine = BYTES WHERE WHOSE", "np_sync_conflicts, id"),
        (
            "UPDATE np_sync_conflicts SET base = NULL WHERE WHOSE",
            "the content of base is not there, or another",
        ),
        (
            "UPDATE np_sync_conflicts SET theirs_hash = HASH WHERE WHOSE",
            "the content of theirs is not there, or another",
        ),
        ("DELETE FROM np_sync_conflicts WHERE WHOSE", "np_sync_heads: conflicts_open is 1, there are 0"),
        (
            "UPDATE np_sync_pushed SET hash = HASH WHERE WHOSE AND key = 'files/g' AND device_id = 'mobile-b'",
            "np_sync_pushed, seq 6: the base of device mobile-b",
        ),
    ];
    for (sql, expected) in cases {
        let damaged = user(world);
        damage(&damaged, sql);
        let (is_sound, text) = verify(&damaged, &["--user", &damaged.user]);
        assert!(!is_sound, "{sql}: called sound");
        assert!(text.contains(&format!("user {} of account primary: ", damaged.user)), "{sql}: {text}");
        assert!(text.contains(expected), "{sql}: expected {expected}\n{text}");
        assert!(!text.contains("files/"), "no path: {text}");
    }
    let (is_sound, text) = verify(world, &[]);
    assert!(!is_sound && !text.contains(&sound.user), "{text}");
    assert!(text.contains(&format!("{} users: ", cases.len() + 1)), "{text}");
}

fn row_that_cannot_be_read_keeps_nobody_else_from_being_looked_at(world: &World) {
    let (unreadable, damaged) = (user(world), user(world));
    damage(&unreadable, "UPDATE np_sync_state SET value = '{' WHERE WHOSE");
    damage(&damaged, "UPDATE np_sync_heads SET conflicts_open = 5 WHERE WHOSE");
    let (is_sound, text) = verify(world, &[]);
    assert!(!is_sound && text.contains(&unreadable.user) && text.contains(&damaged.user), "{text}");
    assert!(text.contains("2 users: 2 findings"), "{text}");
}

fn verify_writes_nothing_and_prints_the_state_hash(world: &World) {
    let user = user(world);
    let hash = |text: &str| {
        let hash = text.split("state hash ").nth(1).and_then(|rest| rest.get(..64));
        hash.unwrap_or_else(|| panic!("no state hash in {text}")).to_owned()
    };
    let before = hash(&verify(&user, &["--user", &user.user]).1);
    let (_, text) = native(&user).run(&["export", "--user", &user.user, "--output", "x"]).expect("it runs");
    assert_eq!(hash(&text), before);
    user.device("web-c").push(json!({"n": 3}));
    let after = hash(&verify(&user, &["--user", &user.user]).1);
    assert_ne!(after, before);
    native(&user).shut_down().expect("an orderly stop");
    let file = native(&user).path("data/nself-sync.sqlite");
    let bytes = || fs::read(&file).ok();
    let untouched = bytes();
    assert_eq!(hash(&verify(&user, &["--user", &user.user]).1), after);
    assert_eq!(bytes(), untouched);
    let (is_sound, text) = verify(&user, &["--user", "nobody"]);
    assert!(!is_sound && text.contains("user nobody of account primary: no such user"), "{text}");
    native(&user).resume().expect("it starts again");
}

fn verify_without_a_data_base_says_so(world: &World) {
    let unreachable = "postgres://nobody@127.0.0.1:1/none";
    let vars: &[(&str, &str)] = match world.host.name() {
        "postgres" => &[("DATABASE_URL", unreachable)],
        _ => &[("PLUGIN_SYNC_DATA_DIR", "elsewhere")],
    };
    let (status, text) = native(world).run_with(&["verify"], vars).expect("it runs");
    assert!(status.code() == Some(1) && !text.contains("panicked"), "{status}: {text}");
    assert!(!native(world).path("elsewhere").exists(), "nothing is made");
}
