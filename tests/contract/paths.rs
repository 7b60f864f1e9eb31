//! PROTOCOL section 2: names of things, and what documents are made of.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nself_sync_tests::world::{Reply, World, sha256_hex};
use serde_json::{Value, json};

crate::cases![
    paths_that_leave_the_workspace_are_rejected,
    paths_with_odd_but_valid_names_work,
    path_of_1024_bytes_works_and_one_more_is_rejected,
    files_of_two_workspaces_are_two_files,
    names_of_scalars_ids_and_fields_are_checked,
    names_of_1_to_256_bytes_work,
    text_comes_back_byte_by_byte,
    empty_file_is_a_file,
    text_pushed_as_base64_is_text,
    text_with_nul_is_binary,
    bytes_come_back_as_base64,
    documents_in_replies_have_hash_size_and_seq,
    other_fields_of_a_file_entry_are_ignored,
    file_entry_in_a_delta_replaces_the_whole_entry,
    page_content_is_one_value_beside_its_fields,
    seq_of_a_document_is_its_last_change,
    file_limit_counts_decoded_bytes,
];

fn push_files(world: &World, paths: &[&str]) -> Reply {
    let files: Value = paths.iter().map(|path| ((*path).to_owned(), json!({"content": "x\n"}))).collect();
    world.device("desktop-a").push(json!({"files": files}))
}

fn paths_that_leave_the_workspace_are_rejected(world: &World) {
    let bad = [
        "",
        "/etc/passwd",
        "a//b",
        "a/",
        "/",
        ".",
        "./a",
        "a/./b",
        "..",
        "../a",
        "a/../b",
        "a/..",
        "a\\b",
        "..\\a",
        "C:/x",
        "c:\\x",
        "C:x",
        "a\u{0}b",
        "a\nb",
        "a\tb",
        "a\u{7f}b",
        "\u{1b}[31m",
    ];
    let reply = push_files(world, &[&bad[..], &["good"]].concat());
    for path in bad {
        assert_eq!(reply.rejected(&format!("files/{path}")), "invalid_path", "{path:?}");
    }
    assert_eq!(world.view().files.keys().collect::<Vec<_>>(), ["good"]);
}

fn paths_with_odd_but_valid_names_work(world: &World) {
    let good = [
        "a",
        ".gitignore",
        "...",
        "a..b/..c/d..",
        "with space/ü/日本/😀.txt",
        "a/b/c/d/e/f/g/h/i/j/k",
        "~/x",
        "$HOME",
        "%2e%2e/x",
        "a'b\"c;--",
        "e\u{301}",
        "\u{e9}",
        "CON",
        "__proto__",
        "constructor",
        "-rf",
        "a?b*c<d>|e",
    ];
    let reply = push_files(world, &good);
    assert_eq!(reply.value["results"], json!({}), "all applied");
    let files = world.view().files;
    for path in good {
        assert_eq!(files.get(path).map(Vec::as_slice), Some(&b"x\n"[..]), "{path:?}");
    }
    assert_eq!(files.len(), good.len(), "no two of them are one file");
}

fn path_of_1024_bytes_works_and_one_more_is_rejected(world: &World) {
    let at = format!("{}/{}", "é".repeat(256), "x".repeat(511));
    assert_eq!(at.len(), 1024);
    let over = format!("{at}y");
    let long = "d/".repeat(1024) + "x";
    let reply = push_files(world, &[&at, &over, &long]);
    assert_eq!(reply.status(&format!("files/{at}")), "applied");
    assert_eq!(reply.rejected(&format!("files/{over}")), "invalid_path");
    assert_eq!(reply.rejected(&format!("files/{long}")), "invalid_path", "2 KB long");
    assert_eq!(world.view().files.len(), 1);
}

fn files_of_two_workspaces_are_two_files(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(
        json!({"files": {"web/src/main.rs": {"content": "web\n"}, "api/src/main.rs": {"content": "api\n"}}}),
    );
    assert_eq!(world.file("web/src/main.rs").as_deref(), Some("web\n"));
    assert_eq!(world.file("api/src/main.rs").as_deref(), Some("api\n"));
}

