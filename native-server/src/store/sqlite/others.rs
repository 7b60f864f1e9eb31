//! What other processes do to the file: operators' commands beside the server. SQLite tells nobody of it, so it is looked at.

use super::connection::Connection;
use super::{store, text};
use crate::live::{End, Hub};
use anyhow::Result;
use nself_sync_engine::ids::User;
use nself_sync_engine::slice::Standing;
use std::collections::HashMap;

/// What was seen when it was last looked at.
#[derive(Default)]
pub(super) struct Others {
    version: Option<i64>,
    /// Of who listened then.
    epochs: HashMap<User, String>,
}

impl Others {
    /// Tells live connections what another process has done to their users since: moved away, erased, a new epoch. `connection` is
    /// the one that all of this process's writes go through, which do not count.
    pub(super) fn look(&mut self, connection: &mut Connection, hub: &Hub) -> Result<()> {
        let version = connection.data_version()?;
        if self.version == Some(version) {
            return Ok(());
        }
        let mut epochs = HashMap::new();
        for user in hub.users() {
            match store::stored_head(connection, &user).map_err(text)? {
                None => hub.end(&user, End::Erased),
                Some(head) if head.standing == Standing::Moved => hub.end(&user, End::Moved),
                Some(head) => {
                    if self.epochs.get(&user) != Some(&head.epoch) {
                        hub.must_pull(&user);
                    }
                    epochs.insert(user, head.epoch);
                }
            }
        }
        (self.version, self.epochs) = (Some(version), epochs);
        Ok(())
    }
}
