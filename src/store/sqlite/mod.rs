//! The store in one SQLite file, for one machine: the embedded default.
//!
//! The file is in write-ahead mode with `synchronous=FULL`: what was acknowledged survives the process and the
//! power. Here are the connections and the facade; what is written and read is in the files beside. Readers never
//! wait for a writer, of this process or another, and go on when the disk is full.
//!
//! Made by `app` and the commands; used through [`Store`].

mod audit;
mod changes;
mod connection;
mod hint;
mod key_page;
mod key_row;
mod key_text;
mod keys;
mod locks;
mod migrate;
mod nodes;
mod operators;
mod policy;
mod row;
mod secrets;
mod sessions;
#[cfg(test)]
mod tests;
mod usage;

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::Row as _;

use self::connection::{Lent, Pool, Purpose, options};
use self::hint::Watch;
pub use self::locks::SqliteNodeLocks;
use super::{
    ApiKey, Audit, AuditQuery, AuditRecord, Changes, Head, KeyCounts, KeyPage, KeyQuery, KeyUpdate, NewKey, NodeRow,
    Operator, RenewalReading, Result, Session, Snapshot, Store, StoreError, Usage, UsageDelta,
};
use crate::clock::WallTime;
use crate::credential::{KeyId, SecretDigest};

/// Connections for reading, beside the one for leases. A load holds one for as long as it takes.
const READERS: usize = 3;

/// How often, and with what pauses, the log is tried to be emptied after something was erased.
const SCRUB_TRIES: u32 = 5;
const SCRUB_PAUSE: Duration = Duration::from_millis(10);

/// The store in a file.
pub struct SqliteStore {
    path: PathBuf,
    store_id: String,
    /// One: SQLite has one writer at a time.
    writer: Pool,
    readers: Pool,
    /// For renewals alone, which must not queue behind lists.
    lease: Pool,
    watch: Watch,
}

impl SqliteStore {
    /// Opens an existing store and brings its schema up to date.
    ///
    /// # Errors
    /// [`StoreError::NotInitialised`] without a file or a schema, [`StoreError::NewerSchema`],
    /// [`StoreError::Corrupt`] for another program's database, [`StoreError::Unopened`].
    pub async fn open(path: &Path) -> Result<Self> {
        Self::connect(path).await.map_err(row::unopened(path))
    }

    async fn connect(path: &Path) -> Result<Self> {
        let store_id = migrate::bring_up_to_date(path).await?;
        let (write, read) = (options(path, Purpose::Write), options(path, Purpose::Read));
        Ok(Self {
            path: path.to_owned(),
            store_id,
            writer: Pool::open(write, 1).await?,
            readers: Pool::open(read.clone(), READERS).await?,
            lease: Pool::open(read.clone(), 1).await?,
            watch: Watch::open(read).await?,
        })
    }

    /// Makes the file (mode 0600) and the schema, or opens the store that is there, whose id then stays.
    ///
    /// # Errors
    /// As [`SqliteStore::open`], and [`StoreError::Unopened`] when the file cannot be made.
    pub async fn create(path: &Path, store_id: &str) -> Result<Self> {
        migrate::create(path, store_id).await.map_err(row::unopened(path))?;
        Self::open(path).await
    }

    /// Has there ever been a shared secret?
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn has_secret(&self) -> Result<bool> {
        let mut lent = self.readers.lend().await?;
        let outcome = secrets::exists(&mut lent.conn).await;
        lent.settle(outcome).await
    }

