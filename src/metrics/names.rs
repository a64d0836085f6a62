//! Every metric of keygate, declared once: name, kind, labels and help text. `docs/metrics.md` is made from this
//! file, and a test holds the two equal. No values and no handles here; `registry`, `series` and `process` make
//! those from these declarations.

use std::time::Duration;

use pingora_prometheus::prometheus::Opts;

/// The kinds of metric in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Observations in buckets.
    Histogram,
}

impl Kind {
    /// As printed in the text format.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its name, with `_total` on counters and the unit where there is one.
    pub name: &'static str,
    /// What sort of figure it is.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it means, in one sentence.
    pub help: &'static str,
}

impl Family {
    /// Name and help as the metrics library takes them.
    #[must_use]
    pub fn opts(&self) -> Opts {
        Opts::new(self.name, self.help)
    }
}

macro_rules! families {
    ($($constant:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)+) => {
        $(
            #[doc = $help]
            pub const $constant: Family =
                Family { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };
        )+

        /// All of them, in the order of the documentation.
        pub const ALL: &[Family] = &[$($constant),+];
    };
}

families! {
    REQUESTS: Counter "keygate_requests_total" ["route", "method", "decision", "status"]
        "Requests that were answered; combinations that never occurred are left out.";
    REFUSALS: Counter "keygate_refusals_total" ["reason"]
        "Requests that keygate answered itself instead of forwarding them.";
    REQUEST_DURATION: Histogram "keygate_request_duration_seconds" ["route"]
        "Time from the first byte of a request to the end of its response.";
    LANE_REQUESTS: Counter "keygate_lane_requests_total" ["lane", "reason"]
        "Requests that were forwarded, by the lane that did it and why it was that lane.";
    CUTS: Counter "keygate_cuts_total" ["reason"]
        "Exchanges that were ended because the authority behind them was, their time, or the gateway's.";
    TOKEN_EXCHANGES: Counter "keygate_token_exchanges_total" ["outcome"]
        "Requests to the endpoints of the token exchange.";
    UPSTREAM_DURATION: Histogram "keygate_upstream_duration_seconds" ["upstream"]
        "Time from choosing a server to the head of its response.";
    UPSTREAM_FAILURES: Counter "keygate_upstream_failures_total" ["upstream", "kind"]
        "Attempts at an upstream that ended without a complete response.";
    UPSTREAM_RETRIES: Counter "keygate_upstream_retries_total" ["upstream"]
        "Requests that were sent a second time because the first attempt failed.";
    UPSTREAM_CONNECTS: Counter "keygate_upstream_connects_total" ["upstream"]
        "Connections to servers that were made for requests in the express lane.";
    UPSTREAM_IDLE_CONNECTIONS: Gauge "keygate_upstream_idle_connections" ["upstream"]
        "Connections to servers that are kept for later requests in the express lane; looked at once a second.";
    UPSTREAM_IDLE_DROPPED: Counter "keygate_upstream_idle_dropped_total" ["upstream", "kind"]
        "Kept connections that were let go unused.";
    UPSTREAM_SERVER_HEALTHY: Gauge "keygate_upstream_server_healthy" ["upstream", "server"]
        "1 while the server takes requests, 0 while health checks keep it out.";
    CONNECTIONS: Gauge "keygate_connections" []
        "Open client connections.";
    ACCEPT_ERRORS: Counter "keygate_accept_errors_total" []
        "Connections that could not be accepted: file descriptors or memory ran out.";
    REQUESTS_IN_FLIGHT: Gauge "keygate_requests_in_flight" []
        "Requests whose response is not complete.";
    API_KEYS: Gauge "keygate_api_keys" ["role", "state"]
        "API keys in the keyring of this node.";
    SHARED_SECRET_VERSION: Gauge "keygate_shared_secret_version" []
        "The version of the shared secret that keys are checked against.";
    KEYRING_REVISION: Gauge "keygate_keyring_revision" []
        "The revision up to which this node has applied every change.";
    LEASE_REMAINING: Gauge "keygate_lease_remaining_seconds" []
        "How long this node may still admit requests without renewing its lease; 0 when it may not.";
    REVOCATION_DURATION: Histogram "keygate_revocation_duration_seconds" []
        "Time from seeing that the store has changed to having applied the change.";
    USAGE_PENDING: Gauge "keygate_usage_pending" []
        "API keys whose last login is not yet in the store.";
    USAGE_FLUSH_LAG: Gauge "keygate_usage_flush_lag_seconds" []
        "Time since last logins were last written, or found to need no writing.";
    USAGE_FLUSH_FAILURES: Counter "keygate_usage_flush_failures_total" []
        "Attempts to write last logins that failed; they are made again.";
    USAGE_DROPPED: Counter "keygate_usage_dropped_total" []
        "Last logins that were given up.";
    STORE_ERRORS: Counter "keygate_store_errors_total" ["operation"]
        "Operations on the store that failed.";
    ALARMS: Counter "keygate_alarms_total" ["kind"]
        "Events that should never happen and that somebody must look at.";
    CONFIG_RELOADS: Counter "keygate_config_reloads_total" ["result"]
        "Changes of the configuration while running.";
    ADMIN_REQUESTS: Counter "keygate_admin_requests_total" ["method", "status"]
        "Requests to the admin plane that were answered; combinations that never occurred are left out.";
    ADMIN_LOGINS: Counter "keygate_admin_logins_total" ["outcome"]
        "Logins by token, and tokens in requests that were refused.";
    ACCESS_LOG_DROPPED: Counter "keygate_access_log_dropped_total" []
        "Entries of the access log that were dropped because it could not be written fast enough, or at all.";
    PANICS: Counter "keygate_panics_total" []
        "Panics, each of which ended one request or one attempt of a background task.";
    BUILD_INFO: Gauge "keygate_build_info" ["version"]
        "Always 1; the version is a label.";
    PROCESS_CPU: Counter "process_cpu_seconds_total" []
        "User and system CPU time of the process.";
    PROCESS_RESIDENT_MEMORY: Gauge "process_resident_memory_bytes" []
        "Resident memory of the process.";
    PROCESS_OPEN_FDS: Gauge "process_open_fds" []
        "Open file descriptors of the process.";
    PROCESS_MAX_FDS: Gauge "process_max_fds" []
        "The most file descriptors that the process may have open.";
    PROCESS_START_TIME: Gauge "process_start_time_seconds" []
        "When the process started, in seconds since 1970.";
    PROCESS_THREADS: Gauge "process_threads" []
        "Threads of the process.";
}

