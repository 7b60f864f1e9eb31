//! What only the edge can get wrong: its objects' storage, its alarm, workerd that dies, a configuration that is read with
//! every request, and users who come from native hosts or go there.

use std::collections::BTreeSet;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use nself_sync_tests::hosts::edge::{ADMIN_TOKEN, EdgeHost};
use nself_sync_tests::hosts::native::Native;
use nself_sync_tests::hosts::{JWT_KEY, Launch, Request};
use nself_sync_tests::world::{World, assert_problem, jwt, now_s};
use serde_json::json;

use crate::case::Config;
use crate::durability::{half_a_push, native, survives_kills};
use crate::live::connection::Live;
use crate::transfer::{eventful, run, seen, state_hash};
use crate::webhooks::{URL, push_all, seqs};
use nself_sync_tests::target::{Target, status, taken};

crate::cases![
    nothing_acknowledged_is_missing_after_kill_9.own().only("edge"),
    hundred_pushes_of_one_user_at_once_are_all_answered.own().only("edge"),
    user_comes_from_a_native_host_and_goes_back_with_everything.own().only("edge"),
    newer_schema_is_503_and_untouched.own().only("edge"),
    token_of_nobody_is_401_and_makes_nothing.own().only("edge"),
    storage_that_fails_in_the_middle_of_a_push_leaves_nothing_of_it.own().only("edge"),
    erased_user_is_gone_also_while_a_device_listens.own().only("edge"),
    request_that_aborts_in_mid_body_stores_nothing.own().only("edge"),
    events_come_once_and_in_order_through_failures_and_kills.own().only("edge"),
    alarm_prunes_what_is_older_than_the_retention.own().only("edge"),
    retry_sets_the_alarm_that_its_first_try_did_not.own().only("edge"),
    who_comes_during_a_turn_does_not_put_off_the_next.own().only("edge"),
    alarm_that_fails_rings_again_and_one_that_has_nothing_to_do_does_not.own().only("edge"),
    configuration_that_is_not_valid_is_503_and_said_in_the_log.own().only("edge"),
    results_of_a_push_that_another_followed_go_with_the_history.own().only("edge"),
    limits_that_no_isolate_could_carry_are_refused.only("edge"),
    user_too_large_for_an_isolate_does_not_come_here.own().only("edge"),
    requests_that_come_at_once_are_counted_one_by_one.only("edge").config(SLOW),
];

const DAY_MS: u64 = 86_400_000;

fn edge(world: &World) -> &EdgeHost {
    world.host.edge().expect("an edge")
}

fn nothing_acknowledged_is_missing_after_kill_9(world: &World) {
    let resume = || edge(world).resume().expect("it starts on what the kill left");
    survives_kills(world, 4, 3, || edge(world).kill(), resume);
}

fn hundred_pushes_of_one_user_at_once_are_all_answered(world: &World) {
    let pushed = |index: usize| {
        let mut device = world.device(&format!("desktop-{index}"));
        device.push(json!({format!("k{index}"): index, "files": {"f": {"content": format!("{index}\n")}}}))
    };
    let replies: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..100).map(|index| scope.spawn(move || pushed(index))).collect();
        threads.into_iter().map(|thread| thread.join().expect("200")).collect()
    });
    let seqs: BTreeSet<u64> = replies.iter().map(|reply| reply.seq()).collect();
    assert_eq!(seqs, (1..=100).collect(), "gapless");
    let snapshot = world.snapshot();
    assert_eq!(snapshot["seq"], 100);
    for index in 0..100 {
        assert_eq!(snapshot["state"][format!("k{index}")], index);
    }
    let merged = replies.iter().filter(|reply| reply.status("files/f") != "conflict").count();
    assert_eq!((merged, world.conflicts().len()), (1, 99), "the first wins, nobody's text is lost");
}

