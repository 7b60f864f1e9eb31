//! Against the admin routes as an edge host has them: `nself_sync_sqlite` behind HTTP, a transaction for each request.

use super::super::{import, stream};
use super::*;
use crate::operate::Place;
use crate::store::Connection;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use nself_sync_engine::ids::Tag;
use nself_sync_engine::slice::{Head, Scalar};
use nself_sync_engine::transfer::{Progress, Record};
use nself_sync_engine::wire;
use nself_sync_sqlite::{self as store, Sql};
use std::collections::HashMap;
use std::io::Read;
use std::sync::{Arc, Mutex};

const TOKEN: &str = "operators-token";

/// The host, and what it does wrong, once each.
#[derive(Clone)]
struct Edge {
    sql: Arc<Mutex<Connection>>,
    faults: Arc<Mutex<Vec<Fault>>>,
    _folder: Arc<tempfile::TempDir>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// It does what it was asked, and its answer is lost.
    LosesAnswer,
    /// The user is written before this page is read.
    IsWritten,
}

impl Edge {
    fn answer<T>(
        &self,
        headers: &HeaderMap,
        work: impl FnOnce(&mut Connection) -> Result<T, store::Error<rusqlite::Error>>,
    ) -> Result<T, Box<Response>> {
        let unauthorized = || StatusCode::UNAUTHORIZED.into_response();
        if headers.get("authorization").is_none_or(|value| value != &format!("Bearer {TOKEN}")) {
            return Err(Box::new(unauthorized()));
        }
        let mut sql = self.sql.lock().unwrap();
        sql.run_all("BEGIN").unwrap();
        let done = work(&mut sql);
        sql.run_all(if done.is_ok() { "COMMIT" } else { "ROLLBACK" }).unwrap();
        if self.has(Fault::LosesAnswer) {
            return Err(Box::new(StatusCode::BAD_GATEWAY.into_response()));
        }
        done.map_err(|error| {
            let store::Error::Reject(reject) = error else { panic!("{error:?}") };
            let problem = wire::problem(&reject, "r1");
            let status = StatusCode::from_u16(problem.status).unwrap();
            Box::new((status, problem.body.to_string()).into_response())
        })
    }

    fn has(&self, fault: Fault) -> bool {
        let mut faults = self.faults.lock().unwrap();
        let at = faults.iter().position(|waiting| *waiting == fault);
        at.map(|at| faults.remove(at)).is_some()
    }
}

type Asked = HashMap<String, String>;

fn asked(uri: &Uri) -> Asked {
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
    let pairs = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), decoded(value))).collect()
}

fn whose(query: &Asked) -> User {
    User { account: query["account"].clone(), id: query["user"].clone() }
}

async fn export(State(edge): State<Edge>, uri: Uri, headers: HeaderMap) -> Response {
    let query = asked(&uri);
    let (user, cursor) = (whose(&query), query.get("cursor").cloned());
    if cursor.is_some() && edge.has(Fault::IsWritten) {
        edge.sql.lock().unwrap().run_all("UPDATE np_sync_heads SET writes = writes + 1").unwrap();
    }
    let page = edge.answer(&headers, |sql| {
        if query.contains_key("move") {
            store::mark_moved(sql, &user)?;
        }
        store::export_page(sql, &user, cursor.as_deref())
    });
    match page {
        Ok(page) => {
            let mut headers = HeaderMap::new();
            headers.insert("nself-sync-at", page.at.parse().unwrap());
            if let Some(next) = page.next {
                headers.insert("nself-sync-next", next.parse().unwrap());
            }
            (headers, page.lines).into_response()
        }
        Err(response) => *response,
    }
}

async fn take_in(State(edge): State<Edge>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let query = asked(&uri);
    let (user, first) = (whose(&query), query["line"].parse().unwrap());
    let lines = String::from_utf8(body.to_vec()).unwrap();
    match edge.answer(&headers, |sql| store::import(sql, &user, first, &lines)) {
        Ok(imported) => serde_json::json!({ "lines": imported.lines }).to_string().into_response(),
        Err(response) => *response,
    }
}

async fn undo_move(State(edge): State<Edge>, uri: Uri, headers: HeaderMap) -> Response {
    match edge.answer(&headers, |sql| store::undo_move(sql, &whose(&asked(&uri)))) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(response) => *response,
    }
}

async fn erase(State(edge): State<Edge>, uri: Uri, headers: HeaderMap) -> Response {
    match edge.answer(&headers, |sql| store::erase(sql, &whose(&asked(&uri)))) {
        Ok(true) => StatusCode::NO_CONTENT.into_response(),
        Ok(false) => StatusCode::NOT_FOUND.into_response(),
        Err(response) => *response,
    }
}

