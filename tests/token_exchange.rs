//! The token exchange at work: a JWT is exchanged, the token admits, a refresh gives the next one; both ways to send
//! a key in one deployment; on and off.

use regex::Regex;
use serde_json::json;

use crate::support::exchange::{self, Desk, EXCHANGE, REFRESH, exchange, now};
use crate::support::request::{get, post};
use crate::support::{Config, Gateway, Upstream, request, wait_for};

#[test]
fn a_jwt_is_exchanged_for_a_token_in_the_protocols_shape() {
    let desk = Desk::start();
    for (key, scope) in [(&desk.reader, "READONLY"), (&desk.admin, "ADMIN")] {
        let response = desk.present(&desk.jwt(key).text());
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(response.header("content-type"), Some("application/json"));
        assert_eq!(response.header("cache-control"), Some("no-store"));
        assert!(response.header("x-request-id").is_some());
        let issued = desk.issued(&response);
        let mut members: Vec<&String> = issued.answer.as_object().expect("an object").keys().collect();
        members.sort();
        let expected = [
            "access_token",
            "expires_in",
            "not-before-policy",
            "refresh_expires_in",
            "refresh_token",
            "scope",
            "session-state",
            "token_type",
        ];
        assert_eq!(members, expected);
        assert_eq!(issued.answer["token_type"], "bearer");
        assert_eq!(issued.answer["expires_in"], 900, "15 minutes");
        assert_eq!(issued.answer["refresh_expires_in"], 8 * 3600);
        assert_eq!(issued.answer["not-before-policy"], 0);
        assert_eq!(issued.answer["scope"], scope);
        let groups: Vec<&str> = issued.session.split('-').collect();
        assert_eq!(groups.iter().map(|group| group.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "a UUID");
        assert!(groups.iter().all(|group| group.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))));
        for (kind, token) in [("kgt", &issued.access), ("kgr", &issued.refresh)] {
            let form = format!("^{kind}_1_{}_1_[0-9]{{10}}_[0-9a-f]{{40}}$", key.id);
            assert!(Regex::new(&form).expect("an expression").is_match(token), "not of the form {form}");
        }
    }
    assert_eq!(desk.upstream.count(), 0, "an exchange is nothing of the API's");
}

#[test]
fn lifetimes_are_as_configured_and_stand_in_the_tokens() {
    let desk = Desk::with("access_lifetime = \"2m\"\nrefresh_lifetime = \"10m\"", |c| c);
    let before = now();
    let issued = desk.token(&desk.reader);
    let after = now();
    for (member, token, lifetime) in [("expires_in", &issued.access, 120), ("refresh_expires_in", &issued.refresh, 600)]
    {
        assert_eq!(issued.answer[member], lifetime);
        let end: u64 = token.split('_').nth(4).and_then(|end| end.parse().ok()).expect("an end");
        // The gateway may round either way.
        assert!((before + lifetime..=after + lifetime + 1).contains(&end), "{end}");
    }
}

#[test]
fn a_token_is_read_wherever_a_key_is_and_its_role_decides() {
    let desk = Desk::start();
    let (reader, admin) = (desk.token(&desk.reader).access, desk.token(&desk.admin).access);
    for way in [
        get("/x").bearer(&reader),
        get("/x").field("authorization", &format!("BEARER  {reader}")),
        get("/x").field("X-API-Key", &reader),
        get("/x").basic(&reader, ""),
        get("/x").basic("user", &reader),
        get("/x").bearer(&reader).field("X-API-Key", &reader),
    ] {
        assert_eq!(desk.node.send(&way).status, 200, "{}", way.method);
    }
    for (method, for_reader) in
        [("HEAD", 200), ("OPTIONS", 200), ("QUERY", 200), ("POST", 403), ("DELETE", 403), ("PURGE", 403)]
    {
        assert_eq!(desk.node.send(&request(method, "/x").bearer(&reader)).status, for_reader, "{method}");
        assert_eq!(desk.node.send(&request(method, "/x").bearer(&admin)).status, 200, "{method}");
    }
    // Two different credentials of one key are two.
    let both = get("/x").bearer(&reader).field("X-API-Key", &desk.reader.encoded);
    assert_eq!(desk.node.send(&both).status, 400);
}

