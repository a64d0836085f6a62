//! Heads that two readers could take differently are refused before anything is decided on them.

use crate::support::wire::Response;
use crate::support::{Config, Gateway, Key, Upstream};

struct Fixture {
    upstream: Upstream,
    gateway: Gateway,
    key: Key,
}

fn start_with(limits: &str) -> Fixture {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::in_front_of(&upstream).limits(limits));
    let key = gateway.key_add("admin", "admin");
    Fixture { upstream, gateway, key }
}

impl Fixture {
    /// A head with these fields beside Host and a valid key.
    fn head(&self, line: &str, fields: &str) -> Vec<u8> {
        format!("{line}\r\nHost: h.test\r\nAuthorization: Bearer {}\r\n{fields}\r\n", self.key.encoded).into_bytes()
    }

    #[track_caller]
    fn assert_refused(&self, bytes: &[u8], status: u16) -> Response {
        let mut client = self.gateway.node.connect();
        client.send(bytes);
        let shown = String::from_utf8_lossy(bytes).replace(&self.key.encoded, "KEY");
        let response = client.try_read("GET").unwrap_or_else(|e| panic!("{e} for {shown:?}"));
        assert_eq!(response.status, status, "{shown:?}");
        assert!(response.header("x-request-id").is_some(), "an id on every answer: {shown:?}");
        assert_eq!(response.header("content-type"), Some("application/problem+json"), "{shown:?}");
        assert!(client.is_closed_by_peer(), "what follows cannot be told apart: {shown:?}");
        assert_eq!(self.upstream.count(), 0, "{shown:?}");
        response
    }
}

#[test]
fn content_length_with_transfer_encoding_is_400() {
    let f = start_with("");
    for fields in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Content-Length: 0\r\ntransfer-encoding: chunked\r\n",
    ] {
        let mut bytes = f.head("POST /x HTTP/1.1", fields);
        bytes.extend_from_slice(b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n");
        f.assert_refused(&bytes, 400);
    }
}

#[test]
fn a_body_length_that_is_not_one_number_is_400() {
    let f = start_with("");
    for fields in [
        "Content-Length: 4\r\nContent-Length: 5\r\n",
        "Content-Length: 4\r\nContent-Length: 4\r\n",
        "Content-Length: 4, 4\r\n",
        "Content-Length: +4\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x4\r\n",
        "Content-Length: 4 4\r\n",
        "Content-Length:\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content_Length: 4\r\n",
    ] {
        f.assert_refused(&f.head("POST /x HTTP/1.1", fields), 400);
    }
}

#[test]
fn a_transfer_encoding_other_than_chunked_is_400() {
    let f = start_with("");
    for fields in [
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: \u{b}chunked\r\n",
        "Transfer-Encoding:\r\n",
    ] {
        f.assert_refused(&f.head("POST /x HTTP/1.1", fields), 400);
    }
    f.assert_refused(&f.head("POST /x HTTP/1.0", "Transfer-Encoding: chunked\r\n"), 400);
}

#[test]
fn chunks_that_are_not_well_formed_are_refused_and_the_upstream_gets_no_whole_request() {
    let f = start_with("");
    for chunks in [
        "3\nabc\r\n0\r\n\r\n",
        "3 \r\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "ffffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        "\r\nabc\r\n0\r\n\r\n",
        // Extensions (RFC 9112, section 7.1.1): another reader may end them elsewhere.
        "3;a=\"b\r\nabc\r\n0\r\n\r\n",
        "3;a=\"\r\nabc\r\n0\r\n\r\n\"\r\nabc\r\n0\r\n\r\n",
        "3;\r\nabc\r\n0\r\n\r\n",
        "3;=b\r\nabc\r\n0\r\n\r\n",
        "3;a(b)=c\r\nabc\r\n0\r\n\r\n",
        "3; a\r\nabc\r\n0\r\n\r\n",
        // Trailers (RFC 9112, section 7.1.2): what follows is not the next request's.
        "3\r\nabc\r\n0\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
        "3\r\nabc\r\n0\r\nX-Sum : 1\r\n\r\n",
        "3\r\nabc\r\n0\r\n: 1\r\n\r\n",
        "3\r\nabc\r\n0\r\nX(Sum): 1\r\n\r\n",
        "3\r\nabc\r\n0\r\nX-Sum: 1\n\r\n",
        "3\r\nabc\r\n0\r\nX-Sum: 1\r\n 2\r\n\r\n",
    ] {
        let mut client = f.gateway.node.connect();
        let mut bytes = f.head("POST /x HTTP/1.1", "Transfer-Encoding: chunked\r\n");
        bytes.extend_from_slice(chunks.as_bytes());
        client.send(&bytes);
        let response = client.try_read("POST").unwrap_or_else(|e| panic!("{e} for {chunks:?}"));
        assert_eq!(response.status, 400, "{chunks:?}");
        assert!(client.is_closed_by_peer(), "{chunks:?}");
    }
    assert!(f.upstream.seen().iter().all(|s| !s.complete), "{:?}", f.upstream.seen());
}