fn names_of_scalars_ids_and_fields_are_checked(world: &World) {
    let mut a = world.device("desktop-a");
    let long = "k".repeat(257);
    for bad in ["a/b", "/", "a\u{0}", "a\nb", "\u{7f}", &long, ""] {
        let reply = a.push(json!({
            bad: 1,
            "sessions": {bad: {"t": 1}, "good": {bad: 1, "t": 1}},
            "context_pages": {bad: {"t": 1, "content": "x"}, "good": {bad: 1, "t": 1}},
        }));
        let results = reply.value["results"].as_object().expect("results").clone();
        let rejected: Vec<&String> =
            results.iter().filter(|(_, result)| result["status"] == "rejected").map(|(key, _)| key).collect();
        assert!(rejected.len() >= 5, "{bad:?}: each place is rejected: {results:?}");
        assert!(rejected.iter().all(|key| results[*key]["code"] == "invalid_key"), "{bad:?}: {results:?}");
    }
    let view = world.view();
    assert!(view.scalars.is_empty(), "{view:?}");
    assert_eq!((view.sessions.len(), view.pages.len()), (1, 1));
    assert_eq!((view.sessions["good"].len(), view.pages["good"].fields.len()), (1, 1));
}

fn names_of_1_to_256_bytes_work(world: &World) {
    let mut a = world.device("desktop-a");
    let long = "é".repeat(128);
    let mut state = json!({"sessions": {}, "context_pages": {}});
    for name in ["k", "with space", "日本", "a.b:c", "..", "null", &long] {
        state[name] = json!(1);
        state["sessions"][name] = json!({name: 1});
        state["context_pages"][name] = json!({name: 1, "content": "x\n"});
    }
    let reply = a.push(state.clone());
    assert_eq!(reply.value["results"], json!({}), "all applied");
    assert_eq!(world.view(), a.view);
    assert_eq!(a.view.sessions.len(), 7);
}

fn text_comes_back_byte_by_byte(world: &World) {
    let texts = [
        "no newline at the end",
        "\n",
        "\r\n",
        "a\r\nb\nc\r",
        "\u{feff}with a mark\n",
        "tabs\t\u{b}\u{c}\u{1}\u{7f}\n",
        "ü😀\u{2028}\u{10ffff}\n",
        " ",
        "\\u0041 \"quoted\" \\\n",
        "<<<<<<< mine\n=======\n>>>>>>> theirs\n",
    ];
    let files: Value = texts
        .iter()
        .enumerate()
        .map(|(index, text)| (format!("t{index}"), json!({"content": text})))
        .collect();
    world.device("desktop-a").push(json!({"files": files}));
    for (index, text) in texts.iter().enumerate() {
        assert_eq!(world.file(&format!("t{index}")).as_deref(), Some(*text));
        assert!(world.reachable(text.as_bytes()));
    }
}

fn empty_file_is_a_file(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"files": {"f": {"content": ""}, "g": {"content": "x\n"}}}));
    assert_eq!(b.view.files["f"], b"");
    let entry = world.snapshot()["state"]["files"]["f"].clone();
    assert_eq!((&entry["content"], &entry["size"]), (&json!(""), &json!(0)));
    assert_eq!(a.push(json!({"files": {"g": {"content": ""}}})).status("files/g"), "applied");
    assert_eq!(b.pull()["state"]["files"]["g"]["content"], "", "emptied, not removed");
}

fn text_pushed_as_base64_is_text(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"files": {"f": {"content_base64": STANDARD.encode("ü\n")}}}));
    assert_eq!(world.snapshot()["state"]["files"]["f"]["content"], "ü\n");
    let again = a.push(json!({"files": {"f": {"content": "ü\n"}}}));
    assert_eq!(again.status("files/f"), "unchanged", "the bytes count, not the field used");
}

fn text_with_nul_is_binary(world: &World) {
    let mut a = world.device("desktop-a");
    assert_eq!(a.push(json!({"files": {"f": {"content": "a\u{0}b"}}})).status("files/f"), "applied");
    let entry = world.snapshot()["state"]["files"]["f"].clone();
    assert_eq!((&entry["content_base64"], entry.get("content")), (&json!(STANDARD.encode(b"a\0b")), None));
}

