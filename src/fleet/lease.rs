//! [HOT: `LeaseGate`] What a node may conclude from what it read, and the one word that requests look at.
//!
//! Pure: no I/O, no clock, nothing asynchronous; time comes in as arguments. `member` drives [`Lease`], `proxy`
//! asks [`LeaseGate`].
//!
//! Why it holds. A node takes the boot clock `s` *before* it asks the store, and admits until `s + L - margin` only
//! with everything in force that the store had when it answered. A change that is committed later is thus met by
//! deadlines before `commit + L - margin`, and its revoker waits for `commit + L + margin`, or for a word from the
//! node. The margin on both sides is for clocks that run at different speeds: a twentieth each.

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

    /// The first step of an admission decision, *before* anything is read from the keyring. [HOT]
    ///
    /// The member puts changes into the keyring before it moves the deadline, so who has read a deadline here
    /// (acquire) reads a keyring that is at least as new as that deadline is good for. Reading the keyring first
    /// and the gate after it does not do: a node that wakes after its lease could verify against the old keyring,
    /// have the change applied and the lease renewed by the member in between, and then find the gate open.
    pub fn enter(&self) -> Entry {
        Entry(self.deadline.load(Ordering::Acquire))
    }

    /// The last step of an admission decision: `now` was read from the boot clock after the verification. [HOT]
    ///
    /// The deadline that counts is the one of [`Self::enter`], and the gate must not have been fenced since.
    #[must_use]
    pub fn holds(&self, entry: Entry, now: BootTime) -> bool {
        now.as_nanos() < entry.0.min(self.deadline.load(Ordering::Acquire))
    }

    /// Does the lease hold at `now`? For whatever looks again after a decision: when the request is about to be
    /// sent, per retry, for readiness. [HOT] A decision itself uses [`Self::enter`] and [`Self::holds`].
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
        /// Until when the node may admit; [`BootTime::ZERO`] before the first renewal.
        deadline: BootTime,
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
}

impl Lease {
    /// Of a node that has written its row, with lease length L, and loaded nothing yet.
    #[must_use]
    pub fn joining(length: Duration) -> Self {
        Self { length, state: State::Joining }
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

    /// Everything was loaded, from one snapshot, with this counter.
    pub fn loaded(&mut self, head: Head) {
        if self.state != State::Fenced {
            self.state = State::Member { applied: head, deadline: BootTime::ZERO };
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
            State::Joining => Action::JoinAnew,
            State::Member { applied, .. } => {
                // First, as it demands most: a store that was restored knows neither our row nor our history.
                if let Some(alarm) = other_history(applied, &reading.head) {
                    self.state = State::Joining;
                    Action::FenceReloadAlarm(alarm)
                } else if !reading.row_present {
                    self.unjoin();
                    Action::JoinAnew
                } else if reading.head.revision > applied.revision {
                    Action::ApplyThenConfirm
                } else {
                    self.admit(s)
                }
            }
        }
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
            self.state = State::Joining;
            return Action::FenceReloadAlarm(alarm);
        }
        *applied = now_applied;
        self.admit(s)
    }

    /// The row was found to be gone while `applied` was written into it.
    pub fn unjoin(&mut self) {
        if let State::Member { deadline, .. } = &mut self.state {
            *deadline = BootTime::ZERO;
        }
    }

