//! keygate: a reverse proxy that stands in front of HTTP APIs and lets in only requests with a valid API key.
//!
//! The library is the program in parts; `main` turns what [`cli`] says into an exit code. How the parts meet, along
//! one request and one regeneration, is told in `docs/architecture.md`.
//!
//! # Words
//!
//! | word | meaning |
//! |---|---|
//! | API key | a record: id, name, description, role, state, policy |
//! | role | `READONLY` or `ADMIN` |
//! | app key | the 256-bit secret of one API key, shown once, stored only as a SHA-256 digest |
//! | shared secret | one 256-bit secret for the whole gateway, versioned 1, 2, 3, … |
//! | encoded key | what an integration sends: its app key encoded with the shared secret |
//! | regenerate | make the next shared secret version; encoded keys of earlier versions stop working |
//! | roll | give one API key a new app key; id, name, history and policy stay |
//! | last login | time of the last admitted request of an API key |
//! | keyring | the copy of all API keys, one *slot* each, and of the current generation in every node's memory |
//! | generation | one shared secret version in memory, and what verifies under it |
//! | epoch | a counter in each slot; roll, disable and enable raise it |
//! | revision | a counter of the whole store; every change of a key or secret takes the next |
//! | node | one running gateway process; it admits only while its lease is valid |
//! | operator | a person or automation that manages keys |
//! | upstream | the API behind the gateway |
//!
//! # Modules
//!
//! | module | what it is | may use |
//! |---|---|---|
//! | [`cli`] | the command line, one file a command | everything |
//! | [`app`] | builds the services of a gateway, starts and stops them in order | everything |
//! | [`proxy`] | the way of a request; `authorize` decides | credential, keyring, usage, `fleet::lease`, metrics, exchange |
//! | [`exchange`] | access tokens for integrations that send no key | credential, keyring, usage, `fleet::lease`, metrics |
//! | [`admin`] | the page and the REST API for operators | lifecycle, fleet, store, credential, metrics |
//! | [`lifecycle`] | the only writer of keys and secrets | fleet, store, credential |
//! | [`fleet`] | leases, and the wait until a revocation is in force | keyring, store, credential |
//! | [`keyring`] | keys and generations in memory | credential, `usage::record`; `follow` also store |
//! | [`usage`] | last logins: `record` notes them, `flush` writes them | `record` nothing; `flush` keyring, store |
//! | [`store`] | what lasts, and how secrets are sealed in it | credential |
//! | [`credential`] | formats, making and proving of credentials; no I/O | |
//! | [`metrics`] | metrics, access log, program log | credential |
//! | [`config`] | the configuration file, read and checked | credential |
//! | [`throttle`] | slowing whoever fails to prove who it is | |
//! | [`clock`], [`entropy`] | time and randomness as parameters | |
//!
//! All may use `clock` and `config::resolved`; `admin` and `exchange` use `throttle`; what makes secrets or ids may use `entropy`. `tests/layers.rs` holds
//! these directions.
//!
//! # What always holds
//!
//! - The store is the only truth; a keyring is a copy, and a node trusts it only while its lease is valid. A node
//!   without a lease says 503, never 401.
//! - Choosing an upstream needs a `Permit`, which `proxy::authorize` alone makes. What is forwarded is, byte for byte,
//!   what was decided on, without the credential.
//! - Deciding about a request waits for no writer, allocates nothing to admit it, and asks no store.
//! - Every change of a key or secret is one transaction with its audit record and its revision.
//! - Secrets cannot be printed, logged or serialised by accident. At rest, app keys are digests, and the shared secret
//!   is sealed with the master key.
//! - The clocks, the random source and the environment enter at `app` and `cli`, and are parameters everywhere else.

pub mod admin;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod credential;
pub mod entropy;
pub mod exchange;
pub mod fleet;
pub mod keyring;
pub mod lifecycle;
pub mod metrics;
pub mod proxy;
pub mod store;
pub mod throttle;
pub mod usage;
