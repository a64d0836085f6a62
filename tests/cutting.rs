//! What goes on when its authority is taken away ends within two seconds, whatever it waits for, at both ends; what goes
//! on under another authority is not touched.

use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::fleet::pause_outside_of_transactions;
use crate::support::exchange::Desk;
use crate::support::held::{At, Doorstep, Held, LockedStore};
use crate::support::site::encode_with_openssl;
use crate::support::{Config, Gateway, Key, count, wait_for};

/// No deadline but the cut ends anything within these.
const PATIENT: &str = "body_stall = \"1h\"\nwrite_stall = \"1h\"\nidle_timeout = \"1h\"\nmax_body = \"1PiB\"";
const PATIENT_UPSTREAM: &str = "read_timeout = \"1h\"\nwrite_timeout = \"1h\"";

/// When all that is cut now is closed: within two seconds, as is promised. In the short form, on a machine that is busy with
/// other tests, what is not cut would never be closed.
fn promised() -> Instant {
    Instant::now() + count(Duration::from_secs(15), Duration::from_secs(2))
}

struct Fixture {
    gateway: Gateway,
    door: Doorstep,
    key: Key,
}

impl Fixture {
    fn start(limits: &str, lease: &str) -> Self {
        let door = Doorstep::new();
        let config = Config::default()
            .upstream_at("api", &[door.address().to_string()], PATIENT_UPSTREAM)
            .route("path = \"/\"\nupstream = \"api\"")
            .route("path = \"/public\"\nupstream = \"api\"\naccess = \"public\"")
            .limits(PATIENT)
            .limits(limits)
            .lease(lease);
        let gateway = Gateway::start(&config);
        let key = gateway.key_add("app", "admin");
        Self { gateway, door, key }
    }

    fn all(&self, key: Option<&Key>) -> Vec<Held> {
        self.door.hold_all(&self.gateway.node, key)
    }

    /// The same key, encoded with the shared secret of now.
    fn anew(&self) -> Key {
        let encoded = encode_with_openssl(&self.key.app_key, &self.gateway.shared_secret());
        self.gateway.secrets.learn(&encoded);
        Key { encoded, ..self.key.clone() }
    }

    /// Every one of these is closed within the promised time from now. Whose client was told nothing yet is told `problem`.
    #[track_caller]
    fn assert_cut(&self, exchanges: Vec<Held>, reason: &str, status: u16, problem: &str) {
        let cuts = exchanges.len();
        let deadline = promised();
        for held in exchanges {
            let at = held.at;
            let came = String::from_utf8_lossy(&held.assert_closed(deadline)).into_owned();
            let is_told = came.starts_with(&format!("HTTP/1.1 {status} ")) && came.contains(problem);
            // Who is cut while the server takes nothing is told it where that is possible.
            let is_silent = at == At::BlockedUpload && came.is_empty();
            assert_eq!(at.is_before_answer(), is_told || is_silent, "{at:?}: {came}");
            assert!(at.is_before_answer() || !came.contains("urn:keygate"), "{at:?}: {came}");
        }
        self.assert_counted(reason, cuts);
    }

    fn assert_counted(&self, reason: &str, cuts: usize) {
        let node = &self.gateway.node;
        let counted = || node.metric("keygate_cuts_total", &[&format!("reason=\"{reason}\"")]);
        wait_for("each is counted", || counted().round().to_string() == cuts.to_string());
        // Also of an answer that had begun, the log tells why it ended.
        let is_one = |line: &&serde_json::Value| {
            (line["path"] == "/held" || line["path"] == "/public") && line["reason"].is_string()
        };
        wait_for("each is logged with its reason", || node.access_log().iter().filter(is_one).count() >= cuts);
    }

