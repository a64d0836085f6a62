//! The data plane's sockets and threads: pingora's listening service on pingora's runtime, without its `Server`.
//!
//! We bind ourselves, so that a busy port is an error with a name, and listen when everything is ready; we end it
//! ourselves, when nothing is in flight.

use std::net::SocketAddr;
use std::os::fd::IntoRawFd as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use pingora_core::listeners::{L4BufferSettings, ListenerConfig};
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{Fds, ListenFds};
use pingora_core::services::Service as _;
use pingora_core::services::listening::Service;
use pingora_proxy::HttpProxy;
use pingora_runtime::Runtime;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::watch;

use crate::config::resolved::Config;
use crate::proxy::connection::Front;
use crate::proxy::gateway::{self, Gateway};
use crate::proxy::general::{ATTEMPTS, General};
use crate::proxy::keep;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 4096;
/// For pingora's threads to let go of what they were doing, after everything was answered.
const END: Duration = Duration::from_secs(1);

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
    socket.bind(&address.into())?;
    let address = socket.local_addr()?.as_socket().unwrap_or(address);
    Ok(Bound { socket, address })
}

/// The running data plane.
pub(super) struct DataPlane {
    runtime: Runtime,
    shutdown: watch::Sender<bool>,
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
    let mut service = Service::new("data plane".to_owned(), Front::new(Arc::clone(gateway), Arc::new(general)));
    let mut fds = Fds::new();
    let mut addresses = Vec::with_capacity(sockets.len());
    for Bound { socket, address } in sockets {
        socket.listen(BACKLOG).with_context(|| format!("cannot listen on {address}"))?;
        // Under its name, pingora finds the socket instead of binding one.
        // Both lanes bring buffers of their own; pingora's would take 64 KiB of each idle connection.
        service.add_listener(ListenerConfig::tcp(address.to_string()).l4_buffer(L4BufferSettings::unbuffered()));
        fds.add(address.to_string(), socket.into_raw_fd());
        addresses.push(address);
    }
    let fds: ListenFds = Arc::new(parking_lot::Mutex::new(fds));
    let (shutdown, watch) = watch::channel(false);
    let runtime = Runtime::new_no_steal(threads, "data-plane");
    if let Runtime::NoSteal(pools) = &runtime {
        for thread in 0..threads {
            pools.get_runtime_at(thread).spawn(keep::house(Arc::clone(gateway)));
        }
    }
    runtime.get_handle().spawn(async move { service.start_service(Some(fds), watch, 1).await });
    Ok(DataPlane { runtime, shutdown, addresses })
}

impl DataPlane {
    /// The real addresses.
    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Closes the listeners and idle connections; requests go on.
    pub(super) fn stop_accepting(&self) {
        self.shutdown.send_replace(true);
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

    use super::*;
    use crate::clock::{BootTime, Clock, SystemClock, WallTime};
    use crate::entropy::SystemEntropy;
    use crate::fleet::lease::LeaseGate;
    use crate::keyring::Keyring;
    use crate::metrics::{Metrics, Registry, names};
    use crate::proxy::gateway::Live;
    use crate::proxy::reject::Rejection;
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
}
