//! One user from host to host: `nself-sync export` and `import`, and what becomes of the user where it was.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use nself_sync_tests::hosts::native::Native;
use nself_sync_tests::hosts::postgres::Cluster;
use nself_sync_tests::hosts::{Launch, Request};
use nself_sync_tests::world::{Device, World, assert_problem};
use serde_json::{Value, json};

use crate::case::Config;
use crate::durability::{Pusher, assert_whole, native, push_until};

crate::cases![
    user_goes_to_the_other_store_and_back_with_everything.native(),
    moved_user_is_answered_410_wherever_it_calls.native(),
    undone_move_leaves_the_user_as_it_was.native(),
    stream_that_is_cut_or_altered_brings_nothing_in.native(),
    user_with_a_history_is_not_replaced.native(),
    older_copy_does_not_replace_a_moved_user.native(),
    user_is_not_served_before_the_import_is_through.native(),
    push_that_was_acknowledged_during_a_move_is_in_the_copy.native(),
    killed_import_begins_anew.native().config(LARGE),
    killed_export_is_made_again.native().config(LARGE),
    events_on_their_way_stay_where_they_happened.native(),
    large_contents_travel.native().config(LARGE),
    export_that_fails_leaves_no_file.native(),
];

const LARGE: Config = &[("PLUGIN_SYNC_MAX_FILE_SIZE_KB", "3000"), ("PLUGIN_SYNC_MAX_BODY_KB", "16384")];
const DAY_MS: u64 = 86_400_000;

/// A host on the store that this one is not on.
fn on_other_store(world: &World, config: Config) -> World {
    let host = match world.host.name() {
        "sqlite" => Native::postgres(Arc::new(Cluster::start().expect("PostgreSQL starts"))).start(config),
        _ => Native::sqlite().start(config),
    };
    world.on(host.expect("a host on it"))
}

/// Runs a subcommand that must end well; what it printed.
pub fn run(world: &World, args: &[&str]) -> String {
    let (status, text) = native(world).run(args).expect("it runs");
    assert!(status.success(), "nself-sync {args:?} ended with {status}: {text}");
    text
}

/// Runs a subcommand that must fail; what it printed.
fn fails(world: &World, args: &[&str]) -> String {
    let (status, text) = native(world).run(args).expect("it runs");
    assert_eq!(status.code(), Some(1), "nself-sync {args:?}: {text}");
    assert!(!text.contains("panicked"), "{text}");
    text
}

fn export(world: &World, more: &[&str]) -> Vec<u8> {
    let user = ["export", "--user", &world.user, "--output", "export.jsonl"];
    run(world, &[&user, more].concat());
    fs::read(native(world).path("export.jsonl")).expect("the file is there")
}

fn import(world: &World, stream: &[u8]) -> String {
    let (status, _, text) = native(world).run_piped(&["import"], stream).expect("it runs");
    assert!(status.success(), "import ended with {status}: {text}");
    text
}

/// What an import that must fail says.
fn refused(world: &World, stream: &[u8]) -> String {
    let (status, _, text) = native(world).run_piped(&["import"], stream).expect("it runs");
    assert_eq!(status.code(), Some(1), "{text}");
    text
}

pub fn state_hash(text: &str) -> &str {
    let hash = text.split("state hash ").nth(1).and_then(|rest| rest.get(..64));
    hash.unwrap_or_else(|| panic!("no state hash in {text}"))
}

