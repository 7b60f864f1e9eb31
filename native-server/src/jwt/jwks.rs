//! Keys at a URL: fetched with the first token, kept, and fetched anew when they are old or a token names one that is
//! not among them. A fetch never follows a redirect, and tokens with made-up key ids cause at most one in [`RETRY`].

use super::Key;
use anyhow::{Context, anyhow, bail};
use jsonwebtoken::jwk::JwkSet;
use nself_sync_engine::jwt::Algorithm;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Older keys are fetched anew, in the background.
const FRESH: Duration = Duration::from_secs(600);
/// Older keys are used no more: one that was withdrawn dies at last, and access tokens live for minutes anyway.
const USABLE: Duration = Duration::from_secs(3600);
/// The least time between two fetches.
const RETRY: Duration = Duration::from_secs(10);
/// The longest that a fetch takes.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest key set.
const BYTES_MAX: u64 = 1 << 20;

type Keys = Arc<Vec<Key>>;

/// The keys behind a `jwk_url`.
pub struct KeySet {
    shared: Arc<Shared>,
}

struct Shared {
    url: String,
    /// The only one that is allowed.
    algorithm: Option<Algorithm>,
    agent: ureq::Agent,
    state: Mutex<State>,
    /// Held while fetching, so that one fetch serves all who wait.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Clone, Default)]
struct State {
    keys: Option<(Keys, Instant)>,
    tried: Option<Instant>,
    failure: Option<Arc<anyhow::Error>>,
}

impl KeySet {
    /// The keys at `url`, of one algorithm where it is configured. No IO yet.
    pub fn new(url: &str, algorithm: Option<Algorithm>) -> KeySet {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .max_redirects(0)
            .http_status_as_error(false)
            .build();
        KeySet {
            shared: Arc::new(Shared {
                url: url.to_owned(),
                algorithm,
                agent: ureq::Agent::new_with_config(config),
                state: Mutex::default(),
                fetching: tokio::sync::Mutex::default(),
            }),
        }
    }

    /// The keys, among them the one with this id if there is such a key. The error: there are none to be had.
    pub async fn keys(&self, kid: Option<&str>) -> Result<Keys, Arc<anyhow::Error>> {
        if let Some((keys, at)) = self.shared.usable() {
            let is_known = keys.iter().any(|key| key.is_meant(kid));
            if is_known && at.elapsed() >= FRESH {
                let shared = Arc::clone(&self.shared);
                tokio::spawn(async move { shared.refresh().await });
            }
            if is_known {
                return Ok(keys);
            }
        }
        self.shared.refresh().await;
        let state = self.shared.state();
        let away =
            || state.failure.clone().unwrap_or_else(|| Arc::new(anyhow!("the key set was not fetched")));
        self.shared.usable().map(|(keys, _)| keys).ok_or_else(away)
    }
}

impl Shared {
    fn state(&self) -> State {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn usable(&self) -> Option<(Keys, Instant)> {
        self.state().keys.filter(|(_, at)| at.elapsed() < USABLE)
    }

    /// One fetch, unless there was one just now.
    async fn refresh(self: &Arc<Self>) {
        let _one = self.fetching.lock().await;
        if self.state().tried.is_some_and(|at| at.elapsed() < RETRY) {
            return;
        }
        let shared = Arc::clone(self);
        let fetched = tokio::task::spawn_blocking(move || shared.fetch()).await;
        let fetched = fetched.unwrap_or_else(|error| Err(error.into()));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.tried = Some(Instant::now());
        match fetched {
            Ok(keys) => {
                tracing::info!(keys = keys.len(), "key set fetched");
                (state.keys, state.failure) = (Some((Arc::new(keys), Instant::now())), None);
            }
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "the key set could not be fetched");
                state.failure = Some(Arc::new(error));
            }
        }
    }

    fn fetch(&self) -> anyhow::Result<Vec<Key>> {
        let mut response = self.agent.get(&self.url).call().context("jwk_url")?;
        if response.status() != 200 {
            bail!("jwk_url answered {}", response.status());
        }
        let text = response.body_mut().with_config().limit(BYTES_MAX).read_to_string().context("jwk_url")?;
        let set: JwkSet = serde_json::from_str(&text).context("jwk_url answered no key set")?;
        let keys: Vec<Key> = set.keys.iter().filter_map(|jwk| Key::of(jwk, self.algorithm)).collect();
        if keys.is_empty() {
            bail!("jwk_url has no key of an algorithm that is allowed");
        }
        Ok(keys)
    }
}
