//! **HOT** The answer on its way to the client: interim heads, its head, its body, its trailers.
//!
//! | state | event | then |
//! |---|---|---|
//! | Head | an interim head | it goes to the client; Head (RFC 9110, section 15.2) |
//! | Head | a head | it goes to the client, with `Connection: close` if the request is not all sent; Body |
//! | Head | what is no head | the exchange fails: 502 |
//! | Head | the server ends or breaks before its first byte | stale |
//! | Head | the server ends or breaks later | the exchange fails: 502 |
//! | Body | bytes | they go to the client; nothing more is read before they are gone |
//! | Body | the last byte | Ended |
//! | Body | the server ends | Ended, if that is how the body ends; else the exchange fails (RFC 9112, section 8) |
//! | Body | what is no chunk, or the server breaks | the exchange fails: both connections are closed, or 502 if no byte of the answer has gone yet |
//! | Ended | the client has taken all | Written |
//! | any | the client takes no more | the exchange ends |

use std::task::{Context, Poll};

use crate::clock::BootTime;
use crate::metrics::UpstreamFailure;
use crate::proxy::body::Framing;
use crate::proxy::buffer::Buffer;
use crate::proxy::date;
use crate::proxy::express::body::{Next, Relay};
use crate::proxy::express::exchange::{End, Facts};
use crate::proxy::express::head::{self, Answer, FIELDS_MOST, HEAD_MOST, Parsed, Space, Told, USUAL_FIELDS};
use crate::proxy::express::trailers::{self, Sender};
use crate::proxy::reject::Rejection;
use crate::proxy::wire::{Wire, poll_send};

/// See the module's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Body,
    Ended,
    Written,
}

/// See the module's text.
pub(super) struct Download<'e> {
    state: State,
    /// Heads, trailers and last chunks that keygate wrote; `sent` bytes of them are gone. Before the body's bytes.
    out: &'e mut Vec<u8>,
    sent: usize,
    body: Relay,
    /// Bytes that the server's input begins with and that may go on.
    ready: usize,
    next: Next,
    /// What came is not a whole head, as far as its first `looked` bytes say.
    is_partial: bool,
    looked: usize,
    /// The server need not be read from: it was a moment ago, and wakes the task when it has something to say.
    is_awaited: bool,
    /// A byte came from the server.
    pub(super) is_heard: bool,
    /// Of the answer; 0: its head has not come yet.
    status: u16,
    /// The client has a byte of the answer, interim ones apart.
    is_told: bool,
    /// When that came.
    pub(super) answered_at: Option<BootTime>,
    /// The client was told that its connection ends.
    pub(super) closes: bool,
    /// The answer began before the request was sent: the first byte of its head had come.
    is_early: bool,
    /// The server lets its connection be used again.
    keeps: bool,
    /// For so many seconds, it says.
    pub(super) keeps_for: Option<u64>,
    has_moved: bool,
}

/// What came of looking at a head.
enum Looked {
    Well,
    Partial,
    TooManyFields,
    Malformed,
}

impl<'e> Download<'e> {
    /// `out` is emptied. `is_awaited`: see [`Facts`].
    pub(super) fn new(out: &'e mut Vec<u8>, is_awaited: bool) -> Self {
        out.clear();
        Self {
            state: State::Head,
            out,
            sent: 0,
            body: Relay::request(Framing::Done),
            ready: 0,
            next: Next::Nothing,
            is_partial: true,
            looked: 0,
            is_awaited,
            is_heard: false,
            status: 0,
            is_told: false,
            answered_at: None,
            closes: true,
            is_early: false,
            keeps: false,
            keeps_for: None,
            has_moved: false,
        }
    }

