//! Requests of the admin plane that are refused for what they say: every refusal is a problem document that names what
//! is wrong, and changes nothing.

use serde_json::json;

use crate::support::admin::{Api, Plane, key_target, named_fields, problem};
use crate::support::{Client, Response};

/// A body of `POST /v1/api-keys` and the fields that must be named.
fn bad_keys() -> Vec<(String, Vec<&'static str>)> {
    let with = |member: &str| format!("{{\"name\":\"x\",\"role\":\"ADMIN\",{member}}}");
    let named = |name: &str| json!({ "name": name, "role": "ADMIN" }).to_string();
    vec![
        ("{}".to_owned(), vec!["name", "role"]),
        ("{\"name\":\"x\"}".to_owned(), vec!["role"]),
        ("{\"name\":\"x\",\"role\":\"root\"}".to_owned(), vec!["role"]),
        ("{\"name\":\"x\",\"role\":null}".to_owned(), vec!["role"]),
        ("{\"name\":5,\"role\":\"ADMIN\"}".to_owned(), vec!["name"]),
        ("{\"name\":[\"x\"],\"role\":\"ADMIN\"}".to_owned(), vec!["name"]),
        (named(""), vec!["name"]),
        (named(" x"), vec!["name"]),
        (named("a\nb"), vec!["name"]),
        (named("a\u{7f}b"), vec!["name"]),
        (named(&"x".repeat(129)), vec!["name"]),
        (with("\"description\":7"), vec!["description"]),
        (with(&format!("\"description\":{:?}", "x".repeat(2001))), vec!["description"]),
        (with("\"expires_at\":\"tomorrow\""), vec!["expires_at"]),
        (with("\"expires_at\":\"2001-01-01T00:00:00Z\""), vec!["expires_at"]),
        (with("\"expires_at\":1700000000"), vec!["expires_at"]),
        (with("\"allowed_networks\":\"10.0.0.0/8\""), vec!["allowed_networks"]),
        (with("\"allowed_networks\":[\"10.0.0.0/8\",\"10.0.0.0/33\"]"), vec!["allowed_networks[1]"]),
        (with("\"allowed_networks\":[]"), vec!["allowed_networks"]),
        (with("\"allowed_routes\":[\"/nowhere\"]"), vec!["allowed_routes[0]"]),
        (with("\"allowed_routes\":[]"), vec!["allowed_routes"]),
        (with("\"colour\":\"red\""), vec!["colour"]),
        (with("\"role\":\"READONLY\""), vec!["role"]),
        ("[]".to_owned(), vec!["(body)"]),
        ("\"text\"".to_owned(), vec!["(body)"]),
        ("null".to_owned(), vec!["(body)"]),
    ]
}

fn raw(api: &Api, method: &str, target: &str, body: &[u8]) -> Response {
    api.send(&api.request(method, target).field("Content-Type", "application/json").body(body))
}

#[test]
fn what_does_not_hold_is_named() {
    let plane = Plane::start();
    let api = plane.api();
    for (body, fields) in bad_keys() {
        let response = raw(&api, "POST", "/v1/api-keys", body.as_bytes());
        assert_eq!(problem(&response), (422, "invalid-request".to_owned()), "{body}");
        assert_eq!(named_fields(&response), fields, "{body}: {}", response.text());
    }
    assert_eq!(api.get("/v1/api-keys").json()["api_keys"], json!([]));
    let key = key_target(&api.add_key("app", "ADMIN"));
    for (method, target, body, field) in [
        ("PATCH", key.as_str(), json!({ "state": "disabled" }), "state"),
        ("PATCH", &key, json!({ "name": null }), "name"),
        ("PATCH", &key, json!({ "role": "owner" }), "role"),
        ("PATCH", &key, json!({ "allowed_networks": ["x"] }), "allowed_networks[0]"),
        ("POST", "/v1/shared-secret/regenerate", json!({}), "expected_version"),
        ("POST", "/v1/shared-secret/regenerate", json!({ "expected_version": "1" }), "expected_version"),
        ("POST", "/v1/shared-secret/regenerate", json!({ "expected_version": -1 }), "expected_version"),
        ("POST", "/v1/shared-secret/regenerate", json!({ "expected_version": 1, "grace": "24" }), "grace"),
        ("POST", "/v1/shared-secret/regenerate", json!({ "expected_version": 1, "grace": "-1h" }), "grace"),
        ("POST", "/v1/operators", json!({ "name": "x", "role": "owner" }), "role"),
        ("POST", "/v1/operators", json!({ "name": "", "role": "admin" }), "name"),
        ("POST", "/v1/operators", json!({ "role": "admin" }), "name"),
        ("POST", "/v1/session", json!({}), "token"),
        ("POST", "/v1/session", json!({ "token": 5 }), "token"),
        ("POST", "/v1/session", json!({ "token": "x", "remember": true }), "remember"),
    ] {
        let response = api.with_json(method, target, &body);
        assert_eq!(problem(&response), (422, "invalid-request".to_owned()), "{method} {target} {body}");
        assert_eq!(named_fields(&response), [field], "{method} {target} {body}: {}", response.text());
    }
    assert_eq!(plane.json(&["secret", "show"])["version"], 1);
    assert_eq!(api.get(&key).json()["role"], "ADMIN");
}

