//! `cargo xtask demo`: the main job on stage. Two devices, real work, and everything that can come between them.

use crate::client::{CaughtUp, Conflict, Device, Problem, Traffic};
use crate::replay::{Report, Target, keep_both, one_writer, together};
use crate::trace::Trace;
use crate::work::Work;
use anyhow::{Context, Result, bail, ensure};
use indicatif::HumanCount;
use serde_json::json;
use std::io::Write;
use std::path::Path;

/// How much of the real work is played: enough to see, soon over.
const PUSHES_MAX: usize = 200;
const INTERVAL_MS: u64 = 5_000;
/// Where a clone's neighbour may keep recorded traces.
const TRACE_NEARBY: &str = "../shared/traces/rustcode.json.gz";

const SOURCE: &str = "files/web/src/main.rs";
const NOTES: &str = "files/web/NOTES.md";
const START: &str = "\
fn main() {
    let name = \"world\";
    greet(name);
}

/// Says hello.
fn greet(name: &str) {
    println!(\"hello {name}\");
}
";

/// Plays the whole demo against a server, telling `out` what happened. An error is what should not have happened.
pub fn play(target: &Target, trace: Option<&Path>, out: &mut impl Write) -> Result<()> {
    real_work(target, trace, out)?;
    let mut stage = Stage {
        desktop: Device::register(&target.url, &target.jwt, &format!("desktop-{}", target.run))?,
        phone: Device::register(&target.url, &target.jwt, &format!("mobile-{}", target.run))?,
        out,
    };
    stage.scalars()?;
    stage.merge()?;
    stage.conflict()?;
    stage.back_online(20)?;
    let threshold =
        stage.desktop.policy("snapshot_threshold").context("no snapshot_threshold in the policy")?;
    stage.back_online(threshold + 10)?;
    stage.agree()
}

/// Commands to paste, for who wants to see for themselves. `token` is a JWT of the server's user.
pub fn curl(url: &str, token: &str) -> String {
    let get = |path: &str| {
        format!("  curl -sw '\\n' --compressed -H \"Authorization: Bearer $TOKEN\" '{url}{path}'\n")
    };
    let push = json!({"device_id": "desktop-curl", "seq": 0, "state": {"active_file": "web/src/main.rs"}});
    [
        format!("  TOKEN={token}\n"),
        get("/sync/pull"),
        get("/sync/pull?since_seq=1&patches=1"),
        format!(
            "  curl -sw '\\n' -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' -d '{push}' '{url}/sync/push'\n"
        ),
        get("/sync/devices"),
        get("/sync/conflicts"),
        get("/sync/history?key=files/web/src/main.rs"),
        format!("  curl -sw '\\n' '{url}/health'\n"),
    ]
    .concat()
}

fn real_work(target: &Target, trace: Option<&Path>, out: &mut impl Write) -> Result<()> {
    let target = Target { run: format!("work-{}", target.run), ..target.clone() };
    let nearby = Path::new(TRACE_NEARBY);
    let report = match trace.or(nearby.is_file().then_some(nearby)) {
        Some(path) => {
            let trace = Trace::read(path)?;
            let title = path.file_name().context("the trace has no name")?.to_string_lossy();
            if trace.writers > 1 {
                together(&title, trace, INTERVAL_MS, PUSHES_MAX, &target)?
            } else {
                one_writer(Work::of_trace(&title, trace, INTERVAL_MS).first(PUSHES_MAX), &target)?
            }
        }
        None => {
            let work = Work::of_history(PUSHES_MAX)?.unwrap_or_else(|| Work::of_seed(1, PUSHES_MAX));
            one_writer(work, &target)?
        }
    };
    tell_work(&report, out)
}

fn tell_work(report: &Report, out: &mut impl Write) -> Result<()> {
    let n = HumanCount;
    writeln!(out, "1. Real work: {}", report.work)?;
    writeln!(
        out,
        "   {} pushes and {} pulls in {:.1} s. The edits changed {} B; all devices together sent {} B and received\n   \
         {} B (bodies on the wire). Whole files would have been {} B each way.",
        n(report.pushes),
        n(report.pulls),
        report.seconds,
        n(report.changed_bytes),
        n(report.up_wire_bytes),
        n(report.down_wire_bytes),
        n(report.whole_bytes)
    )?;
    if report.merges + report.conflicts > 0 {
        writeln!(out, "   {} merges, {} conflicts, all resolved.", n(report.merges), n(report.conflicts))?;
    }
    let (documents, bytes) = (report.documents, n(report.document_bytes));
    Ok(writeln!(out, "   At the end every device held the same. Documents: {documents}, {bytes} B.\n")?)
}

struct Stage<'a, W> {
    desktop: Device,
    phone: Device,
    out: &'a mut W,
}

