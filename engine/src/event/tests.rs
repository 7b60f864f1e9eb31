use super::*;
use serde_json::json;

fn listed(diff: Value) -> Vec<String> {
    keys(diff.as_object().unwrap())
}

#[test]
fn keys_are_named_as_a_push_names_them() {
    let diff = json!({
        "active_file": null, "cursor": {"line": 1},
        "sessions": {"s1": {"status": "x", "content": "y"}, "s2": null},
        "files": {"web/src/main.rs": "hash", "gone": null},
        "context_pages": {"p1": {"content": "hash", "title": "t"}, "p2": null},
    });
    let expected = [
        "active_file",
        "context_pages/p1",
        "context_pages/p1/title",
        "context_pages/p2",
        "cursor",
        "files/gone",
        "files/web/src/main.rs",
        "sessions/s1/content",
        "sessions/s1/status",
        "sessions/s2",
    ];
    let mut keys = listed(diff);
    keys.sort();
    assert_eq!(keys, expected);
}

#[test]
fn too_many_keys_are_not_listed() {
    let diff = |count: usize, bytes: usize| {
        let files = (0..count).map(|n| (format!("{n:0bytes$}"), json!("hash")));
        json!({ "files": files.collect::<Map<_, _>>() })
    };
    assert_eq!(listed(diff(KEYS_MAX, 3)).len(), KEYS_MAX);
    assert!(listed(diff(KEYS_MAX + 1, 3)).is_empty());
    assert_eq!(listed(diff(4, 1018)).len(), 4);
    assert!(listed(diff(4, 1019)).is_empty());
}