    fn admit(&mut self, s: BootTime) -> Action {
        let until = s.plus(self.length).minus(margin(self.length));
        if let State::Member { deadline, .. } = &mut self.state {
            *deadline = until.max(*deadline);
        }
        Action::AdmitUntil(until)
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

#[cfg(test)]
mod tests {
    use super::*;

    const L: Duration = Duration::from_secs(30);

    fn head(revision: u64, change_id: &str) -> Head {
        Head { revision, change_id: change_id.into() }
    }

    fn at(seconds: u64) -> BootTime {
        BootTime::ZERO.plus(Duration::from_secs(seconds))
    }

    fn reading(row_present: bool, revision: u64, change_id: &str) -> RenewalReading {
        RenewalReading { row_present, head: head(revision, change_id) }
    }

    fn member() -> Lease {
        let mut lease = Lease::joining(L);
        lease.loaded(head(5, "e"));
        lease
    }

    #[test]
    fn the_margin_is_the_greater_of_200_ms_and_a_twentieth() {
        assert_eq!(margin(Duration::from_secs(1)), Duration::from_millis(200));
        assert_eq!(margin(L), Duration::from_millis(1500));
    }

    #[test]
    fn admits_from_the_time_before_the_store_was_asked() {
        let until = at(100).plus(L).minus(margin(L));
        let mut lease = member();
        assert_eq!(lease.renewed(at(100), &reading(true, 5, "e")), Action::AdmitUntil(until));
        assert_eq!(lease.state(), &State::Member { applied: head(5, "e"), deadline: until });
    }

    #[test]
    fn applies_before_it_admits() {
        let mut lease = member();
        assert_eq!(lease.renewed(at(100), &reading(true, 7, "g")), Action::ApplyThenConfirm);
        assert_eq!(lease.applied(), Some(&head(5, "e")));
        let until = at(100).plus(L).minus(margin(L));
        assert_eq!(lease.caught_up(at(100), &head(7, "g"), head(8, "h")), Action::AdmitUntil(until));
        assert_eq!(lease.applied(), Some(&head(8, "h")));
    }

    #[test]
    fn never_admits_by_changes_older_than_the_renewal_saw() {
        for (answer, alarm) in [(head(6, "f"), Alarm::RevisionBehind), (head(7, "other"), Alarm::ChangeIdMismatch)] {
            let mut lease = member();
            assert_eq!(lease.renewed(at(100), &reading(true, 7, "g")), Action::ApplyThenConfirm);
            assert_eq!(lease.caught_up(at(100), &head(7, "g"), answer), Action::FenceReloadAlarm(alarm));
            assert_eq!(lease.state(), &State::Joining);
        }
    }

    #[test]
    fn joins_anew_without_its_row_and_keeps_what_it_has() {
        let mut lease = member();
        assert_eq!(lease.renewed(at(1), &reading(false, 7, "g")), Action::JoinAnew);
        assert_eq!(lease.state(), &State::Member { applied: head(5, "e"), deadline: BootTime::ZERO });
        assert_eq!(Lease::joining(L).renewed(at(1), &reading(false, 7, "g")), Action::JoinAnew);
    }

    #[test]
    fn another_history_voids_everything() {
        for (row, revision, id) in [(true, 5, "x"), (false, 5, "x"), (true, 4, "d"), (false, 0, "")] {
            let mut lease = member();
            let alarm = if revision < 5 { Alarm::RevisionBehind } else { Alarm::ChangeIdMismatch };
            assert_eq!(lease.renewed(at(1), &reading(row, revision, id)), Action::FenceReloadAlarm(alarm));
            assert_eq!(lease.renewed(at(2), &reading(true, revision, id)), Action::Load);
        }
    }

    #[test]
    fn fenced_for_good_is_for_good() {
        let mut lease = member();
        lease.fence_for_good();
        lease.loaded(head(9, "i"));
        lease.forget_applied();
        assert_eq!(lease.renewed(at(1), &reading(true, 9, "i")), Action::StayFenced);
        assert_eq!(lease.caught_up(at(1), &head(9, "i"), head(9, "i")), Action::StayFenced);
    }

    #[test]
    fn the_gate_moves_back_through_fence_only() {
        let gate = LeaseGate::closed();
        assert!(!gate.admits(BootTime::ZERO));
        gate.admit_until(at(10));
        gate.admit_until(at(5));
        assert_eq!(gate.deadline(), at(10));
        assert!(gate.admits(at(9)) && !gate.admits(at(10)));
        gate.fence();
        assert!(!gate.admits(BootTime::ZERO));
    }

    #[test]
    fn a_decision_stands_on_the_deadline_that_it_entered_with() {
        let gate = LeaseGate::closed();
        gate.admit_until(at(10));
        let entry = gate.enter();
        assert!(gate.holds(entry, at(9)));
        gate.admit_until(at(20));
        assert!(!gate.holds(entry, at(11)), "the lease was renewed after the keyring may have been read");
        gate.fence();
        assert!(!gate.holds(entry, at(9)));
    }
}
