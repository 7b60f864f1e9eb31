//! Scope → Slice.

use crate::pieces::{self, Kind, PIECE_BYTES_MAX};
use crate::row::{Damage, Row, signed};
use crate::{Error, Param, Sql};
use nself_sync_engine::history::Corrupt;
use nself_sync_engine::slice::{ConflictScope, Delta, Located, Scope, Segment, Slice};
use serde_json::json;
use std::collections::BTreeSet;

/// A list goes in as JSON; one parameter's bytes are bounded by cutting the list.
const LIST_BYTES_MAX: usize = 512 << 10;

/// Deltas that are loaded at once: one in its row has half a MiB at most.
const DELTAS_MAX: i64 = 8;

macro_rules! devices {
    ($and:literal) => {
        concat!(
            "SELECT device_id, platform, created_at, last_seen, seq, removed_at, sync_token, push_no, push_body,
             push_seq, push_tag, push_registered, push_results FROM np_sync_devices WHERE user_no = ?1",
            $and
        )
    };
}

/// Conflicts with their contents, or with `NULL` in place of these.
macro_rules! conflicts {
    ($base:literal, $mine:literal, $theirs:literal, $and:literal) => {
        concat!(
            "SELECT id, collection, file_path, base_hash, base_size, ",
            $base,
            ", mine_hash, mine_size, ",
            $mine,
            ", theirs_hash, theirs_size, ",
            $theirs,
            ", mine_device_id, theirs_device_id, seq, created_at,
             resolved_at, resolution, resolved_by FROM np_sync_conflicts WHERE user_no = ?1 AND ",
            $and
        )
    };
}

/// Loads exactly the rows that `scope` names.
pub(crate) fn load<S: Sql>(sql: &mut S, user_no: i64, scope: &Scope) -> Result<Slice, Error<S::Error>> {
    let mut loader = Loader { sql, user: Param::Integer(user_no), slice: Slice::default() };
    loader.devices(scope)?;
    loader.state(scope)?;
    loader.pushed(scope)?;
    loader.history(scope)?;
    loader.segments(scope)?;
    loader.conflicts(&scope.conflicts)?;
    Ok(loader.slice)
}

struct Loader<'a, S: Sql> {
    sql: &'a mut S,
    user: Param<'a>,
    slice: Slice,
}

