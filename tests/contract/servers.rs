//! Several servers on one PostgreSQL, and a PostgreSQL that goes away.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nself_sync_tests::hosts::native::Native;
use nself_sync_tests::hosts::postgres::{Cluster, Stop};
use nself_sync_tests::hosts::{Host, Launch, Request, Response};
use nself_sync_tests::world::{Device, Reply, World, assert_problem};
use serde_json::json;

use crate::durability::{Pusher, assert_whole, native, push_until};
use crate::live::connection::{Came, Live, SOON};

crate::cases![
    postgres_away_is_503_and_back_is_back.native().only("postgres"),
    postgres_stopped_in_the_middle_of_pushes_leaves_nothing_half_done.native().only("postgres"),
    start_without_postgres_ends_with_one_line.native().only("postgres"),
    two_servers_on_one_database_count_as_one.native().only("postgres"),
    tokens_and_conflicts_of_one_server_hold_at_the_other.native().only("postgres"),
    servers_starting_at_once_migrate_once.native().only("postgres"),
    changed_migration_is_fatal.native().only("postgres"),
    data_base_of_a_newer_version_is_left_alone.native(),
    postgres_restarted_under_load_costs_time_and_nothing_else.native().only("postgres"),
    role_under_row_security_is_told_so_at_start.native().only("postgres"),
    what_postgres_says_of_a_row_is_not_logged.native().only("postgres"),
    every_table_is_isolated_by_account.native().only("postgres"),
];

/// A host on a cluster of its own, so that the cluster can be stopped.
pub fn on_own_cluster(world: &World) -> (Arc<Cluster>, World) {
    let cluster = Arc::new(Cluster::start().expect("PostgreSQL starts"));
    let host = Native::postgres(Arc::clone(&cluster)).start(&[]).expect("a host on it");
    (cluster, world.on(host))
}

fn assert_away(response: &Response) {
    assert_problem(response, 503, "store_unavailable");
    let retry_after = response.header("Retry-After").and_then(|value| value.parse::<u64>().ok());
    assert!(retry_after.is_some(), "503 says when to come again: {:?}", response.headers);
    assert_eq!(response.json()["retryable"], true);
    let text = response.text();
    assert!(
        !text.contains("127.0.0.1") && !text.contains("np_sync_test"),
        "nothing of the store in it: {text}"
    );
}

