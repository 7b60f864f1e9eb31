//! `nself-sync erase`: everything of one user, for ever.

use super::{Place, named, reason};
use crate::config::Config;
use anyhow::{Context, Result, bail, ensure};
use nself_sync_engine::ids::User;
use std::io::{BufRead, IsTerminal, Write};

/// Whom to erase, and where.
pub struct Erase {
    /// Whose rows.
    pub user: User,
    /// In place of the questions: the user's id once more.
    pub yes: Option<String>,
    /// A host that has the admin routes; `None`: the configured store.
    pub url: Option<String>,
}

impl Erase {
    /// Does it to the end, and says what was dropped.
    pub async fn run(self, config: &Config) -> Result<()> {
        match &self.yes {
            Some(yes) => {
                let id = &self.user.id;
                ensure!(
                    yes == id,
                    "--yes {yes}: allowed is the user's id once more, {id}; nothing was erased"
                );
            }
            None if std::io::stdin().is_terminal() => {
                confirm(&self.user, &mut std::io::stdin().lock(), &mut std::io::stderr())?;
            }
            None => bail!("--yes is needed where nobody can be asked: the user's id once more"),
        }
        let mut place = Place::open(config, self.url.as_deref()).await?;
        let done = match &mut place {
            Place::Store(store) => store.erase(&self.user).await.map_err(reason),
            Place::Remote(remote) => remote.erase(&self.user),
        };
        place.close().await;
        let was_there = done.with_context(|| named(&self.user))?;
        ensure!(was_there, "{}: no such user", named(&self.user));
        writeln!(std::io::stderr(), "{}: everything is erased", named(&self.user)).context("stderr")
    }
}

/// Asks twice: whom, and whether.
fn confirm(user: &User, input: &mut impl BufRead, out: &mut impl Write) -> Result<()> {
    let questions = [
        (
            format!("This erases everything of {}, and cannot be undone.\nThe user's id: ", named(user)),
            user.id.as_str(),
        ),
        ("Their state, history, conflicts and devices. Type erase: ".to_owned(), "erase"),
    ];
    for (question, expected) in questions {
        write!(out, "{question}")?;
        out.flush()?;
        let mut answer = String::new();
        input.read_line(&mut answer)?;
        ensure!(answer.trim_end_matches(['\r', '\n']) == expected, "nothing was erased");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(text: &str) -> Result<()> {
        let user = User { account: "primary".to_owned(), id: "u1".to_owned() };
        confirm(&user, &mut text.as_bytes(), &mut Vec::new())
    }

    #[test]
    fn two_right_answers_are_asked_for() {
        assert!(answered("u1\nerase\n").is_ok());
        for text in ["", "u1\n", "u1\nyes\n", "u2\nerase\n", "erase\nu1\n", "u1\n\nerase\n", "u1 \nerase\n"] {
            assert!(answered(text).is_err(), "{text:?}");
        }
    }
}
