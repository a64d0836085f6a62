//! The data plane's sockets and threads: pingora's runtime and streams, without its `Server` and its listeners.
//!
//! We bind ourselves, so that a busy port is an error with a name, listen when everything is ready and accept ourselves
//! (`accept`); we end it ourselves, when nothing is in flight.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::HttpProxy;
use pingora_runtime::{BlockingPoolOpts, NoStealRuntime, RuntimeOpts};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::app::accept::{Workers, accept, listen};
use crate::app::until;
use crate::config::resolved::Config;
use crate::proxy::connection::Front;
use crate::proxy::gateway::{self, Gateway};
use crate::proxy::general::{ATTEMPTS, General};
use crate::proxy::keep;
use crate::proxy::socket::UNSENT;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 4096;
/// For pingora's threads to let go of what they were doing, after everything was answered.
const END: Duration = Duration::from_secs(1);
/// Between two looks at whether something is still served, at the end.
pub(super) const DRAIN_LOOK: Duration = Duration::from_millis(5);

/// A socket that is bound and does not listen yet.
pub(super) struct Bound {
    socket: Socket,
    address: SocketAddr,
}

/// Takes the addresses, so that nobody else can while the keyring is loaded.
pub(super) fn bind(addresses: &[SocketAddr]) -> anyhow::Result<Vec<Bound>> {
    addresses.iter().map(|address| bind_one(*address).with_context(|| format!("cannot listen on {address}"))).collect()
}

fn bind_one(address: SocketAddr) -> std::io::Result<Bound> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    // Every connection inherits these two.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(UNSENT)?;
    socket.bind(&address.into())?;
    let address = socket.local_addr()?.as_socket().unwrap_or(address);
    Ok(Bound { socket, address })
}

/// The running data plane.
pub(super) struct DataPlane {
    runtime: NoStealRuntime,
    stop: watch::Sender<bool>,
    /// Ends behind the last connection that is accepted.
    accepting: JoinHandle<()>,
    workers: Arc<Workers>,
    addresses: Vec<SocketAddr>,
}

/// Listens, and serves from now on.
pub(super) fn start(config: &Config, gateway: &Arc<Gateway>, sockets: Vec<Bound>) -> anyhow::Result<DataPlane> {
    let threads = gateway::threads(&config.server);
    let conf = Arc::new(ServerConf {
        threads,
        // Of each thread.
        upstream_keepalive_pool_size: config
            .upstreams
            .iter()
            .map(|u| u.pool_size)
            .sum::<usize>()
            .div_ceil(threads)
            .max(1),
        max_retries: ATTEMPTS,
        ..ServerConf::default()
    });
    let mut general = HttpProxy::new(General::new(Arc::clone(gateway)), conf);
    general.handle_init_modules();
    let front = Arc::new(Front::new(Arc::clone(gateway), Arc::new(general)));
    let addresses: Vec<_> = sockets.iter().map(|bound| bound.address).collect();
    for Bound { socket, address } in &sockets {
        socket.listen(BACKLOG).with_context(|| format!("cannot listen on {address}"))?;
    }
    let runtime = NoStealRuntime::new(threads, "data-plane", BlockingPoolOpts::default(), RuntimeOpts::default());
    let handles: Vec<_> = (0..threads).map(|thread| runtime.get_runtime_at(thread).clone()).collect();
    for handle in &handles {
        handle.spawn(keep::house(Arc::clone(gateway)));
    }
    let (stop, stopped) = watch::channel(false);
    let workers = Arc::new(Workers::new(&handles, &front));
    let errors = &gateway.telemetry.metrics.accept_errors;
    let mut accepting = Vec::with_capacity(sockets.len());
    for (Bound { socket, .. }, thread) in sockets.into_iter().zip(handles.iter().cycle()) {
        let listener = {
            let _thread = thread.enter();
            listen(socket.into()).context("cannot wait for connections")?
        };
        let stopped = until(stopped.clone());
        accepting.push(thread.spawn(accept(listener, Arc::clone(&workers), errors.clone(), stopped)));
    }
    let accepting = runtime.get_runtime().spawn(async move {
        for accepting in accepting {
            // A panic was logged.
            let _ = accepting.await;
        }
        front.cleanup().await;
    });
    Ok(DataPlane { runtime, stop, accepting, workers, addresses })
}