/// A host that listens, and an operator of it.
async fn edge(token: Option<&str>) -> (Edge, Remote) {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = Connection::open(&folder.path().join("edge.sqlite")).unwrap();
    store::MIGRATIONS.iter().for_each(|(_, sql)| connection.run_all(sql).unwrap());
    let edge =
        Edge { sql: Arc::new(Mutex::new(connection)), faults: Arc::default(), _folder: Arc::new(folder) };
    let router = Router::new()
        .route("/admin/export", get(export))
        .route("/admin/import", post(take_in).layer(axum::extract::DefaultBodyLimit::disable()))
        .route("/admin/undo-move", post(undo_move))
        .route("/admin/user", delete(erase))
        .with_state(edge.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let config = |name: &str| token.filter(|_| name == "PLUGIN_SYNC_ADMIN_TOKEN").map(str::to_owned);
    (edge, Remote::new(&url, &Config::read(config).unwrap()).unwrap())
}

fn user() -> User {
    User { account: "primary".to_owned(), id: "ü / &?".to_owned() }
}

/// Three pages and more.
fn stream() -> String {
    let (mut progress, mut lines) = (Progress::default(), String::new());
    let head = Head { seq: 9, tag: Tag([1; 8]), ..Head::new("epoch".to_owned()) };
    progress.write(&Record::User(user(), head), &mut lines);
    for n in 0..3500 {
        let value = Some(serde_json::json!("x".repeat(1000)));
        let row = Scalar { value, seq: 1, device_id: "d".to_owned(), changed_at: 1 };
        progress.write(&Record::Scalar(format!("key-{n:04}"), row), &mut lines);
    }
    let (count, hash) = (progress.lines, progress.hash);
    progress.write(&Record::End(count, hash), &mut lines);
    lines
}

fn file(text: &str) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn exported(remote: &Remote, moves: bool) -> Result<String> {
    let mut file = file("what a try before this one left");
    remote.export(&user(), moves, &mut file)?;
    file.rewind()?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// Runs what blocks beside the host.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

async fn import(remote: Remote, text: &str) -> (Result<()>, Remote) {
    let (mut file, mut place) = (file(text), Place::Remote(remote));
    let checked = stream::check(&mut file).unwrap();
    let done = import::take_in(&mut place, &checked, &mut file).await;
    let Place::Remote(remote) = place else { panic!("it is the same place") };
    (done, remote)
}

#[tokio::test(flavor = "multi_thread")]
async fn user_goes_there_and_back_although_answers_are_lost() {
    let (edge, remote) = edge(Some(TOKEN)).await;
    let text = stream();
    edge.faults.lock().unwrap().push(Fault::LosesAnswer);
    let (done, remote) = import(remote, &text).await;
    done.unwrap();
    edge.faults.lock().unwrap().extend([Fault::LosesAnswer, Fault::IsWritten]);
    let back = beside(move || exported(&remote, false)).await.unwrap();
    assert!(edge.faults.lock().unwrap().is_empty(), "all of it went wrong once");
    assert_eq!(back, text);
}

#[tokio::test(flavor = "multi_thread")]
async fn moved_user_is_marked_before_the_copy_and_comes_back() {
    let (edge, remote) = edge(Some(TOKEN)).await;
    let text = stream();
    let (done, remote) = import(remote, &text).await;
    done.unwrap();
    let (copy, remote) = beside(move || (exported(&remote, true), remote)).await;
    assert_eq!(copy.unwrap(), text);
    let standing = || -> i64 {
        let rows = edge.sql.lock().unwrap().exec("SELECT standing FROM np_sync_heads", &[]).unwrap();
        rows[0].integer(0).unwrap()
    };
    assert_eq!(standing(), 2);
    let (undone, again, remote) =
        beside(move || (remote.undo_move(&user()), remote.undo_move(&user()), remote)).await;
    undone.unwrap();
    assert_eq!(standing(), 0);
    let said = format!("{:#}", again.unwrap_err());
    assert!(said.contains("409") && said.contains("was not moved away"), "{said}");
    let (was_there, is_there) = beside(move || (remote.erase(&user()), remote.erase(&user()))).await;
    assert_eq!((was_there.unwrap(), is_there.unwrap()), (true, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn refusal_is_told_in_the_hosts_words() {
    let (_edge, remote) = edge(Some(TOKEN)).await;
    let (unknown, remote) = beside(move || (exported(&remote, false), remote)).await;
    let said = format!("{:#}", unknown.unwrap_err());
    assert!(said.contains("404") && said.contains("no such user"), "{said}");
    let (done, remote) = import(remote, &stream()).await;
    done.unwrap();
    let (again, _) = import(remote, &stream()).await;
    let said = format!("{:#}", again.unwrap_err());
    assert!(said.contains("has a history here"), "{said}");
    let (_edge, stranger) = edge(Some("another token")).await;
    let said = format!("{:#}", beside(move || exported(&stranger, false)).await.unwrap_err());
    assert!(said.contains("401"), "{said}");
}

#[test]
fn token_goes_over_tls_or_stays_on_this_machine() {
    let with = |token: Option<&'static str>| {
        let get = |name: &str| token.filter(|_| name == "PLUGIN_SYNC_ADMIN_TOKEN").map(str::to_owned);
        Config::read(get).unwrap()
    };
    let new = |url: &str| Remote::new(url, &with(Some(TOKEN)));
    for url in ["https://sync.example.org/", "http://127.0.0.1:8787", "http://localhost", "http://[::1]:1/x"]
    {
        assert!(new(url).is_ok(), "{url}");
    }
    for url in ["http://example.org", "http://localhost.example.org", "http://127.0.0.10", "ftp://x", ""] {
        assert!(new(url).is_err_and(|error| error.to_string().starts_with("--url: allowed is")), "{url}");
    }
    let unset = Remote::new("https://x", &with(None)).err().map(|error| error.to_string());
    assert!(unset.is_some_and(|said| said.contains("PLUGIN_SYNC_ADMIN_TOKEN is not set")));
}
