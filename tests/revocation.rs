//! What takes authority away has taken it when the command returns.

use crate::support::load::Load;
use crate::support::request::get;
use crate::support::site::{encode_with_openssl, key_in, text_at};
use crate::support::{Client, Config, Gateway, Key, Upstream};

fn start() -> (Upstream, Gateway, Key) {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::in_front_of(&upstream));
    let key = gateway.key_add("app", "admin");
    (upstream, gateway, key)
}

#[track_caller]
fn status(client: &mut Client, credential: impl AsRef<str>) -> u16 {
    client.exchange(&get("/x").bearer(credential)).status
}

#[track_caller]
fn assert_promise_held(answer: &serde_json::Value, gateway: &Gateway) {
    assert_eq!(answer["promise_held"], true, "{answer}");
    let confirmed: Vec<&str> =
        answer["confirmed"].as_array().expect("confirmed").iter().filter_map(|v| v.as_str()).collect();
    assert_eq!(confirmed.len(), 1, "{answer}");
    assert!(confirmed[0].ends_with(&format!(":{}", gateway.node.pid())), "{answer}");
    assert_eq!(answer["fenced"], serde_json::json!([]), "{answer}");
    assert!(answer["revision"].as_u64().is_some() && answer["took_ms"].as_u64().is_some(), "{answer}");
}

#[test]
fn regenerate_kills_every_key_at_once_and_says_which_nodes_confirmed() {
    let (_upstream, gateway, first) = start();
    let keys: Vec<Key> =
        std::iter::once(first).chain((0..4).map(|n| gateway.key_add(&format!("k{n}"), "readonly"))).collect();
    let mut clients: Vec<Client> = keys.iter().map(|_| gateway.node.connect()).collect();
    for (client, key) in clients.iter_mut().zip(&keys) {
        assert_eq!(status(client, key), 200);
    }
    let answer = gateway.json(&["secret", "regenerate", "--yes"]);
    for (client, key) in clients.iter_mut().zip(&keys) {
        assert_eq!(status(client, key), 401, "on a connection that was open before");
        assert_eq!(gateway.node.get("/x", key).status, 401);
    }
    assert_promise_held(&answer, &gateway);
}

#[test]
fn after_regenerate_keys_encoded_anew_with_openssl_work() {
    let (_upstream, gateway, key) = start();
    gateway.json(&["secret", "regenerate", "--yes"]);
    let secret = gateway.shared_secret();
    assert!(secret.starts_with("kgs_2_"));
    let encoded = encode_with_openssl(&key.app_key, &secret);
    gateway.secrets.learn(&encoded);
    assert_eq!(gateway.node.get("/x", &encoded).status, 200);
    assert_eq!(gateway.node.get("/x", &key).status, 401);
}

#[test]
fn during_grace_old_and_new_keys_work_until_grace_is_ended() {
    let (_upstream, gateway, key) = start();
    let answer = gateway.json(&["secret", "regenerate", "--grace", "1h", "--yes"]);
    assert_eq!(answer["promise_held"], true);
    let encoded = encode_with_openssl(&key.app_key, &gateway.shared_secret());
    gateway.secrets.learn(&encoded);
    let mut client = gateway.node.connect();
    assert_eq!([status(&mut client, &key), status(&mut client, &encoded)], [200, 200]);
    let late = gateway.key_add("late", "readonly");
    assert!(late.encoded.starts_with("kg_2_"));
    let answer = gateway.json(&["secret", "end-grace", "--yes"]);
    assert_eq!([status(&mut client, &key), status(&mut client, &encoded)], [401, 200]);
    assert_promise_held(&answer, &gateway);
}

#[test]
fn a_second_regenerate_ends_the_grace_of_the_version_before_the_last() {
    let (_upstream, gateway, key) = start();
    gateway.json(&["secret", "regenerate", "--grace", "1h", "--yes"]);
    let second = encode_with_openssl(&key.app_key, &gateway.shared_secret());
    gateway.json(&["secret", "regenerate", "--grace", "1h", "--yes"]);
    let mut client = gateway.node.connect();
    assert_eq!([status(&mut client, &key), status(&mut client, &second)], [401, 200]);
    gateway.json(&["secret", "regenerate", "--yes"]);
    assert_eq!(status(&mut client, &second), 401, "without grace, at once");
}

#[test]
fn grace_ends_by_itself() {
    let (_upstream, gateway, key) = start();
    gateway.json(&["secret", "regenerate", "--grace", "2s", "--yes"]);
    let mut client = gateway.node.connect();
    assert_eq!(status(&mut client, &key), 200);
    crate::support::wait_for("grace ends", || status(&mut client, &key) == 401);
}

#[test]
fn disable_enable_roll_and_delete_are_in_force_when_the_command_returns() {
    let (upstream, gateway, key) = start();
    let mut client = gateway.node.connect();
    assert_eq!(status(&mut client, &key), 200);

    let answer = gateway.json(&["key", "disable", &key.id, "--yes"]);
    assert_eq!(status(&mut client, &key), 401);
    assert_promise_held(&answer, &gateway);

    gateway.json(&["key", "enable", &key.id]);
    assert_eq!(status(&mut client, &key), 200);

    let answer = gateway.json(&["key", "roll", &key.id, "--yes"]);
    assert_eq!(status(&mut client, &key), 401, "the old app key");
    let rolled = key_in(&answer);
    assert_eq!((rolled.id.as_str(), rolled.name.as_str()), (key.id.as_str(), "app"));
    assert_eq!(status(&mut client, &rolled), 200);
    assert_promise_held(&answer, &gateway);

    let answer = gateway.json(&["key", "delete", &key.id, "--yes"]);
    assert_eq!(status(&mut client, &rolled), 401);
    assert_promise_held(&answer, &gateway);
    let admitted = upstream.count();
    assert_eq!([status(&mut client, &key), status(&mut client, &rolled)], [401, 401]);
    assert_eq!(upstream.count(), admitted);
}