fn user_comes_from_a_native_host_and_goes_back_with_everything(world: &World) {
    let operator = [("PLUGIN_SYNC_ADMIN_TOKEN", ADMIN_TOKEN)];
    let home = world.on(Native::sqlite().start(&operator).expect("a native host"));
    let url = format!("http://{}", world.host.addr().expect("it listens"));
    let (user, file) = (["--user", &world.user], ["--output", "export.jsonl"]);
    let command = |words: &[&[&str]]| state_hash(&run(&home, &words.concat())).to_owned();
    let stream = || std::fs::read(native(&home).path("export.jsonl")).expect("the file is there");

    let (mut a, mut b) = eventful(&home);
    let before = seen(&home);
    let hash = command(&[&["export", "--move"], &user, &file]);
    let exported = stream();
    let import = ["import", "--input", "export.jsonl"];
    assert_eq!(command(&[&import, &["--url", &url]]), hash);
    assert_eq!(command(&[&["export", "--url", &url], &user, &file]), hash);
    assert_eq!(stream(), exported, "all rows are the same, to the byte");
    assert_eq!(seen(world), before);
    (a.world, b.world) = (world.clone(), world.clone());
    let since = a.seq;
    assert_eq!(a.push(json!({"n": "on the edge"})).seq(), since + 1, "its token and its tag are good here");
    assert_problem(&b.try_push(json!({"m": 1})), 409, "conflicts_unresolved");
    world.resolved(&world.only_conflict(), json!({"resolution": "mine"}));
    assert_eq!(b.pull()["kind"], "delta");
    assert_problem(&world.device("web-c").try_push(json!({"c": 2})), 403, "device_revoked");

    let mut live = Live::of(&a);
    let before = seen(world);
    let hash = command(&[&["export", "--move", "--url", &url], &user, &file]);
    live.is_closed(4410);
    assert_problem(&a.try_push(json!({"n": 9})), 410, "moved");
    assert_problem(&world.get("/sync/pull"), 410, "moved");
    edge(world).kill();
    edge(world).resume().expect("it starts again");
    assert_problem(&world.get("/sync/pull"), 410, "moved");
    assert_eq!(command(&[&import]), hash);
    assert_eq!(seen(&home), before);
    (a.world, b.world) = (home.clone(), home.clone());
    b.push(json!({"n": "at home"}));
    home.assert_converged(&mut [&mut a, &mut b]);
    home.host.stop().expect("what came back is sound");
}

fn newer_schema_is_503_and_untouched(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"n": 1, "files": {"f": {"content": "text\n"}}}));
    edge(world).change(&world.user, "UPDATE np_sync_schema SET version = 99").expect("it is SQL");
    let before = edge(world).rows(&world.user).expect("rows");
    let mut by_jwt = a.clone();
    by_jwt.token = None;
    for device in [&mut a.clone(), &mut by_jwt] {
        assert_problem(&device.try_push(json!({"n": 2})), 503, "store_unavailable");
        assert_problem(&device.get("/sync/pull"), 503, "store_unavailable");
    }
    assert_problem(&world.delete("/sync/devices/desktop-a"), 503, "store_unavailable");
    let prune = format!("/admin/prune?user={}", world.user);
    let pruned = world.send(Request::new("POST", &prune).bearer(ADMIN_TOKEN));
    assert_problem(&pruned, 503, "store_unavailable");
    edge(world).ring_alarms().expect("alarms");
    assert_problem(&world.get("/sync/pull"), 503, "store_unavailable");
    assert_eq!(edge(world).rows(&world.user).expect("rows"), before);
    edge(world).log_with("of a newer version");
    assert_eq!(world.another_user().head(), 0, "nobody else is concerned");
    edge(world).change(&world.user, "UPDATE np_sync_schema SET version = 2").expect("it is SQL");
    assert_eq!(a.push(json!({"n": 2})).seq(), 2);
}

fn token_of_nobody_is_401_and_makes_nothing(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"n": 1}));
    let there = world.on(world.launch.start(&[]).expect("another edge"));
    a.world = there.clone();
    for _ in 0..2 {
        assert_problem(&a.try_push(json!({"n": 2})), 401, "unauthorized");
        assert_problem(&a.get("/sync/pull"), 401, "unauthorized");
    }
    assert!(edge(&there).rows(&there.user).is_err(), "nothing was written");
    assert_eq!(there.head(), 0);
    assert_problem(&a.get("/sync/pull"), 401, "unauthorized");
}