#[test]
fn the_upstream_learns_whose_the_token_is_and_never_the_token() {
    let desk = Desk::with("", |c| c.route("path = \"/open\"\nupstream = \"api\"\naccess = \"public\""));
    let issued = desk.token(&desk.reader);
    let mut expected = 0;
    for token in [&issued.access, &issued.refresh] {
        for target in ["/x", "/open/x"] {
            for place in
                [get(target).bearer(token), get(target).field("X-API-Key", token), get(target).basic(token, "")]
            {
                let status = desk.node.send(&place).status;
                let admitted = target != "/x" || token == &issued.access;
                assert_eq!(status, if admitted { 200 } else { 401 }, "{target}");
                expected += usize::from(admitted);
            }
        }
    }
    let seen = desk.upstream.seen();
    assert_eq!(seen.len(), expected);
    for request in &seen {
        assert_eq!((request.header("authorization"), request.header("x-api-key")), (None, None));
        desk.secrets.assert_absent("a forwarded head", &request.head.raw);
    }
    let of_key: Vec<_> = seen.iter().filter(|s| s.target() == "/x").collect();
    assert_eq!(of_key.len(), 3);
    for request in of_key {
        assert_eq!(request.header("x-keygate-key-id"), Some(desk.reader.id.as_str()));
        assert_eq!(request.header("x-keygate-key-name"), Some("reader"));
        assert_eq!(request.header("x-keygate-role"), Some("READONLY"));
    }
}

#[test]
fn a_refresh_gives_the_next_token_and_moves_no_end() {
    let desk = Desk::with("access_lifetime = \"5m\"\nrefresh_lifetime = \"1h\"", |c| c);
    let first = desk.token(&desk.admin);
    let end = |token: &str| token.split('_').nth(4).map(str::to_owned);
    let mut last = first.clone();
    for round in 0..3 {
        let next = desk.refresh(&last.refresh);
        assert_eq!(next.session, first.session, "one session");
        assert_eq!(end(&next.refresh), end(&first.refresh), "round {round}: the end is where it was");
        assert!(next.answer["refresh_expires_in"].as_u64().is_some_and(|s| (3540..=3600).contains(&s)));
        assert!(next.answer["expires_in"].as_u64().is_some_and(|s| (299..=300).contains(&s)));
        assert_eq!((&next.answer["scope"], &next.answer["token_type"]), (&json!("ADMIN"), &json!("bearer")));
        assert_eq!(
            next.answer.as_object().map(serde_json::Map::len),
            first.answer.as_object().map(serde_json::Map::len)
        );
        assert_eq!([desk.admits(&next), desk.admits(&first)], [200, 200], "tokens live side by side");
        last = next;
    }
    let began = now();
    wait_for("another second", || now() > began);
    assert_ne!(desk.token(&desk.admin).session, first.session, "an exchange begins a session");
}

#[test]
fn an_access_token_does_not_outlive_the_end_of_its_session() {
    let desk = Desk::with("access_lifetime = \"10m\"\nrefresh_lifetime = \"10m\"", |c| c);
    let first = desk.token(&desk.reader);
    let end = |token: &str| token.split('_').nth(4).and_then(|end| end.parse::<u64>().ok()).expect("an end");
    wait_for("a second has passed", || now() > end(&first.access) - 600 + 1);
    let next = desk.refresh(&first.refresh);
    assert!(end(&next.access) <= end(&first.refresh));
    assert!(next.answer["expires_in"].as_u64().is_some_and(|s| s < 600), "{}", next.answer["expires_in"]);
}

#[test]
fn a_refresh_is_read_from_a_form_and_from_json() {
    let desk = Desk::start();
    let token = desk.token(&desk.reader).refresh;
    let form = |body: String, kind: &str| post(REFRESH, body.as_bytes()).field("Content-Type", kind);
    let urlencoded = "application/x-www-form-urlencoded";
    for fine in [
        form(format!("refresh_token={token}"), urlencoded),
        form(format!("refresh_token={token}"), "application/x-www-form-urlencoded; charset=UTF-8"),
        form(format!("grant_type=refresh_token&refresh_token={token}&client_id=a+b%20c"), urlencoded),
        form(format!("refresh_token={}", token.replace('_', "%5F")), urlencoded),
        form(json!({ "refresh_token": token }).to_string(), "application/json"),
        form(json!({ "access_token": "x", "refresh_token": token }).to_string(), "application/json; charset=utf-8"),
    ] {
        let response = desk.send(&fine);
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(response.header("cache-control"), Some("no-store"));
        assert_eq!(desk.admits(desk.issued(&response)), 200);
    }
}