/// Sends until the host answers other than 503; at most 15 s.
fn until_back(world: &World, request: &Request) -> Response {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let response = world.send(request.clone());
        if response.status != 503 || Instant::now() > deadline {
            return response;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

pub fn sibling(world: &World) -> World {
    world.on(Arc::new(native(world).sibling().expect("a second server on the same database")))
}

fn postgres_away_is_503_and_back_is_back(world: &World) {
    let (cluster, world) = on_own_cluster(world);
    for stop in [Stop::Fast, Stop::Immediate] {
        let world = world.another_user();
        let mut a = world.device("desktop-a");
        a.push(json!({"n": 1}));
        cluster.stop(stop);
        let body = a.body(json!({"n": 2}));
        let started = Instant::now();
        assert_away(&a.send(&body));
        assert_away(&world.get("/sync/pull"));
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "it answers, it does not hang: {:?}",
            started.elapsed()
        );
        assert_eq!(world.send(Request::new("GET", "/health")).status, 503);
        cluster.resume().expect("PostgreSQL comes back");
        let request = Request::new("POST", "/sync/push").bearer(&a.auth()).json(&body);
        let response = until_back(&world, &request);
        assert_eq!(response.status, 200, "without a restart of the server: {}", response.show());
        assert_eq!((world.scalar("n"), world.head()), (json!(2), 2));
        assert_eq!(until_back(&world, &Request::new("GET", "/health")).status, 200);
    }
    world.host.stop().expect("exit 0");
}

fn postgres_stopped_in_the_middle_of_pushes_leaves_nothing_half_done(world: &World) {
    let (cluster, world) = on_own_cluster(world);
    let mut pushers: Vec<Pusher> = (0..4).map(|index| Pusher::new(&world, index)).collect();
    for stop in [Stop::Immediate, Stop::Fast] {
        push_until(&mut pushers, || {
            cluster.stop(stop);
            thread::sleep(Duration::from_millis(200));
        });
        cluster.resume().expect("PostgreSQL comes back");
        let back = until_back(&world, &Request::new("GET", "/sync/pull").bearer(&world.jwt()));
        assert_eq!(back.status, 200, "{}", back.show());
        for pusher in &mut pushers {
            if let Some(body) = &pusher.unsettled {
                let request = Request::new("POST", "/sync/push").bearer(&pusher.device.auth()).json(body);
                until_back(&world, &request);
            }
            pusher.settle();
        }
    }
    assert_whole(&world, &mut pushers);
    world.host.stop().expect("exit 0");
}

fn start_without_postgres_ends_with_one_line(world: &World) {
    let vars = [("DATABASE_URL", "postgres://u:hunter2-secret@127.0.0.1:1/none")];
    let Err(error) = world.launch.start(&vars) else { panic!("it starts without its store") };
    let text = format!("{error:#}");
    assert!(!text.contains("hunter2-secret"), "the password is not printed: {text}");
    assert!(!text.contains("panicked") && !text.contains("did not write its address"), "{text}");
}

fn two_servers_on_one_database_count_as_one(world: &World) {
    let other = sibling(world);
    let mut pushers: Vec<Pusher> =
        (0..4).map(|index| Pusher::new(if index % 2 == 0 { world } else { &other }, index)).collect();
    push_until(&mut pushers, || ());
    for world in [world, &other] {
        assert_whole(world, &mut pushers);
    }
    let mut a = world.device("mobile-a");
    let body = a.body(json!({"last": 1}));
    a.push_body(&body);
    a.world = other.clone();
    assert!(Reply::of(&a.send(&body)).replayed, "a retry may reach the other server");
    other.host.stop().expect("exit 0");
}

fn tokens_and_conflicts_of_one_server_hold_at_the_other(world: &World) {
    let other = sibling(world);
    let (mut a, mut b) = world.two_devices(json!({"files": {"f": {"content": "base\n"}}}));
    a.push(json!({"files": {"f": {"content": "theirs\n"}}}));
    b.world = other.clone();
    assert_eq!(b.push(json!({"files": {"f": {"content": "mine\n"}}})).status("files/f"), "conflict");
    let conflict = world.only_conflict();
    let statuses: Vec<u16> = thread::scope(|scope| {
        let running = [world, &other]
            .map(|world| scope.spawn(|| world.resolve(&conflict, json!({"resolution": "mine"})).status));
        running.into_iter().map(|thread| thread.join().expect("it resolves")).collect()
    });
    assert!(statuses.contains(&200) && statuses.contains(&409), "exactly one: {statuses:?}");
    b.push(json!({"n": 1}));
    assert_eq!(other.delete("/sync/devices/desktop-a").status, 204);
    assert_eq!(a.get("/sync/pull").status, 401, "removed there is removed here, at once");
    assert_eq!(world.view(), other.view());
    other.host.stop().expect("exit 0");
}

fn servers_starting_at_once_migrate_once(world: &World) {
    let host = native(world);
    host.shut_down().expect("an orderly stop");
    let ledger = "SELECT count(*), count(DISTINCT filename) FROM np_sync.schema_migrations";
    let before = host.psql(ledger).expect("the ledger of NSELF.md");
    host.psql("DROP SCHEMA np_sync CASCADE").expect("the schema goes");
    let others: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = (0..3).map(|_| scope.spawn(|| host.sibling())).collect();
        running
            .into_iter()
            .map(|thread| thread.join().expect("no panic").expect("each of them starts"))
            .collect()
    });
    assert_eq!(host.psql(ledger).expect("the ledger"), before);
    host.resume().expect("it starts");
    world.device("desktop-a").push(json!({"n": 1}));
    for other in others {
        assert_eq!(other.call(Request::new("GET", "/health")).status, 200);
        other.shut_down().expect("exit 0");
    }
}