impl<W: Write> Stage<'_, W> {
    fn say(&mut self, line: &str) -> Result<()> {
        Ok(writeln!(self.out, "{line}")?)
    }

    fn scalars(&mut self) -> Result<()> {
        self.say("2. Pick up on the phone where the desktop was")?;
        self.desktop.holds.edit(SOURCE, Some(START.into()));
        self.desktop.holds.set("open_session_id", json!("s1"));
        self.desktop.holds.set("active_file", json!("web/src/main.rs"));
        self.desktop.holds.set("cursor", json!({"line": 8, "col": 13}));
        self.desktop.holds.set("sessions/s1/title", json!("Say hello"));
        self.desktop.push()?;
        self.phone.pull()?;
        let cursor = self.phone.holds.scalar("cursor").context("the phone has no cursor")?.to_string();
        let title =
            self.phone.holds.scalar("sessions/s1/title").context("the phone has no session")?.to_string();
        self.say(&format!("   The phone opens session {title}, file web/src/main.rs, cursor {cursor}.\n"))
    }

    fn merge(&mut self) -> Result<()> {
        self.say("3. Both edit one file at once, in different lines")?;
        replace(&mut self.desktop, "\"world\"", "\"ClawDE\"")?;
        replace(&mut self.phone, "/// Says hello.", "/// Says hello to whoever it is.")?;
        self.desktop.push()?;
        let pushed = self.phone.push()?;
        ensure!(pushed.count("merged") == 1, "the phone's edit was not merged: {:?}", pushed.results);
        self.desktop.pull()?;
        self.say("   The desktop's push is applied; the phone's, made without knowing it, is merged:")?;
        let lines = [line(&self.desktop, "ClawDE")?, line(&self.desktop, "whoever")?];
        self.say(&format!("   | {}\n   | {}\n   Both devices hold both edits.\n", lines[0], lines[1]))
    }

    fn conflict(&mut self) -> Result<()> {
        self.say("4. Both edit the same line")?;
        replace(&mut self.desktop, "hello {name}", "good morning {name}")?;
        replace(&mut self.phone, "hello {name}", "hello {name}, again")?;
        self.desktop.push()?;
        let pushed = self.phone.push()?;
        let conflict = pushed.conflicts.first().context("the same line twice made no conflict")?;
        self.say("   Neither is thrown away. The phone's push is flagged as a conflict:")?;
        for (name, side) in [("base", &conflict.base), ("mine", &conflict.mine), ("theirs", &conflict.theirs)]
        {
            let line = printing_line(side.as_deref().unwrap_or_default());
            self.say(&format!("   {name:>6} | {line}"))?;
        }
        self.blocked()?;
        let listed = self.desktop.conflicts()?;
        let listed: &Conflict = listed.first().context("the desktop sees no conflict")?;
        keep_both(&mut self.desktop, listed)?;
        let pushed = self.phone.push()?;
        ensure!(pushed.conflicts.is_empty(), "the conflict came back");
        self.desktop.pull()?;
        let line = line(&self.phone, "println")?;
        self.say(&format!(
            "   The desktop resolves it, keeping both, and the phone goes on:\n          | {line}\n"
        ))
    }

    fn blocked(&mut self) -> Result<()> {
        self.phone.holds.edit(NOTES, Some("# Written while a conflict is open\n".into()));
        match self.phone.push() {
            Ok(_) => bail!("a push went through although the device's conflict is open"),
            Err(error) => match error.downcast_ref::<Problem>() {
                Some(problem) if problem.code == "conflicts_unresolved" => self.say(&format!(
                    "   Until somebody resolves it the phone may pull, but not push: {} {}.",
                    problem.status, problem.code
                )),
                _ => Err(error),
            },
        }
    }

    /// The phone is away for `pushes` pushes of the desktop, and edits as well.
    fn back_online(&mut self, pushes: u64) -> Result<()> {
        let number = if pushes > 20 { 6 } else { 5 };
        self.say(&format!("{number}. The phone is offline while the desktop pushes {pushes} times"))?;
        let left_at = self.phone.cursor().seq;
        for push in 0..pushes {
            let log = format!("files/web/log/{}.txt", push % 10);
            self.desktop
                .holds
                .edit(&log, Some(format!("build {left_at}+{push} passed\n").repeat(20).into_bytes()));
            self.desktop.push()?;
        }
        let mut notes = self.phone.holds.document(NOTES).unwrap_or_default().to_vec();
        notes.extend_from_slice(format!("Written offline at seq {left_at}.\n").as_bytes());
        self.phone.holds.edit(NOTES, Some(notes.clone()));
        let before = *self.phone.traffic();
        let caught_up = self.phone.push()?.caught_up;
        let cost = cost(&before, self.phone.traffic());
        self.desktop.pull()?;
        ensure!(
            self.desktop.holds.document(NOTES) == Some(&notes),
            "what was written offline did not arrive"
        );
        let (how, seq) = (told(caught_up.context("the push brought nothing")?), self.phone.cursor().seq);
        self.say(&format!(
            "   Back again it pushes what was written offline, and catches up from seq {left_at} to {seq}"
        ))?;
        self.say(&format!("   by {how}: {cost}.\n"))
    }

    fn agree(&mut self) -> Result<()> {
        self.phone.pull()?;
        ensure!(
            self.phone.holds.documents().eq(self.desktop.holds.documents()),
            "the two hold different documents"
        );
        let documents = self.phone.holds.documents().count();
        self.say(&format!("Both devices hold the same: {documents} documents, compared byte by byte."))
    }
}

