//! The admin routes of a host that has no command line of its own: the edge. Every request may be sent again.

use crate::config::Config;
use crate::operate::spinner;
use anyhow::{Context, Result, anyhow, bail};
use nself_sync_engine::ids::User;
use nself_sync_engine::transfer::Imported;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::fs::File;
use std::io::{Seek, Write};
use std::thread::sleep;
use std::time::Duration;
use ureq::Agent;
use ureq::http::{Request, Response};

/// How often a request is sent, and an export begun, before the operator is told.
const TRIES_MAX: u32 = 5;

/// The longest that one request may take.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The most that a page may have: see `transfer::PAGE_BYTES`, and one line that is larger.
const PAGE_BYTES_MAX: u64 = 256 << 20;

/// A host, and the right to command it.
pub struct Remote {
    agent: Agent,
    url: String,
    token: String,
}

/// A page, and what its headers say.
struct Page {
    lines: Vec<u8>,
    next: Option<String>,
    at: String,
}

impl Remote {
    /// At this URL, with PLUGIN_SYNC_ADMIN_TOKEN.
    pub fn new(url: &str, config: &Config) -> Result<Remote> {
        let Some(token) = config.admin_token.clone() else {
            bail!(
                "PLUGIN_SYNC_ADMIN_TOKEN is not set: --url needs the token that the host was configured with"
            );
        };
        let is_local = ["http://127.0.0.1", "http://localhost", "http://[::1]"].iter().any(|local| {
            url.strip_prefix(local).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
        });
        if !url.starts_with("https://") && !is_local {
            bail!(
                "--url: allowed is https://…, or http:// to this machine: the token and all contents go there"
            );
        }
        let config = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .max_redirects(0)
            .build();
        let url = url.trim_end_matches('/').to_owned();
        Ok(Remote { agent: Agent::new_with_config(config), url, token })
    }

    /// Writes the user's stream to a file. Where the user is written between two pages it begins anew.
    pub fn export(&self, user: &User, moves: bool, file: &mut File) -> Result<()> {
        let bar = spinner("bytes exported");
        for _ in 0..TRIES_MAX {
            file.rewind()?;
            file.set_len(0)?;
            bar.reset();
            let (mut at, mut cursor) = (None, None);
            loop {
                let page = self.page(user, moves, cursor.as_deref())?;
                if *at.get_or_insert_with(|| page.at.clone()) != page.at {
                    break;
                }
                file.write_all(&page.lines)?;
                bar.inc(page.lines.len() as u64);
                cursor = page.next;
                if cursor.is_none() {
                    return Ok(());
                }
            }
        }
        bail!("the user was written while it was read, {TRIES_MAX} times: try when it is quiet, or --move it")
    }

    /// The user is served there again.
    pub fn undo_move(&self, user: &User) -> Result<()> {
        self.send("POST", &self.path("undo-move", user, ""), "").map(drop)
    }

    /// Takes in a batch of lines, the first of which has this number.
    pub fn import(&self, user: &User, first: u64, lines: &str) -> Result<Imported> {
        let response = self.send("POST", &self.path("import", user, &format!("&line={first}")), lines)?;
        let body: Value = serde_json::from_slice(&body(response)?).context("the host's answer")?;
        let lines = body.get("lines").and_then(Value::as_u64).context("the host's answer has no lines")?;
        Ok(Imported { lines, is_done: false })
    }

    /// Drops everything of the user there. Says whether there was anything.
    pub fn erase(&self, user: &User) -> Result<bool> {
        let status = self.send("DELETE", &self.path("user", user, ""), "")?.status().as_u16();
        Ok(status != 404)
    }

    fn page(&self, user: &User, moves: bool, cursor: Option<&str>) -> Result<Page> {
        let mut more = if moves { "&move=1".to_owned() } else { String::new() };
        if let Some(cursor) = cursor {
            more.push_str(&format!("&cursor={}", encode(cursor)));
        }
        let response = self.send("GET", &self.path("export", user, &more), "")?;
        let header = |name: &str| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let at = header("nself-sync-at").context("the host's answer has no nself-sync-at")?;
        let next = header("nself-sync-next");
        Ok(Page { lines: body(response)?, next, at })
    }

    fn path(&self, route: &str, user: &User, more: &str) -> String {
        let (account, id) = (encode(&user.account), encode(&user.id));
        format!("{}/admin/{route}?account={account}&user={id}{more}", self.url)
    }

    /// Sends a request until it is answered with other than "come again". A 404 of DELETE is an answer.
    fn send(&self, method: &str, url: &str, lines: &str) -> Result<Response<ureq::Body>> {
        let mut failure = anyhow!("no answer");
        for tries in 0..TRIES_MAX {
            if tries > 0 {
                sleep(Duration::from_millis(500) * 2_u32.pow(tries));
            }
            let request = Request::builder()
                .method(method)
                .uri(url)
                .header("authorization", format!("Bearer {}", self.token))
                .header("content-type", "application/x-ndjson");
            let answer = match method {
                "POST" => self.agent.run(request.body(lines.to_owned())?),
                _ => self.agent.run(request.body(())?),
            };
            match answer {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) if method == "DELETE" && response.status() == 404 => return Ok(response),
                Ok(response) => {
                    let is_again = response.status() == 429 || response.status().is_server_error();
                    failure = refusal(response);
                    if !is_again {
                        return Err(failure);
                    }
                }
                Err(error) => failure = anyhow::Error::from(error).context("the host does not answer"),
            }
        }
        Err(failure)
    }
}

fn body(mut response: Response<ureq::Body>) -> Result<Vec<u8>> {
    let reader = response.body_mut().with_config().limit(PAGE_BYTES_MAX);
    reader.read_to_vec().context("the host's answer")
}

/// What the host said, in its own words.
fn refusal(response: Response<ureq::Body>) -> anyhow::Error {
    let status = response.status();
    let problem: Value =
        body(response).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    match problem.get("detail").and_then(Value::as_str) {
        Some(detail) => anyhow!("the host answered {status}: {detail}"),
        None => anyhow!("the host answered {status}"),
    }
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests;
