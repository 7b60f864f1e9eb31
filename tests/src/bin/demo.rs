//! `cargo xtask demo`: starts the server with nothing configured and plays two devices through it.
#![allow(clippy::print_stdout)]

use anyhow::{Context, Result};
use clap::Parser;
use nself_sync_tests::demo;
use nself_sync_tests::hosts::native::send_signal;
use nself_sync_tests::replay::{Target, run_id};
use nself_sync_tests::server::{Server, Start};
use std::path::PathBuf;

/// Two devices on a server of their own: real work, a merge, a conflict, and coming back from offline.
#[derive(Parser)]
struct Args {
    /// Leaves the server up, on port 3829 (or PORT), until Ctrl-C
    #[arg(long)]
    serve: bool,
    /// The port with --serve
    #[arg(long, env = "PORT", default_value_t = 3829, hide_env = true)]
    port: u16,
    /// A recorded editing trace, .json or .json.gz, as the real work
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Stores in this PostgreSQL database instead of SQLite
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
}

/// The web demo, where it is built.
const PAGE: &str = "web-demo/dist";

fn main() -> Result<()> {
    let args = Args::parse();
    let port = if args.serve { args.port } else { 0 };
    let page = PathBuf::from(PAGE);
    let demo = (args.serve && page.join("index.html").is_file()).then_some(page);
    // Whoever looks at two devices side by side does not want to wait five seconds.
    let vars = demo.iter().map(|_| ("PLUGIN_SYNC_PUSH_INTERVAL_MS".to_owned(), "1000".to_owned())).collect();
    let start = Start { dev: true, port, database_url: args.postgres, vars, demo };
    let mut server = Server::start(&start)?;
    let store = if start.database_url.is_some() { "PostgreSQL" } else { "embedded SQLite" };
    println!("nself-sync is up on {} with {store}, nothing configured.\n", server.url);

    let jwt = server.jwt("dev")?;
    let target = Target { url: server.url.clone(), jwt: jwt.clone(), run: run_id() };
    demo::play(&target, args.trace.as_deref(), &mut std::io::stdout())?;

    if args.serve {
        println!(
            "\nThe server stays up until Ctrl-C. To see for yourself:\n\n{}",
            demo::curl(&server.url, &jwt)
        );
        if start.demo.is_some() {
            let url = &server.url;
            println!(
                "\nOr open two devices in your browser, side by side:\n\n{url}/demo/#token={jwt}&user=dev&view=two"
            );
        }
        let pid = server.pid();
        ctrlc::set_handler(move || send_signal(pid, "TERM")).context("Ctrl-C cannot be caught")?;
        server.wait()
    } else {
        println!(
            "\nThis server ends here. To see for yourself: cargo xtask demo --serve leaves it up, with a page of two devices for"
        );
        println!(
            "your browser and a token; then also\n\n{}",
            demo::curl("http://127.0.0.1:3829", "'<that token>'")
        );
        server.stop().map(|_| ())
    }
}
