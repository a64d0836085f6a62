//! The task that keeps this node a member: joins, renews, applies, confirms, leaves.
//!
//! What may be concluded from what was read is [`super::lease`]'s to say; this file asks the store, with a time
//! limit on every call, and does what it is told. Called by `app`, which runs it until the proxy has drained.
//!
//! Reading alone keeps a node alive: a renewal writes nothing when nothing changed, and what is written (`applied`
//! after a change, `seen_at` for display) is written beside the loop, so a store that is locked or full does not stop
//! it. A change that cannot be confirmed before the lease ends does end the lease (see `lease`, and `model_tests`
//! for what would happen otherwise).

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::lease::{Action, Alarm, Lease, LeaseGate, State};
use super::row::{Row, Written, within};
use crate::clock::{BootTime, Clock};
use crate::entropy::Entropy;
use crate::keyring::follow::{FollowError, Follower};
use crate::store::{self, Changes, Head, NodeLocks, NodeRow, Store, StoreError};

/// Between a renewal and the next, whatever the hints say.
const MIN_PAUSE: Duration = Duration::from_millis(1);
/// After the first failed renewal; doubled by each one more, up to L/10.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
/// A load that brings no key for this long has failed.
const LOAD_STALL: Duration = Duration::from_secs(30);
/// Tries of a new process to become a member. A try fails without an error only when the node's row is deleted, or
/// the store's history changes, while it loads.
const JOIN_TRIES: u32 = 16;

/// What a node asks of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// To load all keys and secrets.
    Load,
    /// To read the changes since a revision.
    Changes,
    /// To write the node's row.
    Join,
    /// To read what a renewal needs.
    Renew,
    /// To write what was applied.
    Confirm,
    /// To write when the node was last seen.
    Seen,
}

impl Operation {
    /// As in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Changes => "changes",
            Self::Join => "join",
            Self::Renew => "renew",
            Self::Confirm => "confirm",
            Self::Seen => "seen",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why this node is not a member, or not at present.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// The store failed.
    #[error("{0}: {1}")]
    Store(Operation, #[source] StoreError),
    /// The store is silent.
    #[error("{0}: the store did not answer within {1:?}")]
    Silent(Operation, Duration),
    /// The keyring could not be brought to where the store is.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// The node's lock cannot be had.
    #[error("the lock of this node cannot be taken: {0}")]
    Lock(#[source] std::io::Error),
    /// The store holds a change of a kind that this version does not know.
    #[error("this node is fenced: a newer keygate has written to the store")]
    Fenced,
    /// Something took the node's row away each time that it had loaded.
    #[error("the node lost its row in the store {JOIN_TRIES} times while it joined")]
    NotAdmitted,
}

/// The result of everything here.
pub type Result<T> = std::result::Result<T, MemberError>;

/// Who wants to know what a member goes through: metrics.
pub trait Observer: Send + Sync + 'static {
    /// The keyring stands at this revision, `took` after the node learned of it.
    fn applied(&self, revision: u64, took: Duration);
    /// Somebody must look.
    fn alarm(&self, alarm: Alarm);
    /// The store failed or was silent.
    fn store_error(&self, operation: Operation);
}

/// Everything that a member works on and with.
pub struct Setup {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The locks beside it.
    pub locks: Arc<dyn NodeLocks>,
    /// Both clocks.
    pub clock: Arc<dyn Clock>,
    /// For incarnations.
    pub entropy: Arc<dyn Entropy>,
    /// Writes the keyring.
    pub follower: Follower,
    /// What requests look at.
    pub gate: Arc<LeaseGate>,
    /// Metrics.
    pub observer: Arc<dyn Observer>,
    /// The node's name for people: `hostname:pid`.
    pub node_id: String,
    /// The binary's version.
    pub version: String,
    /// L.
    pub lease: Duration,
}

/// What came of one renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The gate is open for longer.
    Admitted,
    /// It will be, when the row says what is applied.
    Confirming,
    /// Another renewal is needed at once.
    Again,
    /// Never again.
    Fenced,
}

