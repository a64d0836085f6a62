//! **HOT** The decision. Pure: bytes, the keyring and the lease in; a [`Permit`] or a [`Rejection`] out.
//!
//! Both lanes call it. It allocates nothing for a request that is admitted, formats nothing, and waits for
//! nobody. A `Permit` can be made here alone, and choosing an upstream demands one.

use std::net::IpAddr;
use std::num::NonZeroU32;

use crate::clock::Clock;
use crate::config::resolved::Demand;
use crate::credential::{KeyState, Policy, Role, TokenKind};
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
    /// See [`Authority::news`].
    known: u64,
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
    /// The version of the shared secret that the credential rests on.
    pub generation: NonZeroU32,
    /// The credential is an access token.
    pub is_token: bool,
}

impl Permit {
    /// The key that was admitted; `None` on what is public.
    #[must_use]
    pub fn key(&self) -> Option<PermittedKey> {
        self.key
    }

    /// The news of before the decision: with later ones, [`Self::still_holds`] is asked.
    #[must_use]
    pub fn known(&self) -> u64 {
        self.known
    }

    /// Asked when authority may have been taken away since the decision: would it be the same now? What is public needs
    /// none.
    ///
    /// # Errors
    /// What a new request would be told.
    pub fn still_holds(&self, authority: Authority<'_>) -> Result<(), Rejection> {
        self.key.map_or(Ok(()), |key| key.still_holds(authority))
    }
}

impl PermittedKey {
    /// See [`Permit::still_holds`].
    ///
    /// # Errors
    /// What a new request would be told.
    pub fn still_holds(self, authority: Authority<'_>) -> Result<(), Rejection> {
        // In the order of a decision: see `LeaseGate::enter`.
        let entry = authority.lease.enter();
        let looked = self.look(authority);
        if !authority.lease.holds(entry, authority.clock.boot()) {
            return Err(Rejection::NoLease);
        }
        looked
    }

    fn look(self, authority: Authority<'_>) -> Result<(), Rejection> {
        let clock = authority.clock;
        let unknown = Rejection::InvalidCredential(NotProvenReason::Unknown);
        let Some(slot) = authority.keyring.slot(self.index) else { return Err(unknown) };
        let record = slot.record();
        if record.state == KeyState::Deleted {
            return Err(unknown);
        }
        let generations = authority.keyring.generations();
        let Some(generations) = generations.as_ref() else { return Err(unknown) };
        if generations.in_force(self.generation, || clock.wall_coarse()).is_none() {
            let (sent, current) = (self.generation.get(), generations.current().version().get());
            return Err(match self.is_token {
                true => Rejection::InvalidCredential(NotProvenReason::Outdated),
                false => Rejection::StaleSecret { sent, current },
            });
        }
        if record.state == KeyState::Disabled {
            return Err(Rejection::KeyDisabled);
        }
        if record.expires_at().is_some_and(|at| at <= clock.wall_coarse()) {
            return Err(Rejection::KeyExpired);
        }
        if record.role < self.role {
            return Err(Rejection::RoleTooLow);
        }
        // Rolled, or disabled and enabled since, or its policy was tightened.
        if record.epoch != self.epoch {
            return Err(match self.is_token {
                true => Rejection::TokenRevoked,
                false => Rejection::InvalidCredential(NotProvenReason::Forged),
            });
        }
        Ok(())
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
    /// Moves whenever something may have been taken away; read before everything else (`open`).
    pub news: u64,
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
        return Ok(Admission { permit: Permit { key: None, known: authority.news }, key: None });
    };
    let presented = match presented {
        Presented::One(presented) => presented,
        Presented::Absent => return Err((Rejection::MissingCredential, None)),
        Presented::Conflicting => return Err((Rejection::ConflictingCredentials, None)),
        Presented::Misplaced => return Err((Rejection::InvalidCredential(NotProvenReason::Malformed), None)),
    };
    let entry = authority.lease.enter();
    let is_token = authority.takes_tokens && presented.starts_with(b"kgt_");
    let verdict = match is_token {
        true => authority.keyring.verify_token(TokenKind::Access, presented, authority.clock).0,
        false => authority.keyring.verify(presented, authority.clock),
    };
    // After the verification: whatever it rested on was in force at this moment, or the node may not say
    // anything about keys, good or bad.
    if !authority.lease.holds(entry, authority.clock.boot()) {
        return Err((Rejection::NoLease, None));
    }
    let (found, generation) = match verdict {
        Verdict::Proven(found, generation) => (found, generation),
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
    let (index, epoch, role) = (found.index, found.record.epoch, found.record.role);
    let key = PermittedKey { index, epoch, role, generation, is_token };
    Ok(Admission { permit: Permit { key: Some(key), known: authority.news }, key: Some(found) })
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
        Verdict::Proven(found, _) => (Rejection::Internal, Some(found)),
    }
}
