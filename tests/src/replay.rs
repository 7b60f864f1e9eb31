//! Drives a server over HTTP as clients would, with real work, and counts what it costs.
//!
//! One person's work ([`one_writer`]): device A pushes each step, device B pulls after each.
//!
//! Three people in one text ([`together`]): three devices, each with a text of its own. In every window a person's
//! edits go into what their device last saw; then the devices push one after another, so each meets the others'
//! writing only as the protocol brings it. A recorded edit means something in the text its author saw, which
//! [`Views`] knows, and which is not quite what their device holds here: it is [`carry`]'d from the one to the other.
//! A conflict is resolved on the spot by the person whose push made it, who keeps both edits.
//!
//! At the end every device, and one that joins only then, holds the same.

mod report;

pub use report::Report;

use crate::carry::carry;
use crate::client::{CaughtUp, Conflict, Device};
use crate::trace::{Burst, Trace, Views};
use crate::work::{Step, TRACE_KEY, Work};
use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use nself_sync_engine::ids::Hash;
use nself_sync_engine::text::Patch;
use std::collections::BTreeMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A server and a user of it.
#[derive(Debug, Clone)]
pub struct Target {
    /// `http://host:port`.
    pub url: String,
    /// The user's JWT.
    pub jwt: String,
    /// Goes into the device ids, so that a second run on the same server has devices of its own.
    pub run: String,
}

/// A word that no other run has: for device ids and users.
pub fn run_id() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Short: it is in every push. It comes round after an hour.
    format!("{:08x}", now.as_micros() as u32)
}

impl Target {
    fn device(&self, name: &str) -> Result<Device> {
        Device::register(&self.url, &self.jwt, &format!("{name}-{}", self.run))
    }
}

/// Device A pushes each step of the work, device B pulls after each.
pub fn one_writer(work: Work, target: &Target) -> Result<Report> {
    let began = Instant::now();
    let mut report = Report { work: work.title, devices: 3, ..Report::default() };
    let (mut a, mut b) = (target.device("desktop")?, target.device("mobile")?);
    let mut expected: BTreeMap<String, Option<Hash>> = BTreeMap::new();
    let bar = progress(work.count as u64);
    for step in work.steps {
        for part in parts(step?) {
            expected
                .extend(part.iter().map(|(key, content)| (key.clone(), content.as_deref().map(Hash::of))));
            for (key, content) in part {
                report.count_change(a.holds.document(&key), content.as_deref());
                a.holds.edit(&key, content);
            }
            let pushed = a.push()?;
            report.count(&pushed);
            for rejection in &pushed.rejected {
                expected.remove(&rejection.key);
                let synced = b.holds.document(&rejection.key).map(<[u8]>::to_vec);
                a.holds.edit(&rejection.key, synced);
            }
            for conflict in &pushed.conflicts {
                a.resolve(conflict, conflict.mine.as_deref().unwrap_or_default())?;
            }
            b.pull()?;
            report.pulls += 1;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    for (key, hash) in &expected {
        ensure!(a.holds.document(key).map(Hash::of) == *hash, "{key} is not what was pushed last");
    }
    if let Some(end) = work.end {
        let text = a.holds.document(TRACE_KEY).context("the document is gone")?;
        ensure!(text == end.as_bytes(), "the text at the end is not the trace's endContent");
        report.is_trace_end = Some(true);
    }
    report.finish(vec![a, b], target.device("web")?, began)
}

/// Everybody in a concurrent trace as a device of their own, pushing every `interval_ms`; at most `windows_max`.
pub fn together(
    title: &str,
    trace: Trace,
    interval_ms: u64,
    windows_max: usize,
    target: &Target,
) -> Result<Report> {
    let began = Instant::now();
    let names = ["desktop", "mobile", "web"];
    let mut devices = (0..trace.writers)
        .map(|writer| target.device(&format!("{}-{writer}", names[writer % names.len()])))
        .collect::<Result<Vec<Device>>>()?;
    let mut report = Report { work: title.to_owned(), devices: devices.len() + 1, ..Report::default() };
    let (end, mut windows) = (trace.end.clone(), trace.windows(interval_ms));
    let is_whole = windows.len() <= windows_max;
    windows.truncate(windows_max);
    let mut views = Views::new(trace);
    let bar = progress(windows.len() as u64);
    for (number, window) in windows.into_iter().enumerate() {
        for burst in views.play(window)? {
            write(&mut devices[burst.writer], &burst)?;
        }
        // Another one is first each time: whoever is first never merges.
        let count = devices.len();
        for turn in 0..count {
            exchange(&mut devices[(number + turn) % count], &mut report)?;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    for device in &mut devices {
        device.pull()?;
    }
    if is_whole {
        let text = devices.first().and_then(|device| device.holds.document(TRACE_KEY)).unwrap_or_default();
        report.is_trace_end = Some(text == end.as_bytes());
        report.bytes_from_trace_end = Some(changed_bytes(&Patch::diff(end.as_bytes(), text)));
    }
    report.finish(devices, target.device("web-late")?, began)
}

/// Makes a person's edit in what their device holds.
fn write(device: &mut Device, burst: &Burst) -> Result<()> {
    let held = std::str::from_utf8(device.holds.document(TRACE_KEY).unwrap_or_default())?;
    let text = carry(&burst.before, &burst.after, held);
    device.holds.edit(TRACE_KEY, Some(text.into_bytes()));
    Ok(())
}

/// A device's turn at the end of a window: it pushes what was written on it, else it pulls.
fn exchange(device: &mut Device, report: &mut Report) -> Result<()> {
    if !device.holds.is_edited() {
        device.pull()?;
        report.pulls += 1;
        return Ok(());
    }
    report.count_change(device.holds.synced(TRACE_KEY), device.holds.document(TRACE_KEY));
    let pushed = device.push()?;
    report.count(&pushed);
    for conflict in &pushed.conflicts {
        keep_both(device, conflict)?;
    }
    Ok(())
}

/// Resolves a conflict as a person would who wants nothing lost.
pub fn keep_both(device: &mut Device, conflict: &Conflict) -> Result<CaughtUp> {
    let text = |side: &Option<Vec<u8>>| String::from_utf8(side.clone().unwrap_or_default());
    let both = carry(&text(&conflict.base)?, &text(&conflict.mine)?, &text(&conflict.theirs)?);
    device.resolve(conflict, both.as_bytes())
}

/// A push of at most 5,000 documents and about 4 MiB: a repository's first commit may be more than a body takes.
fn parts(step: Step) -> Vec<Step> {
    const KEYS_MAX: usize = 5_000;
    const BYTES_MAX: usize = 4 << 20;
    let mut parts: Vec<Step> = vec![Step::new()];
    let mut bytes = 0;
    for (key, content) in step {
        let size = content.as_ref().map_or(0, Vec::len);
        let is_full = |part: &Step| part.len() == KEYS_MAX || (bytes + size > BYTES_MAX && !part.is_empty());
        if parts.last().is_some_and(is_full) {
            parts.push(Step::new());
            bytes = 0;
        }
        bytes += size;
        parts.last_mut().into_iter().for_each(|part| part.push((key.clone(), content.clone())));
    }
    parts
}

/// Bytes deleted and inserted by a patch.
fn changed_bytes(patch: &Patch) -> u64 {
    patch.ops().iter().map(|op| (op.delete + op.insert.len()) as u64).sum()
}

/// A bar on a terminal, nothing elsewhere.
fn progress(steps: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len} pushes, {per_sec}, {eta} left");
    ProgressBar::new(steps).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
