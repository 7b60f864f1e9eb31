use nself_sync_engine::wire;
use serde_json::Value;
use std::collections::BTreeSet;

/// The routes as they are written down above, `GET /sync/pull`. HEAD goes without saying where GET is.
fn written() -> BTreeSet<String> {
    let routes = include_str!("../routes.rs").split(".route(\"").skip(1);
    let routes = routes.flat_map(|rest| {
        let (path, rest) = rest.split_once('"').expect("a path");
        let (_, rest) = rest.split_once("only(\"").expect("its methods");
        let (methods, _) = rest.split_once('"').expect("the methods' end");
        let methods = methods.split(", ").filter(|method| *method != "HEAD");
        methods.map(move |method| format!("{method} {path}")).collect::<Vec<_>>()
    });
    routes.collect()
}

#[test]
fn openapi_has_every_route_and_method_and_no_other() {
    let document: Value = serde_json::from_str(wire::OPENAPI).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let documented = paths.iter().flat_map(|(path, operations)| {
        let methods = operations.as_object().unwrap().keys();
        methods.map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    assert_eq!(documented.collect::<BTreeSet<_>>(), written());
}
