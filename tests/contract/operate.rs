//! What operators do on the command line: `status`, `erase`, and `rotate-epoch` after a restore.

use std::collections::BTreeMap;

use nself_sync_tests::world::{Device, World, assert_problem};
use serde_json::{Value, json};

use crate::durability::native;

crate::cases![
    status_counts_what_is_stored.native(),
    erased_user_is_in_no_table_and_nobody_else_is_concerned.native(),
    erase_without_a_second_word_erases_nothing.native(),
    restored_host_with_a_new_epoch_gets_everything_back.native(),
    user_without_history_can_have_a_new_epoch.native(),
    rotate_epoch_needs_to_know_whose.native(),
    command_in_another_folder_than_the_servers_says_so.native().only("sqlite"),
];

fn run(world: &World, args: &[&str]) -> (bool, String) {
    let (status, text) = native(world).run(args).expect("it runs");
    assert!(matches!(status.code(), Some(0..=2)) && !text.contains("panicked"), "{args:?}: {status}: {text}");
    (status.success(), text)
}

/// Two devices and a removed one, a conflict, and rows in most tables.
fn user(world: &World) -> (World, Device, Device) {
    let world = world.another_user();
    let (mut a, mut b) = world.two_devices(json!({"n": 1, "files": {"f": {"content": "base\n"}}}));
    world.device("web-c").push(json!({}));
    assert_eq!(world.delete("/sync/devices/web-c").status, 204);
    a.push(json!({"files": {"f": {"content": "theirs\n"}}}));
    assert_eq!(b.push(json!({"files": {"f": {"content": "mine\n"}}})).status("files/f"), "conflict");
    (world, a, b)
}

fn status_counts_what_is_stored(world: &World) {
    let lines = |text: &str| -> BTreeMap<String, String> {
        let pair =
            |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
        text.lines().filter_map(pair).collect()
    };
    let (_, empty) = run(world, &["status"]);
    let empty = lines(&empty);
    assert_eq!((empty["users"].as_str(), empty["oldest delta"].as_str()), ("0", "none"));
    let (first, ..) = user(world);
    let (second, ..) = user(world);
    world.another_user().snapshot();
    run(&second, &["export", "--user", &second.user, "--move", "--output", "x"]);
    let (is_well, text) = run(world, &["status"]);
    assert!(is_well, "{text}");
    let status = lines(&text);
    let numbers: Vec<&str> =
        ["users", "users moved away", "users being imported", "devices", "open conflicts"]
            .iter()
            .map(|name| status[*name].as_str())
            .collect();
    assert_eq!(numbers, ["3", "1", "0", "4", "2"], "{text}");
    assert_eq!(status["store"], world.host.name());
    assert!(status["bytes stored"].parse::<u64>().is_ok_and(|bytes| bytes > 10_000), "{text}");
    let made = &first.history("n")[0]["created_at"];
    assert_eq!(json!(status["oldest delta"]), *made);
    let (applied, expected) = status["migrations"].split_once(" of ").expect("two numbers");
    assert_eq!(applied, expected);
}

/// The tables that have a column of users, with all columns and their types, as the store itself lists them.
fn tables(world: &World) -> BTreeMap<String, Vec<(String, String)>> {
    let list = match world.host.name() {
        "postgres" => {
            "SELECT table_name || ' ' || column_name || ' ' || data_type FROM information_schema.columns
             WHERE table_schema = 'np_sync' ORDER BY ordinal_position"
        }
        _ => {
            "SELECT m.name || ' ' || c.name || ' ' || c.type FROM sqlite_master AS m, pragma_table_info(m.name) AS c
             WHERE m.type = 'table' AND m.name LIKE 'np_sync_%'"
        }
    };
    let mut tables: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for row in native(world).sql(list).expect("it is SQL") {
        let mut words = row.splitn(3, ' ').map(str::to_owned);
        let (table, column, kind) = (words.next(), words.next(), words.next());
        let columns = tables.entry(table.expect("a table")).or_default();
        columns.push((column.expect("a column"), kind.expect("a type").to_lowercase()));
    }
    tables.retain(|_, columns| columns.iter().any(|(name, _)| name == "user_no" || name == "user_id"));
    assert!(tables.len() >= 10, "{tables:?}");
    tables
}

/// Whose rows, in this store's words.
fn whose(world: &World, user: &str) -> (String, String) {
    match world.host.name() {
        "postgres" => ("user_id".to_owned(), format!("'{user}'")),
        _ => {
            let number = format!("SELECT user_no || '' FROM np_sync_heads WHERE user_id = '{user}'");
            let numbers = native(world).sql(&number).expect("it is SQL");
            ("user_no".to_owned(), numbers.first().expect("the user is there").clone())
        }
    }
}

