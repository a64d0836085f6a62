//! How many connections one address may have.

use crate::support::request::get;
use crate::support::{Client, Config, Gateway, Key, Upstream, wait_for};

fn start(server: &str, limits: &str) -> (Upstream, Gateway, Key) {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::in_front_of(&upstream).server(server).limits(limits));
    let key = gateway.key_add("app", "readonly");
    (upstream, gateway, key)
}

fn from(gateway: &Gateway, address: &str) -> Client {
    Client::connect_from(gateway.node.address(), address.parse().expect("an address"))
}

#[track_caller]
fn is_served(client: &mut Client, key: &Key) {
    assert_eq!(client.exchange(&get("/x").bearer(key)).status, 200);
}

#[track_caller]
fn is_refused(mut client: Client) {
    let response = client.read("GET");
    assert_eq!((response.status, response.header("retry-after").is_some()), (503, true));
    assert_eq!(response.json()["type"], "urn:keygate:problem:overloaded");
    assert!(client.is_closed_by_peer());
}

#[test]
fn one_address_cannot_take_the_place_of_the_others() {
    let (_upstream, gateway, key) = start("", "max_connections_per_address = 3");
    let mut inside: Vec<Client> = (0..3).map(|_| from(&gateway, "127.0.0.2")).collect();
    for client in &mut inside {
        is_served(client, &key);
    }
    is_refused(from(&gateway, "127.0.0.2"));
    is_served(&mut from(&gateway, "127.0.0.3"), &key);
    // What is open goes on, and what is closed makes room.
    for client in &mut inside {
        is_served(client, &key);
    }
    drop(inside.pop());
    wait_for("there is room again", || {
        from(&gateway, "127.0.0.2").try_exchange(&get("/x").bearer(&key)).is_ok_and(|response| response.status == 200)
    });
    assert!(gateway.node.metric("keygate_refusals_total", &["reason=\"overloaded\""]) > 0.5);
}

#[test]
fn a_trusted_proxy_may_have_as_many_as_there_are() {
    let (_upstream, gateway, key) =
        start("trusted_proxies = [\"127.0.0.2\"]", "max_connections_per_address = 2\nmax_connections = 6");
    let mut trusted: Vec<Client> = (0..4).map(|_| from(&gateway, "127.0.0.2")).collect();
    for client in &mut trusted {
        is_served(client, &key);
    }
    let mut stranger: Vec<Client> = (0..2).map(|_| from(&gateway, "127.0.0.3")).collect();
    for client in &mut stranger {
        is_served(client, &key);
    }
    // In all, they are too many.
    is_refused(from(&gateway, "127.0.0.2"));
}

#[test]
fn a_reload_changes_how_many() {
    let upstream = Upstream::echo();
    let config = Config::in_front_of(&upstream).limits("max_connections_per_address = 1");
    let gateway = Gateway::start(&config);
    let key = gateway.key_add("app", "readonly");
    let mut first = from(&gateway, "127.0.0.2");
    is_served(&mut first, &key);
    is_refused(from(&gateway, "127.0.0.2"));
    gateway.write_config(&Config::in_front_of(&upstream).limits("max_connections_per_address = 2"));
    gateway.cli(&["reload"]).expect(0);
    is_served(&mut from(&gateway, "127.0.0.2"), &key);
    is_served(&mut first, &key);
}
