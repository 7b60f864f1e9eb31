//! `cargo xtask plugin`: the tarball that ɳSelf installs, with all that building it takes.
//!
//! What is in it, relative to its one folder: the plugin's own files at the top, migrations and docs; the server's crates as
//! they lie in this repository, without tests; every crate they need in `vendor`. It is the same to the byte whenever it
//! is made of the same sources: sorted names, one time, no owner, no name of a machine.

mod image;
mod tarball;

use crate::steps;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the tarball goes.
const FOLDER: &str = "target/plugin";

/// How far the tarball is tried after it was made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Trial {
    /// Not at all.
    None,
    /// Made twice, and built without optimization: what CI has time for.
    Quick,
    /// Made twice, and built as the image is.
    Full,
}

/// Makes the tarball; then, outside of a container, does with it what the Dockerfile says.
pub fn run(trial: Trial) -> Result<()> {
    let folder = Path::new(FOLDER);
    let tarball = tarball::make(folder)?;
    println!("{} ({} KiB)", tarball.display(), fs::metadata(&tarball)?.len() >> 10);
    println!("sha256 {}", sha256(&tarball)?);
    if trial == Trial::None {
        return Ok(());
    }
    let second = tarball::make(&folder.join("again"))?;
    if fs::read(&tarball)? != fs::read(&second)? {
        bail!("made twice, {} and {} differ", tarball.display(), second.display());
    }
    fs::remove_dir_all(folder.join("again"))?;
    println!("made twice, it is the same to the byte");
    // Far from this repository, whose settings cargo would find in the folders above.
    let place = Place::new()?;
    steps::run(Command::new("tar").arg("-xzf").arg(&tarball).arg("-C").arg(&place.0))?;
    let context = place.0.join(tarball::stem()?);
    image::build_and_try(&context, &place.0.join("image"), trial == Trial::Full)
}

fn sha256(file: &Path) -> Result<String> {
    let output = Command::new("sha256sum").arg(file).output().context("sha256sum")?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.split(' ').next().context("sha256sum printed nothing")?.to_owned())
}

/// A temporary folder, gone at the end.
struct Place(PathBuf);

impl Place {
    fn new() -> Result<Place> {
        let path = std::env::temp_dir().join(format!("nself-sync-plugin-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| path.display().to_string())?;
        Ok(Place(path))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What stays is a temporary folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}
