//! The server behind nginx, by the plugin's own nginx/sync.conf.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nself_sync_tests::hosts::{Request, Response, keeper, native};
use nself_sync_tests::world::{World, assert_problem};
use serde_json::json;
use tempfile::TempDir;
use tungstenite::client::IntoClientRequest;

use crate::durability::native as host_of;

crate::cases![
    nginx_passes_on_what_clients_say.native().only("sqlite"),
    nginx_upgrades_live_connections.native().only("sqlite"),
];

const SYNC_CONF: &str = include_str!("../../native-server/plugin/nginx/sync.conf");

/// nginx in front of a case's server. Dropped, it ends.
struct Front {
    child: Child,
    addr: SocketAddr,
    dir: TempDir,
}

impl Front {
    fn of(world: &World) -> Front {
        let dir = tempfile::tempdir().expect("a folder");
        keeper::watch_folder(dir.path());
        let addr = TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port");
        let upstream = format!("http://{};", host_of(world).address());
        let sync = SYNC_CONF.replace("http://127.0.0.1:3829;", &upstream);
        assert_ne!(sync, SYNC_CONF);
        let path = dir.path().display();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary = temporary.map(|name| format!("{name}_temp_path {path}/{name};"));
        let conf = format!(
            "daemon off; master_process off; pid {path}/pid; error_log {path}/error.log;
             events {{}}
             http {{
                 {}
                 access_log {path}/access.log;
                 server {{ listen {addr}; {sync} }}
             }}",
            temporary.join(" ")
        );
        fs::write(dir.path().join("nginx.conf"), conf).expect("it is written");
        let child = Command::new(program())
            .arg("-p")
            .arg(dir.path())
            .arg("-c")
            .arg(dir.path().join("nginx.conf"))
            .arg("-e")
            .arg(dir.path().join("error.log"))
            .stdin(Stdio::null())
            .spawn()
            .expect("nginx starts");
        keeper::watch_process(child.id());
        let front = Front { child, addr, dir };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(addr).is_err() {
            assert!(Instant::now() < deadline, "nginx does not listen: {}", front.log("error.log"));
            sleep(Duration::from_millis(20));
        }
        front
    }

    fn send(&self, request: Request) -> Response {
        let config = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0);
        native::call(&ureq::Agent::new_with_config(config.build()), self.addr, request).expect("an answer")
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name)).unwrap_or_default()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        keeper::forget_process(self.child.id());
        keeper::forget_folder(self.dir.path());
    }
}

/// Where Debian puts it, or `cargo xtask setup`.
fn program() -> PathBuf {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/nginx/usr/sbin/nginx");
    let places = [PathBuf::from("/usr/sbin/nginx"), PathBuf::from("/usr/local/bin/nginx"), tools];
    places
        .into_iter()
        .find(|place| place.is_file())
        .expect("nginx: `cargo xtask setup` brings it, or install the package nginx")
}

fn nginx_passes_on_what_clients_say(world: &World) {
    let front = Front::of(world);
    let push = |body: String| {
        let request = Request::new("POST", "/sync/push").bearer(&world.jwt());
        front.send(request.header("X-Request-Id", "from-the-client").bytes(body))
    };
    // As large as the server takes it, in documents that it takes.
    let files: serde_json::Map<_, _> =
        (0..15).map(|n| (format!("f{n}"), json!({ "content": "x".repeat(512 << 10) }))).collect();
    let answer = push(json!({"device_id": "desktop-a", "seq": 0, "state": {"files": files}}).to_string());
    assert_eq!(answer.status, 200, "{}", answer.show());
    assert_eq!(answer.header("X-Request-Id"), Some("from-the-client"));
    // A little more is refused by the server, in its own words.
    assert_problem(&push("x".repeat((8 << 20) + 1)), 413, "body_too_large");
    let pulled = front.send(Request::new("GET", "/sync/pull?files=meta").bearer(&world.jwt()));
    assert_eq!((pulled.status, &pulled.json()["seq"]), (200, &json!(1)));
    assert!(pulled.header("X-Request-Id").is_some_and(|id| id.len() == 32), "nginx makes one");
    assert_problem(&front.send(Request::new("GET", "/sync/pull")), 401, "unauthorized");
    assert_eq!(front.send(Request::new("GET", "/health")).status, 404, "what operators look at stays inside");
    assert!(!front.log("access.log").contains("/sync/"), "{}", front.log("access.log"));
}

fn nginx_upgrades_live_connections(world: &World) {
    let (mut a, b) = world.two_devices(json!({"n": 0}));
    let front = Front::of(world);
    let url = format!("ws://{}/sync/live?device_id=mobile-b", front.addr);
    let mut request = url.into_client_request().expect("a request");
    let token = format!("Bearer {}", b.auth()).parse().expect("a header");
    request.headers_mut().insert("authorization", token);
    let stream = TcpStream::connect(front.addr).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    let (mut live, _) = tungstenite::client(request, stream).expect("the upgrade passes");
    a.push(json!({"n": 1}));
    let message = live.read().expect("a message").into_text().expect("text");
    assert!(message.contains("sync.state.updated"), "{message}");
    assert_problem(
        &front.send(Request::new("GET", "/sync/live?device_id=mobile-b").bearer(&b.auth())),
        426,
        "upgrade_required",
    );
}
