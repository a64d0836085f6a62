//! A client connection: sends exact bytes, reads exact responses. Read timeouts are guards only.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use super::wire::Wire;
use super::{PATIENCE, Request, Response};

/// One TCP connection.
pub struct Client {
    wire: Wire<TcpStream>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap_or_else(|e| panic!("cannot connect to {address}: {e}"))
    }

    /// From this address of ours; all of 127.0.0.0/8 are.
    pub fn connect_from(address: SocketAddr, from: IpAddr) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::new(from, 0).into()).unwrap_or_else(|e| panic!("cannot be {from}: {e}"));
        socket.connect(&address.into()).unwrap_or_else(|e| panic!("cannot connect to {address}: {e}"));
        Self::on(socket.into()).expect("a connection")
    }

    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        Self::on(TcpStream::connect(address)?)
    }

    fn on(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { wire: Wire::new(stream) })
    }

    /// Our end's address.
    pub fn local(&self) -> SocketAddr {
        self.wire.stream.local_addr().expect("a local address")
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the gateway reads");
    }

    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.wire.stream.write_all(bytes)
    }

    /// Ends our sending side; answers can still be read.
    pub fn end_sending(&self) {
        self.wire.stream.shutdown(Shutdown::Write).expect("an open connection");
    }

    /// The response to a request of this method.
    pub fn read(&mut self, method: &str) -> Response {
        self.try_read(method).expect("a response")
    }

    /// `UnexpectedEof`: closed within the response; `ConnectionAborted`: closed before its first byte.
    pub fn try_read(&mut self, method: &str) -> io::Result<Response> {
        self.wire.read_response(method)
    }

    pub fn exchange(&mut self, request: &Request) -> Response {
        self.try_exchange(request).expect("a response")
    }

    pub fn try_exchange(&mut self, request: &Request) -> io::Result<Response> {
        self.try_send(&request.bytes())?;
        self.try_read(&request.method)
    }

    /// The next bytes, whatever they are; empty: the other side closed.
    pub fn read_some(&mut self) -> Vec<u8> {
        let mut block = [0; 16 << 10];
        let n = self.wire.stream.read(&mut block).expect("bytes or an end");
        block[..n].to_vec()
    }

    /// Reads until the gateway closes the connection; true if it did so without another byte.
    pub fn is_closed_by_peer(&mut self) -> bool {
        let mut block = [0; 1024];
        self.wire.left_over().is_empty()
            && match self.wire.stream.read(&mut block) {
                Ok(n) => n == 0,
                Err(e) => e.kind() == io::ErrorKind::ConnectionReset,
            }
    }
}
