//! An API behind the gateway, in this process: records every request exactly as received, and answers as the
//! request's path tells (see `answers`).

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use super::answers;
use super::wire::{Body, Head, Wire, request_framing};

/// Where health checks ask; such requests are not recorded.
pub const HEALTH: &str = "/up";

/// A request as received.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Which connection it came on: 1, 2, 3, …
    pub connection: usize,
    pub head: Head,
    pub body: Body,
    /// False until its body has arrived whole.
    pub complete: bool,
}

impl Seen {
    pub fn method(&self) -> &str {
        self.head.line.split(' ').next().unwrap_or_default()
    }

    pub fn target(&self) -> &str {
        self.head.line.split(' ').nth(1).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }
}

/// What the threads of an upstream share.
pub struct Shared {
    pub name: String,
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    open: Mutex<HashMap<usize, TcpStream>>,
    stopped: AtomicBool,
    gate: Mutex<bool>,
    gate_opened: Condvar,
    drop_reused: AtomicUsize,
}

impl Shared {
    /// Blocks until the test opens the gate; false when the upstream was killed instead.
    pub fn wait_at_gate(&self) -> bool {
        let mut open = self.gate.lock().unwrap();
        while !*open && !self.stopped.load(Ordering::SeqCst) {
            open = self.gate_opened.wait(open).unwrap();
        }
        !self.stopped.load(Ordering::SeqCst)
    }
}

/// A running upstream; ends when dropped.
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Upstream {
    pub fn echo() -> Self {
        Self::named("upstream")
    }

    /// It says its name in `X-Upstream`.
    pub fn named(name: &str) -> Self {
        Self::at(name, "127.0.0.1:0".parse().expect("an address"))
    }

    fn at(name: &str, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap_or_else(|e| panic!("cannot listen on {address}: {e}"));
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
            open: Mutex::default(),
            stopped: AtomicBool::new(false),
            gate: Mutex::new(false),
            gate_opened: Condvar::new(),
            drop_reused: AtomicUsize::new(0),
        });
        let for_acceptor = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || accept(&listener, &for_acceptor));
        Self { address, shared, acceptor: Some(acceptor) }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// How many requests there were.
    pub fn count(&self) -> usize {
        self.shared.seen.lock().unwrap().len()
    }

    /// The requests for this target.
    pub fn seen_at(&self, target: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|s| s.target() == target).collect()
    }

    /// The only request for this target.
    #[track_caller]
    pub fn only(&self, target: &str) -> Seen {
        let mut seen = self.seen_at(target);
        assert_eq!(seen.len(), 1, "requests for {target}: {seen:?}");
        seen.remove(0)
    }

    /// How many connections were ever made to it (health checks' too).
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many are open.
    pub fn open_connections(&self) -> usize {
        self.shared.open.lock().unwrap().len()
    }

    /// Lets everything go on that waits at the gate, now and later.
    pub fn open_gate(&self) {
        *self.shared.gate.lock().unwrap() = true;
        self.shared.gate_opened.notify_all();
    }

    /// The next so many requests that come on a connection which has served one before are not answered: the
    /// connection is closed instead, as when it had been closed the moment before.
    pub fn close_reused(&self, requests: usize) {
        self.shared.drop_reused.store(requests, Ordering::SeqCst);
    }

    /// Stops listening and closes all connections, whatever they are at. Returns how many there were.
    pub fn kill(&mut self) -> usize {
        let Some(acceptor) = self.acceptor.take() else { return 0 };
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the acceptor, which then drops the listener.
        drop(TcpStream::connect(self.address));
        acceptor.join().expect("the acceptor ends");
        let open = std::mem::take(&mut *self.shared.open.lock().unwrap());
        for stream in open.values() {
            drop(stream.shutdown(Shutdown::Both));
        }
        drop(self.shared.gate.lock().unwrap());
        self.shared.gate_opened.notify_all();
        open.len()
    }

    /// Listens again where it did. What was recorded is gone.
    pub fn revive(&mut self) {
        assert!(self.acceptor.is_none(), "it is alive");
        *self = Self::at(&self.shared.name, self.address);
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.kill();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept() else { continue };
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let number = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
        let Ok(for_killing) = stream.try_clone() else { continue };
        shared.open.lock().unwrap().insert(number, for_killing);
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            // Whatever ends a connection, the tests see it in what was recorded.
            drop(serve(stream, number, &shared));
            shared.open.lock().unwrap().remove(&number);
        });
    }
}

fn serve(stream: TcpStream, connection: usize, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut out = stream.try_clone()?;
    let mut wire = Wire::new(stream);
    let mut served = false;
    while let Some(head) = wire.read_head()? {
        let health = head.line.starts_with(&format!("GET {HEALTH} "));
        let mut seen = Seen { connection, head, body: Body::default(), complete: false };
        let place = {
            let mut all = shared.seen.lock().unwrap();
            if !health {
                all.push(seen.clone());
            }
            all.len().wrapping_sub(1)
        };
        let take_one = |n: usize| n.checked_sub(1);
        if served && shared.drop_reused.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take_one).is_ok() {
            return out.shutdown(Shutdown::Both);
        }
        if answers::upgrades(&seen) {
            return answers::tunnel(&seen, &mut wire.stream, &mut out);
        }
        if answers::before_body(&seen, &mut out)? {
            seen.body = wire.read_body(request_framing(&seen.head))?;
            seen.complete = true;
            if !health {
                shared.seen.lock().unwrap()[place] = seen.clone();
            }
        }
        let last = seen.header("connection").is_some_and(|c| c.eq_ignore_ascii_case("close"));
        if !answers::answer(&seen, shared, &mut out)? || last {
            return out.shutdown(Shutdown::Both);
        }
        served = true;
    }
    Ok(())
}
