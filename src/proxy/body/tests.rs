//! Chunked bodies, whole, cut and malformed.

use super::*;
use proptest::prelude::*;

fn ends_at(body: &[u8]) -> Result<Option<usize>, Malformed> {
    ends_of(Sender::Client, body)
}

fn ends_of(sender: Sender, body: &[u8]) -> Result<Option<usize>, Malformed> {
    let mut framing = Framing::chunked(sender);
    let taken = framing.feed(body)?;
    Ok(framing.is_done().then_some(taken))
}

#[test]
fn chunked_bodies_end_where_they_end() {
    assert_eq!(ends_at(b"0\r\n\r\nGET /"), Ok(Some(5)));
    assert_eq!(ends_at(b"3\r\nabc\r\n0\r\n\r\n"), Ok(Some(13)));
    assert_eq!(ends_at(b"A;x=y\r\n0123456789\r\n0\r\nT: v\r\n\r\nrest"), Ok(Some(30)));
    assert_eq!(ends_at(b"3\r\nab"), Ok(None));
    assert_eq!(ends_at(b"1;a;b=c;d=\"e;\\\"f \xff\"\r\nx\r\n0;last=1\r\n\r\n"), Ok(Some(36)));
    assert_eq!(ends_at(b"0\r\nX-Sum:\r\nGrpc-Status: 0\r\n\r\n"), Ok(Some(29)));
    for bad in [
        &b"\r\n"[..],
        b";\r\n",
        b"g\r\n",
        b"3\nabc",
        b"3\r\nabcd",
        b"3 \r\n",
        b"-1\r\n",
        b"0x3\r\n",
        b"0\r\n\n",
        b"1234567890123456\r\n",
        b"3\r\nabc\n",
    ] {
        assert_eq!(ends_at(bad), Err(Malformed), "{}", bad.escape_ascii());
    }
}

#[test]
fn extensions_are_names_with_values() {
    for bad in [
        "",
        "=b",
        "a=",
        "a(b)=c",
        "\u{ff}=c",
        " a",
        "a =b",
        "a= b",
        "a;",
        "a=\"b",
        "a=\"b\\\"",
        "a=\"b\"c",
        "a=\"b\0\"",
    ] {
        let text = format!("4;{bad}\r\nabcd\r\n0\r\n\r\n");
        assert_eq!(ends_at(text.as_bytes()), Err(Malformed), "{text:?}");
    }
    let longest = format!("1;{}\r\n", "a".repeat(255));
    assert_eq!(ends_at(longest.as_bytes()), Ok(None));
    let longer = format!("1;{}\r\n", "a".repeat(256));
    assert_eq!(ends_at(longer.as_bytes()), Err(Malformed));
}

#[test]
fn trailers_are_fields() {
    for bad in [
        "GET / HTTP/1.1\r\n",
        "T\r\n",
        "T\n",
        "T : v\r\n",
        ": v\r\n",
        " T: v\r\n",
        "T: v\r\n w\r\n",
        "T(): v\r\n",
        "T: v\n",
        "T: v\rw",
        "T: \0",
        "T: \u{7f}",
    ] {
        assert_eq!(ends_at(format!("0\r\n{bad}").as_bytes()), Err(Malformed), "{bad:?}");
    }
    let of_length = |length: usize| format!("0\r\nT: {}\r\n\r\n", "v".repeat(length - 7));
    assert_eq!(ends_at(of_length(8192).as_bytes()), Ok(Some(3 + 8192)));
    assert_eq!(ends_at(of_length(8193).as_bytes()), Err(Malformed));
    let of_fields = |fields: usize| format!("0\r\n{}\r\n", "T: v\r\n".repeat(fields));
    assert_eq!(ends_at(of_fields(32).as_bytes()), Ok(Some(5 + 32 * 6)));
    assert_eq!(ends_at(of_fields(33).as_bytes()), Err(Malformed));
}

