//! Bodies stream in both directions, in constant memory, within their limits.

use std::io::Write as _;
use std::process::Command;

use crate::support::request::{get, post};
use crate::support::wire::Framing;
use crate::support::{Client, Config, Gateway, Key, Upstream, count, wait_for, wait_for_some};

struct Fixture {
    upstream: Upstream,
    gateway: Gateway,
    key: Key,
}

fn start(limits: &str) -> Fixture {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Config::in_front_of(&upstream).limits(limits));
    let key = gateway.key_add("admin", "admin");
    Fixture { upstream, gateway, key }
}

impl Fixture {
    fn head(&self, target: &str, framing: &str) -> Vec<u8> {
        format!("POST {target} HTTP/1.1\r\nHost: h\r\nX-API-Key: {}\r\n{framing}\r\n\r\n", self.key.encoded)
            .into_bytes()
    }
}

/// 64 MiB, or 1 GiB in the long form.
fn big() -> u64 {
    count(64 << 20, 1 << 30)
}

/// What a gateway may need beside what it had, for one large body: far below the body.
const ALLOWANCE_KIB: u64 = 24 << 10;

#[test]
fn a_gibibyte_is_uploaded_in_constant_memory() {
    let f = start("max_body = \"2GiB\"");
    assert_eq!(f.gateway.node.get("/warm", &f.key).status, 200);
    let before = f.gateway.node.peak_memory_kib();
    let mut client = f.gateway.node.connect();
    client.send(&f.head("/sink", &format!("Content-Length: {}", big())));
    let block = vec![7; 1 << 20];
    for _ in 0..big() / block.len() as u64 {
        client.send(&block);
    }
    assert_eq!(client.read("POST").text(), big().to_string());
    assert!(f.upstream.only("/sink").complete);
    let grown = f.gateway.node.peak_memory_kib() - before;
    assert!(grown < ALLOWANCE_KIB, "grew by {grown} KiB");
}

#[test]
fn a_gibibyte_is_downloaded_in_constant_memory() {
    let f = start("");
    assert_eq!(f.gateway.node.get("/warm", &f.key).status, 200);
    let before = f.gateway.node.peak_memory_kib();
    let response = f.gateway.node.get(&format!("/bytes/{}", big()), &f.key);
    assert_eq!((response.status, response.body_len), (200, big()));
    let grown = f.gateway.node.peak_memory_kib() - before;
    assert!(grown < ALLOWANCE_KIB, "grew by {grown} KiB");
}

#[test]
fn a_reader_that_stalls_holds_the_upstream_back_instead_of_filling_memory() {
    let f = start("");
    assert_eq!(f.gateway.node.get("/warm", &f.key).status, 200);
    let before = f.gateway.node.peak_memory_kib();
    let mut client = f.gateway.node.connect();
    client.send(&get(&format!("/bytes/{}", 256 << 20)).bearer(&f.key).bytes());
    wait_for("the answer begins", || !client.read_some().is_empty());
    // Others are served meanwhile.
    for _ in 0..50 {
        assert_eq!(f.gateway.node.get("/beside", &f.key).status, 200);
    }
    let grown = f.gateway.node.peak_memory_kib() - before;
    assert!(grown < ALLOWANCE_KIB, "grew by {grown} KiB");
}

#[test]
fn the_access_log_tells_of_a_reader_that_stalled_too_long() {
    let f = start("write_stall = \"300ms\"");
    let mut client = f.gateway.node.connect();
    client.send(&get(&format!("/bytes/{}", 64 << 20)).bearer(&f.key).bytes());
    wait_for("the answer begins", || !client.read_some().is_empty());
    let of_it = |line: &serde_json::Value| line["path"].as_str().is_some_and(|path| path.starts_with("/bytes"));
    let line = wait_for_some("it is logged", || f.gateway.node.access_log().into_iter().find(of_it));
    assert_eq!((&line["status"], &line["reason"]), (&200.into(), &"client_stalled".into()));
}

#[test]
fn a_response_streams_while_the_upstream_still_works_on_it() {
    let f = start("");
    let mut client = f.gateway.node.connect();
    client.send(&get("/stream").bearer(&f.key).bytes());
    let mut text = String::new();
    wait_for("the first part", || {
        text += &String::from_utf8_lossy(&client.read_some());
        text.contains("first")
    });
    assert!(!text.contains("last"));
    f.upstream.open_gate();
    wait_for("the last part", || {
        text += &String::from_utf8_lossy(&client.read_some());
        text.contains("last") && text.ends_with("0\r\n\r\n")
    });
}

