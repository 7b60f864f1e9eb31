use super::*;
use crate::config::Config;
use crate::jwt::{self, Grant};
use crate::live::Hub;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use axum::response::Response;
use axum::routing::get;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;

const SMALL: &[(&str, &str)] = &[("PLUGIN_SYNC_MAX_FILE_SIZE_KB", "1"), ("PLUGIN_SYNC_MAX_BODY_KB", "64")];

pub(super) struct Server {
    pub(super) router: Router,
    pub(super) hub: Arc<Hub>,
    token: String,
    _dir: TempDir,
}

pub(super) async fn server(variables: &'static [(&str, &str)]) -> Server {
    server_with(variables, None).await
}

async fn server_with(variables: &'static [(&str, &str)], demo: Option<&Path>) -> Server {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data").to_string_lossy().into_owned();
    let config = Config::read(|name| match name {
        "PLUGIN_SYNC_DATA_DIR" => Some(data_dir.clone()),
        _ => variables.iter().find(|(have, _)| *have == name).map(|(_, value)| (*value).to_owned()),
    })
    .unwrap();
    let secret = jwt::random().unwrap();
    let store = Store::open(&config).await.unwrap();
    store.migrate().await.unwrap();
    let token = jwt::mint(&secret, &Grant { user: "ann".into(), account: None, ttl_s: 3600 }).unwrap();
    let app = App::new(store, Verifier::new(&secret).unwrap(), &config);
    let hub = Arc::clone(app.store.hub());
    Server { hub, router: router(Arc::new(app), &config.cors, demo), token, _dir: dir }
}

impl Server {
    async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Response {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap()
    }

    pub(super) fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

async fn json(response: Response) -> Value {
    serde_json::from_slice(&to_bytes(response.into_body(), 1 << 20).await.unwrap()).unwrap()
}

#[tokio::test]
async fn an_unknown_route_is_a_problem_document() {
    let server = server(&[]).await;
    let response = server.ask("GET", "/sync/nothing", &[("x-request-id", "of the client")], "").await;
    assert_eq!(response.status(), 404);
    assert_eq!(header(&response, "content-type"), "application/problem+json");
    assert_eq!(header(&response, "cache-control"), "no-store");
    assert_eq!(header(&response, "x-request-id"), "of the client");
    assert_eq!(json(response).await["request_id"], "of the client");
}

#[tokio::test]
async fn another_method_is_told_which_are_allowed() {
    let server = server(&[]).await;
    for (method, path, allowed) in [("GET", "/sync/push", "POST"), ("PUT", "/sync/devices/a", "DELETE")] {
        let response = server.ask(method, path, &[], "").await;
        assert_eq!((response.status().as_u16(), header(&response, "allow")), (405, allowed));
    }
    assert_eq!(header(&server.ask("OPTIONS", "/sync/pull", &[], "").await, "allow"), "GET, HEAD");
}

#[tokio::test]
async fn a_request_id_that_is_no_id_is_replaced() {
    let server = server(&[]).await;
    for bad in ["", "tab\tbed", &"x".repeat(129)] {
        let response = server.ask("GET", "/health", &[("x-request-id", bad)], "").await;
        let id = header(&response, "x-request-id");
        assert!(!id.is_empty() && id != bad && id.len() <= 128, "{id}");
    }
}

#[tokio::test]
async fn health_needs_no_token_and_the_rest_does() {
    let server = server(&[]).await;
    let response = server.ask("GET", "/health", &[], "").await;
    assert_eq!(response.status(), 200);
    let health = json(response).await;
    assert_eq!((&health["status"], &health["store"]), (&"ok".into(), &"sqlite".into()));
    assert_eq!(health["migrations"]["applied"], health["migrations"]["expected"]);
    let paths = [
        "/sync/live",
        "/sync/pull",
        "/sync/devices",
        "/sync/conflicts",
        "/sync/history",
        "/sync/files/00",
        "/sync/config",
    ];
    for path in paths {
        for authorization in ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer nst_x", "Bearer a.b.c"] {
            let response = server.ask("GET", path, &[("authorization", authorization)], "").await;
            assert_eq!(response.status(), 401, "{path} with {authorization:?}");
        }
    }
}

