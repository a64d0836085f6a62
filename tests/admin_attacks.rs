//! Attacks on the admin plane of the real binary: races with the end of a credential, keeping operators out, requests
//! that are two things at once, names and cookies that are nearly ours. Who may do what is in `admin_access`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::admin::{Api, COOKIE, Operator, Plane, json_body, key_target, problem, session_in};
use crate::support::site::text_at;
use crate::support::{Client, Config, Request, Response, count, wait_for};

/// More than the listener has places.
const CROWD: usize = 300;

/// A token that is one by its form alone.
fn wrong_token(operator: &Operator) -> String {
    format!("kgo_{}_{}", operator.id, "x".repeat(43))
}

/// What so many clients at once are answered.
fn at_once<T: Send>(clients: usize, ask: impl Fn(usize) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let ask = &ask;
        let clients: Vec<_> = (0..clients).map(|n| scope.spawn(move || ask(n))).collect();
        clients.into_iter().map(|client| client.join().expect("an answer")).collect()
    })
}

fn statuses(answers: &[Response]) -> Vec<u16> {
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    statuses
}

/// A request whose body is held back. It is sent when the gateway has asked for it, and so has looked at who asks.
struct Held {
    client: Client,
    body: Vec<u8>,
}

impl Held {
    fn begin(plane: &Plane, request: Request, body: &Value) -> Self {
        let body = body.to_string().into_bytes();
        let request = request
            .field("Content-Type", "application/json")
            .field("Content-Length", &body.len().to_string())
            .field("Expect", "100-continue");
        let mut client = Client::connect(plane.node.admin_address());
        client.send(&request.bytes());
        let asked = client.read_some();
        assert!(asked.starts_with(b"HTTP/1.1 100 "), "{}", String::from_utf8_lossy(&asked));
        Self { client, body }
    }

    fn finish(mut self) -> Response {
        self.client.send(&self.body);
        self.client.read("POST")
    }
}

/// Nobody can write into the store until it is dropped.
struct Locked(Child);

