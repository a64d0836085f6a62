//! Is a JWT true: whose it is, signed with which shared secret, of now, and meant for this gateway.

use std::net::IpAddr;

use super::Exchanges;
use super::refusal::{Refusal, Refused};
use crate::clock::WallTime;
use crate::config::resolved::TokenExchange;
use crate::credential::jwt::{Claim, Claims, JTI_MAX, Jwt};
use crate::credential::{KeyState, MacKey};
use crate::keyring::{Found, Record};

/// Seconds that `iat` may differ from the gateway's clock, either way.
pub(super) const WINDOW: u64 = 300;

/// What was proven.
pub(super) struct Proven<'k> {
    /// The key.
    pub(super) found: Found<'k>,
    /// The version of the shared secret that signed.
    pub(super) version: std::num::NonZeroU32,
    /// Before when that version is accepted.
    pub(super) grace_end: Option<WallTime>,
    /// What tokens of this generation are signed with.
    pub(super) signing: MacKey,
}

/// Who sends this JWT. Both must hold: the app key's digest, and the signature under a shared secret in force.
pub(super) fn prove<'k>(exchanges: &'k Exchanges, jwt: &Jwt<'_>, now: WallTime) -> Result<Proven<'k>, Refused> {
    let found = exchanges.keyring.find(jwt.claims.app_key.id()).ok_or(Refusal::NotProven)?;
    if found.record.state == KeyState::Deleted || !jwt.claims.app_key.digest().matches(&found.record.digest) {
        return Err(Refusal::NotProven.into());
    }
    let generations = exchanges.keyring.generations();
    let generations = generations.as_ref().ok_or(Refusal::NoLease)?;
    let Some(generation) = generations.live(now).find(|generation| jwt.signature_holds(generation.mac())) else {
        let current = generations.current().version().get();
        // An old secret, to all appearances; how old is not to be seen. The page shows the key as one that still sends the
        // version before.
        if current > 1 {
            exchanges.keyring.news.stale(found.index, &found.slot.usage, current - 1);
        }
        return Err(Refusal::OutdatedSecret { current }.of(found.index));
    };
    let version = generation.version();
    let signing = generation.signing().ok_or_else(|| Refusal::NoSigningKey.of(found.index))?.clone();
    Ok(Proven { found, version, grace_end: generations.grace_end(version), signing })
}

/// May this key have a token now, by what its JWT claims? Gives `jti` and `iat` in seconds.
pub(super) fn check<'c>(
    settings: &TokenExchange,
    record: &Record,
    claims: &'c Claims,
    client: IpAddr,
    now: WallTime,
) -> Result<(&'c str, u64), Refusal> {
    if record.state == KeyState::Disabled {
        return Err(Refusal::KeyDisabled);
    }
    if record.expires_at().is_some_and(|at| at <= now) {
        return Err(Refusal::KeyExpired);
    }
    match &claims.app_name {
        Claim::Is(name) if record.is_named(name) => {}
        Claim::Is(_) => {
            return Err(Refusal::Claim("The appname is not the name of the API key; it may have been renamed."));
        }
        _ => return Err(Refusal::Claim("The appname is missing or no text; it must be the name of the API key.")),
    }
    match &claims.short_name {
        Claim::Is(name) if *name == settings.shortname => {}
        _ => return Err(Refusal::ShortName { expected: settings.shortname.clone() }),
    }
    // RFC 7519, section 4.1.3: who is not named there must refuse it, and nothing there can name a gateway.
    if claims.has_audience {
        return Err(Refusal::Claim("The JWT has an aud; it must have none."));
    }
    let issued_at = of_now(claims, now)?;
    let id = match &claims.id {
        Claim::Is(id) if (1..=JTI_MAX).contains(&id.len()) => id.as_str(),
        _ => return Err(Refusal::Claim("The jti is missing or no text of 1 to 256 bytes; make one for each JWT.")),
    };
    if !allows(record, client) {
        return Err(Refusal::NetworkNotAllowed);
    }
    Ok((id, issued_at))
}

/// May the key be used from this address?
pub(super) fn allows(record: &Record, client: IpAddr) -> bool {
    let networks = record.policy.as_ref().and_then(|policy| policy.allowed_networks.as_ref());
    networks.is_none_or(|networks| networks.iter().any(|network| network.contains(&client)))
}

/// `iat`, whole seconds, if it is of now; and `exp` and `nbf`, where they are, must agree (RFC 7519, sections 4.1.4 and
/// 4.1.5, with the same leeway).
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "seconds of \
    our time are far below 2^53, and what is converted was found to be near them"
)]
fn of_now(claims: &Claims, now: WallTime) -> Result<u64, Refusal> {
    let now = now.as_millis() as f64 / 1000.0;
    let leeway = WINDOW as f64;
    let Claim::Is(issued_at) = claims.issued_at else {
        return Err(Refusal::Claim("The iat is missing or no number; it must be the time in seconds since 1970."));
    };
    if (issued_at - now).abs() > leeway {
        // Beyond what an i64 holds, it is the largest of them.
        return Err(Refusal::ClockSkew { ahead: (issued_at - now).round() as i64 });
    }
    match claims.expires_at {
        Claim::Absent => {}
        Claim::Is(end) if end + leeway > now => {}
        Claim::Is(_) => return Err(Refusal::Claim("The JWT's exp is over; make a new one for each exchange.")),
        Claim::Odd => return Err(Refusal::Claim("The exp is no number; it must be a time in seconds since 1970.")),
    }
    match claims.not_before {
        Claim::Absent => {}
        Claim::Is(start) if start <= now + leeway => {}
        Claim::Is(_) => return Err(Refusal::Claim("The JWT's nbf is still to come.")),
        Claim::Odd => return Err(Refusal::Claim("The nbf is no number; it must be a time in seconds since 1970.")),
    }
    Ok(issued_at as u64)
}