#[test]
fn a_demotion_is_in_force_when_the_command_returns() {
    let (_upstream, gateway, key) = start();
    let post = crate::support::request::post("/x", b"").bearer(&key);
    let mut client = gateway.node.connect();
    assert_eq!(client.exchange(&post).status, 200);
    gateway.json(&["key", "update", &key.id, "--role", "readonly"]);
    assert_eq!(client.exchange(&post).status, 403);
    assert_eq!(status(&mut client, &key), 200);
}

#[test]
fn a_new_key_works_when_the_command_returns() {
    let (_upstream, gateway, _) = start();
    for n in 0..10 {
        let key = gateway.key_add(&format!("n{n}"), "readonly");
        assert_eq!(gateway.node.get("/x", &key).status, 200);
    }
}

#[test]
fn a_deleted_keys_name_is_free_and_the_new_key_is_another() {
    let (_upstream, gateway, key) = start();
    gateway.json(&["key", "delete", &key.id, "--yes"]);
    let again = gateway.key_add("app", "admin");
    assert_ne!(again.id, key.id);
    assert_eq!([gateway.node.get("/x", &key).status, gateway.node.get("/x", &again).status], [401, 200]);
}

#[test]
fn regenerate_refuses_when_the_version_is_not_the_expected_one() {
    let (_upstream, gateway, key) = start();
    gateway.json(&["secret", "regenerate", "--expect", "1", "--yes"]);
    let refused = gateway.cli(&["secret", "regenerate", "--expect", "1", "--yes"]).expect(1);
    assert!(refused.stderr.contains('2'), "it says which version it is: {}", refused.stderr);
    let shown = gateway.json(&["secret", "show"]);
    assert_eq!(shown["version"], 2, "{shown}");
    let encoded = encode_with_openssl(&key.app_key, &text_at(&shown, "secret"));
    assert_eq!(gateway.node.get("/x", &encoded).status, 200);
}

#[test]
fn without_waiting_the_promise_is_not_given() {
    let (_upstream, gateway, _) = start();
    let done = gateway.cli(&["--output", "json", "secret", "regenerate", "--no-wait", "--yes"]);
    let held = done.json()["promise_held"] == true;
    assert_eq!(done.code, Some(i32::from(!held)), "{done:?}");
}

#[test]
fn a_restart_brings_back_nothing_that_was_revoked() {
    let (_upstream, mut gateway, key) = start();
    let gone = gateway.key_add("gone", "admin");
    let off = gateway.key_add("off", "admin");
    gateway.json(&["key", "delete", &gone.id, "--yes"]);
    gateway.json(&["key", "disable", &off.id, "--yes"]);
    gateway.restart();
    let [a, b, c] = [&key, &gone, &off].map(|k| gateway.node.get("/x", k).status);
    assert_eq!([a, b, c], [200, 401, 401]);
}

#[test]
fn under_load_nothing_that_begins_after_regenerate_returned_is_admitted() {
    let (_upstream, gateway, key) = start();
    let load = Load::start(gateway.node.address(), 6, move |n| get(&format!("/n/{n}")).bearer(&key));
    load.wait_for_more(300);
    gateway.json(&["secret", "regenerate", "--yes"]);
    let returned = load.begun();
    load.wait_for_more(300);
    let outcomes = load.finish();
    // Of the last one that each client began before, nothing is known.
    let late: Vec<_> = outcomes.iter().filter(|o| o.number >= returned).collect();
    assert!(late.len() > 200);
    assert!(late.iter().all(|o| o.result == Ok(401)), "{:?}", late.iter().find(|o| o.result != Ok(401)));
    assert!(outcomes.iter().all(|o| matches!(o.result, Ok(200 | 401))), "nobody was refused for another reason");
}

#[test]
fn of_two_regenerates_at_once_that_expect_the_same_version_one_succeeds() {
    let (_upstream, gateway, _) = start();
    let children: Vec<_> = (0..3).map(|_| gateway.spawn(&["secret", "regenerate", "--expect", "1", "--yes"])).collect();
    let mut codes: Vec<_> = children.into_iter().map(|child| gateway.finish(child).code).collect();
    codes.sort_unstable();
    assert_eq!(codes, [Some(0), Some(1), Some(1)]);
    assert_eq!(gateway.json(&["secret", "show"])["version"], 2);
}

#[test]
fn of_two_keys_made_at_once_with_one_name_one_is_made() {
    let (_upstream, gateway, _) = start();
    let children: Vec<_> = (0..3).map(|_| gateway.spawn(&["key", "add", "same", "--role", "readonly"])).collect();
    let mut codes: Vec<_> = children.into_iter().map(|child| gateway.finish(child).code).collect();
    codes.sort_unstable();
    assert_eq!(codes, [Some(0), Some(1), Some(1)]);
}
