//! The configuration as the rest of the program sees it: checked, with defaults filled in, nothing optional that
//! has a default. Made by [`super::load`] from `file::Raw`; nothing here can be inconsistent.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::credential::Role;

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file it was read from; relative paths in it are relative to its directory.
    pub file: PathBuf,
    /// `[server]`.
    pub server: Server,
    /// `[[upstream]]`, at least one.
    pub upstreams: Vec<Upstream>,
    /// `[[route]]`, at least one.
    pub routes: Vec<Route>,
    /// `[store]`.
    pub store: Store,
    /// `[secrets]`.
    pub secrets: Secrets,
    /// `[usage]`.
    pub usage: Usage,
    /// `[token_exchange]`; `None`: off.
    pub token_exchange: Option<TokenExchange>,
    /// `[admin]`.
    pub admin: Admin,
    /// `[metrics]`.
    pub metrics: Metrics,
    /// `[log]`.
    pub log: Log,
}

/// `[server]`: the data plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Addresses to listen on, at least one.
    pub listen: Vec<SocketAddr>,
    /// Worker threads; `None`: one per core.
    pub threads: Option<NonZeroUsize>,
    /// Networks whose `X-Forwarded-For` counts.
    pub trusted_proxies: Vec<IpNet>,
    /// Directory of `control.sock`, mode 0700.
    pub run_dir: PathBuf,
    /// How long requests in flight may take after SIGTERM.
    pub drain_timeout: Duration,
    /// Plain HTTP/1.1 requests are exchanged by keygate itself.
    pub express_lane: bool,
    /// `[server.limits]`.
    pub limits: Limits,
}

/// `[server.limits]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all.
    pub max_connections: usize,
    /// Connections from one address, or from 64 bits of an IPv6 address; at most [`Self::max_connections`].
    pub max_connections_per_address: usize,
    /// Bytes of a request head.
    pub max_header_size: usize,
    /// Fields of a request head.
    pub max_headers: usize,
    /// Bytes of a request body.
    pub max_body: u64,
    /// From a head's first byte to its last.
    pub header_timeout: Duration,
    /// Between two reads of a request body.
    pub body_stall: Duration,
    /// For a client to take some of an answer that waits for it.
    pub write_stall: Duration,
    /// Between two requests of a connection.
    pub idle_timeout: Duration,
    /// Of a request with its answer, from its first byte; `None`: as long as it takes.
    pub max_stream_age: Option<Duration>,
}

/// `[[upstream]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Unique.
    pub name: String,
    /// At least one.
    pub servers: Vec<UpstreamServer>,
    /// To establish a connection.
    pub connect_timeout: Duration,
    /// Between two reads from it.
    pub read_timeout: Duration,
    /// For a write to it to make progress.
    pub write_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// Unused connections that are kept, in all.
    pub pool_size: usize,
    /// Active health checks; none: every server is taken to be well.
    pub health: Option<Health>,
}

/// One server of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamServer {
    /// `host:port` or `address:port`; names are looked up when the configuration is applied.
    pub address: String,
    /// Its share, 1 to 256.
    pub weight: usize,
}

/// `health = { path, interval, timeout }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Asked with GET; 2xx is well.
    pub path: String,
    /// Between two checks.
    pub interval: Duration,
    /// For one check.
    pub timeout: Duration,
}

/// `[[route]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Lower case, without port. `None`: every host.
    pub host: Option<String>,
    /// Begins with `/`; a prefix on segment boundaries.
    pub path: String,
    /// Index into [`Config::upstreams`].
    pub upstream: usize,
    /// Key or public.
    pub access: Access,
    /// In the order of the file.
    pub rules: Vec<Rule>,
    /// CORS preflight (OPTIONS with Origin and Access-Control-Request-Method) passes without a key.
    pub preflight: bool,
    /// Odd paths are forwarded instead of refused.
    pub lenient_paths: bool,
}

impl Route {
    /// The route's name in metrics, logs and keys' `allowed_routes`: host and path.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}{}", self.host.as_deref().unwrap_or(""), self.path)
    }
}

/// Who may pass where no rule says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only valid keys.
    Key,
    /// Everybody.
    Public,
}

/// `[[route.rule]]`: what it demands of the requests that it matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Upper case; empty: all methods.
    pub methods: Vec<String>,
    /// Begins with `/`; `None`: every path of the route.
    pub path: Option<String>,
    /// What is demanded.
    pub demand: Demand,
}

/// What a request must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Demand {
    /// Nothing.
    Public,
    /// A key of this role or a higher one.
    Role(Role),
}

/// `[store]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Where it is.
    pub location: StoreLocation,
    /// L of this node (design, section 4).
    pub lease: Duration,
    /// How long audit records are kept; `None`: for ever.
    pub audit_retention: Option<Duration>,
}

/// `store.url`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreLocation {
    /// `sqlite:<path>`.
    Sqlite(PathBuf),
}

/// `[secrets]`: where the master key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// A file of mode 0600.
    File(PathBuf),
    /// An environment variable of this name.
    Environment(String),
    /// A systemd credential of this name, under `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

/// `[usage]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Between two flushes of last logins.
    pub flush_interval: Duration,
}

/// `[token_exchange]`: the data plane's two endpoints for access tokens, and what goes into bundles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenExchange {
    /// Where integrations reach the data plane: scheme, host and perhaps a port, without a `/` at the end.
    pub url: String,
    /// The gateway's account name: 1 to 64 of `a-z A-Z 0-9 . _ -`.
    pub shortname: String,
    /// Where a signed token is exchanged: exactly this path, on every host.
    pub path: String,
    /// Where a refresh token is: likewise; not `path`, nor below it or above it.
    pub refresh_path: String,
    /// How long an access token lasts.
    pub access_lifetime: Duration,
    /// From an exchange to the end of all that comes of it; not shorter than `access_lifetime`.
    pub refresh_lifetime: Duration,
    /// For the body of an exchange, in all.
    pub request_timeout: Duration,
    /// Exchanges whose bodies are read at a time.
    pub max_concurrent: usize,
}

/// `[admin]`: page and REST API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens; `None`: off.
    pub listen: Option<SocketAddr>,
    /// Further names and addresses by which browsers reach it: lower case, without port.
    pub hosts: Vec<String>,
    /// How long a session lasts without a request.
    pub session_idle: Duration,
    /// How long a session lasts at most.
    pub session_max: Duration,
    /// For the head of a request, for its body, and for making the answer; waiting for nodes is not counted.
    pub request_timeout: Duration,
    /// `[admin.tls]`; `None`: plain HTTP.
    pub tls: Option<AdminTls>,
}

/// `[admin.tls]`: files in PEM form, read again at each reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminTls {
    /// The certificate, then those that lead to its root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// `[metrics]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// `/metrics`, `/healthz`, `/readyz`; `None`: off.
    pub listen: Option<SocketAddr>,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// JSON access log on standard output.
    pub access: bool,
    /// Least severe level of the program's log on standard error.
    pub level: tracing::Level,
}