fn changed_migration_is_fatal(world: &World) {
    let host = native(world);
    let checksums = host.psql("SELECT checksum FROM np_sync.schema_migrations").expect("the ledger");
    assert!(checksums.lines().all(|line| line.len() == 64), "SHA-256 in hex: {checksums}");
    host.shut_down().expect("an orderly stop");
    let first = "filename = (SELECT min(filename) FROM np_sync.schema_migrations)";
    let good = host
        .psql(&format!("SELECT checksum FROM np_sync.schema_migrations WHERE {first}"))
        .expect("the checksum");
    host.psql(&format!("UPDATE np_sync.schema_migrations SET checksum = repeat('0', 64) WHERE {first}"))
        .expect("it changes");
    let error = host.resume().expect_err("a changed migration stops the start");
    let text = format!("{error:#}");
    assert!(text.contains("checksum") && text.contains("001_np_sync.sql"), "and says which: {text}");
    host.psql(&format!("UPDATE np_sync.schema_migrations SET checksum = '{good}' WHERE {first}"))
        .expect("it changes back");
    host.resume().expect("it starts");
}

/// What is noted of the schema, as a newer version would have it, and as it is.
fn notes(world: &World) -> [&'static str; 2] {
    match world.host.name() {
        "postgres" => [
            "INSERT INTO schema_migrations (filename, checksum) VALUES ('999_later.sql', repeat('0', 64))",
            "DELETE FROM schema_migrations WHERE filename = '999_later.sql'",
        ],
        _ => [
            "UPDATE np_sync_schema SET version = version + 1",
            "UPDATE np_sync_schema SET version = version - 1",
        ],
    }
}

fn data_base_of_a_newer_version_is_left_alone(world: &World) {
    let host = native(world);
    let mut device = world.device("desktop-a");
    device.push(json!({"n": 1}));
    let [newer, back] = notes(world);
    host.damage(newer).expect("a newer version has been there");
    device.push(json!({"n": 2}));
    for path in ["/readyz", "/health"] {
        let answer = world.send(Request::new("GET", path));
        assert_eq!(answer.status, 200, "what runs goes on beside it: {}", answer.show());
    }
    host.shut_down().expect("an orderly stop");
    let error = format!("{:#}", host.resume().expect_err("what is newer stops the start"));
    assert!(error.contains("of a newer version"), "{error}");
    for command in [&["migrate"][..], &["status"], &["verify"], &["prune"], &["rotate-epoch", "--all"]] {
        let (status, text) = host.run(command).expect("it runs");
        assert_eq!(status.code(), Some(1), "{command:?}: {text}");
        assert!(text.contains("of a newer version") && text.lines().count() == 1, "{command:?}: {text}");
    }
    host.damage(back).expect("it is as it was");
    host.resume().expect("it starts");
    assert_eq!((world.scalar("n"), world.head()), (json!(2), 2));
}

/// Pushes so often, by retry of what is 503; how often that was.
fn insist(device: &mut Device, pushes: u64) -> usize {
    let mut away = 0;
    for n in 0..pushes {
        let body = device.body(json!({(format!("{}-{n}", device.id)): n}));
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let response = device.send(&body);
            if response.status == 200 {
                device.take_in(&body, &response);
                break;
            }
            assert_away(&response);
            assert!(Instant::now() < deadline, "PostgreSQL is back, and is not found");
            away += 1;
            thread::sleep(Duration::from_millis(50));
        }
        thread::sleep(Duration::from_millis(5));
    }
    away
}