#[test]
fn a_trailer_that_keygate_acts_on_is_refused_and_the_upstream_gets_no_whole_request() {
    let f = start_with("");
    for name in [
        "X-Keygate-Role",
        "x_keygate_role",
        "X-API-Key",
        "Authorization",
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "X-Forwarded-For",
        "X-HTTP-Method-Override",
    ] {
        let mut client = f.gateway.node.connect();
        let mut bytes = f.head("POST /x HTTP/1.1", "Transfer-Encoding: chunked\r\n");
        bytes.extend_from_slice(format!("3\r\nabc\r\n0\r\nX-Sum: 1\r\n{name}: 100\r\n\r\n").as_bytes());
        client.send(&bytes);
        assert_eq!(client.try_read("POST").unwrap_or_else(|e| panic!("{e} for {name}")).status, 400, "{name}");
        assert!(client.is_closed_by_peer(), "{name}");
    }
    assert!(f.upstream.seen().iter().all(|s| !s.complete), "{:?}", f.upstream.seen());
}

#[test]
fn extensions_and_trailers_that_are_well_formed_pass() {
    let f = start_with("");
    let mut client = f.gateway.node.connect();
    for chunks in ["3;a;b=c;d=\"e;\\\"f\"\r\nabc\r\n0;last\r\n\r\n", "3\r\nabc\r\n0\r\nX-Sum: 42\r\nX-Empty:\r\n\r\n"] {
        let mut bytes = f.head("POST /x HTTP/1.1", "Transfer-Encoding: chunked\r\n");
        bytes.extend_from_slice(chunks.as_bytes());
        client.send(&bytes);
        let response = client.read("POST");
        assert_eq!((response.status, response.text().as_str()), (200, "abc"), "{chunks:?}");
    }
    assert!(f.upstream.seen().iter().all(|s| s.complete), "{:?}", f.upstream.seen());
}

#[test]
fn a_missing_or_second_or_odd_host_is_400() {
    let f = start_with("");
    let key = &f.key.encoded;
    let with = |hosts: &str| format!("GET /x HTTP/1.1\r\n{hosts}X-API-Key: {key}\r\n\r\n").into_bytes();
    for hosts in [
        "",
        "Host: a\r\nHost: b\r\n",
        "Host: a\r\nHost: a\r\n",
        "Host: a\r\nhost: a\r\n",
        "Host:\r\n",
        "Host: a b\r\n",
        "Host: a/b\r\n",
        "Host: user@a\r\n",
        "Host: a,b\r\n",
        "Host: a?\r\n",
    ] {
        f.assert_refused(&with(hosts), 400);
    }
    // What goes on is HTTP/1.1, whatever came.
    f.assert_refused(format!("GET /x HTTP/1.0\r\nX-API-Key: {key}\r\n\r\n").as_bytes(), 400);
}

#[test]
fn a_bare_line_feed_anywhere_in_the_head_is_400() {
    let f = start_with("");
    let key = &f.key.encoded;
    for head in [
        format!("GET /x HTTP/1.1\nHost: h\nX-API-Key: {key}\n\n"),
        format!("GET /x HTTP/1.1\nHost: h\r\nX-API-Key: {key}\r\n\r\n"),
        format!("GET /x HTTP/1.1\r\nHost: h\nX-API-Key: {key}\r\n\r\n"),
        format!("GET /x HTTP/1.1\r\nHost: h\r\nX-API-Key: {key}\r\n\n"),
    ] {
        f.assert_refused(head.as_bytes(), 400);
    }
}

