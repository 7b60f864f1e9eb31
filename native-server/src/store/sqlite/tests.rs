use super::*;
use nself_sync_engine::commit::Touch;
use nself_sync_engine::ids::{Millis, User};
use nself_sync_engine::outbox::{Answer, Turn};
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

#[test]
fn state_that_was_there_before_it_was_counted_is_counted() {
    let mut sql = Counted(rusqlite::Connection::open_in_memory().unwrap(), 0);
    let rows = "INSERT INTO np_sync_heads
            (user_no, source_account_id, user_id, epoch, seq, tag, floor, floor_tag, conflicts_open, bytes)
            VALUES (1, 'a', 'u', 'e', 1, x'00', 0, x'00', 0, 0), (2, 'a', 'v', 'e', 0, x'00', 0, x'00', 0, 0);
        INSERT INTO np_sync_state VALUES (1, 'ö', '\"ü\"', 1, 'd', 0), (1, 'gone', NULL, 1, 'd', 0);
        INSERT INTO np_sync_files VALUES (1, 'files/ä', NULL, 0, 1, 'd');";
    for (version, schema) in store::MIGRATIONS {
        sql.0.execute_batch(schema).unwrap();
        if *version == 1 {
            sql.0.execute_batch(rows).unwrap();
        }
    }
    let counted = |sql: &Counted| -> Vec<i64> {
        let mut select = sql.0.prepare("SELECT state_bytes FROM np_sync_heads ORDER BY user_no").unwrap();
        select.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap()
    };
    let migrated = counted(&sql);
    assert_eq!(migrated, [64 + 2 + 4 + 64 + 4 + 64 + 8, 0]);
    store::count_bytes(&mut sql, 1).map_err(text).unwrap();
    assert_eq!(counted(&sql), migrated, "as pruning counts it");
}

/// Schema, a user whose events are recorded, and so many pushes at times from 1 on.
fn with_events(pushes: u64) -> Counted {
    let mut connection = Counted(rusqlite::Connection::open_in_memory().unwrap(), 0);
    for (_, schema) in store::MIGRATIONS {
        connection.0.execute_batch(schema).unwrap();
    }
    let policy = Arc::new(Policy { webhook: true, ..Policy::default() });
    push(&mut connection, &policy, 0..pushes);
    connection
}

fn push(connection: &mut Counted, policy: &Arc<Policy>, seqs: std::ops::Range<u64>) {
    for seq in seqs {
        let body = json!({ "device_id": "d", "seq": seq, "state": { "n": seq + 1 } }).to_string();
        let call = wire::push(body.as_bytes(), policy).unwrap();
        let caller = Caller::User(User { account: "a".into(), id: "u".into() });
        let exchange = Exchange::new(caller, call, Arc::clone(policy), seq + 1, Fresh([seq as u8; 32]));
        store::call(connection, exchange).map_err(text).unwrap();
    }
}

/// The one user's turn; none where it is not due at this time.
fn turn(connection: &mut Counted, now: Millis) -> Option<Turn> {
    let waiting = store::outbox::waiting(connection, 10).map_err(text).unwrap();
    let whose = waiting.first().filter(|whose| whose.due_at <= now)?;
    Some(store::outbox::turn(connection, whose).map_err(text).unwrap())
}

fn backlog(connection: &mut Counted) -> (u64, Option<u64>, u64) {
    let backlog = store::outbox::backlog(connection).map_err(text).unwrap();
    (backlog.depth, backlog.oldest_at, backlog.dead)
}

fn settle(connection: &mut Counted, turn: Turn, now: Millis) -> u64 {
    store::outbox::settle(connection, 1, &turn.end(), now).map_err(text).unwrap()
}

#[test]
fn events_are_delivered_in_order_and_then_nothing_is_left() {
    let mut connection = with_events(3);
    assert_eq!(backlog(&mut connection), (3, Some(1), 0));
    let mut first = turn(&mut connection, 5).unwrap();
    for seq in [1, 2] {
        assert_eq!(first.next().unwrap().place.seq, seq);
        first.take(Answer::Delivered, 5, 0);
    }
    first.take(Answer::Later(None), 5, 0);
    assert_eq!(settle(&mut connection, first, 5), 0);
    assert_eq!(backlog(&mut connection), (1, Some(3), 0));
    assert!(turn(&mut connection, 504).is_none(), "it waits for its next try");
    let policy = Arc::new(Policy { webhook: true, ..Policy::default() });
    push(&mut connection, &policy, 3..4);
    assert!(turn(&mut connection, 504).is_none(), "and so does what comes after it");
    let mut second = turn(&mut connection, 505).unwrap();
    for seq in [3, 4] {
        assert_eq!(second.next().unwrap().place.seq, seq);
        second.take(Answer::Delivered, 505, 0);
    }
    settle(&mut connection, second, 505);
    assert_eq!(backlog(&mut connection), (0, None, 0));
    assert!(turn(&mut connection, Millis::MAX).is_none());
}

#[test]
fn dead_letters_are_kept_for_the_retention_and_count() {
    let mut connection = with_events(3);
    let mut first = turn(&mut connection, 5).unwrap();
    first.take(Answer::Refused, 5, 0);
    first.take(Answer::Later(None), 5, 0);
    assert_eq!(settle(&mut connection, first, 5), 1);
    let late = 5 + DAY_MS;
    let mut second = turn(&mut connection, late).unwrap();
    second.take(Answer::Later(None), late, 0);
    assert_eq!(settle(&mut connection, second, late), 2, "the one that was tried, and what is as old");
    assert_eq!(backlog(&mut connection), (0, None, 3));
    let policy = Policy::default();
    for (days, left) in [(30, 3), (32, 0)] {
        store::prune_user(&mut connection, 1, &policy, days * DAY_MS).map_err(text).unwrap();
        assert_eq!(backlog(&mut connection).2, left, "after {days} days");
    }
}

#[test]
fn without_a_webhook_nothing_is_recorded() {
    let mut connection = with_events(0);
    push(&mut connection, &Arc::new(Policy::default()), 0..3);
    assert_eq!(backlog(&mut connection), (0, None, 0));
    assert!(turn(&mut connection, Millis::MAX).is_none());
}
