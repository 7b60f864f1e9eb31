//! What survives: kills, restarts, a store that goes away, several servers. Native hosts only.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nself_sync_tests::hosts::native::{Native, NativeHost};
use nself_sync_tests::hosts::postgres::{Cluster, Stop};
use nself_sync_tests::hosts::{Host, Launch, Request, Response};
use nself_sync_tests::world::{Device, Reply, World, assert_problem};
use serde_json::{Value, json};

crate::cases![
    nothing_acknowledged_is_missing_after_kill_9.native(),
    kill_9_between_pushes_again_and_again_keeps_the_history_whole.native(),
    everything_is_there_after_a_restart.native(),
    sigterm_lets_a_request_in_flight_finish.native(),
    sigterm_under_load_loses_nothing_acknowledged.native(),
    sigterm_ends_it_in_time_whatever_clients_do.native(),
    lowered_file_limit_does_not_keep_a_conflict_from_being_resolved.native(),
    switching_to_lww_unblocks_every_device.native(),
    taken_port_is_said_and_not_waited_for.native(),
    postgres_away_is_503_and_back_is_back.native().only("postgres"),
    postgres_stopped_in_the_middle_of_pushes_leaves_nothing_half_done.native().only("postgres"),
    start_without_postgres_ends_with_one_line.native().only("postgres"),
    two_servers_on_one_database_count_as_one.native().only("postgres"),
    tokens_and_conflicts_of_one_server_hold_at_the_other.native().only("postgres"),
    servers_starting_at_once_migrate_once.native().only("postgres"),
    changed_migration_is_fatal.native().only("postgres"),
    every_table_is_isolated_by_account.native().only("postgres"),
];

fn native(world: &World) -> &NativeHost {
    world.host.native().expect("a native host")
}

/// Pushes distinct keys until told to stop, settling each push by retry. What was acknowledged: key and value.
struct Pusher {
    device: Device,
    acknowledged: Vec<(String, u64)>,
    unsettled: Option<Value>,
}

impl Pusher {
    fn new(world: &World, index: usize) -> Self {
        let mut device = world.device(&format!("desktop-{index}"));
        device.push(json!({}));
        Self { device, acknowledged: Vec::new(), unsettled: None }
    }

    fn run(&mut self, stop: &AtomicBool) {
        let mut number = self.acknowledged.len() as u64;
        while !stop.load(Ordering::Relaxed) {
            let key = format!("{}-{number}", self.device.id);
            let body = self.device.body(json!({
                key.clone(): number, "files": {self.device.id.clone(): {"content": format!("{number}\n")}},
            }));
            match self.exchange(&body) {
                Some(response) if response.status == 200 => {
                    self.device.take_in(&body, &response);
                    self.acknowledged.push((key, number));
                    number += 1;
                }
                _ => {
                    self.unsettled = Some(body);
                    return;
                }
            }
        }
    }

    fn exchange(&self, body: &Value) -> Option<Response> {
        let request = Request::new("POST", "/sync/push").bearer(&self.device.auth()).json(body);
        self.device.world.host.try_call(request).ok()
    }

    /// The retry after the host came back.
    fn settle(&mut self) {
        if let Some(body) = self.unsettled.take() {
            let number = self.acknowledged.len() as u64;
            self.device.push_body(&body);
            self.acknowledged.push((format!("{}-{number}", self.device.id), number));
        }
    }
}