#[test]
fn each_token_is_good_for_its_own_use_alone() {
    let desk = Desk::start();
    let issued = desk.token(&desk.admin);
    let refused = desk.send(&exchange::refresh(&issued.access));
    assert_eq!((refused.status, exchange::message(&refused).as_str()), (401, exchange::NOT_VALID));
    let refused = desk.send(&exchange::refresh(&desk.admin.encoded));
    assert_eq!((refused.status, exchange::message(&refused).as_str()), (401, exchange::NOT_VALID));
    for request in [get("/x").bearer(&issued.refresh), get("/x").field("X-API-Key", &issued.refresh)] {
        let response = desk.node.send(&request);
        assert_eq!(
            (response.status, &response.json()["type"]),
            (401, &json!("urn:keygate:problem:invalid-credential"))
        );
    }
    // A JWT is no credential of ours on a route: it is the API's, and nobody is admitted for it.
    assert_eq!(desk.admits(desk.jwt(&desk.admin).text()), 401);
    assert_eq!(desk.upstream.count(), 0);
}

#[test]
fn what_is_not_asked_for_is_ignored() {
    let desk = Desk::start();
    let deep = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
    let body = |jwt: &str| format!("{{\"more\":[{{\"jwt\":1}}],\"jwt\":\"{jwt}\",\"client\":\"x\",\"deep\":{deep}}}");
    let jwt =
        || desk.jwt(&desk.reader).with("extra", json!({ "a": [1, 2] })).with("iss", "me").with("sub", "me").text();
    for kind in
        [None, Some("application/json"), Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("?")]
    {
        let request = post(EXCHANGE, body(&jwt()).as_bytes());
        let request = kind.iter().fold(request, |r, kind| r.field("Content-Type", kind));
        assert_eq!(desk.send(&request).status, 200, "{kind:?}");
    }
    let spaced = format!(" \r\n\t{{ \"jwt\" :\n \"{}\" }}\n", jwt());
    assert_eq!(desk.send(&post(EXCHANGE, spaced.as_bytes())).status, 200);
    // Other credentials beside it say nothing, valid or not.
    for other in [desk.admin.encoded.as_str(), "kg_1_nonsense", "eyJ.e30.c2ln"] {
        let response = desk.send(&exchange(&jwt()).bearer(other).field("X-API-Key", other));
        assert_eq!(desk.issued(&response).answer["scope"], "READONLY");
    }
    let host = exchange(&jwt()).host("another.test");
    assert_eq!(desk.send(&host).status, 200, "on every host");
}

#[test]
fn names_of_every_kind_can_be_exchanged() {
    let desk = Desk::start();
    for name in ["Überwachung \"Nord\"", "日本 \\ 語", "a.b/c?d#e", "🦀"] {
        let key = desk.key_add(name, "readonly");
        assert_eq!(desk.admits(desk.token(&key)), 200, "{name}");
    }
}

#[test]
fn the_paths_are_settings() {
    let desk = Desk::with("path = \"/login\"\nrefresh_path = \"/login-again\"", |c| c);
    let body = json!({ "jwt": desk.jwt(&desk.reader).text() }).to_string();
    let issued = desk.issued(&desk.send(&post("/login", body.as_bytes())));
    let form = format!("refresh_token={}", issued.refresh);
    assert_eq!(desk.admits(desk.issued(&desk.send(&post("/login-again", form.as_bytes())))), 200);
    // The usual ones are the API's then.
    assert_eq!(desk.send(&post(EXCHANGE, b"{}").bearer(&desk.admin)).status, 200);
    assert_eq!(desk.upstream.only(EXCHANGE).method(), "POST");
}

#[test]
fn keys_sent_straight_and_tokens_work_side_by_side_with_several_upstreams() {
    let (one, two, three) = (Upstream::named("one"), Upstream::named("two"), Upstream::named("three"));
    let desk = Desk::with("", |c| {
        c.upstream("one", &[&one], "")
            .upstream("two", &[&two], "")
            .upstream("three", &[&three], "")
            .route("path = \"/one\"\nupstream = \"one\"")
            .route("path = \"/two\"\nupstream = \"two\"")
            .route("host = \"three.test\"\npath = \"/\"\nupstream = \"three\"")
    });
    let straight = desk.key_add("straight", "readonly");
    let token = desk.token(&desk.reader).access;
    for credential in [straight.encoded.as_str(), &token] {
        for (place, upstream) in [
            (get("/one/x"), "one"),
            (get("/two/x"), "two"),
            (get("/one/x").host("three.test"), "three"),
            (get("/else"), "upstream"),
        ] {
            let response = desk.node.send(&place.bearer(credential));
            assert_eq!((response.status, response.header("x-upstream")), (200, Some(upstream)));
        }
    }
    // One key may do both at once; and on a host of its own the exchange is the same.
    assert_eq!(desk.admits(&desk.reader), 200);
    let request = exchange(&desk.jwt(&straight).text()).host("three.test");
    assert_eq!(desk.admits(desk.issued(&desk.send(&request))), 200);
}

