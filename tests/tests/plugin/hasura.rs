use super::*;

/// What nobody but an admin may see: tokens, and contents in whatever form.
const HIDDEN: [&str; 12] = [
    "sync_token",
    "push_body",
    "push_results",
    "push_tag",
    "value",
    "diff",
    "data",
    "base",
    "mine",
    "theirs",
    "payload",
    "hash",
];

fn entries() -> Vec<Value> {
    yaml("hasura/tables.yaml").as_array().expect("a list").clone()
}

#[test]
fn every_table_and_column_is_in_the_migrations() {
    let tables = tables();
    assert!(!entries().is_empty());
    for entry in entries() {
        let name = entry["table"]["name"].as_str().expect("a name");
        assert_eq!(entry["table"]["schema"], "np_sync");
        let columns = tables.get(name).unwrap_or_else(|| panic!("no table {name}"));
        for permission in entry["select_permissions"].as_array().into_iter().flatten() {
            let shown = words(&permission["permission"]["columns"]);
            assert!(shown.is_subset(columns), "{name}: {:?}", shown.difference(columns));
        }
    }
}

#[test]
fn users_read_their_own_rows_and_write_none() {
    let own = json!({
        "source_account_id": { "_eq": "X-Hasura-Source-Account-Id" }, "user_id": { "_eq": "X-Hasura-User-Id" },
    });
    for entry in entries() {
        let known = ["table", "select_permissions"];
        for member in entry.as_object().expect("an object").keys() {
            assert!(known.contains(&member.as_str()), "{}: {member}", entry["table"]["name"]);
        }
        for permission in entry["select_permissions"].as_array().into_iter().flatten() {
            assert_eq!(permission["role"], "user");
            assert_eq!(permission["permission"]["filter"], own, "{}", entry["table"]["name"]);
            assert!(permission["permission"]["limit"].is_u64());
        }
    }
}

#[test]
fn nobody_sees_tokens_or_contents() {
    for entry in entries() {
        for permission in entry["select_permissions"].as_array().into_iter().flatten() {
            let shown = words(&permission["permission"]["columns"]);
            for column in &shown {
                assert!(!HIDDEN.contains(&column.as_str()), "{}: {column}", entry["table"]["name"]);
            }
        }
    }
}
