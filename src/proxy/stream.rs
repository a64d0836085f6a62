//! The client's end of an HTTP/1 connection, as pingora-proxy sees it during one exchange.
//!
//! It gives out the forwarded head first, then the bytes of this request's body and none beyond: what a client
//! sends early stays here for the next request. So pipelined requests stay in order, and a body's framing and
//! size are ours to judge, whatever the proxy behind does with them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::config::resolved::Limits;
use crate::proxy::body::Framing;
use crate::proxy::buffer::LARGE;
use crate::proxy::open::Place;
use crate::proxy::reject::Rejection;
use crate::proxy::wire::Wire;

/// Bytes of small writes that wait for more.
const GATHERED_MAX: usize = 4 * 1024;
/// Bytes of early requests that are taken in while another is under way.
const AHEAD_MAX: usize = 16 * 1024;

/// See the module's text.
pub struct ClientStream {
    wire: Wire,
    /// The forwarded head; given out up to `head_given`.
    head: Vec<u8>,
    head_given: usize,
    framing: Framing,
    body_left: u64,
    body_bytes: u64,
    /// Why the body was refused: the reader got an I/O error, and this is what to tell the client.
    refusal: Option<Rejection>,
    /// The upstream has answered an upgrade with 101: what the client sends belongs to the tunnel from here on.
    tunnel_is_open: AtomicBool,
    /// Until then it answers an upgrade. pingora has one time for that and for the tunnel, which may be silent for as long as
    /// its ends like.
    upgrade_by: Option<Pin<Box<Sleep>>>,
    /// Where a cut is told.
    place: Arc<Place>,
    /// Something of the answer was written.
    is_answered: bool,
    /// Small writes that wait for more: pingora writes head and body one by one. The first `sent` bytes are gone.
    gathered: Vec<u8>,
    sent: usize,
    /// How long the client may take nothing of what is written. pingora looks at the time for bodies' pieces alone, and not for
    /// heads and last chunks.
    write_stall: Duration,
    /// Until then; there is one as long as the client takes nothing.
    stall: Option<Pin<Box<Sleep>>>,
    /// It took nothing for too long.
    has_stalled: bool,
}

impl ClientStream {
    /// For one exchange of a connection, of which the request's head was taken out of the input: `head` is what goes on in its
    /// place.
    #[must_use]
    pub fn new(wire: Wire, head: Vec<u8>, framing: Framing, limits: &Limits, place: Arc<Place>) -> Self {
        Self {
            wire,
            head,
            head_given: 0,
            framing,
            body_left: limits.max_body,
            body_bytes: 0,
            refusal: None,
            tunnel_is_open: AtomicBool::new(false),
            upgrade_by: None,
            place,
            is_answered: false,
            gathered: Vec::new(),
            sent: 0,
            write_stall: limits.write_stall,
            stall: None,
            has_stalled: false,
        }
    }

    /// The connection, and the head's buffer for the next request; `None` unless the whole request was given out.
    #[must_use]
    pub fn into_parts(self) -> Option<(Wire, Vec<u8>)> {
        let is_done = self.framing.is_done() && self.head_given == self.head.len() && self.gathered.is_empty();
        is_done.then_some((self.wire, self.head))
    }

