//! Revisions, followers, histories, purging.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Fixture, change_id, new_key, pair};
use crate::clock::WallTime;
use crate::credential::{KeyId, KeyState};
use crate::store::{Actor, Audit, Change, Changes, Head, KeyUpdate, Store as _};

/// A change as a word, for comparing.
fn word(change: &Change) -> String {
    match change {
        Change::Key(key) => key.name.to_string(),
        Change::Secrets(secrets) => format!("secret {}", secrets.current.version),
        Change::Unknown(kind) => format!("unknown {kind}"),
    }
}

async fn since(fixture: &Fixture, from: &Head) -> Result<Vec<String>, &'static str> {
    match fixture.store.changes_since(from).await.unwrap() {
        Changes::Since(changes, head) => {
            assert_eq!(head, fixture.store.head().await.unwrap());
            Ok(changes.iter().map(word).collect())
        }
        Changes::Reload => Err("reload"),
        Changes::OtherHistory => Err("other"),
    }
}

#[tokio::test]
async fn a_follower_learns_the_present_state_of_what_changed() {
    let fixture = Fixture::new().await;
    let start = fixture.store.head().await.unwrap();
    assert_eq!((start.revision, start.change_id.as_str()), (0, fixture.store.store_id()));
    assert_eq!(since(&fixture, &start).await.unwrap(), [""; 0]);
    let audit = fixture.audit("shared_secret.create", 1);
    fixture.store.put_first_secret(pair(1), WallTime::EPOCH, &change_id(), &audit).await.unwrap();
    let (a, b) = (new_key("a"), new_key("b"));
    fixture.insert(&a).await.unwrap();
    let middle = fixture.insert(&b).await.unwrap();
    fixture.regenerate(1, None).await.unwrap();
    let rename = KeyUpdate { name: Some("a2".parse().unwrap()), ..KeyUpdate::default() };
    let last = fixture.update(a.id, &rename).await.unwrap().2;
    assert_eq!(since(&fixture, &start).await.unwrap(), ["b", "secret 2", "a2"]);
    assert_eq!(since(&fixture, &middle).await.unwrap(), ["secret 2", "a2"]);
    assert_eq!(since(&fixture, &last).await.unwrap(), [""; 0]);
    fixture.delete(b.id).await.unwrap();
    let Changes::Since(changes, _) = fixture.store.changes_since(&last).await.unwrap() else { panic!("reload") };
    assert!(matches!(&changes[..], [Change::Key(key)] if key.id == b.id && key.state == KeyState::Deleted));
}

#[tokio::test]
async fn another_history_is_told() {
    let fixture = Fixture::with_secret().await;
    let middle = fixture.insert(&new_key("a")).await.unwrap();
    let last = fixture.insert(&new_key("b")).await.unwrap();
    for head in [&middle, &last] {
        let other = Head { change_id: change_id(), ..head.clone() };
        assert_eq!(since(&fixture, &other).await, Err("other"));
    }
    assert_eq!(since(&fixture, &Head { revision: 9, ..last.clone() }).await, Err("other"), "from the future");
    assert_eq!(since(&fixture, &Head::default()).await, Err("other"), "another store's beginning");
}

#[tokio::test]
async fn an_unknown_kind_is_passed_on() {
    let fixture = Fixture::with_secret().await;
    let before = fixture.store.head().await.unwrap();
    let mut tx = fixture.store.change().await.unwrap();
    for sql in [
        "UPDATE counter SET revision = 2, change_id = 'newer'",
        "INSERT INTO changes (revision, change_id, kind) VALUES (2, 'newer', 'quota')",
    ] {
        sqlx::query(sql).execute(&mut tx.conn).await.unwrap();
    }
    tx.settle(Ok(())).await.unwrap();
    assert_eq!(since(&fixture, &before).await.unwrap(), ["unknown quota"]);
}

#[tokio::test]
async fn behind_the_horizon_there_is_only_a_reload() {
    let fixture = Fixture::with_secret().await;
    let mut heads = Vec::new();
    for name in ["a", "b", "c", "d"] {
        heads.push(fixture.insert(&new_key(name)).await.unwrap());
    }
    fixture.store.purge(Some(WallTime::from_millis(1_500)), 2).await.unwrap();
    assert_eq!(fixture.store.audit(100).await.unwrap().len(), 4, "the first one was older");
    assert_eq!(since(&fixture, &heads[0]).await, Err("reload"));
    assert_eq!(since(&fixture, &heads[1]).await.unwrap(), ["c", "d"]);
    fixture.store.purge(None, 100).await.unwrap();
    assert_eq!(since(&fixture, &heads[0]).await, Err("reload"), "a horizon never falls");
    fixture.store.purge(None, 0).await.unwrap();
    assert_eq!(since(&fixture, &heads[2]).await, Err("reload"));
    assert_eq!(since(&fixture, &heads[3]).await.unwrap(), [""; 0]);
    let last = fixture.insert(&new_key("e")).await.unwrap();
    assert_eq!(since(&fixture, &heads[3]).await.unwrap(), ["e"]);
    assert_eq!(last.revision, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_writers_and_a_follower_that_misses_none() {
    const WRITERS: usize = 50;
    const KEYS: usize = 4;
    let fixture = Fixture::with_secret().await;
    let mut at = fixture.store.head().await.unwrap();
    let stores = [Arc::new(fixture.open_again().await), Arc::new(fixture.open_again().await)];
    let tasks: Vec<_> = (0..WRITERS)
        .map(|n| {
            let store = stores[n % 2].clone();
            tokio::spawn(async move {
                let actor = Actor { who: "system".to_owned(), from: "local".to_owned() };
                let mut revisions = Vec::new();
                for k in 0..KEYS {
                    let (detail, subject) = (serde_json::Value::Null, String::new());
                    let audit = Audit { actor: &actor, at: WallTime::EPOCH, action: "api_key.create", subject, detail };
                    let key = new_key(&format!("key {n} {k}"));
                    revisions.push(store.insert_key(&key, &change_id(), &audit).await.unwrap().revision);
                }
                revisions
            })
        })
        .collect();
    let mut seen: HashSet<KeyId> = HashSet::new();
    while seen.len() < WRITERS * KEYS {
        fixture.store.hint().await;
        let Changes::Since(changes, head) = fixture.store.changes_since(&at).await.unwrap() else { panic!("reload") };
        assert_eq!(u64::try_from(changes.len()).unwrap(), head.revision - at.revision, "gapless");
        for (change, revision) in changes.iter().zip(at.revision + 1..) {
            let Change::Key(key) = change else { panic!("{change:?}") };
            assert_eq!(key.revision, revision, "in order");
            assert!(seen.insert(key.id), "once");
        }
        at = head;
    }
    let mut revisions = Vec::new();
    for task in tasks {
        revisions.extend(task.await.unwrap());
    }
    revisions.sort_unstable();
    assert!(revisions.iter().copied().eq(2..=at.revision));
}
