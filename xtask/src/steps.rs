//! Building and running the tests crate's programs. Each task ends by becoming the program it runs, so that
//! Ctrl-C and signals reach it directly.

use anyhow::{Result, bail};
use std::process::{Command, ExitCode};

/// The package that holds the programs, and the one that holds the server they start.
const PROGRAMS: &str = "nself-sync-tests";
const SERVER: &str = "nself-sync";

/// How a program is compiled.
#[derive(Clone, Copy)]
pub enum Profile {
    /// Soonest there; shares its build with the tests.
    Dev,
    /// Fast: what is measured.
    Release,
}

/// Builds the server and the program in one go (they share their dependencies), then runs the program, which
/// finds the server beside itself.
pub fn with_server(program: &str, profile: Profile, args: &[String]) -> Result<ExitCode> {
    println!("building the server and {program} (the first time takes a few minutes)");
    let mut build = cargo("build", profile);
    build.args(["--package", SERVER, "--bin", SERVER, "--package", PROGRAMS, "--bin", program]);
    if !build.status()?.success() {
        bail!("the build failed");
    }
    alone(program, profile, args)
}

/// Runs a program of the tests crate, built first where it is not.
pub fn alone(program: &str, profile: Profile, args: &[String]) -> Result<ExitCode> {
    let mut run = cargo("run", profile);
    run.args(["--quiet", "--package", PROGRAMS, "--bin", program, "--"]).args(args);
    become_it(run)
}

/// `cargo <command>` of the toolchain that runs this, in the given profile.
fn cargo(command: &str, profile: Profile) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.arg(command);
    match profile {
        Profile::Dev => {}
        Profile::Release => {
            cargo.arg("--release");
        }
    }
    cargo
}

#[cfg(unix)]
fn become_it(mut command: Command) -> Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    Err(command.exec().into())
}

#[cfg(not(unix))]
fn become_it(mut command: Command) -> Result<ExitCode> {
    Ok(if command.status()?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
