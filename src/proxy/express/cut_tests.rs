//! However bytes are cut on their way, the same goes on; and wherever a message breaks off, what went on of it never
//! looks whole. With random messages, cuts, pauses and short writes; an exchange is polled only when it was woken.

use proptest::prelude::*;

use super::exchange::End;
use super::exchange_tests::{Case, HEAD, case, upload};
use crate::proxy::body::Framing;
use crate::proxy::script::{Given, Script};

/// A body, as it is sent and as it goes on.
#[derive(Clone, Debug)]
enum Body {
    None,
    Length(Vec<u8>),
    Chunks {
        chunks: Vec<Vec<u8>>,
        trailer: bool,
    },
    /// Of answers alone.
    UntilClose(Vec<u8>),
}

impl Body {
    fn content(&self) -> Vec<u8> {
        match self {
            Self::None => Vec::new(),
            Self::Length(bytes) | Self::UntilClose(bytes) => bytes.clone(),
            Self::Chunks { chunks, .. } => chunks.concat(),
        }
    }

    /// Its coding; `trailer` is how a trailer field is written.
    fn coded(&self, trailer_line: &str) -> Vec<u8> {
        let Self::Chunks { chunks, trailer } = self else { return self.content() };
        let mut coded = Vec::new();
        for chunk in chunks {
            coded.extend_from_slice(format!("{:X};x\r\n", chunk.len()).as_bytes());
            coded.extend_from_slice(chunk);
            coded.extend_from_slice(b"\r\n");
        }
        coded.extend_from_slice(format!("0\r\n{}\r\n", if *trailer { trailer_line } else { "" }).as_bytes());
        coded
    }

    fn field(&self) -> String {
        match self {
            Self::None => "Content-Length: 0\r\n".to_owned(),
            Self::Length(bytes) => format!("Content-Length: {}\r\n", bytes.len()),
            Self::Chunks { .. } => "Transfer-Encoding: chunked\r\n".to_owned(),
            Self::UntilClose(_) => String::new(),
        }
    }

    fn framing(&self) -> Framing {
        match self {
            Self::None | Self::UntilClose(_) => Framing::Done,
            Self::Length(bytes) => Framing::of_length(bytes.len() as u64),
            Self::Chunks { .. } => Framing::CHUNKED,
        }
    }
}

/// A request's body, what the client sends behind it, an answer, and how all of it travels.
#[derive(Clone, Debug)]
struct Journey {
    request: Body,
    next: &'static str,
    interim: bool,
    answer: Body,
    to_head: bool,
    may_repeat: bool,
    client_cuts: Vec<(usize, bool)>,
    server_cuts: Vec<(usize, bool)>,
    client_takes: Vec<Option<usize>>,
    server_takes: Vec<Option<usize>>,
}

/// Mostly a few; sometimes about as many as a buffer holds, or several times as many.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    // Those that framing is made of come often.
    let byte = prop_oneof![4 => any::<u8>(), 1 => prop::sample::select(b"\r\n0:;".to_vec())];
    let times = prop_oneof![30 => Just(1), 1 => 130usize..150, 1 => Just(700)];
    (prop::collection::vec(byte, 1..61), times).prop_map(|(bytes, times)| bytes.repeat(times))
}

fn cuts() -> impl Strategy<Value = Vec<(usize, bool)>> {
    let length = prop_oneof![2 => 1usize..40, 1 => 1000usize..30_000];
    prop::collection::vec((length, any::<bool>()), 1..8)
}

fn body(until_close: u32) -> impl Strategy<Value = Body> {
    prop_oneof![
        1 => Just(Body::None),
        2 => bytes().prop_map(Body::Length),
        3 => (prop::collection::vec(bytes(), 0..5), any::<bool>())
            .prop_map(|(chunks, trailer)| Body::Chunks { chunks, trailer }),
        until_close => bytes().prop_map(Body::UntilClose),
    ]
}

