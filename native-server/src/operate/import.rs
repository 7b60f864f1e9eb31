//! `nself-sync import`: a user's stream into a store. All of it is read and checked before anything is written, so that
//! what a stream would replace is safe from one that is cut or damaged.

use super::stream::{self, Checked, Lines};
use super::{Place, bar, named, reason};
use crate::config::Config;
use anyhow::{Context, Result, ensure};
use nself_sync_engine::transfer::{Imported, PAGE_BYTES};
use std::fs::File;
use std::io::{Seek, Write};
use std::path::PathBuf;

/// What to import, and whereto.
pub struct Import {
    /// `None`: standard input.
    pub input: Option<PathBuf>,
    /// A host that has the admin routes; `None`: the configured store.
    pub url: Option<String>,
}

impl Import {
    /// Does it to the end, and says what is in.
    pub async fn run(self, config: &Config) -> Result<()> {
        let mut file = match &self.input {
            Some(path) => File::open(path).with_context(|| format!("--input {}", path.display()))?,
            None => {
                let mut file = tempfile::tempfile()?;
                std::io::copy(&mut std::io::stdin(), &mut file).context("stdin")?;
                file
            }
        };
        let checked = stream::check(&mut file).context("nothing was imported")?;
        let mut place = Place::open_or_make(config, self.url.as_deref()).await?;
        let done = take_in(&mut place, &checked, &mut file).await;
        place.close().await;
        done.with_context(|| named(&checked.user))?;
        let Checked { user, lines, hash, .. } = checked;
        let line = format!("{}: {lines} lines are in, state hash {hash}; served from here on", named(&user));
        writeln!(std::io::stderr(), "{line}").context("stderr")
    }
}

pub(super) async fn take_in(place: &mut Place, checked: &Checked, file: &mut File) -> Result<()> {
    file.rewind()?;
    let bar = bar("imported", checked.bytes);
    let mut lines = Lines::new(file);
    let (mut batch, mut count, mut imported) = (String::new(), 0, Imported { lines: 0, is_done: false });
    loop {
        let line = lines.next_line()?;
        let is_full = line.is_none_or(|line| batch.len() + line.len() > PAGE_BYTES);
        if is_full && count > 0 {
            let first = imported.lines + 1;
            imported = match place {
                Place::Store(store) => store.import(&checked.user, first, &batch).await.map_err(reason)?,
                Place::Remote(remote) => remote.import(&checked.user, first, &batch)?,
            };
            ensure!(
                imported.lines == first + count - 1,
                "{} lines are in, not as many as sent",
                imported.lines
            );
            bar.inc(batch.len() as u64);
            batch.clear();
            count = 0;
        }
        let Some(line) = line else { break };
        batch.push_str(line);
        count += 1;
    }
    ensure!(imported.lines == checked.lines, "{} of {} lines are in", imported.lines, checked.lines);
    Ok(())
}
