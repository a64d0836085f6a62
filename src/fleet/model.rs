//! A fleet to try the promise on: the real decisions of members (`Lease`, `LeaseGate`) and revokers (`Vigil`) around
//! a toy store, in a time that is made up. Run by `model_tests`.
//!
//! Every step between a reading and what is concluded from it is a step of its own, so anything may come in between:
//! other nodes, commits, pauses, partitions, disks that cannot be written, kills, restarts, writes that arrive late.
//! Clocks of different machines begin anywhere and run up to 2 % too fast or too slow.

use std::collections::HashSet;
use std::time::Duration;

use super::lease::{Action, Entry, Lease, LeaseGate, margin};
use super::revoke::Vigil;
use crate::clock::{BootTime, WallTime};
use crate::store::{Head, NodeRow, RenewalReading};

const NODES: u64 = 3;
const REVOKERS: usize = 2;
const MS: u64 = 1_000_000;

/// A rule of the protocol that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    None,
    /// The revoker does not wait for leases to end.
    NoWait,
    /// Neither side has a margin.
    NoMargin,
    /// A node admits with what it could not confirm.
    AdmitUnconfirmed,
    /// A revoker deletes rows that have been confirmed meanwhile.
    DeleteConfirmed,
    /// A decision looks at the gate after the verification only.
    GateAfterVerification,
    /// A node that is behind admits before it has applied.
    AdmitBeforeApply,
    /// The boot clock is read after the store has answered.
    ClockAfterStore,
    /// A node admits without a row.
    NoRow,
    /// A node confirms what it has learned of, but not yet applied.
    ConfirmBeforeApply,
}

/// `SplitMix64` (Steele, Lea and Flood 2014).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

/// The boot clock of one machine.
struct Machine {
    offset: i64,
    /// Parts per million that it runs too fast.
    drift: i64,
}

impl Machine {
    fn draw(dice: &mut Dice) -> Self {
        let drift = [-20_000, 0, 20_000][usize::try_from(dice.below(3)).unwrap()];
        Self { offset: i64::try_from(dice.below(1_000_000 * MS)).unwrap(), drift }
    }

    fn boot(&self, now: u64) -> BootTime {
        let now = i64::try_from(now).unwrap();
        BootTime::from_nanos(u64::try_from(self.offset + now + now / 1_000_000 * self.drift).unwrap())
    }
}

/// What a member does next; between two of these anything may happen.
#[derive(Clone, Debug)]
enum Next {
    WriteRow,
    Renew,
    Ask(BootTime),
    Conclude(BootTime, RenewalReading),
    Fetch(BootTime, Head),
    Apply(BootTime, Head, Head),
    CaughtUp(BootTime, Head, Head),
    Load,
    Loaded(Head),
}

struct Decision {
    entry: Entry,
    /// What had been promised when it began.
    owed: u64,
    /// The revision of the keyring that it verified against.
    authority: Option<u64>,
}

struct Node {
    machine: Machine,
    gate: LeaseGate,
    lease: Lease,
    incarnation: String,
    /// The revision that the keyring stands at.
    keyring: u64,
    next: Next,
    decision: Option<Decision>,
    /// Answers to writes of `applied`: of which incarnation, and what; `None`: its row is gone.
    answers: Vec<(String, Option<u64>)>,
    reachable: bool,
    writable: bool,
    paused_until: u64,
}

impl Node {
    /// A new process: nothing in memory is left.
    fn restart(&mut self) {
        self.gate = LeaseGate::closed();
        self.lease = Lease::joining(self.lease.length());
        (self.keyring, self.decision, self.next) = (0, None, Next::WriteRow);
        self.answers.clear();
    }
}

enum Revoking {
    Committed(u64),
    Acknowledged(u64, BootTime),
    Waiting(u64, BootTime, Vigil),
}

/// A write on its way to the store, which may arrive at any time or never.
enum Write {
    Confirm(String, u64),
    /// Only if the row does not say this revision.
    Remove(String, u64),
}

