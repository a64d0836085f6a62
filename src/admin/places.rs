//! Places for connections, and which of them gives way when all are taken: the one that has gone longest without a
//! request of an operator. So nobody who is none can keep operators out by holding connections, idle or slow.
//!
//! A connection rests from its beginning, is held while a request of a proven operator is under way (`auth` says so),
//! and rests again after its answer. Used by `server`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How long a place is waited for before another connection is asked to give way.
const PATIENCE: Duration = Duration::from_millis(100);
/// In the place of a turn: an operator's request is under way, or it is leaving already.
const STAYS: u64 = u64::MAX;

/// All places.
#[derive(Debug)]
pub struct Places {
    permits: Arc<Semaphore>,
    turns: AtomicU64,
    taken: Mutex<Vec<Arc<Turn>>>,
}

impl Places {
    /// So many.
    #[must_use]
    pub fn new(count: usize) -> Arc<Self> {
        Arc::new(Self { permits: Arc::new(Semaphore::new(count)), turns: AtomicU64::new(0), taken: Mutex::default() })
    }

    /// A place, at once or when another connection has given way. While operators' requests are under way on all of
    /// them, nobody has to.
    pub async fn take(self: &Arc<Self>) -> Place {
        let permit = match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => Some(permit),
            Err(_) => self.permit_of_another().await,
        };
        let turn = Arc::new(Turn { rests_since: AtomicU64::new(self.next()), leave: Notify::new() });
        self.taken.lock().push(Arc::clone(&turn));
        Place { turn, places: Arc::clone(self), _permit: permit }
    }

    async fn permit_of_another(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            self.ask_the_longest_resting_to_leave();
            // The semaphore is never closed; were it, connections would only lose their limit.
            if let Ok(permit) = timeout(PATIENCE, Arc::clone(&self.permits).acquire_owned()).await {
                return permit.ok();
            }
        }
    }

    fn ask_the_longest_resting_to_leave(&self) {
        let taken = self.taken.lock();
        let since = |turn: &Arc<Turn>| turn.rests_since.load(Ordering::Relaxed);
        let longest = taken.iter().filter(|turn| since(turn) != STAYS).min_by_key(|turn| since(turn));
        if let Some(turn) = longest {
            turn.rests_since.store(STAYS, Ordering::Relaxed);
            turn.leave.notify_one();
        }
    }

    fn next(&self) -> u64 {
        self.turns.fetch_add(1, Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct Turn {
    rests_since: AtomicU64,
    leave: Notify,
}

/// The place of one connection, free again when it is dropped.
pub struct Place {
    turn: Arc<Turn>,
    places: Arc<Places>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// What the connection's requests know of it.
    #[must_use]
    pub fn hold(&self) -> Hold {
        Hold { turn: Arc::clone(&self.turn), places: Arc::clone(&self.places) }
    }

    /// Done when the connection has to give way.
    pub async fn given_way(&self) {
        self.turn.leave.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken.lock().retain(|turn| !Arc::ptr_eq(turn, &self.turn));
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("turn", &self.turn).finish_non_exhaustive()
    }
}

/// Says whether a connection is in use; an extension of its requests.
#[derive(Clone, Debug)]
pub struct Hold {
    turn: Arc<Turn>,
    places: Arc<Places>,
}

impl Hold {
    /// A request of an operator is under way.
    pub fn keep(&self) {
        self.turn.rests_since.store(STAYS, Ordering::Relaxed);
    }

    /// It is answered.
    pub fn rest(&self) {
        self.turn.rests_since.store(self.places.next(), Ordering::Relaxed);
    }
}
