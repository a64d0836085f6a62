//! Which header fields reach the upstream, which do not, and which keygate sets.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use crate::support::request::{Request, get};
use crate::support::upstream::Seen;
use crate::support::{Config, Gateway, Key, Upstream, request, wait_for};

struct Fixture {
    upstream: Upstream,
    gateway: Gateway,
    reader: Key,
}

fn start_with(config: impl Fn(Config) -> Config) -> Fixture {
    let upstream = Upstream::echo();
    let base = Config::in_front_of(&upstream).route("path = \"/open\"\nupstream = \"api\"\naccess = \"public\"");
    let gateway = Gateway::start(&config(base));
    let reader = gateway.key_add("reader", "readonly");
    Fixture { upstream, gateway, reader }
}

fn start() -> Fixture {
    start_with(|c| c)
}

impl Fixture {
    /// Sends with the key; the request as the upstream got it.
    #[track_caller]
    fn forwarded(&self, request: Request) -> Seen {
        let before = self.upstream.count();
        let response = self.gateway.node.send(&request.bearer(&self.reader));
        assert_eq!(response.status, 200, "{}", response.text());
        self.upstream.seen().split_off(before).remove(0)
    }
}

#[test]
fn the_upstream_is_told_who_calls() {
    let f = start();
    let seen = f.forwarded(get("/x"));
    assert_eq!(seen.head.all("x-keygate-key-id"), [f.reader.id.as_str()]);
    assert_eq!(seen.head.all("x-keygate-key-name"), ["reader"]);
    assert_eq!(seen.head.all("x-keygate-role"), ["READONLY"]);
    assert_eq!(seen.head.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.head.all("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.head.all("x-forwarded-host"), ["gateway.test"]);
    assert_eq!(seen.head.all("x-request-id").len(), 1);
}

#[test]
fn names_are_percent_encoded_in_headers_and_plain_in_the_log() {
    let f = start();
    let key = f.gateway.key_add("Größe & Maß, 100%", "admin");
    let response = f.gateway.node.get("/named", &key);
    assert_eq!(response.status, 200);
    let seen = f.upstream.only("/named");
    let name = seen.header("x-keygate-key-name").expect("a name");
    assert!(name.is_ascii(), "{name}");
    assert!(name.contains("Gr%C3%B6%C3%9Fe") && name.contains("100%25"), "{name}");
    let is_logged = || f.gateway.node.access_log().iter().any(|line| line["key_name"] == "Größe & Maß, 100%");
    wait_for("the line of the access log", is_logged);
}

#[test]
fn the_request_id_is_the_same_for_client_and_upstream_and_new_for_each_request() {
    let f = start();
    let mut ids = std::collections::BTreeSet::new();
    let mut client = f.gateway.node.connect();
    for n in 0..5 {
        let target = format!("/id/{n}");
        let response = client.exchange(&get(&target).bearer(&f.reader));
        let id = response.header("x-request-id").expect("an id").to_owned();
        assert_eq!(f.upstream.only(&target).header("x-request-id"), Some(id.as_str()));
        assert!(ids.insert(id), "an id was given twice");
    }
    // An upstream's own id does not stand beside ours.
    let response = client.exchange(&get("/headers").bearer(&f.reader));
    assert_eq!(response.head.all("x-request-id").len(), 1);
}

#[test]
fn client_sent_identity_is_stripped_on_every_route() {
    let f = start();
    let spoof = |request: Request| {
        request
            .field("X-Keygate-Role", "ADMIN")
            .field("x-keygate-role", "ADMIN")
            .field("X-KEYGATE-KEY-ID", "000000000000")
            .field("X-Keygate-Key-Name", "root")
            .field("X-Keygate-Anything", "at all")
    };
    let seen = f.forwarded(spoof(get("/x")));
    assert_eq!(seen.head.all("x-keygate-role"), ["READONLY"]);
    assert_eq!(seen.head.all("x-keygate-key-id"), [f.reader.id.as_str()]);
    assert_eq!(seen.head.all("x-keygate-key-name"), ["reader"]);
    assert_eq!(seen.head.all("x-keygate-anything").len(), 0);

    assert_eq!(f.gateway.node.send(&spoof(get("/open/x"))).status, 200);
    let seen = f.upstream.only("/open/x");
    let identity = seen.head.fields.iter().filter(|(n, _)| n.to_lowercase().starts_with("x-keygate-"));
    assert_eq!(identity.count(), 0, "nobody is behind a public request: {:?}", seen.head.fields);
}

#[test]
fn connection_cannot_name_a_field_that_the_decision_rests_on() {
    let f = start();
    for nominated in [
        "X-Keygate-Role",
        "close, x-keygate-key-id",
        "X-Request-Id",
        "Authorization",
        "X-Api-Key",
        "Content-Length",
        "Host",
        "X-Forwarded-For",
        "X_Keygate_Role",
    ] {
        let response = f
            .gateway
            .node
            .send(&get("/x").bearer(&f.reader).field("Connection", nominated).field("X-Keygate-Role", "ADMIN"));
        assert_eq!(response.status, 400, "{nominated}");
    }
    assert_eq!(f.upstream.count(), 0);
}

#[test]
fn a_name_that_reads_as_one_of_ours_with_underscores_is_refused() {
    let f = start();
    for name in [
        "X_Keygate_Role",
        "x_keygate_key_id",
        "X-Keygate_Role",
        "X_Keygate-Anything",
        "X_API_Key",
        "X_Forwarded_For",
        "X_Request_Id",
        "Content_Length",
        "Transfer_Encoding",
        "X_HTTP_Method_Override",
    ] {
        for request in [get("/x").bearer(&f.reader), get("/open/x")] {
            assert_eq!(f.gateway.node.send(&request.field(name, "1")).status, 400, "{name}");
        }
    }
    assert_eq!(f.upstream.count(), 0);
    assert_eq!(f.forwarded(get("/x").field("my_own_field", "1")).header("my_own_field"), Some("1"));
}

#[test]
fn a_name_that_reads_as_one_of_ours_with_any_other_mark_is_refused() {
    let f = start();
    // Servers and frameworks make other characters of those that they do not like in a name: `_`, nothing, `-`.
    for name in [
        "X.Keygate.Role",
        "X!Keygate!Role",
        "X-Keygate.Role",
        "X.Keygate-Anything",
        "X~Keygate~Key~Id",
        "X~Api~Key",
        "X.API.Key",
        "X'API'Key",
        "X|Forwarded|For",
        "X.Request.Id",
        "Content.Length",
        "Transfer*Encoding",
        "X+HTTP+Method+Override",
        "X.Real.IP",
        "X.Original.URL",
    ] {
        for request in [get("/x").bearer(&f.reader), get("/open/x")] {
            assert_eq!(f.gateway.node.send(&request.field(name, "1")).status, 400, "{name}");
        }
    }
    assert_eq!(f.upstream.count(), 0);
    assert_eq!(f.forwarded(get("/x").field("my.own~field", "1")).header("my.own~field"), Some("1"));
}

#[test]
fn fields_that_name_another_path_are_stripped() {
    let f = start();
    for name in [
        "X-Original-URL",
        "X-Rewrite-URL",
        "x-original-url",
        "X-REWRITE-URL",
        "X-Original-URI",
        "X-Original-Host",
        "X-Host",
        "X-HTTP-Host-Override",
        "X-Envoy-Original-Path",
        // What CGI would make of it is a variable that programs take their proxy from.
        "Proxy",
    ] {
        let seen = f.forwarded(get("/x").field(name, "/admin"));
        assert_eq!(seen.header(name), None, "{name}");
        assert_eq!(f.gateway.node.send(&get("/open/x").field(name, "/admin")).status, 200);
    }
    assert!(f.upstream.seen_at("/open/x").iter().all(|s| !s.head.fields.iter().any(|(_, v)| v == "/admin")));
}

#[test]
fn an_operators_session_cookie_goes_no_further_and_other_cookies_do() {
    let f = start();
    for (sent, forwarded) in [
        ("keygate_session=secret", None),
        ("a=1; keygate_session=secret; b=2", Some("a=1; b=2")),
        ("__Host-keygate_session=secret;c=3", Some("c=3")),
        ("keygate_session=x; keygate_session=y", None),
        ("my_keygate_session=1; d=\"keygate_session\"", Some("my_keygate_session=1; d=\"keygate_session\"")),
        ("e=4;f=5", Some("e=4;f=5")),
    ] {
        assert_eq!(f.forwarded(get("/x").field("Cookie", sent)).header("cookie"), forwarded, "{sent}");
    }
    assert_eq!(f.gateway.node.send(&get("/open/x").field("cookie", "keygate_session=secret")).status, 200);
    assert_eq!(f.upstream.only("/open/x").header("cookie"), None, "on public routes neither");
}

#[test]
fn fields_that_name_another_client_are_not_believed() {
    let f = start();
    for name in [
        "X-Real-IP",
        "True-Client-IP",
        "X-Client-IP",
        "X-Cluster-Client-IP",
        "X-Forwarded",
        "Forwarded-For",
        "Client-IP",
        "CF-Connecting-IP",
        "Fastly-Client-IP",
        "X-Originating-IP",
        "X-Remote-IP",
        "X-Remote-Addr",
    ] {
        let seen = f.forwarded(get("/x").field(name, "192.0.2.1").field(&name.to_lowercase(), "192.0.2.2"));
        assert!(!seen.head.fields.iter().any(|(_, v)| v.contains("192.0.2.")), "{name}: {:?}", seen.head.fields);
        assert_eq!(f.gateway.node.send(&get("/open/x").field(name, "192.0.2.1")).status, 200);
    }
    assert!(f.upstream.seen_at("/open/x").iter().all(|s| !s.head.fields.iter().any(|(_, v)| v == "192.0.2.1")));
}

#[test]
fn method_override_headers_are_stripped() {
    let f = start();
    for name in
        ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "x-http-method-override", "X-Original-Method"]
    {
        let seen = f.forwarded(get("/x").field(name, "DELETE"));
        assert_eq!(seen.header(name), None, "{name}");
        assert_eq!(seen.method(), "GET");
    }
}

#[test]
fn hop_by_hop_fields_end_here() {
    let f = start();
    let request = get("/x")
        .field("Connection", "keep-alive, X-Hop")
        .field("X-Hop", "1")
        .field("Keep-Alive", "timeout=5")
        .field("Proxy-Connection", "keep-alive")
        .field("Proxy-Authorization", "Basic eDp5")
        .field("TE", "trailers")
        .field("Trailer", "X-Sum");
    let seen = f.forwarded(request);
    for name in ["x-hop", "keep-alive", "proxy-connection", "proxy-authorization", "te", "trailer", "upgrade"] {
        assert_eq!(seen.header(name), None, "{name} in {:?}", seen.head.fields);
    }
}

#[test]
fn hop_by_hop_fields_of_a_response_end_here() {
    let f = start();
    let response = f.gateway.node.get("/headers", &f.reader);
    for name in ["x-hop", "keep-alive"] {
        assert_eq!(response.header(name), None, "{name} in {:?}", response.head.fields);
    }
    assert_eq!(response.head.all("x-one"), ["a", "b"]);
    assert_eq!(response.header("server"), Some("theirs"));
}

#[test]
fn end_to_end_fields_pass_unchanged_and_in_order() {
    let f = start();
    let fields = [
        ("Accept", "text/*;q=0.3, text/html"),
        ("X-Twice", "first"),
        ("Cookie", "a=1; b=kg"),
        ("X-Twice", "second, third"),
        ("X-Empty", ""),
        ("X-Latin", "caf\u{e9}"),
        ("If-None-Match", "\"e\""),
        ("Range", "bytes=0-1"),
        ("Accept-Encoding", "gzip, br"),
        ("User-Agent", "tests/1"),
    ];
    let request = fields.iter().fold(get("/x"), |request, (name, value)| request.field(name, value));
    let seen = f.forwarded(request);
    for (name, _) in fields {
        let sent: Vec<&str> = fields.iter().filter(|(n, _)| *n == name).map(|(_, v)| *v).collect();
        assert_eq!(seen.head.all(name), sent, "{name}");
    }
}

#[test]
fn x_forwarded_for_of_a_client_that_is_not_trusted_is_not_believed() {
    let f = start();
    let seen = f.forwarded(get("/x").field("X-Forwarded-For", "192.0.2.1").field("Forwarded", "for=192.0.2.1"));
    assert_eq!(seen.head.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.header("forwarded"), None);
    let seen = f.forwarded(get("/x").field("X-Forwarded-Host", "evil").field("X-Forwarded-Proto", "https"));
    assert_eq!(seen.head.all("x-forwarded-host"), ["gateway.test"]);
    assert_eq!(seen.head.all("x-forwarded-proto"), ["http"]);
}

#[test]
fn x_forwarded_for_of_a_trusted_proxy_is_continued() {
    let f = start_with(|c| c.server("trusted_proxies = [\"127.0.0.0/8\"]"));
    let seen = f.forwarded(get("/x").field("X-Forwarded-For", "198.51.100.9, 192.0.2.1"));
    let hops: Vec<&str> = seen.head.all("x-forwarded-for");
    let hops: Vec<&str> = hops.iter().flat_map(|v| v.split(',')).map(str::trim).collect();
    assert_eq!(hops, ["198.51.100.9", "192.0.2.1", "127.0.0.1"]);
}

#[test]
fn the_upgrade_field_of_a_plain_request_is_not_forwarded() {
    let f = start();
    let admin = f.gateway.key_add("admin", "admin");
    let request = request("GET", "/x").bearer(&admin).field("Connection", "Upgrade").field("Upgrade", "h2c");
    let response = f.gateway.node.send(&request);
    assert_eq!(response.status, 200, "an upgrade that is not granted is answered as without it");
    assert_eq!(f.upstream.only("/x").header("upgrade"), None);
}

#[test]
fn a_websocket_among_other_upgrades_or_versions_is_no_websocket() {
    let f = start();
    let admin = f.gateway.key_add("admin", "admin");
    let base =
        |target: &str| get(target).bearer(&admin).field("Connection", "Upgrade").field("Sec-WebSocket-Key", "eA==");
    let versions = |request: Request| request.field("Sec-WebSocket-Version", "8").field("Sec-WebSocket-Version", "13");
    for (target, request) in [
        ("/upgrades", base("/upgrades").field("Upgrade", "h2c").field("Upgrade", "websocket")),
        ("/versions", versions(base("/versions").field("Upgrade", "websocket"))),
    ] {
        assert_eq!(f.gateway.node.send(&request).status, 200, "{target}");
        assert_eq!(f.upstream.only(target).header("upgrade"), None, "{target}");
    }
}

#[test]
fn what_is_of_the_hop_ends_here_in_interim_and_empty_answers_too() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let servers = [listener.local_addr().expect("an address").to_string()];
    // One answer, to whatever comes.
    std::thread::spawn(move || {
        let (mut server, _) = listener.accept().expect("a connection");
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            server.read_exact(&mut byte).expect("a request");
            head.extend(byte);
        }
        let hop = "Connection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\nUpgrade: h2c\r\nX-Request-Id: theirs\r\n";
        let answers = format!(
            "HTTP/1.0 103 Early\r\nLink: </s>\r\n{hop}Content-Length: 3\r\n\r\n\
             HTTP/1.1 204 None\r\nX-Mine: 1\r\n{hop}Transfer-Encoding: chunked\r\n\r\n"
        );
        server.write_all(answers.as_bytes()).expect("a gateway that reads");
        let _ = server.read_to_end(&mut head);
    });
    let config = Config::default().upstream_at("raw", &servers, "").route("path = \"/\"\nupstream = \"raw\"");
    let gateway = Gateway::start(&config);
    let mut client = gateway.node.connect();
    client.send(&get("/x").bearer(gateway.key_add("reader", "readonly")).bytes());
    let mut answers = String::new();
    wait_for("both answers", || {
        answers += &String::from_utf8_lossy(&client.read_some());
        answers.matches("\r\n\r\n").count() == 2
    });
    let lowercase = answers.to_lowercase();
    let (interim, last) = lowercase.split_once("\r\n\r\n").expect("two heads");
    assert_eq!(interim, "http/1.1 103 early\r\nlink: </s>", "{answers}");
    assert!(last.starts_with("http/1.1 204 none\r\nx-mine: 1\r\n"), "{answers}");
    for name in ["x-hop:", "keep-alive:", "upgrade:", "theirs", "content-length:", "transfer-encoding:"] {
        assert!(!last.contains(name), "{name} in {answers}");
    }
}
