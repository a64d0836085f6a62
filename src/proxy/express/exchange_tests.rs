//! Whole exchanges between scripted connections: what each side was sent, and how it ended. Every case of the tables
//! in `upload` and `download`; no network, no time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::exchange::{End, Exchange, Facts};
use crate::clock::{BootTime, FakeClock, WallTime};
use crate::metrics::UpstreamFailure;
use crate::proxy::body::Framing;
use crate::proxy::reject::Rejection;
use crate::proxy::script::{Given, Script};
use crate::proxy::wire::Wire;

pub(super) const HEAD: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
pub(super) const OK: &str = "HTTP/1.1 200 OK\r\nDate: d\r\nContent-Length: 2\r\n\r\nok";
/// What the client gets for it.
pub(super) const OK_TOLD: &str =
    "HTTP/1.1 200 OK\r\nDate: d\r\nContent-Length: 2\r\nConnection: keep-alive\r\nX-Request-Id: id\r\n\r\nok";

/// One exchange to be tried.
pub(super) struct Case {
    pub(super) client: Script,
    pub(super) server: Script,
    pub(super) framing: Framing,
    pub(super) to_head: bool,
    pub(super) may_repeat: bool,
    pub(super) stops: bool,
    pub(super) closes: bool,
    pub(super) max_body: u64,
}

/// How it came out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// `None`: it still waits.
    pub(super) end: Option<End>,
    pub(super) to_server: String,
    pub(super) to_client: String,
    pub(super) keeps_server: bool,
    pub(super) closes: bool,
    pub(super) status: u16,
    pub(super) may_answer: bool,
    /// What is left of the client's input: its next request.
    pub(super) ahead: String,
}

pub(super) fn case(client: Script, server: Script) -> Case {
    let framing = Framing::Done;
    Case { client, server, framing, to_head: false, may_repeat: false, stops: false, closes: false, max_body: 1000 }
}

/// A request with a body, of which the first piece has come with the head.
pub(super) fn upload(framing: Framing, client: Script, server: Script) -> Case {
    Case { framing, ..case(client, server) }
}

/// Says whether somebody was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Case {
    /// To its end, or to where it waits. It is polled only when it was woken, as by a runtime: who forgets to wait for
    /// something waits for ever.
    pub(super) fn run(self) -> Outcome {
        let (to_client, to_server) = (self.client.written(), self.server.written());
        let (mut client, mut server) = (Wire::new(self.client.stream()), Wire::new(self.server.stream()));
        let (mut forwarded, mut out) = (HEAD.as_bytes().to_vec(), b"of the last answer".to_vec());
        let clock = FakeClock::at(BootTime::ZERO, WallTime::EPOCH);
        let facts = Facts {
            request_id: "id",
            to_head: self.to_head,
            may_repeat: self.may_repeat,
            is_awaited: false,
            closes: self.closes,
            max_body: self.max_body,
            stops: &|| self.stops,
            clock: &clock,
        };
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let cx = &mut Context::from_waker(&waker);
        if !self.framing.is_done() {
            let _ = client.poll_fill(cx, 1000);
        }
        let mut exchange = Exchange::new(&mut client, &mut server, &mut forwarded, self.framing, &mut out, facts);
        let end = loop {
            woken.0.store(false, Ordering::SeqCst);
            match exchange.poll(cx) {
                Poll::Ready(end) => break Some(end),
                Poll::Pending if woken.0.load(Ordering::SeqCst) => {}
                Poll::Pending => break None,
            }
        };
        let (keeps_server, down) = (exchange.keeps_server(), &exchange.down);
        let (closes, status, may_answer) = (down.closes, down.status_told(), down.may_answer());
        let ahead = String::from_utf8_lossy(client.input.bytes()).into_owned();
        let (to_server, to_client) = (to_server.text(), to_client.text());
        Outcome { end, to_server, to_client, keeps_server, closes, status, may_answer, ahead }
    }
}

fn failed(rejection: Rejection) -> End {
    End::Failed(rejection, None)
}

