//! What takes authority away takes it from tokens too, at once; what does not, leaves them alone.

use serde_json::{Value, json};

use crate::fleet::pause_outside_of_transactions;
use crate::support::exchange::{self, Desk, Issued, NOT_VALID, exchange, fresh_address, message, refresh, retry_after};
use crate::support::load::Load;
use crate::support::request::{get, post};
use crate::support::site::{encode_with_openssl, key_in};
use crate::support::{Client, Node, wait_for};

/// Status and problem of a request with this token, on a connection that was open before.
#[track_caller]
fn told(client: &mut Client, token: &Issued) -> (u16, String) {
    let response = client.exchange(&get("/x").bearer(token));
    let problem = match response.status {
        200 => Value::Null,
        _ => response.json()["type"].clone(),
    };
    (response.status, problem.as_str().unwrap_or_default().replace("urn:keygate:problem:", ""))
}

#[track_caller]
fn assert_refresh_is_refused(desk: &Desk, token: &Issued) -> String {
    let response = desk.send(&refresh(&token.refresh));
    assert_eq!(response.status, 401, "{}", response.text());
    message(&response)
}

fn refused(problem: &str) -> (u16, String) {
    (401, problem.to_owned())
}

fn admitted() -> (u16, String) {
    (200, String::new())
}

#[test]
fn regenerate_kills_every_token_before_it_returns_on_every_node() {
    let mut desk = Desk::start();
    let second = desk.serve_another(&desk.config);
    let tokens: Vec<Issued> = (0..3).flat_map(|_| [desk.token(&desk.reader), desk.token(&desk.admin)]).collect();
    let connect = |node: &Node| -> Vec<Client> { tokens.iter().map(|_| node.connect()).collect() };
    let mut clients = [connect(&desk.node), connect(&second)];
    for clients in &mut clients {
        for (client, token) in clients.iter_mut().zip(&tokens) {
            assert_eq!(told(client, token), admitted(), "one node's token is good at the other");
        }
    }
    let answer = desk.json(&["secret", "regenerate", "--yes"]);
    for clients in &mut clients {
        for (client, token) in clients.iter_mut().zip(&tokens) {
            // Its signing key is gone: it has become one text among others.
            assert_eq!(told(client, token), refused("invalid-credential"));
        }
    }
    assert_eq!(answer["promise_held"], true, "{answer}");
    assert_eq!(answer["confirmed"].as_array().map(Vec::len), Some(2), "{answer}");
    for token in &tokens {
        assert_eq!(assert_refresh_is_refused(&desk, token), NOT_VALID);
    }
    // The same JWT's maker needs nothing but the new secret.
    desk.secret = desk.shared_secret();
    assert_eq!(desk.admits(desk.token(&desk.reader)), 200);
}

#[test]
fn a_refresh_at_another_node_is_as_good() {
    let desk = Desk::start();
    let second = desk.serve_another(&desk.config);
    let issued = desk.token(&desk.reader);
    let response = Client::connect_from(second.address(), fresh_address()).exchange(&refresh(&issued.refresh));
    let next = desk.issued(&response);
    assert_eq!(next.session, issued.session);
    assert_eq!([desk.admits(&next), second.get("/x", &next).status], [200, 200]);
    // A second node does not know what the first has seen (docs/security.md).
    let jwt = desk.jwt(&desk.reader).text();
    assert_eq!(desk.present(&jwt).status, 200);
    let replay = Client::connect_from(second.address(), fresh_address()).exchange(&exchange(&jwt));
    desk.issued(&replay);
}

#[test]
fn under_load_no_token_of_before_is_admitted_after_regenerate_returned() {
    let desk = Desk::start();
    let issued = desk.token(&desk.admin);
    let load = Load::start(desk.node.address(), 6, move |n| get(&format!("/n/{n}")).bearer(&issued));
    load.wait_for_more(300);
    desk.json(&["secret", "regenerate", "--yes"]);
    let returned = load.begun();
    load.wait_for_more(300);
    let outcomes = load.finish();
    let late: Vec<_> = outcomes.iter().filter(|o| o.number >= returned).collect();
    assert!(late.len() > 200);
    assert!(late.iter().all(|o| o.result == Ok(401)), "{:?}", late.iter().find(|o| o.result != Ok(401)));
    assert!(outcomes.iter().all(|o| matches!(o.result, Ok(200 | 401))), "nobody was refused for another reason");
}