fn storage_that_fails_in_the_middle_of_a_push_leaves_nothing_of_it(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"n": 0, "files": {"f": {"content": "0\n"}}}));
    let places = [
        "BEFORE INSERT ON np_sync_contents",
        "BEFORE UPDATE ON np_sync_files",
        "BEFORE INSERT ON np_sync_versions",
        "AFTER INSERT ON np_sync_deltas",
        "AFTER UPDATE ON np_sync_heads",
        "AFTER UPDATE ON np_sync_devices",
    ];
    for (n, place) in (1_u64..).zip(places) {
        let trigger = format!("CREATE TRIGGER injected {place} BEGIN SELECT RAISE(ABORT, 'injected'); END");
        edge(world).change(&world.user, &trigger).expect("it is SQL");
        let before = edge(world).rows(&world.user).expect("rows");
        let body = a.body(json!({
            "n": n, format!("new{n}"): n, "files": {"f": {"content": format!("{n}\n")}, format!("new{n}"): {"content": "new\n"}},
        }));
        assert_problem(&a.send(&body), 503, "store_unavailable");
        assert_problem(&a.send(&body), 503, "store_unavailable");
        assert_eq!(edge(world).rows(&world.user).expect("rows"), before, "{place}");
        edge(world).change(&world.user, "DROP TRIGGER injected").expect("it is SQL");
        assert_eq!(a.push_body(&body).seq(), n + 1, "{place}");
    }
    edge(world).log_with("injected");
    assert_eq!(a.view, world.view());
}

fn erased_user_is_gone_also_while_a_device_listens(world: &World) {
    let mut device = world.device("desktop-a");
    device.push(json!({"n": 1}));
    let (mut by_token, mut by_jwt) = (Live::of(&device), Live::with(world, "desktop-a", &world.jwt()));
    let path = format!("/admin/user?user={}", world.user);
    let erase = || world.host.call(Request::new("DELETE", &path).bearer(ADMIN_TOKEN));
    assert_eq!(erase().status, 204);
    by_token.is_closed(4401);
    by_jwt.is_closed(4401);
    assert_problem(&erase(), 404, "not_found");
}

fn request_that_aborts_in_mid_body_stores_nothing(world: &World) {
    for _ in 0..20 {
        let (stream, rest) = half_a_push(world);
        assert!(!rest.is_empty());
        drop(stream);
    }
    assert_eq!((world.head(), world.devices().len()), (0, 0));
    assert_eq!(world.device("desktop-a").push(json!({"n": 1})).seq(), 1, "the host goes on");
}

fn events_come_once_and_in_order_through_failures_and_kills(world: &World) {
    let target = Target::start();
    edge(world).restart_with(&[(URL, &target.url())]).expect("it starts with a webhook");
    let mut a = world.device("desktop-a");
    push_all(&mut a, 0..5);
    assert_eq!(seqs(&target.takes(5))[&*world.user], [1, 2, 3, 4, 5]);

    target.answer(|_| status(500));
    push_all(&mut a, 5..10);
    let tried = || target.got().len() > 5;
    target.wait_for("the first is tried", tried);
    target.answer(|_| taken());
    assert_eq!(seqs(&target.takes(10))[&*world.user], (1..=10).collect::<Vec<_>>());

    target.answer(|_| status(500));
    let before = target.got().len();
    push_all(&mut a, 10..13);
    target.wait_for("it is tried", || target.got().len() > before);
    edge(world).kill();
    target.answer(|_| taken());
    edge(world).resume().expect("it starts on what the kill left");
    let got = target.takes(13);
    assert_eq!(seqs(&got)[&*world.user], (1..=13).collect::<Vec<_>>(), "without a request that wakes it");
    let keys: BTreeSet<&str> = got.iter().map(|got| got.key()).collect();
    assert_eq!(keys.len(), 13, "each event has a key of its own");
    let rows = edge(world).rows(&world.user).expect("rows");
    let waiting = |row: &&String| row.starts_with("np_sync_outbox") || row.starts_with("np_sync_deliveries");
    assert_eq!(rows.iter().find(waiting), None, "nothing is left");
}

