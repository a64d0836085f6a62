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
mod crash;
mod credentials;
mod demo;
mod disk_full;
mod errors;
mod fleet;
mod framing;
mod headers;
mod integrations;
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
mod reload;
mod revocation;
mod routing;
mod secrets_never_leak;
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
