//! `cargo xtask deny`: licences, bans, sources and advisories of all dependencies, by `deny.toml`.

use crate::setup::tools;
use crate::steps;
use anyhow::{Context, Result, bail};
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// How cargo-deny says that it has no advisories to look at.
const AWAY: &str = "failed to fetch advisory database";

/// Checks all four. That the advisories cannot be had is said, and no failure.
pub fn run() -> Result<()> {
    steps::run(deny().args(["--offline", "check", "licenses", "bans", "sources"]))?;
    let advisories = deny().args(["check", "advisories"]).output().context("cargo-deny")?;
    if !advisories.status.success() && String::from_utf8_lossy(&advisories.stderr).contains(AWAY) {
        println!("advisories NOT CHECKED: their data base cannot be had from here");
        return Ok(());
    }
    std::io::stderr().write_all(&advisories.stderr)?;
    if !advisories.status.success() {
        bail!("cargo-deny check advisories failed");
    }
    Ok(())
}

fn deny() -> Command {
    let mut deny = Command::new(Path::new(tools::FOLDER).join("bin/cargo-deny"));
    // A network that swallows what is sent is given up soon.
    deny.env("GIT_HTTP_LOW_SPEED_LIMIT", "1000").env("GIT_HTTP_LOW_SPEED_TIME", "20");
    deny.args(["--locked", "--log-level", "error"]);
    deny
}