impl Locked {
    fn new(plane: &Plane) -> Self {
        let mut sqlite = Command::new("sqlite3")
            .arg(plane.path("keygate.db"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sqlite3 runs");
        let stdin = sqlite.stdin.as_mut().expect("a pipe");
        stdin.write_all(b".timeout 10000\nBEGIN IMMEDIATE;\nSELECT 'locked';\n").expect("sqlite3 reads");
        let mut line = String::new();
        BufReader::new(sqlite.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("a line");
        assert_eq!(line.trim(), "locked");
        Self(sqlite)
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        drop(self.0.stdin.take()); // the end of its input, at which it rolls back
        let _ = self.0.wait();
    }
}

#[test]
fn a_login_that_is_under_way_while_its_token_is_replaced_opens_nothing() {
    let plane = Plane::start();
    let is_over = AtomicBool::new(false);
    let sessions = thread::scope(|scope| {
        let clients: Vec<_> = (0..count(24, 60))
            .map(|_| {
                scope.spawn(|| {
                    let mut sessions = Vec::new();
                    while !is_over.load(Ordering::Relaxed) {
                        let login = plane.anonymous().log_in(&plane.viewer.token);
                        if login.status != 200 {
                            break;
                        }
                        sessions.push(session_in(&login));
                    }
                    sessions
                })
            })
            .collect();
        wait_for("logins are under way", || plane.audit("session.create").len() > 48);
        let rotated = plane.api().act(&format!("/v1/operators/{}/rotate", plane.viewer.id));
        assert_eq!(rotated.status, 200, "{}", rotated.text());
        is_over.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().expect("sessions")).collect::<Vec<_>>()
    });
    let alive = sessions.iter().filter(|s| plane.anonymous().cookie(s).get("/v1/session").status == 200).count();
    assert_eq!(alive, 0, "of {} sessions by the token that was replaced", sessions.len());
}

#[test]
fn what_comes_slowly_is_not_done_for_who_is_no_operator_any_more() {
    let plane = Plane::start();
    let ends: [(&str, fn(&Plane, &Operator, &Api)); 4] = [
        ("removed", |plane, bob, _| assert_eq!(plane.api().delete(&format!("/v1/operators/{}", bob.id)).status, 204)),
        ("removed by command", |plane, _, _| drop(plane.cli(&["operator", "remove", "bob", "--yes"]).expect(0))),
        ("rotated", |plane, bob, _| {
            assert_eq!(plane.api().act(&format!("/v1/operators/{}/rotate", bob.id)).status, 200);
            plane.cli(&["operator", "remove", "bob", "--yes"]).expect(0);
        }),
        ("logged out", |plane, _, session| {
            assert_eq!(session.delete("/v1/session").status, 204);
            plane.cli(&["operator", "remove", "bob", "--yes"]).expect(0);
        }),
    ];
    for (how, end) in ends {
        let bob = plane.operator("bob", "admin");
        let session = plane.log_in(&bob.token).sent_by_own_page();
        let apis = match how {
            "logged out" => vec![session.clone()],
            _ => vec![session.clone(), plane.anonymous().bearer(&bob.token)],
        };
        let held: Vec<_> = apis
            .iter()
            .flat_map(|api| {
                [
                    ("/v1/operators", json!({ "name": "intruder", "role": "admin" })),
                    ("/v1/api-keys", json!({ "name": "intruder", "role": "ADMIN" })),
                    ("/v1/shared-secret/regenerate?wait=none", json!({ "expected_version": 1 })),
                ]
                .map(|(target, body)| Held::begin(&plane, api.request("POST", target), &body))
            })
            .collect();
        end(&plane, &bob, &session);
        for held in held {
            let answer = held.finish();
            assert_eq!(problem(&answer), (401, "unauthenticated".to_owned()), "{how}");
        }
    }
    assert_eq!(plane.api().get("/v1/api-keys").json()["api_keys"], json!([]));
    assert_eq!(plane.api().get("/v1/shared-secret/impact").json()["version"], 1);
    let operators = plane.api().get("/v1/operators").text();
    assert!(!operators.contains("intruder"), "{operators}");
}

#[test]
fn no_token_is_told_to_who_is_no_operator_any_more() {
    let plane = Plane::start();
    let bob = plane.operator("bob", "admin");
    let by_bob = plane.anonymous().bearer(&bob.token);
    let answers = thread::scope(|scope| {
        let clients: Vec<_> = (0..count(24, 60))
            .map(|client| {
                let by_bob = by_bob.clone();
                scope.spawn(move || {
                    let make = |n| json!({ "name": format!("friend {client} {n}"), "role": "viewer" });
                    let answers = (0..).map(|n| by_bob.post("/v1/operators", &make(n)));
                    answers.take_while(|answer| answer.status == 201).collect::<Vec<_>>()
                })
            })
            .collect();
        wait_for("operators are made", || plane.audit("operator.create").len() > 48);
        assert_eq!(plane.api().delete(&format!("/v1/operators/{}", bob.id)).status, 204);
        clients.into_iter().flat_map(|client| client.join().expect("answers")).collect::<Vec<_>>()
    });
    let told: Vec<String> = answers.iter().map(|answer| text_at(&answer.json(), "id")).collect();
    let removed = &plane.audit("operator.delete")[0]["id"];
    let made = plane.audit("operator.create");
    let late = made.iter().filter(|record| record["id"].as_u64() > removed.as_u64());
    let late_and_told: Vec<_> = late.filter(|record| told.contains(&text_at(record, "subject"))).collect();
    assert!(late_and_told.is_empty(), "{late_and_told:?}");
}

#[test]
fn whoever_fails_does_not_keep_operators_out() {
    let plane = Plane::start();
    let wrong = wrong_token(&plane.admin);
    wait_for("logins from this address are slowed", || plane.anonymous().log_in(&wrong).status == 429);
    let answers = at_once(20, |_| plane.anonymous().bearer(&wrong).get("/v1/nodes"));
    assert!(statuses(&answers).contains(&429), "{:?}", statuses(&answers));
    assert_eq!(plane.anonymous().log_in(&wrong).status, 429);
    assert_eq!(plane.anonymous().log_in(&plane.viewer.token).status, 200, "the page lets operators in");
    wait_for("they are slowed again", || plane.anonymous().log_in(&wrong).status == 429);
    assert_eq!(plane.api().get("/v1/nodes").status, 200, "so does the API");
}

#[test]
fn who_tries_many_tokens_at_once_or_from_invented_addresses_is_slowed_all_the_same() {
    let plane = Plane::start();
    let wrong = wrong_token(&plane.viewer);
    let begun = Instant::now();
    let answers = at_once(60, |n| {
        let invented = format!("203.0.113.{n}");
        let api = plane.anonymous().bearer(&wrong).field("X-Forwarded-For", &invented).field("X-Real-IP", &invented);
        api.field("Forwarded", &format!("for={invented}")).get("/v1/nodes")
    });
    let refused = statuses(&answers).iter().filter(|status| **status == 401).count();
    // Four cost nothing, and one more comes through whenever a wait ends: after 1 s, 2 s, 4 s.
    let ended = usize::try_from(begun.elapsed().as_secs()).expect("a number");
    assert!(refused <= 5 + ended, "{refused} were looked at");
    let records = plane.audit("session.refused");
    assert_eq!((records.len(), &records[0]["from"]), (1, &json!("127.0.0.1")), "{records:?}");
}

#[test]
fn connections_without_an_operator_do_not_keep_operators_out() {
    let plane = Plane::with("request_timeout = \"5m\"");
    let host = plane.node.admin_address().to_string();
    let slow_login = format!(
        "POST /v1/session HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    );
    let answered = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    for begun in ["", "GET /v1/nodes HTTP/1.1\r\nHost: ", &slow_login, &answered] {
        let crowd: Vec<_> = (0..CROWD)
            .map(|_| {
                let mut client = Client::connect(plane.node.admin_address());
                // Those that had to give way may be closed already.
                let _ = client.try_send(begun.as_bytes());
                client
            })
            .collect();
        assert_eq!(plane.api().get("/v1/nodes").status, 200, "behind {begun:?}");
        assert_eq!(plane.anonymous().log_in(&plane.viewer.token).status, 200, "behind {begun:?}");
        drop(crowd);
    }
}

#[test]
fn who_waits_for_a_node_and_goes_away_leaves_no_place_taken() {
    let plane = Plane::start();
    let other = plane.serve_another(&Config::in_front_of(&plane.upstream));
    let key = key_target(&plane.api().add_key("app", "ADMIN"));
    crate::fleet::pause_outside_of_transactions(&other, &plane);
    let disabled = plane.api().act(&format!("{key}/disable?wait=none")).json();
    assert_eq!(disabled["revocation"]["promise_held"], false, "{disabled}");
    let look = plane.viewer().request("GET", &format!("/v1/revisions/{}", disabled["revision"])).bytes();
    let crowd: Vec<_> = (0..CROWD)
        .map(|_| {
            let mut client = Client::connect(plane.node.admin_address());
            client.send(&look);
            client
        })
        .collect();
    drop(crowd);
    assert_eq!(plane.api().get("/v1/nodes").status, 200);
    other.resume();
}

#[test]
fn a_session_can_look_on_while_nothing_can_be_written() {
    let plane = Plane::with("session_idle = \"20s\"");
    let session = plane.log_in(&plane.viewer.token);
    let begun = Instant::now();
    // By then it is due to be written that it is in use.
    wait_for("a tenth of the idle time is over", || begun.elapsed() > Duration::from_millis(2_100));
    let locked = Locked::new(&plane);
    assert_eq!(session.get("/v1/nodes").status, 200);
    drop(locked);
    assert_eq!(session.get("/v1/nodes").status, 200);
}

#[test]
fn a_viewer_who_searches_without_end_does_not_keep_changes_from_being_made() {
    let plane = Plane::start();
    let key = plane.api().add_key("app", "ADMIN");
    assert_eq!(plane.admits(&text_at(&key, "encoded_key")), 200);
    // So many records that a search among them takes a while.
    let fill = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400000)
        INSERT INTO audit (at, who, origin, action, subject, detail) SELECT 0, 'system', '', 'x', '', '{}' FROM n;";
    let filled =
        Command::new("sqlite3").args(["-cmd", ".timeout 10000"]).arg(plane.path("keygate.db")).arg(fill).output();
    assert!(filled.expect("sqlite3 runs").status.success());
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..80 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let mut client = Client::connect(plane.node.admin_address());
                    client.send(&plane.viewer().request("GET", "/v1/audit?who=nobody").bytes());
                    // Some wait for the answer, some go away.
                    if client.local().port() % 8 == 0 {
                        thread::sleep(Duration::from_millis(20));
                    } else {
                        let _ = client.try_read("GET");
                    }
                }
            });
        }
        let begun = Instant::now();
        let disabled = plane.api().act(&format!("{}/disable", key_target(&key)));
        let took = begun.elapsed();
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(disabled.status, 200, "{}", disabled.text());
        assert_eq!(disabled.json()["revocation"]["fenced"], json!([]), "{}", disabled.text());
        assert!(took < Duration::from_secs(10), "after {took:?}");
    });
    assert_eq!(plane.admits(&text_at(&key, "encoded_key")), 401);
}

