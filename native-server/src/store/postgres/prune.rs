//! Pruning, as `nself_sync_engine::retention` says it: a user at a time under the locked head, in bounded batches.

mod sql;

pub(super) use sql::BYTES as COUNT_BYTES;

use super::apply::{self, Packs, Write};
use super::connection::{Connection, Param, Pool, Request};
use super::load;
use super::now;
use super::row::{self, Time, signed};
use anyhow::{Context, Result, anyhow};
use nself_sync_engine::commit::Commit;
use nself_sync_engine::ids::{Hash, Seq, User};
use nself_sync_engine::policy::Policy;
use nself_sync_engine::retention::{Pruned, cutoff};
use nself_sync_engine::slice::Scope;
use std::collections::BTreeMap;
use tokio_postgres::Row;

/// Users who are looked at together, for whether there is anything to do.
const USERS_MAX: i64 = 1000;

/// Deltas that one transaction drops at most.
const DELTAS_MAX: i64 = 1000;

/// Documents whose history is in memory together.
const TRIM_MAX: usize = 32;

/// Prunes all users. Servers that do so at once take turns at each user.
pub(super) async fn prune(pool: &Pool, policy: &Policy) -> Result<Pruned> {
    let mut total = Pruned::default();
    let mut after = User { account: String::new(), id: String::new() };
    loop {
        let users = users(pool, policy, &after).await.context("PostgreSQL")?;
        let Some((last, _)) = users.last() else { return Ok(total) };
        after = last.clone();
        for (user, _) in users.iter().filter(|(_, is_due)| *is_due) {
            let mut more = true;
            while more {
                let mut lease = pool.get().await?;
                let pruned;
                (pruned, more) = Pruner::new(&mut lease.connection, user, policy)?.batch().await?;
                lease.keep();
                total += pruned;
            }
        }
    }
}

/// The users after `after`, and whether there is anything to prune of each.
async fn users(pool: &Pool, policy: &Policy, after: &User) -> Result<Vec<(User, bool)>> {
    let mut lease = pool.get().await?;
    let old = Time(cutoff(policy, now()?));
    let params: Vec<Param<'_>> =
        vec![Box::new(&after.account), Box::new(&after.id), Box::new(old), Box::new(USERS_MAX)];
    let rows = lease.connection.ask(sql::USERS, params).await?;
    lease.keep();
    let user = |row: &Row| Ok((User { account: row.try_get(0)?, id: row.try_get(1)? }, row.try_get(2)?));
    rows.iter().map(user).collect()
}

/// Documents whose history was cut: where it now begins, and the content there.
#[derive(Default)]
struct Trimmed {
    keys: Vec<String>,
    starts: Vec<i64>,
    prefixes: Vec<Option<i64>>,
}

struct Pruner<'a> {
    connection: &'a mut Connection,
    user: &'a User,
    old: Time,
}