/// One more row of that user, in whatever table.
fn plant(world: &World, table: &str, columns: &[(String, String)], (name, user): &(String, String)) {
    let value = |(column, kind): &(String, String)| match kind.as_str() {
        _ if column == name => user.clone(),
        _ if column == "source_account_id" => "'primary'".to_owned(),
        "text" | "character varying" => "'planted'".to_owned(),
        "json" | "jsonb" => "'{}'".to_owned(),
        "bytea" => "'\\x00'::bytea".to_owned(),
        "blob" => "x'00'".to_owned(),
        "timestamp with time zone" => "now()".to_owned(),
        "boolean" => "true".to_owned(),
        "uuid" => "gen_random_uuid()".to_owned(),
        _ => "77".to_owned(),
    };
    let names: Vec<&str> = columns.iter().map(|(column, _)| column.as_str()).collect();
    let values: Vec<String> = columns.iter().map(value).collect();
    let sql = format!(
        "INSERT INTO {table} ({}) VALUES ({}) ON CONFLICT DO NOTHING",
        names.join(", "),
        values.join(", ")
    );
    native(world).damage(&sql).unwrap_or_else(|error| panic!("{sql}: {error:#}"));
}

fn erased_user_is_in_no_table_and_nobody_else_is_concerned(world: &World) {
    let (erased, a, _) = user(world);
    let (other, mut other_a, _) = user(world);
    let before = other.snapshot();
    let whose = whose(world, &erased.user);
    let tables = tables(world);
    let count = |table: &str| {
        let sql = format!("SELECT count(*) || '' FROM {table} WHERE {} = {}", whose.0, whose.1);
        native(world).sql(&sql).expect("it is SQL").concat()
    };
    for (table, columns) in tables.iter().filter(|(table, _)| *table != "np_sync_heads") {
        plant(world, table, columns, &whose);
        assert_ne!(count(table), "0", "{table}");
    }
    let (is_well, text) = run(world, &["erase", "--user", &erased.user, "--yes", &erased.user]);
    assert!(is_well && text.contains("everything is erased"), "{text}");
    for table in tables.keys() {
        assert_eq!(count(table), "0", "{table} is not erased");
    }
    assert_eq!(other.snapshot(), before);
    other_a.push(json!({"n": 2}));
    assert_problem(&a.get("/sync/pull"), 401, "unauthorized");
    assert_eq!(erased.snapshot()["seq"], 0, "the user may begin anew");
    let (is_well, text) = run(world, &["erase", "--user", "nobody", "--yes", "nobody"]);
    assert!(!is_well && text.contains("no such user"), "{text}");
}

fn erase_without_a_second_word_erases_nothing(world: &World) {
    let (user, ..) = user(world);
    let before = user.snapshot();
    for more in [&[][..], &["--yes", "yes"], &["--yes", ""], &["--account", "other", "--yes", &user.user]] {
        let (is_well, text) = run(&user, &[&["erase", "--user", &user.user], more].concat());
        assert!(!is_well, "{more:?}: {text}");
        assert!(text.contains("--yes") || text.contains("no such user"), "{text}");
    }
    let (status, _, text) =
        native(world).run_piped(&["erase", "--user", &user.user], b"yes\nerase\n").expect("it runs");
    assert!(!status.success() && text.contains("--yes is needed where nobody can be asked"), "{text}");
    assert_eq!(user.snapshot(), before);
}

/// What a client does that finds another history: it takes the snapshot, and offers all that it holds and that differs, documents
/// by no base, scalars with their time.
fn come_back(device: &mut Device, changed_at: u64) {
    let held = device.view.clone();
    let mut files = serde_json::Map::new();
    for (path, bytes) in &held.files {
        let text = String::from_utf8_lossy(bytes);
        files.insert(path.clone(), json!({"content": text, "base_hash": null}));
    }
    let refused = device.try_push(json!({"cursor": 1}));
    assert_problem(&refused, 409, "epoch_changed");
    let snapshot = device.pull();
    assert_eq!((&snapshot["kind"], &snapshot["reason"]), (&json!("snapshot"), &json!("epoch_changed")));
    let (mut state, mut times) = (json!({ "files": files }), json!({}));
    for (key, value) in &held.scalars {
        state[key] = value.clone();
        times[key] = json!(changed_at);
    }
    device.push_at(state, times);
}

