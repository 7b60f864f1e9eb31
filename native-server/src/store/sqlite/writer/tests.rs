use super::*;
use nself_sync_engine::call::{Call, Caller};
use nself_sync_engine::ids::{Fresh, User};
use nself_sync_engine::policy::Policy;
use tempfile::TempDir;

type Answered = oneshot::Receiver<Result<Reply, Failure>>;

/// A writer that is busy until the sender is dropped.
fn busy_writer(dir: &TempDir) -> (Writer, Sender<()>) {
    let mut connection = Connection::open(&dir.path().join("db")).unwrap();
    for (version, sql) in store::MIGRATIONS {
        connection.run_all(sql).unwrap();
        store::set_schema_version(&mut connection, *version).unwrap();
    }
    let writer = Writer::start(connection, Arc::default()).unwrap();
    let (hold, held) = channel();
    let (begun, begins) = channel();
    let work = move |_: &mut Connection| -> (bool, Answer) {
        begun.send(()).unwrap();
        let _ = held.recv();
        (true, Box::new(|_| ()))
    };
    writer.send(Job::Work(Box::new(work))).unwrap();
    begins.recv().unwrap();
    (writer, hold)
}

/// A push that makes this user.
fn call(id: &str) -> (Job, Answered) {
    let caller = Caller::User(User { account: "primary".to_owned(), id: id.to_owned() });
    let push =
        nself_sync_engine::wire::push(br#"{"device_id": "d", "seq": 0, "state": {}}"#, &Policy::default());
    let call: Call = push.unwrap();
    let exchange = Exchange::new(caller, call, Arc::default(), 1, Fresh([7; 32]));
    let (answer, answered) = oneshot::channel();
    (Job::Call(Box::new(exchange), answer), answered)
}

#[tokio::test]
async fn calls_beyond_the_queue_are_turned_away_and_those_in_it_are_done() {
    let dir = tempfile::tempdir().unwrap();
    let (writer, hold) = busy_writer(&dir);
    let mut waiting = Vec::new();
    for n in 0..WAITING_MAX {
        let (job, answered) = call(&format!("user-{n}"));
        writer.send(job).unwrap();
        waiting.push(answered);
    }
    assert!(matches!(writer.send(call("one-more").0), Err(Failure::Busy)));
    drop(hold);
    for answered in waiting {
        assert_eq!(answered.await.unwrap().unwrap().status, 200);
    }
    let (job, answered) = call("one-more");
    writer.send(job).unwrap();
    assert_eq!(answered.await.unwrap().unwrap().status, 200, "there is room again");
    writer.stop().await;
}

#[tokio::test]
async fn a_call_whose_client_is_gone_is_not_begun() {
    let dir = tempfile::tempdir().unwrap();
    let (writer, hold) = busy_writer(&dir);
    let (gone, answered) = call("gone");
    writer.send(gone).unwrap();
    drop(answered);
    let (stays, answered) = call("stays");
    writer.send(stays).unwrap();
    drop(hold);
    assert_eq!(answered.await.unwrap().unwrap().status, 200);
    writer.stop().await;
    let mut connection = Connection::open(&dir.path().join("db")).unwrap();
    let user = |id: &str| User { account: "primary".to_owned(), id: id.to_owned() };
    assert!(!store::is_known(&mut connection, &user("gone")).unwrap());
    assert!(store::is_known(&mut connection, &user("stays")).unwrap());
}
