//! PROTOCOL sections 4 and 11: sealed environment variables are compare-and-set.

use nself_sync_tests::world::World;
use serde_json::{Value, json};

crate::cases![
    boxes_replace_each_other_in_sequence,
    concurrent_box_is_superseded_whatever_the_clock_says,
    box_sealed_before_another_arrived_is_superseded,
    first_boxes_of_two_devices_do_not_overwrite_each_other,
    equal_box_is_unchanged,
    own_box_after_own_box_wins,
    concurrent_removal_of_a_box_is_superseded,
    box_and_plain_string_are_compare_and_set_in_both_directions,
    plain_string_env_is_a_plain_scalar,
    superseded_box_can_be_merged_and_pushed_again,
    what_is_not_a_box_is_rejected,
    box_of_256_kib_passes_and_a_bigger_one_is_rejected,
];

/// A box as section 11 shows it; the host does not look into it.
fn sealed(text: &str) -> Value {
    json!({"v": 1, "alg": "xchacha20poly1305", "wraps": [{"kid": "k1", "kdf": "hkdf"}], "nonce": "AAAA", "ct": text})
}

fn env(value: Value) -> Value {
    json!({"env_encrypted": value})
}

fn boxes_replace_each_other_in_sequence(world: &World) {
    let (mut a, mut b) = world.two_devices(env(sealed("0")));
    assert_eq!(a.push(env(sealed("a"))).status("env_encrypted"), "applied");
    b.pull();
    assert_eq!(b.push_at(env(sealed("b")), json!({"env_encrypted": 1})).status("env_encrypted"), "applied");
    assert_eq!(world.scalar("env_encrypted"), sealed("b"), "stored as given");
}

fn box_sealed_before_another_arrived_is_superseded(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"env_encrypted": sealed("one")}));
    let stood = b.seq;
    a.push(json!({"env_encrypted": sealed("two")}));
    b.pull();
    let mut body = b.body(json!({"env_encrypted": sealed("three")}));
    body["changed_at"] = json!({"env_encrypted": 9_000_000_000_000u64});
    body["seen"] = json!({"env_encrypted": stood});
    assert_eq!(b.push_body(&body).status("env_encrypted"), "superseded");
    assert_eq!(world.scalar("env_encrypted"), sealed("two"));
}

fn concurrent_box_is_superseded_whatever_the_clock_says(world: &World) {
    let (mut a, mut b) = world.two_devices(env(sealed("0")));
    a.push_at(env(sealed("a")), json!({"env_encrypted": 1000}));
    let reply = b.push_at(env(sealed("b")), json!({"env_encrypted": 2000}));
    assert_eq!(reply.status("env_encrypted"), "superseded");
    assert_eq!(reply.change("env_encrypted"), Some(&sealed("a")));
    assert_eq!(world.scalar("env_encrypted"), sealed("a"));
}

fn first_boxes_of_two_devices_do_not_overwrite_each_other(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({}));
    a.push(env(sealed("a")));
    assert_eq!(b.push(env(sealed("b"))).status("env_encrypted"), "superseded");
    assert_eq!(world.scalar("env_encrypted"), sealed("a"));
}

fn equal_box_is_unchanged(world: &World) {
    let (mut a, mut b) = world.two_devices(env(sealed("0")));
    a.push(env(sealed("a")));
    assert_eq!(b.push(env(sealed("a"))).status("env_encrypted"), "unchanged");
    assert_eq!(b.push(env(sealed("a"))).status("env_encrypted"), "unchanged");
}

fn own_box_after_own_box_wins(world: &World) {
    let mut a = world.device("desktop-a").naive();
    a.push(env(sealed("1")));
    assert_eq!(a.push(env(sealed("2"))).status("env_encrypted"), "applied");
    assert_eq!(world.scalar("env_encrypted"), sealed("2"));
}

