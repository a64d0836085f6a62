//! API keys: made, found, changed, deleted, and refused where they must be.

use super::{Fixture, new_key};
use crate::clock::WallTime;
use crate::credential::{KeyId, KeyState, Policy, Role, SecretDigest};
use crate::entropy::SystemEntropy;
use crate::store::{KeyFilter, KeyUpdate, Store as _, StoreError};

#[tokio::test]
async fn a_key_comes_back_as_it_was_made() {
    let fixture = Fixture::with_secret().await;
    let mut new = new_key("Reports → Ünïcode");
    new.role = Role::Admin;
    new.policy = Policy {
        expires_at: Some(WallTime::from_millis(99)),
        allowed_networks: Some(vec!["192.0.2.0/24".parse().unwrap()]),
        allowed_routes: None,
    };
    let head = fixture.insert(&new).await.unwrap();
    assert_eq!(head.revision, 2);
    assert_eq!(fixture.store.head().await.unwrap(), head);
    let (key, usage) = fixture.store.key(new.id).await.unwrap().unwrap();
    assert_eq!((key.id, &key.name, &key.description, key.role), (new.id, &new.name, &new.description, new.role));
    assert_eq!((key.state, &key.policy, key.epoch, key.revision), (KeyState::Active, &new.policy, 1, 2));
    assert_eq!((key.created_at, key.updated_at), (WallTime::from_millis(2_000), WallTime::from_millis(2_000)));
    assert!(key.digest.matches(&new.digest));
    assert_eq!((usage.last_login, usage.use_count), (None, 0));
    let named = fixture.store.key_named(new.name.as_str()).await.unwrap().unwrap();
    assert_eq!(named.0.id, new.id);
    assert!(fixture.store.key_named("reports → ünïcode").await.unwrap().is_none(), "case counts");
    assert!(fixture.store.key(KeyId::draw(&SystemEntropy)).await.unwrap().is_none());
    let audit = &fixture.store.audit(1).await.unwrap()[0];
    assert_eq!((audit.action.as_str(), audit.revision), ("api_key.create", Some(2)));
}

#[tokio::test]
async fn a_name_is_taken_until_its_key_is_deleted() {
    let fixture = Fixture::with_secret().await;
    let (first, second) = (new_key("billing"), new_key("billing"));
    fixture.insert(&first).await.unwrap();
    assert!(matches!(fixture.insert(&second).await, Err(StoreError::NameTaken(name)) if name == "billing"));
    fixture.insert(&new_key("Billing")).await.unwrap();
    let other = new_key("other");
    fixture.insert(&other).await.unwrap();
    let rename = KeyUpdate { name: Some(first.name.clone()), ..KeyUpdate::default() };
    assert!(matches!(fixture.update(other.id, &rename).await, Err(StoreError::NameTaken(_))));
    fixture.update(first.id, &rename).await.unwrap();
    assert_eq!(fixture.store.head().await.unwrap().revision, 5, "what was refused took no revision");
    fixture.delete(first.id).await.unwrap();
    assert!(fixture.store.key_named("billing").await.unwrap().is_none());
    fixture.insert(&second).await.unwrap();
    fixture.delete(second.id).await.unwrap();
    assert_eq!(fixture.store.key(first.id).await.unwrap().unwrap().0.name.as_str(), "billing");
}

#[tokio::test]
async fn an_update_changes_what_it_names_and_no_more() {
    let fixture = Fixture::with_secret().await;
    let new = new_key("billing");
    let made = fixture.insert(&new).await.unwrap();
    let roll = KeyUpdate {
        digest: Some(SecretDigest::of(b"other")),
        role: Some(Role::Admin),
        if_revision: Some(made.revision),
        raise_epoch: true,
        ..KeyUpdate::default()
    };
    let (before, after, head) = fixture.update(new.id, &roll).await.unwrap();
    assert_eq!((before.epoch, after.epoch, after.revision), (1, 2, head.revision));
    assert_eq!((before.role, after.role, &after.name), (Role::ReadOnly, Role::Admin, &before.name));
    assert!(before.digest.matches(&new.digest) && after.digest.matches(&SecretDigest::of(b"other")));
    assert_eq!((after.created_at, after.updated_at), (before.created_at, WallTime::from_millis(3_000)));
    let stored = fixture.store.key(new.id).await.unwrap().unwrap().0;
    assert!(stored.digest.matches(&after.digest) && stored.epoch == 2 && stored.role == Role::Admin);
    assert!(matches!(fixture.update(new.id, &roll).await, Err(StoreError::Changed(id)) if id == new.id));
    let unknown = KeyId::draw(&SystemEntropy);
    assert!(matches!(fixture.update(unknown, &roll).await, Err(StoreError::NoSuchKey(_))));
}

#[tokio::test]
async fn a_tombstone_stays_one() {
    let fixture = Fixture::with_secret().await;
    let (deleted, updated) = (new_key("deleted"), new_key("updated"));
    fixture.insert(&deleted).await.unwrap();
    fixture.insert(&updated).await.unwrap();
    fixture.delete(deleted.id).await.unwrap();
    let gone = KeyUpdate { state: Some(KeyState::Deleted), ..KeyUpdate::default() };
    fixture.update(updated.id, &gone).await.unwrap();
    for id in [deleted.id, updated.id] {
        let key = fixture.store.key(id).await.unwrap().unwrap().0;
        assert_eq!((key.state, key.epoch), (KeyState::Deleted, 2));
        assert!(key.digest.matches(&SecretDigest::ERASED));
        assert!(matches!(fixture.delete(id).await, Err(StoreError::NoSuchKey(_))));
        let enable = KeyUpdate { state: Some(KeyState::Active), ..KeyUpdate::default() };
        assert!(matches!(fixture.update(id, &enable).await, Err(StoreError::NoSuchKey(_))));
    }
    let mut reused = new_key("reused");
    reused.id = deleted.id;
    assert!(fixture.insert(&reused).await.is_err(), "an id is never used again");
    fixture.insert(&new_key("next")).await.unwrap();
}

