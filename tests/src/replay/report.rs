//! What a replay counted.

use super::changed_bytes;
use crate::client::{Device, Pushed, Traffic};
use anyhow::{Context, Result, ensure};
use indicatif::HumanCount;
use nself_sync_engine::text::Patch;
use serde::Serialize;
use std::fmt;
use std::time::Instant;

/// The sums of a replay. Bytes are those of request and reply bodies, without headers; *wire* is after compression.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// What was replayed.
    pub work: String,
    /// How many devices took part, with the one that joined at the end.
    pub devices: usize,
    /// Pushes made.
    pub pushes: u64,
    /// Pulls made by devices that had nothing to push.
    pub pulls: u64,
    /// Bytes that really changed from push to push: deleted and inserted, by the engine's patch.
    pub changed_bytes: u64,
    /// The same, where each document's change is one stretch: everything but its common beginning and end.
    pub trimmed_bytes: u64,
    /// What pushing whole documents would have sent.
    pub whole_bytes: u64,
    /// Request bodies on the wire.
    pub up_wire_bytes: u64,
    /// Request bodies before compression.
    pub up_bytes: u64,
    /// Reply bodies on the wire.
    pub down_wire_bytes: u64,
    /// Reply bodies after decompression.
    pub down_bytes: u64,
    /// The server's data folder after a clean stop; unknown for a server that was running already, or on PostgreSQL.
    pub stored_bytes: Option<u64>,
    /// Documents merged.
    pub merges: u64,
    /// Conflicts made, all of them resolved.
    pub conflicts: u64,
    /// Items refused (too large, a path that is none).
    pub rejected: u64,
    /// Documents at the end, and their bytes.
    pub documents: usize,
    /// Bytes of the documents at the end.
    pub document_bytes: u64,
    /// Whether the text at the end is the trace's `endContent`; unknown without a whole trace.
    pub is_trace_end: Option<bool>,
    /// How many bytes lie between the text at the end and the trace's, where people wrote at once: they saw each
    /// other's letters at once in the trace, and every few seconds here.
    pub bytes_from_trace_end: Option<u64>,
    /// Wall time.
    pub seconds: f64,
}

impl Report {
    /// Counts what becomes of a document in a push.
    pub(super) fn count_change(&mut self, before: Option<&[u8]>, after: Option<&[u8]>) {
        let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
        let same = |(a, b): &(&u8, &u8)| a == b;
        let prefix = before.iter().zip(after).take_while(same).count();
        let longest = before.len().min(after.len()) - prefix;
        let suffix = before.iter().rev().zip(after.iter().rev()).take(longest).take_while(same).count();
        self.trimmed_bytes += (before.len() + after.len() - 2 * (prefix + suffix)) as u64;
        self.changed_bytes += changed_bytes(&Patch::diff(before, after));
        self.whole_bytes += after.len() as u64;
    }

    /// Counts what became of a push.
    pub(super) fn count(&mut self, pushed: &Pushed) {
        self.pushes += 1;
        self.merges += pushed.count("merged");
        self.conflicts += pushed.conflicts.len() as u64;
        self.rejected += pushed.rejected.len() as u64;
    }

    /// Checks that all devices hold the same as one that has only just joined, and adds up their traffic.
    pub(super) fn finish(
        mut self,
        mut devices: Vec<Device>,
        mut late: Device,
        began: Instant,
    ) -> Result<Report> {
        ensure!(late.conflicts()?.is_empty(), "a conflict is left open");
        for device in &mut devices {
            device.pull()?;
            ensure!(
                device.holds.documents().eq(late.holds.documents()),
                "{} holds something else",
                device.id
            );
        }
        self.documents = late.holds.documents().count();
        self.document_bytes = late.holds.documents().map(|(_, content)| content.len() as u64).sum();
        let mut traffic = Traffic::default();
        devices.iter().for_each(|device| traffic += *device.traffic());
        self.up_wire_bytes = traffic.up_bytes;
        self.up_bytes = traffic.up_plain_bytes;
        self.down_wire_bytes = traffic.down_bytes;
        self.down_bytes = traffic.down_plain_bytes;
        self.seconds = began.elapsed().as_secs_f64();
        Ok(self)
    }

    /// Writes the sums as JSON.
    pub fn write_json(&self, path: &std::path::Path) -> Result<()> {
        let json = serde_json::to_vec_pretty(self)?;
        std::fs::write(path, json).with_context(|| path.display().to_string())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = |number: u64| HumanCount(number).to_string();
        let mut row =
            |name: &str, number: u64, what: &str| writeln!(f, "  {name:<15} {:>12}{what}", n(number));
        row("pushes", self.pushes, &format!("    and {} pulls", n(self.pulls)))?;
        let as_one = n(self.trimmed_bytes);
        row(
            "really changed",
            self.changed_bytes,
            &format!(" B  from push to push; as one stretch each {as_one} B"),
        )?;
        row("whole", self.whole_bytes, " B  if every push sent whole documents")?;
        let before = n(self.up_bytes);
        row(
            "up",
            self.up_wire_bytes,
            &format!(" B  request bodies on the wire; {before} B before compression"),
        )?;
        let after = n(self.down_bytes);
        row(
            "down",
            self.down_wire_bytes,
            &format!(" B  reply bodies on the wire; {after} B after decompression"),
        )?;
        if let Some(stored) = self.stored_bytes {
            row("stored", stored, " B  in the data folder after a clean stop")?;
        }
        row("merges", self.merges, "")?;
        row("conflicts", self.conflicts, "    all resolved")?;
        row("rejected", self.rejected, "")?;
        row(
            "documents",
            self.documents as u64,
            &format!("    {} B, the same on all {} devices", n(self.document_bytes), self.devices),
        )?;
        match (self.is_trace_end, self.bytes_from_trace_end) {
            (Some(true), _) => writeln!(f, "  the text at the end is the trace's endContent")?,
            (_, Some(bytes)) => {
                writeln!(f, "  {} B lie between the text at the end and the trace's endContent", n(bytes))?
            }
            (_, None) => {}
        }
        write!(f, "  took {:.1} s, {:.0} pushes/s", self.seconds, self.pushes as f64 / self.seconds)
    }
}