fn alarm_prunes_what_is_older_than_the_retention(world: &World) {
    let mut a = world.device("desktop-a");
    for text in ["old\n", "new\n"] {
        a.push(json!({"files": {"f": {"content": text}}}));
    }
    for _ in 0..2 {
        world.host.advance(40 * DAY_MS);
        a.push(json!({"files": {"f": {"content": "newest\n"}, "g": {"content": "g\n"}}}));
    }
    assert!(world.reachable(b"old\n"), "nothing was pruned yet");
    let before = world.view();
    edge(world).ring_alarms().expect("a push sets the alarm");
    let is_pruned = (0..50).any(|_| {
        thread::sleep(Duration::from_millis(100));
        !world.reachable(b"old\n")
    });
    assert!(is_pruned, "within 5 s, and nobody asked for it");
    assert_eq!(world.view(), before, "the state is as it was");
}

fn retry_sets_the_alarm_that_its_first_try_did_not(world: &World) {
    let target = Target::start();
    edge(world).restart_with(&[(URL, &target.url())]).expect("it starts with a webhook");
    target.answer(|_| status(500));
    let mut a = world.device("desktop-a");
    let body = a.body(json!({"n": 1}));
    a.send(&body);
    edge(world).forget_alarms().expect("alarms");
    target.answer(|_| taken());
    assert_eq!(edge(world).alarms().expect("alarms"), 0);
    let retried = a.send(&body);
    assert_eq!((retried.status, retried.header("Idempotency-Replayed")), (200, Some("true")));
    assert_eq!(seqs(&target.takes(1))[&*world.user], [1]);
}

fn who_comes_during_a_turn_does_not_put_off_the_next(world: &World) {
    let target = Target::start();
    edge(world).restart_with(&[(URL, &target.url())]).expect("it starts with a webhook");
    let (sending, is_sending) = channel();
    target.answer(move |_| {
        let _ = sending.send(());
        thread::sleep(Duration::from_secs(2));
        status(500)
    });
    push_all(&mut world.device("desktop-a"), 0..1);
    is_sending.recv_timeout(Duration::from_secs(10)).expect("it is being sent");
    // An alarm that is earlier than the one that is set in case this one fails, and later than the next try.
    let mut claims = world.claims();
    claims["exp"] = json!(now_s() + 120);
    let _live = Live::with(world, "desktop-b", &jwt::hs256(JWT_KEY, &claims));
    target.answer(|_| taken());
    assert_eq!(seqs(&target.takes(1))[&*world.user], [1]);
}

fn alarm_that_fails_rings_again_and_one_that_has_nothing_to_do_does_not(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"n": 1}));
    let has_alarm = || edge(world).alarms().expect("alarms") > 0;
    edge(world).change(&world.user, "UPDATE np_sync_schema SET version = 99").expect("it is SQL");
    edge(world).ring_alarms().expect("a push sets the alarm");
    edge(world).log_with("the alarm failed");
    assert!(has_alarm(), "it is tried again, also where nobody calls");
    edge(world).change(&world.user, "UPDATE np_sync_schema SET version = 2").expect("it is SQL");
    edge(world).ring_alarms().expect("it is set");
    thread::sleep(Duration::from_millis(500));
    assert!(has_alarm(), "there is history to prune one day");
    world.host.advance(40 * DAY_MS);
    edge(world).ring_alarms().expect("it is set");
    let is_over = (0..50).any(|_| {
        thread::sleep(Duration::from_millis(100));
        !has_alarm()
    });
    assert!(is_over, "nothing is left that could get old");
    assert_eq!(world.scalar("n"), 1);
    a.push(json!({"n": 2}));
    assert!(has_alarm(), "and with the next push there is");
}

fn results_of_a_push_that_another_followed_go_with_the_history(world: &World) {
    let mut a = world.device("desktop-a");
    let many = (0..1200).map(|n| (format!("{}{n:04}/../x", "d/".repeat(490)), json!({"content": "x"})));
    a.push(json!({"n": 0, "files": many.collect::<serde_json::Map<_, _>>()}));
    let pieces = || {
        edge(world).rows(&world.user).expect("rows").iter().filter(|row| row.contains("'results'")).count()
    };
    assert!(pieces() > 0, "they are too many for their row");
    a.push(json!({"n": 1}));
    world.host.advance(40 * DAY_MS);
    a.push(json!({"n": 2}));
    world.host.prune();
    assert_eq!(pieces(), 0);
    assert_eq!(a.push(json!({"n": 3})).status("n"), "applied");
}

