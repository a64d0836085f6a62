//! What a key's own policy allows: when, from where, to which routes.

use crate::support::request::get;
use crate::support::{Config, Gateway, Request, Upstream, wait_for};

fn start(server: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::echo();
    let config = Config::in_front_of(&upstream).route("path = \"/reports\"\nupstream = \"api\"").server(server);
    let gateway = Gateway::start(&config);
    (upstream, gateway)
}

fn kind(gateway: &Gateway, request: &Request) -> (u16, String) {
    let response = gateway.node.send(request);
    let kind =
        if response.status == 200 { String::new() } else { response.json()["type"].as_str().unwrap().to_owned() };
    (response.status, kind.replace("urn:keygate:problem:", ""))
}

#[test]
fn a_key_is_refused_from_networks_that_it_does_not_name() {
    let (upstream, gateway) = start("");
    let here = gateway.key_add_with("here", "readonly", &["--network", "127.0.0.0/8", "--network", "10.0.0.0/8"]);
    let there = gateway.key_add_with("there", "readonly", &["--network", "192.0.2.0/24"]);
    assert_eq!(kind(&gateway, &get("/x").bearer(&here)).0, 200);
    assert_eq!(kind(&gateway, &get("/x").bearer(&there)), (403, "network-not-allowed".to_owned()));
    // Nobody asked about X-Forwarded-For.
    let claimed = get("/x").bearer(&there).field("X-Forwarded-For", "192.0.2.7");
    assert_eq!(kind(&gateway, &claimed).0, 403);
    assert_eq!(upstream.count(), 1);
}

#[test]
fn behind_a_trusted_proxy_the_rightmost_untrusted_hop_is_the_client() {
    let (_upstream, gateway) = start("trusted_proxies = [\"127.0.0.1/32\", \"10.0.0.0/8\"]");
    let key = gateway.key_add_with("there", "readonly", &["--network", "192.0.2.0/24"]);
    let from = |hops: &[&str]| {
        let request = hops.iter().fold(get("/x").bearer(&key), |r, hops| r.field("X-Forwarded-For", hops));
        kind(&gateway, &request).0
    };
    assert_eq!(from(&["192.0.2.7"]), 200);
    assert_eq!(from(&["192.0.2.7, 10.1.1.1"]), 200, "trusted hops are passed over");
    assert_eq!(from(&["198.51.100.1, 192.0.2.7,10.1.1.1"]), 200, "what is left of the client is its own claim");
    assert_eq!(from(&["198.51.100.1", "192.0.2.7"]), 200, "two fields are one list");
    assert_eq!(from(&["192.0.2.7, 198.51.100.1"]), 403);
    assert_eq!(from(&["192.0.2.7", "198.51.100.1"]), 403);
    assert_eq!(from(&["192.0.2.7, nonsense"]), 403, "what cannot be read is no reason to trust what is left of it");
    assert_eq!(from(&[]), 403);
    assert_eq!(from(&[""]), 403);
}

#[test]
fn a_key_is_refused_on_routes_that_it_does_not_name() {
    let (upstream, gateway) = start("");
    let key = gateway.key_add_with("reports", "readonly", &["--route", "/reports"]);
    assert_eq!(kind(&gateway, &get("/reports/1").bearer(&key)).0, 200);
    assert_eq!(kind(&gateway, &get("/other").bearer(&key)), (403, "route-not-allowed".to_owned()));
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_key_that_expires_is_told_so_from_then_on() {
    let (_upstream, gateway) = start("");
    let key = gateway.key_add_with("short", "readonly", &["--expires", "2s"]);
    let forever = gateway.key_add("long", "readonly");
    assert_eq!(kind(&gateway, &get("/x").bearer(&key)).0, 200);
    wait_for("the key expires", || kind(&gateway, &get("/x").bearer(&key)).0 != 200);
    let response = gateway.node.get("/x", &key);
    assert_eq!((response.status, response.json()["type"].as_str()), (401, Some("urn:keygate:problem:key-expired")));
    assert!(response.header("www-authenticate").unwrap_or_default().contains("error=\"invalid_token\""));
    assert_eq!(kind(&gateway, &get("/x").bearer(&forever)).0, 200);
}

#[test]
fn a_change_of_policy_is_in_force_when_the_command_returns() {
    let (_upstream, gateway) = start("");
    let key = gateway.key_add("app", "admin");
    assert_eq!(kind(&gateway, &get("/x").bearer(&key)).0, 200);
    gateway.json(&["key", "update", &key.id, "--network", "192.0.2.0/24"]);
    assert_eq!(kind(&gateway, &get("/x").bearer(&key)).0, 403);
}
