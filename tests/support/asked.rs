//! A case of the corpus, sent through a gateway: what was answered, what became of the connection, and whether the next
//! request is answered as itself.

use std::collections::{BTreeMap, BTreeSet};

use super::corpus::{Answer, Case, End, Then, Words};
use super::{Client, Config, Gateway, Response, base64, wait_for};

/// Asked behind each case. Nothing in the corpus has this target.
const SENTINEL: &str = r"GET /sentinel HTTP/1.1\r\n{FIELDS}\r\n";

/// In front of the server at this address. One thread and one pooled connection: what a case leaves behind on it, the
/// next request meets.
pub fn start(server: &str) -> (Gateway, Words) {
    let config = Config::default()
        .threads(1)
        .limits("header_timeout = \"1s\"\nbody_stall = \"1s\"")
        .upstream_at("api", &[server.to_owned()], "pool_size = 1")
        .route(
            "path = \"/\"\nupstream = \"api\"\n\
             [[route.rule]]\nmethods = [\"POST\"]\npath = \"/search\"\nrole = \"READONLY\"\n\
             [[route.rule]]\nmethods = [\"GET\"]\npath = \"/export\"\nrole = \"ADMIN\"\n\
             [[route.rule]]\nmethods = [\"GET\"]\npath = \"/Mixed\"\nrole = \"ADMIN\"",
        )
        .route("path = \"/open\"\nupstream = \"api\"\naccess = \"public\"")
        .route("path = \"/lenient\"\nupstream = \"api\"\nlenient_paths = true")
        .route("host = \"public.test\"\npath = \"/\"\nupstream = \"api\"\naccess = \"public\"");
    let gateway = Gateway::start(&config);
    let words = words(&gateway);
    (gateway, words)
}

fn words(gateway: &Gateway) -> Words {
    let admin = gateway.key_add("admin", "admin");
    let reader = gateway.key_add("reader", "readonly");
    let key = admin.encoded.as_str();
    let (but_last, last) = key.split_at(key.len() - 1);
    let other = if last == "0" { "1" } else { "0" };
    let mut words = Words::default();
    for (name, value) in [
        ("HOST", "gateway.test".to_owned()),
        ("KEY", key.to_owned()),
        ("READONLY", reader.encoded.clone()),
        ("APP_KEY", admin.app_key.clone()),
        ("BASIC", base64::encode(format!("{key}:").as_bytes())),
        ("BASIC_BOTH", base64::encode(format!("{key}:{}", reader.encoded).as_bytes())),
        ("FORGED", format!("{but_last}{other}")),
        ("TRUNCATED", but_last.to_owned()),
        ("UNKNOWN", key.replace(&admin.id, &"0".repeat(admin.id.len()))),
        ("UPPER", key.to_uppercase()),
    ] {
        words.set(name, value);
    }
    words
}

/// What came of a case.
pub struct Asked<'c> {
    pub case: &'c Case,
    pub in_pieces: bool,
    /// keygate's number of the client's connection: the middle part of request ids.
    pub connection: u64,
    pub answers: Vec<Response>,
    pub faults: Vec<String>,
}

impl<'c> Asked<'c> {
    /// Sends a case and reads what comes, then asks once more on a connection of its own, which takes the same pooled
    /// connection to the upstream.
    pub fn ask(gateway: &Gateway, words: &Words, case: &'c Case, in_pieces: bool) -> Self {
        let mut client = gateway.node.connect();
        send(&mut client, &words.expand(&case.send), in_pieces);
        if case.end == Some(End::Shutdown) {
            client.end_sending();
        }
        let mut asked = Self { case, in_pieces, connection: 0, answers: Vec::new(), faults: Vec::new() };
        asked.read(&mut client, words);
        let probe = gateway.node.connect();
        match probe_with(probe, words) {
            Ok(response) => asked.connection = connection_of(&response).saturating_sub(1),
            Err(fault) => asked.faults.push(format!("the next request: {fault}")),
        }
        asked
    }

