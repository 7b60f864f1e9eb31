//! `nself-sync dead-letters`: events that could not be delivered. They can go out again.

use super::{count, named, open};
use crate::config::Config;
use crate::store::Store;
use anyhow::{Context, Result, ensure};
use nself_sync_engine::ids::User;
use nself_sync_engine::wire::timestamp;
use std::io::Write;

/// Users that are listed at once.
const USERS_MAX: u32 = 100;

/// Lists whose they are, of one user or of all; `requeue` sends them again.
pub async fn dead_letters(config: &Config, user: Option<User>, requeue: bool) -> Result<()> {
    ensure!(
        !requeue || config.webhook.is_some(),
        "PLUGIN_WEBHOOKS_INTERNAL_URL is not set: there is nobody to send them to"
    );
    let store = open(config).await?;
    let done = each(&store, user.as_ref(), requeue).await;
    store.close().await;
    let what = if requeue { "to be sent again" } else { "set aside" };
    writeln!(std::io::stdout(), "{} {what}", count(done?, "event")).context("stdout")
}

async fn each(store: &Store, only: Option<&User>, requeue: bool) -> Result<u64> {
    let (mut events, mut last) = (0, None);
    loop {
        let page = store.dead_letters(last.as_ref(), USERS_MAX).await?;
        for dead in page.iter().filter(|dead| only.is_none_or(|user| *user == dead.user)) {
            events += match requeue {
                true => store.requeue(&dead.user).await.with_context(|| named(&dead.user))?,
                false => dead.events,
            };
            let (oldest, newest) = (timestamp(dead.oldest_at), timestamp(dead.newest_dead_at));
            let of = format!("{}: {}", named(&dead.user), count(dead.events, "event"));
            writeln!(std::io::stdout(), "{of}, the oldest of {oldest}, the last set aside at {newest}")
                .context("stdout")?;
        }
        last = page.into_iter().next_back().map(|dead| dead.user);
        if last.is_none() {
            return Ok(events);
        }
    }
}
