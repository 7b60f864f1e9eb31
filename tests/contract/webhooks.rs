//! PROTOCOL section 10: events delivered to the webhooks plugin, at least once and in order per user.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use nself_sync_tests::target::{Got, Target, status, taken};
use nself_sync_tests::world::{Device, World, id_of};
use serde_json::{Value, json};

use crate::case::Config;
use crate::durability::native;
use crate::servers::sibling;

crate::cases![
    events_say_what_happened_once_and_in_order.own().http(),
    answer_that_does_not_end_counts_by_its_head.own().http(),
    secret_names_the_installation_and_is_not_logged.native().config(TALKATIVE),
    users_events_do_not_wait_for_one_another.own().http(),
    nothing_is_kept_without_a_webhook.own().http(),
    failing_target_gets_everything_later_and_in_order.own().http(),
    retry_after_is_waited_for.own().http(),
    redirect_is_not_followed.own().http(),
    hanging_target_holds_up_neither_pushes_nor_the_end.native(),
    server_killed_before_it_delivered_does_so_when_it_is_back.native(),
    refused_event_becomes_a_dead_letter_and_the_next_goes.own().http(),
    event_that_was_tried_for_a_day_becomes_a_dead_letter.own().http(),
    dead_letters_go_out_again_when_an_operator_says_so.native(),
    dead_letters_that_come_back_during_a_turn_are_not_taken_for_sent.native(),
    events_of_a_new_history_are_not_taken_for_an_erased_ones.native(),
    two_servers_on_one_database_deliver_once.native().only("postgres"),
    unreadable_url_stops_the_start.native(),
];

const TALKATIVE: Config = &[("LOG_LEVEL", "debug")];
pub const URL: &str = "PLUGIN_WEBHOOKS_INTERNAL_URL";

/// The host again, with this target.
pub fn deliver_to(world: &World, target: &Target) {
    let vars = [(URL, &*target.url())];
    match world.host.edge() {
        Some(edge) => edge.restart_with(&vars),
        None => native(world).restart_with(&vars),
    }
    .expect("it starts with a webhook");
}

fn count(world: &World, table: &str) -> i64 {
    match world.host.edge() {
        Some(edge) => edge.count(table).expect("the table"),
        None => native(world).number(&format!("SELECT count(*) FROM {table}")).expect("the table"),
    }
}

/// What an operator is told.
fn assert_logged(world: &World, words: &str) {
    match world.host.edge() {
        Some(edge) => drop(edge.log_with(words)),
        None => assert!(native(world).log().contains(words), "{}", native(world).log()),
    }
}

pub fn push_all(device: &mut Device, numbers: std::ops::Range<u64>) {
    for n in numbers {
        device.push(json!({ "n": n }));
    }
}

/// Of each user, the seqs in the order in which they came.
pub fn seqs(got: &[Got]) -> BTreeMap<&str, Vec<u64>> {
    let mut seqs: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for got in got {
        seqs.entry(got.user()).or_default().push(got.seq());
    }
    seqs
}

fn events_say_what_happened_once_and_in_order(world: &World) {
    let target = Target::start();
    deliver_to(world, &target);
    let (mut a, mut b) = world.two_devices(json!({"files": {"dir/f": {"content": "base\n"}}}));
    a.push(json!({"n": 1, "files": {"dir/f": {"content": "theirs\n"}}}));
    b.push(json!({"files": {"dir/f": {"content": "mine\n"}}}));
    let conflict = world.only_conflict();
    world.resolved(&conflict, json!({"resolution": "mine", "device_id": a.id}));
    let got = target.takes(6);
    let user = &world.user;
    let updated = |by: &str, seq: u64, keys: Value| {
        let payload = json!({"user_id": user, "device_id": by, "seq": seq, "keys": keys});
        ("sync.state.updated", payload)
    };
    let expected = [
        updated(&a.id, 1, json!(["files/dir/f"])),
        updated(&a.id, 2, json!(["files/dir/f", "n"])),
        updated(&b.id, 3, json!([])),
        (
            "sync.conflict.created",
            json!({
                "user_id": user, "conflict_id": id_of(&conflict), "file_path": "dir/f",
                "device_ids": [b.id, a.id],
            }),
        ),
        updated(&a.id, 4, json!(["files/dir/f"])),
        (
            "sync.conflict.resolved",
            json!({
                "user_id": user, "conflict_id": id_of(&conflict), "resolution": "mine", "device_id": a.id,
            }),
        ),
    ];
    for (got, (event_type, payload)) in got.iter().zip(expected) {
        assert_eq!(got.line, "POST /v1/dispatch HTTP/1.1");
        let body = json!({"event_type": event_type, "payload": payload, "idempotency_key": got.key()});
        assert_eq!(got.body, body);
        assert_eq!(got.header("idempotency-key"), Some(got.key()));
        assert_eq!(got.header("content-type"), Some("application/json"));
        assert_eq!((got.header("x-source-plugin"), got.header("x-plugin-secret")), (Some("sync"), None));
    }
    let keys: BTreeSet<&str> = got.iter().map(Got::key).collect();
    assert_eq!(keys.len(), got.len(), "each event has a key of its own");
    target.wait_for("nothing is left", || count(world, "np_sync_outbox") == 0);
    assert_eq!((count(world, "np_sync_deliveries"), count(world, "np_sync_dead_letters")), (0, 0));
}

