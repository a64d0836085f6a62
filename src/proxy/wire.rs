//! **HOT** One connection, a client's or a server's: the stream, and what was read from it and not used yet.
//!
//! Both lanes and the pool work on it. It knows no HTTP.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pingora_core::protocols::Stream;
use tokio::io::AsyncWrite as _;

use crate::proxy::buffer::Buffer;
use crate::proxy::socket::Socket;

/// See the module's text.
#[derive(Debug)]
pub struct Wire {
    /// The socket, or TLS on it.
    pub io: Stream,
    /// What came and is not used yet.
    pub input: Buffer,
}

impl Wire {
    /// Around a stream of which nothing was read.
    #[must_use]
    pub fn new(io: Stream) -> Self {
        Self { io, input: Buffer::new() }
    }

    /// Reads more; 0: the other side has ended. See [`Buffer::poll_fill`].
    ///
    /// # Errors
    /// The connection broke.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        self.input.poll_fill(&mut self.io, cx, most)
    }

    /// Is there something to be read that the reactor may not know of yet? Of a stream that is no plain socket: not known.
    #[cold]
    #[must_use]
    pub fn has_unread(&self) -> bool {
        (*self.io).as_any().downcast_ref::<Socket>().is_some_and(|socket| matches!(socket.peek(), Ok(1..)))
    }

    /// Bytes that the other side has acknowledged since the connection began, as the system knows; `None`: it does not.
    #[cold]
    #[must_use]
    pub fn acknowledged(&self) -> Option<u64> {
        Some(self.io.get_socket_digest()?.tcp_info()?.tcpi_bytes_acked)
    }

    /// Sends what the stream may have kept back. (Plain sockets keep nothing; TLS does.)
    ///
    /// # Errors
    /// The connection broke.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
}

/// Writes of `first`, and of `second` behind it, as much as is taken at once, in one system call.
///
/// # Errors
/// The connection broke.
pub fn poll_send(io: &mut Stream, cx: &mut Context<'_>, first: &[u8], second: &[u8]) -> Poll<io::Result<usize>> {
    let io = Pin::new(io);
    let sent = match (first.is_empty(), second.is_empty()) {
        (_, true) => io.poll_write(cx, first),
        (true, _) => io.poll_write(cx, second),
        _ => io.poll_write_vectored(cx, &[IoSlice::new(first), IoSlice::new(second)]),
    };
    match ready!(sent)? {
        0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        count => Poll::Ready(Ok(count)),
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_the_other_side_has_acknowledged_is_known_of_sockets() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let io = Socket::connect(listener.local_addr().unwrap(), Duration::from_mins(1)).await.unwrap();
        let (mut there, _) = listener.accept().await.unwrap();
        let mut wire = Wire::new(Box::new(io));
        let before = wire.acknowledged().unwrap();
        let sent = poll_fn(|cx| poll_send(&mut wire.io, cx, b"one ", b"piece")).await.unwrap();
        let mut came = [0; 9];
        there.read_exact(&mut came).await.unwrap();
        assert_eq!((sent, &came), (9, b"one piece"));
        while wire.acknowledged().unwrap() < before + 9 {
            tokio::task::yield_now().await;
        }
        assert_eq!(wire.acknowledged(), Some(before + 9));
    }
}
