//! The token exchange as an operator meets it: what is counted and logged, stores of before, and the master key.

use std::process::Command;

use serde_json::json;

use crate::support::exchange::{self, Desk, EXCHANGE, Issued, REFRESH, exchange, message, now, refresh};
use crate::support::request::{get, post};
use crate::support::{Config, Gateway, Key, Site, Upstream, wait_for, wait_for_some};

#[test]
fn every_exchange_is_counted_by_what_came_of_it_and_logged_with_its_key() {
    let desk = Desk::start();
    let right = || desk.jwt(&desk.reader);
    let issued = desk.token(&desk.reader);
    desk.refresh(&issued.refresh);
    let twice = right().text();
    desk.present(&twice);
    let elsewhere = desk.key_add_with("elsewhere", "readonly", &["--network", "192.0.2.0/24"]);
    let refused = [
        ("replayed", desk.present(&twice)),
        ("not_proven", desk.present("nonsense")),
        ("clock_skew", desk.present(&right().with("iat", now() - 1000).text())),
        ("claims", desk.present(&right().with("shortname", "other").text())),
        ("claims", desk.present(&right().with("appname", "other").text())),
        ("network_not_allowed", desk.present(&desk.jwt(&elsewhere).text())),
        ("outdated_secret", desk.present(&exchange::jwt(&desk.reader, "kgs_1_other").text())),
        ("malformed", desk.send(&post(EXCHANGE, b"{}"))),
        ("method", desk.send(&get(EXCHANGE))),
        ("not_here", desk.send(&get(&format!("{REFRESH}/")))),
        ("too_large", desk.send(&post(EXCHANGE, &[b' '; 9000]))),
    ];
    let is = |count: f64, expected: usize| (count - f64::from(u8::try_from(expected).expect("a few"))).abs() < 0.1;
    let counted = |outcome: &str, expected: usize| {
        is(desk.node.metric("keygate_token_exchanges_total", &[&format!("outcome=\"{outcome}\"")]), expected)
    };
    for (outcome, _) in &refused {
        assert!(counted(outcome, refused.iter().filter(|(other, _)| other == outcome).count()), "{outcome}");
    }
    assert!(counted("granted", 3));
    let all = 3 + refused.len();
    wait_for("all are counted as requests", || {
        is(desk.node.metric("keygate_requests_total", &["route=\"token_exchange\""]), all)
    });
    let log = || desk.node.access_log();
    wait_for("all are logged", || log().iter().filter(|line| line["route"] == "token_exchange").count() == all);
    for (outcome, response) in &refused {
        let id = response.header("x-request-id").expect("an id");
        let line = log().into_iter().find(|line| line["request_id"] == id).unwrap_or_default();
        assert_eq!((&line["status"], &line["reason"]), (&json!(response.status), &json!(outcome)), "{line}");
    }
    assert_eq!(desk.upstream.count(), 0);
}