/// The value of `route` for requests that matched no route, or were refused before one was looked for.
pub const NO_ROUTE: &str = "none";

/// The value of `route` for requests to the endpoints of the token exchange.
pub const TOKEN_EXCHANGE: &str = "token_exchange";

/// Upper bounds of the buckets of request and upstream times: 100 µs to 1 minute.
pub const LATENCY_BUCKETS: &[Duration] = &[
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_mins(1),
];

/// Upper bounds in seconds of the buckets of revocation times: 100 µs to 30 s, the default length of a lease.
pub const REVOCATION_BUCKETS: &[f64] =
    &[0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write as _;
    use std::path::Path;

    use super::*;
    use crate::metrics::{
        Alarm, CutReason, Decision, ExchangeOutcome, IdleDropped, LaneReason, LoginOutcome, MethodClass, ReloadResult,
        StatusClass, StoreOperation, UpstreamFailure,
    };

    const BEGIN: &str = "<!-- begin: made from src/metrics/names.rs -->\n";
    const END: &str = "<!-- end -->\n";

    fn list(words: &[&str]) -> String {
        words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ")
    }

    macro_rules! values {
        ($words:ty) => {
            list(&<$words>::ALL.iter().map(|w| w.as_str()).collect::<Vec<_>>())
        };
    }

    /// What the values of a label are. Some have two meanings.
    fn label_values() -> Vec<(&'static str, String)> {
        vec![
            (
                "route",
                format!(
                    "host and path of a `[[route]]`; `{NO_ROUTE}` where none was found or looked for; `{TOKEN_EXCHANGE}` at \
                     its endpoints"
                ),
            ),
            ("method", values!(MethodClass)),
            ("decision", values!(Decision)),
            ("status", values!(StatusClass)),
            (
                "reason",
                format!(
                    "of `{}`: why it was refused, as in the access log; of `{}`: {}; of `{}`: {}",
                    REFUSALS.name,
                    LANE_REQUESTS.name,
                    values!(LaneReason),
                    CUTS.name,
                    values!(CutReason)
                ),
            ),
            ("lane", "`express`: keygate's own exchange of plain HTTP/1.1; `general`: pingora-proxy's".to_owned()),
            ("upstream", "name of an `[[upstream]]`".to_owned()),
            ("server", "an entry of its `servers`".to_owned()),
            (
                "kind",
                format!(
                    "of `{}`: {}; of `{}`: {}; of `{}`: {}",
                    UPSTREAM_FAILURES.name,
                    values!(UpstreamFailure),
                    UPSTREAM_IDLE_DROPPED.name,
                    values!(IdleDropped),
                    ALARMS.name,
                    values!(Alarm)
                ),
            ),
            ("role", "`READONLY`, `ADMIN`".to_owned()),
            ("state", "`active`, `disabled`".to_owned()),
            ("operation", values!(StoreOperation)),
            ("result", values!(ReloadResult)),
            (
                "outcome",
                format!(
                    "of `{}`: {}; of `{}`: {}",
                    ADMIN_LOGINS.name,
                    values!(LoginOutcome),
                    TOKEN_EXCHANGES.name,
                    values!(ExchangeOutcome)
                ),
            ),
            ("version", "of keygate".to_owned()),
        ]
    }

    fn generated() -> String {
        let mut text = String::from("\n| metric | kind | labels | meaning |\n|---|---|---|---|\n");
        for f in ALL {
            writeln!(text, "| `{}` | {} | {} | {} |", f.name, f.kind.as_str(), list(f.labels), f.help).unwrap();
        }
        text.push_str("\n| label | values |\n|---|---|\n");
        for (label, values) in label_values() {
            writeln!(text, "| `{label}` | {values} |").unwrap();
        }
        text.push('\n');
        text
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "whoever runs the test says so in its environment")]
    fn the_documentation_lists_exactly_these_metrics() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
        let text = std::fs::read_to_string(&file).unwrap();
        let (before, rest) = text.split_once(BEGIN).expect("docs/metrics.md has its begin mark");
        let (listed, after) = rest.split_once(END).expect("docs/metrics.md has its end mark");
        let wanted = generated();
        if std::env::var_os("KEYGATE_UPDATE_DOCS").is_some() {
            std::fs::write(&file, format!("{before}{BEGIN}{wanted}{END}{after}")).unwrap();
            return;
        }
        assert_eq!(
            listed, wanted,
            "docs/metrics.md is not what src/metrics/names.rs says; \
             KEYGATE_UPDATE_DOCS=1 cargo test --lib metrics::names writes it anew"
        );
    }

    #[test]
    fn every_label_is_explained_and_every_name_follows_the_rules() {
        let explained: BTreeSet<_> = label_values().into_iter().map(|(label, _)| label).collect();
        let used: BTreeSet<_> = ALL.iter().flat_map(|f| f.labels.iter().copied()).collect();
        assert_eq!(explained, used);
        let names: BTreeSet<_> = ALL.iter().map(|f| f.name).collect();
        assert_eq!(names.len(), ALL.len(), "a name is declared twice");
        for f in ALL {
            assert!(f.name.starts_with("keygate_") || f.name.starts_with("process_"), "{}", f.name);
            assert_eq!(f.name.ends_with("_total"), f.kind == Kind::Counter, "{}", f.name);
            assert!(f.help.ends_with('.') && !f.help.contains(['|', '\n']), "{}", f.name);
        }
        assert!(LATENCY_BUCKETS.is_sorted() && REVOCATION_BUCKETS.is_sorted());
    }
}
