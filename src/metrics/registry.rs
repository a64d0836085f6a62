//! [`Metrics`]: one handle for every figure of the process, registered once. What is per route, upstream or server
//! is in `series`. No figure is computed here; whoever owns a fact sets its gauge. Made by `app`, shared by all.

use std::time::Duration;

use pingora_prometheus::prometheus::core::Collector;
use pingora_prometheus::prometheus::{
    self, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
};

use super::names::{self, Family};
use super::process::ProcessFigures;
use super::series::{Live, RequestMetrics, ServerHealth, UpstreamMetrics};
use super::{
    Alarm, CutReason, ExchangeOutcome, LaneReason, LoginOutcome, MethodClass, ReloadResult, StatusClass, StoreOperation,
};
use crate::credential::{KeyState, Role};

/// Why metrics could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// A name or label is not allowed, or already taken in this registry.
    #[error("metrics could not be registered: {0}")]
    Register(#[from] prometheus::Error),
}

/// The result of making a handle.
pub type Result<T> = std::result::Result<T, MetricsError>;

/// The registry that pingora's own metrics would be in too.
#[must_use]
pub fn default_registry() -> Registry {
    prometheus::default_registry().clone()
}

/// States of API keys that are counted; tombstones are not.
const COUNTED: [KeyState; 2] = [KeyState::Active, KeyState::Disabled];
const ROLES: [Role; 2] = [Role::ReadOnly, Role::Admin];

/// The handles. Incrementing or setting one is an atomic operation or two: no look-up, no allocation.
#[derive(Debug)]
pub struct Metrics {
    /// Open client connections; hold with [`Held`].
    pub connections: IntGauge,
    /// Connections that could not be accepted.
    pub accept_errors: IntCounter,
    /// Requests whose response is not complete; hold with [`Held`].
    pub requests_in_flight: IntGauge,
    /// Version of the current shared secret.
    pub shared_secret_version: IntGauge,
    /// Revision that this node has applied.
    pub keyring_revision: IntGauge,
    /// Seconds that the lease still lasts; 0 when there is none.
    pub lease_remaining: Gauge,
    /// Keys whose last login is not yet written.
    pub usage_pending: IntGauge,
    /// Seconds since last logins were last written or found to need no writing.
    pub usage_flush_lag: Gauge,
    /// Flushes that failed.
    pub usage_flush_failures: IntCounter,
    /// Last logins given up.
    pub usage_dropped: IntCounter,
    /// Entries of the access log that were dropped.
    pub access_log_dropped: IntCounter,
    /// Panics that were caught.
    pub panics: IntCounter,
    revocation: Histogram,
    api_keys: Vec<(Role, KeyState, IntGauge)>,
    refusals: Box<[IntCounter]>,
    reloads: Box<[IntCounter]>,
    store_errors: Box<[IntCounter]>,
    alarms: Box<[IntCounter]>,
    admin_requests: IntCounterVec,
    admin_logins: Box<[IntCounter]>,
    exchanges: Box<[IntCounter]>,
    lanes: Box<[IntCounter]>,
    cuts: Box<[IntCounter]>,
    routes: Live<String, RequestMetrics>,
    upstreams: Live<String, UpstreamMetrics>,
    servers: Live<(String, String), ServerHealth>,
}