fn server_failed(rejection: Rejection, failure: UpstreamFailure) -> End {
    End::Failed(rejection, Some(failure))
}

#[test]
fn a_plain_exchange_keeps_both_connections() {
    let outcome = case(Script::default(), Script::texts(&[OK])).run();
    assert_eq!((outcome.end, outcome.keeps_server, outcome.closes), (Some(End::Over), true, false));
    assert_eq!((&*outcome.to_server, &*outcome.to_client), (HEAD, OK_TOLD));
}

#[test]
fn pieces_of_any_size_are_put_together_again() {
    let server = Script::new(OK.bytes().flat_map(|byte| [Given::Pending, Given::Bytes(vec![byte])])).taking([
        Some(3),
        None,
        Some(1),
    ]);
    let client = Script::default().taking([Some(1), None, Some(2), None]);
    let outcome = case(client, server).run();
    assert_eq!((outcome.end, outcome.keeps_server), (Some(End::Over), true));
    assert_eq!((&*outcome.to_server, &*outcome.to_client), (HEAD, OK_TOLD));
}

#[test]
fn bodies_stream_in_both_directions_and_what_follows_is_the_next_request() {
    let client = Script::texts(&["ab", "cdeGET /next"]);
    let answer = "HTTP/1.1 200 OK\r\nDate: d\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    let server = Script::texts(&[answer, "0\r\nX-Sum: 1\r\n", "\r\n"]);
    let outcome = upload(Framing::Length(5), client, server).run();
    assert_eq!((outcome.end, outcome.keeps_server), (Some(End::Over), true));
    assert_eq!(outcome.to_server, format!("{HEAD}abcde"));
    assert!(outcome.to_client.ends_with("X-Request-Id: id\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"));
    assert_eq!(outcome.ahead, "GET /next");
}

#[test]
fn trailers_of_a_request_pass_and_identities_in_them_do_not() {
    let server = || Script::new([Given::Pending]).then(Given::Bytes(OK.into()));
    let outcome = upload(Framing::CHUNKED, Script::texts(&["1\r\na\r\n0\r\nX-Sum:1\r\n", "\r\n"]), server()).run();
    assert_eq!(outcome.end, Some(End::Over));
    assert_eq!(outcome.to_server, format!("{HEAD}1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n"));
    let spoofed = Script::texts(&["1\r\na\r\n0\r\nX-Keygate-Role: ADMIN\r\n\r\n"]);
    let outcome = upload(Framing::CHUNKED, spoofed, Script::default()).run();
    assert_eq!(outcome.end, Some(failed(Rejection::BodyMalformed)));
    let sent = outcome.to_server;
    assert!(!sent.ends_with("0\r\n\r\n") && !sent.contains("Keygate"), "the request is never whole: {sent}");
}

#[test]
fn an_answer_that_ends_with_its_connection_is_put_into_chunks() {
    let server = Script::texts(&["HTTP/1.0 200 OK\r\nDate: d\r\n\r\nun", "til"]).then(Given::End);
    let outcome = case(Script::default(), server).run();
    assert_eq!((outcome.end, outcome.keeps_server, outcome.closes), (Some(End::Over), false, false));
    assert!(outcome.to_client.contains("\r\nTransfer-Encoding: chunked\r\n"));
    assert!(outcome.to_client.ends_with("\r\n\r\n2\r\nun\r\n3\r\ntil\r\n0\r\n\r\n"), "{}", outcome.to_client);
}

#[test]
fn interim_answers_go_first() {
    let server =
        Script::texts(&["HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No\r\n"])
            .then(Given::Bytes(b"Date: d\r\n\r\n".to_vec()));
    let outcome = case(Script::default(), server).run();
    assert_eq!((outcome.end, outcome.keeps_server), (Some(End::Over), true));
    let expected = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No\r\nDate: d\r\n\
                    Connection: keep-alive\r\nX-Request-Id: id\r\n\r\n";
    assert_eq!(outcome.to_client, expected);
}

