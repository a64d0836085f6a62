//! What changes API keys, the shared secret and operators: the only writer of any of them.
//!
//! A change is one transaction of the store, audit record included. Afterwards a change that takes authority away
//! waits as a revocation until no node can act on the old authority (`fleet::revoke`); one that gives authority
//! waits for a moment, so that what the caller does next usually finds it in force. Secrets leave here only as
//! types that cannot be printed by accident. Nothing here reads the environment or talks to people.
//!
//! Called by `cli` and by the admin plane.

mod change;
mod create;
mod delete;
pub mod master_key;
mod operator;
mod regenerate;
mod roll;
mod secret;
mod signing_key;
#[cfg(test)]
mod tests;
mod update;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use zeroize::Zeroizing;

use crate::clock::{BootTime, Clock};
use crate::config::resolved::TokenExchange;
use crate::credential::{AppKey, Bundle, KeyId, KeyState, SharedSecret, encode};
use crate::entropy::Entropy;
use crate::fleet::revoke::{self, Revocation, Wait};
use crate::store::{Actor, ApiKey, Audit, Head, NodeLocks, Store, StoreError};

pub use create::NewApiKey;
pub use master_key::{MasterKeyError, MasterKeys};
pub use operator::{LINK_AT_MOST, add_operator};
pub use regenerate::Regenerated;
pub use secret::RevealedSecret;
pub use update::{KeyChange, Limit};

/// How long a change that only gives authority waits for the nodes.
pub const SETTLE: Duration = Duration::from_secs(1);

/// Changes API keys and the shared secret.
#[derive(Clone)]
pub struct Lifecycle {
    /// Where they are.
    pub store: Arc<dyn Store>,
    /// Tells which nodes are surely gone.
    pub locks: Arc<dyn NodeLocks>,
    /// What the shared secrets are sealed with.
    pub master: MasterKeys,
    /// Times of changes, and the wait for leases to end.
    pub clock: Arc<dyn Clock>,
    /// Secrets, ids and change ids.
    pub entropy: Arc<dyn Entropy>,
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The shared secret does not open.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// The last version that a shared secret can have is in force.
    #[error("the shared secret is at its last version, {0}")]
    NoMoreVersions(u32),
    /// The key is a tombstone.
    #[error("API key {0} was deleted; nothing can be done with it any more")]
    Deleted(KeyId),
    /// Random ids met ids that are taken, again and again.
    #[error("no free id was found for the new API key")]
    NoFreeId,
}

/// The result of everything here.
pub type Result<T> = std::result::Result<T, LifecycleError>;

/// What became of the wait after a committed change.
#[derive(Debug)]
pub struct Waited {
    /// Who confirmed, and whether the promise holds.
    pub revocation: Revocation,
    /// Why the wait ended early, when the store failed during it. The change itself is committed all the same.
    pub failure: Option<StoreError>,
    /// Did the change take authority away? Only then does it matter that the promise holds.
    pub revokes: bool,
}

/// A changed API key.
#[derive(Debug)]
pub struct Changed {
    /// As it is now.
    pub key: ApiKey,
    /// The wait for it.
    pub waited: Waited,
}

/// An API key with its new app key, which is nowhere else.
pub struct Issued {
    /// As it is now.
    pub key: ApiKey,
    /// The app key. Shown once; the store has only its digest.
    pub app_key: AppKey,
    /// The app key encoded with the current shared secret.
    pub encoded_key: Zeroizing<String>,
    /// The bundle, which holds the shared secret too; `None` where tokens are not exchanged.
    pub bundle: Option<Zeroizing<String>>,
    /// The wait for it.
    pub waited: Waited,
}

impl Issued {
    fn new(
        key: ApiKey,
        app_key: AppKey,
        secret: SharedSecret,
        exchange: Option<&TokenExchange>,
        waited: Waited,
    ) -> Self {
        let encoded_key = encode(&app_key, &secret);
        let Some(exchange) = exchange else { return Self { key, app_key, encoded_key, bundle: None, waited } };
        let TokenExchange { url, shortname, .. } = exchange.clone();
        let bundle = Bundle { url, shortname, appname: key.name.clone(), shared_secret: secret, app_key };
        let text = bundle.encode();
        Self { key, app_key: bundle.app_key, encoded_key, bundle: Some(text), waited }
    }
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the texts: they are secrets that nothing else keeps from being printed.
        let Self { key, app_key, waited, .. } = self;
        let issued = &mut f.debug_struct("Issued");
        issued.field("key", key).field("app_key", app_key).field("waited", waited).finish_non_exhaustive()
    }
}

impl Lifecycle {
    /// Waits (again) until a revision is in force everywhere, as of now.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn wait_for(&self, revision: u64, wait: Wait) -> Result<Revocation> {
        let acknowledged = self.clock.boot();
        Ok(revoke::wait(&*self.store, &*self.locks, &*self.clock, revision, acknowledged, wait).await?)
    }

    /// Waits after a commit: as a revocation for as long as `wait` says, or without `wait`, for a change that only
    /// gives authority, at most [`SETTLE`]. Never fails: the change is made, and what it gave out must reach the
    /// caller.
    async fn settle(&self, head: &Head, acknowledged: BootTime, wait: Option<Wait>) -> Waited {
        let revision = head.revision;
        let revokes = wait.is_some();
        let wait = wait.unwrap_or(Wait::AtMost(SETTLE));
        match revoke::wait(&*self.store, &*self.locks, &*self.clock, revision, acknowledged, wait).await {
            Ok(revocation) => Waited { revocation, failure: None, revokes },
            Err(failure) => {
                let took = self.clock.boot().since(acknowledged).as_millis();
                let revocation = Revocation {
                    revision,
                    confirmed: Vec::new(),
                    fenced: Vec::new(),
                    promise_held: false,
                    took_ms: u64::try_from(took).unwrap_or(u64::MAX),
                };
                Waited { revocation, failure: Some(failure), revokes }
            }
        }
    }

    fn audit<'a>(&self, actor: &'a Actor, action: &'static str, subject: &impl ToString, detail: Value) -> Audit<'a> {
        Audit { actor, at: self.clock.wall(), action, subject: subject.to_string(), detail }
    }

    /// A key that is there and not a tombstone.
    async fn living(&self, id: KeyId) -> Result<ApiKey> {
        match self.store.key(id).await? {
            Some((key, _)) if key.state == KeyState::Deleted => Err(LifecycleError::Deleted(id)),
            Some((key, _)) => Ok(key),
            None => Err(StoreError::NoSuchKey(id.to_string()).into()),
        }
    }
}

impl std::fmt::Debug for Lifecycle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lifecycle").field("store", &self.store.store_id()).finish_non_exhaustive()
    }
}
