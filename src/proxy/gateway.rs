//! What every connection of the data plane shares: the authority to decide, the configuration in force, and the count
//! of connections, in all and by address.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::config::resolved::{Config, Limits, Server};
use crate::exchange::Exchanges;
use crate::fleet::lease::LeaseGate;
use crate::keyring::Keyring;
use crate::metrics::series::RequestMetrics;
use crate::metrics::{Metrics, UpstreamMetrics, names};
use crate::proxy::authorize::Authority;
use crate::proxy::express::thread;
use crate::proxy::open::{Open, Place};
use crate::proxy::request_id::RequestIds;
use crate::proxy::route::Routes;
use crate::proxy::telemetry::Telemetry;
use crate::proxy::token_exchange::TokenEndpoints;
use crate::proxy::upstream::{self, Upstream, UpstreamError};

/// Connections that are told at a time that there are too many: each may take two seconds of its client's time.
const FAREWELLS: usize = 512;

/// Threads that serve requests.
#[must_use]
pub fn threads(server: &Server) -> usize {
    server.threads.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get)
}

/// What a reload replaces, whole.
#[derive(Debug)]
pub struct Live {
    /// Where requests go.
    pub routes: Routes,
    /// In the configuration's order.
    pub upstreams: Vec<Arc<Upstream>>,
    /// Whose `X-Forwarded-*` counts.
    pub trusted_proxies: Vec<IpNet>,
    /// Sizes and deadlines.
    pub limits: Limits,
    /// By [`crate::proxy::route::Route::index`].
    pub route_metrics: Vec<Arc<RequestMetrics>>,
    /// By [`Upstream::index`].
    pub upstream_metrics: Vec<Arc<UpstreamMetrics>>,
    /// Plain requests take the express lane.
    pub express_lane: bool,
    /// Where it is configured.
    pub token_endpoints: Option<TokenEndpoints>,
    /// Threads that serve requests; no reload changes it.
    pub threads: usize,
}

/// Why a configuration cannot be put in force.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// An upstream cannot be made.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// A name cannot be a label.
    #[error("metrics cannot be made: {0}")]
    Metrics(#[from] crate::metrics::registry::MetricsError),
}

impl Live {
    /// From a checked configuration. Looks up server names: not for a runtime's worker threads.
    ///
    /// # Errors
    /// [`LiveError`].
    pub fn new(config: &Config, metrics: &Metrics) -> Result<Self, LiveError> {
        Self::after(None, config, metrics)
    }

    /// The same, in the place of what was in force before: upstreams that did not change keep their connections.
    ///
    /// # Errors
    /// [`LiveError`].
    pub fn after(before: Option<&Self>, config: &Config, metrics: &Metrics) -> Result<Self, LiveError> {
        let before = before.map_or(&[][..], |before| &before.upstreams);
        let threads = threads(&config.server);
        let upstreams = upstream::all(&config.upstreams, threads, before)?;
        let route_metrics: Result<_, _> = config.routes.iter().map(|r| metrics.route(&r.label())).collect();
        let token_endpoints = config.token_exchange.clone().map(|settings| {
            let metrics = metrics.route(names::TOKEN_EXCHANGE)?;
            Ok::<_, LiveError>(TokenEndpoints { settings, metrics })
        });
        let upstream_metrics: Result<_, _> = config.upstreams.iter().map(|u| metrics.upstream(&u.name)).collect();
        Ok(Self {
            routes: Routes::new(&config.routes, &upstreams),
            upstreams,
            trusted_proxies: config.server.trusted_proxies.clone(),
            limits: config.server.limits.clone(),
            route_metrics: route_metrics?,
            upstream_metrics: upstream_metrics?,
            express_lane: config.server.express_lane,
            token_endpoints: token_endpoints.transpose()?,
            threads,
        })
    }

    /// Is this address that of a trusted proxy?
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(&address))
    }
}

/// See the module's text.
pub struct Gateway {
    /// All keys.
    pub keyring: Arc<Keyring>,
    /// Whether this node may decide.
    pub lease: Arc<LeaseGate>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// The configuration in force.
    pub live: ArcSwap<Live>,
    /// Counters and log.
    pub telemetry: Telemetry,
    /// Of this process.
    pub request_ids: RequestIds,
    /// What the token exchange remembers.
    pub exchanges: Exchanges,
    /// Who has to be woken when authority was taken away.
    pub open: Open,
    draining: AtomicBool,
    /// Nothing goes on any more.
    cuts_all: AtomicBool,
    connections: AtomicUsize,
    farewells: AtomicUsize,
    connections_ever: AtomicU64,
    addresses: Addresses,
}

impl Gateway {
    /// With this configuration in force.
    #[must_use]
    pub fn new(
        keyring: Arc<Keyring>,
        lease: Arc<LeaseGate>,
        clock: Arc<dyn Clock>,
        live: Live,
        telemetry: Telemetry,
        process_id: u64,
    ) -> Self {
        let exchanges = Exchanges::new(Arc::clone(&keyring), Arc::clone(&lease), Arc::clone(&clock));
        Self {
            exchanges,
            open: Open::new(live.threads),
            keyring,
            lease,
            clock,
            live: ArcSwap::from_pointee(live),
            telemetry,
            request_ids: RequestIds::new(process_id),
            draining: AtomicBool::new(false),
            cuts_all: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            farewells: AtomicUsize::new(0),
            connections_ever: AtomicU64::new(0),
            addresses: Addresses::default(),
        }
    }