fn secret_names_the_installation_and_is_not_logged(world: &World) {
    let target = Target::start();
    let secret = "internal-secret-0123456789";
    target.answer(|_| status(403));
    native(world)
        .restart_with(&[(URL, &target.url()), ("PLUGIN_INTERNAL_SECRET", secret)])
        .expect("it starts with a webhook");
    world.device("desktop-a").push(json!({"n": 1}));
    target.wait_for("it is asked", || !target.got().is_empty());
    target.answer(|_| taken());
    let got = target.takes(1);
    assert_eq!(got[0].header("x-plugin-secret"), Some(secret));
    let log = native(world).log();
    assert!(log.contains("does not take") && log.contains("403"), "what is wrong is said: {log}");
    assert!(!log.contains(secret) && !log.contains(&world.user), "{log}");
}

fn users_events_do_not_wait_for_one_another(world: &World) {
    let target = Target::start();
    deliver_to(world, &target);
    let stuck = world.another_user();
    let hung = stuck.user.clone();
    target.answer(move |body| {
        thread::sleep(Duration::from_millis(3));
        (body["payload"]["user_id"] != hung.as_str()).then_some((202, String::new()))
    });
    stuck.device("desktop-a").push(json!({"n": 1}));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| push_all(&mut world.another_user().device("desktop-a"), 0..20));
        }
    });
    let got = target.takes(80);
    for (user, seqs) in seqs(&got) {
        assert_eq!(seqs, (1..=20).collect::<Vec<_>>(), "{user}");
    }
}

fn nothing_is_kept_without_a_webhook(world: &World) {
    push_all(&mut world.device("desktop-a"), 0..5);
    for table in ["np_sync_outbox", "np_sync_deliveries", "np_sync_dead_letters"] {
        assert_eq!(count(world, table), 0, "{table}");
    }
    let target = Target::start();
    deliver_to(world, &target);
    world.device("desktop-b").push(json!({"n": 6}));
    assert_eq!(target.takes(1)[0].seq(), 6, "what happened before is not told");
}

fn failing_target_gets_everything_later_and_in_order(world: &World) {
    let target = Target::start();
    deliver_to(world, &target);
    target.answer(|_| status(500));
    let mut device = world.device("desktop-a");
    push_all(&mut device, 0..40);
    target.wait_for("it is tried again", || target.got().len() >= 3);
    let tried: BTreeSet<u64> = target.got().iter().map(Got::seq).collect();
    assert_eq!(tried, [1].into(), "nothing overtakes the first");
    target.answer(|_| taken());
    assert_eq!(seqs(&target.takes(40))[&*world.user], (1..=40).collect::<Vec<_>>());
    assert_logged(world, "does not take events");
    assert_logged(world, "takes events again");
}

fn retry_after_is_waited_for(world: &World) {
    let target = Target::start();
    deliver_to(world, &target);
    target.answer(|_| Some((429, "Retry-After: 3\r\n".to_owned())));
    world.device("desktop-a").push(json!({"n": 1}));
    target.wait_for("it is asked", || !target.got().is_empty());
    target.answer(|_| taken());
    target.takes(1);
    let got = target.got();
    let waited = got[1].at - got[0].at;
    assert!(waited >= Duration::from_millis(2900), "{waited:?}");
    assert_eq!((got.len(), got[0].key()), (2, got[1].key()), "the same event");
}

fn redirect_is_not_followed(world: &World) {
    let (target, elsewhere) = (Target::start(), Target::start());
    deliver_to(world, &target);
    let location = format!("Location: {}/v1/dispatch\r\n", elsewhere.url());
    target.answer(move |_| Some((307, location.clone())));
    world.device("desktop-a").push(json!({"n": 1}));
    target.wait_for("it is tried again", || target.got().len() >= 2);
    target.answer(|_| taken());
    target.takes(1);
    assert!(elsewhere.got().is_empty(), "the secret goes to the configured target alone");
}