#[test]
fn within_grace_tokens_of_both_secrets_live_and_the_old_ones_die_with_it() {
    let mut desk = Desk::start();
    let before = desk.token(&desk.reader);
    let old_secret = desk.secret.clone();
    desk.regenerate(&["--grace", "1h"]);
    // A bundle that was not replaced yet works, and its tokens belong to the secret that signed.
    let by_old = desk.issued(&desk.present(&exchange::jwt(&desk.reader, &old_secret).text()));
    let by_new = desk.token(&desk.reader);
    assert!(by_old.access.starts_with("kgt_1_") && by_new.access.starts_with("kgt_2_"));
    let refreshed = desk.refresh(&before.refresh);
    assert!(refreshed.access.starts_with("kgt_1_"), "a refresh makes it no younger");
    let mut client = desk.node.connect();
    for token in [&before, &by_old, &by_new, &refreshed] {
        assert_eq!(told(&mut client, token), admitted());
    }
    let answer = desk.json(&["secret", "end-grace", "--yes"]);
    for token in [&before, &by_old, &refreshed] {
        assert_eq!(told(&mut client, token), refused("invalid-credential"));
        assert_refresh_is_refused(&desk, token);
    }
    assert_eq!(told(&mut client, &by_new), admitted());
    assert_eq!(answer["promise_held"], true, "{answer}");
    let stale = desk.present(&exchange::jwt(&desk.reader, &old_secret).text());
    assert!(message(&stale).contains("sharedsecret"), "{}", stale.text());
    // A second regenerate ends the grace of the version before the last.
    desk.regenerate(&["--grace", "1h"]);
    assert_eq!(told(&mut client, &by_new), admitted());
    desk.regenerate(&["--grace", "1h"]);
    assert_eq!(told(&mut client, &by_new), refused("invalid-credential"));
}

#[test]
fn grace_ends_by_itself_for_tokens_too() {
    let mut desk = Desk::start();
    let token = desk.token(&desk.reader);
    desk.regenerate(&["--grace", "2s"]);
    let mut client = desk.node.connect();
    assert_eq!(told(&mut client, &token), admitted());
    wait_for("grace ends", || told(&mut client, &token).0 == 401);
    assert_refresh_is_refused(&desk, &token);
}

#[test]
fn a_roll_kills_the_tokens_of_its_key_and_no_others() {
    let desk = Desk::start();
    let (mine, others) = (desk.token(&desk.reader), desk.token(&desk.admin));
    let mut client = desk.node.connect();
    assert_eq!(told(&mut client, &mine), admitted());
    let answer = desk.json(&["key", "roll", &desk.reader.id, "--yes"]);
    assert_eq!(told(&mut client, &mine), refused("token-revoked"), "whoever holds one is told");
    assert_eq!(told(&mut client, &others), admitted());
    assert_eq!(answer["promise_held"], true, "{answer}");
    assert_refresh_is_refused(&desk, &mine);
    let before = desk.present(&desk.jwt(&desk.reader).text());
    assert_eq!((before.status, message(&before).as_str()), (401, NOT_VALID), "the old app key proves nothing");
    let next = desk.token(&key_in(&answer));
    assert_eq!(told(&mut client, &next), admitted());
    assert!(next.access.contains(&format!("{}_2_", desk.reader.id)), "the key's epoch is in it");
}

#[test]
fn a_disabled_keys_tokens_die_and_enable_does_not_bring_them_back() {
    let desk = Desk::start();
    let token = desk.token(&desk.reader);
    let mut client = desk.node.connect();
    assert_eq!(told(&mut client, &token), admitted());
    let answer = desk.json(&["key", "disable", &desk.reader.id, "--yes"]);
    let (status, problem) = told(&mut client, &token);
    assert_eq!(status, 401);
    assert!(["key-disabled", "token-revoked"].contains(&problem.as_str()), "{problem}");
    assert_eq!(answer["promise_held"], true, "{answer}");
    assert_refresh_is_refused(&desk, &token);
    desk.json(&["key", "enable", &desk.reader.id]);
    assert_eq!(told(&mut client, &token), refused("token-revoked"));
    assert_refresh_is_refused(&desk, &token);
    assert_eq!(desk.admits(&desk.reader), 200, "the key itself is back");
    assert_eq!(told(&mut client, &desk.token(&desk.reader)), admitted());
}

#[test]
fn a_deleted_keys_tokens_die() {
    let desk = Desk::start();
    let token = desk.token(&desk.reader);
    let mut client = desk.node.connect();
    assert_eq!(told(&mut client, &token), admitted());
    let answer = desk.json(&["key", "delete", &desk.reader.id, "--yes"]);
    assert_eq!(told(&mut client, &token), refused("invalid-credential"));
    assert_eq!(answer["promise_held"], true, "{answer}");
    assert_eq!(assert_refresh_is_refused(&desk, &token), NOT_VALID);
    // Its name is free; its tokens are not the next one's.
    desk.key_add("reader", "admin");
    assert_eq!(told(&mut client, &token), refused("invalid-credential"));
}

#[test]
fn an_expired_keys_tokens_die_with_it() {
    let desk = Desk::start();
    let key = desk.key_add_with("short", "readonly", &["--expires", "3s"]);
    let token = desk.token(&key);
    assert!(token.answer["expires_in"].as_u64().is_some_and(|s| s <= 3), "no token outlives its key: {}", token.answer);
    assert!(token.answer["refresh_expires_in"].as_u64().is_some_and(|s| s <= 3), "nor does a session");
    let mut client = desk.node.connect();
    assert_eq!(told(&mut client, &token), admitted());
    // The token's end is the key's, to the second.
    wait_for("the key expires", || told(&mut client, &token) == refused("key-expired"));
    assert_refresh_is_refused(&desk, &token);
}