impl<S: Sql> Loader<'_, S> {
    fn rows(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<Vec<Row>, Error<S::Error>> {
        let mut all = vec![self.user];
        all.extend_from_slice(params);
        self.sql.exec(sql, &all).map_err(Error::Sql)
    }

    /// The rows for a list of keys, which the statement takes as a JSON array in ?2. One key, as most pushes have, is taken
    /// as it is by a statement of its own: the elements of an array count as rows where rows are paid for.
    fn listed(
        &mut self,
        [one, sql]: [&'static str; 2],
        keys: &BTreeSet<String>,
    ) -> Result<Vec<Row>, Error<S::Error>> {
        if let Some(key) = keys.first().filter(|_| keys.len() == 1) {
            return self.rows(one, &[Param::Text(key)]);
        }
        let mut rows = Vec::new();
        for list in lists(keys.iter()) {
            rows.extend(self.rows(sql, &[Param::Text(&list)])?);
        }
        Ok(rows)
    }

    /// A text that is not in its row.
    fn whole_text(&mut self, kind: Kind, id: &str) -> Result<String, Error<S::Error>> {
        let text = String::from_utf8(pieces::get(self.sql, self.user, kind, id)?);
        text.map_err(|_| Error::Corrupt(Corrupt(format!("the pieces of a {kind:?} are not UTF-8"))))
    }

    fn devices(&mut self, scope: &Scope) -> Result<(), Error<S::Error>> {
        let mut rows = Vec::new();
        if scope.all_devices {
            rows = self.rows(devices!(" AND removed_at IS NULL"), &[])?;
        }
        for device_id in &scope.devices {
            rows.extend(self.rows(devices!(" AND device_id = ?2"), &[Param::Text(device_id)])?);
        }
        for row in rows {
            let mut device = row.device()?;
            if let Some(last) = device.last_push.as_mut().filter(|last| last.results.is_empty()) {
                last.results = self.whole_text(Kind::Results, &device.device_id)?;
            }
            self.slice.devices.insert(device.device_id.clone(), device);
        }
        let is_new = scope.devices.iter().any(|id| !self.slice.devices.contains_key(id));
        if scope.count_devices && is_new {
            let count = "SELECT count(*) FROM np_sync_devices WHERE user_no = ?1 AND removed_at IS NULL";
            for row in self.rows(count, &[])? {
                self.slice.devices_count = usize::try_from(row.number(0)?).unwrap_or(usize::MAX);
            }
        }
        Ok(())
    }

    fn state(&mut self, scope: &Scope) -> Result<(), Error<S::Error>> {
        let mut scalars = Vec::new();
        let mut documents = Vec::new();
        if scope.whole_state {
            scalars = self.rows(
                "SELECT key, value, seq, device_id, changed_at FROM np_sync_state WHERE user_no = ?1",
                &[],
            )?;
            documents = self.rows(
                "SELECT key, hash, size, seq, device_id FROM np_sync_files
                 WHERE user_no = ?1 AND hash IS NOT NULL",
                &[],
            )?;
        }
        let mut keys = scope.scalars.clone();
        keys.extend(scope.entries.iter().cloned());
        scalars.extend(self.listed(
            [
                "SELECT key, value, seq, device_id, changed_at FROM np_sync_state WHERE user_no = ?1 AND key = ?2",
                "SELECT s.key, s.value, s.seq, s.device_id, s.changed_at FROM json_each(?2) AS k
                 CROSS JOIN np_sync_state AS s ON s.user_no = ?1 AND s.key = k.value",
            ],
            &keys,
        )?);
        // The fields of an entry follow its key and a slash; '0' is the character after '/'.
        scalars.extend(self.listed(
            [
                "SELECT key, value, seq, device_id, changed_at FROM np_sync_state
                 WHERE user_no = ?1 AND key > ?2 || '/' AND key < ?2 || '0'",
                "SELECT s.key, s.value, s.seq, s.device_id, s.changed_at FROM json_each(?2) AS k
                 CROSS JOIN np_sync_state AS s
                 ON s.user_no = ?1 AND s.key > k.value || '/' AND s.key < k.value || '0'",
            ],
            &scope.entries,
        )?);
        documents.extend(self.listed(
            [
                "SELECT key, hash, size, seq, device_id FROM np_sync_files WHERE user_no = ?1 AND key = ?2",
                "SELECT f.key, f.hash, f.size, f.seq, f.device_id FROM json_each(?2) AS k
                 CROSS JOIN np_sync_files AS f ON f.user_no = ?1 AND f.key = k.value",
            ],
            &scope.documents,
        )?);
        for row in scalars {
            let (key, scalar) = row.scalar()?;
            self.slice.scalars.insert(key, scalar);
        }
        for row in documents {
            let (key, document) = row.document()?;
            self.slice.documents.insert(key, document);
        }
        Ok(())
    }

    fn pushed(&mut self, scope: &Scope) -> Result<(), Error<S::Error>> {
        let Some(device_id) = &scope.pushed_by else { return Ok(()) };
        if let Some(key) = scope.pushed_keys.first().filter(|_| scope.pushed_keys.len() == 1) {
            let select = "SELECT key, seq, at, hash FROM np_sync_pushed
                WHERE user_no = ?1 AND device_id = ?2 AND key = ?3";
            for row in self.rows(select, &[Param::Text(device_id), Param::Text(key)])? {
                let (key, pushed) = row.pushed()?;
                self.slice.pushed.insert(key, pushed);
            }
            return Ok(());
        }
        let select = "SELECT p.key, p.seq, p.at, p.hash FROM json_each(?2) AS k
            CROSS JOIN np_sync_pushed AS p ON p.user_no = ?1 AND p.device_id = ?3 AND p.key = k.value";
        for list in lists(scope.pushed_keys.iter()) {
            for row in self.rows(select, &[Param::Text(&list), Param::Text(device_id)])? {
                let (key, pushed) = row.pushed()?;
                self.slice.pushed.insert(key, pushed);
            }
        }
        Ok(())
    }

    fn delta(&mut self, mut delta: Delta) -> Result<(), Error<S::Error>> {
        if delta.diff.is_empty() {
            delta.diff = self.whole_text(Kind::Diff, &delta.seq.to_string())?;
        }
        self.slice.deltas.insert(delta.seq, delta);
        Ok(())
    }

    fn history(&mut self, scope: &Scope) -> Result<(), Error<S::Error>> {
        if let Some((after, upto)) = scope.deltas {
            let rows = self.rows(
                "SELECT seq, device_id, created_at, tag, diff FROM np_sync_deltas
                 WHERE user_no = ?1 AND seq > ?2 AND seq <= ?3 ORDER BY seq LIMIT ?4",
                &[Param::Integer(signed(after)), Param::Integer(signed(upto)), Param::Integer(DELTAS_MAX)],
            )?;
            for (index, row) in rows.iter().enumerate() {
                let delta = row.delta()?;
                // What is in pieces comes alone: it is asked for again.
                if index > 0 && delta.diff.is_empty() {
                    break;
                }
                self.delta(delta)?;
            }
        }
        for seq in &scope.deltas_at {
            let rows = self.rows(
                "SELECT seq, device_id, created_at, tag, diff FROM np_sync_deltas WHERE user_no = ?1 AND seq = ?2",
                &[Param::Integer(signed(*seq))],
            )?;
            rows.iter().try_for_each(|row| self.delta(row.delta()?))?;
        }
        // Causes above 2 were never head.
        let value_at = "SELECT key, seq, no, cause, device_id, created_at, value FROM np_sync_versions
            WHERE user_no = ?1 AND key = ?2 AND seq <= ?3 AND cause <= 2 ORDER BY seq DESC, no DESC LIMIT 1";
        for (key, seq) in &scope.values_at {
            for row in self.rows(value_at, &[Param::Text(key), Param::Integer(signed(*seq))])? {
                self.slice.values_at.insert((key.clone(), *seq), row.version()?);
            }
        }
        let Some(page) = &scope.versions else { return Ok(()) };
        let (seq, no) = page.before.map_or((i64::MAX, i64::MAX), |(seq, no)| (signed(seq), i64::from(no)));
        let limit = i64::try_from(page.limit).unwrap_or(i64::MAX);
        let select = "SELECT key, seq, no, cause, device_id, created_at, value FROM np_sync_versions
            WHERE user_no = ?1 AND key = ?2 AND (seq, no) < (?3, ?4) ORDER BY seq DESC, no DESC LIMIT ?5";
        let params = [Param::Text(&page.key), Param::Integer(seq), Param::Integer(no), Param::Integer(limit)];
        for row in self.rows(select, &params)? {
            self.slice.versions.push(row.version()?);
        }
        Ok(())
    }

    fn segments(&mut self, scope: &Scope) -> Result<(), Error<S::Error>> {
        let place =
            "SELECT seq, key FROM np_sync_hashes WHERE user_no = ?1 AND prefix = ?2 ORDER BY seq DESC";
        for hash in &scope.hashes {
            let prefix = hash.prefix();
            for row in self.rows(place, &[Param::Integer(prefix)])? {
                self.slice.located.push(Located { prefix, key: row.text(1)?, seq: row.number(0)? });
            }
        }
        for (key, seq) in &scope.segments {
            let params = [Param::Text(key), Param::Integer(signed(*seq))];
            // Nearly always a keyframe and a pack, each in one piece: found without a look at what is beside them.
            let last = "SELECT start, part, data FROM np_sync_contents
                WHERE user_no = ?1 AND key = ?2 AND start <= ?3 ORDER BY start DESC, part DESC LIMIT 2";
            let mut rows = self.rows(last, &params)?;
            if !is_whole(&rows)? {
                let all = "SELECT start, part, data FROM np_sync_contents
                    WHERE user_no = ?1 AND key = ?2 AND start = (SELECT max(start) FROM np_sync_contents
                        WHERE user_no = ?1 AND key = ?2 AND start <= ?3)
                    ORDER BY part DESC";
                rows = self.rows(all, &params)?;
            }
            let mut segment: Option<Segment> = None;
            for mut row in rows {
                let (start, part, mut data) = (row.number(0)?, row.integer(1)?, row.blob(2)?);
                let (keyframe, pack) = (Vec::new(), Vec::new());
                let segment = segment.get_or_insert(Segment { key: key.clone(), start, keyframe, pack });
                // The pack's pieces are 0, -1, …, the keyframe's 1, 2, …, of which the last comes first.
                if part > 0 {
                    data.append(&mut segment.keyframe);
                    segment.keyframe = data;
                } else {
                    segment.pack.extend(data);
                }
            }
            if let Some(segment) = segment {
                self.slice.segments.insert((key.clone(), segment.start), segment);
            }
        }
        Ok(())
    }

    fn conflicts(&mut self, scope: &ConflictScope) -> Result<(), Error<S::Error>> {
        let rows = match scope {
            ConflictScope::None => Vec::new(),
            ConflictScope::OpenOf(device_id) => self.rows(
                conflicts!("NULL", "NULL", "NULL", "mine_device_id = ?2 AND resolved_at IS NULL"),
                &[Param::Text(device_id)],
            )?,
            ConflictScope::OpenBrief => {
                self.rows(conflicts!("NULL", "NULL", "NULL", "resolved_at IS NULL"), &[])?
            }
            ConflictScope::Ids(ids) => self.listed(
                [
                    conflicts!("base", "mine", "theirs", "id = ?2"),
                    conflicts!("base", "mine", "theirs", "id IN (SELECT value FROM json_each(?2))"),
                ],
                ids,
            )?,
        };
        let is_whole = matches!(scope, ConflictScope::Ids(_));
        for mut row in rows {
            let mut conflict = row.conflict()?;
            let sides = [
                (Kind::Base, &mut conflict.base),
                (Kind::Mine, &mut conflict.mine),
                (Kind::Theirs, &mut conflict.theirs),
            ];
            for (kind, side) in sides {
                if let Some(side) = side.as_mut().filter(|side| is_whole && pieces::is_cut(side.size)) {
                    side.content = pieces::get(self.sql, self.user, kind, &conflict.id)?;
                }
            }
            self.slice.conflicts.insert(conflict.id.clone(), conflict);
        }
        Ok(())
    }
}

/// Whether these rows are a keyframe in one piece and the pack that goes with it, in one piece as well.
fn is_whole(rows: &[Row]) -> Result<bool, Damage> {
    let [keyframe, pack] = rows else { return Ok(false) };
    Ok(keyframe.integer(0)? == pack.integer(0)?
        && (keyframe.integer(1)?, pack.integer(1)?) == (1, 0)
        && pack.blob_len(2)? < PIECE_BYTES_MAX)
}

/// Cuts a list into JSON arrays of bounded size.
fn lists<'a>(keys: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut lists: Vec<(Vec<&String>, usize)> = Vec::new();
    for key in keys {
        match lists.last_mut() {
            Some((list, bytes)) if *bytes + key.len() <= LIST_BYTES_MAX => {
                list.push(key);
                *bytes += key.len() + 3;
            }
            Some(_) | None => lists.push((vec![key], key.len())),
        }
    }
    lists.into_iter().map(|(list, _)| json!(list).to_string()).collect()
}
