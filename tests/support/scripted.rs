//! A server that does what the test tells it, step by step and byte by byte, in the test's own thread.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use super::wire::{Body, Framing, Head, Wire, request_framing};
use super::{PATIENCE, wait_for_some};

/// Listens. What nobody accepts waits in the kernel.
pub struct Scripted {
    listener: TcpListener,
}

impl Scripted {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a listener");
        Self { listener }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("an address")
    }

    /// The next connection.
    pub fn accept(&self) -> Scene {
        let stream = wait_for_some("a connection to the server", || self.listener.accept().ok()).0;
        stream.set_nonblocking(false).expect("a connection");
        stream.set_nodelay(true).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a connection");
        Scene { wire: Wire::new(stream) }
    }

    /// Is there no further connection?
    pub fn is_left_alone(&self) -> bool {
        self.listener.accept().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// One connection to it.
pub struct Scene {
    wire: Wire<TcpStream>,
}

impl Scene {
    /// The head of the next request.
    pub fn head(&mut self) -> Head {
        self.wire.read_head().expect("a request").expect("a request")
    }

    /// The rest of the request with this head.
    pub fn body(&mut self, head: &Head) -> Body {
        self.wire.read_body(request_framing(head)).expect("a whole body")
    }

    /// The next request, whole.
    pub fn request(&mut self) -> (Head, Body) {
        let head = self.head();
        let body = self.body(&head);
        (head, body)
    }

    /// So many bytes of a body.
    pub fn bytes(&mut self, count: u64) -> Vec<u8> {
        self.wire.read_body(Framing::Length(count)).expect("bytes").kept
    }

    /// Sends these bytes.
    pub fn says(&mut self, bytes: impl AsRef<[u8]>) {
        self.wire.stream.write_all(bytes.as_ref()).expect("the gateway reads");
    }

    /// Breaks the connection: what was sent and not read is lost.
    pub fn breaks(self) {
        SockRef::from(&self.wire.stream).set_linger(Some(Duration::ZERO)).expect("a connection");
    }

    /// Reads until the gateway closes the connection; true if it did so without another byte.
    pub fn is_closed_by_peer(&mut self) -> bool {
        self.wire.left_over().is_empty()
            && match self.wire.stream.read(&mut [0; 1024]) {
                Ok(count) => count == 0,
                Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
            }
    }
}
