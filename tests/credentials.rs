//! Which credentials are accepted, where, and what a role may do.

use crate::support::request::{Request, get, post};
use crate::support::{Config, Gateway, Key, Response, Upstream, request, wait_for};

/// Safe methods (RFC 9110, section 9.2.1, and the QUERY draft), which READONLY may use.
const READS: [&str; 4] = ["GET", "HEAD", "OPTIONS", "QUERY"];
const WRITES: [&str; 4] = ["POST", "PUT", "PATCH", "DELETE"];
const UNKNOWN: [&str; 5] = ["PURGE", "PROPFIND", "MKCOL", "REPORT", "X!"];

struct Fixture {
    upstream: Upstream,
    gateway: Gateway,
    reader: Key,
    admin: Key,
}

fn start() -> Fixture {
    let upstream = Upstream::echo();
    let config = Config::in_front_of(&upstream).route("path = \"/open\"\nupstream = \"api\"\naccess = \"public\"");
    let gateway = Gateway::start(&config);
    let reader = gateway.key_add("reader", "READONLY");
    let admin = gateway.key_add("admin", "Admin");
    Fixture { upstream, gateway, reader, admin }
}

impl Fixture {
    #[track_caller]
    fn send(&self, request: &Request) -> Response {
        self.gateway.node.send(request)
    }
}

#[test]
fn every_valid_combination_of_role_and_method_is_admitted_and_every_other_refused() {
    let f = start();
    let mut forwarded = 0;
    for method in READS.iter().chain(&WRITES).chain(&UNKNOWN) {
        for (key, role) in [(&f.reader, "READONLY"), (&f.admin, "ADMIN")] {
            let response = f.send(&request(method, "/x").bearer(key));
            if role == "ADMIN" || READS.contains(method) {
                assert_eq!(response.status, 200, "{method} as {role}");
                forwarded += 1;
            } else {
                assert_eq!(response.status, 403, "{method} as {role}");
                let challenge = response.header("www-authenticate").unwrap_or_default();
                assert!(challenge.starts_with("Bearer ") && challenge.contains("insufficient_scope"), "{challenge}");
            }
        }
        assert_eq!(f.send(&request(method, "/x")).status, 401, "{method} without a key");
    }
    assert_eq!(f.upstream.count(), forwarded, "what was refused was not forwarded");
}

#[test]
fn an_unknown_method_needs_admin() {
    let f = start();
    for method in UNKNOWN {
        assert_eq!(f.send(&request(method, "/x").bearer(&f.reader)).status, 403, "{method}");
        assert_eq!(f.send(&request(method, "/x").bearer(&f.admin)).status, 200, "{method}");
    }
}

#[test]
fn trace_and_connect_are_refused_with_405_for_everybody() {
    let f = start();
    for request in [
        request("TRACE", "/x"),
        request("TRACE", "/x").bearer(&f.admin),
        request("TRACE", "/open"),
        request("CONNECT", "host.test:443").bearer(&f.admin),
        request("CONNECT", "/x").bearer(&f.admin),
        request("CONNECT", "/open"),
    ] {
        let response = f.send(&request);
        assert_eq!(response.status, 405, "{request:?}");
        assert!(response.header("allow").is_some(), "RFC 9110, section 15.5.6");
    }
    assert_eq!(f.upstream.count(), 0);
}

#[test]
fn a_method_with_a_lower_case_letter_is_405_for_everybody() {
    // Methods are case-sensitive (RFC 9110, section 9.1). Some servers disagree, and would take one for another.
    let f = start();
    for method in ["get", "Get", "post", "pOST", "DELETe", "head", "options", "trace", "Trace", "connect", "x-mine"] {
        for request in [
            request(method, "/x"),
            request(method, "/x").bearer(&f.reader),
            request(method, "/x").bearer(&f.admin),
            request(method, "/open/x"),
        ] {
            let response = f.send(&request);
            assert_eq!(response.status, 405, "{request:?}");
            assert!(response.header("allow").is_some(), "RFC 9110, section 15.5.6");
        }
    }
    assert_eq!(f.send(&request("connect", "host.test:443").bearer(&f.admin)).status, 405);
    assert_eq!(f.upstream.count(), 0);
}

