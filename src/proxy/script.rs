//! For unit tests: a socket that gives what it was told to give and keeps what was written to it. No network, no time.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pingora_core::protocols::Stream;
use pingora_core::protocols::l4::stream::Stream as L4Stream;
use pingora_core::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop;
use tokio::time::Sleep;

/// What one read or write finds.
#[derive(Clone, Debug)]
pub(crate) enum Given {
    /// These bytes, as many as fit at a time.
    Bytes(Vec<u8>),
    /// Nothing yet: pending once.
    Pending,
    /// Nothing for so long.
    After(Duration),
    /// The other side's end, from here on.
    End,
    /// It breaks, from here on.
    Broken,
}

/// The socket. When all was given, it is silent.
#[derive(Debug, Default)]
pub(crate) struct Script {
    reads: VecDeque<Given>,
    /// How much each write takes, in turn; `None`: pending once. When all was used, everything is taken.
    takes: VecDeque<Option<usize>>,
    is_write_broken: bool,
    /// Writes wait for ever.
    is_stuck: bool,
    pause: Option<Pin<Box<Sleep>>>,
    written: Written,
}

/// What was written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Script {
    pub(crate) fn new(reads: impl IntoIterator<Item = Given>) -> Self {
        Self { reads: reads.into_iter().collect(), ..Self::default() }
    }

    /// As if each text came in a packet of its own.
    pub(crate) fn texts(texts: &[&str]) -> Self {
        Self::new(texts.iter().map(|text| Given::Bytes(text.as_bytes().to_vec())))
    }

    pub(crate) fn then(mut self, given: Given) -> Self {
        self.reads.push_back(given);
        self
    }

    pub(crate) fn taking(mut self, takes: impl IntoIterator<Item = Option<usize>>) -> Self {
        self.takes = takes.into_iter().collect();
        self
    }

    pub(crate) fn with_broken_writes(mut self) -> Self {
        self.is_write_broken = true;
        self
    }

    /// Takes nothing, ever.
    pub(crate) fn stuck(mut self) -> Self {
        self.is_stuck = true;
        self
    }

    pub(crate) fn written(&self) -> Written {
        self.written.clone()
    }

    pub(crate) fn stream(self) -> Stream {
        Box::new(L4Stream::from(VirtualSocketStream::new(Box::new(self))))
    }
}

impl AsyncRead for Script {
    /// As tokio's sockets, it is silent to a task that has done so much in this poll that it must let others go on.
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let turn = ready!(coop::poll_proceed(cx));
        ready!(self.read(cx, out))?;
        turn.made_progress();
        Poll::Ready(Ok(()))
    }
}

impl Script {
    fn read(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        match self.reads.pop_front() {
            None => Poll::Pending,
            Some(Given::After(time)) => {
                self.pause = Some(Box::pin(tokio::time::sleep(time)));
                self.read(cx, out)
            }
            Some(Given::Pending) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Given::Bytes(mut bytes)) => {
                let rest = bytes.split_off(bytes.len().min(out.remaining()));
                out.put_slice(&bytes);
                if !rest.is_empty() {
                    self.reads.push_front(Given::Bytes(rest));
                }
                Poll::Ready(Ok(()))
            }
            Some(Given::End) => {
                self.reads.push_front(Given::End);
                Poll::Ready(Ok(()))
            }
            Some(Given::Broken) => {
                self.reads.push_front(Given::Broken);
                Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
        }
    }
}

impl AsyncWrite for Script {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_write_broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if self.is_stuck {
            return Poll::Pending;
        }
        let count = match self.takes.pop_front() {
            None => bytes.len(),
            Some(Some(most)) => bytes.len().min(most),
            Some(None) => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        };
        let written = bytes.get(..count).unwrap_or_default();
        self.written.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(written);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl VirtualSocket for Script {
    fn set_socket_option(&self, _: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}
