//! Refusals of a token exchange: every way to be turned away, and the one place that says what each is told.
//!
//! Nothing here repeats what a client sent, and only who has proven itself is told what is wrong.

use std::borrow::Cow;

use crate::metrics::ExchangeOutcome;

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another method than POST.
    Method,
    /// The path is nearly that of an endpoint: what was meant for it must not reach an upstream.
    NotHere,
    /// The body is longer than [`super::BODY_MAX`].
    TooLarge,
    /// The body did not come in time.
    TooSlow,
    /// The body is not what the endpoint takes; says what that is.
    Malformed(&'static str),
    /// Forged, unknown, malformed: told alike.
    NotProven,
    /// The same, from an address from which that came too often.
    Slowed {
        /// Seconds to wait.
        wait: u64,
    },
    /// The app key holds, and the signature holds under no shared secret that is in force.
    OutdatedSecret {
        /// The version that is.
        current: u32,
    },
    /// Proven; disabled.
    KeyDisabled,
    /// Proven; expired.
    KeyExpired,
    /// Proven; a claim is missing or not what it must be. Says which, and what it must be.
    Claim(&'static str),
    /// Proven; meant for another gateway.
    ShortName {
        /// This gateway's.
        expected: String,
    },
    /// Proven; not of now.
    ClockSkew {
        /// How far `iat` is ahead of this gateway's clock, in seconds; behind it: negative.
        ahead: i64,
    },
    /// Proven; not from this address.
    NetworkNotAllowed,
    /// Proven; seen before.
    Replayed,
    /// Proven; too many of this key in the last minutes.
    TooMany {
        /// Seconds until there is room.
        wait: u64,
    },
    /// A refresh token that is proven, and over or revoked.
    SessionEnded,
    /// A token of a generation that is gone, as all are after a regeneration: told like what is not proven, and no guess.
    OutdatedToken,
    /// This node may not decide now.
    NoLease,
    /// The generation has no key to sign tokens with: one is made within a minute.
    NoSigningKey,
    /// Too many at a time.
    Busy,
    /// The gateway ends before the body is there.
    Stopping,
}

/// Seconds ahead that no clock is, but every time in milliseconds.
const MILLISECONDS: i64 = 100_000_000_000;

/// A refusal, and whose request it was where that was proven: for the log.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    /// Of the key.
    pub(super) slot: Option<u32>,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, slot: None }
    }
}

impl Refusal {
    /// Of the key at this slot, which has proven itself.
    pub(super) fn of(self, slot: u32) -> Refused {
        Refused { refusal: self, slot: Some(slot) }
    }

    /// Status code and name, as the protocol has them.
    #[must_use]
    pub const fn status(&self) -> (u16, &'static str) {
        match self {
            Self::Malformed(_) => (400, "BadRequest"),
            Self::NotProven
            | Self::OutdatedSecret { .. }
            | Self::KeyDisabled
            | Self::KeyExpired
            | Self::Claim(_)
            | Self::ShortName { .. }
            | Self::ClockSkew { .. }
            | Self::Replayed
            | Self::OutdatedToken
            | Self::SessionEnded => (401, "Unauthorized"),
            Self::NetworkNotAllowed => (403, "Forbidden"),
            Self::NotHere => (404, "NotFound"),
            Self::Method => (405, "MethodNotAllowed"),
            Self::TooSlow => (408, "RequestTimeout"),
            Self::TooLarge => (413, "PayloadTooLarge"),
            Self::Slowed { .. } | Self::TooMany { .. } => (429, "TooManyRequests"),
            Self::NoLease | Self::NoSigningKey | Self::Busy | Self::Stopping => (503, "ServiceUnavailable"),
        }
    }

