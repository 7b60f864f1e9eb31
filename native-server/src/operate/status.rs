//! `nself-sync status`: how much there is of everything.

use crate::config::Config;
use crate::store::{Reader, Status};
use anyhow::{Context, Result};
use nself_sync_engine::wire::timestamp;
use std::io::Write;

/// Prints it, a line each. It only reads.
pub async fn status(config: &Config) -> Result<()> {
    crate::log::start(config.log_level, None);
    let store = Reader::open(config).await?;
    let (status, migrations, kind) = (store.status().await?, store.migrations().await?, store.kind());
    store.close().await;
    let Status {
        users,
        moved,
        importing,
        devices,
        conflicts_open,
        bytes,
        oldest_delta,
        events,
        dead_letters,
    } = status;
    let lines = [
        ("store", kind.to_owned()),
        ("migrations", format!("{} of {}", migrations.applied, migrations.expected)),
        ("bytes stored", bytes.to_string()),
        ("users", users.to_string()),
        ("users moved away", moved.to_string()),
        ("users being imported", importing.to_string()),
        ("devices", devices.to_string()),
        ("open conflicts", conflicts_open.to_string()),
        ("oldest delta", oldest_delta.map_or("none".to_owned(), timestamp)),
        ("events to deliver", events.to_string()),
        ("events set aside", dead_letters.to_string()),
    ];
    let mut out = std::io::stdout().lock();
    for (name, value) in lines {
        writeln!(out, "{:<22}{value}", format!("{name}:")).context("stdout")?;
    }
    Ok(())
}
