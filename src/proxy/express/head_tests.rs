//! Answers as servers send them, and what becomes of their heads.

use proptest::prelude::*;

use super::head::{Body, Parsed, Space, Told, parse, unfold};

const TOLD: Told<'_> = Told { request_id: "id-1", closes: false, date: b"Thu, 01 Jan 1970 00:00:00 GMT" };
/// What every final answer ends with.
const OURS: &str = "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nConnection: keep-alive\r\nX-Request-Id: id-1\r\n\r\n";

/// Body, whether the server's connection is kept, and the written head; or why not.
fn outcome(text: &str, to_head: bool) -> Result<(Body, bool, String), String> {
    let mut space = Space::<16>::new();
    match parse(text.as_bytes(), &mut space, to_head) {
        Parsed::Head(answer) => {
            let mut out = Vec::new();
            answer.write(&mut out, &TOLD);
            Ok((answer.body, answer.keeps, String::from_utf8(out).unwrap()))
        }
        other => Err(format!("{other:?}")),
    }
}

fn body(text: &str) -> Result<(Body, bool), String> {
    outcome(text, false).map(|(body, keeps, _)| (body, keeps))
}

#[test]
fn the_body_ends_as_the_rfc_says() {
    for (text, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", (Body::Length(5), true)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", (Body::None, true)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\nContent-Length: 5\r\n\r\n", (Body::Length(5), true)),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", (Body::Chunked, true)),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n", (Body::Chunked, true)),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", (Body::Chunked, false)),
        ("HTTP/1.1 200 OK\r\nContent-Length: x\r\nTransfer-Encoding: chunked\r\n\r\n", (Body::Chunked, false)),
        ("HTTP/1.1 200 OK\r\n\r\n", (Body::UntilClose, false)),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\n", (Body::Length(5), false)),
        ("HTTP/1.1 200 OK\r\nConnection: keep-alive, close\r\nContent-Length: 5\r\n\r\n", (Body::Length(5), false)),
        ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", (Body::Length(5), false)),
        ("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 5\r\n\r\n", (Body::Length(5), true)),
        ("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nTransfer-Encoding: chunked\r\n\r\n", (Body::Chunked, false)),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", (Body::None, true)),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", (Body::None, true)),
        ("HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", (Body::None, true)),
        ("HTTP/1.1 103 Early Hints\r\n\r\n", (Body::None, true)),
        ("HTTP/1.1 599 Odd\r\nContent-Length: 1\r\n\r\n", (Body::Length(1), true)),
    ] {
        assert_eq!(body(text), Ok(expected), "{text:?}");
    }
    let to_head = outcome("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true).unwrap();
    assert_eq!((to_head.0, to_head.1), (Body::None, true));
}

#[test]
fn what_is_no_answer_is_told_so() {
    for text in [
        "220 mail.example ESMTP\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 099 Low\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: a b, chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: \"a\", chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: , chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA B: c\r\n\r\n",
    ] {
        let outcome = body(text).unwrap_err();
        assert!(outcome.starts_with("Malformed"), "{text:?}: {outcome}");
    }
    assert_eq!(body("HTTP/1.1 200 OK\r\nA: b\r\n").unwrap_err(), "Partial");
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(17));
    assert_eq!(body(&many).unwrap_err(), "TooManyFields");
}

#[test]
fn fields_pass_in_order_and_what_is_of_the_hop_ends_here() {
    let (_, _, head) = outcome(
        "HTTP/1.0 200 Well\r\nX-One: a\r\nKeep-Alive: timeout=9\r\nConnection: X-Hop, keep-alive, Content-Length\r\n\
         X-Hop : secret\r\nset-cookie: a=b\r\nX-Request-Id: theirs\r\nX-One: b\r\nUpgrade: h2c\r\nServer:theirs\r\n\
         Proxy-Connection: x\r\nContent-Length: 2, 2\r\nContent-Length: 2\r\n\r\n",
        false,
    )
    .unwrap();
    let expected = "HTTP/1.1 200 Well\r\nX-One: a\r\nset-cookie: a=b\r\nX-One: b\r\nServer: theirs\r\n\
                    Content-Length: 2\r\n";
    assert_eq!(head, format!("{expected}{OURS}"));
}