    /// What came and belongs to no request yet.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        self.wire.input.bytes()
    }

    /// It is an upgrade, and is answered within this time.
    #[must_use]
    pub fn upgraded_within(mut self, time: Duration) -> Self {
        self.upgrade_by = Some(Box::pin(sleep(time)));
        self
    }

    /// Lets the bytes of an upgraded connection through, after the 101.
    pub fn open_tunnel(&self) {
        self.tunnel_is_open.store(true, Ordering::Release);
    }

    /// Bytes of this request's body so far, as they came (chunk lines included).
    #[must_use]
    pub fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// Why this request's body was refused, if it was.
    #[must_use]
    pub fn refusal(&self) -> Option<&Rejection> {
        self.refusal.as_ref()
    }

    /// Was the exchange cut?
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.place.is_cut()
    }

    /// Why it was, if it was.
    #[must_use]
    pub fn why_cut(&self) -> Option<Rejection> {
        self.place.why_cut()
    }

    /// Did it end because the client took nothing?
    #[must_use]
    pub fn has_stalled(&self) -> bool {
        self.has_stalled
    }

    /// Nothing more is read or written: the exchange was cut.
    fn cut_off(&mut self) -> io::Error {
        if self.refusal.is_none() {
            self.refusal = self.place.why_cut();
        }
        io::Error::other("the exchange was cut")
    }

    /// Writes all that waits.
    fn poll_gathered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.gathered.len() {
            let rest = self.gathered.get(self.sent..).unwrap_or_default();
            let written = Pin::new(&mut self.wire.io).poll_write(cx, rest);
            let written = ready!(self.unless_stalled(cx, written))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += written;
        }
        self.gathered.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// What came of a try to write; an error when the client has taken nothing for too long.
    fn unless_stalled<T>(&mut self, cx: &mut Context<'_>, tried: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if tried.is_ready() {
            self.stall = None;
            return tried;
        }
        let write_stall = self.write_stall;
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(write_stall)));
        ready!(stall.as_mut().poll(cx));
        self.has_stalled = true;
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Who was told nothing yet is told why it was cut (`general`); in an answer that has begun, closing says it.
    fn check_write(&mut self) -> io::Result<()> {
        let is_cut = self.place.is_cut();
        if is_cut && self.is_answered {
            return Err(self.cut_off());
        }
        self.is_answered |= !is_cut;
        Ok(())
    }

    /// Reads the body, or, once it is over, watches for the client's end.
    fn poll_body(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let tunnel_is_shut = self.framing == Framing::Tunnel && !self.tunnel_is_open.load(Ordering::Acquire);
            if tunnel_is_shut {
                self.check_upgrade(cx)?;
            }
            if self.framing.is_done() || tunnel_is_shut {
                return self.poll_end(cx);
            }
            if self.pending().is_empty() && ready!(self.wire.poll_fill(cx, LARGE))? == 0 {
                return Poll::Ready(Ok(()));
            }
            if out.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            let given = self.give(out)?;
            if given > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Is an upgrade that was not answered still waited for?
    fn check_upgrade(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(by) = self.upgrade_by.as_mut().filter(|_| !self.is_answered) else { return Ok(()) };
        if by.as_mut().poll(cx).is_pending() {
            return Ok(());
        }
        self.refusal = Some(Rejection::UpstreamTimeout);
        Err(io::ErrorKind::TimedOut.into())
    }

    fn give(&mut self, out: &mut ReadBuf<'_>) -> io::Result<usize> {
        let pending = self.wire.input.bytes();
        let room = pending.len().min(out.remaining());
        let bytes = pending.get(..room).unwrap_or_default();
        let is_tunnel = self.framing == Framing::Tunnel;
        let Ok(taken) = self.framing.feed(bytes) else {
            self.refusal = Some(Rejection::BodyMalformed);
            return Err(io::Error::other("the request's body is malformed"));
        };
        if !is_tunnel {
            let Some(left) = self.body_left.checked_sub(taken as u64) else {
                self.refusal = Some(Rejection::BodyTooLarge);
                return Err(io::Error::other("the request's body is too large"));
            };
            self.body_left = left;
            // A chunk says at its beginning how long it is: one that is too long is not waited for.
            if self.framing.announced() > left {
                self.refusal = Some(Rejection::BodyTooLarge);
                return Err(io::Error::other("the request's body is too large"));
            }
        }
        self.body_bytes += taken as u64;
        out.put_slice(bytes.get(..taken).unwrap_or_default());
        self.wire.input.consume(taken);
        Ok(taken)
    }

    /// Pending until the client ends. What it sends meanwhile is the next request, and stays; when there is
    /// plenty of that, it is not read on, and the end shows later.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.pending().len() < AHEAD_MAX {
            if ready!(self.wire.poll_fill(cx, AHEAD_MAX))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Pending
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.place.is_cut() {
            return Poll::Ready(Err(this.cut_off()));
        }
        // What was gathered goes now: pingora is about to wait, and flushes no answer that has a length before its end.
        if !this.gathered.is_empty()
            && let Poll::Ready(Err(error)) = this.poll_gathered(cx)
        {
            return Poll::Ready(Err(error));
        }
        let head = this.head.get(this.head_given..).unwrap_or_default();
        if head.is_empty() {
            return this.poll_body(cx, out);
        }
        let room = head.len().min(out.remaining());
        out.put_slice(head.get(..room).unwrap_or_default());
        this.head_given += room;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check_write()?;
        if self.gathered.len() + bytes.len() > GATHERED_MAX {
            ready!(self.poll_gathered(cx))?;
        }
        if bytes.len() > GATHERED_MAX {
            let tried = Pin::new(&mut self.wire.io).poll_write(cx, bytes);
            return self.unless_stalled(cx, tried);
        }
        self.gathered.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.place.is_cut() && self.is_answered {
            return Poll::Ready(Err(self.cut_off()));
        }
        ready!(self.poll_gathered(cx))?;
        Pin::new(&mut self.wire.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_gathered(cx))?;
        Pin::new(&mut self.wire.io).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for ClientStream {
    async fn shutdown(&mut self) {
        self.wire.io.shutdown().await;
    }
}

impl UniqueID for ClientStream {
    fn id(&self) -> UniqueIDType {
        self.wire.io.id()
    }
}

impl Ssl for ClientStream {
    fn get_ssl_digest(&self) -> Option<Arc<pingora_core::protocols::tls::SslDigest>> {
        self.wire.io.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.wire.io.selected_alpn_proto()
    }
}

impl GetTimingDigest for ClientStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        // Nobody reads it, and it would be a vector a request.
        Vec::new()
    }
}

impl GetProxyDigest for ClientStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.wire.io.get_proxy_digest()
    }
}

impl GetSocketDigest for ClientStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.wire.io.get_socket_digest()
    }
}

#[async_trait]
impl Peek for ClientStream {}

impl std::fmt::Debug for ClientStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the buffers: they hold credentials.
        f.debug_struct("ClientStream").field("framing", &self.framing).finish_non_exhaustive()
    }
}
