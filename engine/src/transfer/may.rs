//! Who may come and go: what an operator is refused, and why.

use super::{Progress, line};
use crate::error::Reject;
use crate::ids::User;
use crate::slice::{Head, Standing};

/// Whether a stream of a user may be taken in where `stored` is this user's head now, if there is one, and `devices` has
/// this user's devices been counted.
///
/// # Errors
/// [`Reject::Transfer`]: why not.
pub fn may_import(stored: Option<&Head>, devices: usize, coming: &Head) -> Result<(), Reject> {
    let Some(stored) = stored else { return Ok(()) };
    let refused = |why: String| Err(Reject::Transfer(why));
    match stored.standing {
        // What came in before was a part of something that did not get to its end.
        Standing::Importing => Ok(()),
        Standing::Served if stored.seq == 0 && devices == 0 => Ok(()),
        Standing::Served => refused(format!(
            "the user has a history here (seq {}, {devices} devices): erase it first, or move it away",
            stored.seq
        )),
        Standing::Moved if stored.epoch == coming.epoch && coming.seq < stored.seq => refused(format!(
            "the user was moved away at seq {}, and this is an older copy (seq {}): erase what is here first",
            stored.seq, coming.seq
        )),
        Standing::Moved => Ok(()),
    }
}

/// Whether a user's rows can be read for another host.
///
/// # Errors
/// [`Reject::Transfer`]: why not.
pub fn may_export(head: &Head) -> Result<(), Reject> {
    match head.standing {
        Standing::Served | Standing::Moved => Ok(()),
        Standing::Importing => {
            Err(Reject::Transfer("the user's import here has not come to its end".to_owned()))
        }
    }
}

/// Whether a user's epoch may be changed.
///
/// # Errors
/// [`Reject::Transfer`]: why not.
pub fn may_change_epoch(head: &Head) -> Result<(), Reject> {
    match head.standing {
        Standing::Served => Ok(()),
        Standing::Moved | Standing::Importing => {
            Err(Reject::Transfer("the user is not served here: its epoch is another host's".to_owned()))
        }
    }
}

/// Whether a user is where [`Standing::Moved`] can be undone.
///
/// # Errors
/// [`Reject::Transfer`]: why not.
pub fn may_undo_move(head: &Head) -> Result<(), Reject> {
    match head.standing {
        Standing::Moved => Ok(()),
        Standing::Served | Standing::Importing => {
            Err(Reject::Transfer("the user was not moved away from here".to_owned()))
        }
    }
}

/// Whether the first line of a stream is of the user that was named.
///
/// # Errors
/// [`Reject::InvalidField`].
pub fn is_of(named: &User, header: &User) -> Result<(), Reject> {
    let other = |field: &str| Err(line::invalid(1, field, "not the one that was named"));
    match header {
        User { account, .. } if *account != named.account => other("account"),
        User { id, .. } if *id != named.id => other("user"),
        _ => Ok(()),
    }
}

/// All lines came, and reading them back gives another hash.
pub fn differs() -> Reject {
    Reject::Transfer("what is stored is not what came in".to_owned())
}

/// Where the import goes on of which `stored` is kept as [`Progress::to_text`], and how many of the lines from `first` on are in
/// already.
///
/// # Errors
/// [`Reject::Transfer`]: it does not go on there.
pub fn resume(stored: Option<&str>, first: u64) -> Result<(Progress, usize), Reject> {
    let Some(progress) = stored.and_then(Progress::from_text) else {
        return Err(Reject::Transfer(
            "no import of this user is under way here: begin with line 1".to_owned(),
        ));
    };
    let next = progress.lines.saturating_add(1);
    match next.checked_sub(first) {
        Some(known) => Ok((progress, usize::try_from(known).unwrap_or(usize::MAX))),
        None => Err(Reject::Transfer(format!("the import goes on at line {next}, not at {first}"))),
    }
}