#[derive(Default, Debug)]
pub(super) struct Tally {
    pub(super) promises: u32,
    pub(super) by_time: u32,
    pub(super) admitted: u32,
    pub(super) refused: u32,
    pub(super) joined_anew: u32,
}

pub(super) struct World {
    dice: Dice,
    flaw: Flaw,
    /// Whether free locks can be told, as on SQLite.
    locks: bool,
    now: u64,
    revision: u64,
    rows: Vec<NodeRow>,
    free_locks: HashSet<String>,
    nodes: Vec<Node>,
    revokers: Vec<(Machine, Option<Revoking>)>,
    writes: Vec<Write>,
    incarnations: u32,
    /// The highest revision whose revoker has answered "promise held".
    promised: u64,
    pub(super) tally: Tally,
}

impl World {
    pub(super) fn new(seed: u64, flaw: Flaw) -> Self {
        let mut dice = Dice(seed);
        let node = |dice: &mut Dice| Node {
            machine: Machine::draw(dice),
            gate: LeaseGate::closed(),
            lease: Lease::joining(Duration::from_secs(if dice.one_in(2) { 1 } else { 4 })),
            incarnation: String::new(),
            keyring: 0,
            next: Next::WriteRow,
            decision: None,
            answers: Vec::new(),
            reachable: true,
            writable: true,
            paused_until: 0,
        };
        let nodes = (0..NODES).map(|_| node(&mut dice)).collect();
        let revokers = (0..REVOKERS).map(|_| (Machine::draw(&mut dice), None)).collect();
        Self {
            locks: dice.one_in(2),
            dice,
            flaw,
            now: 0,
            revision: 1,
            rows: Vec::new(),
            free_locks: HashSet::new(),
            nodes,
            revokers,
            writes: Vec::new(),
            incarnations: 0,
            promised: 0,
            tally: Tally::default(),
        }
    }

    fn head(&self) -> Head {
        Head { revision: self.revision, change_id: format!("change {}", self.revision) }
    }

    /// `Err`: an admission that was promised not to be.
    pub(super) fn step(&mut self) -> Result<(), String> {
        self.now += if self.dice.one_in(60) { self.dice.below(1_000 * MS) } else { self.dice.below(5 * MS) };
        let node = usize::try_from(self.dice.below(NODES)).unwrap();
        match self.dice.below(100) {
            0..55 if self.now >= self.nodes[node].paused_until => self.member(node),
            55..78 if self.now >= self.nodes[node].paused_until => return self.decide(node),
            78..92 => {
                let revoker = usize::try_from(self.dice.below(REVOKERS as u64)).unwrap();
                self.revoke(revoker);
            }
            92..97 => self.deliver(),
            97..100 => self.disturb(node),
            _ => {}
        }
        Ok(())
    }

