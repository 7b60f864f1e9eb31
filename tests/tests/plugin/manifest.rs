use super::*;

#[test]
fn it_has_what_the_cli_requires_and_nothing_it_forbids() {
    let manifest = manifest();
    assert_eq!(manifest["manifest_version"], 2);
    for name in ["name", "version", "description", "category", "author", "repository", "maturity"] {
        assert!(manifest[name].as_str().is_some_and(|text| !text.is_empty()), "{name}");
    }
    assert!(["free", "licensed"].contains(&manifest["license"].as_str().expect("a license")));
    assert_eq!((&manifest["language"], &manifest["schema"]), (&json!("rust"), &json!("np_sync")));
    assert_eq!(manifest["dependencies"], json!([]), "an array, also where there is none");
    for forbidden in ["bundles", "checksum", "signature", "tier_pair", "author_public_key"] {
        assert!(manifest.get(forbidden).is_none(), "{forbidden}");
    }
}

#[test]
fn older_clis_find_what_they_want() {
    let manifest = manifest();
    for name in ["tier", "licenseType", "status", "minNselfVersion"] {
        assert!(manifest[name].as_str().is_some_and(|text| !text.is_empty()), "{name}");
    }
    let licensed = manifest["license"] == "licensed";
    assert_eq!(
        (&manifest["isCommercial"], &manifest["requires_license"]),
        (&json!(licensed), &json!(licensed))
    );
}

#[test]
fn its_version_is_the_servers() {
    assert_eq!(manifest()["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_service_is_the_one_of_the_other_files() {
    let manifest = manifest();
    let service = json!({
        "kind": "compose", "compose": "docker-compose.plugin.yml", "port": 3829, "healthcheck": "/health",
    });
    assert_eq!((&manifest["service"], &manifest["port"]), (&service, &json!(3829)));
    assert_eq!(manifest["routes"], json!([{ "path": "/sync", "upstream_port": 3829 }]));
    assert_eq!(manifest["migrations"], json!({ "dir": "migrations", "apply": "boot" }));
    let files =
        ["README.md", "Dockerfile", "docker-compose.plugin.yml", "hasura/tables.yaml", "nginx/sync.conf"];
    for file in files {
        assert!(!plugin_file(file).is_empty(), "{file}");
    }
}

#[test]
fn its_variables_are_those_of_the_example() {
    let env = &manifest()["env"];
    let (all, set) = example();
    let (required, optional) = (words(&env["required"]), words(&env["optional"]));
    assert_eq!(required, set, "what has to be set is not commented out");
    assert_eq!(required.union(&optional).cloned().collect::<BTreeSet<_>>(), all);
    assert!(required.is_disjoint(&optional));
}

#[test]
fn its_tables_are_those_of_the_migrations() {
    assert_eq!(words(&manifest()["tables"]), tables().into_keys().collect());
}