impl<'a> Pruner<'a> {
    fn new(connection: &'a mut Connection, user: &'a User, policy: &Policy) -> Result<Pruner<'a>> {
        Ok(Pruner { connection, user, old: Time(cutoff(policy, now()?)) })
    }

    /// One transaction. Says what was dropped, and whether there is more to do.
    async fn batch(mut self) -> Result<(Pruned, bool)> {
        let begin =
            [Request::plain("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"), Request::plain(sql::SESSION)];
        self.connection.send(&begin).await?;
        if self.rows(sql::LOCK, Vec::new()).await?.is_empty() {
            self.connection.ask("COMMIT", Vec::new()).await?;
            return Ok((Pruned::default(), false));
        }
        for events in [sql::DEAD_LETTERS, sql::OUTBOX] {
            self.rows(events, vec![Box::new(self.old)]).await?;
        }
        let conflicts = self.count(sql::CONFLICTS, vec![Box::new(self.old)]).await?;
        let mut pruned = Pruned { conflicts, ..Pruned::default() };
        let floor = self.rows(sql::FLOOR, vec![Box::new(self.old), Box::new(DELTAS_MAX)]).await?;
        if let Some(row) = floor.first() {
            self.below(row::number(row, 0)?, row.try_get(1)?, &mut pruned).await?;
        }
        if !pruned.is_empty() {
            self.rows(sql::BYTES, Vec::new()).await?;
        }
        self.connection.ask("COMMIT", Vec::new()).await?;
        Ok((pruned, pruned.deltas >= DELTAS_MAX.unsigned_abs()))
    }

    /// Moves the floor and drops what is below it.
    async fn below(&mut self, floor: Seq, tag: &[u8], pruned: &mut Pruned) -> Result<()> {
        let at = signed(floor);
        pruned.users = 1;
        self.rows(sql::HEAD, vec![Box::new(at), Box::new(tag)]).await?;
        self.rows(sql::SERVED, Vec::new()).await?;
        pruned.deltas = self.count(sql::DELTAS, vec![Box::new(at)]).await?;
        pruned.versions = self.count(sql::VERSIONS, vec![Box::new(at), Box::new(self.old)]).await?;
        pruned.segments = self.count(sql::SEGMENTS, vec![Box::new(at)]).await?;
        pruned.tombstones = self.tombstones(at).await?;
        self.trim(floor).await?;
        self.rows(sql::HASHES, vec![Box::new(at)]).await?;
        Ok(())
    }

    async fn rows(&mut self, sql: &'static str, more: Vec<Param<'_>>) -> Result<Vec<Row>> {
        let mut params: Vec<Param<'_>> = vec![Box::new(&self.user.account), Box::new(&self.user.id)];
        params.extend(more);
        Ok(self.connection.ask(sql, params).await?)
    }

    /// The one number that a statement returns.
    async fn count(&mut self, sql: &'static str, more: Vec<Param<'_>>) -> Result<u64> {
        let rows = self.rows(sql, more).await?;
        Ok(row::number(rows.first().context("no count")?, 0)?)
    }

    async fn tombstones(&mut self, floor: i64) -> Result<u64> {
        let removed = self.rows(sql::REMOVED_STATE, vec![Box::new(floor)]).await?;
        let (mut entries, mut seqs): (Vec<String>, Vec<i64>) = Default::default();
        for row in &removed {
            entries.push(row.try_get(0)?);
            seqs.push(row.try_get(1)?);
        }
        self.rows(sql::HIDDEN_STATE, vec![Box::new(entries), Box::new(seqs)]).await?;
        self.rows(sql::REMOVED_VERSIONS, vec![Box::new(floor)]).await?;
        let gone = self.rows(sql::REMOVED_FILES, vec![Box::new(floor)]).await?;
        let keys: Vec<String> = gone.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        for sql in [sql::REMOVED_CONTENTS, sql::REMOVED_HASHES] {
            self.rows(sql, vec![Box::new(&keys)]).await?;
        }
        self.rows(sql::STRAY_CONTENTS, vec![Box::new(floor)]).await?;
        Ok((removed.len() + gone.len()) as u64)
    }

    /// Forgets, within segments, what the documents were before the floor. Places and what was pushed are not ordered by
    /// key: each is read once for all documents.
    async fn trim(&mut self, floor: Seq) -> Result<()> {
        let at = signed(floor);
        let rows = self.rows(sql::TRIM_KEYS, vec![Box::new(at)]).await?;
        let keys: Vec<String> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        let mut last_pushed: BTreeMap<String, Vec<(Hash, i64)>> = BTreeMap::new();
        for row in &self.rows(sql::TRIM_NEEDED, vec![Box::new(at), Box::new(&keys)]).await? {
            let place = (row::some_hash(row, 1)?, row.try_get(2)?);
            last_pushed.entry(row.try_get(0)?).or_default().push(place);
        }
        let mut trimmed = Trimmed::default();
        for keys in keys.chunks(TRIM_MAX) {
            self.trim_some(floor, keys, &last_pushed, &mut trimmed).await?;
        }
        let Trimmed { keys, starts, prefixes } = &trimmed;
        if !keys.is_empty() {
            let places: Vec<Param<'_>> =
                vec![Box::new(keys), Box::new(at), Box::new(starts), Box::new(prefixes)];
            self.rows(sql::TRIM_HASHES, places).await?;
        }
        Ok(())
    }

    async fn trim_some(
        &mut self,
        floor: Seq,
        keys: &[String],
        last_pushed: &BTreeMap<String, Vec<(Hash, i64)>>,
        trimmed: &mut Trimmed,
    ) -> Result<()> {
        let segments = keys.iter().map(|key| (key.clone(), floor)).collect();
        let scope = Scope { segments, ..Scope::default() };
        let slice = load::load(self.connection, self.user, &scope).await?;
        let (mut gone, mut gone_starts, mut commit) = (Vec::new(), Vec::new(), Commit::default());
        for key in keys {
            let Some(segment) = slice.segment(key, floor) else { continue };
            let Some(rest) = segment.trim(floor).map_err(|corrupt| anyhow!("stored data: {}", corrupt.0))?
            else {
                continue;
            };
            let start = signed(rest.segment.start);
            let is_lost = |(hash, at): &(Hash, i64)| Some(*hash) != rest.first || *at < start;
            if last_pushed.get(key).is_some_and(|pushed| pushed.iter().any(is_lost)) {
                continue;
            }
            gone.push(key);
            gone_starts.push(signed(segment.start));
            trimmed.keys.push(key.clone());
            trimmed.starts.push(start);
            trimmed.prefixes.push(rest.first.as_ref().map(Hash::prefix));
            commit.segments.push(rest.segment);
        }
        if gone.is_empty() {
            return Ok(());
        }
        self.rows(sql::TRIM_CONTENTS, vec![Box::new(&gone), Box::new(&gone_starts)]).await?;
        let writes = [Write { user: self.user, commit: &commit, packs: &Packs::new() }];
        self.connection.send(&apply::writes(&writes)).await?;
        Ok(())
    }
}