#[test]
fn a_neighbour_on_the_same_host_leaves_no_trace_of_an_operator() {
    let plane = Plane::start();
    let session = plane.log_in(&plane.admin.token);
    for site in ["same-site", "cross-site", "nonsense"] {
        let read = session.clone().field("Sec-Fetch-Site", site).get("/v1/shared-secret");
        assert_eq!(problem(&read), (403, "cross-origin".to_owned()), "{site}");
    }
    assert_eq!(plane.audit("shared_secret.view"), Vec::<Value>::new());
    for site in ["same-origin", "none"] {
        assert_eq!(session.clone().field("Sec-Fetch-Site", site).get("/v1/openapi.json").status, 200, "{site}");
    }
}

#[test]
fn a_host_that_only_begins_like_ours_is_not_ours() {
    let plane = Plane::start();
    let address = plane.node.admin_address();
    for host in [
        format!("{address}.evil.example"),
        format!("localhost:{}@evil.example", address.port()),
        format!("evil.example@{address}"),
        "localhost:99999".to_owned(),
        "127.0.0.1:80:80".to_owned(),
        "localhost%00.evil.example".to_owned(),
        "localhost,evil.example".to_owned(),
        "0.0.0.0".to_owned(),
        "127.1".to_owned(),
    ] {
        let answer = plane.api().host(&host).get("/v1/session");
        assert_eq!(answer.status, 421, "{host}: {}", answer.text());
    }
    let absolute = plane.api().get("http://evil.example/v1/session");
    assert_eq!(problem(&absolute), (421, "misdirected".to_owned()));
}

