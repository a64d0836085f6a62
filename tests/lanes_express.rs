//! Each plain shape takes the express lane, and its bytes are right there. What takes the other lane: `lanes_general`.

use std::io::ErrorKind;

use crate::support::scripted::{Scene, Scripted};
use crate::support::wire::Framing;
use crate::support::{Client, Config, Gateway, Key};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

struct Fixture {
    server: Scripted,
    gateway: Gateway,
    key: Key,
}

impl Fixture {
    fn start() -> Self {
        let server = Scripted::new();
        // One thread: kept connections belong to a thread, and tests say which is used again.
        let config = Config::default()
            .threads(1)
            .server("express_lane = true")
            .upstream_at("api", &[server.address().to_string()], "")
            .route("path = \"/\"\nupstream = \"api\"");
        let gateway = Gateway::start(&config);
        let key = gateway.key_add("admin", "admin");
        Self { server, gateway, key }
    }

    /// A head with these fields beside Host and a valid key.
    fn head(&self, line: &str, fields: &str) -> String {
        format!("{line} HTTP/1.1\r\nHost: gateway.test\r\nX-API-Key: {}\r\n{fields}\r\n", self.key.encoded)
    }

    /// A client that has sent this.
    fn client(&self, bytes: impl AsRef<[u8]>) -> Client {
        let mut client = self.gateway.node.connect();
        client.send(bytes.as_ref());
        client
    }

    /// A kept connection to the server: it has served one request.
    fn kept(&self) -> (Client, Scene) {
        let mut client = self.client(self.head("GET /first", ""));
        let mut scene = self.server.accept();
        scene.request();
        scene.says(OK);
        assert_eq!(client.read("GET").status, 200);
        (client, scene)
    }

    /// So many requests took the express lane, and none the other.
    #[track_caller]
    fn assert_express(&self, requests: usize) {
        assert_eq!(self.gateway.node.lanes(), (requests, 0), "requests by lane");
    }

    /// The connection is at the beginning of its next request, and so is the one to the server.
    #[track_caller]
    fn assert_goes_on(&self, client: &mut Client, scene: &mut Scene) {
        client.send(self.head("GET /next", "").as_bytes());
        assert_eq!(scene.request().0.line, "GET /next HTTP/1.1");
        scene.says(OK);
        assert_eq!(client.read("GET").text(), "ok");
    }
}

#[test]
fn get_and_head() {
    let f = Fixture::start();
    let mut client = f.client(f.head("GET /a?b=c", ""));
    let mut scene = f.server.accept();
    assert_eq!(scene.request().0.line, "GET /a?b=c HTTP/1.1");
    scene.says(OK);
    assert_eq!(client.read("GET").text(), "ok");
    client.send(f.head("HEAD /a", "").as_bytes());
    scene.request();
    scene.says("HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n");
    assert_eq!(client.read("HEAD").header("content-length"), Some("12345"));
    f.assert_goes_on(&mut client, &mut scene);
    f.assert_express(3);
}

