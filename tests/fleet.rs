//! Several processes on one store: two gateways and the command line.

use std::process::Command;

use crate::support::request::get;
use crate::support::site::encode_with_openssl;
use crate::support::{Client, Config, Key, Node, Site, Upstream, wait_for};

struct Fleet {
    // Before the site, so that they end first.
    a: Node,
    b: Node,
    site: Site,
    upstream: Upstream,
    key: Key,
}

fn start(lease: &str) -> Fleet {
    let upstream = Upstream::echo();
    let config = Config::in_front_of(&upstream).lease(lease);
    let site = Site::new(&config);
    let (a, b) = (site.serve(), site.serve_another(&config));
    let key = site.key_add("app", "admin");
    Fleet { a, b, site, upstream, key }
}

fn texts(value: &serde_json::Value) -> Vec<String> {
    value.as_array().expect("a list").iter().map(|v| v.as_str().expect("text").to_owned()).collect()
}

/// Node ids end with the process id.
fn names(ids: &[String], node: &Node) -> bool {
    ids.iter().any(|id| id.ends_with(&format!(":{}", node.pid())))
}

/// A process that is stopped within a write transaction holds SQLite's lock, and nobody can change anything: then no
/// change is acknowledged either, and there is nothing to promise. Here it is stopped at another moment.
pub fn pause_outside_of_transactions(node: &Node, site: &Site) {
    wait_for("it stands still outside of a transaction", || {
        node.pause();
        let mut sqlite = Command::new("sqlite3");
        let free =
            sqlite.arg(site.path("keygate.db")).arg("BEGIN IMMEDIATE; ROLLBACK;").output().expect("sqlite3 runs");
        if !free.status.success() {
            node.resume();
        }
        free.status.success()
    });
}

#[test]
fn both_gateways_admit_the_same_keys() {
    let f = start("30s");
    for node in [&f.a, &f.b] {
        assert_eq!(node.get("/x", &f.key).status, 200);
    }
    let late = f.site.key_add("late", "readonly");
    for node in [&f.a, &f.b] {
        assert_eq!(node.get("/x", &late).status, 200, "in force when the command returned");
    }
}

#[test]
fn both_gateways_confirm_a_regenerate_by_their_ids_and_admit_nothing_old() {
    let f = start("30s");
    let answer = f.site.json(&["secret", "regenerate", "--yes"]);
    for node in [&f.a, &f.b] {
        assert_eq!(node.get("/x", &f.key).status, 401);
    }
    let confirmed = texts(&answer["confirmed"]);
    assert_eq!((confirmed.len(), answer["promise_held"].as_bool()), (2, Some(true)), "{answer}");
    assert!(names(&confirmed, &f.a) && names(&confirmed, &f.b), "{answer}");
    assert!(answer["took_ms"].as_u64().expect("a time") < 10_000, "confirmed, not waited out: {answer}");
    let encoded = encode_with_openssl(&f.key.app_key, &f.site.shared_secret());
    for node in [&f.a, &f.b] {
        assert_eq!(node.get("/x", &encoded).status, 200);
    }
}

#[test]
fn the_nodes_are_listed_while_they_live() {
    let mut f = start("30s");
    let alive = |site: &Site| {
        let nodes = site.json(&["nodes"])["nodes"].as_array().expect("nodes").clone();
        let alive = nodes.iter().filter(|n| n["gone"] == false);
        alive.map(|n| n["id"].as_str().expect("an id").to_owned()).collect::<Vec<_>>()
    };
    let ids = alive(&f.site);
    assert!(ids.len() == 2 && names(&ids, &f.a) && names(&ids, &f.b), "{ids:?}");
    f.b.stop();
    let ids = alive(&f.site);
    assert!(ids.len() == 1 && names(&ids, &f.a), "{ids:?}");
}

#[test]
fn a_killed_gateway_is_known_to_be_gone_at_once() {
    let mut f = start("30s");
    f.b.kill();
    let answer = f.site.json(&["key", "disable", &f.key.id, "--yes"]);
    assert_eq!(f.a.get("/x", &f.key).status, 401);
    assert_eq!(answer["promise_held"], true, "{answer}");
    assert!(names(&texts(&answer["confirmed"]), &f.a), "{answer}");
    assert!(names(&texts(&answer["fenced"]), &f.b), "{answer}");
    assert!(answer["took_ms"].as_u64().expect("a time") < 15_000, "its lock tells, not its lease: {answer}");
}