#[test]
fn two_administrators_who_remove_each_other_are_not_both_removed() {
    let plane = Plane::start();
    // `init` made one too.
    for operator in plane.api().get("/v1/operators").json()["operators"].as_array().expect("operators") {
        if operator["id"] != plane.admin.id && operator["role"] == "admin" {
            assert_eq!(plane.api().delete(&format!("/v1/operators/{}", text_at(operator, "id"))).status, 204);
        }
    }
    let mut left = plane.admin.clone();
    for round in 0..count(8, 40) {
        let second = plane.operator(&format!("second {round}"), "admin");
        let both = [left, second];
        let by = |n: usize| plane.anonymous().bearer(&both[n].token);
        let answers = at_once(2, |n| by(n).delete(&format!("/v1/operators/{}", both[1 - n].id)));
        let removed = answers.iter().filter(|answer| answer.status == 204).count();
        assert_eq!(removed, 1, "{:?}", statuses(&answers));
        let stays = usize::from(by(0).get("/v1/session").status != 200);
        assert_eq!(by(stays).get("/v1/session").status, 200);
        left = both[stays].clone();
    }
}

#[test]
fn of_many_who_change_the_same_at_once_one_does() {
    let plane = Plane::start();
    let key = plane.api().add_key("app", "ADMIN");
    let tag = format!("\"{}\"", key["revision"]);
    let answers = at_once(12, |n| {
        let change = json!({ "description": format!("{n}") });
        plane.api().field("If-Match", &tag).patch(&key_target(&key), &change)
    });
    assert_eq!(statuses(&answers), [&[200][..], &[412; 11]].concat());
    let answers = at_once(12, |_| plane.api().post("/v1/shared-secret/regenerate", &json!({ "expected_version": 1 })));
    assert_eq!(statuses(&answers), [&[200][..], &[409; 11]].concat());
    let same = json!({ "name": "same", "role": "ADMIN" });
    let answers = at_once(12, |_| plane.api().post("/v1/api-keys", &same));
    assert_eq!(statuses(&answers), [&[201][..], &[409; 11]].concat());
}

