//! Waiting for a client: for its next bytes, for it to take an answer, for it to go.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pingora_core::server::ShutdownWatch;
use tokio::io::AsyncWriteExt as _;

use crate::clock::BootTime;
use crate::proxy::buffer::{LARGE, SMALL_HOLDS};
use crate::proxy::gateway::Gateway;
use crate::proxy::patience::Patience;
use crate::proxy::wire::Wire;

/// How long a client is listened to after a refusal that closes the connection, so that it reads the answer
/// before its next write breaks the connection (RFC 9112, section 9.6).
pub const LINGER: Duration = Duration::from_secs(1);
/// Bytes that are read and thrown away meanwhile.
const LINGER_BYTES: usize = 256 * 1024;

/// How waiting for a head ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// There is more.
    Came,
    /// The client has gone, or there is nothing to wait for any more.
    Gone,
    /// A head has begun and did not end in time.
    TooLong,
}

/// Waits for more bytes, for the deadline, or for the end of the gateway. `began` is when the first byte of the request
/// that is being read was seen; it is set here.
pub async fn wait(
    began: &mut Option<BootTime>,
    wire: &mut Wire,
    patience: &mut Patience,
    mut stop: Pin<&mut (impl Future<Output = ()> + Send)>,
    gateway: &Gateway,
) -> Waited {
    let idle = wire.input.is_empty();
    let most = {
        let limits = &gateway.live.load().limits;
        let now = gateway.clock.boot();
        match *began {
            // The head's total deadline runs from its first byte, whatever comes in between.
            None if !idle => {
                *began = Some(now);
                patience.set(now, now.plus(limits.header_timeout));
            }
            None => patience.set(now, now.plus(limits.idle_timeout)),
            Some(_) => {}
        }
        // A head of this length is refused before more of it is asked for.
        limits.max_header_size.max(SMALL_HOLDS)
    };
    poll_fn(|cx: &mut Context<'_>| {
        match wire.poll_fill(cx, most) {
            Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Waited::Gone),
            Poll::Ready(Ok(_)) => return Poll::Ready(Waited::Came),
            Poll::Pending => {}
        }
        // Whoever has sent nothing has nothing to lose; a head that began is waited for.
        if idle && stop.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Waited::Gone);
        }
        if patience.poll_over(cx, &*gateway.clock).is_ready() {
            return Poll::Ready(if idle { Waited::Gone } else { Waited::TooLong });
        }
        Poll::Pending
    })
    .await
}

/// Resolves when the gateway is told to stop.
pub async fn stopped(mut shutdown: ShutdownWatch) {
    // An error means that the sender is gone: the gateway has ended.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// Writes all of it, or fails when the client does not take it within `stall`.
///
/// # Errors
/// The connection broke, or it took too long.
pub async fn write(wire: &mut Wire, bytes: &[u8], stall: Duration) -> io::Result<()> {
    let all = async {
        wire.io.write_all(bytes).await?;
        wire.io.flush().await
    };
    tokio::time::timeout(stall, all).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
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