    /// Passes on as much as is there and is taken. `is_sent`: all of the request is; `has_more`: the client has sent
    /// more.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Wire,
        server: &mut Wire,
        facts: &Facts<'_>,
        is_sent: bool,
        has_more: bool,
    ) -> Result<(), End> {
        while self.state != State::Written {
            if self.waits_for_client() {
                let head = self.out.get(self.sent..).unwrap_or_default();
                let body = server.input.bytes().get(..self.ready).unwrap_or_default();
                match poll_send(&mut client.io, cx, head, body) {
                    Poll::Ready(Ok(count)) => self.was_sent(count, &mut server.input),
                    Poll::Ready(Err(_)) => return Err(End::ClientGone),
                    Poll::Pending => return Ok(()),
                }
                continue;
            }
            let goes_on = match (self.state, self.next) {
                (State::Head, _) if self.is_partial => {
                    let has_come = self.read(cx, server)?;
                    // A server that answers early may leave the rest unread, to take it for its next request.
                    self.is_early |= has_come && !is_sent;
                    has_come
                }
                (State::Head, _) => {
                    let is_last = !has_more && (facts.stops)();
                    // A part that the client is still to send would be taken for its next request (RFC 9112, section
                    // 9.6).
                    self.closes = facts.closes || is_last || !is_sent;
                    self.look_at_head(&mut server.input, facts)?
                }
                (State::Body, Next::Nothing) => {
                    self.state = State::Ended;
                    true
                }
                (State::Body, Next::Read) => self.read(cx, server)?,
                (State::Body, Next::Trailers) => self.take_trailers(&mut server.input)? || self.read(cx, server)?,
                (State::Ended | State::Written, _) => match client.poll_flush(cx) {
                    Poll::Ready(Ok(())) => {
                        self.state = State::Written;
                        true
                    }
                    Poll::Ready(Err(_)) => return Err(End::ClientGone),
                    Poll::Pending => false,
                },
            };
            if !goes_on {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The client has taken so much of what is ready.
    fn was_sent(&mut self, count: usize, input: &mut Buffer) {
        let of_head = count.min(self.out.len() - self.sent);
        let of_body = count - of_head;
        self.sent += of_head;
        self.ready -= of_body;
        input.consume(of_body);
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
        }
        self.is_told |= self.status != 0;
        self.has_moved = true;
    }

    /// False: nothing has come.
    fn read(&mut self, cx: &mut Context<'_>, server: &mut Wire) -> Result<bool, End> {
        if std::mem::take(&mut self.is_awaited) {
            return Ok(false);
        }
        match server.poll_fill(cx, HEAD_MOST) {
            Poll::Ready(Ok(0)) => self.server_ended()?,
            Poll::Ready(Ok(_)) => {
                (self.is_heard, self.is_partial, self.has_moved) = (true, false, true);
                if self.state == State::Body && self.next == Next::Read {
                    self.look_at_body(&mut server.input)?;
                }
            }
            Poll::Ready(Err(_)) => return Err(self.server_is_lost()),
            Poll::Pending => return Ok(false),
        }
        Ok(true)
    }

    /// Always true, as far as it is well.
    fn look_at_head(&mut self, input: &mut Buffer, facts: &Facts<'_>) -> Result<bool, End> {
        // A head that comes in small pieces is parsed when its end has come, not at each piece.
        let looked = std::mem::replace(&mut self.looked, input.len());
        if looked > 0 && input.len() < HEAD_MOST && !holds_end(input.bytes(), looked) {
            self.is_partial = true;
            return Ok(true);
        }
        let mut seen = self.look_at_fields::<USUAL_FIELDS>(input, facts);
        if let Looked::TooManyFields = seen {
            seen = self.look_at_fields::<FIELDS_MOST>(input, facts);
        }
        match seen {
            Looked::Well => {}
            Looked::Partial if input.len() < HEAD_MOST => self.is_partial = true,
            // It is looked at once more.
            Looked::Malformed if head::unfold(input.bytes_mut()) => self.looked = 0,
            Looked::Partial | Looked::TooManyFields | Looked::Malformed => return Err(malformed()),
        }
        if self.state == State::Body && self.next == Next::Read && !input.is_empty() {
            // What came with the head goes out with it.
            self.look_at_body(input)?;
        }
        Ok(true)
    }

    /// Looks at the head, and writes what goes to the client.
    fn look_at_fields<const MOST: usize>(&mut self, input: &mut Buffer, facts: &Facts<'_>) -> Looked {
        let mut space = Space::<MOST>::new();
        let answer = match head::parse(input.bytes(), &mut space, facts.to_head) {
            Parsed::Head(answer) => answer,
            Parsed::Partial => return Looked::Partial,
            Parsed::TooManyFields => return Looked::TooManyFields,
            Parsed::Malformed(why) => {
                tracing::debug!(request_id = facts.request_id, why, "the answer is malformed");
                return Looked::Malformed;
            }
        };
        let date = (!answer.has_date).then(|| date::at(facts.clock.wall_coarse()));
        let date = date.as_ref().map_or(&b""[..], |date| date.as_bytes());
        answer.write(self.out, &Told { request_id: facts.request_id, closes: self.closes, date });
        let Answer { status, length, body, keeps, keeps_for, .. } = answer;
        input.consume(length);
        (self.is_partial, self.looked) = (input.is_empty(), 0);
        // What was early was an interim answer, and no more.
        self.is_early &= status >= 200 || !input.is_empty();
        if status >= 200 {
            self.state = State::Body;
            (self.status, self.keeps, self.keeps_for) = (status, keeps, keeps_for);
            self.answered_at = Some(facts.clock.boot());
            self.body = Relay::answer(body);
            self.next = if self.body.is_over() { Next::Nothing } else { Next::Read };
        }
        Looked::Well
    }

    fn look_at_body(&mut self, input: &mut Buffer) -> Result<(), End> {
        (self.ready, self.next) = self.body.pass(input, 0).map_err(|_| malformed())?;
        Ok(())
    }

    /// False: they are not all there.
    fn take_trailers(&mut self, input: &mut Buffer) -> Result<bool, End> {
        let taken = trailers::take(input.bytes(), Sender::Server, self.out);
        let Some(length) = taken.map_err(|_| malformed())? else { return Ok(false) };
        input.consume(length);
        self.body.end();
        self.next = Next::Nothing;
        Ok(true)
    }

    fn server_ended(&mut self) -> Result<(), End> {
        let is_body = self.state == State::Body;
        let Some(rest) = self.body.end_of_connection().filter(|_| is_body) else { return Err(self.server_is_lost()) };
        self.out.extend_from_slice(rest);
        (self.keeps, self.next) = (false, Next::Nothing);
        Ok(())
    }

    fn server_is_lost(&self) -> End {
        if self.is_heard { End::Failed(Rejection::UpstreamFailed, Some(UpstreamFailure::Closed)) } else { End::Stale }
    }

    /// May the client still be told something else? Not if it has a part of a head.
    pub(super) fn may_answer(&self) -> bool {
        !self.is_told && self.sent == 0
    }

    /// Of the answer, as far as the client was told; 0: nothing of it.
    pub(super) fn status_told(&self) -> u16 {
        if self.is_told { self.status } else { 0 }
    }

    /// Is there something that the client has not taken?
    pub(super) fn waits_for_client(&self) -> bool {
        self.sent < self.out.len() || self.ready > 0
    }

    /// Has the client taken all of it?
    pub(super) fn is_written(&self) -> bool {
        self.state == State::Written
    }

    /// Is all of it here, and may the connection be used again?
    pub(super) fn keeps_server(&self) -> bool {
        self.keeps && !self.is_early && matches!(self.state, State::Ended | State::Written)
    }

    /// Is there an answer, interim ones apart?
    pub(super) fn has_answer(&self) -> bool {
        self.status != 0
    }

    /// Had the answer no body by its kind, whatever the server thinks (RFC 9112, section 6.3, case 1)?
    pub(super) fn is_bodyless(&self, to_head: bool) -> bool {
        to_head || matches!(self.status, 204 | 304)
    }

    /// Bytes of the body that the client has taken, without its coding; where it took a part of what was there, as many
    /// as are certain.
    pub(super) fn body_bytes(&self) -> u64 {
        self.body.content.saturating_sub(self.ready as u64)
    }

    /// Has something gone on since this was last asked?
    pub(super) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.has_moved)
    }
}

/// Is there an empty line, of which the last byte came after the first `seen`? Bare LFs end lines too.
fn holds_end(bytes: &[u8], seen: usize) -> bool {
    let fresh = bytes.get(seen.saturating_sub(3)..).unwrap_or_default();
    memchr::memchr_iter(b'\n', fresh).any(|at| {
        let rest = fresh.get(at + 1..).unwrap_or_default();
        rest.starts_with(b"\n") || rest.starts_with(b"\r\n")
    })
}

fn malformed() -> End {
    End::Failed(Rejection::UpstreamMalformed, Some(UpstreamFailure::Protocol))
}