#[test]
fn a_request_is_one_request() {
    let plane = Plane::with("request_timeout = \"1s\"");
    let host = plane.node.admin_address().to_string();
    let token = &plane.admin.token;
    let inner = format!("GET /v1/operators HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n");
    let post = |path: &str, fields: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n{fields}\r\n")
    };
    let length = inner.len();
    for (what, head) in [
        ("a body that is refused unread", post("/v1/api-keys", &format!("Content-Length: {length}\r\n"))),
        ("a body of nothing that is there", post("/v1/nothing", &format!("Content-Length: {length}\r\n"))),
        ("a body for another Host", post("/", &format!("Content-Length: {length}\r\n")).replace(&host, "evil.example")),
        (
            "both framings",
            post("/v1/session", &format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n")) + "0\r\n\r\n",
        ),
        ("two lengths", post("/v1/session", &format!("Content-Length: {length}\r\nContent-Length: 0\r\n"))),
        ("a list of lengths", post("/v1/session", "Content-Length: 0, 0\r\n")),
        ("a signed length", post("/v1/session", "Content-Length: +0\r\n")),
        ("a space before the colon", post("/v1/session", &format!("Content-Length : {length}\r\n"))),
        ("another coding", post("/v1/session", "Transfer-Encoding: chunked, identity\r\n")),
        ("a coding that is none", post("/v1/session", "Transfer-Encoding: xchunked\r\n")),
        ("a folded field", post("/v1/session", "Transfer-Encoding:\r\n chunked\r\n")),
    ] {
        let mut client = Client::connect(plane.node.admin_address());
        client.send(format!("{head}{inner}").as_bytes());
        let first = client.read("POST");
        assert!(first.status >= 400, "{what}: {}", first.status);
        // Then it is over, or what follows is what was not eaten: never the operators.
        if let Ok(second) = client.try_read("GET") {
            panic!("{what}: a second answer, {}: {}", second.status, second.text());
        }
    }
}

#[test]
fn another_spelling_of_a_path_or_a_method_leads_nowhere() {
    let plane = Plane::start();
    let key = key_target(&plane.api().add_key("app", "ADMIN"));
    for target in [
        "//v1/operators",
        "/v1//operators",
        "/v1/operators/",
        "/V1/operators",
        "/v1/Operators",
        "/v1%2foperators",
        "/v1/%6fperators",
        "/v1/operators%00",
        "/v1/operators;x=1",
        "/v1/nodes/../operators",
        "/v1/./operators",
        "*",
    ] {
        for api in [plane.anonymous(), plane.viewer(), plane.api()] {
            assert_eq!(api.get(target).status, 404, "{target}");
        }
    }
    for method in ["HEAD", "GET"] {
        let ask = |api: Api| api.send(&api.request(method, "/v1/shared-secret")).status;
        assert_eq!([ask(plane.anonymous()), ask(plane.viewer())], [401, 403], "{method}");
    }
    for method in ["OPTIONS", "TRACE", "CONNECT", "get", "PUT", "QUERY"] {
        assert_eq!(plane.api().send(&plane.api().request(method, "/v1/shared-secret")).status, 405, "{method}");
    }
    for field in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"] {
        let posted = plane.api().field(field, "DELETE").act(&key);
        assert_eq!(posted.status, 405, "{field}");
        let read = plane.viewer().field(field, "DELETE").get(&key);
        assert_eq!((read.status, &read.json()["state"]), (200, &json!("active")), "{field}");
    }
}

