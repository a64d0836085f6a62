//! Times: the ends of tokens, and how far a client's clock may be off. The gateway runs on a wall clock that the test
//! sets (libfaketime; its boot clock goes on as it does), so nothing is waited for.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::exchange::{self, Issued, Jwt, NOT_VALID, exchange, fresh_address, jwt, message, now, refresh};
use crate::support::request::get;
use crate::support::{Client, Config, Key, Node, Request, Response, Site, Upstream, wait_for};

/// A gateway whose wall clock is `offset` seconds ahead of the world's.
struct Elsewhen {
    // First, so that it ends first.
    node: Node,
    site: Site,
    _upstream: Upstream,
    key: Key,
    secret: String,
    offset: i64,
}

/// Where Debian has it.
fn library() -> PathBuf {
    let output = Command::new("dpkg").args(["-L", "libfaketime"]).output().expect("dpkg runs");
    let files = String::from_utf8(output.stdout).expect("text");
    let found = files.lines().find(|line| line.ends_with("/libfaketimeMT.so.1"));
    PathBuf::from(found.expect("libfaketime is not installed: run .ci/install.sh test"))
}

impl Elsewhen {
    fn start(lines: &str) -> Self {
        let upstream = Upstream::echo();
        let config = Config::in_front_of(&upstream).token_exchange(lines);
        let site = Site::new(&config);
        let key = site.key_add("app", "readonly");
        let secret = site.shared_secret();
        let clock = site.path("clock");
        std::fs::write(&clock, "+0").expect("writes the clock");
        let mut command = site.command(&["serve"]);
        command.env("LD_PRELOAD", library()).env("FAKETIME_TIMESTAMP_FILE", &clock);
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        let node = site.serve_by(&mut command);
        Self { node, site, _upstream: upstream, key, secret, offset: 0 }
    }

    /// Sets the gateway's wall clock; in force when it returns.
    fn set(&mut self, offset: i64) {
        let write = |path: &Path, text: &str| std::fs::write(path, text).expect("writes the clock");
        let (clock, new) = (self.site.path("clock"), self.site.path("clock.new"));
        write(&new, &format!("{offset:+}"));
        std::fs::rename(new, clock).expect("puts it in place");
        self.offset = offset;
        let expected = i64::try_from(now()).expect("a time") + offset;
        wait_for("the gateway is at that time", || {
            assert_eq!(self.node.get(&format!("/at/{offset}"), &self.key).status, 200);
            let log = self.node.access_log();
            let line = log.iter().rev().find(|line| line["path"] == format!("/at/{offset}"));
            let time = line.and_then(|line| humantime::parse_rfc3339(line["time"].as_str()?).ok());
            let since = time.and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
            since.is_some_and(|s| i64::try_from(s.as_secs()).expect("a time").abs_diff(expected) < 60)
        });
    }

    /// What time it is there.
    fn now(&self) -> u64 {
        now().checked_add_signed(self.offset).expect("after 1970")
    }

    fn send(&self, request: &Request) -> Response {
        let response = Client::connect_from(self.node.address(), fresh_address()).exchange(request);
        self.site.secrets.learn(&response.text());
        response
    }

    /// A JWT of a client whose clock is that of the gateway.
    fn jwt(&self) -> Jwt {
        jwt(&self.key, &self.secret).with("iat", self.now())
    }

    #[track_caller]
    fn token(&self) -> Issued {
        let response = self.send(&exchange(&self.jwt().text()));
        assert_eq!(response.status, 200, "{}", response.text());
        exchange::issued(&self.site.secrets, &response)
    }

    #[track_caller]
    fn refresh(&self, token: &str) -> Issued {
        let response = self.send(&refresh(token));
        assert_eq!(response.status, 200, "{}", response.text());
        exchange::issued(&self.site.secrets, &response)
    }
}

#[test]
fn an_access_token_ends_when_it_says_and_its_holder_is_told() {
    let mut there = Elsewhen::start("access_lifetime = \"5m\"\nrefresh_lifetime = \"1h\"");
    let token = there.token();
    assert_eq!(there.node.get("/x", &token).status, 200);
    there.set(290);
    assert_eq!(there.node.get("/x", &token).status, 200, "ten seconds are left");
    there.set(310);
    let response = there.node.get("/x", &token);
    assert_eq!((response.status, response.json()["type"].as_str()), (401, Some("urn:keygate:problem:token-expired")));
    assert!(response.text().contains("The access token has expired"), "{}", response.text());
    let challenge = response.header("www-authenticate").unwrap_or_default();
    assert!(challenge.starts_with("Bearer") && challenge.contains("invalid_token"), "{challenge}");
    // Who has not proven to hold it is not told.
    let mut changed = token.access.clone();
    let last = changed.pop();
    changed.push(if last == Some('0') { '1' } else { '0' });
    assert_eq!(there.node.get("/x", &changed).json()["type"], "urn:keygate:problem:invalid-credential");
    // The way on.
    let next = there.refresh(&token.refresh);
    assert_eq!(there.node.get("/x", &next).status, 200);
    assert_eq!(next.answer["expires_in"], 300);
    let left = next.answer["refresh_expires_in"].as_u64().expect("seconds");
    assert!((3200..=3291).contains(&left), "{left}");
}

