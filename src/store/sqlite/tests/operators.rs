//! Operators, their sessions and login links, and the records that are asked for.

use super::{Fixture, change_id, new_key};
use crate::clock::WallTime;
use crate::credential::{KeyId, SecretDigest};
use crate::entropy::SystemEntropy;
use crate::store::{Actor, Audit, AuditQuery, Operator, OperatorRole, Session, Store as _, StoreError};

fn at(millis: u64) -> WallTime {
    WallTime::from_millis(millis)
}

async fn make(fixture: &Fixture, name: &str, role: OperatorRole) -> Operator {
    let operator = Operator {
        id: KeyId::draw(&SystemEntropy),
        name: name.to_owned(),
        role,
        digest: SecretDigest::of(name.as_bytes()),
        created_at: at(1),
        last_login: None,
    };
    fixture.store.insert_operator(&operator, &fixture.audit("operator.create", 1)).await.unwrap();
    operator
}

/// A session from 100 to 1000, found by this word.
fn session(operator: KeyId, word: &str) -> Session {
    Session {
        digest: SecretDigest::of(word.as_bytes()),
        operator,
        address: "192.0.2.1".to_owned(),
        created_at: at(100),
        seen_at: at(100),
        expires_at: at(1_000),
    }
}

async fn open(fixture: &Fixture, operator: KeyId, word: &str) -> SecretDigest {
    let session = session(operator, word);
    fixture.store.insert_session(&session, &fixture.audit("session.create", 100)).await.unwrap();
    session.digest
}

async fn link(fixture: &Fixture, operator: KeyId, word: &str) -> SecretDigest {
    let (digest, audit) = (SecretDigest::of(word.as_bytes()), fixture.audit("login_link.create", 100));
    fixture.store.insert_login_link(digest, operator, at(1_000), &audit).await.unwrap();
    digest
}

