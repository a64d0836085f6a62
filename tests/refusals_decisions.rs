//! What is decided on is what goes on: for requests of any shape, read and written by the gateway's own functions, the
//! head that is forwarded leads to the same route and demands the same role as the one that came, and whoever reads
//! it finds one method, one target, one host, one identity and one framing in it.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use keygate::config::{self, resolved::Demand};
use keygate::credential::{KeyId, KeyState, Role, SecretDigest};
use keygate::entropy::SystemEntropy;
use keygate::keyring::{Keyring, Record};
use keygate::proxy::forward::{self, Identity, To};
use keygate::proxy::head::{self, FIELDS_MAX, Head, HeadLimits, Parsed};
use keygate::proxy::headers::{BASIC_MAX, Presented};
use keygate::proxy::path;
use keygate::proxy::route::Routes;
use keygate::proxy::upstream::Upstream;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{TestCaseError, TestRunner};

use crate::support::{base64, count};

const LIMITS: HeadLimits = HeadLimits { size: 16 << 10, fields: FIELDS_MAX };

/// Every kind of route and rule.
const ROUTES: &str = r#"
    [[upstream]]
    name = "api"
    servers = ["127.0.0.1:9"]
    [[route]]
    path = "/"
    upstream = "api"
    [[route.rule]]
    methods = ["POST"]
    path = "/search"
    role = "READONLY"
    [[route.rule]]
    methods = ["GET"]
    path = "/export"
    role = "ADMIN"
    [[route]]
    path = "/open"
    upstream = "api"
    access = "public"
    [[route.rule]]
    path = "/open/admin"
    role = "ADMIN"
    [[route]]
    path = "/lenient"
    upstream = "api"
    lenient_paths = true
    [[route.rule]]
    path = "/lenient/admin"
    role = "ADMIN"
    [[route]]
    path = "/browser"
    upstream = "api"
    preflight = true
    [[route]]
    host = "public.test"
    path = "/"
    upstream = "api"
    access = "public"
"#;

/// An encoded key by its form; nobody has it.
fn key() -> String {
    format!("kg_1_{}_{}_{}", "a".repeat(12), "b".repeat(43), "c".repeat(40))
}

fn method() -> impl Strategy<Value = &'static str> {
    let often = select(vec!["GET", "GET", "GET", "POST", "OPTIONS", "HEAD", "PUT", "DELETE", "QUERY"]);
    let seldom = select(vec!["get", "PATCH", "PURGE", "TRACE", "M-SEARCH", "G", "CONNECT", "GE\tT"]);
    prop_oneof![9 => often, 1 => seldom]
}

fn target() -> impl Strategy<Value = String> {
    let names = vec![
        "open", "lenient", "browser", "search", "export", "admin", "x", "Export", "OPEN", "%6fpen", "%6Fpen",
        "expor%74",
    ];
    let odd = vec![
        "..",
        ".",
        "",
        "%2e%2e",
        "%2f",
        "..%2fopen",
        "%252e",
        "a;v=1",
        "..;",
        "\\",
        "%00",
        "%",
        "%zz",
        "é",
        "a%0d%0ab",
    ];
    let segment = prop_oneof![12 => select(names), 1 => select(odd)];
    let prefixes = vec!["", "", "", "", "", "", "http://gateway.test", "HTTP://PUBLIC.TEST", "http://a@b", "//b", "*"];
    let queries = vec!["", "", "", "?", "?a=/../open", "?a=b&c=%2f..", "?a#b", "?\"", "?kg"];
    (select(prefixes), proptest::collection::vec(segment, 1..4), select(queries))
        .prop_map(|(prefix, segments, query)| format!("{prefix}/{}{query}", segments.join("/")))
}

