//! The integration tests: the real binary, real sockets, real SQLite, one file a theme. They share `support`, use no
//! fixed ports and no sleeps as synchronisation, and run side by side. `KEYGATE_TEST_LONG=1` raises the counts.

#![allow(
    clippy::disallowed_methods,
    reason = "the tests run on the real clock; only the product takes it as a parameter"
)]

mod support;

mod admin_access;
mod admin_api;
mod admin_attacks;
mod admin_bundle;
mod admin_contract;
mod admin_lists;
mod admin_lookalikes;
mod admin_refusals;
mod admin_sessions;
mod admin_tls;
mod bodies;
mod cli;
mod cli_bundle;
mod cli_operators;
mod conformance;
mod connections;
mod crash;
mod credentials;
mod cutting;
mod demo;
mod disk_full;
mod errors;
mod fleet;
mod framing;
mod headers;
mod integrations;
mod lanes_express;
mod lanes_general;
mod layers;
mod lenient_readers;
mod life;
mod limits;
mod metrics;
mod page_access;
mod page_bundle;
mod page_flows;
mod page_keyboard;
mod page_lists;
mod page_operators;
mod page_secret;
mod page_states;
mod page_views;
mod paths;
mod policy;
mod refusals;
mod refusals_decisions;
mod refusals_servers;
mod refusals_slow;
mod reload;
mod revocation;
mod routing;
mod secrets_never_leak;
mod siege;
mod start;
mod token_attacks;
mod token_clock;
mod token_errors;
mod token_exchange;
mod token_forgery;
mod token_life;
mod token_limits;
mod token_operation;
mod token_requests;
mod upstreams;
mod usage;
mod vectors;
mod websocket;

/// What holds in the express lane, the default, holds in the other. See `support::config`.
#[allow(clippy::duplicate_mod, reason = "one suite, once for each lane")]
#[path = "."]
mod general {
    #[path = "bodies.rs"]
    mod bodies;
    #[path = "conformance.rs"]
    mod conformance;
    #[path = "credentials.rs"]
    mod credentials;
    #[path = "cutting.rs"]
    mod cutting;
    #[path = "errors.rs"]
    mod errors;
    #[path = "framing.rs"]
    mod framing;
    #[path = "headers.rs"]
    mod headers;
    #[path = "lenient_readers.rs"]
    mod lenient_readers;
    #[path = "life.rs"]
    mod life;
    #[path = "limits.rs"]
    mod limits;
    #[path = "paths.rs"]
    mod paths;
    #[path = "policy.rs"]
    mod policy;
    #[path = "refusals.rs"]
    mod refusals;
    #[path = "refusals_servers.rs"]
    mod refusals_servers;
    #[path = "refusals_slow.rs"]
    mod refusals_slow;
    #[path = "revocation.rs"]
    mod revocation;
    #[path = "routing.rs"]
    mod routing;
    #[path = "upstreams.rs"]
    mod upstreams;
    #[path = "usage.rs"]
    mod usage;
}
