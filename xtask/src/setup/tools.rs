//! The programs that make the wasm and that check dependencies and the HTTP interface, of the versions this project is locked
//! to: compiled into `target/tools`, from npm into the packages' own folders, or from PyPI into a folder of Python's.

use crate::steps;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where `cargo install` puts its programs (in `bin`).
pub const FOLDER: &str = "target/tools";

/// The schemathesis program, and the versions of all that it consists of.
pub const SCHEMATHESIS: &str = "target/tools/schemathesis/bin/schemathesis";
const REQUIREMENTS: &str = "tests/schema/requirements.txt";

/// The folders of the project with JavaScript packages of their own.
const NPM_FOLDERS: &[&str] = &["engine/wasm", "tests/e2e", "web-demo"];

/// wasm-pack, and wasm-bindgen of exactly the version of the library in `Cargo.lock`.
pub fn install() -> Result<()> {
    let bindgen = locked("wasm-bindgen")?;
    compiled(&[("wasm-bindgen", "wasm-bindgen-cli", &bindgen), ("wasm-pack", "wasm-pack", "0.15.1")], &[])?;
    NPM_FOLDERS.iter().try_for_each(|folder| npm_packages(Path::new(folder)))
}

/// worker-build, of the version of the library `worker`.
pub fn worker_build() -> Result<()> {
    let version = locked("worker")?;
    compiled(&[("worker-build", "worker-build", &version)], &[])?;
    npm_packages(Path::new("edge"))
}

/// Programs that are compiled where they are lacking: (program, crate, version).
fn compiled(tools: &[(&str, &str, &str)], args: &[&str]) -> Result<()> {
    let lacking = tools.iter().filter(|(program, _, version)| !is_there(program, version));
    let crates: Vec<String> = lacking.map(|(_, name, version)| format!("{name}@{version}")).collect();
    if crates.is_empty() {
        return Ok(());
    }
    println!("compiling {} (several minutes, once)", crates.join(" and "));
    let built = format!("{FOLDER}/build");
    let mut install = steps::cargo("install");
    install.args(["--quiet", "--locked", "--root", FOLDER, "--target-dir", &built]).args(args).args(crates);
    steps::run(&mut install)?;
    Ok(fs::remove_dir_all(built)?)
}

/// cargo-deny, without optimization: it looks at a few hundred crates, and compiles in half the time.
pub fn install_deny() -> Result<()> {
    compiled(&[("cargo-deny", "cargo-deny", "0.20.2")], &["--debug"])
}

/// nginx, in front of which the plugin's locations are tried: as Debian has it, taken apart and not installed, since that
/// would start it.
pub fn install_nginx() -> Result<()> {
    let folder = Path::new(FOLDER).join("nginx");
    let places = ["/usr/sbin/nginx", "/usr/local/bin/nginx"].map(PathBuf::from);
    if places.into_iter().chain([folder.join("usr/sbin/nginx")]).any(|place| place.is_file()) {
        return Ok(());
    }
    println!("fetching nginx");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let apt_get =
        |args: &[&str]| steps::run(Command::new("apt-get").arg("-qq").args(args).current_dir(&folder));
    let download = ["-o", "APT::Sandbox::User=", "download", "nginx"];
    if apt_get(&download).is_err() {
        // The machine's lists are old, or there are none yet.
        apt_get(&["update"]).and_then(|()| apt_get(&download)).context("please install nginx")?;
    }
    let mut packages = fs::read_dir(&folder)?.filter_map(|entry| Some(entry.ok()?.path()));
    let package = packages.next().context("a package")?;
    steps::run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&folder))?;
    Ok(fs::remove_file(package)?)
}

/// schemathesis in a Python environment of its own.
pub fn install_schemathesis() -> Result<()> {
    let folder = Path::new(FOLDER).join("schemathesis");
    let installed = folder.join("requirements.txt");
    let wanted = fs::read_to_string(REQUIREMENTS)?;
    // It names its own folder, and does not run where that was moved.
    let runs =
        || Command::new(SCHEMATHESIS).arg("--version").output().is_ok_and(|said| said.status.success());
    if fs::read_to_string(&installed).is_ok_and(|have| have == wanted) && runs() {
        return Ok(());
    }
    println!("installing schemathesis");
    steps::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    let mut pip = Command::new(folder.join("bin/pip"));
    steps::run(pip.args(["install", "--quiet", "--no-deps", "--requirement", REQUIREMENTS]))?;
    Ok(fs::write(installed, wanted)?)
}

fn is_there(program: &str, version: &str) -> bool {
    let said = Command::new(Path::new(FOLDER).join("bin").join(program)).arg("--version").output();
    said.is_ok_and(|said| String::from_utf8_lossy(&said.stdout).split_whitespace().last() == Some(version))
}

/// What a folder's lock file names, where it is newer than what is installed.
fn npm_packages(folder: &Path) -> Result<()> {
    let changed = |file: &str| fs::metadata(folder.join(file)).and_then(|file| file.modified()).ok();
    let lock = changed("package-lock.json");
    if lock.is_none() || lock <= changed("node_modules/.package-lock.json") {
        return Ok(());
    }
    println!("installing the npm packages of {}", folder.display());
    steps::run(Command::new("npm").args(["ci", "--silent"]).current_dir(folder))
}

/// The version of a package in `Cargo.lock`.
fn locked(package: &str) -> Result<String> {
    let lock = fs::read_to_string("Cargo.lock")?;
    let start = format!("name = \"{package}\"\nversion = \"");
    let version = lock.split_once(&start).and_then(|(_, rest)| rest.split_once('"'));
    Ok(version.with_context(|| format!("{package} in Cargo.lock"))?.0.to_owned())
}
