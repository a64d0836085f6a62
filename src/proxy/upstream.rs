//! Upstreams: their servers, which of them are well, which is next, and the connections to them that are kept.
//!
//! Active health checks are pingora-load-balancing's; choosing is ours, since every request does it: it allocates nothing
//! and takes no lock. Both lanes choose here, so weights and turns hold for all requests together.

use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use pingora_core::connectors::L4Connect;
use pingora_core::protocols::Stream;
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddr;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_load_balancing::health_check::HttpHealthCheck;
use pingora_load_balancing::{Backend, Backends, discovery};

use crate::config::resolved;
use crate::proxy::authorize::Permit;
use crate::proxy::express::pool::Pool;
use crate::proxy::socket::Socket;

/// One `[[upstream]]` in force.
pub struct Upstream {
    /// Its name.
    pub name: Box<str>,
    /// Position among all upstreams, for metric handles.
    pub index: usize,
    servers: Box<[Server]>,
    /// One round of turns: positions in `servers`, each as often as its weight says, and spread out.
    order: Box<[u16]>,
    /// Turns that were taken.
    turns: AtomicUsize,
    /// For the health checks alone.
    backends: Backends,
    health_interval: Option<Duration>,
    pool: Arc<Pool>,
    /// What the kept connections were made for.
    config: resolved::Upstream,
}

/// One server of an upstream.
#[derive(Debug)]
pub struct Server {
    /// Its address.
    pub address: SocketAddr,
    /// The same, as in logs and metrics.
    pub label: Box<str>,
    /// How it is connected to.
    pub peer: HttpPeer,
    /// What the last health check said.
    well: AtomicBool,
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
    /// From the configuration, for so many threads. Looks names up, so it must not be called where blocking matters.
    ///
    /// # Errors
    /// [`UpstreamError`] names upstream and server.
    pub fn new(index: usize, config: &resolved::Upstream, threads: usize) -> Result<Self, UpstreamError> {
        let mut servers: Vec<Server> = Vec::new();
        let mut weights: Vec<usize> = Vec::new();
        for server in &config.servers {
            for address in look_up(config, &server.address)? {
                // Two names may be one address, which then gets what both would get.
                if let Some(known) = servers.iter().position(|known| known.address == address) {
                    weights.iter_mut().skip(known).take(1).for_each(|weight| *weight += server.weight);
                    continue;
                }
                servers.push(Server {
                    address,
                    label: address.to_string().into(),
                    peer: peer(address, config),
                    well: AtomicBool::new(true),
                });
                weights.push(server.weight);
            }
        }
        let backends: BTreeSet<_> = servers.iter().map(Server::backend).collect();
        let mut backends = Backends::new(discovery::Static::new(backends));
        if let Some(health) = &config.health {
            backends.set_health_check(health_check(config, health)?);
        }
        Ok(Self {
            name: config.name.as_str().into(),
            index,
            pool: Arc::new(Pool::new(threads, servers.len(), config.pool_size)),
            servers: servers.into(),
            order: turns(&weights),
            turns: AtomicUsize::new(0),
            backends,
            health_interval: config.health.as_ref().map(|h| h.interval),
            config: config.clone(),
        })
    }

    /// Goes on with the connections that were kept for the same upstream before a reload, if it is quite the same.
    pub(crate) fn keep_pool_of(&mut self, before: &Self) {
        let addresses = |upstream: &Self| upstream.servers.iter().map(|server| server.address).collect::<Vec<_>>();
        if self.config == before.config && addresses(self) == addresses(before) {
            self.pool = Arc::clone(&before.pool);
        }
    }

    /// Reaches its servers in another way than over TCP: for what stands in for them in the same process (fuzzing).
    pub fn connect_through(&mut self, way: &Arc<dyn L4Connect + Send + Sync>) {
        for server in &mut self.servers {
            server.peer.options.custom_l4 = Some(Arc::clone(way));
        }
    }

    /// Fills in what the health checks look at. Once, before they begin.
    pub async fn prepare(&self) {
        if let Err(error) = self.backends.update(|_| {}).await {
            tracing::error!(upstream = %self.name, %error, "servers could not be listed");
        }
    }

