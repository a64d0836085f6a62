//! Servers that are down, slow, killed, or well again.

use std::collections::BTreeSet;

use crate::errors::closed_port;
use crate::support::load::Load;
use crate::support::request::{get, post};
use crate::support::scripted::{Scene, Scripted};
use crate::support::upstream::Seen;
use crate::support::{Config, Gateway, Request, Response, Upstream, count, request, wait_for, wait_for_some};

const HEALTH: &str = "health = { path = \"/up\", interval = \"50ms\", timeout = \"50ms\" }";

#[test]
fn an_upstream_that_is_down_is_502() {
    let config = Config::default()
        .upstream_at("api", &[closed_port()], "connect_timeout = \"1s\"")
        .route("path = \"/\"\nupstream = \"api\"");
    let gateway = Gateway::start(&config);
    let key = gateway.key_add("admin", "admin");
    for request in [get("/x").bearer(&key), post("/x", b"body").bearer(&key)] {
        assert_eq!(gateway.node.send(&request).status, 502);
    }
    assert_eq!(gateway.node.send(&get("/x")).status, 401, "a key is asked for first");
}

#[test]
fn an_upstream_that_does_not_answer_in_time_is_504() {
    let upstream = Upstream::echo();
    let config = Config::default()
        .upstream("api", &[&upstream], "read_timeout = \"200ms\"")
        .route("path = \"/\"\nupstream = \"api\"");
    let gateway = Gateway::start(&config);
    let key = gateway.key_add("admin", "admin");
    assert_eq!(gateway.node.send(&post("/wait", b"").bearer(&key)).status, 504);
    assert_eq!(upstream.seen_at("/wait").len(), 1, "what may have had its effect is not sent again");
    assert_eq!(gateway.node.get("/x", &key).status, 200);
}

#[test]
fn requests_go_to_the_servers_in_turn() {
    let (a, b) = (Upstream::named("a"), Upstream::named("b"));
    let config = Config::default().upstream("api", &[&a, &b], "").route("path = \"/\"\nupstream = \"api\"");
    let gateway = Gateway::start(&config);
    let key = gateway.key_add("reader", "readonly");
    for _ in 0..20 {
        assert_eq!(gateway.node.get("/x", &key).status, 200);
    }
    assert_eq!((a.count(), b.count()), (10, 10));
}

#[test]
fn a_server_that_its_health_checks_find_down_gets_nothing_until_it_is_well_again() {
    let (a, mut b) = (Upstream::named("a"), Upstream::named("b"));
    let config = Config::default().upstream("api", &[&a, &b], HEALTH).route("path = \"/\"\nupstream = \"api\"");
    let gateway = Gateway::start(&config);
    let key = gateway.key_add("admin", "admin");
    let label = format!("server=\"{}\"", b.address());
    let healthy = || gateway.node.metric("keygate_upstream_server_healthy", &[&label]) > 0.5;
    wait_for("it is found well", healthy);
    b.kill();
    wait_for("it is found down", || !healthy());
    for _ in 0..20 {
        assert_eq!(gateway.node.send(&post("/x", b"").bearer(&key)).status, 200);
    }
    b.revive();
    wait_for("it takes requests again", || {
        assert_eq!(gateway.node.get("/y", &key).status, 200);
        b.count() > 0
    });
}

#[test]
fn with_no_server_that_is_well_the_answer_is_503_with_retry_after_and_counted() {
    let mut upstream = Upstream::echo();
    let config = Config::default().upstream("api", &[&upstream], HEALTH).route("path = \"/\"\nupstream = \"api\"");
    let gateway = Gateway::start(&config);
    let key = gateway.key_add("reader", "readonly");
    let label = format!("server=\"{}\"", upstream.address());
    upstream.kill();
    wait_for("it is found down", || gateway.node.metric("keygate_upstream_server_healthy", &[&label]) < 0.5);
    let response = gateway.node.get("/x", &key);
    assert_eq!((response.status, response.header("retry-after").is_some()), (503, true));
    assert!(response.text().contains("urn:keygate:problem:no-upstream"));
    let failures = gateway.node.metric("keygate_upstream_failures_total", &["kind=\"no_server\""]);
    assert!((failures - 1.0).abs() < 0.5, "{failures}");
}

#[test]
fn when_one_of_two_servers_is_killed_under_load_only_requests_already_sent_to_it_may_fail() {
    let (a, mut b) = (Upstream::named("a"), Upstream::named("b"));
    let config = Config::default()
        .upstream("api", &[&a, &b], &format!("{HEALTH}\nconnect_timeout = \"1s\""))
        .route("path = \"/\"\nupstream = \"api\"");
    let gateway = Gateway::start(&config);
    let key = gateway.key_add("admin", "admin");
    let load = Load::start(gateway.node.address(), 8, move |n| post(&format!("/n/{n}"), b"once").bearer(&key));
    load.wait_for_more(count(200, 5_000));
    let open = b.kill();
    load.wait_for_more(count(500, 10_000));
    let sent_to_b: BTreeSet<String> = b.seen().iter().map(|s| s.target().to_owned()).collect();
    let outcomes = load.finish();
    let failed: Vec<_> = outcomes.iter().filter(|o| o.result != Ok(200)).collect();
    // What was written to a connection that b had not read from before it was killed has been sent, too: at most one
    // request a connection.
    let unread = failed.iter().filter(|o| !sent_to_b.contains(&format!("/n/{}", o.number))).count();
    assert!(failed.len() <= open, "{} failed, {open} connections were open: {failed:?}", failed.len());
    assert!(unread <= open, "{failed:?}");
    assert!(failed.iter().all(|o| matches!(o.result, Ok(502 | 504))), "{failed:?}");
    // None had its effect twice.
    let mut targets = BTreeSet::new();
    for seen in a.seen().into_iter().chain(b.seen()) {
        assert!(targets.insert(seen.target().to_owned()), "{} was sent twice", seen.target());
    }
}

