//! The member against a store that fails, hangs, forgets and lies; time stands still unless it is moved.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::lease::{Alarm, LeaseGate, margin};
use super::member::{Member, MemberError, Observer, Operation, Setup, Step};
use super::revoke::{self, Wait};
use super::test_store::{FakeLocks, FakeStore, api_key};
use crate::clock::{BootTime, Clock, FakeClock, SystemClock, WallTime};
use crate::credential::KeyId;
use crate::entropy::SystemEntropy;
use crate::keyring::Keyring;
use crate::keyring::follow::Follower;
use crate::store::seal::MasterKey;
use crate::store::{Change, Store};

const L: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Noted {
    applied: Mutex<Vec<u64>>,
    alarms: Mutex<Vec<Alarm>>,
    errors: Mutex<Vec<Operation>>,
}

impl Observer for Noted {
    fn applied(&self, revision: u64, _: Duration) {
        self.applied.lock().unwrap().push(revision);
    }

    fn alarm(&self, alarm: Alarm) {
        self.alarms.lock().unwrap().push(alarm);
    }

    fn store_error(&self, operation: Operation) {
        self.errors.lock().unwrap().push(operation);
    }
}

struct World {
    store: Arc<FakeStore>,
    locks: Arc<FakeLocks>,
    clock: Arc<FakeClock>,
    keyring: Arc<Keyring>,
    gate: Arc<LeaseGate>,
    noted: Arc<Noted>,
}

impl World {
    fn new() -> Self {
        Self {
            store: Arc::new(FakeStore::new()),
            locks: Arc::default(),
            clock: Arc::new(FakeClock::at(BootTime::ZERO.plus(L), WallTime::EPOCH)),
            keyring: Arc::new(Keyring::new(&SystemEntropy)),
            gate: Arc::default(),
            noted: Arc::default(),
        }
    }

    fn setup(&self, clock: Arc<dyn Clock>, lease: Duration) -> Setup {
        let master = MasterKey::parse(&self.store.master.expose_hex()).unwrap();
        Setup {
            store: Arc::clone(&self.store) as Arc<dyn Store>,
            locks: Arc::clone(&self.locks) as _,
            clock,
            entropy: Arc::new(SystemEntropy),
            follower: Follower::new(Arc::clone(&self.keyring), Arc::new(master)),
            gate: Arc::clone(&self.gate),
            observer: Arc::clone(&self.noted) as _,
            node_id: "node".into(),
            version: "0".into(),
            lease,
        }
    }

    async fn joined() -> (Self, Member) {
        let world = Self::new();
        let member = world.join().await.unwrap();
        (world, member)
    }

    async fn join(&self) -> Result<Member, MemberError> {
        Member::join(self.setup(Arc::clone(&self.clock) as _, L)).await
    }

    fn is_open(&self) -> bool {
        self.gate.admits(self.clock.boot())
    }

    /// Renews until the node is admitted.
    async fn settle(&self, member: &mut Member) {
        for _ in 0..8 {
            if member.renew().await.unwrap() == Step::Admitted {
                return;
            }
            member.finish_writes().await;
        }
        panic!("not admitted");
    }
}

#[tokio::test]
async fn joins_with_everything_in_force_and_confirmed() {
    let (world, _member) = World::joined().await;
    assert!(world.is_open());
    assert_eq!(world.gate.deadline(), world.clock.boot().plus(L).minus(margin(L)));
    assert_eq!(world.keyring.secret_version(), Some(1));
    let [row] = &world.store.rows()[..] else { panic!("one row") };
    assert_eq!((row.applied, row.lease, row.id.as_str()), (1, L, "node"));
    assert_eq!(world.locks.held(), 1);
}

#[tokio::test]
async fn a_failed_join_leaves_nothing_behind() {
    for operation in ["join", "load", "renew", "confirm"] {
        let world = World::new();
        world.store.fail(operation, true);
        assert!(world.join().await.is_err(), "{operation}");
        assert!(!world.is_open());
        assert!(world.store.rows().is_empty() && world.locks.held() == 0);
    }
}

#[tokio::test]
async fn a_renewal_writes_nothing_when_nothing_changed() {
    let (world, mut member) = World::joined().await;
    let before = world.store.calls("confirm");
    world.clock.advance(L / 5);
    assert_eq!(member.renew().await.unwrap(), Step::Admitted);
    assert_eq!(world.gate.deadline(), world.clock.boot().plus(L).minus(margin(L)));
    assert_eq!((world.store.calls("confirm"), world.store.calls("seen")), (before, 0));
}

