//! The shared secret's versions.

use super::{Fixture, change_id, pair, resealed, sealed, signing};
use crate::clock::WallTime;
use crate::store::{Resealed, Store as _, StoreError};

#[tokio::test]
async fn the_first_is_made_once() {
    let fixture = Fixture::new().await;
    assert!(!fixture.store.has_secret().await.unwrap());
    let audit = fixture.audit("shared_secret.create", 1);
    let at = WallTime::from_millis(7);
    assert!(fixture.store.put_first_secret(pair(1), at, &change_id(), &audit).await.unwrap());
    assert!(!fixture.store.put_first_secret(pair(9), at, &change_id(), &audit).await.unwrap());
    assert!(fixture.store.has_secret().await.unwrap());
    let snapshot = fixture.store.secrets().await.unwrap();
    assert_eq!((snapshot.head.revision, snapshot.secrets.current.version.get()), (1, 1));
    assert_eq!(snapshot.secrets.current.sealed, Some(sealed(1)));
    assert_eq!(snapshot.secrets.current.signing, Some(signing(1)));
    assert_eq!(snapshot.secrets.current.created_at, at);
    assert_eq!(fixture.store.audit(10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_replacement_names_what_it_replaces() {
    let fixture = Fixture::with_secret().await;
    let head = fixture.regenerate(1, None).await.unwrap();
    let conflict = fixture.regenerate(1, None).await;
    assert!(matches!(conflict, Err(StoreError::VersionConflict { expected: 1, actual: 2 })));
    let snapshot = fixture.store.secrets().await.unwrap();
    assert_eq!(snapshot.head, head);
    assert_eq!(snapshot.secrets.current.version.get(), 2);
    assert_eq!(snapshot.secrets.current.sealed, Some(sealed(2)));
    assert_eq!(snapshot.secrets.current.signing, Some(signing(2)));
    assert!(snapshot.secrets.previous.is_none());
}

#[tokio::test]
async fn at_most_two_versions_live() {
    let fixture = Fixture::with_secret().await;
    fixture.regenerate(1, Some(10_000)).await.unwrap();
    let previous = fixture.store.secrets().await.unwrap().secrets.previous.unwrap();
    assert_eq!((previous.version.get(), previous.sealed, previous.signing), (1, Some(sealed(1)), Some(signing(1))));
    assert_eq!(previous.grace_until, Some(WallTime::from_millis(10_000)));
    fixture.regenerate(2, Some(20_000)).await.unwrap();
    let secrets = fixture.store.secrets().await.unwrap().secrets;
    assert_eq!((secrets.current.version.get(), secrets.previous.unwrap().version.get()), (3, 2));
    fixture.regenerate(3, None).await.unwrap();
    let secrets = fixture.store.secrets().await.unwrap().secrets;
    assert_eq!((secrets.current.version.get(), secrets.previous.is_none()), (4, true));
}

#[tokio::test]
async fn a_grace_period_ends_once() {
    let fixture = Fixture::with_secret().await;
    let audit = fixture.audit("shared_secret.end_grace", 1);
    assert!(fixture.store.end_grace(&change_id(), &audit).await.unwrap().is_none());
    fixture.regenerate(1, Some(10_000)).await.unwrap();
    let head = fixture.store.end_grace(&change_id(), &audit).await.unwrap().unwrap();
    assert_eq!(head.revision, 3);
    assert!(fixture.store.secrets().await.unwrap().secrets.previous.is_none());
    assert!(fixture.store.end_grace(&change_id(), &audit).await.unwrap().is_none());
    assert_eq!(fixture.store.head().await.unwrap(), head);
}

#[tokio::test]
async fn sealing_anew_names_exactly_the_live_versions() {
    let fixture = Fixture::with_secret().await;
    fixture.regenerate(1, Some(10_000)).await.unwrap();
    let audit = fixture.audit("master_key.rotate", 1);
    let head = fixture.store.head().await.unwrap();
    let all = |versions: Vec<u32>| versions.into_iter().map(|version| resealed(version, 70)).collect();
    let mut wrongs: Vec<Vec<Resealed>> =
        [vec![2], vec![1], vec![], vec![1, 2, 3], vec![2, 2]].into_iter().map(all).collect();
    // One signing key would stay under the old master key.
    wrongs.push(vec![resealed(1, 70), Resealed { signing: None, ..resealed(2, 70) }]);
    for wrong in wrongs {
        let refused = fixture.store.reseal(&wrong, &audit).await;
        assert!(matches!(refused, Err(StoreError::SecretsChanged)), "{wrong:?}");
    }
    fixture.store.reseal(&[resealed(2, 72), resealed(1, 71)], &audit).await.unwrap();
    let snapshot = fixture.store.secrets().await.unwrap();
    assert_eq!(snapshot.head, head, "no revision");
    let (current, previous) = (snapshot.secrets.current, snapshot.secrets.previous.unwrap());
    assert_eq!((current.sealed, current.signing), (Some(sealed(72)), Some(signing(72))));
    assert_eq!((previous.sealed, previous.signing), (Some(sealed(71)), Some(signing(71))));
}
