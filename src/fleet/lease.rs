//! **HOT: `LeaseGate`** What a node may conclude from what it read, and the one word that requests look at.
//!
//! Pure: no I/O, no clock, nothing asynchronous; time comes in as arguments. `member` drives [`Lease`], `proxy`
//! asks [`LeaseGate`].
//!
//! Why it holds. A node takes the boot clock `s` *before* it asks the store, and admits until `s + L - margin` only
//! with everything in force that the store had when it answered. A change that is committed later is thus met by
//! deadlines before `commit + L - margin`, and its revoker waits for `commit + L + margin`, or for a word from the
//! node. The margin on both sides is for clocks that run at different speeds: a twentieth each.
//!
//! A node also admits only with what it has confirmed in its row. Otherwise one that cannot write, but can read,
//! would go on with a live lease after a revoker has waited for it in vain and deleted its row, and the next revoker
//! would not see it. As it is, a row that is gone means a lease that is over.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::BootTime;
use crate::store::{Head, RenewalReading};

/// What a node gives up at the end of its lease, and a revoker adds: the greater of 200 ms and L/20.
#[must_use]
pub fn margin(lease: Duration) -> Duration {
    Duration::from_millis(200).max(lease / 20)
}

/// The deadline of the node's lease, as requests read it: one atomic word.
///
/// One writer (`member`); any number of readers. It moves backwards through [`Self::fence`] only.
#[derive(Debug)]
pub struct LeaseGate {
    /// Nanoseconds since boot; 0 admits nothing.
    deadline: AtomicU64,
}

/// What an admission decision carries from [`LeaseGate::enter`] to [`LeaseGate::holds`].
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Entry(u64);

impl LeaseGate {
    /// A gate that admits nothing yet.
    #[must_use]
    pub const fn closed() -> Self {
        Self { deadline: AtomicU64::new(0) }
    }

    /// The first step of an admission decision, *before* anything is read from the keyring. **HOT**
    ///
    /// The member puts changes into the keyring before it moves the deadline, so who has read a deadline here
    /// (acquire) reads a keyring that is at least as new as that deadline is good for. Reading the keyring first
    /// and the gate after it does not do: a node that wakes after its lease could verify against the old keyring,
    /// have the change applied and the lease renewed by the member in between, and then find the gate open.
    pub fn enter(&self) -> Entry {
        Entry(self.deadline.load(Ordering::Acquire))
    }

    /// The last step of an admission decision: `now` was read from the boot clock after the verification. **HOT**
    ///
    /// The deadline that counts is the one of [`Self::enter`], and the gate must not have been fenced since.
    #[must_use]
    pub fn holds(&self, entry: Entry, now: BootTime) -> bool {
        now.as_nanos() < entry.0.min(self.deadline.load(Ordering::Acquire))
    }

    /// Does the lease hold at `now`? For whatever looks again after a decision: when the request is about to be
    /// sent, per retry, for readiness. **HOT** A decision itself uses [`Self::enter`] and [`Self::holds`].
    #[must_use]
    pub fn admits(&self, now: BootTime) -> bool {
        now.as_nanos() < self.deadline.load(Ordering::Acquire)
    }

    /// Admits until this moment, or until the present deadline if that is later. What it is good for is in the
    /// keyring already.
    pub fn admit_until(&self, deadline: BootTime) {
        self.deadline.fetch_max(deadline.as_nanos(), Ordering::AcqRel);
    }

    /// Admits nothing from now on, until the next [`Self::admit_until`].
    pub fn fence(&self) {
        self.deadline.store(0, Ordering::SeqCst);
    }

    /// Until when it admits; [`BootTime::ZERO`]: it does not.
    #[must_use]
    pub fn deadline(&self) -> BootTime {
        BootTime::from_nanos(self.deadline.load(Ordering::Acquire))
    }
}

impl Default for LeaseGate {
    fn default() -> Self {
        Self::closed()
    }
}

/// Where a node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing is in the keyring that could be relied on: everything must be loaded.
    Joining,
    /// Everything up to `applied` is in the keyring.
    Member {
        /// The counter that the keyring stands at.
        applied: Head,
        /// The time before the last renewal that found nothing newer, if it waits for the row to say so.
        renewed_at: Option<BootTime>,
    },
    /// Never to admit again in this process.
    Fenced,
}

/// What somebody must look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// The store has the revision that was applied, but with another change id: a failover or a restore.
    ChangeIdMismatch,
    /// The store is at an earlier revision than the one that was applied: a restore.
    RevisionBehind,
    /// A change of a kind that this version does not know: the node is fenced for good.
    UnknownChange,
}

impl Alarm {
    /// As in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ChangeIdMismatch => "change_id_mismatch",
            Self::RevisionBehind => "revision_behind",
            Self::UnknownChange => "unknown_change",
        }
    }
}