    /// Checks the servers' health, for ever; returns at once where no checks are configured.
    pub async fn watch_health(&self, observe: impl Fn(&Self)) {
        let Some(interval) = self.health_interval else { return };
        loop {
            self.backends.run_health_check(true).await;
            for server in &self.servers {
                server.well.store(self.backends.ready(&server.backend()), Ordering::Relaxed);
            }
            observe(self);
            tokio::time::sleep(interval).await;
        }
    }

    /// The servers and whether each is well.
    #[must_use]
    pub fn health(&self) -> Vec<(SocketAddr, bool)> {
        self.servers.iter().map(|server| (server.address, server.is_well())).collect()
    }

    /// The next server that is well, another than `not` if there is another: its position. Demands the proof of
    /// admission. **HOT**
    #[must_use]
    pub fn choose(&self, _: &Permit, not: Option<usize>) -> Option<usize> {
        self.next(not)
    }

    fn next(&self, not: Option<usize>) -> Option<usize> {
        let is_well = |at: &usize| self.servers.get(*at).is_some_and(Server::is_well);
        if let [only] = &*self.servers {
            return only.is_well().then_some(0);
        }
        let from = self.turns.fetch_add(1, Ordering::Relaxed).checked_rem(self.order.len())?;
        let (before, after) = self.order.split_at_checked(from)?;
        let mut others = after.iter().chain(before).map(|at| usize::from(*at)).filter(|at| Some(*at) != not);
        others.find(is_well).or_else(|| not.filter(is_well))
    }

    /// The server at a position that [`Self::choose`] gave.
    ///
    /// # Panics
    /// At any other position.
    #[must_use]
    pub fn server(&self, at: usize) -> &Server {
        // `choose` gives positions of servers that are there, and none ever goes.
        &self.servers[at]
    }

    /// Connects to the server at such a position.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`], or why there is no connection.
    pub(crate) async fn connect(&self, at: usize) -> io::Result<Stream> {
        let server = self.server(at);
        if let Some(way) = &server.peer.options.custom_l4 {
            return Ok(Box::new(way.connect(&PeerAddr::Inet(server.address)).await.map_err(io::Error::other)?));
        }
        Ok(Box::new(Socket::connect(server.address, self.config.connect_timeout).await?))
    }

    /// Connections that nobody uses at the moment; servers have the same positions there.
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// How long an answer is waited for.
    pub(crate) fn read_timeout(&self) -> Duration {
        self.config.read_timeout
    }

    /// How long a connection is kept that nobody uses.
    pub(crate) fn idle_timeout(&self) -> Duration {
        self.config.idle_timeout
    }
}

impl Server {
    fn is_well(&self) -> bool {
        self.well.load(Ordering::Relaxed)
    }

    /// As the health checks know it.
    fn backend(&self) -> Backend {
        Backend { addr: PeerAddr::Inet(self.address), weight: 1, ext: http::Extensions::new() }
    }
}

/// One round of smooth weighted turns: in it, a server comes as often as its weight says, and as evenly as can be
/// (nginx's algorithm: each gains its weight at every turn, the richest is next and pays what all gained).
fn turns(weights: &[usize]) -> Box<[u16]> {
    let divisor = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
    let weights: Vec<i64> =
        weights.iter().map(|weight| i64::try_from(weight / divisor).unwrap_or(1)).take(usize::from(u16::MAX)).collect();
    let all: i64 = weights.iter().sum();
    let mut gained = vec![0; weights.len()];
    let mut order = Vec::new();
    for _ in 0..all {
        gained.iter_mut().zip(&weights).for_each(|(gained, weight)| *gained += weight);
        // Of several that are as rich, the first.
        let richest = gained.iter_mut().enumerate().rev().max_by_key(|(_, gained)| **gained);
        let Some((at, gained)) = richest else { break };
        *gained -= all;
        order.extend(u16::try_from(at));
    }
    order.into()
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("name", &self.name).finish_non_exhaustive()
    }
}