/// Every acknowledged key is there, nothing else is, and each push made exactly one seq.
fn assert_whole(world: &World, pushers: &mut [Pusher]) {
    let snapshot = world.snapshot();
    let mut total = 0;
    for pusher in pushers.iter() {
        for (key, number) in &pusher.acknowledged {
            assert_eq!(snapshot["state"][key], *number, "{key} was acknowledged");
        }
        if let Some((_, number)) = pusher.acknowledged.last() {
            assert_eq!(
                snapshot["state"]["files"][&pusher.device.id]["content"],
                format!("{number}\n"),
                "half a push"
            );
        }
        total += pusher.acknowledged.len();
    }
    assert_eq!(world.view().scalars.len(), total, "no push counted twice, none unasked for");
    assert_eq!(snapshot["seq"], total, "gapless");
    for pusher in pushers {
        let kind = pusher.device.pull();
        assert!(
            matches!(kind["reason"].as_str(), None | Some("behind_threshold")),
            "its history is still the same: {}",
            kind["reason"]
        );
        assert_eq!(pusher.device.view, world.view());
    }
}

fn push_until(pushers: &mut [Pusher], interrupt: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for pusher in pushers.iter_mut() {
            scope.spawn(|| pusher.run(&stop));
        }
        thread::sleep(Duration::from_millis(400));
        interrupt();
        stop.store(true, Ordering::Relaxed);
    });
}

fn nothing_acknowledged_is_missing_after_kill_9(world: &World) {
    let mut pushers: Vec<Pusher> = (0..4).map(|index| Pusher::new(world, index)).collect();
    push_until(&mut pushers, || native(world).kill());
    native(world).resume().expect("it starts on what the kill left");
    pushers.iter_mut().for_each(Pusher::settle);
    assert!(pushers.iter().all(|pusher| !pusher.acknowledged.is_empty()), "the case pushed something");
    assert_whole(world, &mut pushers);
}

fn kill_9_between_pushes_again_and_again_keeps_the_history_whole(world: &World) {
    let mut pushers: Vec<Pusher> = (0..2).map(|index| Pusher::new(world, index)).collect();
    for _ in 0..4 {
        push_until(&mut pushers, || native(world).kill());
        native(world).resume().expect("it starts on what the kill left");
        pushers.iter_mut().for_each(Pusher::settle);
    }
    assert_whole(world, &mut pushers);
}

fn everything_is_there_after_a_restart(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"n": 0, "files": {"f": {"content": "base\n"}}}));
    a.push(json!({"files": {"f": {"content": "theirs\n"}}}));
    let body = b.body(json!({"n": 1, "files": {"f": {"content": "mine\n"}}}));
    b.push_body(&body);
    let conflict = world.only_conflict();
    let before = (world.snapshot(), world.conflicts(), world.history("files/f"));
    native(world).shut_down().expect("an orderly stop");
    native(world).resume().expect("it starts again");
    assert_eq!((world.snapshot(), world.conflicts(), world.history("files/f")), before);
    assert_eq!(a.pull()["kind"], "delta", "epoch and tags are the same");
    assert!(Reply::of(&b.send(&body)).replayed, "what was recorded for replay");
    assert_problem(&b.try_push(json!({"n": 2})), 409, "conflicts_unresolved");
    world.resolved(&conflict, json!({"resolution": "mine"}));
    b.push(json!({"n": 3}));
    world.assert_converged(&mut [&mut a, &mut b]);
}

/// A push whose body is not sent to its end yet.
fn half_a_push(world: &World) -> (TcpStream, Vec<u8>) {
    let body = json!({"device_id": "desktop-a", "seq": 0, "state": {"n": 1}}).to_string();
    let head = format!(
        "POST /sync/push HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n",
        world.jwt(),
        body.len()
    );
    let mut stream = TcpStream::connect(native(world).addr()).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let (first, rest) = body.split_at(20);
    stream.write_all((head + first).as_bytes()).expect("it listens");
    stream.flush().expect("it listens");
    thread::sleep(Duration::from_millis(200));
    (stream, rest.as_bytes().to_vec())
}

fn sigterm_lets_a_request_in_flight_finish(world: &World) {
    let (mut stream, rest) = half_a_push(world);
    native(world).terminate();
    thread::sleep(Duration::from_millis(300));
    stream.write_all(&rest).expect("the connection is still there");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    native(world).wait_for_exit().expect("then it ends");
    native(world).resume().expect("it starts again");
    assert_eq!(world.scalar("n"), 1);
}

