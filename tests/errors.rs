//! What refused clients are told: problem details (RFC 9457), challenges (RFC 9110, RFC 6750), an id to ask about.

use std::collections::BTreeMap;

use crate::support::request::{get, post};
use crate::support::{Config, Gateway, Request, Response, Upstream, request};

fn start() -> (Upstream, Gateway) {
    let upstream = Upstream::echo();
    let config = Config::default()
        .upstream("api", &[&upstream], "read_timeout = \"300ms\"")
        .upstream_at("nobody", &[closed_port()], "")
        .route("path = \"/\"\nupstream = \"api\"")
        .route("path = \"/nobody\"\nupstream = \"nobody\"")
        .route("host = \"only.test\"\npath = \"/x\"\nupstream = \"api\"")
        .limits("max_body = \"1KiB\"\nmax_header_size = \"2KiB\"");
    let gateway = Gateway::start(&config);
    (upstream, gateway)
}

/// An address that refuses connections: other tests listen on 127.0.0.1 alone.
pub fn closed_port() -> String {
    "127.99.0.1:9999".to_owned()
}

/// A problem document that says what its head says.
#[track_caller]
fn assert_is_problem(response: &Response, what: &str) -> serde_json::Value {
    assert_eq!(response.header("content-type"), Some("application/problem+json"), "{what}");
    assert_eq!(response.header("cache-control"), Some("no-store"), "{what}");
    let problem = response.json();
    assert_eq!(problem["status"], response.status, "{what}");
    assert!(problem["title"].as_str().is_some_and(|t| !t.is_empty()), "{what}");
    assert!(problem["type"].as_str().is_some_and(|t| t.starts_with("urn:keygate:problem:")), "{what}: {problem}");
    let date = response.head.all("date");
    assert!(matches!(date[..], [date] if date.ends_with(" GMT")), "{what}: {date:?} (RFC 9110, section 6.6.1)");
    let id = response.header("x-request-id").expect("an id on every answer");
    assert_eq!(problem["request_id"], id, "{what}");
    problem
}

#[test]
fn every_refusal_is_a_problem_document_with_a_request_id() {
    let (_upstream, gateway) = start();
    let (reader, admin) = (gateway.key_add("reader", "readonly"), gateway.key_add("admin", "admin"));
    let cases: Vec<(u16, &str, Request)> = vec![
        (400, "ambiguous-path", get("/a//b").bearer(&admin)),
        (400, "malformed-request", get("/x").without_host()),
        (400, "conflicting-credentials", get("/x").bearer(&admin).field("X-API-Key", &reader.encoded)),
        (401, "missing-credential", get("/x")),
        (401, "invalid-credential", get("/x").bearer("kg_1_nonsense")),
        (403, "insufficient-role", post("/x", b"").bearer(&reader)),
        (405, "method-not-allowed", request("TRACE", "/x").bearer(&admin)),
        (413, "body-too-large", post("/x", &[0; 2000]).bearer(&admin)),
        (431, "request-header-too-large", get("/x").bearer(&admin).field("X-Big", &"x".repeat(3000))),
        (502, "upstream-failed", get("/nobody").bearer(&admin)),
        (502, "upstream-failed", get("/abort-before-head").bearer(&admin)),
        (502, "upstream-malformed", get("/not-http").bearer(&admin)),
        (504, "upstream-timeout", get("/wait").bearer(&admin)),
    ];
    let mut ids = BTreeMap::new();
    for (status, name, request) in cases {
        let response = gateway.node.send(&request);
        assert_eq!(response.status, status, "{name}: {}", response.text());
        let problem = assert_is_problem(&response, name);
        assert_eq!(problem["type"], format!("urn:keygate:problem:{name}"));
        let id = problem["request_id"].to_string();
        assert_eq!(ids.insert(id, name), None, "an id was given twice");
    }
}

#[test]
fn without_a_key_the_challenge_has_no_error_code() {
    let (_upstream, gateway) = start();
    for request in [get("/x"), get("/x").basic("user", "word"), get("/x").bearer("eyJ.e30.c2ln")] {
        let response = gateway.node.send(&request);
        assert_eq!(response.status, 401);
        let challenge = response.header("www-authenticate").expect("a challenge");
        assert!(challenge.starts_with("Bearer") && !challenge.contains("error"), "{challenge}");
    }
}