fn limits_that_no_isolate_could_carry_are_refused(world: &World) {
    for (name, value, max) in
        [("PLUGIN_SYNC_MAX_BODY_KB", "8193", "8192"), ("PLUGIN_SYNC_MAX_FILE_SIZE_KB", "4097", "4096")]
    {
        let body = ("PLUGIN_SYNC_MAX_BODY_KB", if name.contains("BODY") { value } else { "8192" });
        let refused = world.launch.start(&[body, (name, value)]).err().expect("it does not serve");
        let told = format!("{refused:#}");
        assert!(told.contains(&format!("{name}={value}: allowed")) && told.contains(max), "{told}");
    }
}

fn user_too_large_for_an_isolate_does_not_come_here(world: &World) {
    let operator = [("PLUGIN_SYNC_ADMIN_TOKEN", ADMIN_TOKEN)];
    let home = world.on(Native::sqlite().start(&operator).expect("a native host"));
    let mut a = home.device("desktop-a");
    for push in 0..3 {
        let notes = (0..60).map(|n| (format!("note-{push}-{n}"), json!("n".repeat(60_000))));
        a.push(notes.collect::<serde_json::Map<_, _>>().into());
    }
    let url = format!("http://{}", world.host.addr().expect("it listens"));
    let moves = ["export", "--move", "--user", &world.user, "--output", "export.jsonl"];
    run(&home, &moves);
    let import = ["import", "--input", "export.jsonl", "--url", &url];
    let (status, told) = native(&home).run(&import).expect("it runs");
    assert!(!status.success() && told.contains("8388608"), "{told}");
    assert_problem(&world.get("/sync/pull"), 503, "importing");
    run(&home, &["export", "--undo-move", "--user", &world.user]);
    assert_eq!(a.push(json!({"n": 1})).status("n"), "applied", "it goes on where it was");
    home.host.stop().expect("it is sound");
}

/// A request every two seconds, after 30 at once.
const SLOW: Config = &[("PLUGIN_SYNC_RATE_PER_MIN", "30")];

fn requests_that_come_at_once_are_counted_one_by_one(world: &World) {
    let statuses: Vec<u16> = thread::scope(|scope| {
        let push = |n: usize| {
            let body = json!({"device_id": format!("desktop-{n}"), "seq": 0, "state": {format!("n{n}"): n}});
            world.push_raw(&body).status
        };
        let threads: Vec<_> = (0..60).map(|n| scope.spawn(move || push(n))).collect();
        threads.into_iter().map(|thread| thread.join().expect("an answer")).collect()
    });
    let passed = statuses.iter().filter(|status| **status == 200).count();
    assert!((30..=32).contains(&passed), "{passed} of 30: {statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 60 - passed);
}

fn configuration_that_is_not_valid_is_503_and_said_in_the_log(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"n": 1}));
    let wrong = [
        ("PLUGIN_SYNC_RETENTION_DAYS", "a month", "30"),
        ("PLUGIN_SYNC_CONFLICT_STRATEGY", "newest", "merge"),
        (URL, "webhooks:3060", ""),
        ("PLUGIN_SYNC_ADMIN_TOKEN", "hunter2", ADMIN_TOKEN),
    ];
    for (name, value, right) in wrong {
        edge(world).restart_with(&[(name, value)]).expect("workerd starts whatever is set");
        for path in
            ["/health", "/openapi.json", "/sync/pull", "/sync/live", "/admin/export?user=u", "/nowhere"]
        {
            assert_problem(&world.get(path), 503, "misconfigured");
        }
        assert_problem(&a.try_push(json!({"n": 2})), 503, "misconfigured");
        let log = edge(world).log_with(name);
        assert!(log.contains("allowed"), "{name}: {log}");
        assert!(!log.contains("hunter2"), "a secret is not shown: {log}");
        edge(world).restart_with(&[(name, right)]).expect("it starts again");
        assert_eq!(world.scalar("n"), 1, "{name}");
    }
}