/// A user with something of everything: pruned history, versions, merges, an open conflict of `b`, a resolved one, removals,
/// a removed device, a value that lost.
pub fn eventful(world: &World) -> (Device, Device) {
    let (mut a, mut b) = world.two_devices(json!({
        "n": 0, "old": {"x": [1.5, null]}, "env_encrypted": "sealed", "sessions": {"s": {"t": "one"}, "gone": {"t": 1}},
        "files": {"f": {"content": "1\n2\n3\n4\n5\n"}, "gone": {"content": "gone\n"}, "bin": {"content_base64": "AP8A"}},
        "context_pages": {"p": {"title": "p", "content": "page\n"}},
    }));
    a.push(json!({"n": 1, "files": {"f": {"content": "one\n2\n3\n4\n5\n"}}}));
    world.host.advance(40 * DAY_MS);
    world.host.prune();
    b.pull();
    let mut c = world.device("web-c");
    c.push(json!({"c": 1, "files": {"c": {"content": "c\n"}}}));
    assert_eq!(world.delete("/sync/devices/web-c").status, 204);
    a.pull();
    b.pull();
    a.push(json!({"n": 2, "files": {"f": {"content": "one\n2\nthree\n4\n5\n"}}, "sessions": {"gone": null}}));
    assert_eq!(
        b.push(json!({"files": {"f": {"content": "one\n2\n3\n4\nfive\n"}}})).status("files/f"),
        "merged"
    );
    a.push(json!({"files": {"gone": null, "g": {"content": "base\n"}}}));
    b.pull();
    for text in ["theirs\n", "theirs again\n"] {
        a.pull();
        a.push(json!({"files": {"g": {"content": text}}}));
        assert_eq!(
            b.push(json!({"files": {"g": {"content": format!("mine, {text}")}}})).status("files/g"),
            "conflict"
        );
        if text == "theirs\n" {
            world.resolved(&world.only_conflict(), json!({"resolution": "mine", "device_id": a.id}));
            b.pull();
        }
    }
    a.pull();
    (a, b)
}

/// All that a client can ask for, but for what a call itself changes and the limits of the host.
pub fn seen(world: &World) -> Value {
    let keys = ["n", "old", "sessions/s/t", "files/f", "files/g", "files/gone", "context_pages/p"];
    let history: Vec<_> = keys.iter().map(|key| world.history(key)).collect();
    let mut snapshot = world.snapshot();
    snapshot.as_object_mut().expect("an object").remove("policy");
    json!([snapshot, world.conflicts(), world.devices(), history])
}

