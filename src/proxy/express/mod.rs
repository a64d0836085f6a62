//! **HOT** The express lane: plain HTTP/1.1 requests, exchanged by keygate itself in the connection's own task. What is
//! not plain takes the general lane (`proxy::general`).
//!
//! `connection` reads, checks and decides, and calls [`Express::serve`] with what was admitted. `attempt` chooses a
//! server and connects, under `deadlines`; `exchange` polls the two halves, `upload` and `download`; `head`, `body`
//! and `trailers` read and write messages; `pool` keeps connections to servers. Nothing here decides about keys.

mod attempt;
#[cfg(test)]
mod attempt_tests;
mod body;
#[cfg(test)]
mod cut_tests;
mod deadlines;
#[cfg(test)]
mod deadlines_tests;
mod download;
mod exchange;
#[cfg(test)]
mod exchange_tests;
pub(crate) mod head;
#[cfg(test)]
mod head_tests;
pub(crate) mod pool;
pub(crate) mod thread;
mod trailers;
mod upload;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::BootTime;
use crate::proxy::authorize::Permit;
use crate::proxy::body::Framing;
use crate::proxy::gateway::{Gateway, Live};
use crate::proxy::patience::Patience;
use crate::proxy::reject::Rejection;
use crate::proxy::route::Route;

/// The lane: one for all connections.
pub struct Express {
    gateway: Arc<Gateway>,
}

/// A request that was admitted, beside its bytes.
#[derive(Debug)]
pub struct Admitted<'l> {
    /// Proof of admission.
    pub permit: &'l Permit,
    /// The configuration that was in force when it was admitted.
    pub live: &'l Live,
    /// Its route.
    pub route: &'l Route,
    /// How its body ends; never a tunnel.
    pub framing: Framing,
    /// Bytes of its head: the client's input begins with them.
    pub head_length: usize,
    /// The method is HEAD.
    pub to_head: bool,
    /// The method may be repeated (RFC 9110, section 9.2.2).
    pub is_idempotent: bool,
    /// The client wants its connection closed afterwards.
    pub close: bool,
}

/// What the connection lends for one exchange.
#[derive(Debug)]
pub struct Turn<'t> {
    /// The head that goes on, as `forward` wrote it. Nothing is taken from it; trailers may be appended.
    pub forwarded: &'t mut Vec<u8>,
    /// For the heads of answers. It is emptied.
    pub out: &'t mut Vec<u8>,
    /// The connection's deadline.
    pub patience: &'t mut Patience,
    /// `X-Request-Id` of the answer.
    pub request_id: &'t str,
    /// When the request is too old to go on, whatever it does; `None`: never.
    pub too_old_at: Option<BootTime>,
}

/// What is to be done with the client's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its next request is read, of which the beginning may be in its input.
    GoesOn,
    /// It is closed; slowly, where the client may still be sending and has an answer to read (RFC 9112, section 9.6).
    Closes {
        /// As told above.
        slowly: bool,
    },
    /// The client was told nothing yet: this is what it is told, with `Connection: close`; then it is closed, slowly.
    Answer(Rejection),
}

/// How a request was served, for metrics and log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// What is to be done now.
    pub ended: Ended,
    /// Of the server's answer; 0: the client was told none.
    pub status: u16,
    /// Bytes of the request's body, as they came.
    pub bytes_in: u64,
    /// Bytes of the answer's body, without its coding.
    pub bytes_out: u64,
    /// The server that was asked last: its position in the upstream.
    pub server: Option<usize>,
    /// From the moment it was about to be asked to the head of its answer.
    pub upstream_duration: Option<Duration>,
    /// Why it ended before its time: its permit was lost, it was too old, or the server did not answer wholly. The client
    /// may have a part of an answer.
    pub cut: Option<Rejection>,
    /// It ended because the client did not take its answer.
    pub client_stalled: bool,
    /// A reading of the clock from when it was over.
    pub at: BootTime,
}

impl Express {
    /// For this gateway.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>) -> Self {
        Self { gateway }
    }
}

impl std::fmt::Debug for Express {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Express").finish_non_exhaustive()
    }
}
