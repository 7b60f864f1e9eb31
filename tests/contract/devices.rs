//! PROTOCOL section 6: the list of devices, and removing one.

use nself_sync_tests::world::{World, assert_problem, encode, id_of};
use serde_json::{Value, json};

use crate::case::{FILE_BLOCK, LWW};

crate::cases![
    list_has_every_field_and_no_token,
    fresh_user_has_no_devices,
    platform_is_taken_from_the_push,
    platform_names_of_clients_are_mapped,
    platform_falls_back_to_the_prefix_of_the_id,
    times_are_rfc_3339_in_utc,
    push_touches_last_seen.own(),
    device_in_conflict_is_shown_as_blocked,
    device_in_conflict_blocks_only_files_where_so_configured.config(FILE_BLOCK),
    nothing_is_blocked_under_lww.config(LWW),
    removing_an_unknown_device_is_404,
    removed_device_is_no_longer_listed,
    removing_a_device_leaves_the_state,
    conflict_of_a_removed_device_can_still_be_resolved,
    other_devices_of_the_user_go_on_after_a_removal,
    one_device_id_of_two_users_is_two_devices,
    device_id_in_the_path_is_percent_decoded,
    device_id_that_no_path_can_name_is_refused,
];

fn list_has_every_field_and_no_token(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"n": 1}));
    let response = world.get("/sync/devices");
    let device = response.json()["devices"][0].clone();
    assert_eq!(
        (&device["device_id"], &device["platform"], &device["blocked"]),
        (&json!("desktop-a"), &json!("desktop"), &json!(false))
    );
    assert!(device["seq"].is_u64(), "{device}");
    assert!(device["last_seen"].is_string() && device["created_at"].is_string(), "{device}");
    let token = a.auth();
    let secret = token.split_once('.').expect("a route and a secret").1;
    assert!(!response.text().contains("nst_") && !response.text().contains(secret), "{}", response.show());
}

fn fresh_user_has_no_devices(world: &World) {
    world.device("desktop-a").pull();
    assert!(world.devices().is_empty(), "a pull registers nothing");
}

fn platform(world: &World, device_id: &str, platform: Option<&str>) -> Value {
    let mut device = world.device(device_id);
    let mut body = device.body(json!({}));
    if let Some(platform) = platform {
        body["platform"] = json!(platform);
    }
    device.push_body(&body);
    world.listed(device_id).expect("the device")["platform"].clone()
}

fn platform_is_taken_from_the_push(world: &World) {
    for name in ["desktop", "mobile", "web"] {
        assert_eq!(platform(world, &format!("some-{name}"), Some(name)), name);
    }
    assert_eq!(platform(world, "desktop-x", Some("web")), "web", "before the prefix of the id");
}

fn platform_names_of_clients_are_mapped(world: &World) {
    for (name, want) in [
        ("ios", "mobile"),
        ("android", "mobile"),
        ("macos", "desktop"),
        ("windows", "desktop"),
        ("linux", "desktop"),
    ] {
        assert_eq!(platform(world, &format!("some-{name}"), Some(name)), want);
    }
}

fn platform_falls_back_to_the_prefix_of_the_id(world: &World) {
    for (device_id, want) in [
        ("desktop-1", "desktop"),
        ("mobile-1", "mobile"),
        ("web-1", "web"),
        ("01J9ZK3V5E8Q4R7T2W6Y0ABCDE", "unknown"),
    ] {
        assert_eq!(platform(world, device_id, None), want);
    }
}

/// `2026-11-22T16:05:00Z`, with or without a fraction.
pub fn assert_time(time: &Value) {
    let text = time.as_str().unwrap_or_else(|| panic!("a time is a string: {time}"));
    let shape: String = text.chars().map(|char| if char.is_ascii_digit() { '0' } else { char }).collect();
    let fraction = shape.strip_prefix("0000-00-00T00:00:00").and_then(|rest| rest.strip_suffix('Z'));
    let is_fraction = |rest: &str| {
        rest.is_empty()
            || (rest.len() > 1 && rest.starts_with('.') && rest[1..].bytes().all(|byte| byte == b'0'))
    };
    assert!(fraction.is_some_and(is_fraction), "RFC 3339 in UTC: {text}");
}

fn times_are_rfc_3339_in_utc(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"files": {"f": {"content": "base\n"}}}));
    a.push(json!({"files": {"f": {"content": "theirs\n"}}}));
    b.push(json!({"files": {"f": {"content": "mine\n"}}}));
    for device in world.devices() {
        assert_time(&device["last_seen"]);
        assert_time(&device["created_at"]);
    }
    assert_time(&world.only_conflict()["created_at"]);
    assert_time(&world.history("files/f")[0]["created_at"]);
}

fn push_touches_last_seen(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"n": 1}));
    let created = world.listed("desktop-a").expect("the device")["created_at"].clone();
    world.host.advance(3_600_000);
    let before = world.listed("desktop-a").expect("the device");
    a.push(json!({"n": 2}));
    let after = world.listed("desktop-a").expect("the device");
    assert!(before["last_seen"].as_str() < after["last_seen"].as_str(), "{before} {after}");
    assert_eq!(before["created_at"], after["created_at"]);
    assert!(created.is_string());
}

fn in_conflict(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"files": {"f": {"content": "base\n"}}}));
    a.push(json!({"files": {"f": {"content": "theirs\n"}}}));
    b.push(json!({"files": {"f": {"content": "mine\n"}}}));
}

