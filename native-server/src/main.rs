//! `nself-sync`: the engine behind HTTP, on embedded SQLite or on PostgreSQL.
//!
//! `config` → `store` → `serve`: a start reads the configuration, opens the store, migrates it, then listens. What a
//! request means is the engine's business: a handler in [`http`] reads it through `wire`, hands the call to the
//! [`store`], which runs the engine's decision inside one transaction, and sends the reply as it is. No SQL outside
//! `store/`, no rule of the protocol anywhere in this crate.

mod cli;
mod config;
mod http;
mod jwt;
mod live;
mod log;
mod metrics;
mod operate;
mod outbox;
mod serve;
mod store;
mod traces;

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line, whatever is below it: operators and their tools read the last line of a failed start.
            let line = log::causes(&error).replace('\n', " ");
            // Nothing is left to tell it to where stderr is closed.
            let _ = writeln!(std::io::stderr(), "nself-sync: {line}");
            ExitCode::FAILURE
        }
    }
}