    fn read(&mut self, client: &mut Client, words: &Words) {
        let (answers, then, _) = self.case.stated();
        for _ in &answers {
            match client.try_read(if self.case.bodiless { "HEAD" } else { "GET" }) {
                Ok(response) => self.answers.push(response),
                Err(e) => return self.faults.push(format!("answer {}: {e}", self.answers.len() + 1)),
            }
        }
        match then {
            Then::Closed if !client.is_closed_by_peer() => self.faults.push("the connection was not closed".to_owned()),
            Then::Closed => {}
            Then::Open => {
                send(client, &words.expand(SENTINEL), false);
                if let Err(fault) = sentinel(client) {
                    self.faults.push(format!("on the same connection: {fault}"));
                }
            }
        }
    }

    /// Status, problem document, and reason as the access log has it.
    pub fn check_answers(&mut self, reasons: &BTreeMap<String, Option<String>>, refused_upstream: bool) {
        for (response, Answer { status, reason }) in self.answers.iter().zip(self.case.stated().0) {
            let Some(reason) = reason else {
                if response.status != status && !refused_upstream {
                    self.faults.push(format!("{} instead of {status}", response.status));
                }
                continue;
            };
            let id = response.header("x-request-id").unwrap_or_default();
            let told = reasons.get(id).cloned().flatten();
            if response.status != status || told.as_deref() != Some(&reason) {
                let text = response.text();
                self.faults.push(format!("{} {told:?} instead of {status} {reason}: {text}", response.status));
            } else if response.header("content-type") != Some("application/problem+json") {
                self.faults.push(format!("no problem document: {:?}", response.head));
            }
        }
    }

    pub fn told(self) -> Option<String> {
        let Self { case, in_pieces, faults, .. } = self;
        let way = if in_pieces { ", byte by byte" } else { "" };
        (!faults.is_empty()).then(|| format!("{}/{}{way}: {}", case.category, case.name, faults.join("; ")))
    }
}

/// Whatever is refused early is not taken to its end: the answer is there to be read.
fn send(client: &mut Client, bytes: &[u8], in_pieces: bool) {
    let size = if in_pieces { 1 } else { bytes.len().max(1) };
    let _ = bytes.chunks(size).try_for_each(|piece| client.try_send(piece));
}

fn probe_with(mut client: Client, words: &Words) -> Result<Response, String> {
    send(&mut client, &words.expand(SENTINEL), false);
    sentinel(&mut client)
}

/// The answer to the sentinel, and to nothing else.
fn sentinel(client: &mut Client) -> Result<Response, String> {
    let response = client.try_read("GET").map_err(|e| e.to_string())?;
    match (response.status, response.header("x-target")) {
        (200, Some("/sentinel")) => Ok(response),
        (status, target) => Err(format!("answered with {status}, for {target:?}")),
    }
}

fn connection_of(response: &Response) -> u64 {
    let id = response.header("x-request-id").unwrap_or_default();
    id.split('-').nth(1).and_then(|number| u64::from_str_radix(number, 16).ok()).expect("a request id")
}

pub fn is_sentinel(line: &[u8]) -> bool {
    line.starts_with(b"GET /sentinel ")
}

/// Reasons by request id, once the access log has all of these.
pub fn reasons(gateway: &Gateway, asked: &[Asked<'_>]) -> BTreeMap<String, Option<String>> {
    let answers = asked.iter().flat_map(|asked| &asked.answers);
    let ids: BTreeSet<&str> = answers.filter_map(|response| response.header("x-request-id")).collect();
    let mut reasons = BTreeMap::new();
    wait_for("the access log", || {
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        let lines = gateway.node.access_log();
        reasons = lines.iter().filter_map(|l| Some((text(&l["request_id"])?, text(&l["reason"])))).collect();
        ids.iter().all(|id| reasons.contains_key(*id))
    });
    reasons
}

pub fn assert_none(what: &str, wrong: &[String]) {
    assert!(wrong.is_empty(), "{what}: {} faults\n{}", wrong.len(), wrong.join("\n"));
}
