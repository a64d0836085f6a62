//! Refusals: every way a request can be turned away, and the one place that maps each to what the client is
//! told (RFC 9457 problem details, RFC 9110 and RFC 6750 `WWW-Authenticate`) and to what metrics and log say.
//!
//! Nothing here repeats what a client sent, and what is told of a credential depends on what it has proven.

mod answer;

use crate::proxy::path::PathFault;
pub use answer::{Asker, Problem};

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The head is no HTTP/1 request (RFC 9112).
    MalformedHead(&'static str),
    /// The head is larger than `max_header_size`.
    HeadTooLarge,
    /// The head has more than `max_headers` fields.
    TooManyHeaders,
    /// The head took longer than `header_timeout`.
    HeadTimeout,
    /// CONNECT and TRACE, which are never forwarded.
    MethodRefused,
    /// See [`PathFault`].
    Path(PathFault),
    /// A length or coding of the body that two readers could take differently (RFC 9112, section 6.3).
    Framing(&'static str),
    /// The body is longer than `max_body`.
    BodyTooLarge,
    /// The client stopped sending the body.
    BodyTimeout,
    /// The body is not framed as its head says.
    BodyMalformed,
    /// No route has this host and path.
    NoRoute,
    /// No credential.
    MissingCredential,
    /// Two different credentials of ours.
    ConflictingCredentials,
    /// Malformed, unknown or forged: told alike.
    InvalidCredential(NotProvenReason),
    /// Proven; encoded with an old secret.
    StaleSecret {
        /// What it was encoded with.
        sent: u32,
        /// What it must be encoded with.
        current: u32,
    },
    /// Proven; disabled.
    KeyDisabled,
    /// Proven; expired.
    KeyExpired,
    /// An access token that is over.
    TokenExpired,
    /// An access token of before its key was rolled, disabled or restricted.
    TokenRevoked,
    /// Proven; READONLY, and the request needs ADMIN.
    RoleTooLow,
    /// Proven; not from this address.
    NetworkNotAllowed,
    /// Proven; not on this route.
    RouteNotAllowed,
    /// This node may not decide now.
    NoLease,
    /// No server of the upstream is well.
    NoUpstream,
    /// No connection to the upstream, or it broke.
    UpstreamFailed,
    /// The upstream's answer is no HTTP/1 response.
    UpstreamMalformed,
    /// The upstream was too slow.
    UpstreamTimeout,
    /// Too many connections.
    Overloaded,
    /// The gateway stops, and waits no longer.
    Stopping,
    /// A fault of our own.
    Internal,
}

/// What metrics and logs tell apart of an invalid credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotProvenReason {
    /// Not of the form, or not where credentials are read.
    Malformed,
    /// No such key.
    Unknown,
    /// MAC or digest do not hold.
    Forged,
    /// A token of a generation that is not in force.
    Outdated,
}

/// What is told of one kind of rejection.
struct Kind {
    reason: &'static str,
    status: u16,
    problem: &'static str,
    title: &'static str,
}

impl Rejection {
    /// Every reason, for the metric's handles and the docs.
    pub const REASONS: [&'static str; 33] = [
        "malformed_head",
        "head_too_large",
        "too_many_headers",
        "head_timeout",
        "method_refused",
        "path",
        "framing",
        "body_too_large",
        "body_timeout",
        "body_malformed",
        "no_route",
        "missing_credential",
        "conflicting_credentials",
        "malformed",
        "unknown",
        "forged",
        "outdated_token",
        "stale_secret",
        "key_disabled",
        "key_expired",
        "token_expired",
        "token_revoked",
        "role_too_low",
        "network_not_allowed",
        "route_not_allowed",
        "no_lease",
        "no_upstream",
        "upstream_failed",
        "upstream_malformed",
        "upstream_timeout",
        "overloaded",
        "stopping",
        "internal",
    ];

    /// Position in [`Self::REASONS`].
    #[must_use]
    pub const fn index(&self) -> usize {
        match self {
            Self::MalformedHead(_) => 0,
            Self::HeadTooLarge => 1,
            Self::TooManyHeaders => 2,
            Self::HeadTimeout => 3,
            Self::MethodRefused => 4,
            Self::Path(_) => 5,
            Self::Framing(_) => 6,
            Self::BodyTooLarge => 7,
            Self::BodyTimeout => 8,
            Self::BodyMalformed => 9,
            Self::NoRoute => 10,
            Self::MissingCredential => 11,
            Self::ConflictingCredentials => 12,
            Self::InvalidCredential(NotProvenReason::Malformed) => 13,
            Self::InvalidCredential(NotProvenReason::Unknown) => 14,
            Self::InvalidCredential(NotProvenReason::Forged) => 15,
            Self::InvalidCredential(NotProvenReason::Outdated) => 16,
            Self::StaleSecret { .. } => 17,
            Self::KeyDisabled => 18,
            Self::KeyExpired => 19,
            Self::TokenExpired => 20,
            Self::TokenRevoked => 21,
            Self::RoleTooLow => 22,
            Self::NetworkNotAllowed => 23,
            Self::RouteNotAllowed => 24,
            Self::NoLease => 25,
            Self::NoUpstream => 26,
            Self::UpstreamFailed => 27,
            Self::UpstreamMalformed => 28,
            Self::UpstreamTimeout => 29,
            Self::Overloaded => 30,
            Self::Stopping => 31,
            Self::Internal => 32,
        }
    }

