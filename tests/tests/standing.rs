//! Whose user an operator moved away, or is bringing in, is answered so by the engine, on any store: here on maps.

use std::sync::Arc;

use nself_sync_engine::call::{Call, Caller};
use nself_sync_engine::error::Reject;
use nself_sync_engine::exchange::Halt;
use nself_sync_engine::ids::{Fresh, Hash, User};
use nself_sync_engine::policy::Policy;
use nself_sync_engine::slice::Standing;
use nself_sync_tests::memory::{Crash, Failure, Memory};

fn user() -> User {
    User { account: "primary".to_owned(), id: "u".to_owned() }
}

fn call(memory: &mut Memory, caller: Caller, call: Call) -> Result<u16, Reject> {
    let setting = (Arc::new(Policy::default()), 1, Fresh([7; 32]));
    match memory.call(caller, call, setting, Crash::Never) {
        Ok(reply) => Ok(reply.status),
        Err(Failure::Halt(Halt::Reject(reject))) => Err(reject),
        Err(failure) => panic!("{failure:?}"),
    }
}

#[test]
fn user_who_is_not_served_here_is_told_so_before_anything_else() {
    let calls = || {
        let id = || "d".to_owned();
        [
            Call::Devices,
            Call::Conflicts,
            Call::Config,
            Call::RemoveDevice(id()),
            Call::NewToken(id()),
            Call::Live(id()),
        ]
    };
    let mut memory = Memory::default();
    assert_eq!(call(&mut memory, Caller::User(user()), Call::Devices), Ok(200));
    for (standing, expected) in [(Standing::Moved, Reject::Moved), (Standing::Importing, Reject::Importing)] {
        memory.rows_mut(&user()).expect("rows").head.standing = standing;
        let before = memory.clone();
        for asked in calls() {
            assert_eq!(call(&mut memory, Caller::User(user()), asked), Err(expected.clone()));
        }
        assert_eq!(memory, before);
    }
    memory.rows_mut(&user()).expect("rows").head.standing = Standing::Served;
    assert_eq!(call(&mut memory, Caller::User(user()), Call::Config), Ok(200));
}

#[test]
fn token_of_a_device_that_may_still_come_in_is_not_called_wrong() {
    let device = || Caller::Device { user: user(), device_id: "d".to_owned(), secret: Hash([1; 32]) };
    let mut memory = Memory::default();
    assert_eq!(call(&mut memory, Caller::User(user()), Call::Devices), Ok(200));
    let rows =
        |memory: &mut Memory, standing| memory.rows_mut(&user()).expect("rows").head.standing = standing;
    rows(&mut memory, Standing::Importing);
    assert_eq!(call(&mut memory, device(), Call::Conflicts), Err(Reject::Importing));
    rows(&mut memory, Standing::Moved);
    let moved = call(&mut memory, device(), Call::Conflicts);
    assert!(matches!(moved, Err(Reject::Unauthorized(_))), "who has no right is not told: {moved:?}");
}
