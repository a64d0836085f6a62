//! Many client connections at once, in one thread: each follows a script, and says when and how it was ended.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use keygate::proxy::socket::UNSENT;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::count;

/// Connections from one address: fewer than the gateway allows one.
const PER_ADDRESS: usize = 200;
/// Connections that are being made at once; more would fill the listener's backlog.
const CONNECTING: usize = 100;
/// In the long form all come within this time, evenly: what is attacked by waiting shall not be attacked by connecting, nor
/// by requests.
const COMING: Duration = Duration::from_secs(15);

/// Between two connections.
fn pace(attackers: usize) -> Duration {
    let evenly = COMING / u32::try_from(attackers.max(1)).expect("fewer than 50,000 connections");
    count(Duration::from_millis(3), evenly.clamp(Duration::from_millis(1), Duration::from_millis(20)))
}

/// The receive buffer of those that read less than that at a time.
const SMALL: usize = 4 << 10;
/// When a test gives up on a connection that nobody ends.
const GIVE_UP: Duration = Duration::from_mins(1);

/// Makes this thread one that all others are preferred to (nice(2) is a thread's, on Linux): attackers, and whoever serves
/// them, have machines of their own elsewhere. In the long form, which times who does nothing wrong.
pub fn give_way() {
    if count(false, true) {
        rustix::process::nice(19).expect("less is always granted");
    }
}

/// What each connection does.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// Sent first, and answered, without a body, before anything else happens.
    pub before: Vec<u8>,
    /// Sent at once.
    pub first: Vec<u8>,
    /// Sent again and again, so far apart.
    pub drip: Option<(Vec<u8>, Duration)>,
    /// Bytes that are read, so far apart; without it, whatever comes.
    pub sip: Option<(usize, Duration)>,
}

/// How one was ended.
#[derive(Clone, Debug)]
pub struct Cut {
    /// From the first byte of `first` (of nothing: from the connection, or the answer to `before`) to the end.
    pub after: Duration,
    /// The status of each answer behind `before`.
    pub told: Vec<u16>,
    /// False: the test gave up on it, or had it stopped.
    pub by_gateway: bool,
}

/// A running swarm.
pub struct Swarm {
    thread: JoinHandle<Vec<Cut>>,
    stop: watch::Sender<bool>,
    connected: watch::Receiver<usize>,
    count: usize,
}

impl Swarm {
    /// So many connections to this address. Those of each `part` come from addresses of their own.
    pub fn start(part: u8, address: SocketAddr, count: usize, script: Script) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (connect, connected) = watch::channel(0);
        let thread = std::thread::spawn(move || {
            give_way();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(run(part, address, count, Arc::new(script), stopped, Arc::new(connect)))
        });
        Self { thread, stop, connected, count }
    }

    /// Have all been connected, and have sent what they send first?
    pub fn is_complete(&self) -> bool {
        *self.connected.borrow() == self.count
    }

    /// Waits until all were ended.
    pub fn finish(self) -> Vec<Cut> {
        self.thread.join().expect("a swarm")
    }

    /// Ends all.
    pub fn stop(self) -> Vec<Cut> {
        self.stop.send_replace(true);
        self.finish()
    }
}

/// Somebody else to attack: reads what comes, answers once at the beginning, or without an end, and ends each connection
/// after its time.
pub struct Null {
    address: SocketAddr,
    open: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
    stop: watch::Sender<bool>,
}

