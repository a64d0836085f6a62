//! The store: the only truth about keys, secrets, nodes, operators, usage and audit.
//!
//! Every change takes the next revision of a one-row counter, with a random change id, and writes its audit
//! record in the same transaction. Serialised by that row, so nobody sees revision n+1 and misses n. The store
//! knows nothing of plain secrets: it is handed digests and sealed bytes.
//!
//! Called by `lifecycle` (changes), `fleet` (leases), `keyring::follow`, `usage::flush`. Never by the data plane.

pub mod seal;
pub mod sqlite;

use std::num::NonZeroU32;
use std::time::Duration;

use async_trait::async_trait;

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
    /// XChaCha20-Poly1305 (see [`seal`]); `None` once retired and erased.
    pub sealed: Option<Vec<u8>>,
    /// When it was made.
    pub created_at: WallTime,
    /// For the previous version: until when it is still accepted. `None` for the current one.
    pub grace_until: Option<WallTime>,
}

/// The shared secrets that can still verify something.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// What keys are encoded with now.
    pub current: SecretVersion,
    /// The version before, during a grace period.
    pub previous: Option<SecretVersion>,
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

/// An operator as stored.
#[derive(Clone, Debug)]
pub struct Operator {
    /// The id in its token.
    pub id: KeyId,
    /// For people.
    pub name: String,
    /// `admin` or `viewer`.
    pub role: String,
    /// SHA-256 of the token.
    pub digest: SecretDigest,
    /// When it was made.
    pub created_at: WallTime,
}

/// How a list of keys is narrowed.
#[derive(Clone, Debug, Default)]
pub struct KeyFilter {
    /// Only this role.
    pub role: Option<Role>,
    /// Only this state; without it, all but deleted ones.
    pub state: Option<KeyState>,
    /// Only names or descriptions that hold this text, in any case.
    pub text: Option<String>,
}

/// Why a store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The name belongs to another key.
    #[error("the name {0:?} is taken by another API key")]
    NameTaken(String),
    /// There is no such key.
    #[error("there is no API key {0}")]
    NoSuchKey(String),
    /// The secret is not at the version that was to be replaced.
    #[error("the shared secret is at version {actual}, not at {expected}")]
    VersionConflict {
        /// What the caller thought.
        expected: u32,
        /// What it is.
        actual: u32,
    },
    /// The key changed since it was read.
    #[error("API key {0} was changed by someone else in the meantime; read it again")]
    Changed(KeyId),
    /// There is no such revision yet, or no longer (another history).
    #[error("the store stands at revision {head}; there is no revision {asked}")]
    NoSuchRevision {
        /// What was asked for.
        asked: u64,
        /// The last one.
        head: u64,
    },
    /// `init` has not been run.
    #[error("the store at {0} is empty or missing; run `keygate init` first")]
    NotInitialised(String),
    /// A newer keygate has migrated the store.
    #[error("the store has schema version {found}; this keygate knows up to {known}. Use a newer keygate")]
    NewerSchema {
        /// Of the store.
        found: i64,
        /// Of this binary.
        known: i64,
    },
    /// Something in the store has not the form that it must have.
    #[error("the store holds {0}, which is not valid")]
    Corrupt(String),
    /// The master key is not the one that sealed the secrets, or they were tampered with.
    #[error(transparent)]
    Seal(#[from] seal::SealError),
    /// The database said no, or nothing.
    #[error("the store could not {0}: {1}")]
    Database(&'static str, #[source] sqlx::Error),
    /// The same while it was being opened.
    #[error("the store at {at} could not {doing}: {source}{hint}")]
    Unopened {
        /// Its file.
        at: String,
        /// What it could not do.
        doing: &'static str,
        /// What may be behind it, where the database does not tell.
        hint: &'static str,
        /// What the database said.
        source: sqlx::Error,
    },
}

/// The result of everything here.
pub type Result<T> = std::result::Result<T, StoreError>;

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
    /// Only if the key is still at this revision ([`StoreError::Changed`]).
    pub if_revision: Option<u64>,
    /// A new name.
    pub name: Option<KeyName>,
    /// A new description.
    pub description: Option<String>,
    /// A new role.
    pub role: Option<Role>,
    /// A new policy, whole.
    pub policy: Option<Policy>,
    /// Active or disabled ([`Store::delete_key`] deletes).
    pub state: Option<KeyState>,
    /// A new app key's digest (roll).
    pub digest: Option<SecretDigest>,
    /// Raise the epoch.
    pub raise_epoch: bool,
}