#[tokio::test]
async fn a_list_is_narrowed_and_sorted() {
    let fixture = Fixture::with_secret().await;
    for name in ["charlie", "Ärger", "alpha", "bravo"] {
        let mut key = new_key(name);
        key.role = if name == "bravo" { Role::Admin } else { Role::ReadOnly };
        key.description = "100 % of it".to_owned();
        fixture.insert(&key).await.unwrap();
    }
    let id = fixture.store.key_named("charlie").await.unwrap().unwrap().0.id;
    fixture.delete(id).await.unwrap();
    let id = fixture.store.key_named("alpha").await.unwrap().unwrap().0.id;
    fixture.update(id, &KeyUpdate { state: Some(KeyState::Disabled), ..KeyUpdate::default() }).await.unwrap();
    let names = async |filter: KeyFilter| {
        let keys = fixture.store.keys(&filter).await.unwrap();
        keys.iter().map(|(key, _)| key.name.to_string()).collect::<Vec<_>>()
    };
    let all = KeyFilter::default();
    assert_eq!(names(all.clone()).await, ["alpha", "bravo", "Ärger"]);
    assert_eq!(names(KeyFilter { role: Some(Role::Admin), ..all.clone() }).await, ["bravo"]);
    assert_eq!(names(KeyFilter { state: Some(KeyState::Active), ..all.clone() }).await, ["bravo", "Ärger"]);
    assert_eq!(names(KeyFilter { state: Some(KeyState::Disabled), ..all.clone() }).await, ["alpha"]);
    assert_eq!(names(KeyFilter { state: Some(KeyState::Deleted), ..all.clone() }).await, ["charlie"]);
    assert_eq!(names(KeyFilter { text: Some("äRG".to_owned()), ..all.clone() }).await, ["Ärger"]);
    assert_eq!(names(KeyFilter { text: Some("0 % OF".to_owned()), ..all.clone() }).await.len(), 3);
    assert!(names(KeyFilter { text: Some("0_%".to_owned()), ..all }).await.is_empty());
}

#[tokio::test]
async fn a_bad_row_is_named_and_nothing_panics() {
    let fixture = Fixture::with_secret().await;
    let key = new_key("billing");
    fixture.insert(&key).await.unwrap();
    let spoil = [
        ("UPDATE api_keys SET role = 'ROOT'", "role"),
        ("UPDATE api_keys SET role = 'ADMIN', epoch = 4294967296", "epoch"),
        ("UPDATE api_keys SET epoch = 1, policy = '{\"new\":1}'", "policy"),
        ("UPDATE api_keys SET policy = NULL, name = ' x '", "name"),
        ("UPDATE api_keys SET name = 'x', expires_at = -1", "expires_at"),
    ];
    for (sql, column) in spoil {
        let mut lent = fixture.store.change().await.unwrap();
        sqlx::query(sql).execute(&mut lent.conn).await.unwrap();
        lent.settle(Ok(())).await.unwrap();
        let error = fixture.store.load(&mut |_| {}).await.unwrap_err();
        assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
        let text = error.to_string();
        assert!(text.contains(column) && text.contains("api_keys") && text.contains(&key.id.to_string()), "{text}");
        assert!(fixture.store.key(key.id).await.is_err());
    }
}

#[tokio::test]
async fn a_load_gives_every_key_as_it_is() {
    let fixture = Fixture::with_secret().await;
    let mut tx = fixture.store.change().await.unwrap();
    // Several pages, quickly.
    let fill = "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 2999)
        INSERT INTO api_keys SELECT i, 'filled ' || i, '', 'ADMIN', 'active', NULL, NULL, randomblob(32), 1, 1, 1, 1
        FROM n";
    sqlx::query(fill).execute(&mut tx.conn).await.unwrap();
    tx.settle(Ok(())).await.unwrap();
    let mut odd = new_key("odd \\ \"name\" → \u{1F511}");
    odd.description = "line\nand nul \0 and quote '".to_owned();
    odd.policy.expires_at = Some(WallTime::from_millis(77));
    odd.policy.allowed_routes = Some(vec!["/a \"b\"".to_owned()]);
    fixture.insert(&odd).await.unwrap();
    let gone = new_key("gone");
    fixture.insert(&gone).await.unwrap();
    fixture.delete(gone.id).await.unwrap();
    let mut seen = Vec::new();
    let snapshot = fixture.store.load(&mut |key| seen.push(key)).await.unwrap();
    assert_eq!((snapshot.head.revision, snapshot.secrets.current.version.get()), (4, 1));
    assert_eq!(seen.len(), 3_002, "tombstones too");
    for loaded in seen.iter().filter(|key| key.id.as_u64() % 500 == 499 || key.id.as_u64() > 2_999) {
        let single = fixture.store.key(loaded.id).await.unwrap().unwrap().0;
        assert_eq!(format!("{loaded:?}"), format!("{single:?}"));
        assert!(loaded.digest.matches(&single.digest));
    }
}
