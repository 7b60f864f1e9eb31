//! Sync tokens that proved to be good a moment ago: a device that pushes every few seconds is not asked for its row twice
//! each time. One that was ended meanwhile gets its body read and is refused by the store.

use super::App;
use super::error::Refusal;
use nself_sync_engine::call::{Call, Caller};
use nself_sync_engine::ids::{Hash, User};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a token counts as good.
const GOOD_FOR: Duration = Duration::from_secs(60);

/// Tokens that are remembered; beyond, all are forgotten.
const TOKENS_MAX: usize = 10_000;

type Token = (User, String, Hash);

/// See the module.
#[derive(Default)]
pub(super) struct Tokens(Mutex<HashMap<Token, Instant>>);

impl Tokens {
    fn is_good(&self, token: &Token) -> bool {
        let tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(token).is_some_and(|proved| proved.elapsed() < GOOD_FOR)
    }

    fn add(&self, token: Token) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= TOKENS_MAX {
            tokens.clear();
        }
        tokens.insert(token, Instant::now());
    }
}

impl App {
    /// Whether the token is good, by the device's row. A user's was verified.
    pub(super) async fn prove(&self, caller: &Caller) -> Result<(), Refusal> {
        let Caller::Device { user, device_id, secret } = caller else { return Ok(()) };
        let token = (user.clone(), device_id.clone(), *secret);
        if !self.tokens.is_good(&token) {
            // The call that reads least beside the row.
            self.call(caller.clone(), Call::Config).await?;
            self.tokens.add(token);
        }
        Ok(())
    }
}