/// This process as a member of the fleet.
pub struct Member {
    setup: Setup,
    lease: Lease,
    row: Row,
    /// Failed renewals in a row.
    failures: u32,
    /// Failed writes in a row.
    write_failures: u32,
    lapse_was_told: bool,
}

impl Member {
    /// Becomes a member: takes the lock, writes the row, loads everything, renews. The gate is open when it returns.
    ///
    /// # Errors
    /// When any of these fails; nothing is left in the store then, if it can be helped.
    pub async fn join(setup: Setup) -> Result<Self> {
        let row = Row::none(Arc::clone(&setup.store), Arc::clone(&setup.locks), Arc::clone(&setup.clock), setup.lease);
        let lease = Lease::joining(setup.lease);
        let mut member = Self { setup, lease, row, failures: 0, write_failures: 0, lapse_was_told: false };
        let outcome = member.first_admission().await;
        if outcome.is_err() {
            member.setup.gate.fence();
            member.row.delete().await;
        }
        outcome.map(|()| member)
    }

    async fn first_admission(&mut self) -> Result<()> {
        for _ in 0..JOIN_TRIES {
            let step = self.renew().await?;
            if step == Step::Fenced {
                return Err(MemberError::Fenced);
            }
            while self.row.is_writing() {
                let written = self.row.finished().await;
                if let Written::Failed(Operation::Confirm, error) = written {
                    self.setup.observer.store_error(Operation::Confirm);
                    return Err(error);
                }
                self.written(&written);
            }
            if self.setup.gate.admits(self.setup.clock.boot()) {
                return Ok(());
            }
        }
        Err(MemberError::NotAdmitted)
    }

    /// Stays a member until `shutdown` resolves, which it should when the last request is answered: leases are
    /// needed as long as requests are. Then [`Self::leave`].
    pub async fn run(&mut self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let store = Arc::clone(&self.setup.store);
        let mut hint = store.hint();
        let mut due = self.setup.clock.boot().plus(self.lease.length() / 5);
        loop {
            let pause = due.since(self.setup.clock.boot()).max(MIN_PAUSE);
            let listening = self.failures == 0;
            tokio::select! {
                biased;
                () = &mut shutdown => return,
                written = self.row.finished() => {
                    if let Some(sooner) = self.written(&written) {
                        due = due.min(self.setup.clock.boot().plus(sooner));
                    }
                    continue;
                }
                () = &mut hint, if listening => {
                    hint = store.hint();
                    // A store that hints without end must not keep the loop from everything else.
                    tokio::time::sleep(MIN_PAUSE).await;
                }
                () = tokio::time::sleep(pause) => {}
            }
            let renewed = tokio::select! {
                biased;
                () = &mut shutdown => return,
                renewed = self.renew() => renewed,
            };
            let next = match renewed {
                Ok(Step::Admitted | Step::Confirming) => self.pause_after_success(),
                Ok(Step::Again) => Duration::ZERO,
                Ok(Step::Fenced) => return shutdown.await,
                Err(error) => self.pause_after(&error),
            };
            due = self.setup.clock.boot().plus(next);
        }
    }

    /// Leaves the fleet: admits nothing more, deletes the row, lets go of the lock. For after the last request.
    pub async fn leave(mut self) {
        self.setup.gate.fence();
        self.row.delete().await;
    }

    /// One renewal, exactly as DESIGN says: `s`, then the store, then what the lease makes of it.
    pub(super) async fn renew(&mut self) -> Result<Step> {
        if *self.lease.state() == State::Fenced {
            return Ok(Step::Fenced);
        }
        if self.row.incarnation().is_none() {
            self.write_row().await?;
        }
        let incarnation = self.row.incarnation().unwrap_or_default();
        let s = self.setup.clock.boot();
        let asked = self.setup.store.renew(incarnation);
        let reading = self.within(Operation::Renew, self.patience(), asked).await?;
        let action = self.lease.renewed(s, &reading);
        if action == Action::ApplyThenConfirm {
            return self.catch_up(s, &reading.head).await;
        }
        self.act(action).await
    }