fn user_goes_to_the_other_store_and_back_with_everything(world: &World) {
    let (mut a, mut b) = eventful(world);
    let there = on_other_store(world, &[]);
    let before = seen(world);
    let stream = export(world, &["--move"]);
    let said = import(&there, &stream);
    assert!(said.contains(&world.user), "{said}");
    assert_eq!(export(&there, &[]), stream, "all rows are the same, to the byte");
    assert_eq!(seen(&there), before);
    (a.world, b.world) = (there.clone(), there.clone());
    let since = a.seq;
    let reply = a.push(json!({"n": 3}));
    assert_eq!((reply.status("n"), reply.seq()), ("applied", since + 1), "it goes on where it was");
    assert_eq!(a.pull()["kind"], "delta");
    assert_problem(&b.try_push(json!({"m": 1})), 409, "conflicts_unresolved");
    assert_eq!(there.get("/sync/devices/web-c").status, 405);
    assert_problem(&there.device("web-c").try_push(json!({"c": 2})), 403, "device_revoked");
    let conflict = there.only_conflict();
    there.resolved(&conflict, json!({"resolution": "mine"}));
    assert_eq!(there.file("g").as_deref(), Some("mine, theirs again\n"));
    assert_eq!(b.pull()["kind"], "delta", "its tag is of this history");
    b.push(json!({"files": {"f": {"content": "1\n"}}}));
    there.assert_converged(&mut [&mut a, &mut b]);

    let before = seen(&there);
    let stream = export(&there, &["--move"]);
    import(world, &stream);
    assert_eq!(export(world, &[]), stream);
    assert_eq!(seen(world), before);
    (a.world, b.world) = (world.clone(), world.clone());
    a.push(json!({"n": 4}));
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn moved_user_is_answered_410_wherever_it_calls(world: &World) {
    let (mut a, b) = eventful(world);
    let conflict = world.only_conflict();
    let neighbour = world.another_user();
    neighbour.device("desktop-a").push(json!({"n": 1}));
    export(world, &["--move"]);
    assert_problem(&a.try_push(json!({"n": 9})), 410, "moved");
    assert_eq!(a.try_push(json!({"n": 9})).json()["retryable"], false);
    let gets = [
        "/sync/pull",
        "/sync/pull?since_seq=1&device_id=desktop-a",
        "/sync/devices",
        "/sync/conflicts",
        "/sync/config",
        "/sync/history?key=n",
        &format!("/sync/files/{}", "0".repeat(64)),
    ];
    for path in gets {
        assert_problem(&world.get(path), 410, "moved");
    }
    assert_problem(&world.resolve(&conflict, json!({"resolution": "mine"})), 410, "moved");
    assert_problem(&world.delete(&format!("/sync/devices/{}", b.id)), 410, "moved");
    assert_problem(&world.post(&format!("/sync/devices/{}/token", b.id), &json!({})), 410, "moved");
    assert_problem(&world.device("desktop-new").try_push(json!({"n": 9})), 410, "moved");
    let live = Request::new("GET", "/sync/live?device_id=desktop-a")
        .bearer(&a.auth())
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    assert_problem(&world.send(live), 410, "moved");
    let mut stranger = a.clone();
    stranger.token = Some(format!("{}x", a.auth().rsplit_once('.').expect("a token has two parts").0));
    assert_eq!(stranger.get("/sync/pull").status, 401, "who has no right is not told");
    native(world).restart_with(&[]).expect("it starts again");
    assert_problem(&world.get("/sync/pull"), 410, "moved");
    assert_eq!(neighbour.head(), 1, "nobody else is concerned");
    world.host.advance(40 * DAY_MS);
    let before = export(world, &[]);
    world.host.prune();
    assert_eq!(export(world, &["--move"]), before, "the copy can be made again, and is the same");
}

fn undone_move_leaves_the_user_as_it_was(world: &World) {
    let (mut a, _) = eventful(world);
    let before = seen(world);
    assert!(fails(world, &["export", "--user", &world.user, "--undo-move"]).contains("was not moved"));
    export(world, &["--move"]);
    run(world, &["export", "--user", &world.user, "--undo-move"]);
    assert_eq!(seen(world), before);
    assert_eq!(a.push(json!({"n": 9})).status("n"), "applied");
}

fn stream_that_is_cut_or_altered_brings_nothing_in(world: &World) {
    eventful(world);
    let stream = String::from_utf8(export(world, &["--move"])).expect("a stream is text");
    let there = on_other_store(world, &[]);
    let lines: Vec<&str> = stream.lines().collect();
    let cut = lines[..lines.len() - 1].join("\n");
    let mut swapped = lines.clone();
    swapped.swap(5, 6);
    let without = [&lines[..5], &lines[6..]].concat();
    let altered = stream.replacen("\"changed_at\":1", "\"changed_at\":2", 1);
    assert_ne!(altered, stream);
    let cases = [
        (cut, "the stream is cut".to_owned()),
        (stream[..stream.len() / 2].to_owned(), "line ".to_owned()),
        (swapped.join("\n"), "line 7: record: out of order".to_owned()),
        (without.join("\n"), format!("line {}: lines: {} lines were", lines.len() - 1, lines.len() - 1)),
        (altered, format!("line {}: sha256", lines.len())),
        (stream.replacen("\"version\":1", "\"version\":7", 1), "line 1: version: 7 is not known".to_owned()),
        (String::new(), "the stream is cut".to_owned()),
        ("no stream\n".to_owned(), "line 1: record".to_owned()),
    ];
    for host in [&there, world] {
        for (text, expected) in &cases {
            let said = refused(host, text.as_bytes());
            assert!(said.contains(expected) && said.contains("nothing was imported"), "{expected}: {said}");
        }
    }
    assert!(fails(&there, &["export", "--user", &world.user]).contains("no such user"));
    assert_eq!(export(world, &[]), stream.as_bytes(), "what a stream would have replaced is all there");
    import(&there, stream.as_bytes());
    assert!(there.head() > 0);
}

fn user_with_a_history_is_not_replaced(world: &World) {
    eventful(world);
    let stream = export(world, &[]);
    let before = seen(world);
    let said = refused(world, &stream);
    assert!(said.contains("has a history here") && said.contains("erase"), "{said}");
    assert_eq!(seen(world), before);
    let there = on_other_store(world, &[]);
    assert_eq!(there.head(), 0, "a first contact that stored nothing but an epoch");
    import(&there, &stream);
    assert!(there.head() > 0);
    refused(&there, &stream);
}

fn older_copy_does_not_replace_a_moved_user(world: &World) {
    let (mut a, _) = eventful(world);
    let old = export(world, &[]);
    a.push(json!({"n": "newer"}));
    let new = export(world, &["--move"]);
    assert!(refused(world, &old).contains("an older copy"));
    assert_eq!(export(world, &[]), new);
    import(world, &new);
    assert_eq!(world.scalar("n"), "newer", "an import takes the move back");
}

fn user_is_not_served_before_the_import_is_through(world: &World) {
    let (mut a, _) = eventful(world);
    let stream = export(world, &["--move"]);
    let whose = format!("user_id = '{}'", world.user);
    native(world).sql(&format!("UPDATE np_sync_heads SET standing = 1 WHERE {whose}")).expect("it is SQL");
    let answer = a.try_push(json!({"n": 9}));
    assert_problem(&answer, 503, "importing");
    assert!(answer.header("Retry-After").is_some() && answer.json()["retryable"] == true);
    assert_problem(&world.get("/sync/pull"), 503, "importing");
    assert!(fails(world, &["export", "--user", &world.user]).contains("has not come to its end"));
    let contents = format!("DELETE FROM np_sync_contents WHERE {whose}");
    if world.host.name() == "postgres" {
        native(world).sql(&contents).expect("it is SQL");
    }
    import(world, &stream);
    assert_eq!(export(world, &[]), stream, "what a broken import left is replaced");
    a.push(json!({"n": 9}));
}

fn events_on_their_way_stay_where_they_happened(world: &World) {
    eventful(world);
    let event = match world.host.name() {
        "postgres" => format!("SELECT 'primary', '{}', 3, 0, 'id', 'type', '{{}}'::json, now()", world.user),
        _ => format!(
            "SELECT user_no, 3, 0, 'id', 'type', '{{}}', 1 FROM np_sync_heads WHERE user_id = '{}'",
            world.user
        ),
    };
    native(world).damage(&format!("INSERT INTO np_sync_outbox {event}")).expect("it is SQL");
    let waiting = |world: &World| {
        let rows = native(world).sql("SELECT count(*) || '' FROM np_sync_outbox").expect("it is SQL");
        rows.concat()
    };
    let there = on_other_store(world, &[]);
    import(&there, &export(world, &["--move"]));
    assert_eq!((waiting(world), waiting(&there)), ("1".to_owned(), "0".to_owned()));
    import(world, &export(&there, &["--move"]));
    assert_eq!(waiting(world), "1", "also when the user comes back");
    import(&there, &export(world, &["--move"]));
    run(&there, &["rotate-epoch", "--user", &world.user]);
    import(world, &export(&there, &["--move"]));
    assert_eq!(waiting(world), "0", "those of another history would stand in the way of its own");
}

fn push_that_was_acknowledged_during_a_move_is_in_the_copy(world: &World) {
    let there = on_other_store(world, &[]);
    let mut pushers: Vec<Pusher> = (0..3).map(|index| Pusher::new(world, index)).collect();
    let mut stream = Vec::new();
    push_until(&mut pushers, || stream = export(world, &["--move"]));
    assert!(pushers.iter().all(|pusher| pusher.unsettled.is_some()), "each of them met the move");
    import(&there, &stream);
    for pusher in &mut pushers {
        pusher.device.world = there.clone();
        pusher.settle();
    }
    assert!(pushers.iter().all(|pusher| pusher.acknowledged.len() > 1), "the case pushed something");
    assert_whole(&there, &mut pushers);
}

/// A stream of several MB, in the file `export.jsonl` of both hosts.
fn long_stream(world: &World, there: &World) -> Vec<u8> {
    let mut a = world.device("desktop-a");
    for n in 0..6 {
        a.push(large(&format!("text {n}")));
    }
    let stream = export(world, &["--move"]);
    fs::write(native(there).path("export.jsonl"), &stream).expect("a file");
    stream
}

fn killed_import_begins_anew(world: &World) {
    let there = on_other_store(world, LARGE);
    let stream = long_stream(world, &there);
    let (mut killed, mut importing) = (0, 0);
    for ms in std::iter::successors(Some(100), |ms| Some(ms * 3 / 2)) {
        let import = ["import", "--input", "export.jsonl"];
        if native(&there).run_killed(&import, Duration::from_millis(ms)).expect("it runs") {
            break;
        }
        killed += 1;
        let answer = there.get("/sync/pull");
        match (answer.status, answer.json()["seq"].as_u64()) {
            (503, _) => importing += 1,
            (200, Some(0)) => {}
            // Killed after its last line was in.
            (200, Some(6)) => break,
            _ => panic!("all of it, or nothing that is served: {}", answer.show()),
        }
    }
    assert!(killed > 1 && importing > 0, "{killed} killed, {importing} of them in the middle");
    assert_eq!(export(&there, &[]), stream);
}

fn killed_export_is_made_again(world: &World) {
    let there = on_other_store(world, LARGE);
    let stream = long_stream(world, &there);
    run(world, &["export", "--user", &world.user, "--undo-move"]);
    let again = ["export", "--user", &world.user, "--move", "--output", "again.jsonl"];
    for ms in std::iter::successors(Some(20), |ms| Some(ms * 3 / 2)) {
        let ended = native(world).run_killed(&again, Duration::from_millis(ms)).expect("it runs");
        let file = fs::read(native(world).path("again.jsonl")).ok();
        assert!(file.is_none_or(|file| file == stream), "nobody sees a part of it");
        if ended {
            break;
        }
    }
    assert_problem(&world.get("/sync/pull"), 410, "moved");
    assert!(native(world).path("again.jsonl").exists());
}

/// A text of 2.5 MB, and a small one.
fn large(first: &str) -> Value {
    let lines: String = (0..160_000).map(|n| format!("{first} {n} {:x}\n", n * 2_654_435_761_u64)).collect();
    json!({"files": {"large": {"content": &lines[..2_500_000]}, "small": {"content": first}}})
}

fn large_contents_travel(world: &World) {
    let text = large;
    let (mut a, mut b) = world.two_devices(text("base"));
    a.push(text("theirs"));
    assert_eq!(b.push(text("mine")).status("files/large"), "conflict");
    let there = on_other_store(world, LARGE);
    let before = world.conflicts();
    let stream = export(world, &["--move"]);
    assert!(stream.len() > 10_000_000, "{}", stream.len());
    import(&there, &stream);
    assert_eq!(export(&there, &[]), stream);
    assert_eq!(there.conflicts(), before);
    for conflict in before {
        there.resolved(&conflict, json!({"resolution": "mine"}));
    }
    (a.world, b.world) = (there.clone(), there.clone());
    there.assert_converged(&mut [&mut a, &mut b]);
}

fn export_that_fails_leaves_no_file(world: &World) {
    let said = fails(world, &["export", "--user", "nobody", "--move", "--output", "export.jsonl"]);
    assert!(said.contains("user nobody of account primary") && said.contains("no such user"), "{said}");
    assert!(!native(world).path("export.jsonl").exists());
    eventful(world);
    let said = fails(world, &["export", "--user", &world.user, "--output", "no/such/folder/file"]);
    assert!(said.contains("--output"), "{said}");
    let text = run(world, &["export", "--user", &world.user, "--output", "export.jsonl"]);
    let folder = fs::read_dir(native(world).path("")).expect("a folder");
    let names: Vec<String> =
        folder.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    assert!(names.iter().all(|name| !name.starts_with(".tmp")), "{names:?}");
    let (_, stdout, stderr) =
        native(world).run_piped(&["export", "--user", &world.user], b"").expect("it runs");
    assert_eq!(stdout, fs::read(native(world).path("export.jsonl")).expect("the file"), "the same on a pipe");
    assert_eq!(state_hash(&stderr), state_hash(&text));
}