/// RFC 9112, sections 5.1, 5.2 and 7.1.1; and what servers of old send.
#[test]
fn a_server_may_send_what_a_client_may_not() {
    let long = format!("2;a={}\r\nok\r\n0\r\n\r\n", "b".repeat(4000));
    let many = format!("0\r\n{}\r\n", "T: v\r\n".repeat(400));
    for body in [
        "2  \r\nok\r\n0 \t \r\n\r\n",
        "2 ; a=b\r\nok\r\n0\r\n\r\n",
        "2;\ta = b ; c ;d= \"e;f\"\t;g \r\nok\r\n0\r\n\r\n",
        "0000000000000002\r\nok\r\n0000000000000000\r\n\r\n",
        "2\r\nok\r\n0\r\nX : a\r\n\tb\r\n \r\nY \t:c\r\n\r\n",
        &long,
        &many,
    ] {
        let mut framing = Framing::chunked(Sender::Server);
        let mut content = Vec::new();
        let whole = format!("{body}HTTP/1.1");
        let taken = framing.feed_with(whole.as_bytes(), |piece| content.extend_from_slice(piece));
        assert_eq!((taken, framing), (Ok(body.len()), Framing::Done), "{body:?}");
        assert!(body == many || content == b"ok", "{body:?}");
        assert_eq!(ends_at(body.as_bytes()), Err(Malformed), "{body:?}");
    }
}

#[test]
fn where_an_answer_ends_is_never_in_doubt() {
    let longer = format!("2;a={}\r\n", "b".repeat(4096));
    let trailers = format!("0\r\n{}", "T: v\r\n".repeat(1366));
    for bad in [
        " 2\r\n",
        "\r\n",
        ";a\r\n",
        "2 2\r\n",
        "2\x0b\r\n",
        "2\nok",
        "2 \nok",
        "2;\r\n",
        "2 ; \r\n",
        "2;;a\r\n",
        "2;a b\r\n",
        "2;a=\r\n",
        "2;a= \r\n",
        "2;a=b c\r\n",
        "2;a=\"b\r\n",
        "2;a=\"b\" c\r\n",
        "2;a\nok",
        "00000000000000002\r\n",
        "1000000000000000\r\n",
        "2\r\nok \r\n",
        "2\r\nokk",
        "0\r\n T: v\r\n",
        "0\r\nT v: w\r\n",
        "0\r\nT\r\n :v\r\n",
        "0\r\nT: v\n",
        "0\r\nT: v\rw",
        &longer,
        &trailers,
    ] {
        assert_eq!(ends_of(Sender::Server, bad.as_bytes()), Err(Malformed), "{bad:?}");
    }
}

#[test]
fn a_client_cannot_say_in_trailers_what_it_cannot_say_in_the_head() {
    for name in [
        "X-Keygate-Role",
        "x_keygate_role",
        "X-Keygate-Anything-That-Is-Longer-Than-All-The-Names-That-Are-Known",
        "X-API-Key",
        "Authorization",
        "Cookie",
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "X-Forwarded-For",
        "X-HTTP-Method-Override",
        "Access-Control-Request-Method",
    ] {
        let body = format!("0\r\nX-Sum: 1\r\n{name}: x\r\n\r\n");
        assert_eq!(ends_at(body.as_bytes()), Err(Malformed), "{name}");
        let mut servers = Framing::at_trailers(Sender::Server);
        assert_eq!(servers.feed(&body.as_bytes()[3..]), Ok(body.len() - 3), "{name}");
    }
}

#[test]
fn trailers_are_stopped_at_and_nothing_else_is() {
    let stops_at = |text: &str| {
        let mut framing = Framing::CHUNKED;
        framing.feed_to_trailers(text.as_bytes(), |_| ()).map(|taken| (taken, framing.is_at_trailers()))
    };
    assert_eq!(stops_at("0\r\nX: y\r\n\r\n"), Ok((3, true)));
    assert_eq!(stops_at("0\r\n"), Ok((3, true)));
    assert_eq!(stops_at("0\r\n\r\nGET"), Ok((5, false)));
    assert_eq!(stops_at("1\r\na\r\n0"), Ok((7, false)));
    assert_eq!(stops_at("0\r\n X: y\r\n"), Err(Malformed));
}

