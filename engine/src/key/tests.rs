use super::*;
use proptest::prelude::*;
use serde_json::json;

#[test]
fn each_kind_of_changed_key_is_told_apart() {
    let long = "n".repeat(NAME_BYTES_MAX);
    let deep = format!("files/{}", "d/".repeat(511) + "ff");
    let cases = [
        ("active_file", Key::Scalar("active_file")),
        ("Ünïcode key", Key::Scalar("Ünïcode key")),
        (long.as_str(), Key::Scalar(long.as_str())),
        ("sessions/s1", Key::Entry("sessions/s1")),
        ("sessions/s1/status", Key::Field("sessions/s1", "status")),
        ("sessions/s1/content", Key::Field("sessions/s1", "content")),
        ("context_pages/p1", Key::Entry("context_pages/p1")),
        ("context_pages/p1/title", Key::Field("context_pages/p1", "title")),
        ("files/a", Key::File("files/a")),
        ("files/web/src/main.rs", Key::File("files/web/src/main.rs")),
        ("files/.hidden/..two", Key::File("files/.hidden/..two")),
        (deep.as_str(), Key::File(deep.as_str())),
    ];
    for (text, key) in cases {
        assert_eq!(Key::parse(text), Some(key), "{text}");
    }
}

#[test]
fn what_is_no_changed_key_is_none() {
    let long = "n".repeat(NAME_BYTES_MAX + 1);
    let field = format!("sessions/s1/{long}");
    let path = format!("files/{}", "p".repeat(PATH_BYTES_MAX + 1));
    let none = [
        "",
        "files",
        "sessions",
        "context_pages",
        "files/",
        "sessions/",
        "sessions//a",
        "sessions/s1/",
        "sessions/s1/a/b",
        "other/a",
        "/active_file",
        "a\nb",
        "a\u{85}",
        "sessions/s\u{0}1",
        &long,
        &field,
        &path,
    ];
    for text in none {
        assert_eq!(Key::parse(text), None, "{text:?}");
    }
}

#[test]
fn paths_are_relative_and_plain() {
    for path in ["a", "a/b", "...", ".env", "a b/ü.rs", "web/C:/x", "ab:c", "-", "~", "con"] {
        assert_eq!(path_problem(path), None, "{path}");
    }
    let escaping = ["", "/", "/a", "a/", "a//b", ".", "..", "./a", "a/./b", "a/../b", "a/.."];
    let foreign = ["a\\b", "..\\a", "C:", "C:a", "c:/a", "a\u{0}", "a\nb", "a\u{7f}", "a\u{9f}"];
    for path in escaping.into_iter().chain(foreign) {
        assert!(path_problem(path).is_some(), "{path:?}");
    }
}

#[test]
fn limits_count_bytes_not_characters() {
    assert!(is_name(&"é".repeat(128)) && !is_name(&"é".repeat(129)));
    assert!(path_problem(&"é".repeat(512)).is_none() && path_problem(&"é".repeat(513)).is_some());
}

#[test]
fn a_key_is_set_where_the_state_has_it() {
    let mut state = Map::new();
    let keys = ["n", "sessions/s/f", "sessions/s/g", "context_pages/p/title", "files/a/b.rs"];
    for key in keys {
        set(&mut state, key, json!(key.len()));
    }
    let shape = json!({
        "n": 1, "sessions": { "s": { "f": 12, "g": 12 } }, "context_pages": { "p": { "title": 21 } },
        "files": { "a/b.rs": 12 },
    });
    assert_eq!(Value::Object(state.clone()), shape);
    // An entry that was null is an object again once a field is set.
    set(&mut state, "sessions/s", Value::Null);
    set(&mut state, "sessions/s/f", json!(true));
    assert_eq!(state["sessions"], json!({ "s": { "f": true } }));
}

proptest! {
    #[test]
    fn a_parsed_key_can_be_put_together_again(text in "(files/|sessions/|context_pages/|)[a-b./:\\\\é\n]{0,8}") {
        match Key::parse(&text) {
            Some(Key::Scalar(key) | Key::Entry(key) | Key::File(key)) => prop_assert_eq!(key, &text),
            Some(Key::Field(entry, field)) => prop_assert_eq!(format!("{entry}/{field}"), text),
            None => {}
        }
    }

    #[test]
    fn no_path_leaves_its_folder(path in "[a.:/\\\\]{0,10}") {
        if path_problem(&path).is_none() {
            let mut depth = 0;
            for segment in path.split('/') {
                prop_assert!(!matches!(segment, "" | "." | ".."));
                depth += 1;
            }
            prop_assert!(depth > 0 && !path.contains('\\'));
        }
    }
}