impl Null {
    pub fn start(after: Duration, is_endless: bool) -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).expect("a socket");
        // Thousands of buffers of megabytes would be the test's own. Who is sent an endless answer is sent as much of it as by
        // the gateway.
        match is_endless {
            true => listener.set_tcp_notsent_lowat(UNSENT).expect("an option"),
            false => listener.set_send_buffer_size(SMALL).expect("a small buffer"),
        }
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a free port");
        listener.listen(4096).expect("a listener");
        let listener = std::net::TcpListener::from(listener);
        let address = listener.local_addr().expect("an address");
        let open = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&open);
        let (stop, mut stopped) = watch::channel(false);
        let thread = std::thread::spawn(move || {
            give_way();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener");
                let accept = async {
                    while let Ok((stream, _)) = listener.accept().await {
                        let count = Arc::clone(&count);
                        count.fetch_add(1, Ordering::SeqCst);
                        tokio::spawn(async move {
                            // Whether it ended or was ended.
                            let _ = timeout(after, take(stream, is_endless)).await;
                            count.fetch_sub(1, Ordering::SeqCst);
                        });
                    }
                };
                tokio::select! {
                    () = accept => {}
                    _ = stopped.wait_for(|stop| *stop) => {}
                }
            });
        });
        Self { address, open, thread: Some(thread), stop }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has.
    pub fn open_connections(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

impl Drop for Null {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

async fn take(mut stream: TcpStream, is_endless: bool) {
    let mut block = [0; 4096];
    if is_endless && stream.read(&mut block).await.is_ok() {
        let piece = vec![0; UNSENT as usize];
        while stream.write_all(&piece).await.is_ok() {}
    }
    let mut is_answered = false;
    while let Ok(1..) = stream.read(&mut block).await {
        if !std::mem::replace(&mut is_answered, true) {
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        }
    }
}

async fn run(
    part: u8,
    address: SocketAddr,
    count: usize,
    script: Arc<Script>,
    stopped: watch::Receiver<bool>,
    connected: Arc<watch::Sender<usize>>,
) -> Vec<Cut> {
    let connecting = Arc::new(Semaphore::new(CONNECTING));
    let mut all = JoinSet::new();
    let mut ticks = interval(pace(count));
    // Evenly, also when the machine was busy for a while.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0..count {
        ticks.tick().await;
        let place = Arc::clone(&connecting).acquire_owned().await.expect("a semaphore");
        let (script, connected, mut stopped) = (Arc::clone(&script), Arc::clone(&connected), stopped.clone());
        all.spawn(async move {
            let mut stream = connect(part, number, address, script.sip.is_some_and(|(bytes, _)| bytes < SMALL)).await;
            drop(place);
            let mut seen = Vec::new();
            if !script.before.is_empty() {
                stream.write_all(&script.before).await.expect("a connection");
                while !seen.ends_with(b"\r\n\r\n") {
                    assert_ne!(stream.read_buf(&mut seen).await.expect("an answer"), 0, "closed before the answer");
                }
                seen.clear();
            }
            let began = Instant::now();
            // Refused at once, some break before all is sent.
            let _ = stream.write_all(&script.first).await;
            connected.send_modify(|count| *count += 1);
            let by_gateway = tokio::select! {
                ended = timeout(GIVE_UP, until_cut(&mut stream, &script, &mut seen)) => ended.is_ok(),
                _ = stopped.wait_for(|stop| *stop) => false,
            };
            Cut { after: began.elapsed(), told: statuses(&seen), by_gateway }
        });
    }
    all.join_all().await
}

async fn connect(part: u8, number: usize, address: SocketAddr, is_small: bool) -> TcpStream {
    let last = u8::try_from(1 + number / PER_ADDRESS).expect("fewer than 50,000 connections");
    let socket = TcpSocket::new_v4().expect("a socket");
    if is_small {
        socket.set_recv_buffer_size(u32::try_from(SMALL).expect("a small number")).expect("a small buffer");
        // What waits to be sent is on the attacker's machine elsewhere, and counts for this one's here.
        socket.set_send_buffer_size(UNSENT).expect("a small buffer");
    }
    socket.bind((Ipv4Addr::new(127, 1, part, last), 0).into()).expect("an address");
    socket.connect(address).await.unwrap_or_else(|e| panic!("connection {number}: {e}"))
}

/// Does what the script says until the other side ends the connection.
async fn until_cut(stream: &mut TcpStream, script: &Script, seen: &mut Vec<u8>) {
    let (mut from, mut to) = stream.split();
    let never = Duration::from_hours(1);
    let (drip, every) = script.drip.clone().unwrap_or((Vec::new(), never));
    let (sip, pause) = script.sip.unwrap_or((64 << 10, never));
    let (mut drips, mut sips) = (interval(every), interval(pause));
    drips.set_missed_tick_behavior(MissedTickBehavior::Delay);
    sips.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick comes at once.
    drips.tick().await;
    let mut block = vec![0; sip];
    let mut may_read = script.sip.is_none();
    loop {
        tokio::select! {
            read = from.read(&mut block), if may_read => match read {
                Ok(0) | Err(_) => return,
                Ok(n) => {
                    may_read = script.sip.is_none();
                    // Heads of answers are at their beginning; the rest is not worth its memory.
                    if seen.len() < 16 << 10 {
                        seen.extend_from_slice(&block[..n]);
                    }
                }
            },
            _ = sips.tick(), if !may_read => may_read = true,
            _ = drips.tick(), if !drip.is_empty() => {
                // Whether it breaks shows at the next read, behind what was answered.
                let _ = to.write_all(&drip).await;
            }
        }
    }
}

/// The statuses of the answers, interim ones apart.
fn statuses(seen: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(seen);
    let lines = text.split("HTTP/1.1 ").skip(1);
    lines.filter_map(|line| line.get(..3)?.parse().ok()).filter(|status| *status >= 200).collect()
}
