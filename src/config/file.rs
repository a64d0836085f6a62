//! The file as it is written: raw values with their places, nothing checked but names and types.
//!
//! Beside each table stands the list of its names, [`Names`], from which unknown keys get their suggestion; a test
//! holds the lists equal to the structures. Defaults are not here (`resolve`, `upstreams`, `routes`). None of these
//! types can be printed, since what they hold is not known to be free of secrets. Called by [`super::parse`].

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor, value::MapAccessDeserializer};
use toml::Spanned;

use super::names::{Names, Shape};
pub(super) use super::quantity::Quantity;

/// A value with its place, or nothing.
pub(super) type Given<T> = Option<Spanned<T>>;

const TLS: (&str, &str) = ("tls", "TLS on the data plane");
const TLS_UPSTREAM: (&str, &str) = ("tls", "TLS towards upstreams");
const PROXY_PROTOCOL: (&str, &str) = ("proxy_protocol", "the PROXY protocol");
const RATE_LIMIT: (&str, &str) = ("rate_limit", "rate limits");
const RATE_LIMITS: (&str, &str) = ("rate_limits", "rate limits");

/// The whole file.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) server: Server,
    pub(super) upstream: Vec<Spanned<Upstream>>,
    pub(super) route: Vec<Spanned<Route>>,
    pub(super) store: Store,
    pub(super) secrets: Secrets,
    pub(super) usage: Usage,
    pub(super) token_exchange: Option<Spanned<TokenExchange>>,
    pub(super) admin: Admin,
    pub(super) metrics: Metrics,
    pub(super) log: Log,
}

pub(super) static ROOT: Names = Names {
    fields: &["server", "upstream", "route", "store", "secrets", "usage", "token_exchange", "admin", "metrics", "log"],
    later: &[RATE_LIMIT, RATE_LIMITS],
    inner: &[
        ("server", Shape::Table, &SERVER),
        ("upstream", Shape::Tables, &UPSTREAM),
        ("route", Shape::Tables, &ROUTE),
        ("store", Shape::Table, &STORE),
        ("secrets", Shape::Table, &SECRETS),
        ("usage", Shape::Table, &USAGE),
        ("token_exchange", Shape::Table, &TOKEN_EXCHANGE),
        ("admin", Shape::Table, &ADMIN),
        ("metrics", Shape::Table, &METRICS),
        ("log", Shape::Table, &LOG),
    ],
};

/// `[server]`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Server {
    pub(super) listen: Given<Vec<Spanned<String>>>,
    pub(super) threads: Given<i64>,
    pub(super) trusted_proxies: Vec<Spanned<String>>,
    pub(super) run_dir: Given<String>,
    pub(super) drain_timeout: Given<Quantity>,
    pub(super) express_lane: Option<bool>,
    pub(super) limits: Limits,
}

pub(super) static SERVER: Names = Names {
    fields: &["listen", "threads", "trusted_proxies", "run_dir", "drain_timeout", "express_lane", "limits"],
    later: &[TLS, PROXY_PROTOCOL, RATE_LIMIT, RATE_LIMITS],
    inner: &[("limits", Shape::Table, &LIMITS)],
};

/// `[server.limits]`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Limits {
    pub(super) max_connections: Given<i64>,
    pub(super) max_connections_per_address: Given<i64>,
    pub(super) max_header_size: Given<Quantity>,
    pub(super) max_headers: Given<i64>,
    pub(super) max_body: Given<Quantity>,
    pub(super) header_timeout: Given<Quantity>,
    pub(super) body_stall: Given<Quantity>,
    pub(super) write_stall: Given<Quantity>,
    pub(super) idle_timeout: Given<Quantity>,
    pub(super) max_stream_age: Given<Quantity>,
}

pub(super) static LIMITS: Names = Names {
    fields: &[
        "max_connections",
        "max_connections_per_address",
        "max_header_size",
        "max_headers",
        "max_body",
        "header_timeout",
        "body_stall",
        "write_stall",
        "idle_timeout",
        "max_stream_age",
    ],
    later: &[("streams", "limits of streams"), ("max_streams", "limits of streams"), RATE_LIMIT, RATE_LIMITS],
    inner: &[],
};

