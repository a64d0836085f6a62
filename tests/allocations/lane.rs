//! A whole request in the express lane allocates nothing: neither one that is admitted nor one that is refused, with the
//! access log or without it.
//!
//! Everything real is in one process, since the allocator counts in one: a client and a server on sockets, with buffers of
//! fixed size, and between them a connection of the gateway on a runtime of its own.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use keygate::clock::SystemClock;
use keygate::config;
use keygate::credential::Role;
use keygate::metrics::{AccessLog, Metrics, Registry, names};
use keygate::proxy::connection::Front;
use keygate::proxy::gateway::{Gateway, Live};
use keygate::proxy::general::General;
use keygate::proxy::reject::Rejection;
use keygate::proxy::socket::Socket;
use keygate::proxy::telemetry::Telemetry;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::HttpProxy;

use crate::common::Bench;
use crate::counted;

const WARM_UP: usize = 200;
const REQUESTS: usize = 1_000;
/// What bodies end with, of requests and answers.
const END: &[u8] = b"=end";
/// What problem documents end with.
const DOCUMENT_END: &[u8] = b"\"}\n";

pub fn requests_in_the_express_lane_allocate_nothing() {
    for has_log in [false, true] {
        let bench = Bench::new();
        let key = bench.key(Role::Admin, &bench.secret);
        let forged = format!("{}{}", &key[..key.len() - 1], if key.ends_with('0') { "1" } else { "0" });
        // Its digest holds all the same.
        let stale = key.replacen("kg_7_", "kg_6_", 1);
        let mut client = TcpStream::connect(gateway(bench, has_log)).unwrap();
        let fields = format!("Host: api\r\nAccept: */*\r\nUser-Agent: test\r\nX-API-Key: {key}\r\n");
        let body = format!("{}=end", "x".repeat(1_020));
        let cases = [
            ("GET", format!("GET /a?b=c HTTP/1.1\r\n{fields}\r\n"), END),
            ("a chunked answer", format!("GET /chunked HTTP/1.1\r\n{fields}\r\n"), b"0\r\n\r\n"),
            ("POST", format!("POST /a HTTP/1.1\r\n{fields}Content-Length: 1024\r\n\r\n{body}"), END),
            ("no key", "GET /a HTTP/1.1\r\nHost: api\r\n\r\n".to_owned(), DOCUMENT_END),
            ("a forged key", format!("GET /a HTTP/1.1\r\nHost: api\r\nX-API-Key: {forged}\r\n\r\n"), DOCUMENT_END),
            ("an old secret", format!("GET /a HTTP/1.1\r\nHost: api\r\nX-API-Key: {stale}\r\n\r\n"), DOCUMENT_END),
        ];
        for (what, request, end) in cases {
            let mut ask = |times: usize| {
                for _ in 0..times {
                    client.write_all(request.as_bytes()).unwrap();
                    read_until(&mut client, |answer| answer.ends_with(end)).unwrap();
                }
            };
            ask(WARM_UP);
            let _profiler = dhat::Profiler::builder().testing().build();
            let allocated = counted(|| ask(REQUESTS));
            // The queue of the log grows by doubling as long as its writer is behind: no cost of a request.
            let most = if has_log { 40 } else { 0 };
            assert!(allocated <= most, "{allocated} allocations in {REQUESTS} requests: {what}, access log: {has_log}");
        }
    }
}

/// Reads a message, and answers how it begins; `None` where the connection ends.
fn read_until(stream: &mut TcpStream, is_whole: impl Fn(&[u8]) -> bool) -> Option<[u8; 16]> {
    let (mut buffer, mut held) = ([0; 8192], 0);
    while !is_whole(&buffer[..held]) {
        match stream.read(&mut buffer[held..]).unwrap() {
            0 => return None,
            count => held += count,
        }
    }
    buffer[..16].try_into().ok()
}

/// A gateway that serves one connection, in front of a server.
fn gateway(bench: Bench, has_log: bool) -> SocketAddr {
    let server = serve();
    let text = format!(
        r#"
        [server]
        express_lane = true
        [[upstream]]
        name = "api"
        servers = ["{server}"]
        [[route]]
        path = "/"
        upstream = "api"
        "#
    );
    let config = config::parse(&text, Path::new("/keygate.toml")).unwrap_or_else(|e| panic!("{e}"));
    let metrics = Arc::new(Metrics::new(&Registry::new(), &Rejection::REASONS).unwrap());
    let access_log = has_log.then(|| AccessLog::new(std::io::sink(), 1 << 20, metrics.access_log_dropped.clone()));
    let Bench { keyring, lease, .. } = bench;
    let (keyring, clock) = (Arc::new(keyring), Arc::new(SystemClock));
    let telemetry = Telemetry {
        no_route: metrics.route(names::NO_ROUTE).unwrap(),
        metrics: Arc::clone(&metrics),
        access_log: access_log.transpose().unwrap(),
        keyring: Arc::clone(&keyring),
        clock: clock.clone(),
    };
    let live = Live::new(&config, &metrics).unwrap();
    let gateway = Arc::new(Gateway::new(keyring, Arc::new(lease), clock, live, telemetry, 1));
    let mut general = HttpProxy::new(General::new(Arc::clone(&gateway)), Arc::new(ServerConf::default()));
    general.handle_init_modules();
    let front = Front::new(gateway, Arc::new(general));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (accepted, _) = listener.accept().unwrap();
            accepted.set_nonblocking(true).unwrap();
            let tcp = tokio::net::TcpStream::from_std(accepted).unwrap();
            front.serve(Box::new(Socket::new(tcp)), IpAddr::V4(Ipv4Addr::LOCALHOST)).await;
        });
    });
    address
}

/// A server that keeps its connections.
fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut connection in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let is_whole = |request: &[u8]| request.ends_with(b"\r\n\r\n") || request.ends_with(END);
                while let Some(line) = read_until(&mut connection, |request| {
                    // The head of a POST is not yet all of it.
                    is_whole(request) && !(request.starts_with(b"POST") && request.ends_with(b"\r\n\r\n"))
                }) {
                    let answer: &[u8] = match line.starts_with(b"GET /chunked") {
                        true => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n0\r\n\r\n",
                        false => b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsome.=end",
                    };
                    connection.write_all(answer).unwrap();
                }
            });
        }
    });
    address
}
