//! The nodes of a gateway: leases, and the revocation that waits for them.
//!
//! `lease` decides and is pure; `member` is the task that asks the store and does what `lease` says; `revoke` is
//! the other side, which waits for all members. What the two sides promise together is held by `model_tests`.
//! Called by `app` (the member), `lifecycle` (revocations) and `proxy` (only [`lease::LeaseGate`]).

pub mod lease;
pub mod member;
pub mod revoke;
mod row;
mod setup;

#[cfg(test)]
mod lease_tests;
#[cfg(test)]
mod member_tests;
#[cfg(test)]
mod model;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod sqlite_tests;
#[cfg(test)]
pub(crate) mod test_store;
