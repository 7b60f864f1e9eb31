//! Pruning, as `nself_sync_engine::retention` says it.

use crate::row::{Row, signed};
use crate::{Error, Param, Sql, apply, load};
use nself_sync_engine::commit::Commit;
use nself_sync_engine::ids::{Millis, Seq};
use nself_sync_engine::policy::Policy;
use nself_sync_engine::retention::{self, Pruned, cutoff};
use nself_sync_engine::slice::Scope;
use serde_json::json;
use std::collections::BTreeMap;

/// Deltas that one transaction drops at most.
const DELTAS_MAX: i64 = 1000;

/// Documents in one list of a statement: under 2 MB with the longest paths.
const LISTED_MAX: usize = 400;

/// The numbers of the users after `after`, at most `limit`.
pub fn users<S: Sql>(sql: &mut S, after: i64, limit: u32) -> Result<Vec<i64>, Error<S::Error>> {
    let select = "SELECT user_no FROM np_sync_heads WHERE user_no > ?1 ORDER BY user_no LIMIT ?2";
    let rows =
        sql.exec(select, &[Param::Integer(after), Param::Integer(limit.into())]).map_err(Error::Sql)?;
    rows.iter().map(|row| Ok(row.integer(0)?)).collect()
}

/// Prunes a batch of one user's history, in the host's transaction. Says what was dropped, and whether there
/// is more to do.
pub fn prune_user<S: Sql>(
    sql: &mut S,
    user_no: i64,
    policy: &Policy,
    now: Millis,
) -> Result<(Pruned, bool), Error<S::Error>> {
    let cutoff = Param::Integer(signed(cutoff(policy, now)));
    let mut pruner = Pruner { sql, user_no };
    // Nearly always there is nothing: then nothing is written, and next to nothing read.
    let due =
        "SELECT 1 WHERE (SELECT created_at FROM np_sync_deltas WHERE user_no = ?1 ORDER BY seq LIMIT 1) < ?2
        OR EXISTS (SELECT 1 FROM np_sync_conflicts WHERE user_no = ?1 AND resolved_at < ?2)
        OR EXISTS (SELECT 1 FROM np_sync_outbox WHERE user_no = ?1 AND recorded_at < ?2)
        OR EXISTS (SELECT 1 FROM np_sync_dead_letters WHERE user_no = ?1 AND dead_at < ?2)";
    if pruner.count(due, &[cutoff])? == 0 {
        return Ok((Pruned::default(), false));
    }
    let counted =
        "UPDATE np_sync_heads SET writes = writes + 1 WHERE user_no = ?1 AND standing = 0 RETURNING 1";
    if pruner.count(counted, &[])? == 0 {
        return Ok((Pruned::default(), false));
    }
    let mut pruned = Pruned {
        conflicts: pruner.count(
            "DELETE FROM np_sync_conflicts WHERE user_no = ?1 AND resolved_at < ?2 RETURNING 1",
            &[cutoff],
        )?,
        ..Pruned::default()
    };
    pruner.events(cutoff)?;
    if pruned.conflicts > 0 {
        pruner.rows(
            "DELETE FROM np_sync_pieces WHERE user_no = ?1 AND kind IN ('base', 'mine', 'theirs')
             AND id NOT IN (SELECT c.id FROM np_sync_conflicts AS c WHERE c.user_no = ?1)",
            &[],
        )?;
    }
    let oldest =
        "SELECT seq, created_at < ?2, tag FROM np_sync_deltas WHERE user_no = ?1 ORDER BY seq LIMIT ?3";
    let deltas = pruner.rows(oldest, &[cutoff, Param::Integer(DELTAS_MAX)])?;
    let mut last: Option<Row> = None;
    for row in deltas {
        if row.integer(1)? == 0 {
            break;
        }
        last = Some(row);
    }
    let Some(mut last) = last else {
        if pruned.conflicts > 0 {
            count_bytes(sql, user_no)?;
        }
        return Ok((pruned, false));
    };
    let floor = Param::Integer(last.integer(0)?);
    let tag = last.blob(2)?;
    pruner.rows(
        "UPDATE np_sync_heads SET floor = ?2, floor_tag = ?3 WHERE user_no = ?1",
        &[floor, Param::Blob(&tag)],
    )?;
    pruner.served()?;
    pruner.rows(
        "DELETE FROM np_sync_pieces WHERE user_no = ?1 AND kind = 'results' AND id NOT IN (
            SELECT d.device_id FROM np_sync_devices AS d
            WHERE d.user_no = ?1 AND d.push_no IS NOT NULL AND d.push_results IS NULL)",
        &[],
    )?;
    pruned.users = 1;
    pruned.deltas =
        pruner.count("DELETE FROM np_sync_deltas WHERE user_no = ?1 AND seq <= ?2 RETURNING 1", &[floor])?;
    pruner.rows(
        "DELETE FROM np_sync_pieces WHERE user_no = ?1 AND kind = 'diff' AND CAST(id AS INTEGER) <= ?2",
        &[floor],
    )?;
    pruned.versions = pruner.versions(floor, cutoff)?;
    pruned.segments = pruner.segments(floor)?;
    pruned.tombstones = pruner.tombstones(floor)?;
    pruner.trim(last.number(0)?)?;
    pruner.rows(
        "DELETE FROM np_sync_hashes WHERE user_no = ?1 AND seq <= ?2 AND NOT EXISTS (
            SELECT 1 FROM np_sync_contents AS c
            WHERE c.user_no = ?1 AND c.key = np_sync_hashes.key AND c.start <= np_sync_hashes.seq)",
        &[floor],
    )?;
    count_bytes(sql, user_no)?;
    Ok((pruned, pruned.deltas >= DELTAS_MAX.unsigned_abs()))
}

