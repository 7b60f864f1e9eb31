//! Building and running the tests crate's programs. Each task ends by becoming the program it runs, so that
//! Ctrl-C and signals reach it directly.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
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
    let mut build = cargo_in(profile, "build");
    build.args(["--package", SERVER, "--bin", SERVER, "--package", PROGRAMS, "--bin", program]);
    run(&mut build)?;
    alone(program, profile, args)
}

/// Runs a program of the tests crate, built first where it is not.
pub fn alone(program: &str, profile: Profile, args: &[String]) -> Result<ExitCode> {
    let mut run = cargo_in(profile, "run");
    run.args(["--quiet", "--package", PROGRAMS, "--bin", program, "--"]).args(args);
    become_it(run)
}

/// Goes to the repository's root, wherever cargo was called; for tasks that take no file's name.
pub fn at_root() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the root")?;
    Ok(std::env::set_current_dir(root)?)
}

/// `cargo <command>` of the toolchain that runs this.
pub fn cargo(command: &str) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.arg(command);
    cargo
}

/// rustc's flags, as `CARGO_ENCODED_RUSTFLAGS`, that keep the paths of this machine out of what is compiled: of these folders
/// and of the crates that cargo has fetched only the last part stays.
pub fn without_paths(folders: &[&Path]) -> Result<String> {
    let home = std::env::home_dir().context("a home")?.join(".cargo");
    let crates = std::env::var_os("CARGO_HOME").map_or(home, PathBuf::from).join("registry/src");
    let folders = folders.iter().copied().chain([crates.as_path()]).map(|folder| {
        let name = folder.file_name().unwrap_or_default().display();
        format!("--remap-path-prefix={}={name}", folder.display())
    });
    Ok(folders.collect::<Vec<_>>().join("\x1f"))
}

/// Runs a command to its end; that it fails is an error that names it.
pub fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("{name} cannot be run"))?;
    if !status.success() {
        let first = command.get_args().next().unwrap_or_default().to_string_lossy().into_owned();
        bail!("{name} {first} failed ({status})");
    }
    Ok(())
}

fn cargo_in(profile: Profile, command: &str) -> Command {
    let mut cargo = cargo(command);
    match profile {
        Profile::Dev => {}
        Profile::Release => {
            cargo.arg("--release");
        }
    }
    cargo
}

/// Ends as that program.
#[cfg(unix)]
pub fn become_it(mut command: Command) -> Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    Err(command.exec().into())
}

/// Runs that program to its end.
#[cfg(not(unix))]
pub fn become_it(mut command: Command) -> Result<ExitCode> {
    Ok(if command.status()?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
