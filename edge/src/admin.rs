//! What operators do to a user from a command line elsewhere, by `PLUGIN_SYNC_ADMIN_TOKEN`: `nself-sync export --url …` and the
//! like. Where that is not set there are no such routes.

use crate::config::Config;
use crate::reply::Refusal;
use nself_sync_engine::error::Reject;
use nself_sync_engine::ids::{Hash, User};
use nself_sync_engine::{token, wire};

/// What begins the path of these routes.
pub const PREFIX: &str = "/admin/";

/// The longest batch of lines, of which one alone may be long: a conflict has three texts in it.
pub const BATCH_BYTES_MAX: usize = 8 << 20;

/// A command, as method and path say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// `GET /admin/export`: a page of the user's stream; `move=1` marks the user as moved first.
    Export,
    /// `POST /admin/import?line=N`: lines of a stream, the first of which has this number.
    Import,
    /// `POST /admin/undo-move`
    UndoMove,
    /// `POST /admin/prune`: what the alarm does, now.
    Prune,
    /// `DELETE /admin/user`
    Erase,
}

/// A command with its parameters.
pub struct Order {
    /// Which.
    pub command: Command,
    /// About whom.
    pub user: User,
    /// Where a page begins.
    pub cursor: Option<String>,
    /// Whether the user moves away.
    pub moves: bool,
    /// The number of the first line of a batch.
    pub line: u64,
}

impl Order {
    /// Reads a request for one of these routes.
    ///
    /// # Errors
    /// There is no such route, it is for other methods, or a parameter is missing or wrong.
    pub fn of(method: &str, path: &str, query: &str) -> Result<Order, Reject> {
        let (command, allowed) = match path.strip_prefix(PREFIX) {
            Some("export") => (Command::Export, "GET"),
            Some("import") => (Command::Import, "POST"),
            Some("undo-move") => (Command::UndoMove, "POST"),
            Some("prune") => (Command::Prune, "POST"),
            Some("user") => (Command::Erase, "DELETE"),
            Some(_) | None => return Err(Reject::NotFound("route")),
        };
        if method != allowed {
            return Err(Reject::MethodNotAllowed(allowed));
        }
        let parameters = wire::parameters(query)?;
        let get =
            |name: &str| parameters.iter().find(|(have, _)| have == name).map(|(_, value)| value.clone());
        let invalid = |field: &str, detail: &str| Reject::InvalidField {
            field: field.to_owned(),
            detail: detail.to_owned(),
        };
        let id = get("user").filter(|id| !id.is_empty()).ok_or_else(|| invalid("user", "it is required"))?;
        let line = match get("line").map(|line| line.parse()) {
            None => 1,
            Some(Ok(line @ 1..)) => line,
            Some(_) => return Err(invalid("line", "allowed is a whole number from 1")),
        };
        Ok(Order {
            command,
            user: User { account: get("account").unwrap_or_else(|| "primary".to_owned()), id },
            cursor: get("cursor"),
            moves: get("move").is_some_and(|moves| moves == "1"),
            line,
        })
    }
}

/// Whether the request carries the operator's token.
///
/// # Errors
/// None is configured, so that there is no such route, or it is another.
pub fn authenticate(authorization: Option<&str>, config: &Config) -> Result<(), Refusal> {
    let Some(expected) = &config.admin_token else { return Err(Reject::NotFound("route").into()) };
    let given = wire::bearer(authorization.into_iter())?;
    // Hashes are of one length whatever was given.
    match token::same(&Hash::of(given.as_bytes()), &Hash::of(expected.as_bytes())) {
        true => Ok(()),
        false => Err(Reject::Unauthorized("the token is not the operator's").into()),
    }
}