/// A field line without its end.
fn field() -> impl Strategy<Value = String> {
    let key = key();
    let basic = base64::encode(format!("{key}:").as_bytes());
    let credentials = vec![
        format!("Authorization: Bearer {key}"),
        format!("Authorization: Basic {basic}"),
        "Authorization: Digest a=b".to_owned(),
        format!("X-API-Key: {key}"),
        "X-API-Key: somebody's".to_owned(),
    ];
    let lines = [
        "Host: public.test",
        "Content-Length: 4",
        "Content-Length: 0",
        "Content-Length: +4",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: identity",
        "Connection: close",
        "Connection: keep-alive",
        "Connection: upgrade",
        "Connection: Upgrade, X-Mine",
        "Connection: Origin",
        "Connection: X-Keygate-Role",
        "Connection: TE, Host",
        "Upgrade: websocket",
        "Upgrade: h2c",
        "Sec-WebSocket-Version: 13",
        "Expect: 100-continue",
        "Origin: http://page.test",
        "Access-Control-Request-Method: DELETE",
        "X-Keygate-Role: ADMIN",
        "X-Keygate-Key-Id: evil",
        "X_Keygate_Role: ADMIN",
        "X-Forwarded-For: 192.0.2.66",
        "X-Forwarded-Host: evil.test",
        "X-Real-IP: 192.0.2.66",
        "Forwarded: for=evil",
        "X-HTTP-Method-Override: DELETE",
        "X-Original-URL: /export",
        "X-Rewrite-URL: /export",
        "Proxy: http://evil.test",
        "Proxy-Authorization: Basic YTpi",
        "Cookie: a=1; keygate_session=evil; b=2",
        "TE: trailers",
        "Trailer: X-Sum",
        "Keep-Alive: timeout=5",
        "X-Request-Id: evil",
        "X-Mine: 1",
        "X-Mine: a\tb",
        "X-Mine: \u{e9}",
        "X-Mine:",
        "X-Mine : 1",
        " X-Mine: 1",
        "X-Mine: 1\n X-Keygate-Role: ADMIN",
        "X-Mine: 1\rX-Keygate-Role: ADMIN",
        "X-Mine: \0",
    ];
    let lines = lines.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let line = prop_oneof![1 => select(credentials), 4 => select(lines)];
    (line, 0..12_u8).prop_map(|(line, spelling)| match (spelling, line.split_once(':')) {
        (0, Some((name, value))) => format!("{}:{value}", name.to_ascii_uppercase()),
        (1, Some((name, value))) => format!("{}:{value}", name.to_ascii_lowercase()),
        (2, Some((name, value))) => format!("{}:{value}", name.replace('-', "_")),
        _ => line,
    })
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let hosts = vec![
        "gateway.test",
        "gateway.test",
        "gateway.test:80",
        "public.test",
        "PUBLIC.TEST:1",
        "public.test.",
        "a b",
        "",
    ];
    let versions = vec!["1.1", "1.1", "1.1", "1.1", "1.1", "1.1", "1.0", "1.0", "2.0"];
    let fields = proptest::collection::vec(field(), 0..5);
    (method(), target(), select(versions), select(hosts), fields).prop_map(|(method, target, version, host, fields)| {
        let mut text = format!("{method} {target} HTTP/{version}\r\nHost: {host}\r\n");
        for field in &fields {
            text.extend([field, "\r\n"]);
        }
        text.push_str("\r\n");
        text.into_bytes()
    })
}

/// The route, and what it demands; nothing where there is no route, or the path is none of its.
fn decide(routes: &Routes, head: &Head<'_, '_>) -> Option<(usize, Demand)> {
    let route = routes.find(head.host_name, head.path)?;
    let resolved = match path::check(head.path) {
        Ok(()) => None,
        Err(_) if route.lenient_paths => {
            let resolved = path::resolved(head.path);
            let stays = routes.find(head.host_name, &resolved).is_some_and(|other| Arc::ptr_eq(other, route));
            Some(stays.then_some(resolved)?)
        }
        Err(_) => return None,
    };
    Some((route.index, route.demand(head, resolved.as_deref())))
}

/// What the property is asked with.
struct Rig {
    routes: Routes,
    keyring: Keyring,
    id: KeyId,
    /// How many requests went on.
    forwarded: Cell<u32>,
}

impl Rig {
    fn new() -> Self {
        let config = config::parse(ROUTES, Path::new("/keygate.toml")).unwrap_or_else(|e| panic!("{e}"));
        let upstream = Arc::new(Upstream::new(0, &config.upstreams[0], 1).expect("an address needs no look-up"));
        let keyring = Keyring::new(&SystemEntropy);
        let id = KeyId::draw(&SystemEntropy);
        let record = Record {
            epoch: 0,
            role: Role::Admin,
            state: KeyState::Active,
            digest: SecretDigest::ERASED,
            name: "admin".into(),
            policy: None,
        };
        keyring.put(id, record).expect("there is room");
        Self { routes: Routes::new(&config.routes, &[upstream]), keyring, id, forwarded: Cell::new(0) }
    }

