//! Requests of the admin plane that look like something else: names, cookies, paths and methods that are nearly ours,
//! requests that are two at once, what pages of others can make a browser send. Who may do what is in `admin_access`.

use serde_json::{Value, json};

use crate::support::Client;
use crate::support::admin::{Api, COOKIE, Plane, json_body, key_target, problem, session_in};

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
    let login = json.send(&json_body(
        json.request("POST", "/v1/session"),
        &json!({ "token": crate::admin_attacks::wrong_token(&plane.admin) }),
    ));
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