impl Metrics {
    /// Registers everything. `refusal_reasons` are the values of `reason`, in the order of the indices that
    /// [`Self::refused`] is called with.
    ///
    /// # Errors
    /// A name is taken: this was called before with the same registry.
    pub fn new(registry: &Registry, refusal_reasons: &[&'static str]) -> Result<Self> {
        let build = gauge_vec(registry, &names::BUILD_INFO)?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        registered(registry, ProcessFigures::new()?)?;
        let keys = gauge_vec(registry, &names::API_KEYS)?;
        let api_keys = ROLES
            .iter()
            .flat_map(|role| COUNTED.iter().map(move |state| (*role, *state)))
            .map(|(role, state)| (role, state, keys.with_label_values(&[role.as_str(), state.as_str()])))
            .collect();
        Ok(Self {
            connections: gauge(registry, &names::CONNECTIONS)?,
            accept_errors: counter(registry, &names::ACCEPT_ERRORS)?,
            requests_in_flight: gauge(registry, &names::REQUESTS_IN_FLIGHT)?,
            shared_secret_version: gauge(registry, &names::SHARED_SECRET_VERSION)?,
            keyring_revision: gauge(registry, &names::KEYRING_REVISION)?,
            lease_remaining: seconds(registry, &names::LEASE_REMAINING)?,
            usage_pending: gauge(registry, &names::USAGE_PENDING)?,
            usage_flush_lag: seconds(registry, &names::USAGE_FLUSH_LAG)?,
            usage_flush_failures: counter(registry, &names::USAGE_FLUSH_FAILURES)?,
            usage_dropped: counter(registry, &names::USAGE_DROPPED)?,
            access_log_dropped: counter(registry, &names::ACCESS_LOG_DROPPED)?,
            panics: counter(registry, &names::PANICS)?,
            revocation: histogram(registry, &names::REVOCATION_DURATION, names::REVOCATION_BUCKETS)?,
            api_keys,
            refusals: counters(registry, &names::REFUSALS, refusal_reasons.iter().copied())?,
            reloads: counters(registry, &names::CONFIG_RELOADS, ReloadResult::ALL.iter().map(|r| r.as_str()))?,
            store_errors: counters(registry, &names::STORE_ERRORS, StoreOperation::ALL.iter().map(|o| o.as_str()))?,
            alarms: counters(registry, &names::ALARMS, Alarm::ALL.iter().map(|a| a.as_str()))?,
            admin_requests: registered(
                registry,
                IntCounterVec::new(names::ADMIN_REQUESTS.opts(), names::ADMIN_REQUESTS.labels)?,
            )?,
            admin_logins: counters(registry, &names::ADMIN_LOGINS, LoginOutcome::ALL.iter().map(|o| o.as_str()))?,
            exchanges: counters(registry, &names::TOKEN_EXCHANGES, ExchangeOutcome::ALL.iter().map(|o| o.as_str()))?,
            lanes: lanes(registry)?,
            cuts: counters(registry, &names::CUTS, CutReason::ALL.iter().map(|c| c.as_str()))?,
            routes: registered(registry, Live::new(&[names::REQUESTS, names::REQUEST_DURATION])?)?,
            upstreams: registered(
                registry,
                Live::new(&[
                    names::UPSTREAM_DURATION,
                    names::UPSTREAM_FAILURES,
                    names::UPSTREAM_RETRIES,
                    names::UPSTREAM_CONNECTS,
                    names::UPSTREAM_IDLE_CONNECTIONS,
                    names::UPSTREAM_IDLE_DROPPED,
                ])?,
            )?,
            servers: registered(registry, Live::new(&[names::UPSTREAM_SERVER_HEALTHY])?)?,
        })
    }

    /// The handles of a route by its label; the same ones for the same label while anybody holds them, so a reload
    /// goes on counting. When nobody does any more, the series are gone. For requests without a route:
    /// [`names::NO_ROUTE`].
    ///
    /// # Errors
    /// None with names that the configuration allows.
    pub fn route(&self, label: &str) -> Result<std::sync::Arc<RequestMetrics>> {
        self.routes.get(label.to_owned(), |label| RequestMetrics::new(label))
    }

    /// The handles of an upstream by its name; as [`Self::route`].
    ///
    /// # Errors
    /// As [`Self::route`].
    pub fn upstream(&self, name: &str) -> Result<std::sync::Arc<UpstreamMetrics>> {
        self.upstreams.get(name.to_owned(), |name| UpstreamMetrics::new(name))
    }

    /// The health of one server of an upstream; as [`Self::route`]. New ones are taken to be well.
    ///
    /// # Errors
    /// As [`Self::route`].
    pub fn server(&self, upstream: &str, server: &str) -> Result<std::sync::Arc<ServerHealth>> {
        self.servers.get((upstream.to_owned(), server.to_owned()), |(u, s)| ServerHealth::new(u, s))
    }

    /// Counts a refusal; `reason` is an index into the reasons that [`Self::new`] was given.
    #[inline]
    pub fn refused(&self, reason: usize) {
        debug_assert!(reason < self.refusals.len(), "no such reason");
        count(&self.refusals, reason);
    }

    /// Counts a change of the configuration.
    pub fn reloaded(&self, result: ReloadResult) {
        count(&self.reloads, result.index());
    }

    /// Counts an operation on the store that failed.
    pub fn store_error(&self, operation: StoreOperation) {
        count(&self.store_errors, operation.index());
    }

    /// Counts an alarm.
    pub fn alarm(&self, alarm: Alarm) {
        count(&self.alarms, alarm.index());
    }

    /// Counts an answer of the admin plane.
    pub fn admin_answered(&self, method: MethodClass, status: StatusClass) {
        self.admin_requests.with_label_values(&[method.as_str(), status.as_str()]).inc();
    }

    /// Counts a login at the admin plane.
    pub fn admin_login(&self, outcome: LoginOutcome) {
        count(&self.admin_logins, outcome.index());
    }

    /// Counts a forwarded request by its lane.
    pub fn lane(&self, reason: LaneReason) {
        count(&self.lanes, reason.index());
    }

    /// Counts an exchange that was ended.
    pub fn cut(&self, reason: CutReason) {
        count(&self.cuts, reason.index());
    }

    /// Counts a token exchange.
    pub fn exchanged(&self, outcome: ExchangeOutcome) {
        count(&self.exchanges, outcome.index());
    }

    /// A change was applied `took` after it was seen.
    pub fn revocation_applied(&self, took: Duration) {
        self.revocation.observe(took.as_secs_f64());
    }

    /// How many keys of this role and state the keyring holds. Tombstones are not counted.
    pub fn set_api_keys(&self, role: Role, state: KeyState, keys: usize) {
        if let Some((_, _, gauge)) = self.api_keys.iter().find(|(r, s, _)| *r == role && *s == state) {
            gauge.set(i64::try_from(keys).unwrap_or(i64::MAX));
        }
    }
}

fn lanes(registry: &Registry) -> Result<Box<[IntCounter]>> {
    let family = IntCounterVec::new(names::LANE_REQUESTS.opts(), names::LANE_REQUESTS.labels)?;
    let lanes = LaneReason::ALL.iter().map(|reason| family.with_label_values(&[reason.lane(), reason.as_str()]));
    let lanes = lanes.collect();
    registered(registry, family)?;
    Ok(lanes)
}

fn count(counters: &[IntCounter], at: usize) {
    if let Some(counter) = counters.get(at) {
        counter.inc();
    }
}

/// One more in a gauge, for as long as this lives, however its owner ends.
#[derive(Debug)]
pub struct Held<'g>(&'g IntGauge);