#[test]
fn a_protocol_upgrade_needs_admin() {
    let f = start();
    let upgrade = |key: &Key| {
        get("/ws")
            .bearer(key)
            .field("Connection", "Upgrade")
            .field("Upgrade", "websocket")
            .field("Sec-WebSocket-Version", "13")
    };
    assert_eq!(f.send(&upgrade(&f.reader)).status, 403);
    assert_eq!(f.upstream.count(), 0);
    // And then it is a tunnel.
    let mut client = f.gateway.node.connect();
    client.send(&upgrade(&f.admin).bytes());
    assert_eq!(client.read("GET").status, 101);
    for text in ["first", "second"] {
        client.send(text.as_bytes());
        let mut echo = String::new();
        wait_for("the echo", || {
            echo += &String::from_utf8_lossy(&client.read_some());
            echo == text
        });
    }
}

#[test]
fn an_encoded_key_is_read_from_bearer_and_x_api_key_and_both_fields_of_basic() {
    let f = start();
    let key = f.reader.encoded.as_str();
    let ways = [
        get("/x").bearer(key),
        get("/x").field("authorization", &format!("bearer {key}")),
        get("/x").field("AUTHORIZATION", &format!("BEARER   {key}")),
        get("/x").field("X-API-Key", key),
        get("/x").field("x-api-key", key),
        get("/x").basic(key, ""),
        get("/x").basic("", key),
        get("/x").basic("x", key),
        get("/x").basic("api", key),
        get("/x").basic(key, key),
        get("/x").field("Authorization", &get_basic(key).replace("Basic", "basic")),
    ];
    for way in &ways {
        assert_eq!(f.send(way).status, 200, "{way:?}");
    }
    for seen in f.upstream.seen() {
        assert_eq!((seen.header("authorization"), seen.header("x-api-key")), (None, None));
        assert!(!contains(&seen.head.raw, b"kg_"), "the credential goes no further");
    }
}

fn get_basic(key: &str) -> String {
    format!("Basic {}", crate::support::base64::encode(format!("{key}:").as_bytes()))
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|w| w == part)
}

#[test]
fn the_same_credential_twice_is_fine_and_two_different_ones_are_400() {
    let f = start();
    let (a, b) = (f.reader.encoded.as_str(), f.admin.encoded.as_str());
    for fine in [
        get("/x").bearer(a).field("X-API-Key", a),
        get("/x").field("X-API-Key", a).field("X-API-Key", a),
        get("/x").basic(a, "").field("X-API-Key", a),
    ] {
        assert_eq!(f.send(&fine).status, 200, "{fine:?}");
    }
    let admitted = f.upstream.count();
    for conflict in [
        get("/x").bearer(a).field("X-API-Key", b),
        get("/x").field("X-API-Key", a).field("X-API-Key", b),
        get("/x").basic(a, b),
        get("/x").basic(a, "").field("X-API-Key", b),
        get("/x").bearer(a).field("X-API-Key", "kg_1_nonsense"),
    ] {
        let response = f.send(&conflict);
        assert_eq!(response.status, 400, "{conflict:?}");
        assert_eq!(response.json()["type"], "urn:keygate:problem:conflicting-credentials");
    }
    assert_eq!(f.upstream.count(), admitted);
}

#[test]
fn two_authorization_fields_are_refused() {
    let f = start();
    let response = f.send(&get("/x").bearer(&f.reader).bearer(&f.reader));
    assert_eq!(response.status, 400);
    let response = f.send(&get("/x").basic("user", "word").bearer(&f.reader));
    assert_eq!(response.status, 400);
    assert_eq!(f.upstream.count(), 0);
}

#[test]
fn a_foreign_authorization_passes_through_untouched() {
    let f = start();
    let foreign = [
        "Bearer eyJhbGciOiJIUzI1NiJ9.e30.c2ln",
        "Basic dXNlcjp3b3Jk",
        "Digest username=\"kg_not_at_the_start\", nonce=\"x\"",
        "AWS4-HMAC-SHA256 Credential=A/20260101/eu/s3/aws4_request, SignedHeaders=host, Signature=00",
        "opaque",
    ];
    for (n, value) in foreign.iter().enumerate() {
        let target = format!("/foreign/{n}");
        let response = f.send(&get(&target).field("X-API-Key", &f.reader.encoded).field("Authorization", value));
        assert_eq!(response.status, 200, "{value}");
        assert_eq!(f.upstream.only(&target).head.all("authorization"), [*value]);
        // It is no credential of ours.
        assert_eq!(f.send(&get("/x").field("Authorization", value)).status, 401, "{value}");
    }
}

/// Everything that begins as our credentials do, valid or not.
fn ours(f: &Fixture) -> Vec<String> {
    let body = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";
    let (encoded, app_key) = (&f.reader.encoded, &f.reader.app_key);
    vec![
        encoded.clone(),
        app_key.clone(),
        f.gateway.shared_secret(),
        format!("kgo_{}_{body}", f.reader.id),
        format!("kgt_1_{}_{body}", f.reader.id),
        format!("kgr_{body}"),
        "kg_".to_owned(),
        "kg_1_garbage".to_owned(),
    ]
}

