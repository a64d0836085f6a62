//! What a client's connection keeps from one request to the next, so that a request allocates nothing.

use std::net::IpAddr;

use crate::clock::{BootTime, WallTime};
use crate::proxy::buffer::{give_back_text, lend_text};
use crate::proxy::gateway::Connected;
use crate::proxy::telemetry::Request;
use crate::proxy::waiting::Waits;

/// See the module's text.
pub(super) struct Session {
    pub(super) peer: IpAddr,
    pub(super) peer_text: String,
    pub(super) connected: Connected,
    pub(super) requests: u64,
    /// What is known of the last of them.
    pub(super) request: Request,
    /// When the first byte of the request that is being read was seen.
    pub(super) began: Option<BootTime>,
    /// When the last request was over; before the first, when the connection came.
    pub(super) over_at: BootTime,
    /// As of the last look.
    pub(super) waits: Waits,
    /// Bytes that were there when a head was last looked for; 0: none was looked for yet.
    pub(super) seen: usize,
    /// Length of the head that was refused last.
    pub(super) head_length: usize,
    /// The answer or forwarded head that is being written.
    pub(super) out: Vec<u8>,
    /// The head of an answer in the express lane.
    pub(super) answer: Vec<u8>,
}

/// What a connection keeps of a `Host` for the next one.
const HOST_KEPT: usize = 256;

impl Session {
    /// Of a connection on which nothing came yet.
    pub(super) fn new(peer: IpAddr, connected: Connected, waits: Waits, now: BootTime) -> Self {
        let (id, host) = (String::new(), Vec::new());
        Self {
            peer,
            peer_text: peer.to_string(),
            connected,
            requests: 0,
            request: Request { id, began: now, time: WallTime::EPOCH, client: peer, host },
            began: None,
            over_at: now,
            waits,
            seen: 0,
            head_length: 0,
            out: Vec::new(),
            answer: Vec::new(),
        }
    }

    /// A request is over: the next one is looked for.
    pub(super) fn next(&mut self, over_at: BootTime) {
        (self.over_at, self.began, self.seen) = (over_at, None, 0);
    }

    /// Nothing is under way: the thread gets its memory back.
    pub(super) fn rest(&mut self) {
        self.request.host.clear();
        self.request.host.shrink_to(HOST_KEPT);
        for text in [&mut self.out, &mut self.answer] {
            give_back_text(std::mem::take(text));
        }
    }
}

/// Makes a text ready to be written into.
pub(super) fn begin(text: &mut Vec<u8>) {
    text.clear();
    if text.capacity() == 0 {
        *text = lend_text();
    }
}
