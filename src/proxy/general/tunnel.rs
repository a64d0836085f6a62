//! Connections to servers for tunnels: a server's answer to an upgrade is not read too early.
//!
//! pingora-proxy (0.9.1, `proxy_h1.rs`) has two halves. The client's tells the server's half that the request has no more of
//! a body; the server's half looks at that and at the server's answer in no order. If it is the answer first, and that
//! is a 101, then what it is told next looks like the end of the tunnel, and it ends: one in fifty, with a server that
//! answers within a few microseconds. So the first answer that is there is put off for as many polls as it takes until
//! whatever waited before has been looked at.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use pingora_core::connectors::L4Connect;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora_error::{Error, ErrorType, OkOrErr as _, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Keeps these connections apart from others in pingora's pool. (One on which the upgrade was refused may be kept.)
pub(super) const GROUP: u64 = 1;
/// Polls by which an answer is put off: two suffice. In the first the client's half may not have begun.
const PUT_OFF: u8 = 3;
const SWITCHED: &[u8] = b"HTTP/1.1 101";

/// Connects to servers for tunnels. How long that may take is the peer's `total_connection_timeout`.
#[derive(Debug)]
pub(super) struct Tunnels;

/// A connection to a server.
#[derive(Debug)]
struct Server {
    tcp: TcpStream,
    /// Polls by which its next answer is still to be put off.
    put_off: u8,
    /// It has switched: nothing is put off any more.
    is_tunnel: bool,
}

#[async_trait]
impl L4Connect for Tunnels {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let address = address.as_inet().or_err(ErrorType::InternalError, "no address of the internet")?;
        let tcp = TcpStream::connect(address).await.map_err(|error| {
            let refused = error.kind() == io::ErrorKind::ConnectionRefused;
            let kind = if refused { ErrorType::ConnectRefused } else { ErrorType::ConnectError };
            Error::because(kind, "no connection for a tunnel", error)
        })?;
        let server = Server { tcp, put_off: PUT_OFF, is_tunnel: false };
        Ok(VirtualSocketStream::new(Box::new(server)).into())
    }
}

impl AsyncRead for Server {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.is_tunnel && self.put_off > 0 {
            ready!(self.tcp.poll_read_ready(cx))?;
            self.put_off -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = out.filled().len();
        ready!(Pin::new(&mut self.tcp).poll_read(cx, out))?;
        let came = out.filled().get(before..).unwrap_or_default();
        self.is_tunnel |= came.starts_with(SWITCHED);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Server {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // A request, as long as it is no tunnel: perhaps the next, on a connection that was kept.
        self.put_off = PUT_OFF;
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

impl VirtualSocket for Server {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        match option {
            VirtualSockOpt::NoDelay => self.tcp.set_nodelay(true),
            // Nobody asks for others.
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    /// How often a server's bytes, which are there, are asked for until they are given.
    async fn polls(server: &mut Server) -> u8 {
        server.tcp.readable().await.unwrap();
        let (mut polls, mut bytes) = (0, [0; 64]);
        poll_fn(|cx| {
            polls += 1;
            Pin::new(&mut *server).poll_read(cx, &mut ReadBuf::new(&mut bytes))
        })
        .await
        .unwrap();
        polls
    }

    #[tokio::test]
    async fn answers_are_put_off_and_what_passes_a_tunnel_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut there, _) = listener.accept().await.unwrap();
        let mut here = Server { tcp, put_off: PUT_OFF, is_tunnel: false };
        // The first time it may seem to be readable before it is.
        for (answer, least, most) in [
            ("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", PUT_OFF + 1, u8::MAX),
            ("HTTP/1.1 101 Switching Protocols\r\n\r\n", PUT_OFF + 1, u8::MAX),
            ("bytes of a tunnel", 1, PUT_OFF),
        ] {
            here.write_all(b"a request, or whatever").await.unwrap();
            there.write_all(answer.as_bytes()).await.unwrap();
            let polls = polls(&mut here).await;
            assert!((least..=most).contains(&polls), "{answer}: {polls}");
        }
    }
}
