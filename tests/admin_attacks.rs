//! Attacks on the admin plane of the real binary by time and by number: races with the end of a credential, changes at
//! once, keeping operators out. Requests that look like something else are in `admin_lookalikes`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::admin::{Api, Operator, Plane, key_target, problem, session_in};
use crate::support::site::text_at;
use crate::support::{Client, Config, Request, Response, count, wait_for};

/// More than the listener has places.
const CROWD: usize = 300;

/// A token that is one by its form alone.
pub fn wrong_token(operator: &Operator) -> String {
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

/// Ends the operator `bob`, or this session of it.
type End = fn(&Plane, &Operator, &Api);

#[test]
fn what_comes_slowly_is_not_done_for_who_is_no_operator_any_more() {
    let plane = Plane::start();
    let ends: [(&str, End); 4] = [
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
    wait_for("nobody is slowed any more", || plane.api().get("/v1/nodes").status == 200);
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
    let fill = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000)
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
                    if client.local().port().is_multiple_of(8) {
                        thread::sleep(Duration::from_millis(20));
                    } else {
                        let _ = client.try_read("GET");
                    }
                }
            });
        }
        let disable = plane.api().request("POST", &format!("{}/disable", key_target(&key))).body(b"");
        let begun = Instant::now();
        let disabled = Client::connect(plane.node.admin_address()).try_exchange(&disable);
        let took = begun.elapsed();
        // Whatever came: or the others would never end.
        is_over.store(true, Ordering::Relaxed);
        let disabled = disabled.expect("an answer");
        assert_eq!(disabled.status, 200, "{}", disabled.text());
        assert_eq!(disabled.json()["revocation"]["fenced"], json!([]), "{}", disabled.text());
        assert!(took < Duration::from_secs(10), "after {took:?}");
    });
    assert_eq!(plane.admits(&text_at(&key, "encoded_key")), 401);
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
