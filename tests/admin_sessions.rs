//! Logging in: sessions, how they end, one-time links, and what becomes of who tries too often.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::admin::{Api, COOKIE, Plane, problem, session_in};
use crate::support::site::text_at;
use crate::support::{Response, wait_for, wait_for_some};

#[track_caller]
fn assert_ended(session: &Api) {
    let response = session.get("/v1/session");
    assert_eq!(problem(&response), (401, "unauthenticated".to_owned()));
}

#[test]
fn a_login_sets_a_cookie_that_scripts_and_other_sites_do_not_get() {
    let plane = Plane::start();
    let response = plane.anonymous().log_in(&plane.admin.token);
    assert_eq!(response.status, 200, "{}", response.text());
    let cookie = response.header("set-cookie").expect("Set-Cookie").to_owned();
    let parts: BTreeSet<&str> = cookie.split("; ").skip(1).collect();
    assert_eq!(parts, BTreeSet::from(["HttpOnly", "Path=/", "SameSite=Strict"]), "{cookie}");
    let session = session_in(&response);
    assert!(regex::Regex::new("^[0-9A-Za-z]{43}$").unwrap().is_match(&session));
    plane.secrets.learn_exactly(&session);
    let body = response.json();
    assert_eq!((&body["operator"]["id"], &body["operator"]["role"]), (&plane.admin.id.clone().into(), &"admin".into()));
    assert_eq!(body["idle_timeout_s"], 1800);
    assert!(!response.text().contains(&session), "only the cookie has it");
    let shown = plane.anonymous().cookie(&session).get("/v1/session");
    assert_eq!((shown.status, shown.json()), (200, body));
    // A token is no session: nothing of it ends by itself.
    let by_token = plane.api().get("/v1/session").json();
    assert_eq!((&by_token["operator"]["id"], &by_token["expires_at"]), (&plane.admin.id.clone().into(), &json!(null)));
}

#[test]
fn logging_out_ends_the_session_and_takes_the_cookie_back() {
    let plane = Plane::start();
    let [session, other] = [(); 2].map(|()| plane.log_in(&plane.admin.token));
    let response = session.clone().sent_by_own_page().delete("/v1/session");
    assert_eq!(response.status, 204);
    let cookie = response.header("set-cookie").expect("Set-Cookie");
    assert!(cookie.starts_with(&format!("{COOKIE}=;")) && cookie.contains("Max-Age=0"), "{cookie}");
    assert_ended(&session);
    assert_eq!(other.get("/v1/session").status, 200, "another session of the same operator goes on");
    assert_eq!(plane.audit("session.create").len(), 2);
    let ended = plane.audit("session.delete");
    assert_eq!(ended.len(), 1);
    assert_eq!(
        (&ended[0]["who"], &ended[0]["from"]),
        (&json!(format!("operator:{}", plane.admin.id)), &json!("127.0.0.1"))
    );
}

#[test]
fn logging_in_anew_replaces_the_session_of_the_same_browser() {
    let plane = Plane::start();
    let first = plane.log_in(&plane.admin.token);
    let second = session_in(&first.clone().sent_by_own_page().log_in(&plane.viewer.token));
    assert_ended(&first);
    let role = plane.anonymous().cookie(&second).get("/v1/session").json()["operator"]["role"].clone();
    assert_eq!(role, "viewer");
}

#[test]
fn a_session_ends_when_it_is_not_used() {
    let plane = Plane::with("session_idle = \"3s\"");
    let [used, idle] = [(); 2].map(|()| plane.log_in(&plane.admin.token));
    let start = Instant::now();
    wait_for("twice the idle time has gone by", || {
        assert_eq!(used.get("/v1/session").status, 200, "after {:?}", start.elapsed());
        std::thread::sleep(Duration::from_millis(100));
        start.elapsed() > Duration::from_secs(6)
    });
    assert_ended(&idle);
}

#[test]
fn a_session_ends_after_its_longest_time_however_much_it_is_used() {
    let plane = Plane::with("session_max = \"2s\"");
    let start = Instant::now();
    let session = plane.log_in(&plane.admin.token);
    wait_for("the session ends", || session.get("/v1/session").status == 401);
    let took = start.elapsed();
    assert!(took > Duration::from_millis(1900), "after {took:?}");
    assert_ended(&session);
}

#[test]
fn a_page_that_only_looks_does_not_keep_its_session() {
    let plane = Plane::with("session_idle = \"2s\"");
    let session = plane.log_in(&plane.admin.token).field("X-Keygate-Background", "1");
    wait_for("the session ends", || session.get("/v1/api-keys").status == 401);
}