fn blocked(world: &World, device_id: &str) -> Value {
    world.listed(device_id).expect("the device")["blocked"].clone()
}

fn device_in_conflict_is_shown_as_blocked(world: &World) {
    in_conflict(world);
    assert_eq!((blocked(world, "mobile-b"), blocked(world, "desktop-a")), (json!(true), json!(false)));
    world.resolved(&world.only_conflict(), json!({"resolution": "theirs"}));
    assert_eq!(blocked(world, "mobile-b"), false);
}

fn device_in_conflict_blocks_only_files_where_so_configured(world: &World) {
    let (mut a, mut b) =
        world.two_devices(json!({"files": {"f": {"content": "base\n"}, "g": {"content": "base\n"}}}));
    a.push(json!({"files": {"f": {"content": "theirs\n"}}}));
    b.push(json!({"files": {"f": {"content": "mine\n"}}}));
    let reply =
        b.push(json!({"n": 1, "files": {"f": {"content": "mine again\n"}, "g": {"content": "mine\n"}}}));
    assert_eq!(reply.status("files/f"), "blocked");
    assert_eq!((reply.status("n"), reply.status("files/g")), ("applied", "applied"));
    assert_eq!(world.file("f").as_deref(), Some("theirs\n"));
    assert_eq!(world.only_conflict()["mine"]["content"], "mine\n");
    world.resolved(&world.only_conflict(), json!({"resolution": "mine"}));
    b.pull();
    assert_eq!(b.push(json!({"files": {"f": {"content": "mine again\n"}}})).status("files/f"), "applied");
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn nothing_is_blocked_under_lww(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"files": {"f": {"content": "base\n"}}}));
    a.push(json!({"files": {"f": {"content": "theirs\n"}}}));
    assert_eq!(b.push(json!({"files": {"f": {"content": "mine\n"}}})).conflicts().len(), 0);
    assert_eq!(b.push(json!({"n": 1})).value["conflicts_open"], 0);
    assert_eq!(blocked(world, "mobile-b"), false);
}

fn removing_an_unknown_device_is_404(world: &World) {
    assert_problem(&world.delete("/sync/devices/nobody"), 404, "not_found");
    let other = world.another_user();
    other.device("desktop-a").push(json!({}));
    assert_problem(&world.delete("/sync/devices/desktop-a"), 404, "not_found");
    assert_eq!(other.devices().len(), 1);
}

fn removed_device_is_no_longer_listed(world: &World) {
    world.two_devices(json!({"n": 1}));
    let response = world.delete("/sync/devices/desktop-a");
    assert_eq!((response.status, response.body.is_empty()), (204, true), "{}", response.show());
    let left: Vec<Value> = world.devices().iter().map(|device| device["device_id"].clone()).collect();
    assert_eq!(left, [json!("mobile-b")]);
}

fn removing_a_device_leaves_the_state(world: &World) {
    world.two_devices(json!({"n": 1, "files": {"f": {"content": "x\n"}}}));
    let before = world.snapshot();
    world.delete("/sync/devices/desktop-a");
    assert_eq!(world.snapshot()["state"], before["state"]);
    assert!(world.history("n").iter().any(|version| version["device_id"] == "desktop-a"));
}

fn conflict_of_a_removed_device_can_still_be_resolved(world: &World) {
    in_conflict(world);
    world.delete("/sync/devices/mobile-b");
    let conflict = world.only_conflict();
    assert_eq!(conflict["mine"]["content"], "mine\n", "its work is not thrown away");
    world.resolved(&conflict, json!({"resolution": "mine", "device_id": "desktop-a"}));
    assert_eq!(world.file("f").as_deref(), Some("mine\n"));
    assert!(!id_of(&conflict).is_empty());
}

fn other_devices_of_the_user_go_on_after_a_removal(world: &World) {
    let (_, mut b) = world.two_devices(json!({"n": 1}));
    world.delete("/sync/devices/desktop-a");
    b.pull();
    b.push(json!({"n": 2}));
    assert_eq!(world.scalar("n"), 2);
}

fn one_device_id_of_two_users_is_two_devices(world: &World) {
    let other = world.another_user();
    let (mut mine, mut theirs) = (world.device("desktop-a"), other.device("desktop-a"));
    mine.push(json!({"n": "mine"}));
    theirs.push(json!({"n": "theirs"}));
    assert_eq!(world.delete("/sync/devices/desktop-a").status, 204);
    theirs.push(json!({"n": "still"}));
    assert_eq!((world.scalar("n"), other.scalar("n")), (json!("mine"), json!("still")));
}

fn device_id_in_the_path_is_percent_decoded(world: &World) {
    for device_id in ["Tablet Ünï/1 %41", "a+b", "...", "x?y#z"] {
        let mut device = world.device(device_id);
        device.push(json!({}));
        let response = world.post(&format!("/sync/devices/{}/token", encode(device_id)), &json!({}));
        assert_eq!(
            (response.status, &response.json()["device_id"]),
            (200, &json!(device_id)),
            "{}",
            response.show()
        );
        assert_eq!(world.delete(&format!("/sync/devices/{}", encode(device_id))).status, 204, "{device_id}");
        assert!(world.listed(device_id).is_none());
    }
}

fn device_id_that_no_path_can_name_is_refused(world: &World) {
    for device_id in [".", ".."] {
        let push = json!({"device_id": device_id, "seq": 0, "state": {"n": 1}});
        assert_problem(&world.post("/sync/push", &push), 400, "invalid_field");
        assert!(world.listed(device_id).is_none());
    }
}