#[test]
fn bytes_behind_an_answer_make_its_connection_useless() {
    for (to_head, answer) in [(false, format!("{OK}HTTP/1.1 200 OK\r\n\r\n")), (true, OK.to_owned())] {
        let outcome = Case { to_head, ..case(Script::default(), Script::texts(&[&answer])) }.run();
        assert_eq!((outcome.end, outcome.keeps_server), (Some(End::Over), false), "{answer:?}");
    }
}

#[test]
fn an_early_answer_ends_the_clients_connection_and_the_rest_of_the_request_goes_on() {
    let client = Script::texts(&["ab"]).then(Given::Pending).then(Given::Bytes(b"cde".to_vec()));
    let outcome = upload(Framing::Length(5), client, Script::texts(&[OK])).run();
    assert_eq!((outcome.end, outcome.closes, outcome.keeps_server), (Some(End::Over), true, false));
    assert!(outcome.to_client.contains("\r\nConnection: close\r\n"));
    assert_eq!(outcome.to_server, format!("{HEAD}abcde"));
}

#[test]
fn an_answer_that_began_early_is_early_however_late_it_ends() {
    let waits = [Given::Pending, Given::Pending, Given::Pending, Given::Pending];
    let (begin, end) = OK.split_at(20);
    let hints = "HTTP/1.1 103 Hints\r\n\r\n";
    for (early, late, keeps) in [(begin, end, false), (&format!("{hints}{begin}"), end, false), (hints, OK, true)] {
        let client = Script::texts(&["ab"]).then(Given::Pending).then(Given::Bytes(b"cde".to_vec()));
        let server =
            Script::new([Given::Bytes(early.into())].into_iter().chain(waits.clone())).then(Given::Bytes(late.into()));
        let outcome = upload(Framing::Length(5), client, server).run();
        assert_eq!((outcome.end, outcome.closes, outcome.keeps_server), (Some(End::Over), false, keeps), "{early}");
        assert_eq!(outcome.to_server, format!("{HEAD}abcde"));
    }
}

#[test]
fn a_server_that_answers_and_takes_no_more_is_still_heard() {
    let server = Script::texts(&[OK]).with_broken_writes();
    let outcome = upload(Framing::Length(5), Script::texts(&["ab"]), server).run();
    assert_eq!((outcome.end, outcome.closes, outcome.keeps_server), (Some(End::Over), true, false));
    assert!(outcome.to_client.ends_with("\r\n\r\nok"));
}

#[test]
fn a_client_that_goes_ends_the_exchange() {
    for (client, framing) in [
        (Script::new([Given::End]), Framing::Done),
        (Script::new([Given::Broken]), Framing::Done),
        (Script::texts(&["ab"]).then(Given::End), Framing::Length(5)),
        (Script::texts(&["2\r\nab\r\n"]).then(Given::Broken), Framing::CHUNKED),
    ] {
        let outcome = upload(framing, client, Script::default()).run();
        assert_eq!((outcome.end, outcome.keeps_server), (Some(End::ClientGone), false), "{framing:?}");
    }
    let outcome = case(Script::default().with_broken_writes(), Script::texts(&[OK])).run();
    assert_eq!(outcome.end, Some(End::ClientGone));
}

#[test]
fn a_body_that_must_not_go_on_does_not() {
    let outcome = upload(Framing::CHUNKED, Script::texts(&["2\r\nabc\r\n"]), Script::default()).run();
    assert_eq!(outcome.end, Some(failed(Rejection::BodyMalformed)));
    let too_large = upload(Framing::CHUNKED, Script::texts(&["5\r\nab", "cde\r\n0\r\n\r\n"]), Script::default());
    let outcome = Case { max_body: 8, ..too_large }.run();
    assert_eq!(outcome.end, Some(failed(Rejection::BodyTooLarge)));
    assert_eq!(outcome.to_server, format!("{HEAD}5\r\nab"));
}

