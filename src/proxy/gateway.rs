//! What every connection of the data plane shares: the authority to decide, and the configuration in force.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use ipnet::IpNet;

use crate::clock::Clock;
use crate::config::resolved::{Config, Limits};
use crate::exchange::Exchanges;
use crate::fleet::lease::LeaseGate;
use crate::keyring::Keyring;
use crate::metrics::series::RequestMetrics;
use crate::metrics::{Metrics, UpstreamMetrics, names};
use crate::proxy::authorize::Authority;
use crate::proxy::route::Routes;
use crate::proxy::telemetry::Telemetry;
use crate::proxy::token_exchange::TokenEndpoints;
use crate::proxy::upstream::{self, Upstream, UpstreamError};

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
    /// Where it is configured.
    pub token_endpoints: Option<TokenEndpoints>,
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
        let upstreams = upstream::all(&config.upstreams)?;
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
            token_endpoints: token_endpoints.transpose()?,
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
    /// Random, one a process: the first half of request ids.
    pub process_id: u64,
    /// What the token exchange remembers.
    pub exchanges: Exchanges,
    draining: AtomicBool,
    connections: AtomicUsize,
    connections_ever: AtomicU64,
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
            keyring,
            lease,
            clock,
            live: ArcSwap::from_pointee(live),
            telemetry,
            process_id,
            draining: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            connections_ever: AtomicU64::new(0),
        }
    }

    /// What decisions rest on.
    #[must_use]
    pub fn authority(&self, live: &Live) -> Authority<'_> {
        let takes_tokens = live.token_endpoints.is_some();
        Authority { keyring: &self.keyring, lease: &self.lease, clock: &*self.clock, takes_tokens }
    }

    /// From now on answers say that their connection is closed, where nothing more was read from it.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
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

    /// Counts a connection until the answer is dropped. Its number is never used again.
    pub fn connected(self: &Arc<Self>) -> Connected {
        self.telemetry.metrics.connections.inc();
        Connected {
            others: self.connections.fetch_add(1, Ordering::AcqRel),
            number: self.connections_ever.fetch_add(1, Ordering::Relaxed),
            gateway: Arc::clone(self),
        }
    }
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("connections", &self.open_connections()).finish_non_exhaustive()
    }
}

/// An open connection.
#[derive(Debug)]
pub struct Connected {
    /// How many others were open when it came.
    pub others: usize,
    /// Its number.
    pub number: u64,
    gateway: Arc<Gateway>,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.gateway.telemetry.metrics.connections.dec();
        self.gateway.connections.fetch_sub(1, Ordering::AcqRel);
    }
}
