//! The figures of one route, one upstream, one server. Handles are made when routing is built, at start-up and at
//! each reload, and held by it; a request only adds to them. [HOT: `record` and the methods of `UpstreamMetrics`
//! run per request, without a look-up, a lock, an allocation or formatting.]
//!
//! A series lives as long as somebody holds its handle: when a reload drops a route, its series end with the last
//! request that still uses it, so the number of series follows the configuration. Called by `proxy` through
//! [`super::Metrics::route`] and its neighbours, and by the registry when it is scraped.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use pingora_prometheus::prometheus::core::{Collector, Desc, Describer};
use pingora_prometheus::prometheus::proto::MetricFamily;
use pingora_prometheus::prometheus::{IntCounter, IntGauge, Opts};

use super::durations::Durations;
use super::names::{self, Family};
use super::registry::Result;
use super::{Decision, IdleDropped, MethodClass, StatusClass, UpstreamFailure};

/// Something with figures of its own.
pub(super) trait Series: Send + Sync {
    /// Its figures now. Families of one name are merged by the registry.
    fn families(&self) -> Vec<MetricFamily>;
}

/// The series of one kind that somebody holds, by their label values.
pub(super) struct Live<K, S> {
    held: Arc<Mutex<BTreeMap<K, Weak<S>>>>,
    descs: Vec<Desc>,
}

// Derived, these would ask the same of K and S.
impl<K, S> Clone for Live<K, S> {
    fn clone(&self) -> Self {
        Self { held: Arc::clone(&self.held), descs: self.descs.clone() }
    }
}

impl<K, S> std::fmt::Debug for Live<K, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

impl<K: Ord, S: Series> Live<K, S> {
    pub(super) fn new(families: &[Family]) -> Result<Self> {
        let mut descs = Vec::new();
        for family in families {
            let labels = family.labels.iter().map(|&label| label.to_owned()).collect();
            descs.push(Opts::new(family.name, family.help).variable_labels(labels).describe()?);
        }
        Ok(Self { held: Arc::default(), descs })
    }

    /// The one that somebody holds, or a new one.
    pub(super) fn get(&self, key: K, make: impl FnOnce(&K) -> Result<S>) -> Result<Arc<S>> {
        let mut held = self.lock();
        if let Some(series) = held.get(&key).and_then(Weak::upgrade) {
            return Ok(series);
        }
        held.retain(|_, series| series.strong_count() > 0);
        let series = Arc::new(make(&key)?);
        held.insert(key, Arc::downgrade(&series));
        Ok(series)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<K, Weak<S>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Ord + Send, S: Series> Collector for Live<K, S> {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Not under the lock: routing may be built meanwhile.
        let held: Vec<Arc<S>> = self.lock().values().filter_map(Weak::upgrade).collect();
        held.iter().flat_map(|series| series.families()).collect()
    }
}

const COMBINATIONS: usize = MethodClass::COUNT * Decision::COUNT * StatusClass::COUNT;

/// The figures of one route.
///
/// One array of 135 numbers and not as many counters of the library: those would take 100 KB a route, and a page of
/// `/metrics` 135 lines a route of which nearly all say 0.
#[derive(Debug)]
pub struct RequestMetrics {
    route: String,
    counts: [AtomicU64; COMBINATIONS],
    duration: Durations,
}

impl RequestMetrics {
    pub(super) fn new(route: &str) -> Result<Self> {
        let duration = Durations::new(labelled(&names::REQUEST_DURATION, &[route]))?;
        Ok(Self { route: route.to_owned(), counts: [const { AtomicU64::new(0) }; COMBINATIONS], duration })
    }

    /// The value of the label `route`.
    #[must_use]
    pub fn route(&self) -> &str {
        &self.route
    }

