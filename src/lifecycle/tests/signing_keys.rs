//! What tokens are signed with: made with every version, given to versions of before, sealed anew and replaced with them.

use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;

use super::*;
use crate::store::seal::Purpose;
use crate::store::{SealedSecret, SecretVersion, Secrets};

impl Gateway {
    async fn secrets(&self) -> Secrets {
        self.lifecycle.store.secrets().await.unwrap().secrets
    }

    /// Changes the table as no keygate of today does.
    async fn sql(&self, statement: &'static str) {
        let path = self.directory.path().join("keygate.db");
        let mut conn = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
        sqlx::query(statement).execute(&mut conn).await.unwrap();
    }

    /// Two live versions as a store of before there were signing keys has them.
    async fn of_before() -> Self {
        let gateway = Self::new().await;
        let grace = Some(Duration::from_hours(1));
        gateway.lifecycle.regenerate(None, grace, &gateway.actor, Wait::Full).await.unwrap();
        gateway.sql("UPDATE shared_secrets SET signing_key = NULL").await;
        gateway
    }

    /// As another process on the same store.
    async fn beside(&self) -> Lifecycle {
        let store = SqliteStore::open(&self.directory.path().join("keygate.db")).await.unwrap();
        Lifecycle { store: Arc::new(store), ..self.lifecycle.clone() }
    }
}

fn plain(master: &MasterKeys, stored: &SecretVersion) -> Vec<u8> {
    master.open_signing(stored, "store").unwrap().unwrap().expose().to_vec()
}

#[tokio::test]
async fn every_version_has_its_own_and_keeps_it_while_in_grace() {
    let gateway = Gateway::new().await;
    let (lifecycle, actor) = (&gateway.lifecycle, &gateway.actor);
    let first = plain(&lifecycle.master, &gateway.secrets().await.current);
    lifecycle.regenerate(None, Some(Duration::from_hours(1)), actor, Wait::Full).await.unwrap();
    let Secrets { current, previous } = gateway.secrets().await;
    let previous = previous.unwrap();
    assert_eq!(plain(&lifecycle.master, &previous), first);
    let second = plain(&lifecycle.master, &current);
    assert!(second != first && second.len() == 32 && second.iter().any(|byte| *byte != 0));
    // Bound to its version and purpose: one in another's place does not open.
    let swapped = SecretVersion { signing: previous.signing.clone(), ..current.clone() };
    assert!(lifecycle.master.open_signing(&swapped, "store").is_err());
    assert!(lifecycle.master.open_signing(&current, "other").is_err());
    let purposes = SecretVersion { sealed: current.signing.clone(), signing: current.sealed.clone(), ..current };
    assert!(lifecycle.master.open_signing(&purposes, "store").is_err());
    assert!(lifecycle.master.open(&purposes, "store").is_err());
}

#[tokio::test]
async fn those_of_before_are_given_one_once() {
    let gateway = Gateway::of_before().await;
    let (lifecycle, actor) = (&gateway.lifecycle, &gateway.actor);
    let before = lifecycle.store.head().await.unwrap();
    assert!(lifecycle.ensure_signing_keys(actor).await.unwrap());
    let Secrets { current, previous } = gateway.secrets().await;
    let keys = [plain(&lifecycle.master, &current), plain(&lifecycle.master, &previous.unwrap())];
    assert_ne!(keys[0], keys[1]);
    let record = gateway.last_audit().await;
    assert_eq!((record.action.as_str(), record.subject.as_str()), ("shared_secret.signing_key", "2"));
    assert_eq!(detail(&record), serde_json::json!({ "versions": [1, 2] }));
    assert_eq!((record.actor.who.as_str(), record.revision), ("cli:test", Some(before.revision + 1)));

    let head = lifecycle.store.head().await.unwrap();
    assert_eq!(head.revision, before.revision + 1);
    assert!(!lifecycle.ensure_signing_keys(actor).await.unwrap());
    assert_eq!((lifecycle.store.head().await.unwrap(), gateway.last_audit().await.id), (head, record.id));
    assert_eq!(plain(&lifecycle.master, &gateway.secrets().await.current), keys[0]);
    // A store that was made with them never needs this.
    let new = Gateway::new().await;
    assert!(!new.lifecycle.ensure_signing_keys(&new.actor).await.unwrap());
}

