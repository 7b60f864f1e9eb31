use super::*;

fn service() -> Value {
    let compose = yaml("docker-compose.plugin.yml");
    let services = compose["services"].as_object().expect("services");
    assert_eq!(services.len(), 1);
    services.values().next().expect("one").clone()
}

#[test]
fn it_is_published_on_loopback_only_and_waits_for_postgres() {
    let service = service();
    assert_eq!(service["ports"], json!(["127.0.0.1:3829:3829"]));
    assert_eq!(service["restart"], "unless-stopped");
    assert_eq!(service["depends_on"], json!({ "postgres": { "condition": "service_healthy" } }));
    assert_eq!(service["healthcheck"]["test"], json!(["CMD", "nself-sync", "healthcheck"]));
    assert_eq!(service["build"], json!({ "context": ".", "dockerfile": "Dockerfile" }));
}

#[test]
fn it_has_no_rights_that_it_does_not_need() {
    let service = service();
    assert_eq!(service["read_only"], true);
    assert_eq!(service["cap_drop"], json!(["ALL"]));
    assert_eq!(service["security_opt"], json!(["no-new-privileges:true"]));
    assert!(service.get("volumes").is_none() && service.get("privileged").is_none());
    assert!(!plugin_file("docker-compose.plugin.yml").contains("docker.sock"));
}

#[test]
fn its_networks_are_a_block_list_of_the_installations() {
    assert!(
        plugin_file("docker-compose.plugin.yml").contains("\n    networks:\n      - ${DOCKER_NETWORK}\n")
    );
    assert_eq!(service()["networks"], json!(["${DOCKER_NETWORK}"]));
}

#[test]
fn it_passes_every_variable_of_the_example_on() {
    let environment = words(&service()["environment"]);
    let names: BTreeSet<String> = environment
        .iter()
        .map(|pair| pair.split_once('=').expect("a name and a value").0.to_owned())
        .collect();
    let (all, required) = example();
    assert_eq!(names, all);
    for name in &required {
        let passed = environment.iter().find(|pair| pair.starts_with(&format!("{name}="))).expect("passed");
        assert!(passed.contains(&format!("${{{name}:?")), "compose says where it is lacking: {passed}");
    }
    assert!(environment.contains("PLUGIN_SYNC_BIND=0.0.0.0") && environment.contains("PORT=3829"));
}
