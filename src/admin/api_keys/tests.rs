//! Keys through the router, on a real store.

use std::time::Duration;

use axum::http::header::{ETAG, LOCATION};
use serde_json::{Value, json};

use crate::admin::test_rig::Rig;
use crate::clock::{Clock as _, WallTime};
use crate::credential::{EncodedKey, KeyId};
use crate::store::{Usage, UsageDelta};

impl Rig {
    /// Makes a key and gives the answer's body.
    pub(in crate::admin) async fn make(&self, name: &str, role: &str) -> Value {
        let made = self.ask("POST", "/v1/api-keys", Some(json!({ "name": name, "role": role }))).await;
        assert_eq!(made.status, 201, "{}", made.text);
        made.body
    }

    async fn used(&self, key: &Value, at: WallTime) {
        let id: KeyId = key["id"].as_str().unwrap().parse().unwrap();
        let usage = Usage { last_login: Some(at), use_count: 1, ..Usage::default() };
        self.admin.lifecycle.store.merge_usage(&[UsageDelta { id, usage }]).await.unwrap();
    }

    async fn names(&self, query: &str) -> Vec<String> {
        let listed = self.ask("GET", &format!("/v1/api-keys?{query}"), None).await;
        assert_eq!(listed.status, 200, "{}", listed.text);
        let keys = listed.body["api_keys"].as_array().unwrap();
        keys.iter().map(|key| key["name"].as_str().unwrap().to_owned()).collect()
    }
}

fn place(key: &Value) -> String {
    format!("/v1/api-keys/{}", key["id"].as_str().unwrap())
}

#[tokio::test]
async fn a_made_key_is_there_and_its_secrets_are_shown_once() {
    let rig = Rig::new().await;
    let body = json!({
        "name": "nightly reports", "role": "READONLY", "description": "two\nlines",
        "expires_at": "2099-01-31T14:00:00+02:00", "allowed_networks": ["10.0.0.0/8", "::1"], "allowed_routes": ["/"],
    });
    let made = rig.ask("POST", "/v1/api-keys", Some(body)).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert!(EncodedKey::parse(made.body["encoded_key"].as_str().unwrap().as_bytes()).is_some());
    assert!(made.body["app_key"].as_str().unwrap().starts_with("kga_"));
    assert_eq!(made.body["revocation"]["promise_held"], true);
    assert_eq!(made.headers[LOCATION], place(&made.body).as_str());
    let shown = rig.ask("GET", &place(&made.body), None).await;
    assert_eq!((shown.status.as_u16(), &shown.headers[ETAG]), (200, &made.headers[ETAG]));
    assert_eq!(shown.headers[ETAG], format!("\"{}\"", shown.body["revision"]).as_str());
    assert_eq!(shown.body["expires_at"], "2099-01-31T12:00:00.000Z");
    assert_eq!(shown.body["allowed_networks"], json!(["10.0.0.0/8", "::1/128"]));
    assert_eq!((&shown.body["state"], &shown.body["last_login"]), (&json!("active"), &Value::Null));
    assert!(!shown.text.contains("kg_") && !shown.text.contains("kga_"));
    let again = rig.ask("POST", "/v1/api-keys", Some(json!({ "name": "nightly reports", "role": "ADMIN" }))).await;
    assert_eq!((again.status.as_u16(), again.problem()), (409, "name-taken"));
}

