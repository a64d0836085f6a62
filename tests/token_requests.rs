//! Requests to the exchange's paths: which methods, which paths, and what becomes of the connection.

use serde_json::json;

use crate::support::exchange::{self, Desk, EXCHANGE, REFRESH, by_method, exchange, fresh_address, message, refresh};
use crate::support::request::{get, post};
use crate::support::{Client, Request, Response, wait_for};

/// In front of an API that is open to everybody: what is not answered here would be forwarded.
fn open() -> Desk {
    Desk::with("", |c| {
        c.route("path = \"/open\"\nupstream = \"api\"\naccess = \"public\"")
            .route("host = \"open.test\"\npath = \"/\"\nupstream = \"api\"\naccess = \"public\"")
            .route(
                "host = \"lenient.test\"\npath = \"/\"\nupstream = \"api\"\naccess = \"public\"\nlenient_paths = true",
            )
    })
}

const HOSTS: [&str; 3] = ["open.test", "lenient.test", "gateway.test"];

#[test]
fn only_post_is_allowed() {
    let desk = open();
    let jwt = desk.jwt(&desk.admin).text();
    for path in [EXCHANGE, REFRESH] {
        for method in ["GET", "PUT", "HEAD", "OPTIONS", "PATCH", "DELETE", "QUERY", "PROPFIND", "X-POST"] {
            let request = by_method(method, &jwt).to(path);
            for request in [request.clone(), request.bearer(&desk.admin).host("open.test")] {
                let response = desk.send(&request);
                assert_eq!((response.status, response.header("allow")), (405, Some("POST")), "{method} {path}");
                if method == "HEAD" {
                    assert!(response.body.is_empty());
                } else {
                    message(&response);
                }
            }
            let bodiless = crate::support::request(method, path).host("open.test");
            assert_eq!(desk.send(&bodiless).status, 405, "{method} {path}");
        }
        for method in ["TRACE", "post", "Post"] {
            let response = desk.send(&crate::support::request(method, path).host("open.test"));
            assert_eq!(response.status, 405, "{method} {path}");
        }
    }
    // Headers that make some frameworks take one method for another.
    for name in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"] {
        assert_eq!(desk.send(&by_method("GET", &jwt).field(name, "POST")).status, 405, "{name}");
    }
    assert_eq!(desk.upstream.count(), 0);
    assert_eq!(desk.present(&jwt).status, 200, "none of these used it up");
}

#[test]
fn a_path_that_is_nearly_the_one_is_404_and_never_forwarded() {
    let desk = open();
    let near = |path: &str| {
        let (start, last) = path.rsplit_once('/').expect("a path");
        let encoded = format!("{start}/%{:02x}{}", last.as_bytes()[0], &last[1..]);
        let mut title = last.to_owned();
        title[..1].make_ascii_uppercase();
        vec![
            format!("{path}/"),
            format!("{path}/x"),
            format!("{path}/x/y?z"),
            format!("{path}/?x"),
            path.to_uppercase(),
            format!("{start}/{title}"),
            encoded.clone(),
            encoded.to_uppercase().replace("/API", "/api"),
            format!("{encoded}/"),
            format!("/%61{}", &path[2..]),
        ]
    };
    // Two readings of one path are refused before anybody asks where it leads.
    let ambiguous = |path: &str| {
        let (start, last) = path.rsplit_once('/').expect("a path");
        vec![
            format!("/{path}"),
            format!("{start}//{last}"),
            format!("{start}/./{last}"),
            format!("{start}/x/../{last}"),
            format!("/open/..{path}"),
            format!("{start}%2f{last}"),
            format!("{start}/{last};x"),
            format!("{start}/{last}%00"),
            format!("{start}/{last}%20"),
            format!("{start}/{last}."),
            format!("{start}\\{last}"),
            format!("{path}/..;/{last}"),
        ]
    };
    let body = json!({ "jwt": desk.jwt(&desk.admin).text() }).to_string();
    for path in [EXCHANGE, REFRESH] {
        for host in HOSTS {
            for target in near(path) {
                for request in [post(&target, body.as_bytes()), get(&target), get(&target).bearer(&desk.admin)] {
                    let response = desk.send(&request.host(host));
                    assert_eq!(response.status, 404, "{target} at {host}: {}", response.text());
                    message(&response);
                }
            }
            for target in ambiguous(path) {
                let before = desk.upstream.count();
                let response = desk.send(&post(&target, body.as_bytes()).host(host));
                // What is another path in every reading may be the API's; what could be read as this one is not.
                let another = ["%20", "%00", "."].iter().any(|end| target.ends_with(end));
                assert!(response.status >= 400 || another, "{target} at {host}: {}", response.status);
                assert!(!response.text().contains("access_token"), "{target} at {host}");
                assert!(desk.upstream.count() == before || another, "{target} at {host} was forwarded");
            }
        }
    }
    // What only begins like it is the API's.
    let before = desk.upstream.count();
    for target in [format!("{EXCHANGE}s"), "/api/v1/auth".to_owned(), format!("/open{EXCHANGE}")] {
        assert_eq!(desk.send(&get(&target).host("open.test")).status, 200, "{target}");
    }
    assert_eq!(desk.upstream.count(), before + 3);
}

