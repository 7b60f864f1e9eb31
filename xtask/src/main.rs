//! `cargo xtask <task>`: the only place that knows build steps. Little more than std, so that a fresh
//! machine has it in seconds.
#![allow(clippy::print_stdout)]

mod deny;
mod edge;
mod group;
mod plugin;
mod setup;
mod steps;
mod suites;
mod wasm;

use anyhow::{Result, bail};
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask <task>

  demo [--trace FILE] [--postgres URL]             build the server and play two devices through it
  demo --serve                                     the same, then the web demo in your browser, until Ctrl-C
  test                                             format, clippy, build and every suite
  setup                                            install what the tests need and the machine lacks
  replay [FILE] [options]                          drive a server with a recorded trace, or this git history
  sim [--seed N] [--seeds N]                       the seeded simulation
  bench [merge|decide|pull|push|live|replay|edge|all]
                                                   measure
  bench edge-share                                 where the time of a push on the edge goes, by V8's profile
  bench wasm                                       measure the npm package: its size, its times in Chromium
  edge build | dev [--port N] | test               the edge: build it, run it in workerd, test it there
  edge deploy --dry-run                            what a deploy of it would send, without an account
  plugin                                           the tarball that ɳSelf installs, in target/plugin
  plugin --check | --verify                        the same, and build and start it from itself: quickly, or as the image is
  deny                                             licences, bans, sources and advisories of all dependencies
  wasm [--vectors]                                 build the npm package in engine/wasm; what the wire vectors run on

`cargo xtask replay --help` and the like list a task's own options.";

fn main() -> ExitCode {
    match run(std::env::args().skip(1).collect()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut args: Vec<String>) -> Result<ExitCode> {
    if args.is_empty() {
        println!("{USAGE}");
        return Ok(ExitCode::FAILURE);
    }
    let task = args.remove(0);
    match task.as_str() {
        "setup" => steps::at_root().and_then(|()| setup::all()).map(|()| ExitCode::SUCCESS),
        "test" => steps::at_root().and_then(|()| suites::test()),
        "deny" => {
            steps::at_root()?;
            setup::tools::install_deny()?;
            deny::run().map(|()| ExitCode::SUCCESS)
        }
        "plugin" => {
            let trial = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
                [] => plugin::Trial::None,
                ["--check"] => plugin::Trial::Quick,
                ["--verify"] => plugin::Trial::Full,
                _ => bail!("plugin takes --check or --verify, or nothing"),
            };
            steps::at_root()?;
            setup::install(setup::BUILD)?;
            plugin::run(trial).map(|()| ExitCode::SUCCESS)
        }
        "wasm" => {
            steps::at_root()?;
            setup::wasm()?;
            wasm::package()?;
            if args == ["--vectors"] {
                wasm::vectors()?;
            }
            Ok(ExitCode::SUCCESS)
        }
        "edge" => edge::run(&args),
        "demo" => {
            steps::at_root()?;
            setup::install(setup::BUILD)?;
            if args.iter().any(|arg| arg == "--serve") {
                println!("building the web demo (its tools take some minutes to compile, the first time)");
                setup::wasm()?;
                wasm::package()?;
                steps::run(&mut wasm::page())?;
            }
            steps::with_server("demo", steps::Profile::Dev, &args)
        }
        "replay" => steps::with_server("replay", steps::Profile::Release, &args),
        "sim" => steps::alone("sim", steps::Profile::Release, &args),
        "bench" if args == ["wasm"] => {
            steps::at_root()?;
            setup::browser()?;
            wasm::bench().map(|()| ExitCode::SUCCESS)
        }
        "bench" if args == ["edge-share"] => {
            steps::at_root()?;
            edge::share().map(|()| ExitCode::SUCCESS)
        }
        "bench" => {
            setup::install(setup::SERVER)?;
            if args.is_empty() || matches!(args[0].as_str(), "edge" | "all") {
                steps::at_root()?;
                edge::build()?;
            }
            steps::with_server("bench", steps::Profile::Release, &args)
        }
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        other => bail!("there is no task {other}\n\n{USAGE}"),
    }
}