#[test]
fn what_is_no_answer_is_told_so_and_a_broken_one_never_looks_whole() {
    let malformed = || server_failed(Rejection::UpstreamMalformed, UpstreamFailure::Protocol);
    let closed = || server_failed(Rejection::UpstreamFailed, UpstreamFailure::Closed);
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (server, end) in [
        (Script::texts(&["220 mail\r\n\r\n"]), malformed()),
        (Script::texts(&["HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n"]), malformed()),
        (Script::texts(&[chunked, "zz\r\n"]), malformed()),
        (Script::new([Given::End]), closed()),
        (Script::texts(&["HTTP/1.1 200 OK\r\n"]).then(Given::End), closed()),
        (Script::texts(&["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"]).then(Given::End), closed()),
        (Script::texts(&[chunked, "3\r\nabc\r\n"]).then(Given::End), closed()),
        (Script::texts(&["HTTP/1.0 200 OK\r\n\r\nabc"]).then(Given::Broken), closed()),
    ] {
        let outcome = case(Script::default(), server).run();
        assert_eq!((outcome.end, outcome.keeps_server), (Some(end), false));
        assert!(!outcome.to_client.ends_with("0\r\n\r\n"), "{}", outcome.to_client);
    }
}

#[test]
fn who_was_told_nothing_of_a_broken_answer_is_told_that_it_is_broken() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let early = "HTTP/1.1 103 Hints\r\n\r\n";
    for (server, told, may_answer, status) in [
        (Script::texts(&[&format!("{head}zz\r\n")]), "", true, 0),
        (Script::texts(&[&format!("{head}3\r\nabc\r\nzz")]), "", true, 0),
        (Script::texts(&[&format!("{early}{head}zz\r\n")]), early, true, 0),
        (Script::texts(&[head, "zz\r\n"]), "HTTP/1.1 200 OK\r\n", false, 200),
    ] {
        let outcome = case(Script::default(), server).run();
        assert_eq!(outcome.end, Some(server_failed(Rejection::UpstreamMalformed, UpstreamFailure::Protocol)));
        assert_eq!((outcome.may_answer, outcome.status, outcome.keeps_server), (may_answer, status, false), "{told}");
        let is_all = !may_answer || outcome.to_client == told;
        assert!(outcome.to_client.starts_with(told) && is_all, "{}", outcome.to_client);
    }
    // It takes a part of the head, and no more.
    let client = Script::default().taking([Some(5), None]);
    let outcome =
        case(client, Script::texts(&["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"]).then(Given::End)).run();
    assert_eq!((outcome.may_answer, outcome.status), (false, 200));
}

#[test]
fn only_what_may_be_repeated_and_was_kept_is_stale() {
    for broken in [Given::End, Given::Broken] {
        let server = || Script::new([broken.clone()]);
        let outcome = Case { may_repeat: true, ..case(Script::default(), server()) }.run();
        assert_eq!(outcome.end, Some(End::Stale));
        let put = upload(Framing::Length(3), Script::texts(&["abc"]), server().with_broken_writes());
        let outcome = Case { may_repeat: true, ..put }.run();
        assert_eq!((outcome.end, &*outcome.ahead), (Some(End::Stale), "abc"), "its body is still there");
        let outcome = case(Script::default(), server()).run();
        assert_eq!(outcome.end, Some(server_failed(Rejection::UpstreamFailed, UpstreamFailure::Closed)));
    }
    let heard = Script::texts(&["HTTP/1.1 103 Hints\r\n\r\n"]).then(Given::End);
    let outcome = Case { may_repeat: true, ..case(Script::default(), heard) }.run();
    assert_eq!(outcome.end, Some(server_failed(Rejection::UpstreamFailed, UpstreamFailure::Closed)));
}

#[test]
fn a_gateway_that_stops_says_so_in_the_last_answer() {
    let outcome = Case { stops: true, ..case(Script::default(), Script::texts(&[OK])) }.run();
    assert!(outcome.closes && outcome.to_client.contains("\r\nConnection: close\r\n"));
    // There is one more request to answer.
    let client = Script::texts(&["GET /next"]);
    let server = Script::new([Given::Pending]).then(Given::Bytes(OK.into()));
    let outcome = Case { stops: true, ..case(client, server) }.run();
    assert!(!outcome.closes);
}