    fn member(&mut self, index: usize) {
        let head = self.head();
        let node = &mut self.nodes[index];
        let boot = node.machine.boot(self.now);
        if let Some((incarnation, answer)) = node.answers.pop() {
            match answer {
                _ if incarnation != node.incarnation => {}
                None => node.gate.fence(),
                Some(applied) => {
                    if let Action::AdmitUntil(until) = node.lease.confirmed(applied) {
                        node.gate.admit_until(until);
                    }
                }
            }
            return;
        }
        let next = match std::mem::replace(&mut node.next, Next::Renew) {
            Next::WriteRow if !node.reachable || !node.writable => Next::WriteRow,
            Next::WriteRow => {
                self.incarnations += 1;
                node.incarnation = format!("{}", self.incarnations);
                if self.flaw != Flaw::NoRow {
                    self.rows.push(NodeRow {
                        id: format!("node {index}"),
                        incarnation: node.incarnation.clone(),
                        version: String::new(),
                        lease: node.lease.length(),
                        applied: 0,
                        joined_at: WallTime::EPOCH,
                        seen_at: WallTime::EPOCH,
                    });
                }
                Next::Renew
            }
            Next::Renew => Next::Ask(boot),
            Next::Ask(_) | Next::Fetch(..) | Next::Load if !node.reachable => Next::Renew,
            Next::Ask(s) => {
                let row = self.rows.iter().any(|row| row.incarnation == node.incarnation);
                let s = if self.flaw == Flaw::ClockAfterStore { None } else { Some(s) };
                let reading = RenewalReading { row_present: row || self.flaw == Flaw::NoRow, head };
                // Without a time, it is taken when the answer is looked at.
                Next::Conclude(s.unwrap_or(BootTime::ZERO), reading)
            }
            Next::Conclude(s, reading) => {
                let s = if self.flaw == Flaw::ClockAfterStore { boot } else { s };
                let action = node.lease.renewed(s, &reading);
                if self.flaw == Flaw::AdmitBeforeApply && action == Action::ApplyThenConfirm {
                    node.gate.admit_until(s.plus(node.lease.length()).minus(margin(node.lease.length())));
                }
                if self.flaw == Flaw::ConfirmBeforeApply && action == Action::ApplyThenConfirm {
                    self.writes.push(Write::Confirm(node.incarnation.clone(), reading.head.revision));
                }
                self.act(index, action, s, reading.head)
            }
            Next::Fetch(s, seen) => Next::Apply(s, seen, head),
            Next::Apply(s, seen, fetched) => {
                node.keyring = fetched.revision;
                Next::CaughtUp(s, seen, fetched)
            }
            Next::CaughtUp(s, seen, fetched) => {
                let action = node.lease.caught_up(s, &seen, fetched);
                self.act(index, action, s, seen)
            }
            Next::Load => Next::Loaded(head),
            Next::Loaded(head) => {
                node.keyring = head.revision;
                node.lease.loaded(head);
                Next::Renew
            }
        };
        self.nodes[index].next = next;
    }

    fn act(&mut self, index: usize, action: Action, s: BootTime, seen: Head) -> Next {
        let no_margin = self.flaw == Flaw::NoMargin;
        let node = &mut self.nodes[index];
        match action {
            Action::AdmitUntil(until) => {
                let more = if no_margin { margin(node.lease.length()) } else { Duration::ZERO };
                node.gate.admit_until(until.plus(more));
                Next::Renew
            }
            Action::Confirm => {
                if self.flaw == Flaw::AdmitUnconfirmed {
                    node.gate.admit_until(s.plus(node.lease.length()).minus(margin(node.lease.length())));
                }
                if let Some(applied) = node.lease.unconfirmed() {
                    self.writes.push(Write::Confirm(node.incarnation.clone(), applied));
                }
                Next::Renew
            }
            Action::ApplyThenConfirm => Next::Fetch(s, seen),
            Action::Load => Next::Load,
            Action::JoinAnew => {
                node.gate.fence();
                self.free_locks.insert(node.incarnation.clone());
                self.tally.joined_anew += 1;
                Next::WriteRow
            }
            Action::FenceReloadAlarm(_) | Action::StayFenced => panic!("there is one history"),
        }
    }

    fn decide(&mut self, index: usize) -> Result<(), String> {
        let node = &mut self.nodes[index];
        let Some(decision) = &mut node.decision else {
            node.decision = Some(Decision { entry: node.gate.enter(), owed: self.promised, authority: None });
            return Ok(());
        };
        let Some(authority) = decision.authority else {
            decision.authority = Some(node.keyring);
            return Ok(());
        };
        let (entry, owed) = (decision.entry, decision.owed);
        node.decision = None;
        let boot = node.machine.boot(self.now);
        let holds = match self.flaw {
            Flaw::GateAfterVerification => node.gate.admits(boot),
            _ => node.gate.holds(entry, boot),
        };
        if !holds {
            self.tally.refused += 1;
        } else if authority < owed {
            return Err(format!("node {index} admitted by revision {authority} although {owed} had been promised"));
        } else {
            self.tally.admitted += 1;
        }
        Ok(())
    }

