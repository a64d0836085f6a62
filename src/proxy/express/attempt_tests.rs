//! Whole requests: scripted clients, real servers, connections that were kept.

use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use pingora_prometheus::prometheus::{Registry, TextEncoder};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::coop;

use super::{Admitted, Done, Ended, Express, Turn, thread};
use crate::clock::{BootTime, Clock as _, SystemClock};
use crate::entropy::SystemEntropy;
use crate::fleet::lease::LeaseGate;
use crate::keyring::Keyring;
use crate::metrics::{Metrics, names};
use crate::proxy::authorize::authorize;
use crate::proxy::body::Framing;
use crate::proxy::gateway::{Gateway, Live};
use crate::proxy::head::{self, HeadLimits, Parsed};
use crate::proxy::headers::Presented;
use crate::proxy::patience::Patience;
use crate::proxy::reject::Rejection;
use crate::proxy::route::is_idempotent;
use crate::proxy::script::{Given, Script};
use crate::proxy::telemetry::Telemetry;
use crate::proxy::wire::Wire;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A server, and what it was sent: one text for each connection.
struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Gives these answers on each connection, one after the other, and then closes it.
    async fn start(answers: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, seen) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let all = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let at = all.lock().unwrap().len();
                all.lock().unwrap().push(String::new());
                for answer in answers {
                    let (mut request, mut piece) = (String::new(), [0; 1000]);
                    while !request.contains("\r\n\r\n") {
                        match socket.read(&mut piece).await {
                            Ok(count) if count > 0 => request.push_str(&String::from_utf8_lossy(&piece[..count])),
                            _ => break,
                        }
                    }
                    all.lock().unwrap()[at].push_str(&request);
                    socket.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        });
        Self { address, seen }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

/// The lane in front of some servers.
struct Lane {
    express: Express,
    gateway: Arc<Gateway>,
    registry: Registry,
}

impl Lane {
    fn new(servers: &[SocketAddr]) -> Self {
        let servers: Vec<_> = servers.iter().map(|server| format!("\"{server}\"")).collect();
        let config = format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\nthreads = 1\n[[upstream]]\nname = \"api\"\nservers = [{}]\n\
             [[route]]\npath = \"/\"\nupstream = \"api\"\naccess = \"public\"\n[store]\nurl = \"sqlite:keygate.db\"\n\
             [secrets]\nmaster_key_file = \"master.key\"\n",
            servers.join(",")
        );
        let config = crate::config::parse(&config, Path::new("keygate.toml")).unwrap();
        let registry = Registry::new();
        let metrics = Arc::new(Metrics::new(&registry, &Rejection::REASONS).unwrap());
        let keyring = Arc::new(Keyring::new(&SystemEntropy));
        let clock = Arc::new(SystemClock);
        let telemetry = Telemetry {
            no_route: metrics.route(names::NO_ROUTE).unwrap(),
            metrics: Arc::clone(&metrics),
            access_log: None,
            keyring: Arc::clone(&keyring),
            clock: clock.clone(),
        };
        let live = Live::new(&config, &metrics).unwrap();
        let gateway = Arc::new(Gateway::new(keyring, Arc::new(LeaseGate::closed()), clock, live, telemetry, 1));
        Self { express: Express::new(Arc::clone(&gateway)), gateway, registry }
    }

    /// One request on a new connection, of which all is there; what came of it, and what the client was sent.
    async fn ask(&self, text: &str) -> (Done, String) {
        self.ask_until(text, None).await
    }

    async fn ask_until(&self, text: &str, too_old_at: Option<BootTime>) -> (Done, String) {
        let script = Script::texts(&[text]);
        let written = script.written();
        let mut client = Wire::new(script.stream());
        coop::unconstrained(poll_fn(|cx| client.poll_fill(cx, 10_000))).await.unwrap();
        let live = self.gateway.live.load_full();
        let (mut space, limits) = (head::Space::<20>::new(), HeadLimits { size: 10_000, fields: 19 });
        let Parsed::Head(head) = head::parse(text.as_bytes(), &mut space, limits) else { panic!("{text}") };
        let route = live.routes.find(head.host_name, head.path).unwrap();
        let client_address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let authority = self.gateway.authority(&live);
        let permit = authorize(authority, route, &head, None, Presented::Absent, client_address).unwrap().permit;
        let (mut forwarded, mut out) = (text.as_bytes()[..head.length].to_vec(), Vec::new());
        let mut patience = Patience::new(SystemClock.boot(), Duration::from_secs(1));
        let turn =
            Turn { forwarded: &mut forwarded, out: &mut out, patience: &mut patience, request_id: "id", too_old_at };
        let admitted = Admitted {
            permit: &permit,
            live: &live,
            route,
            framing: head.framing,
            head_length: head.length,
            to_head: head.method == b"HEAD",
            is_idempotent: is_idempotent(head.method),
            close: head.close,
        };
        assert_ne!(admitted.framing, Framing::Tunnel);
        let done = self.express.serve(&mut client, turn, &admitted).await;
        (done, written.text())
    }

    /// As if a request had left this connection behind.
    fn keep(&self, script: Script) {
        let until = SystemClock.boot().plus(Duration::from_mins(1));
        self.gateway.live.load().upstreams[0].pool().put(thread::index(), 0, script.stream(), until, false);
    }

    fn kept(&self) -> usize {
        self.gateway.live.load().upstreams[0].pool().len()
    }

    fn has_counted(&self, line: &str) -> bool {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap().lines().any(|other| other == line)
    }
}

