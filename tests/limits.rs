//! Deadlines and limits of connections.

use crate::support::request::get;
use crate::support::{Client, Config, Gateway, Upstream, wait_for};

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