fn restored_host_with_a_new_epoch_gets_everything_back(world: &World) {
    let file = |path: &str, text: &str| json!({"files": {path: {"content": text}}});
    let (mut a, mut b) = world
        .two_devices(json!({"n": 1, "files": {"f": {"content": "old\n"}, "same": {"content": "same\n"}}}));
    native(world).shut_down().expect("an orderly stop");
    native(world).back_up().expect("a backup");
    native(world).resume().expect("it starts again");
    a.push(json!({"n": 2, "m": 1}));
    a.push(file("f", "new\n"));
    a.push(file("only-a", "only a has it\n"));
    let mut c = world.device("web-c");
    c.push(json!({}));
    c.push(file("only-c", "only c has it\n"));
    // Its seq and tag are those of the backup: only the epoch can tell it that the host forgot something.
    let at_backup = b.clone();
    b.pull();
    native(world).shut_down().expect("an orderly stop");
    native(world).restore().expect("the backup is put back");
    let (is_well, text) = run(world, &["rotate-epoch", "--all"]);
    assert!(is_well && text.contains("a new epoch for 1 user"), "{text}");
    native(world).resume().expect("it starts again");

    let now = 4_000_000_000_000;
    come_back(&mut a, now);
    assert_eq!(world.scalar("n"), 2);
    assert_eq!(world.scalar("m"), 1);
    assert_eq!(world.file("only-a").as_deref(), Some("only a has it\n"));
    assert_eq!(world.file("same").as_deref(), Some("same\n"));
    let conflict = world.only_conflict();
    assert_eq!(
        (&conflict["mine"]["content"], &conflict["theirs"]["content"]),
        (&json!("new\n"), &json!("old\n"))
    );
    world.resolved(&conflict, json!({"resolution": "mine"}));
    // It registered after the backup: the host does not know it, and its user signs in again.
    assert_eq!(c.get("/sync/pull").status, 401);
    c.token = None;
    come_back(&mut c, now);
    assert_eq!(world.file("only-c").as_deref(), Some("only c has it\n"));
    come_back(&mut b, now);
    let mut slept = at_backup;
    slept.push_no = b.push_no;
    assert_problem(&slept.try_push(json!({"n": 0})), 409, "epoch_changed");
    for conflict in world.conflicts() {
        world.resolved(&conflict, json!({"resolution": "theirs"}));
    }
    assert_eq!(world.file("f").as_deref(), Some("new\n"), "nothing that any device had is lost");
    world.assert_converged(&mut [&mut a, &mut b, &mut c]);
    let (is_well, text) = run(world, &["verify", "--user", &world.user]);
    assert!(is_well, "{text}");
}

fn user_without_history_can_have_a_new_epoch(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({}));
    let old = a.epoch.clone();
    let (moved, ..) = user(world);
    run(&moved, &["export", "--user", &moved.user, "--move", "--output", "x"]);
    let (is_well, text) = run(world, &["rotate-epoch", "--all"]);
    assert!(is_well && text.contains("a new epoch for 1 user"), "who is not served here keeps it: {text}");
    assert_problem(&a.try_push(json!({"n": 1})), 409, "epoch_changed");
    a.pull();
    assert_ne!(a.epoch, old);
    a.push(json!({"n": 1}));
    let mut b = world.device("mobile-b");
    b.pull();
    assert_eq!(b.view, world.view());
    let (is_well, text) = run(&moved, &["rotate-epoch", "--user", &moved.user]);
    assert!(!is_well && text.contains("not served here"), "{text}");
}

fn rotate_epoch_needs_to_know_whose(world: &World) {
    user(world);
    for args in
        [&["rotate-epoch"][..], &["rotate-epoch", "--all", "--user", "x"], &["rotate-epoch", "--user", "x"]]
    {
        let (is_well, text) = run(world, args);
        assert!(!is_well, "{args:?}: {text}");
    }
    let value: Value = world.snapshot();
    assert_eq!(value["seq"], 0);
}

fn command_in_another_folder_than_the_servers_says_so(world: &World) {
    let (user, ..) = user(world);
    let elsewhere = native(world).path("elsewhere");
    let vars = [("PLUGIN_SYNC_DATA_DIR", elsewhere.to_str().expect("a path"))];
    let commands: [&[&str]; 6] = [
        &["rotate-epoch", "--all"],
        &["erase", "--user", &user.user, "--yes", &user.user],
        &["export", "--user", &user.user, "--move"],
        &["dead-letters"],
        &["status"],
        &["verify"],
    ];
    for command in commands {
        let (status, text) = native(world).run_with(command, &vars).expect("it runs");
        assert!(!status.success() && text.contains("elsewhere"), "{command:?}: {text}");
        assert!(!elsewhere.exists(), "{command:?} makes nothing");
    }
}
