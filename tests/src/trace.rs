//! Recorded editing traces, and what each writer had before their eyes.
//!
//! A trace is a list of transactions, each a few splices `[position, deleted, "inserted"]` counted in Unicode code
//! points. With one writer a transaction follows the one before it. In the concurrent kind it applies to the merge
//! of its `parents`, and its positions mean nothing in any other text. So [`Views`] keeps, for every writer, a
//! replica of a text CRDT (`cola`) and the text it stands for: before a writer's transaction it takes in exactly
//! what the parents know, and the positions fit. That this is right shows at the end, where every view is the
//! trace's own `endContent`.

use anyhow::{Context, Result, bail};
use cola::{Deletion, Insertion, Replica};
use ropey::Rope;
use serde::Deserialize;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

/// A recorded editing session.
pub struct Trace {
    /// The text before the first transaction.
    pub start: String,
    /// The text after the last.
    pub end: String,
    /// How many people wrote.
    pub writers: usize,
    txns: Vec<Txn>,
}

struct Txn {
    writer: usize,
    parents: Vec<usize>,
    at_ms: i64,
    splices: Vec<(usize, usize, String)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawTrace {
    #[serde(default)]
    start_content: String,
    end_content: String,
    txns: Vec<RawTxn>,
}

#[derive(Deserialize)]
struct RawTxn {
    parents: Option<Vec<usize>>,
    #[serde(default)]
    agent: usize,
    #[serde(alias = "timestamp")]
    time: String,
    patches: Vec<(usize, usize, String)>,
}

impl Trace {
    /// Reads a trace from a `.json` or `.json.gz` file.
    pub fn read(path: &Path) -> Result<Trace> {
        let read = || -> Result<Trace> {
            let mut bytes = std::fs::read(path)?;
            if bytes.starts_with(&[0x1f, 0x8b]) {
                let packed = std::mem::take(&mut bytes);
                flate2::read::MultiGzDecoder::new(packed.as_slice()).read_to_end(&mut bytes)?;
            }
            Trace::parse(&bytes)
        };
        read().with_context(|| format!("the trace {}", path.display()))
    }

    /// Reads a trace from JSON.
    pub fn parse(json: &[u8]) -> Result<Trace> {
        let raw: RawTrace = serde_json::from_slice(json)?;
        let mut txns = Vec::with_capacity(raw.txns.len());
        for (index, txn) in raw.txns.into_iter().enumerate() {
            let parents = txn.parents.unwrap_or_else(|| index.checked_sub(1).into_iter().collect());
            if parents.iter().any(|parent| *parent >= index) {
                bail!("transaction {index} comes before its parent");
            }
            let at: jiff::Timestamp =
                txn.time.parse().with_context(|| format!("the time of transaction {index}"))?;
            txns.push(Txn { writer: txn.agent, parents, at_ms: at.as_millisecond(), splices: txn.patches });
        }
        set_clock(&mut txns);
        let writers = txns.iter().map(|txn| txn.writer + 1).max().unwrap_or(1);
        Ok(Trace { start: raw.start_content, end: raw.end_content, writers, txns })
    }

    /// The transactions cut into windows of `interval_ms` (of the clock, not of the first one), as ranges of their
    /// indices; a window in which nobody wrote is left out.
    pub fn windows(&self, interval_ms: u64) -> Vec<Range<usize>> {
        let interval_ms = i64::try_from(interval_ms.max(1)).unwrap_or(i64::MAX);
        let mut windows = Vec::new();
        let mut from = 0;
        for window in self.txns.chunk_by(|a, b| a.at_ms / interval_ms == b.at_ms / interval_ms) {
            windows.push(from..from + window.len());
            from += window.len();
        }
        windows
    }
}

/// Makes one clock of the recorded ones: a first timestamp of 1970 is the next one's, and since the writers'
/// clocks differ by seconds while the list is in the order of cause and effect, time never runs back along it.
fn set_clock(txns: &mut [Txn]) {
    let is_real = |txn: &Txn| txn.at_ms > 86_400_000;
    let mut now_ms = txns.iter().find(|txn| is_real(txn)).map_or(0, |txn| txn.at_ms);
    for txn in txns {
        now_ms = now_ms.max(txn.at_ms);
        txn.at_ms = now_ms;
    }
}

/// What one writer did without taking in anybody else's writing meanwhile: the text before their eyes and what
/// they made of it.
pub struct Burst {
    /// Who wrote.
    pub writer: usize,
    /// The text they saw.
    pub before: String,
    /// The text they left.
    pub after: String,
}

/// Every writer's view of the text, played forward through a trace.
pub struct Views {
    trace: Trace,
    views: Vec<View>,
    /// The operations of each transaction played, and what its author knew after it.
    played: Vec<(Vec<Operation>, Clock)>,
    /// Each writer's transactions played, as indices.
    by_writer: Vec<Vec<usize>>,
}

/// How many transactions of each writer are known.
type Clock = Vec<usize>;

enum Operation {
    Insert(Insertion, String),
    Delete(Deletion),
}

struct View {
    replica: Replica,
    text: Rope,
    knows: Clock,
    /// The text at the start of the burst under way.
    before: Option<String>,
}

impl Views {
    /// Everybody at the trace's start.
    pub fn new(trace: Trace) -> Views {
        let text = Rope::from_str(&trace.start);
        let first = Replica::new(1, text.len_chars());
        let view = |writer: usize| View {
            replica: first.fork(writer as u64 + 2),
            text: text.clone(),
            knows: vec![0; trace.writers],
            before: None,
        };
        let views: Vec<View> = (0..trace.writers).map(view).collect();
        let by_writer = vec![Vec::new(); views.len()];
        Views { trace, views, played: Vec::new(), by_writer }
    }

