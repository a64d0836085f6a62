//! This node's row in the store and the lock beside it: what is written there, and that nothing waits for it.
//!
//! Knows nothing of leases. Called by `member`, which fences the gate before it gives a row up.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::setup::{MemberError, Operation};
use crate::clock::{BootTime, Clock};
use crate::store::{self, NodeLocks, NodeRow, Store};

/// The bounds of how long one write may take, L/5 between them: another process may hold SQLite's write lock.
const WRITE_TIMEOUT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// How long a row's deletion may hold up a node that leaves, or joins anew.
const DELETE_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two writes of `seen_at`.
const SEEN_EVERY: Duration = Duration::from_mins(1);

/// What came of a write.
#[derive(Debug)]
pub(super) enum Written {
    /// The row says that this revision is applied.
    Applied(u64),
    /// There is no row.
    RowGone,
    /// The row says when the node was seen.
    Seen,
    /// The store failed or was silent.
    Failed(Operation, MemberError),
}

type Write = Pin<Box<dyn Future<Output = Written> + Send>>;

/// See the module's text.
pub(super) struct Row {
    store: Arc<dyn Store>,
    locks: Arc<dyn NodeLocks>,
    clock: Arc<dyn Clock>,
    write_timeout: Duration,
    /// Of the row that was written, or may have been.
    incarnation: Option<String>,
    /// Is it known to be written?
    is_written: bool,
    /// The write in flight. One at a time: who writes later writes more.
    write: Option<Write>,
    seen_at: BootTime,
}

impl Row {
    pub(super) fn none(
        store: Arc<dyn Store>,
        locks: Arc<dyn NodeLocks>,
        clock: Arc<dyn Clock>,
        lease: Duration,
    ) -> Self {
        let (seen_at, write_timeout) = (clock.boot(), (lease / 5).clamp(WRITE_TIMEOUT.0, WRITE_TIMEOUT.1));
        Self { store, locks, clock, write_timeout, incarnation: None, is_written: false, write: None, seen_at }
    }

    /// The incarnation of the row, if it is known to be written.
    pub(super) fn incarnation(&self) -> Option<&str> {
        self.incarnation.as_deref().filter(|_| self.is_written)
    }

    /// Writes a row of a new incarnation: the lock first, as a row without a held lock counts as gone.
    pub(super) async fn join(&mut self, row: &NodeRow) -> Result<(), MemberError> {
        self.delete().await;
        self.locks.hold(&row.incarnation).map_err(MemberError::Lock)?;
        // Noted before the call: one that fails or is given up may have written the row all the same.
        self.incarnation = Some(row.incarnation.clone());
        self.seen_at = self.clock.boot();
        within(Operation::Join, self.write_timeout, self.store.join(row)).await?;
        self.is_written = true;
        Ok(())
    }

    /// Deletes the row, if there may be one, and lets go of the lock. The gate is fenced.
    pub(super) async fn delete(&mut self) {
        let Some(incarnation) = self.incarnation.clone() else { return };
        self.is_written = false;
        self.write = None;
        match tokio::time::timeout(DELETE_TIMEOUT, self.store.remove_node(&incarnation)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the row of this node cannot be deleted"),
            Err(_) => tracing::warn!("the row of this node cannot be deleted: the store is silent"),
        }
        self.let_go();
    }

    /// The row is gone already: lets go of the lock. The gate is fenced.
    pub(super) fn let_go(&mut self) {
        self.is_written = false;
        self.write = None;
        if let Some(incarnation) = self.incarnation.take() {
            self.locks.forget(&incarnation);
        }
    }

    /// Begins to write this revision, or when the node was seen, if it is time and no write is in flight.
    pub(super) fn begin_write(&mut self, unconfirmed: Option<u64>) {
        let (None, Some(incarnation)) = (&self.write, self.incarnation().map(str::to_owned)) else { return };
        let (store, patience) = (Arc::clone(&self.store), self.write_timeout);
        if let Some(applied) = unconfirmed {
            self.write = Some(Box::pin(async move {
                match within(Operation::Confirm, patience, store.confirm(&incarnation, applied)).await {
                    Ok(true) => Written::Applied(applied),
                    Ok(false) => Written::RowGone,
                    Err(error) => Written::Failed(Operation::Confirm, error),
                }
            }));
        } else if self.clock.boot().since(self.seen_at) >= SEEN_EVERY {
            // Noted before it is tried: for display only, so once a minute is often enough for a failure too.
            self.seen_at = self.clock.boot();
            let now = self.clock.wall();
            self.write = Some(Box::pin(async move {
                match within(Operation::Seen, patience, store.seen(&incarnation, now)).await {
                    Ok(()) => Written::Seen,
                    Err(error) => Written::Failed(Operation::Seen, error),
                }
            }));
        }
    }

    /// Is a write in flight?
    pub(super) fn is_writing(&self) -> bool {
        self.write.is_some()
    }

    /// What came of the write in flight; never resolves without one. Can be dropped and asked again.
    pub(super) async fn finished(&mut self) -> Written {
        let Some(write) = &mut self.write else { return std::future::pending().await };
        let written = write.await;
        self.write = None;
        written
    }
}

/// The answer of the store, if it comes in time.
pub(super) async fn within<T>(
    operation: Operation,
    patience: Duration,
    call: impl Future<Output = store::Result<T>>,
) -> Result<T, MemberError> {
    match tokio::time::timeout(patience, call).await {
        Ok(answer) => answer.map_err(|error| MemberError::Store(operation, error)),
        Err(_) => Err(MemberError::Silent(operation, patience)),
    }
}
