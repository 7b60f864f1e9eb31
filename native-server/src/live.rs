//! Live connections: who listens, and what waits to be sent to each. In memory only: who misses something pulls.

#[cfg(test)]
mod tests;

use axum::extract::ws::Utf8Bytes;
use nself_sync_engine::event::{Ended, News};
use nself_sync_engine::ids::User;
use nself_sync_engine::wire;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Connections of one device and of one user.
pub const DEVICE_MAX: usize = 8;
pub const USER_MAX: usize = 64;

/// Messages that wait for one connection; beyond, one that says to pull takes their place.
const WAITING_MAX: usize = 32;

/// All live connections of this process.
#[derive(Default)]
pub struct Hub {
    state: Mutex<State>,
    /// Somebody left.
    left: Notify,
    /// Something was told.
    told: Notify,
}

#[derive(Default)]
struct State {
    users: HashMap<User, Vec<Arc<Inbox>>>,
    is_stopping: bool,
}

/// What waits for one connection.
struct Inbox {
    device_id: String,
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Default)]
struct Waiting {
    messages: VecDeque<Utf8Bytes>,
    must_pull: bool,
    must_prove: bool,
    end: Option<End>,
}

/// Why a connection is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its device was removed.
    Removed,
    /// Its user was moved to another host.
    Moved,
    /// Its user was erased.
    Erased,
    /// The server stops.
    Stopping,
}

/// What a connection does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Sends this.
    Message(Utf8Bytes),
    /// Looks whether its token is still good.
    Prove,
    /// Ends.
    End(End),
}

/// A connection's place, until it is dropped.
pub struct Seat {
    hub: Arc<Hub>,
    user: User,
    inbox: Arc<Inbox>,
}

impl Hub {
    /// A place for a connection of this device.
    ///
    /// # Errors
    /// The most that the device, or the user, may have.
    pub fn join(self: &Arc<Hub>, user: &User, device_id: &str) -> Result<Seat, usize> {
        let mut state = self.state();
        let end = state.is_stopping.then_some(End::Stopping);
        let seats = state.users.entry(user.clone()).or_default();
        if seats.iter().filter(|inbox| inbox.device_id == device_id).count() >= DEVICE_MAX {
            return Err(DEVICE_MAX);
        }
        if seats.len() >= USER_MAX {
            return Err(USER_MAX);
        }
        let waiting = Mutex::new(Waiting { end, ..Waiting::default() });
        let inbox = Arc::new(Inbox { device_id: device_id.to_owned(), waiting, changed: Notify::new() });
        seats.push(Arc::clone(&inbox));
        Ok(Seat { hub: Arc::clone(self), user: user.clone(), inbox })
    }

    /// Tells a durable commit's news to the user's connections; events not to those of the device that made them.
    pub fn tell(&self, user: &User, news: &News) {
        if !news.events.is_empty() {
            self.told.notify_one();
        }
        let seats = self.seats(user);
        for event in &news.events {
            let mut others = seats.iter().filter(|inbox| inbox.device_id != event.by).peekable();
            if others.peek().is_some() {
                let message = Utf8Bytes::from(wire::event(event, user).to_string());
                others.for_each(|inbox| inbox.add(message.clone()));
            }
        }
        match &news.ended {
            Some(Ended::Removed(id)) => of_device(&seats, id).for_each(|inbox| inbox.end(End::Removed)),
            Some(Ended::Replaced(id)) => of_device(&seats, id).for_each(|inbox| inbox.prove()),
            None => {}
        }
    }

    /// Waits until something is told, or was since it was last waited for. For one who waits.
    pub async fn news(&self) {
        self.told.notified().await;
    }

    /// How many connections there are.
    pub fn count(&self) -> usize {
        self.state().users.values().map(Vec::len).sum()
    }

    /// Who listens.
    pub fn users(&self) -> Vec<User> {
        self.state().users.keys().cloned().collect()
    }

    /// Ends all connections of this user.
    pub fn end(&self, user: &User, end: End) {
        self.seats(user).iter().for_each(|inbox| inbox.end(end));
    }

    /// Something happened to this user that cannot be told.
    pub fn must_pull(&self, user: &User) {
        self.seats(user).iter().for_each(|inbox| inbox.must_pull());
    }

    /// Anything may have happened to anybody.
    pub fn must_look(&self) {
        for inbox in self.state().users.values().flatten() {
            inbox.must_pull();
            inbox.prove();
        }
    }

    /// Ends all connections, also those that come later.
    pub fn stop(&self) {
        let mut state = self.state();
        state.is_stopping = true;
        state.users.values().flatten().for_each(|inbox| inbox.end(End::Stopping));
    }

    /// Waits until there are none.
    pub async fn emptied(&self) {
        loop {
            let left = self.left.notified();
            if self.state().users.is_empty() {
                return;
            }
            left.await;
        }
    }

    fn seats(&self, user: &User) -> Vec<Arc<Inbox>> {
        self.state().users.get(user).cloned().unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn of_device<'a>(seats: &'a [Arc<Inbox>], id: &'a str) -> impl Iterator<Item = &'a Arc<Inbox>> {
    seats.iter().filter(move |inbox| inbox.device_id == id)
}

impl Seat {
    /// Waits for what is next. Dropped before it is there, nothing is lost.
    pub async fn next(&self) -> Next {
        loop {
            if let Some(next) = self.inbox.waiting().take() {
                return next;
            }
            self.inbox.changed.notified().await;
        }
    }

    /// Waits until the connection is to end, whatever else waits.
    pub async fn ended(&self) -> End {
        loop {
            if let Some(end) = self.inbox.waiting().end {
                return end;
            }
            self.inbox.changed.notified().await;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.hub.state();
        if let Some(seats) = state.users.get_mut(&self.user) {
            seats.retain(|inbox| !Arc::ptr_eq(inbox, &self.inbox));
            if seats.is_empty() {
                state.users.remove(&self.user);
            }
        }
        drop(state);
        self.hub.left.notify_waiters();
    }
}

impl Inbox {
    fn add(&self, message: Utf8Bytes) {
        self.change(|waiting| {
            if waiting.messages.len() == WAITING_MAX {
                waiting.collapse();
            }
            // What waits as a pull covers this as well.
            if !waiting.must_pull {
                waiting.messages.push_back(message);
            }
        });
    }

    fn must_pull(&self) {
        self.change(Waiting::collapse);
    }

    fn prove(&self) {
        self.change(|waiting| waiting.must_prove = true);
    }

    fn end(&self, end: End) {
        self.change(|waiting| waiting.end = Some(end));
    }

    fn change(&self, change: impl FnOnce(&mut Waiting)) {
        change(&mut self.waiting());
        self.changed.notify_one();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn collapse(&mut self) {
        self.messages.clear();
        self.must_pull = true;
    }

    fn take(&mut self) -> Option<Next> {
        if let Some(end) = self.end {
            return Some(Next::End(end));
        }
        if std::mem::take(&mut self.must_prove) {
            return Some(Next::Prove);
        }
        if std::mem::take(&mut self.must_pull) {
            return Some(Next::Message(Utf8Bytes::from(wire::must_pull().to_string())));
        }
        self.messages.pop_front().map(Next::Message)
    }
}