#[tokio::test]
async fn no_file_holds_one_in_the_clear() {
    let gateway = Gateway::of_before().await;
    let (lifecycle, actor) = (&gateway.lifecycle, &gateway.actor);
    lifecycle.ensure_signing_keys(actor).await.unwrap();
    let Secrets { current, previous } = gateway.secrets().await;
    let mut keys = vec![plain(&lifecycle.master, &current), plain(&lifecycle.master, &previous.unwrap())];
    lifecycle.regenerate(None, None, actor, Wait::Full).await.unwrap();
    keys.push(plain(&lifecycle.master, &gateway.secrets().await.current));
    let hex = |key: &[u8]| key.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat().into_bytes();
    for file in std::fs::read_dir(gateway.directory.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        for text in keys.iter().flat_map(|key| [key.clone(), hex(key)]) {
            assert!(memchr::memmem::find(&bytes, &text).is_none());
        }
    }
    let held = lifecycle.master.open_signing(&gateway.secrets().await.current, "store").unwrap();
    assert_eq!(format!("{held:?}"), "Some(SigningKey(…))");
}

#[tokio::test]
async fn none_is_made_where_the_secret_does_not_open() {
    let gateway = Gateway::of_before().await;
    let head = gateway.lifecycle.store.head().await.unwrap();
    let reason = MasterKeyError::Missing("master.key".into());
    for master in [MasterKeys::unavailable(&reason), MasterKeys::of(MasterKey::generate(&SystemEntropy))] {
        let lifecycle = Lifecycle { master, ..gateway.lifecycle.clone() };
        let refused = lifecycle.ensure_signing_keys(&gateway.actor).await;
        assert!(matches!(refused, Err(LifecycleError::MasterKey(_))), "{refused:?}");
    }
    assert_eq!(gateway.lifecycle.store.head().await.unwrap(), head);
    assert!(gateway.secrets().await.current.signing.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_gateways_that_start_at_once_one_makes_them() {
    let gateway = Gateway::of_before().await;
    let mut starts = Vec::new();
    for _ in 0..8 {
        let (lifecycle, actor) = (gateway.beside().await, gateway.actor.clone());
        starts.push(tokio::spawn(async move {
            let made = lifecycle.ensure_signing_keys(&actor).await.unwrap();
            (made, lifecycle.store.secrets().await.unwrap().secrets.current.signing.unwrap())
        }));
    }
    let mut made = 0;
    let stored = async || gateway.secrets().await.current.signing.unwrap();
    for start in starts {
        let (made_here, seen) = start.await.unwrap();
        made += usize::from(made_here);
        assert_eq!(seen, stored().await, "whoever went on saw the one that stays");
    }
    assert_eq!(made, 1);
    let audit = gateway.lifecycle.store.audit(100).await.unwrap();
    assert_eq!(audit.iter().filter(|record| record.action == "shared_secret.signing_key").count(), 1);
}

/// Whatever comes first, and whatever comes in between: afterwards the new master key opens everything that lives, and
/// what was there before is as it was.
#[tokio::test(flavor = "multi_thread")]
async fn rotations_regenerations_and_starts_at_once_leave_nothing_behind() {
    for _ in 0..12 {
        let gateway = Gateway::of_before().await;
        let new = MasterKey::generate(&SystemEntropy);
        // A running gateway finds the new key in the file; here it has it from the beginning.
        let master = gateway.lifecycle.master.with(&new);
        let [starts, rotates, regenerates] = [(); 3].map(|()| gateway.beside());
        let [starts, rotates, regenerates] = [starts.await, rotates.await, regenerates.await]
            .map(|lifecycle| Lifecycle { master: master.clone(), ..lifecycle });
        let actor = &gateway.actor;
        let (made, sealed_anew, _) = tokio::join!(
            starts.ensure_signing_keys(actor),
            rotates.reseal(&new, actor),
            // Refused when the rotation came in between.
            regenerates.regenerate(None, Some(Duration::from_hours(1)), actor, Wait::Full),
        );
        made.unwrap();
        sealed_anew.unwrap();
        let only_new = MasterKeys::of(new);
        let Secrets { current, previous } = gateway.secrets().await;
        for stored in [current, previous.unwrap()] {
            only_new.open(&stored, "store").unwrap();
            plain(&only_new, &stored);
        }
    }
}

#[tokio::test]
async fn a_rotation_seals_them_anew_and_changes_none() {
    let gateway = Gateway::new().await;
    let (lifecycle, actor) = (&gateway.lifecycle, &gateway.actor);
    lifecycle.regenerate(None, Some(Duration::from_hours(1)), actor, Wait::Full).await.unwrap();
    let before = gateway.secrets().await;
    let new = MasterKey::generate(&SystemEntropy);
    lifecycle.reseal(&new, actor).await.unwrap();
    let after = gateway.secrets().await;
    let only_new = MasterKeys::of(new);
    for (old, new) in [(before.current, after.current), (before.previous.unwrap(), after.previous.unwrap())] {
        assert_eq!(plain(&lifecycle.master, &old), plain(&only_new, &new));
        assert!(lifecycle.master.open_signing(&new, "store").is_err());
    }
    // Versions without one stay so.
    let gateway = Gateway::of_before().await;
    let new = MasterKey::generate(&SystemEntropy);
    gateway.lifecycle.reseal(&new, &gateway.actor).await.unwrap();
    assert!(gateway.secrets().await.current.signing.is_none());
    let lifecycle = Lifecycle { master: MasterKeys::of(new), ..gateway.lifecycle.clone() };
    assert!(lifecycle.ensure_signing_keys(&gateway.actor).await.unwrap());
}

#[tokio::test]
async fn a_lost_master_key_costs_them_too() {
    let gateway = Gateway::new().await;
    let (lost, actor) = (gateway.lifecycle.master.clone(), &gateway.actor);
    gateway.lifecycle.regenerate(None, Some(Duration::from_hours(1)), actor, Wait::Full).await.unwrap();
    let before = plain(&lost, &gateway.secrets().await.current);
    let master = MasterKeys::of(MasterKey::generate(&SystemEntropy));
    let lifecycle = Lifecycle { master: master.clone(), ..gateway.lifecycle.clone() };
    lifecycle.forget_lost_secrets(actor).await.unwrap();
    let Secrets { current, previous } = gateway.secrets().await;
    let [current, previous] = [plain(&master, &current), plain(&master, &previous.unwrap())];
    assert!(current != before && current != previous);
    lifecycle.regenerate(None, None, actor, Wait::Full).await.unwrap();
    assert_ne!(plain(&master, &gateway.secrets().await.current), current);
    // Lost before there were any: nothing stands in the way of making them.
    let gateway = Gateway::of_before().await;
    let lifecycle = Lifecycle { master, ..gateway.lifecycle.clone() };
    lifecycle.forget_lost_secrets(&gateway.actor).await.unwrap();
    assert!(lifecycle.ensure_signing_keys(&gateway.actor).await.unwrap());
}

#[tokio::test]
async fn one_that_does_not_open_is_noticed_when_the_master_key_is_checked() {
    let gateway = Gateway::new().await;
    gateway.lifecycle.check_master_key().await.unwrap();
    gateway.sql("UPDATE shared_secrets SET signing_key = sealed").await;
    let failed = gateway.lifecycle.check_master_key().await;
    assert!(matches!(failed, Err(LifecycleError::MasterKey(MasterKeyError::Seal(SealError::Altered)))), "{failed:?}");
    let Gateway { lifecycle, actor, .. } = &gateway;
    assert!(lifecycle.reseal(&MasterKey::generate(&SystemEntropy), actor).await.is_err(), "it would be lost for good");
    // The way out: a new version, with a key of its own.
    lifecycle.regenerate(None, None, actor, Wait::Full).await.unwrap();
    lifecycle.check_master_key().await.unwrap();
    // What opens, and is none.
    let master = MasterKey::generate(&SystemEntropy);
    let SealedSecret { secret, .. } = master.new_secret(NonZeroU32::MIN, "store", &SystemEntropy);
    let signing = Some(master.seal(b"short", "store", Purpose::SigningKey, 1, &SystemEntropy));
    let version = NonZeroU32::MIN;
    let stored =
        SecretVersion { version, sealed: Some(secret), signing, created_at: WallTime::EPOCH, grace_until: None };
    let failed = MasterKeys::of(master).open_signing(&stored, "store");
    assert!(matches!(failed, Err(LifecycleError::Store(StoreError::Corrupt(_)))), "{failed:?}");
}
