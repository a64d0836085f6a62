//! Waiting until a change is in force everywhere: the revoker's side of the lease.
//!
//! [`Vigil`] decides and is pure; [`wait`] reads the rows and sleeps. Called by `lifecycle` after a change was
//! committed, and again by whoever asks for an old revision. Never holds a lock, never undoes anything.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::lease::margin;
use crate::clock::{BootTime, Clock};
use crate::store::{self, Head, NodeLocks, NodeRow, Store, StoreError};

/// Between two looks at the rows: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
/// How long one call of the store may take. Readings are then tried again.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// Without the rows nothing can be said at all, so the first reading is tried for this long.
const FIRST_READ_PATIENCE: Duration = Duration::from_secs(10);

/// The answer of every revoking call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Revocation {
    /// The revision that was waited for.
    pub revision: u64,
    /// Ids of the nodes that wrote that they have applied it; sorted.
    pub confirmed: Vec<String>,
    /// Ids of the nodes that did not, and whose lease is surely over; sorted.
    pub fenced: Vec<String>,
    /// No admission decision that begins from now on uses the old authority. False only when the wait was cut short.
    pub promise_held: bool,
    /// From the acknowledgement of the commit to this answer, in milliseconds.
    pub took_ms: u64,
}

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until the promise holds.
    Full,
    /// Not at all: look once.
    None,
    /// Until the promise holds, but at most this long.
    AtMost(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// May still admit with less than the revision.
    Pending,
    Confirmed,
    Fenced,
}

#[derive(Clone, Debug)]
struct Watched {
    id: String,
    standing: Standing,
}

/// What a revoker knows of the nodes that were there after its change was committed. Pure.
///
/// Only the rows of the first reading count. A row that appears later was written after the commit, and its node
/// reads the store after it wrote the row, so it begins with the change in force.
#[derive(Clone, Debug)]
pub struct Vigil {
    revision: u64,
    full_time: BootTime,
    /// By incarnation.
    nodes: BTreeMap<String, Watched>,
}

impl Vigil {
    /// `rows` were read after the change of this revision was committed; the revoker's own boot clock was at
    /// `acknowledged` when it learned of that, or later.
    #[must_use]
    pub fn begin(revision: u64, acknowledged: BootTime, rows: &[NodeRow]) -> Self {
        let longest = rows.iter().map(|row| row.lease).max().unwrap_or_default();
        let nodes = rows
            .iter()
            .map(|row| (row.incarnation.clone(), Watched { id: row.id.clone(), standing: Standing::Pending }));
        Self { revision, full_time: acknowledged.plus(longest).plus(margin(longest)), nodes: nodes.collect() }
    }

    /// The rows as they are now, and whether an incarnation's process has surely ended its lease (its lock is free).
    ///
    /// A row that has vanished is one whose lease is over: its node fenced itself and left, or another revoker had
    /// waited for it in full. To that revoker it was silent, and a node admits only with what it has confirmed, so
    /// its last lease was granted before that revoker's commit.
    pub fn observe(&mut self, rows: &[NodeRow], surely_gone: impl Fn(&str) -> bool) {
        let applied: BTreeMap<&str, u64> = rows.iter().map(|row| (row.incarnation.as_str(), row.applied)).collect();
        for (incarnation, node) in self.nodes.iter_mut().filter(|(_, node)| node.standing == Standing::Pending) {
            node.standing = match applied.get(incarnation.as_str()) {
                Some(applied) if *applied >= self.revision => Standing::Confirmed,
                None => Standing::Fenced,
                Some(_) if surely_gone(incarnation) => Standing::Fenced,
                Some(_) => Standing::Pending,
            };
        }
    }