    /// What decisions rest on.
    #[must_use]
    pub fn authority(&self, live: &Live) -> Authority<'_> {
        let takes_tokens = live.token_endpoints.is_some();
        let news = self.open.news();
        Authority { keyring: &self.keyring, lease: &self.lease, clock: &*self.clock, takes_tokens, news }
    }

    /// From now on answers say that their connection is closed, where nothing more was read from it; and connections
    /// that wait for a request are closed.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        // With the fence in `Front::serve`: a connection that cannot be woken yet will see it before it waits.
        fence(Ordering::SeqCst);
        self.open.wake_all();
    }

    /// Ends what goes on, whatever its permit says; once more for what began meanwhile.
    pub fn cut_all(&self) {
        self.cuts_all.store(true, Ordering::SeqCst);
        self.open.tell();
        self.open.wake_all();
    }

    /// Does nothing go on any more?
    #[must_use]
    pub fn cuts_all(&self) -> bool {
        self.cuts_all.load(Ordering::Acquire)
    }

    /// Is the gateway stopping?
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Connections that are open.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }

    /// Counts a connection of this peer until the answer is dropped. Called on the thread that has it.
    pub fn connected(self: &Arc<Self>, peer: IpAddr) -> Connected {
        self.telemetry.metrics.connections.inc();
        let live = self.live.load();
        // A trusted proxy has the connections of many.
        let network = (!live.trusts(peer)).then(|| network(peer));
        let (number, thread) = (self.connections_ever.fetch_add(1, Ordering::Relaxed), thread::index());
        Connected {
            welcome: self.welcome(&live.limits, network),
            number,
            place: self.open.enter(thread, number),
            thread,
            network,
            gateway: Arc::clone(self),
        }
    }

    /// Who is refused takes nobody's place: a flood from one address leaves that of the others alone.
    fn welcome(&self, limits: &Limits, network: Option<IpAddr>) -> Welcome {
        let others = self.connections.fetch_add(1, Ordering::AcqRel);
        let of_network = network.map_or(0, |network| self.addresses.add(network));
        if others < limits.max_connections && of_network < limits.max_connections_per_address {
            return Welcome::Served;
        }
        self.leaves(network);
        let is_told = self.farewells.fetch_add(1, Ordering::AcqRel) < FAREWELLS;
        if is_told { Welcome::Refused } else { Welcome::Ignored }
    }

    fn leaves(&self, network: Option<IpAddr>) {
        if let Some(network) = network {
            self.addresses.remove(network);
        }
        self.connections.fetch_sub(1, Ordering::AcqRel);
    }
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("connections", &self.open_connections()).finish_non_exhaustive()
    }
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Welcome {
    /// It is served.
    Served,
    /// There are as many as may be, in all or from its address: it is told so, and closed.
    Refused,
    /// Too many are being told: it is closed at once.
    Ignored,
}

/// An open connection.
#[derive(Debug)]
pub struct Connected {
    /// Whether it is served.
    pub welcome: Welcome,
    /// Its number, which is never used again.
    pub number: u64,
    /// Where it is woken and cut.
    pub place: Arc<Place>,
    thread: usize,
    network: Option<IpAddr>,
    gateway: Arc<Gateway>,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.gateway.open.leave(self.thread, self.number);
        self.gateway.telemetry.metrics.connections.dec();
        if self.welcome == Welcome::Served {
            self.gateway.leaves(self.network);
        } else {
            self.gateway.farewells.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Open connections by address. In parts, so that connections that come at the same moment rarely wait for each other.
#[derive(Default)]
struct Addresses {
    parts: [Mutex<HashMap<IpAddr, usize>>; 16],
    hash: RandomState,
}

impl Addresses {
    /// One more; answers how many there were.
    fn add(&self, network: IpAddr) -> usize {
        let mut part = self.part(network).lock();
        let count = part.entry(network).or_default();
        *count += 1;
        *count - 1
    }

    /// One less.
    fn remove(&self, network: IpAddr) {
        let mut part = self.part(network).lock();
        if let Some(count) = part.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                part.remove(&network);
            }
        }
    }

    fn part(&self, network: IpAddr) -> &Mutex<HashMap<IpAddr, usize>> {
        // Four bits: below sixteen.
        &self.parts[usize::from(self.hash.hash_one(network).to_le_bytes()[0] & 15)]
    }
}

/// Whom connections are counted for: an IPv4 address; of an IPv6 address the first 64 bits, since one host has as many
/// addresses behind these as it likes (RFC 4291, section 2.5.4).
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_for_an_address_or_for_64_bits_of_one() {
        let addresses = Addresses::default();
        let one = |text: &str| network(text.parse().unwrap());
        for (peer, before) in [
            ("192.0.2.1", 0),
            ("192.0.2.2", 0),
            ("192.0.2.1", 1),
            ("::ffff:192.0.2.1", 2),
            ("2001:db8::1", 0),
            ("2001:db8::ffff:2", 1),
            ("2001:db8:0:1::1", 0),
        ] {
            assert_eq!(addresses.add(one(peer)), before, "{peer}");
        }
        addresses.remove(one("192.0.2.1"));
        assert_eq!(addresses.add(one("192.0.2.1")), 2);
        for peer in ["2001:db8::2", "2001:db8::3"] {
            addresses.remove(one(peer));
        }
        assert_eq!(addresses.add(one("2001:db8::9")), 0);
        assert_eq!(addresses.parts.iter().map(|part| part.lock().len()).sum::<usize>(), 4);
    }
}
