//! The engine for browsers: the npm package, and the build that the wire vectors run against.

use crate::{setup, steps};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The crate, which is the npm package as well.
const CRATE: &str = "engine/wasm";

const PACKAGE: &str = "engine/wasm/package.json";

/// Where the build for the wire vectors goes, from the crate.
const VECTORS: &str = "../../target/vectors";

/// What the wasm says that it uses of WebAssembly: all that the target has by default, but for reference types. With them
/// wasm-bindgen lets functions return JavaScript's values themselves, and V8 (Node 20, Chromium of that age) ends the whole
/// process where the optimised caller of such a function is deoptimised during the call; without, they return numbers.
const FEATURES: &str = "mutable-globals,sign-ext,nontrapping-fptoint,bulk-memory,bulk-memory-opt,multivalue,call-indirect-overlong";

/// Builds `engine/wasm/pkg`: the wasm and its JavaScript by wasm-pack, the client by TypeScript.
pub fn package() -> Result<()> {
    is_one_version()?;
    let package = Path::new(CRATE).join("pkg");
    if package.exists() {
        fs::remove_dir_all(&package)?;
    }
    wasm_pack(&["--out-dir", "pkg"])?;
    // Describes the wasm's own exports, which nobody calls but the JavaScript beside it.
    fs::remove_file(package.join("wasm_bg.wasm.d.ts"))?;
    fs::copy("LICENSE", package.join("LICENSE"))?;
    steps::run(Command::new(bin("tsc")).args(["--project", CRATE]))
}

/// Builds the same code with the wire vectors' inputs let in, into `target/vectors`.
pub fn vectors() -> Result<()> {
    wasm_pack(&["--out-dir", VECTORS, "--no-opt", "--", "--features", "vectors"])
}

/// Builds `web-demo/dist`, of the package as it was built last.
pub fn page() -> Command {
    let mut page = Command::new("npm");
    page.args(["run", "--silent", "build"]).current_dir("web-demo");
    page
}

/// What the package costs: its bytes, and its times in Chromium.
pub fn bench() -> Result<()> {
    package()?;
    steps::run(Command::new("node").arg("tests/node/size.mjs"))?;
    steps::run(&mut page())?;
    steps::run(steps::cargo("build").args(["--release", "--package", "nself-sync"]))?;
    let server = std::env::current_dir()?.join("target/release/nself-sync");
    steps::run(Command::new("node").arg("tests/e2e/bench.mjs").env("NSELF_SYNC_BINARY", server))
}

/// wasm-pack, with its helpers of the locked versions on the PATH: it downloads what it does not find there.
fn wasm_pack(args: &[&str]) -> Result<()> {
    let root = std::env::current_dir()?;
    let ours = [root.join(setup::tools::FOLDER).join("bin"), root.join(CRATE).join("node_modules/.bin")];
    let machine = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(ours.into_iter().chain(std::env::split_paths(&machine)))?;
    let mut build = Command::new(Path::new(setup::tools::FOLDER).join("bin/wasm-pack"));
    build.args([
        "--log-level",
        "warn",
        "build",
        CRATE,
        "--target",
        "web",
        "--profile",
        "wasm",
        "--out-name",
        "wasm",
    ]);
    build.args(["--mode", "no-install", "--no-pack", "--no-gitignore"]).args(args);
    // The linker is not to mind that the standard library allows more.
    let features = format!("-Clink-arg=--features={FEATURES}\x1f-Clink-arg=--no-check-features");
    build.env("CARGO_ENCODED_RUSTFLAGS", format!("{}\x1f{features}", steps::without_paths(&[])?));
    steps::run(build.env("PATH", path))
}

/// A program of the package's own npm packages.
fn bin(program: &str) -> PathBuf {
    Path::new(CRATE).join("node_modules/.bin").join(program)
}

/// npm's package has the version of everything else.
fn is_one_version() -> Result<()> {
    let version = |file: &str, before: &str| -> Result<String> {
        let text = fs::read_to_string(file)?;
        let rest = text.split_once(before).map(|(_, rest)| rest);
        let version = rest.and_then(|rest| rest.split_once('"')).map(|(version, _)| version);
        Ok(version.with_context(|| format!("no version in {file}"))?.to_owned())
    };
    let (ours, npms) = (version("Cargo.toml", "\nversion = \"")?, version(PACKAGE, "\"version\": \"")?);
    ensure!(npms == ours, "{PACKAGE} is of version {npms}, Cargo.toml of {ours}");
    Ok(())
}