    fn holds_for(&self, bytes: &[u8]) -> Result<(), TestCaseError> {
        let mut space = head::Space::<{ FIELDS_MAX + 1 }>::new();
        let Parsed::Head(came) = head::parse(bytes, &mut space, LIMITS) else { return Ok(()) };
        let Some(decided) = decide(&self.routes, &came) else { return Ok(()) };
        self.forwarded.set(self.forwarded.get() + 1);
        // No upgrade goes past pingora.
        let readers = if came.has_upgrade { &[To::Pingora][..] } else { &[To::Pingora, To::Server] };
        readers.iter().try_for_each(|to| self.is_the_same(&came, decided, *to))
    }

    fn is_the_same(&self, came: &Head<'_, '_>, decided: (usize, Demand), to: To) -> Result<(), TestCaseError> {
        let goes = self.forward(came, decided.1, to);
        let mut space = head::Space::<{ FIELDS_MAX + 1 }>::new();
        let Parsed::Head(seen) = head::parse(&goes, &mut space, LIMITS) else {
            return Err(TestCaseError::fail(format!("what goes on is no head: {}", goes.escape_ascii())));
        };
        prop_assert_eq!(seen.length, goes.len());
        prop_assert_eq!((seen.method, seen.target, seen.host), (came.method, came.target, came.host));
        prop_assert_eq!(seen.framing, came.framing);
        prop_assert_eq!((seen.is_websocket, seen.is_preflight), (came.is_websocket, came.is_preflight));
        let anew = decide(&self.routes, &seen);
        if came.is_upgrade && !came.is_websocket {
            // It needs ADMIN, and goes on as a request that asks for no upgrade.
            prop_assert!(!seen.is_upgrade);
            prop_assert!(anew.is_some_and(|(route, demand)| route == decided.0 && demand <= decided.1));
        } else {
            prop_assert_eq!(anew, Some(decided));
        }
        check_fields(&seen, decided.1)
    }

    fn forward(&self, head: &Head<'_, '_>, demand: Demand, to: To) -> Vec<u8> {
        let mut basic = [0; BASIC_MAX];
        let claims = forward::claims(head, &mut basic);
        let found = self.keyring.find(self.id);
        let identity = Identity {
            key: found.as_ref().filter(|_| demand != Demand::Public),
            request_id: "1-1-1",
            peer: "192.0.2.1",
            peer_is_trusted: false,
            authorization_is_ours: claims.authorization_is_ours,
        };
        let mut goes = Vec::new();
        forward::write_head_to(to, &mut goes, head, &identity);
        goes
    }
}

/// One identity, of ours; no credential of ours, nothing hop by hop, and one reading of each line.
fn check_fields(head: &Head<'_, '_>, demand: Demand) -> Result<(), TestCaseError> {
    let mut basic = [0; BASIC_MAX];
    prop_assert_eq!(forward::claims(head, &mut basic).presented, Presented::Absent);
    let all = |name: &str| {
        head.fields.iter().filter(|f| f.name.eq_ignore_ascii_case(name)).map(|f| f.value).collect::<Vec<_>>()
    };
    let ours = |name: &str| name.to_ascii_lowercase().replace('_', "-").starts_with("x-keygate-");
    let identity = head.fields.iter().filter(|f| ours(f.name)).count();
    prop_assert_eq!(identity, if demand == Demand::Public { 0 } else { 3 });
    prop_assert_eq!(all("X-Request-Id"), [b"1-1-1"]);
    prop_assert_eq!(all("X-Forwarded-For"), [b"192.0.2.1"]);
    for name in ["TE", "Trailer", "Keep-Alive", "Proxy-Authorization", "X-HTTP-Method-Override", "X-Original-URL"] {
        prop_assert!(all(name).is_empty(), "{}", name);
    }
    prop_assert_eq!(forward::client_address(head, CLIENT, &[]), CLIENT);
    let secret = key();
    for field in head.fields {
        let value = field.value.escape_ascii().to_string();
        prop_assert!(!value.contains("evil") && !value.contains(&secret), "{}: {}", field.name, value);
        prop_assert!(!field.value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)), "{}: {}", field.name, value);
    }
    Ok(())
}

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[test]
fn what_is_forwarded_is_decided_on_as_what_came() {
    let cases = count(10_000, 1_000_000);
    let rig = Rig::new();
    let mut runner = TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() });
    runner.run(&request(), |bytes| rig.holds_for(&bytes)).unwrap_or_else(|e| panic!("{e}"));
    let forwarded = rig.forwarded.get();
    assert!(forwarded > cases / 10, "only {forwarded} of {cases} requests went on: the property says nothing");
}
