//! The network: what is on its way, and when it arrives.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::host::{Answer, Auth};
use super::rng::Rng;

/// Something on its way.
#[derive(Debug, Clone)]
pub enum Message {
    /// A client's push, with the client's number for it.
    Push { client: usize, auth: Auth, body: Arc<Value>, number: u64 },
    /// A client's pull, with the client's number for it.
    Pull { client: usize, auth: Auth, query: String, number: u64 },
    /// The answer to a push.
    Pushed { client: usize, body: Arc<Value>, answer: Answer, number: u64 },
    /// The answer to a pull.
    Pulled { client: usize, answer: Answer, number: u64 },
}

/// See the module.
#[derive(Debug, Default)]
pub struct Net {
    queue: BTreeMap<(u64, u64), Message>,
    count: u64,
    /// Of a hundred messages so many are lost.
    pub lost_percent: usize,
    /// And so many delivered twice.
    pub twice_percent: usize,
    /// The longest usual delay.
    pub delay_ms_max: u64,
}

impl Net {
    /// Sends a message. It may be lost, late, or arrive twice.
    pub fn send(&mut self, rng: &mut Rng, now: u64, message: Message) {
        if rng.percent(self.lost_percent) {
            return;
        }
        if rng.percent(self.twice_percent) {
            let late = now + rng.ms(self.delay_ms_max * 20);
            self.put(late, message.clone());
        }
        let delay = rng.ms(self.delay_ms_max);
        self.put(now + delay, message);
    }

    /// The next message that is due.
    pub fn arrive(&mut self, now: u64) -> Option<Message> {
        let first = self.queue.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// When the next message is due.
    pub fn next_at(&self) -> Option<u64> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    fn put(&mut self, at: u64, message: Message) {
        self.count += 1;
        self.queue.insert((at, self.count), message);
    }
}
