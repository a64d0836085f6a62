//! What each endpoint of the admin plane does, seen from the data plane: keys work and stop working.

use serde_json::{Value, json};

use crate::support::admin::{Plane, key_target as of, problem};
use crate::support::site::{encode_with_openssl, text_at};
use crate::support::wait_for;

#[track_caller]
fn assert_promise_held(revocation: &Value, plane: &Plane) {
    assert_eq!(revocation["promise_held"], true, "{revocation}");
    let confirmed = revocation["confirmed"].as_array().expect("confirmed");
    assert_eq!(confirmed.len(), 1, "{revocation}");
    assert!(confirmed[0].as_str().is_some_and(|id| id.ends_with(&format!(":{}", plane.node.pid()))), "{revocation}");
    assert!(revocation["revision"].is_u64() && revocation["took_ms"].is_u64(), "{revocation}");
}

/// A key that is admitted.
#[track_caller]
fn working_key(plane: &Plane, name: &str) -> (Value, String) {
    let key = plane.api().add_key(name, "ADMIN");
    let encoded = text_at(&key, "encoded_key");
    assert_eq!(plane.admits(&encoded), 200);
    (key, encoded)
}

#[test]
fn a_new_key_works_and_its_secrets_are_told_once() {
    let plane = Plane::start();
    let api = plane.api();
    let response = api.post(
        "/v1/api-keys",
        &json!({ "name": "reports", "role": "READONLY", "description": "nightly", "expires_at": "2099-01-31T12:00:00Z",
                 "allowed_networks": ["127.0.0.0/8"], "allowed_routes": ["/"] }),
    );
    assert_eq!(response.status, 201, "{}", response.text());
    let key = response.json();
    assert_eq!(response.header("location"), Some(of(&key).as_str()));
    assert_eq!(response.header("etag"), Some(format!("\"{}\"", key["revision"]).as_str()));
    assert_promise_held(&key["revocation"], &plane);
    for (member, value) in [
        ("name", json!("reports")),
        ("description", json!("nightly")),
        ("role", json!("READONLY")),
        ("state", json!("active")),
        ("expired", json!(false)),
        ("expires_at", json!("2099-01-31T12:00:00.000Z")),
        ("allowed_networks", json!(["127.0.0.0/8"])),
        ("allowed_routes", json!(["/"])),
        ("last_login", json!(null)),
        ("use_count", json!(0)),
        ("stale_version", json!(null)),
    ] {
        assert_eq!(key[member], value, "{member} in {key}");
    }
    let encoded = text_at(&key, "encoded_key");
    assert_eq!(plane.admits(&encoded), 200);
    let again = encode_with_openssl(&text_at(&key, "app_key"), &plane.shared_secret());
    assert_eq!(again, encoded);
    let read = api.get(&of(&key));
    assert_eq!((read.status, read.header("etag")), (200, response.header("etag")));
    plane.secrets.assert_absent("the key as it is read", &read.body);
    assert_eq!(read.json()["name"], "reports");
    let record = plane.audit("api_key.create").remove(0);
    assert_eq!(record["who"], format!("operator:{}", plane.admin.id));
    assert_eq!((&record["subject"], &record["from"]), (&key["id"], &json!("127.0.0.1")));
}

#[test]
fn a_disabled_key_is_refused_until_it_is_enabled() {
    let plane = Plane::start();
    let (key, encoded) = working_key(&plane, "app");
    let disabled = plane.api().act(&format!("{}/disable", of(&key)));
    assert_eq!(plane.admits(&encoded), 401);
    assert_eq!((disabled.status, &disabled.json()["state"]), (200, &json!("disabled")));
    assert_promise_held(&disabled.json()["revocation"], &plane);
    let enabled = plane.api().act(&format!("{}/enable", of(&key)));
    assert_eq!((enabled.status, &enabled.json()["state"]), (200, &json!("active")));
    assert_eq!(plane.admits(&encoded), 200);
}

