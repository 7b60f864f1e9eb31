use nself_sync_engine::policy::Policy;

use super::*;

/// The directives of a location.
fn location(header: &str) -> String {
    let conf = plugin_file("nginx/sync.conf");
    let (_, rest) =
        conf.split_once(&format!("\nlocation {header} {{\n")).unwrap_or_else(|| panic!("{header}"));
    rest.split_once("\n}").expect("its end").0.to_owned()
}

#[test]
fn a_body_may_be_as_large_as_the_server_takes_it() {
    // What does not compress grows a little on its way: as the server allows for.
    let max = Policy::default().body_bytes_max;
    let expected = (max + max / 1024 + 1024).div_ceil(1024);
    assert!(location("/sync/").contains(&format!("client_max_body_size {expected}k;")), "{expected}");
}

#[test]
fn live_is_upgraded_and_outlives_the_servers_pings() {
    let live = location("= /sync/live");
    for line in [
        "proxy_http_version 1.1;",
        "proxy_set_header Upgrade $http_upgrade;",
        "proxy_set_header Connection \"upgrade\";",
        "proxy_read_timeout 90s;",
    ] {
        assert!(live.lines().any(|have| have.trim() == line), "{line}");
    }
}

#[test]
fn paths_are_passed_on_as_they_are_and_not_logged() {
    for header in ["/sync/", "= /sync/live"] {
        let location = location(header);
        assert!(location.contains("proxy_pass http://127.0.0.1:3829;"), "without a path of its own");
        assert!(location.contains("proxy_set_header X-Request-ID "));
        assert!(location.contains("access_log off;"), "queries name keys");
    }
}