/// `[[upstream]]`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Upstream {
    pub(super) name: Given<String>,
    pub(super) servers: Given<Vec<Spanned<UpstreamServer>>>,
    pub(super) connect_timeout: Given<Quantity>,
    pub(super) read_timeout: Given<Quantity>,
    pub(super) write_timeout: Given<Quantity>,
    pub(super) idle_timeout: Given<Quantity>,
    pub(super) pool_size: Given<i64>,
    pub(super) health: Given<Health>,
}

pub(super) static UPSTREAM: Names = Names {
    fields: &[
        "name",
        "servers",
        "connect_timeout",
        "read_timeout",
        "write_timeout",
        "idle_timeout",
        "pool_size",
        "health",
    ],
    later: &[TLS_UPSTREAM, PROXY_PROTOCOL, RATE_LIMIT, RATE_LIMITS],
    inner: &[("servers", Shape::TextsOrTables, &UPSTREAM_SERVER), ("health", Shape::Table, &HEALTH)],
};

/// An entry of `servers`: an address alone, or a table.
pub(super) enum UpstreamServer {
    Address(String),
    Table(ServerTable),
}

/// `{ address, weight }`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ServerTable {
    pub(super) address: Given<String>,
    pub(super) weight: Given<i64>,
}

pub(super) static UPSTREAM_SERVER: Names =
    Names { fields: &["address", "weight"], later: &[TLS_UPSTREAM, PROXY_PROTOCOL], inner: &[] };

/// `health = { path, interval, timeout }`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Health {
    pub(super) path: Given<String>,
    pub(super) interval: Given<Quantity>,
    pub(super) timeout: Given<Quantity>,
}

pub(super) static HEALTH: Names =
    Names { fields: &["path", "interval", "timeout"], later: &[TLS_UPSTREAM], inner: &[] };

/// `[[route]]`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Route {
    pub(super) host: Given<String>,
    pub(super) path: Given<String>,
    pub(super) upstream: Given<String>,
    pub(super) access: Given<String>,
    pub(super) rule: Vec<Spanned<Rule>>,
    pub(super) preflight: bool,
    pub(super) lenient_paths: bool,
}

pub(super) static ROUTE: Names = Names {
    fields: &["host", "path", "upstream", "access", "rule", "preflight", "lenient_paths"],
    later: &[RATE_LIMIT, RATE_LIMITS, TLS],
    inner: &[("rule", Shape::Tables, &RULE)],
};

/// `[[route.rule]]`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Rule {
    pub(super) methods: Given<Vec<Spanned<String>>>,
    pub(super) path: Given<String>,
    pub(super) role: Given<String>,
}

pub(super) static RULE: Names =
    Names { fields: &["methods", "path", "role"], later: &[RATE_LIMIT, RATE_LIMITS], inner: &[] };

/// `[store]`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Store {
    pub(super) url: Given<String>,
    pub(super) lease: Given<Quantity>,
    pub(super) audit_retention: Given<Quantity>,
}

pub(super) static STORE: Names = Names { fields: &["url", "lease", "audit_retention"], later: &[], inner: &[] };

/// `[secrets]`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(clippy::struct_field_names, reason = "they are the names of the settings")]
pub(super) struct Secrets {
    pub(super) master_key_file: Given<String>,
    pub(super) master_key_env: Given<String>,
    pub(super) master_key_credential: Given<String>,
}

pub(super) static SECRETS: Names =
    Names { fields: &["master_key_file", "master_key_env", "master_key_credential"], later: &[], inner: &[] };

/// `[usage]`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Usage {
    pub(super) flush_interval: Given<Quantity>,
}

pub(super) static USAGE: Names = Names { fields: &["flush_interval"], later: &[], inner: &[] };

/// `[token_exchange]`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TokenExchange {
    pub(super) url: Given<String>,
    pub(super) shortname: Given<String>,
    pub(super) path: Given<String>,
    pub(super) refresh_path: Given<String>,
    pub(super) access_lifetime: Given<Quantity>,
    pub(super) refresh_lifetime: Given<Quantity>,
    pub(super) request_timeout: Given<Quantity>,
    pub(super) max_concurrent: Given<i64>,
}

