//! keygate: a reverse proxy that lets in only requests with a valid API key.

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod credential;
pub mod entropy;
pub mod fleet;
pub mod keyring;
pub mod lifecycle;
pub mod metrics;
pub mod proxy;
pub mod store;
pub mod usage;