#[test]
fn parameters_that_are_wrong_or_unknown_are_named() {
    let plane = Plane::start();
    let api = plane.api();
    let key = key_target(&api.add_key("app", "ADMIN"));
    for (target, field) in [
        ("/v1/api-keys?limit=0", "limit"),
        ("/v1/api-keys?limit=201", "limit"),
        ("/v1/api-keys?limit=ten", "limit"),
        ("/v1/api-keys?limit=", "limit"),
        ("/v1/api-keys?role=root", "role"),
        ("/v1/api-keys?state=gone", "state"),
        ("/v1/api-keys?sort=colour", "sort"),
        ("/v1/api-keys?sort=--name", "sort"),
        ("/v1/api-keys?unused_for=30", "unused_for"),
        ("/v1/api-keys?unused_for=soon", "unused_for"),
        ("/v1/api-keys?stale=yes", "stale"),
        ("/v1/api-keys?Limit=1", "Limit"),
        ("/v1/api-keys?nmae=x", "nmae"),
        ("/v1/api-keys?q=%zz", "q"),
        ("/v1/api-keys?q=%ff", "q"),
        ("/v1/api-keys?limit=1&limit=2", "limit"),
        ("/v1/audit?since=yesterday", "since"),
        ("/v1/audit?limit=1000", "limit"),
        ("/v1/audit?cursor=%20", "cursor"),
        ("/v1/nodes?verbose=1", "verbose"),
        ("/v1/operators?x=1", "x"),
        ("/v1/shared-secret?x=1", "x"),
        ("/v1/shared-secret/impact?x=1", "x"),
        ("/v1/revisions/1?wait=soon", "wait"),
        ("/v1/session?x=1", "x"),
        (&format!("{key}?x=1"), "x"),
    ] {
        let response = api.get(target);
        assert_eq!(problem(&response), (422, "invalid-request".to_owned()), "{target}");
        assert_eq!(named_fields(&response), [field], "{target}: {}", response.text());
    }
    let refused = api.act(&format!("{key}/disable?wait=soon"));
    assert_eq!((problem(&refused).0, named_fields(&refused)), (422, vec!["wait".to_owned()]));
    assert_eq!(api.get(&key).json()["state"], "active");
}

#[test]
fn malformed_json_is_told_with_its_place() {
    let plane = Plane::start();
    let api = plane.api();
    for (body, field) in [
        (&b""[..], None),
        (b"{", None),
        (b"{\"name\":\"x\",}", None),
        (b"{\"name\":\"x\"} {}", None),
        (b"{'name':'x'}", None),
        (b"name=x&role=ADMIN", None),
        (b"{\"name\":\"x\",\n\"role\":AD}", Some("role")),
        (b"{\"name\":\"\xff\"}", Some("name")),
        (b"{\"name\":\"x\",\"allowed_networks\":[\"10.0.0.0/8\",]}", Some("allowed_networks")),
    ] {
        let text = String::from_utf8_lossy(body);
        let response = raw(&api, "POST", "/v1/api-keys", body);
        assert_eq!(problem(&response), (400, "malformed-json".to_owned()), "{text}");
        let detail = response.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(detail.contains("line ") && detail.contains("column "), "{text}: {detail}");
        if let Some(field) = field {
            assert!(named_fields(&response).iter().any(|f| f.starts_with(field)), "{text}: {}", response.text());
        }
    }
    let second_line = raw(&api, "POST", "/v1/api-keys", b"{\"name\":\"x\",\n\"role\":AD}").json()["detail"].clone();
    assert!(second_line.as_str().is_some_and(|d| d.contains("line 2")), "{second_line}");
}

#[test]
fn what_is_not_there_is_told_as_a_problem() {
    let plane = Plane::start();
    let api = plane.api();
    for target in [
        "/v1",
        "/v1/",
        "/v1/nothing",
        "/v1/api-keys/",
        "/v1/api-keys/aaaaaaaaaaaa",
        "/v1/api-keys/x",
        "/v1/api-keys/aaaaaaaaaaaa/roll/twice",
        "/v1/revisions/999999",
        "/nothing",
        "/assets/nothing.js",
        "/assets/../Cargo.toml",
        "/%2e%2e/etc/passwd",
    ] {
        let (status, name) = problem(&api.get(target));
        assert_eq!((status, name.as_str()), (404, "not-found"), "{target}");
    }
    for target in ["/v1/operators/aaaaaaaaaaaa", "/v1/api-keys/aaaaaaaaaaaa"] {
        assert_eq!(problem(&api.delete(target)).0, 404, "{target}");
    }
}

