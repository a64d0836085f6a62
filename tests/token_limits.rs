//! Limits of the exchange: the size of a body, the time that it may take, how many at a time, and how often an
//! address may fail.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::exchange::{self, Desk, EXCHANGE, REFRESH, exchange, fresh_address, message, refresh, retry_after};
use crate::support::request::{get, post};
use crate::support::site::text_at;
use crate::support::{Client, Response, count, wait_for};

const LIMIT: usize = 8 << 10;

/// A right body of this length.
fn padded(desk: &Desk, length: usize) -> Vec<u8> {
    let mut body = json!({ "jwt": desk.jwt(&desk.reader).text() }).to_string().into_bytes();
    assert!(body.len() <= length);
    body.resize(length, b' ');
    body
}

fn head(framing: &str) -> Vec<u8> {
    format!("POST {EXCHANGE} HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n").into_bytes()
}

fn in_chunks(body: &[u8], size: usize) -> Vec<u8> {
    let mut out = head("Transfer-Encoding: chunked");
    for part in body.chunks(size) {
        out.extend_from_slice(format!("{:X}\r\n", part.len()).as_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

fn connect(desk: &Desk) -> Client {
    Client::connect_from(desk.node.address(), fresh_address())
}

/// Sends what may be refused before its end.
fn send(client: &mut Client, bytes: &[u8]) -> Response {
    drop(client.try_send(bytes));
    client.read("POST")
}

#[test]
fn eight_kibibytes_are_read_and_not_a_byte_more() {
    let desk = Desk::start();
    for size in [1, 100, LIMIT] {
        desk.issued(&send(&mut connect(&desk), &in_chunks(&padded(&desk, LIMIT), size)));
        let mut client = connect(&desk);
        let response = send(&mut client, &in_chunks(&padded(&desk, LIMIT + 1), size));
        assert_eq!(response.status, 413, "chunks of {size}");
        message(&response);
    }
    desk.issued(&desk.send(&post(EXCHANGE, &padded(&desk, LIMIT))));
    for path in [EXCHANGE, REFRESH] {
        let mut client = connect(&desk);
        let response = send(&mut client, &post(path, &padded(&desk, LIMIT + 1)).bytes());
        assert_eq!((response.status, response.header("connection")), (413, Some("close")));
        message(&response);
    }
}

#[test]
fn a_body_of_eight_mebibytes_is_refused_without_being_kept() {
    let desk = Desk::start();
    desk.token(&desk.reader);
    let before = desk.node.peak_memory_kib();
    let big = padded(&desk, 8 << 20);
    for bytes in [post(EXCHANGE, &big).bytes(), in_chunks(&big, 64 << 10), in_chunks(&big, 8 << 20)] {
        for _ in 0..5 {
            // The refusal may come while the rest is on its way, and be lost with it when the connection is reset.
            let mut client = connect(&desk);
            let sent = client.try_send(&bytes);
            match client.try_read("POST") {
                Ok(response) => assert_eq!(response.status, 413),
                Err(e) => assert!(sent.is_err(), "no answer: {e}"),
            }
        }
    }
    // It is told at once: nobody has to send it all.
    for framing in ["Content-Length: 8388608", "Content-Length: 999999999999"] {
        let mut client = connect(&desk);
        assert_eq!(send(&mut client, &head(framing)).status, 413, "{framing}");
        assert!(client.is_closed_by_peer());
    }
    let grown = desk.node.peak_memory_kib().saturating_sub(before);
    assert!(grown < 8 << 10, "grew by {grown} KiB, of fifteen times as much as that");
    assert_eq!(desk.admits(desk.token(&desk.reader)), 200);
}

#[test]
fn a_body_that_takes_too_long_is_408_however_it_drips() {
    let desk = Desk::with("request_timeout = \"1s\"", |c| c);
    let body = padded(&desk, 2000);
    for framing in [format!("Content-Length: {}", body.len()), "Transfer-Encoding: chunked".to_owned()] {
        let chunked = framing.starts_with('T');
        let (mut silent, mut dripping) = (connect(&desk), connect(&desk));
        let started = Instant::now();
        for client in [&mut silent, &mut dripping] {
            client.send(&head(&framing));
        }
        let mut drops = body.iter();
        wait_for("the deadline", || {
            let drop = drops.next().copied().unwrap_or(b' ');
            let bytes = if chunked { vec![b'1', b'\r', b'\n', drop, b'\r', b'\n'] } else { vec![drop] };
            dripping.try_send(&bytes).is_err() || started.elapsed() > Duration::from_secs(2)
        });
        let response = silent.read("POST");
        assert_eq!(response.status, 408, "{framing}");
        message(&response);
        assert!(silent.is_closed_by_peer());
        // What was still sent to the other one may have reset it.
        if let Ok(response) = dripping.try_read("POST") {
            assert_eq!(response.status, 408, "{framing}");
        }
        let took = started.elapsed();
        assert!((Duration::from_secs(1)..Duration::from_secs(20)).contains(&took), "{took:?}");
    }
    assert_eq!(desk.admits(desk.token(&desk.reader)), 200, "the others' time is their own");
}

#[test]
fn beyond_the_exchanges_at_a_time_the_one_waited_for_longest_gives_way() {
    let desk = Desk::with("max_concurrent = 2\nrequest_timeout = \"1m\"", |c| c);
    let mut waiting: Vec<(Client, Vec<u8>)> = Vec::new();
    for n in 0..5_usize {
        let mut client = connect(&desk);
        let request = exchange(&desk.jwt(&desk.reader).text()).field("Expect", "100-continue").bytes();
        let body = request.windows(4).position(|w| w == b"\r\n\r\n").expect("a head") + 4;
        client.send(&request[..body]);
        // Who is told to go on has its place.
        assert!(client.read_some().starts_with(b"HTTP/1.1 100 "));
        waiting.push((client, request[body..].to_vec()));
        if let Some(longest) = n.checked_sub(2) {
            let refused = waiting[longest].0.read("POST");
            assert_eq!(refused.status, 503, "{}", refused.text());
            message(&refused);
            assert!(retry_after(&refused) >= 1);
        }
    }
    // Whoever sends its body with its head, and keys and tokens, are not concerned.
    desk.issued(&desk.send(&exchange(&desk.jwt(&desk.admin).text())));
    assert_eq!(desk.send(&refresh("x")).status, 401);
    assert_eq!(desk.admits(&desk.admin), 200);
    for (mut client, body) in waiting.into_iter().skip(3) {
        client.send(&body);
        desk.issued(&client.read("POST"));
    }
    // A crowd that sends nothing keeps nobody out, and leaves no place taken.
    let crowd: Vec<_> = (0..count(10, 200))
        .map(|_| {
            let mut client = connect(&desk);
            client.send(&head("Content-Length: 10"));
            client
        })
        .collect();
    desk.issued(&desk.send(&exchange(&desk.jwt(&desk.admin).text())));
    drop(crowd);
    desk.issued(&desk.send(&exchange(&desk.jwt(&desk.admin).text())));
}

#[test]
fn an_exchange_whose_body_has_not_come_when_the_drain_ends_is_told_so() {
    let mut desk = Desk::with("", |config| config.server("drain_timeout = \"300ms\""));
    let mut client = connect(&desk);
    client.send(&head("Content-Length: 100"));
    wait_for("it is in flight", || desk.node.metric("keygate_requests_in_flight", &[]) > 0.0);
    assert_eq!(desk.gateway.node.stop().code(), Some(0));
    let answer = client.read("POST");
    assert_eq!((answer.status, message(&answer)), (503, "The gateway is stopping.".to_owned()));
    assert_eq!((retry_after(&answer), answer.header("connection")), (1, Some("close")));
}

fn loopback(last: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, last])
}

/// Fails until it is slowed: how often it could, and `Retry-After`. Whatever else this machine does, no wait is
/// longer than that, and fewer than five are free.
#[track_caller]
fn fail_until_slowed(mut attempt: impl FnMut() -> Response) -> (u32, u64) {
    for failures in 0..20 {
        let response = attempt();
        if response.status == 429 {
            message(&response);
            return (failures, retry_after(&response));
        }
        assert_eq!(response.status, 401, "failure {}", failures + 1);
    }
    panic!("nobody is slowed");
}

#[test]
fn an_address_that_fails_again_and_again_is_slowed_and_no_other() {
    let desk = Desk::start();
    let fail = |from| desk.send_from(from, &exchange("nonsense"));
    let (bad, good) = (loopback(2), loopback(3));
    let (mut failures, wait) = fail_until_slowed(|| fail(bad));
    assert!(failures >= 5, "four are free, and the fifth is told: {failures}");
    assert!((1..=1 << (failures - 5)).contains(&wait), "{wait} s after {failures}");
    // At both endpoints, and nowhere else.
    assert!(fail_until_slowed(|| desk.send_from(bad, &refresh("nonsense"))).0 <= 1);
    assert_eq!(desk.send_from(bad, &get("/x").bearer(&desk.reader)).status, 200);
    for n in 1..=4 {
        assert_eq!(fail(good).status, 401, "another address, failure {n}");
    }
    desk.issued(&desk.send_from(good, &exchange(&desk.jwt(&desk.reader).text())));
    // Each further failure doubles it.
    let mut longest = wait;
    for _ in 0..2 {
        wait_for("it may try again", || fail(bad).status == 401);
        let (more, wait) = fail_until_slowed(|| fail(bad));
        failures += 1 + more;
        assert!((1..=1 << (failures - 4)).contains(&wait), "{wait} s after {failures}");
        longest = longest.max(wait);
    }
    assert!(longest >= 2, "{longest}");
    // Whoever proves itself is not slowed, and ends it: an office behind one address has more than one integration.
    desk.issued(&desk.send_from(bad, &exchange(&desk.jwt(&desk.reader).text())));
    assert_eq!(fail(bad).status, 401);
}

#[test]
fn refreshes_that_fail_slow_their_address_too() {
    let desk = Desk::start();
    let bad = loopback(2);
    let (failures, _) = fail_until_slowed(|| desk.send_from(bad, &refresh("nonsense")));
    assert!(failures >= 5, "{failures}");
    assert!(fail_until_slowed(|| desk.send_from(bad, &exchange("nonsense"))).0 <= 1);
}

#[test]
fn refusals_of_the_proven_and_of_what_is_no_attempt_slow_nobody() {
    let desk = Desk::start();
    let here = loopback(2);
    let stale = || exchange(&desk.jwt(&desk.reader).with("iat", 1).text());
    let outdated = || exchange(&exchange::jwt(&desk.reader, "kgs_1_other").text());
    for _ in 0..10 {
        let statuses =
            [stale(), outdated(), post(EXCHANGE, b"{}"), get(EXCHANGE)].map(|r| desk.send_from(here, &r).status);
        assert_eq!(statuses, [401, 401, 400, 405]);
    }
    assert_eq!(desk.send_from(here, &exchange("nonsense")).status, 401);
}

#[test]
fn behind_a_trusted_proxy_it_is_the_client_that_is_slowed() {
    let desk = Desk::with("", |c| c.server("trusted_proxies = [\"127.0.0.4/32\"]"));
    let from = |address, client: &str| desk.send_from(address, &exchange("nonsense").field("X-Forwarded-For", client));
    let proxy = loopback(4);
    assert!(fail_until_slowed(|| from(proxy, "192.0.2.7")).0 >= 5);
    assert_eq!(from(proxy, "192.0.2.8").status, 401);
    // Who is no proxy cannot put its failures on others, however many it names.
    let liar = loopback(5);
    let mut others = 0..;
    let (failures, _) = fail_until_slowed(|| from(liar, &format!("198.51.100.{}", others.next().unwrap_or(0))));
    assert!((5..10).contains(&failures), "{failures}");
    assert_eq!(from(proxy, "198.51.100.0").status, 401);
}

#[test]
fn however_many_tokens_are_handed_out_memory_does_not_grow() {
    let desk = Desk::start();
    let issued = desk.token(&desk.reader);
    let mut client = connect(&desk);
    // Answers are looked at, not kept: a hundred thousand secrets would be searched for in every line.
    let mut refresh_and_use = |rounds: usize| {
        for _ in 0..rounds {
            let response = client.exchange(&refresh(&issued.refresh));
            assert_eq!(response.status, 200);
            let access = text_at(&response.json(), "access_token");
            assert_eq!(client.exchange(&get("/sink").bearer(&access)).status, 200);
        }
    };
    refresh_and_use(500);
    let before = desk.node.peak_memory_kib();
    refresh_and_use(count(2_000, 100_000));
    // The kernel's own count is not exact: it may also shrink a little.
    let grown = desk.node.peak_memory_kib().saturating_sub(before);
    assert!(grown < count(2 << 10, 8 << 10), "grew by {grown} KiB");
}
