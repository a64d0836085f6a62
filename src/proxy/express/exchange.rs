//! **HOT** One exchange: a request to a server and its answer to the client, at the same time, in one task.
//!
//! Two halves, `upload` and `download`, each a state machine with its table. They share nothing but the two
//! connections and three facts: whether the request is sent, whether the server has been heard, and whether the client
//! has sent more. Nothing here waits, chooses a server or knows a deadline: `attempt` does, and polls this.
//!
//! | upload | download | then |
//! |---|---|---|
//! | Sent | Written | over; both connections may go on |
//! | Abandoned | Written | over; both connections are closed, the client's slowly (RFC 9112, section 9.6) |
//! | Sending | Written | an early answer: the rest of the request goes on until it is sent or abandoned |
//! | Sent | any | the client is watched: its end ends the exchange, what it sends is its next request |

use std::task::{Context, Poll};

use crate::clock::Clock;
use crate::metrics::UpstreamFailure;
use crate::proxy::body::Framing;
use crate::proxy::buffer::SMALL_HOLDS;
use crate::proxy::express::download::Download;
use crate::proxy::express::upload::Upload;
use crate::proxy::reject::Rejection;
use crate::proxy::wire::Wire;

/// Bytes of early requests that are taken in while another is under way (RFC 9112, section 9.3.2).
const AHEAD_MOST: usize = SMALL_HOLDS;

/// How an exchange ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The answer was written whole.
    Over,
    /// The server had closed its connection before it was asked: the request may be sent once more.
    Stale,
    /// Nobody is there to be answered.
    ClientGone,
    /// What to tell the client, if it was told nothing yet, and what to count.
    Failed(Rejection, Option<UpstreamFailure>),
}

/// What is known of the request, beside its bytes.
#[derive(Clone, Copy)]
pub(super) struct Facts<'e> {
    /// `X-Request-Id` of the answer.
    pub(super) request_id: &'e str,
    /// The method is HEAD.
    pub(super) to_head: bool,
    /// It is idempotent, and on a connection that served others before.
    pub(super) may_repeat: bool,
    /// The server's connection was read from in this very poll, found silent, and will wake this task.
    pub(super) is_awaited: bool,
    /// The client wants its connection closed afterwards.
    pub(super) closes: bool,
    /// Bytes of a body at most.
    pub(super) max_body: u64,
    /// Is the gateway stopping? Asked when the answer's head is there.
    pub(super) stops: &'e (dyn Fn() -> bool + Sync),
    /// For when the answer's head came.
    pub(super) clock: &'e dyn Clock,
}

/// See the module's text.
pub(super) struct Exchange<'e> {
    client: &'e mut Wire,
    server: &'e mut Wire,
    pub(super) up: Upload<'e>,
    pub(super) down: Download<'e>,
    facts: Facts<'e>,
}

impl<'e> Exchange<'e> {
    /// `forwarded` holds the head, and the client's input begins with the body. `out` is emptied.
    pub(super) fn new(
        client: &'e mut Wire,
        server: &'e mut Wire,
        forwarded: &'e mut Vec<u8>,
        framing: Framing,
        out: &'e mut Vec<u8>,
        facts: Facts<'e>,
    ) -> Self {
        let up = Upload::new(forwarded, framing, facts.max_body, facts.may_repeat);
        Self { client, server, up, down: Download::new(out, facts.is_awaited), facts }
    }

    /// Goes on as far as both connections let it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        match self.go_on(cx) {
            Ok(true) => Poll::Ready(End::Over),
            Ok(false) => Poll::Pending,
            Err(End::Stale) if !self.up.is_kept() => {
                Poll::Ready(End::Failed(Rejection::UpstreamFailed, Some(UpstreamFailure::Closed)))
            }
            Err(end) => Poll::Ready(end),
        }
    }

    /// Each half stops where it waits and nowhere else, and neither makes the other go on: once each is enough.
    fn go_on(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        self.up.poll(cx, self.client, self.server)?;
        let has_more = self.up.has_more(&self.client.input);
        self.down.poll(cx, self.client, self.server, &self.facts, self.up.is_sent(), has_more)?;
        if self.down.is_heard {
            // The server has read the request, or will not: it is not repeated from here on.
            self.up.keep_nothing(&mut self.client.input);
        }
        if self.down.is_written() && !self.up.is_sending() {
            return Ok(true);
        }
        if self.up.is_sent() {
            self.watch_client(cx)?;
        }
        Ok(false)
    }

    /// Looks whether the client is still there. When plenty of early requests are, it is not read on, and its end
    /// shows later.
    fn watch_client(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        while self.client.input.len() < AHEAD_MOST {
            match self.client.poll_fill(cx, AHEAD_MOST) {
                Poll::Ready(Ok(0) | Err(_)) => return Err(End::ClientGone),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => return Ok(()),
            }
        }
        Ok(())
    }

    /// Has the client sent nothing but this request, and wanted its connection closed behind it?
    pub(super) fn is_all_that_came(&self) -> bool {
        self.facts.closes && self.up.is_sent() && self.client.input.is_empty()
    }

    /// Bytes that the client has acknowledged, of all answers so far; 0 where nobody knows.
    #[cold]
    pub(super) fn acknowledged(&self) -> u64 {
        self.client.acknowledged().unwrap_or_default()
    }

    /// May the server's connection serve another request? Only if both messages are whole, the answer did not begin
    /// before the request was sent, and nothing follows it (RFC 9112, section 9.3).
    pub(super) fn keeps_server(&self) -> bool {
        self.up.is_sent() && self.down.keeps_server() && self.server.input.is_empty()
    }
}