    fn revoke(&mut self, index: usize) {
        let (machine, revoking) = &mut self.revokers[index];
        let boot = machine.boot(self.now);
        *revoking = match revoking.take() {
            None if self.dice.one_in(4) => {
                self.revision += 1;
                Some(Revoking::Committed(self.revision))
            }
            None => None,
            Some(Revoking::Committed(revision)) => Some(Revoking::Acknowledged(revision, boot)),
            Some(Revoking::Acknowledged(revision, acknowledged)) => {
                Some(Revoking::Waiting(revision, acknowledged, Vigil::begin(revision, acknowledged, &self.rows)))
            }
            Some(Revoking::Waiting(revision, acknowledged, mut vigil)) => {
                vigil.observe(&self.rows, |incarnation| self.locks && self.free_locks.contains(incarnation));
                let full_time = match self.flaw {
                    Flaw::NoWait => acknowledged,
                    Flaw::NoMargin => {
                        let longest = self.rows.iter().map(|row| row.lease).max().unwrap_or_default();
                        vigil.full_time().minus(margin(longest))
                    }
                    _ => vigil.full_time(),
                };
                if !vigil.is_settled() && boot >= full_time {
                    vigil.full_time_passed();
                    self.tally.by_time += 1;
                }
                if vigil.is_settled() {
                    let below = if self.flaw == Flaw::DeleteConfirmed { u64::MAX } else { revision };
                    self.writes.extend(vigil.fenced().map(|incarnation| Write::Remove(incarnation.to_owned(), below)));
                    self.promised = self.promised.max(revision);
                    self.tally.promises += 1;
                    None
                } else {
                    Some(Revoking::Waiting(revision, acknowledged, vigil))
                }
            }
        };
    }

    fn deliver(&mut self) {
        if self.writes.is_empty() {
            return;
        }
        let chosen = usize::try_from(self.dice.below(self.writes.len() as u64)).unwrap();
        match self.writes.swap_remove(chosen) {
            Write::Remove(incarnation, below) => {
                self.rows.retain(|row| row.incarnation != incarnation || row.applied >= below);
            }
            Write::Confirm(incarnation, applied) => {
                let Some(from) = self.nodes.iter_mut().find(|node| node.incarnation == incarnation) else { return };
                if !from.reachable || !from.writable {
                    return;
                }
                let row = self.rows.iter_mut().find(|row| row.incarnation == incarnation);
                let answer = row.map(|row| {
                    row.applied = row.applied.max(applied);
                    applied
                });
                let answer = answer.or((self.flaw == Flaw::NoRow).then_some(applied));
                from.answers.push((incarnation, answer));
            }
        }
    }

    fn disturb(&mut self, index: usize) {
        let pause = self.dice.below(6_000 * MS);
        let node = &mut self.nodes[index];
        match self.dice.below(12) {
            0..3 => node.reachable = !node.reachable,
            3..5 => node.writable = !node.writable,
            5..7 => node.paused_until = self.now + pause,
            7 => {
                // Killed: the kernel frees its lock, the row stays.
                self.free_locks.insert(node.incarnation.clone());
                node.restart();
            }
            8 if node.reachable && node.writable && self.now >= node.paused_until => {
                // Leaves as it should.
                node.gate.fence();
                self.rows.retain(|row| row.incarnation != node.incarnation);
                self.free_locks.insert(node.incarnation.clone());
                node.restart();
            }
            _ => (node.reachable, node.writable, node.paused_until) = (true, true, 0),
        }
    }

    /// Nothing disturbs any more: is every node back soon, with everything in force?
    pub(super) fn recovers(&mut self) -> bool {
        for node in &mut self.nodes {
            (node.reachable, node.writable, node.paused_until) = (true, true, 0);
        }
        for _ in 0..100 {
            self.now += MS;
            (0..self.nodes.len()).for_each(|index| self.member(index));
            (0..8).for_each(|_| self.deliver());
        }
        self.nodes.iter().all(|node| node.gate.admits(node.machine.boot(self.now)) && node.keyring == self.revision)
    }
}
