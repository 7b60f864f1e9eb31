//! The inputs of `vectors/wire/delta.json`: states, differences, applications and squashes.

use nself_sync_engine::ids::Hash;
use nself_sync_engine::text::Patch;
use serde_json::{Value, json};

use super::{Input, named, page};

/// All of them.
pub fn inputs() -> Vec<Input> {
    [states_and_diffs(), applications(), squashes()].concat()
}

/// A document entry as a patch.
fn patch_entry(from: &str, to: &str, seq: u64) -> Value {
    let patch = Patch::diff(from.as_bytes(), to.as_bytes()).to_json();
    let (base, result) = (Hash::of(from.as_bytes()), Hash::of(to.as_bytes()));
    json!({ "patch": patch, "base_hash": base, "hash": result, "size": to.len(), "seq": seq })
}

fn bare(content: &str, seq: u64) -> Value {
    json!({ "hash": Hash::of(content.as_bytes()), "size": content.len(), "seq": seq })
}

fn states_and_diffs() -> Vec<Input> {
    let mut inputs = Vec::new();
    let states = [
        ("empty", "{}"),
        ("key order", r#"{"z":1,"a":{"d":4,"c":{"y":1,"x":2}},"É":0,"e":1,"B":2}"#),
        (
            "numbers",
            r#"{"n":[0,-0.0,1.0,1.5,1e3,1e21,9007199254740993,18446744073709551615,-9223372036854775808,0.1,5e-324,1.7976931348623157e308]}"#,
        ),
        ("strings", r#"{"s":["\u00e9","\ud83d\ude00","\u2028","\u0000\u001f\u007f","\"\\/",""]}"#),
        ("nested null and empty values", r#"{"a":null,"b":[null],"c":{"d":null},"e":[],"f":{},"g":""}"#),
        ("empty entries", r#"{"sessions":{"s":{}},"files":{},"context_pages":{"p":{"title":null}}}"#),
        (
            "text and bytes",
            r#"{"files":{"t":{"content":"né\r\n"},"b":{"content_base64":"AP8="},"e":{"content":""}}}"#,
        ),
        (
            "text sent as bytes and bytes as text",
            r#"{"files":{"t":{"content_base64":"bsOp"},"b":{"content":"a\u0000"}}}"#,
        ),
        (
            "a page with fields",
            r#"{"context_pages":{"p":{"title":"T","content":"x","seq":3,"tags":["a"]},"q":{"content":""}}}"#,
        ),
        ("a field named as a content", r#"{"sessions":{"s":{"content":"x","hash":5,"seq":[]}}}"#),
        (
            "wrong hash",
            r#"{"files":{"a":{"content":"x","hash":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}}"#,
        ),
        (
            "no content",
            r#"{"files":{"a":{"hash":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}}"#,
        ),
        ("two contents", r#"{"files":{"a":{"content":"x","content_base64":"eA=="}}}"#),
        ("a path that leaves", r#"{"files":{"../a":{"content":"x"}}}"#),
        ("a name with a slash", r#"{"sessions":{"s":{"a/b":1}}}"#),
        ("a collection that is none", r#"{"context_pages":[]}"#),
    ];
    for (name, state) in states {
        inputs.push(named(format!("state: {name}"), json!({ "op": "state", "state": state })));
        inputs.push(named(format!("delta: {name}"), json!({ "op": "delta", "delta": state })));
    }
    let (one, two) = (page(30, "one\r\n"), page(30, "two"));
    let full = json!({
        "active_file": "web/src/main.rs", "cursor": { "line": 3, "col": 9 }, "big": 9_007_199_254_740_993_u64,
        "sessions": { "s1": { "title": "Fix", "status": "running" }, "s2": { "title": "Gone" } },
        "files": {
            "long": { "content": one, "seq": 4 }, "short": { "content": "é", "seq": 5 },
            "bin": { "content_base64": "AAE=", "seq": 5 },
        },
        "context_pages": { "p1": { "title": "N", "content": "# P\n", "seq": 5 }, "p2": { "content": "x", "seq": 1 } },
    });
    let mut edited = full.clone();
    edited["cursor"] = json!({ "col": 10, "line": 3 });
    edited["sessions"] = json!({ "s1": { "title": "Fix" }, "s3": { "title": "New" } });
    edited["files"]["long"] = json!({ "content": two, "seq": 6 });
    edited["files"]["short"] = json!({ "content": "é", "seq": 7 });
    edited["files"]["bin"] = json!({ "content_base64": "AAI=", "seq": 8 });
    edited["context_pages"] = json!({ "p1": { "title": "N" } });
    let empty = json!({});
    let pairs = [("from nothing", &empty, &full), ("to nothing", &full, &empty), ("edited", &full, &edited)];
    for (name, from, to) in pairs.into_iter().chain([("back", &edited, &full), ("the same", &full, &full)]) {
        let input = json!({ "op": "diff", "from": from.to_string(), "to": to.to_string() });
        inputs.push(named(format!("diff: {name}"), input));
    }
    inputs
}

fn applications() -> Vec<Input> {
    let (one, two) = (page(30, "one\r\n"), page(30, "two"));
    let held = json!({
        "n": 1, "sessions": { "s": { "a": 1, "b": 2 }, "s0": { "a": 1 } },
        "files": { "f": { "content": one, "seq": 1 }, "g": { "content": "g", "seq": 1 } },
        "context_pages": { "p": { "title": "t", "content": "x", "seq": 1 } },
    });
    let changes = [
        ("nothing", json!({})),
        ("scalars", json!({ "n": null, "m": { "deep": [null] } })),
        ("a session removed", json!({ "sessions": { "s": null } })),
        ("a session's last fields removed", json!({ "sessions": { "s": { "a": null, "b": null } } })),
        ("a patch", json!({ "files": { "f": patch_entry(&one, &two, 2) } })),
        ("a patch on another base", json!({ "files": { "g": patch_entry(&one, &two, 2) } })),
        ("a bare hash that is held", json!({ "files": { "g": bare("g", 9) } })),
        ("a bare hash that is not", json!({ "n": 5, "files": { "g": bare("other", 9), "h": bare("h", 9) } })),
        ("a file replaced", json!({ "files": { "g": { "content_base64": "/w==" } } })),
        ("files removed", json!({ "files": { "f": null, "g": null, "none": null } })),
        ("a page without content", json!({ "context_pages": { "p": { "content": null } } })),
        (
            "a page's content and field",
            json!({ "context_pages": { "p": { "content": "y", "title": null } } }),
        ),
    ];
    let mut inputs = Vec::new();
    for (name, change) in &changes {
        for op in ["apply", "reset"] {
            let input = json!({ "op": op, "state": held.to_string(), "delta": change.to_string() });
            inputs.push(named(format!("{op}: {name}"), input));
        }
    }
    inputs
}

fn squashes() -> Vec<Input> {
    let (one, two, three) = (page(30, "one\r\n"), page(30, "two"), page(30, "dré"));
    let file = |entry: Value| json!({ "files": { "f": entry } });
    let pairs = [
        ("scalar over scalar", json!({ "n": 1, "m": 1 }), json!({ "n": 2 })),
        ("removal over scalar", json!({ "n": 1 }), json!({ "n": null })),
        (
            "fields of one entry",
            json!({ "sessions": { "s": { "a": 1, "b": 1 } } }),
            json!({ "sessions": { "s": { "b": null } } }),
        ),
        ("entry removed", json!({ "sessions": { "s": { "a": 1 } } }), json!({ "sessions": { "s": null } })),
        (
            "entry removed and made anew",
            json!({ "sessions": { "s": null } }),
            json!({ "sessions": { "s": { "a": 1, "b": null } } }),
        ),
        (
            "page removed and made anew",
            json!({ "context_pages": { "p": null } }),
            json!({ "context_pages": { "p": { "content": "x" } } }),
        ),
        ("patch after content", file(json!({ "content": one })), file(patch_entry(&one, &two, 2))),
        ("patch after patch", file(patch_entry(&one, &two, 2)), file(patch_entry(&two, &three, 3))),
        ("patch after bare hash", file(bare(&one, 1)), file(patch_entry(&one, &two, 2))),
        ("patch after another content", file(json!({ "content": "x" })), file(patch_entry(&one, &two, 2))),
        ("bare hash after its content", file(json!({ "content": one })), file(bare(&one, 5))),
        ("bare hash after a patch to it", file(patch_entry(&one, &two, 2)), file(bare(&two, 5))),
        ("bare hash after another", file(bare(&one, 1)), file(bare(&two, 5))),
        ("content after removal", file(Value::Null), file(json!({ "content": "x" }))),
        ("removal after content", file(json!({ "content": "x" })), file(Value::Null)),
    ];
    let squash = |(name, first, next): (&str, Value, Value)| {
        let input = json!({ "op": "squash", "first": first.to_string(), "next": next.to_string() });
        named(format!("squash: {name}"), input)
    };
    pairs.into_iter().map(squash).collect()
}
