//! `cargo run -p nself-sync-tests --bin schema -- SCHEMATHESIS`: holds running servers to docs/openapi.json. The program
//! named makes requests of all kinds from the document; an answer that the document does not have, and any 5xx, fails.
#![allow(clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use nself_sync_tests::hosts::Launch;
use nself_sync_tests::hosts::native::Native;
use nself_sync_tests::hosts::postgres::Cluster;
use nself_sync_tests::world::World;
use serde_json::{Value, json};

/// What is looked at. Not whether each invalid item is refused: a push with one bad item is accepted, by intent.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance,unsupported_method,\
                      allow_header_conformance,ignored_auth";

#[derive(Parser)]
struct Args {
    /// The schemathesis program.
    program: PathBuf,
    /// How long each of the four runs takes: by the user's token and by a device's, on SQLite and on PostgreSQL.
    #[arg(long, default_value_t = 40)]
    seconds: u64,
    /// Makes other requests.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the root")?;
    let cluster = Arc::new(Cluster::start()?);
    let launches: [Arc<dyn Launch>; 2] =
        [Arc::new(Native::sqlite()), Arc::new(Native::postgres(Arc::clone(&cluster)))];
    for launch in launches {
        let mut answered = BTreeMap::new();
        for (by, block) in [("user", "device"), ("device", "file")] {
            let vars = [("LOG_LEVEL", "debug"), ("PLUGIN_SYNC_CONFLICT_BLOCK", block)];
            let host = launch.start(&vars)?;
            let world = World::new(Arc::clone(&host), Arc::clone(&launch));
            let mut device = world.device("desktop-1");
            device
                .push(json!({"active_file": "f", "context_pages": {"p": {"title": "t", "content": "c\n"}}}));
            let token = if by == "user" { world.jwt() } else { device.auth() };
            let native = host.native().context("a server process")?;
            println!("{} as {by}", host.name());
            run(&args, root, &format!("http://{}", native.address()), &token, by)?;
            host.stop()?;
            count(&native.log(), &mut answered);
        }
        check(root, &answered)?;
    }
    Ok(())
}

fn run(args: &Args, root: &Path, url: &str, token: &str, by: &str) -> Result<()> {
    let limit = Duration::from_secs(args.seconds);
    let output = Command::new(std::path::absolute(&args.program)?)
        .arg("run")
        .arg(root.join("docs/openapi.json"))
        .args(["--url", url, "--header", &format!("Authorization: Bearer {token}"), "--checks", CHECKS])
        .args(["--seed", &args.seed.to_string(), "--max-time", &limit.as_secs().to_string()])
        .args(["--no-shrink", "--warnings", "off", "--request-timeout", "20"])
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("PYTHONPATH", root.join("tests/schema"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("NSELF_SYNC_BY", by)
        .env("NSELF_SYNC_DEVICE", "desktop-1")
        .current_dir(std::env::temp_dir())
        .output()
        .with_context(|| args.program.display().to_string())?;
    if !output.status.success() {
        std::io::stdout().write_all(&output.stdout)?;
        std::io::stderr().write_all(&output.stderr)?;
        bail!("schemathesis found something");
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let tested = text.lines().find(|line| line.contains(" generated, ")).context("its count of cases")?;
    println!("{}", tested.trim());
    Ok(())
}

/// Adds up the answers in a server's log, by route and status.
fn count(log: &str, answered: &mut BTreeMap<(String, u64), u64>) {
    for line in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        if let (Some(method), Some(route), Some(status)) =
            (line["method"].as_str(), line["route"].as_str(), line["status"].as_u64())
        {
            *answered.entry((format!("{method} {route}"), status)).or_default() += 1;
        }
    }
}

/// That every operation got past its checks: a run whose requests were all refused would have shown nothing.
fn check(root: &Path, answered: &BTreeMap<(String, u64), u64>) -> Result<()> {
    let document: Value = serde_json::from_str(&std::fs::read_to_string(root.join("docs/openapi.json"))?)?;
    let paths = document["paths"].as_object().context("paths")?;
    let mut lacking = BTreeSet::new();
    for (path, operations) in paths {
        for method in operations.as_object().context("operations")?.keys() {
            let name = format!("{} {path}", method.to_uppercase());
            // The program speaks no WebSocket: to be told so is as far as it comes.
            let good = |status: u64| status < 300 || path == "/sync/live" && status == 426;
            let mut statuses = answered.iter().filter(|((route, _), _)| *route == name);
            if !statuses.any(|((_, status), _)| good(*status)) {
                lacking.insert(name);
            }
        }
    }
    for ((route, status), count) in answered.iter().filter(|((route, _), _)| route.contains("push")) {
        println!("  {route}: {count} × {status}");
    }
    ensure!(lacking.is_empty(), "never answered in earnest: {lacking:?}");
    Ok(())
}
