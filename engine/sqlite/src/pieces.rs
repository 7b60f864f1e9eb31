//! Values that are too large for a row of a narrow host: in pieces of their own, and null in their row.

use crate::{Error, Param, Sql};

/// The largest value in its row: a conflict's has three, and is to stay under 2 MB.
const INLINE_BYTES_MAX: usize = 512 << 10;

/// The largest piece.
pub(crate) const PIECE_BYTES_MAX: usize = 1 << 20;

/// Where a value belongs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// A delta's diff, by seq.
    Diff,
    /// The results of a device's last push, by device.
    Results,
    /// The sides of a conflict, by its id.
    Base,
    Mine,
    Theirs,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::Diff => "diff",
            Kind::Results => "results",
            Kind::Base => "base",
            Kind::Mine => "mine",
            Kind::Theirs => "theirs",
        }
    }
}

/// Whether a value of so many bytes is in pieces.
pub(crate) fn is_cut(bytes: usize) -> bool {
    bytes > INLINE_BYTES_MAX
}

/// Stores a value in pieces, where it is too large, in place of what was there.
pub(crate) fn put<S: Sql>(
    sql: &mut S,
    user: Param<'_>,
    kind: Kind,
    id: &str,
    value: &[u8],
) -> Result<(), Error<S::Error>> {
    if !is_cut(value.len()) {
        return Ok(());
    }
    let (kind, id) = (Param::Text(kind.as_str()), Param::Text(id));
    let delete = "DELETE FROM np_sync_pieces WHERE user_no = ?1 AND kind = ?2 AND id = ?3";
    sql.exec(delete, &[user, kind, id]).map_err(Error::Sql)?;
    let insert = "INSERT INTO np_sync_pieces (user_no, kind, id, part, data) VALUES (?1, ?2, ?3, ?4, ?5)";
    for (data, part) in value.chunks(PIECE_BYTES_MAX).zip(0..) {
        sql.exec(insert, &[user, kind, id, Param::Integer(part), Param::Blob(data)]).map_err(Error::Sql)?;
    }
    Ok(())
}

/// The value that is in pieces.
pub(crate) fn get<S: Sql>(
    sql: &mut S,
    user: Param<'_>,
    kind: Kind,
    id: &str,
) -> Result<Vec<u8>, Error<S::Error>> {
    let select = "SELECT data FROM np_sync_pieces WHERE user_no = ?1 AND kind = ?2 AND id = ?3 ORDER BY part";
    let mut value = Vec::new();
    for mut row in
        sql.exec(select, &[user, Param::Text(kind.as_str()), Param::Text(id)]).map_err(Error::Sql)?
    {
        value.extend(row.blob(0)?);
    }
    Ok(value)
}
