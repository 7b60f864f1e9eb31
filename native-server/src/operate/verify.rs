//! `nself-sync verify`: whether what is stored is sound. It only reads, a bounded part at a time.

use super::{count, named, spinner};
use crate::config::Config;
use crate::store::{Reader, Snapshot};
use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use nself_sync_engine::ids::{Hash, User};
use nself_sync_engine::slice::{Head, Standing};
use nself_sync_engine::verify;
use std::io::Write;

/// Users that are listed at once.
const USERS_MAX: u32 = 100;

/// Questions that are answered at once. Each needs a content with its patches at most.
const QUESTIONS_MAX: usize = 32;

/// Looks at one user, whose state hash it prints then, or at all.
pub async fn verify(config: &Config, user: Option<User>) -> Result<()> {
    crate::log::start(config.log_level, None);
    let store = Reader::open(config).await?;
    let bar = spinner("rows looked at");
    let mut findings = 0;
    let users = match &user {
        Some(user) => {
            findings += verify_user(&store, user, &bar, true).await?;
            1
        }
        None => {
            let (mut users, mut last) = (0, None);
            loop {
                let mut snapshot = store.snapshot().await?;
                let page = snapshot.users(last.as_ref(), USERS_MAX).await?;
                snapshot.end().await?;
                for user in &page {
                    findings += verify_user(&store, user, &bar, false).await?;
                    users += 1;
                }
                last = page.into_iter().next_back();
                if last.is_none() {
                    break users;
                }
            }
        }
    };
    bar.finish_and_clear();
    store.close().await;
    let users = count(users, "user");
    match findings {
        0 => say(&format!("{users}: everything is sound")),
        _ => bail!("{users}: {}", count(findings, "finding")),
    }
}

/// How many findings there are, each of which is printed.
async fn verify_user(store: &Reader, user: &User, bar: &ProgressBar, says_hash: bool) -> Result<u64> {
    let mut snapshot = store.snapshot().await?;
    let Some(head) = snapshot.head(user).await? else {
        // Of a user who was listed: erased since.
        return if says_hash { bail!("{}: no such user", named(user)) } else { Ok(0) };
    };
    if head.standing == Standing::Importing {
        snapshot.end().await?;
        bar.suspend(|| say(&format!("{}: an import is under way, not looked at", named(user))))?;
        return Ok(0);
    }
    let mut findings = 0;
    match rows(&mut snapshot, user, &head, bar, &mut findings).await {
        Ok(hash) if says_hash => bar.suspend(|| say(&format!("{}: state hash {hash}", named(user))))?,
        Ok(_) => {}
        // The rest of this user cannot be looked at, the others can. The connection may not be good any more.
        Err(error) => {
            findings += 1;
            bar.suspend(|| say(&format!("{}: {error:#}", named(user))))?;
            return Ok(findings);
        }
    }
    snapshot.end().await?;
    Ok(findings)
}

async fn rows(
    snapshot: &mut Snapshot<'_>,
    user: &User,
    head: &Head,
    bar: &ProgressBar,
    findings: &mut u64,
) -> Result<Hash> {
    let mut verify = verify::Verify::begin(user, head);
    loop {
        let records = snapshot.rows_after(user, &verify.place()).await?;
        if records.is_empty() {
            break;
        }
        let questions: Vec<_> = records.iter().flat_map(|record| verify.questions(record)).collect();
        for questions in questions.chunks(QUESTIONS_MAX) {
            let scopes: Vec<_> = questions.iter().map(|question| &question.scope).collect();
            for (question, slice) in questions.iter().zip(snapshot.load(user, &scopes).await?) {
                verify.answer(question, &slice);
            }
        }
        *findings += tell(&mut verify, user, bar)?;
        bar.inc(records.len() as u64);
    }
    let hash = verify.finish();
    *findings += tell(&mut verify, user, bar)?;
    Ok(hash)
}

fn tell(verify: &mut verify::Verify, user: &User, bar: &ProgressBar) -> Result<u64> {
    let findings = verify.take_findings();
    for finding in &findings {
        bar.suspend(|| say(&format!("{}: {}", named(user), finding.0)))?;
    }
    Ok(findings.len() as u64)
}

fn say(line: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{line}").context("stdout")
}
