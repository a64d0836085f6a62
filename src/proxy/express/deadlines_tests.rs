//! Each deadline between scripted connections, on paused time.

use std::future::poll_fn;
use std::time::Duration;

use super::deadlines::{Deadlines, Running};
use super::exchange::{End, Exchange, Facts};
use crate::clock::{BootTime, Clock, WallTime};
use crate::metrics::UpstreamFailure;
use crate::proxy::body::Framing;
use crate::proxy::patience::Patience;
use crate::proxy::reject::Rejection;
use crate::proxy::script::{Given, Script};
use crate::proxy::wire::Wire;

/// The timers' own time, so that clock and timers move together.
struct Paused(tokio::time::Instant);

impl Paused {
    #[allow(clippy::disallowed_methods, reason = "paused time is the test's own")]
    fn now() -> tokio::time::Instant {
        tokio::time::Instant::now()
    }
}

impl Clock for Paused {
    fn boot(&self) -> BootTime {
        BootTime::ZERO.plus(Self::now().duration_since(self.0))
    }

    fn wall(&self) -> WallTime {
        WallTime::EPOCH
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// How an exchange ended that goes on for as long as it may, and after how many seconds.
async fn ended(framing: Framing, client: Script, server: Script, too_old: Option<u64>) -> (End, u64) {
    let clock = Paused(Paused::now());
    let deadlines = Deadlines {
        body_stall: 10 * SECOND,
        write_stall: 20 * SECOND,
        read_timeout: 30 * SECOND,
        write_timeout: 40 * SECOND,
        too_old_at: too_old.map(|seconds| BootTime::ZERO.plus(Duration::from_secs(seconds))),
    };
    let (mut client, mut server) = (Wire::new(client.stream()), Wire::new(server.stream()));
    let (mut forwarded, mut out) = (b"GET / HTTP/1.1\r\n\r\n".to_vec(), Vec::new());
    let facts = Facts {
        request_id: "id",
        to_head: false,
        may_repeat: false,
        is_awaited: false,
        closes: false,
        max_body: 1000,
        stops: &|| false,
        clock: &clock,
    };
    let mut exchange = Exchange::new(&mut client, &mut server, &mut forwarded, framing, &mut out, facts);
    let mut running = Running::new(&mut exchange, deadlines, clock.boot());
    // What was left of the time in which the head had to come: it no longer counts.
    let mut patience = Patience::new(clock.boot(), SECOND);
    let end = poll_fn(|cx| running.poll(cx, &mut patience, &clock)).await;
    assert_eq!(running.is_too_old, too_old.is_some());
    (end, clock.boot().since(BootTime::ZERO).as_secs())
}

fn timed_out(failure: Option<UpstreamFailure>) -> End {
    End::Failed(Rejection::UpstreamTimeout, failure)
}

#[tokio::test(start_paused = true)]
async fn each_side_that_is_waited_for_has_its_own_deadline() {
    let silent = || Script::new([]);
    let stuck = || Script::new([]).stuck();
    let answer = || Script::texts(&["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"]);
    let whole = || Script::texts(&["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"]);
    for (what, framing, client, server, end, seconds) in [
        ("a body", Framing::Length(5), silent(), silent(), End::Failed(Rejection::BodyTimeout, None), 10),
        (
            "its rest",
            Framing::CHUNKED,
            Script::texts(&["1\r\na"]),
            silent(),
            End::Failed(Rejection::BodyTimeout, None),
            10,
        ),
        ("taking the request", Framing::Done, silent(), stuck(), timed_out(Some(UpstreamFailure::WriteTimeout)), 40),
        ("an answer", Framing::Done, silent(), silent(), timed_out(Some(UpstreamFailure::ReadTimeout)), 30),
        ("its rest", Framing::Done, silent(), answer(), timed_out(Some(UpstreamFailure::ReadTimeout)), 30),
        ("taking the answer", Framing::Done, stuck(), answer(), End::ClientGone, 20),
        // The request is abandoned, the answer is not.
        (
            "an early answer's rest",
            Framing::Length(5),
            silent(),
            answer(),
            timed_out(Some(UpstreamFailure::ReadTimeout)),
            30,
        ),
        ("an early answer's request", Framing::Length(5), silent(), whole(), End::Over, 10),
        ("taking an answered request", Framing::Done, silent(), whole().stuck(), End::Over, 40),
    ] {
        assert_eq!(ended(framing, client, server, None).await, (end, seconds), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_early_answer_goes_on_while_its_request_stalls() {
    let mut server = Script::texts(&["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"]);
    for _ in 0..9 {
        server = server.then(Given::After(8 * SECOND)).then(Given::Bytes(b"x".to_vec()));
    }
    assert_eq!(ended(Framing::Length(5), Script::new([]), server, None).await, (End::Over, 72));
}

#[tokio::test(start_paused = true)]
async fn whatever_it_does_a_request_may_become_too_old() {
    let ended = ended(Framing::Done, Script::new([]), Script::new([]), Some(7)).await;
    assert_eq!(ended, (timed_out(None), 7));
}

#[tokio::test(start_paused = true)]
async fn bytes_move_the_deadline() {
    let server = Script::texts(&["HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"])
        .then(Given::After(25 * SECOND))
        .then(Given::Bytes(b"a".to_vec()))
        .then(Given::After(25 * SECOND))
        .then(Given::Bytes(b"b".to_vec()));
    let ended = ended(Framing::Done, Script::new([]), server, None).await;
    assert_eq!(ended, (timed_out(Some(UpstreamFailure::ReadTimeout)), 80));
}