#[test]
fn whoever_has_proven_nothing_learns_nothing() {
    let (_upstream, gateway) = start();
    let key = gateway.key_add("reader", "readonly");
    let gone = gateway.key_add("gone", "readonly");
    gateway.json(&["key", "delete", &gone.id, "--yes"]);
    let body = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";
    let forged_mac =
        format!("{}{}", &key.encoded[..key.encoded.len() - 1], if key.encoded.ends_with('0') { '1' } else { '0' });
    let forged_old = format!("kg_9_{}_{body}_{}", key.id, "0".repeat(40));
    let unknown = format!("kg_1_zzzzzzzzzzzz_{body}_{}", "0".repeat(40));
    let answers: Vec<_> = ["kg_malformed".to_owned(), unknown, forged_mac, forged_old, gone.encoded, key.app_key]
        .iter()
        .map(|credential| {
            let response = gateway.node.get("/x", credential);
            let mut problem = assert_is_problem(&response, "not proven");
            problem["request_id"] = serde_json::Value::Null;
            let fields: Vec<_> = response
                .head
                .fields
                .iter()
                .filter(|(name, _)| !["x-request-id", "date", "content-length"].contains(&name.to_lowercase().as_str()))
                .cloned()
                .collect();
            (response.head.line.clone(), fields, problem)
        })
        .collect();
    assert!(answers.iter().all(|a| *a == answers[0]), "{answers:#?}");
    let (line, fields, _) = &answers[0];
    assert!(line.contains(" 401 "), "{line}");
    let challenge = fields.iter().find(|(n, _)| n.eq_ignore_ascii_case("www-authenticate"));
    assert!(challenge.is_some_and(|(_, v)| v.starts_with("Bearer") && v.contains("error=\"invalid_token\"")));
}

#[test]
fn a_proven_holder_is_told_that_its_key_is_disabled() {
    let (_upstream, gateway) = start();
    let key = gateway.key_add("reader", "readonly");
    gateway.json(&["key", "disable", &key.id, "--yes"]);
    let response = gateway.node.get("/x", &key);
    let problem = assert_is_problem(&response, "disabled");
    assert_eq!((response.status, problem["type"].as_str()), (401, Some("urn:keygate:problem:key-disabled")));
    assert!(response.header("www-authenticate").unwrap_or_default().contains("invalid_token"));
}

#[test]
fn a_proven_holder_of_a_stale_key_is_told_both_versions() {
    let (_upstream, gateway) = start();
    let key = gateway.key_add("reader", "readonly");
    gateway.json(&["secret", "regenerate", "--yes"]);
    gateway.json(&["secret", "regenerate", "--yes"]);
    let response = gateway.node.get("/x", &key);
    let problem = assert_is_problem(&response, "stale");
    assert_eq!((response.status, problem["type"].as_str()), (401, Some("urn:keygate:problem:stale-shared-secret")));
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains("version 1;") && detail.contains("version is 3"), "{detail}");
    assert!(response.header("www-authenticate").unwrap_or_default().contains("invalid_token"));
}

#[test]
fn refusals_repeat_nothing_that_the_client_sent() {
    let (_upstream, gateway) = start();
    let mark = "zzMARKzz";
    for request in [
        get(&format!("/{mark}//x")),
        get(&format!("/{mark}")),
        get("/x").bearer(format!("kg_{mark}")),
        get("/x").host(&format!("{mark}/")),
        get("/x").field(&format!("X_Keygate_{mark}"), mark),
        request(&format!("{mark}("), "/x"),
        get("/x").field("X-Request-Id", "<script>"),
    ] {
        let response = gateway.node.send(&request);
        assert!(response.status >= 400);
        let whole = format!("{}{}", String::from_utf8_lossy(&response.head.raw), response.text());
        assert!(!whole.contains(mark) && !whole.contains("<script>"), "{whole}");
    }
}

#[test]
fn who_is_refused_for_its_method_is_told_the_others() {
    let (_upstream, gateway) = start();
    let response = gateway.node.send(&request("TRACE", "/x"));
    assert_eq!(response.header("allow"), Some("GET, HEAD, QUERY, POST, PUT, PATCH, DELETE, OPTIONS"));
}

#[test]
fn a_refusal_keeps_the_connection_when_nothing_is_left_unread() {
    let (_upstream, gateway) = start();
    let key = gateway.key_add("admin", "admin");
    let mut client = gateway.node.connect();
    for request in [get("/x"), get("/a//b").bearer(&key), get("/x").bearer("kg_1_nonsense")] {
        assert!(client.exchange(&request).status >= 400);
    }
    assert_eq!(client.exchange(&get("/x").bearer(&key)).status, 200);
}

#[test]
fn a_refusal_with_an_unread_body_closes_the_connection() {
    let (_upstream, gateway) = start();
    let mut client = gateway.node.connect();
    client.send(b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nonly a part of it");
    let response = client.read("POST");
    assert_eq!((response.status, response.header("connection")), (401, Some("close")));
    assert!(client.is_closed_by_peer());
}
