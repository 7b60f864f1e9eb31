//! Delivers events to the webhooks plugin: a few users' turns at once, each in order, while pushes go on.
//!
//! What is sent is in the store, and what became of it goes back there; here is only what is under way. A server that ends
//! in the middle of a turn sends its events again, under the same keys.

use crate::http::App;
use crate::log;
use crate::store::{self, Claim, Whose};
use nself_sync_engine::outbox::{Answer, End, Recorded};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Turns under way at once.
const TURNS_MAX: usize = 16;

/// How long the target may take to answer, and no event of a turn is begun after.
const ANSWER_MAX: Duration = Duration::from_secs(10);
const TURN_MAX: Duration = Duration::from_secs(30);

/// What of an answer is read, and for how long: only its status counts.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
const ANSWER_REST_MAX: Duration = Duration::from_secs(1);

/// How often the store is asked at least, for what other processes have left, and at most.
const ASK_EVERY: Duration = Duration::from_secs(5);
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// How long what ends or is told waits for more of it: a turn costs the store the same whether it is of one event or of many,
/// and pushes wait for the same store. The second where all turns are taken, so that what waits is the target.
const GATHER: Duration = Duration::from_millis(25);
const GATHER_BUSY: Duration = Duration::from_millis(5);

/// Where events go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// The plugin's base URL, without a slash at its end.
    pub url: String,
    /// What it knows this installation's plugins by.
    pub secret: Option<String>,
}

/// The webhooks plugin, as a client sees it.
struct Target {
    agent: ureq::Agent,
    url: String,
    secret: Option<String>,
}

impl Target {
    fn new(webhook: Webhook) -> Target {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(ANSWER_MAX))
            .timeout_recv_body(Some(ANSWER_REST_MAX))
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            // One for each turn: by default all but three would connect anew for every event.
            .max_idle_connections(TURNS_MAX)
            .max_idle_connections_per_host(TURNS_MAX)
            .user_agent(concat!("nself-sync/", env!("CARGO_PKG_VERSION")))
            .build();
        let agent = ureq::Agent::new_with_config(config);
        Target { agent, url: format!("{}/v1/dispatch", webhook.url), secret: webhook.secret }
    }

    /// Sends an event. Nothing came back, or a panic below: it may be taken later.
    fn send(&self, event: &Recorded) -> Answer {
        let sent = catch_unwind(AssertUnwindSafe(|| self.post(&event.id, &event.body())));
        let problem = match sent {
            Ok(Ok(answer)) => return answer,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "a panic".to_owned(),
        };
        tracing::debug!(problem, "the webhook did not answer");
        Answer::Later(None)
    }

    fn post(&self, key: &str, body: &str) -> Result<Answer, ureq::Error> {
        let mut request = self
            .agent
            .post(&self.url)
            .header("Content-Type", "application/json")
            .header("Idempotency-Key", key)
            .header("X-Source-Plugin", "sync");
        if let Some(secret) = &self.secret {
            request = request.header("X-Plugin-Secret", secret);
        }
        let mut response = request.send(body)?;
        let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let answer = Answer::of(response.status().as_u16(), retry_after);
        if answer != Answer::Delivered {
            tracing::debug!(status = response.status().as_u16(), "the webhook did not take an event");
        }
        // Read to its end, the connection serves the next event.
        let _ = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        Ok(answer)
    }
}

/// Delivers what is recorded until `stop` closes, and then what is being sent.
pub async fn deliver(app: Arc<App>, webhook: Webhook, mut stop: watch::Receiver<()>) {
    let target = Arc::new(Target::new(webhook));
    let hub = Arc::clone(app.store.hub());
    let (mut turns, mut is_well) = (JoinSet::new(), true);
    loop {
        let room = TURNS_MAX - turns.len();
        let mut gather = GATHER;
        let wait = match app.store.claim(room).await {
            Ok((claims, next)) => {
                if claims.len() >= room {
                    gather = GATHER_BUSY;
                }
                for claim in claims {
                    let (target, stop) = (Arc::clone(&target), stop.clone());
                    turns.spawn_blocking(move || turn(&target, claim, &stop));
                }
                next.map_or(ASK_EVERY, |next| next.clamp(ASK_AGAIN, ASK_EVERY))
            }
            Err(error) => {
                tracing::warn!(error = log::causes(&error), "the outbox cannot be read");
                ASK_EVERY
            }
        };
        let has_room = turns.len() < TURNS_MAX;
        let ended = tokio::select! {
            Some(ended) = turns.join_next() => Some(ended),
            () = hub.news(), if has_room => None,
            () = sleep(wait), if has_room => None,
            _ = stop.changed() => break,
        };
        sleep(gather).await;
        let ends = ended.into_iter().chain(std::iter::from_fn(|| turns.try_join_next()));
        settle(&app, ends.flatten().collect(), &mut is_well).await;
    }
    let ended = timeout(ANSWER_MAX, turns.join_all()).await;
    settle(&app, ended.unwrap_or_default(), &mut is_well).await;
}

/// One user's events, one after the other.
fn turn(target: &Target, claim: Claim, stop: &watch::Receiver<()>) -> (Whose, End) {
    let Claim { whose, mut turn } = claim;
    let until = Instant::now() + TURN_MAX;
    while let Some(event) = turn.next()
        && Instant::now() < until
        && stop.has_changed().is_ok()
    {
        let answer = target.send(event);
        // Without a clock or randomness: at once, and all at the same time.
        turn.take(answer, store::now().unwrap_or(0), getrandom::u32().unwrap_or(0));
    }
    (whose, turn.end())
}

/// Stores what turns came to. What could not be stored is sent again.
async fn settle(app: &App, ends: Vec<(Whose, End)>, is_well: &mut bool) {
    if ends.is_empty() {
        return;
    }
    let has_failed = ends.iter().any(|(_, end)| end.failures.count > 0);
    let has_delivered = ends.iter().any(|(_, end)| end.failures.count == 0 && !end.done.is_empty());
    if has_failed && *is_well {
        tracing::warn!("the webhook does not take events; they are kept, and tried again");
    } else if has_delivered && !has_failed && !*is_well {
        tracing::info!("the webhook takes events again");
    }
    *is_well = !has_failed && (*is_well || has_delivered);
    match app.store.settle(ends).await {
        Ok(0) => {}
        Ok(dead) => {
            app.metrics.outbox_dead.inc_by(dead);
            tracing::warn!(dead, "events were set aside as dead letters");
        }
        Err(error) => tracing::warn!(error = log::causes(&error), "what was delivered is not noted"),
    }
}