    /// Makes version 1 of the shared secret, only if there has never been any; `false` when there has.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn put_first_secret(
        &self,
        sealed: Vec<u8>,
        created_at: WallTime,
        change_id: &str,
        audit: &Audit<'_>,
    ) -> Result<bool> {
        let mut tx = self.change().await?;
        let outcome = secrets::insert_first(&mut tx.conn, &sealed, created_at, change_id, audit).await;
        Ok(tx.settle(outcome).await?.is_some())
    }

    /// Deletes audit records before `audit_before` (`None`: none of them), and all but the last `changes_keep`
    /// changes. A follower that is further behind loads anew.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn purge(&self, audit_before: Option<WallTime>, changes_keep: u64) -> Result<()> {
        let mut tx = self.change().await?;
        let outcome = changes::purge(&mut tx.conn, audit_before, changes_keep).await;
        tx.settle(outcome).await
    }

    /// A transaction that holds the write lock from its beginning: what it reads cannot change under it.
    async fn change(&self) -> Result<Lent<'_>> {
        self.writer.begin("BEGIN IMMEDIATE").await
    }

    /// A transaction that sees one moment of the store.
    async fn snapshot(&self) -> Result<Lent<'_>> {
        self.readers.begin("BEGIN").await
    }

    fn path(&self) -> String {
        self.path.display().to_string()
    }

    /// Empties the write-ahead log, in which erased bytes are still to be read, after a change that erased some.
    /// The change has succeeded whatever becomes of this: what a busy moment leaves, the next [`Store::seen`] takes.
    async fn scrub(&self) {
        for attempt in 1..=SCRUB_TRIES {
            if self.empty_log().await.unwrap_or(true) {
                return;
            }
            if attempt < SCRUB_TRIES {
                tokio::time::sleep(SCRUB_PAUSE).await;
            }
        }
    }

    /// One attempt, which waits for nobody. `false` when a reader or writer was in the way.
    async fn empty_log(&self) -> std::result::Result<bool, StoreError> {
        let mut lent = self.writer.lend().await?;
        let outcome = async {
            sqlx::query("PRAGMA busy_timeout = 0").execute(&mut lent.conn).await?;
            let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut lent.conn).await?;
            sqlx::query("PRAGMA busy_timeout = 5000").execute(&mut lent.conn).await?;
            row.try_get::<i64, _>(0)
        };
        let outcome = outcome.await.map(|busy| busy == 0).map_err(row::failed("empty the log"));
        lent.settle(outcome).await
    }
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.path)
            .field("store_id", &self.store_id)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn store_id(&self) -> &str {
        &self.store_id
    }

    async fn load(&self, each: &mut (dyn FnMut(ApiKey) + Send)) -> Result<Snapshot> {
        let mut tx = self.snapshot().await?;
        let outcome = async {
            let head = changes::head(&mut tx.conn).await?;
            let secrets = secrets::read(&mut tx.conn, &self.path()).await?;
            keys::each(&mut tx.conn, each).await?;
            Ok(Snapshot { head, secrets })
        };
        let outcome = outcome.await;
        tx.settle(outcome).await
    }

    async fn changes_since(&self, from: &Head) -> Result<Changes> {
        let mut tx = self.snapshot().await?;
        let outcome = changes::since(&mut tx.conn, &self.path(), from).await;
        tx.settle(outcome).await
    }

    async fn head(&self) -> Result<Head> {
        let mut lent = self.lease.lend().await?;
        let outcome = changes::head(&mut lent.conn).await;
        lent.settle(outcome).await
    }

    async fn secrets(&self) -> Result<Snapshot> {
        let mut tx = self.snapshot().await?;
        let outcome = async {
            let head = changes::head(&mut tx.conn).await?;
            Ok(Snapshot { head, secrets: secrets::read(&mut tx.conn, &self.path()).await? })
        };
        let outcome = outcome.await;
        tx.settle(outcome).await
    }

    async fn key(&self, id: KeyId) -> Result<Option<(ApiKey, Usage)>> {
        let mut lent = self.readers.lend().await?;
        let outcome = keys::by_id(&mut lent.conn, id).await;
        lent.settle(outcome).await
    }

    async fn key_named(&self, name: &str) -> Result<Option<(ApiKey, Usage)>> {
        let mut lent = self.readers.lend().await?;
        let outcome = keys::by_name(&mut lent.conn, name).await;
        lent.settle(outcome).await
    }

    async fn key_page(&self, query: &KeyQuery) -> Result<KeyPage> {
        let mut tx = self.snapshot().await?;
        let outcome = key_page::read(&mut tx.conn, query).await;
        tx.settle(outcome).await
    }

    async fn key_counts(&self, since: WallTime) -> Result<KeyCounts> {
        let mut tx = self.snapshot().await?;
        let outcome = key_page::counts(&mut tx.conn, since).await;
        tx.settle(outcome).await
    }

    async fn audit_page(&self, query: &AuditQuery) -> Result<Vec<AuditRecord>> {
        let mut lent = self.readers.lend().await?;
        let outcome = audit::page(&mut lent.conn, query).await;
        lent.settle(outcome).await
    }

    async fn operator(&self, id: KeyId) -> Result<Option<Operator>> {
        let mut lent = self.readers.lend().await?;
        let outcome = operators::by_id(&mut lent.conn, id).await;
        lent.settle(outcome).await
    }

    async fn operators(&self) -> Result<Vec<Operator>> {
        let mut lent = self.readers.lend().await?;
        let outcome = operators::all(&mut lent.conn).await;
        lent.settle(outcome).await
    }

    async fn session(&self, digest: &SecretDigest) -> Result<Option<(Session, Operator)>> {
        let mut lent = self.readers.lend().await?;
        let outcome = sessions::find(&mut lent.conn, digest).await;
        lent.settle(outcome).await
    }

    async fn insert_key(&self, key: &NewKey, change_id: &str, audit: &Audit<'_>) -> Result<Head> {
        let mut tx = self.change().await?;
        let outcome = keys::insert(&mut tx.conn, key, change_id, audit).await;
        tx.settle(outcome).await
    }

    async fn update_key(
        &self,
        id: KeyId,
        update: &KeyUpdate,
        change_id: &str,
        audit: &Audit<'_>,
    ) -> Result<(ApiKey, ApiKey, Head)> {
        let mut tx = self.change().await?;
        let outcome = keys::update(&mut tx.conn, id, update, change_id, audit).await;
        let done = tx.settle(outcome).await?;
        if !done.0.digest.matches(&done.1.digest) {
            self.scrub().await;
        }
        Ok(done)
    }

    async fn delete_key(&self, id: KeyId, change_id: &str, audit: &Audit<'_>) -> Result<Head> {
        let mut tx = self.change().await?;
        let outcome = keys::delete(&mut tx.conn, id, change_id, audit).await;
        let head = tx.settle(outcome).await?;
        self.scrub().await;
        Ok(head)
    }

    async fn replace_secret(
        &self,
        expected: u32,
        sealed: Vec<u8>,
        grace_until: Option<WallTime>,
        change_id: &str,
        audit: &Audit<'_>,
    ) -> Result<Head> {
        let mut tx = self.change().await?;
        let outcome =
            secrets::replace(&mut tx.conn, &self.path(), expected, &sealed, grace_until, change_id, audit).await;
        let head = tx.settle(outcome).await?;
        self.scrub().await;
        Ok(head)
    }

    async fn end_grace(&self, change_id: &str, audit: &Audit<'_>) -> Result<Option<Head>> {
        let mut tx = self.change().await?;
        let outcome = secrets::end_grace(&mut tx.conn, change_id, audit).await;
        let head = tx.settle(outcome).await?;
        if head.is_some() {
            self.scrub().await;
        }
        Ok(head)
    }

    async fn reseal(&self, sealed: &[(u32, Vec<u8>)], audit: &Audit<'_>) -> Result<()> {
        let mut tx = self.change().await?;
        let outcome = secrets::reseal(&mut tx.conn, &self.path(), sealed, audit).await;
        tx.settle(outcome).await?;
        self.scrub().await;
        Ok(())
    }

    async fn record(&self, audit: &Audit<'_>) -> Result<()> {
        let mut tx = self.change().await?;
        let outcome = audit::insert(&mut tx.conn, audit, None).await;
        tx.settle(outcome).await
    }

    async fn insert_operator(&self, operator: &Operator, audit: &Audit<'_>) -> Result<()> {
        let mut tx = self.change().await?;
        let outcome = operators::insert(&mut tx.conn, operator, audit).await;
        tx.settle(outcome).await
    }

    async fn remove_operator(&self, id: KeyId, audit: &Audit<'_>) -> Result<()> {
        let mut tx = self.change().await?;
        let outcome = operators::remove(&mut tx.conn, id, audit).await;
        tx.settle(outcome).await
    }

    async fn rotate_operator(&self, id: KeyId, digest: SecretDigest, audit: &Audit<'_>) -> Result<()> {
        let mut tx = self.change().await?;
        let outcome = operators::rotate(&mut tx.conn, id, &digest, audit).await;
        tx.settle(outcome).await
    }

    async fn insert_session(&self, session: &Session, audit: &Audit<'_>) -> Result<()> {
        let mut tx = self.change().await?;
        let outcome = sessions::insert(&mut tx.conn, session, audit).await;
        tx.settle(outcome).await
    }

    async fn touch_session(&self, digest: &SecretDigest, at: WallTime) -> Result<()> {
        let mut tx = self.change().await?;
        let outcome = sessions::touch(&mut tx.conn, digest, at).await;
        tx.settle(outcome).await
    }

    async fn remove_session(&self, digest: &SecretDigest, audit: Option<&Audit<'_>>) -> Result<bool> {
        let mut tx = self.change().await?;
        let outcome = sessions::remove(&mut tx.conn, digest, audit).await;
        tx.settle(outcome).await
    }

    async fn insert_login_link(
        &self,
        digest: SecretDigest,
        operator: KeyId,
        expires_at: WallTime,
        audit: &Audit<'_>,
    ) -> Result<()> {
        let mut tx = self.change().await?;
        let outcome = sessions::insert_link(&mut tx.conn, &digest, operator, expires_at, audit).await;
        tx.settle(outcome).await
    }

    async fn take_login_link(&self, digest: &SecretDigest, now: WallTime) -> Result<Option<Operator>> {
        let mut tx = self.change().await?;
        let outcome = sessions::take_link(&mut tx.conn, digest, now).await;
        tx.settle(outcome).await
    }

    async fn purge_sessions(&self, now: WallTime) -> Result<()> {
        let mut tx = self.change().await?;
        let outcome = sessions::purge(&mut tx.conn, now).await;
        tx.settle(outcome).await
    }

    async fn merge_usage(&self, batch: &[UsageDelta]) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut tx = self.change().await?;
        let outcome = usage::merge(&mut tx.conn, batch).await;
        tx.settle(outcome).await
    }

    async fn join(&self, node: &NodeRow) -> Result<()> {
        let mut tx = self.change().await?;
        let outcome = nodes::join(&mut tx.conn, node).await;
        tx.settle(outcome).await
    }

    async fn renew(&self, incarnation: &str) -> Result<RenewalReading> {
        let mut lent = self.lease.lend().await?;
        let outcome = changes::renew(&mut lent.conn, incarnation).await;
        lent.settle(outcome).await
    }

    async fn confirm(&self, incarnation: &str, applied: u64) -> Result<bool> {
        let mut tx = self.change().await?;
        let outcome = nodes::confirm(&mut tx.conn, incarnation, applied).await;
        tx.settle(outcome).await
    }

    async fn seen(&self, incarnation: &str, at: WallTime) -> Result<()> {
        let mut tx = self.change().await?;
        let outcome = nodes::seen(&mut tx.conn, incarnation, at).await;
        tx.settle(outcome).await?;
        // Once a minute, for what another process erased and could not scrub before it ended. Unchecked: a busy
        // moment now is followed by another chance.
        let _ = self.empty_log().await;
        Ok(())
    }

    async fn nodes(&self) -> Result<Vec<NodeRow>> {
        let mut lent = self.readers.lend().await?;
        let outcome = nodes::all(&mut lent.conn).await;
        lent.settle(outcome).await
    }

    async fn remove_node(&self, incarnation: &str) -> Result<()> {
        let mut tx = self.change().await?;
        let outcome = nodes::remove(&mut tx.conn, incarnation).await;
        tx.settle(outcome).await
    }

    async fn remove_silent_node(&self, incarnation: &str, revision: u64) -> Result<()> {
        let mut tx = self.change().await?;
        let outcome = nodes::remove_silent(&mut tx.conn, incarnation, revision).await;
        tx.settle(outcome).await
    }

    async fn hint(&self) {
        self.watch.changed().await;
    }
}
