//! The git history of the repository this process stands in, read through git itself.

use super::Step;
use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A commit, and the one it is compared with.
pub(super) struct Commit {
    id: String,
    parent: Option<String>,
}

/// The newest `max` commits along the first parents, oldest first; none where git has nothing to say.
pub(super) fn commits(max: usize) -> Vec<Commit> {
    let max = format!("--max-count={max}");
    let listed = git(&["rev-list", "--first-parent", "--parents", &max, "HEAD"]).unwrap_or_default();
    let listed = String::from_utf8_lossy(&listed);
    let commit = |line: &str| {
        let mut ids = line.split(' ').map(str::to_owned);
        Some(Commit { id: ids.next()?, parent: ids.next() })
    };
    let mut commits: Vec<Commit> = listed.lines().filter_map(commit).collect();
    commits.reverse();
    commits
}

/// Reads contents by id from one long-lived `git cat-file`.
pub(super) struct Contents {
    child: Child,
    ask: ChildStdin,
    answer: BufReader<ChildStdout>,
}

impl Contents {
    pub(super) fn open() -> Result<Contents> {
        let mut child = Command::new("git")
            .args(["cat-file", "--batch"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("git")?;
        let ask = child.stdin.take().context("git's input")?;
        let answer = BufReader::new(child.stdout.take().context("git's output")?);
        Ok(Contents { child, ask, answer })
    }

    /// The files a commit changed, with their versions in it. Links and submodules count as
    /// removed.
    pub(super) fn step(&mut self, commit: &Commit) -> Result<Step> {
        let mut args =
            vec!["diff-tree", "-r", "--no-renames", "--no-abbrev", "--raw", "-z", "--no-commit-id"];
        match &commit.parent {
            Some(parent) => args.push(parent),
            None => args.push("--root"),
        }
        args.push(&commit.id);
        let raw = git(&args)?;
        let mut fields = raw.split(|byte| *byte == 0);
        let mut step = Step::new();
        while let (Some(what), Some(path)) = (fields.next(), fields.next()) {
            let (what, path) = (String::from_utf8_lossy(what), String::from_utf8_lossy(path));
            let words: Vec<&str> = what.split(' ').collect();
            let &[_, mode, _, blob, _] = words.as_slice() else { continue };
            let content = match mode {
                "100644" | "100755" => Some(self.read(blob)?),
                // Removed, or no file any more.
                _ => None,
            };
            step.push((format!("files/{path}"), content));
        }
        Ok(step)
    }

    fn read(&mut self, blob: &str) -> Result<Vec<u8>> {
        writeln!(self.ask, "{blob}")?;
        let mut head = String::new();
        self.answer.read_line(&mut head)?;
        let size = head.trim_end().rsplit(' ').next().and_then(|size| size.parse().ok());
        let size: usize = size.with_context(|| format!("git cat-file said {head:?}"))?;
        let mut content = vec![0; size + 1];
        self.answer.read_exact(&mut content)?;
        ensure!(content.pop() == Some(b'\n'), "git cat-file's answer does not end where it said");
        Ok(content)
    }
}

impl Drop for Contents {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn git(args: &[&str]) -> Result<Vec<u8>> {
    let output = Command::new("git").args(args).stderr(Stdio::null()).output().context("git")?;
    ensure!(output.status.success(), "git {} ended with {}", args.join(" "), output.status);
    Ok(output.stdout)
}
