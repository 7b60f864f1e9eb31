//! Exchanges of different users, run side by side in one transaction.
//!
//! A round sends everything that all of them need next, without waiting in between: what they write, then what they
//! load, the first together with BEGIN, the last with COMMIT. So a batch costs the round trips, and the wait for the
//! disk, of one exchange.

use super::apply::{self, Packs, Write};
use super::connection::{Connection, Request};
use super::load::{self, HEADS, HEADS_LOCKED, Load, Users, Wish};
use super::row::Damage;
use nself_sync_engine::call::Reply;
use nself_sync_engine::commit::{Commit, Touch};
use nself_sync_engine::error::Reject;
use nself_sync_engine::event::News;
use nself_sync_engine::exchange::{Exchange, Halt, Step};
use nself_sync_engine::ids::User;
use nself_sync_engine::slice::{Scope, Slice};
use std::collections::BTreeMap;

/// Bytes of one round from which the engine's work on them may hold up other tasks, and gets a thread of its own.
const HEAVY_BYTES: usize = 128 << 10;

/// What a batch may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Read one point in time.
    Read,
    /// Read and write under the locked heads.
    Write,
}

/// What became of an exchange.
pub(super) enum Outcome {
    /// Its reply, of one that only read the touch to write, and what others are to be told.
    Reply(Reply, Option<Touch>, News),
    /// The caller's fault.
    Reject(Reject),
    /// The user's head is to be made first. The exchange has not begun.
    NoHead,
}

/// Why a batch failed. Nothing of it was committed, unless the connection was lost in the middle of COMMIT.
#[derive(Debug)]
pub(super) enum Trouble {
    /// PostgreSQL's error; `committing`: COMMIT had been sent.
    Sql { error: tokio_postgres::Error, committing: bool },
    /// What is stored cannot be read, or an exchange broke its contract.
    Broken(String),
    /// There was no connection, or nothing to begin with.
    Away(anyhow::Error),
}

impl From<Damage> for Trouble {
    fn from(damage: Damage) -> Trouble {
        Trouble::Broken(damage.0)
    }
}

/// An exchange, and the bytes of contents that its call carries.
pub(super) struct Entrant {
    pub(super) exchange: Exchange,
    pub(super) bytes: usize,
}

struct Member {
    exchange: Exchange,
    bytes: usize,
    user: User,
    packs: Packs,
    has_written: bool,
    news: News,
    outcome: Option<Outcome>,
}

/// What a round sends.
#[derive(Default)]
struct Round {
    commits: Vec<(usize, Box<Commit>)>,
    scopes: Vec<(usize, Scope)>,
}

/// Runs exchanges of different users to their ends. The outcomes are in their order. `decided` is called when
/// only COMMIT, with what goes before it, is left to wait for.
pub(super) async fn run(
    connection: &mut Connection,
    entrants: Vec<Entrant>,
    access: Access,
    decided: impl FnOnce(),
) -> Result<Vec<Outcome>, Trouble> {
    let mut members: Vec<Member> = entrants.into_iter().map(Member::new).collect();
    let scopes: Vec<(usize, Scope)> =
        members.iter().map(|member| member.exchange.first()).enumerate().collect();
    let slices = begin(connection, access, &members, &scopes).await?;
    for (member, (_, slice)) in members.iter_mut().zip(&slices) {
        if slice.head.is_none() && member.exchange.epoch_if_new().is_some() {
            member.outcome = Some(Outcome::NoHead);
        }
    }
    let mut round = advance(&mut members, slices)?;
    while !round.scopes.is_empty() {
        let slices = exchange(connection, &members, &round).await?;
        round = advance(&mut members, slices)?;
    }
    decided();
    end(connection, access, &mut members, &round).await?;
    let no_outcome = || Trouble::Broken("an exchange ended without an outcome".to_owned());
    members.into_iter().map(|member| member.outcome.ok_or_else(no_outcome)).collect()
}

impl Member {
    fn new(Entrant { exchange, bytes }: Entrant) -> Member {
        let user = exchange.caller().user().clone();
        Member {
            exchange,
            bytes,
            user,
            packs: Packs::new(),
            has_written: false,
            news: News::default(),
            outcome: None,
        }
    }

    /// Steps until the exchange needs rows or is over.
    fn step(&mut self, index: usize, mut loaded: Slice, round: &mut Round) -> Result<(), Trouble> {
        let packs = loaded.segments.iter().map(|(place, segment)| (place.clone(), segment.pack.len()));
        self.packs.extend(packs);
        loop {
            match self.exchange.next(std::mem::take(&mut loaded)) {
                Ok(Step::Load(scope)) => {
                    round.scopes.push((index, scope));
                    return Ok(());
                }
                Ok(Step::Commit(mut commit)) if self.exchange.writes() => {
                    self.has_written = true;
                    self.news = std::mem::take(&mut commit.news);
                    round.commits.push((index, commit));
                }
                Ok(Step::Commit(_)) => {
                    return Err(Trouble::Broken("a call that only reads writes".to_owned()));
                }
                Ok(Step::Reply(reply, touch)) => {
                    self.outcome = Some(Outcome::Reply(reply, touch, std::mem::take(&mut self.news)));
                    return Ok(());
                }
                Err(Halt::Reject(reject)) if !self.has_written => {
                    self.outcome = Some(Outcome::Reject(reject));
                    return Ok(());
                }
                Err(Halt::Reject(reject)) => {
                    return Err(Trouble::Broken(format!("a call was refused after it wrote: {reject:?}")));
                }
                Err(Halt::Corrupt(corrupt)) => return Err(Trouble::Broken(corrupt.0)),
            }
        }
    }
}

