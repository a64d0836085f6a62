//! The store: the only truth about keys, secrets, nodes, operators, usage and audit.
//!
//! Every change takes the next revision of a one-row counter, with a random change id, and writes its audit
//! record in the same transaction. Serialised by that row, so nobody sees revision n+1 and misses n. The store
//! knows nothing of plain secrets: it is handed digests and sealed bytes.
//!
//! Called by `lifecycle` (changes), `fleet` (leases), `keyring::follow`, `usage::flush`. Never by the data plane.

mod operator;
mod query;
mod rows;
pub mod seal;
pub mod sqlite;

use async_trait::async_trait;

use crate::clock::WallTime;
use crate::credential::{KeyId, SecretDigest};

pub use operator::{Operator, OperatorRole, OperatorRoleError, Session};
pub use query::{
    AuditQuery, KeyCounts, KeyCursor, KeyCursorError, KeyFilter, KeyPage, KeyQuery, KeySort, KeySortError,
};
pub use rows::{
    Actor, ApiKey, Audit, AuditRecord, Change, Changes, Head, KeyUpdate, NewKey, NodeRow, RenewalReading, Resealed,
    SealedSecret, SecretVersion, Secrets, Snapshot, Usage, UsageDelta,
};

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
    /// The shared secrets, or the keys beside them, are not those that were read.
    #[error("the shared secret was changed by someone else in the meantime; try again")]
    SecretsChanged,
    /// The key changed since it was read.
    #[error("API key {0} was changed by someone else in the meantime; read it again")]
    Changed(KeyId),
    /// The name belongs to another operator.
    #[error("there is an operator {0:?} already")]
    OperatorNameTaken(String),
    /// There is no such operator.
    #[error("there is no operator {0}")]
    NoSuchOperator(String),
    /// Whoever does this was removed in the meantime.
    #[error("the operator who asked for this has been removed")]
    OperatorGone,
    /// Without this operator, nobody could manage anything by page or API.
    #[error("this is the last operator with the role admin; make another one first")]
    LastAdmin,
    /// A place in a list that is sorted otherwise.
    #[error("the cursor belongs to a list in another order; begin at the first page")]
    OtherOrder,
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
    /// One page of keys in one order. [`StoreError::OtherOrder`] for a cursor of another one.
    async fn key_page(&self, query: &KeyQuery) -> Result<KeyPage>;
    /// All keys by name, page by page: what comes or goes meanwhile may be missing.
    async fn keys(&self, filter: &KeyFilter) -> Result<Vec<(ApiKey, Usage)>> {
        let mut query = KeyQuery { filter: filter.clone(), limit: KeyQuery::MOST, ..KeyQuery::default() };
        let mut keys = Vec::new();
        loop {
            let page = self.key_page(&query).await?;
            keys.extend(page.keys);
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(keys),
            }
        }
    }
    /// How many keys there are, and how many of them were used since this moment.
    async fn key_counts(&self, since: WallTime) -> Result<KeyCounts>;
    /// Audit records, newest first.
    async fn audit_page(&self, query: &AuditQuery) -> Result<Vec<AuditRecord>>;
    /// The latest audit records, newest first.
    async fn audit(&self, limit: u32) -> Result<Vec<AuditRecord>> {
        self.audit_page(&AuditQuery { limit, ..AuditQuery::default() }).await
    }
    /// An operator by id.
    async fn operator(&self, id: KeyId) -> Result<Option<Operator>>;
    /// Operators by name.
    async fn operators(&self) -> Result<Vec<Operator>>;
    /// The session with this digest and its operator, whether it has expired or not: that is the caller's to say.
    async fn session(&self, digest: &SecretDigest) -> Result<Option<(Session, Operator)>>;

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
    /// Makes a tombstone of a key: digest erased, name freed, epoch raised. With `if_revision` only if it is still at that
    /// one ([`StoreError::Changed`]).
    async fn delete_key(&self, id: KeyId, if_revision: Option<u64>, change_id: &str, audit: &Audit<'_>)
    -> Result<Head>;
    /// Makes `sealed` the current secret of version `expected + 1`. The version before is erased, or with
    /// `grace_until` kept as previous until then; what was previous before is erased in any case. A version's signing
    /// key goes wherever its secret goes.
    async fn replace_secret(
        &self,
        expected: u32,
        sealed: SealedSecret,
        grace_until: Option<WallTime>,
        change_id: &str,
        audit: &Audit<'_>,
    ) -> Result<Head>;
    /// Erases the previous secret. `Ok(None)` when there is none.
    async fn end_grace(&self, change_id: &str, audit: &Audit<'_>) -> Result<Option<Head>>;
    /// Puts newly sealed bytes in place of those of the named versions (master-key rotation). No revision.
    /// [`StoreError::SecretsChanged`] unless they are exactly the live versions, each with a signing key if it has
    /// one.
    async fn reseal(&self, sealed: &[Resealed], audit: &Audit<'_>) -> Result<()>;
    /// Gives signing keys (sealed) to the live versions that have none. `Ok(None)`, and nothing is written, when all
    /// have one; [`StoreError::SecretsChanged`] unless those without are exactly the named ones;
    /// [`seal::SealError::OtherMasterKey`] unless they are sealed with the master key that the secrets are sealed with.
    async fn add_signing_keys(
        &self,
        keys: &[(u32, Vec<u8>)],
        change_id: &str,
        audit: &Audit<'_>,
    ) -> Result<Option<Head>>;
    /// Writes an audit record of something that changed nothing (viewing the secret).
    async fn record(&self, audit: &Audit<'_>) -> Result<()>;

    // Operators and their sessions: no revision.

    /// Makes an operator. [`StoreError::OperatorNameTaken`] when there is one of this name.
    async fn insert_operator(&self, operator: &Operator, audit: &Audit<'_>) -> Result<()>;
    /// Removes an operator and ends its sessions and login links. [`StoreError::LastAdmin`] for the last one who can
    /// do everything.
    async fn remove_operator(&self, id: KeyId, audit: &Audit<'_>) -> Result<()>;
    /// Gives an operator another token; ends its sessions and login links.
    async fn rotate_operator(&self, id: KeyId, digest: SecretDigest, audit: &Audit<'_>) -> Result<()>;
    /// Opens a session: the operator's last login.
    async fn insert_session(&self, session: &Session, audit: &Audit<'_>) -> Result<()>;
    /// Writes when a session was last used; never an earlier time than it has.
    async fn touch_session(&self, digest: &SecretDigest, at: WallTime) -> Result<()>;
    /// Ends a session. The audit record is written only if there was one. `false` when there was none.
    async fn remove_session(&self, digest: &SecretDigest, audit: Option<&Audit<'_>>) -> Result<bool>;
    /// Makes a one-time login link of an operator.
    async fn insert_login_link(
        &self,
        digest: SecretDigest,
        operator: KeyId,
        expires_at: WallTime,
        audit: &Audit<'_>,
    ) -> Result<()>;
    /// Takes a login link, which is gone then. `None` when there is none or it has expired.
    async fn take_login_link(&self, digest: &SecretDigest, now: WallTime) -> Result<Option<Operator>>;
    /// Deletes sessions and login links that have expired.
    async fn purge_sessions(&self, now: WallTime) -> Result<()>;

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
