//! The store in one SQLite file, for one machine: the embedded default.
//!
//! The file is in write-ahead mode with `synchronous=FULL`: what was acknowledged survives the process and the
//! power. Here are the connections; the operations are in `facade`, and what each writes and reads in the files
//! beside it. Readers never wait for a writer, of this process or another, and go on when the disk is full.
//!
//! Made by `app` and the commands; used through [`Store`](super::Store).

mod audit;
mod changes;
mod connection;
mod facade;
mod hint;
mod key_page;
mod key_row;
mod key_text;
mod keys;
mod locks;
mod migrate;
mod narrowing;
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

use sqlx::Row as _;

use self::connection::{Lent, Pool, Purpose, options};
use self::hint::Watch;
pub use self::locks::SqliteNodeLocks;
use super::{Audit, Result, SealedSecret, StoreError};
use crate::clock::WallTime;

/// Connections for reading, beside the one for leases. A load holds one for as long as it takes.
const READERS: usize = 3;

/// How often, and with what pauses, the log is tried to be emptied after something was erased.
const SCRUB_TRIES: u32 = 5;
const SCRUB_PAUSE: Duration = Duration::from_millis(10);

/// The store in a file.
pub struct SqliteStore {
    path: PathBuf,
    store_id: String,
    /// One: SQLite has one writer at a time; the other waits for its lock.
    writer: Pool,
    /// For last logins, which many write and nobody waits for: changes of keys do not queue behind them.
    usage: Pool,
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
            writer: Pool::open(write.clone(), 1).await?,
            usage: Pool::lazy(write, 1),
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
        sealed: SealedSecret,
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

    /// Erases the shared secret version before the current one once its grace period is over.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn retire_ended_grace(&self, now: WallTime) -> Result<()> {
        let mut tx = self.change().await?;
        let outcome = secrets::retire_ended(&mut tx.conn, now).await;
        if tx.settle(outcome).await? {
            self.scrub().await;
        }
        Ok(())
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
    /// The change has succeeded whatever becomes of this: what a busy moment leaves, the next [`seen`](super::Store::seen) takes.
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