#[test]
fn a_query_and_the_absolute_form_lead_to_the_same_place() {
    let desk = open();
    let body = |desk: &Desk| json!({ "jwt": desk.jwt(&desk.reader).text() }).to_string();
    for target in [format!("{EXCHANGE}?"), format!("{EXCHANGE}?x=1&jwt=y"), format!("http://gateway.test{EXCHANGE}")] {
        let response = desk.send(&post(&target, body(&desk).as_bytes()));
        assert_eq!(response.status, 200, "{target}: {}", response.text());
    }
    assert_eq!(desk.upstream.count(), 0);
}

/// An exchange in chunks of these sizes.
fn chunked(jwt: &str, size: usize) -> Vec<u8> {
    let body = json!({ "jwt": jwt }).to_string();
    let mut out = format!("POST {EXCHANGE} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
    for part in body.as_bytes().chunks(size) {
        out.extend_from_slice(format!("{:x};ext=\"1\"\r\n", part.len()).as_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\nX-Trailer: t\r\n\r\n");
    out
}

#[test]
fn a_body_may_come_in_chunks_and_byte_by_byte() {
    let desk = Desk::start();
    let mut client = Client::connect_from(desk.node.address(), fresh_address());
    for size in [1, 7, 100, 4096] {
        client.send(&chunked(&desk.jwt(&desk.reader).text(), size));
        assert_eq!(desk.admits(desk.issued(&client.read("POST"))), 200, "chunks of {size}");
    }
    for bytes in [exchange(&desk.jwt(&desk.reader).text()).bytes(), chunked(&desk.jwt(&desk.reader).text(), 30)] {
        for byte in bytes {
            client.send(&[byte]);
        }
        desk.issued(&client.read("POST"));
    }
    assert_eq!(client.exchange(&get("/after").bearer(&desk.reader)).status, 200);
}

#[test]
fn a_body_that_is_expected_to_be_continued_is_asked_for() {
    let desk = Desk::start();
    let mut client = Client::connect_from(desk.node.address(), fresh_address());
    for _ in 0..2 {
        let bytes = exchange(&desk.jwt(&desk.reader).text()).field("Expect", "100-continue").bytes();
        let head = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("a head") + 4;
        client.send(&bytes[..head]);
        let mut interim = String::new();
        wait_for("100", || {
            interim += &String::from_utf8_lossy(&client.read_some());
            interim.ends_with("\r\n\r\n")
        });
        assert!(interim.starts_with("HTTP/1.1 100 "), "{interim}");
        client.send(&bytes[head..]);
        desk.issued(&client.read("POST"));
    }
    // Sent at once, it needs no asking.
    client.send(&exchange(&desk.jwt(&desk.reader).text()).field("Expect", "100-continue").bytes());
    desk.issued(&client.read("POST"));
    // What is refused for its head is not asked for.
    let mut other = Client::connect_from(desk.node.address(), fresh_address());
    other.send(
        format!("POST {EXCHANGE} HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 9000\r\n\r\n")
            .as_bytes(),
    );
    let refused = other.read("POST");
    assert_eq!((refused.status, refused.interim.as_slice()), (413, &[][..]));
}

#[test]
fn requests_around_an_exchange_are_answered_in_order() {
    let desk = Desk::start();
    let key = &desk.reader;
    let token = desk.token(key);
    let mut bytes = Vec::new();
    let mut push = |request: Request| bytes.extend_from_slice(&request.bytes());
    push(get("/first").bearer(key));
    push(exchange(&desk.jwt(key).text()));
    push(get("/second").bearer(&token));
    push(exchange("nonsense"));
    push(refresh(&token.refresh));
    push(get("/third").field("X-API-Key", &key.encoded));
    push(post(EXCHANGE, b"{"));
    push(exchange(&desk.jwt(key).text()));
    push(get("/fourth").bearer(key));
    for cut in [bytes.len(), 1000, 13] {
        let mut client = Client::connect_from(desk.node.address(), fresh_address());
        for part in bytes.chunks(cut) {
            client.send(part);
        }
        let answers: Vec<Response> = (0..9).map(|_| client.read("GET")).collect();
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        // The second time, the two JWTs are replays.
        let exchanged = if cut == bytes.len() { 200 } else { 401 };
        assert_eq!(statuses, [200, exchanged, 200, 401, 200, 200, 400, exchanged, 200], "cut into {cut}");
        for (answer, target) in [(0, "/first"), (2, "/second"), (5, "/third"), (8, "/fourth")] {
            assert_eq!(answers[answer].header("x-target"), Some(target));
        }
        for answer in [&answers[1], &answers[4], &answers[7]].into_iter().filter(|a| a.status == 200) {
            desk.issued(answer);
        }
    }
}

#[test]
fn a_refusal_whose_body_was_read_keeps_the_connection() {
    let desk = Desk::start();
    let mut client = Client::connect_from(desk.node.address(), fresh_address());
    let stale = desk.jwt(&desk.admin).with("iat", 1).text();
    for (request, status) in
        [(post(EXCHANGE, b"{}"), 400), (exchange("x"), 401), (exchange(&stale), 401), (refresh("x"), 401)]
    {
        let response = client.exchange(&request);
        assert_eq!(response.status, status);
        assert_ne!(response.header("connection"), Some("close"), "{status}");
    }
    desk.issued(&client.exchange(&exchange(&desk.jwt(&desk.admin).text())));
    for request in [get(EXCHANGE), get(&format!("{EXCHANGE}/"))] {
        assert!(client.exchange(&request).status >= 404);
    }
    assert_eq!(client.exchange(&get("/x").bearer(&desk.admin)).status, 200);
}

#[test]
fn a_refused_requests_body_is_not_taken_for_the_next_request() {
    let desk = Desk::start();
    let smuggled = get("/smuggled").bearer(&desk.admin).bytes();
    let padded = [smuggled.clone(), vec![b' '; 9000]].concat();
    for (method, path, body) in [
        ("POST", EXCHANGE, &smuggled),
        ("POST", EXCHANGE, &padded),
        ("PUT", EXCHANGE, &smuggled),
        ("POST", "/api/v1/auth/token/", &smuggled),
        ("POST", REFRESH, &smuggled),
    ] {
        let mut client = Client::connect_from(desk.node.address(), fresh_address());
        client.send(&crate::support::request(method, path).body(body).bytes());
        assert!(client.read(method).status >= 400);
        // Either the connection ends here, or the body was read to its end.
        if let Ok(next) = client.try_exchange(&get("/next").bearer(&desk.admin)) {
            assert_eq!(next.header("x-target"), Some("/next"), "{method} {path}");
        }
    }
    assert_eq!(desk.upstream.seen_at("/smuggled").len(), 0);
}

#[test]
fn an_old_client_is_served_and_its_connection_closed() {
    let desk = Desk::start();
    let answer = |host: &str| {
        let body = json!({ "jwt": desk.jwt(&desk.reader).text() }).to_string();
        let mut client = Client::connect_from(desk.node.address(), fresh_address());
        let head = format!("POST {EXCHANGE} HTTP/1.0\r\n{host}Content-Length: {}\r\n\r\n{body}", body.len());
        client.send(head.as_bytes());
        let answer = client.read("POST");
        assert!(client.is_closed_by_peer());
        answer
    };
    desk.issued(&answer("Host: h\r\n"));
    assert_eq!(answer("").status, 400, "a host is needed, as for all requests");
}

#[test]
fn framing_that_is_ambiguous_is_refused_here_as_everywhere() {
    let desk = Desk::start();
    let jwt = desk.jwt(&desk.admin).text();
    let body = json!({ "jwt": jwt }).to_string();
    let length = body.len();
    for fields in [
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked"),
        format!("Content-Length: {length}\r\nContent-Length: {length}"),
        format!("Content-Length: +{length}"),
        "Transfer-Encoding: gzip, chunked".to_owned(),
        "Transfer-Encoding: identity".to_owned(),
    ] {
        let mut client = Client::connect_from(desk.node.address(), fresh_address());
        client.send(format!("POST {EXCHANGE} HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n{body}").as_bytes());
        assert_eq!(client.read("POST").status, 400, "{fields}");
    }
    assert_eq!(desk.present(&jwt).status, 200, "none of these used it up");
    exchange::learn_jwt(&desk.secrets, &jwt);
}