#[test]
fn a_change_that_takes_rights_away_ends_tokens_and_one_that_gives_acts_on_them() {
    let desk = Desk::start();
    let (token, reader) = (desk.token(&desk.admin), desk.token(&desk.reader));
    let mut client = desk.node.connect();
    let mut write = |token: &Issued| client.exchange(&post("/x", b"").bearer(token)).status;
    assert_eq!([write(&token), write(&reader)], [200, 403]);
    let answer = desk.json(&["key", "update", &desk.admin.id, "--role", "readonly"]);
    assert_eq!(write(&token), 401, "when the command has returned");
    assert_eq!(answer["promise_held"], true, "{answer}");
    assert_refresh_is_refused(&desk, &token);
    let next = desk.token(&desk.admin);
    assert_eq!((write(&next), &next.answer["scope"]), (403, &json!("READONLY")), "as it is now");
    desk.json(&["key", "update", &desk.reader.id, "--role", "admin"]);
    assert_eq!(write(&reader), 200);
    assert_eq!(desk.refresh(&reader.refresh).answer["scope"], "ADMIN");

    let mut client = desk.node.connect();
    assert_eq!(told(&mut client, &reader), admitted());
    desk.json(&["key", "update", &desk.reader.id, "--network", "192.0.2.0/24"]);
    assert_eq!(told(&mut client, &reader), refused("token-revoked"));
    assert_eq!(desk.send(&refresh(&reader.refresh)).status, 401);
    assert_eq!(desk.present(&desk.jwt(&desk.reader).text()).status, 403);
}

#[test]
fn a_new_name_is_no_change_of_authority_and_belongs_into_the_bundle() {
    let desk = Desk::start();
    let token = desk.token(&desk.reader);
    desk.json(&["key", "update", &desk.reader.id, "--name", "renamed"]);
    assert_eq!([desk.admits(&token), desk.admits(desk.refresh(&token.refresh))], [200, 200]);
    let by_old_name = desk.present(&desk.jwt(&desk.reader).text());
    assert_eq!(by_old_name.status, 401);
    assert!(message(&by_old_name).contains("appname"), "{}", by_old_name.text());
    assert_eq!(desk.present(&desk.jwt(&desk.reader).with("appname", "renamed").text()).status, 200);
}

#[test]
fn a_node_that_slept_past_its_lease_exchanges_or_answers_503_and_never_401() {
    let desk = Desk::with("", |c| c.lease("1s"));
    let _second = desk.serve_another(&desk.config);
    let token = desk.token(&desk.reader);
    let mut clients: Vec<Client> = (0..8).map(|_| Client::connect_from(desk.node.address(), fresh_address())).collect();
    pause_outside_of_transactions(&desk.node, &desk.site);
    for (n, client) in clients.iter_mut().enumerate() {
        let request = match n % 2 {
            0 => exchange(&desk.jwt(&desk.reader).text()),
            _ => refresh(&token.refresh),
        };
        client.send(&request.bytes());
    }
    // Returns when the lease of the first is surely over.
    let other = desk.key_add("other", "readonly");
    desk.json(&["key", "disable", &other.id, "--yes"]);
    desk.node.resume();
    for client in &mut clients {
        let response = client.read("POST");
        assert!(matches!(response.status, 200 | 503), "{}", response.text());
        if response.status == 503 {
            message(&response);
            assert!(retry_after(&response) >= 1);
        } else {
            desk.issued(&response);
        }
    }
    wait_for("it exchanges again", || {
        let response = desk.send(&exchange(&desk.jwt(&desk.reader).text()));
        response.status == 200
    });
}

#[test]
fn regenerating_needs_nothing_but_the_new_secret_in_bundle_and_key() {
    let mut desk = Desk::start();
    let (bundled, straight) = (&desk.reader.clone(), &desk.admin.clone());
    assert_eq!([desk.admits(desk.token(bundled)), desk.admits(straight)], [200, 200]);
    for _ in 0..2 {
        let old = desk.secret.clone();
        desk.regenerate(&[]);
        let refused = desk.present(&exchange::jwt(bundled, &old).text());
        assert!(message(&refused).contains("sharedsecret"), "{}", refused.text());
        let encoded = encode_with_openssl(&straight.app_key, &desk.secret);
        desk.secrets.learn(&encoded);
        assert_eq!([desk.admits(desk.token(bundled)), desk.admits(&encoded)], [200, 200]);
    }
    assert_eq!(desk.json(&["key", "list"])["api_keys"].as_array().map(Vec::len), Some(2));
    let actions = desk.json(&["audit"]);
    let actions: Vec<&Value> = actions["audit"].as_array().expect("audit").iter().map(|r| &r["action"]).collect();
    assert!(!actions.contains(&&json!("api_key.roll")), "nothing was rolled: {actions:?}");
}
