//! `nself-sync export`: a user's stream into a file. Nobody sees a part of one: it becomes the file, or goes to the output,
//! when it is whole.

use super::stream::{self, Checked};
use super::{Place, named, reason, spinner};
use crate::config::Config;
use crate::store::{Snapshot, Store};
use anyhow::{Context, Result, anyhow, bail};
use nself_sync_engine::ids::User;
use nself_sync_engine::transfer::{self, Page};
use nself_sync_engine::wire;
use std::fs::File;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// What is to become of the user here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Nothing: this is a copy.
    Stays,
    /// It is served here no more, from before the first row is read.
    Moves,
    /// Only this: it is served here again.
    MovesBack,
}

/// What to export, and whereto.
pub struct Export {
    /// Whose rows.
    pub user: User,
    /// See [`Mark`].
    pub mark: Mark,
    /// `None`: standard output.
    pub output: Option<PathBuf>,
    /// A host that has the admin routes; `None`: the configured store.
    pub url: Option<String>,
}

impl Export {
    /// Does it to the end, and says what was written.
    pub async fn run(self, config: &Config) -> Result<()> {
        let mut place = Place::open(config, self.url.as_deref()).await?;
        let done = self.run_at(&mut place).await;
        place.close().await;
        let line = done.with_context(|| match self.mark {
            Mark::Moves => format!(
                "{}: the copy is not whole; the user may be marked as moved already: export again, or --undo-move",
                named(&self.user)
            ),
            Mark::Stays | Mark::MovesBack => named(&self.user),
        })?;
        writeln!(std::io::stderr(), "{line}").context("stderr")
    }

    async fn run_at(&self, place: &mut Place) -> Result<String> {
        if self.mark == Mark::MovesBack {
            match place {
                Place::Store(store) => store.undo_move(&self.user).await.map_err(reason)?,
                Place::Remote(remote) => remote.undo_move(&self.user)?,
            }
            return Ok(format!("{} is served here again", named(&self.user)));
        }
        let folder =
            self.output.as_deref().and_then(Path::parent).filter(|path| !path.as_os_str().is_empty());
        // Readable by its owner only: it has contents and the hashes of tokens.
        let mut file = match &self.output {
            Some(_) => NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).context("--output")?,
            None => NamedTempFile::new()?,
        };
        match place {
            Place::Store(store) => self.read_store(store, file.as_file_mut()).await?,
            Place::Remote(remote) => {
                remote.export(&self.user, self.mark == Mark::Moves, file.as_file_mut())?
            }
        }
        let Checked { lines, hash, bytes, .. } = stream::check(file.as_file_mut())?;
        self.hand_over(file)?;
        let moved = if self.mark == Mark::Moves { ", moved away from here" } else { "" };
        Ok(format!("{}: {lines} lines, {bytes} bytes, state hash {hash}{moved}", named(&self.user)))
    }

    async fn read_store(&self, store: &Store, file: &mut File) -> Result<()> {
        if self.mark == Mark::Moves {
            store.mark_moved(&self.user).await.map_err(reason)?;
        }
        let mut snapshot = store.snapshot().await?;
        write(&mut snapshot, &self.user, file).await?;
        snapshot.end().await
    }

    fn hand_over(&self, mut file: NamedTempFile) -> Result<()> {
        match &self.output {
            Some(path) => {
                file.as_file().sync_all()?;
                file.persist(path).with_context(|| format!("--output {}", path.display()))?;
            }
            None => {
                file.as_file_mut().rewind()?;
                std::io::copy(file.as_file_mut(), &mut std::io::stdout()).context("stdout")?;
                std::io::stdout().flush().context("stdout")?;
            }
        }
        Ok(())
    }
}

/// Writes the user's stream to a file, a page at a time.
async fn write(snapshot: &mut Snapshot<'_>, user: &User, file: &mut File) -> Result<()> {
    let Some(head) = snapshot.head(user).await? else { bail!("no such user") };
    transfer::may_export(&head).map_err(|reject| anyhow!(wire::detail(&reject)))?;
    let bar = spinner("bytes exported");
    let mut progress = None;
    loop {
        let mut page = Page::begin(progress.take(), user, &head);
        while page.add(&snapshot.rows_after(user, &page.place()).await?) {}
        let (lines, end) = page.finish();
        file.write_all(lines.as_bytes())?;
        bar.inc(lines.len() as u64);
        match end {
            Ok(_) => return Ok(()),
            Err(next) => progress = Some(next),
        }
    }
}
