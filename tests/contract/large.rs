//! What is too large for one row of a narrow store is kept, and comes back, all the same.

use nself_sync_tests::world::{Reply, World};
use serde_json::{Map, Value, json};

use crate::case::{Config, LARGE_FILES};

crate::cases![
    conflict_of_large_texts_keeps_all_three.config(LARGE_FILES),
    delta_of_many_large_scalars_is_whole,
    retry_of_a_push_with_many_results_repeats_them_all,
    large_rows_go_with_the_history.own().config(ONE_DAY),
];

const ONE_DAY: Config = &[("PLUGIN_SYNC_RETENTION_DAYS", "1")];
const DAY_MS: u64 = 86_400_000;

/// A text of so many bytes of which every line is another.
fn text(of: &str, bytes: usize) -> String {
    let line = |n: usize| format!("{of} line {n} {}\n", n.wrapping_mul(0x9e37_79b9) % 100_003);
    let mut text = String::new();
    let mut lines = 0;
    while text.len() < bytes {
        text.push_str(&line(lines));
        lines += 1;
    }
    text
}

fn file(text: &str) -> Value {
    json!({"files": {"f": {"content": text}}})
}

fn conflict_of_large_texts_keeps_all_three(world: &World) {
    let [base, theirs, mine] = ["base", "theirs", "mine"].map(|of| text(of, 2_300_000));
    let (mut a, mut b) = world.two_devices(file(&base));
    a.push(file(&theirs));
    assert_eq!(b.push(file(&mine)).status("files/f"), "conflict");
    // Three such texts are more than a reply inlines: what is left out is fetched by its hash.
    let conflict = world.only_conflict();
    for (side, content) in [("base", &base), ("theirs", &theirs), ("mine", &mine)] {
        let hash = conflict[side]["hash"].as_str().expect("each side has a hash");
        let bytes = world.get(&format!("/sync/files/{hash}"));
        assert!(bytes.status == 200 && bytes.body == content.as_bytes(), "{side}: {}", bytes.status);
    }
    world.resolved(&conflict, json!({"resolution": "mine"}));
    assert_eq!(world.snapshot()["state"]["files"]["f"]["hash"], conflict["mine"]["hash"]);
    world.assert_converged(&mut [&mut a, &mut b]);
}

/// Three megabytes of scalars.
fn scalars(value: &str) -> Value {
    let scalars = (0..50).map(|n| (format!("scalar-{n}"), json!(format!("{value}{n}").repeat(6000))));
    Value::Object(scalars.collect::<Map<_, _>>())
}

fn delta_of_many_large_scalars_is_whole(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"n": 0}));
    a.push(scalars("value"));
    b.pull();
    assert_eq!(b.view, world.view());
    assert_eq!(world.scalar("scalar-49"), json!("value49".repeat(6000)));
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn retry_of_a_push_with_many_results_repeats_them_all(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"n": 0}));
    let files = (0..1200).map(|n| (format!("{}{n:04}/../x", "d/".repeat(490)), json!({"content": "x"})));
    let body = a.body(json!({"n": 1, "files": files.collect::<Map<_, _>>()}));
    let lost = a.send(&body).json();
    assert_eq!(lost["results"].as_object().map(Map::len), Some(1200));
    let reply = Reply::of(&a.send(&body));
    assert!(reply.replayed);
    assert_eq!(reply.value["results"], lost["results"]);
    a.push(json!({"n": 2}));
    assert_eq!(world.scalar("n"), 2);
}

fn large_rows_go_with_the_history(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(scalars("old"));
    a.push(scalars("new"));
    world.host.advance(3 * DAY_MS);
    a.push(json!({"n": 1}));
    world.host.prune();
    assert_eq!(world.scalar("scalar-49"), json!("new49".repeat(6000)));
    let mut b = world.device("desktop-b");
    b.pull();
    b.push(json!({"n": 2}));
    world.assert_converged(&mut [&mut a, &mut b]);
}
