//! Who is let in: by token, by session; and who is slowed.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::admin::test_rig::Rig;
use crate::credential::OperatorToken;
use crate::entropy::SystemEntropy;
use crate::store::AuditRecord;

const OWN: &str = "http://127.0.0.1:8081";

fn field(name: &'static str, value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(name, HeaderValue::from_str(value).unwrap());
    headers
}

fn here() -> Connection {
    let address = "127.0.0.1:8081".parse().unwrap();
    Connection::new(address, address, false)
}

async fn refused(rig: &Rig) -> Vec<AuditRecord> {
    let records = rig.admin.lifecycle.store.audit(100).await.unwrap();
    records.into_iter().filter(|record| record.action == "session.refused").collect()
}

#[tokio::test]
async fn a_token_is_whole_and_alone_or_it_is_none() {
    let rig = Rig::new().await;
    let token = rig.root.1.expose().to_owned();
    let mut wrong = token.clone();
    let last = wrong.pop().unwrap();
    wrong.push(if last == 'a' { 'b' } else { 'a' });
    let who = actor(&rig.root.0, here().peer);
    let link = rig.admin.lifecycle.login_link(rig.root.0.id, Duration::from_mins(5), &who).await.unwrap().0;
    for (value, status) in [
        (format!("Bearer {token}"), 200),
        (format!("bEARER  {token}"), 200),
        (token.clone(), 401),
        (format!("Basic {token}"), 401),
        (format!("Bearer {wrong}"), 401),
        (format!("Bearer {}", OperatorToken::generate(&SystemEntropy).expose()), 401),
        (format!("Bearer {}", link.expose()), 401),
        ("Bearer".to_owned(), 401),
    ] {
        let reply = rig.send("GET", "/v1/session", &[("authorization", &value)], None).await;
        assert_eq!(reply.status.as_u16(), status, "{value}");
        if status == 401 {
            assert_eq!(reply.problem(), "unauthenticated");
            assert_eq!(reply.headers["www-authenticate"], "Bearer realm=\"keygate admin\"");
            assert!(!reply.text.contains("kgo_0") && !reply.text.contains(&token[..20]), "{}", reply.text);
        }
    }
    let good = format!("Bearer {token}");
    let two = [("authorization", good.as_str()), ("authorization", good.as_str())];
    assert_eq!(rig.send("GET", "/v1/session", &two, None).await.status, 401);
    assert_eq!(rig.send("GET", "/v1/session", &[], None).await.status, 401);
}

#[tokio::test]
async fn a_viewer_is_no_administrator() {
    let rig = Rig::new().await;
    let reply = rig.ask_as(Some(&rig.viewer.1), "GET", "/v1/operators", None).await;
    assert_eq!((reply.status.as_u16(), reply.problem()), (403, "forbidden"));
    assert_eq!(rig.ask("GET", "/v1/operators", None).await.status, 200);
}

#[tokio::test]
async fn failures_are_slowed_audited_once_and_forgiven() {
    let rig = Rig::new().await;
    let wrong = OperatorToken::generate(&SystemEntropy);
    for _ in 0..5 {
        assert_eq!(rig.ask_as(Some(&wrong), "GET", "/v1/session", None).await.status, 401);
    }
    let reply = rig.ask_as(Some(&wrong), "GET", "/v1/session", None).await;
    assert_eq!((reply.status.as_u16(), reply.problem()), (429, "too-many-logins"));
    assert_eq!(reply.headers["retry-after"], "1");
    let who = actor(&rig.root.0, here().peer);
    let link = rig.admin.lifecycle.login_link(rig.root.0.id, Duration::from_mins(5), &who).await.unwrap().0;
    for slowed in [&wrong, &link] {
        let body = json!({ "token": slowed.expose() });
        assert_eq!(rig.ask_as(None, "POST", "/v1/session", Some(body)).await.status, 429);
    }
    let records = refused(&rig).await;
    let [record] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!((record.actor.who.as_str(), record.actor.from.as_str()), ("unknown", "127.0.0.1"));
    assert_eq!(record.subject, wrong.id().to_string());
    assert!(!record.detail.contains(wrong.expose()));

    assert_eq!(rig.ask("GET", "/v1/session", None).await.status, 200, "an operator is not kept out by others");
    assert_eq!(rig.ask_as(Some(&wrong), "GET", "/v1/session", None).await.status, 401);
    assert_eq!(rig.ask("GET", "/v1/session", None).await.status, 200, "who succeeded begins anew");
    rig.clock.advance(Duration::from_mins(1));
    assert_eq!(rig.ask_as(Some(&wrong), "GET", "/v1/session", None).await.status, 401);
    let records = refused(&rig).await;
    assert_eq!((records.len(), records[0].detail.as_str()), (2, "{\"failures\":6}"));
}

