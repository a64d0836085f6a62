//! What the exchange tells those whom it refuses: everything to who has proven itself, one and the same thing to
//! everybody else.

use serde_json::json;

use crate::support::exchange::{
    self, Desk, EXCHANGE, NOT_VALID, REFRESH, SHORTNAME, exchange, fresh_address, message, now, retry_after,
};
use crate::support::request::post;
use crate::support::{Client, Key, Response, count, wait_for};

/// Status and message of the refusal of a JWT.
#[track_caller]
fn told(desk: &Desk, jwt: &exchange::Jwt) -> (u16, String) {
    let response = desk.present(&jwt.text());
    assert_ne!(response.status, 200, "{}", jwt.claims);
    (response.status, message(&response))
}

#[track_caller]
fn assert_tells(desk: &Desk, jwt: &exchange::Jwt, words: &[&str]) -> String {
    let (status, message) = told(desk, jwt);
    assert_eq!(status, 401, "{message}");
    assert_ne!(message, NOT_VALID, "whoever has proven itself is told");
    for word in words {
        assert!(message.contains(word), "{word:?} is not in {message:?}");
    }
    message
}

#[test]
fn a_body_that_is_none_is_400() {
    let desk = Desk::start();
    let jwt = desk.jwt(&desk.reader).text();
    let twice = format!("{{\"jwt\":\"{jwt}\",\"jwt\":\"{jwt}\"}}");
    let twice_escaped = format!("{{\"jwt\":\"{jwt}\",\"j\\u0077t\":\"{jwt}\"}}");
    let followed = format!("{{\"jwt\":\"{jwt}\"}}{{}}");
    let bom = format!("\u{feff}{{\"jwt\":\"{jwt}\"}}");
    let list = format!("[{{\"jwt\":\"{jwt}\"}}]");
    let in_list = format!("{{\"jwt\":[\"{jwt}\"]}}");
    let upper = format!("{{\"JWT\":\"{jwt}\"}}");
    let form = format!("jwt={jwt}");
    let odd_bytes = [b"{\"jwt\":\"".as_slice(), &[0xff, 0xfe], b"\"}"].concat();
    let bodies: [&[u8]; 18] = [
        b"",
        b"{",
        b"{}",
        b"null",
        b"\"jwt\"",
        b"{\"jwt\":null}",
        b"{\"jwt\":1}",
        b"{\"jwt\":{}}",
        b"{'jwt':'x'}",
        &odd_bytes,
        twice.as_bytes(),
        twice_escaped.as_bytes(),
        followed.as_bytes(),
        bom.as_bytes(),
        list.as_bytes(),
        in_list.as_bytes(),
        upper.as_bytes(),
        form.as_bytes(),
    ];
    for body in bodies {
        let response = desk.send(&post(EXCHANGE, body));
        assert_eq!(response.status, 400, "{}: {}", String::from_utf8_lossy(body), response.text());
        message(&response);
    }
    let refresh = desk.token(&desk.reader).refresh;
    let twice = format!("refresh_token={refresh}&refresh_token={refresh}");
    let twice_json = format!("{{\"refresh_token\":\"{refresh}\",\"refresh_token\":\"{refresh}\"}}");
    for (body, kind) in [
        ("", "application/x-www-form-urlencoded"),
        ("token=x", "application/x-www-form-urlencoded"),
        ("refresh_token=", "application/x-www-form-urlencoded"),
        (&twice, "application/x-www-form-urlencoded"),
        ("{}", "application/json"),
        ("[]", "application/json"),
        ("{\"refresh_token\":1}", "application/json"),
        (&twice_json, "application/json"),
    ] {
        let response = desk.send(&post(REFRESH, body.as_bytes()).field("Content-Type", kind));
        assert_eq!(response.status, 400, "{body}: {}", response.text());
        message(&response);
    }
}

/// What can be compared of an answer: all of it, but for the id and the time.
fn bytes(response: &Response) -> (String, Vec<(String, String)>, Vec<u8>) {
    let same = |name: &str| !["x-request-id", "date"].contains(&name.to_lowercase().as_str());
    let fields = response.head.fields.iter().filter(|(name, _)| same(name)).cloned().collect();
    (response.head.line.clone(), fields, response.body.clone())
}

