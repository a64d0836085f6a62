//! Exchanges of which the test holds both ends: the client's connection, and the server's that the gateway made for it.
//! Nothing is read or written on either but by the test.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::request::{Request, get, request};
use super::{Key, Node, PATIENCE, Site, wait_for_some};

/// Of a body that nobody ever sends whole.
const LONG: &str = "1000000000000";
/// Without a byte taken for this long, a reader is taken to be one that does not read.
const BLOCKED: Duration = Duration::from_millis(300);

/// An API whose connections wait for the test to accept them.
pub struct Doorstep(TcpListener);

/// What an exchange is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The request is sent, and the server says nothing.
    Head,
    /// The answer has begun, and the server says no more.
    Download,
    /// The answer goes on and on, and the client does not read.
    BlockedDownload,
    /// The request has begun, and the client says no more.
    Upload,
    /// The request goes on and on, and the server does not read.
    BlockedUpload,
    /// A WebSocket is open, and both are silent.
    Tunnel,
}

impl At {
    pub const ALL: [Self; 6] =
        [Self::Head, Self::Download, Self::BlockedDownload, Self::Upload, Self::BlockedUpload, Self::Tunnel];

    /// Has the client been told nothing?
    pub fn is_before_answer(self) -> bool {
        matches!(self, Self::Head | Self::Upload | Self::BlockedUpload)
    }
}

/// An exchange under way.
pub struct Held {
    pub at: At,
    client: TcpStream,
    server: TcpStream,
}

impl Doorstep {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a listener");
        Self(listener)
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("an address")
    }

    fn accept(&self) -> TcpStream {
        let (stream, _) = wait_for_some("the gateway connects to the server", || self.0.accept().ok());
        stream.set_nonblocking(false).expect("a connection");
        guarded(stream)
    }

    /// Begins an exchange and brings it to where it is to be; without a key, on `/public`.
    pub fn hold(&self, node: &Node, key: Option<&Key>, at: At) -> Held {
        let mut client = guarded(TcpStream::connect(node.address()).expect("the gateway listens"));
        let target = if key.is_some() { "/held" } else { "/public" };
        let with_key = |request: Request| match key {
            Some(key) => request.bearer(key),
            None => request,
        };
        let head = match at {
            At::Head | At::Download | At::BlockedDownload => with_key(get(target)),
            At::Upload | At::BlockedUpload => with_key(request("POST", target)).field("Content-Length", LONG),
            At::Tunnel => with_key(get(target))
                .field("Upgrade", "websocket")
                .field("Connection", "Upgrade")
                .field("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
                .field("Sec-WebSocket-Version", "13"),
        };
        client.write_all(&head.bytes()).expect("the gateway reads");
        if at == At::Upload {
            client.write_all(b"begun").expect("the gateway reads");
        }
        let mut server = self.accept();
        read_until(&mut server, if at == At::Upload { b"begun" } else { b"\r\n\r\n" });
        match at {
            At::Head | At::Upload => {}
            At::Download => {
                write!(server, "HTTP/1.1 200 OK\r\nContent-Length: {LONG}\r\n\r\nbegun").expect("the gateway reads");
                read_until(&mut client, b"begun");
            }
            At::BlockedDownload => {
                write!(server, "HTTP/1.1 200 OK\r\nContent-Length: {LONG}\r\n\r\n").expect("the gateway reads");
                write_until_blocked(&mut server);
            }
            At::BlockedUpload => write_until_blocked(&mut client),
            At::Tunnel => {
                let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                              Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
                server.write_all(answer.as_bytes()).expect("the gateway reads");
                read_until(&mut client, b"\r\n\r\n");
            }
        }
        Held { at, client, server }
    }

    /// One of each.
    pub fn hold_all(&self, node: &Node, key: Option<&Key>) -> Vec<Held> {
        At::ALL.into_iter().map(|at| self.hold(node, key, at)).collect()
    }
}

