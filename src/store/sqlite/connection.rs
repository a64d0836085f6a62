//! Connections to the database file, and how they are lent out.
//!
//! A connection goes back only after its transaction has ended cleanly. One that met a database error, or whose
//! borrower was cancelled, is closed instead (which rolls back) and replaced when it is next needed. So no state
//! of the driver can leave a transaction open, and the store works again as soon as the disk does.
//!
//! Called by the other files of this store.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, SqliteConnection};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::super::{Result, StoreError};
use super::row::failed;

/// How long a writer waits for another process's transaction. Readers wait only while a log is being recovered.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Changes, one transaction at a time.
    Write,
    /// Reads; anything else is refused by SQLite.
    Read,
}

/// The settings of a connection.
///
/// The journal mode is a property of the file and is set when the file is made (see `migrate`).
pub(super) fn options(path: &Path, purpose: Purpose) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .synchronous(SqliteSynchronous::Full)
        // What is erased is overwritten, and no temporary file gets a copy.
        .pragma("secure_delete", "ON")
        .pragma("temp_store", "MEMORY")
        // 64 MiB: a log that one large batch has blown up does not stay so.
        .pragma("journal_size_limit", "67108864")
        .disable_statement_logging();
    match purpose {
        // Negative: KiB. A usage batch touches pages all over the file.
        Purpose::Write => options.pragma("cache_size", "-32768"),
        // Opened for writing all the same: only such a connection can recover the log after a crash.
        Purpose::Read => options.pragma("query_only", "ON").row_buffer_size(1024),
    }
}

/// At most a fixed number of connections of one purpose.
pub(super) struct Pool {
    options: SqliteConnectOptions,
    /// Those not lent out, none of them in a transaction. Held for a push or a pop only.
    idle: Mutex<Vec<SqliteConnection>>,
    permits: Semaphore,
}

impl Pool {
    /// Opens `size` connections at once: later, the disk may be full or file descriptors scarce.
    pub(super) async fn open(options: SqliteConnectOptions, size: usize) -> Result<Self> {
        let mut idle = Vec::with_capacity(size);
        for _ in 0..size {
            idle.push(options.connect().await.map_err(failed("open the database"))?);
        }
        Ok(Self { options, idle: Mutex::new(idle), permits: Semaphore::new(size) })
    }

    /// Opens a connection when one is asked for. The driver's thread for it begins as the one that asks is: with its
    /// priority.
    pub(super) fn lazy(options: SqliteConnectOptions, size: usize) -> Self {
        Self { options, idle: Mutex::default(), permits: Semaphore::new(size) }
    }

    /// A connection for single statements.
    pub(super) async fn lend(&self) -> Result<Lent<'_>> {
        let permit = self.permits.acquire().await.map_err(|_| StoreError::Database("lend", sqlx::Error::PoolClosed))?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let conn = match idle {
            Some(conn) => conn,
            None => self.options.connect().await.map_err(failed("open the database"))?,
        };
        Ok(Lent { conn, pool: self, permit, in_transaction: false })
    }

    /// A connection in a transaction of this kind (`BEGIN`, `BEGIN IMMEDIATE`).
    pub(super) async fn begin(&self, begin: &'static str) -> Result<Lent<'_>> {
        let mut lent = self.lend().await?;
        sqlx::query(begin).execute(&mut lent.conn).await.map_err(failed("begin a transaction"))?;
        lent.in_transaction = true;
        Ok(lent)
    }
}

/// A connection on loan. Dropped without [`Lent::settle`], it is closed.
pub(super) struct Lent<'p> {
    /// The connection itself.
    pub(super) conn: SqliteConnection,
    pool: &'p Pool,
    permit: SemaphorePermit<'p>,
    in_transaction: bool,
}

impl Lent<'_> {
    /// Ends the loan with the outcome of the work: commits what succeeded and rolls back what was refused. After a
    /// database error nothing is known of the connection's state, so it is closed.
    pub(super) async fn settle<T>(mut self, outcome: Result<T>) -> Result<T> {
        if matches!(outcome, Err(StoreError::Database(..))) {
            return outcome;
        }
        if self.in_transaction {
            let end = if outcome.is_ok() { "COMMIT" } else { "ROLLBACK" };
            if let Err(error) = sqlx::query(end).execute(&mut self.conn).await {
                return outcome.and(Err(StoreError::Database("commit a transaction", error)));
            }
        }
        let Self { conn, pool, permit, .. } = self;
        pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
        // Only now may the next borrower look for an idle connection.
        drop(permit);
        outcome
    }
}
