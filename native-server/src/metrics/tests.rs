use super::*;
use nself_sync_engine::outbox::Backlog;
use serde_json::json;

fn value(metrics: &Metrics, series: &str) -> Option<f64> {
    let text = metrics.text().unwrap();
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn pruning_is_counted_by_kind() {
    let metrics = Metrics::new();
    for _ in 0..2 {
        metrics.pruned(&Pruned { deltas: 3, conflicts: 1, ..Pruned::default() });
    }
    assert_eq!(value(&metrics, r#"nself_sync_pruned_total{kind="deltas"}"#), Some(6.0));
    assert_eq!(value(&metrics, r#"nself_sync_pruned_total{kind="conflicts"}"#), Some(2.0));
    assert_eq!(value(&metrics, r#"nself_sync_pruned_total{kind="versions"}"#), Some(0.0));
}

#[test]
fn made_up_methods_make_no_series() {
    let metrics = Metrics::new();
    for n in 0..100 {
        metrics.answered("unmatched", &format!("METHOD{n}"), 405, Duration::from_millis(3));
    }
    let series =
        r#"nself_plugin_requests_total{plugin="sync",route="unmatched",method="other",status="405"}"#;
    assert_eq!(value(&metrics, series), Some(100.0));
    assert!(!metrics.text().unwrap().contains("METHOD"));
}

#[test]
fn replay_is_not_counted_again() {
    let metrics = Metrics::new();
    let mut reply = Reply::json(json!({ "results": {
        "n": {"status": "superseded"}, "files/a": {"status": "merged"}, "context_pages/p": {"status": "conflict"},
        "context_pages/p/title": {"status": "superseded"},
    }}));
    metrics.pushed(5, &reply);
    reply.headers.push(("idempotency-replayed", "true".to_owned()));
    metrics.pushed(5, &reply);
    let outcome = |word: &str| value(&metrics, &format!(r#"nself_sync_documents_total{{outcome="{word}"}}"#));
    assert_eq!(
        (outcome("applied"), outcome("merged"), outcome("conflict")),
        (Some(3.0), Some(1.0), Some(1.0))
    );
    assert_eq!((outcome("superseded"), value(&metrics, "nself_sync_pushes_total")), (None, Some(1.0)));
}

#[test]
fn age_is_that_of_the_oldest_event_and_nothing_where_none_waits() {
    let metrics = Metrics::new();
    let age = |oldest_at| {
        let backlog = Backlog { depth: 2, oldest_at, dead: 1 };
        metrics.set_levels(&Levels { conflicts_open: 3, backlog }, 10_000);
        value(&metrics, "nself_sync_outbox_oldest_age_seconds")
    };
    assert_eq!((age(Some(8500)), age(Some(99_000)), age(None)), (Some(1.5), Some(0.0), Some(0.0)));
    assert_eq!(value(&metrics, "nself_sync_conflicts_open"), Some(3.0));
    assert_eq!(value(&metrics, "nself_sync_dead_letters"), Some(1.0));
}