fn answer_that_does_not_end_counts_by_its_head(world: &World) {
    let target = Target::start();
    deliver_to(world, &target);
    target.answer(|_| Some((200, "Content-Length: 1000\r\n".to_owned())));
    push_all(&mut world.device("desktop-a"), 0..3);
    target.wait_for("all of it is delivered", || {
        count(world, "np_sync_outbox") == 0 && target.got().len() >= 3
    });
    assert_eq!(seqs(&target.got())[&*world.user], [1, 2, 3]);
}

fn hanging_target_holds_up_neither_pushes_nor_the_end(world: &World) {
    let target = Target::start();
    deliver_to(world, &target);
    target.answer(|_| None);
    let mut device = world.device("desktop-a");
    let started = Instant::now();
    push_all(&mut device, 0..10);
    assert!(started.elapsed() < Duration::from_secs(8), "its time, 10 s, is not waited for");
    target.wait_for("it hangs", || !target.got().is_empty());
    native(world).shut_down().expect("exit 0 within 10 s, though the target hangs");
    target.answer(|_| taken());
    native(world).resume().expect("it starts again");
    target.wait_for("all of it arrives", || target.taken().len() >= 10 || lease_is_over(world));
    assert_eq!(seqs(&target.takes(10))[&*world.user], (1..=10).collect::<Vec<_>>());
}

/// On PostgreSQL a process that ended in the middle of a turn leaves it to others a minute later: time passes.
fn lease_is_over(world: &World) -> bool {
    world.host.advance(61_000);
    false
}

fn server_killed_before_it_delivered_does_so_when_it_is_back(world: &World) {
    let addr = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
    native(world).restart_with(&[(URL, &format!("http://{addr}"))]).expect("it starts without its target");
    push_all(&mut world.device("desktop-a"), 0..5);
    native(world).kill();
    assert_eq!(count(world, "np_sync_outbox"), 5);
    let target = Target::at(&addr.to_string());
    native(world).resume().expect("it starts on what the kill left");
    target.wait_for("all of it arrives", || target.taken().len() >= 5 || lease_is_over(world));
    assert_eq!(seqs(&target.takes(5))[&*world.user], [1, 2, 3, 4, 5]);
}

fn refused_event_becomes_a_dead_letter_and_the_next_goes(world: &World) {
    let target = Target::start();
    deliver_to(world, &target);
    target.answer(|body| if body["payload"]["seq"] == 2 { status(422) } else { taken() });
    push_all(&mut world.device("desktop-a"), 0..3);
    assert_eq!(seqs(&target.takes(2))[&*world.user], [1, 3]);
    target.wait_for("it is set aside", || count(world, "np_sync_dead_letters") == 1);
    assert_eq!(count(world, "np_sync_outbox"), 0);
    assert_logged(world, "dead letters");
    world.host.advance(32 * 24 * 3_600_000);
    world.host.prune();
    assert_eq!(count(world, "np_sync_dead_letters"), 0, "it is kept for the retention");
}

fn event_that_was_tried_for_a_day_becomes_a_dead_letter(world: &World) {
    let target = Target::start();
    deliver_to(world, &target);
    target.answer(|_| status(503));
    let mut device = world.device("desktop-a");
    push_all(&mut device, 0..40);
    target.wait_for("it is tried", || target.got().len() >= 2);
    world.host.advance(25 * 3_600_000);
    if let Some(edge) = world.host.edge() {
        edge.ring_alarms().expect("one is set");
    }
    target.wait_for("it is given up, with what is as old", || count(world, "np_sync_dead_letters") == 40);
    assert_eq!(count(world, "np_sync_outbox"), 0);
    let tried: BTreeSet<u64> = target.got().iter().map(Got::seq).collect();
    assert_eq!(tried, [1].into());
    target.answer(|_| taken());
    device.push(json!({"n": 41}));
    assert_eq!(target.takes(1)[0].seq(), 41, "what happens now is told");
}

/// Three pushes, the second of which the target refuses.
fn with_a_dead_letter(world: &World) -> (Target, Device) {
    let target = Target::start();
    deliver_to(world, &target);
    target.answer(|body| if body["payload"]["seq"] == 2 { status(422) } else { taken() });
    let mut device = world.device("desktop-a");
    push_all(&mut device, 0..3);
    target.wait_for("it is set aside", || count(world, "np_sync_dead_letters") == 1);
    (target, device)
}

fn dead_letters(world: &World, more: &[&str]) -> (bool, String) {
    let (status, text) = native(world).run(&[&["dead-letters"], more].concat()).expect("it runs");
    (status.success(), text)
}

