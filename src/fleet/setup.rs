//! What a member is given, and what it tells of itself: its [`Setup`], [`Observer`], operations and errors.
//!
//! Made by `app`, used by `member` and `row`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::lease::{Alarm, LeaseGate};
use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::keyring::follow::{FollowError, Follower};
use crate::store::{NodeLocks, Store, StoreError};

/// Tries of a new process to become a member. A try fails without an error only when the node's row is deleted, or
/// the store's history changes, while it loads.
pub(super) const JOIN_TRIES: u32 = 16;

/// What a node asks of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// To load all keys and secrets.
    Load,
    /// To read the changes since a revision.
    Changes,
    /// To write the node's row.
    Join,
    /// To read what a renewal needs.
    Renew,
    /// To write what was applied.
    Confirm,
    /// To write when the node was last seen.
    Seen,
}

impl Operation {
    /// As in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Changes => "changes",
            Self::Join => "join",
            Self::Renew => "renew",
            Self::Confirm => "confirm",
            Self::Seen => "seen",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why this node is not a member, or not at present.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// The store failed.
    #[error("{0}: {1}")]
    Store(Operation, #[source] StoreError),
    /// The store is silent.
    #[error("{0}: the store did not answer within {1:?}")]
    Silent(Operation, Duration),
    /// The keyring could not be brought to where the store is.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// The node's lock cannot be had.
    #[error("the lock of this node cannot be taken: {0}")]
    Lock(#[source] std::io::Error),
    /// The store holds a change of a kind that this version does not know.
    #[error("this node is fenced: a newer keygate has written to the store")]
    Fenced,
    /// Something took the node's row away each time that it had loaded.
    #[error("the node lost its row in the store {JOIN_TRIES} times while it joined")]
    NotAdmitted,
}

/// The result of everything here.
pub type Result<T> = std::result::Result<T, MemberError>;

/// Who wants to know what a member goes through: metrics.
pub trait Observer: Send + Sync + 'static {
    /// The keyring stands at this revision, `took` after the node learned of it.
    fn applied(&self, revision: u64, took: Duration);
    /// Somebody must look.
    fn alarm(&self, alarm: Alarm);
    /// The store failed or was silent.
    fn store_error(&self, operation: Operation);
}

/// Everything that a member works on and with.
pub struct Setup {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The locks beside it.
    pub locks: Arc<dyn NodeLocks>,
    /// Both clocks.
    pub clock: Arc<dyn Clock>,
    /// For incarnations.
    pub entropy: Arc<dyn Entropy>,
    /// Writes the keyring.
    pub follower: Follower,
    /// What requests look at.
    pub gate: Arc<LeaseGate>,
    /// Metrics.
    pub observer: Arc<dyn Observer>,
    /// The node's name for people: `hostname:pid`.
    pub node_id: String,
    /// The binary's version.
    pub version: String,
    /// L.
    pub lease: Duration,
}
