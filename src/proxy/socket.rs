//! **HOT** A TCP connection, a client's or a server's, as pingora's layers take it: tokio's stream, and nothing around it.
//!
//! pingora-core's own wrapper measures how long reads and writes wait, can read timestamps and keeps two buffers; nobody
//! here asks for these, and each request would pay for them.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType,
};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

/// Bytes that a socket takes and has not sent yet, at most. What is on its way comes on top of it, so it limits nobody's
/// speed. But for one that stopped reading the system holds no more than this and a write, instead of megabytes, nor was
/// so much read for it that its server's receive buffer grew (Linux: 86 and 128 KiB; with twice this: 177 and 142 to 219). And a
/// reader's progress is seen when it makes some, not only when a large send buffer has emptied.
pub const UNSENT: u32 = 64 * 1024;

/// See the module's text.
#[derive(Debug)]
pub struct Socket(TcpStream);

impl Socket {
    /// Around a connection that was accepted.
    #[must_use]
    pub fn new(tcp: TcpStream) -> Self {
        Self(tcp)
    }

    /// Connects to a server, within `wait`.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`], or why there is no connection.
    pub async fn connect(address: SocketAddr, wait: Duration) -> io::Result<Self> {
        let tcp = tokio::time::timeout(wait, TcpStream::connect(address)).await??;
        // A message is written whole: nothing is gained by waiting for more of it.
        tcp.set_nodelay(true)?;
        SockRef::from(&tcp).set_tcp_notsent_lowat(UNSENT)?;
        Ok(Self(tcp))
    }
}

impl Socket {
    /// How much there is to be read at this moment, at most one byte; 0: the other side has ended. Asks the system, which
    /// knows more than the reactor when that has not turned since.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`]: nothing; or the connection broke.
    pub fn peek(&self) -> io::Result<usize> {
        SockRef::from(&self.0).peek(&mut [MaybeUninit::uninit()])
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, out)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Socket {
    async fn shutdown(&mut self) {
        // It fails where the other side has gone already.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Socket {
    fn id(&self) -> UniqueIDType {
        self.0.as_raw_fd()
    }
}

impl GetSocketDigest for Socket {
    /// Looks its addresses up when they are asked for.
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::new(SocketDigest::from_raw_fd(self.0.as_raw_fd())))
    }
}

impl GetTimingDigest for Socket {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Socket {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl Ssl for Socket {}

#[async_trait]
impl Peek for Socket {}

#[cfg(test)]
mod tests {
    use pingora_core::protocols::Stream;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_is_written_at_one_end_is_read_at_the_other() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut here: Stream = Box::new(Socket::connect(address, Duration::from_mins(1)).await.unwrap());
        let (there, peer) = listener.accept().await.unwrap();
        let mut there: Stream = Box::new(Socket::new(there));
        let digest = there.get_socket_digest().unwrap();
        assert_eq!(digest.peer_addr().and_then(|address| address.as_inet().copied()), Some(peer));
        let count = here.write_vectored(&[IoSlice::new(b"one "), IoSlice::new(b"piece")]).await.unwrap();
        assert_eq!(count, 9, "in one call");
        Shutdown::shutdown(&mut *here).await;
        let mut text = String::new();
        there.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "one piece");
    }

    #[tokio::test]
    async fn nobody_is_connected_to_where_nobody_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = Socket::connect(address, Duration::from_mins(1)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
