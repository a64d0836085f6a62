//! Configuration files for tests, put together from fragments: TOML tables may appear only once.

use std::fmt::Write as _;

use super::Upstream;

/// A configuration with port 0 everywhere. Paths in it are relative to the site's directory.
#[derive(Clone, Debug)]
pub struct Config {
    server: String,
    limits: String,
    lease: String,
    flush_interval: String,
    admin: String,
    token_exchange: Option<String>,
    log: String,
    upstreams: String,
    routes: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: "threads = 2\n".to_owned(),
            limits: String::new(),
            lease: "5s".to_owned(),
            flush_interval: "50ms".to_owned(),
            admin: String::new(),
            token_exchange: None,
            log: "access = \"json\"\nlevel = \"debug\"\n".to_owned(),
            upstreams: String::new(),
            routes: String::new(),
        }
    }
}

impl Config {
    /// Upstream `api` behind the route `/`, for which a key is needed.
    pub fn in_front_of(upstream: &Upstream) -> Self {
        Self::default().upstream("api", &[upstream], "").route("path = \"/\"\nupstream = \"api\"")
    }

    /// Lines of `[server]`.
    #[must_use]
    pub fn server(mut self, lines: &str) -> Self {
        writeln!(self.server, "{lines}").unwrap();
        self
    }

    /// `server.threads`; without it, 2.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.server = self.server.replacen("threads = 2", &format!("threads = {threads}"), 1);
        self
    }

    /// Lines of `[server.limits]`.
    #[must_use]
    pub fn limits(mut self, lines: &str) -> Self {
        writeln!(self.limits, "{lines}").unwrap();
        self
    }

    /// `store.lease`.
    #[must_use]
    pub fn lease(mut self, lease: &str) -> Self {
        lease.clone_into(&mut self.lease);
        self
    }

    /// `usage.flush_interval`.
    #[must_use]
    pub fn flush_interval(mut self, interval: &str) -> Self {
        interval.clone_into(&mut self.flush_interval);
        self
    }

    /// Lines of `[admin]`, and its tables after them.
    #[must_use]
    pub fn admin(mut self, lines: &str) -> Self {
        writeln!(self.admin, "{lines}").unwrap();
        self
    }

    /// `[token_exchange]` for the account `acme`, with further lines. Its `url` is [`Self::exchange_url`]'s, if it
    /// was told.
    #[must_use]
    pub fn token_exchange(mut self, lines: &str) -> Self {
        let table = self
            .token_exchange
            .get_or_insert_with(|| "url = \"http://127.0.0.1:8080\"\nshortname = \"acme\"\n".to_owned());
        writeln!(table, "{lines}").unwrap();
        self
    }

    /// `token_exchange.url`: where the gateway is reached, which is known when it runs.
    #[must_use]
    pub fn exchange_url(mut self, url: &str) -> Self {
        self = self.token_exchange("");
        self.token_exchange = self.token_exchange.map(|table| table.replacen("http://127.0.0.1:8080", url, 1));
        self
    }

    /// Without `[token_exchange]`.
    #[must_use]
    pub fn without_token_exchange(mut self) -> Self {
        self.token_exchange = None;
        self
    }

    /// An `[[upstream]]`: its servers, and further lines.
    #[must_use]
    pub fn upstream(self, name: &str, servers: &[&Upstream], lines: &str) -> Self {
        let servers: Vec<String> = servers.iter().map(|u| u.address().to_string()).collect();
        self.upstream_at(name, &servers, lines)
    }

    /// An `[[upstream]]` at these addresses.
    #[must_use]
    pub fn upstream_at(mut self, name: &str, servers: &[String], lines: &str) -> Self {
        writeln!(self.upstreams, "[[upstream]]\nname = {name:?}\nservers = {servers:?}\n{lines}").unwrap();
        self
    }

    /// A `[[route]]`, and the `[[route.rule]]`s in it.
    #[must_use]
    pub fn route(mut self, lines: &str) -> Self {
        writeln!(self.routes, "[[route]]\n{lines}").unwrap();
        self
    }

    /// The file of one node; nodes of a site differ in their run directory.
    pub fn text(&self, run_dir: &str) -> String {
        let Self { server, limits, lease, flush_interval, admin, token_exchange, log, upstreams, routes } = self;
        let token_exchange = token_exchange.as_ref().map_or_else(String::new, |t| format!("[token_exchange]\n{t}\n"));
        let lane = lane();
        format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\nrun_dir = {run_dir:?}\n{lane}{server}\n\
             [server.limits]\n{limits}\n\
             [store]\nurl = \"sqlite:keygate.db\"\nlease = {lease:?}\n\
             [secrets]\nmaster_key_file = \"master.key\"\n\
             [usage]\nflush_interval = {flush_interval:?}\n\
             [admin]\nlisten = \"127.0.0.1:0\"\n{admin}\n\
             [metrics]\nlisten = \"127.0.0.1:0\"\n\
             {token_exchange}[log]\n{log}\n{upstreams}\n{routes}"
        )
    }
}

/// Themes that hold in both lanes are compiled once for each (`tests/main.rs`); which one a test is for stands at the
/// beginning of its name. Others take the default.
fn lane() -> &'static str {
    if is_general() { "express_lane = false\n" } else { "" }
}

/// Is this test for the general lane?
pub fn is_general() -> bool {
    std::thread::current().name().is_some_and(|name| name.starts_with("general::"))
}
