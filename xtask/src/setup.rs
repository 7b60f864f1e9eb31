//! What the tasks need beside Rust itself, and how a Debian machine gets it.

use crate::steps;
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

mod target;
pub mod tools;

/// A thing that has to be on the machine.
pub struct Need {
    what: &'static str,
    is_there: fn() -> bool,
    /// Debian packages that bring it, the best first; one of them is enough.
    packages: &'static [&'static str],
}

const COMPILER: Need = Need {
    what: "a C compiler",
    is_there: || on_path("cc").is_some(),
    packages: &["gcc", "build-essential"],
};
const GIT: Need = Need { what: "git", is_there: || on_path("git").is_some(), packages: &["git"] };
const POSTGRES: Need = Need {
    what: "PostgreSQL's server programs (initdb, postgres), version 14 or newer",
    is_there: || postgres_programs().is_some(),
    packages: &["postgresql-15", "postgresql"],
};
const NODE: Need = Need { what: "Node, version 20 or newer", is_there: is_node, packages: &["nodejs"] };
const NPM: Need = Need { what: "npm", is_there: || on_path("npm").is_some(), packages: &["npm"] };
const PYTHON: Need = Need {
    what: "Python, version 3.10 or newer, with venv",
    is_there: is_python,
    packages: &["python3-venv"],
};
const CHROMIUM: Need =
    Need { what: "Chromium", is_there: || on_path("chromium").is_some(), packages: &["chromium"] };

/// What building and running the server takes.
pub const BUILD: &[Need] = &[COMPILER];

/// What the server's tests and benches take on top of that.
pub const SERVER: &[Need] = &[COMPILER, GIT, POSTGRES];

/// What building and running the edge takes.
pub fn edge() -> Result<()> {
    wasm()?;
    tools::worker_build()
}

/// Everything: what the server and its tests take, the checks of dependencies and interface, the browser's side and the edge.
pub fn all() -> Result<()> {
    install(SERVER)?;
    checks()?;
    browser()?;
    edge()
}

/// What checks the dependencies, and the server against its OpenAPI document and behind nginx.
pub fn checks() -> Result<()> {
    install(&[COMPILER, PYTHON])?;
    tools::install_nginx()?;
    tools::install_deny()?;
    tools::install_schemathesis()
}

/// What the tests and benches in a browser take.
pub fn browser() -> Result<()> {
    install(&[CHROMIUM])?;
    wasm()
}

/// What building the wasm and the npm package takes.
pub fn wasm() -> Result<()> {
    install(&[COMPILER, NODE, NPM])?;
    target::install()?;
    tools::install()
}

/// Installs those of `needs` that are lacking; silent when none is. Where the machine has no apt or this is not
/// root, the error says in one line what to install.
pub fn install(needs: &[Need]) -> Result<()> {
    let lacking: Vec<&Need> = needs.iter().filter(|need| !(need.is_there)()).collect();
    if lacking.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = lacking.iter().map(|need| need.what).collect();
    if on_path("apt-get").is_none() || !is_root() {
        let first: Vec<&str> = lacking.iter().filter_map(|need| need.packages.last().copied()).collect();
        bail!("please install {} (Debian packages: {})", names.join("; "), first.join(" "));
    }
    println!("installing {}", names.join("; "));
    apt_get(&["update", "-qq"])?;
    for need in &lacking {
        let Some(package) = need.packages.iter().find(|package| is_known(package)) else {
            bail!("apt knows none of {}; please install {}", need.packages.join(", "), need.what);
        };
        apt_get(&["install", "-y", "-qq", "--no-install-recommends", package])?;
        if !(need.is_there)() {
            bail!("{package} was installed, yet {} is still lacking", need.what);
        }
    }
    Ok(())
}

/// The folder of `initdb` and `postgres`: on the PATH, or the newest where Debian puts them.
fn postgres_programs() -> Option<PathBuf> {
    if let Some(initdb) = on_path("initdb") {
        return initdb.parent().map(Path::to_owned);
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let version = entry.ok()?.path();
            let number = version.file_name()?.to_str()?.parse().ok()?;
            (number >= 14 && version.join("bin/initdb").is_file()).then(|| (number, version.join("bin")))
        })
        .collect();
    versions.sort();
    versions.pop().map(|(_, programs)| programs)
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}

fn is_known(package: &str) -> bool {
    let policy = Command::new("apt-cache").args(["policy", package]).stderr(Stdio::null()).output();
    policy.is_ok_and(|policy| {
        let policy = String::from_utf8_lossy(&policy.stdout).into_owned();
        policy.contains("Candidate:") && !policy.contains("Candidate: (none)")
    })
}

fn is_node() -> bool {
    let version = Command::new("node").arg("--version").output();
    version.is_ok_and(|version| {
        let major = String::from_utf8_lossy(&version.stdout)
            .trim_start_matches('v')
            .split('.')
            .next()
            .map(str::parse);
        matches!(major, Some(Ok(20_u32..)))
    })
}

fn is_python() -> bool {
    let test = "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))";
    let python = Command::new("python3").args(["-c", test]).stderr(Stdio::null()).status();
    python.is_ok_and(|status| status.success())
}

fn apt_get(args: &[&str]) -> Result<()> {
    steps::run(Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive"))
}