#[tokio::test]
async fn operators_come_by_name_and_names_are_theirs_alone() {
    let fixture = Fixture::new().await;
    let zoe = make(&fixture, "zoe", OperatorRole::Admin).await;
    make(&fixture, "adam", OperatorRole::Viewer).await;
    let again = Operator { id: KeyId::draw(&SystemEntropy), ..zoe.clone() };
    let refused = fixture.store.insert_operator(&again, &fixture.audit("operator.create", 1)).await;
    assert!(matches!(refused, Err(StoreError::OperatorNameTaken(name)) if name == "zoe"));
    let operators = fixture.store.operators().await.unwrap();
    let seen: Vec<_> = operators.iter().map(|o| (o.name.as_str(), o.role)).collect();
    assert_eq!(seen, [("adam", OperatorRole::Viewer), ("zoe", OperatorRole::Admin)]);
    assert!(operators[0].digest.matches(&SecretDigest::of(b"adam")));
    assert_eq!(fixture.store.operator(zoe.id).await.unwrap().map(|o| o.name), Some("zoe".to_owned()));
    assert_eq!(fixture.store.audit(10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_a_removed_operator_began_is_not_done() {
    let fixture = Fixture::with_secret().await;
    make(&fixture, "zoe", OperatorRole::Admin).await;
    let adam = make(&fixture, "adam", OperatorRole::Admin).await;
    let actor = Actor { who: format!("operator:{}", adam.id), from: "192.0.2.1".to_owned() };
    let his = |action| Audit { actor: &actor, ..fixture.audit(action, 2) };
    fixture.store.insert_key(&new_key("before"), &change_id(), &his("api_key.create")).await.unwrap();
    fixture.store.remove_operator(adam.id, &his("operator.delete")).await.unwrap();
    let revision = fixture.store.head().await.unwrap();
    let refused = fixture.store.insert_key(&new_key("after"), &change_id(), &his("api_key.create")).await;
    assert!(matches!(refused, Err(StoreError::OperatorGone)), "{refused:?}");
    assert!(fixture.store.key_named("after").await.unwrap().is_none());
    assert_eq!(fixture.store.head().await.unwrap(), revision);
}

#[tokio::test]
async fn the_last_admin_stays() {
    let fixture = Fixture::new().await;
    let (zoe, adam) =
        (make(&fixture, "zoe", OperatorRole::Admin).await, make(&fixture, "adam", OperatorRole::Viewer).await);
    let audit = fixture.audit("operator.delete", 2);
    assert!(matches!(fixture.store.remove_operator(zoe.id, &audit).await, Err(StoreError::LastAdmin)));
    fixture.store.remove_operator(adam.id, &audit).await.unwrap();
    assert!(matches!(fixture.store.remove_operator(adam.id, &audit).await, Err(StoreError::NoSuchOperator(_))));
    make(&fixture, "eve", OperatorRole::Admin).await;
    fixture.store.remove_operator(zoe.id, &audit).await.unwrap();
    assert_eq!(fixture.store.audit(10).await.unwrap().len(), 5, "what was refused left no record");
}

#[tokio::test]
async fn a_session_is_found_until_it_ends() {
    let fixture = Fixture::new().await;
    let zoe = make(&fixture, "zoe", OperatorRole::Admin).await;
    let digest = open(&fixture, zoe.id, "cookie").await;
    fixture.store.touch_session(&digest, at(300)).await.unwrap();
    fixture.store.touch_session(&digest, at(200)).await.unwrap();
    let (session, operator) = fixture.store.session(&digest).await.unwrap().unwrap();
    assert!(session.digest.matches(&digest) && operator.digest.matches(&zoe.digest));
    assert_eq!((session.operator, session.address.as_str()), (zoe.id, "192.0.2.1"));
    assert_eq!((session.created_at, session.seen_at, session.expires_at), (at(100), at(300), at(1_000)));
    assert_eq!((operator.id, operator.last_login), (zoe.id, Some(at(100))));
    let audit = fixture.audit("session.delete", 400);
    assert!(fixture.store.remove_session(&digest, Some(&audit)).await.unwrap());
    assert!(!fixture.store.remove_session(&digest, Some(&audit)).await.unwrap());
    assert!(fixture.store.session(&digest).await.unwrap().is_none());
    assert_eq!(fixture.store.audit(10).await.unwrap().len(), 3);
    let nobody = self::session(KeyId::draw(&SystemEntropy), "nobody");
    let refused = fixture.store.insert_session(&nobody, &audit).await;
    assert!(matches!(refused, Err(StoreError::NoSuchOperator(_))));
}

#[tokio::test]
async fn a_login_link_works_once_and_in_time() {
    let fixture = Fixture::new().await;
    let zoe = make(&fixture, "zoe", OperatorRole::Viewer).await;
    let (first, late) = (link(&fixture, zoe.id, "first").await, link(&fixture, zoe.id, "late").await);
    let taken = fixture.store.take_login_link(&first, at(999)).await.unwrap();
    assert_eq!(taken.map(|o| o.id), Some(zoe.id));
    assert!(fixture.store.take_login_link(&first, at(999)).await.unwrap().is_none());
    assert!(fixture.store.take_login_link(&late, at(1_000)).await.unwrap().is_none());
    assert!(fixture.store.take_login_link(&late, at(999)).await.unwrap().is_none(), "trying it late used it up");
}

#[tokio::test]
async fn another_token_or_none_ends_what_the_old_one_opened() {
    let fixture = Fixture::new().await;
    let (zoe, eve) =
        (make(&fixture, "zoe", OperatorRole::Admin).await, make(&fixture, "eve", OperatorRole::Admin).await);
    let (first, other) = (open(&fixture, zoe.id, "first").await, open(&fixture, eve.id, "other").await);
    let pending = link(&fixture, zoe.id, "pending").await;
    let digest = SecretDigest::of(b"new token");
    fixture.store.rotate_operator(zoe.id, digest, &fixture.audit("operator.rotate", 200)).await.unwrap();
    assert!(fixture.store.operator(zoe.id).await.unwrap().unwrap().digest.matches(&digest));
    assert!(fixture.store.session(&first).await.unwrap().is_none());
    assert!(fixture.store.take_login_link(&pending, at(200)).await.unwrap().is_none());
    let second = open(&fixture, zoe.id, "second").await;
    fixture.store.remove_operator(zoe.id, &fixture.audit("operator.delete", 300)).await.unwrap();
    assert!(fixture.store.session(&second).await.unwrap().is_none());
    assert!(fixture.store.session(&other).await.unwrap().is_some(), "others stay");
}

#[tokio::test]
async fn what_has_expired_is_purged() {
    let fixture = Fixture::new().await;
    let zoe = make(&fixture, "zoe", OperatorRole::Admin).await;
    let (digest, pending) = (open(&fixture, zoe.id, "cookie").await, link(&fixture, zoe.id, "link").await);
    fixture.store.purge_sessions(at(999)).await.unwrap();
    assert!(fixture.store.session(&digest).await.unwrap().is_some());
    fixture.store.purge_sessions(at(1_000)).await.unwrap();
    assert!(fixture.store.session(&digest).await.unwrap().is_none());
    assert!(fixture.store.take_login_link(&pending, at(0)).await.unwrap().is_none());
}

#[tokio::test]
async fn audit_records_are_narrowed_and_paged() {
    let fixture = Fixture::new().await;
    for (action, millis) in [("api_key.create", 10), ("api_key.delete", 20), ("api_keys.x", 30), ("session.create", 40)]
    {
        fixture.store.record(&fixture.audit(action, millis)).await.unwrap();
    }
    let actions = async |query: AuditQuery| {
        let records = fixture.store.audit_page(&query).await.unwrap();
        records.into_iter().map(|record| record.action).collect::<Vec<_>>()
    };
    let all = AuditQuery { limit: 10, ..AuditQuery::default() };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(actions(all.clone()).await.len(), 4);
    let group = AuditQuery { action: text("api_key"), ..all.clone() };
    assert_eq!(actions(group).await, ["api_key.delete", "api_key.create"]);
    assert_eq!(actions(AuditQuery { action: text("api_key.create"), ..all.clone() }).await, ["api_key.create"]);
    let times = AuditQuery { since: Some(at(20)), until: Some(at(40)), ..all.clone() };
    assert_eq!(actions(times).await, ["api_keys.x", "api_key.delete"]);
    assert_eq!(actions(AuditQuery { who: text("LI:TES"), ..all.clone() }).await.len(), 4);
    assert_eq!(actions(AuditQuery { who: text("loca"), ..all.clone() }).await.len(), 4, "where from");
    assert!(actions(AuditQuery { who: text("nobody"), ..all.clone() }).await.is_empty());
    assert_eq!(actions(AuditQuery { subject: text("subject"), ..all.clone() }).await.len(), 4);
    assert!(actions(AuditQuery { subject: text("sub"), ..all.clone() }).await.is_empty());
    let first = fixture.store.audit_page(&AuditQuery { limit: 3, ..all.clone() }).await.unwrap();
    let before = first.last().map(|record| record.id);
    assert_eq!(actions(AuditQuery { before, ..all }).await, ["api_key.create"]);
}