#[tokio::test]
async fn applies_before_it_admits() {
    let (world, mut member) = World::joined().await;
    let (until, id) = (world.gate.deadline(), KeyId::draw(&SystemEntropy));
    world.store.commit(Change::Key(Box::new(api_key(id, "a"))));
    let head = world.store.regenerate();
    world.clock.advance(L / 5);
    world.store.fail("changes_since", true);
    assert!(member.renew().await.is_err());
    assert_eq!(world.gate.deadline(), until, "what is not applied is not admitted on");
    world.store.fail("changes_since", false);
    world.settle(&mut member).await;
    assert!(world.gate.deadline() > until);
    assert_eq!(world.keyring.secret_version(), Some(2));
    assert!(world.keyring.find(id).is_some());
    assert_eq!(world.noted.applied.lock().unwrap().last(), Some(&head.revision));
}

#[tokio::test]
async fn store_errors_leave_the_lease_to_run_out_by_itself() {
    let (world, mut member) = World::joined().await;
    world.store.fail("renew", true);
    world.clock.advance(L.saturating_sub(margin(L) + Duration::from_millis(1)));
    assert!(member.renew().await.is_err());
    assert!(world.is_open());
    world.clock.advance(Duration::from_millis(1));
    assert!(!world.is_open());
    world.store.fail("renew", false);
    world.settle(&mut member).await;
    assert!(world.is_open());
    assert_eq!(*world.noted.errors.lock().unwrap(), [Operation::Renew]);
}

#[tokio::test]
async fn without_its_row_it_joins_anew_and_does_not_load_anew() {
    let (world, mut member) = World::joined().await;
    let old = world.store.rows()[0].incarnation.clone();
    world.store.delete_rows();
    let head = world.store.regenerate();
    assert_eq!(member.renew().await.unwrap(), Step::Again);
    assert!(!world.is_open());
    world.settle(&mut member).await;
    assert!(world.is_open());
    assert_eq!(world.keyring.secret_version(), Some(2));
    let [row] = &world.store.rows()[..] else { panic!("one row") };
    assert_ne!(row.incarnation, old);
    assert_eq!((world.store.calls("load"), world.locks.held()), (1, 1));
    assert_eq!(world.noted.applied.lock().unwrap().last(), Some(&head.revision));
}

#[tokio::test]
async fn another_history_fences_reloads_and_raises_the_alarm() {
    for (ahead, alarm) in [(0, Alarm::RevisionBehind), (1, Alarm::ChangeIdMismatch), (2, Alarm::ChangeIdMismatch)] {
        let (world, mut member) = World::joined().await;
        world.store.regenerate();
        world.settle(&mut member).await;
        let applied = world.store.head_now().revision;
        world.store.restore(applied + ahead - 1);
        if ahead == 2 {
            // The revision that was applied has another change id there.
            world.store.restore(applied);
            world.store.regenerate();
        }
        assert_eq!(member.renew().await.unwrap(), Step::Again);
        assert!(!world.is_open());
        assert_eq!(*world.noted.alarms.lock().unwrap(), [alarm]);
        world.settle(&mut member).await;
        assert!(world.is_open());
        assert_eq!((world.store.calls("load"), world.store.rows().len(), world.locks.held()), (2, 1, 1));
    }
}

