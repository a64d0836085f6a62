//! What the store holds, as its callers see it: keys, secrets, changes, audit records, nodes. Types alone.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::clock::WallTime;
use crate::credential::{KeyId, KeyName, KeyState, Policy, Role, SecretDigest};

/// The store-wide counter: how many changes there were, and which was the last.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Head {
    /// Changes so far.
    pub revision: u64,
    /// Random, 32 hexadecimal digits; tells apart two histories with the same count (failover, restore).
    pub change_id: String,
}

/// An API key as stored.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// Public, never reused.
    pub id: KeyId,
    /// "Application Name". Of a tombstone, the name it had.
    pub name: KeyName,
    /// Free text.
    pub description: String,
    /// What it may do.
    pub role: Role,
    /// Active, disabled or deleted.
    pub state: KeyState,
    /// When, from where and to which routes.
    pub policy: Policy,
    /// SHA-256 of the app key; [`SecretDigest::ERASED`] in a tombstone.
    pub digest: SecretDigest,
    /// Raised by roll, disable, enable, delete and whatever else takes authority away.
    pub epoch: u32,
    /// When it was made.
    pub created_at: WallTime,
    /// When it was last changed.
    pub updated_at: WallTime,
    /// The revision of its last change.
    pub revision: u64,
}

/// What is known of a key's use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time of the last admitted request.
    pub last_login: Option<WallTime>,
    /// Its client address.
    pub last_address: Option<String>,
    /// Admitted requests.
    pub use_count: u64,
    /// The old shared secret version that it was last seen sending, and when.
    pub stale: Option<(u32, WallTime)>,
}

/// One key's use since the last flush: `last_login = max`, `use_count +=`.
#[derive(Clone, Debug)]
pub struct UsageDelta {
    /// Whose.
    pub id: KeyId,
    /// What to merge in.
    pub usage: Usage,
}

/// A shared secret version as stored.
#[derive(Clone, Debug)]
pub struct SecretVersion {
    /// 1, 2, 3, …
    pub version: NonZeroU32,
    /// XChaCha20-Poly1305 (see [`super::seal`]); `None` once retired and erased.
    pub sealed: Option<Vec<u8>>,
    /// The key that tokens are signed with, sealed likewise. `None` where a store of before has not got one yet.
    pub signing: Option<Vec<u8>>,
    /// When it was made.
    pub created_at: WallTime,
    /// For the previous version: until when it is still accepted. `None` for the current one.
    pub grace_until: Option<WallTime>,
}

/// A new version's shared secret and the key that its tokens are signed with, each sealed.
#[derive(Clone, Debug)]
pub struct SealedSecret {
    /// The shared secret.
    pub secret: Vec<u8>,
    /// The signing key.
    pub signing: Vec<u8>,
}

/// A live version's sealed bytes, to be put in the place of those that are there.
#[derive(Clone, Debug)]
pub struct Resealed {
    /// Of which version.
    pub version: u32,
    /// The shared secret.
    pub secret: Vec<u8>,
    /// The signing key, where the version has one.
    pub signing: Option<Vec<u8>>,
}

/// The shared secrets that can still verify something.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// What keys are encoded with now.
    pub current: SecretVersion,
    /// The version before, during a grace period.
    pub previous: Option<SecretVersion>,
}

impl Secrets {
    /// The version before, if it is still accepted.
    #[must_use]
    pub fn in_grace(&self, now: WallTime) -> Option<&SecretVersion> {
        self.previous.as_ref().filter(|previous| previous.grace_until.is_some_and(|until| now < until))
    }
}

/// Everything a node must hold before it may admit, but the keys (those are streamed).
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The counter that the keys and secrets belong to.
    pub head: Head,
    /// The secrets.
    pub secrets: Secrets,
}

/// One change, as a follower learns of it.
#[derive(Clone, Debug)]
pub enum Change {
    /// This key is now so.
    Key(Box<ApiKey>),
    /// The secrets are now so.
    Secrets(Secrets),
    /// A kind that this binary does not know: a newer one wrote it. The node must fence itself.
    Unknown(String),
}

/// What a follower gets for "what came after revision r".
#[derive(Clone, Debug)]
pub enum Changes {
    /// These, in order, and the counter after them.
    Since(Vec<Change>, Head),
    /// History before the horizon was purged, or there is more than is worth listing: load everything anew.
    Reload,
    /// r is not of this history (failover, restore): nothing that was applied can be relied on.
    OtherHistory,
}

/// Who does something, from where; written into the audit record.
#[derive(Clone, Debug)]
pub struct Actor {
    /// `operator:<id>`, `cli:<user>`, `system`.
    pub who: String,
    /// An address, a host, `local`.
    pub from: String,
}

/// An audit record.
#[derive(Clone, Debug)]
pub struct AuditRecord {
    /// Ascending.
    pub id: u64,
    /// When.
    pub at: WallTime,
    /// Who and from where.
    pub actor: Actor,
    /// `api_key.create`, `shared_secret.regenerate`, `shared_secret.view`, …
    pub action: String,
    /// What it was done to: a key id, a secret version, an operator id.
    pub subject: String,
    /// JSON object of what changed; never a secret.
    pub detail: String,
    /// The revision it made, if it was a change.
    pub revision: Option<u64>,
}

/// The audit record of a change about to be made.
#[derive(Clone, Debug)]
pub struct Audit<'a> {
    /// Who and from where.
    pub actor: &'a Actor,
    /// When.
    pub at: WallTime,
    /// `api_key.create`, …
    pub action: &'static str,
    /// A key id, a secret version, an operator id.
    pub subject: String,
    /// What changed; never a secret.
    pub detail: serde_json::Value,
}

/// A node's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRow {
    /// The node's name for people: `hostname:pid`.
    pub id: String,
    /// Random, one a process; the row's key.
    pub incarnation: String,
    /// The binary's version.
    pub version: String,
    /// L of this process.
    pub lease: Duration,
    /// Every change up to this revision is in force there.
    pub applied: u64,
    /// When it joined.
    pub joined_at: WallTime,
    /// Written once a minute, for display only.
    pub seen_at: WallTime,
}

/// What a renewal reads, in one statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewalReading {
    /// Is the node's own row there?
    pub row_present: bool,
    /// The counter.
    pub head: Head,
}

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Drawn by the caller.
    pub id: KeyId,
    /// Unique.
    pub name: KeyName,
    /// Free text.
    pub description: String,
    /// What it may do.
    pub role: Role,
    /// When, from where and to which routes.
    pub policy: Policy,
    /// SHA-256 of its app key.
    pub digest: SecretDigest,
}

/// What a change of one key sets; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct KeyUpdate {
    /// Only if the key is still at this revision ([`super::StoreError::Changed`]).
    pub if_revision: Option<u64>,
    /// A new name.
    pub name: Option<KeyName>,
    /// A new description.
    pub description: Option<String>,
    /// A new role.
    pub role: Option<Role>,
    /// A new policy, whole.
    pub policy: Option<Policy>,
    /// Active or disabled ([`super::Store::delete_key`] deletes).
    pub state: Option<KeyState>,
    /// A new app key's digest (roll).
    pub digest: Option<SecretDigest>,
    /// Raise the epoch.
    pub raise_epoch: bool,
}
