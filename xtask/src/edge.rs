//! The edge: its build by worker-build, and the runtime it is tried and tested in.

use crate::{setup, steps};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::{Command, ExitCode};

/// The crate, which has npm packages as well.
const CRATE: &str = "edge";

/// Where `dev` keeps what it stores.
const STORAGE: &str = "target/edge";

/// `cargo xtask edge …`
pub fn run(args: &[String]) -> Result<ExitCode> {
    steps::at_root()?;
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["build"] => build()?,
        ["dev"] => dev("3830")?,
        ["dev", "--port", port] => dev(port)?,
        ["test"] => test()?,
        ["deploy", "--dry-run"] => dry_run()?,
        _ => bail!("cargo xtask edge build | dev [--port N] | test | deploy --dry-run"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds `edge/build`: the wasm and its JavaScript.
pub fn build() -> Result<()> {
    setup::edge()?;
    let root = std::env::current_dir()?;
    let tools = root.join(setup::tools::FOLDER).join("bin");
    let npm = root.join("engine/wasm/node_modules");
    let mut build = Command::new(tools.join("worker-build"));
    build.args(["--profile", "wasm", "."]).current_dir(CRATE);
    // It downloads what it is not given.
    let wasm_opt = npm.join("binaryen/bin/wasm-opt");
    build.env("WASM_BINDGEN_BIN", tools.join("wasm-bindgen"));
    build.env("WASM_OPT_BIN", &wasm_opt).env("ESBUILD_BIN", npm.join(".bin/esbuild"));
    build.env("CARGO_ENCODED_RUSTFLAGS", steps::without_paths(&[])?);
    steps::run(&mut build)?;
    // worker-build keeps the functions' names: a fifth of what is deployed.
    let wasm = "edge/build/index_bg.wasm";
    steps::run(Command::new(wasm_opt).args(["--strip-debug", "--strip-target-features", wasm, "-o", wasm]))
}

/// Runs it in workerd until Ctrl-C, on local disk.
fn dev(port: &str) -> Result<()> {
    if std::env::var_os("HASURA_GRAPHQL_JWT_SECRET").is_none() {
        bail!(
            "HASURA_GRAPHQL_JWT_SECRET is not set: nothing would verify users' tokens (32 bytes or more will do)"
        );
    }
    build()?;
    std::fs::create_dir_all(STORAGE)?;
    println!("http://127.0.0.1:{port}/health answers; what is stored is in {STORAGE}");
    let mut workerd = Command::new(workerd()?);
    workerd.args(["serve", "workerd.capnp", "--experimental"]).current_dir(CRATE);
    workerd.arg(format!("--socket-addr=http=127.0.0.1:{port}"));
    workerd.arg(format!("--directory-path=storage={}", Path::new(STORAGE).canonicalize()?.display()));
    steps::run(&mut workerd)
}

/// The contract's cases, in workerd alone.
fn test() -> Result<()> {
    build()?;
    steps::run(steps::cargo("build").args(["--package", "nself-sync"]))?;
    steps::run(steps::cargo("test").args([
        "--package",
        "nself-sync-tests",
        "--test",
        "contract",
        "--",
        "edge::",
    ]))
}

/// Whether Cloudflare's own tool would take it, which builds it as for a real deploy; nothing leaves this machine.
fn dry_run() -> Result<()> {
    setup::edge()?;
    let mut wrangler = Command::new(Path::new("node_modules/.bin/wrangler"));
    wrangler.args(["deploy", "--dry-run", "--outdir", "../target/edge-dry-run"]).current_dir(CRATE);
    steps::run(wrangler.env("WRANGLER_SEND_METRICS", "false").env("CI", "true"))
}

/// The runtime of the npm package.
fn workerd() -> Result<std::path::PathBuf> {
    let folder = Path::new(CRATE).join("node_modules/@cloudflare");
    let found = std::fs::read_dir(&folder).context("npm's packages of edge")?.flatten();
    let found = found.map(|entry| entry.path().join("bin/workerd")).find(|path| path.is_file());
    Ok(found.with_context(|| format!("no workerd in {}", folder.display()))?.canonicalize()?)
}