/// When the oldest of what pruning looks at is older than the retention; `None`: there is nothing.
pub fn prune_due<S: Sql>(
    sql: &mut S,
    user_no: i64,
    policy: &Policy,
) -> Result<Option<Millis>, Error<S::Error>> {
    let oldest = "SELECT min(made) FROM (
            SELECT (SELECT created_at FROM np_sync_deltas WHERE user_no = ?1 ORDER BY seq LIMIT 1) AS made
            UNION ALL SELECT min(resolved_at) FROM np_sync_conflicts WHERE user_no = ?1
            UNION ALL SELECT min(recorded_at) FROM np_sync_outbox WHERE user_no = ?1
            UNION ALL SELECT min(dead_at) FROM np_sync_dead_letters WHERE user_no = ?1)
        WHERE made IS NOT NULL HAVING count(*) > 0";
    let rows = sql.exec(oldest, &[Param::Integer(user_no)]).map_err(Error::Sql)?;
    let made = rows.first().map(|row| row.number(0)).transpose()?;
    Ok(made.map(|made: Millis| retention::due(policy, made)))
}

/// Counts anew what a user stores. Sizes of blobs cost no reading of them.
pub fn count_bytes<S: Sql>(sql: &mut S, user_no: i64) -> Result<(), Error<S::Error>> {
    let update = "UPDATE np_sync_heads SET bytes = (
            SELECT coalesce(sum(length(data) + iif(part = 1, length(CAST(key AS BLOB)), 0)), 0)
            FROM np_sync_contents WHERE user_no = ?1)
        + (SELECT coalesce(sum(length(CAST(key AS BLOB)) + coalesce(length(CAST(value AS BLOB)), 0)), 0)
            FROM np_sync_versions WHERE user_no = ?1)
        + (SELECT coalesce(sum(coalesce(base_size, 0) + coalesce(mine_size, 0) + coalesce(theirs_size, 0)), 0)
            FROM np_sync_conflicts WHERE user_no = ?1),
        state_bytes = (
            SELECT coalesce(sum(64 + length(CAST(key AS BLOB)) + coalesce(length(CAST(value AS BLOB)), 0)), 0)
            FROM np_sync_state WHERE user_no = ?1)
        + (SELECT coalesce(sum(64 + length(CAST(key AS BLOB))), 0) FROM np_sync_files WHERE user_no = ?1)
        WHERE user_no = ?1";
    sql.exec(update, &[Param::Integer(user_no)]).map_err(Error::Sql)?;
    Ok(())
}

/// By document: hash and place of what devices last pushed.
type LastPushed = BTreeMap<String, Vec<(Vec<u8>, i64)>>;

struct Pruner<'a, S: Sql> {
    sql: &'a mut S,
    user_no: i64,
}

