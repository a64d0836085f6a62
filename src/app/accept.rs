//! Accepting connections: each goes to the thread that has the fewest, and stays there.
//!
//! Its socket is registered on the thread that serves it, so whatever comes on it wakes that thread and no other.
//! (pingora's own listeners register all sockets on the one thread that accepts, and serve them on others.) Options that
//! a socket inherits from the one that listens are set on that one, once (`data_plane`).
//!
//! When descriptors or memory run out, connections wait in the kernel's queue: accepting again at once would fail again, as
//! fast as the processor can. Whoever is there is served meanwhile, and makes room.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use crate::metrics::IntCounter;
use crate::proxy::connection::Front;
use crate::proxy::socket::Socket;

/// Until descriptors or memory are asked for again.
const PAUSE: Duration = Duration::from_millis(100);

/// The threads that serve.
pub(super) struct Workers(Box<[Worker]>);

struct Worker {
    given: UnboundedSender<Given>,
    /// One more than it has connections: each holds one of these for life, however it ends.
    load: Arc<()>,
}

/// A connection for a thread.
struct Given {
    socket: TcpStream,
    peer: SocketAddr,
    load: Arc<()>,
}

impl Workers {
    /// These threads serve what they are given with this front.
    pub(super) fn new<'h>(threads: impl IntoIterator<Item = &'h Handle>, front: &Arc<Front>) -> Self {
        let worker = |thread: &Handle| {
            let (given, connections) = mpsc::unbounded_channel();
            thread.spawn(serve(connections, Arc::clone(front)));
            Worker { given, load: Arc::default() }
        };
        Self(threads.into_iter().map(worker).collect())
    }

    /// Gives this connection to the thread that has the fewest.
    fn give(&self, socket: TcpStream, peer: SocketAddr) {
        if let Some(worker) = self.0.iter().min_by_key(|worker| worker.connections()) {
            // It fails when the threads have ended.
            let _ = worker.given.send(Given { socket, peer, load: Arc::clone(&worker.load) });
        }
    }

    /// How many connections they have, those included that they have not looked at yet.
    pub(super) fn connections(&self) -> usize {
        self.0.iter().map(Worker::connections).sum()
    }

    /// How many connections each has.
    #[cfg(test)]
    pub(super) fn shares(&self) -> Vec<usize> {
        self.0.iter().map(Worker::connections).collect()
    }
}

impl Worker {
    fn connections(&self) -> usize {
        Arc::strong_count(&self.load) - 1
    }
}

/// Serves what this thread is given. Here, its memory comes from this thread, and the socket is registered with it.
async fn serve(mut connections: UnboundedReceiver<Given>, front: Arc<Front>) {
    while let Some(Given { socket, peer, load }) = connections.recv().await {
        let front = Arc::clone(&front);
        // It fails when the system has no more to give.
        let Ok(socket) = registered(socket) else { continue };
        tokio::spawn(async move {
            front.serve(Box::new(socket), peer.ip()).await;
            drop(load);
        });
    }
}

/// Registers a socket that listens with the thread on which this is called.
///
/// # Errors
/// The system's.
#[expect(deprecated, reason = "sound here, a listener keeps its descriptor; what takes its place is unsafe to call")]
pub(super) fn listen(listener: TcpListener) -> io::Result<AsyncFd<TcpListener>> {
    AsyncFd::with_interest(listener, Interest::READABLE)
}

/// Accepts until it is stopped, and then what was there before. `errors` counts what could not be accepted.
pub(super) async fn accept(
    listener: AsyncFd<TcpListener>,
    workers: Arc<Workers>,
    errors: IntCounter,
    stop: impl Future<Output = ()>,
) {
    let mut stop = pin!(stop);
    let mut is_starved = false;
    while let Some(accepted) = next(&listener, stop.as_mut()).await {
        match accepted {
            Ok((socket, peer)) => workers.give(socket, peer),
            Err(error) if is_of_the_connection(&error) => {}
            Err(error) => {
                errors.inc();
                if !std::mem::replace(&mut is_starved, true) {
                    tracing::warn!(%error, "connections have to wait to be accepted");
                }
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        }
        if std::mem::take(&mut is_starved) {
            tracing::info!("connections are accepted again");
        }
    }
    // To close with connections in the queue would reset them, and some have sent their request.
    while let Ok((socket, peer)) = listener.get_ref().accept() {
        workers.give(socket, peer);
    }
}

/// The next connection, or why there is none; `None` when it is time to stop. Gives way to the thread's other tasks now and
/// then, however many connections there are.
async fn next(
    listener: &AsyncFd<TcpListener>,
    stop: Pin<&mut impl Future<Output = ()>>,
) -> Option<io::Result<(TcpStream, SocketAddr)>> {
    tokio::select! {
        biased;
        () = stop => None,
        accepted = listener.async_io(Interest::READABLE, TcpListener::accept) => Some(accepted),
    }
}

fn registered(socket: TcpStream) -> io::Result<Socket> {
    socket.set_nonblocking(true)?;
    Ok(Socket::new(tokio::net::TcpStream::from_std(socket)?))
}

/// One connection was over before it was accepted (accept(2)); the next may be well.
fn is_of_the_connection(error: &io::Error) -> bool {
    use ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkDown, NetworkUnreachable,
    };
    let kinds = [ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkDown, NetworkUnreachable];
    kinds.contains(&error.kind())
}