fn dead_letters_go_out_again_when_an_operator_says_so(world: &World) {
    let (target, mut device) = with_a_dead_letter(world);
    let listed = dead_letters(world, &[]).1;
    let whose = format!("user {} of account primary: 1 event, the oldest of 2", world.user);
    assert!(listed.starts_with(&whose) && listed.ends_with("1 event set aside\n"), "{listed}");
    assert_eq!(dead_letters(world, &["--user", "nobody", "--requeue"]).1, "0 events to be sent again\n");
    let (is_well, text) = dead_letters(world, &["--requeue", "--plugin-webhooks-internal-url", ""]);
    assert!(!is_well && text.contains("PLUGIN_WEBHOOKS_INTERNAL_URL"), "{text}");
    assert_eq!(count(world, "np_sync_dead_letters"), 1, "nothing was touched");
    target.answer(|_| taken());
    let (is_well, text) = dead_letters(world, &["--requeue"]);
    assert!(is_well && text.ends_with("1 event to be sent again\n"), "{text}");
    assert_eq!(seqs(&target.takes(3))[&*world.user], [1, 3, 2]);
    let of_it: BTreeSet<String> =
        target.got().iter().filter(|got| got.seq() == 2).map(|got| got.key().to_owned()).collect();
    assert_eq!(of_it.len(), 1, "it has its key");
    push_all(&mut device, 3..4);
    assert_eq!(target.takes(4)[3].seq(), 4);
    assert_eq!(dead_letters(world, &[]), (true, "0 events set aside\n".to_owned()));
    target.wait_for("nothing is left", || count(world, "np_sync_deliveries") == 0);
}

fn dead_letters_that_come_back_during_a_turn_are_not_taken_for_sent(world: &World) {
    let (target, mut device) = with_a_dead_letter(world);
    target.takes(2);
    let (sending, is_sending) = channel();
    target.answer(move |body| {
        if body["payload"]["seq"] == 4 {
            sending.send(()).expect("the case waits");
            thread::sleep(Duration::from_secs(2));
        }
        taken()
    });
    push_all(&mut device, 3..4);
    is_sending.recv_timeout(Duration::from_secs(10)).expect("it is being sent");
    assert!(dead_letters(world, &["--requeue"]).0);
    assert_eq!(target.taken().len(), 2, "the turn is under way");
    let got = target.takes(4);
    assert_eq!(seqs(&got)[&*world.user], [1, 3, 4, 2], "in its own turn, and none twice");
    target.wait_for("nothing is left", || count(world, "np_sync_deliveries") == 0);
}

fn two_servers_on_one_database_deliver_once(world: &World) {
    let target = Target::start();
    deliver_to(world, &target);
    let other = sibling(world);
    target.answer(|_| {
        thread::sleep(Duration::from_millis(2));
        taken()
    });
    let users: Vec<World> = (0..6).map(|_| world.another_user()).collect();
    thread::scope(|scope| {
        for user in &users {
            let there = user.on(std::sync::Arc::clone(&other.host));
            scope.spawn(move || {
                let mut device = user.device("desktop-a");
                for n in 0..30 {
                    device.world = if n % 2 == 0 { user.clone() } else { there.clone() };
                    device.push(json!({ "n": n }));
                }
            });
        }
    });
    let got = target.takes(180);
    for (user, seqs) in seqs(&got) {
        assert_eq!(seqs, (1..=30).collect::<Vec<_>>(), "{user}");
    }
    assert_eq!(target.got().len(), 180, "none was sent twice");
    target.wait_for("nothing is left", || count(world, "np_sync_deliveries") == 0);
    other.host.stop().expect("exit 0");
}

fn unreadable_url_stops_the_start(world: &World) {
    let Err(error) = world.launch.start(&[(URL, "webhooks:3060")]) else { panic!("it starts") };
    let text = format!("{error:#}");
    assert!(text.contains(URL) && text.contains("http://"), "{text}");
}

fn events_of_a_new_history_are_not_taken_for_an_erased_ones(world: &World) {
    let target = Target::start();
    deliver_to(world, &target);
    let (sending, is_sending) = channel();
    target.answer(move |_| {
        let _ = sending.send(());
        thread::sleep(Duration::from_secs(2));
        taken()
    });
    push_all(&mut world.device("desktop-a"), 0..1);
    is_sending.recv_timeout(Duration::from_secs(10)).expect("it is being sent");
    let erase = ["erase", "--user", &world.user, "--yes", &world.user];
    assert!(native(world).run(&erase).expect("it runs").0.success());
    push_all(&mut world.device("desktop-a"), 0..1);
    assert_eq!(target.taken().len(), 0, "the turn is under way");
    target.answer(|_| taken());
    let got = target.takes(2);
    assert_eq!(seqs(&got)[&*world.user], [1, 1]);
    assert_ne!(got[0].key(), got[1].key());
}