prop_compose! {
    fn journey()(
        request in body(0), answer in body(1), next in prop::sample::select(vec!["", "GET /next HTTP/1.1\r\n"]),
        interim in any::<bool>(), to_head in prop::bool::weighted(0.1), may_repeat in any::<bool>(),
        client_cuts in cuts(),
        server_cuts in cuts(),
        client_takes in prop::collection::vec(prop::option::of(1usize..50), 0..20),
        server_takes in prop::collection::vec(prop::option::of(1usize..50), 0..20),
    ) -> Journey {
        Journey {
            request, next, interim, answer, to_head, may_repeat, client_cuts, server_cuts, client_takes, server_takes,
        }
    }
}

/// These bytes, cut, with pauses before some of the pieces.
fn cut(bytes: &[u8], cuts: &[(usize, bool)]) -> Script {
    let (mut script, mut rest) = (Script::default(), bytes);
    for (length, pauses) in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, later) = rest.split_at((*length).min(rest.len()));
        script = if *pauses { script.then(Given::Pending) } else { script };
        (script, rest) = (script.then(Given::Bytes(piece.to_vec())), later);
    }
    script
}

impl Journey {
    fn client_sends(&self) -> Vec<u8> {
        [&self.request.coded("X-Sum:  1 \r\n"), self.next.as_bytes()].concat()
    }

    fn server_sends(&self) -> Vec<u8> {
        let interim = if self.interim { "HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" } else { "" };
        let head = format!("{interim}HTTP/1.1 200 OK\r\nDate: d\r\n{}\r\n", self.answer.field());
        let body = if self.to_head { Vec::new() } else { self.answer.coded("X-Sum:1\r\n") };
        [head.as_bytes(), &body].concat()
    }

    /// What the server is to be sent.
    fn goes_on(&self) -> Vec<u8> {
        [HEAD.as_bytes(), &self.request.coded("X-Sum: 1\r\n")].concat()
    }

    fn case(&self, client: Script, server: Script) -> Case {
        let client = client.taking(self.client_takes.iter().copied());
        let server = server.taking(self.server_takes.iter().copied());
        let case = upload(self.request.framing(), client, server);
        Case { to_head: self.to_head, may_repeat: self.may_repeat, max_body: 1_000_000, ..case }
    }
}

