//! What survives: kills, restarts, a store that goes away, several servers. Native hosts only.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nself_sync_tests::hosts::native::NativeHost;
use nself_sync_tests::hosts::{Request, Response};
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
];

pub fn native(world: &World) -> &NativeHost {
    world.host.native().expect("a native host")
}

/// Pushes distinct keys until told to stop, settling each push by retry. What was acknowledged: key and value.
pub struct Pusher {
    pub device: Device,
    pub acknowledged: Vec<(String, u64)>,
    pub unsettled: Option<Value>,
}

impl Pusher {
    pub fn new(world: &World, index: usize) -> Self {
        let mut device = world.device(&format!("desktop-{index}"));
        device.push(json!({}));
        Self { device, acknowledged: Vec::new(), unsettled: None }
    }

    pub fn run(&mut self, stop: &AtomicBool) {
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
    pub fn settle(&mut self) {
        if let Some(body) = self.unsettled.take() {
            let number = self.acknowledged.len() as u64;
            self.device.push_body(&body);
            self.acknowledged.push((format!("{}-{number}", self.device.id), number));
        }
    }
}

/// Every acknowledged key is there, nothing else is, and each push made exactly one seq.
pub fn assert_whole(world: &World, pushers: &mut [Pusher]) {
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

pub fn push_until(pushers: &mut [Pusher], interrupt: impl FnOnce()) {
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

/// So many devices push while the host is killed and started again, so many times: nothing acknowledged is missing, nothing is
/// half done.
pub fn survives_kills(world: &World, devices: usize, times: usize, kill: impl Fn(), resume: impl Fn()) {
    let mut pushers: Vec<Pusher> = (0..devices).map(|index| Pusher::new(world, index)).collect();
    for _ in 0..times {
        push_until(&mut pushers, &kill);
        resume();
        pushers.iter_mut().for_each(Pusher::settle);
    }
    assert!(pushers.iter().all(|pusher| pusher.acknowledged.len() > times), "the case pushed something");
    assert_whole(world, &mut pushers);
}

fn nothing_acknowledged_is_missing_after_kill_9(world: &World) {
    let resume = || native(world).resume().expect("it starts on what the kill left");
    survives_kills(world, 4, 1, || native(world).kill(), resume);
}

fn kill_9_between_pushes_again_and_again_keeps_the_history_whole(world: &World) {
    let resume = || native(world).resume().expect("it starts on what the kill left");
    survives_kills(world, 2, 4, || native(world).kill(), resume);
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
pub fn half_a_push(world: &World) -> (TcpStream, Vec<u8>) {
    let body = json!({"device_id": "desktop-a", "seq": 0, "state": {"n": 1}}).to_string();
    let head = format!(
        "POST /sync/push HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n",
        world.jwt(),
        body.len()
    );
    let mut stream = TcpStream::connect(world.host.addr().expect("a host with HTTP")).expect("it listens");
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
        (0..10).map(|_| TcpStream::connect(native(world).address()).expect("it listens")).collect();
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
    let port = native(world).address().port().to_string();
    let (status, text) = native(world).run_with(&["serve"], &[("PORT", &port)]).expect("it runs");
    assert!(!status.success() && text.contains(&port), "{status}: {text}");
    assert!(!text.contains("panicked"), "{text}");
    assert_eq!(world.send(Request::new("GET", "/health")).status, 200, "the one that runs goes on");
}