/// Sends a request on a kept connection that the upstream closes instead of answering; the response, and what the
/// upstream saw of it.
fn on_a_closing_connection(gateway: &Gateway, upstream: &Upstream, request: &Request) -> (Response, Vec<Seen>) {
    let mut warm = request.clone();
    "GET".clone_into(&mut warm.method);
    wait_for_some("a kept connection is used", || {
        assert_eq!(gateway.node.send(&warm).status, 200);
        let (connections, before) = (upstream.connections(), upstream.count());
        upstream.close_reused(1);
        let response = gateway.node.send(request);
        upstream.close_reused(0);
        let seen = upstream.seen().split_off(before);
        // The kept one may not have been back in time.
        seen.first().is_some_and(|first| first.connection <= connections).then_some((response, seen))
    })
}

#[test]
fn an_idempotent_request_is_sent_once_more_when_a_kept_connection_turns_out_closed() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::in_front_of(&upstream));
    let key = gateway.key_add("admin", "admin");
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"] {
        let (response, seen) = on_a_closing_connection(&gateway, &upstream, &request(method, "/x").bearer(&key));
        assert_eq!(response.status, 200, "{method}");
        let on: Vec<usize> = seen.iter().map(|s| s.connection).collect();
        assert!(on.len() == 2 && on[0] != on[1], "{method}: on connections {on:?}");
    }
}

#[test]
fn an_idempotent_request_is_not_sent_a_third_time() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::in_front_of(&upstream));
    let key = gateway.key_add("admin", "admin");
    let response = gateway.node.get("/abort-before-head", &key);
    assert_eq!(response.status, 502);
    assert!(upstream.seen_at("/abort-before-head").len() <= 2);
}

#[test]
fn a_post_is_never_sent_twice() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::in_front_of(&upstream));
    let key = gateway.key_add("admin", "admin");
    for method in ["POST", "PATCH", "PURGE"] {
        let (response, seen) = on_a_closing_connection(&gateway, &upstream, &request(method, "/x").bearer(&key));
        assert_eq!((response.status, seen.len()), (502, 1), "{method}");
    }
}

#[test]
fn a_request_with_a_body_that_is_sent_again_is_sent_whole() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::in_front_of(&upstream));
    let key = gateway.key_add("admin", "admin");
    let body = vec![b'b'; 20_000];
    let put = request("PUT", "/put").bearer(&key).body(&body);
    let (response, seen) = on_a_closing_connection(&gateway, &upstream, &put);
    // It may be given up, but never forwarded in part.
    assert!(matches!(response.status, 200 | 502), "{}", response.status);
    assert!(seen.iter().all(|s| !s.complete || s.body.kept == body));
    assert_eq!(response.status == 200, response.body == body);
}

#[test]
fn the_access_log_tells_why_an_answer_that_had_begun_was_broken_off() {
    let server = Scripted::new();
    let config = Config::default()
        .upstream_at("api", &[server.address().to_string()], "read_timeout = \"2s\"")
        .route("path = \"/\"\nupstream = \"api\"");
    let gateway = Gateway::start(&config);
    let key = gateway.key_add("reader", "readonly");
    let (length, chunks) = ("Content-Length: 10\r\n\r\n12345", "Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    let ends: fn(Scene) -> Option<Scene> = |scene| (drop(scene), None).1;
    let breaks: fn(Scene) -> Option<Scene> = |scene| (scene.breaks(), None).1;
    let errs: fn(Scene) -> Option<Scene> = |mut scene| (scene.says("x\r\n"), Some(scene)).1;
    for (path, begun, then, reason) in [
        ("/ends", length, ends, "upstream_failed"),
        ("/ends-in-chunks", chunks, ends, "upstream_failed"),
        ("/breaks", length, breaks, "upstream_failed"),
        ("/errs", chunks, errs, "upstream_malformed"),
        ("/is-silent", length, Some, "upstream_timeout"),
    ] {
        let mut client = gateway.node.connect();
        client.send(&get(path).bearer(&key).bytes());
        let mut scene = server.accept();
        scene.request();
        scene.says(format!("HTTP/1.1 200 OK\r\n{begun}"));
        assert!(client.read_some().starts_with(b"HTTP/1.1 200"), "{path}");
        let scene = then(scene);
        let line = wait_for_some(path, || gateway.node.access_log().into_iter().find(|line| line["path"] == path));
        assert_eq!(
            (&line["status"], &line["decision"], &line["reason"]),
            (&200.into(), &"admitted".into(), &reason.into())
        );
        drop(scene);
    }
    let refused = gateway.node.metric("keygate_refusals_total", &["upstream_"]);
    assert!(refused < 0.5, "nobody was refused: {refused}");
}
