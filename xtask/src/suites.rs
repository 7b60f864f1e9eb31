//! `cargo xtask test`: every check there is, each step's output streamed, one count at the end.

use crate::group::{self, Group};
use crate::{setup, steps, wasm};
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// How long a step may take: some times what the longest takes on a new machine.
const STEP_MAX: Duration = Duration::from_mins(25);

/// How long one file of Node's tests may take.
const NODE_FILE_MAX: &str = "--test-timeout=300000";

/// How long each of schemathesis' four runs takes.
const SCHEMA_SECONDS: &str = "25";

/// A step: its name, what is run, and whether it counts tests.
struct Step {
    name: &'static str,
    command: Command,
    counts: bool,
}

/// Every step. Build and suites ask for the same packages, targets and profile, so nothing is compiled twice.
fn steps() -> Result<Vec<Step>> {
    let checked = |name, command: &str, args: &[&str]| {
        let mut cargo = steps::cargo(command);
        cargo.args(args);
        Step { name, command: cargo, counts: false }
    };
    let build = checked("build", "build", &["--workspace", "--all-targets", "--locked"]);
    let suites = checked("suites", "test", &["--workspace", "--locked", "--no-fail-fast"]);
    let task = |name, args: &[&str]| -> Result<Step> {
        let mut task = Command::new(std::env::current_exe()?);
        task.args(args);
        Ok(Step { name, command: task, counts: false })
    };
    // As `build` made it, beside this program.
    let mut schema = Command::new(std::env::current_exe()?.with_file_name("schema"));
    schema.args([setup::tools::SCHEMATHESIS, "--seconds", SCHEMA_SECONDS]);
    // Two at once would wait for each other's processor.
    let one_browser = |name| node(name, &["tests/e2e"], &["--test-concurrency=1"]);
    let mut on_the_edge = one_browser("e2e on the edge")?;
    on_the_edge.command.env("NSELF_SYNC_E2E_HOST", "edge");
    Ok(vec![
        checked("format", "fmt", &["--all", "--check"]),
        checked("clippy", "clippy", &["--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]),
        build,
        // What the suites run in workerd.
        task("edge", &["edge", "deploy", "--dry-run"])?,
        Step { counts: true, ..suites },
        task("deny", &["deny"])?,
        Step { name: "schema", command: schema, counts: false },
        task("plugin", &["plugin", "--check"])?,
        task("wasm", &["wasm", "--vectors"])?,
        node("node", &["tests/node", "web-demo/test"], &[])?,
        Step { name: "page", command: wasm::page(), counts: false },
        one_browser("e2e")?,
        on_the_edge,
    ])
}

/// The tests of Node in these folders.
fn node(name: &'static str, folders: &[&str], args: &[&str]) -> Result<Step> {
    let mut files = Vec::new();
    for folder in folders {
        for entry in std::fs::read_dir(folder)? {
            files.push(entry?.path());
        }
    }
    files.retain(|file| file.to_string_lossy().ends_with(".test.mjs"));
    files.sort();
    let mut command = Command::new("node");
    command.args(["--test", "--test-reporter=spec", NODE_FILE_MAX]).args(args).args(files);
    Ok(Step { name, command, counts: true })
}

/// What libtest or Node said it counted.
#[derive(Default, Clone, Copy)]
struct Count {
    passed: u64,
    failed: u64,
}

/// Runs every step, also after one that failed, and ends with the line `N passed, N failed`. A step that failed
/// without a failed test of its own (formatting, a lint, a suite that broke off or hung) counts as one failure, and so
/// does one that should have counted tests and counted none.
pub fn test() -> Result<ExitCode> {
    let began = Instant::now();
    group::end_on_ctrl_c()?;
    setup::all()?;
    let mut total = Count::default();
    let mut failures = Vec::new();
    let steps = steps()?;
    let last = steps.len();
    for (number, Step { name, command, counts }) in steps.into_iter().enumerate() {
        println!("\n── {} of {last}: {name}", number + 1);
        let step_began = Instant::now();
        let (succeeded, count) = run(command).with_context(|| format!("step {name}"))?;
        let is_good = succeeded && count.failed == 0 && (count.passed > 0 || !counts);
        println!("── {name}: {} in {:.0?}", if is_good { "good" } else { "FAILED" }, step_began.elapsed());
        total.passed += count.passed;
        total.failed += count.failed;
        if !is_good {
            failures.push(name);
            total.failed += u64::from(count.failed == 0);
        }
    }
    println!("\ntook {:.0?}", began.elapsed());
    if !failures.is_empty() {
        println!("failed: {}", failures.join(", "));
    }
    println!("{} passed, {} failed", total.passed, total.failed);
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs a step, passing each line of its output on as it comes, and adds up the lines that count tests.
fn run(mut command: Command) -> Result<(bool, Count)> {
    let (group, output) = Group::start(command.stdout(Stdio::piped()), STEP_MAX)?;
    let mut count = Count::default();
    let mut stdout = std::io::stdout();
    for line in BufReader::new(output).split(b'\n') {
        let mut line = line?;
        if let Some(one) = counted(&String::from_utf8_lossy(&line)) {
            count.passed += one.passed;
            count.failed += one.failed;
        }
        line.push(b'\n');
        stdout.write_all(&line)?;
    }
    Ok((group.wait()?, count))
}

/// Reads libtest's `test result: ok. 12 passed; 0 failed; …`, and Node's `ℹ pass 12` and `ℹ fail 0`.
fn counted(line: &str) -> Option<Count> {
    if let Some(word) = line.strip_prefix("ℹ ") {
        let number = |name| word.strip_prefix(name)?.parse().ok();
        let (passed, failed) = (number("pass "), number("fail "));
        return passed.or(failed).map(|_| Count { passed: passed.unwrap_or(0), failed: failed.unwrap_or(0) });
    }
    let (_, rest) = line.split_once("test result: ")?;
    let number_before = |word: &str| rest.split_once(word)?.0.rsplit(' ').next()?.parse().ok();
    Some(Count { passed: number_before(" passed;")?, failed: number_before(" failed;")? })
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn a_result_line_gives_its_counts_and_other_lines_none() {
        let counts = |line| counted(line).map(|count| (count.passed, count.failed));
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 1 filtered out; finished in 0.01s";
        assert_eq!(counts(line), Some((12, 3)));
        assert_eq!((counts("ℹ pass 7"), counts("ℹ fail 2")), (Some((7, 0)), Some((0, 2))));
        assert_eq!(
            (counts("test text::merge ... ok"), counts("ℹ duration_ms 71"), counts("ℹ passed")),
            (None, None, None)
        );
    }
}