#[test]
fn a_session_ends_when_it_was_to_end_however_often_it_is_refreshed() {
    let mut there = Elsewhen::start("access_lifetime = \"30m\"\nrefresh_lifetime = \"1h\"");
    let first = there.token();
    let mut last = first.clone();
    for minute in [20, 40, 59] {
        there.set(minute * 60);
        last = there.refresh(&last.refresh);
        assert_eq!(there.node.get("/x", &last).status, 200);
        assert_eq!(last.session, first.session);
    }
    let left = last.answer["expires_in"].as_u64().expect("seconds");
    assert!(left <= 60, "no token outlives its session: {left}");
    there.set(3610);
    assert_eq!(there.node.get("/x", &last).json()["type"], "urn:keygate:problem:token-expired");
    for token in [&first, &last] {
        let response = there.send(&refresh(&token.refresh));
        assert_eq!(response.status, 401);
        message(&response);
    }
    assert_eq!(there.node.get("/x", there.token()).status, 200, "a new exchange begins a new session");
}

#[test]
fn a_clock_may_be_off_by_five_minutes_in_both_directions() {
    let mut there = Elsewhen::start("");
    let response = |there: &Elsewhen, iat: u64| there.send(&exchange(&there.jwt().with("iat", iat).text()));
    // The client's clock is right here, and the gateway's is off.
    for (offset, fine) in [(295, true), (-295, true), (305, false), (-305, false), (86_400, false), (-86_400, false)] {
        there.set(offset);
        let answer = response(&there, now());
        assert_eq!(answer.status, if fine { 200 } else { 401 }, "{offset}: {}", answer.text());
        if !fine {
            let seconds = offset.unsigned_abs();
            let near = |text: &str| text.parse::<u64>().is_ok_and(|n| n.abs_diff(seconds) <= 3);
            let told = message(&answer);
            assert!(told.split(|c: char| !c.is_ascii_digit()).any(near), "{seconds} s are not in {told:?}");
        }
    }
    there.set(0);
    assert_eq!(response(&there, there.now()).status, 200);
}

#[test]
fn a_jwt_is_remembered_as_long_as_it_could_be_used_again() {
    let mut there = Elsewhen::start("");
    // The latest that is accepted lives twice as long.
    let late = there.jwt().with("iat", there.now() + 290).text();
    assert_eq!(there.send(&exchange(&late)).status, 200);
    for offset in [0, 200, 400, 580] {
        there.set(offset);
        let response = there.send(&exchange(&late));
        assert_eq!(response.status, 401, "{offset}");
        assert!(message(&response).contains("used before"), "{offset}: {}", response.text());
    }
    there.set(600);
    let response = there.send(&exchange(&late));
    assert_eq!(response.status, 401, "by then it is too old");
    assert!(!message(&response).contains("used before"), "{}", response.text());
}

#[test]
fn what_is_remembered_of_a_key_makes_room_again() {
    let mut there = Elsewhen::start("");
    let mut client = Client::connect_from(there.node.address(), fresh_address());
    for _ in 0..1024 {
        assert_eq!(client.exchange(&exchange(&there.jwt().text())).status, 200);
    }
    let full = client.exchange(&exchange(&there.jwt().text()));
    assert_eq!(full.status, 429);
    let wait = exchange::retry_after(&full);
    assert!((1..=601).contains(&wait), "{wait}");
    there.set(i64::try_from(wait).expect("seconds") + 30);
    assert_eq!(there.send(&exchange(&there.jwt().text())).status, 200, "after the time that it was told");
    let mut client = Client::connect_from(there.node.address(), fresh_address());
    for _ in 0..100 {
        assert_eq!(client.exchange(&exchange(&there.jwt().text())).status, 200);
    }
}

#[test]
fn the_times_that_a_jwt_names_itself_are_kept() {
    let mut there = Elsewhen::start("");
    let with = |there: &Elsewhen, claim: &str, time: u64| {
        let response = there.send(&exchange(&there.jwt().with(claim, time).text()));
        (response.status, response)
    };
    for offset in [0, 100_000] {
        there.set(offset);
        assert_eq!(with(&there, "exp", there.now() - 290).0, 200);
        assert_eq!(with(&there, "nbf", there.now() + 290).0, 200);
        let (status, response) = with(&there, "exp", there.now() - 310);
        assert!(status == 401 && message(&response).contains("exp"), "{}", response.text());
        let (status, response) = with(&there, "nbf", there.now() + 310);
        assert!(status == 401 && message(&response).contains("nbf"), "{}", response.text());
    }
    let (status, response) = with(&there, "exp", 0);
    assert_eq!(status, 401);
    assert_ne!(message(&response), NOT_VALID);
    assert_eq!(there.send(&get("/x").bearer(&there.key)).status, 200);
}
