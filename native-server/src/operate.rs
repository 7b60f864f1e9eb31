//! What operators do with stored users, on the command line: beside a server that runs, or without one.

mod dead_letters;
mod erase;
mod export;
mod import;
mod remote;
mod rotate;
mod status;
mod stream;
mod verify;

pub use dead_letters::dead_letters;
pub use erase::Erase;
pub use export::{Export, Mark};
pub use import::Import;
pub use rotate::rotate_epoch;
pub use status::status;
pub use verify::verify;

use crate::config::Config;
use crate::store::{Failure, Store};
use anyhow::{Result, anyhow, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use nself_sync_engine::ids::User;
use nself_sync_engine::wire;
use remote::Remote;
use std::time::Duration;

/// Where users are: in the configured store, or at a host that has the admin routes.
enum Place {
    Store(Box<Store>),
    Remote(Remote),
}

impl Place {
    /// Where users are already.
    async fn open(config: &Config, url: Option<&str>) -> Result<Place> {
        match url {
            Some(url) => Ok(Place::Remote(Remote::new(url, config)?)),
            None => Ok(Place::Store(Box::new(open(config).await?))),
        }
    }

    /// Where the first may come.
    async fn open_or_make(config: &Config, url: Option<&str>) -> Result<Place> {
        match url {
            Some(url) => Ok(Place::Remote(Remote::new(url, config)?)),
            None => Ok(Place::Store(Box::new(open_or_make(config).await?))),
        }
    }

    async fn close(self) {
        match self {
            Place::Store(store) => store.close().await,
            Place::Remote(_) => {}
        }
    }
}

/// The configured store, with its schema up to date. It has to be there: a command in another folder than the server's would
/// else find nobody, and say that all is done.
async fn open(config: &Config) -> Result<Store> {
    ensure!(
        Store::is_there(config),
        "PLUGIN_SYNC_DATA_DIR={}: there is no data base in it",
        config.data_dir.display()
    );
    open_or_make(config).await
}

async fn open_or_make(config: &Config) -> Result<Store> {
    crate::log::start(config.log_level, None);
    let store = Store::open(config).await?;
    store.migrate().await?;
    Ok(store)
}

/// Why a store did not do what an operator wanted.
fn reason(failure: Failure) -> anyhow::Error {
    match failure {
        Failure::Reject(reject) => anyhow!(wire::detail(&reject)),
        Failure::Busy => anyhow!("the store has too much to do"),
        Failure::Store(error) | Failure::Broken(error) => error,
    }
}

/// As operators name a user.
fn named(user: &User) -> String {
    format!("user {} of account {}", user.id, user.account)
}

/// So many of them, in words.
fn count(number: u64, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {one}s"),
    }
}

/// What is done, on a terminal.
fn spinner(what: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(what.to_owned());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}: {human_pos} ({elapsed})") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// The same where it is known how much there is to do, in bytes.
fn bar(what: &str, bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(bytes).with_message(what.to_owned());
    if let Ok(style) =
        ProgressStyle::with_template("{msg} {wide_bar} {decimal_bytes} of {decimal_total_bytes}")
    {
        bar.set_style(style);
    }
    bar
}
