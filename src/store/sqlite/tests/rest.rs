//! Use, nodes, audit records, operators, hints.

use std::time::Duration;

use super::{Fixture, new_key};
use crate::clock::WallTime;
use crate::credential::KeyId;
use crate::entropy::SystemEntropy;
use crate::store::{NodeRow, RenewalReading, Store as _, Usage, UsageDelta};

fn usage(login: u64, address: &str, count: u64, stale: Option<(u32, u64)>) -> Usage {
    Usage {
        last_login: Some(WallTime::from_millis(login)),
        last_address: Some(address.to_owned()),
        use_count: count,
        stale: stale.map(|(version, at)| (version, WallTime::from_millis(at))),
    }
}

#[tokio::test]
async fn use_only_ever_grows() {
    let fixture = Fixture::with_secret().await;
    let key = new_key("a");
    fixture.insert(&key).await.unwrap();
    let head = fixture.store.head().await.unwrap();
    let merge = async |usage: Usage| {
        fixture.store.merge_usage(&[UsageDelta { id: key.id, usage }]).await.unwrap();
        fixture.store.key(key.id).await.unwrap().unwrap().1
    };
    let only_stale = Usage { stale: Some((3, WallTime::from_millis(50))), ..Usage::default() };
    assert_eq!(merge(only_stale.clone()).await, only_stale);
    assert_eq!(merge(usage(100, "a", 1, None)).await, usage(100, "a", 1, Some((3, 50))));
    assert_eq!(merge(usage(90, "late", 2, Some((2, 40)))).await, usage(100, "a", 3, Some((3, 50))));
    assert_eq!(merge(usage(110, "b", 1, Some((4, 60)))).await, usage(110, "b", 4, Some((4, 60))));
    assert_eq!(merge(Usage::default()).await, usage(110, "b", 4, Some((4, 60))));
    assert_eq!(fixture.store.head().await.unwrap(), head, "no revision");
    fixture.store.merge_usage(&[]).await.unwrap();
}

#[tokio::test]
async fn a_batch_is_merged_whole_even_with_strange_text_and_unknown_keys() {
    let fixture = Fixture::with_secret().await;
    let key = new_key("a");
    fixture.insert(&key).await.unwrap();
    let delta = |id, text: &str| UsageDelta { id, usage: usage(1, text, u64::MAX, None) };
    let mut batch: Vec<_> = (0..10_000).map(|_| delta(KeyId::draw(&SystemEntropy), "::1")).collect();
    batch.push(delta(key.id, "'\"\\\u{1F511}[%]"));
    fixture.store.merge_usage(&batch).await.unwrap();
    let found = fixture.store.key(key.id).await.unwrap().unwrap().1;
    assert_eq!(found.last_address.as_deref(), Some("'\"\\\u{1F511}[%]"));
    assert_eq!(found.use_count, u64::try_from(i64::MAX).unwrap());
}

fn node(incarnation: &str) -> NodeRow {
    NodeRow {
        id: "host:1".to_owned(),
        incarnation: incarnation.to_owned(),
        version: "0.1.0".to_owned(),
        lease: Duration::from_secs(30),
        applied: 3,
        joined_at: WallTime::from_millis(1),
        seen_at: WallTime::from_millis(2),
    }
}

#[tokio::test]
async fn a_nodes_row_lives_from_join_to_removal() {
    let fixture = Fixture::with_secret().await;
    let store = &fixture.store;
    let head = store.head().await.unwrap();
    let (a, b) = (node("a"), node("b"));
    store.join(&a).await.unwrap();
    store.join(&b).await.unwrap();
    assert_eq!(store.nodes().await.unwrap(), [a.clone(), b.clone()]);
    assert_eq!(store.renew("a").await.unwrap(), RenewalReading { row_present: true, head: head.clone() });
    assert!(store.confirm("a", 7).await.unwrap());
    assert!(store.confirm("a", 5).await.unwrap());
    store.seen("a", WallTime::from_millis(9)).await.unwrap();
    assert_eq!(store.nodes().await.unwrap()[0], NodeRow { applied: 7, seen_at: WallTime::from_millis(9), ..a });
    store.remove_silent_node("a", 7).await.unwrap();
    assert_eq!(store.nodes().await.unwrap().len(), 2, "it has confirmed revision 7");
    store.remove_node("a").await.unwrap();
    assert_eq!(store.renew("a").await.unwrap(), RenewalReading { row_present: false, head });
    assert!(!store.confirm("a", 8).await.unwrap());
    assert_eq!(store.nodes().await.unwrap(), [b]);
    store.remove_silent_node("b", 4).await.unwrap();
    assert!(store.nodes().await.unwrap().is_empty());
}

#[tokio::test]
async fn audit_records_come_newest_first() {
    let fixture = Fixture::with_secret().await;
    fixture.store.record(&fixture.audit("shared_secret.view", 77)).await.unwrap();
    let records = fixture.store.audit(10).await.unwrap();
    assert_eq!(records.len(), 2);
    let [view, create] = &records[..] else { panic!("{records:?}") };
    assert!(view.id > create.id);
    assert_eq!((view.action.as_str(), view.at, view.revision), ("shared_secret.view", WallTime::from_millis(77), None));
    assert_eq!((view.actor.who.as_str(), view.actor.from.as_str()), ("cli:test", "local"));
    assert_eq!((view.subject.as_str(), view.detail.as_str()), ("subject", r#"{"at":77}"#));
    assert_eq!(create.revision, Some(1));
    assert_eq!(fixture.store.audit(1).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_hint_comes_for_own_and_other_commits() {
    let fixture = Fixture::with_secret().await;
    let other = fixture.open_again().await;
    fixture.store.hint().await;
    // Nothing has happened since: the next one waits.
    let quiet = tokio::time::timeout(Duration::from_millis(60), fixture.store.hint()).await;
    assert!(quiet.is_err());
    fixture.insert(&new_key("own")).await.unwrap();
    fixture.store.hint().await;
    let (actor, detail) = (&fixture.actor, serde_json::Value::Null);
    let audit = crate::store::Audit { actor, at: WallTime::EPOCH, action: "x", subject: String::new(), detail };
    other.record(&audit).await.unwrap();
    fixture.store.hint().await;
}