fn told(caught_up: CaughtUp) -> String {
    match caught_up {
        CaughtUp::Delta { since_seq } => format!("the delta since seq {since_seq}"),
        CaughtUp::Snapshot { reason } => format!("a snapshot ({reason})"),
    }
}

fn cost(before: &Traffic, after: &Traffic) -> String {
    let n = HumanCount;
    let requests = after.requests - before.requests;
    let word = if requests == 1 { "request" } else { "requests" };
    let (up, down) = (after.up_bytes - before.up_bytes, after.down_bytes - before.down_bytes);
    format!("{requests} {word}, {} B up, {} B down", n(up), n(down))
}

fn replace(device: &mut Device, old: &str, new: &str) -> Result<()> {
    let text = std::str::from_utf8(device.holds.document(SOURCE).context("the source is gone")?)?;
    ensure!(text.contains(old), "the source has no {old}");
    let text = text.replace(old, new);
    device.holds.edit(SOURCE, Some(text.into_bytes()));
    Ok(())
}

fn line(device: &Device, containing: &str) -> Result<String> {
    let text = std::str::from_utf8(device.holds.document(SOURCE).context("the source is gone")?)?;
    let line = text.lines().find(|line| line.contains(containing));
    Ok(line.with_context(|| format!("{} has no line with {containing}", device.id))?.to_owned())
}

fn printing_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.lines().find(|line| line.contains("println")).unwrap_or_default().to_owned()
}