/// All of the configuration's upstreams, in its order. Those that were there `before` go on with their connections.
///
/// # Errors
/// [`UpstreamError`] of the first that cannot be made.
pub(crate) fn all(
    configs: &[resolved::Upstream],
    threads: usize,
    before: &[Arc<Upstream>],
) -> Result<Vec<Arc<Upstream>>, UpstreamError> {
    let mut all = Vec::with_capacity(configs.len());
    for (index, config) in configs.iter().enumerate() {
        let mut upstream = Upstream::new(index, config, threads)?;
        if let Some(before) = before.iter().find(|before| before.name == upstream.name) {
            upstream.keep_pool_of(before);
        }
        all.push(Arc::new(upstream));
    }
    Ok(all)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(servers: &[(&str, usize)]) -> Upstream {
        let second = Duration::from_secs(1);
        let config = resolved::Upstream {
            name: "api".to_owned(),
            servers: servers
                .iter()
                .map(|(address, weight)| resolved::UpstreamServer { address: (*address).to_owned(), weight: *weight })
                .collect(),
            connect_timeout: second,
            read_timeout: second,
            write_timeout: second,
            idle_timeout: second,
            pool_size: 4,
            health: None,
        };
        Upstream::new(0, &config, 1).unwrap()
    }

    fn well(upstream: &Upstream, at: usize, well: bool) {
        upstream.servers[at].well.store(well, Ordering::Relaxed);
    }

    #[test]
    fn turns_follow_the_weights_and_are_spread_out() {
        for (weights, order) in [
            (&[1][..], &[0][..]),
            (&[7, 7], &[0, 1]),
            (&[5, 1, 1], &[0, 0, 1, 0, 2, 0, 0]),
            (&[4, 2], &[0, 1, 0]),
            (&[], &[]),
        ] {
            assert_eq!(&*turns(weights), order, "{weights:?}");
        }
        assert_eq!(turns(&[256, 255]).len(), 511);
    }

    #[test]
    fn servers_are_chosen_in_their_turns_and_the_others_stand_in_for_one_that_is_down() {
        let api = upstream(&[("127.0.0.1:1", 2), ("127.0.0.1:2", 1)]);
        let next = |n: usize| (0..n).map(|_| api.next(None).unwrap()).collect::<Vec<_>>();
        assert_eq!(next(6), [0, 1, 0, 0, 1, 0]);
        well(&api, 0, false);
        assert_eq!(next(3), [1, 1, 1]);
        well(&api, 1, false);
        assert_eq!(api.next(None), None);
        assert_eq!(&*api.server(1).label, "127.0.0.1:2");
    }

    #[test]
    fn a_retry_goes_to_another_server_if_there_is_one_that_is_well() {
        let api = upstream(&[("127.0.0.1:1", 1), ("127.0.0.1:2", 1)]);
        assert!((0..10).all(|_| api.next(Some(0)) == Some(1)));
        well(&api, 1, false);
        assert_eq!(api.next(Some(0)), Some(0), "better than none");
        assert_eq!(upstream(&[("127.0.0.1:1", 1)]).next(Some(0)), Some(0));
    }

    #[test]
    fn one_address_under_two_names_is_one_server_with_both_shares() {
        let api = upstream(&[("127.0.0.1:1", 1), ("127.0.0.1:2", 1), ("127.0.0.1:1", 2)]);
        assert_eq!(api.health().len(), 2);
        assert_eq!((0..4).filter(|_| api.next(None) == Some(0)).count(), 3);
    }

    #[test]
    fn kept_connections_outlive_a_reload_that_changes_nothing_of_their_upstream() {
        let before = upstream(&[("127.0.0.1:1", 1)]);
        for (servers, keeps) in [(&[("127.0.0.1:1", 1)][..], true), (&[("127.0.0.1:2", 1)], false)] {
            let mut after = upstream(servers);
            after.keep_pool_of(&before);
            assert_eq!(Arc::ptr_eq(&after.pool, &before.pool), keeps);
        }
    }
}
