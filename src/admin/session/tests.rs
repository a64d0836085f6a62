//! Logging in, being somebody, logging out.

use std::time::Duration;

use serde_json::json;

use crate::admin::auth::actor;
use crate::admin::test_rig::Rig;
use crate::credential::{OperatorToken, SessionToken};
use crate::entropy::SystemEntropy;

#[tokio::test]
async fn a_token_becomes_a_session_until_one_logs_out() {
    let rig = Rig::new().await;
    let body = json!({ "token": format!(" {}\n", rig.root.1.expose()) });
    let reply = rig.ask_as(None, "POST", "/v1/session", Some(body)).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let id = rig.root.0.id.to_string();
    let seen = json!({
        "operator": { "id": id, "name": "root", "role": "admin" },
        "expires_at": "2026-01-01T12:00:00.000Z",
        "idle_timeout_s": 1800
    });
    assert_eq!(reply.body, seen);
    let set = reply.headers["set-cookie"].to_str().unwrap();
    let (value, attributes) = set.split_once(';').unwrap();
    assert_eq!(attributes, " Path=/; HttpOnly; SameSite=Strict");
    let secret = value.strip_prefix("keygate_session=").unwrap();
    assert!(SessionToken::parse(secret).is_some() && !reply.text.contains(secret));

    let cookie = reply.cookie();
    assert_eq!(rig.ask_with(&cookie, "GET", "/v1/session", None).await.body, seen);
    let stored = rig.admin.lifecycle.store.operator(rig.root.0.id).await.unwrap().unwrap();
    assert!(stored.last_login.is_some());
    let reply = rig.ask_with(&cookie, "DELETE", "/v1/session", None).await;
    assert_eq!((reply.status.as_u16(), reply.text.as_str()), (204, ""));
    let set = reply.headers["set-cookie"].to_str().unwrap();
    assert_eq!(set, "keygate_session=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
    assert_eq!(rig.ask_with(&cookie, "GET", "/v1/session", None).await.status, 401);

    let records = rig.admin.lifecycle.store.audit(2).await.unwrap();
    for (record, action) in records.iter().zip(["session.delete", "session.create"]) {
        assert_eq!((record.action.as_str(), &record.subject, record.actor.from.as_str()), (action, &id, "127.0.0.1"));
        assert_eq!(record.actor.who, format!("operator:{id}"));
        assert!(!record.detail.contains(secret));
    }
}

#[tokio::test]
async fn with_a_token_one_is_somebody_without_a_session() {
    let rig = Rig::new().await;
    let reply = rig.ask_as(Some(&rig.viewer.1), "GET", "/v1/session", None).await;
    assert_eq!((&reply.body["operator"]["role"], &reply.body["expires_at"]), (&json!("viewer"), &json!(null)));
    assert_eq!(rig.ask_as(Some(&rig.viewer.1), "DELETE", "/v1/session", None).await.status, 204);
    assert_eq!(rig.ask_as(Some(&rig.viewer.1), "GET", "/v1/session", None).await.status, 200);
}

#[tokio::test]
async fn a_login_link_opens_one_session() {
    let rig = Rig::new().await;
    let who = actor(&rig.root.0, "127.0.0.1".parse().unwrap());
    let link = |valid| rig.admin.lifecycle.login_link(rig.viewer.0.id, valid, &who);
    let (token, _) = link(Duration::from_mins(5)).await.unwrap();
    let cookie = rig.log_in(&token).await;
    let reply = rig.ask_with(&cookie, "GET", "/v1/session", None).await;
    assert_eq!(reply.body["operator"]["name"], "viewer");
    let again = json!({ "token": token.expose() });
    assert_eq!(rig.ask_as(None, "POST", "/v1/session", Some(again)).await.status, 401);
    let (late, _) = link(Duration::from_mins(5)).await.unwrap();
    rig.clock.advance(Duration::from_mins(5));
    let late = json!({ "token": late.expose() });
    assert_eq!(rig.ask_as(None, "POST", "/v1/session", Some(late)).await.status, 401);
}

#[tokio::test]
async fn whoever_logs_in_anew_leaves_the_session_before() {
    let rig = Rig::new().await;
    let before = rig.log_in(&rig.viewer.1).await;
    let body = json!({ "token": rig.root.1.expose() });
    let after = rig.ask_with(&before, "POST", "/v1/session", Some(body)).await;
    assert_eq!(after.status, 200);
    assert_eq!(rig.ask_with(&before, "GET", "/v1/session", None).await.status, 401);
    assert_eq!(rig.ask_with(&after.cookie(), "GET", "/v1/session", None).await.body["operator"]["name"], "root");
}

#[tokio::test]
async fn what_is_no_token_opens_nothing() {
    let rig = Rig::new().await;
    let wrong = OperatorToken::generate(&SystemEntropy);
    for token in ["", "kgo_", wrong.expose()] {
        let reply = rig.ask_as(None, "POST", "/v1/session", Some(json!({ "token": token }))).await;
        assert_eq!((reply.status.as_u16(), reply.problem()), (401, "unauthenticated"), "{token}");
        assert!(!reply.headers.contains_key("set-cookie"));
    }
    for (body, status, name) in [
        ("{\"token\"", 400, "malformed-json"),
        ("{}", 422, "invalid-request"),
        ("{\"token\":1}", 422, "invalid-request"),
        ("{\"token\":\"x\",\"remember\":true}", 422, "invalid-request"),
    ] {
        let reply = rig.send("POST", "/v1/session", &[], Some(body)).await;
        assert_eq!((reply.status.as_u16(), reply.problem()), (status, name), "{body}");
    }
    let plain = rig.send("POST", "/v1/session", &[("content-type", "text/plain")], Some("{}")).await;
    assert_eq!((plain.status.as_u16(), plain.problem()), (415, "unsupported-media-type"));
    let large = format!("{{\"token\":\"{}\"}}", "a".repeat(65 * 1024));
    let large = rig.send("POST", "/v1/session", &[], Some(&large)).await;
    assert_eq!((large.status.as_u16(), large.problem()), (413, "body-too-large"));
    let unknown = rig.ask("GET", "/v1/session?x=1", None).await;
    assert_eq!((unknown.status.as_u16(), unknown.fields()), (422, vec!["x"]));
}

#[tokio::test]
async fn another_site_cannot_log_a_browser_in() {
    let rig = Rig::new().await;
    let body = json!({ "token": rig.root.1.expose() }).to_string();
    let reply = rig.send("POST", "/v1/session", &[("origin", "http://evil.example")], Some(&body)).await;
    assert_eq!((reply.status.as_u16(), reply.problem()), (403, "cross-origin"));
}