/// The answer's content, if what the client was sent is a whole answer and nothing more.
fn whole_answer(told: &[u8], journey: &Journey) -> Option<Vec<u8>> {
    let told = match journey.interim {
        true => told.strip_prefix(b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n")?,
        false => told,
    };
    let end = memchr::memmem::find(told, b"\r\n\r\n")? + 4;
    let (head, body) = told.split_at(end);
    let head = String::from_utf8_lossy(head);
    let mut framing = match (&journey.answer, journey.to_head) {
        (_, true) | (Body::None, _) => Framing::Done,
        (Body::Length(bytes), _) => Framing::of_length(bytes.len() as u64),
        (Body::Chunks { .. } | Body::UntilClose(_), _) => Framing::CHUNKED,
    };
    assert!(head.starts_with("HTTP/1.1 200 OK\r\nDate: d\r\n") && head.contains("X-Request-Id: id\r\n"), "{head}");
    let mut content = Vec::new();
    let taken = framing.feed_with(body, |piece| content.extend_from_slice(piece)).unwrap();
    (framing.is_done() && taken == body.len()).then_some(content)
}

fn is_whole_request(sent: &[u8], framing: Framing) -> bool {
    let Some(body) = sent.strip_prefix(HEAD.as_bytes()) else { return false };
    let mut framing = framing;
    framing.feed(body).unwrap();
    framing.is_done()
}

/// Heads that are often good.
const HEADS: &str = "(HTTP/1.[01] [0-9]{3} x\r\n([A-Za-z-]{1,8}: [ -~]{0,8}\r\n|Content-Length: [0-9]\r\n|\
                     Transfer-Encoding: chunked\r\n| x\r\n){0,4}\r\n){0,2}";

proptest! {
    #[test]
    fn however_bytes_are_cut_the_same_goes_on(journey in journey()) {
        let client = cut(&journey.client_sends(), &journey.client_cuts);
        let server = cut(&journey.server_sends(), &journey.server_cuts);
        let ends = matches!(journey.answer, Body::UntilClose(_)) && !journey.to_head;
        let server = if ends { server.then(Given::End) } else { server };
        let (to_server, to_client) = (server.written(), client.written());
        let outcome = journey.case(client, server).run();
        prop_assert_eq!(&outcome.end, &Some(End::Over));
        prop_assert_eq!(to_server.bytes().escape_ascii().to_string(), journey.goes_on().escape_ascii().to_string());
        let content = if journey.to_head { Vec::new() } else { journey.answer.content() };
        prop_assert_eq!(whole_answer(&to_client.bytes(), &journey), Some(content));
        prop_assert!(journey.next.starts_with(&outcome.ahead), "{}", outcome.ahead);
        // Neither side wants to close: one that does was answered early.
        let closes = outcome.to_client.contains("\r\nConnection: close\r\n");
        prop_assert_eq!(outcome.closes, closes);
        // An answer of which a part came before all of the request was sent costs the server's connection, if no more.
        let may_keep = !ends && !closes;
        prop_assert!(may_keep || !outcome.keeps_server);
        let is_sent_at_once = journey.server_takes.is_empty() && matches!(journey.request, Body::None);
        prop_assert!(outcome.keeps_server || !may_keep || !is_sent_at_once);
    }

    #[test]
    fn an_answer_that_breaks_off_never_looks_whole(
        journey in journey(), at in any::<prop::sample::Index>(), broken in any::<bool>(),
    ) {
        let sends = journey.server_sends();
        let server = cut(&sends[..at.index(sends.len())], &journey.server_cuts);
        let server = server.then(if broken { Given::Broken } else { Given::End });
        let client = cut(&journey.client_sends(), &journey.client_cuts);
        let to_client = client.written();
        let outcome = journey.case(client, server).run();
        // Where only the end says that it is whole, that is what an end says.
        let head = sends.len() - if journey.to_head { 0 } else { journey.answer.coded("X-Sum:1\r\n").len() };
        let says_so = matches!(journey.answer, Body::UntilClose(_)) && !broken && at.index(sends.len()) >= head;
        if !says_so {
            prop_assert!(!outcome.keeps_server);
            prop_assert!(matches!(outcome.end, Some(End::Failed(..) | End::Stale)), "{:?}", outcome.end);
            prop_assert_eq!(whole_answer(&to_client.bytes(), &journey), None);
            if outcome.may_answer {
                prop_assert!(!outcome.to_client.contains("200 OK"));
            }
        }
    }

    #[test]
    fn a_request_that_breaks_off_never_looks_whole(
        journey in journey(), at in any::<prop::sample::Index>(), broken in any::<bool>(),
    ) {
        let body = journey.request.coded("X-Sum: 1\r\n");
        if body.is_empty() {
            return Ok(());
        }
        let client = cut(&body[..at.index(body.len())], &journey.client_cuts);
        let client = client.then(if broken { Given::Broken } else { Given::End });
        let server = cut(&journey.server_sends(), &journey.server_cuts);
        let to_server = server.written();
        let outcome = journey.case(client, server).run();
        prop_assert_eq!(outcome.end, Some(End::ClientGone));
        prop_assert!(!outcome.keeps_server);
        prop_assert!(!is_whole_request(&to_server.bytes(), journey.request.framing()));
    }

    #[test]
    fn no_bytes_of_a_server_do_harm(
        text in HEADS, pieces in prop::collection::vec(bytes(), 0..8), ends in any::<bool>(),
    ) {
        let server = pieces.into_iter().fold(Script::texts(&[&text]), |script, piece| script.then(Given::Bytes(piece)));
        let server = if ends { server.then(Given::End) } else { server };
        let outcome = case(Script::default(), server).run();
        if outcome.end == Some(End::Over) {
            prop_assert!(outcome.status >= 200);
        }
        if outcome.to_client.is_empty() && outcome.end.is_some() {
            prop_assert!(outcome.may_answer || outcome.status > 0);
        }
    }
}
