//! What needs no server. The rest is the contract suite's.

use super::url;
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
    for url in ["postgres://me:hunter2@db:port/sync", "postgres://me:hunter2@db/sync?nonsense=1"] {
        let error = error(url);
        assert!(error.starts_with("DATABASE_URL: ") && !error.contains("hunter2"), "{error}");
    }
    assert!(
        error("postgres://me@db/sync?sslrootcert=/nowhere.pem&sslmode=verify-full").contains("/nowhere.pem")
    );
}
