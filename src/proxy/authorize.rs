//! **HOT** The decision. Pure: bytes, the keyring and the lease in; a [`Permit`] or a [`Rejection`] out.
//!
//! Both lanes call it. It allocates nothing for a request that is admitted, formats nothing, and waits for
//! nobody. A `Permit` can be made here alone, and choosing an upstream demands one.

use std::net::IpAddr;

use crate::clock::Clock;
use crate::config::resolved::Demand;
use crate::credential::{Policy, Role, TokenKind};
use crate::fleet::lease::LeaseGate;
use crate::keyring::{Found, Keyring, NotProven, Verdict};
use crate::proxy::head::Head;
use crate::proxy::headers::Presented;
use crate::proxy::reject::{NotProvenReason, Rejection};
use crate::proxy::route::Route;

/// Proof that a request was admitted.
#[derive(Debug)]
pub struct Permit {
    /// `None` on what is public.
    key: Option<PermittedKey>,
}

/// Under what authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PermittedKey {
    /// The slot.
    pub index: u32,
    /// Its epoch at the decision.
    pub epoch: u32,
    /// The role that was granted.
    pub role: Role,
}

impl Permit {
    /// The key that was admitted; `None` on what is public.
    #[must_use]
    pub fn key(&self) -> Option<PermittedKey> {
        self.key
    }

    /// Asked again when the request is about to be sent: may this node still act on the permit?
    #[must_use]
    pub fn still_holds(&self, lease: &LeaseGate, clock: &dyn Clock) -> bool {
        self.key.is_none() || lease.admits(clock.boot())
    }
}

/// What was decided, with the key's record for as long as the forwarded head is written.
#[derive(Debug)]
pub struct Admission<'k> {
    /// To be kept with the request.
    pub permit: Permit,
    /// The key; `None` on what is public.
    pub key: Option<Found<'k>>,
}

/// What decisions rest on, beside the request.
#[derive(Clone, Copy)]
pub struct Authority<'k> {
    /// All keys.
    pub keyring: &'k Keyring,
    /// Whether this node may decide.
    pub lease: &'k LeaseGate,
    /// For expiry and lease.
    pub clock: &'k dyn Clock,
    /// Access tokens are credentials: `[token_exchange]` is configured.
    pub takes_tokens: bool,
}

/// Decides about one request. `resolved` is what an odd path on a lenient route might be taken for.
///
/// # Errors
/// The [`Rejection`] to answer with; a key that was proven stands beside it, for the log.
pub fn authorize<'k>(
    authority: Authority<'k>,
    route: &Route,
    head: &Head<'_, '_>,
    resolved: Option<&[u8]>,
    presented: Presented<'_>,
    client: IpAddr,
) -> Result<Admission<'k>, (Rejection, Option<Found<'k>>)> {
    let Demand::Role(needed) = route.demand(head, resolved) else {
        return Ok(Admission { permit: Permit { key: None }, key: None });
    };
    let presented = match presented {
        Presented::One(presented) => presented,
        Presented::Absent => return Err((Rejection::MissingCredential, None)),
        Presented::Conflicting => return Err((Rejection::ConflictingCredentials, None)),
        Presented::Misplaced => return Err((Rejection::InvalidCredential(NotProvenReason::Malformed), None)),
    };
    let entry = authority.lease.enter();
    let verdict = match presented {
        [b'k', b'g', b't', b'_', ..] if authority.takes_tokens => {
            authority.keyring.verify_token(TokenKind::Access, presented, authority.clock).0
        }
        _ => authority.keyring.verify(presented, authority.clock),
    };
    // After the verification: whatever it rested on was in force at this moment, or the node may not say
    // anything about keys, good or bad.
    if !authority.lease.holds(entry, authority.clock.boot()) {
        return Err((Rejection::NoLease, None));
    }
    let found = match verdict {
        Verdict::Proven(found) => found,
        refused => return Err(refusal(authority.keyring, refused)),
    };
    if found.record.role < needed {
        return Err((Rejection::RoleTooLow, Some(found)));
    }
    if let Some(policy) = &found.record.policy
        && let Err(rejection) = check_policy(policy, route, client)
    {
        return Err((rejection, Some(found)));
    }
    let key = PermittedKey { index: found.index, epoch: found.record.epoch, role: found.record.role };
    Ok(Admission { permit: Permit { key: Some(key) }, key: Some(found) })
}

/// Expiry was checked with the credential.
fn check_policy(policy: &Policy, route: &Route, client: IpAddr) -> Result<(), Rejection> {
    if let Some(networks) = &policy.allowed_networks
        && !networks.iter().any(|network| network.contains(&client))
    {
        return Err(Rejection::NetworkNotAllowed);
    }
    if let Some(routes) = &policy.allowed_routes
        && !routes.iter().any(|label| **label == *route.label)
    {
        return Err(Rejection::RouteNotAllowed);
    }
    Ok(())
}

#[cold]
fn refusal<'k>(keyring: &Keyring, verdict: Verdict<'k>) -> (Rejection, Option<Found<'k>>) {
    match verdict {
        Verdict::NotProven(reason) => (
            Rejection::InvalidCredential(match reason {
                NotProven::Malformed => NotProvenReason::Malformed,
                NotProven::Unknown => NotProvenReason::Unknown,
                NotProven::Forged => NotProvenReason::Forged,
                NotProven::Outdated => NotProvenReason::Outdated,
            }),
            None,
        ),
        Verdict::Stale { found, sent, current } => {
            // A later version than this node's is no old one: the node is about to learn of it.
            if sent < current {
                keyring.news.stale(found.index, &found.slot.usage, sent.get());
            }
            (Rejection::StaleSecret { sent: sent.get(), current: current.get() }, Some(found))
        }
        Verdict::Disabled(found) => (Rejection::KeyDisabled, Some(found)),
        Verdict::Expired(found) => (Rejection::KeyExpired, Some(found)),
        Verdict::TokenExpired(found) => (Rejection::TokenExpired, Some(found)),
        Verdict::TokenRevoked(found) => (Rejection::TokenRevoked, Some(found)),
        // Never asked for: the caller has taken it out.
        Verdict::Proven(found) => (Rejection::Internal, Some(found)),
    }
}