fn bytes_come_back_as_base64(world: &World) {
    let all: Vec<u8> = (0..=255).collect();
    let (_, b) = world.two_devices(json!({
        "files": {"all": {"content_base64": STANDARD.encode(&all)}, "half": {"content_base64": STANDARD.encode(b"\xc3")}},
        "context_pages": {"p": {"content_base64": STANDARD.encode(&all)}},
    }));
    assert_eq!((&b.view.files["all"], &b.view.files["half"][..]), (&all, &b"\xc3"[..]));
    assert_eq!(b.view.pages["p"].content.as_ref(), Some(&all));
    assert!(world.reachable(&all));
}

fn documents_in_replies_have_hash_size_and_seq(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"n": 1}));
    a.push(json!({"files": {"f": {"content": "ü\n"}}}));
    a.push(json!({"n": 2}));
    let entry = world.snapshot()["state"]["files"]["f"].clone();
    assert_eq!(entry, json!({"content": "ü\n", "hash": sha256_hex("ü\n".as_bytes()), "size": 3, "seq": 2}));
}

fn other_fields_of_a_file_entry_are_ignored(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"files": {"f": {"content": "x\n", "mode": 755, "hash": "bogus", "size": -1, "seq": "?", "lang": null}}}));
    let entry = world.snapshot()["state"]["files"]["f"].clone();
    assert_eq!(entry, json!({"content": "x\n", "hash": sha256_hex(b"x\n"), "size": 2, "seq": 1}));
}

fn file_entry_in_a_delta_replaces_the_whole_entry(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"files": {"f": {"content": "x\n"}}}));
    a.push(json!({"files": {"f": {"content_base64": STANDARD.encode(b"\0")}}}));
    let delta = b.pull();
    let entry = delta["state"]["files"]["f"].as_object().expect("an entry").clone();
    assert!(entry.contains_key("content_base64") && !entry.contains_key("content"), "{entry:?}");
}

fn page_content_is_one_value_beside_its_fields(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"context_pages": {"p": {"title": "t", "content": "x\n"}}}));
    a.push(json!({"context_pages": {"p": {"content_base64": STANDARD.encode(b"\0")}}}));
    let delta = b.pull();
    let entry = delta["state"]["context_pages"]["p"].as_object().expect("an entry").clone();
    assert!(!entry.contains_key("title"), "a field that was not written is not in the delta: {entry:?}");
    assert_eq!(entry["content_base64"], STANDARD.encode(b"\0"));
    let page = world.view().pages["p"].clone();
    assert_eq!((page.content.as_deref(), &page.fields["title"]), (Some(&b"\0"[..]), &json!("t")));
    a.push(json!({"context_pages": {"p": {"title": "u"}}}));
    let delta = b.pull();
    assert_eq!(
        delta["state"]["context_pages"]["p"],
        json!({"title": "u"}),
        "nor content that was not written"
    );
}

fn seq_of_a_document_is_its_last_change(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"files": {"f": {"content": "1\n"}, "g": {"content": "1\n"}}}));
    a.push(json!({"files": {"f": {"content": "2\n"}, "g": {"content": "1\n"}}}));
    let files = world.snapshot()["state"]["files"].clone();
    assert_eq!((&files["f"]["seq"], &files["g"]["seq"]), (&json!(2), &json!(1)));
}

fn file_limit_counts_decoded_bytes(world: &World) {
    let mut a = world.device("desktop-a");
    let at = vec![0u8; 512 * 1024];
    let over = vec![0u8; 512 * 1024 + 1];
    let reply = a.push(json!({
        "files": {"at": {"content_base64": STANDARD.encode(&at)}, "over": {"content_base64": STANDARD.encode(&over)}},
        "context_pages": {"over": {"content": "x".repeat(512 * 1024 + 1), "title": "kept"}},
    }));
    assert_eq!(reply.status("files/at"), "applied");
    assert_eq!(reply.rejected("files/over"), "file_too_large");
    assert_eq!(reply.rejected("context_pages/over"), "file_too_large");
    let view = world.view();
    assert_eq!(view.files.len(), 1);
    assert_eq!(view.pages["over"].fields["title"], "kept", "the page's other fields are items of their own");
    assert_eq!(view.pages["over"].content, None);
}
