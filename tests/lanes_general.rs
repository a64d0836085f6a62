//! What is not plain takes the general lane, each for its reason, and the connection comes back from it. Plain shapes:
//! `lanes_express`.

use crate::support::request::{get, post};
use crate::support::scripted::Scripted;
use crate::support::{Config, Gateway, Upstream, request};

/// On one connection, with plain requests between: it comes back from each.
#[test]
fn everything_else_takes_the_general_lane_and_the_connection_comes_back() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::in_front_of(&upstream).threads(1).server("express_lane = true"));
    let key = gateway.key_add("admin", "admin").encoded.clone();
    let mut client = gateway.node.connect();
    let plain = get("/plain").bearer(&key);
    assert_eq!(client.exchange(&plain).status, 200);
    let with = |line: &str, fields: &str| format!("{line}\r\nHost: gateway.test\r\nX-API-Key: {key}\r\n{fields}\r\n");
    for (n, (reason, sent)) in [
        ("http_1_0", with("GET /a HTTP/1.0", "Connection: keep-alive\r\n")),
        ("absolute_form", with("GET http://gateway.test/a HTTP/1.1", "")),
        ("expect", with("POST /a HTTP/1.1", "Expect: 100-continue\r\nContent-Length: 4\r\n") + "body"),
        (
            "upgrade",
            with("GET /a HTTP/1.1", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"),
        ),
        ("connection_option", with("GET /a HTTP/1.1", "Connection: X-Mine\r\nX-Mine: 1\r\n")),
    ]
    .into_iter()
    .enumerate()
    {
        let of_reason = || gateway.node.metric("keygate_lane_requests_total", &[&format!("reason=\"{reason}\"")]);
        assert!(of_reason() < 0.5, "{reason}");
        client.send(sent.as_bytes());
        assert_eq!(client.read("GET").status, 200, "{reason}");
        assert!((of_reason() - 1.0).abs() < 0.5, "{reason}");
        assert_eq!(gateway.node.lanes(), (n + 1, n + 1), "{reason}");
        let back = if n % 2 == 0 { plain.clone() } else { post("/plain", b"body").bearer(&key) };
        assert_eq!(client.exchange(&back).status, 200, "behind {reason}");
        assert_eq!(gateway.node.lanes(), (n + 2, n + 1), "behind {reason}");
    }
    assert_eq!(upstream.count(), 11);
    // No route has this one, so it takes no lane at all.
    client.send(with("OPTIONS * HTTP/1.1", "").as_bytes());
    assert_eq!(client.read("OPTIONS").status, 404);
    assert_eq!(client.exchange(&plain).status, 200);
    assert_eq!(gateway.node.lanes(), (7, 5));
}

/// A server that answers in place of 100 may wait for no body (RFC 9110, section 10.1.1), and take it for a request.
#[test]
fn a_body_that_follows_an_answer_in_place_of_100_is_nobodys_request() {
    let server = Scripted::new();
    let config = Config::default().upstream_at("api", &[server.address().to_string()], "").threads(1);
    let gateway = Gateway::start(&config.route("path = \"/\"\nupstream = \"api\""));
    let key = gateway.key_add("admin", "admin");
    let smuggled = get("/smuggled").field("X-Keygate-Role", "ADMIN").bytes();
    let mut client = gateway.node.connect();
    let asked = request("POST", "/x").bearer(&key).field("Expect", "100-continue");
    client.send(&asked.field("Content-Length", &smuggled.len().to_string()).bytes());
    let mut first = server.accept();
    assert_eq!(first.head().get("connection"), Some("close"));
    first.says("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.read("POST").status, 417);
    // The client may have been told that its connection is closed; what still comes of it goes nowhere else.
    let _ = client.try_send(&smuggled);
    let mut next = gateway.node.connect();
    next.send(&get("/next").bearer(&key).bytes());
    let mut second = server.accept();
    assert_eq!(second.head().line, "GET /next HTTP/1.1");
    second.says("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(next.read("GET").status, 200);
}

#[test]
fn a_websocket_takes_the_general_lane() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::in_front_of(&upstream).threads(1).server("express_lane = true"));
    let key = gateway.key_add("admin", "admin");
    let mut client = gateway.node.connect();
    assert_eq!(client.exchange(&get("/plain").bearer(&key)).status, 200);
    let upgrade = request("GET", "/ws").bearer(&key).field("Connection", "Upgrade").field("Upgrade", "websocket");
    let upgrade = upgrade.field("Sec-WebSocket-Version", "13").field("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(client.exchange(&upgrade).status, 101);
    client.send(b"through");
    assert_eq!(client.read_some(), b"through");
    assert_eq!(gateway.node.lanes(), (1, 1));
}

#[test]
fn a_setting_switches_the_express_lane_off() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::in_front_of(&upstream).server("express_lane = false"));
    let key = gateway.key_add("admin", "admin");
    assert_eq!(gateway.node.get("/plain", &key).status, 200);
    assert_eq!(gateway.node.lanes(), (0, 1));
    assert!((gateway.node.metric("keygate_lane_requests_total", &["reason=\"switched_off\""]) - 1.0).abs() < 0.5);
}

/// The end of such a body would be told by the connection's, in a coding that nobody asked for (RFC 9112, section 6.3).
#[test]
fn an_answer_in_a_coding_that_does_not_end_in_chunks_is_502_in_both_lanes() {
    let server = Scripted::new();
    for lane in ["express_lane = true", "express_lane = false"] {
        let config = Config::default()
            .server(lane)
            .upstream_at("api", &[server.address().to_string()], "")
            .route("path = \"/\"\nupstream = \"api\"");
        let gateway = Gateway::start(&config);
        let key = gateway.key_add("admin", "admin");
        for codings in ["xchunked", "gzip", "chunked, gzip", "chunked, chunked", "a b, chunked", ", chunked"] {
            let mut client = gateway.node.connect();
            client.send(&get("/a").bearer(&key).bytes());
            let mut scene = server.accept();
            scene.request();
            scene.says(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: {codings}\r\n\r\n2\r\nok\r\n0\r\n\r\n"));
            assert_eq!(client.read("GET").status, 502, "{codings}, {lane}");
            assert!(client.is_closed_by_peer(), "{codings}, {lane}");
            assert!(scene.is_closed_by_peer(), "nor is it asked again: {codings}, {lane}");
        }
    }
}

/// What was said twice goes on once (RFC 9110, section 8.6); beside a coding it does not count (RFC 9112, section 6.3).
#[test]
fn the_length_of_an_answer_goes_on_once_in_both_lanes() {
    let server = Scripted::new();
    for lane in ["express_lane = true", "express_lane = false"] {
        let config = Config::default()
            .server(lane)
            .upstream_at("api", &[server.address().to_string()], "")
            .route("path = \"/\"\nupstream = \"api\"");
        let gateway = Gateway::start(&config);
        let key = gateway.key_add("admin", "admin");
        for (framing, expected) in [
            ("Content-Length: 2\r\nContent-Length: 2\r\n\r\nok", &["2"][..]),
            ("Content-Length: 2, 02\r\n\r\nok", &["2"]),
            ("Content-Length: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", &[]),
        ] {
            let mut client = gateway.node.connect();
            client.send(&get("/a").bearer(&key).bytes());
            let mut scene = server.accept();
            scene.request();
            scene.says(format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{framing}"));
            let response = client.read("GET");
            assert_eq!((response.status, response.text().as_str()), (200, "ok"), "{framing:?}, {lane}");
            assert_eq!(response.head.all("content-length"), expected, "{framing:?}, {lane}");
        }
    }
}
