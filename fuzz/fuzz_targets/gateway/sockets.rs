//! Sockets that are none: one end is the gateway's, the other is held by the plan.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What the plan does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Open,
    Ended,
    Broken,
}

/// How a socket deals bytes out.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    /// The most bytes that one read gives.
    pub gives: usize,
    /// The most bytes that one write takes.
    pub takes: usize,
    /// The most bytes that it takes before it wants to be asked again.
    pub room: usize,
}

impl Default for Most {
    fn default() -> Self {
        Self { gives: usize::MAX, takes: usize::MAX, room: usize::MAX }
    }
}

/// Both directions.
#[derive(Debug)]
pub struct State {
    /// For the gateway to read; each in a packet of its own.
    given: VecDeque<Vec<u8>>,
    end: End,
    reader: Option<Waker>,
    /// What the gateway wrote.
    pub written: Vec<u8>,
    /// The gateway writes no more.
    pub is_shut: bool,
    /// It has let go of it.
    pub is_dropped: bool,
    most: Most,
    /// Bytes that may be written before the plan lets in more.
    room: usize,
    writer: Option<Waker>,
}

/// The plan's end.
#[derive(Clone, Debug)]
pub struct Held(Arc<Mutex<State>>);

impl Held {
    /// Two ends: one for the plan, one for the gateway.
    pub fn pair(most: Most) -> (Self, Stream) {
        let state = State {
            given: VecDeque::new(),
            end: End::Open,
            reader: None,
            written: Vec::new(),
            is_shut: false,
            is_dropped: false,
            most,
            room: most.room,
            writer: None,
        };
        let held = Self(Arc::new(Mutex::new(state)));
        let socket = Socket(held.clone());
        (held, Stream::from(VirtualSocketStream::new(Box::new(socket))))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics with it")
    }

    pub fn give(&self, bytes: &[u8]) {
        if !bytes.is_empty() {
            let mut state = self.state();
            if state.end == End::Open {
                state.given.push_back(bytes.to_vec());
            }
            state.wake();
        }
    }

    pub fn end(&self, end: End) {
        let mut state = self.state();
        if state.end != End::Broken {
            state.end = end;
        }
        state.wake();
    }

    /// Takes more, if the gateway waits for that. False: it does not.
    pub fn lets_in(&self) -> bool {
        let mut state = self.state();
        let Some(waker) = state.writer.take() else { return false };
        state.room = state.most.room;
        waker.wake();
        true
    }

    pub fn is_closed(&self) -> bool {
        let state = self.state();
        state.is_shut || state.is_dropped
    }
}

impl State {
    fn wake(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
        // A broken one takes nothing any more, and says so.
        if self.end == End::Broken
            && let Some(waker) = self.writer.take()
        {
            waker.wake();
        }
    }
}

/// The gateway's end.
#[derive(Debug)]
struct Socket(Held);

impl Drop for Socket {
    fn drop(&mut self) {
        self.0.state().is_dropped = true;
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.state();
        let most = out.remaining().min(state.most.gives);
        if let Some(packet) = state.given.front_mut() {
            let rest = packet.split_off(most.min(packet.len()));
            out.put_slice(packet);
            match rest.is_empty() {
                true => drop(state.given.pop_front()),
                false => *packet = rest,
            }
            return Poll::Ready(Ok(()));
        }
        match state.end {
            End::Open => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
            End::Ended => Poll::Ready(Ok(())),
            End::Broken => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.0.state();
        if state.end == End::Broken || state.is_shut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if state.room == 0 {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = bytes.len().min(state.most.takes).min(state.room);
        state.room -= count;
        state.written.extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.state().is_shut = true;
        Poll::Ready(Ok(()))
    }
}

impl VirtualSocket for Socket {
    fn set_socket_option(&self, _: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}
