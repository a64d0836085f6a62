//! Bundles by the admin API: with a key that is made or rolled, where `[token_exchange]` says so, from the next reload
//! on.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::admin::{Plane, key_target as of};
use crate::support::exchange::{exchange, issued, jwt};
use crate::support::site::{key_in, text_at};
use crate::support::{Config, Upstream};

#[track_caller]
fn members(answer: &Value) -> Value {
    let json = STANDARD.decode(text_at(answer, "bundle")).expect("base64");
    serde_json::from_slice(&json).expect("JSON")
}

#[test]
fn making_and_rolling_a_key_tell_the_bundle_once_and_are_audited_so() {
    let upstream = Upstream::echo();
    let config = Config::in_front_of(&upstream).token_exchange("");
    let plane = Plane::of(upstream, &config);
    let api = plane.api();
    let made = api.add_key("reports", "READONLY");
    let secret = plane.shared_secret();
    assert_eq!(
        members(&made),
        json!({
            "url": "http://127.0.0.1:8080",
            "shortname": "acme",
            "appname": "reports",
            "sharedsecret": secret,
            "appkey": made["app_key"],
        })
    );
    let rolled = api.act(&format!("{}/roll", of(&made))).json();
    assert_eq!(members(&rolled)["appkey"], rolled["app_key"]);
    assert_ne!(rolled["bundle"], made["bundle"]);
    for action in ["api_key.create", "api_key.roll"] {
        let records = plane.audit(action);
        assert_eq!((records.len(), &records[0]["detail"]["bundle"]), (1, &json!(true)), "{action}");
        plane.secrets.assert_absent("the audit", records[0].to_string().as_bytes());
    }
    // What a bundle says is what the gateway wants to hear.
    let response = plane.node.send(&exchange(&jwt(&key_in(&rolled), &secret).text()));
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(plane.admits(&issued(&plane.secrets, &response).access), 200);
    // Nowhere else.
    for target in [of(&made), "/v1/api-keys".to_owned()] {
        assert_eq!(api.get(&target).json()["bundle"], Value::Null, "{target}");
        plane.secrets.assert_absent(&target, &api.get(&target).body);
    }
}

#[test]
fn a_reload_begins_and_ends_it_and_changes_what_it_says() {
    let upstream = Upstream::echo();
    let off = Config::in_front_of(&upstream);
    let plane = Plane::of(upstream, &off);
    let roll = |key: &Value| plane.api().act(&format!("{}/roll", of(key))).json();
    let key = plane.api().add_key("app", "ADMIN");
    let is_absent = |answer: &Value| !answer.as_object().expect("an object").contains_key("bundle");
    assert!(is_absent(&key) && is_absent(&roll(&key)), "absent, not null");
    assert_eq!(plane.audit("api_key.roll")[0]["detail"]["bundle"], Value::Null);
    plane.write_config(&off.clone().token_exchange(""));
    plane.cli(&["reload"]).expect(0);
    assert_eq!(members(&roll(&key))["url"], "http://127.0.0.1:8080");
    plane.write_config(&off.clone().exchange_url("https://api.example.org/"));
    plane.cli(&["reload"]).expect(0);
    assert_eq!(members(&roll(&key))["url"], "https://api.example.org");
    plane.write_config(&off);
    plane.cli(&["reload"]).expect(0);
    assert!(is_absent(&roll(&key)));
}
