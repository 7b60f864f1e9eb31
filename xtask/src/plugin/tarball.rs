//! Putting the tarball together.

use crate::steps;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const SERVER: &str = "nself-sync";
const PLUGIN: &str = "native-server/plugin";
const MIGRATIONS: &str = "native-server/migrations";

/// What an operator reads, and what the sources include.
const DOCS: [&str; 4] = ["operate.md", "security.md", "protocol.md", "openapi.json"];

/// The machines that an image is built for. Crates for others are there by name only.
const TARGETS: [&str; 2] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];

/// The time of every file in it: of a change to the sources the checksum tells.
const TIME: &str = "@946684800";

/// Makes cargo take the crates from `vendor`.
const CARGO_CONFIG: &str = "[source.crates-io]\nreplace-with = \"vendored-sources\"\n\n\
                            [source.vendored-sources]\ndirectory = \"vendor\"\n";

/// The tarball's name without its end, which is that of its folder as well.
pub fn stem() -> Result<String> {
    let manifest = fs::read_to_string("Cargo.toml")?;
    let version = manifest.lines().find_map(|line| line.strip_prefix("version = \""));
    Ok(format!("sync-{}", version.context("the workspace's version")?.trim_end_matches('"')))
}

/// Makes the tarball in `folder` and returns its path.
pub fn make(folder: &Path) -> Result<PathBuf> {
    let stem = stem()?;
    let stage = folder.join(&stem);
    if stage.exists() {
        fs::remove_dir_all(&stage)?;
    }
    fs::create_dir_all(&stage)?;
    let crates = crates()?;
    copy_sources(&stage, &crates)?;
    copy_plugin(&stage)?;
    vendor(&stage)?;
    let tarball = folder.join(format!("{stem}.tar.gz"));
    compress(folder, &stem, &tarball)?;
    fs::remove_dir_all(&stage)?;
    Ok(tarball)
}

/// The folders of the crates in this repository that the server is made of.
fn crates() -> Result<Vec<PathBuf>> {
    let root = std::env::current_dir()?.canonicalize()?;
    let mut folders = BTreeSet::new();
    for package in tree(&root, &[])? {
        let Some((_, path)) = package.split_once(" (") else { continue };
        let path = Path::new(path.trim_end_matches(')'));
        if let Ok(folder) = path.strip_prefix(&root) {
            folders.insert(folder.to_owned());
        }
    }
    Ok(folders.into_iter().collect())
}

/// What the server depends on, itself included, as `name vX.Y.Z` and for crates in a folder ` (path)`.
fn tree(root: &Path, args: &[&str]) -> Result<BTreeSet<String>> {
    let mut tree = steps::cargo("tree");
    tree.args(["--package", SERVER, "--edges", "normal,build", "--prefix", "none", "--format", "{p}"]);
    let output = tree.args(["--locked"]).args(args).current_dir(root).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("cargo tree failed");
    }
    let text = String::from_utf8(output.stdout)?;
    let lines = text.lines().map(|line| line.trim_end_matches(" (*)").trim_end_matches(" (proc-macro)"));
    Ok(lines.filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

fn copy_sources(stage: &Path, crates: &[PathBuf]) -> Result<()> {
    for folder in crates {
        let to = stage.join(folder);
        fs::create_dir_all(&to)?;
        let manifest = fs::read_to_string(folder.join("Cargo.toml"))?;
        fs::write(to.join("Cargo.toml"), without_section(&manifest, "[dev-dependencies]"))?;
        for part in ["src", "build.rs"] {
            let from = folder.join(part);
            if from.exists() {
                copy(&from, &to.join(part))?;
            }
        }
    }
    copy(Path::new(MIGRATIONS), &stage.join(MIGRATIONS))?;
    let members: Vec<String> = crates.iter().map(|folder| format!("\"{}\"", folder.display())).collect();
    let manifest = fs::read_to_string("Cargo.toml")?;
    let lines = manifest.lines().map(|line| match line.split_once(" = ") {
        Some(("members", _)) => format!("members = [{}]\n", members.join(", ")),
        Some(("default-members", _)) => String::new(),
        _ => format!("{line}\n"),
    });
    fs::write(stage.join("Cargo.toml"), lines.collect::<String>())?;
    fs::copy("Cargo.lock", stage.join("Cargo.lock"))?;
    fs::copy("LICENSE", stage.join("LICENSE"))?;
    Ok(())
}

/// A manifest without one of its sections.
fn without_section(manifest: &str, section: &str) -> String {
    let mut is_in = false;
    let lines = manifest.lines().filter(|line| {
        if line.starts_with('[') {
            is_in = *line == section;
        }
        !is_in
    });
    lines.map(|line| format!("{line}\n")).collect()
}

fn copy_plugin(stage: &Path) -> Result<()> {
    copy(Path::new(PLUGIN), stage)?;
    copy(Path::new(MIGRATIONS), &stage.join("migrations"))?;
    fs::create_dir_all(stage.join("docs"))?;
    for name in DOCS {
        fs::copy(Path::new("docs").join(name), stage.join("docs").join(name)).context(name)?;
    }
    Ok(())
}

/// A file or folder with all in it, but for tests.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if from.is_file() {
        fs::copy(from, to).with_context(|| from.display().to_string())?;
        return Ok(());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name();
        let text = name.to_string_lossy();
        let is_test = ["tests", "testdata", "tests.rs"].contains(&&*text) || text.ends_with("_tests.rs");
        if !is_test {
            copy(&entry.path(), &to.join(name))?;
        }
    }
    Ok(())
}

