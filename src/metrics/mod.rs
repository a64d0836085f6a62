//! What operators see of a running gateway: metrics, the access log and the program's own log.
//!
//! | file | what |
//! |---|---|
//! | `names` | every metric once: name, help, labels |
//! | `registry` | [`Metrics`]: the handles of everything that is not per route or upstream |
//! | `series` | [`RequestMetrics`], [`UpstreamMetrics`], [`ServerHealth`]: handles that live as long as the routing **HOT** |
//! | `durations` | their histograms **HOT** |
//! | `process` | figures of the process, read from `/proc/self` |
//! | `server` | the listener of `/metrics`, `/healthz` and `/readyz` |
//! | `access_entry` | one line of the access log **HOT** |
//! | `access_text` | its texts: escaped, cut, without credentials **HOT** |
//! | `access_log` | the queue and the thread that write it |
//! | `program_log` | JSON on standard error |
//!
//! Never here: any decision, any I/O on the data plane, any value from a client as a label. Every label is one of
//! the enumerations below, a name from the configuration or a constant of the program, so the number of series is
//! bounded by the configuration. `app` makes these things; `proxy`, `keyring`, `usage`, `fleet` and `admin` use their handles.

/// Makes an enumeration whose variants are the values of a label, or of another set of words that must not change.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl $name {
            /// Every value, in the order of [`Self::index`].
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// As printed.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// Its place in [`Self::ALL`].
            #[must_use]
            pub const fn index(self) -> usize {
                self as usize
            }
        }
    };
}

pub mod access_entry;
pub mod access_log;
mod access_text;
mod durations;
pub mod names;
mod process;
pub mod program_log;
pub mod registry;
pub mod series;
pub mod server;

pub use access_entry::{Entry, EntryKey};
pub use access_log::AccessLog;
pub use pingora_prometheus::prometheus::{Gauge, Histogram, IntCounter, IntGauge, Registry};
pub use registry::{Held, Metrics, default_registry};
pub use series::{RequestMetrics, ServerHealth, UpstreamMetrics};

words! {
    /// Request methods, in as many classes as a metric may tell apart.
    MethodClass {
        /// GET.
        Get = "GET",
        /// HEAD.
        Head = "HEAD",
        /// POST.
        Post = "POST",
        /// PUT.
        Put = "PUT",
        /// PATCH.
        Patch = "PATCH",
        /// DELETE.
        Delete = "DELETE",
        /// OPTIONS.
        Options = "OPTIONS",
        /// QUERY.
        Query = "QUERY",
        /// Every other method, and requests whose method could not be read.
        Other = "other",
    }
}

impl MethodClass {
    /// The class of a method as it was sent; methods are case-sensitive (RFC 9110, section 9.1).
    #[must_use]
    pub fn of(method: &[u8]) -> Self {
        match method {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"PATCH" => Self::Patch,
            b"DELETE" => Self::Delete,
            b"OPTIONS" => Self::Options,
            b"QUERY" => Self::Query,
            _ => Self::Other,
        }
    }
}

words! {
    /// What was decided about a request.
    Decision {
        /// A valid credential was shown and allowed it.
        Admitted = "admitted",
        /// It needed none.
        Public = "public",
        /// It was answered by keygate itself.
        Refused = "refused",
    }
}

words! {
    /// The first digit of a status code.
    StatusClass {
        /// 100 to 199.
        Informational = "1xx",
        /// 200 to 299.
        Success = "2xx",
        /// 300 to 399.
        Redirection = "3xx",
        /// 400 to 499.
        ClientError = "4xx",
        /// 500 and above.
        ServerError = "5xx",
    }
}

impl StatusClass {
    /// The class of a status code. What is no status code at all counts as the server's error.
    #[must_use]
    pub const fn of(status: u16) -> Self {
        match status {
            100..=199 => Self::Informational,
            200..=299 => Self::Success,
            300..=399 => Self::Redirection,
            400..=499 => Self::ClientError,
            _ => Self::ServerError,
        }
    }
}

words! {
    /// Why a request took the lane that it took.
    LaneReason {
        /// Strictly plain HTTP/1.1: the express lane.
        Plain = "plain",
        /// The express lane is switched off.
        SwitchedOff = "switched_off",
        /// HTTP/1.0.
        Http10 = "http_1_0",
        /// The target in absolute form.
        AbsoluteForm = "absolute_form",
        /// `Expect: 100-continue`.
        Expect = "expect",
        /// An `Upgrade` field: WebSocket and others.
        Upgrade = "upgrade",
        /// `Connection` names fields that end here.
        ConnectionOption = "connection_option",
    }
}

impl LaneReason {
    /// The lane.
    #[must_use]
    pub const fn lane(self) -> &'static str {
        match self {
            Self::Plain => "express",
            _ => "general",
        }
    }
}

words! {
    /// Why an exchange was ended before its end.
    CutReason {
        /// Its API key was rolled, disabled, deleted, restricted, or has expired.
        Key = "key",
        /// The shared secret was regenerated, or a grace period ended.
        Secret = "secret",
        /// The node lost its lease.
        Lease = "lease",
        /// It went on for longer than `max_stream_age`.
        Age = "age",
        /// It went on for longer than `drain_timeout`.
        Stop = "stop",
    }
}