/// Feeds each member that is not over with its slice, and gathers what they need next.
fn advance(members: &mut [Member], slices: Vec<(usize, Slice)>) -> Result<Round, Trouble> {
    let carried = |index: &usize| members.get(*index).map_or(0, |member| member.bytes);
    let bytes: usize = slices.iter().map(|(index, slice)| weight(slice) + carried(index)).sum();
    let work = || {
        let mut round = Round::default();
        for (index, slice) in slices {
            if let Some(member) = members.get_mut(index).filter(|member| member.outcome.is_none()) {
                member.step(index, slice, &mut round)?;
            }
        }
        Ok(round)
    };
    if bytes < HEAVY_BYTES { work() } else { tokio::task::block_in_place(work) }
}

/// The bytes of contents in a slice: what merging and patching take time for.
fn weight(slice: &Slice) -> usize {
    slice.segments.values().map(|segment| segment.keyframe.len() + segment.pack.len()).sum()
}

/// The first round: BEGIN, the heads, and what every member asks for first.
async fn begin(
    connection: &mut Connection,
    access: Access,
    members: &[Member],
    scopes: &[(usize, Scope)],
) -> Result<Vec<(usize, Slice)>, Trouble> {
    let (begin, heads) = match access {
        Access::Read => ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", HEADS),
        Access::Write => ("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", HEADS_LOCKED),
    };
    let mut users = Users::default();
    for (index, member) in members.iter().enumerate() {
        users.add(index, &member.user);
    }
    let mut loads =
        vec![Load { request: Request::new(heads, users.params(Vec::new())), take: load::take_head }];
    loads.extend(load::loads(&wishes(members, scopes)));
    send(connection, vec![Request::plain(begin)], loads, scopes).await
}

/// A round in the middle: what was decided is written, then what is asked for is loaded.
async fn exchange(
    connection: &mut Connection,
    members: &[Member],
    round: &Round,
) -> Result<Vec<(usize, Slice)>, Trouble> {
    let writes = writes(members, round);
    let loads = load::loads(&wishes(members, &round.scopes));
    send(connection, apply::writes(&writes), loads, &round.scopes).await
}

/// The last round: what was decided last, and COMMIT.
async fn end(
    connection: &mut Connection,
    access: Access,
    members: &mut [Member],
    round: &Round,
) -> Result<(), Trouble> {
    let mut touches = Vec::new();
    if access == Access::Write {
        for member in members.iter_mut() {
            if let Some(Outcome::Reply(_, touch, _)) = &mut member.outcome {
                touches.extend(touch.take().map(|touch| (member.user.clone(), touch)));
            }
        }
    }
    let writes = writes(members, round);
    let mut requests = apply::writes(&writes);
    requests.extend(apply::touches(&touches));
    requests.push(Request::plain("COMMIT"));
    let sent = connection.send(&requests).await;
    sent.map(drop).map_err(|error| Trouble::Sql { error, committing: true })
}

fn wishes<'a>(members: &'a [Member], scopes: &'a [(usize, Scope)]) -> Vec<Wish<'a>> {
    let wish = |(index, scope): &'a (usize, Scope)| {
        members.get(*index).map(|member| Wish { member: *index, user: &member.user, scope })
    };
    scopes.iter().filter_map(wish).collect()
}

fn writes<'a>(members: &'a [Member], round: &'a Round) -> Vec<Write<'a>> {
    let write = |(index, commit): &'a (usize, Box<Commit>)| {
        members.get(*index).map(|member| Write { user: &member.user, commit, packs: &member.packs })
    };
    round.commits.iter().filter_map(write).collect()
}

/// Sends `first` and then `loads`, and sorts the rows into slices, one for each scope.
async fn send(
    connection: &mut Connection,
    first: Vec<Request<'_>>,
    loads: Vec<Load<'_>>,
    scopes: &[(usize, Scope)],
) -> Result<Vec<(usize, Slice)>, Trouble> {
    let skip = first.len();
    let mut requests = first;
    let mut takes = Vec::new();
    for load in loads {
        requests.push(load.request);
        takes.push(load.take);
    }
    let sent = connection.send(&requests).await;
    let sent = sent.map_err(|error| Trouble::Sql { error, committing: false })?;
    let mut slices: BTreeMap<usize, Slice> =
        scopes.iter().map(|(index, _)| (*index, Slice::default())).collect();
    for (rows, take) in sent.into_iter().skip(skip).zip(takes) {
        for row in rows {
            let member: i32 = row.try_get(0).map_err(Damage::from)?;
            let slice = usize::try_from(member).ok().and_then(|member| slices.get_mut(&member));
            let slice = slice.ok_or_else(|| Trouble::Broken(format!("rows of member {member}")))?;
            take(&row, slice)?;
        }
    }
    Ok(slices.into_iter().collect())
}