/// SQL on the store of a gateway that does not run.
#[track_caller]
fn sql(site: &Site, statement: &str) -> String {
    let output = Command::new("sqlite3").arg(site.path("keygate.db")).arg(statement).output().expect("sqlite3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// The store as a program without access tokens left it.
fn without_signing_keys(site: &Site) {
    sql(site, "UPDATE shared_secrets SET signing_key = NULL");
}

/// A token as soon as there is something to sign it with: until then the exchange cannot decide.
#[track_caller]
fn first_token(gateway: &Gateway, key: &Key) -> Issued {
    let secret = gateway.shared_secret();
    wait_for_some("it exchanges", || {
        let response = gateway.node.send(&exchange(&exchange::jwt(key, &secret).text()));
        assert!(matches!(response.status, 200 | 503), "{}", response.text());
        (response.status == 200).then(|| exchange::issued(&gateway.secrets, &response))
    })
}

/// How often a signing key was made for a secret of before.
fn made(site: &Site) -> usize {
    let audit = site.json(&["audit"])["audit"].as_array().expect("audit").clone();
    audit.iter().filter(|record| record["action"] == "shared_secret.signing_key").count()
}

#[test]
fn a_store_of_before_gets_its_signing_key_when_a_gateway_that_exchanges_starts() {
    let mut desk = Desk::start();
    desk.gateway.node.stop();
    without_signing_keys(&desk.site);
    let revision = sql(&desk.site, "SELECT revision FROM counter");
    desk.gateway.node = desk.site.serve();
    let issued = first_token(&desk.gateway, &desk.reader);
    assert_eq!(desk.admits(&issued), 200);
    assert_eq!(made(&desk.site), 1);
    assert_ne!(sql(&desk.site, "SELECT revision FROM counter"), revision, "nodes at work learn of it");
    // Once: not again at the next start.
    desk.gateway.restart();
    assert_eq!([desk.admits(&issued), desk.admits(desk.token(&desk.reader))], [200, 200]);
    assert_eq!(made(&desk.site), 1);
}

#[test]
fn a_store_of_before_serves_keys_as_ever_and_gets_its_signing_key_when_the_exchange_is_turned_on() {
    let upstream = Upstream::echo();
    let off = Config::in_front_of(&upstream);
    let mut gateway = Gateway::start(&off);
    let key = gateway.key_add("app", "readonly");
    gateway.node.stop();
    without_signing_keys(&gateway.site);
    gateway.node = gateway.site.serve();
    assert_eq!(gateway.node.get("/x", &key).status, 200);
    gateway.write_config(&off.token_exchange(""));
    gateway.cli(&["reload"]).expect(0);
    assert_eq!(gateway.node.get("/x", first_token(&gateway, &key)).status, 200);
    assert_eq!(made(&gateway.site), 1);
}

#[test]
fn two_gateways_that_start_on_a_store_of_before_sign_with_one_key() {
    let mut desk = Desk::start();
    desk.gateway.node.stop();
    without_signing_keys(&desk.site);
    let (one, two) = std::thread::scope(|scope| {
        let one = scope.spawn(|| desk.site.serve());
        let two = scope.spawn(|| desk.site.serve_another(&desk.config));
        (one.join().expect("it starts"), two.join().expect("it starts"))
    });
    desk.gateway.node = one;
    let issued = first_token(&desk.gateway, &desk.reader);
    assert_eq!(desk.admits(&issued), 200);
    wait_for("the other has loaded the key", || two.get("/x", &issued).status == 200);
    assert_eq!(made(&desk.site), 1);
}

/// Is this token, and its refresh, as good as before?
#[track_caller]
fn assert_lives(desk: &Desk, issued: &Issued) {
    assert_eq!([desk.admits(issued), desk.admits(desk.refresh(&issued.refresh))], [200, 200]);
}

#[test]
fn tokens_outlive_a_rotation_of_the_master_key() {
    let mut desk = Desk::start();
    let issued = desk.token(&desk.reader);
    let before = sql(&desk.site, "SELECT hex(signing_key) FROM shared_secrets WHERE version = 1");
    desk.cli(&["master-key", "rotate"]).expect(0);
    let key = std::fs::read_to_string(desk.path("master.key")).expect("the master key");
    desk.secrets.learn_exactly(key.trim());
    assert_ne!(sql(&desk.site, "SELECT hex(signing_key) FROM shared_secrets WHERE version = 1"), before, "sealed anew");
    assert_lives(&desk, &issued);
    desk.gateway.restart();
    assert_lives(&desk, &issued);
    assert_eq!(desk.admits(desk.token(&desk.reader)), 200);
}

#[test]
fn a_retired_secrets_signing_key_is_erased_with_it() {
    let mut desk = Desk::start();
    let issued = desk.token(&desk.reader);
    let keys =
        |desk: &Desk| sql(&desk.site, "SELECT version FROM shared_secrets WHERE signing_key IS NOT NULL ORDER BY 1");
    assert_eq!(keys(&desk), "1");
    desk.regenerate(&["--grace", "1h"]);
    assert_eq!(keys(&desk), "1\n2", "within grace both sign");
    assert_lives(&desk, &issued);
    desk.json(&["secret", "end-grace", "--yes"]);
    assert_eq!(keys(&desk), "2");
    desk.regenerate(&[]);
    assert_eq!(keys(&desk), "3");
    let response = desk.send(&refresh(&issued.refresh));
    assert_eq!((response.status, message(&response).as_str()), (401, exchange::NOT_VALID));
}

#[test]
fn after_the_loss_of_the_master_key_new_bundles_work_and_old_tokens_do_not() {
    let mut desk = Desk::start();
    let issued = desk.token(&desk.reader);
    desk.gateway.node.stop();
    std::fs::remove_file(desk.path("master.key")).expect("it was there");
    let done = desk.cli(&["master-key", "replace-lost", "--yes"]).expect(0);
    desk.secrets.learn(&done.stdout);
    let key = std::fs::read_to_string(desk.path("master.key")).expect("a new master key");
    desk.secrets.learn_exactly(key.trim());
    desk.gateway.node = desk.site.serve();
    desk.secret = desk.shared_secret();
    assert_eq!(desk.admits(&issued), 401);
    assert_eq!(desk.admits(desk.token(&desk.reader)), 200);
}