#[test]
fn a_request_streams_while_the_client_still_works_on_it() {
    let f = start("");
    let mut client = f.gateway.node.connect();
    client.send(&f.head("/up", "Content-Length: 10"));
    client.send(b"01234");
    wait_for("the upstream has the head", || f.upstream.seen_at("/up").len() == 1);
    assert!(!f.upstream.only("/up").complete);
    client.send(b"56789");
    assert_eq!(client.read("POST").text(), "0123456789");
}

#[test]
fn a_declared_body_above_the_limit_is_413_before_a_byte_of_it_is_read() {
    let f = start("max_body = \"1KiB\"");
    assert_eq!(f.gateway.node.send(&post("/fits", &[1; 1024]).bearer(&f.key)).status, 200);
    let mut client = f.gateway.node.connect();
    client.send(&f.head("/x", "Content-Length: 1025"));
    let response = client.read("POST");
    assert_eq!((response.status, response.json()["type"].as_str()), (413, Some("urn:keygate:problem:body-too-large")));
    assert!(response.header("x-request-id").is_some());
    assert!(client.is_closed_by_peer());
    assert_eq!(f.upstream.seen_at("/x").len(), 0);
}

#[test]
fn a_chunked_body_that_grows_above_the_limit_is_413_and_the_upstream_gets_no_whole_request() {
    let f = start("max_body = \"1KiB\"");
    let mut client = f.gateway.node.connect();
    client.send(&f.head("/x", "Transfer-Encoding: chunked"));
    client.send(format!("200\r\n{}\r\n", "a".repeat(0x200)).as_bytes());
    wait_for("the upstream has the head", || f.upstream.seen_at("/x").len() == 1);
    client.send(format!("300\r\n{}\r\n0\r\n\r\n", "b".repeat(0x300)).as_bytes());
    assert_eq!(client.read("POST").status, 413);
    assert!(client.is_closed_by_peer());
    assert!(f.upstream.seen_at("/x").iter().all(|s| !s.complete));
    assert_eq!(f.gateway.node.get("/after", &f.key).status, 200);
}

#[test]
fn a_chunk_that_says_it_is_above_the_limit_is_413_at_once() {
    let f = start("max_body = \"1KiB\"\nbody_stall = \"60s\"");
    let mut client = f.gateway.node.connect();
    client.send(&f.head("/x", "Transfer-Encoding: chunked"));
    client.send(b"fffffff\r\nabcd");
    assert_eq!(client.read("POST").status, 413);
    assert!(client.is_closed_by_peer());
    assert!(f.upstream.seen_at("/x").iter().all(|s| !s.complete));
}

