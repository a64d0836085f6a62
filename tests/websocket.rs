//! `WebSocket`s (RFC 6455): the handshake is decided on as any request is; after it, bytes pass untouched.

use std::time::{Duration, Instant};

use crate::support::request::get;
use crate::support::scripted::Scripted;
use crate::support::{Client, Config, Gateway, Key, Request, Upstream, wait_for};

struct Fixture {
    upstream: Upstream,
    gateway: Gateway,
    admin: Key,
}

fn start(limits: &str, upstream_lines: &str) -> Fixture {
    let upstream = Upstream::echo();
    let config = Config::default()
        .upstream("api", &[&upstream], upstream_lines)
        .route("path = \"/\"\nupstream = \"api\"")
        .limits(limits);
    let gateway = Gateway::start(&config);
    let admin = gateway.key_add("admin", "admin");
    Fixture { upstream, gateway, admin }
}

/// RFC 6455, section 1.3.
fn handshake(target: &str, key: &Key) -> Request {
    get(target)
        .bearer(key)
        .field("Upgrade", "websocket")
        .field("Connection", "Upgrade")
        .field("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
        .field("Sec-WebSocket-Version", "13")
}

impl Fixture {
    /// An open tunnel.
    fn open(&self, target: &str) -> Client {
        let mut client = self.gateway.node.connect();
        assert_eq!(client.exchange(&handshake(target, &self.admin)).status, 101);
        client
    }
}

#[track_caller]
fn echoes(client: &mut Client, bytes: &[u8]) {
    client.send(bytes);
    let mut came = Vec::new();
    while came.len() < bytes.len() {
        let more = client.read_some();
        assert!(!more.is_empty(), "closed after {} of {} bytes", came.len(), bytes.len());
        came.extend(more);
    }
    assert!(came == bytes, "other bytes came back");
}

#[test]
fn with_an_admin_key_bytes_pass_both_ways() {
    let f = start("", "");
    let mut client = f.gateway.node.connect();
    let response = client.exchange(&handshake("/ws", &f.admin));
    assert_eq!(response.status, 101);
    assert!(response.header("upgrade").is_some_and(|u| u.eq_ignore_ascii_case("websocket")), "{:?}", response.head);
    assert!(response.header("connection").is_some_and(|c| c.eq_ignore_ascii_case("upgrade")), "{:?}", response.head);
    assert_eq!(response.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    let seen = f.upstream.only("/ws");
    assert_eq!(seen.header("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    assert_eq!(seen.header("authorization"), None);
    assert_eq!(seen.header("x-keygate-role"), Some("ADMIN"));
    echoes(&mut client, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
    // What looks like HTTP is no request in here.
    echoes(&mut client, &get("/smuggled").bytes());
    echoes(&mut client, &[0, 13, 10, 13, 10, 255]);
    assert_eq!(f.upstream.seen_at("/smuggled").len(), 0);
    drop(client);
    wait_for("the upstream's end is closed too", || f.upstream.open_connections() == 0);
}

#[test]
fn a_readonly_key_is_refused_and_so_is_none() {
    let f = start("", "");
    let reader = f.gateway.key_add("reader", "readonly");
    let response = f.gateway.node.send(&handshake("/ws", &reader));
    assert_eq!(response.status, 403);
    assert!(response.header("www-authenticate").is_some_and(|c| c.contains("insufficient_scope")));
    let nobody = Key { encoded: "nonsense".to_owned(), ..reader };
    assert_eq!(f.gateway.node.send(&handshake("/ws", &nobody)).status, 401);
    assert_eq!(f.upstream.count(), 0);
}

#[test]
fn a_silent_tunnel_outlives_the_deadlines_of_requests() {
    let f = start("body_stall = \"1s\"\nheader_timeout = \"1s\"\nidle_timeout = \"1s\"", "read_timeout = \"2s\"");
    let mut client = f.open("/ws");
    echoes(&mut client, b"before");
    let silent_since = Instant::now();
    // Requests of others meet the deadlines meanwhile, one after the other.
    while silent_since.elapsed() < Duration::from_millis(2500) {
        assert_eq!(f.gateway.node.get("/wait", &f.admin).status, 504);
    }
    echoes(&mut client, b"after");
}

#[test]
fn a_server_that_never_answers_the_handshake_is_504_within_its_read_timeout() {
    let server = Scripted::new();
    let config = Config::default()
        .upstream_at("api", &[server.address().to_string()], "read_timeout = \"2s\"")
        .route("path = \"/\"\nupstream = \"api\"");
    let gateway = Gateway::start(&config);
    let key = gateway.key_add("admin", "admin");
    let mut client = gateway.node.connect();
    client.send(&handshake("/ws", &key).bytes());
    let mut scene = server.accept();
    scene.head();
    let response = client.read("GET");
    assert_eq!(response.status, 504);
    assert_eq!(response.json()["type"], "urn:keygate:problem:upstream-timeout");
    assert!(client.is_closed_by_peer() && scene.is_closed_by_peer());
    assert!((gateway.node.metric("keygate_upstream_failures_total", &["kind=\"read_timeout\""]) - 1.0).abs() < 0.5);
    // Who is answered in time is not, however long the answer then takes.
    let mut client = gateway.node.connect();
    client.send(&handshake("/ws", &key).bytes());
    let mut scene = server.accept();
    scene.head();
    scene.says("HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\n");
    let (mut other, mut another) = (gateway.node.connect(), gateway.node.connect());
    for client in [&mut other, &mut another] {
        client.send(&handshake("/ws", &key).bytes());
        assert_eq!(client.read("GET").status, 504);
    }
    scene.says("late");
    let response = client.read("GET");
    assert_eq!((response.status, response.text().as_str()), (403, "late"));
}

#[test]
fn more_than_max_body_passes() {
    let f = start("max_body = \"1KiB\"", "");
    let mut client = f.open("/ws");
    let frame: Vec<u8> = (0..64u32 << 10).map(|n| n.to_le_bytes()[1]).collect();
    for _ in 0..4 {
        echoes(&mut client, &frame);
    }
}

#[test]
fn an_upstream_that_breaks_the_tunnel_closes_it_and_nothing_is_said_in_it() {
    let mut f = start("", "");
    let mut client = f.open("/ws-reset");
    client.send(b"nobody reads this");
    assert!(client.is_closed_by_peer(), "no byte of HTTP may be in a tunnel");
    let mut client = f.open("/ws");
    echoes(&mut client, b"well");
    f.upstream.kill();
    assert!(client.is_closed_by_peer(), "nor when it ends in the usual way");
}

#[test]
fn an_upgrade_that_nobody_asked_for_is_502() {
    let f = start("", "");
    let mut client = f.gateway.node.connect();
    let response = client.exchange(&get("/unsolicited-101").bearer(&f.admin));
    assert_eq!(response.status, 502, "{:?}", response.head);
    assert!(response.json()["type"].as_str().is_some_and(|t| t.starts_with("urn:keygate:problem:")));
    assert_eq!(response.header("upgrade"), None);
    // The others are not disturbed.
    assert_eq!(f.gateway.node.get("/x", &f.admin).status, 200);
}
