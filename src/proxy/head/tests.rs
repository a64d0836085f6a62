//! Heads that are taken, and heads that are refused.

use super::*;

const LIMITS: HeadLimits = HeadLimits { size: 1024, fields: 8 };

fn outcome(text: &str) -> String {
    match parse(text.as_bytes(), &mut Space::<16>::new(), LIMITS) {
        Parsed::Partial => "partial".into(),
        Parsed::Head(head) => format!(
            "{} {} host={} {:?} close={}",
            String::from_utf8_lossy(head.method),
            String::from_utf8_lossy(head.target),
            String::from_utf8_lossy(head.host),
            head.framing,
            head.close
        ),
        Parsed::Refused(rejection) => rejection.reason().into(),
    }
}

#[test]
fn plain_heads_are_taken() {
    for (text, expected) in [
        ("GET /a?b HTTP/1.1\r\nHost: x:1\r\n\r\n", "GET /a?b host=x:1 Done close=false"),
        ("GET http://x/a HTTP/1.1\r\nHost: X\r\n\r\n", "GET /a host=X Done close=false"),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", "POST / host=x Length(5) close=false"),
        ("GET / HTTP/1.0\r\nHost: x\r\n\r\n", "GET / host=x Done close=true"),
        ("GET / HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n", "GET / host=x Done close=false"),
        ("GET / HTTP/1.0\r\nHost: x\r\nConnection: close, keep-alive\r\n\r\n", "GET / host=x Done close=true"),
        ("GET / HTTP/1.0\r\nHost: x\r\nExpect: 100-continue\r\n\r\n", "GET / host=x Done close=true"),
        ("GET http://x:1/a HTTP/1.0\r\n\r\n", "GET /a host=x:1 Done close=true"),
        ("GET / HTTP/1.1\r\nHost: x\r\nConnection: close, X-Mine\r\n\r\n", "GET / host=x Done close=true"),
        ("GET / HTTP/1.1\r\nHost: x\r\n", "partial"),
        ("", "partial"),
    ] {
        assert_eq!(outcome(text), expected, "{text:?}");
    }
}

#[test]
fn ambiguous_heads_are_refused() {
    let with = |fields: &str| outcome(&format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
    for (fields, reason) in [
        ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", "framing"),
        ("Content-Length: 1\r\nContent-Length: 1\r\n", "framing"),
        ("Content-Length: +1\r\n", "framing"),
        ("Content-Length: 1, 1\r\n", "framing"),
        ("Transfer-Encoding: foo, chunked\r\n", "framing"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "framing"),
        ("Transfer_Encoding: chunked\r\n", "malformed_head"),
        ("X_Keygate_Role: ADMIN\r\n", "malformed_head"),
        ("Connection: X-Keygate-Role\r\n", "malformed_head"),
        ("Connection: Authorization\r\n", "malformed_head"),
        ("Connection: content-length\r\n", "malformed_head"),
        ("Host: y\r\n", "malformed_head"),
        ("Expect: 200-ok\r\n", "malformed_head"),
        ("Expect: 100-continue\r\nExpect: 100-continue\r\n", "malformed_head"),
        ("A: b\nC: d\r\n", "malformed_head"),
        ("A : b\r\n", "malformed_head"),
        (" A: b\r\n", "malformed_head"),
        ("A: b\r\n c\r\n", "malformed_head"),
        ("A: b\0\r\n", "malformed_head"),
        ("A: 1\r\nB: 1\r\nC: 1\r\nD: 1\r\nE: 1\r\nF: 1\r\nG: 1\r\nH: 1\r\n", "too_many_headers"),
    ] {
        assert_eq!(with(fields), reason, "{fields:?}");
    }
    for (text, reason) in [
        ("GET / HTTP/1.1\r\n\r\n", "malformed_head"),
        ("GET / HTTP/1.0\r\n\r\n", "malformed_head"),
        ("GET / HTTP/2.0\r\nHost: x\r\n\r\n", "malformed_head"),
        ("GET  / HTTP/1.1\r\nHost: x\r\n\r\n", "malformed_head"),
        ("GET http://y/ HTTP/1.1\r\nHost: x\r\n\r\n", "malformed_head"),
        ("GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n", "path"),
        ("GET /?a#b HTTP/1.1\r\nHost: x\r\n\r\n", "malformed_head"),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "malformed_head"),
        ("CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", "method_refused"),
        ("TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", "method_refused"),
        ("trace / HTTP/1.1\r\nHost: x\r\n\r\n", "method_refused"),
        ("Get / HTTP/1.1\r\nHost: x\r\n\r\n", "method_refused"),
        ("GET http://x:80:80/ HTTP/1.0\r\n\r\n", "malformed_head"),
        ("GET / HTTP/1.1\r\nHost: x:80:80\r\n\r\n", "malformed_head"),
        ("POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", "framing"),
        (&format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(1024)), "head_too_large"),
        (&format!("GET /{}", "a".repeat(1024)), "head_too_large"),
    ] {
        assert_eq!(outcome(text), reason, "{text:?}");
    }
}