#[test]
fn field_lines_that_are_not_well_formed_are_400() {
    let f = start_with("");
    for fields in [
        "A : b\r\n",
        " A: b\r\n",
        "A: b\r\n folded\r\n",
        "A\r\n",
        ": b\r\n",
        "A: b\0c\r\n",
        "A: b\rc\r\n",
        "A(B): c\r\n",
        "X: \u{7f}\r\n",
    ] {
        f.assert_refused(&f.head("GET /x HTTP/1.1", fields), 400);
    }
}

#[test]
fn request_lines_that_are_not_well_formed_are_400() {
    let f = start_with("");
    for line in [
        "GET /x",
        "GET  /x HTTP/1.1",
        "GET /x y HTTP/1.1",
        "GET /x HTTP/2.0",
        "GET /x HTTP/1.2",
        "GET /x HTTP/9",
        " GET /x HTTP/1.1",
        "GET x HTTP/1.1",
        "GET ftp://h.test/x HTTP/1.1",
        "GET http://h.test HTTP/1.1",
        "GET http://u@h.test/x HTTP/1.1",
        "GET /x#y HTTP/1.1",
        "GET /x?a\"b HTTP/1.1",
        "GE\u{1}T /x HTTP/1.1",
        "G(T /x HTTP/1.1",
        "GET /\u{1}x HTTP/1.1",
    ] {
        f.assert_refused(&f.head(line, ""), 400);
    }
}

#[test]
fn what_is_not_http_is_answered_and_closed() {
    let f = start_with("");
    f.assert_refused(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400);
    f.assert_refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400);
    f.assert_refused(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", 400);
}

#[test]
fn a_header_larger_than_the_limit_is_431() {
    let f = start_with("max_header_size = \"2KiB\"");
    let fits = "X-Big: ".to_owned() + &"a".repeat(1500) + "\r\n";
    assert_eq!(f.gateway.node.send_raw(&f.head("GET /fits HTTP/1.1", &fits)).status, 200);
    let f = start_with("max_header_size = \"2KiB\"");
    f.assert_refused(&f.head("GET /x HTTP/1.1", &("X-Big: ".to_owned() + &"a".repeat(3000) + "\r\n")), 431);
    f.assert_refused(&f.head(&format!("GET /{} HTTP/1.1", "a".repeat(3000)), ""), 431);
    // Before its end has come.
    f.assert_refused(format!("GET /x HTTP/1.1\r\nHost: h\r\nX-Big: {}", "a".repeat(3000)).as_bytes(), 431);
}

#[test]
fn a_target_longer_than_both_lanes_can_take_is_431_whatever_the_limit() {
    let f = start_with("max_header_size = \"128KiB\"");
    let line = |length: usize| format!("GET /{} HTTP/1.1", "a".repeat(length - 1));
    f.assert_refused(&f.head(&line(65_535), ""), 431);
    assert_eq!(f.gateway.node.send_raw(&f.head(&line(65_534), "")).status, 200);
}

#[test]
fn more_header_fields_than_the_limit_are_431() {
    let f = start_with("max_headers = 10");
    let fields = |n: usize| "X-F: 1\r\n".repeat(n);
    f.assert_refused(&f.head("GET /x HTTP/1.1", &fields(9)), 431);
    f.assert_refused(&f.head("GET /x HTTP/1.1", &fields(400)), 431);
    assert_eq!(f.gateway.node.send_raw(&f.head("GET /x HTTP/1.1", &fields(8))).status, 200, "Host, key and 8: 10");
}

#[test]
fn an_expectation_that_is_not_understood_is_refused() {
    let f = start_with("");
    let twice = "Expect: 100-continue\r\nExpect: 100-continue\r\n";
    for expect in ["Expect: 200-maybe\r\n", "Expect: 100-continue, 100-continue\r\n", twice] {
        f.assert_refused(&f.head("POST /x HTTP/1.1", &format!("{expect}Content-Length: 1\r\n")), 400);
    }
}
