//! Members and a revoker on one real SQLite file, as separate processes would open it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::lease::{Alarm, LeaseGate};
use super::member::{Member, Observer, Operation, Setup};
use super::revoke::{self, Revocation, Wait};
use crate::clock::{Clock as _, SystemClock};
use crate::entropy::{Entropy as _, SystemEntropy};
use crate::keyring::Keyring;
use crate::keyring::follow::Follower;
use crate::store::seal::MasterKey;
use crate::store::sqlite::{SqliteNodeLocks, SqliteStore};
use crate::store::{Actor, Audit, SealedSecret, Store as _};

struct Quiet;

impl Observer for Quiet {
    fn applied(&self, _: u64, _: Duration) {}
    fn alarm(&self, _: Alarm) {}
    fn store_error(&self, _: Operation) {}
}

fn sealed(master: &MasterKey, store_id: &str, version: u32) -> SealedSecret {
    master.new_secret(version.try_into().unwrap(), store_id, &SystemEntropy)
}

struct Node {
    member: Member,
    keyring: Arc<Keyring>,
}

async fn node(db: &Path, name: &str, master: &Arc<MasterKey>) -> Node {
    let keyring = Arc::new(Keyring::new(&SystemEntropy));
    let setup = Setup {
        store: Arc::new(SqliteStore::open(db).await.unwrap()),
        locks: Arc::new(SqliteNodeLocks::new(db)),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        follower: Follower::new(Arc::clone(&keyring), Arc::clone(master) as _),
        gate: Arc::new(LeaseGate::closed()),
        observer: Arc::new(Quiet),
        node_id: name.into(),
        version: "0".into(),
        lease: Duration::from_secs(30),
    };
    Node { member: Member::join(setup).await.unwrap(), keyring }
}

struct Revoker {
    store: SqliteStore,
    locks: SqliteNodeLocks,
    master: Arc<MasterKey>,
}

impl Revoker {
    async fn regenerate(&self, expected: u32) -> Revocation {
        let actor = Actor { who: "cli:test".into(), from: "local".into() };
        let (subject, detail) = (expected.to_string(), serde_json::json!({}));
        let audit =
            Audit { actor: &actor, at: SystemClock.wall(), action: "shared_secret.regenerate", subject, detail };
        let sealed = sealed(&self.master, self.store.store_id(), expected + 1);
        let change_id = SystemEntropy.hex128();
        let head = self.store.replace_secret(expected, sealed, None, &change_id, &audit).await.unwrap();
        let now = SystemClock.boot();
        revoke::wait(&self.store, &self.locks, &SystemClock, head.revision, now, Wait::Full).await.unwrap()
    }
}

#[tokio::test]
async fn two_nodes_confirm_and_a_dead_one_is_fenced_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let db = directory.path().join("keygate.db");
    let master = Arc::new(MasterKey::generate(&SystemEntropy));
    let store = SqliteStore::create(&db, "store").await.unwrap();
    let actor = Actor { who: "cli:test".into(), from: "local".into() };
    let at = SystemClock.wall();
    let detail = serde_json::json!({});
    let audit = Audit { actor: &actor, at, action: "shared_secret.create", subject: "1".into(), detail };
    store.put_first_secret(sealed(&master, "store", 1), at, &SystemEntropy.hex128(), &audit).await.unwrap();
    let revoker = Revoker { store, locks: SqliteNodeLocks::new(&db), master: Arc::clone(&master) };

    let (mut a, mut b) = (node(&db, "a", &master).await, node(&db, "b", &master).await);
    let never = std::future::pending::<()>;
    let answer = tokio::select! {
        () = a.member.run(never()) => unreachable!(),
        () = b.member.run(never()) => unreachable!(),
        answer = revoker.regenerate(1) => answer,
    };
    assert_eq!((answer.confirmed, answer.fenced), (vec!["a".into(), "b".into()], vec![]));
    assert!(answer.promise_held && answer.took_ms < 5_000, "{}", answer.took_ms);
    assert_eq!([a.keyring.secret_version(), b.keyring.secret_version()], [Some(2), Some(2)]);

    // What the kernel does to the lock of a process that is killed, this does.
    drop(b);
    let answer = tokio::select! {
        () = a.member.run(never()) => unreachable!(),
        answer = revoker.regenerate(2) => answer,
    };
    assert_eq!((answer.confirmed, answer.fenced), (vec!["a".into()], vec!["b".into()]));
    assert!(answer.promise_held && answer.took_ms < 5_000, "{}", answer.took_ms);
    assert_eq!(revoker.store.nodes().await.unwrap().len(), 1);
    a.member.leave().await;
    assert!(revoker.store.nodes().await.unwrap().is_empty());
    assert!(revoker.regenerate(3).await.promise_held);
}
