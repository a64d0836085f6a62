//! Deadlines and limits of connections.

use crate::support::request::get;
use crate::support::{Client, Config, Gateway, Site, Upstream, wait_for};

fn start(limits: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::in_front_of(&upstream).limits(limits));
    (upstream, gateway)
}

#[test]
fn a_head_that_does_not_end_in_time_is_408_however_it_drips() {
    let (upstream, gateway) = start("header_timeout = \"300ms\"");
    let mut silent = gateway.node.connect();
    silent.send(b"GET /x HTTP/1.1\r\n");
    let response = silent.read("GET");
    assert_eq!((response.status, response.json()["type"].as_str()), (408, Some("urn:keygate:problem:request-timeout")));
    assert!(response.header("x-request-id").is_some());
    assert!(silent.is_closed_by_peer());
    let mut dripping = gateway.node.connect();
    dripping.send(b"GET /x HTTP/1.1\r\nX-Drip: ");
    wait_for("the deadline", || {
        dripping.try_send(b"x").is_err() || gateway.node.metric("keygate_refusals_total", &["head_timeout"]) > 1.5
    });
    assert_eq!(upstream.count(), 0);
}

#[test]
fn a_connection_without_a_request_is_closed_after_the_idle_timeout() {
    let (_upstream, gateway) = start("idle_timeout = \"200ms\"");
    let key = gateway.key_add("app", "readonly");
    assert!(gateway.node.connect().is_closed_by_peer());
    let mut used = gateway.node.connect();
    assert_eq!(used.exchange(&get("/x").bearer(&key)).status, 200);
    assert!(used.is_closed_by_peer());
}

/// Who has asked for nothing yet has as long as a head has; between two requests there is more time.
#[test]
fn a_new_connection_is_closed_when_its_first_byte_does_not_come_in_time() {
    let (_upstream, gateway) = start("header_timeout = \"200ms\"");
    let key = gateway.key_add("app", "readonly");
    let mut used = gateway.node.connect();
    assert_eq!(used.exchange(&get("/x").bearer(&key)).status, 200);
    assert!(gateway.node.connect().is_closed_by_peer());
    assert_eq!(used.exchange(&get("/x").bearer(&key)).status, 200);
    assert!(gateway.node.metric("keygate_refusals_total", &["head_timeout"]) < 0.5, "it is told nothing");
}

#[test]
fn connections_beyond_the_limit_are_told_so() {
    let (_upstream, gateway) = start("max_connections = 3");
    let key = gateway.key_add("app", "readonly");
    let mut inside: Vec<Client> = (0..3).map(|_| gateway.node.connect()).collect();
    for client in &mut inside {
        assert_eq!(client.exchange(&get("/x").bearer(&key)).status, 200);
    }
    let mut outside = gateway.node.connect();
    let response = outside.read("GET");
    assert_eq!((response.status, response.header("retry-after").is_some()), (503, true));
    assert!(outside.is_closed_by_peer());
    drop(inside.pop());
    wait_for("there is room again", || {
        gateway.node.connect().try_exchange(&get("/x").bearer(&key)).is_ok_and(|r| r.status == 200)
    });
    for client in &mut inside {
        assert_eq!(client.exchange(&get("/x").bearer(&key)).status, 200);
    }
}

/// The most that a configuration may allow.
const MAX_HEADERS: usize = 240;

#[test]
fn as_many_fields_as_can_be_allowed_are_forwarded_or_refused_by_keygate_itself() {
    let (upstream, gateway) = start(&format!("max_headers = {MAX_HEADERS}"));
    let key = gateway.key_add("app", "readonly");
    // Host and Authorization are two of them.
    let with = |fields: usize| (2..fields).fold(get("/x").bearer(&key), |r, n| r.field(&format!("X-Field-{n}"), "1"));
    for fields in [100, MAX_HEADERS - 20, MAX_HEADERS - 1, MAX_HEADERS, MAX_HEADERS + 1, MAX_HEADERS + 50] {
        let before = upstream.count();
        let response = gateway.node.send(&with(fields));
        let server = response.header("server").unwrap_or_default().to_lowercase();
        assert!(!server.contains("pingora"), "{fields}: {:?}", response.head);
        assert!(response.header("x-request-id").is_some(), "{fields}: {:?}", response.head);
        if fields <= MAX_HEADERS && response.status == 200 {
            let seen = upstream.seen().split_off(before).remove(0);
            let ours = |name: &str| name.to_lowercase().starts_with("x-field-");
            assert_eq!(seen.head.fields.iter().filter(|(name, _)| ours(name)).count(), fields - 2);
            assert_eq!(seen.header("x-keygate-role"), Some("READONLY"));
        } else {
            assert_eq!(response.status, 431, "{fields}");
            assert!(response.json()["type"].as_str().is_some_and(|t| t.starts_with("urn:keygate:problem:")));
            assert_eq!(upstream.count(), before);
        }
    }
}

#[test]
fn more_fields_than_can_be_handled_cannot_be_allowed() {
    let upstream = Upstream::echo();
    let site = Site::empty();
    site.write_config(&Config::in_front_of(&upstream).limits(&format!("max_headers = {}", MAX_HEADERS + 1)));
    let done = site.cli(&["check"]).expect(1);
    assert!(format!("{}{}", done.stdout, done.stderr).contains("max_headers"), "{}{}", done.stdout, done.stderr);
}
