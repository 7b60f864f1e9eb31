//! `nself-sync rotate-epoch`: after a restore. Every device then finds that the history is another one, and offers what it has.

use super::{count, named, open, reason, spinner};
use crate::config::Config;
use crate::store::Store;
use anyhow::{Context, Result};
use nself_sync_engine::ids::User;
use nself_sync_engine::slice::Standing;
use std::io::Write;

/// Users that are listed at once.
const USERS_MAX: u32 = 100;

/// Of one user, or of all who are served here.
pub async fn rotate_epoch(config: &Config, user: Option<User>) -> Result<()> {
    let store = open(config).await?;
    let done = match &user {
        Some(user) => store.rotate_epoch(user).await.map_err(reason).map(|()| 1).with_context(|| named(user)),
        None => rotate_all(&store).await,
    };
    store.close().await;
    writeln!(std::io::stdout(), "a new epoch for {}", count(done?, "user")).context("stdout")
}

async fn rotate_all(store: &Store) -> Result<u64> {
    let bar = spinner("users");
    let (mut rotated, mut last) = (0, None);
    loop {
        let mut snapshot = store.snapshot().await?;
        let users = snapshot.users(last.as_ref(), USERS_MAX).await?;
        let mut served = Vec::new();
        for user in &users {
            let head = snapshot.head(user).await?;
            served.extend(head.filter(|head| head.standing == Standing::Served).map(|_| user));
        }
        snapshot.end().await?;
        for user in served {
            store.rotate_epoch(user).await.map_err(reason).with_context(|| named(user))?;
            rotated += 1;
            bar.inc(1);
        }
        last = users.into_iter().next_back();
        if last.is_none() {
            return Ok(rotated);
        }
    }
}