#[tokio::test]
async fn two_authorization_fields_are_none() {
    let server = server(&[]).await;
    let bearer = server.bearer();
    let twice = [("authorization", bearer.as_str()), ("authorization", bearer.as_str())];
    assert_eq!(server.ask("GET", "/sync/config", &twice, "").await.status(), 401);
    assert_eq!(server.ask("GET", "/sync/config", &twice[..1], "").await.status(), 200);
}

#[tokio::test]
async fn another_protocol_version_is_refused() {
    let server = server(&[]).await;
    let bearer = server.bearer();
    for (version, status) in [("1", 200), ("2", 426), ("x", 426)] {
        let headers = [("authorization", bearer.as_str()), ("nself-sync-protocol", version)];
        assert_eq!(server.ask("GET", "/sync/config", &headers, "").await.status(), status);
    }
}

#[tokio::test]
async fn data_are_private_and_the_policy_is_told() {
    let server = server(&[("PLUGIN_SYNC_RETENTION_DAYS", "7")]).await;
    let response = server.ask("GET", "/sync/config", &[("authorization", &server.bearer())], "").await;
    assert_eq!(header(&response, "cache-control"), "private, no-cache");
    assert_eq!(header(&response, "vary"), "Accept-Encoding, Authorization");
    assert_eq!(json(response).await["policy"]["retention_days"], 7);
}

#[tokio::test]
async fn no_browser_is_let_in_unless_its_origin_is_listed() {
    let origin = ("origin", "https://app.example");
    let preflight = [
        origin,
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization"),
    ];
    let response = server(&[]).await.ask("GET", "/health", &[origin], "").await;
    assert!(response.headers().keys().all(|name| !name.as_str().starts_with("access-control")));
    let listed = server(&[("PLUGIN_SYNC_CORS_ORIGINS", "https://app.example")]).await;
    let response = listed.ask("OPTIONS", "/sync/push", &preflight, "").await;
    assert_eq!(header(&response, "access-control-allow-origin"), "https://app.example");
    assert!(header(&response, "access-control-allow-headers").contains("authorization"));
    assert!(!header(&response, "x-request-id").is_empty());
    let response = listed.ask("GET", "/sync/nothing", &[origin], "").await;
    assert_eq!(
        header(&response, "access-control-allow-origin"),
        "https://app.example",
        "errors are readable as well"
    );
    let response = listed.ask("GET", "/health", &[("origin", "https://other.example")], "").await;
    assert_eq!(header(&response, "access-control-allow-origin"), "");
}

#[tokio::test]
async fn a_panic_is_a_500_that_tells_nothing_of_its_message() {
    async fn panics() -> String {
        panic!("{}", ["private", "content"].join(" "))
    }
    let router = layers(Router::new().route("/panic", get(panics)), &Origins::None, Arc::new(Metrics::new()));
    let response = router.oneshot(Request::get("/panic").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 500);
    assert!(!header(&response, "x-request-id").is_empty());
    let problem = json(response).await;
    assert_eq!(problem["status"], 500);
    assert!(!problem.to_string().contains("private"));
}