/// The store's operations. Each is one transaction; a change returns the counter that it made.
///
/// `seal` parameters are closures because what is sealed is bound to the version, which only the transaction
/// knows.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The store's own random id: associated data of everything sealed.
    fn store_id(&self) -> &str;

    // Reading.

    /// Counter and secrets, and every key (tombstones too) into `each`, of one snapshot.
    async fn load(&self, each: &mut (dyn FnMut(ApiKey) + Send)) -> Result<Snapshot>;
    /// What came after `from`. [`Changes::Reload`] if `from` is behind the horizon, [`Changes::OtherHistory`] if it
    /// is of another history.
    async fn changes_since(&self, from: &Head) -> Result<Changes>;
    /// The counter.
    async fn head(&self) -> Result<Head>;
    /// Secrets, with the counter they belong to.
    async fn secrets(&self) -> Result<Snapshot>;
    /// A key by id, with its usage. Tombstones too.
    async fn key(&self, id: KeyId) -> Result<Option<(ApiKey, Usage)>>;
    /// A key by name; never a tombstone.
    async fn key_named(&self, name: &str) -> Result<Option<(ApiKey, Usage)>>;
    /// Keys by name, ascending.
    async fn keys(&self, filter: &KeyFilter) -> Result<Vec<(ApiKey, Usage)>>;
    /// The latest audit records, newest first.
    async fn audit(&self, limit: u32) -> Result<Vec<AuditRecord>>;
    /// Operators by name.
    async fn operators(&self) -> Result<Vec<Operator>>;

    // Changing keys and secrets (`lifecycle` only).

    /// Makes a key.
    async fn insert_key(&self, key: &NewKey, change_id: &str, audit: &Audit<'_>) -> Result<Head>;
    /// Changes a key; returns what it was and what it is.
    async fn update_key(
        &self,
        id: KeyId,
        update: &KeyUpdate,
        change_id: &str,
        audit: &Audit<'_>,
    ) -> Result<(ApiKey, ApiKey, Head)>;
    /// Makes a tombstone of a key: digest erased, name freed, epoch raised.
    async fn delete_key(&self, id: KeyId, change_id: &str, audit: &Audit<'_>) -> Result<Head>;
    /// Makes `sealed` the current secret of version `expected + 1`. The version before is erased, or with
    /// `grace_until` kept as previous until then; what was previous before is erased in any case.
    async fn replace_secret(
        &self,
        expected: u32,
        sealed: Vec<u8>,
        grace_until: Option<WallTime>,
        change_id: &str,
        audit: &Audit<'_>,
    ) -> Result<Head>;
    /// Erases the previous secret. `Ok(None)` when there is none.
    async fn end_grace(&self, change_id: &str, audit: &Audit<'_>) -> Result<Option<Head>>;
    /// Puts newly sealed bytes in place of those of the named versions (master-key rotation). No revision.
    async fn reseal(&self, sealed: &[(u32, Vec<u8>)], audit: &Audit<'_>) -> Result<()>;
    /// Writes an audit record of something that changed nothing (viewing the secret).
    async fn record(&self, audit: &Audit<'_>) -> Result<()>;
    /// Makes an operator.
    async fn insert_operator(&self, operator: &Operator, audit: &Audit<'_>) -> Result<()>;

    // Usage (`usage::flush` only): no revision, no audit, no notification.

    /// Merges a sorted batch.
    async fn merge_usage(&self, batch: &[UsageDelta]) -> Result<()>;

    // Nodes (`fleet` only).

    /// Writes a node's row.
    async fn join(&self, node: &NodeRow) -> Result<()>;
    /// Own row and counter, in one statement. Reads only.
    async fn renew(&self, incarnation: &str) -> Result<RenewalReading>;
    /// Writes `applied` (never lowers it). `false` when the row is gone.
    async fn confirm(&self, incarnation: &str, applied: u64) -> Result<bool>;
    /// Writes `seen_at`.
    async fn seen(&self, incarnation: &str, at: WallTime) -> Result<()>;
    /// All rows.
    async fn nodes(&self) -> Result<Vec<NodeRow>>;
    /// Deletes a node's row: its process has left or is gone.
    async fn remove_node(&self, incarnation: &str) -> Result<()>;
    /// Deletes a node's row if it has not confirmed this revision, in one statement: a node that confirms at the
    /// same time either keeps its row or is told that it has none.
    async fn remove_silent_node(&self, incarnation: &str, revision: u64) -> Result<()>;

    /// Resolves when the store may have changed; a hint, which may come late or never.
    async fn hint(&self);
}

/// Proof that a node's process is alive or gone, beside its row. On SQLite a file lock; elsewhere none.
pub trait NodeLocks: Send + Sync + 'static {
    /// Takes this process's lock and holds it until the process ends.
    ///
    /// # Errors
    /// When the lock file cannot be made or locked.
    fn hold(&self, incarnation: &str) -> std::io::Result<()>;
    /// Is the process of this incarnation surely gone?
    fn surely_gone(&self, incarnation: &str) -> bool;
    /// Removes what a gone process left.
    fn forget(&self, incarnation: &str);
}
