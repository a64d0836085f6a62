//! The data plane's sockets and threads: pingora's listening service on pingora's runtime, without its `Server`.
//!
//! We bind ourselves, so that a busy port is an error with a name, and listen when everything is ready; we end it
//! ourselves, when nothing is in flight.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::os::fd::IntoRawFd as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use pingora_core::listeners::ListenerConfig;
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
use crate::proxy::gateway::Gateway;
use crate::proxy::general::{ATTEMPTS, General};

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
    let threads =
        config.server.threads.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let conf = Arc::new(ServerConf {
        threads,
        upstream_keepalive_pool_size: config.upstreams.iter().map(|u| u.pool_size).sum::<usize>().max(1),
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
        service.add_listener(ListenerConfig::tcp(address.to_string()));
        fds.add(address.to_string(), socket.into_raw_fd());
        addresses.push(address);
    }
    let fds: ListenFds = Arc::new(parking_lot::Mutex::new(fds));
    let (shutdown, watch) = watch::channel(false);
    let runtime = Runtime::new_no_steal(threads, "data-plane");
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
