//! Bakes `tests/vectors/wire/*.json`: inputs, and the bytes and JSON texts that the engine makes of them.
//!
//! `cargo run -p nself-sync-tests --bin bake_wire` writes the files anew, always with the same inputs. An output that
//! changes is a change of the wire or of what stores hold: clients and data that are out there must bear it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};

#[path = "../../tests/wire/answers.rs"]
mod answers;
#[path = "../../tests/wire/deltas.rs"]
mod deltas;

fn main() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/wire");
    fs::create_dir_all(&folder)?;
    for (file, answer) in answers::FILES {
        let inputs = match file {
            "patch" => patches(),
            "delta" => deltas::inputs(),
            "keys" => keys(),
            _ => problems(),
        };
        let mut lines = Vec::new();
        for (name, input) in inputs {
            let output = answer(&input).with_context(|| format!("{file}: {name}"))?;
            lines.push(json!({ "name": name, "input": input, "output": output }).to_string());
        }
        fs::write(folder.join(format!("{file}.json")), format!("[\n{}\n]\n", lines.join(",\n")))?;
    }
    Ok(())
}

/// A name and an input.
type Input = (String, Value);

fn named(name: impl Into<String>, input: Value) -> Input {
    (name.into(), input)
}

fn bytes(content: &[u8]) -> Value {
    json!({ "base64": BASE64_STANDARD.encode(content) })
}

/// Long enough for a patch to be smaller than the content.
fn page(lines: usize, end: &str) -> String {
    (0..lines).map(|line| format!("line {line} — Zeile 第{line}行\r\n")).collect::<String>() + end
}

/// Pairs of texts: ends of lines and of files, characters of every length.
const TEXTS: &[(&str, &str, &str)] = &[
    ("nothing to nothing", "", ""),
    ("the same", "same\n", "same\n"),
    ("from empty", "", "new\n"),
    ("to empty", "old\n", ""),
    ("one letter", "let x = 1;\n", "let y = 1;\n"),
    ("no final newline gained", "a\nb", "a\nb\n"),
    ("no final newline lost", "a\nb\n", "a\nb"),
    ("no newline at all", "one", "two"),
    ("LF to CRLF", "a\nb\nc\n", "a\r\nb\r\nc\r\n"),
    ("CRLF, one line edited", "a\r\nb\r\nc\r\n", "a\r\nB\r\nc\r\n"),
    ("CR alone", "a\rb\rc", "a\rB\rc"),
    ("two bytes that share one", "né\n", "nè\n"),
    ("three bytes", "日本\n", "日木\n"),
    ("four bytes that share three", "😀\n", "😁\n"),
    ("combining mark added", "e\n", "e\u{301}\n"),
    ("surrogate pair beside ASCII", "a😀b", "a😀c😀b"),
    ("family of joined emoji", "👩\u{200d}👩\u{200d}👧", "👩\u{200d}👩\u{200d}👦"),
    ("byte order mark", "a\n", "\u{feff}a\n"),
    ("quotes, backslashes, tabs", "\"a\"\\\t\n", "\"b\"\\\\\t\t\n"),
    ("control characters", "a\u{1}\u{8}\u{c}\u{1f}\u{7f}b", "a\u{1f}\u{8}\u{0}b"),
    ("line separators of JavaScript", "a\u{2028}b", "a\u{2029}b"),
    ("two edits apart", "one\ntwo\nthree\nfour\nfive\n", "One\ntwo\nthree\nfour\nfivE\n"),
    ("a line moved", "a1\nb2\nc3\nd4\n", "b2\nc3\nd4\na1\n"),
    ("repeated lines", "x\nx\nx\nx\n", "x\nx\n"),
    ("nothing in common", "abcdef", "UVWXYZ"),
    ("HTML", "<a href=\"x\">&amp;</a>", "<a href='x'>&amp;</a><!-- -->"),
];

