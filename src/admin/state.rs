//! What every request of the admin plane is answered with: [`Admin`], shared by all, and what is known of the
//! connection that it came by.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

use super::problem::{Answer, Problem};
use crate::config::resolved;
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;
use crate::store::StoreError;
use crate::throttle::Throttle;

/// The state of the admin plane.
pub struct Admin {
    /// What changes keys, secrets and operators; its store, clock and random source are those of the plane.
    pub lifecycle: Lifecycle,
    /// `[admin]`.
    pub settings: resolved::Admin,
    /// Where people reach the page.
    pub origin: Origin,
    /// What else of the configuration is asked for.
    pub in_force: Arc<ArcSwap<InForce>>,
    /// Requests and logins are counted here.
    pub metrics: Arc<Metrics>,
    /// Who failed to log in too often.
    pub throttle: Throttle,
    long_reads: Arc<Semaphore>,
}

/// Of the configuration in force, what a reload may change and the plane asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InForce {
    /// The labels of the routes.
    pub route_labels: Vec<String>,
    /// What goes into bundles; `None`: there are none.
    pub token_exchange: Option<resolved::TokenExchange>,
}

impl InForce {
    /// That of a whole configuration.
    #[must_use]
    pub fn of(config: &resolved::Config) -> Self {
        Self {
            route_labels: config.routes.iter().map(resolved::Route::label).collect(),
            token_exchange: config.token_exchange.clone(),
        }
    }
}

/// Lists and counts that are read at a time: fewer than a store has connections for reading, or nobody else would be let
/// in meanwhile, and no node would learn of a change.
const LONG_READS: usize = 2;

impl Admin {
    /// The plane with nobody throttled.
    #[must_use]
    pub fn new(
        lifecycle: Lifecycle,
        settings: resolved::Admin,
        origin: Origin,
        in_force: Arc<ArcSwap<InForce>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (throttle, long_reads) = (Throttle::default(), Arc::new(Semaphore::new(LONG_READS)));
        Self { lifecycle, settings, origin, in_force, metrics, throttle, long_reads }
    }

    /// Reads what may take long: a list that is searched, a count. Others wait meanwhile, also when whoever asked has
    /// gone, since the store goes on reading.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn read_long<T: Send + 'static>(
        &self,
        reading: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Answer<T> {
        // The semaphore is never closed; were it, reading would only lose its limit.
        let permit = Arc::clone(&self.long_reads).acquire_owned().await.ok();
        let read = tokio::spawn(async move {
            let read = reading.await;
            drop(permit);
            read
        });
        Ok(read.await.map_err(|_| Problem::internal())??)
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// Scheme and authority of the page: what links begin with. Prints as `http://127.0.0.1:8081`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// That of a listener at this address. One on every address is reached at the loopback one.
    #[must_use]
    pub fn of(listen: SocketAddr, has_tls: bool) -> Self {
        let ip = match listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let scheme = if has_tls { "https" } else { "http" };
        Self(format!("{scheme}://{}", SocketAddr::new(ip, listen.port())))
    }

    /// The address of the page that logs in with this token. In the fragment, which browsers send nowhere.
    #[must_use]
    pub fn login_link(&self, token: &str) -> String {
        format!("{self}/#login={token}")
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a request came; an extension of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The client's address.
    pub peer: IpAddr,
    /// Our address that it connected to.
    pub local: IpAddr,
    /// Did it come by TLS?
    pub has_tls: bool,
}

impl Connection {
    /// Between these two. IPv4 addresses that are written as IPv6 ones become what they are.
    #[must_use]
    pub fn new(peer: SocketAddr, local: SocketAddr, has_tls: bool) -> Self {
        Self { peer: peer.ip().to_canonical(), local: local.ip().to_canonical(), has_tls }
    }

    /// The scheme of the request's own origin.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.has_tls { "https" } else { "http" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_name_an_address_that_can_be_reached() {
        for (listen, tls, origin) in [
            ("127.0.0.1:8081", false, "http://127.0.0.1:8081"),
            ("0.0.0.0:1", true, "https://127.0.0.1:1"),
            ("[::]:2", false, "http://[::1]:2"),
            ("192.0.2.7:3", false, "http://192.0.2.7:3"),
        ] {
            let made = Origin::of(listen.parse().unwrap(), tls);
            assert_eq!(made.to_string(), origin);
            assert_eq!(made.login_link("t"), format!("{origin}/#login=t"));
        }
    }

    #[test]
    fn mapped_addresses_are_what_they_mean() {
        let both = "[::ffff:192.0.2.7]:1".parse().unwrap();
        let connection = Connection::new(both, both, true);
        assert_eq!((connection.peer, connection.local), ("192.0.2.7".parse().unwrap(), "192.0.2.7".parse().unwrap()));
        assert_eq!(connection.scheme(), "https");
    }
}