#[test]
fn what_is_announced_is_known_before_it_comes() {
    let announced = |text: &str| {
        let mut framing = Framing::CHUNKED;
        framing.feed(text.as_bytes()).map(|_| framing.announced())
    };
    assert_eq!(announced("ff"), Ok(0), "there may be more digits");
    assert_eq!(announced("ff\r"), Ok(255));
    assert_eq!(announced("ff\r\nabc"), Ok(252));
    assert_eq!(announced("1\r\na\r\n"), Ok(0));
    assert_eq!(Framing::Length(9).announced(), 9);
}

/// What chunked bodies are made of, some of it malformed.
const PIECES: &[&str] = &[
    "1\r\na\r\n",
    "0a;x=y\r\n0123456789\r\n",
    "2;q=\"a\\\";\"\r\nab\r\n",
    "00\r\n",
    "X-Sum: 1\r\n",
    "X-Keygate-Role: ADMIN\r\n",
    "3;\r\nabc\r\n",
    "1\na\r\n",
    "2 \t\r\nab\r\n",
    "0000000000000001 ; a = b ;c\r\na\r\n",
    "X-Sum : 1\r\n\t2\r\n",
];

proptest! {
    /// However the bytes are cut, the body ends at the same place, and its content is the same.
    #[test]
    fn cuts_do_not_matter(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
                          cuts in prop::collection::vec(1usize..9, 1..200)) {
        let mut body = Vec::new();
        for chunk in &chunks {
            body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            body.extend_from_slice(chunk);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\n\r\n");
        let length = body.len();
        body.extend_from_slice(b"GET / HTTP/1.1\r\n");
        let (mut framing, mut at, mut content) = (Framing::CHUNKED, 0, Vec::new());
        for cut in cuts.iter().cycle() {
            let piece = &body[at..(at + cut).min(body.len())];
            at += framing.feed_with(piece, |data| content.extend_from_slice(data)).unwrap();
            if framing.is_done() || at == body.len() { break; }
        }
        prop_assert_eq!(at, length);
        prop_assert_eq!(content, chunks.concat());
    }

    /// Nor does it matter where bytes are cut that are no body, or are one with all that a body may have: it is told at
    /// the same byte, and what goes to the trailers' reader is the same.
    #[test]
    fn cuts_do_not_matter_where_something_is_wrong(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 0..12),
        odd in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let mut body = pieces.concat().into_bytes();
        body.extend_from_slice(b"0\r\nX-Sum: 1\r\n\r\nGET / HTTP/1.1\r\n");
        if let Some((at, byte)) = odd {
            *at.get_mut(&mut body) = byte;
        }
        for (sender, stops) in [
            (Sender::Client, false),
            (Sender::Client, true),
            (Sender::Server, false),
            (Sender::Server, true),
        ] {
            let feed = |framing: &mut Framing, bytes: &[u8]| match stops {
                true => framing.feed_to_trailers(bytes, |_| ()),
                false => framing.feed(bytes),
            };
            let mut whole = Framing::chunked(sender);
            let taken = feed(&mut whole, &body);
            let (mut bytewise, mut count) = (Framing::chunked(sender), 0);
            let stepwise = loop {
                match body.get(count..=count).map(|byte| feed(&mut bytewise, byte)) {
                    Some(Ok(1)) => count += 1,
                    Some(Err(malformed)) => break Err(malformed),
                    _ => break Ok(count),
                }
            };
            prop_assert_eq!(taken, stepwise);
            prop_assert!(taken.is_err() || whole == bytewise);
        }
    }

    /// What a client may send, a server may, and it is the same.
    #[test]
    fn servers_may_send_all_that_clients_may(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 0..12),
        odd in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let mut body = pieces.concat().into_bytes();
        body.extend_from_slice(b"0\r\n\r\nGET / HTTP/1.1\r\n");
        if let Some((at, byte)) = odd {
            *at.get_mut(&mut body) = byte;
        }
        let read = |sender| {
            let (mut framing, mut content) = (Framing::chunked(sender), Vec::new());
            let taken = framing.feed_with(&body, |piece| content.extend_from_slice(piece));
            taken.map(|taken| (taken, framing.is_done(), content))
        };
        let of_client = read(Sender::Client);
        prop_assert!(of_client.is_err() || of_client == read(Sender::Server));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for sender in [Sender::Client, Sender::Server] {
            let _ = Framing::chunked(sender).feed(&bytes);
        }
    }
}