    /// Cuts all of the key's, and nobody else's.
    #[track_caller]
    fn check(&self, revoke: &[&str], status: u16, problem: &str) {
        let other = self.gateway.key_add("other", "admin");
        let exchanges = self.all(Some(&self.key));
        let mut others = self.all(Some(&other));
        others.extend(self.all(None));
        self.gateway.json(revoke);
        self.assert_cut(exchanges, "key", status, problem);
        others.iter_mut().for_each(Held::assert_goes_on);
    }
}

#[test]
fn a_disabled_key() {
    let f = Fixture::start("", "5s");
    f.check(&["key", "disable", &f.key.id, "--yes"], 401, "key-disabled");
}

#[test]
fn a_deleted_key() {
    let f = Fixture::start("", "5s");
    f.check(&["key", "delete", &f.key.id, "--yes"], 401, "invalid-credential");
}

#[test]
fn a_rolled_key() {
    let f = Fixture::start("", "5s");
    f.check(&["key", "roll", &f.key.id, "--yes"], 401, "invalid-credential");
}

#[test]
fn a_demoted_key() {
    let f = Fixture::start("", "5s");
    f.check(&["key", "update", &f.key.id, "--role", "readonly"], 403, "insufficient-role");
}

#[test]
fn a_key_that_was_disabled_and_enabled_again_at_once() {
    let f = Fixture::start("", "5s");
    let exchanges = f.all(Some(&f.key));
    f.gateway.json(&["key", "disable", &f.key.id, "--yes"]);
    f.gateway.json(&["key", "enable", &f.key.id]);
    let deadline = promised();
    for held in exchanges {
        held.assert_closed(deadline);
    }
}

#[test]
fn keys_of_an_old_shared_secret() {
    let f = Fixture::start("", "5s");
    let exchanges = f.all(Some(&f.key));
    let mut others = f.all(None);
    f.gateway.json(&["secret", "regenerate", "--yes"]);
    f.assert_cut(exchanges, "secret", 401, "stale-shared-secret");
    others.iter_mut().for_each(Held::assert_goes_on);
}

#[test]
fn keys_of_a_shared_secret_whose_grace_is_ended() {
    let f = Fixture::start("", "5s");
    f.gateway.json(&["secret", "regenerate", "--grace", "1h", "--yes"]);
    let exchanges = f.all(Some(&f.key));
    let mut others = f.all(Some(&f.anew()));
    f.gateway.json(&["secret", "end-grace", "--yes"]);
    f.assert_cut(exchanges, "secret", 401, "stale-shared-secret");
    others.iter_mut().for_each(Held::assert_goes_on);
}

#[test]
fn keys_of_a_shared_secret_whose_grace_ends_by_itself() {
    let f = Fixture::start("", "5s");
    f.gateway.json(&["secret", "regenerate", "--grace", "4s", "--yes"]);
    let exchanges = f.all(Some(&f.key));
    let mut others = f.all(Some(&f.anew()));
    wait_for("grace ends", || f.gateway.json(&["secret", "show"])["previous"].is_null());
    f.assert_cut(exchanges, "secret", 401, "stale-shared-secret");
    others.iter_mut().for_each(Held::assert_goes_on);
}

#[test]
fn everything_but_what_is_public_when_the_lease_is_lost() {
    let f = Fixture::start("", "1s");
    let exchanges = f.all(Some(&f.key));
    let mut others = f.all(None);
    // Its row is gone, and it cannot write another.
    let lock = LockedStore::after(&f.gateway, "DELETE FROM nodes");
    wait_for("the lease is over", || f.gateway.node.metrics_page("/readyz").status == 503);
    f.assert_cut(exchanges, "lease", 503, "no-lease");
    others.iter_mut().for_each(Held::assert_goes_on);
    drop(lock);
    wait_for("it admits again", || f.gateway.node.metrics_page("/readyz").status == 200);
}

