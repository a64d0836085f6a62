//! Upstreams: their servers, which of them are well, and which is next.
//!
//! Balancing (weighted round robin) and active health checks are pingora-load-balancing's.

use std::collections::BTreeSet;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use pingora_core::protocols::l4::socket::SocketAddr as PeerAddr;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_load_balancing::health_check::HttpHealthCheck;
use pingora_load_balancing::selection::RoundRobin;
use pingora_load_balancing::{Backend, Backends, LoadBalancer, discovery};

use crate::config::resolved;
use crate::proxy::authorize::Permit;

/// How many servers a choice looks at before it gives up: each at least once, whatever the weights.
const LOOK_AT: usize = 256;

/// One `[[upstream]]` in force.
pub struct Upstream {
    /// Its name.
    pub name: Box<str>,
    /// Position among all upstreams, for metric handles.
    pub index: usize,
    balancer: LoadBalancer<RoundRobin>,
    /// Few: looking through them is faster than hashing an address.
    peers: Vec<(SocketAddr, HttpPeer)>,
    health_interval: Option<Duration>,
}

/// Why an upstream cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// A server's name was not found.
    #[error("upstream {upstream:?}: the server {server:?} cannot be looked up: {source}")]
    Lookup {
        /// The upstream's name.
        upstream: String,
        /// As configured.
        server: String,
        /// What the resolver said.
        source: std::io::Error,
    },
    /// The health check's path is not one.
    #[error("upstream {upstream:?}: the health check's path is not valid: {reason}")]
    HealthPath {
        /// The upstream's name.
        upstream: String,
        /// What is wrong.
        reason: String,
    },
}

impl Upstream {
    /// From the configuration. Looks names up, so it must not be called where blocking matters.
    ///
    /// # Errors
    /// [`UpstreamError`] names upstream and server.
    pub fn new(index: usize, config: &resolved::Upstream) -> Result<Self, UpstreamError> {
        let mut peers: Vec<(SocketAddr, HttpPeer)> = Vec::new();
        let mut backends = BTreeSet::new();
        for server in &config.servers {
            for address in look_up(config, &server.address)? {
                // Two names may be one address.
                if !peers.iter().any(|(known, _)| *known == address) {
                    peers.push((address, peer(address, config)));
                }
                backends.insert(Backend {
                    addr: PeerAddr::Inet(address),
                    weight: server.weight,
                    ext: http::Extensions::new(),
                });
            }
        }
        let mut backends = Backends::new(discovery::Static::new(backends));
        if let Some(health) = &config.health {
            backends.set_health_check(health_check(config, health)?);
        }
        Ok(Self {
            name: config.name.as_str().into(),
            index,
            balancer: LoadBalancer::from_backends(backends),
            peers,
            health_interval: config.health.as_ref().map(|h| h.interval),
        })
    }

    /// Fills the balancer. Once, before the first choice.
    pub async fn prepare(&self) {
        if let Err(error) = self.balancer.update().await {
            tracing::error!(upstream = %self.name, %error, "servers could not be listed");
        }
    }

    /// Checks the servers' health, for ever; returns at once where no checks are configured.
    pub async fn watch_health(&self, observe: impl Fn(&Self)) {
        let Some(interval) = self.health_interval else { return };
        loop {
            self.balancer.backends().run_health_check(true).await;
            observe(self);
            tokio::time::sleep(interval).await;
        }
    }

    /// The servers and whether each is well.
    #[must_use]
    pub fn health(&self) -> Vec<(SocketAddr, bool)> {
        let backends = self.balancer.backends();
        let all = backends.get_backend();
        all.iter().filter_map(|b| Some((*b.addr.as_inet()?, backends.ready(b)))).collect()
    }

    /// The next server that is well, another than `not` if there is another. Demands the proof of admission.
    #[must_use]
    pub fn choose(&self, _: &Permit, not: Option<SocketAddr>) -> Option<HttpPeer> {
        if let [(_, only)] = &*self.peers
            && self.health_interval.is_none()
        {
            return Some(only.clone());
        }
        let is_other = |backend: &Backend, well: bool| well && backend.addr.as_inet().copied() != not;
        let backend = match not {
            Some(_) if self.peers.len() > 1 => {
                self.balancer.select_with(b"", LOOK_AT, is_other).or_else(|| self.balancer.select(b"", LOOK_AT))
            }
            _ => self.balancer.select(b"", LOOK_AT),
        }?;
        let address = backend.addr.as_inet()?;
        self.peers.iter().find(|(known, _)| known == address).map(|(_, peer)| peer.clone())
    }
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("name", &self.name).finish_non_exhaustive()
    }
}

/// All of the configuration's upstreams, in its order.
///
/// # Errors
/// [`UpstreamError`] of the first that cannot be made.
pub fn all(configs: &[resolved::Upstream]) -> Result<Vec<Arc<Upstream>>, UpstreamError> {
    configs.iter().enumerate().map(|(index, config)| Upstream::new(index, config).map(Arc::new)).collect()
}

fn look_up(config: &resolved::Upstream, server: &str) -> Result<Vec<SocketAddr>, UpstreamError> {
    let error = |source| UpstreamError::Lookup { upstream: config.name.clone(), server: server.to_owned(), source };
    let addresses: Vec<_> = server.to_socket_addrs().map_err(error)?.collect();
    if addresses.is_empty() {
        return Err(error(std::io::Error::other("it has no address")));
    }
    Ok(addresses)
}

fn peer(address: SocketAddr, config: &resolved::Upstream) -> HttpPeer {
    let mut peer = HttpPeer::new(address, false, String::new());
    peer.options.connection_timeout = Some(config.connect_timeout);
    peer.options.total_connection_timeout = Some(config.connect_timeout);
    peer.options.read_timeout = Some(config.read_timeout);
    peer.options.write_timeout = Some(config.write_timeout);
    peer.options.idle_timeout = Some(config.idle_timeout);
    peer
}

fn health_check(config: &resolved::Upstream, health: &resolved::Health) -> Result<Box<HttpHealthCheck>, UpstreamError> {
    let bad_path = |reason: String| UpstreamError::HealthPath { upstream: config.name.clone(), reason };
    let mut check = HttpHealthCheck::new(&config.name, false);
    check.req.set_uri(health.path.parse().map_err(|e: http::uri::InvalidUri| bad_path(e.to_string()))?);
    check.peer_template.options.connection_timeout = Some(health.timeout);
    check.peer_template.options.total_connection_timeout = Some(health.timeout);
    check.peer_template.options.read_timeout = Some(health.timeout);
    check.peer_template.options.write_timeout = Some(health.timeout);
    check.validator = Some(Box::new(|response| {
        if response.status.is_success() {
            return Ok(());
        }
        pingora_error::Error::e_explain(
            pingora_error::ErrorType::CustomCode("unhealthy", response.status.as_u16()),
            "the health check was answered with another status than 2xx",
        )
    }));
    Ok(Box::new(check))
}