#[test]
fn rolling_kills_the_old_app_key_and_tells_the_new_one() {
    let plane = Plane::start();
    let (key, encoded) = working_key(&plane, "app");
    let rolled = plane.api().act(&format!("{}/roll", of(&key)));
    assert_eq!(plane.admits(&encoded), 401);
    assert_eq!((rolled.status, &rolled.json()["id"]), (200, &key["id"]));
    assert_promise_held(&rolled.json()["revocation"], &plane);
    assert_ne!(rolled.json()["app_key"], key["app_key"]);
    assert_eq!(plane.admits(&text_at(&rolled.json(), "encoded_key")), 200);
}

#[test]
fn a_deleted_key_is_refused_and_leaves_a_record_and_its_name() {
    let plane = Plane::start();
    let api = plane.api();
    let (key, encoded) = working_key(&plane, "app");
    let deleted = api.delete(&of(&key));
    assert_eq!(plane.admits(&encoded), 401);
    assert_eq!(deleted.status, 200, "{}", deleted.text());
    assert_promise_held(&deleted.json(), &plane);
    let tombstone = api.get(&of(&key));
    assert_eq!((tombstone.status, &tombstone.json()["state"]), (200, &json!("deleted")));
    let deleted = (409, "deleted".to_owned());
    assert_eq!(problem(&api.delete(&of(&key))), deleted);
    for verb in ["roll", "disable", "enable"] {
        assert_eq!(problem(&api.act(&format!("{}/{verb}", of(&key)))), deleted, "{verb}");
    }
    assert_eq!(problem(&api.patch(&of(&key), &json!({ "role": "READONLY" }))), deleted);
    api.add_key("app", "READONLY");
    let listed = |query: &str| api.get(&format!("/v1/api-keys{query}")).json()["api_keys"].as_array().map(Vec::len);
    assert_eq!([listed(""), listed("?state=deleted")], [Some(1), Some(1)]);
}

#[test]
fn a_change_is_in_force_when_it_is_answered() {
    let plane = Plane::start();
    let api = plane.api();
    let (key, encoded) = working_key(&plane, "app");
    let described = api.patch(&of(&key), &json!({ "name": "renamed", "description": "for x" }));
    assert_eq!((described.status, &described.json()["revocation"]), (200, &json!(null)), "nothing was taken away");
    let narrowed = api.patch(&of(&key), &json!({ "allowed_networks": ["192.0.2.0/24"] }));
    assert_eq!(plane.admits(&encoded), 403);
    assert_promise_held(&narrowed.json()["revocation"], &plane);
    assert_eq!(narrowed.json()["name"], "renamed");
    api.patch(&of(&key), &json!({ "allowed_networks": null }));
    assert_eq!(plane.admits(&encoded), 200);
    let demoted = api.patch(&of(&key), &json!({ "role": "READONLY" }));
    assert_promise_held(&demoted.json()["revocation"], &plane);
    let post = crate::support::request::post("/x", b"").bearer(&encoded);
    assert_eq!(plane.node.send(&post).status, 403);
}

#[test]
fn an_update_of_what_somebody_else_changed_meanwhile_is_refused() {
    let plane = Plane::start();
    let api = plane.api();
    let (key, _) = working_key(&plane, "app");
    let read = api.get(&of(&key)).header("etag").expect("ETag").to_owned();
    let mine = |etag: &str| api.clone().field("If-Match", etag).patch(&of(&key), &json!({ "description": "mine" }));
    let theirs = api.patch(&of(&key), &json!({ "description": "theirs" }));
    let refused = mine(&read);
    assert_eq!(problem(&refused), (412, "changed".to_owned()));
    assert_eq!(api.get(&of(&key)).json()["description"], "theirs");
    assert_eq!(mine(theirs.header("etag").expect("ETag")).status, 200);
    assert_eq!(mine("*").status, 200);
    for malformed in ["17", "\"x\"", "W/\"17\"", "\"1\", \"2\"", ""] {
        assert_eq!(problem(&mine(malformed)).0, 400, "{malformed:?}");
    }
}