fn request(method: &str) -> String {
    format!("{method} /a HTTP/1.1\r\nHost: api\r\n\r\n")
}

/// A connection that the server closes as soon as it is asked.
fn stale() -> Script {
    Script::new([Given::Pending, Given::End])
}

/// An address at which nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn connections_are_kept_and_used_again() {
    let server = Server::start(&[OK, OK, OK]).await;
    let lane = Lane::new(&[server.address]);
    for _ in 0..3 {
        let (done, told) = lane.ask(&request("GET")).await;
        assert_eq!((done.ended, done.status, done.bytes_out), (Ended::GoesOn, 200, 2));
        assert_eq!(done.server, Some(0));
        assert!(done.upstream_duration.is_some() && done.cut.is_none());
        assert!(told.starts_with("HTTP/1.1 200 OK\r\n") && told.ends_with("\r\n\r\nok"), "{told}");
    }
    assert_eq!(server.seen(), [request("GET").repeat(3)], "one connection");
    assert!(lane.has_counted(r#"keygate_upstream_connects_total{upstream="api"} 1"#));
    assert!(lane.has_counted(r#"keygate_upstream_duration_seconds_count{upstream="api"} 3"#));
    assert!(lane.has_counted(r#"keygate_upstream_retries_total{upstream="api"} 0"#));
}

#[tokio::test]
async fn connections_that_cannot_serve_another_are_not_kept() {
    for answer in [
        &["HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"] as &[_],
        &["HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"],
        &["HTTP/1.1 200 OK\r\n\r\nok"],
        &["HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"],
        &["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more"],
    ] {
        let server = Server::start(answer).await;
        let lane = Lane::new(&[server.address]);
        let (done, _) = lane.ask(&request("GET")).await;
        assert_eq!((done.ended, done.bytes_out, lane.kept()), (Ended::GoesOn, 2, 0), "{answer:?}");
    }
    let server = Server::start(&[OK]).await;
    let lane = Lane::new(&[server.address]);
    let (done, _) = lane.ask(&request("HEAD")).await;
    assert_eq!((done.ended, done.bytes_out), (Ended::GoesOn, 0));
    assert_eq!(lane.kept(), 0, "a server that sends a body to HEAD is not asked again on that connection");
}

#[tokio::test]
async fn what_a_server_says_unasked_is_nobodys_answer() {
    for is_exhausted in [false, true] {
        let server = Server::start(&[OK]).await;
        let lane = Lane::new(&[server.address]);
        // More than a task may do in one poll: then it is told by every socket that it is silent.
        for _ in 0..200 {
            lane.keep(Script::texts(&["HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"]));
        }
        poll_fn(|cx| {
            while is_exhausted && coop::has_budget_remaining() {
                let _ = pin!(coop::consume_budget()).poll(cx);
            }
            Poll::Ready(())
        })
        .await;
        let (done, told) = lane.ask(&request("POST")).await;
        assert_eq!((done.ended, done.status), (Ended::GoesOn, 200));
        assert!(told.ends_with("\r\n\r\nok"), "{is_exhausted}: {told}");
        assert_eq!(lane.kept(), 1);
    }
}

#[tokio::test]
async fn what_may_be_repeated_is_sent_once_more_on_a_new_connection() {
    for (text, sent) in [
        (request("GET"), request("GET")),
        ("PUT /a HTTP/1.1\r\nHost: api\r\nContent-Length: 3\r\n\r\nabc".to_owned(), String::new()),
    ] {
        let server = Server::start(&[OK]).await;
        let lane = Lane::new(&[server.address]);
        lane.keep(stale());
        lane.keep(stale());
        let (done, told) = lane.ask(&text).await;
        assert_eq!((done.ended, done.status), (Ended::GoesOn, 200), "{text}");
        assert!(told.ends_with("\r\n\r\nok"));
        let sent = if sent.is_empty() { text } else { sent };
        assert_eq!(server.seen(), [sent], "whole, and once");
        assert!(lane.has_counted(r#"keygate_upstream_retries_total{upstream="api"} 1"#));
        assert!(lane.has_counted(r#"keygate_upstream_failures_total{kind="closed",upstream="api"} 1"#));
    }
}

#[tokio::test]
async fn what_may_not_be_repeated_is_not() {
    let server = Server::start(&[OK]).await;
    for (text, script) in [
        (request("POST"), stale()),
        // It has begun to answer.
        (request("GET"), Script::new([Given::Pending, Given::Bytes(b"H".to_vec()), Given::End])),
        (request("GET"), Script::new([Given::Pending, Given::Bytes(b"HTTP/1.1 103 E\r\n\r\n".to_vec()), Given::End])),
    ] {
        let lane = Lane::new(&[server.address]);
        lane.keep(script);
        let (done, _) = lane.ask(&text).await;
        let ended = [Ended::Answer(Rejection::UpstreamFailed), Ended::Closes { slowly: false }];
        assert!(ended.contains(&done.ended), "{done:?}");
        assert!(lane.has_counted(r#"keygate_upstream_retries_total{upstream="api"} 0"#));
    }
    assert_eq!(server.seen(), [""; 0], "nobody was asked");
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_replaced_by_another_for_every_method() {
    let server = Server::start(&[OK]).await;
    let lane = Lane::new(&[nobody().await, server.address]);
    for method in ["GET", "POST"] {
        let (done, _) = lane.ask(&request(method)).await;
        assert_eq!((done.ended, done.server), (Ended::GoesOn, Some(1)));
    }
    let lane = Lane::new(&[nobody().await]);
    let (done, told) = lane.ask(&request("POST")).await;
    assert_eq!((done.ended, done.status, &*told), (Ended::Answer(Rejection::UpstreamFailed), 0, ""));
    assert!(lane.has_counted(r#"keygate_upstream_retries_total{upstream="api"} 1"#));
    assert!(lane.has_counted(r#"keygate_upstream_failures_total{kind="connect",upstream="api"} 2"#));
}

#[tokio::test]
async fn the_client_is_told_what_became_of_its_connection() {
    let server = Server::start(&[OK]).await;
    let lane = Lane::new(&[server.address]);
    let closing = "GET /a HTTP/1.1\r\nHost: api\r\nConnection: close\r\n\r\n";
    let (done, told) = lane.ask(closing).await;
    assert_eq!(done.ended, Ended::Closes { slowly: false });
    assert!(told.contains("\r\nConnection: close\r\n"));
    let (done, _) = lane.ask(&format!("{closing}GET /more")).await;
    assert_eq!(done.ended, Ended::Closes { slowly: true }, "it has sent more than is read");
    lane.keep(Script::new([]));
    let (done, told) = lane.ask_until(&request("GET"), Some(BootTime::ZERO)).await;
    assert_eq!((done.ended, &*told), (Ended::Answer(Rejection::UpstreamTimeout), ""));
    assert_eq!(done.cut, Some(Rejection::UpstreamTimeout));
}

#[tokio::test]
async fn a_gateway_that_stops_ends_connections_with_their_last_request() {
    let server = Server::start(&[OK]).await;
    let lane = Lane::new(&[server.address]);
    lane.gateway.drain();
    let (done, told) = lane.ask(&request("GET")).await;
    assert_eq!(done.ended, Ended::Closes { slowly: true });
    assert!(told.contains("\r\nConnection: close\r\n"));
    let (done, _) = lane.ask(&request("GET").repeat(2)).await;
    assert_eq!(done.ended, Ended::GoesOn, "one more was asked");
}

/// Answers each request with its target; what the target ends with says how.
async fn echo(mut socket: tokio::net::TcpStream) -> Option<()> {
    let mut came = String::new();
    loop {
        while !came.contains("\r\n\r\n") {
            let mut piece = [0; 1000];
            let count = socket.read(&mut piece).await.ok().filter(|count| *count > 0)?;
            came.push_str(&String::from_utf8_lossy(&piece[..count]));
        }
        let (head, rest) = came.split_once("\r\n\r\n")?;
        let target = head.split(' ').nth(1)?.to_owned();
        came = rest.to_owned();
        tokio::task::yield_now().await;
        let (begin, end) = match target.as_bytes().last()? {
            b'0' | b'1' => ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n<".to_owned(), "\r\n0\r\n\r\n"),
            b'2' => ("HTTP/1.1 200 OK\r\n\r\n<".to_owned(), ""),
            _ => (format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n<", target.len() + 2), ""),
        };
        socket.write_all(begin.as_bytes()).await.ok()?;
        tokio::task::yield_now().await;
        let line = if end.is_empty() { String::new() } else { format!("\r\n{:x}\r\n", target.len() + 1) };
        socket.write_all(format!("{line}{target}>{end}").as_bytes()).await.ok()?;
        // Some are closed without a word.
        if matches!(target.as_bytes().last()?, b'2' | b'3') {
            return None;
        }
    }
}

#[tokio::test]
async fn nobody_is_given_the_answer_to_another_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let lane = Arc::new(Lane::new(&[listener.local_addr().unwrap()]));
    let connections = Arc::new(AtomicUsize::new(0));
    let accepted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            accepted.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(echo(socket));
        }
    });
    let mut all = tokio::task::JoinSet::new();
    for client in 0..16 {
        let lane = Arc::clone(&lane);
        all.spawn(async move {
            for number in 0..100_u64 {
                let target = format!("/{client}/{number}");
                let text = format!("GET {target} HTTP/1.1\r\nHost: api\r\n\r\n");
                let asked = Box::pin(lane.ask(&text));
                // Some are gone after a while, wherever the exchange is then.
                let patience = if number % 3 == 0 { number * 20 } else { 10_000_000 };
                let Ok((done, told)) = tokio::time::timeout(Duration::from_micros(patience), asked).await else {
                    continue;
                };
                let content: String = told.split("\r\n\r\n").skip(1).collect();
                assert_eq!((done.ended, done.status), (Ended::GoesOn, 200), "{target}: {told}");
                assert!(content.contains(&target) && content.matches('/').count() == 2, "{target}: {told}");
            }
        });
    }
    all.join_all().await;
    let connections = connections.load(Ordering::Relaxed);
    assert!(connections < 1400, "connections were used again: {connections} for 1,600 requests");
}