pub(super) static TOKEN_EXCHANGE: Names = Names {
    fields: &[
        "url",
        "shortname",
        "path",
        "refresh_path",
        "access_lifetime",
        "refresh_lifetime",
        "request_timeout",
        "max_concurrent",
    ],
    later: &[],
    inner: &[],
};

/// `[admin]`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Admin {
    pub(super) listen: Given<String>,
    pub(super) hosts: Vec<Spanned<String>>,
    pub(super) session_idle: Given<Quantity>,
    pub(super) session_max: Given<Quantity>,
    pub(super) request_timeout: Given<Quantity>,
    pub(super) tls: Option<Spanned<AdminTls>>,
}

pub(super) static ADMIN: Names = Names {
    fields: &["listen", "hosts", "session_idle", "session_max", "request_timeout", "tls"],
    later: &[],
    inner: &[("tls", Shape::Table, &ADMIN_TLS)],
};

/// `[admin.tls]`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AdminTls {
    pub(super) certificate: Given<String>,
    pub(super) key: Given<String>,
}

pub(super) static ADMIN_TLS: Names = Names { fields: &["certificate", "key"], later: &[], inner: &[] };

/// `[metrics]`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Metrics {
    pub(super) listen: Given<String>,
}

pub(super) static METRICS: Names = Names { fields: &["listen"], later: &[], inner: &[] };

/// `[log]`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Log {
    pub(super) access: Given<String>,
    pub(super) level: Given<String>,
}

pub(super) static LOG: Names = Names { fields: &["access", "level"], later: &[], inner: &[] };

impl<'de> Deserialize<'de> for UpstreamServer {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = UpstreamServer;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("\"127.0.0.1:9000\" or { address = \"127.0.0.1:9000\", weight = 2 }")
            }

            fn visit_str<E: Error>(self, address: &str) -> Result<UpstreamServer, E> {
                Ok(UpstreamServer::Address(address.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<UpstreamServer, A::Error> {
                ServerTable::deserialize(MapAccessDeserializer::new(map)).map(UpstreamServer::Table)
            }
        }
        from.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;

    use super::*;

    /// The names in serde's own "unknown field" message for `T`.
    fn fields_of<T: DeserializeOwned>() -> Vec<String> {
        let message = match toml::from_str::<T>("zz_unknown = 1") {
            Ok(_) => panic!("an unknown key was taken"),
            Err(e) => e.message().to_owned(),
        };
        message.split('`').skip(1).step_by(2).filter(|name| *name != "zz_unknown").map(str::to_owned).collect()
    }

    #[test]
    fn the_lists_of_names_are_those_of_the_structures() {
        for (names, fields) in [
            (&ROOT, fields_of::<Raw>()),
            (&SERVER, fields_of::<Server>()),
            (&LIMITS, fields_of::<Limits>()),
            (&UPSTREAM, fields_of::<Upstream>()),
            (&UPSTREAM_SERVER, fields_of::<ServerTable>()),
            (&HEALTH, fields_of::<Health>()),
            (&ROUTE, fields_of::<Route>()),
            (&RULE, fields_of::<Rule>()),
            (&STORE, fields_of::<Store>()),
            (&SECRETS, fields_of::<Secrets>()),
            (&USAGE, fields_of::<Usage>()),
            (&TOKEN_EXCHANGE, fields_of::<TokenExchange>()),
            (&ADMIN, fields_of::<Admin>()),
            (&ADMIN_TLS, fields_of::<AdminTls>()),
            (&METRICS, fields_of::<Metrics>()),
            (&LOG, fields_of::<Log>()),
        ] {
            assert_eq!(names.fields, fields);
            for (inner, ..) in names.inner {
                assert!(names.fields.contains(inner), "{inner}");
            }
            for (later, _) in names.later {
                assert!(!names.fields.contains(later), "{later}");
            }
        }
    }
}
