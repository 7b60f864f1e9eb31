//! A user's stream in a file: read and checked line by line.

use anyhow::{Context, Result, anyhow, bail};
use nself_sync_engine::ids::{Hash, User};
use nself_sync_engine::transfer::{Progress, Record};
use nself_sync_engine::wire;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};

/// The longest line that is read: a conflict of the three largest documents there may be is shorter.
const LINE_BYTES_MAX: u64 = 128 << 20;

/// What a stream was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Whose rows it has.
    pub user: User,
    /// How many lines.
    pub lines: u64,
    /// The state hash.
    pub hash: Hash,
    /// All of its text, in bytes.
    pub bytes: u64,
}

/// Reads all of a stream, from its beginning, and checks every line.
///
/// # Errors
/// The first line that is not as it must be, with what is allowed; or that the stream is cut.
pub fn check(file: &mut File) -> Result<Checked> {
    file.rewind()?;
    let (mut progress, mut header, mut end, mut bytes) = (Progress::default(), None, None, 0);
    let mut lines = Lines::new(file);
    while let Some(line) = lines.next_line()? {
        bytes += line.len() as u64;
        let record = progress.read(line.strip_suffix('\n').unwrap_or(line));
        match record.map_err(|reject| anyhow!(wire::detail(&reject)))? {
            Record::User(user, _) => header = Some(user),
            Record::End(_, hash) => end = Some(hash),
            _ => {}
        }
    }
    match (header, end) {
        (Some(user), Some(hash)) => Ok(Checked { user, lines: progress.lines, hash, bytes }),
        _ => bail!("the stream is cut: it ends after line {} without an end record", progress.lines),
    }
}

/// The lines of a file, one at a time.
pub struct Lines<'a> {
    reader: BufReader<&'a mut File>,
    line: String,
}

impl<'a> Lines<'a> {
    /// From where the file is.
    pub fn new(file: &'a mut File) -> Lines<'a> {
        Lines { reader: BufReader::new(file), line: String::new() }
    }

    /// The next line with its line feed.
    pub fn next_line(&mut self) -> Result<Option<&str>> {
        self.line.clear();
        let read = Read::take(&mut self.reader, LINE_BYTES_MAX).read_line(&mut self.line);
        let bytes = read.context("reading the stream")?;
        if bytes as u64 == LINE_BYTES_MAX {
            bail!("a line has more than {LINE_BYTES_MAX} bytes: this is no stream of a user");
        }
        Ok(Some(self.line.as_str()).filter(|_| bytes > 0))
    }
}
