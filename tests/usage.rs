//! Last login: written behind the requests' back, never lost but by kill -9, never in anybody's way.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::request::get;
use crate::support::{Config, Gateway, Site, Upstream, wait_for};

fn start(configure: impl Fn(Config) -> Config) -> (Upstream, Gateway) {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&configure(Config::in_front_of(&upstream)));
    (upstream, gateway)
}

#[test]
fn last_login_appears_after_the_first_admitted_request_and_never_goes_back() {
    let (_upstream, gateway) = start(|c| c);
    let key = gateway.key_add("app", "readonly");
    assert_eq!(gateway.last_login(&key.id), None);
    assert!(gateway.cli(&["key", "list"]).expect(0).stdout.contains("Never"));
    assert_eq!(gateway.node.get("/x", &key).status, 200);
    wait_for("the last login", || gateway.last_login(&key.id).is_some());
    let first = gateway.last_login(&key.id).expect("a time");
    let form = regex::Regex::new(r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$").expect("a regular expression");
    assert!(form.is_match(&first), "RFC 3339 in UTC: {first}");
    assert!(!gateway.cli(&["key", "list"]).expect(0).stdout.contains("Never"));
    wait_for("a later login", || {
        assert_eq!(gateway.node.get("/x", &key).status, 200);
        let now = gateway.last_login(&key.id).expect("a time");
        assert!(now >= first, "{now} is before {first}");
        now > first
    });
}

#[test]
fn only_admitted_requests_are_logins() {
    let (_upstream, gateway) = start(|c| c);
    let (key, other) = (gateway.key_add("app", "readonly"), gateway.key_add("other", "readonly"));
    assert_eq!(gateway.node.send(&crate::support::request::post("/x", b"").bearer(&key)).status, 403);
    let mut forged = key.encoded.clone();
    forged.pop();
    assert_eq!(gateway.node.get("/x", &forged).status, 401);
    assert_eq!(gateway.node.get("/x", &other).status, 200);
    wait_for("the other's login", || gateway.last_login(&other.id).is_some());
    assert_eq!(gateway.last_login(&key.id), None);
}

#[test]
fn last_login_survives_a_restart() {
    let (_upstream, mut gateway) = start(|c| c);
    let key = gateway.key_add("app", "readonly");
    assert_eq!(gateway.node.get("/x", &key).status, 200);
    wait_for("the last login", || gateway.last_login(&key.id).is_some());
    let before = gateway.last_login(&key.id);
    gateway.restart();
    assert_eq!(gateway.last_login(&key.id), before);
}

#[test]
fn sigterm_writes_what_was_not_yet_written() {
    let (_upstream, mut gateway) = start(|c| c.flush_interval("1h"));
    let key = gateway.key_add("app", "readonly");
    for _ in 0..3 {
        assert_eq!(gateway.node.get("/x", &key).status, 200);
    }
    assert_eq!(gateway.last_login(&key.id), None, "it is not time yet");
    gateway.node.stop();
    assert!(gateway.last_login(&key.id).is_some());
}

#[test]
fn kill_9_loses_at_most_what_was_not_yet_written() {
    let (_upstream, mut gateway) = start(|c| c);
    let key = gateway.key_add("app", "readonly");
    assert_eq!(gateway.node.get("/x", &key).status, 200);
    wait_for("the last login", || gateway.last_login(&key.id).is_some());
    let before = gateway.last_login(&key.id);
    gateway.node.kill();
    assert_eq!(gateway.last_login(&key.id), before);
}

/// Another program that holds the store's write lock.
struct Locker {
    child: Child,
}

impl Locker {
    fn hold(site: &Site) -> Self {
        let mut child = Command::new("sqlite3")
            .arg("-cmd")
            .arg(".timeout 20000")
            .arg(site.path("keygate.db"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sqlite3 runs");
        let stdin = child.stdin.as_mut().expect("a pipe");
        stdin.write_all(b"BEGIN EXCLUSIVE; SELECT 'locked';\n").expect("writes");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("reads");
        assert_eq!(line, "locked\n");
        Self { child }
    }

    fn release(mut self) {
        drop(self.child.stdin.take());
        self.child.wait().expect("sqlite3 ends");
    }
}

#[test]
fn while_the_store_is_locked_requests_go_on_and_usage_is_written_later() {
    let lease = Duration::from_secs(2);
    let (_upstream, gateway) = start(|c| c.lease("2s"));
    let keys: Vec<_> = (0..8).map(|n| gateway.key_add(&format!("k{n}"), "readonly")).collect();
    let locker = Locker::hold(&gateway);
    let mut client = gateway.node.connect();
    // Longer than a lease: it is renewed by reading.
    let begun = Instant::now();
    let mut slowest = Duration::ZERO;
    let failures = || gateway.node.metric("keygate_usage_flush_failures_total", &[]);
    while begun.elapsed() < 3 * lease || failures() < 0.5 {
        for key in &keys {
            let sent = Instant::now();
            assert_eq!(client.exchange(&get("/x").bearer(key)).status, 200);
            slowest = slowest.max(sent.elapsed());
        }
    }
    // Who waits for the store waits for its lock: five seconds.
    assert!(slowest < 2 * lease, "a request waited {slowest:?} for the store");
    assert!(keys.iter().all(|key| gateway.last_login(&key.id).is_none()));
    assert!(gateway.node.metric("keygate_usage_pending", &[]) > 0.0);
    locker.release();
    for key in &keys {
        wait_for("the last login", || gateway.last_login(&key.id).is_some());
    }
    wait_for("nothing is pending", || gateway.node.metric("keygate_usage_pending", &[]) < 0.5);
    assert!(gateway.node.metric("keygate_usage_dropped_total", &[]) < 0.5);
}

#[test]
fn a_key_that_still_sends_an_old_version_is_marked() {
    let (_upstream, gateway) = start(|c| c);
    let key = gateway.key_add("app", "readonly");
    gateway.json(&["secret", "regenerate", "--yes"]);
    assert_eq!(gateway.node.get("/x", &key).status, 401);
    wait_for("the mark", || gateway.json(&["key", "show", &key.id])["stale_version"] == 1);
    assert_eq!(gateway.last_login(&key.id), None, "a refusal is no login");
}

#[test]
fn a_flood_of_logins_is_coalesced() {
    let (_upstream, gateway) = start(|c| c.flush_interval("200ms"));
    let key = gateway.key_add("app", "readonly");
    let mut client = gateway.node.connect();
    for _ in 0..500 {
        assert_eq!(client.exchange(&get("/x").bearer(&key)).status, 200);
    }
    wait_for("all are counted", || gateway.json(&["key", "show", &key.id])["use_count"] == 500);
}
