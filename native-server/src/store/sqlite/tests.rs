use super::*;
use nself_sync_engine::commit::Touch;
use nself_sync_engine::ids::User;
use nself_sync_engine::wire;
use nself_sync_sqlite::{Param, Row, Sql};
use rusqlite::StatementStatus;
use serde_json::{Map, json};

const DAY_MS: Millis = nself_sync_engine::policy::DAY_MS;

/// Counts what SQLite's machine does.
struct Counted(rusqlite::Connection, i32);

impl Sql for Counted {
    type Error = rusqlite::Error;

    fn exec(&mut self, sql: &'static str, params: &[Param<'_>]) -> rusqlite::Result<Vec<Row>> {
        let mut statement = self.0.prepare(sql)?;
        let (rows, columns) =
            (params.iter().map(|param| connection::Bound(*param)), statement.column_count());
        let rows =
            statement.query_map(rusqlite::params_from_iter(rows), |row| connection::read(row, columns))?;
        let all = rows.collect::<rusqlite::Result<_>>()?;
        self.1 += statement.get_status(StatementStatus::VmStep);
        Ok(all)
    }
}

/// The steps of pruning so many documents with a few versions each, a tenth removed, some of them last pushed by a device
/// that never came back.
fn steps_to_prune(documents: usize) -> i32 {
    let mut sql = Counted(rusqlite::Connection::open_in_memory().unwrap(), 0);
    for (_, schema) in store::MIGRATIONS {
        sql.0.execute_batch(schema).unwrap();
    }
    let (policy, user) = (Arc::new(Policy::default()), User { account: "a".into(), id: "u".into() });
    for seq in 0..6 {
        let pushed = (0..documents).filter(|n| seq % 3 != 2 || n % 4 == 0);
        let files = pushed.map(|n| {
            let content = json!({ "content": format!("{n}\nversion {seq}\n") });
            (format!("f/{n}"), if seq == 5 && n % 8 == 0 { json!(null) } else { content })
        });
        let state = json!({ "files": files.collect::<Map<_, _>>() });
        let body = json!({ "device_id": format!("d{}", seq % 3), "seq": seq, "state": state }).to_string();
        let call = wire::push(body.as_bytes(), &policy).unwrap();
        let (caller, fresh) = (Caller::User(user.clone()), Fresh([seq as u8; 32]));
        let exchange = Exchange::new(caller, call, Arc::clone(&policy), seq * DAY_MS, fresh);
        store::call(&mut sql, exchange).map_err(text).unwrap();
    }
    for device in ["d0", "d1"] {
        let touch = Touch { device_id: device.to_owned(), last_seen: 6 * DAY_MS, seq: 6 };
        store::touch(&mut sql, &user, &touch).map_err(text).unwrap();
    }
    sql.1 = 0;
    let (pruned, _) = store::prune_user(&mut sql, 1, &policy, 60 * DAY_MS).map_err(text).unwrap();
    assert_eq!((pruned.deltas, pruned.tombstones), (6, documents as u64 / 8));
    sql.1
}

#[test]
fn pruning_costs_what_there_is_and_not_its_square() {
    let (few, many) = (steps_to_prune(200), steps_to_prune(800));
    assert!(many < few * 6, "{few} steps for 200 documents, {many} for 800");
}
