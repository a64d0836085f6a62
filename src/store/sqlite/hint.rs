//! Noticing that another connection has committed, by looking at `PRAGMA data_version`.
//!
//! The number changes on a connection when any other one, of this process or another, has committed; hence a
//! connection that does nothing else. It reads shared memory only. Called by the store's facade.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Row as _, SqliteConnection};
use tokio::sync::Mutex;

use super::super::Result;
use super::row::failed;

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(20);

/// Notices commits.
pub(super) struct Watch {
    options: SqliteConnectOptions,
    /// `None` after an error, or when a look was cancelled.
    look: Mutex<Option<Look>>,
    /// Raised whenever a look finds another number.
    changes: AtomicU64,
}

struct Look {
    conn: SqliteConnection,
    seen: i64,
}

impl Look {
    async fn open(options: &SqliteConnectOptions) -> std::result::Result<Self, sqlx::Error> {
        let mut look = Self { conn: options.connect().await?, seen: 0 };
        look.seen = look.data_version().await?;
        Ok(look)
    }

    async fn data_version(&mut self) -> std::result::Result<i64, sqlx::Error> {
        sqlx::query("PRAGMA data_version").fetch_one(&mut self.conn).await?.try_get(0)
    }
}

impl Watch {
    /// Watches from now on.
    pub(super) async fn open(options: SqliteConnectOptions) -> Result<Self> {
        let look = Look::open(&options).await.map_err(failed("watch the database"))?;
        Ok(Self { options, look: Mutex::new(Some(look)), changes: AtomicU64::new(0) })
    }

    /// Resolves when there was a commit since the last call resolved. (With several callers, a commit that one of
    /// them finds while another is between two calls is missed by the other: a hint is only a hint.)
    pub(super) async fn changed(&self) {
        let before = self.changes.load(Ordering::Acquire);
        loop {
            self.look().await;
            if self.changes.load(Ordering::Acquire) != before {
                return;
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    async fn look(&self) {
        let mut slot = self.look.lock().await;
        // Taken out while in use: a cancelled look leaves nothing half read behind.
        let (look, changed) = match slot.take() {
            Some(mut look) => match look.data_version().await {
                Ok(now) => {
                    let changed = look.seen != now;
                    look.seen = now;
                    (Some(look), changed)
                }
                Err(_) => (None, false),
            },
            // The numbers of two connections cannot be compared, so a new one means: it may have changed.
            None => match Look::open(&self.options).await {
                Ok(look) => (Some(look), true),
                Err(_) => (None, false),
            },
        };
        *slot = look;
        if changed {
            self.changes.fetch_add(1, Ordering::AcqRel);
        }
    }
}