#[test]
fn a_gateway_that_is_stopped_beyond_its_lease_admits_nothing_of_what_waited_in_its_socket() {
    let f = start("1s");
    // Connections from before, some with the key's fingerprint warm, and connections from after.
    let mut clients: Vec<Client> = (0..8).map(|_| f.a.connect()).collect();
    for client in clients.iter_mut().take(4) {
        assert_eq!(client.exchange(&get("/before").bearer(&f.key)).status, 200);
    }
    pause_outside_of_transactions(&f.a, &f.site);
    clients.extend((0..4).map(|_| f.a.connect()));
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(&get(&format!("/waited/{n}")).bearer(&f.key).bytes());
        // And a second one behind it.
        client.send(&get(&format!("/waited/{n}/too")).bearer(&f.key).bytes());
    }
    let answer = f.site.json(&["secret", "regenerate", "--yes"]);
    let told = &answer;
    assert_eq!(told["promise_held"], true, "{told}");
    assert!(names(&texts(&told["fenced"]), &f.a) && names(&texts(&told["confirmed"]), &f.b), "{told}");
    assert!(told["took_ms"].as_u64().expect("a time") >= 1_000, "its lease had to end: {told}");
    assert_eq!(f.b.get("/x", &f.key).status, 401);

    f.a.resume();
    for client in &mut clients {
        for _ in 0..2 {
            // No answer at all is no admission either.
            if let Ok(response) = client.try_read("GET") {
                assert!(matches!(response.status, 401 | 503), "{}", response.status);
                assert!(response.status == 401 || response.header("retry-after").is_some());
            }
        }
    }
    let waited = f.upstream.seen().iter().filter(|s| s.target().starts_with("/waited/")).count();
    assert_eq!(waited, 0, "none reached the upstream");

    // It joins anew and admits what is right now.
    let encoded = encode_with_openssl(&f.key.app_key, &f.site.shared_secret());
    wait_for("it admits again", || f.a.get("/x", &encoded).status == 200);
    assert_eq!(f.a.get("/x", &f.key).status, 401);
    let answer = f.site.json(&["key", "disable", &f.key.id, "--yes"]);
    assert_eq!(texts(&answer["confirmed"]).len(), 2, "{answer}");
}

#[test]
fn a_gateway_whose_lease_is_over_answers_503_with_retry_after_and_never_401() {
    let f = start("1s");
    let other = f.site.key_add("other", "readonly");
    let mut clients: Vec<Client> = (0..8).map(|_| f.a.connect()).collect();
    pause_outside_of_transactions(&f.a, &f.site);
    for client in &mut clients {
        client.send(&get("/waited").bearer(&f.key).bytes());
    }
    // Returns when the lease of the first is surely over. The requests' own key is as good as before.
    f.site.json(&["key", "disable", &other.id, "--yes"]);
    f.a.resume();
    for client in &mut clients {
        let response = client.read("GET");
        assert!(matches!(response.status, 200 | 503), "{}", response.status);
        assert_eq!(response.status == 503, response.header("retry-after").is_some());
    }
    wait_for("it admits again", || f.a.get("/x", &f.key).status == 200);
}

#[test]
fn a_gateway_that_is_stopped_shorter_than_its_lease_goes_on_without_a_refusal() {
    let f = start("30s");
    let mut client = f.a.connect();
    assert_eq!(client.exchange(&get("/x").bearer(&f.key)).status, 200);
    f.a.pause();
    client.send(&get("/paused").bearer(&f.key).bytes());
    f.a.resume();
    assert_eq!(client.read("GET").status, 200);
}

#[test]
fn a_request_that_waits_for_its_upstream_while_the_key_dies_was_admitted_before() {
    let f = start("30s");
    let mut client = f.a.connect();
    client.send(&get("/wait").bearer(&f.key).bytes());
    wait_for("it is at the upstream", || f.upstream.seen_at("/wait").len() == 1);
    let answer = f.site.json(&["key", "disable", &f.key.id, "--yes"]);
    assert_eq!(answer["promise_held"], true, "waiting for it would be no promise");
    f.upstream.open_gate();
    // It may be answered, or cut; the next one is refused.
    drop(client.try_read("GET"));
    assert_eq!(f.a.get("/x", &f.key).status, 401);
}

#[test]
fn usage_from_both_gateways_is_added_up() {
    let f = start("30s");
    for _ in 0..7 {
        assert_eq!(f.a.get("/x", &f.key).status, 200);
        assert_eq!(f.b.get("/x", &f.key).status, 200);
    }
    wait_for("all are counted", || f.site.json(&["key", "show", &f.key.id])["use_count"] == 14);
}