impl Held {
    /// Waits until the gateway has closed both ends, which must be before the deadline. What came at the client's.
    #[track_caller]
    pub fn assert_closed(mut self, deadline: Instant) -> Vec<u8> {
        let came = drain(&mut self.client, deadline);
        let came = came.unwrap_or_else(|| panic!("{:?}: the client's end is still open", self.at));
        assert!(drain(&mut self.server, deadline).is_some(), "{:?}: the server's end is still open", self.at);
        came
    }

    /// Nothing has happened to it: it goes on where it was.
    #[track_caller]
    pub fn assert_goes_on(&mut self) {
        let Self { at, client, server } = self;
        let pass = |from: &mut TcpStream, to: &mut TcpStream| {
            from.write_all(b"more").unwrap_or_else(|e| panic!("{at:?}: {e}"));
            read_until(to, b"more");
        };
        match at {
            At::Head => {
                server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n").expect("the gateway reads");
                pass(server, client);
            }
            At::Download => pass(server, client),
            At::Upload => pass(client, server),
            At::Tunnel => {
                pass(server, client);
                pass(client, server);
            }
            // Whatever was on its way comes first.
            At::BlockedDownload => read_some(client),
            At::BlockedUpload => read_some(server),
        }
    }

    /// The server's end, to write more of the answer.
    pub fn server(&mut self) -> &mut TcpStream {
        &mut self.server
    }
}

/// Nobody can write into the store until it is dropped.
pub struct LockedStore(Child);

impl LockedStore {
    /// After this was done in it.
    pub fn after(site: &Site, sql: &str) -> Self {
        let mut sqlite = Command::new("sqlite3")
            .arg(site.path("keygate.db"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sqlite3 runs");
        let stdin = sqlite.stdin.as_mut().expect("a pipe");
        writeln!(stdin, ".timeout 10000\n{sql}; BEGIN IMMEDIATE; SELECT 'locked';").expect("sqlite3 reads");
        let mut line = String::new();
        BufReader::new(sqlite.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("a line");
        assert_eq!(line.trim(), "locked");
        Self(sqlite)
    }
}

impl Drop for LockedStore {
    fn drop(&mut self) {
        // The end of its input, at which it rolls back.
        drop(self.0.stdin.take());
        drop(self.0.wait());
    }
}

fn guarded(stream: TcpStream) -> TcpStream {
    stream.set_nodelay(true).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a connection");
    stream.set_write_timeout(Some(PATIENCE)).expect("a connection");
    stream
}

#[track_caller]
fn read_until(stream: &mut TcpStream, end: &[u8]) {
    let mut came = Vec::new();
    while !came.ends_with(end) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap_or_else(|e| panic!("{e} after {}", String::from_utf8_lossy(&came)));
        came.push(byte[0]);
    }
}

#[track_caller]
fn read_some(stream: &mut TcpStream) {
    assert!(stream.read(&mut [0; 64]).expect("an open connection") > 0);
}

fn write_until_blocked(stream: &mut TcpStream) {
    stream.set_write_timeout(Some(BLOCKED)).expect("a connection");
    let block = vec![b'b'; 64 << 10];
    while stream.write(&block).is_ok() {}
}

/// Reads to the end. `None`: there was none before the deadline. Of what came, the beginning is kept.
fn drain(stream: &mut TcpStream, deadline: Instant) -> Option<Vec<u8>> {
    let (mut came, mut block) = (Vec::new(), vec![0; 256 << 10]);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1)))).expect("a connection");
        match stream.read(&mut block) {
            Ok(0) => return Some(came),
            Ok(n) => came.extend_from_slice(&block[..n.min(4096_usize.saturating_sub(came.len()))]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return None,
            // Reset: closed with bytes in it that nobody had read.
            Err(_) => return Some(came),
        }
        if left.is_zero() {
            return None;
        }
    }
}
