//! What it costs to be told at once: from a push to the hint on another device, connections that idle, events on their way
//! to a webhook, and pushes beside all of it.

mod hint;
mod idle;
mod listen;
mod outbox;
mod slowdown;

use super::Figure;
use crate::hosts::postgres::Cluster;
use crate::server::{Server, Start};
use anyhow::{Context, Result};

/// What a normal load is taken to be, in pushes a second.
const RATE: u32 = 200;

/// Where a webhook is told to the server.
const WEBHOOK: &str = "PLUGIN_WEBHOOKS_INTERNAL_URL";

/// All of them.
pub fn run() -> Result<Vec<Figure>> {
    let cluster = Cluster::start()?;
    let mut figures = Vec::new();
    for (name, part) in [
        ("hints", hint::run as fn(&Cluster) -> Result<Vec<Figure>>),
        ("idle connections", |_| idle::run()),
        ("outbox", outbox::run),
        ("slowdown", slowdown::run),
    ] {
        figures.push(Figure::new(format!("load of the machine before {name}"), load()?, "running"));
        figures.extend(part(&cluster)?);
    }
    Ok(figures)
}

/// A server as it is installed, but for the limits; `None`: on SQLite.
fn start(database_url: Option<&String>, vars: &[(&str, &str)]) -> Result<Server> {
    let vars = [("LOG_LEVEL", "info")].iter().chain(vars);
    Server::start(&Start {
        database_url: database_url.cloned(),
        vars: vars.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..Start::default()
    })
}

/// The mean number of processes that ran or wanted to, of the last minute.
fn load() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').next().context("a load")?.parse()?)
}