    async fn act(&mut self, action: Action) -> Result<Step> {
        match action {
            Action::AdmitUntil(deadline) => {
                self.setup.gate.admit_until(deadline);
                self.begin_write();
                return Ok(Step::Admitted);
            }
            Action::Confirm => {
                self.begin_write();
                return Ok(Step::Confirming);
            }
            // Needs what was read: see `renew`.
            Action::ApplyThenConfirm => {}
            Action::Load => self.load().await?,
            Action::JoinAnew => {
                self.setup.gate.fence();
                tracing::warn!("the row of this node is gone from the store: it joins anew");
                self.row.let_go();
            }
            Action::FenceReloadAlarm(alarm) => {
                self.setup.gate.fence();
                self.alarm(alarm, "the store has another history: everything is loaded anew");
                self.row.delete().await;
            }
            Action::StayFenced => return Ok(Step::Fenced),
        }
        Ok(Step::Again)
    }

    /// The row is written before anything is read: a revoker that does not see it relies on that.
    ///
    /// A node whose row was deleted keeps what is in its keyring and catches up from there: the changes that it
    /// reads after it has written the new row bring it to a state later than that row, as a full load would. (A full
    /// load of ten million keys takes longer than a lease, and could be overtaken by revokers for ever.)
    async fn write_row(&mut self) -> Result<()> {
        let now = self.setup.clock.wall();
        let row = NodeRow {
            id: self.setup.node_id.clone(),
            incarnation: self.setup.entropy.hex128(),
            version: self.setup.version.clone(),
            lease: self.lease.length(),
            applied: 0,
            joined_at: now,
            seen_at: now,
        };
        self.row.join(&row).await.inspect_err(|_| self.setup.observer.store_error(Operation::Join))
    }

    async fn load(&mut self) -> Result<()> {
        let started = self.setup.clock.boot();
        self.lease.forget_applied();
        let outcome = self.load_while_it_moves().await;
        let head = outcome.inspect_err(|_| self.setup.observer.store_error(Operation::Load))?;
        self.note_applied(&head, started);
        self.lease.loaded(head);
        self.begin_write();
        Ok(())
    }

    /// A load has no time limit, as it grows with the keys; but it must go on.
    async fn load_while_it_moves(&self) -> Result<Head> {
        let progress = AtomicU64::new(0);
        let mut load = pin!(self.setup.follower.load(&*self.setup.store, &progress));
        let mut before = 0;
        loop {
            if let Ok(loaded) = tokio::time::timeout(LOAD_STALL, &mut load).await {
                return Ok(loaded?);
            }
            let now = progress.load(Ordering::Relaxed);
            if now == before {
                return Err(MemberError::Silent(Operation::Load, LOAD_STALL));
            }
            before = now;
        }
    }

    async fn catch_up(&mut self, s: BootTime, seen: &Head) -> Result<Step> {
        let Some(applied) = self.lease.applied().cloned() else { return Ok(Step::Again) };
        // Longer with each failure: a long list must not be given up for ever.
        let patience = self.patience() * (1 << self.failures.min(6));
        let asked = self.setup.store.changes_since(&applied);
        let (changes, head) = match self.within(Operation::Changes, patience, asked).await? {
            Changes::Since(changes, head) => (changes, head),
            Changes::Reload => {
                tracing::info!(
                    applied = applied.revision,
                    store = seen.revision,
                    "too far behind: everything is loaded"
                );
                // What is in force stays in force until its lease ends: it is old, but of this history.
                self.load().await?;
                return Ok(Step::Again);
            }
            Changes::OtherHistory => {
                let action = self.lease.other_history(Alarm::ChangeIdMismatch);
                return self.act(action).await;
            }
        };
        match self.setup.follower.apply(changes, self.setup.store.store_id()) {
            Ok(()) => {}
            Err(FollowError::Unknown(kind)) => return self.fence_for_good(&kind).await,
            Err(error) => return Err(error.into()),
        }
        let action = self.lease.caught_up(s, seen, head);
        if let Some(applied) = self.lease.applied() {
            self.note_applied(applied, s);
        }
        self.act(action).await
    }

