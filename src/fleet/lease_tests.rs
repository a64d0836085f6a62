//! The lease as a state machine, and the gate.

use std::time::Duration;

use super::lease::{Action, Alarm, Lease, LeaseGate, State, margin};
use crate::clock::BootTime;
use crate::store::{Head, RenewalReading};

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
    assert_eq!(lease.confirmed(5), Action::Confirm);
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
}

#[test]
fn admits_with_what_its_row_says_only() {
    let until = |s| Action::AdmitUntil(at(s).plus(L).minus(margin(L)));
    let mut lease = Lease::joining(L);
    lease.loaded(head(5, "e"));
    assert_eq!(lease.renewed(at(100), &reading(true, 5, "e")), Action::Confirm);
    assert_eq!(lease.renewed(at(101), &reading(true, 5, "e")), Action::Confirm);
    assert_eq!(lease.confirmed(4), Action::Confirm);
    assert_eq!(lease.confirmed(5), until(101));
    assert_eq!(lease.renewed(at(102), &reading(true, 6, "f")), Action::ApplyThenConfirm);
    assert_eq!(lease.confirmed(5), Action::Confirm, "the last renewal found something newer");
    assert_eq!(lease.caught_up(at(102), &head(6, "f"), head(6, "f")), Action::Confirm);
    assert_eq!(lease.confirmed(6), until(102));
    assert_eq!(lease.renewed(at(103), &reading(false, 6, "f")), Action::JoinAnew);
    assert_eq!(lease.renewed(at(104), &reading(true, 6, "f")), Action::Confirm, "the new row says nothing yet");
}

#[test]
fn applies_before_it_admits() {
    let mut lease = member();
    assert_eq!(lease.renewed(at(100), &reading(true, 7, "g")), Action::ApplyThenConfirm);
    assert_eq!(lease.applied(), Some(&head(5, "e")));
    let until = at(100).plus(L).minus(margin(L));
    assert_eq!(lease.caught_up(at(100), &head(7, "g"), head(8, "h")), Action::Confirm);
    assert_eq!(lease.applied(), Some(&head(8, "h")));
    assert_eq!(lease.confirmed(8), Action::AdmitUntil(until));
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
    assert_eq!(lease.applied(), Some(&head(5, "e")));
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