/// What must be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Action {
    /// Open the gate until then.
    AdmitUntil(BootTime),
    /// The store is ahead: apply what is missing, tell [`Lease::caught_up`], then write `applied` into the row.
    ApplyThenConfirm,
    /// The row does not say yet what is applied: write it, and tell [`Lease::confirmed`].
    Confirm,
    /// Nothing is loaded: load everything, tell [`Lease::loaded`], and renew again.
    Load,
    /// The row is gone: fence, write a row of a new incarnation, then catch up with what came since.
    JoinAnew,
    /// The store has another history (failover, restore): fence, join anew, load everything, raise the alarm.
    FenceReloadAlarm(Alarm),
    /// Nothing, ever.
    StayFenced,
}

/// The state of one node's lease.
#[derive(Clone, Debug)]
pub struct Lease {
    length: Duration,
    state: State,
    /// The `applied` in the row.
    confirmed: u64,
}

impl Lease {
    /// Of a node that has written its row, with lease length L and nothing applied, and loaded nothing yet.
    #[must_use]
    pub fn joining(length: Duration) -> Self {
        Self { length, state: State::Joining, confirmed: 0 }
    }

    /// L.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.length
    }

    /// Where the node stands.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What the keyring stands at, if it can be relied on.
    #[must_use]
    pub fn applied(&self) -> Option<&Head> {
        match &self.state {
            State::Member { applied, .. } => Some(applied),
            State::Joining | State::Fenced => None,
        }
    }

    /// What the row should say, if it does not say it yet.
    #[must_use]
    pub fn unconfirmed(&self) -> Option<u64> {
        self.applied().map(|applied| applied.revision).filter(|applied| *applied > self.confirmed)
    }

    /// Everything was loaded, from one snapshot, with this counter.
    pub fn loaded(&mut self, head: Head) {
        if self.state != State::Fenced {
            self.state = State::Member { applied: head, renewed_at: None };
        }
    }

    /// What is in the keyring can no longer be relied on.
    pub fn forget_applied(&mut self) {
        if self.state != State::Fenced {
            self.state = State::Joining;
        }
    }

    /// The node must not admit again.
    pub fn fence_for_good(&mut self) {
        self.state = State::Fenced;
    }

    /// The store answered a renewal before which the boot clock was at `s`.
    pub fn renewed(&mut self, s: BootTime, reading: &RenewalReading) -> Action {
        match &self.state {
            State::Fenced => Action::StayFenced,
            State::Joining if reading.row_present => Action::Load,
            State::Joining => {
                self.rejoin();
                Action::JoinAnew
            }
            State::Member { applied, .. } => {
                // First, as it demands most: a store that was restored knows neither our row nor our history.
                if let Some(alarm) = other_history(applied, &reading.head) {
                    self.other_history(alarm)
                } else if !reading.row_present {
                    self.rejoin();
                    Action::JoinAnew
                } else if reading.head.revision > applied.revision {
                    Action::ApplyThenConfirm
                } else {
                    self.admit(s)
                }
            }
        }
    }

    /// The row says now that everything up to this revision is applied.
    pub fn confirmed(&mut self, revision: u64) -> Action {
        self.confirmed = self.confirmed.max(revision);
        match self.state {
            State::Fenced => Action::StayFenced,
            State::Member { renewed_at: Some(s), .. } => self.admit(s),
            // The next renewal tells.
            State::Member { renewed_at: None, .. } | State::Joining => Action::Confirm,
        }
    }

    /// The store was found to have another history.
    pub fn other_history(&mut self, alarm: Alarm) -> Action {
        self.forget_applied();
        self.rejoin();
        if self.state == State::Fenced { Action::StayFenced } else { Action::FenceReloadAlarm(alarm) }
    }

    /// The changes up to `now_applied` are in the keyring; they were read after a renewal that began at `s` and
    /// saw the counter at `seen`.
    ///
    /// The same `s` counts: whatever is not in `now_applied` was committed after the changes were read, and so
    /// after `s`.
    pub fn caught_up(&mut self, s: BootTime, seen: &Head, now_applied: Head) -> Action {
        let State::Member { applied, .. } = &mut self.state else {
            return if self.state == State::Fenced { Action::StayFenced } else { Action::Load };
        };
        // The counter went back between the two readings: another history answered the second.
        if let Some(alarm) = other_history(seen, &now_applied) {
            return self.other_history(alarm);
        }
        *applied = now_applied;
        self.admit(s)
    }

    /// The next row is another one, and says nothing yet.
    fn rejoin(&mut self) {
        self.confirmed = 0;
        if let State::Member { renewed_at, .. } = &mut self.state {
            *renewed_at = None;
        }
    }

    /// Nothing newer than what is applied was committed before `s`.
    fn admit(&mut self, s: BootTime) -> Action {
        let State::Member { applied, renewed_at } = &mut self.state else { return Action::StayFenced };
        if self.confirmed < applied.revision {
            *renewed_at = Some(s);
            return Action::Confirm;
        }
        *renewed_at = None;
        Action::AdmitUntil(s.plus(self.length).minus(margin(self.length)))
    }
}

/// `later` was read after `earlier`, and counters only rise within one history.
fn other_history(earlier: &Head, later: &Head) -> Option<Alarm> {
    if later.revision < earlier.revision {
        Some(Alarm::RevisionBehind)
    } else if later.revision == earlier.revision && later.change_id != earlier.change_id {
        Some(Alarm::ChangeIdMismatch)
    } else {
        None
    }
}