/// Every crate that the server needs. The lock file loses what it does not need, and changes no version.
fn vendor(stage: &Path) -> Result<()> {
    let mut vendor = steps::cargo("vendor");
    vendor.args(["--quiet", "--versioned-dirs", "vendor"]).current_dir(stage).stdout(Stdio::null());
    steps::run(&mut vendor)?;
    fs::create_dir_all(stage.join(".cargo"))?;
    fs::write(stage.join(".cargo/config.toml"), CARGO_CONFIG)?;
    let (old, new) = (fs::read_to_string("Cargo.lock")?, fs::read_to_string(stage.join("Cargo.lock"))?);
    let old: BTreeSet<&str> = old.split("\n\n").map(name_and_version).collect();
    if let Some(other) = new.split("\n\n").map(name_and_version).find(|package| !old.contains(package)) {
        bail!("cargo vendor has changed a version: {other:?} is not in Cargo.lock");
    }
    let mut targets = vec!["--offline"];
    targets.extend(TARGETS.iter().flat_map(|target| ["--target", target]));
    let needed = tree(stage, &targets)?;
    let needed: BTreeSet<String> = needed.iter().map(|package| package.replacen(" v", "-", 1)).collect();
    for entry in fs::read_dir(stage.join("vendor"))? {
        let folder = entry?.path();
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !needed.contains(&name) {
            empty(&folder)?;
        }
    }
    Ok(())
}

fn name_and_version(package: &str) -> &str {
    match package.match_indices('\n').nth(2) {
        Some((end, _)) => package.get(..end).unwrap_or_default(),
        None => package,
    }
}

/// Leaves of a crate for other machines what cargo reads of it to know that the lock file is right.
fn empty(folder: &Path) -> Result<()> {
    let manifest = fs::read_to_string(folder.join("Cargo.toml"))?;
    let checksums = fs::read_to_string(folder.join(".cargo-checksum.json"))?;
    let package = checksums.rsplit_once("\"package\":").context("a checksum of the crate")?.1;
    fs::remove_dir_all(folder)?;
    fs::create_dir_all(folder.join("src"))?;
    fs::write(folder.join("Cargo.toml"), manifest)?;
    fs::write(folder.join("src/lib.rs"), "")?;
    Ok(fs::write(folder.join(".cargo-checksum.json"), format!("{{\"files\":{{}},\"package\":{package}"))?)
}

fn compress(folder: &Path, stem: &str, tarball: &Path) -> Result<()> {
    let tar = tarball.with_extension("");
    let mut command = Command::new("tar");
    command.args(["--format=gnu", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"]);
    command.args(["--mode=u=rwX,go=rX", &format!("--mtime={TIME}"), "-cf"]).arg(&tar);
    steps::run(command.arg("-C").arg(folder).arg(stem).env("LC_ALL", "C"))?;
    // Neither name nor time of the file in it.
    steps::run(Command::new("gzip").args(["-n", "-9", "-f"]).arg(tar))
}

#[cfg(test)]
mod tests {
    use super::{name_and_version, without_section};

    #[test]
    fn a_section_goes_with_all_its_lines_and_no_other() {
        let manifest =
            "[package]\nname = \"a\"\n\n[dev-dependencies]\nb = \"1\"\n# c\n\n[[bin]]\nname = \"d\"\n";
        let left = "[package]\nname = \"a\"\n\n[[bin]]\nname = \"d\"\n";
        assert_eq!(without_section(manifest, "[dev-dependencies]"), left);
        assert_eq!(without_section(left, "[dev-dependencies]"), left);
    }

    #[test]
    fn a_package_of_the_lock_file_is_known_by_name_and_version() {
        let package = |dependencies| {
            format!("[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"r\"\n{dependencies}")
        };
        let (old, new) = (package("dependencies = [\n \"b\",\n]"), package(""));
        assert_eq!(name_and_version(&old), name_and_version(&new));
        assert_ne!(name_and_version(&old), name_and_version(&new.replace("1.0.0", "1.0.1")));
    }
}