fn concurrent_removal_of_a_box_is_superseded(world: &World) {
    let (mut a, mut b) = world.two_devices(env(sealed("0")));
    a.push(env(sealed("a")));
    assert_eq!(b.push(env(json!(null))).status("env_encrypted"), "superseded");
    assert_eq!(b.push(env(json!(null))).status("env_encrypted"), "applied", "having seen it, it may go");
    assert_eq!(world.scalar("env_encrypted"), json!(null));
}

fn box_and_plain_string_are_compare_and_set_in_both_directions(world: &World) {
    let (mut a, mut b) = world.two_devices(env(json!("plain")));
    a.push_at(env(json!("newer")), json!({"env_encrypted": 1000}));
    let reply = b.push_at(env(sealed("b")), json!({"env_encrypted": 2000}));
    assert_eq!(reply.status("env_encrypted"), "superseded", "a pushed box over a plain string");
    let (mut a, mut b) = world.another_user().two_devices(env(json!("plain")));
    a.push_at(env(sealed("a")), json!({"env_encrypted": 1000}));
    let reply = b.push_at(env(json!("newer")), json!({"env_encrypted": 2000}));
    assert_eq!(reply.status("env_encrypted"), "superseded", "a plain string over a stored box");
}

fn plain_string_env_is_a_plain_scalar(world: &World) {
    let (mut a, mut b) = world.two_devices(env(json!("0")));
    a.push_at(env(json!("a")), json!({"env_encrypted": 1000}));
    assert_eq!(b.push_at(env(json!("b")), json!({"env_encrypted": 2000})).status("env_encrypted"), "applied");
    assert_eq!(world.scalar("env_encrypted"), "b");
}

fn superseded_box_can_be_merged_and_pushed_again(world: &World) {
    let (mut a, mut b) = world.two_devices(env(sealed("0")));
    a.push(env(sealed("a")));
    b.push(env(sealed("b")));
    assert_eq!(b.view.scalars["env_encrypted"], sealed("a"));
    assert_eq!(b.push(env(sealed("a+b"))).status("env_encrypted"), "applied");
    world.assert_converged(&mut [&mut a, &mut b]);
    let versions = world.history("env_encrypted");
    assert!(
        versions.iter().any(|version| version["value"] == sealed("b")),
        "the box that lost: {versions:?}"
    );
}

fn what_is_not_a_box_is_rejected(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(env(sealed("good")));
    let not_boxes = [
        json!({}),
        json!({"API_KEY": "sk-1"}),
        json!({"v": "1", "wraps": [{"kid": "k"}]}),
        json!({"v": 1.5, "wraps": [{"kid": "k"}]}),
        json!({"v": 1}),
        json!({"v": 1, "wraps": []}),
        json!({"v": 1, "wraps": {}}),
    ];
    for value in not_boxes {
        let reply = a.push(json!({"env_encrypted": value, "other": value}));
        assert_eq!(reply.rejected("env_encrypted"), "invalid_box", "{value}");
    }
    assert_eq!(world.scalar("env_encrypted"), sealed("good"));
    let least = json!({"v": 2, "wraps": [{}]});
    assert_eq!(
        a.push(env(least.clone())).status("env_encrypted"),
        "applied",
        "a version the host does not know"
    );
    assert_eq!(world.scalar("env_encrypted"), least);
}

fn box_of_256_kib_passes_and_a_bigger_one_is_rejected(world: &World) {
    let mut a = world.device("desktop-a");
    let size = |text: &str| sealed(text).to_string().len();
    let fits = sealed(&"x".repeat(256 * 1024 - size("")));
    assert_eq!(fits.to_string().len(), 256 * 1024);
    assert_eq!(a.push(env(fits.clone())).status("env_encrypted"), "applied");
    let over = sealed(&"x".repeat(256 * 1024 - size("") + 1));
    assert_eq!(a.push(env(over)).rejected("env_encrypted"), "scalar_too_large");
    assert_eq!(world.scalar("env_encrypted"), fits);
}