    /// The text before this writer's eyes.
    pub fn text(&self, writer: usize) -> String {
        self.views[writer].text.to_string()
    }

    /// Plays the transactions of `window`, which follows the one played last, and returns what was written, each
    /// writer's bursts in order.
    pub fn play(&mut self, window: Range<usize>) -> Result<Vec<Burst>> {
        let mut bursts = Vec::new();
        for index in window {
            self.play_one(index, &mut bursts).with_context(|| format!("transaction {index}"))?;
        }
        for writer in 0..self.views.len() {
            bursts.extend(self.views[writer].end_burst(writer));
        }
        Ok(bursts)
    }

    /// Lets everybody see all that was written.
    pub fn settle(&mut self) -> Result<()> {
        let all: Clock = self.by_writer.iter().map(Vec::len).collect();
        (0..self.views.len()).try_for_each(|writer| self.take_in(writer, &all))
    }

    fn play_one(&mut self, index: usize, bursts: &mut Vec<Burst>) -> Result<()> {
        let writer = self.trace.txns[index].writer;
        let known = self.known_before(index);
        if known != self.views[writer].knows {
            bursts.extend(self.views[writer].end_burst(writer));
            self.take_in(writer, &known)?;
        }
        let view = &mut self.views[writer];
        if known != view.knows {
            bail!("its parents know less than its writer knew before");
        }
        if view.before.is_none() {
            view.before = Some(view.text.to_string());
        }
        let mut operations = Vec::new();
        for splice in &self.trace.txns[index].splices {
            view.write(splice, &mut operations)?;
        }
        view.knows[writer] += 1;
        self.by_writer[writer].push(index);
        self.played.push((operations, view.knows.clone()));
        Ok(())
    }

    /// What a transaction's parents know, all together.
    fn known_before(&self, index: usize) -> Clock {
        let mut known = vec![0; self.views.len()];
        for parent in &self.trace.txns[index].parents {
            for (known, parents) in known.iter_mut().zip(&self.played[*parent].1) {
                *known = (*known).max(*parents);
            }
        }
        known
    }

    /// Brings a writer's view up to `clock`.
    fn take_in(&mut self, writer: usize, clock: &Clock) -> Result<()> {
        let view = &mut self.views[writer];
        let mut new: Vec<usize> = Vec::new();
        for (other, theirs) in self.by_writer.iter().enumerate() {
            let known = view.knows[other];
            new.extend(theirs.get(known..clock[other].max(known)).context("a parent unknown to its author")?);
        }
        new.sort_unstable();
        for index in new {
            for operation in &self.played[index].0 {
                view.integrate(operation)?;
            }
            view.knows[self.trace.txns[index].writer] += 1;
        }
        Ok(())
    }
}

impl View {
    fn end_burst(&mut self, writer: usize) -> Option<Burst> {
        let before = self.before.take()?;
        Some(Burst { writer, before, after: self.text.to_string() })
    }

    fn write(&mut self, splice: &(usize, usize, String), operations: &mut Vec<Operation>) -> Result<()> {
        let (at, deleted, inserted) = splice;
        let gone = *at..at + deleted;
        if gone.end > self.text.len_chars() {
            bail!("it deletes {gone:?} of a text of {} characters", self.text.len_chars());
        }
        if !gone.is_empty() {
            self.text.remove(gone.clone());
            operations.push(Operation::Delete(self.replica.deleted(gone)));
        }
        if !inserted.is_empty() {
            self.text.insert(*at, inserted);
            let insertion = self.replica.inserted(*at, inserted.chars().count());
            operations.push(Operation::Insert(insertion, inserted.clone()));
        }
        Ok(())
    }

    fn integrate(&mut self, operation: &Operation) -> Result<()> {
        match operation {
            Operation::Insert(insertion, inserted) => {
                let at = self.replica.integrate_insertion(insertion).context("an insertion out of order")?;
                self.text.insert(at, inserted);
            }
            Operation::Delete(deletion) => {
                for gone in self.replica.integrate_deletion(deletion).into_iter().rev() {
                    self.text.remove(gone);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