#[test]
fn what_a_gateway_that_was_stopped_beyond_its_lease_still_holds() {
    let f = Fixture::start("", "1s");
    let mut exchanges = f.all(Some(&f.key));
    let mut others = f.all(None);
    pause_outside_of_transactions(&f.gateway.node, &f.gateway);
    f.gateway.json(&["key", "disable", &f.key.id, "--yes"]);
    // What comes in the meantime waits in its sockets.
    for held in exchanges.iter_mut().filter(|held| held.at == At::Download) {
        held.server().write_all(b"meanwhile").expect("there is room");
    }
    f.gateway.node.resume();
    let deadline = promised();
    for held in exchanges {
        held.assert_closed(deadline);
    }
    others.iter_mut().for_each(Held::assert_goes_on);
}

#[test]
fn nobody_when_keys_are_made_renamed_described_or_given_more() {
    let f = Fixture::start("", "5s");
    let reader = f.gateway.key_add("reader", "readonly");
    let doomed = f.gateway.key_add("doomed", "admin");
    let mut exchanges = f.all(Some(&f.key));
    exchanges.push(f.door.hold(&f.gateway.node, Some(&reader), At::Download));
    f.gateway.key_add("another", "admin");
    f.gateway.json(&["key", "update", &f.key.id, "--name", "renamed", "--description", "and described"]);
    f.gateway.json(&["key", "update", &reader.id, "--role", "admin"]);
    f.gateway.json(&["secret", "regenerate", "--grace", "1h", "--yes"]);
    // When this one is cut, the others would have been.
    let last = f.door.hold(&f.gateway.node, Some(&doomed), At::Download);
    f.gateway.json(&["key", "disable", &doomed.id, "--yes"]);
    f.assert_cut(vec![last], "key", 401, "key-disabled");
    exchanges.iter_mut().for_each(Held::assert_goes_on);
}

#[test]
fn what_is_older_than_may_be_public_or_not() {
    let f = Fixture::start("max_stream_age = \"1s\"", "5s");
    let began = Instant::now();
    let mut exchanges = vec![f.door.hold(&f.gateway.node, None, At::Download)];
    for at in [At::Head, At::Upload, At::Tunnel, At::Download, At::BlockedDownload] {
        exchanges.push(f.door.hold(&f.gateway.node, Some(&f.key), at));
    }
    let cuts = exchanges.len();
    // It may be busy for all of its life.
    let (last, is_busy) = (exchanges.pop(), exchanges.remove(0));
    let mut busy = is_busy;
    wait_for("an answer that goes on and on ends", || busy.server().write_all(b"more").is_err());
    assert!(began.elapsed() >= Duration::from_secs(1), "not before its time");
    let deadline = promised();
    for held in exchanges.into_iter().chain(last) {
        let at = held.at;
        let came = String::from_utf8_lossy(&held.assert_closed(deadline)).into_owned();
        assert_eq!(came.starts_with("HTTP/1.1 504 "), matches!(at, At::Head | At::Upload), "{at:?}: {came}");
    }
    f.assert_counted("age", cuts);
}

#[test]
fn what_an_access_token_began_when_its_key_is_rolled() {
    let door = Doorstep::new();
    let upstream = door.address().to_string();
    let desk = Desk::with("", |_| {
        Config::default()
            .upstream_at("api", &[upstream], PATIENT_UPSTREAM)
            .route("path = \"/\"\nupstream = \"api\"")
            .limits(PATIENT)
            .token_exchange("")
    });
    let key = desk.gateway.key_add("tokens", "admin");
    let token = desk.token(&key);
    let key = Key { encoded: token.access, ..key };
    let exchanges = [At::Head, At::Download, At::Tunnel].map(|at| door.hold(&desk.gateway.node, Some(&key), at));
    desk.gateway.json(&["key", "roll", &key.id, "--yes"]);
    let deadline = promised();
    for held in exchanges {
        let at = held.at;
        let came = String::from_utf8_lossy(&held.assert_closed(deadline)).into_owned();
        assert_eq!(came.contains("token-revoked"), at == At::Head, "{at:?}: {came}");
    }
}