impl DataPlane {
    /// The real addresses.
    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Closes the listeners; what was accepted goes on.
    pub(super) fn stop_accepting(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until nothing is served any more, behind [`Self::stop_accepting`]: what was in the kernel's queue is.
    pub(super) async fn drained(&mut self) {
        // A panic was logged.
        let _ = (&mut self.accepting).await;
        while self.workers.connections() > 0 {
            tokio::time::sleep(DRAIN_LOOK).await;
        }
    }

    /// Ends the threads.
    pub(super) fn end(self) {
        self.runtime.shutdown_timeout(END);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::net::TcpListener;

    use super::*;
    use crate::clock::{BootTime, Clock, SystemClock, WallTime};
    use crate::entropy::SystemEntropy;
    use crate::fleet::lease::LeaseGate;
    use crate::keyring::Keyring;
    use crate::metrics::{Metrics, Registry, names};
    use crate::proxy::gateway::Live;
    use crate::proxy::reject::Rejection;
    use crate::proxy::socket::Socket;
    use crate::proxy::telemetry::Telemetry;

    /// Panics once when asked, in the middle of whatever request asks for the time.
    struct Bomb(AtomicBool);

    impl Clock for Bomb {
        fn boot(&self) -> BootTime {
            SystemClock.boot()
        }

        fn wall(&self) -> WallTime {
            SystemClock.wall()
        }

        fn wall_coarse(&self) -> WallTime {
            assert!(!self.0.swap(false, Ordering::SeqCst), "as the test wants");
            SystemClock.wall_coarse()
        }
    }

    /// Bytes that a connection's future may take: with what is around it, an idle connection takes less than 4 KiB.
    const CONNECTION: usize = 2560;

    const CONFIG: &str = r#"
        [server]
        listen = ["127.0.0.1:0"]
        threads = 1
        [[upstream]]
        name = "api"
        servers = ["127.0.0.1:9"]
        [[route]]
        path = "/"
        upstream = "api"
        [store]
        url = "sqlite:keygate.db"
        [secrets]
        master_key_file = "master.key"
    "#;

    fn gateway(config: &Config, clock: &Arc<Bomb>) -> Arc<Gateway> {
        let metrics = Arc::new(Metrics::new(&Registry::new(), &Rejection::REASONS).unwrap());
        let keyring = Arc::new(Keyring::new(&SystemEntropy));
        let telemetry = Telemetry {
            no_route: metrics.route(names::NO_ROUTE).unwrap(),
            metrics: Arc::clone(&metrics),
            access_log: None,
            keyring: Arc::clone(&keyring),
            clock: clock.clone(),
        };
        let live = Live::new(config, &metrics).unwrap();
        Arc::new(Gateway::new(keyring, Arc::new(LeaseGate::closed()), clock.clone(), live, telemetry, 1))
    }

    fn front(gateway: &Arc<Gateway>) -> Arc<Front> {
        let general = HttpProxy::new(General::new(Arc::clone(gateway)), Arc::default());
        Arc::new(Front::new(Arc::clone(gateway), Arc::new(general)))
    }

    /// The answer's first line; empty when the connection ends without one.
    fn ask(connection: &mut TcpStream) -> String {
        connection.write_all(b"HEAD / HTTP/1.1\r\nHost: api\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        let mut piece = [0; 4096];
        while !answer.windows(4).any(|w| w == b"\r\n\r\n") {
            match connection.read(&mut piece) {
                Ok(n) if n > 0 => answer.extend_from_slice(&piece[..n]),
                _ => return String::new(),
            }
        }
        String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
    }

    #[test]
    fn a_panic_costs_one_request_and_its_connection_only() {
        let config = crate::config::parse(CONFIG, Path::new("keygate.toml")).unwrap();
        let clock = Arc::new(Bomb(AtomicBool::new(false)));
        let gateway = gateway(&config, &clock);
        let data_plane = start(&config, &gateway, bind(&config.server.listen).unwrap()).unwrap();
        let connect = || TcpStream::connect(data_plane.addresses()[0]).unwrap();
        let (mut one, mut other) = (connect(), connect());
        assert_eq!((&*ask(&mut one), &*ask(&mut other)), ("HTTP/1.1 401 Unauthorized", "HTTP/1.1 401 Unauthorized"));
        clock.0.store(true, Ordering::SeqCst);
        assert_eq!(ask(&mut one), "");
        assert_eq!(ask(&mut other), "HTTP/1.1 401 Unauthorized");
        assert_eq!(ask(&mut connect()), "HTTP/1.1 401 Unauthorized");
        data_plane.end();
        assert_eq!(gateway.open_connections(), 0, "what a panic ends is counted as ended");
    }

    #[test]
    fn each_thread_has_as_many_connections_as_the_other_and_keeps_no_more_when_they_are_gone() {
        let config = crate::config::parse(CONFIG, Path::new("keygate.toml")).unwrap();
        let gateway = gateway(&config, &Arc::new(Bomb(AtomicBool::new(false))));
        let threads = NoStealRuntime::new(2, "test", BlockingPoolOpts::default(), RuntimeOpts::default());
        let handles = [0, 1].map(|thread| threads.get_runtime_at(thread).clone());
        let workers = Arc::new(Workers::new(&handles, &front(&gateway)));
        let socket = bind_one("127.0.0.1:0".parse().unwrap()).unwrap();
        socket.socket.listen(BACKLOG).unwrap();
        let listener = {
            let _thread = handles[0].enter();
            listen(socket.socket.into()).unwrap()
        };
        let (stop, stopped) = watch::channel(false);
        let errors = gateway.telemetry.metrics.accept_errors.clone();
        let accepting = handles[0].spawn(accept(listener, Arc::clone(&workers), errors, until(stopped)));
        let mut clients: Vec<_> = (0..10).map(|_| TcpStream::connect(socket.address).unwrap()).collect();
        for client in &mut clients {
            assert_eq!(ask(client), "HTTP/1.1 401 Unauthorized");
        }
        assert_eq!(workers.shares(), [5, 5]);
        drop(clients);
        while workers.shares() != [0, 0] {
            std::thread::yield_now();
        }
        // Connected before it stopped: it is served.
        let mut last = TcpStream::connect(socket.address).unwrap();
        stop.send_replace(true);
        assert_eq!(ask(&mut last), "HTTP/1.1 401 Unauthorized");
        handles[0].block_on(accepting).unwrap();
        assert!(TcpStream::connect(socket.address).is_err(), "nobody listens any more");
        threads.shutdown_timeout(END);
    }

    #[tokio::test]
    async fn a_connection_takes_little_memory() {
        let config = crate::config::parse(CONFIG, Path::new("keygate.toml")).unwrap();
        let gateway = gateway(&config, &Arc::new(Bomb(AtomicBool::new(false))));
        let front = front(&gateway);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, peer) = listener.accept().await.unwrap();
        let connection = front.serve(Box::new(Socket::new(socket)), peer.ip());
        // Most of what ten thousand idle connections hold is ten thousand of these.
        assert!(size_of_val(&connection) <= CONNECTION, "{}", size_of_val(&connection));
    }
}