/// Endpoints that are not there: what is sent to their paths is the API's, or refused for want of a key.
#[track_caller]
fn assert_is_off(gateway: &Gateway, upstream: &Upstream, token: &str, admin: &str) {
    let before = upstream.count();
    for path in [EXCHANGE, REFRESH] {
        let refused = gateway.node.send(&post(path, b"{}"));
        assert_eq!((refused.status, &refused.json()["type"]), (401, &json!("urn:keygate:problem:missing-credential")));
        let forwarded = gateway.node.send(&post(path, b"{}").bearer(admin));
        assert_eq!((forwarded.status, forwarded.header("x-upstream")), (200, Some("upstream")));
    }
    assert_eq!(upstream.count(), before + 2);
    let refused = gateway.node.get("/x", token);
    assert_eq!((refused.status, &refused.json()["type"]), (401, &json!("urn:keygate:problem:invalid-credential")));
}

#[test]
fn without_its_table_there_are_no_endpoints_and_no_tokens() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::in_front_of(&upstream));
    let admin = gateway.key_add("admin", "admin");
    let made_up = format!("kgt_1_{}_1_4000000000_{}", admin.id, "0".repeat(40));
    assert_is_off(&gateway, &upstream, &made_up, &admin.encoded);
}

#[test]
fn reload_turns_it_on_and_off_and_changes_its_settings() {
    let upstream = Upstream::echo();
    let off = Config::in_front_of(&upstream);
    let gateway = Gateway::start(&off);
    let admin = gateway.key_add("admin", "admin");
    let secret = gateway.shared_secret();
    let load = |config: &Config| {
        gateway.write_config(config);
        gateway.cli(&["reload"]).expect(0);
    };
    let token = || {
        let response = gateway.node.send(&exchange(&exchange::jwt(&admin, &secret).text()));
        assert_eq!(response.status, 200, "{}", response.text());
        exchange::issued(&gateway.secrets, &response)
    };
    load(&off.clone().token_exchange(""));
    let first = token();
    assert_eq!(gateway.node.get("/x", &first).status, 200, "on when the command has returned");
    load(&off);
    assert_is_off(&gateway, &upstream, &first.access, &admin.encoded);
    load(&off.clone().token_exchange("access_lifetime = \"1m\"\npath = \"/token\""));
    assert_eq!(gateway.node.get("/x", &first).status, 200, "nothing has revoked it");
    let jwt = exchange::jwt(&admin, &secret).text();
    let response = gateway.node.send(&exchange(&jwt).to("/token"));
    let second = exchange::issued(&gateway.secrets, &response);
    assert_eq!(second.answer["expires_in"], 60);
    assert_eq!(gateway.node.get("/x", &second).status, 200);
}

#[test]
fn an_exchange_is_a_login_and_so_is_each_request() {
    let desk = Desk::start();
    let from = exchange::fresh_address();
    desk.issued(&desk.send_from(from, &exchange(&desk.jwt(&desk.reader).text())));
    wait_for("the exchange is noted", || desk.last_login(&desk.reader.id).is_some());
    let listed = desk.listed(&desk.reader.id);
    assert_eq!(listed["last_address"], from.to_string(), "{listed}");

    let issued = desk.token(&desk.admin);
    wait_for("the exchange is noted", || desk.last_login(&desk.admin.id).is_some());
    let count = |id: &str| desk.json(&["key", "show", id])["use_count"].as_u64().expect("a count");
    wait_for("it is counted", || count(&desk.admin.id) == 1);
    let first = desk.last_login(&desk.admin.id);
    wait_for("the clock goes on", || {
        assert_eq!(desk.admits(&issued), 200);
        desk.last_login(&desk.admin.id) > first
    });
    assert_eq!(desk.listed(&desk.admin.id)["last_address"], "127.0.0.1");

    // What was refused is none.
    let quiet = desk.key_add("quiet", "readonly");
    let stale = desk.jwt(&quiet).with("iat", now() - 1000);
    assert_eq!(desk.present(&stale.text()).status, 401);
    let uses = count(&desk.admin.id);
    assert_eq!(desk.admits(&issued), 200);
    wait_for("the next login is written", || count(&desk.admin.id) > uses);
    assert_eq!(desk.last_login(&quiet.id), None);
}

#[test]
fn tokens_survive_a_restart_of_the_gateway() {
    let mut desk = Desk::start();
    let issued = desk.token(&desk.reader);
    desk.gateway.restart();
    assert_eq!(desk.admits(&issued), 200);
    assert_eq!(desk.admits(desk.refresh(&issued.refresh)), 200);
}
