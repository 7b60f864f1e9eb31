//! One user as a stream of lines, from any host to any other: all rows, in an order that is the same everywhere.
//!
//! Each line is a JSON object with a `record`: first `user` (the head), then devices, scalars, documents, deltas,
//! versions, segments, places of contents, what devices last pushed, conflicts, each by key; last `end`, with the number
//! of the lines before it and a SHA-256 chained over them. A stream that is cut, reordered or altered does not get there.
//! Two users have the same rows where their streams have the same hash: the **state hash**.
//!
//! A host exports page by page ([`Page`]) from rows after a [`Place`], and imports batch by batch: [`Progress::read`] checks a
//! line, [`commits`] makes what a store writes of it.

mod line;
mod may;

use crate::commit::Commit;
use crate::error::Reject;
use crate::ids::{Hash, Seq, User};
use crate::scalar::value_bytes;
use crate::slice::{Conflict, Delta, Device, Document, Head, Located, Pushed, Scalar, Segment, Version};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

pub use may::{differs, is_of, may_change_epoch, may_export, may_import, may_undo_move, resume};

/// What the first line says the stream is.
pub const FORMAT: &str = "nself-sync-user";

/// The version of the format that this engine writes and reads.
pub const VERSION: u64 = 1;

/// The text of a page, and of a batch to import: bytes from which it is closed. One line may be larger.
pub const PAGE_BYTES: usize = 1 << 20;

/// A line.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// The first: whose rows these are, and the head. Its standing is not told.
    User(User, Head),
    /// A device, also a removed one, with the hash of its token.
    Device(Device),
    /// A scalar at head by key, also a removed one.
    Scalar(String, Scalar),
    /// A document at head by key, also a removed one.
    Document(String, Document),
    /// A delta above the floor.
    Delta(Delta),
    /// A scalar's version, with its number.
    Version(Version),
    /// A segment of a document's history.
    Segment(Segment),
    /// Where a content is.
    Located(Located),
    /// What a device last pushed for a key.
    Pushed(String, String, Pushed),
    /// A conflict, also a resolved one.
    Conflict(Conflict),
    /// The last: how many lines are before it, and their hash.
    End(u64, Hash),
}

/// Where a record stands in the stream. The order is that of this type: by kind, then by key as bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Place {
    /// The first line.
    User,
    /// By id.
    Device(String),
    /// By key.
    Scalar(String),
    /// By key.
    Document(String),
    /// By seq.
    Delta(Seq),
    /// By key, seq and number.
    Version(String, Seq, u32),
    /// By key and start.
    Segment(String, Seq),
    /// By prefix, seq and key.
    Located(i64, Seq, String),
    /// By device and key.
    Pushed(String, String),
    /// By id.
    Conflict(String),
    /// The last line.
    End,
}

impl Record {
    /// Where it stands.
    pub fn place(&self) -> Place {
        match self {
            Record::User(..) => Place::User,
            Record::Device(device) => Place::Device(device.device_id.clone()),
            Record::Scalar(key, _) => Place::Scalar(key.clone()),
            Record::Document(key, _) => Place::Document(key.clone()),
            Record::Delta(delta) => Place::Delta(delta.seq),
            Record::Version(version) => Place::Version(version.key.clone(), version.seq, version.no),
            Record::Segment(segment) => Place::Segment(segment.key.clone(), segment.start),
            Record::Located(at) => Place::Located(at.prefix, at.seq, at.key.clone()),
            Record::Pushed(device_id, key, _) => Place::Pushed(device_id.clone(), key.clone()),
            Record::Conflict(conflict) => Place::Conflict(conflict.id.clone()),
            Record::End(..) => Place::End,
        }
    }
}

impl Record {
    /// What the row adds to [`Head::bytes`].
    pub fn bytes(&self) -> usize {
        match self {
            Record::Segment(segment) => segment.key.len() + segment.keyframe.len() + segment.pack.len(),
            Record::Version(version) => version.key.len() + version.value.as_ref().map_or(0, value_bytes),
            Record::Conflict(conflict) => {
                let sides = [&conflict.base, &conflict.mine, &conflict.theirs].into_iter().flatten();
                sides.map(|side| side.size).sum()
            }
            Record::User(..) | Record::Device(_) | Record::Scalar(..) | Record::Document(..) => 0,
            Record::Delta(_) | Record::Located(_) | Record::Pushed(..) | Record::End(..) => 0,
        }
    }
}

impl Record {
    /// What the row adds to [`Head::state_bytes`].
    pub fn state_bytes(&self) -> usize {
        match self {
            Record::Scalar(key, row) => row.state_bytes(key),
            Record::Document(key, _) => Document::state_bytes(key),
            Record::User(..) | Record::Device(_) | Record::Version(_) | Record::Delta(_) => 0,
            Record::Segment(_) | Record::Located(_) | Record::Pushed(..) => 0,
            Record::Conflict(_) | Record::End(..) => 0,
        }
    }
}

/// How far a stream is written, or read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Lines so far.
    pub lines: u64,
    /// Of each line, after the hash of those before it.
    pub hash: Hash,
    /// The last line's; `None`: there is none yet.
    pub place: Option<Place>,
}

impl Default for Progress {
    fn default() -> Progress {
        Progress { lines: 0, hash: Hash([0; 32]), place: None }
    }
}

impl Progress {
    /// As a cursor or a column: printable ASCII without blanks.
    pub fn to_text(&self) -> String {
        let value = json!([self.lines, self.hash, self.place]);
        URL_SAFE_NO_PAD.encode(value.to_string())
    }

    /// Reads [`Progress::to_text`].
    pub fn from_text(text: &str) -> Option<Progress> {
        let (lines, hash, place): (u64, String, Option<Place>) =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        Some(Progress { lines, hash: Hash::parse(&hash)?, place })
    }