#[test]
fn a_method_that_is_not_there_is_told_those_that_are() {
    let plane = Plane::start();
    let api = plane.api();
    let key = key_target(&api.add_key("app", "ADMIN"));
    for (method, target, allowed) in [
        ("PUT", "/v1/api-keys", &["GET", "POST"][..]),
        ("DELETE", "/v1/api-keys", &["GET", "POST"]),
        ("POST", &key, &["GET", "PATCH", "DELETE"]),
        ("GET", &format!("{key}/roll"), &["POST"]),
        ("PATCH", "/v1/session", &["GET", "POST", "DELETE"]),
        ("POST", "/v1/shared-secret", &["GET"]),
        ("POST", "/", &["GET"]),
        ("BREW", "/v1/nodes", &["GET"]),
    ] {
        let response = api.send(&api.request(method, target).body(b""));
        assert_eq!(problem(&response), (405, "method-not-allowed".to_owned()), "{method} {target}");
        let told = response.header("allow").expect("Allow");
        for method in allowed {
            assert!(told.split(',').any(|m| m.trim() == *method), "{method} in {told:?} of {target}");
        }
    }
}

#[test]
fn bodies_that_are_too_large_of_another_type_or_do_not_come_are_refused() {
    let plane = Plane::with("request_timeout = \"1s\"");
    let api = plane.api();
    let good = json!({ "name": "x", "role": "ADMIN" });
    for content_type in [Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonp"), None]
    {
        let request = api.request("POST", "/v1/api-keys");
        let request = content_type.into_iter().fold(request, |r, value| r.field("Content-Type", value));
        let response = api.send(&request.body(good.to_string().as_bytes()));
        assert_eq!(problem(&response), (415, "unsupported-media-type".to_owned()), "{content_type:?}");
    }
    let mut padded = good.to_string().into_bytes();
    padded.resize(64 << 10, b' ');
    padded.push(b' ');
    let large = raw(&api, "POST", "/v1/api-keys", &padded);
    assert_eq!(problem(&large).0, 413);
    // Without a length told before.
    let chunked = api
        .request("POST", "/v1/api-keys")
        .field("Content-Type", "application/json")
        .field("Transfer-Encoding", "chunked");
    let mut client = Client::connect(plane.node.admin_address());
    let mut bytes = chunked.bytes();
    bytes.extend_from_slice(format!("{:x}\r\n", padded.len()).as_bytes());
    bytes.extend_from_slice(&padded);
    client.send(&bytes);
    assert_eq!(problem(&client.read("POST")).0, 413);
    // A body that is announced and does not come.
    let announced =
        api.request("POST", "/v1/api-keys").field("Content-Type", "application/json").field("Content-Length", "30");
    assert_eq!(problem(&api.send(&announced)), (408, "request-timeout".to_owned()));
    assert_eq!(api.get("/v1/api-keys").json()["api_keys"], json!([]));
    padded.truncate(64 << 10);
    assert_eq!(raw(&api, "POST", "/v1/api-keys", &padded).status, 201);
    let with_charset = api.request("POST", "/v1/api-keys").field("Content-Type", "application/json; charset=utf-8");
    assert_eq!(api.send(&with_charset.body(b"{\"name\":\"y\",\"role\":\"ADMIN\"}")).status, 201);
}

#[test]
fn heads_that_do_not_come_do_not_hold_a_connection() {
    let plane = Plane::with("request_timeout = \"1s\"");
    let mut slow = Client::connect(plane.node.admin_address());
    slow.send(b"GET /v1/nodes HTTP/1.1\r\nHost: ");
    // An answer or a closed connection: what matters is that it ends.
    while !slow.read_some().is_empty() {}
    assert_eq!(plane.api().get("/v1/nodes").status, 200);
}

#[test]
fn a_store_that_does_not_answer_is_told_as_ours() {
    let plane = Plane::start();
    let api = plane.api();
    let store = plane.path("keygate.db");
    // A table that is gone fails whatever needs it, and nothing else.
    let sqlite = |sql: &str| {
        let done = std::process::Command::new("sqlite3").arg(&store).arg(sql).output().expect("sqlite3 runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    sqlite("ALTER TABLE audit RENAME TO audit_elsewhere");
    let response = api.get("/v1/audit");
    sqlite("ALTER TABLE audit_elsewhere RENAME TO audit");
    assert_eq!(problem(&response), (503, "store-unavailable".to_owned()));
    assert!(!response.text().contains("audit_elsewhere") && !response.text().contains("SELECT"), "{}", response.text());
    assert_eq!(api.get("/v1/audit").status, 200);
}