    /// What was not understood may have taken authority away from anybody. The row goes, so that no revoker waits
    /// for a node that will not confirm anything any more.
    async fn fence_for_good(&mut self, kind: &str) -> Result<Step> {
        self.setup.gate.fence();
        self.lease.fence_for_good();
        self.alarm(Alarm::UnknownChange, "this node is fenced until it is restarted with a newer keygate");
        tracing::error!(kind, "the store holds a change of a kind that this keygate does not know");
        self.row.delete().await;
        Ok(Step::Fenced)
    }

    fn note_applied(&self, head: &Head, since: BootTime) {
        self.setup.observer.applied(head.revision, self.setup.clock.boot().since(since));
    }

    fn alarm(&self, alarm: Alarm, what: &str) {
        tracing::error!(alarm = alarm.as_str(), "{what}");
        self.setup.observer.alarm(alarm);
    }

    fn begin_write(&mut self) {
        self.row.begin_write(self.lease.unconfirmed());
    }

    /// Takes note of a write; how soon the next renewal should be, if sooner than it would be.
    fn written(&mut self, written: &Written) -> Option<Duration> {
        match written {
            Written::Applied(revision) => {
                self.write_failures = 0;
                if let Action::AdmitUntil(deadline) = self.lease.confirmed(*revision) {
                    self.setup.gate.admit_until(deadline);
                }
                // More may have been applied meanwhile.
                self.begin_write();
                None
            }
            Written::Seen => None,
            // The next renewal finds the same, and joins anew.
            Written::RowGone => {
                self.setup.gate.fence();
                Some(Duration::ZERO)
            }
            // The next renewal begins the write again; revokers are waiting for it, and the lease runs.
            Written::Failed(operation, error) => {
                self.setup.observer.store_error(*operation);
                self.write_failures = self.write_failures.saturating_add(1);
                if self.write_failures == 1 {
                    tracing::warn!(%error, "this node's row cannot be written");
                }
                (*operation == Operation::Confirm).then(|| self.backoff(self.write_failures))
            }
        }
    }

    fn pause_after_success(&mut self) -> Duration {
        if self.failures > 0 {
            tracing::info!("the lease is renewed again");
        }
        self.failures = 0;
        self.lapse_was_told = false;
        self.lease.length() / 5
    }

    fn pause_after(&mut self, error: &MemberError) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let open = self.setup.gate.admits(self.setup.clock.boot());
        if !open && !self.lapse_was_told {
            self.lapse_was_told = true;
            tracing::error!(%error, "the lease has ended: this node admits nothing until it can renew");
        } else if self.failures == 1 {
            tracing::warn!(%error, "the lease could not be renewed; it is tried again until it ends");
        }
        self.backoff(self.failures)
    }

    fn backoff(&self, failures: u32) -> Duration {
        let longest = (self.lease.length() / 10).max(FIRST_BACKOFF);
        FIRST_BACKOFF.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(longest)
    }

    /// How long one call may take.
    fn patience(&self) -> Duration {
        self.lease.length() / 5
    }

    async fn within<T>(
        &self,
        operation: Operation,
        patience: Duration,
        call: impl Future<Output = store::Result<T>>,
    ) -> Result<T> {
        within(operation, patience, call).await.inspect_err(|_| self.setup.observer.store_error(operation))
    }
}