    /// Can no node admit with less than the revision?
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.nodes.values().all(|node| node.standing != Standing::Pending)
    }

    /// When every lease that was granted without the change is over, on the revoker's boot clock: the longest L
    /// of the rows and its margin after the acknowledgement.
    #[must_use]
    pub fn full_time(&self) -> BootTime {
        self.full_time
    }

    /// The full time has passed: whoever is still pending is fenced.
    pub fn full_time_passed(&mut self) {
        for node in self.nodes.values_mut().filter(|node| node.standing == Standing::Pending) {
            node.standing = Standing::Fenced;
        }
    }

    /// The incarnations that are fenced: their rows can be deleted.
    pub fn fenced(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().filter(|(_, node)| node.standing == Standing::Fenced).map(|(key, _)| key.as_str())
    }

    /// The answer, `took` after the acknowledgement.
    #[must_use]
    pub fn answer(&self, took: Duration) -> Revocation {
        let ids = |standing| {
            let mut ids: Vec<String> =
                self.nodes.values().filter(|node| node.standing == standing).map(|node| node.id.clone()).collect();
            ids.sort_unstable();
            ids.dedup();
            ids
        };
        Revocation {
            revision: self.revision,
            confirmed: ids(Standing::Confirmed),
            fenced: ids(Standing::Fenced),
            promise_held: self.is_settled(),
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// Waits until the change of `revision`, whose commit was acknowledged at `acknowledged` on this boot clock, is in
/// force everywhere. For an old revision of which that is no longer known, `acknowledged` is now.
///
/// Dropping it stops the waiting and changes nothing else; it can be asked again.
///
/// # Errors
/// When the nodes' rows cannot be read at all: the change is committed then, and nothing is known of the nodes.
/// [`StoreError::NoSuchRevision`] for what is not committed: to wait for it would take living nodes for silent ones.
pub async fn wait(
    store: &dyn Store,
    locks: &dyn NodeLocks,
    clock: &dyn Clock,
    revision: u64,
    acknowledged: BootTime,
    wait: Wait,
) -> store::Result<Revocation> {
    let limit = match wait {
        Wait::Full => None,
        Wait::None => Some(clock.boot()),
        Wait::AtMost(longest) => Some(clock.boot().plus(longest)),
    };
    let is_over = |at: Option<BootTime>| at.is_some_and(|at| clock.boot() >= at);
    let (mut rows, head) = first_reading(store, clock, limit).await?;
    if head.revision < revision {
        return Err(StoreError::NoSuchRevision { asked: revision, head: head.revision });
    }
    let mut vigil = Vigil::begin(revision, acknowledged, &rows);
    let mut pause = FIRST_PAUSE;
    loop {
        vigil.observe(&rows, |incarnation| locks.surely_gone(incarnation));
        if is_over(Some(vigil.full_time())) {
            vigil.full_time_passed();
        }
        if vigil.is_settled() || is_over(limit) {
            break;
        }
        let next = limit.map_or(vigil.full_time(), |limit| limit.min(vigil.full_time()));
        tokio::time::sleep(pause.min(next.since(clock.boot()))).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        // A reading that fails or hangs says nothing new; the full time passes all the same.
        let patience = CALL_TIMEOUT.min(next.since(clock.boot())).max(LONGEST_PAUSE);
        match tokio::time::timeout(patience, store.nodes()).await {
            Ok(Ok(read)) => rows = read,
            Ok(Err(error)) => tracing::debug!(%error, "cannot read the nodes while waiting for them"),
            Err(_) => tracing::debug!("reading the nodes takes too long while waiting for them"),
        }
    }
    delete_fenced(store, locks, &vigil, &rows).await;
    Ok(vigil.answer(clock.boot().since(acknowledged)))
}

async fn first_reading(
    store: &dyn Store,
    clock: &dyn Clock,
    limit: Option<BootTime>,
) -> store::Result<(Vec<NodeRow>, Head)> {
    let patience = clock.boot().plus(FIRST_READ_PATIENCE);
    let give_up = limit.map_or(patience, |limit| limit.min(patience));
    let mut pause = FIRST_PAUSE;
    loop {
        let reading = async { Ok((store.nodes().await?, store.head().await?)) };
        let reading = tokio::time::timeout(CALL_TIMEOUT, reading).await;
        match reading.unwrap_or(Err(StoreError::Database("read the nodes", sqlx::Error::PoolTimedOut))) {
            Ok(reading) => return Ok(reading),
            Err(error) if clock.boot() >= give_up => return Err(error),
            Err(error) => tracing::debug!(%error, "cannot read the nodes yet"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// So that the next revoker does not wait for them. A node that is alive after all finds its row gone and joins
/// anew. Best effort: a row that stays costs time later, never the promise.
async fn delete_fenced(store: &dyn Store, locks: &dyn NodeLocks, vigil: &Vigil, rows: &[NodeRow]) {
    for incarnation in vigil.fenced() {
        let is_gone = locks.surely_gone(incarnation);
        if rows.iter().any(|row| row.incarnation == incarnation) {
            let deletion = if is_gone {
                store.remove_node(incarnation)
            } else {
                // It may confirm at this moment, and has its lease then: only the store can tell which came first.
                store.remove_silent_node(incarnation, vigil.revision)
            };
            match tokio::time::timeout(CALL_TIMEOUT, deletion).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "cannot delete the row of a silent node"),
                Err(_) => tracing::warn!("deleting the row of a silent node takes too long"),
            }
        }
        if is_gone {
            locks.forget(incarnation);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::WallTime;

    fn row(incarnation: &str, applied: u64, lease: u64) -> NodeRow {
        NodeRow {
            id: format!("node-{incarnation}"),
            incarnation: incarnation.into(),
            version: "0".into(),
            lease: Duration::from_secs(lease),
            applied,
            joined_at: WallTime::EPOCH,
            seen_at: WallTime::EPOCH,
        }
    }

    fn alive(_: &str) -> bool {
        false
    }

    #[test]
    fn nobody_is_waited_for_where_nobody_is() {
        let vigil = Vigil::begin(3, BootTime::ZERO, &[]);
        assert!(vigil.is_settled());
        assert!(vigil.answer(Duration::ZERO).promise_held);
    }

    #[test]
    fn the_full_time_is_the_longest_lease_and_its_margin() {
        let vigil = Vigil::begin(3, BootTime::from_nanos(7), &[row("a", 0, 10), row("b", 0, 60)]);
        assert_eq!(vigil.full_time(), BootTime::from_nanos(7).plus(Duration::from_secs(63)));
    }

    #[test]
    fn confirmed_by_writing_and_fenced_by_a_free_lock_or_time() {
        let mut vigil = Vigil::begin(3, BootTime::ZERO, &[row("c", 2, 30), row("a", 3, 30), row("b", 2, 30)]);
        vigil.observe(&[row("c", 2, 30), row("a", 3, 30), row("b", 2, 30)], |incarnation| incarnation == "b");
        assert!(!vigil.is_settled());
        assert!(!vigil.answer(Duration::ZERO).promise_held);
        vigil.full_time_passed();
        let answer = vigil.answer(Duration::from_millis(12));
        assert_eq!(answer.confirmed, ["node-a"]);
        assert_eq!(answer.fenced, ["node-b", "node-c"]);
        assert!(answer.promise_held);
        assert_eq!(answer.took_ms, 12);
    }

    #[test]
    fn a_vanished_row_is_a_lease_that_is_over() {
        let mut vigil = Vigil::begin(3, BootTime::ZERO, &[row("a", 2, 30)]);
        vigil.observe(&[row("a", 2, 30)], alive);
        assert!(!vigil.is_settled());
        vigil.observe(&[], alive);
        assert_eq!(vigil.answer(Duration::ZERO).fenced, ["node-a"]);
    }

    #[test]
    fn rows_that_appear_later_need_nothing() {
        let mut vigil = Vigil::begin(3, BootTime::ZERO, &[row("a", 3, 30)]);
        vigil.observe(&[row("a", 3, 30), row("late", 0, 30)], alive);
        assert!(vigil.is_settled());
    }
}