impl<'g> Held<'g> {
    /// Adds one.
    #[must_use]
    pub fn new(gauge: &'g IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn registered<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn counter(registry: &Registry, family: &Family) -> Result<IntCounter> {
    registered(registry, IntCounter::with_opts(family.opts())?)
}

fn gauge(registry: &Registry, family: &Family) -> Result<IntGauge> {
    registered(registry, IntGauge::with_opts(family.opts())?)
}

fn seconds(registry: &Registry, family: &Family) -> Result<Gauge> {
    registered(registry, Gauge::with_opts(family.opts())?)
}

fn gauge_vec(registry: &Registry, family: &Family) -> Result<IntGaugeVec> {
    registered(registry, IntGaugeVec::new(family.opts(), family.labels)?)
}

fn histogram(registry: &Registry, family: &Family, buckets: &[f64]) -> Result<Histogram> {
    let opts = HistogramOpts { common_opts: family.opts(), buckets: buckets.to_vec() };
    registered(registry, Histogram::with_opts(opts)?)
}

/// One counter for each value of the family's only label. All are there from the start: a counter that appears with
/// its first event hides that event from `rate()`.
fn counters(
    registry: &Registry,
    family: &Family,
    values: impl Iterator<Item = &'static str>,
) -> Result<Box<[IntCounter]>> {
    let vec = registered(registry, IntCounterVec::new(family.opts(), family.labels)?)?;
    Ok(values.map(|value| vec.with_label_values(&[value])).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pingora_prometheus::prometheus::TextEncoder;

    use super::*;
    use crate::metrics::{Decision, MethodClass, StatusClass};

    fn text(registry: &Registry) -> String {
        TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
    }

    #[test]
    fn what_is_exposed_is_what_is_declared() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry, &["no_key", "bad_path"]).unwrap();
        let route = metrics.route("/").unwrap();
        route.record(MethodClass::Get, Decision::Admitted, StatusClass::Success, Duration::from_millis(1));
        metrics.admin_answered(MethodClass::Get, StatusClass::Success);
        let _upstream = metrics.upstream("api").unwrap();
        let _server = metrics.server("api", "127.0.0.1:1").unwrap();

        let text = text(&registry);
        let mut exposed = BTreeMap::new();
        for line in text.lines() {
            if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|l| l.split_once(' ')) {
                exposed.insert(name, (help, ""));
            } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' ')) {
                exposed.get_mut(name).unwrap().1 = kind;
            }
        }
        let declared: BTreeMap<_, _> = names::ALL.iter().map(|f| (f.name, (f.help, f.kind.as_str()))).collect();
        assert_eq!(exposed, declared);
        for family in names::ALL {
            let sample = text.lines().find(|l| l.starts_with(family.name)).unwrap();
            for label in family.labels {
                assert!(sample.contains(&format!("{label}=\"")), "{sample}");
            }
        }
    }

    #[test]
    fn counts_arrive_under_their_labels() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry, &["no_key", "bad_path"]).unwrap();
        metrics.refused(1);
        metrics.reloaded(ReloadResult::Refused);
        metrics.store_error(StoreOperation::Renew);
        metrics.alarm(Alarm::UnknownChange);
        metrics.set_api_keys(Role::Admin, KeyState::Disabled, 7);
        metrics.set_api_keys(Role::Admin, KeyState::Deleted, 9);
        let held = Held::new(&metrics.connections);
        let text_while_held = text(&registry);
        drop(held);
        let text = text(&registry);
        assert!(text_while_held.contains("\nkeygate_connections 1\n"));
        for line in [
            r#"keygate_refusals_total{reason="no_key"} 0"#,
            r#"keygate_refusals_total{reason="bad_path"} 1"#,
            r#"keygate_config_reloads_total{result="applied"} 0"#,
            r#"keygate_config_reloads_total{result="refused"} 1"#,
            r#"keygate_store_errors_total{operation="renew"} 1"#,
            r#"keygate_alarms_total{kind="unknown_change"} 1"#,
            r#"keygate_api_keys{role="ADMIN",state="disabled"} 7"#,
            r#"keygate_api_keys{role="READONLY",state="active"} 0"#,
            "keygate_connections 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
        assert!(!text.contains("deleted"));
    }

    #[test]
    fn the_same_registry_cannot_be_used_twice() {
        let registry = Registry::new();
        let first = Metrics::new(&registry, &[]).unwrap();
        assert!(matches!(Metrics::new(&registry, &[]), Err(MetricsError::Register(_))));
        drop(first);
    }
}