    /// Counts a request that was answered, `took` after its first byte. **HOT**
    #[inline]
    pub fn record(&self, method: MethodClass, decision: Decision, status: StatusClass, took: Duration) {
        if let Some(count) = self.counts.get(place(method, decision, status)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.duration.observe(took);
    }
}

/// Where a combination is counted: below [`COMBINATIONS`], and different for each.
const fn place(method: MethodClass, decision: Decision, status: StatusClass) -> usize {
    (method.index() * Decision::COUNT + decision.index()) * StatusClass::COUNT + status.index()
}

impl Series for RequestMetrics {
    fn families(&self) -> Vec<MetricFamily> {
        let mut families = self.duration.collect();
        for method in MethodClass::ALL {
            for decision in Decision::ALL {
                for status in StatusClass::ALL {
                    let place = place(*method, *decision, *status);
                    let count = self.counts.get(place).map_or(0, |n| n.load(Ordering::Relaxed));
                    if count > 0 {
                        let labels = [&self.route, method.as_str(), decision.as_str(), status.as_str()];
                        families.extend(counted(&names::REQUESTS, &labels, count));
                    }
                }
            }
        }
        families
    }
}

/// A counter that is made only to be read. No error can come of names and labels that this crate declares; were
/// there one, the series would be missing and the test that compares names and series would say so.
fn counted(family: &Family, labels: &[&str], count: u64) -> Vec<MetricFamily> {
    IntCounter::with_opts(labelled(family, labels)).map_or_else(
        |_| Vec::new(),
        |counter| {
            counter.inc_by(count);
            counter.collect()
        },
    )
}

/// The figures of one upstream. **HOT**
#[derive(Debug)]
pub struct UpstreamMetrics {
    duration: Durations,
    failures: Box<[IntCounter]>,
    retries: IntCounter,
    connects: IntCounter,
    idle: IntGauge,
    idle_dropped: Box<[IntCounter]>,
}

impl UpstreamMetrics {
    pub(super) fn new(upstream: &str) -> Result<Self> {
        let kinds = |family: &Family, kinds: &mut dyn Iterator<Item = &'static str>| {
            kinds.map(|kind| Ok(IntCounter::with_opts(labelled(family, &[upstream, kind]))?)).collect::<Result<_>>()
        };
        Ok(Self {
            duration: Durations::new(labelled(&names::UPSTREAM_DURATION, &[upstream]))?,
            failures: kinds(&names::UPSTREAM_FAILURES, &mut UpstreamFailure::ALL.iter().map(|kind| kind.as_str()))?,
            retries: IntCounter::with_opts(labelled(&names::UPSTREAM_RETRIES, &[upstream]))?,
            connects: IntCounter::with_opts(labelled(&names::UPSTREAM_CONNECTS, &[upstream]))?,
            idle: IntGauge::with_opts(labelled(&names::UPSTREAM_IDLE_CONNECTIONS, &[upstream]))?,
            idle_dropped: kinds(&names::UPSTREAM_IDLE_DROPPED, &mut IdleDropped::ALL.iter().map(|kind| kind.as_str()))?,
        })
    }

    /// The head of a response came `took` after a server was chosen.
    #[inline]
    pub fn answered(&self, took: Duration) {
        self.duration.observe(took);
    }

    /// Counts an attempt that failed.
    #[inline]
    pub fn failed(&self, kind: UpstreamFailure) {
        if let Some(counter) = self.failures.get(kind.index()) {
            counter.inc();
        }
    }

    /// Counts a second attempt.
    #[inline]
    pub fn retried(&self) {
        self.retries.inc();
    }

    /// Counts a connection that was made.
    pub fn connected(&self) {
        self.connects.inc();
    }

    /// How many connections are kept.
    pub fn idle_are(&self, count: usize) {
        self.idle.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Counts kept connections that were let go.
    pub fn dropped(&self, kind: IdleDropped, count: u64) {
        if let Some(counter) = self.idle_dropped.get(kind.index()) {
            counter.inc_by(count);
        }
    }
}

impl Series for UpstreamMetrics {
    fn families(&self) -> Vec<MetricFamily> {
        let mut families = self.duration.collect();
        let counters = [&self.retries, &self.connects].into_iter().chain(&self.failures).chain(&self.idle_dropped);
        families.extend(counters.flat_map(Collector::collect));
        families.extend(self.idle.collect());
        families
    }
}

/// Whether one server of an upstream takes requests.
#[derive(Debug)]
pub struct ServerHealth(IntGauge);

impl ServerHealth {
    pub(super) fn new(upstream: &str, server: &str) -> Result<Self> {
        let gauge = IntGauge::with_opts(labelled(&names::UPSTREAM_SERVER_HEALTHY, &[upstream, server]))?;
        gauge.set(1);
        Ok(Self(gauge))
    }