fn sigterm_under_load_loses_nothing_acknowledged(world: &World) {
    let mut pushers: Vec<Pusher> = (0..4).map(|index| Pusher::new(world, index)).collect();
    push_until(&mut pushers, || native(world).shut_down().expect("exit 0 within 10 s"));
    native(world).resume().expect("it starts again");
    pushers.iter_mut().for_each(Pusher::settle);
    assert_whole(world, &mut pushers);
}

fn sigterm_ends_it_in_time_whatever_clients_do(world: &World) {
    let (stuck, _) = half_a_push(world);
    let idle: Vec<TcpStream> =
        (0..10).map(|_| TcpStream::connect(native(world).addr()).expect("it listens")).collect();
    native(world).shut_down().expect("exit 0 within 10 s, though clients hang");
    drop((stuck, idle));
    native(world).resume().expect("it starts again");
    assert_eq!(world.head(), 0);
}

fn lowered_file_limit_does_not_keep_a_conflict_from_being_resolved(world: &World) {
    let text = |first: &str| format!("{first}\n{}", "line\n".repeat(1000));
    let file = |first: &str| json!({"files": {"f": {"content": text(first)}}});
    for resolution in
        [json!({"resolution": "mine"}), json!({"resolution": "merged", "content": text("both")})]
    {
        let world = world.another_user();
        let (mut a, mut b) = world.two_devices(file("base"));
        a.push(file("theirs"));
        assert_eq!(b.push(file("mine")).status("files/f"), "conflict");
        native(&world)
            .restart_with(&[("PLUGIN_SYNC_MAX_FILE_SIZE_KB", "1")])
            .expect("it starts with a lower limit");
        world.resolved(&world.only_conflict(), resolution);
        b.pull();
        b.push(json!({"n": 1}));
        native(&world).restart_with(&[("PLUGIN_SYNC_MAX_FILE_SIZE_KB", "512")]).expect("it starts again");
    }
}

fn switching_to_lww_unblocks_every_device(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"files": {"f": {"content": "base\n"}}}));
    a.push(json!({"files": {"f": {"content": "theirs\n"}}}));
    b.push(json!({"files": {"f": {"content": "mine\n"}}}));
    assert_eq!(b.try_push(json!({"n": 1})).status, 409);
    native(world).restart_with(&[("PLUGIN_SYNC_CONFLICT_STRATEGY", "lww")]).expect("it starts with lww");
    assert_eq!(b.push(json!({"n": 1})).status("n"), "applied", "nothing blocks while the strategy is lww");
    let conflict = world.only_conflict();
    assert_eq!(conflict["mine"]["content"], "mine\n", "and the conflict is not thrown away");
    world.resolved(&conflict, json!({"resolution": "mine"}));
    assert_eq!(world.file("f").as_deref(), Some("mine\n"));
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn taken_port_is_said_and_not_waited_for(world: &World) {
    let port = native(world).addr().port().to_string();
    let (status, text) = native(world).run_with(&["serve"], &[("PORT", &port)]).expect("it runs");
    assert!(!status.success() && text.contains(&port), "{status}: {text}");
    assert!(!text.contains("panicked"), "{text}");
    assert_eq!(world.send(Request::new("GET", "/health")).status, 200, "the one that runs goes on");
}

/// A host on a cluster of its own, so that the cluster can be stopped.
fn on_own_cluster(world: &World) -> (Arc<Cluster>, World) {
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

fn sibling(world: &World) -> World {
    world.on(Arc::new(native(world).sibling().expect("a second server on the same database")))
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
    assert!(format!("{error:#}").contains("checksum"), "and says so: {error:#}");
    host.psql(&format!("UPDATE np_sync.schema_migrations SET checksum = '{good}' WHERE {first}"))
        .expect("it changes back");
    host.resume().expect("it starts");
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