#[test]
fn a_cookie_that_is_nearly_ours_is_not_ours() {
    let plane = Plane::start();
    let session = session_in(&plane.anonymous().log_in(&plane.admin.token));
    let with = |cookie: &str| plane.anonymous().field("Cookie", cookie).get("/v1/session").status;
    assert_eq!(with(&format!("a=1; {COOKIE}={session}; b=2")), 200);
    for cookie in [
        format!("{COOKIE}=\"{session}\""),
        format!("{COOKIE} ={session}"),
        format!("{COOKIE}= {session}"),
        format!("{COOKIE}={session}x"),
        format!("{COOKIE}={session}%20"),
        format!("{COOKIE}={session},{COOKIE}={session}"),
        format!("{COOKIE}={session}; {COOKIE}={session}"),
        format!("{COOKIE}=; {COOKIE}={session}"),
        format!("{}={session}", COOKIE.to_uppercase()),
        format!("__Host-{COOKIE}={session}"),
        format!("__Secure-{COOKIE}={session}"),
        format!("$Version=1; $Path=/; x={COOKIE}={session}"),
        session.clone(),
    ] {
        assert_eq!(with(&cookie), 401, "{cookie}");
    }
    let twice = plane.anonymous().cookie(&session).cookie(&session).get("/v1/session");
    assert_eq!(twice.status, 401, "in two fields");
    // A session that somebody brings is never taken over: a login makes one of its own.
    let brought = "b".repeat(43);
    let login = plane.anonymous().cookie(&brought).log_in(&plane.viewer.token);
    assert_ne!(session_in(&login), brought);
    assert_eq!(plane.anonymous().cookie(&brought).get("/v1/session").status, 401);
}

#[test]
fn a_form_of_another_site_does_nothing_not_even_count_as_a_failure() {
    let plane = Plane::start();
    let session = plane.log_in(&plane.admin.token);
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let from_there = session.clone().field("Origin", "http://evil.example").field("Content-Type", content_type);
        let request = from_there.request("POST", "/v1/session").body(b"{\"token\":\"x\"}");
        for _ in 0..6 {
            let answer = from_there.send(&request);
            assert!([403, 415].contains(&answer.status), "{content_type}: {}", answer.text());
        }
        let request = from_there.request("POST", "/v1/shared-secret/end-grace").body(b"");
        assert_eq!(problem(&from_there.send(&request)).0, 403, "{content_type}");
    }
    // As a page would send what it may send with JSON, if nobody asked before.
    let json = session.clone().field("Origin", "http://evil.example");
    let login =
        json.send(&json_body(json.request("POST", "/v1/session"), &json!({ "token": wrong_token(&plane.admin) })));
    assert_eq!(problem(&login), (403, "cross-origin".to_owned()));
    assert_eq!(plane.audit("session.refused"), Vec::<Value>::new());
}

#[test]
fn numbers_and_texts_at_their_ends_break_nothing() {
    let plane = Plane::start();
    plane.api().add_key("100% \"a\"b*\\_", "ADMIN");
    for (target, status) in [
        ("/v1/audit?cursor=ffffffffffffffff", 200),
        ("/v1/audit?cursor=8000000000000000", 200),
        ("/v1/audit?since=9999-12-31T23:59:59Z", 200),
        ("/v1/audit?who=%25&action=%25&subject=%27%20OR%201", 200),
        ("/v1/revisions/18446744073709551615", 404),
        ("/v1/revisions/9223372036854775808", 404),
        ("/v1/revisions/1?wait=584542046090years", 200),
        ("/v1/api-keys?unused_for=99999d", 200),
        ("/v1/api-keys?q=%22a%22b%2A%5C", 200),
        ("/v1/api-keys?q=%22%20OR%20%22", 200),
        ("/v1/api-keys?q=%27%27%27", 200),
        ("/v1/api-keys?cursor=AAAA", 422),
        ("/v1/api-keys?cursor=eyJzIjoibmFtZSJ9", 422),
    ] {
        let answer = plane.viewer().get(target);
        assert_eq!(answer.status, status, "{target}: {}", answer.text());
    }
    let found = plane.viewer().get("/v1/api-keys?q=%22a%22b%2A%5C").json();
    assert_eq!(found["api_keys"].as_array().expect("api_keys").len(), 1);
    for body in ["[".repeat(60_000), "{\"a\":".repeat(10_000), "{}{}".to_owned(), "\u{feff}{}".to_owned()] {
        let request = plane.api().request("POST", "/v1/api-keys").field("Content-Type", "application/json");
        assert_eq!(plane.api().send(&request.body(body.as_bytes())).status, 400, "{}", &body[..4]);
    }
}