    /// What it is counted as.
    #[must_use]
    pub const fn outcome(&self) -> ExchangeOutcome {
        match self {
            Self::Method => ExchangeOutcome::Method,
            Self::NotHere => ExchangeOutcome::NotHere,
            Self::TooLarge => ExchangeOutcome::TooLarge,
            Self::TooSlow => ExchangeOutcome::TooSlow,
            Self::Malformed(_) => ExchangeOutcome::Malformed,
            Self::NotProven => ExchangeOutcome::NotProven,
            Self::Slowed { .. } => ExchangeOutcome::Slowed,
            Self::OutdatedSecret { .. } => ExchangeOutcome::OutdatedSecret,
            Self::KeyDisabled => ExchangeOutcome::KeyDisabled,
            Self::KeyExpired => ExchangeOutcome::KeyExpired,
            Self::Claim(_) | Self::ShortName { .. } => ExchangeOutcome::Claims,
            Self::ClockSkew { .. } => ExchangeOutcome::ClockSkew,
            Self::NetworkNotAllowed => ExchangeOutcome::NetworkNotAllowed,
            Self::Replayed => ExchangeOutcome::Replayed,
            Self::TooMany { .. } => ExchangeOutcome::TooMany,
            Self::SessionEnded => ExchangeOutcome::SessionEnded,
            Self::OutdatedToken => ExchangeOutcome::OutdatedToken,
            Self::NoLease => ExchangeOutcome::NoLease,
            Self::NoSigningKey => ExchangeOutcome::NoSigningKey,
            Self::Busy => ExchangeOutcome::Busy,
            Self::Stopping => ExchangeOutcome::Stopping,
        }
    }

    /// Seconds for `Retry-After` (RFC 9110, section 10.2.3).
    #[must_use]
    pub const fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Slowed { wait } | Self::TooMany { wait } => Some(*wait),
            Self::NoLease | Self::NoSigningKey | Self::Busy | Self::Stopping => Some(1),
            _ => None,
        }
    }

    /// What follows on the connection cannot be told: it is closed.
    #[must_use]
    pub const fn poisons_connection(&self) -> bool {
        matches!(self, Self::TooLarge | Self::TooSlow | Self::Busy | Self::Stopping)
    }

    /// For people.
    #[must_use]
    pub fn message(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Method => "Only POST is answered here.",
            Self::NotHere => "There is nothing here; compare the path with that of the token exchange.",
            Self::TooLarge => "The body has more than 8192 bytes.",
            Self::TooSlow => "The body did not come in time.",
            Self::Malformed(what) | Self::Claim(what) => what,
            Self::NotProven | Self::OutdatedToken => "The credentials are not valid.",
            Self::Slowed { .. } => "Too many invalid credentials came from this address. Wait before the next attempt.",
            Self::OutdatedSecret { current } => {
                return format!(
                    "The bundle's sharedsecret is out of date, or the JWT is not signed with the whole of it, kgs_ \
                     included. The gateway's shared secret is at version {current}."
                )
                .into();
            }
            Self::KeyDisabled => "The API key is disabled.",
            Self::KeyExpired => "The API key has expired.",
            Self::ShortName { expected } => {
                return format!("The shortname is not this gateway's, which is {expected:?}.").into();
            }
            Self::ClockSkew { ahead } => {
                let (by, side) = (ahead.unsigned_abs(), if *ahead > 0 { "ahead of" } else { "behind" });
                if *ahead > MILLISECONDS {
                    return "The iat is too large by far; it must be in seconds since 1970, not in milliseconds."
                        .into();
                }
                return format!(
                    "The JWT is not of now: iat is {by} seconds {side} the gateway's clock, and 300 are allowed. Set the \
                     client's clock, and make a new JWT for each exchange."
                )
                .into();
            }
            Self::NetworkNotAllowed => "The API key may not be used from this address.",
            Self::Replayed => "This JWT was used before. Make a new one, with another jti, for each exchange.",
            Self::TooMany { .. } => {
                "This API key exchanged too many JWTs in the last minutes. Use the access token until it expires."
            }
            Self::SessionEnded => "The refresh token has expired or was revoked. Exchange a new JWT.",
            Self::NoLease | Self::NoSigningKey => "The gateway cannot decide at the moment.",
            Self::Busy => "The gateway has too many exchanges at a time.",
            Self::Stopping => "The gateway is stopping.",
        })
    }
}
