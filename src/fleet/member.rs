//! The task that keeps this node a member: joins, renews, applies, confirms, leaves.
//!
//! What may be concluded from what was read is [`super::lease`]'s to say; this file asks the store, with a time
//! limit on every call, and does what it is told. Called by `app`, which runs it until the proxy has drained.
//!
//! Reading alone keeps a node alive: a renewal writes nothing when nothing changed, and what is written (`applied`
//! after a change, `seen_at` for display) is written beside the loop, so a store that is locked or full does not stop
//! it. A change that cannot be confirmed before the lease ends does end the lease (see `lease`, and `model_tests`
//! for what would happen otherwise).

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::lease::{Action, Alarm, Lease, State};
use super::row::{Row, Written, within};
use super::setup::JOIN_TRIES;
pub use super::setup::{MemberError, Observer, Operation, Result, Setup};
use crate::clock::BootTime;
use crate::keyring::follow::FollowError;
use crate::store::{self, Changes, Head, NodeRow};

/// Between a renewal and the next, whatever the hints say.
const MIN_PAUSE: Duration = Duration::from_millis(1);
/// After the first failed renewal; doubled by each one more, up to L/10.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
/// A load that brings no key for this long has failed.
const LOAD_STALL: Duration = Duration::from_secs(30);
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
    /// Renewals in a row that failed, and that asked for another at once.
    failures: u32,
    agains: u32,
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
        let mut member = Self { setup, lease, row, failures: 0, agains: 0, write_failures: 0, lapse_was_told: false };
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
                Ok(Step::Fenced) => return shutdown.await,
                Ok(step) => self.pause_after(step),
                Err(error) => self.pause_after_failure(&error),
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

    #[cfg(test)]
    pub(super) async fn finish_writes(&mut self) {
        while self.row.is_writing() {
            let written = self.row.finished().await;
            self.written(&written);
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
            Err(error) => {
                self.setup.observer.store_error(Operation::Changes);
                return Err(error.into());
            }
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

    fn pause_after(&mut self, step: Step) -> Duration {
        if std::mem::take(&mut self.failures) > 0 {
            tracing::info!("the store answers renewals again");
        }
        match step {
            // Once or twice is usual; a store that goes on like this must not be flooded with rows.
            Step::Again => {
                self.agains = self.agains.saturating_add(1);
                if self.agains > 3 { self.backoff(self.agains - 3) } else { Duration::ZERO }
            }
            Step::Admitted | Step::Confirming | Step::Fenced => {
                self.agains = 0;
                self.tell_of_lapse(&"what was applied cannot be confirmed in the store");
                self.lease.length() / 5
            }
        }
    }

    fn pause_after_failure(&mut self, error: &MemberError) -> Duration {
        self.failures = self.failures.saturating_add(1);
        if self.failures == 1 {
            tracing::warn!(%error, "the lease could not be renewed; it is tried again");
        }
        self.tell_of_lapse(error);
        self.backoff(self.failures)
    }

    /// Once each time, and only if the gate is not open.
    fn tell_of_lapse(&mut self, why: &dyn std::fmt::Display) {
        let is_open = self.setup.gate.admits(self.setup.clock.boot());
        if !is_open && !self.lapse_was_told && self.write_failures + self.failures > 0 {
            tracing::error!(%why, "the lease has ended: this node admits nothing until it is renewed");
        }
        self.lapse_was_told = !is_open;
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