#[tokio::test]
async fn behind_the_horizon_it_loads_without_alarm_and_stays_open() {
    let (world, mut member) = World::joined().await;
    world.store.regenerate();
    world.store.purge();
    assert_eq!(member.renew().await.unwrap(), Step::Again);
    assert!(world.is_open());
    world.settle(&mut member).await;
    assert_eq!((world.store.calls("load"), world.keyring.secret_version()), (2, Some(2)));
    assert!(world.noted.alarms.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_unknown_change_fences_for_good() {
    let (world, mut member) = World::joined().await;
    world.store.commit(Change::Unknown("from-tomorrow".into()));
    assert_eq!(member.renew().await.unwrap(), Step::Fenced);
    let calls = world.store.calls("renew");
    assert_eq!(member.renew().await.unwrap(), Step::Fenced);
    assert_eq!(world.store.calls("renew"), calls);
    assert!(!world.is_open());
    assert_eq!(*world.noted.alarms.lock().unwrap(), [Alarm::UnknownChange]);
    assert!(world.store.rows().is_empty(), "no revoker has to wait for it");
    member.run(async {}).await;
}

#[tokio::test]
async fn leaving_fences_first_and_takes_the_row_along() {
    let (world, member) = World::joined().await;
    world.store.fail("remove_node", true);
    member.leave().await;
    assert!(!world.is_open());
    assert_eq!(world.locks.held(), 0, "the row stayed, and its free lock says that the node is gone");
    let (world, member) = World::joined().await;
    member.leave().await;
    assert!(world.store.rows().is_empty());
}

/// On real time from here on: what runs beside each other.
async fn running(world: &World, lease: Duration, test: impl Future<Output = ()>) {
    let mut member = Member::join(world.setup(Arc::new(SystemClock), lease)).await.unwrap();
    let stop = tokio::sync::Notify::new();
    let run = member.run(stop.notified());
    let run_and_stop = async {
        tokio::time::timeout(Duration::from_secs(20), test).await.expect("in time");
        stop.notify_one();
    };
    tokio::join!(run, run_and_stop);
    member.leave().await;
}

async fn until(what: impl Fn() -> bool) {
    while !what() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_hint_makes_confirmation_a_matter_of_milliseconds() {
    let world = World::new();
    running(&world, L, async {
        let acknowledged = SystemClock.boot();
        let head = world.store.regenerate();
        let answer =
            revoke::wait(&*world.store, &*world.locks, &SystemClock, head.revision, acknowledged, Wait::Full).await;
        let answer = answer.unwrap();
        assert_eq!((answer.confirmed, answer.fenced.len(), answer.promise_held), (vec!["node".into()], 0, true));
        assert!(answer.took_ms < 5_000);
        assert_eq!(world.keyring.secret_version(), Some(2));
    })
    .await;
    assert!(world.store.rows().is_empty());
}

#[tokio::test]
async fn a_store_that_cannot_be_written_is_no_matter_while_nothing_changes() {
    let world = World::new();
    let lease = Duration::from_secs(1);
    running(&world, lease, async {
        for operation in ["join", "confirm", "seen", "remove_node", "merge_usage"] {
            world.store.fail(operation, true);
        }
        let end = SystemClock.boot().plus(2 * lease);
        until(|| {
            assert!(world.gate.admits(SystemClock.boot()));
            SystemClock.boot() > end
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_confirmed_is_admitted_on_until_the_lease_ends_and_again_when_it_can() {
    let world = World::new();
    running(&world, Duration::from_secs(1), async {
        for breaks in [FakeStore::fail, FakeStore::hang] {
            until(|| world.gate.admits(SystemClock.boot())).await;
            breaks(&world.store, "confirm", true);
            let (head, deadline) = (world.store.regenerate(), world.gate.deadline());
            until(|| world.keyring.secret_version() == u32::try_from(head.revision).ok()).await;
            until(|| !world.gate.admits(SystemClock.boot())).await;
            assert!(world.gate.deadline() <= deadline.plus(Duration::from_millis(250)));
            breaks(&world.store, "confirm", false);
            until(|| world.gate.admits(SystemClock.boot())).await;
            assert_eq!(world.store.rows()[0].applied, head.revision);
        }
    })
    .await;
}

#[tokio::test]
async fn a_silent_store_does_not_keep_the_loop() {
    let world = World::new();
    let lease = Duration::from_secs(1);
    running(&world, lease, async {
        world.store.hang("renew", true);
        until(|| !world.gate.admits(SystemClock.boot())).await;
        world.store.hang("renew", false);
        until(|| world.gate.admits(SystemClock.boot())).await;
        assert!(world.noted.errors.lock().unwrap().contains(&Operation::Renew));
    })
    .await;
}

#[tokio::test]
async fn a_silent_node_is_fenced_by_time_a_dead_one_at_once_and_a_cut_wait_promises_nothing() {
    let world = World::new();
    let member = Member::join(world.setup(Arc::new(SystemClock), Duration::from_millis(600))).await.unwrap();
    let acknowledged = SystemClock.boot();
    let head = world.store.regenerate();
    let wait = |how| revoke::wait(&*world.store, &*world.locks, &SystemClock, head.revision, acknowledged, how);
    for how in [Wait::None, Wait::AtMost(Duration::from_millis(30))] {
        assert!(!wait(how).await.unwrap().promise_held);
        assert_eq!(world.store.rows().len(), 1, "a node that may be alive keeps its row");
    }
    let answer = wait(Wait::Full).await.unwrap();
    assert!(SystemClock.boot() >= acknowledged.plus(Duration::from_millis(800)));
    assert!(!world.gate.admits(SystemClock.boot()));
    assert_eq!((answer.fenced, answer.promise_held), (vec!["node".into()], true));
    assert!(world.store.rows().is_empty());
    drop(member);

    let world = World::new();
    let _dead = Member::join(world.setup(Arc::new(SystemClock), L)).await.unwrap();
    world.locks.kill(&world.store.rows()[0].incarnation);
    let head = world.store.regenerate();
    let answer =
        revoke::wait(&*world.store, &*world.locks, &SystemClock, head.revision, SystemClock.boot(), Wait::Full).await;
    let answer = answer.unwrap();
    assert_eq!((answer.fenced, answer.promise_held), (vec!["node".into()], true));
    assert!(answer.took_ms < 5_000);
    assert!(world.store.rows().is_empty() && world.locks.held() == 0);
}