#[tokio::test]
async fn a_session_ends_when_it_is_not_used() {
    let rig = Rig::new().await;
    let cookie = rig.log_in(&rig.viewer.1).await;
    for _ in 0..4 {
        rig.clock.advance(Duration::from_mins(20));
        assert_eq!(rig.ask_with(&cookie, "GET", "/v1/session", None).await.status, 200);
    }
    rig.clock.advance(Duration::from_mins(20));
    let fields = [("cookie", cookie.as_str()), (BACKGROUND, "1")];
    assert_eq!(rig.send("GET", "/v1/session", &fields, None).await.status, 200);
    rig.clock.advance(Duration::from_mins(10));
    let reply = rig.ask_with(&cookie, "GET", "/v1/session", None).await;
    assert_eq!((reply.status.as_u16(), reply.problem()), (401, "unauthenticated"), "the page's own is no use");
    let digest = SessionToken::parse(cookie.split_once('=').unwrap().1).unwrap().digest();
    assert!(rig.admin.lifecycle.store.session(&digest).await.unwrap().is_none(), "it is gone");
}

#[tokio::test]
async fn a_session_ends_at_last_however_much_it_is_used() {
    let rig = Rig::with(|settings| settings.session_max = Duration::from_mins(50)).await;
    let cookie = rig.log_in(&rig.viewer.1).await;
    for status in [200, 200, 401] {
        rig.clock.advance(Duration::from_mins(20));
        assert_eq!(rig.ask_with(&cookie, "GET", "/v1/session", None).await.status.as_u16(), status);
    }
}

#[tokio::test]
async fn what_changes_something_by_a_cookie_comes_from_our_page() {
    let rig = Rig::new().await;
    for (fields, status) in [
        (vec![("origin", OWN)], 204),
        (vec![("origin", OWN), ("sec-fetch-site", "same-origin")], 204),
        (vec![("origin", "https://127.0.0.1:8081"), ("sec-fetch-site", "same-origin")], 204),
        (vec![("sec-fetch-site", "same-origin")], 204),
        (vec![], 403),
        (vec![("origin", "http://127.0.0.1:9")], 403),
        (vec![("origin", "https://127.0.0.1:8081")], 403),
        (vec![("origin", "null")], 403),
        (vec![("origin", "http://evil.example")], 403),
        (vec![("origin", "http://evil.example"), ("sec-fetch-site", "same-origin")], 403),
        (vec![("origin", OWN), ("sec-fetch-site", "same-site")], 403),
        (vec![("sec-fetch-site", "none")], 403),
    ] {
        let cookie = rig.log_in(&rig.root.1).await;
        let mut sent = vec![("cookie", cookie.as_str())];
        sent.extend(&fields);
        let reply = rig.send("DELETE", "/v1/session", &sent, None).await;
        assert_eq!(reply.status.as_u16(), status, "{fields:?}");
        if status == 403 {
            assert_eq!(reply.problem(), "cross-origin");
            let fields = [("cookie", cookie.as_str()), ("origin", "http://evil.example")];
            assert_eq!(rig.send("GET", "/v1/session", &fields, None).await.status, 200, "reading changes nothing");
        }
    }
    // A token is sent by nobody but whoever has it.
    let token = format!("Bearer {}", rig.root.1.expose());
    let fields = [("authorization", token.as_str()), ("origin", "http://evil.example")];
    assert_eq!(rig.send("DELETE", "/v1/session", &fields, None).await.status, 204);
}

#[test]
fn a_cookie_is_ours_by_its_whole_name_and_alone() {
    let value = "a".repeat(43);
    let plain = format!("keygate_session={value}");
    let read = |cookie: &str, has_tls| {
        let connection = Connection { has_tls, ..here() };
        session_token(&field("cookie", cookie), connection).is_some()
    };
    assert!(read(&plain, false) && read(&format!("x=1; {plain};y=2"), false));
    assert!(read(&format!("__Host-{plain}"), true));
    for odd in ["", "keygate_session", "keygate_session=short", &format!("x{plain}"), &format!("{plain}; {plain}")] {
        assert!(!read(odd, false), "{odd}");
    }
    assert!(!read(&plain, true), "with TLS it has the name that nobody else can set");
    assert!(!read(&format!("__Host-{plain}"), false));
}
