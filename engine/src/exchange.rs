//! One call's conversation with a store. A host runs it as a sandwich:
//!
//! ```text
//! begin → load(first) → loop { next: Load → load, Commit → apply, Reply → commit and send }
//! ```
//!
//! All loads and the commit of one exchange happen in one transaction (a read only one sees one point in
//! time), with the user's head locked where [`Call::writes`]. What is loaded is what was asked for; what
//! is asked for follows from the request and from what was loaded before, never from the size of the state.

use crate::call::{Call, Caller, Reply};
use crate::commit::{Commit, Touch};
use crate::conflict::{ConflictList, ResolveFlow};
use crate::device;
use crate::error::Reject;
use crate::history::Corrupt;
use crate::ids::{Fresh, Millis};
use crate::lookup::{FileFlow, HistoryFlow};
use crate::outbox;
use crate::policy::Policy;
use crate::pull::PullFlow;
use crate::push::flow::PushFlow;
use crate::slice::{Device, Head, Scope, Slice, Standing};
use serde_json::json;
use std::sync::Arc;

/// What the host does next.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time is alive, on the stack")]
pub enum Step {
    /// Load these rows and call [`Exchange::next`] with them.
    Load(Scope),
    /// Write these rows, in the same transaction, and call [`Exchange::next`] with an empty slice.
    Commit(Box<Commit>),
    /// Commit the transaction, send this. The touch may be written beside it, and may be lost.
    Reply(Reply, Option<Touch>),
}

/// The next rows that a part of an exchange needs, or what it comes to.
#[expect(clippy::large_enum_variant, reason = "one at a time is alive, on the stack")]
pub(crate) enum Progress<T> {
    Load(Scope),
    Done(T),
}

/// Why an exchange ends without a reply. Nothing of it is committed.
#[derive(Debug)]
pub enum Halt {
    /// The caller's fault.
    Reject(Reject),
    /// What is stored cannot be read.
    Corrupt(Corrupt),
}

impl From<Reject> for Halt {
    fn from(reject: Reject) -> Halt {
        Halt::Reject(reject)
    }
}

impl From<Corrupt> for Halt {
    fn from(corrupt: Corrupt) -> Halt {
        Halt::Corrupt(corrupt)
    }
}

/// What every decision may depend on beside the rows: who calls, the limits, the time, random bytes.
pub(crate) struct Setting {
    pub(crate) caller: Caller,
    pub(crate) policy: Arc<Policy>,
    pub(crate) now: Millis,
    pub(crate) fresh: Fresh,
}

/// See the module.
pub struct Exchange {
    setting: Setting,
    writes: bool,
    flow: Flow,
    begun: bool,
    touch: Option<Touch>,
}

enum Flow {
    Push(Box<PushFlow>),
    Pull(Box<PullFlow>),
    Devices,
    RemoveDevice(String),
    NewToken(String),
    Conflicts(ConflictList),
    Config,
    Live(String),
    Resolve(Box<ResolveFlow>),
    History(HistoryFlow),
    File(FileFlow),
    /// Committed; this is left to say.
    Done(Reply),
}

impl Exchange {
    /// A call by `caller`, at the host's time `now`, with random bytes of its own.
    pub fn new(caller: Caller, call: Call, policy: Arc<Policy>, now: Millis, fresh: Fresh) -> Exchange {
        let writes = call.writes();
        let flow = match call {
            Call::Push(push) => Flow::Push(Box::new(PushFlow::new(*push))),
            Call::Pull(query) => Flow::Pull(Box::new(PullFlow::new(query))),
            Call::Devices => Flow::Devices,
            Call::RemoveDevice(id) => Flow::RemoveDevice(id),
            Call::NewToken(id) => Flow::NewToken(id),
            Call::Conflicts => Flow::Conflicts(ConflictList::open()),
            Call::Config => Flow::Config,
            Call::Live(id) => Flow::Live(id),
            Call::Resolve(resolve) => Flow::Resolve(Box::new(ResolveFlow::new(*resolve))),
            Call::History(query) => Flow::History(HistoryFlow::new(query)),
            Call::File(query) => Flow::File(FileFlow::new(query)),
        };
        let setting = Setting { caller, policy, now, fresh };
        Exchange { setting, writes, flow, begun: false, touch: None }
    }

    /// Who calls.
    pub fn caller(&self) -> &Caller {
        &self.setting.caller
    }

    /// Whether the user's head is to be locked for this exchange.
    pub fn writes(&self) -> bool {
        self.writes
    }