    /// What the last health check said.
    pub fn set(&self, healthy: bool) {
        self.0.set(i64::from(healthy));
    }
}

impl Series for ServerHealth {
    fn families(&self) -> Vec<MetricFamily> {
        self.0.collect()
    }
}

/// The family with a value for each of its labels.
fn labelled(family: &Family, values: &[&str]) -> Opts {
    debug_assert_eq!(family.labels.len(), values.len(), "{}", family.name);
    family.labels.iter().zip(values).fold(family.opts(), |opts, (label, value)| opts.const_label(*label, *value))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use pingora_prometheus::prometheus::{Registry, TextEncoder};

    use super::*;
    use crate::metrics::Metrics;

    fn text(registry: &Registry) -> String {
        TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
    }

    #[test]
    fn every_combination_has_a_place_of_its_own() {
        let mut places = BTreeSet::new();
        for method in MethodClass::ALL {
            for decision in Decision::ALL {
                for status in StatusClass::ALL {
                    places.insert(place(*method, *decision, *status));
                }
            }
        }
        assert_eq!(places, (0..COMBINATIONS).collect());
    }

    #[test]
    fn each_combination_is_exposed_under_its_own_labels() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry, &[]).unwrap();
        let route = metrics.route("example.org/a\"b\\c").unwrap();
        let mut wanted = BTreeSet::new();
        for (m, method) in MethodClass::ALL.iter().enumerate() {
            for (d, decision) in Decision::ALL.iter().enumerate() {
                for (s, status) in StatusClass::ALL.iter().enumerate() {
                    let times = 1 + m + 10 * d + 100 * s;
                    for _ in 0..times {
                        route.record(*method, *decision, *status, Duration::ZERO);
                    }
                    wanted.insert(format!(
                        r#"keygate_requests_total{{decision="{}",method="{}",route="example.org/a\"b\\c",status="{}"}} {times}"#,
                        decision.as_str(),
                        method.as_str(),
                        status.as_str()
                    ));
                }
            }
        }
        let text = text(&registry);
        let found: BTreeSet<_> =
            text.lines().filter(|l| l.starts_with("keygate_requests_total{")).map(str::to_owned).collect();
        assert_eq!(found, wanted);
    }

    #[test]
    fn series_live_as_long_as_their_handles() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry, &[]).unwrap();
        let before = metrics.route("/a").unwrap();
        before.record(MethodClass::Get, Decision::Public, StatusClass::Success, Duration::from_micros(300));
        let after = metrics.route("/a").unwrap();
        drop(before);
        after.record(MethodClass::Get, Decision::Public, StatusClass::Success, Duration::from_micros(300));
        let line = r#"keygate_requests_total{decision="public",method="GET",route="/a",status="2xx"} 2"#;
        assert!(text(&registry).contains(line));
        assert!(
            text(&registry).contains(r#"keygate_request_duration_seconds_bucket{route="/a",le="0.0005"} 2"#),
            "{}",
            text(&registry)
        );
        drop(after);
        assert!(!text(&registry).contains("/a"));
    }

    #[test]
    fn upstreams_and_servers_are_exposed() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry, &[]).unwrap();
        let upstream = metrics.upstream("api").unwrap();
        upstream.answered(Duration::from_secs(100));
        upstream.failed(UpstreamFailure::ReadTimeout);
        upstream.retried();
        upstream.connected();
        upstream.idle_are(3);
        upstream.dropped(IdleDropped::Dirty, 2);
        let well = metrics.server("api", "10.0.0.1:80").unwrap();
        let ill = metrics.server("api", "10.0.0.2:80").unwrap();
        ill.set(false);
        let text = text(&registry);
        for line in [
            r#"keygate_upstream_duration_seconds_bucket{upstream="api",le="60"} 0"#,
            r#"keygate_upstream_duration_seconds_bucket{upstream="api",le="+Inf"} 1"#,
            r#"keygate_upstream_failures_total{kind="read_timeout",upstream="api"} 1"#,
            r#"keygate_upstream_failures_total{kind="connect",upstream="api"} 0"#,
            r#"keygate_upstream_retries_total{upstream="api"} 1"#,
            r#"keygate_upstream_connects_total{upstream="api"} 1"#,
            r#"keygate_upstream_idle_connections{upstream="api"} 3"#,
            r#"keygate_upstream_idle_dropped_total{kind="dirty",upstream="api"} 2"#,
            r#"keygate_upstream_idle_dropped_total{kind="idle",upstream="api"} 0"#,
            r#"keygate_upstream_server_healthy{server="10.0.0.1:80",upstream="api"} 1"#,
            r#"keygate_upstream_server_healthy{server="10.0.0.2:80",upstream="api"} 0"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
        drop((well, ill));
    }
}
