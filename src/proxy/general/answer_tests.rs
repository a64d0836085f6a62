//! What an answer loses on its way.

use super::*;

fn passed(status: u16, fields: &[(&'static str, &'static str)]) -> Vec<String> {
    let mut response = ResponseHeader::build(status, None).unwrap();
    for (name, value) in fields {
        response.append_header(*name, *value).unwrap();
    }
    response.set_version(http::Version::HTTP_10);
    end_hop(&mut response);
    assert_eq!(response.version, http::Version::HTTP_11);
    response.headers.keys().map(ToString::to_string).collect()
}

#[test]
fn what_is_of_the_hop_ends_here_in_every_answer() {
    let fields = [
        ("Server", "theirs"),
        ("Connection", "X-Hop, keep-alive, Content-Length, Date"),
        ("X-Hop", "1"),
        ("Keep-Alive", "timeout=9"),
        ("Proxy-Connection", "x"),
        ("Upgrade", "h2c"),
        ("Content-Length", "0"),
        ("Date", "then"),
        ("X-Request-Id", "theirs"),
    ];
    assert_eq!(passed(200, &fields), ["server", "connection", "content-length", "date"]);
    assert_eq!(passed(304, &fields), ["server", "connection", "content-length", "date"]);
    assert_eq!(passed(204, &fields), ["server", "connection", "date"], "no framing (RFC 9110, section 8.6)");
    assert_eq!(passed(103, &fields), ["server", "date"], "nor anything of the connection");
    assert_eq!(passed(204, &[("Transfer-Encoding", "chunked")]), [""; 0]);
}

#[test]
fn an_upgrade_that_is_granted_is_told() {
    let fields = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Accept", "x")];
    assert_eq!(passed(101, &fields), ["connection", "upgrade", "sec-websocket-accept"]);
}

#[test]
fn an_answer_has_one_length_or_one_coding() {
    let framed = |status: u16, fields: &[(&'static str, &'static str)], to_head: bool| {
        let mut response = ResponseHeader::build(status, None).unwrap();
        for (name, value) in fields {
            response.append_header(*name, *value).unwrap();
        }
        frame(&mut response, to_head).map(|()| {
            let lengths = response.headers.get_all(http::header::CONTENT_LENGTH).iter();
            lengths.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        })
    };
    let length = |value: &'static str| ("Content-Length", value);
    let coding = |value: &'static str| ("Transfer-Encoding", value);
    for (fields, told) in [
        (&[][..], &[][..]),
        (&[length("5")], &["5"]),
        (&[length("5"), length("5")], &["5"]),
        (&[length("05, 5")], &["5"]),
        (&[coding("chunked")], &[]),
        (&[coding("Chunked ")], &[]),
        (&[coding("gzip, chunked")], &[]),
        (&[coding("gzip"), coding("chunked")], &[]),
    ] {
        assert_eq!(framed(200, fields, false).unwrap(), told, "{fields:?}");
    }
    for untold in ["xchunked", "gzip", "identity"] {
        assert!(framed(200, &[coding(untold)], false).is_err(), "{untold}");
        assert!(framed(200, &[coding(untold)], true).is_ok(), "there is no body");
        assert!(framed(304, &[coding(untold)], false).is_ok(), "there is no body");
    }
    for odd in ["", ", chunked", "chunked,", "chunked, chunked", "chunked, gzip", "a b, chunked", "\"a\", chunked"] {
        for (status, to_head) in [(200, false), (200, true), (204, false), (103, false)] {
            assert!(framed(status, &[coding(odd)], to_head).is_err(), "{odd:?} {status}");
        }
    }
    for odd in ["", "5,", "5, 6", "+5", "9999999999999999999"] {
        assert!(framed(200, &[length(odd)], false).is_err(), "{odd:?}");
    }
}