#[test]
fn whoever_has_proven_nothing_gets_one_answer_byte_for_byte() {
    let mut desk = Desk::start();
    let gone = desk.key_add("gone", "admin");
    let off = desk.key_add("off", "admin");
    let mac_of_the_old = desk.jwt(&desk.reader);
    desk.json(&["key", "delete", &gone.id, "--yes"]);
    desk.json(&["key", "disable", &off.id, "--yes"]);
    let old_secret = desk.secret.clone();
    desk.regenerate(&[]);

    let (reader, admin) = (&desk.reader, &desk.admin);
    let body = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";
    let made_up = |id: &str| format!("kga_{id}_{body}");
    let crossed = format!("kga_{}_{}", reader.id, admin.app_key.rsplit('_').next().expect("a body"));
    let right = desk.jwt(reader);
    let by_old = |app_key: &str| exchange::Jwt { secret: old_secret.clone(), ..right.clone().with("appkey", app_key) };
    let cases = [
        ("no JWT", "nonsense".to_owned()),
        ("empty parts", "..".to_owned()),
        ("an unknown id", right.clone().with("appkey", made_up("zzzzzzzzzzzz")).text()),
        ("the shared secret and a made-up app key", right.clone().with("appkey", made_up(&reader.id)).text()),
        ("another's app key under this id", right.clone().with("appkey", crossed.clone()).text()),
        ("a deleted key", desk.jwt(&gone).text()),
        ("a made-up app key of a disabled key", right.clone().with("appkey", made_up(&off.id)).text()),
        (
            "a made-up app key and a wrong name",
            right.clone().with("appkey", made_up(&reader.id)).with("appname", "x").text(),
        ),
        ("a made-up app key, long ago", right.clone().with("appkey", made_up(&reader.id)).with("iat", 1).text()),
        ("a made-up app key and the secret of before", by_old(&made_up(&reader.id)).text()),
        ("an unknown id and the secret of before", by_old(&made_up("zzzzzzzzzzzz")).text()),
        ("another's app key and the secret of before", by_old(&crossed).text()),
        ("an encoded key for an app key", right.clone().with("appkey", reader.encoded.as_str()).text()),
        ("no app key", right.clone().without("appkey").text()),
        ("a number for an app key", right.clone().with("appkey", 7).text()),
        ("no claims", right.clone().raw_claims("{}").text()),
        ("a list of claims", right.clone().raw_claims("[]").text()),
        ("no signature", right.with_signature(b"")),
        ("alg none", right.clone().header(r#"{"alg":"none"}"#).with_signature(b"")),
        ("alg HS512", {
            let jwt = right.clone().header(r#"{"alg":"HS512"}"#);
            jwt.with_signature(&exchange::hs512(jwt.secret.as_bytes(), jwt.signing_input().as_bytes()))
        }),
        ("crit", right.clone().header(r#"{"alg":"HS256","crit":["exp"]}"#).text()),
    ];
    let expected = bytes(&desk.present(&cases[0].1));
    assert!(expected.0.contains(" 401 "), "{expected:?}");
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&expected.2).expect("JSON")["message"], NOT_VALID);
    for (what, jwt) in &cases {
        assert_eq!(bytes(&desk.present(jwt)), expected, "{what}");
    }
    // Of refresh tokens too.
    let forged = format!("kgr_2_{}_1_4000000000_{}", reader.id, "0".repeat(40));
    for token in ["nonsense", "kgr_", &forged, &reader.encoded] {
        assert_eq!(bytes(&desk.send(&exchange::refresh(token))), expected, "{token}");
    }
    // Only who holds the app key is told that the secret is another one by now.
    assert_tells(&desk, &mac_of_the_old, &["sharedsecret", "out of date"]);
}

#[test]
fn the_holder_of_an_app_key_is_told_that_its_shared_secret_is_out_of_date() {
    let mut desk = Desk::start();
    let old = desk.jwt(&desk.reader);
    desk.regenerate(&[]);
    let words = ["The bundle's sharedsecret is out of date", "at version 2"];
    assert_eq!(desk.json(&["key", "show", &desk.reader.id])["stale_version"], json!(null));
    assert_tells(&desk, &old, &words);
    // And its operator sees who still has the old one.
    wait_for("it is noted", || desk.json(&["key", "show", &desk.reader.id])["stale_version"] == 1);
    // Also when the rest is wrong: it can have proven no more than that.
    assert_tells(&desk, &old.clone().with("shortname", "other").with("iat", 1), &words);
    desk.regenerate(&[]);
    assert_tells(&desk, &old, &["at version 3"]);
    let damaged = exchange::Jwt { secret: format!("{}x", desk.secret), ..desk.jwt(&desk.reader) };
    assert_tells(&desk, &damaged, &["sharedsecret", "at version 3"]);
    assert_eq!(desk.present(&desk.jwt(&desk.reader).text()).status, 200);
}

/// The numbers in a text.
fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect()
}

#[test]
fn a_clock_that_is_off_is_told_by_how_much() {
    let desk = Desk::start();
    for skew in [310, 4000, 86_400] {
        for iat in [now() - skew, now() + skew] {
            let message = assert_tells(&desk, &desk.jwt(&desk.reader).with("iat", iat), &["second"]);
            let near = |n: &u64| n.abs_diff(skew) <= 3;
            assert!(numbers(&message).iter().any(near), "{skew} s are not in {message:?}");
        }
    }
    for fine in [now() - 290, now() + 290] {
        let response = desk.present(&desk.jwt(&desk.reader).with("iat", fine).text());
        assert_eq!(response.status, 200, "{}", response.text());
    }
}

#[test]
fn the_proven_are_told_which_claim_is_wrong() {
    let desk = Desk::start();
    let right = || desk.jwt(&desk.reader);
    let message = assert_tells(&desk, &right().with("shortname", "other"), &["shortname", SHORTNAME]);
    assert!(!message.contains("other"), "what was sent is not repeated: {message}");
    assert_tells(&desk, &right().with("shortname", "ACME"), &["shortname", SHORTNAME]);
    assert_tells(&desk, &right().without("shortname"), &["shortname"]);
    let message = assert_tells(&desk, &right().with("appname", "admin"), &["appname"]);
    assert!(!message.contains("reader"), "a name is told to nobody who does not say it: {message}");
    assert_tells(&desk, &right().with("appname", "Reader"), &["appname"]);
    assert_tells(&desk, &right().without("appname"), &["appname"]);
    assert_tells(&desk, &right().without("iat"), &["iat"]);
    assert_tells(&desk, &right().without("jti"), &["jti"]);
    assert_tells(&desk, &right().with("exp", now() - 310), &["exp"]);
    assert_tells(&desk, &right().with("nbf", now() + 310), &["nbf"]);
    assert_tells(&desk, &right().with("aud", "keygate"), &["aud"]);
    assert_tells(&desk, &right().with("aud", json!(["a", "b"])), &["aud"]);
    let fine = right().with("exp", now() + 60).with("nbf", now() - 60);
    assert_eq!(desk.present(&fine.text()).status, 200);
}

#[test]
fn the_proven_are_told_that_their_key_is_disabled_or_expired() {
    let desk = Desk::start();
    let off = desk.key_add("off", "admin");
    desk.json(&["key", "disable", &off.id, "--yes"]);
    assert_tells(&desk, &desk.jwt(&off), &["disabled"]);
    let short = desk.key_add_with("short", "admin", &["--expires", "1s"]);
    wait_for("the key expires", || desk.present(&desk.jwt(&short).text()).status == 401);
    assert_tells(&desk, &desk.jwt(&short), &["expired"]);
    desk.json(&["key", "enable", &off.id]);
    assert_eq!(desk.present(&desk.jwt(&off).text()).status, 200);
}

#[test]
fn from_outside_of_its_networks_the_proven_are_told_403() {
    let desk = Desk::with("", |c| c.server("trusted_proxies = [\"127.0.0.9/32\"]"));
    let key = desk.key_add_with("there", "readonly", &["--network", "192.0.2.0/24"]);
    let (status, message) = told(&desk, &desk.jwt(&key));
    assert_eq!(status, 403);
    assert!(message.contains("address") || message.contains("network"), "{message}");
    let nine = "127.0.0.9".parse().expect("an address");
    for (client, expected) in [("192.0.2.7", 200), ("198.51.100.7", 403)] {
        let request = exchange(&desk.jwt(&key).text()).field("X-Forwarded-For", client);
        assert_eq!(desk.send_from(nine, &request).status, expected, "{client}");
    }
    let claimed = exchange(&desk.jwt(&key).text()).field("X-Forwarded-For", "192.0.2.7");
    assert_eq!(desk.send(&claimed).status, 403, "nobody asked for it");
}

#[test]
fn a_jwt_is_exchanged_once() {
    let desk = Desk::start();
    let jwt = desk.jwt(&desk.reader);
    assert_eq!(desk.present(&jwt.text()).status, 200);
    for _ in 0..3 {
        assert_tells(&desk, &jwt, &["used before"]);
    }
    // The same claims in another spelling are the same; another key's, another id and another time are not.
    assert_tells(&desk, &jwt.clone().header(r#"{"alg":"HS256"}"#).with("more", 1), &["used before"]);
    let map: serde_json::Value = serde_json::from_str(&jwt.claims).expect("JSON");
    let (jti, iat) = (map["jti"].as_str().expect("a jti"), map["iat"].as_u64().expect("an iat"));
    let others = desk.jwt(&desk.admin).with("jti", jti).with("iat", iat);
    assert_eq!(desk.present(&others.text()).status, 200, "another key's");
    assert_eq!(desk.present(&jwt.clone().with("jti", format!("{jti}x")).text()).status, 200, "another id");
    assert_eq!(desk.present(&jwt.clone().with("iat", iat - 1).text()).status, 200, "another time");
    // One that was refused for something else was not used up.
    let early = desk.jwt(&desk.reader);
    assert_tells(&desk, &early.clone().with("shortname", "other"), &["shortname"]);
    assert_eq!(desk.present(&early.text()).status, 200);
}

#[test]
fn of_one_jwt_sent_many_times_at_once_one_is_exchanged() {
    let desk = Desk::start();
    for round in 0..count(5, 50) {
        let jwt = desk.jwt(&desk.admin).text();
        exchange::learn_jwt(&desk.secrets, &jwt);
        let mut clients: Vec<Client> =
            (0..8).map(|_| Client::connect_from(desk.node.address(), fresh_address())).collect();
        let bytes = exchange(&jwt).bytes();
        for client in &mut clients {
            client.send(&bytes);
        }
        let statuses: Vec<u16> = clients
            .iter_mut()
            .map(|client| {
                let response = client.read("POST");
                desk.secrets.learn(&response.text());
                response.status
            })
            .collect();
        assert_eq!(statuses.iter().filter(|s| **s == 200).count(), 1, "round {round}: {statuses:?}");
        assert!(statuses.iter().all(|s| matches!(s, 200 | 401)), "{statuses:?}");
    }
}

#[test]
fn a_key_that_is_exchanged_too_often_is_told_when_to_come_again() {
    let desk = Desk::start();
    let mut client = Client::connect_from(desk.node.address(), fresh_address());
    let mut send = |key: &Key| {
        let response = client.exchange(&exchange(&desk.jwt(key).text()));
        (response.status, response)
    };
    for n in 0..1024 {
        let (status, response) = send(&desk.reader);
        assert_eq!(status, 200, "{n}: {}", response.text());
    }
    for _ in 0..3 {
        let (status, response) = send(&desk.reader);
        assert_eq!(status, 429, "{}", response.text());
        message(&response);
        assert!((1..=600).contains(&retry_after(&response)));
    }
    assert_eq!(send(&desk.admin).0, 200, "another key is not concerned");
}
