//! An API behind the gateway that takes thousands of connections at once, in one thread and with a descriptor each: what
//! it takes of the machine is not to be mistaken for the gateway's. It counts what it is asked, and keeps nothing.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

use super::swarm::give_way;
use super::wire::{Framing, Head, request_framing};

/// As much as its connections' buffers take of what the gateway does not take yet: what the kernel holds in a siege is to
/// be the gateway's.
const UNSENT: u32 = 16 << 10;
const BACKLOG: u32 = 4096;
/// Of answers without an end.
static BLOCK: [u8; 64 << 10] = [0; 64 << 10];

/// A running one; ends when dropped.
pub struct BroadUpstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    stop: watch::Sender<bool>,
}

#[derive(Default)]
struct Shared {
    open: AtomicUsize,
    asked: Mutex<HashMap<String, Asked>>,
}

/// Requests for one target.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// Those that began.
    pub begun: usize,
    /// Of these, those whose body came to its end.
    pub whole: usize,
}

impl BroadUpstream {
    pub fn start() -> Self {
        Self::on_a_thread_that(|| {})
    }

    /// The same for attackers.
    pub fn giving_way() -> Self {
        Self::on_a_thread_that(give_way)
    }

    fn on_a_thread_that(begins: fn()) -> Self {
        let shared = Arc::new(Shared::default());
        let (stop, mut stopped) = watch::channel(false);
        let (tell, told) = std::sync::mpsc::channel();
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            begins();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = listen().expect("a free port");
                tell.send(listener.local_addr().expect("an address")).expect("somebody waits for it");
                tokio::select! {
                    () = accept(&listener, &for_thread) => {}
                    _ = stopped.wait_for(|stop| *stop) => {}
                }
            });
        });
        let address = told.recv().expect("it listens");
        Self { address, shared, thread: Some(thread), stop }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests for this target.
    pub fn asked(&self, target: &str) -> Asked {
        self.shared.asked.lock().unwrap().get(target).copied().unwrap_or_default()
    }

    /// How many connections are open.
    pub fn open_connections(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }
}

impl Drop for BroadUpstream {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

impl Shared {
    fn note(&self, target: &str, change: impl FnOnce(&mut Asked)) {
        change(self.asked.lock().unwrap().entry(target.to_owned()).or_default());
    }
}

fn listen() -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // Connections inherit it.
    SockRef::from(&socket).set_tcp_notsent_lowat(UNSENT)?;
    socket.bind("127.0.0.1:0".parse().expect("an address"))?;
    socket.listen(BACKLOG)
}

async fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        shared.open.fetch_add(1, Ordering::SeqCst);
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            // Whatever ends a connection, the tests see it in what was counted.
            let _ = serve(stream, &shared).await;
            shared.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut came = Vec::new();
    while let Some(head) = read_head(&mut stream, &mut came).await? {
        let target = head.line.split(' ').nth(1).unwrap_or_default().to_owned();
        shared.note(&target, |asked| asked.begun += 1);
        if head.get("expect").is_some() {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let length = read_body(&mut stream, &mut came, request_framing(&head)).await?;
        shared.note(&target, |asked| asked.whole += 1);
        let mut segments = target.split('/').skip(1);
        match (segments.next().unwrap_or_default(), segments.next().unwrap_or_default()) {
            ("status", "204") => stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?,
            ("bytes", length) => {
                let is_bodiless = head.line.starts_with("HEAD ");
                bytes(&mut stream, length.parse().expect("a length"), is_bodiless).await?;
            }
            ("ws", _) => return tunnel(&mut stream).await,
            _ => {
                let body = length.to_string();
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await?;
            }
        }
    }
    Ok(())
}

async fn fill(stream: &mut TcpStream, came: &mut Vec<u8>) -> io::Result<usize> {
    came.reserve(8 << 10);
    stream.read_buf(came).await
}

/// `None`: the connection ended before a first byte.
async fn read_head(stream: &mut TcpStream, came: &mut Vec<u8>) -> io::Result<Option<Head>> {
    loop {
        if let Some(end) = came.windows(4).position(|w| w == b"\r\n\r\n") {
            let rest = came.split_off(end + 4);
            return Ok(Some(Head::parse(std::mem::replace(came, rest))));
        }
        if fill(stream, came).await? == 0 {
            return if came.is_empty() { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
        }
    }
}

/// Its length, as it came.
async fn read_body(stream: &mut TcpStream, came: &mut Vec<u8>, framing: Framing) -> io::Result<u64> {
    let length = match framing {
        Framing::Length(length) => length,
        // Of chunks none is like the last, in what these tests send, and nothing follows.
        Framing::Chunked => loop {
            if came.ends_with(b"0\r\n\r\n") {
                break came.len() as u64;
            }
            if fill(stream, came).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        },
        Framing::None | Framing::UntilClose => 0,
    };
    let mut left = length;
    loop {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(came.len());
        came.drain(..taken);
        left -= taken as u64;
        if left == 0 {
            return Ok(length);
        }
        if fill(stream, came).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
}

/// As many zero bytes.
async fn bytes(stream: &mut TcpStream, length: u64, is_bodiless: bool) -> io::Result<()> {
    stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes()).await?;
    let mut left = if is_bodiless { 0 } else { length };
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(BLOCK.len());
        stream.write_all(&BLOCK[..now]).await?;
        left -= now as u64;
    }
    Ok(())
}

/// Grants an upgrade, with the accept value of RFC 6455, section 1.3, and waits for its end.
async fn tunnel(stream: &mut TcpStream) -> io::Result<()> {
    stream
        .write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        )
        .await?;
    let mut block = [0; 1024];
    while stream.read(&mut block).await? > 0 {}
    Ok(())
}
