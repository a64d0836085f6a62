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

use async_trait::async_trait;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use zeroize::Zeroize as _;

use crate::proxy::body::Framing;
use crate::proxy::reject::Rejection;

/// Bytes that are read from a client at once, to begin with. A read that fills the buffer doubles it.
const BUFFER_MIN: usize = 8 * 1024;
/// As far as it goes by itself; a larger head that the configuration allows makes it larger.
const BUFFER_MAX: usize = 64 * 1024;
/// Bytes of early requests that are taken in while another is under way.
const AHEAD_MAX: usize = 16 * 1024;

/// See the module's text.
pub struct ClientStream {
    io: Stream,
    /// What came and is not yet given out: from `start` to `end`. The rest is room.
    input: Vec<u8>,
    start: usize,
    end: usize,
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
}

impl ClientStream {
    /// Around a connection that was just accepted.
    #[must_use]
    pub fn new(io: Stream) -> Self {
        Self {
            io,
            input: Vec::new(),
            start: 0,
            end: 0,
            head: Vec::new(),
            head_given: 0,
            framing: Framing::Done,
            body_left: 0,
            body_bytes: 0,
            refusal: None,
            tunnel_is_open: AtomicBool::new(false),
        }
    }

    /// What came and belongs to no request yet.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        self.input.get(self.start..self.end).unwrap_or_default()
    }

    /// Reads more behind [`Self::pending`]; 0: the client has ended.
    ///
    /// # Errors
    /// The connection broke.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.make_room();
        let mut buffer = ReadBuf::new(self.input.get_mut(self.end..).unwrap_or_default());
        let room = buffer.remaining();
        let read = Pin::new(&mut self.io).poll_read(cx, &mut buffer).map_ok(|()| buffer.filled().len());
        if let Poll::Ready(Ok(n)) = &read {
            self.end += n;
            if *n == room && self.input.len() < BUFFER_MAX {
                self.input.resize(self.input.len() * 2, 0);
            }
        }
        read
    }

    /// At least one byte of room behind what came.
    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.end < self.input.len() {
            return;
        }
        if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        } else {
            self.input.resize((self.input.len() * 2).max(BUFFER_MIN), 0);
        }
    }

    /// Takes the request's head out of the input and begins its exchange. `write` writes the forwarded head.
    pub fn begin(&mut self, head_length: usize, framing: Framing, max_body: u64, forwarded: &mut Vec<u8>) {
        self.start += head_length.min(self.pending().len());
        self.head.clear();
        std::mem::swap(&mut self.head, forwarded);
        self.head_given = 0;
        self.framing = framing;
        self.body_left = max_body;
        self.body_bytes = 0;
        self.refusal = None;
        self.tunnel_is_open.store(false, Ordering::Relaxed);
    }

    /// Lets the bytes of an upgraded connection through, after the 101.
    pub fn open_tunnel(&self) {
        self.tunnel_is_open.store(true, Ordering::Release);
    }

    /// Gives the head's buffer back for the next request.
    pub fn take_head_buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.head)
    }

    /// Throws away a refused request's head; what follows is the next request.
    pub fn skip(&mut self, head_length: usize) {
        self.start += head_length.min(self.pending().len());
    }

    /// The same for bytes that hold a secret: none of them is left behind.
    pub fn erase(&mut self, length: usize) {
        let end = (self.start + length).min(self.end);
        if let Some(bytes) = self.input.get_mut(self.start..end) {
            bytes.zeroize();
        }
        self.start = end;
    }

    /// Throws away all that came.
    pub fn discard(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Tells the client that nothing more will be written.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn shutdown_write(&mut self) -> io::Result<()> {
        tokio::io::AsyncWriteExt::shutdown(&mut self.io).await
    }

    /// Has the whole request been given out?
    #[must_use]
    pub fn is_request_done(&self) -> bool {
        self.framing.is_done() && self.head_given == self.head.len()
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

    /// Reads the body, or, once it is over, watches for the client's end.
    fn poll_body(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let tunnel_is_shut = self.framing == Framing::Tunnel && !self.tunnel_is_open.load(Ordering::Acquire);
            if self.framing.is_done() || tunnel_is_shut {
                return self.poll_end(cx);
            }
            if self.pending().is_empty() && ready!(self.poll_fill(cx))? == 0 {
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

    fn give(&mut self, out: &mut ReadBuf<'_>) -> io::Result<usize> {
        let pending = self.input.get(self.start..self.end).unwrap_or_default();
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
        }
        self.body_bytes += taken as u64;
        out.put_slice(bytes.get(..taken).unwrap_or_default());
        self.start += taken;
        Ok(taken)
    }

    /// Pending until the client ends. What it sends meanwhile is the next request, and stays; when there is
    /// plenty of that, it is not read on, and the end shows later.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.pending().len() < AHEAD_MAX {
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Pending
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
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
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[async_trait]
impl Shutdown for ClientStream {
    async fn shutdown(&mut self) {
        self.io.shutdown().await;
    }
}

impl UniqueID for ClientStream {
    fn id(&self) -> UniqueIDType {
        self.io.id()
    }
}

impl Ssl for ClientStream {
    fn get_ssl_digest(&self) -> Option<Arc<pingora_core::protocols::tls::SslDigest>> {
        self.io.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.io.selected_alpn_proto()
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
        self.io.get_proxy_digest()
    }
}

impl GetSocketDigest for ClientStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.io.get_socket_digest()
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
