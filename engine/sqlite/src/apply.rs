//! Commit → rows.

use crate::pieces::{self, Kind, PIECE_BYTES_MAX};
use crate::row::signed;
use crate::{Error, Param, Sql};
use nself_sync_engine::commit::{Commit, SegmentWrite};
use nself_sync_engine::ids::{Hash, User};
use nself_sync_engine::key;
use nself_sync_engine::outbox::Recorded;
use nself_sync_engine::slice::{Conflict, Device, Head, Side, Version};

/// Stores the head of a new user and returns the user's number.
pub(crate) fn make_head<S: Sql>(sql: &mut S, user: &User, head: &Head) -> Result<i64, Error<S::Error>> {
    let insert = "INSERT INTO np_sync_heads
        (source_account_id, user_id, epoch, seq, tag, floor, floor_tag, conflicts_open, standing, bytes, state_bytes)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) RETURNING user_no";
    let params = [
        Param::Text(&user.account),
        Param::Text(&user.id),
        Param::Text(&head.epoch),
        Param::Integer(signed(head.seq)),
        Param::Blob(&head.tag.0),
        Param::Integer(signed(head.floor)),
        Param::Blob(&head.floor_tag.0),
        Param::Integer(signed(head.conflicts_open)),
        Param::Integer(i64::from(head.standing.code())),
        Param::Integer(signed(head.bytes)),
        Param::Integer(signed(head.state_bytes)),
    ];
    let rows = sql.exec(insert, &params).map_err(Error::Sql)?;
    Ok(rows.first().map(|row| row.integer(0)).transpose()?.unwrap_or_default())
}

/// Stores the head of a user in place of the one there is.
pub(crate) fn replace_head<S: Sql>(sql: &mut S, user_no: i64, head: &Head) -> Result<(), Error<S::Error>> {
    let update = "UPDATE np_sync_heads SET epoch = ?2, seq = ?3, tag = ?4, floor = ?5, floor_tag = ?6,
        conflicts_open = ?7, standing = ?8, writes = writes + 1 WHERE user_no = ?1";
    let params = [
        Param::Integer(user_no),
        Param::Text(&head.epoch),
        number(head.seq),
        Param::Blob(&head.tag.0),
        number(head.floor),
        Param::Blob(&head.floor_tag.0),
        number(head.conflicts_open),
        Param::Integer(head.standing.code().into()),
    ];
    sql.exec(update, &params).map(drop).map_err(Error::Sql)
}

/// Writes all rows of a commit.
pub(crate) fn apply<S: Sql>(sql: &mut S, user_no: i64, commit: &Commit) -> Result<(), Error<S::Error>> {
    let mut writer = Writer { sql, user: Param::Integer(user_no) };
    match &commit.head {
        Some(head) => writer.head(head)?,
        None => writer.run("UPDATE np_sync_heads SET writes = writes + 1 WHERE user_no = ?1", &[])?,
    }
    if let Some(device) = &commit.device {
        writer.device(device)?;
        if commit.forget_pushed {
            let delete = "DELETE FROM np_sync_pushed WHERE user_no = ?1 AND device_id = ?2";
            writer.run(delete, &[Param::Text(&device.device_id)])?;
        }
    }
    writer.pushed(commit)?;
    writer.state(commit)?;
    for version in &commit.versions {
        writer.version(version, commit.versions_numbered)?;
    }
    for segment in &commit.segments {
        writer.segment(segment)?;
    }
    for located in &commit.located {
        let insert =
            "INSERT OR IGNORE INTO np_sync_hashes (user_no, prefix, seq, key) VALUES (?1, ?2, ?3, ?4)";
        writer
            .run(insert, &[Param::Integer(located.prefix), number(located.seq), Param::Text(&located.key)])?;
    }
    for conflict in &commit.conflicts {
        writer.conflict(conflict)?;
    }
    if let Some((id, resolved)) = &commit.resolved {
        let update = "UPDATE np_sync_conflicts SET resolved_at = ?3, resolution = ?4, resolved_by = ?5
            WHERE user_no = ?1 AND id = ?2 AND resolved_at IS NULL";
        let by = resolved.device_id.as_deref();
        let params =
            [Param::Text(id), number(resolved.at), Param::Text(&resolved.resolution), maybe_text(by)];
        writer.run(update, &params)?;
    }
    writer.outbox(&commit.outbox)
}

fn number(number: u64) -> Param<'static> {
    Param::Integer(signed(number))
}

fn maybe_text(text: Option<&str>) -> Param<'_> {
    text.map_or(Param::Null, Param::Text)
}

fn maybe_hash(hash: &Option<Hash>) -> Param<'_> {
    hash.as_ref().map_or(Param::Null, |hash| Param::Blob(&hash.0))
}