#[test]
fn what_begins_like_our_credentials_is_never_forwarded_on_public_routes_too() {
    let f = start();
    for credential in ours(&f) {
        let places = [
            get("/open/x").bearer(&credential),
            get("/open/x").field("Authorization", &credential),
            get("/open/x").field("Authorization", &format!("Token {credential}")),
            get("/open/x").field("Authorization", &format!("bearer    {credential}")),
            get("/open/x").field("X-Api-Key", &credential),
            get("/open/x").basic(&credential, ""),
            get("/open/x").basic("user", &credential),
            get("/open/x").basic(&credential, &"long ".repeat(200)),
        ];
        for request in places {
            let before = f.upstream.count();
            let response = f.send(&request);
            assert_eq!(response.status, 200, "public routes verify nothing: {request:?}");
            let seen = f.upstream.seen().split_off(before).remove(0);
            assert_eq!((seen.header("authorization"), seen.header("x-api-key")), (None, None), "{request:?}");
        }
    }
    // What is not ours stays the upstream's.
    assert_eq!(f.send(&get("/open/theirs").basic("user", "word")).status, 200);
    assert_eq!(f.upstream.only("/open/theirs").header("authorization"), Some("Basic dXNlcjp3b3Jk"));
}

#[test]
fn what_begins_like_our_credentials_and_is_not_a_valid_encoded_key_is_401() {
    let f = start();
    for credential in ours(&f).into_iter().skip(1) {
        for request in [
            get("/x").bearer(&credential),
            get("/x").field("Authorization", &credential),
            get("/x").field("X-API-Key", &credential),
            get("/x").basic(&credential, ""),
            get("/x").basic("user", &credential),
        ] {
            assert_eq!(f.send(&request).status, 401, "{request:?}");
        }
    }
    assert_eq!(f.upstream.count(), 0);
}

#[test]
fn a_valid_key_in_a_scheme_that_is_not_read_is_401_and_not_forwarded() {
    let f = start();
    for value in [f.reader.encoded.clone(), format!("Token {}", f.reader.encoded)] {
        assert_eq!(f.send(&get("/x").field("Authorization", &value)).status, 401);
    }
    assert_eq!(f.upstream.count(), 0);
}

#[test]
fn no_changed_character_of_an_encoded_key_is_admitted() {
    let f = start();
    let key = &f.reader.encoded;
    let mut client = f.gateway.node.connect();
    // Warm: the unchanged key has been verified, and its fingerprint kept.
    assert_eq!(client.exchange(&get("/x").bearer(key)).status, 200);
    for place in 0..key.len() {
        let mut changed = key.clone().into_bytes();
        changed[place] = match changed[place] {
            b'0' => b'1',
            b'_' => b'-',
            _ => b'0',
        };
        let changed = String::from_utf8(changed).expect("text");
        assert_eq!(client.exchange(&get("/x").bearer(&changed)).status, 401, "changed at {place}");
    }
    for changed in [format!("{key}0"), key[..key.len() - 1].to_owned(), key.to_uppercase(), format!("{key}_")] {
        assert_eq!(client.exchange(&get("/x").bearer(&changed)).status, 401);
    }
    assert_eq!(f.upstream.count(), 1);
}

#[test]
fn one_keys_app_key_under_anothers_id_is_401() {
    let f = start();
    let secret = f.gateway.shared_secret();
    let body = f.admin.app_key.rsplit('_').next().expect("a body");
    let crossed = crate::support::site::encode_with_openssl(&format!("kga_{}_{body}", f.reader.id), &secret);
    assert_eq!(f.send(&get("/x").bearer(&crossed)).status, 401, "its MAC holds; its digest does not");
}

#[test]
fn a_refused_requests_body_is_not_taken_for_the_next_request() {
    let f = start();
    let mut client = f.gateway.node.connect();
    let smuggled = get("/smuggled").bearer(&f.admin).bytes();
    client.send(&post("/x", &smuggled).bytes());
    assert_eq!(client.read("POST").status, 401);
    // Either the connection ends here, or the body was read to its end.
    if let Ok(next) = client.try_exchange(&get("/next").bearer(&f.admin)) {
        assert_eq!(next.header("x-target"), Some("/next"));
    }
    assert_eq!(f.upstream.seen_at("/smuggled").len(), 0);
}