#[test]
fn removing_or_rotating_an_operator_ends_what_it_had() {
    let plane = Plane::start();
    for how in ["remove", "rotate", "DELETE", "rotation by the API"] {
        let operator = plane.operator("bob", "admin");
        let session = plane.log_in(&operator.token);
        let by_token = plane.anonymous().bearer(&operator.token);
        let link = plane.api().act(&format!("/v1/operators/{}/login-link", operator.id));
        assert_eq!([session.get("/v1/nodes").status, by_token.get("/v1/nodes").status], [200; 2]);
        let answer = match how {
            "DELETE" => plane.api().delete(&format!("/v1/operators/{}", operator.id)),
            "rotation by the API" => plane.api().act(&format!("/v1/operators/{}/rotate", operator.id)),
            command => {
                plane.cli(&["operator", command, "bob", "--yes"]).expect(0);
                plane.api().get("/v1/session")
            }
        };
        assert!(answer.status < 300, "{how}: {}", answer.text());
        assert_ended(&session);
        assert_ended(&by_token);
        let late = plane.anonymous().log_in(&text_at(&link.json(), "token"));
        assert_eq!(problem(&late), (401, "unauthenticated".to_owned()), "{how}: a link that was made before");
        if how.starts_with("rot") {
            plane.cli(&["operator", "remove", "bob", "--yes"]).expect(0);
        }
    }
}

#[test]
fn a_rotated_token_works_and_is_told_once() {
    let plane = Plane::start();
    let answer = plane.api().act(&format!("/v1/operators/{}/rotate", plane.viewer.id));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let token = text_at(&answer.json(), "token");
    assert_eq!(plane.anonymous().bearer(&token).get("/v1/nodes").status, 200);
    plane.secrets.assert_absent("the list", &plane.api().get("/v1/operators").body);
}

#[test]
fn a_login_link_opens_one_session_and_does_nothing_else() {
    let plane = Plane::start();
    let from_api = plane.api().act(&format!("/v1/operators/{}/login-link", plane.viewer.id));
    assert_eq!(from_api.status, 200, "{}", from_api.text());
    let (token, url) = (text_at(&from_api.json(), "token"), text_at(&from_api.json(), "url"));
    assert_eq!(url, format!("{}/#login={token}", plane.anonymous().origin()));
    let by_token = plane.anonymous().bearer(&token).get("/v1/session");
    assert_eq!(problem(&by_token), (401, "unauthenticated".to_owned()), "it is no operator's token");
    let login = plane.anonymous().log_in(&token);
    assert_eq!((login.status, &login.json()["operator"]["name"]), (200, &json!("vic")));
    assert_eq!(problem(&plane.anonymous().log_in(&token)).0, 401, "once");
    // The command line makes the same.
    let told = plane.cli(&["operator", "login", "ada"]).expect(0).stdout;
    let token = told.split(['=', '\n']).find(|t| t.trim().starts_with("kgo_")).expect("a token").trim();
    assert_eq!(plane.anonymous().log_in(token).json()["operator"]["role"], "admin");
    assert_eq!(plane.audit("login_link.create").len(), 2);
}

#[test]
fn of_many_who_use_a_link_at_once_one_gets_in() {
    let plane = Plane::start();
    let link = plane.api().act(&format!("/v1/operators/{}/login-link", plane.viewer.id)).json();
    let token = text_at(&link, "token");
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let logins: Vec<_> = (0..4).map(|_| scope.spawn(|| plane.anonymous().log_in(&token).status)).collect();
        logins.into_iter().map(|login| login.join().expect("an answer")).collect()
    });
    assert_eq!(statuses.iter().filter(|s| **s == 200).count(), 1, "{statuses:?}");
}

#[test]
fn who_fails_to_log_in_often_has_to_wait() {
    let plane = Plane::start();
    let session = plane.log_in(&plane.viewer.token);
    let wrong = format!("kgo_{}_{}", plane.admin.id, "x".repeat(43));
    let mut refused = 0;
    let slowed: Response = wait_for_some("logins are slowed", || {
        let response = plane.anonymous().log_in(&wrong);
        refused += u64::from(response.status == 401);
        assert!(refused < 20, "nobody slows this");
        (response.status != 401).then_some(response)
    });
    assert_eq!(problem(&slowed), (429, "too-many-logins".to_owned()));
    let seconds: u64 = slowed.header("retry-after").and_then(|s| s.parse().ok()).expect("Retry-After in seconds");
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert_eq!(session.get("/v1/nodes").status, 200, "who is logged in does not wait");
    wait_for("the wait ends", || plane.anonymous().log_in(&plane.admin.token).status == 200);
    let records = plane.audit("session.refused");
    assert!(!records.is_empty() && records.len() as u64 <= refused, "{records:?}");
    assert_eq!(records[0]["from"], "127.0.0.1");
}

#[test]
fn sessions_outlive_the_process_and_work_on_every_node() {
    let mut plane = Plane::start();
    let session = plane.log_in(&plane.admin.token);
    let cookie = session.request("GET", "/v1/session");
    plane.gateway.restart();
    let address = plane.node.admin_address();
    let moved = cookie.host(&address.to_string());
    assert_eq!(plane.anonymous().send(&moved).status, 200);
}
