//! **HOT** The request on its way to the server: the forwarded head, the body as it comes, the trailers.
//!
//! | state | event | then |
//! |---|---|---|
//! | Sending | the server takes bytes | goes on with what is left; nothing is read before that is gone |
//! | Sending | all of the request is sent | Sent |
//! | Sending | the server takes no more, or one side stalls after the answer's head | Abandoned: an early answer may be there (RFC 9112, section 9.5) |
//! | Sending | the client ends or breaks | the exchange ends: a part must not look whole (RFC 9112, section 8) |
//! | Sending | chunks or trailers are malformed | the exchange fails: 400 (RFC 9112, section 7.1) |
//! | Sending | the body is too large | the exchange fails: 413 (RFC 9110, section 15.5.14) |
//! | Sent | | nothing more to do |
//! | Abandoned | | what the client still sends is for whoever closes its connection |

use std::task::{Context, Poll};

use crate::proxy::body::Framing;
use crate::proxy::buffer::{Buffer, LARGE, SMALL_HOLDS};
use crate::proxy::express::body::{Next, Relay};
use crate::proxy::express::exchange::End;
use crate::proxy::express::trailers::{self, Sender};
use crate::proxy::reject::Rejection;
use crate::proxy::wire::{Wire, poll_send};

/// Bytes of a body that are kept to be sent once more.
const KEPT_MOST: usize = SMALL_HOLDS;

/// See the module's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Sending,
    Sent,
    Abandoned,
}

/// See the module's text.
pub(super) struct Upload<'e> {
    state: State,
    /// The forwarded head, of which `sent` bytes are gone; at last, the trailers behind it.
    head: &'e mut Vec<u8>,
    sent: usize,
    body: Relay,
    max_body: u64,
    /// What the client's input begins with: `kept` bytes that are gone and may have to be sent again, then `ready`
    /// ones that may go on. Behind them is what was not looked at, or what belongs to the next request.
    kept: usize,
    ready: usize,
    keeps: bool,
    next: Next,
    /// What came with the head was not looked at yet.
    is_new: bool,
    has_moved: bool,
}

impl<'e> Upload<'e> {
    /// `keeps`: what is sent of the body is kept, as long as it is little.
    pub(super) fn new(head: &'e mut Vec<u8>, framing: Framing, max_body: u64, keeps: bool) -> Self {
        Self {
            state: State::Sending,
            head,
            sent: 0,
            body: Relay::request(framing),
            max_body,
            kept: 0,
            ready: 0,
            keeps,
            next: if framing.is_done() { Next::Nothing } else { Next::Read },
            is_new: !framing.is_done(),
            has_moved: false,
        }
    }

    /// Sends as much as is there and is taken.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, client: &mut Wire, server: &mut Wire) -> Result<(), End> {
        if std::mem::take(&mut self.is_new) && !client.input.is_empty() {
            self.look_at_body(&mut client.input)?;
        }
        while self.is_sending() {
            if self.waits_for_server() {
                let head = self.head.get(self.sent..).unwrap_or_default();
                let body = client.input.bytes().get(self.kept..self.kept + self.ready).unwrap_or_default();
                match poll_send(&mut server.io, cx, head, body) {
                    Poll::Ready(Ok(count)) => self.was_sent(count, &mut client.input),
                    Poll::Ready(Err(_)) => self.state = State::Abandoned,
                    Poll::Pending => return Ok(()),
                }
                continue;
            }
            let goes_on = match self.next {
                Next::Nothing => match server.poll_flush(cx) {
                    Poll::Ready(Ok(())) => {
                        self.state = State::Sent;
                        true
                    }
                    Poll::Ready(Err(_)) => {
                        self.state = State::Abandoned;
                        true
                    }
                    Poll::Pending => false,
                },
                Next::Read => self.read(cx, client)? && self.look_at_body(&mut client.input)?,
                Next::Trailers => self.take_trailers(&mut client.input)? || self.read(cx, client)?,
            };
            if !goes_on {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The server has taken so much of head and body.
    fn was_sent(&mut self, count: usize, input: &mut Buffer) {
        let of_head = count.min(self.head.len() - self.sent);
        let of_body = count - of_head;
        self.sent += of_head;
        self.ready -= of_body;
        if self.keeps {
            self.kept += of_body;
        } else {
            input.consume(of_body);
        }
        self.has_moved = true;
    }

    /// False: nothing has come.
    fn read(&mut self, cx: &mut Context<'_>, client: &mut Wire) -> Result<bool, End> {
        if self.kept >= KEPT_MOST {
            self.keep_nothing(&mut client.input);
        }
        match client.poll_fill(cx, self.kept + LARGE) {
            Poll::Ready(Ok(0) | Err(_)) => Err(End::ClientGone),
            Poll::Ready(Ok(_)) => {
                self.has_moved = true;
                Ok(true)
            }
            Poll::Pending => Ok(false),
        }
    }

    /// Always true.
    fn look_at_body(&mut self, input: &mut Buffer) -> Result<bool, End> {
        let passed = self.body.pass(input, self.kept);
        (self.ready, self.next) = passed.map_err(|_| End::Failed(Rejection::BodyMalformed, None))?;
        // What a chunk's size announces need not be waited for.
        if self.body.wire.saturating_add(self.body.announced()) > self.max_body {
            return Err(End::Failed(Rejection::BodyTooLarge, None));
        }
        Ok(true)
    }

    /// False: they are not all there.
    fn take_trailers(&mut self, input: &mut Buffer) -> Result<bool, End> {
        self.keep_nothing(input);
        let taken = trailers::take(input.bytes(), Sender::Client, self.head);
        let Some(length) = taken.map_err(|_| End::Failed(Rejection::BodyMalformed, None))? else { return Ok(false) };
        input.consume(length);
        self.body.wire += length as u64;
        self.body.end();
        self.next = Next::Nothing;
        Ok(true)
    }

    /// Nobody waits for the rest of it any more.
    pub(super) fn abandon(&mut self) {
        self.state = State::Abandoned;
    }

    /// From here on the request cannot be repeated.
    pub(super) fn keep_nothing(&mut self, input: &mut Buffer) {
        input.consume(self.kept);
        (self.kept, self.keeps) = (0, false);
    }

    /// Is all that was sent still there, to be sent again?
    pub(super) fn is_kept(&self) -> bool {
        self.keeps
    }

    /// Does the client's input hold something behind this request?
    pub(super) fn has_more(&self, input: &Buffer) -> bool {
        self.is_sent() && input.len() > self.kept
    }

    /// Is there something to send that the server has not taken?
    pub(super) fn waits_for_server(&self) -> bool {
        self.sent < self.head.len() || self.ready > 0
    }

    /// Is there more to come, or to be sent?
    pub(super) fn is_sending(&self) -> bool {
        self.state == State::Sending
    }

    /// Is all of it sent?
    pub(super) fn is_sent(&self) -> bool {
        self.state == State::Sent
    }

    /// Bytes of the body so far, as they came.
    pub(super) fn body_bytes(&self) -> u64 {
        self.body.wire
    }

    /// Has something gone on since this was last asked?
    pub(super) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.has_moved)
    }
}
