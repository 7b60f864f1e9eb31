//! The standard library of the wasm target. rustup brings it by itself (`rust-toolchain.toml` names the target); where
//! rustup may not fetch, it is compiled once, from the source of exactly this compiler's version.

use super::on_path;
use crate::steps;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The target itself.
const WASM: &str = "wasm32-unknown-unknown";

/// Where it is compiled.
const FOLDER: &str = "target/tools/std";

/// Names a tarball (xz) whose one folder is `library`, taken instead of Debian's package.
const TARBALL: &str = "NSELF_SYNC_RUST_LIBRARY";

/// The suite of Debian that carries new compilers.
const SUITE: &str = "trixie-backports";

/// Brings the target where it is lacking.
pub fn install() -> Result<()> {
    let libraries = PathBuf::from(rustc(&["--print", "target-libdir", "--target", WASM])?);
    if is_std(&libraries) {
        return Ok(());
    }
    if on_path("rustup").is_some() && std::env::var_os("RUSTUP_AUTO_INSTALL").is_none_or(|value| value != "0")
    {
        return steps::run(Command::new("rustup").args(["target", "add", WASM]));
    }
    println!("compiling the standard library for {WASM}");
    let version = rustc(&["--version"])?;
    let version = version.split(' ').nth(1).context("rustc's version")?.to_owned();
    let folder = Path::new(FOLDER);
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder)?;
    let library = match std::env::var_os(TARBALL) {
        Some(tarball) => unpacked(Path::new(&tarball), folder)?,
        None => of_debian(&version, folder).with_context(|| {
            format!("no source of Rust {version} (a tarball of its library folder, named by {TARBALL}, serves too)")
        })?,
    };
    let source = Path::new(&rustc(&["--print", "sysroot"])?).join("lib/rustlib/src/rust/library");
    if !source.exists() {
        // Under its name only when it is all there.
        let copy = source.with_extension("new");
        fs::create_dir_all(&copy)?;
        steps::run(Command::new("cp").arg("-rT").arg(library).arg(&copy))?;
        fs::rename(copy, &source)?;
    }
    compile(folder, &source.canonicalize()?, &libraries)
}

/// Compiles the library and puts it where the compiler looks for it. A panic's place has no path of this machine.
fn compile(folder: &Path, source: &Path, libraries: &Path) -> Result<()> {
    let manifest = "[package]\nname = \"empty\"\nedition = \"2024\"\n[lib]\npath = \"lib.rs\"\ncrate-type = [\"cdylib\"]\n\
                    [profile.release]\npanic = \"abort\"\n[workspace]\n";
    fs::write(folder.join("Cargo.toml"), manifest)?;
    fs::write(folder.join("lib.rs"), "")?;
    let mut build = steps::cargo("build");
    build.args(["--release", "--quiet", "-Zbuild-std=std,panic_abort,proc_macro,test", "--target", WASM]);
    build.env("RUSTC_BOOTSTRAP", "1").env("CARGO_ENCODED_RUSTFLAGS", steps::without_paths(&[source])?);
    steps::run(build.current_dir(folder).env("CARGO_TARGET_DIR", "target"))?;
    fs::create_dir_all(libraries)?;
    for entry in fs::read_dir(folder.join("target").join(WASM).join("release/deps"))? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|end| end == "rlib") {
            fs::copy(entry.path(), libraries.join(entry.file_name()))?;
        }
    }
    fs::remove_dir_all(folder)?;
    // What was compiled against another one does not link.
    let _ = fs::remove_dir_all(Path::new("target").join(WASM));
    if !is_std(libraries) {
        bail!("{} has no standard library still", libraries.display());
    }
    Ok(())
}

fn unpacked(tarball: &Path, folder: &Path) -> Result<PathBuf> {
    steps::run(Command::new("tar").arg("-xJf").arg(tarball).arg("-C").arg(folder))?;
    Ok(folder.join("library"))
}

/// Debian's package rust-src, of the mirror that this machine uses and past the machine's own lists.
fn of_debian(version: &str, folder: &Path) -> Result<PathBuf> {
    let sources = fs::read_to_string("/etc/apt/sources.list.d/debian.sources").context("Debian's sources")?;
    let first = sources.split("\n\n").next().unwrap_or_default();
    let lines = first.lines().map(|line| match line.strip_prefix("Suites:") {
        Some(_) => format!("Suites: {SUITE}\n"),
        None => format!("{line}\n"),
    });
    let folder = folder.canonicalize()?;
    for part in ["sources", "lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(folder.join(part))?;
    }
    fs::write(folder.join("sources/rust.sources"), lines.collect::<String>())?;
    let at = |option: &str, part: &str| format!("{option}={}", folder.join(part).display());
    for words in [&["update"][..], &["download", &format!("rust-src={version}*")]] {
        let mut apt = Command::new("apt-get");
        apt.arg("-qq").args(["-o", "Dir::Etc::sourcelist=/dev/null"]);
        apt.args(["-o", &at("Dir::Etc::sourceparts", "sources"), "-o", &at("Dir::State::Lists", "lists")]);
        apt.args(["-o", &at("Dir::Cache", "cache"), "-o", "APT::Sandbox::User="]).args(words);
        steps::run(apt.current_dir(&folder))?;
    }
    let package = fs::read_dir(&folder)?.filter_map(|entry| Some(entry.ok()?.path()));
    let package = package.filter(|path| path.extension().is_some_and(|end| end == "deb")).last();
    steps::run(Command::new("dpkg-deb").arg("-x").arg(package.context("a package")?).arg(&folder))?;
    Ok(folder.join(format!("usr/src/rustc-{version}/library")))
}

fn is_std(libraries: &Path) -> bool {
    let is_it = |name: &str| name.starts_with("libstd-") && name.ends_with(".rlib");
    let files = fs::read_dir(libraries).into_iter().flatten();
    files.flatten().any(|file| file.file_name().to_str().is_some_and(is_it))
}

fn rustc(args: &[&str]) -> Result<String> {
    let output =
        Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).args(args).output()?;
    if !output.status.success() {
        bail!("rustc {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