impl<S: Sql> Pruner<'_, S> {
    fn rows(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<Vec<Row>, Error<S::Error>> {
        let mut all = vec![Param::Integer(self.user_no)];
        all.extend_from_slice(params);
        self.sql.exec(sql, &all).map_err(Error::Sql)
    }

    fn count(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<u64, Error<S::Error>> {
        Ok(self.rows(sql, params)?.len() as u64)
    }

    /// Dead letters, and events that nobody has delivered: no webhook is configured any more.
    fn events(&mut self, cutoff: Param<'_>) -> Result<(), Error<S::Error>> {
        self.rows("DELETE FROM np_sync_dead_letters WHERE user_no = ?1 AND dead_at < ?2", &[cutoff])?;
        self.rows("DELETE FROM np_sync_outbox WHERE user_no = ?1 AND recorded_at < ?2", &[cutoff])?;
        Ok(())
    }

    /// Of what devices last pushed, the rows that their device's seq says have served.
    fn served(&mut self) -> Result<(), Error<S::Error>> {
        self.rows(
            "DELETE FROM np_sync_pushed WHERE user_no = ?1 AND seq <= (
                SELECT d.seq FROM np_sync_devices AS d
                WHERE d.user_no = ?1 AND d.device_id = np_sync_pushed.device_id)",
            &[],
        )?;
        Ok(())
    }

    /// The newest of each key that was head once stays, whatever its age: it is the value until the next.
    fn versions(&mut self, floor: Param<'_>, cutoff: Param<'_>) -> Result<u64, Error<S::Error>> {
        self.count(
            "DELETE FROM np_sync_versions WHERE user_no = ?1 AND seq <= ?2 AND (
                (cause > 2 AND created_at < ?3) OR (cause <= 2 AND EXISTS (
                    SELECT 1 FROM np_sync_versions AS v WHERE v.user_no = ?1 AND v.key = np_sync_versions.key
                    AND v.cause <= 2 AND v.seq > np_sync_versions.seq AND v.seq <= ?2))) RETURNING 1",
            &[floor, cutoff],
        )
    }

    /// Places and what was pushed are not ordered by key: they are read once for all documents, here and below.
    fn segments(&mut self, floor: Param<'_>) -> Result<u64, Error<S::Error>> {
        self.count(
            "DELETE FROM np_sync_contents WHERE user_no = ?1 AND start < ?2 AND EXISTS (
                SELECT 1 FROM np_sync_contents AS n WHERE n.user_no = ?1 AND n.key = np_sync_contents.key
                AND n.start > np_sync_contents.start AND n.start <= ?2)
             AND (key, start) NOT IN (
                SELECT p.key, coalesce((SELECT max(c.start) FROM np_sync_contents AS c
                    WHERE c.user_no = ?1 AND c.key = p.key AND c.start <= p.at), -1)
                FROM np_sync_pushed AS p WHERE p.user_no = ?1 AND p.hash IS NOT NULL)
             RETURNING part = 0",
            &[floor],
        )
    }

    /// Forgets, within segments, what the documents were before the floor.
    fn trim(&mut self, floor: Seq) -> Result<(), Error<S::Error>> {
        let rows = self.rows(
            "SELECT h.key FROM np_sync_hashes AS h WHERE h.user_no = ?1 AND h.seq <= ?2
             GROUP BY h.key HAVING count(*) > 1",
            &[Param::Integer(signed(floor))],
        )?;
        let keys = rows.iter().map(|row| row.text(0)).collect::<Result<Vec<_>, _>>()?;
        let needed = self.last_pushed(floor, &keys)?;
        let mut trimmed_keys = Vec::new();
        for key in &keys {
            let scope = Scope { segments: [(key.clone(), floor)].into(), ..Scope::default() };
            let slice = load::load(self.sql, self.user_no, &scope)?;
            let Some(segment) = slice.segment(key, floor) else { continue };
            let Some(trimmed) = segment.trim(floor).map_err(Error::Corrupt)? else { continue };
            let (start, first) = (signed(trimmed.segment.start), trimmed.first);
            let is_lost = |(hash, at): &(Vec<u8>, i64)| {
                first.is_none_or(|first| first.0 != hash.as_slice()) || *at < start
            };
            if needed.get(key).is_some_and(|pushed| pushed.iter().any(is_lost)) {
                continue;
            }
            let delete = "DELETE FROM np_sync_contents WHERE user_no = ?1 AND key = ?2 AND start = ?3";
            self.rows(delete, &[Param::Text(key), Param::Integer(signed(segment.start))])?;
            let commit = Commit { segments: vec![trimmed.segment], ..Commit::default() };
            apply::apply(self.sql, self.user_no, &commit)?;
            // The place of what the segment now begins with stays.
            let stays = first.map(|first| format!("{key}/{start}/{}", first.prefix()));
            trimmed_keys.push((key, stays));
        }
        for trimmed in trimmed_keys.chunks(LISTED_MAX) {
            let (keys, stay): (Vec<_>, Vec<_>) = trimmed.iter().cloned().unzip();
            let stay: Vec<String> = stay.into_iter().flatten().collect();
            self.rows(
                "DELETE FROM np_sync_hashes WHERE user_no = ?1 AND seq <= ?2
                 AND key IN (SELECT value FROM json_each(?3))
                 AND key || '/' || seq || '/' || prefix NOT IN (SELECT value FROM json_each(?4))",
                &[
                    Param::Integer(signed(floor)),
                    Param::Text(&json!(keys).to_string()),
                    Param::Text(&json!(stay).to_string()),
                ],
            )?;
        }
        Ok(())
    }

    /// Of these documents, up to the floor.
    fn last_pushed(&mut self, floor: Seq, keys: &[String]) -> Result<LastPushed, Error<S::Error>> {
        let mut pushed = LastPushed::new();
        for keys in keys.chunks(LISTED_MAX) {
            let rows = self.rows(
                "SELECT key, hash, at FROM np_sync_pushed WHERE user_no = ?1 AND at <= ?2
                 AND hash IS NOT NULL AND key IN (SELECT value FROM json_each(?3))",
                &[Param::Integer(signed(floor)), Param::Text(&json!(keys).to_string())],
            )?;
            for mut row in rows {
                pushed.entry(row.text(0)?).or_default().push((row.blob(1)?, row.integer(2)?));
            }
        }
        Ok(pushed)
    }

    fn tombstones(&mut self, floor: Param<'_>) -> Result<u64, Error<S::Error>> {
        let removed = self.rows(
            "DELETE FROM np_sync_state WHERE user_no = ?1 AND seq <= ?2 AND value IS NULL RETURNING key, seq",
            &[floor],
        )?;
        for row in &removed {
            let (key, seq) = (row.text(0)?, row.integer(1)?);
            self.rows(
                "DELETE FROM np_sync_state WHERE user_no = ?1 AND key > ?2 || '/' AND key < ?2 || '0' AND seq <= ?3",
                &[Param::Text(&key), Param::Integer(seq)],
            )?;
        }
        // What a removed key had been is of no use to anybody from here on.
        self.rows(
            "DELETE FROM np_sync_versions WHERE user_no = ?1 AND seq <= ?2 AND cause <= 2 AND NOT EXISTS (
                SELECT 1 FROM np_sync_state AS s WHERE s.user_no = ?1 AND s.key = np_sync_versions.key)",
            &[floor],
        )?;
        let files = self.rows(
            "DELETE FROM np_sync_files WHERE user_no = ?1 AND seq <= ?2 AND hash IS NULL
             AND key NOT IN (SELECT key FROM np_sync_pushed WHERE user_no = ?1 AND hash IS NOT NULL)
             AND key NOT IN (SELECT key FROM np_sync_hashes WHERE user_no = ?1 AND seq > ?2) RETURNING key",
            &[floor],
        )?;
        let keys = files.iter().map(|row| row.text(0)).collect::<Result<Vec<_>, _>>()?;
        for keys in keys.chunks(LISTED_MAX) {
            let list = json!(keys).to_string();
            for delete in [
                "DELETE FROM np_sync_contents WHERE user_no = ?1 AND key IN (SELECT value FROM json_each(?2))",
                "DELETE FROM np_sync_hashes WHERE user_no = ?1 AND key IN (SELECT value FROM json_each(?2))",
            ] {
                self.rows(delete, &[Param::Text(&list)])?;
            }
        }
        // Contents that were only ever in a conflict.
        self.rows(
            "DELETE FROM np_sync_contents WHERE user_no = ?1 AND NOT EXISTS (
                SELECT 1 FROM np_sync_files AS f WHERE f.user_no = ?1 AND f.key = np_sync_contents.key)
             AND key NOT IN (SELECT key FROM np_sync_pushed WHERE user_no = ?1 AND hash IS NOT NULL)
             AND key NOT IN (SELECT key FROM np_sync_hashes WHERE user_no = ?1 AND seq > ?2)",
            &[floor],
        )?;
        Ok((removed.len() + files.len()) as u64)
    }
}
