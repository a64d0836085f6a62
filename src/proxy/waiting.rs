//! Waiting for a client: for its next bytes, for it to take an answer, for it to go.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use crate::config::resolved::Limits;
use crate::proxy::buffer::{LARGE, SMALL_HOLDS};
use crate::proxy::gateway::Gateway;
use crate::proxy::patience::Patience;
use crate::proxy::session::Session;
use crate::proxy::wire::{Wire, poll_send};

/// How long a client is listened to after a refusal that closes the connection, so that it reads the answer
/// before its next write breaks the connection (RFC 9112, section 9.6).
pub const LINGER: Duration = Duration::from_secs(1);
/// Bytes that are read and thrown away meanwhile.
const LINGER_BYTES: usize = 256 * 1024;

/// How waiting for a head ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waited {
    /// There is more.
    Came,
    /// The client has gone, or there is nothing to wait for any more.
    Gone,
    /// A head has begun and did not end in time.
    TooLong,
}

/// How long a client is waited for, as the configuration was when it was last looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    /// For its next request.
    idle: Duration,
    /// For the rest of a head, from its first byte.
    header: Duration,
    /// How long a head may be: one of this length is refused before more of it is asked for.
    most: usize,
}

impl Waits {
    pub(super) fn of(limits: &Limits) -> Self {
        let most = limits.max_header_size.max(SMALL_HOLDS);
        Self { idle: limits.idle_timeout, header: limits.header_timeout, most }
    }

    /// For the first byte of a new connection: who has asked for nothing yet is not idle, but late.
    pub(super) fn first(&self) -> Duration {
        self.idle.min(self.header)
    }
}

/// Waits for more bytes, for the deadline, or for the end of the gateway. What is set here of the session: when the first
/// byte of the request that is being read was seen. **HOT**
pub(super) async fn wait(session: &mut Session, wire: &mut Wire, patience: &mut Patience, gateway: &Gateway) -> Waited {
    let (waits, is_idle) = (session.waits, wire.input.is_empty());
    if is_idle {
        session.rest();
        let wait = if session.requests == 0 { waits.first() } else { waits.idle };
        patience.set(session.over_at, session.over_at.plus(wait));
    } else if session.began.is_none() {
        // The head's total deadline runs from its first byte, whatever comes in between.
        let now = gateway.clock.boot();
        session.began = Some(now);
        patience.set(now, now.plus(waits.header));
    }
    poll_fn(|cx: &mut Context<'_>| {
        match wire.poll_fill(cx, waits.most) {
            Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Waited::Gone),
            Poll::Ready(Ok(_)) => return Poll::Ready(Waited::Came),
            Poll::Pending => {}
        }
        // Whoever has sent nothing has nothing to lose; a head that began is waited for.
        if is_idle && gateway.is_draining() && !wire.has_unread() {
            return Poll::Ready(Waited::Gone);
        }
        if patience.poll_over(cx, &*gateway.clock).is_ready() {
            return Poll::Ready(if is_idle { Waited::Gone } else { Waited::TooLong });
        }
        Poll::Pending
    })
    .await
}

/// Writes all of it, or fails when the client does not take it within `stall`. **HOT**
///
/// # Errors
/// The connection broke, or it took too long.
pub async fn write(wire: &mut Wire, bytes: &[u8], stall: Duration) -> io::Result<()> {
    let mut sent = 0;
    // What the socket takes at once needs no timer.
    if let Poll::Ready(done) = poll_fn(|cx| Poll::Ready(poll_write(cx, wire, bytes, &mut sent))).await {
        return done;
    }
    let rest = poll_fn(|cx| poll_write(cx, wire, bytes, &mut sent));
    // Boxed, since it is rare: every connection would be larger by it.
    Box::pin(tokio::time::timeout(stall, rest)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn poll_write(cx: &mut Context<'_>, wire: &mut Wire, bytes: &[u8], sent: &mut usize) -> Poll<io::Result<()>> {
    while let Some(rest) = bytes.get(*sent..).filter(|rest| !rest.is_empty()) {
        *sent += ready!(poll_send(&mut wire.io, cx, rest, b""))?;
    }
    wire.poll_flush(cx)
}

/// Tells the client that nothing more comes, and reads what it still sends, for a moment.
pub async fn linger(wire: &mut Wire) {
    let _ = tokio::time::timeout(LINGER, async {
        if wire.io.shutdown().await.is_err() {
            return;
        }
        let mut thrown = 0;
        while thrown < LINGER_BYTES {
            wire.input.clear();
            match poll_fn(|cx| wire.poll_fill(cx, LARGE)).await {
                Ok(0) | Err(_) => return,
                Ok(n) => thrown += n,
            }
        }
    })
    .await;
}
