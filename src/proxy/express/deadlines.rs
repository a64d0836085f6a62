//! **HOT** One exchange under its deadlines.
//!
//! | while | deadline | runs from | then |
//! |---|---|---|---|
//! | the request waits for its client | `body_stall` | the last byte either way | 408; after the answer's head, abandoned |
//! | the request waits for its server | `write_timeout` | the last byte either way | 504; after the answer's head, abandoned |
//! | the answer waits for its client | `write_stall` | the last byte either way, or what it acknowledged | the client is as good as gone |
//! | the answer waits for its server, after the request | `read_timeout` | the last byte of both | 504 |
//! | always | its age | its first byte | 504 |
//!
//! An early answer goes on without the rest of its request (RFC 9112, section 9.5). One of the first four always applies: an
//! exchange that waits has a deadline. The clock is read when bytes have moved and the exchange waits again, and the timer
//! is touched when the earliest deadline has become earlier.
//!
//! The system takes bytes for a client again when those that it has not sent yet have become half as many, which may
//! be long for one that reads slowly and steadily. So before such a client is given up, the system is asked what it has
//! acknowledged: soon after it has begun to be waited for, and when its deadline is over.

use std::num::NonZeroU64;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::clock::{BootTime, Clock};
use crate::metrics::UpstreamFailure;
use crate::proxy::express::exchange::{End, Exchange};
use crate::proxy::patience::Patience;
use crate::proxy::reject::Rejection;

/// What a client acknowledges within `write_stall` at least, if it reads at all. Less is what those take who want to hold
/// a connection for as long as they can.
const LEAST: u64 = 16 * 1024;
/// The part of `write_stall` after which it is first asked what was acknowledged.
const FIRST_ASKED: u32 = 8;

/// How long each may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    /// For the client's next byte.
    pub(super) body_stall: Duration,
    /// For the client to take a byte.
    pub(super) write_stall: Duration,
    /// For the server's next byte.
    pub(super) read_timeout: Duration,
    /// For the server to take a byte.
    pub(super) write_timeout: Duration,
    /// When the request is too old.
    pub(super) too_old_at: Option<BootTime>,
}

/// Which of them has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Late {
    ClientSendsNothing,
    ClientTakesNothing,
    ServerSendsNothing,
    ServerTakesNothing,
    TooOld,
}

/// An exchange that goes on.
pub(super) struct Running<'r, 'e> {
    exchange: &'r mut Exchange<'e>,
    deadlines: Deadlines,
    /// When each half went on last.
    up_at: BootTime,
    down_at: BootTime,
    /// [`BootTime::ZERO`]: not looked at yet. (Idle connections are as large as this future; every word counts.)
    due: BootTime,
    /// One more than the client had acknowledged when that was last asked, since the answer has waited for it.
    acknowledged: Option<NonZeroU64>,
    /// It was ended for its age.
    pub(super) is_too_old: bool,
    /// It was ended because the client took no more of its answer.
    pub(super) has_client_stalled: bool,
}

impl<'r, 'e> Running<'r, 'e> {
    /// From `now` on.
    pub(super) fn new(exchange: &'r mut Exchange<'e>, deadlines: Deadlines, now: BootTime) -> Self {
        Self {
            exchange,
            deadlines,
            up_at: now,
            down_at: now,
            due: BootTime::ZERO,
            acknowledged: None,
            is_too_old: false,
            has_client_stalled: false,
        }
    }

    /// Goes on as far as it can, and waits no longer than it may.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, patience: &mut Patience, clock: &dyn Clock) -> Poll<End> {
        loop {
            if let Poll::Ready(end) = self.exchange.poll(cx) {
                return Poll::Ready(end);
            }
            self.note_time(patience, clock);
            ready!(patience.poll_over(cx, clock));
            let (_, late) = self.first();
            if late.is_of_request() && self.exchange.down.has_answer() {
                self.exchange.up.abandon();
                continue;
            }
            if late == Late::ClientTakesNothing && self.is_slow_only(clock) {
                continue;
            }
            self.is_too_old = late == Late::TooOld;
            self.has_client_stalled = late == Late::ClientTakesNothing;
            return Poll::Ready(late.end());
        }
    }

    fn note_time(&mut self, patience: &mut Patience, clock: &dyn Clock) {
        let (up_moved, down_moved) = (self.exchange.up.take_moved(), self.exchange.down.take_moved());
        // The first time it is still as late as `new` was told.
        let mut now = (self.due == BootTime::ZERO).then_some(self.up_at);
        if up_moved {
            self.up_at = *now.get_or_insert_with(|| clock.boot());
        }
        if down_moved {
            self.down_at = *now.get_or_insert_with(|| clock.boot());
            self.acknowledged = None;
        }
        let (due, _) = self.first();
        // It can change without a byte, too: when the request is abandoned.
        if self.due != due {
            self.due = due;
            patience.set(now.unwrap_or_else(|| clock.boot()), due);
        }
    }

    /// Is the client to be waited for, since it still reads, or since this was asked for the first time?
    #[cold]
    fn is_slow_only(&mut self, clock: &dyn Clock) -> bool {
        let acknowledged = NonZeroU64::MIN.saturating_add(self.exchange.acknowledged());
        let Some(before) = self.acknowledged.replace(acknowledged) else { return true };
        let reads = acknowledged.get().saturating_sub(before.get()) >= LEAST;
        if reads {
            self.down_at = clock.boot();
        }
        reads
    }

    /// The deadline that passes first, of those that apply.
    fn first(&self) -> (BootTime, Late) {
        let (up, down, deadlines) = (&self.exchange.up, &self.exchange.down, &self.deadlines);
        let request = match (up.is_sending(), up.waits_for_server()) {
            (true, true) => Some((self.up_at.plus(deadlines.write_timeout), Late::ServerTakesNothing)),
            (true, false) => Some((self.up_at.plus(deadlines.body_stall), Late::ClientSendsNothing)),
            (false, _) => None,
        };
        let answer = if down.waits_for_client() {
            let parts = if self.acknowledged.is_none() { FIRST_ASKED } else { 1 };
            Some((self.down_at.plus(deadlines.write_stall / parts), Late::ClientTakesNothing))
        } else if request.is_none() {
            Some((self.up_at.max(self.down_at).plus(deadlines.read_timeout), Late::ServerSendsNothing))
        } else {
            None
        };
        let age = deadlines.too_old_at.map(|at| (at, Late::TooOld));
        let all = [request, answer, age].into_iter().flatten().min_by_key(|(due, _)| *due);
        all.unwrap_or((self.up_at.plus(deadlines.body_stall), Late::ClientSendsNothing))
    }
}

impl Late {
    fn is_of_request(self) -> bool {
        matches!(self, Self::ClientSendsNothing | Self::ServerTakesNothing)
    }

    fn end(self) -> End {
        match self {
            Self::ClientSendsNothing => End::Failed(Rejection::BodyTimeout, None),
            Self::ClientTakesNothing => End::ClientGone,
            Self::ServerSendsNothing => End::Failed(Rejection::UpstreamTimeout, Some(UpstreamFailure::ReadTimeout)),
            Self::ServerTakesNothing => End::Failed(Rejection::UpstreamTimeout, Some(UpstreamFailure::WriteTimeout)),
            Self::TooOld => End::Failed(Rejection::UpstreamTimeout, None),
        }
    }
}