    /// The epoch under which the host makes and stores the user's head, where there is none yet. `None`: a
    /// device's token makes nothing.
    pub fn epoch_if_new(&self) -> Option<String> {
        matches!(self.setting.caller, Caller::User(_)).then(|| self.setting.fresh.epoch())
    }

    /// The rows to load first, beside the head.
    pub fn first(&self) -> Scope {
        let mut scope = match &self.flow {
            Flow::Push(flow) => flow.first(),
            Flow::Pull(flow) => flow.first(),
            Flow::Devices => device::list_scope(),
            Flow::RemoveDevice(id) | Flow::NewToken(id) | Flow::Live(id) => {
                Scope { devices: [id.clone()].into(), ..Scope::default() }
            }
            Flow::Conflicts(list) => list.first(),
            Flow::Resolve(flow) => flow.first(),
            Flow::History(flow) => flow.first(),
            Flow::File(flow) => flow.first(),
            Flow::Config | Flow::Done(_) => Scope::default(),
        };
        scope.devices.extend(self.setting.caller.device_id().map(str::to_owned));
        scope
    }

    /// The same for a host that has loaded the head before: the tag at head's own seq is the head's, and needs no delta.
    pub fn first_at(&self, head: &Head) -> Scope {
        let mut scope = self.first();
        scope.deltas_at.remove(&head.seq);
        scope
    }

    /// Takes in what was loaded and says what is next.
    ///
    /// # Errors
    /// [`Halt`] ends the exchange: the host rolls back.
    pub fn next(&mut self, loaded: Slice) -> Result<Step, Halt> {
        let mut step = self.step(loaded)?;
        if let Step::Commit(commit) = &mut step
            && self.setting.policy.webhook
        {
            let user = self.setting.caller.user();
            commit.outbox = outbox::record(commit, user, self.setting.now);
        }
        Ok(step)
    }

    fn step(&mut self, loaded: Slice) -> Result<Step, Halt> {
        if !self.begun {
            self.begun = true;
            let head = loaded.head.as_ref();
            let standing = head.map(|head| head.standing).unwrap_or_default();
            // The devices may not be in yet: their tokens are neither right nor wrong.
            if standing == Standing::Importing {
                return Err(Reject::Importing.into());
            }
            self.touch = device::authorize(&self.setting, head, &loaded.devices)?;
            if standing == Standing::Moved {
                return Err(Reject::Moved.into());
            }
        }
        let setting = &self.setting;
        let step = match &mut self.flow {
            Flow::Push(flow) => flow.next(setting, loaded)?,
            Flow::Pull(flow) => flow.next(setting, loaded)?,
            Flow::Devices => device::list(setting, &loaded)?,
            Flow::RemoveDevice(id) => {
                let (commit, reply) = device::remove(setting, &loaded, id)?;
                return Ok(self.commit(commit, reply));
            }
            Flow::NewToken(id) => {
                let (commit, reply) = device::new_token(setting, &loaded, id)?;
                return Ok(self.commit(commit, reply));
            }
            Flow::Conflicts(list) => match list.next(&setting.policy, loaded)? {
                Progress::Load(scope) => Step::Load(scope),
                Progress::Done(conflicts) => {
                    Step::Reply(Reply::json(json!({ "conflicts": conflicts })), None)
                }
            },
            Flow::Resolve(flow) => match flow.next(setting, loaded)? {
                Progress::Load(scope) => Step::Load(scope),
                Progress::Done((commit, reply)) => return Ok(self.commit(*commit, reply)),
            },
            Flow::History(flow) => flow.next(loaded)?,
            Flow::File(flow) => flow.next(loaded)?,
            Flow::Config => Step::Reply(Reply::json(json!({ "policy": setting.policy.to_json() })), None),
            Flow::Live(id) => device::listen(setting, &loaded, id)?,
            Flow::Done(reply) => Step::Reply(reply.clone(), None),
        };
        Ok(match step {
            Step::Reply(reply, None) => Step::Reply(reply, self.touch.take()),
            Step::Reply(..) | Step::Load(_) | Step::Commit(_) => step,
        })
    }

    fn commit(&mut self, commit: Commit, reply: Reply) -> Step {
        self.flow = Flow::Done(reply);
        Step::Commit(Box::new(commit))
    }
}

/// The head, which a host loads with the first rows.
pub(crate) fn head(slice: &Slice) -> Result<&Head, Corrupt> {
    slice.head.as_ref().ok_or_else(|| Corrupt("no head was loaded".to_owned()))
}

/// The calling device's row, where the token or the request names one.
pub(crate) fn device_of<'a>(slice: &'a Slice, id: Option<&str>) -> Option<&'a Device> {
    id.and_then(|id| slice.devices.get(id))
}
