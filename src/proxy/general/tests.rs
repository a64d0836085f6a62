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
fn a_body_of_which_nothing_tells_the_end_is_known() {
    let endless = |status: u16, codings: &[&'static str]| {
        let mut response = ResponseHeader::build(status, None).unwrap();
        for coding in codings {
            response.append_header("Transfer-Encoding", *coding).unwrap();
        }
        is_endless(&response)
    };
    for told in [&[][..], &["chunked"], &["Chunked "], &["gzip, chunked"], &["gzip", "chunked"]] {
        assert!(!endless(200, told), "{told:?}");
    }
    for untold in [&["xchunked"][..], &["gzip"], &["chunked, gzip"], &["chunked", "identity"], &["chunked, chunked"]] {
        assert!(endless(200, untold), "{untold:?}");
        assert!(!endless(204, untold) && !endless(304, untold), "there is no body");
    }
}