#[tokio::test]
async fn every_wrong_field_is_named_at_once() {
    let rig = Rig::new().await;
    let body = json!({
        "name": " padded", "role": "admin", "description": 5, "expires_at": "2001-01-01T00:00:00Z",
        "allowed_networks": ["10.1.2.3/8"], "allowed_routes": [],
    });
    let refused = rig.ask("POST", "/v1/api-keys", Some(body)).await;
    assert_eq!((refused.status.as_u16(), refused.problem()), (422, "invalid-request"));
    let all = ["name", "role", "description", "expires_at", "allowed_networks[0]", "allowed_routes"];
    assert_eq!(refused.fields(), all);
    let refused = rig.ask("POST", "/v1/api-keys", Some(json!({}))).await;
    assert_eq!(refused.fields(), ["name", "role"]);
    let unknown = json!({ "name": "a", "role": "ADMIN", "allowed_routes": ["/", "/nowhere"] });
    assert_eq!(rig.ask("POST", "/v1/api-keys", Some(unknown)).await.fields(), ["allowed_routes[1]"]);
    let more = rig.ask("POST", "/v1/api-keys", Some(json!({ "name": "a", "role": "ADMIN", "colour": 1 }))).await;
    assert_eq!((more.status.as_u16(), more.fields()), (422, vec!["colour"]));
    assert_eq!(rig.ask("POST", "/v1/api-keys?wait=5s", Some(json!({}))).await.fields(), ["wait"]);
    let wrong = "limit=0&cursor=x&sort=id&role=admin&state=gone&unused_for=1w&stale=yes";
    let mut fields = rig.ask("GET", &format!("/v1/api-keys?{wrong}"), None).await;
    fields.body["errors"].as_array_mut().unwrap().sort_by_key(|error| error["field"].to_string());
    assert_eq!(fields.fields(), ["cursor", "limit", "role", "sort", "stale", "state", "unused_for"]);
    assert_eq!(rig.ask("GET", "/v1/api-keys?page=2", None).await.fields(), ["page"]);
}

#[tokio::test]
async fn a_change_tells_absent_from_null_and_only_taking_away_revokes() {
    let rig = Rig::new().await;
    let key = rig.make("reports", "ADMIN").await;
    let change = async |body: Value| rig.ask("PATCH", &place(&key), Some(body)).await;
    let limited = change(json!({ "expires_at": "2099-01-01T00:00:00Z", "allowed_networks": ["10.0.0.0/8"] })).await;
    assert_eq!(limited.status, 200, "{}", limited.text);
    assert_eq!(limited.body["revocation"]["promise_held"], true);
    let renamed = change(json!({ "name": "nightly", "description": "new" })).await;
    assert_eq!((&renamed.body["name"], &renamed.body["revocation"]), (&json!("nightly"), &Value::Null));
    assert_eq!(renamed.body["expires_at"], limited.body["expires_at"]);
    let lifted = change(json!({ "expires_at": null, "allowed_networks": null })).await;
    assert_eq!((&lifted.body["expires_at"], &lifted.body["allowed_networks"]), (&Value::Null, &Value::Null));
    assert_eq!(change(json!({ "name": null, "role": null })).await.fields(), ["name", "role"]);

    let tag = lifted.headers[ETAG].to_str().unwrap().to_owned();
    let token = format!("Bearer {}", rig.root.1.expose());
    let send = async |tag: &str| {
        let fields = [("authorization", token.as_str()), ("if-match", tag)];
        rig.send("PATCH", &place(&key), &fields, Some("{\"role\":\"READONLY\"}")).await
    };
    let demoted = send(&tag).await;
    assert_eq!((demoted.status.as_u16(), &demoted.body["role"]), (200, &json!("READONLY")));
    let late = send(&tag).await;
    assert_eq!((late.status.as_u16(), late.problem()), (412, "changed"));
    assert_eq!(send("17").await.status, 400);
}

