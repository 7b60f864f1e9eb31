//! What needs no server. The rest is the contract suite's.

use super::connection::{Param, Request};
use super::queue::{Job, Queue, WAITING_MAX};
use super::url;
use crate::store::Failure;
use nself_sync_engine::call::{Call, Caller, Reply};
use nself_sync_engine::ids::User;
use tokio::sync::oneshot;
use tokio_postgres::config::{Host, SslMode};

fn error(url: &str) -> String {
    match url::parse(url) {
        Ok(_) => panic!("{url} is read"),
        Err(error) => format!("{error:#}"),
    }
}

#[test]
fn password_is_percent_decoded() {
    let (config, _) = url::parse("postgres://me:p%40ss%2Fw%3Ard%231%3F%25@db.example:5433/sync").unwrap();
    assert_eq!(config.get_password(), Some(b"p@ss/w:rd#1?%".as_slice()));
    assert_eq!((config.get_user(), config.get_dbname()), (Some("me"), Some("sync")));
    assert_eq!(
        (config.get_hosts(), config.get_ports()),
        (&[Host::Tcp("db.example".to_owned())][..], &[5433][..])
    );
}

#[test]
fn sslmode_is_that_of_libpq() {
    let mode = |query: &str| url::parse(&format!("postgres://me@db/sync{query}")).unwrap().0.get_ssl_mode();
    assert_eq!(mode(""), SslMode::Prefer);
    assert_eq!(mode("?sslmode=disable"), SslMode::Disable);
    assert_eq!(mode("?sslmode=prefer"), SslMode::Prefer);
    for query in ["?sslmode=require", "?sslmode=verify-ca", "?connect_timeout=3&sslmode=verify-full"] {
        assert_eq!(mode(query), SslMode::Require, "{query}");
    }
}

#[test]
fn unreadable_url_is_said_without_its_password() {
    let unknown_mode = error("postgres://me:hunter2@db/sync?sslmode=maybe");
    assert!(unknown_mode.contains("verify-full"), "{unknown_mode}");
    for url in [
        "postgres://me:hunter2@db:port/sync",
        "postgres://me:hunter2@db/sync?nonsense=1",
        "postgres://me:hunter2@p/w:#2?%@db/sync",
    ] {
        let error = error(url);
        assert!(error.starts_with("DATABASE_URL: ") && error.contains("percent-encoded"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    assert!(
        error("postgres://me@db/sync?sslrootcert=/nowhere.pem&sslmode=verify-full").contains("/nowhere.pem")
    );
}

#[test]
fn statements_put_together_have_parameters_of_their_own() {
    let params = |count: i32| (0..count).map(|n| Box::new(n) as Param<'_>).collect();
    let together = Request::together(vec![
        Request::new("INSERT INTO a SELECT $1, $2::text[]", params(2)),
        Request::new("INSERT INTO b SELECT $2, $1, $10", params(10)),
    ]);
    let together = together.expect("a request");
    let sql =
        "WITH w0 AS (INSERT INTO a SELECT $1, $2::text[]), w1 AS (INSERT INTO b SELECT $4, $3, $12) SELECT 1";
    assert_eq!((together.sql(), together.params()), (sql, 12));
    assert_eq!(
        Request::together(vec![Request::plain("x")]).map(|one| one.sql().to_owned()),
        Some("x".to_owned())
    );
    assert!(Request::together(Vec::new()).is_none());
}

type Answered = oneshot::Receiver<Result<Reply, Failure>>;

fn add(queue: &Queue, user: &str) -> Result<Answered, Failure> {
    let user = User { account: "primary".to_owned(), id: user.to_owned() };
    let (answer, answered) = oneshot::channel();
    queue.add(Job { caller: Caller::User(user), call: Call::Devices, answer }).map(|()| answered)
}

fn users(batch: &[Job]) -> Vec<&str> {
    batch.iter().map(|job| job.caller.user().id.as_str()).collect()
}

#[tokio::test]
async fn batch_has_each_user_once_in_the_order_of_locks() {
    let queue = Queue::default();
    for user in ["b", "a", "b", "c"] {
        add(&queue, user).expect("room");
    }
    let first = queue.take().await.expect("a batch");
    assert_eq!(users(&first), ["a", "b", "c"]);
    add(&queue, "d").expect("room");
    assert_eq!(users(&queue.take().await.expect("a batch")), ["d"], "b has a batch under way");
    queue.release(first.iter().map(|job| job.caller.user().clone()).collect());
    assert_eq!(users(&queue.take().await.expect("a batch")), ["b"]);
}

#[tokio::test]
async fn closed_queue_is_emptied_first() {
    let queue = Queue::default();
    add(&queue, "a").expect("room");
    queue.close();
    assert_eq!(queue.take().await.map(|batch| batch.len()), Some(1));
    assert!(queue.take().await.is_none());
}

#[tokio::test]
async fn full_queue_turns_calls_away_unless_one_in_it_is_waited_for_no_more() {
    let queue = Queue::default();
    let mut answered: Vec<_> = (0..WAITING_MAX).map(|n| add(&queue, &n.to_string()).expect("room")).collect();
    assert!(matches!(add(&queue, "more"), Err(Failure::Busy)));
    answered.pop();
    assert!(add(&queue, "more").is_ok());
}