    /// For metrics and log.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.kind().reason
    }

    /// The status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.kind().status
    }

    fn kind(&self) -> Kind {
        let (status, problem, title) = match self {
            Self::MalformedHead(_) => (400, "malformed-request", "The request is malformed"),
            Self::HeadTooLarge => (431, "request-header-too-large", "The request's header is too large"),
            Self::TooManyHeaders => (431, "too-many-header-fields", "The request has too many header fields"),
            Self::HeadTimeout => (408, "request-timeout", "The request's header took too long"),
            Self::MethodRefused => (405, "method-not-allowed", "This method is not forwarded"),
            Self::Path(_) => (400, "ambiguous-path", "The path is ambiguous"),
            Self::Framing(_) => (400, "ambiguous-framing", "The length of the body is ambiguous"),
            Self::BodyTooLarge => (413, "body-too-large", "The request's body is too large"),
            Self::BodyTimeout => (408, "body-timeout", "The request's body stopped coming"),
            Self::BodyMalformed => (400, "malformed-body", "The request's body is malformed"),
            Self::NoRoute => (404, "no-route", "There is nothing at this host and path"),
            Self::MissingCredential => (401, "missing-credential", "An API key is required"),
            Self::ConflictingCredentials => (400, "conflicting-credentials", "Two different credentials were sent"),
            Self::InvalidCredential(_) => (401, "invalid-credential", "The API key is not valid"),
            Self::StaleSecret { .. } => {
                (401, "stale-shared-secret", "The API key is encoded with an old shared secret")
            }
            Self::KeyDisabled => (401, "key-disabled", "The API key is disabled"),
            Self::KeyExpired => (401, "key-expired", "The API key has expired"),
            Self::TokenExpired => (401, "token-expired", "The access token has expired"),
            Self::TokenRevoked => (401, "token-revoked", "The access token was revoked"),
            Self::RoleTooLow => (403, "insufficient-role", "The API key's role does not allow this request"),
            Self::NetworkNotAllowed => (403, "network-not-allowed", "The API key may not be used from this address"),
            Self::RouteNotAllowed => (403, "route-not-allowed", "The API key may not be used on this route"),
            Self::NoLease => (503, "no-lease", "The gateway cannot decide at the moment"),
            Self::NoUpstream => (503, "no-upstream", "No server of the API is available"),
            Self::UpstreamFailed => (502, "upstream-failed", "The API could not be reached"),
            Self::UpstreamMalformed => (502, "upstream-malformed", "The API's answer is malformed"),
            Self::UpstreamTimeout => (504, "upstream-timeout", "The API took too long"),
            Self::Overloaded => (503, "overloaded", "The gateway has too many connections"),
            Self::Stopping => (503, "stopping", "The gateway is stopping"),
            Self::Internal => (500, "internal-error", "The gateway failed"),
        };
        Kind { reason: Self::REASONS.get(self.index()).copied().unwrap_or("internal"), status, problem, title }
    }

    fn detail(&self) -> Option<&'static str> {
        Some(match self {
            Self::MalformedHead(what) | Self::Framing(what) => what,
            Self::Path(fault) => fault.describe(),
            Self::MissingCredential => "Send an encoded key as Authorization: Bearer, as X-API-Key, or by HTTP Basic.",
            Self::TokenExpired => "Refresh it, or exchange a new JWT.",
            Self::TokenRevoked => {
                "Its API key was rolled, disabled or restricted after it was made. Exchange a new JWT."
            }
            Self::RoleTooLow => "The API key has the role READONLY; this request needs ADMIN.",
            _ => return None,
        })
    }

    /// The `WWW-Authenticate` challenge (RFC 6750, section 3), where there is one.
    fn challenge(&self) -> Option<&'static str> {
        Some(match self {
            Self::MissingCredential => "Bearer realm=\"keygate\"",
            Self::InvalidCredential(_) => "Bearer realm=\"keygate\", error=\"invalid_token\"",
            Self::StaleSecret { .. } => {
                "Bearer realm=\"keygate\", error=\"invalid_token\", error_description=\"encoded with an old shared secret\""
            }
            Self::KeyDisabled => {
                "Bearer realm=\"keygate\", error=\"invalid_token\", error_description=\"the API key is disabled\""
            }
            Self::KeyExpired => {
                "Bearer realm=\"keygate\", error=\"invalid_token\", error_description=\"the API key has expired\""
            }
            Self::TokenExpired => {
                "Bearer realm=\"keygate\", error=\"invalid_token\", error_description=\"the access token has expired\""
            }
            Self::TokenRevoked => {
                "Bearer realm=\"keygate\", error=\"invalid_token\", error_description=\"the access token was revoked\""
            }
            Self::RoleTooLow => "Bearer realm=\"keygate\", error=\"insufficient_scope\", scope=\"ADMIN\"",
            _ => return None,
        })
    }

    /// Must the connection be closed, since what follows on it cannot be told?
    #[must_use]
    pub const fn poisons_connection(&self) -> bool {
        matches!(
            self,
            Self::MalformedHead(_)
                | Self::HeadTooLarge
                | Self::TooManyHeaders
                | Self::HeadTimeout
                | Self::MethodRefused
                | Self::Framing(_)
                | Self::BodyTooLarge
                | Self::BodyTimeout
                | Self::BodyMalformed
                | Self::Overloaded
                | Self::Stopping
        )
    }

    /// Fields beside those that every answer has.
    fn fields(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let other = match self {
            Self::NoLease | Self::NoUpstream | Self::Overloaded | Self::Stopping => Some(("Retry-After", "1")),
            Self::MethodRefused => Some(("Allow", "GET, HEAD, QUERY, POST, PUT, PATCH, DELETE, OPTIONS")),
            _ => None,
        };
        self.challenge().map(|challenge| ("WWW-Authenticate", challenge)).into_iter().chain(other)
    }
}

#[cfg(test)]
mod tests;
