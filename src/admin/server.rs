//! The listener of the admin plane: HTTP/1.1 with limits of its own, TLS where it is configured, and an end that
//! lets requests be answered.
//!
//! It may stand where strangers reach it: [`MAX_CONNECTIONS`] at a time, of which those without an operator give way
//! to new ones; a deadline for handshakes, request heads (which is that of idle connections too) and for writes that
//! make no progress. What is answered is the router's affair. Run by `app` on the runtime that outlives pingora's.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tower_service::Service as _;

use super::places::{Hold, Place, Places};
use super::state::Connection;
use super::tls::Certificates;

/// Connections at a time. For more, others give way or are waited for.
pub const MAX_CONNECTIONS: usize = 256;
/// Bytes and fields of a request's head.
const MAX_HEAD: usize = 32 * 1024;
const MAX_FIELDS: usize = 64;
/// For a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// For a write to make progress.
const WRITE_STALL: Duration = Duration::from_secs(30);
/// For requests that are under way when the server is told to stop.
const MAX_DRAIN: Duration = Duration::from_secs(5);
/// After the system could not give a connection: too many files are open, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How connections are served.
#[derive(Clone, Debug)]
pub struct Serving {
    /// What answers.
    pub router: Router,
    /// With TLS.
    pub certificates: Option<Arc<Certificates>>,
    /// For a request's head, and between two requests.
    pub head_timeout: Duration,
}

/// Serves until `shutdown` is done, then lets requests end for some seconds. `listener` is bound already.
///
/// # Errors
/// The listener cannot be used.
pub async fn serve(
    listener: std::net::TcpListener,
    serving: Serving,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let places = Places::new(MAX_CONNECTIONS);
    let graceful = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = &mut shutdown => break,
        };
        let Some((stream, peer, place)) = accepted else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (serving, watcher) = (serving.clone(), graceful.watcher());
        tokio::spawn(async move {
            let hold = place.hold();
            tokio::select! {
                // What goes wrong on a connection is the client's affair.
                _ = connection(stream, peer, hold, serving, watcher) => {}
                () = place.given_way() => {}
            }
        });
    }
    drop(listener);
    // What is still open then ends with the runtime.
    let _ = timeout(MAX_DRAIN, graceful.shutdown()).await;
    Ok(())
}

async fn accept(listener: &TcpListener, places: &Arc<Places>) -> Option<(TcpStream, SocketAddr, Place)> {
    let (stream, peer) = listener.accept().await.ok()?;
    Some((stream, peer, places.take().await))
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    hold: Hold,
    serving: Serving,
    watcher: Watcher,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    let stream = Moving::new(stream);
    match &serving.certificates {
        None => exchange(stream, Connection::new(peer, local, false), hold, serving, watcher).await,
        Some(certificates) => {
            let acceptor = TlsAcceptor::from(certificates.current());
            let stream = timeout(HANDSHAKE, acceptor.accept(stream)).await??;
            exchange(stream, Connection::new(peer, local, true), hold, serving, watcher).await;
        }
    }
    Ok(())
}

async fn exchange<S>(stream: S, connection: Connection, hold: Hold, serving: Serving, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Serving { router, head_timeout, .. } = serving;
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(connection);
        request.extensions_mut().insert(hold.clone());
        // A router is always ready, and a clone of one is a pointer.
        let (answer, hold) = (router.clone().call(request), hold.clone());
        async move {
            let answer = answer.await;
            hold.rest();
            answer
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_FIELDS)
        .serve_connection(TokioIo::new(stream), service);
    let _ = watcher.watch(served).await;
}

/// A connection that fails when a write makes no progress for too long: a client that does not read must not keep its
/// place for ever.
struct Moving<S> {
    stream: S,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Moving<S> {
    fn new(stream: S) -> Self {
        Self { stream, stalled: None }
    }

    /// Passes on what a write came to, or the error that it stood still for too long.
    fn watch<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(WRITE_STALL)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Moving<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Moving<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, from);
        self.watch(written, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch(shut, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, from);
        self.watch(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
