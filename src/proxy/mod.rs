//! The data plane: from a client's bytes to an upstream's, or to a refusal.
//!
//! `connection` reads heads (`head`, `headers`, `path`), finds the route (`route`), decides (`authorize`) and
//! writes what goes on (`forward`); `general` lets pingora-proxy do the exchange through `stream`. Nothing here
//! knows the store, the lifecycle or the admin plane.

mod admit;
pub mod authority;
pub mod authorize;
pub mod body;
pub mod buffer;
pub mod connection;
pub mod cutting;
pub mod date;
pub mod express;
pub mod forward;
pub mod gateway;
pub mod general;
pub mod head;
pub mod headers;
pub mod keep;
pub mod lanes;
pub mod open;
pub mod path;
mod patience;
pub mod reject;
pub mod request_id;
pub mod route;
#[cfg(test)]
mod script;
mod session;
pub mod socket;
pub mod stream;
pub mod telemetry;
pub mod token_exchange;
pub mod upstream;
pub mod waiting;
pub mod wire;
