//! The signing keys of shared secret versions: given to those that have none, and always under the master key that the
//! version's secret is under.

use super::{Fixture, change_id, pair, sealed, signing};
use crate::entropy::SystemEntropy;
use crate::store::seal::{MasterKey, SealError};
use crate::store::{Change, Changes, Resealed, SealedSecret, Secrets, Store as _, StoreError};

/// Two live versions without signing keys, as a store of before has them.
async fn of_before() -> Fixture {
    let fixture = Fixture::with_secret().await;
    fixture.regenerate(1, Some(10_000)).await.unwrap();
    fixture.forget_signing_keys().await;
    fixture
}

fn signing_keys(secrets: Secrets) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    (secrets.current.signing, secrets.previous.unwrap().signing)
}

#[tokio::test]
async fn those_without_one_are_given_one_and_followers_learn_of_it() {
    let fixture = of_before().await;
    let audit = fixture.audit("shared_secret.signing_key", 6_000);
    let before = fixture.store.head().await.unwrap();
    let keys = [(2, signing(2)), (1, signing(1))];
    let head = fixture.store.add_signing_keys(&keys, "added", &audit).await.unwrap().unwrap();
    assert_eq!((head.revision, head.change_id.as_str()), (before.revision + 1, "added"));
    let Changes::Since(changes, now) = fixture.store.changes_since(&before).await.unwrap() else { panic!("reload") };
    let [Change::Secrets(secrets)] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!((secrets.current.sealed.clone(), now), (Some(sealed(2)), head.clone()));
    assert_eq!(signing_keys(secrets.clone()), (Some(signing(2)), Some(signing(1))));
    let record = fixture.store.audit(1).await.unwrap().remove(0);
    assert_eq!((record.action.as_str(), record.revision), ("shared_secret.signing_key", Some(head.revision)));

    // Whoever comes second finds them, and writes nothing at all.
    let others = [(2, signing(92)), (1, signing(91))];
    assert!(fixture.store.add_signing_keys(&others, &change_id(), &audit).await.unwrap().is_none());
    let snapshot = fixture.store.secrets().await.unwrap();
    assert_eq!(signing_keys(snapshot.secrets), (Some(signing(2)), Some(signing(1))));
    assert_eq!((snapshot.head, fixture.store.audit(1).await.unwrap()[0].id), (head, record.id));
}

#[tokio::test]
async fn exactly_those_without_one_are_named() {
    let fixture = of_before().await;
    let audit = fixture.audit("shared_secret.signing_key", 6_000);
    let (head, records) = (fixture.store.head().await.unwrap(), fixture.store.audit(10).await.unwrap().len());
    for wrong in [vec![], vec![2], vec![1], vec![1, 3], vec![2, 2], vec![1, 2, 3]] {
        let keys: Vec<_> = wrong.iter().map(|version| (*version, signing(*version))).collect();
        let refused = fixture.store.add_signing_keys(&keys, &change_id(), &audit).await;
        assert!(matches!(refused, Err(StoreError::SecretsChanged)), "{wrong:?}");
    }
    assert_eq!(signing_keys(fixture.store.secrets().await.unwrap().secrets), (None, None));
    assert_eq!((fixture.store.head().await.unwrap(), fixture.store.audit(10).await.unwrap().len()), (head, records));
    // A regeneration came in between: one of the two has a key, and the other is on its way out.
    fixture.regenerate(2, Some(20_000)).await.unwrap();
    let keys = [(1, signing(1)), (2, signing(2))];
    let refused = fixture.store.add_signing_keys(&keys, &change_id(), &audit).await;
    assert!(matches!(refused, Err(StoreError::SecretsChanged)));
    fixture.store.add_signing_keys(&[(2, signing(2))], &change_id(), &audit).await.unwrap().unwrap();
    assert_eq!(signing_keys(fixture.store.secrets().await.unwrap().secrets), (Some(signing(3)), Some(signing(2))));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_one_gives_it() {
    let fixture = of_before().await;
    let mut tasks = Vec::new();
    for n in 0..8 {
        let (store, actor) = (fixture.open_again().await, fixture.actor.clone());
        tasks.push(tokio::spawn(async move {
            let audit = crate::store::Audit {
                actor: &actor,
                at: crate::clock::WallTime::EPOCH,
                action: "shared_secret.signing_key",
                subject: "2".to_owned(),
                detail: serde_json::json!({}),
            };
            let keys = [(1, signing(100 + n)), (2, signing(200 + n))];
            store.add_signing_keys(&keys, &change_id(), &audit).await.unwrap().map(|_| n)
        }));
    }
    let mut winners = Vec::new();
    for task in tasks {
        winners.extend(task.await.unwrap());
    }
    let [n] = winners[..] else { panic!("{winners:?}") };
    let stored = signing_keys(fixture.store.secrets().await.unwrap().secrets);
    assert_eq!(stored, (Some(signing(200 + n)), Some(signing(100 + n))));
}

#[tokio::test]
async fn none_is_kept_under_another_master_key_than_the_secret() {
    let fixture = Fixture::new().await;
    let id = fixture.store.store_id().to_owned();
    let [old, new] = [0, 1].map(|_| MasterKey::generate(&SystemEntropy));
    let audit = fixture.audit("x", 1);
    let secret = |version: u32, key: &MasterKey| key.new_secret(version.try_into().unwrap(), &id, &SystemEntropy);
    let first = secret(1, &old);
    assert!(fixture.store.put_first_secret(first.clone(), audit.at, &change_id(), &audit).await.unwrap());
    // The master key was rotated while a new version was being made. Each of the two alone would be as lost.
    for half in [
        secret(2, &new),
        SealedSecret { signing: secret(2, &new).signing, ..secret(2, &old) },
        SealedSecret { secret: secret(2, &new).secret, ..secret(2, &old) },
    ] {
        let refused = fixture.store.replace_secret(1, half, None, &change_id(), &audit).await;
        assert!(matches!(refused, Err(StoreError::Seal(SealError::OtherMasterKey { .. }))), "{refused:?}");
    }
    fixture.forget_signing_keys().await;
    let wrong = [(1, secret(1, &new).signing)];
    let refused = fixture.store.add_signing_keys(&wrong, &change_id(), &audit).await;
    assert!(matches!(refused, Err(StoreError::Seal(SealError::OtherMasterKey { .. }))), "{refused:?}");
    let snapshot = fixture.store.secrets().await.unwrap();
    assert_eq!((snapshot.head.revision, snapshot.secrets.current.signing), (1, None));
    // A rotation that did not see the signing key come would leave it under the old one.
    fixture.store.add_signing_keys(&[(1, first.signing)], &change_id(), &audit).await.unwrap().unwrap();
    let unaware = Resealed { version: 1, secret: secret(1, &new).secret, signing: None };
    assert!(matches!(fixture.store.reseal(&[unaware], &audit).await, Err(StoreError::SecretsChanged)));
}

#[tokio::test]
async fn a_version_without_one_is_sealed_anew_without_one() {
    let fixture = Fixture::with_secret().await;
    fixture.forget_signing_keys().await;
    let audit = fixture.audit("master_key.rotate", 1);
    let new = Resealed { version: 1, secret: pair(8).secret, signing: None };
    let resealed = Resealed { signing: Some(signing(8)), ..new.clone() };
    assert!(matches!(fixture.store.reseal(&[resealed], &audit).await, Err(StoreError::SecretsChanged)));
    fixture.store.reseal(&[new], &audit).await.unwrap();
    let current = fixture.store.secrets().await.unwrap().secrets.current;
    assert_eq!((current.sealed, current.signing), (Some(sealed(8)), None));
}