#[test]
fn the_framing_that_goes_on_is_that_of_the_body() {
    for (text, framing) in [
        ("HTTP/1.1 200 OK\r\n\r\n", "Transfer-Encoding: chunked\r\n"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n",
            "Transfer-Encoding: chunked\r\n",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0012\r\n\r\n", "Content-Length: 12\r\n"),
    ] {
        let (.., head) = outcome(text, false).unwrap();
        assert_eq!(head, format!("HTTP/1.1 200 OK\r\n{framing}{OURS}"), "{text:?}");
    }
    let (.., head) =
        outcome("HTTP/1.1 204 None\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", false).unwrap();
    assert_eq!(head, format!("HTTP/1.1 204 None\r\n{OURS}"));
    let (.., head) = outcome("HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n", true).unwrap();
    assert_eq!(head, format!("HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n{OURS}"), "HEAD is told the length");
}

#[test]
fn interim_answers_are_passed_without_our_own_fields() {
    let (.., head) =
        outcome("HTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\nConnection: close\r\nContent-Length: 3\r\n\r\n", false)
            .unwrap();
    assert_eq!(head, "HTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\n\r\n");
}

#[test]
fn the_servers_own_date_stays() {
    let (.., head) = outcome("HTTP/1.1 200 OK\r\nDate: then\r\nContent-Length: 0\r\n\r\n", false).unwrap();
    assert_eq!(head.matches("Date: ").count(), 1);
    assert!(head.contains("\r\nDate: then\r\n"), "{head}");
}

#[test]
fn folded_fields_become_one_line_of_the_same_length() {
    let mut bytes = b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\td\r\nE: f\r\n\r\n body\r\n x".to_vec();
    let length = bytes.len();
    assert!(unfold(&mut bytes));
    assert_eq!(bytes, b"HTTP/1.1 200 OK\r\nA: b   c   d\r\nE: f\r\n\r\n body\r\n x");
    assert_eq!(bytes.len(), length);
    assert!(!unfold(&mut bytes), "the body is not touched");
    let (.., head) = outcome(std::str::from_utf8(&bytes).unwrap(), false).unwrap();
    assert!(head.contains("\r\nA: b   c   d\r\n"), "{head}");
    assert!(!unfold(&mut b"HTTP/1.1 200 OK\r\n A: b\r\nC: d\r\n\r\n".to_vec()), "the status line is not continued");
    assert!(!unfold(&mut b"\r\nHTTP/1.1 200 OK\n\tA: b\nC: d\n\n".to_vec()), "nor behind an empty line");
    assert!(!unfold(&mut b"HTTP/1.1 200 OK\r\nA\r\n : b\r\n\r\n".to_vec()), "a name is not folded");
    assert!(!unfold(&mut b"HTTP/1.1 200 OK\r\nA: b\r\nC\r\n : d\r\n\r\n".to_vec()), "nor is that of a later field");
    for (folded, unfolded) in [
        ("HTTP/1.1 200 OK\nA: b\n c\n\n d\n e", "HTTP/1.1 200 OK\nA: b  c\n\n d\n e"),
        ("HTTP/1.1 200 OK\r\nA: b\n\tc\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b  c\r\n\r\n"),
        ("HTTP/1.1 200 OK\r\nA: b\r\n \r\n\n x", "HTTP/1.1 200 OK\r\nA: b   \r\n\n x"),
        ("HTTP/1.1 200 OK\nA:\n b\n c\n\n", "HTTP/1.1 200 OK\nA:  b  c\n\n"),
    ] {
        let mut bytes = folded.as_bytes().to_vec();
        assert!(unfold(&mut bytes), "{folded:?}");
        assert_eq!(String::from_utf8_lossy(&bytes), unfolded);
        assert!(outcome(unfolded, false).is_ok(), "{unfolded:?}");
    }
}

#[test]
fn what_came_as_it_is_written_is_copied_and_what_did_not_is_written() {
    for (came, told) in [
        (
            "HTTP/1.1 200 \r\nA: b\r\nC:d\r\nConnection: x\r\nE: f \r\nContent-Length: 07, 7\r\nG: \r\n\r\n",
            "HTTP/1.1 200 \r\nA: b\r\nC: d\r\nE: f\r\nContent-Length: 7\r\nG: \r\n",
        ),
        (
            "HTTP/1.0 200 OK\nA: b\nC: d\r\nContent-Length: 0\r\nE: f\r\nContent-Length: 00\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\nC: d\r\nContent-Length: 0\r\nE: f\r\n",
        ),
        ("HTTP/1.1 200\n\r\n", "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n"),
        ("\r\nHTTP/1.1 404\r\ncontent-length: 10\r\nA:b\r\n\r\n", "HTTP/1.1 404 \r\ncontent-length: 10\r\nA: b\r\n"),
    ] {
        let (.., head) = outcome(came, false).unwrap();
        assert_eq!(head, format!("{told}{OURS}"));
    }
}

#[test]
fn how_long_a_server_keeps_a_connection_is_read() {
    for (value, expected) in [
        ("timeout=5, max=100", Some(5)),
        ("max=100, Timeout=75", Some(75)),
        ("timeout=0", Some(0)),
        ("timeout=x", None),
        ("timeout", None),
        ("max=1", None),
        ("", None),
    ] {
        let text = format!("HTTP/1.1 200 OK\r\nKeep-Alive: {value}\r\nContent-Length: 0\r\n\r\n");
        let mut space = Space::<16>::new();
        let Parsed::Head(answer) = parse(text.as_bytes(), &mut space, false) else { panic!("{text:?}") };
        assert_eq!(answer.keeps_for, expected, "{value:?}");
    }
}

/// What heads of answers are made of.
const LINES: &[&str] = &[
    "Content-Length: 5\r\n",
    "content-length: 5, 5\r\n",
    "Content-Length:005\r\n",
    "Content-Length: 0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip, Chunked\r\n",
    "Connection: close, X-Hop\r\n",
    "connection: Keep-Alive\r\n",
    "Connection: Content-Length, Transfer-Encoding, Date\r\n",
    "X-Hop : secret\r\n",
    "Keep-Alive: timeout=5\r\n",
    "Upgrade: h2c\r\n",
    "X-Request-Id: theirs\r\n",
    "Date: then\r\n",
    "Set-Cookie: a=b\r\n",
    "A: b\n",
    "E:\r\n",
];

proptest! {
    /// Whatever comes, what goes to the client is one head that it cannot read in another way: the same status, a body
    /// that ends as ours does, nothing of the hop.
    #[test]
    fn what_is_written_has_one_reading(
        version in prop::sample::select(&["HTTP/1.0", "HTTP/1.1"][..]),
        status in prop::sample::select(&[100u16, 103, 200, 204, 206, 304, 404, 500][..]),
        lines in prop::collection::vec(prop::sample::select(LINES), 0..8),
        odd in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        to_head in any::<bool>(),
    ) {
        let mut bytes = format!("{version} {status} Reason\r\n{}\r\n", lines.concat()).into_bytes();
        if let Some((at, byte)) = odd {
            *at.get_mut(&mut bytes) = byte;
        }
        let mut space = Space::<16>::new();
        let Parsed::Head(answer) = parse(&bytes, &mut space, to_head) else { return Ok(()) };
        let mut out = Vec::new();
        answer.write(&mut out, &TOLD);
        prop_assert!(memchr::memchr_iter(b'\n', &out).all(|at| out[at - 1] == b'\r'));
        prop_assert_eq!(memchr::memchr_iter(b'\r', &out).count(), memchr::memchr_iter(b'\n', &out).count());

        let mut space = Space::<32>::new();
        let Parsed::Head(told) = parse(&out, &mut space, to_head) else { panic!("{}", out.escape_ascii()) };
        prop_assert_eq!(told.length, out.len());
        prop_assert_eq!(told.status, answer.status);
        let ends_as = if answer.body == Body::UntilClose { Body::Chunked } else { answer.body };
        prop_assert_eq!(told.body, ends_as);
        let text = String::from_utf8_lossy(&out).to_lowercase();
        let count = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
        prop_assert_eq!(count("keep-alive:") + count("upgrade:") + count("x-request-id: theirs"), 0, "{}", text);
        let (lengths, codings) = (count("content-length:"), count("transfer-encoding:"));
        let codings_told = text.lines().filter_map(|line| line.strip_prefix("transfer-encoding:"));
        let chunked = codings_told.flat_map(|value| value.split(',')).filter(|coding| coding.trim() == "chunked");
        prop_assert!(chunked.count() <= 1, "{}", text);
        prop_assert!(lengths <= 1 && (lengths == 0 || codings == 0), "two ways to end a body: {}", text);
        let is_interim = answer.is_interim();
        prop_assert!(lengths + codings == 0 || !(is_interim || answer.status == 204), "{}", text);
        prop_assert_eq!(count("connection:"), usize::from(!is_interim));
        prop_assert_eq!(count("x-request-id:"), usize::from(!is_interim));
        prop_assert!(is_interim || count("date:") > 0, "{}", text);
    }
}
