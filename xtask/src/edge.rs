//! The edge: its build by worker-build, and the runtime it is tried and tested in.

use crate::{setup, steps};
use anyhow::{Context, Result, bail};
use std::net::TcpListener;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
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
        ["dev"] => return dev("3830"),
        ["dev", "--port", port] => return dev(port),
        ["test"] => test()?,
        ["deploy", "--dry-run"] => dry_run()?,
        _ => bail!("cargo xtask edge build | dev [--port N] | test | deploy --dry-run"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds `edge/build`: the wasm and its JavaScript.
pub fn build() -> Result<()> {
    let wasm_opt = compile(&[])?;
    // worker-build keeps the functions' names: a fifth of what is deployed.
    let wasm = "edge/build/index_bg.wasm";
    steps::run(Command::new(wasm_opt).args(["--strip-debug", "--strip-target-features", wasm, "-o", wasm]))
}

/// The same by worker-build alone, with more options. Says where wasm-opt is.
fn compile(options: &[&str]) -> Result<PathBuf> {
    setup::edge()?;
    let root = std::env::current_dir()?;
    let tools = root.join(setup::tools::FOLDER).join("bin");
    let npm = root.join("engine/wasm/node_modules");
    let mut build = Command::new(tools.join("worker-build"));
    build.args(["--profile", "wasm"]).args(options).arg(".").current_dir(CRATE);
    // It downloads what it is not given.
    let wasm_opt = npm.join("binaryen/bin/wasm-opt");
    build.env("WASM_BINDGEN_BIN", tools.join("wasm-bindgen"));
    build.env("WASM_OPT_BIN", &wasm_opt).env("ESBUILD_BIN", npm.join(".bin/esbuild"));
    build.env("CARGO_ENCODED_RUSTFLAGS", steps::without_paths(&[])?);
    steps::run(&mut build)?;
    Ok(wasm_opt)
}

/// Builds it, and becomes workerd with it, on local disk.
fn dev(port: &str) -> Result<ExitCode> {
    // The build takes minutes: what would make it useless is said before.
    if std::env::var("HASURA_GRAPHQL_JWT_SECRET").unwrap_or_default().trim().is_empty() {
        bail!(
            "HASURA_GRAPHQL_JWT_SECRET is not set: nothing would verify users' tokens (any 32 bytes or more will do)"
        );
    }
    let number: NonZeroU16 = port.parse().with_context(|| format!("--port {port}: allowed is 1 to 65535"))?;
    TcpListener::bind(("127.0.0.1", number.get())).with_context(|| format!("--port {port}"))?;
    // What makes it small takes a minute at every start, and only a deploy needs it.
    compile(&["--no-opt"])?;
    std::fs::create_dir_all(STORAGE)?;
    println!("serving on http://127.0.0.1:{port} until Ctrl-C; what is stored is in {STORAGE}");
    let mut workerd = Command::new(workerd()?);
    workerd.args(["serve", "workerd.capnp", "--experimental"]).current_dir(CRATE);
    workerd.arg(format!("--socket-addr=http=127.0.0.1:{port}"));
    workerd.arg(format!("--directory-path=storage={}", Path::new(STORAGE).canonicalize()?.display()));
    steps::become_it(workerd)
}

/// Where the time of a push goes, from a build that has the functions' names.
pub fn share() -> Result<()> {
    compile(&["--no-opt"])?;
    steps::run(Command::new("node").args([
        "--experimental-websocket",
        "--no-warnings",
        "tests/e2e/edge-share.mjs",
    ]))
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
fn workerd() -> Result<PathBuf> {
    let folder = Path::new(CRATE).join("node_modules/@cloudflare");
    let found = std::fs::read_dir(&folder).context("npm's packages of edge")?.flatten();
    let found = found.map(|entry| entry.path().join("bin/workerd")).find(|path| path.is_file());
    Ok(found.with_context(|| format!("no workerd in {}", folder.display()))?.canonicalize()?)
}
