use super::*;

/// The metrics that a text names.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_lowercase() && c != '_');
    let words = words.filter(|word| word.starts_with("nself_plugin_") || word.starts_with("nself_sync_"));
    words.map(|word| word.trim_end_matches("_bucket").to_owned()).collect()
}

fn panels() -> Vec<Value> {
    let dashboard: Value = serde_json::from_str(&plugin_file("grafana/nself-sync.json")).expect("JSON");
    dashboard["panels"].as_array().expect("panels").clone()
}

#[test]
fn it_shows_every_metric_that_the_operators_page_has_and_no_other() {
    let page = read("docs/operate.md");
    let (_, listed) = page.split_once("## Metrics and alerts").expect("the section");
    let (listed, _) = listed.split_once("\n## ").expect("its end");
    assert_eq!(metrics(&plugin_file("grafana/nself-sync.json")), metrics(listed));
    assert!(metrics(listed).len() > 10);
}

#[test]
fn each_panel_has_a_place_and_asks_for_something() {
    let (mut ids, mut places) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels() {
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{panel}");
        assert!(places.insert(panel["gridPos"].to_string()), "{panel}");
        for target in panel["targets"].as_array().into_iter().flatten() {
            assert!(!metrics(target["expr"].as_str().expect("an expression")).is_empty(), "{target}");
        }
    }
}
