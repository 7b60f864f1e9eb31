//! The OpenAPI document says what the wire does.

use super::problems::rejects;
use super::*;
use std::collections::BTreeSet;

fn document() -> Value {
    serde_json::from_str(OPENAPI).expect("JSON")
}

fn words(value: &Value) -> BTreeSet<String> {
    let words = value.as_array().expect("an array").iter();
    words.map(|word| word.as_str().expect("a string").to_owned()).collect()
}

fn names(value: &Value) -> BTreeSet<String> {
    value.as_object().expect("an object").keys().cloned().collect()
}

#[test]
fn its_version_is_this_ones() {
    assert_eq!(document()["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn it_has_every_code_and_no_other() {
    let problems = rejects().iter().map(|reject| problem(reject, "r1")).collect::<Vec<_>>().into_iter();
    let problems: Vec<Problem> =
        problems.chain([unavailable("r1"), busy("r1"), misconfigured("r1"), internal("r1")]).collect();
    let codes = problems.iter().map(|problem| problem.body["code"].as_str().expect("a code").to_owned());
    let document = document();
    let schema = &document["components"]["schemas"]["Problem"]["properties"];
    assert_eq!(words(&schema["code"]["enum"]), codes.collect());
    for problem in &problems {
        for member in problem.body.as_object().expect("an object").keys() {
            assert!(schema.get(member).is_some(), "{member} of {}", problem.body["code"]);
        }
    }
}

#[test]
fn every_status_of_an_error_stands_at_some_route() {
    let document = document();
    let operations = document["paths"].as_object().expect("an object").values();
    let operations = operations.flat_map(|path| path.as_object().expect("an object").values());
    let documented: BTreeSet<String> =
        operations.flat_map(|operation| names(&operation["responses"])).collect();
    for reject in rejects() {
        // A route that is not there, or is for other methods, is no operation of the document.
        if !matches!(reject, Reject::MethodNotAllowed(_)) {
            let status = problem(&reject, "r1").status.to_string();
            assert!(documented.contains(&status), "{status} of {reject:?}");
        }
    }
}

#[test]
fn it_has_every_field_of_the_policy() {
    let document = document();
    let schema = &document["components"]["schemas"]["Policy"];
    let told = names(&Policy::default().to_json());
    assert_eq!((names(&schema["properties"]), words(&schema["required"])), (told.clone(), told));
}

#[test]
fn codes_of_rejected_items_are_the_protocols() {
    let protocol = include_str!("../../../../docs/protocol.md");
    let (_, rest) = protocol.split_once("Codes of rejected items: ").expect("the list");
    let listed = rest.lines().next().unwrap_or_default().trim_end_matches('.').split(", ");
    let document = document();
    let codes = &document["components"]["schemas"]["PushResult"]["properties"]["code"]["enum"];
    assert_eq!(words(codes), listed.map(str::to_owned).collect());
}