#[test]
fn names_are_unique() {
    let plane = Plane::start();
    let api = plane.api();
    let taken = (409, "name-taken".to_owned());
    let (_, other) = (api.add_key("one", "ADMIN"), api.add_key("two", "ADMIN"));
    let again = api.post("/v1/api-keys", &json!({ "name": "one", "role": "ADMIN" }));
    assert_eq!(problem(&again), taken);
    assert_eq!(problem(&api.patch(&of(&other), &json!({ "name": "one" }))), taken);
    assert_eq!(api.patch(&of(&other), &json!({ "name": "two" })).status, 200, "its own");
    let again = api.post("/v1/operators", &json!({ "name": "vic", "role": "admin" }));
    assert_eq!(problem(&again), taken);
}

#[test]
fn regenerate_kills_every_key_and_names_what_it_replaces() {
    let plane = Plane::start();
    let api = plane.api();
    let (key, encoded) = working_key(&plane, "app");
    let regenerate = |expected: u64| api.post("/v1/shared-secret/regenerate", &json!({ "expected_version": expected }));
    assert_eq!(problem(&regenerate(2)), (409, "version-conflict".to_owned()));
    assert_eq!(plane.admits(&encoded), 200, "a refusal changes nothing");
    let answer = regenerate(1);
    assert_eq!(plane.admits(&encoded), 401);
    assert_eq!((answer.status, &answer.json()["version"]), (200, &json!(2)), "{}", answer.text());
    assert_promise_held(&answer.json(), &plane);
    // A lost answer can be asked for again: the same call is told that it was done.
    assert_eq!(problem(&regenerate(1)), (409, "version-conflict".to_owned()));
    let shown = api.get("/v1/shared-secret").json();
    assert_eq!((&shown["version"], &shown["previous"]), (&json!(2), &json!(null)));
    let anew = encode_with_openssl(&text_at(&key, "app_key"), &text_at(&shown, "secret"));
    plane.secrets.learn(&anew);
    assert_eq!(plane.admits(&anew), 200);
    let waited = api.get(&format!("/v1/revisions/{}?wait=5s", answer.json()["revision"]));
    assert_eq!((waited.status, &waited.json()["promise_held"]), (200, &json!(true)));
}

#[test]
fn grace_keeps_old_keys_until_it_is_ended() {
    let plane = Plane::start();
    let api = plane.api();
    let (_, encoded) = working_key(&plane, "app");
    assert_eq!(problem(&api.act("/v1/shared-secret/end-grace")), (409, "no-grace".to_owned()));
    let answer = api.post("/v1/shared-secret/regenerate", &json!({ "expected_version": 1, "grace": "1h" }));
    assert!(answer.json()["grace_until"].is_string(), "{}", answer.text());
    assert_eq!(plane.admits(&encoded), 200);
    let impact = plane.viewer().get("/v1/shared-secret/impact").json();
    assert_eq!((&impact["version"], &impact["previous"]["version"]), (&json!(2), &json!(1)));
    let ended = api.act("/v1/shared-secret/end-grace");
    assert_eq!(plane.admits(&encoded), 401);
    assert_eq!((ended.status, &ended.json()["ended_version"]), (200, &json!(1)));
    assert_promise_held(&ended.json(), &plane);
}

#[test]
fn the_impact_counts_whom_a_regenerate_would_stop() {
    let plane = Plane::start();
    let api = plane.api();
    let (_, encoded) = working_key(&plane, "used");
    api.add_key("unused", "READONLY");
    let off = api.add_key("off", "READONLY");
    api.act(&format!("{}/disable", of(&off)));
    let counts = || plane.viewer().get("/v1/shared-secret/impact").json()["keys"].clone();
    let expected = json!({ "active": 2, "disabled": 1, "used_24h": 1, "never_used": 1, "stale": 0 });
    wait_for("the use is counted", || counts() == expected);
    api.post("/v1/shared-secret/regenerate", &json!({ "expected_version": 1 }));
    assert_eq!(plane.admits(&encoded), 401);
    wait_for("the old version is seen", || counts()["stale"] == 1);
    let stale = api.get("/v1/api-keys?stale=true").json()["api_keys"].clone();
    assert_eq!((stale.as_array().map(Vec::len), &stale[0]["name"]), (Some(1), &json!("used")));
    assert_eq!(stale[0]["stale_version"], 1);
}