    /// Whether the last line is in.
    pub fn is_done(&self) -> bool {
        self.place == Some(Place::End)
    }

    /// Appends the record's line to `out`.
    pub fn write(&mut self, record: &Record, out: &mut String) {
        let line = line::render(record).to_string();
        self.take(&line, record.place());
        out.push_str(&line);
        out.push('\n');
    }

    /// Takes in the next line, without its line feed.
    ///
    /// # Errors
    /// [`Reject::InvalidField`] names the line, the field and what is allowed; `Progress` is then as before.
    pub fn read(&mut self, line: &str) -> Result<Record, Reject> {
        let number = self.lines.saturating_add(1);
        let record = line::parse(line, number)?;
        let place = record.place();
        let is_next = match &self.place {
            None => place == Place::User,
            Some(last) => *last < place,
        };
        if !is_next {
            let allowed =
                if self.place.is_none() { "the first is user" } else { "they go up by kind and key" };
            return Err(line::invalid(number, "record", &format!("out of order: {allowed}")));
        }
        if let Record::End(lines, hash) = &record {
            if *lines != self.lines {
                let detail = format!("{lines} lines were written before this one, {} came", self.lines);
                return Err(line::invalid(number, "lines", &detail));
            }
            if *hash != self.hash {
                let detail = "not the hash of the lines before it: one of them was altered";
                return Err(line::invalid(number, "sha256", detail));
            }
        }
        self.take(line, place);
        Ok(record)
    }

    fn take(&mut self, line: &str, place: Place) {
        self.lines = self.lines.saturating_add(1);
        self.hash = Hash(Sha256::new().chain_update(self.hash.0).chain_update(line).finalize().into());
        self.place = Some(place);
    }
}

/// A page of a stream in the making: a host adds the rows after [`Page::place`], a bounded chunk at a time, until it is full or
/// there are no more.
#[derive(Debug, Clone)]
pub struct Page {
    progress: Progress,
    lines: String,
    hash: Option<Hash>,
}

impl Page {
    /// The page after `progress`; the first begins with the user's head.
    pub fn begin(progress: Option<Progress>, user: &User, head: &Head) -> Page {
        let mut page = Page { progress: progress.unwrap_or_default(), lines: String::new(), hash: None };
        if page.progress.place.is_none() {
            page.progress.write(&Record::User(user.clone(), head.clone()), &mut page.lines);
        }
        page
    }

    /// The last row's, after which the next ones are to be read.
    pub fn place(&self) -> Place {
        self.progress.place.clone().unwrap_or(Place::User)
    }

    /// Adds rows as far as they fit; none at all: the stream ends. Says whether there is room for more.
    pub fn add(&mut self, records: &[Record]) -> bool {
        if records.is_empty() {
            let Progress { lines, hash, .. } = self.progress;
            self.hash = Some(hash);
            self.progress.write(&Record::End(lines, hash), &mut self.lines);
            return false;
        }
        for record in records {
            self.progress.write(record, &mut self.lines);
            if self.lines.len() >= PAGE_BYTES {
                return false;
            }
        }
        true
    }

    /// The lines, and after them where the next page begins, or the hash of the stream that ends here.
    pub fn finish(self) -> (String, Result<Hash, Progress>) {
        (self.lines, self.hash.ok_or(self.progress))
    }
}

/// Adds up the state hash of a user of whom nothing is to be written: the rows after [`Page::place`], as for a page.
#[derive(Debug, Clone)]
pub struct StateHash {
    progress: Progress,
}

impl StateHash {
    /// Begins with the head.
    pub fn begin(user: &User, head: &Head) -> StateHash {
        let mut progress = Progress::default();
        progress.write(&Record::User(user.clone(), head.clone()), &mut String::new());
        StateHash { progress }
    }

    /// After which rows the next ones are to be read.
    pub fn place(&self) -> Place {
        self.progress.place.clone().unwrap_or(Place::User)
    }

    /// Adds a row, in the stream's order.
    pub fn add(&mut self, record: &Record) {
        self.progress.write(record, &mut String::new());
    }

    /// The hash of the rows that were added.
    pub fn get(&self) -> Hash {
        self.progress.hash
    }
}

/// How far an import is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Lines that are in.
    pub lines: u64,
    /// All of them are, and the user is served.
    pub is_done: bool,
}

/// What a store writes of these rows. A head is the store's to make, at the beginning, and the end to take note of.
pub fn commits(records: Vec<Record>) -> Vec<Commit> {
    let mut commits = Vec::new();
    let mut rest = Commit { versions_numbered: true, ..Commit::default() };
    let mut pushed = Commit::default();
    for record in records {
        match record {
            Record::User(..) | Record::End(..) => {}
            Record::Device(device) => commits.push(Commit { device: Some(device), ..Commit::default() }),
            Record::Delta(delta) => commits.push(Commit { delta: Some(delta), ..Commit::default() }),
            Record::Scalar(key, scalar) => rest.scalars.push((key, scalar)),
            Record::Document(key, document) => rest.documents.push((key, document)),
            Record::Version(version) => rest.versions.push(version),
            Record::Segment(segment) => rest.segments.push(segment.into()),
            Record::Located(located) => rest.located.push(located),
            Record::Conflict(conflict) => rest.conflicts.push(conflict),
            Record::Pushed(device_id, key, row) => {
                if pushed.pushed_by != device_id {
                    commits.push(std::mem::take(&mut pushed));
                    pushed.pushed_by = device_id;
                }
                pushed.pushed.push((key, row));
            }
        }
    }
    commits.extend([pushed, rest]);
    commits
}

#[cfg(test)]
mod tests;