#[tokio::test]
async fn who_is_refused_while_still_sending_reads_the_refusal() {
    let server = server(SMALL).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let bearer = server.bearer();
    tokio::spawn(serve(listener, server.router.clone(), std::future::pending()));
    for (authorization, status) in [("Bearer expired", "401"), (bearer.as_str(), "413")] {
        let mut client = TcpStream::connect(addr).await.unwrap();
        let body = vec![b' '; 8 << 20];
        let head = format!(
            "POST /sync/push HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            body.len()
        );
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(&body).await.expect("the server reads on");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("the answer, not a reset");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
}

#[tokio::test]
async fn a_sync_token_is_checked_before_the_body_is_read() {
    let server = server(SMALL).await;
    let bearer = server.bearer();
    let push = |authorization: String, length: usize| {
        let body = format!(r#"{{"device_id": "d", "seq": 0, "state": {{"x": "{}"}}}}"#, "x".repeat(length));
        let server = &server;
        // Without leave to send nothing is read on after the answer.
        async move {
            let headers = [("authorization", authorization.as_str()), ("expect", "100-continue")];
            server.ask("POST", "/sync/push", &headers, body).await
        }
    };
    let registered = push(bearer.clone(), 1).await;
    assert_eq!(registered.status(), 200);
    let token = json(registered).await["sync_token"].as_str().unwrap().to_owned();
    let mut forged = token.clone();
    forged.replace_range(token.len() - 20..token.len() - 10, "AAAAAAAAAA");
    // The same body is over the limit: what is answered says which was looked at first.
    assert_eq!(push(format!("Bearer {forged}"), 100_000).await.status(), 401);
    assert_eq!(push(format!("Bearer {token}"), 100_000).await.status(), 413);
    assert_eq!(push(format!("Bearer {token}"), 2).await.status(), 200);
    let gone = server.ask("DELETE", "/sync/devices/d", &[("authorization", &bearer)], "").await;
    assert_eq!(gone.status(), 204);
    assert_eq!(push(format!("Bearer {token}"), 3).await.status(), 401, "what was remembered opens nothing");
}

/// All that the server sends until it closes the connection, and after how long by the clock of the test.
async fn until_closed(server: &Server, sent: &str) -> (String, Duration) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, server.router.clone(), std::future::pending()));
    let mut client = TcpStream::connect(addr).await.unwrap();
    client.write_all(sent.as_bytes()).await.unwrap();
    let (begun, mut answer) = (tokio::time::Instant::now(), String::new());
    timeout(Duration::from_secs(120), client.read_to_string(&mut answer))
        .await
        .expect("the server closes")
        .unwrap();
    (answer, begun.elapsed())
}

#[tokio::test]
async fn a_head_that_does_not_end_ends_the_connection() {
    let server = server(&[]).await;
    tokio::time::pause();
    let (_, after) = until_closed(&server, "GET /health HTTP/1.1\r\nHost: x\r\n").await;
    assert!((29..40).contains(&after.as_secs()), "{after:?}");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_408_and_the_connection_ends() {
    let server = server(&[]).await;
    let bearer = server.bearer();
    tokio::time::pause();
    let head = format!(
        "POST /sync/push HTTP/1.1\r\nHost: x\r\nAuthorization: {bearer}\r\nContent-Length: 100\r\n\r\n{{"
    );
    let (answer, after) = until_closed(&server, &head).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("connection: close"), "{answer}");
    assert!((29..40).contains(&after.as_secs()), "{after:?}");
}

#[tokio::test]
async fn the_demo_is_served_from_its_folder_and_nothing_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("dist");
    std::fs::create_dir(&page).unwrap();
    std::fs::write(page.join("index.html"), "<!doctype html>").unwrap();
    std::fs::write(folder.path().join("secret"), "s").unwrap();
    let server = server_with(&[], Some(&page)).await;
    let response = server.ask("GET", "/demo/", &[], "").await;
    assert_eq!((response.status().as_u16(), header(&response, "content-type")), (200, "text/html"));
    assert!(header(&response, "content-security-policy").contains("default-src 'self'"));
    for path in ["/demo/../secret", "/demo/%2e%2e/secret", "/demo/none.js"] {
        assert_eq!(server.ask("GET", path, &[], "").await.status(), 404, "{path}");
    }
    assert_eq!(server.ask("GET", "/sync/config", &[], "").await.status(), 401, "the rest is as it was");
}

#[tokio::test]
async fn without_a_demo_there_is_none() {
    assert_eq!(server(&[]).await.ask("GET", "/demo/", &[], "").await.status(), 404);
}
