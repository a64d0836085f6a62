//! The shared secret's versions.

use super::{Fixture, change_id, sealed};
use crate::clock::WallTime;
use crate::store::{Store as _, StoreError};

#[tokio::test]
async fn the_first_is_made_once() {
    let fixture = Fixture::new().await;
    assert!(!fixture.store.has_secret().await.unwrap());
    let audit = fixture.audit("shared_secret.create", 1);
    let at = WallTime::from_millis(7);
    assert!(fixture.store.put_first_secret(sealed(1), at, &change_id(), &audit).await.unwrap());
    assert!(!fixture.store.put_first_secret(sealed(9), at, &change_id(), &audit).await.unwrap());
    assert!(fixture.store.has_secret().await.unwrap());
    let snapshot = fixture.store.secrets().await.unwrap();
    assert_eq!((snapshot.head.revision, snapshot.secrets.current.version.get()), (1, 1));
    assert_eq!(snapshot.secrets.current.sealed, Some(sealed(1)));
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
    assert!(snapshot.secrets.previous.is_none());
}

#[tokio::test]
async fn at_most_two_versions_live() {
    let fixture = Fixture::with_secret().await;
    fixture.regenerate(1, Some(10_000)).await.unwrap();
    let previous = fixture.store.secrets().await.unwrap().secrets.previous.unwrap();
    assert_eq!((previous.version.get(), previous.sealed), (1, Some(sealed(1))));
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
    for wrong in [vec![2], vec![1], vec![], vec![1, 2, 3], vec![2, 2]] {
        let wrong: Vec<_> = wrong.into_iter().map(|version| (version, sealed(70))).collect();
        let refused = fixture.store.reseal(&wrong, &audit).await;
        assert!(matches!(refused, Err(StoreError::VersionConflict { actual: 2, .. })), "{wrong:?}");
    }
    fixture.store.reseal(&[(2, sealed(72)), (1, sealed(71))], &audit).await.unwrap();
    let snapshot = fixture.store.secrets().await.unwrap();
    assert_eq!(snapshot.head, head, "no revision");
    assert_eq!(snapshot.secrets.current.sealed, Some(sealed(72)));
    assert_eq!(snapshot.secrets.previous.unwrap().sealed, Some(sealed(71)));
}