struct Writer<'a, S: Sql> {
    sql: &'a mut S,
    user: Param<'a>,
}

impl<S: Sql> Writer<'_, S> {
    fn run(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<(), Error<S::Error>> {
        let mut all = vec![self.user];
        all.extend_from_slice(params);
        self.sql.exec(sql, &all).map(drop).map_err(Error::Sql)
    }

    fn head(&mut self, head: &Head) -> Result<(), Error<S::Error>> {
        let update =
            "UPDATE np_sync_heads SET seq = ?2, tag = ?3, conflicts_open = ?4, bytes = ?5, state_bytes = ?6,
            writes = writes + 1 WHERE user_no = ?1";
        let (open, bytes, state) =
            (number(head.conflicts_open), number(head.bytes), number(head.state_bytes));
        self.run(update, &[number(head.seq), Param::Blob(&head.tag.0), open, bytes, state])
    }

    fn device(&mut self, device: &Device) -> Result<(), Error<S::Error>> {
        let upsert = "INSERT INTO np_sync_devices (user_no, device_id, platform, created_at, last_seen, seq,
                removed_at, sync_token, push_no, push_body, push_seq, push_tag, push_registered, push_results)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
            ON CONFLICT (user_no, device_id) DO UPDATE SET last_seen = ?5, seq = ?6, removed_at = ?7,
                sync_token = ?8, push_no = ?9, push_body = ?10, push_seq = ?11, push_tag = ?12,
                push_registered = ?13, push_results = ?14";
        let last = device.last_push.as_ref();
        if let Some(last) = last {
            pieces::put(self.sql, self.user, Kind::Results, &device.device_id, last.results.as_bytes())?;
        }
        let results = last.map(|last| last.results.as_str()).filter(|text| !pieces::is_cut(text.len()));
        self.run(
            upsert,
            &[
                Param::Text(&device.device_id),
                Param::Text(device.platform.as_str()),
                number(device.created_at),
                number(device.last_seen),
                number(device.seq),
                device.removed_at.map_or(Param::Null, number),
                maybe_hash(&device.sync_token),
                last.map_or(Param::Null, |last| number(last.push_no)),
                last.map_or(Param::Null, |last| Param::Blob(&last.body.0)),
                last.map_or(Param::Null, |last| number(last.seq)),
                last.map_or(Param::Null, |last| Param::Blob(&last.tag.0)),
                last.map_or(Param::Null, |last| Param::Integer(i64::from(last.registered))),
                maybe_text(results),
            ],
        )
    }

    fn pushed(&mut self, commit: &Commit) -> Result<(), Error<S::Error>> {
        let upsert = "INSERT INTO np_sync_pushed (user_no, device_id, key, seq, at, hash)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6)
            ON CONFLICT (user_no, device_id, key) DO UPDATE SET seq = ?4, at = ?5, hash = ?6";
        for (key, pushed) in &commit.pushed {
            let hash = maybe_hash(&pushed.hash);
            let params = [
                Param::Text(&commit.pushed_by),
                Param::Text(key),
                number(pushed.seq),
                number(pushed.at),
                hash,
            ];
            self.run(upsert, &params)?;
        }
        Ok(())
    }

    fn state(&mut self, commit: &Commit) -> Result<(), Error<S::Error>> {
        if let Some(delta) = &commit.delta {
            let insert = "INSERT INTO np_sync_deltas (user_no, seq, device_id, created_at, tag, diff)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            let (seq, at) = (number(delta.seq), number(delta.created_at));
            pieces::put(self.sql, self.user, Kind::Diff, &delta.seq.to_string(), delta.diff.as_bytes())?;
            let diff = Some(delta.diff.as_str()).filter(|text| !pieces::is_cut(text.len()));
            let (tag, diff) = (Param::Blob(&delta.tag.0), maybe_text(diff));
            self.run(insert, &[seq, Param::Text(&delta.device_id), at, tag, diff])?;
        }
        for key in &commit.scalars_dropped {
            self.run("DELETE FROM np_sync_state WHERE user_no = ?1 AND key = ?2", &[Param::Text(key)])?;
        }
        for (key, scalar) in &commit.scalars {
            let upsert = "INSERT INTO np_sync_state (user_no, key, value, seq, device_id, changed_at)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                ON CONFLICT (user_no, key) DO UPDATE SET value = ?3, seq = ?4, device_id = ?5, changed_at = ?6";
            let value = scalar.value.as_ref().map(serde_json::Value::to_string);
            let (seq, at) = (number(scalar.seq), number(scalar.changed_at));
            let device_id = Param::Text(&scalar.device_id);
            self.run(upsert, &[Param::Text(key), maybe_text(value.as_deref()), seq, device_id, at])?;
        }
        for (key, document) in &commit.documents {
            let upsert = "INSERT INTO np_sync_files (user_no, key, hash, size, seq, device_id)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                ON CONFLICT (user_no, key) DO UPDATE SET hash = ?3, size = ?4, seq = ?5, device_id = ?6";
            let size = number(document.size as u64);
            let device_id = Param::Text(&document.device_id);
            let hash = maybe_hash(&document.hash);
            self.run(upsert, &[Param::Text(key), hash, size, number(document.seq), device_id])?;
        }
        Ok(())
    }

    fn version(&mut self, version: &Version, is_numbered: bool) -> Result<(), Error<S::Error>> {
        let insert =
            "INSERT INTO np_sync_versions (user_no, key, seq, no, cause, device_id, created_at, value)
            VALUES (?1, ?2, ?3, coalesce(?8, (SELECT max(no) + 1 FROM np_sync_versions
                WHERE user_no = ?1 AND key = ?2 AND seq = ?3), 0), ?4, ?5, ?6, ?7)";
        let value = version.value.as_ref().map(serde_json::Value::to_string);
        self.run(
            insert,
            &[
                Param::Text(&version.key),
                number(version.seq),
                Param::Integer(i64::from(version.cause.code())),
                Param::Text(&version.device_id),
                number(version.created_at),
                maybe_text(value.as_deref()),
                if is_numbered { number(version.no.into()) } else { Param::Null },
            ],
        )
    }

    fn segment(&mut self, segment: &SegmentWrite) -> Result<(), Error<S::Error>> {
        let upsert = "INSERT INTO np_sync_contents (user_no, key, start, part, data)
            VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (user_no, key, start, part) DO UPDATE SET data = ?5";
        let pack = segment.pack.chunks(PIECE_BYTES_MAX).zip((i64::MIN + 1..=0).rev());
        let keyframe = segment.keyframe.iter().flat_map(|keyframe| keyframe.chunks(PIECE_BYTES_MAX)).zip(1..);
        for (data, part) in pack.chain(keyframe) {
            let (start, part) = (number(segment.start), Param::Integer(part));
            self.run(upsert, &[Param::Text(&segment.key), start, part, Param::Blob(data)])?;
        }
        Ok(())
    }

    fn outbox(&mut self, recorded: &[Recorded]) -> Result<(), Error<S::Error>> {
        let insert = "INSERT INTO np_sync_outbox (user_no, seq, no, id, event_type, payload, recorded_at)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        for event in recorded {
            let params = [
                number(event.place.seq),
                Param::Integer(event.place.no.into()),
                Param::Text(&event.id),
                Param::Text(&event.event_type),
                Param::Text(&event.payload),
                number(event.recorded_at),
            ];
            self.run(insert, &params)?;
        }
        let Some(last) = recorded.last() else { return Ok(()) };
        let insert =
            "INSERT OR IGNORE INTO np_sync_deliveries (user_no, due_at, failures) VALUES (?1, ?2, 0)";
        self.run(insert, &[number(last.recorded_at)])
    }

    fn conflict(&mut self, conflict: &Conflict) -> Result<(), Error<S::Error>> {
        let insert = "INSERT INTO np_sync_conflicts (user_no, id, collection, file_path,
                base_hash, base_size, base, mine_hash, mine_size, mine, theirs_hash, theirs_size, theirs,
                mine_device_id, theirs_device_id, seq, created_at, resolved_at, resolution, resolved_by)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)";
        let mut params = vec![
            Param::Text(&conflict.id),
            Param::Text(key::collection(&conflict.key)),
            Param::Text(key::within(&conflict.key)),
        ];
        let sides =
            [(Kind::Base, &conflict.base), (Kind::Mine, &conflict.mine), (Kind::Theirs, &conflict.theirs)];
        for (kind, side) in sides {
            if let Some(side) = side {
                pieces::put(self.sql, self.user, kind, &conflict.id, &side.content)?;
            }
            params.extend(side_params(side));
        }
        params.extend([
            Param::Text(&conflict.mine_device_id),
            Param::Text(&conflict.theirs_device_id),
            number(conflict.seq),
            number(conflict.created_at),
        ]);
        let resolved = conflict.resolved.as_ref();
        params.extend([
            resolved.map_or(Param::Null, |how| number(how.at)),
            maybe_text(resolved.map(|how| how.resolution.as_str())),
            maybe_text(resolved.and_then(|how| how.device_id.as_deref())),
        ]);
        self.run(insert, &params)
    }
}

fn side_params(side: &Option<Side>) -> [Param<'_>; 3] {
    let Some(side) = side else { return [Param::Null; 3] };
    let bytes = side.content.len();
    let content = if pieces::is_cut(bytes) { Param::Null } else { Param::Blob(&side.content) };
    [Param::Blob(&side.hash.0), number(bytes as u64), content]
}