#[test]
fn a_client_that_reads_slowly_holds_the_server_back() {
    let client = Script::default().taking([Some(10), None]);
    let server =
        Script::texts(&["HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"]).then(Given::Bytes(vec![b'x'; 100_000]));
    let (mut client, mut server) = (Wire::new(client.stream()), Wire::new(server.stream()));
    let (mut forwarded, mut out) = (HEAD.as_bytes().to_vec(), Vec::new());
    let clock = FakeClock::at(BootTime::ZERO, WallTime::EPOCH);
    let facts = Facts {
        request_id: "id",
        to_head: false,
        may_repeat: false,
        is_awaited: false,
        closes: false,
        max_body: 0,
        stops: &|| false,
        clock: &clock,
    };
    let mut exchange = Exchange::new(&mut client, &mut server, &mut forwarded, Framing::Done, &mut out, facts);
    assert!(exchange.poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert!(exchange.down.waits_for_client());
    assert!(server.input.len() < 10_000, "no more than what came with the head: {}", server.input.len());
}

/// An answer's head with so many fields, in pieces.
fn with_fields(count: usize, field: &str) -> Script {
    let head = format!("HTTP/1.1 204 No\r\nDate: d\r\n{}\r\n", field.repeat(count));
    Script::new(head.as_bytes().chunks(100).map(|piece| Given::Bytes(piece.to_vec())))
}

#[test]
fn heads_of_answers_may_be_large_but_not_without_limit() {
    for count in [98, 99, 100, 255] {
        let outcome = case(Script::default(), with_fields(count, "A: b\r\n")).run();
        assert_eq!((outcome.end, outcome.keeps_server), (Some(End::Over), true), "{count}");
        assert_eq!(outcome.to_client.matches("\r\nA: b").count(), count);
    }
    let folded = case(Script::default(), with_fields(150, "A: b\r\n c\r\n")).run();
    assert_eq!(folded.end, Some(End::Over));
    assert_eq!(folded.to_client.matches("A: b   c\r\n").count(), 150);
    let long = format!("A: {}\r\n", "b".repeat(50_000));
    assert_eq!(case(Script::default(), with_fields(4, &long)).run().end, Some(End::Over));
    for (count, field) in [(256, "A: b\r\n"), (6, &*long)] {
        let outcome = case(Script::default(), with_fields(count, field)).run();
        assert_eq!(outcome.end, Some(server_failed(Rejection::UpstreamMalformed, UpstreamFailure::Protocol)));
        assert_eq!((&*outcome.to_client, outcome.may_answer), ("", true));
    }
}

#[test]
fn a_body_that_is_too_long_to_be_kept_is_not_sent_once_more() {
    let body = "x".repeat(20_000);
    for (length, end) in
        [(1000, End::Stale), (20_000, server_failed(Rejection::UpstreamFailed, UpstreamFailure::Closed))]
    {
        let client = Script::texts(&[&body[..length]]);
        // It takes all of it, and then it is gone.
        let server = Script::new(vec![Given::Pending; 5]).then(Given::End);
        let put = upload(Framing::Length(length as u64), client, server);
        let outcome = Case { may_repeat: true, max_body: 100_000, ..put }.run();
        assert_eq!((outcome.end, outcome.to_server.len()), (Some(end), HEAD.len() + length));
    }
}

#[test]
fn no_more_than_a_buffer_of_early_requests_is_read() {
    let early = vec![Given::Bytes(vec![b'x'; 5000]); 10];
    let client = Script::new(early).then(Given::End);
    let server = Script::new([Given::Pending, Given::Pending]).then(Given::Bytes(OK.into()));
    let outcome = case(client, server).run();
    assert_eq!((outcome.end, outcome.closes), (Some(End::Over), false));
    assert!((5000..10_000).contains(&outcome.ahead.len()), "{}", outcome.ahead.len());
}