#[test]
fn reading_the_shared_secret_is_audited_and_counting_is_not() {
    let plane = Plane::start();
    for _ in 0..3 {
        plane.api().get("/v1/shared-secret/impact");
    }
    assert_eq!(plane.audit("shared_secret.view").len(), 0);
    assert_eq!(text_at(&plane.api().get("/v1/shared-secret").json(), "secret"), plane.shared_secret());
    let records = plane.audit("shared_secret.view");
    assert_eq!(records.last().expect("a record")["who"], format!("operator:{}", plane.admin.id));
}

#[test]
fn a_revocation_can_be_answered_before_the_nodes_have_confirmed() {
    let plane = Plane::start();
    let (key, _) = working_key(&plane, "app");
    crate::fleet::pause_outside_of_transactions(&plane.node, &plane);
    // The paused node answers nothing itself: the command line is another writer.
    let answer = plane.cli(&["--output", "json", "key", "disable", "app", "--yes", "--no-wait"]);
    plane.node.resume();
    assert_eq!(answer.json()["promise_held"], false);
    let answer = plane.api().act(&format!("{}/enable", of(&key)));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = plane.api().delete(&format!("{}?wait=none", of(&key)));
    let revision = answer.json()["revision"].clone();
    assert_eq!((answer.status, &answer.json()["promise_held"]), (200, &json!(false)));
    let waited = plane.viewer().get(&format!("/v1/revisions/{revision}?wait=5s"));
    assert_eq!(waited.json()["promise_held"], true, "{}", waited.text());
}

#[test]
fn operators_are_made_listed_and_removed() {
    let plane = Plane::start();
    let api = plane.api();
    let made = api.post("/v1/operators", &json!({ "name": "bob", "role": "viewer" }));
    assert_eq!(made.status, 201, "{}", made.text());
    let (bob, token) = (text_at(&made.json(), "id"), text_at(&made.json(), "token"));
    let as_bob = plane.anonymous().bearer(&token);
    assert_eq!(as_bob.get("/v1/api-keys").status, 200);
    assert_eq!(as_bob.get("/v1/operators").status, 403);
    plane.log_in(&token);
    let list = api.get("/v1/operators").json();
    let list = list["operators"].as_array().expect("operators");
    let listed = list.iter().find(|o| o["id"] == bob.as_str()).expect("bob");
    assert_eq!((&listed["name"], &listed["role"]), (&json!("bob"), &json!("viewer")));
    assert!(listed["last_login"].is_string(), "{listed}");
    assert_eq!(api.delete(&format!("/v1/operators/{bob}")).status, 204);
    assert_eq!(as_bob.get("/v1/api-keys").status, 401);
    assert_eq!(problem(&api.delete(&format!("/v1/operators/{bob}"))), (404, "not-found".to_owned()));
}

#[test]
fn the_last_administrator_stays() {
    let plane = Plane::start();
    let api = plane.api();
    let list = api.get("/v1/operators").json();
    for operator in list["operators"].as_array().expect("operators") {
        if operator["role"] == "admin" && operator["id"] != plane.admin.id.as_str() {
            assert_eq!(api.delete(&format!("/v1/operators/{}", text_at(operator, "id"))).status, 204);
        }
    }
    let refused = api.delete(&format!("/v1/operators/{}", plane.admin.id));
    assert_eq!(problem(&refused), (409, "last-admin".to_owned()));
    assert_eq!(api.get("/v1/operators").status, 200);
    plane.cli(&["operator", "remove", "ada", "--yes"]).expect(1);
}

#[test]
fn nodes_and_their_leases_are_listed() {
    let plane = Plane::start();
    let answer = plane.viewer().get("/v1/nodes").json();
    let nodes = answer["nodes"].as_array().expect("nodes");
    assert_eq!(nodes.len(), 1);
    assert!(text_at(&nodes[0], "id").ends_with(&format!(":{}", plane.node.pid())), "{answer}");
    assert_eq!((&nodes[0]["lease_ms"], &nodes[0]["gone"]), (&json!(5000), &json!(false)), "{answer}");
    assert!(answer["revision"].is_u64());
}