words! {
    /// Why an exchange with an upstream failed.
    UpstreamFailure {
        /// None of its servers is healthy.
        NoServer = "no_server",
        /// The connection was refused, or there was no way to the server.
        Connect = "connect",
        /// The connection was not there within `connect_timeout`.
        ConnectTimeout = "connect_timeout",
        /// Nothing came within `read_timeout`.
        ReadTimeout = "read_timeout",
        /// A write made no progress within `write_timeout`.
        WriteTimeout = "write_timeout",
        /// The server closed or reset the connection before its response was complete.
        Closed = "closed",
        /// What came was no HTTP response.
        Protocol = "protocol",
        /// Anything else.
        Other = "other",
    }
}

words! {
    /// Why a kept connection to a server was let go unused.
    IdleDropped {
        /// It was kept for as long as it may be.
        Idle = "idle",
        /// The server closed it.
        Closed = "closed",
        /// The server sent something that nobody had asked for.
        Dirty = "dirty",
    }
}

words! {
    /// How a change of the configuration ended.
    ReloadResult {
        /// It is in force.
        Applied = "applied",
        /// It was refused; the one before it is still in force.
        Refused = "refused",
    }
}

words! {
    /// How a login at the admin plane ended.
    LoginOutcome {
        /// A session was opened.
        Accepted = "accepted",
        /// The token was none, or no longer.
        Refused = "refused",
        /// It was not looked at: too many had failed from the same address.
        Slowed = "slowed",
    }
}

words! {
    /// How a token exchange ended.
    ExchangeOutcome {
        /// Tokens were given.
        Granted = "granted",
        /// Another method than POST.
        Method = "method",
        /// The path was nearly that of an endpoint.
        NotHere = "not_here",
        /// The body was too long.
        TooLarge = "too_large",
        /// The body did not come in time.
        TooSlow = "too_slow",
        /// The body was not what the endpoint takes.
        Malformed = "malformed",
        /// Forged, unknown or malformed credentials.
        NotProven = "not_proven",
        /// The same, from an address that had to wait.
        Slowed = "slowed",
        /// The app key held, the shared secret was an old one.
        OutdatedSecret = "outdated_secret",
        /// The key is disabled.
        KeyDisabled = "key_disabled",
        /// The key has expired.
        KeyExpired = "key_expired",
        /// A claim was missing or wrong.
        Claims = "claims",
        /// `iat` was not of now.
        ClockSkew = "clock_skew",
        /// Not from this address.
        NetworkNotAllowed = "network_not_allowed",
        /// The JWT was seen before.
        Replayed = "replayed",
        /// Too many JWTs of one key.
        TooMany = "too_many",
        /// The refresh token was over or revoked.
        SessionEnded = "session_ended",
        /// A refresh token of before a regeneration.
        OutdatedToken = "outdated_token",
        /// The node could not decide.
        NoLease = "no_lease",
        /// The generation has no key to sign with yet.
        NoSigningKey = "no_signing_key",
        /// Too many exchanges at a time, or JWTs that are remembered.
        Busy = "busy",
        /// The gateway ended before the body was there.
        Stopping = "stopping",
        /// The client went away before its body was there.
        Gone = "gone",
    }
}

words! {
    /// What a node asked of the store.
    StoreOperation {
        /// To load all keys and secrets.
        Load = "load",
        /// To read the changes since a revision.
        Changes = "changes",
        /// To write the node's row.
        Join = "join",
        /// To read what a renewal of the lease needs.
        Renew = "renew",
        /// To write what was applied.
        Confirm = "confirm",
        /// To write when the node was last seen.
        Seen = "seen",
        /// To merge last logins and counts.
        Usage = "usage",
        /// Anything else.
        Other = "other",
    }
}

words! {
    /// Things that somebody must look at.
    Alarm {
        /// The store has the revision that was applied, but with another change id: a failover or a restore.
        ChangeIdMismatch = "change_id_mismatch",
        /// The store is at an earlier revision than the one that was applied: a restore.
        RevisionBehind = "revision_behind",
        /// A change of a kind that this version does not know.
        UnknownChange = "unknown_change",
    }
}

words! {
    /// Why a node is not ready for traffic.
    NotReady {
        /// It has not loaded its keys yet.
        Starting = "starting",
        /// It has no valid lease: it answers 503.
        NoLease = "no_lease",
        /// It is stopping.
        Draining = "draining",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_where_its_index_says() {
        for (at, method) in MethodClass::ALL.iter().enumerate() {
            assert_eq!(method.index(), at);
            assert_eq!(MethodClass::of(method.as_str().as_bytes()), *method);
        }
        for (at, status) in StatusClass::ALL.iter().enumerate() {
            assert_eq!(status.index(), at);
            let hundreds = u16::try_from(at + 1).unwrap() * 100;
            assert_eq!(StatusClass::of(hundreds), *status);
            assert_eq!(StatusClass::of(hundreds + 99), *status);
        }
        for (at, decision) in Decision::ALL.iter().enumerate() {
            assert_eq!(decision.index(), at);
        }
    }

    #[test]
    fn odd_methods_and_statuses_have_a_class() {
        assert_eq!(MethodClass::of(b""), MethodClass::Other);
        assert_eq!(MethodClass::of(b"get"), MethodClass::Other);
        assert_eq!(MethodClass::of(b"TRACE"), MethodClass::Other);
        assert_eq!(StatusClass::of(0), StatusClass::ServerError);
        assert_eq!(StatusClass::of(600), StatusClass::ServerError);
    }
}
