//! `cargo xtask test`: every check there is, each step's output streamed, one count at the end.

use crate::setup;
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

/// A step: its name and the arguments to cargo. Build and suites ask for the same packages, targets and profile,
/// so nothing is compiled twice.
type Step = (&'static str, &'static [&'static str]);

const STEPS: &[Step] = &[
    ("format", &["fmt", "--all", "--check"]),
    ("clippy", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]),
    ("build", &["build", "--workspace", "--all-targets", "--locked"]),
    ("suites", &["test", "--workspace", "--locked", "--no-fail-fast"]),
];

/// What libtest said it counted.
#[derive(Default, Clone, Copy)]
struct Count {
    passed: u64,
    failed: u64,
}

/// Runs every step, also after one that failed, and ends with the line `N passed, N failed`. A step that failed
/// without a failed test of its own (formatting, a lint, a suite that broke off) counts as one failure.
pub fn test() -> Result<ExitCode> {
    let began = Instant::now();
    setup::install(setup::ALL)?;
    let mut total = Count::default();
    let mut failures = Vec::new();
    for (number, (name, args)) in STEPS.iter().enumerate() {
        println!("\n── {} of {}: {name} ── cargo {}", number + 1, STEPS.len(), args.join(" "));
        let step_began = Instant::now();
        let (is_good, count) = run(args).with_context(|| format!("step {name}"))?;
        println!("── {name}: {} in {:.0?}", if is_good { "good" } else { "FAILED" }, step_began.elapsed());
        total.passed += count.passed;
        total.failed += count.failed;
        if !is_good {
            failures.push(*name);
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

/// Runs cargo, passing each line of its output on as it comes, and adds up libtest's result lines.
fn run(args: &[&str]) -> Result<(bool, Count)> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut child = Command::new(cargo).args(args).stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().context("cargo's output")?;
    let mut count = Count::default();
    let mut stdout = std::io::stdout();
    for line in BufReader::new(output).split(b'\n') {
        let mut line = line?;
        if let Some(one) = result_line(&String::from_utf8_lossy(&line)) {
            count.passed += one.passed;
            count.failed += one.failed;
        }
        line.push(b'\n');
        stdout.write_all(&line)?;
    }
    Ok((child.wait()?.success(), count))
}

/// Reads `test result: ok. 12 passed; 0 failed; …`.
fn result_line(line: &str) -> Option<Count> {
    let (_, rest) = line.split_once("test result: ")?;
    let number_before = |word: &str| rest.split_once(word)?.0.rsplit(' ').next()?.parse().ok();
    Some(Count { passed: number_before(" passed;")?, failed: number_before(" failed;")? })
}

#[cfg(test)]
mod tests {
    use super::result_line;

    #[test]
    fn a_result_line_gives_its_counts_and_other_lines_none() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 1 filtered out; finished in 0.01s";
        assert_eq!(result_line(line).map(|count| (count.passed, count.failed)), Some((12, 3)));
        assert!(result_line("test text::merge ... ok").is_none());
    }
}