#[test]
fn bodies_with_a_length_either_way() {
    let f = Fixture::start();
    let mut client = f.client(f.head("POST /a", "Content-Length: 5\r\n") + "hello");
    let mut scene = f.server.accept();
    assert_eq!(scene.request().1.kept, b"hello");
    scene.says("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.read("POST").status, 201);

    // Longer than any buffer, in pieces.
    let body = vec![7; 300_000];
    client.send((f.head("PUT /b", "Content-Length: 300000\r\n")).as_bytes());
    let head = scene.head();
    for piece in body.chunks(40_000) {
        client.send(piece);
    }
    assert_eq!(scene.body(&head).kept, body);
    scene.says("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n");
    scene.says(&body);
    assert_eq!(client.read("PUT").body, body);

    client.send(f.head("POST /c", "Content-Length: 0\r\n").as_bytes());
    assert_eq!(scene.request().0.get("content-length"), Some("0"));
    scene.says(OK);
    assert_eq!(client.read("POST").status, 200);
    f.assert_goes_on(&mut client, &mut scene);
    f.assert_express(4);
}

#[test]
fn chunked_bodies_and_trailers_either_way() {
    let f = Fixture::start();
    let mut client = f.client(f.head("PUT /a", "Transfer-Encoding: chunked\r\n"));
    let mut scene = f.server.accept();
    let head = scene.head();
    for piece in ["3;ext=1\r\nabc\r\n", "0A\r\n01234", "56789\r\n0\r\nX-Sum: 42\r", "\nX-Second:  v \r\n\r\n"] {
        client.send(piece.as_bytes());
    }
    let body = scene.body(&head);
    assert_eq!(body.kept, b"abc0123456789");
    let trailers = [("X-Sum", "42"), ("X-Second", "v")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(body.trailers, trailers);

    for piece in
        ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "5;x=\"y\"\r\nfir", "st\r\n", "0\r\nX-Sum: 1\r\n\r\n"]
    {
        scene.says(piece);
    }
    let answer = client.read("PUT");
    assert_eq!((answer.text().as_str(), answer.framing), ("first", Framing::Chunked));
    assert_eq!(answer.trailers, [("X-Sum".to_owned(), "1".to_owned())]);
    f.assert_goes_on(&mut client, &mut scene);
    f.assert_express(2);
}

#[test]
fn interim_answers() {
    let f = Fixture::start();
    let mut client = f.client(f.head("POST /a", "Content-Length: 2\r\n"));
    let mut scene = f.server.accept();
    let head = scene.head();
    scene.says("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n");
    client.send(b"hi");
    scene.body(&head);
    scene.says("HTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\nConnection: x\r\n\r\n");
    scene.says(OK);
    let answer = client.read("POST");
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    assert_eq!(answer.interim, [100, 102, 103]);
    f.assert_goes_on(&mut client, &mut scene);
    f.assert_express(2);
}

#[test]
fn answers_that_have_no_body() {
    let f = Fixture::start();
    let (mut client, mut scene) = f.kept();
    for (status, fields) in [(204, ""), (304, "Content-Length: 99\r\nETag: \"e\"\r\n"), (304, "")] {
        client.send(f.head("GET /a", "").as_bytes());
        scene.request();
        scene.says(format!("HTTP/1.1 {status} Told\r\n{fields}\r\n"));
        let answer = client.read("GET");
        assert_eq!((answer.status, answer.framing), (status, Framing::None));
        f.assert_goes_on(&mut client, &mut scene);
    }
    f.assert_express(7);
}

#[test]
fn an_answer_that_ends_with_the_servers_connection_goes_on_in_chunks() {
    let f = Fixture::start();
    for pieces in [&["HTTP/1.1 200 OK\r\n\r\nuntil", " the end"][..], &["HTTP/1.0 200 OK\r\n\r\n"]] {
        let mut client = f.client(f.head("GET /a", ""));
        let mut scene = f.server.accept();
        scene.request();
        for piece in pieces {
            scene.says(piece);
        }
        drop(scene);
        let answer = client.read("GET");
        assert_eq!((answer.status, answer.framing), (200, Framing::Chunked));
        assert_eq!(answer.text(), pieces.concat().rsplit("\r\n").next().unwrap());
        // The client's connection goes on; to the server there is a new one.
        client.send(f.head("GET /b", "").as_bytes());
        let mut scene = f.server.accept();
        scene.request();
        scene.says("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(client.read("GET").status, 200);
    }
    f.assert_express(4);
}

#[test]
fn connections_are_kept_and_serve_other_clients() {
    let f = Fixture::start();
    let (mut client, mut scene) = f.kept();
    f.assert_goes_on(&mut client, &mut scene);
    let mut other = f.client(f.head("GET /other", "Connection: close\r\n"));
    assert_eq!(scene.request().0.line, "GET /other HTTP/1.1");
    scene.says(OK);
    assert_eq!(other.read("GET").header("connection"), Some("close"));
    assert!(other.is_closed_by_peer(), "as it wanted");
    f.assert_goes_on(&mut client, &mut scene);
    assert!(f.server.is_left_alone(), "one connection for all");
    f.assert_express(4);
}

#[test]
fn pipelined_requests_are_answered_in_order_and_asked_one_after_the_other() {
    let f = Fixture::start();
    let all = [
        f.head("POST /1", "Content-Length: 4\r\n") + "GET ",
        f.head("GET /2", ""),
        "GET /refused HTTP/1.1\r\nHost: gateway.test\r\n\r\n".to_owned(),
        f.head("POST /3", "Transfer-Encoding: chunked\r\n") + "3\r\nabc\r\n0\r\n\r\n",
    ];
    let mut client = f.client(all.concat());
    let mut scene = f.server.accept();
    for (line, sent, status) in [("POST /1", "GET ", 200), ("GET /2", "", 200), ("", "", 401), ("POST /3", "abc", 200)]
    {
        if status == 200 {
            let (head, body) = scene.request();
            assert_eq!(head.line, format!("{line} HTTP/1.1"));
            assert_eq!(body.kept, sent.as_bytes());
            scene.says(OK);
        }
        assert_eq!(client.read("GET").status, status, "{line}");
    }
    f.assert_goes_on(&mut client, &mut scene);
    f.assert_express(4);
}

#[test]
fn an_early_answer_is_read_whole_by_who_is_still_sending() {
    let f = Fixture::start();
    let mut client = f.client(f.head("POST /large", "Content-Length: 50000000\r\n") + &"x".repeat(1000));
    let mut scene = f.server.accept();
    let head = scene.head();
    assert_eq!(head.line, "POST /large HTTP/1.1");
    assert_eq!(scene.bytes(1000).len(), 1000);
    scene.says("HTTP/1.1 413 Too Large\r\nContent-Length: 8\r\nConnection: close\r\n\r\ntoo much");
    scene.breaks();
    let answer = client.read("POST");
    assert_eq!((answer.status, answer.text().as_str()), (413, "too much"));
    assert_eq!(answer.header("connection"), Some("close"));
    // Not broken by what is still on its way: closed when it has been read, or after a while.
    assert!(client.try_send(&[b'x'; 1000]).is_ok());
    f.assert_express(1);
}

#[test]
fn a_client_that_goes_away_takes_its_request_along() {
    let f = Fixture::start();
    // Before its body is whole.
    let client = f.client(f.head("POST /a", "Content-Length: 10\r\n") + "12345");
    let mut scene = f.server.accept();
    scene.head();
    assert_eq!(scene.bytes(5), b"12345");
    drop(client);
    assert!(scene.is_closed_by_peer(), "a part must not look whole");
    // While it waits for the answer.
    let client = f.client(f.head("GET /b", ""));
    let mut scene = f.server.accept();
    scene.request();
    drop(client);
    assert!(scene.is_closed_by_peer());
    // In the middle of the answer.
    let mut client = f.client(f.head("GET /c", ""));
    let mut scene = f.server.accept();
    scene.request();
    scene.says("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345");
    assert!(!client.read_some().is_empty());
    drop(client);
    assert!(scene.is_closed_by_peer());
    f.assert_express(3);
}

#[test]
fn a_server_that_goes_away_is_told_and_its_answer_never_looks_whole() {
    let f = Fixture::start();
    let ask = || {
        let client = f.client(f.head("GET /a", ""));
        let mut scene = f.server.accept();
        scene.request();
        (client, scene)
    };
    for said in ["", "HTTP/1.1 200 OK\r\nContent-"] {
        let (mut client, mut scene) = ask();
        scene.says(said);
        drop(scene);
        assert_eq!(client.read("GET").status, 502, "{said:?}");
    }
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
    for said in ["HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345", chunks] {
        let (mut client, mut scene) = ask();
        scene.says(said);
        drop(scene);
        assert_eq!(client.try_read("GET").unwrap_err().kind(), ErrorKind::UnexpectedEof, "{said:?}");
    }
    let (mut client, scene) = ask();
    scene.breaks();
    assert_eq!(client.read("GET").status, 502);
    f.assert_express(5);
}

#[test]
fn an_idempotent_request_that_meets_a_kept_connections_end_is_sent_once_more() {
    let f = Fixture::start();
    for (head, body) in [("GET /again", ""), ("PUT /again", "body"), ("DELETE /again", "")] {
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let (mut client, mut stale) = f.kept();
        client.send((f.head(head, &length) + body).as_bytes());
        stale.request();
        drop(stale);
        let mut scene = f.server.accept();
        let (again, sent) = scene.request();
        assert_eq!((again.line, sent.kept), (format!("{head} HTTP/1.1"), body.as_bytes().to_vec()));
        scene.says("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nagain");
        assert_eq!(client.read("GET").text(), "again");
    }
    assert_eq!(f.gateway.node.metric("keygate_upstream_retries_total", &[]).round().to_string(), "3");
    // What may have had its effect is not.
    let (mut client, mut stale) = f.kept();
    client.send((f.head("POST /once", "Content-Length: 4\r\n") + "body").as_bytes());
    stale.request();
    drop(stale);
    assert_eq!(client.read("POST").status, 502);
    assert!(f.server.is_left_alone());
    f.assert_express(8);
}

#[test]
fn what_a_server_says_unasked_is_nobodys_answer() {
    let f = Fixture::start();
    let (mut client, mut scene) = f.kept();
    scene.says("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged");
    assert!(scene.is_closed_by_peer(), "it is let go");
    client.send(f.head("GET /next", "").as_bytes());
    let mut scene = f.server.accept();
    scene.request();
    scene.says(OK);
    assert_eq!(client.read("GET").text(), "ok");
    f.assert_express(2);
}

/// White space and sizes that recipients must bear with (RFC 9112, section 7.1.1), and what old servers send.
#[test]
fn chunked_answers_pass_as_servers_write_them() {
    let f = Fixture::start();
    let (mut client, mut scene) = f.kept();
    let long = format!("5;a={}\r\nfirst\r\n0\r\n\r\n", "b".repeat(4000));
    let many = format!("5\r\nfirst\r\n0\r\n{}\r\n", "X-Sum: 1\r\n".repeat(40));
    for chunks in [
        "5   \r\nfirst\r\n0 \r\n\r\n",
        "5 ; a = b\r\nfirst\r\n0\r\n\r\n",
        "0000000000000005\r\nfirst\r\n00\r\n\r\n",
        "5\r\nfirst\r\n0\r\nX-Sum : 1\r\n 2\r\n\r\n",
        &long,
        &many,
    ] {
        client.send(f.head("GET /a", "").as_bytes());
        scene.request();
        scene.says(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"));
        let answer = client.read("GET");
        assert_eq!((answer.text().as_str(), answer.framing), ("first", Framing::Chunked), "{chunks:?}");
        f.assert_goes_on(&mut client, &mut scene);
    }
    // Not of clients: a reader in front of keygate could take them in another way.
    client.send((f.head("POST /a", "Transfer-Encoding: chunked\r\n") + "5 \r\nfirst\r\n0\r\n\r\n").as_bytes());
    assert_eq!(client.read("POST").status, 400);
    f.assert_express(14);
}