#[tokio::test]
async fn authority_is_taken_away_and_given_back() {
    let rig = Rig::new().await;
    let key = rig.make("reports", "ADMIN").await;
    let call = async |what: &str| rig.ask("POST", &format!("{}/{what}", place(&key)), None).await;
    let rolled = call("roll?wait=none").await;
    assert_eq!(rolled.status, 200, "{}", rolled.text);
    assert_ne!(rolled.body["app_key"], key["app_key"]);
    assert_eq!(rolled.body["id"], key["id"]);
    let disabled = call("disable").await;
    assert_eq!(
        (&disabled.body["state"], &disabled.body["revocation"]["promise_held"]),
        (&json!("disabled"), &json!(true))
    );
    let enabled = call("enable").await;
    assert_eq!((&enabled.body["state"], &enabled.body["revocation"]), (&json!("active"), &Value::Null));
    assert_eq!(call("enable?wait=5s").await.status, 422);

    let deleted = rig.ask("DELETE", &place(&key), None).await;
    assert_eq!((deleted.status.as_u16(), &deleted.body["promise_held"]), (200, &json!(true)));
    let left = rig.ask("GET", &place(&key), None).await;
    assert_eq!((left.status.as_u16(), &left.body["state"]), (200, &json!("deleted")));
    for (method, place) in [("DELETE", place(&key)), ("POST", format!("{}/roll", place(&key)))] {
        let refused = rig.ask(method, &place, None).await;
        assert_eq!((refused.status.as_u16(), refused.problem()), (409, "deleted"));
    }
    for unknown in ["/v1/api-keys/000000000000", "/v1/api-keys/x"] {
        assert_eq!(rig.ask("GET", unknown, None).await.problem(), "not-found");
        assert_eq!(rig.ask("DELETE", unknown, None).await.problem(), "not-found");
    }
    rig.make("reports", "READONLY").await;
}

#[tokio::test]
async fn lists_are_narrowed_sorted_and_paged() {
    let rig = Rig::new().await;
    let now = rig.clock.wall();
    let old = rig.make("alpha", "ADMIN").await;
    let beta = rig.make("beta", "READONLY").await;
    rig.make("gamma", "READONLY").await;
    rig.clock.advance(Duration::from_hours(24 * 40));
    rig.used(&old, now).await;
    rig.used(&beta, rig.clock.wall()).await;
    assert_eq!(rig.names("").await, ["alpha", "beta", "gamma"]);
    assert_eq!(rig.names("sort=-name").await, ["gamma", "beta", "alpha"]);
    assert_eq!(rig.names("role=READONLY").await, ["beta", "gamma"]);
    assert_eq!(rig.names("q=ALPH").await, ["alpha"]);
    assert_eq!(rig.names("q=").await.len(), 3);
    assert_eq!(rig.names("unused_for=30d").await, ["alpha", "gamma"]);
    assert_eq!(rig.names("sort=-last_login").await, ["beta", "alpha", "gamma"]);
    assert!(rig.names("stale=true").await.is_empty());
    rig.ask("DELETE", &place(&beta), None).await;
    assert_eq!(rig.names("state=deleted").await, ["beta"]);

    let first = rig.ask("GET", "/v1/api-keys?limit=1", None).await;
    let cursor = first.body["next_cursor"].as_str().unwrap();
    assert_eq!(rig.names(&format!("limit=1&cursor={cursor}")).await, ["gamma"]);
    let other = rig.ask("GET", &format!("/v1/api-keys?sort=role&cursor={cursor}"), None).await;
    assert_eq!((other.status.as_u16(), other.fields()), (422, vec!["cursor"]));
    let last = rig.ask("GET", "/v1/api-keys?limit=2", None).await;
    assert_eq!(last.body["next_cursor"], Value::Null);
}

#[tokio::test]
async fn a_viewer_sees_and_changes_nothing() {
    let rig = Rig::new().await;
    let key = rig.make("reports", "ADMIN").await;
    let viewer = Some(&rig.viewer.1);
    for (method, target, body) in [
        ("POST", "/v1/api-keys".to_owned(), Some(json!({ "name": "a", "role": "ADMIN" }))),
        ("PATCH", place(&key), Some(json!({}))),
        ("DELETE", place(&key), None),
        ("POST", format!("{}/roll", place(&key)), None),
        ("POST", format!("{}/disable", place(&key)), None),
        ("POST", format!("{}/enable", place(&key)), None),
    ] {
        let refused = rig.ask_as(viewer, method, &target, body.clone()).await;
        assert_eq!((refused.status.as_u16(), refused.problem()), (403, "forbidden"), "{method} {target}");
        assert_eq!(rig.ask_as(None, method, &target, body).await.status, 401, "{method} {target}");
    }
    assert_eq!(rig.ask_as(viewer, "GET", "/v1/api-keys", None).await.status, 200);
    assert_eq!(rig.ask_as(viewer, "GET", &place(&key), None).await.body["state"], "active");
}