fn patches() -> Vec<Input> {
    let mut inputs = Vec::new();
    for (name, base, target) in TEXTS {
        inputs.push(named(*name, json!({ "base": base, "target": target })));
        inputs.push(named(format!("{name}, back"), json!({ "base": target, "target": base })));
    }
    let (one, two) = (page(60, ""), page(60, "end").replacen("line 7 ", "line sieben ", 1));
    inputs.push(named("long, two edits far apart", json!({ "base": one, "target": two })));
    let binary = |name: &str, base: &[u8], target: &[u8]| {
        named(name, json!({ "base": bytes(base), "target": bytes(target) }))
    };
    inputs.push(binary("bytes that are no text", &[0, 1, 2, 0xFF], &[0, 1, 3, 0xFF, 0xFE]));
    inputs.push(binary("half a character", "né".as_bytes(), &[b'n', 0xC3]));
    inputs.push(binary("a NUL", b"a\0b", b"a\0c"));
    let chains: [(&str, &[&str]); 6] = [
        ("nothing", &["a", "a"]),
        ("typing", &["", "h", "he", "hel", "help"]),
        ("typed and taken back", &["ab", "axb", "ab"]),
        ("insertion within an insertion", &["ab", "a12b", "a1é2b"]),
        ("deletion over what was inserted", &["abcdef", "abcXYdef", "abf"]),
        ("characters of four bytes", &["😀", "😀😁", "😁", "😁😂"]),
    ];
    for (name, versions) in chains {
        inputs.push(named(format!("composed: {name}"), json!({ "compose": versions })));
    }
    let applied = [
        ("applied", "né\n", r#"[[1,2,"è"]]"#),
        ("applied: empty", "né\n", "[]"),
        ("applied: at the end", "né\n", r#"[[4,0,"x"]]"#),
        ("applied: empty operations", "né\n", r#"[[0,0,""],[1,0,""]]"#),
        ("past the end", "né\n", r#"[[4,1,""]]"#),
        ("second past the end", "né\n", r#"[[1,0,"x"],[9,0,"y"]]"#),
        ("cuts a character at its skip", "né\n", r#"[[2,0,"x"]]"#),
        ("cuts a character at its end", "né\n", r#"[[1,1,""]]"#),
        ("huge", "né\n", r#"[[9007199254740992,1,""]]"#),
        ("too huge", "né\n", r#"[[9007199254740993,1,""]]"#),
        ("negative", "né\n", r#"[[-1,1,""]]"#),
        ("fractional", "né\n", r#"[[0.5,1,""]]"#),
        ("whole as a fraction", "né\n", r#"[[1.0,2,"e"]]"#),
        ("no list", "né\n", r#"{"skip":1}"#),
        ("no triple", "né\n", r#"[[1,2]]"#),
        ("no text", "né\n", r#"[[1,2,3]]"#),
        ("a character as two escapes", "né\n", r#"[[0,0,"\ud83d\ude00"]]"#),
    ];
    for (name, base, patch) in applied {
        inputs.push(named(name, json!({ "base": base, "patch": patch })));
    }
    inputs
}

fn keys() -> Vec<Input> {
    let name = |bytes: usize| "n".repeat(bytes);
    let keys = [
        "active_file",
        "env_encrypted",
        "É n",
        "",
        "a/b",
        "a\nb",
        "a\u{85}b",
        "sessions",
        "sessions/",
        "sessions/s1",
        "sessions/s1/",
        "sessions/s1/status",
        "sessions/s1/a/b",
        "context_pages/p1",
        "context_pages/p1/title",
        "context_pages/p1/content",
        "files",
        "files/",
        "files/a",
        "files/web/src/main.rs",
        "files/../a",
        "files/a\\b",
        "other/a",
    ];
    let long = [name(256), name(257), format!("sessions/{}", name(257)), format!("files/{}", name(1024))];
    let paths = [
        "a",
        "a/b",
        ".env",
        "...",
        "a b/é😀",
        "web/C:/x",
        "",
        ".",
        "..",
        "/a",
        "a/",
        "a//b",
        "a/./b",
        "a/../b",
        "a\\b",
        "C:",
        "c:/x",
        "C:x",
        "é:x",
        "a\u{0}",
        "a\u{7f}",
        "a\u{9f}",
        "a\u{a0}b",
    ];
    let long_paths = [name(1024), name(1025), "é".repeat(512), "é".repeat(513)];
    let key = |key: String| named(key.chars().take(40).collect::<String>(), json!({ "key": key }));
    let path = |path: String| {
        let name = format!("path {}", path.chars().take(40).collect::<String>());
        named(name, json!({ "path": path }))
    };
    let keys = keys.map(str::to_owned).into_iter().chain(long).map(key);
    keys.chain(paths.map(str::to_owned).into_iter().chain(long_paths).map(path)).collect()
}

fn problems() -> Vec<Input> {
    let push = |members: &str| format!(r#"{{"device_id":"web-1","seq":4,"state":{{}}{members}}}"#);
    let bodies = [
        ("a push", push("")),
        ("numbers that are whole", push(r#","seq":4.0,"push_no":7e0"#)),
        ("no JSON", "{\"state\":secret}".to_owned()),
        ("cut off", "{\"device_id\":\"web".to_owned()),
        ("no object", "[]".to_owned()),
        ("nested too deep", push(&format!(r#","x":{}{}"#, "[".repeat(101), "]".repeat(101)))),
        ("nested far too deep", "[".repeat(2_000)),
        ("no device_id", r#"{"seq":4,"state":{}}"#.to_owned()),
        ("no seq", r#"{"device_id":"web-1","state":{}}"#.to_owned()),
        ("no state", r#"{"device_id":"web-1","seq":4}"#.to_owned()),
        ("negative seq", push(r#","seq":-1"#)),
        ("fractional seq", push(r#","seq":4.5"#)),
        ("seq of 2^60", push(r#","seq":1152921504606846976"#)),
        ("state as a list", push(r#","state":[]"#)),
        ("tag that is none", push(r#","tag":"xyz""#)),
        ("changed_at with a text", push(r#","changed_at":{"n":"now"}"#)),
        ("seen as a list", push(r#","seen":[]"#)),
        ("seen with a fraction", push(r#","seen":{"n":1.5}"#)),
        ("plaintext env", push(r#","state":{"env":null}"#)),
    ];
    let mut inputs: Vec<Input> = bodies
        .into_iter()
        .map(|(name, body)| named(format!("push: {name}"), json!({ "push": body })))
        .collect();
    inputs.push(named("push: no UTF-8", json!({ "push": bytes(b"{\"a\":\"\xFF\"}") })));
    let others = [
        ("resolve", r#"{"resolution":"mine"}"#),
        ("resolve", r#"{"resolution":"ours"}"#),
        ("resolve", r#"{"resolution":"merged"}"#),
        ("resolve", r#"{"resolution":"merged","content":5}"#),
        ("resolve", r#"{"resolution":"mine","theirs_hash":"12"}"#),
        ("pull", "since_seq=41&patches=1&files=meta"),
        ("pull", "since_seq=-1"),
        ("pull", "since_seq=9007199254740992"),
        ("pull", "files=all"),
        ("pull", "epoch=%FF"),
        ("history", "key=files/web%2Fsrc/main.rs"),
        ("history", "key=files/../a"),
        ("history", "key=n&limit=1000"),
        ("history", "key=n&cursor=x"),
        ("file", "12"),
        ("protocol", "1"),
        ("protocol", "2"),
    ];
    inputs.extend(others.map(|(kind, given)| named(format!("{kind}: {given}"), json!({ kind: given }))));
    let rejects = [
        "unauthorized",
        "device_mismatch",
        "device_revoked",
        "user_token_required",
        "too_many_devices",
        "not_found",
        "method_not_allowed",
        "device_forked",
        "stale_push",
        "seq_ahead",
        "epoch_changed",
        "conflicts_unresolved",
        "conflict_moved",
        "conflict_moved_gone",
        "conflict_resolved",
        "body_too_large",
        "too_many_keys",
        "unsupported_encoding",
    ];
    inputs.extend(rejects.map(|name| named(name, json!({ "reject": name }))));
    inputs
}
