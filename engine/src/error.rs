//! What a caller did wrong. Closed: conflicts, superseded writes and snapshots are replies, not errors,
//! and what goes wrong in a host is the host's. Status and code of each are chosen in [`crate::wire`].

use crate::ids::{Hash, Seq};

/// An open conflict as an error may show it: ids, hashes and sizes, never content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConflictBrief {
    /// The conflict's id.
    pub id: String,
    /// The collection and path, as a changed key.
    pub key: String,
    /// Hash and size of each side; `None`: the side is a removal or unknown.
    pub base: Option<(Hash, usize)>,
    /// What the device pushed.
    pub mine: Option<(Hash, usize)>,
    /// What it met.
    pub theirs: Option<(Hash, usize)>,
}

/// A call that is refused whole. Nothing of it was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reject {
    /// Not JSON, not UTF-8, or nested too deep.
    MalformedJson(String),
    /// A field or query parameter of the wrong type or outside its range.
    InvalidField {
        /// Its name.
        field: String,
        /// The value's problem and what is allowed.
        detail: String,
    },
    /// A push with a top-level `env`.
    PlaintextEnv,
    /// More changed keys than one push may have.
    TooManyKeys {
        /// How many it has.
        count: usize,
        /// How many are allowed.
        max: usize,
    },
    /// Documents that are too large together to be rebuilt for one push.
    TooMuchTouched {
        /// Their sizes.
        bytes: usize,
        /// What is allowed.
        max: usize,
    },
    /// A body over the limit, after decompression.
    BodyTooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// A body that came too slowly for the host to wait.
    SlowBody,
    /// A `Content-Encoding` that the host does not read; what it reads.
    UnsupportedEncoding(&'static str),
    /// A `Nself-Sync-Protocol` other than 1.
    UnsupportedProtocol,
    /// A plain request where a WebSocket begins.
    UpgradeRequired,
    /// No token, or one that is malformed, expired, of another algorithm, or revoked.
    Unauthorized(&'static str),
    /// A sync token with another device's id in the request.
    DeviceMismatch,
    /// A push for a device that was removed.
    DeviceRevoked,
    /// A sync token where only the user's own token may.
    UserTokenRequired,
    /// One more device than a user may have.
    TooManyDevices {
        /// How many are allowed.
        max: usize,
    },
    /// One more live connection than a device or a user may have.
    TooManyConnections {
        /// How many are allowed.
        max: usize,
    },
    /// No such route, device, conflict or content.
    NotFound(&'static str),
    /// An operator gave the user to another host, and this one serves it no more.
    Moved,
    /// An operator brings the user here from another host, and not all of it is in.
    Importing,
    /// An export or import that cannot be, and why.
    Transfer(String),
    /// The route exists, for other methods; which.
    MethodNotAllowed(&'static str),
    /// The same push number with another body: two machines share one device id.
    DeviceForked,
    /// A push number lower than the last one recorded.
    StalePush {
        /// The last one recorded.
        last: u64,
    },
    /// A seq above head.
    SeqAhead {
        /// Head.
        head: Seq,
    },
    /// Another epoch, or a tag that is not the one of that seq.
    EpochChanged,
    /// The device has unresolved conflicts of its own making.
    ConflictsUnresolved(Vec<ConflictBrief>),
    /// Head is no longer the *theirs* that was seen, and the resolution does not merge onto it.
    ConflictMoved {
        /// The present *theirs*; `None`: it is removed.
        theirs: Option<Hash>,
    },
    /// Resolved already.
    ConflictResolved {
        /// By which device, where it is known.
        device_id: Option<String>,
        /// When, RFC 3339.
        at: String,
        /// How: mine, theirs, merged.
        resolution: String,
    },
    /// A resolution other than mine, theirs, merged.
    InvalidResolution,
    /// `merged` without content.
    ContentRequired,
    /// More calls of one user than its host takes.
    RateLimited {
        /// When the next is taken, in seconds.
        retry_after_s: u64,
    },
    /// A push that adds to what the user has, beyond what one may.
    QuotaExceeded {
        /// What is counted.
        of: &'static str,
        /// How much of it the user has.
        bytes: u64,
        /// What one may.
        max: u64,
    },
}

impl Reject {
    /// To a device whose token is not, or not any more, one of a user here: it is not said which.
    pub const TOKEN_INVALID: Reject = Reject::Unauthorized("the sync token is not valid (any more): sign in");
}