#[test]
fn chunks_within_the_limit_pass_whatever_their_sizes() {
    let f = start("max_body = \"64KiB\"");
    let mut client = f.gateway.node.connect();
    let mut bytes = f.head("/x", "Transfer-Encoding: chunked");
    let mut sent = 0;
    for size in (1..200).chain([4096, 16384, 1]) {
        bytes.extend(format!("{size:x}\r\n{}\r\n", "c".repeat(size)).into_bytes());
        sent += size;
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    for piece in bytes.chunks(777) {
        client.send(piece);
    }
    assert_eq!(client.read("POST").body.len(), sent);
}

#[test]
fn a_body_that_stops_coming_is_given_up() {
    let f = start("body_stall = \"200ms\"");
    let mut client = f.gateway.node.connect();
    client.send(&f.head("/x", "Content-Length: 10"));
    client.send(b"01234");
    let response = client.read("POST");
    assert_eq!((response.status, response.json()["type"].as_str()), (408, Some("urn:keygate:problem:body-timeout")));
    assert!(client.is_closed_by_peer());
    wait_for("the upstream's connection ends", || f.upstream.open_connections() == 0);
    assert!(!f.upstream.only("/x").complete);
}

#[test]
fn expect_100_continue_is_answered_before_the_body_and_the_connection_goes_on() {
    let f = start("");
    let mut client = f.gateway.node.connect();
    client.send(&f.head("/x", "Content-Length: 5\r\nExpect: 100-continue"));
    assert!(client.read_some().starts_with(b"HTTP/1.1 100 "));
    client.send(b"hello");
    let response = client.read("POST");
    assert_eq!(response.text(), "hello");
    // The 100 came before the body, as it must, and ends nothing: what follows is served on the same connection.
    assert_ne!(response.header("connection"), Some("close"));
    assert_eq!(client.exchange(&get("/after").bearer(&f.key)).status, 200);
}

#[test]
fn a_refused_request_with_expect_100_continue_is_answered_at_once_and_never_told_to_go_on() {
    let f = start("max_body = \"1KiB\"");
    for (head, status) in [
        (b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n".to_vec(), 401),
        (f.head("/x", "Content-Length: 5000\r\nExpect: 100-continue"), 413),
    ] {
        let response = f.gateway.node.send_raw(&head);
        assert_eq!((response.status, response.interim.len()), (status, 0));
    }
    assert_eq!(f.upstream.count(), 0);
}

#[test]
fn curl_uploads_with_expect_100_continue() {
    let f = start("");
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(&vec![b'x'; 3 << 20]).expect("writes");
    let upload = |key: &str| {
        let output = Command::new("curl")
            .args(["-sSv", "--http1.1", "--max-time", "20", "-H", "Expect: 100-continue", "--expect100-timeout", "15"])
            .args(["-H", &format!("X-API-Key: {key}"), "-X", "POST", "-T"])
            .arg(file.path())
            .arg(format!("http://{}/sink", f.gateway.node.address()))
            .output()
            .expect("curl runs");
        (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (body, talk) = upload(&f.key.encoded);
    assert_eq!(body, (3 << 20).to_string(), "{talk}");
    assert!(talk.contains("HTTP/1.1 100 Continue"), "{talk}");
    let (_, talk) = upload("kg_1_nonsense");
    assert!(talk.contains("HTTP/1.1 401") && !talk.contains("HTTP/1.1 100"), "{talk}");
}

#[test]
fn an_upload_that_the_client_aborts_never_looks_whole_to_the_upstream() {
    let f = start("");
    for framing in ["Content-Length: 1000", "Transfer-Encoding: chunked"] {
        let target = format!("/aborted/{}", framing.len());
        let mut client = f.gateway.node.connect();
        client.send(&f.head(&target, framing));
        client.send(if framing.contains("Length") { b"some".as_slice() } else { b"4\r\nsome\r\n" });
        wait_for("the upstream has the head", || f.upstream.seen_at(&target).len() == 1);
        drop(client);
        wait_for("the upstream's connection ends", || f.upstream.open_connections() == 0);
        assert!(!f.upstream.only(&target).complete, "{framing}");
    }
    assert_eq!(f.gateway.node.get("/after", &f.key).status, 200);
}

#[test]
fn a_download_that_the_client_aborts_ends_at_the_upstream_too() {
    let f = start("");
    let mut client = f.gateway.node.connect();
    client.send(&get(&format!("/bytes/{}", 1u64 << 32)).bearer(&f.key).bytes());
    wait_for("the answer begins", || !client.read_some().is_empty());
    drop(client);
    wait_for("the upstream's connection ends", || f.upstream.open_connections() == 0);
    assert_eq!(f.gateway.node.get("/after", &f.key).status, 200);
}

#[test]
fn a_response_that_the_upstream_aborts_never_looks_whole_to_the_client() {
    let f = start("");
    for target in ["/abort-mid-body", "/abort-mid-chunk"] {
        let mut client = f.gateway.node.connect();
        client.send(&get(target).bearer(&f.key).bytes());
        let error = client.try_read("GET").expect_err("it was not whole");
        let cut = [std::io::ErrorKind::UnexpectedEof, std::io::ErrorKind::ConnectionReset];
        assert!(cut.contains(&error.kind()), "{target}: {error}");
    }
    assert_eq!(f.gateway.node.get("/after", &f.key).status, 200);
}

#[test]
fn an_upstream_may_answer_before_it_has_read_the_body() {
    let f = start("");
    let mut client = Client::connect(f.gateway.node.address());
    client.send(&f.head("/refuse-early", "Content-Length: 100000"));
    client.send(&[b'x'; 100]);
    let response = client.read("POST");
    assert_eq!((response.status, response.text().as_str()), (413, "too much for me"));
    // What was not read cannot be skipped for ever: the connection ends, or the next answer is right.
    assert_eq!(response.framing, Framing::Length(15));
    assert_eq!(f.gateway.node.get("/after", &f.key).status, 200);
}