fn postgres_restarted_under_load_costs_time_and_nothing_else(world: &World) {
    let (cluster, world) = on_own_cluster(world);
    let other = sibling(&world);
    let mut devices: Vec<Device> = (0..4).map(|n| world.device(&format!("desktop-{n}"))).collect();
    for (n, device) in devices.iter_mut().enumerate() {
        device.push(json!({}));
        device.world = if n % 2 == 0 { world.clone() } else { other.clone() };
    }
    let mut listening = Live::with(&other, "web-listens", &world.jwt());
    let away: usize = thread::scope(|scope| {
        let running: Vec<_> = devices.iter_mut().map(|device| scope.spawn(|| insist(device, 150))).collect();
        thread::sleep(Duration::from_millis(300));
        cluster.stop(Stop::Fast);
        thread::sleep(Duration::from_millis(500));
        cluster.resume().expect("PostgreSQL comes back");
        running.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    assert!(away > 0, "clients have seen 503");
    assert_eq!(world.head(), 600, "each acknowledged push is there, once");
    let scalars = world.view().scalars;
    for (device, n) in devices.iter().flat_map(|device| (0..150).map(move |n| (device, n))) {
        assert_eq!(scalars.get(&format!("{}-{n}", device.id)), Some(&json!(n)));
    }
    // Told to pull, closed to come again because its token could not be looked at, or both: either way it misses nothing, and
    // what comes from then on it is told.
    let mut last = None;
    loop {
        match listening.next(SOON) {
            Came::Message(message) if message["event"] == "sync.pull" => {}
            Came::Message(message) if last.is_some_and(|seq| message["seq"] == seq) => break,
            Came::Message(_) => continue,
            Came::Closed(code) => {
                assert_eq!(code, 1013);
                until_back(&other, &Request::new("GET", "/sync/pull").bearer(&world.jwt()));
                listening = Live::with(&other, "web-listens", &world.jwt());
            }
            Came::Nothing => panic!("not told that something may have been missed, or not of the last push"),
        }
        last = Some(devices[0].push(json!({"missed_until": world.head()})).seq());
    }
    other.host.stop().expect("exit 0");
    world.host.stop().expect("exit 0");
}

fn role_under_row_security_is_told_so_at_start(world: &World) {
    let host = native(world);
    let url = host.database_url().expect("PostgreSQL");
    host.psql(
        "CREATE ROLE guest LOGIN PASSWORD 'guest-secret';
         GRANT USAGE ON SCHEMA np_sync TO guest;
         GRANT ALL ON ALL TABLES IN SCHEMA np_sync TO guest",
    )
    .expect("a role that is no owner");
    let (_, address) = url.split_once('@').expect("a URL with a user");
    let guest = format!("postgres://guest:guest-secret@{address}");
    let migrate = || host.run_with(&["migrate"], &[("DATABASE_URL", &guest)]).expect("it runs");
    let (status, text) = migrate();
    assert!(
        !status.success() && text.contains("the role guest") && text.trim().lines().count() == 1,
        "{text}"
    );
    assert!(!text.contains("guest-secret"), "{text}");
    host.psql("ALTER ROLE guest BYPASSRLS").expect("it may see all rows");
    let (status, text) = migrate();
    assert!(status.success(), "{text}");
}

fn what_postgres_says_of_a_row_is_not_logged(world: &World) {
    let host = native(world);
    host.psql("ALTER TABLE np_sync.np_sync_files ADD CONSTRAINT no_big CHECK (size < 100)")
        .expect("a constraint");
    let mut device = world.device("desktop-a");
    let body = device.body(json!({"files": {"private/path.rs": {"content": "x".repeat(200)}}}));
    assert_eq!(device.send(&body).status, 500);
    let log = host.log();
    assert!(log.contains("23514") && log.contains("no_big"), "what is wrong is said: {log}");
    assert!(!log.contains("private/path") && !log.contains("Failing row"), "and not of whom: {log}");
}

fn every_table_is_isolated_by_account(world: &World) {
    let host = native(world);
    let tables = "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'np_sync' AND c.relkind = 'r' AND c.relname <> 'schema_migrations'";
    let all = host.psql(&format!("SELECT c.relname {tables} ORDER BY 1")).expect("the tables");
    for table in ["np_sync_devices", "np_sync_state", "np_sync_deltas", "np_sync_conflicts"] {
        assert!(all.lines().any(|line| line == table), "{table} of the plugin page: {all}");
    }
    let open = host.psql(&format!("SELECT c.relname {tables} AND NOT c.relrowsecurity")).expect("the tables");
    assert_eq!(open, "", "tables without row level security");
    let without = host
        .psql(&format!(
            "SELECT c.relname {tables} AND NOT EXISTS (SELECT FROM pg_attribute a
             WHERE a.attrelid = c.oid AND a.attname = 'source_account_id' AND a.attnotnull)"
        ))
        .expect("the tables");
    assert_eq!(without, "", "tables without source_account_id");
}
