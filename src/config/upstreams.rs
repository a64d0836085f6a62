//! `[[upstream]]`: from raw to resolved, and what cannot hold together in one.
//!
//! Never here: looking names up or connecting. Called by `resolve`.

use std::net::SocketAddr;
use std::time::Duration;

use toml::Spanned;

use super::error::{Report, shown};
use super::file::{self, Given, Quantity};
use super::resolved::{Health, Server, Upstream, UpstreamServer};
use super::value::{Span, TIMER, count, duration, is_host, reaches, required};

/// `[[upstream]]`.
pub(super) fn upstreams(raw: &[Spanned<file::Upstream>], server: &Server, report: &mut Report<'_>) -> Vec<Upstream> {
    if raw.is_empty() && !report.knows("upstream") {
        report.refuse(&(0..0), "upstream", "there is none", "expected at least one [[upstream]] with name and servers");
    }
    let mut upstreams: Vec<Upstream> = Vec::new();
    for given in raw {
        let (table, span) = (given.get_ref(), given.span());
        let seconds = Duration::from_secs;
        let mut timer = |name: &str, given: &Given<Quantity>, default| {
            duration(report, &format!("upstream.{name}"), given.as_ref(), seconds(default), &TIMER)
        };
        let connect_timeout = timer("connect_timeout", &table.connect_timeout, 5);
        let read_timeout = timer("read_timeout", &table.read_timeout, 60);
        let write_timeout = timer("write_timeout", &table.write_timeout, 60);
        let idle_timeout = timer("idle_timeout", &table.idle_timeout, 60);
        let upstream = Upstream {
            name: upstream_name(table, &span, &upstreams, report),
            servers: servers(table, &span, server, report),
            connect_timeout,
            read_timeout,
            write_timeout,
            idle_timeout,
            pool_size: count(report, "upstream.pool_size", table.pool_size.as_ref(), 256, 1..=65_536),
            health: table.health.as_ref().map(|health| self::health(health, report)),
        };
        upstreams.push(upstream);
    }
    upstreams
}

fn upstream_name(table: &file::Upstream, span: &Span, before: &[Upstream], report: &mut Report<'_>) -> String {
    const KEY: &str = "upstream.name";
    let Some(given) = required(report, span, KEY, table.name.as_ref(), "name = \"api\"") else { return String::new() };
    let name = given.get_ref();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        let what = format!("{} is not a name", shown(name));
        report.refuse(&given.span(), KEY, what, "expected 1 to 64 of the characters a-z A-Z 0-9 _ - .");
    } else if before.iter().any(|other| other.name == *name) {
        let what = format!("{} is the name of an earlier upstream", shown(name));
        report.refuse(&given.span(), KEY, what, "expected a name of its own");
    }
    name.clone()
}

fn servers(table: &file::Upstream, span: &Span, own: &Server, report: &mut Report<'_>) -> Vec<UpstreamServer> {
    const KEY: &str = "upstream.servers";
    const EXPECTED: &str = "servers = [\"127.0.0.1:9000\"]";
    let Some(given) = required(report, span, KEY, table.servers.as_ref(), EXPECTED) else { return Vec::new() };
    if given.get_ref().is_empty() && !report.knows(KEY) {
        report.refuse(&given.span(), KEY, "is empty", format!("expected at least one: {EXPECTED}"));
    }
    let mut servers: Vec<UpstreamServer> = Vec::new();
    for entry in given.get_ref() {
        let (read, span, key, weight) = match entry.get_ref() {
            file::UpstreamServer::Address(text) => (server_address(text), entry.span(), KEY, 1),
            file::UpstreamServer::Table(table) => {
                let key = "upstream.servers.address";
                let address =
                    required(report, &entry.span(), key, table.address.as_ref(), "address = \"127.0.0.1:9000\"");
                let weight = count(report, "upstream.servers.weight", table.weight.as_ref(), 1, 1..=256);
                let Some(address) = address else { continue };
                (server_address(address.get_ref()), address.span(), key, weight)
            }
        };
        let address = match read {
            Ok(address) => address,
            Err(AddressFault::NotYet(what, instead)) => {
                report.not_yet(&span, key, what, instead);
                continue;
            }
            Err(AddressFault::Wrong(what, expected)) => {
                report.refuse(&span, key, what, expected);
                continue;
            }
        };
        if servers.iter().any(|other| other.address == address) {
            let what = format!("{} is there twice", shown(&address));
            report.refuse(&span, key, what, "expected each server once, with a weight for a larger share");
        } else if address.parse::<SocketAddr>().is_ok_and(|to| own.listen.iter().any(|listen| reaches(to, *listen))) {
            let what = format!("{} is an address of server.listen: requests would go round", shown(&address));
            report.refuse(&span, key, what, "expected the address of the API behind keygate");
        }
        servers.push(UpstreamServer { address, weight });
    }
    servers
}

enum AddressFault {
    NotYet(&'static str, String),
    Wrong(String, String),
}

/// `host:port` or `address:port`, in lower case.
fn server_address(text: &str) -> Result<String, AddressFault> {
    const EXPECTED: &str = "expected a host or address and a port, such as";
    let lower = text.to_ascii_lowercase();
    let like = |meant: &str| format!("{EXPECTED} \"{meant}\"");
    if lower.starts_with("https:") {
        return Err(AddressFault::NotYet("TLS towards upstreams", like("127.0.0.1:9000")));
    }
    if lower.starts_with("unix:") {
        return Err(AddressFault::NotYet("Unix sockets", like("127.0.0.1:9000")));
    }
    let bare = lower.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
    let candidate = bare.unwrap_or(&lower);
    let sound = candidate.rsplit_once(':').is_some_and(|(host, port)| {
        port.parse::<u16>().is_ok_and(|number| number != 0 && number.to_string() == port) && is_host(host)
    });
    let what = match (bare, sound) {
        (None, true) => return Ok(lower),
        (Some(bare), true) => {
            return Err(AddressFault::Wrong(
                format!("{} has a scheme", shown(text)),
                format!("expected {}", shown(bare)),
            ));
        }
        (_, false) => format!("{} is not the address of a server", shown(text)),
    };
    let meant = if is_host(candidate) { format!("{candidate}:9000") } else { "127.0.0.1:9000".to_owned() };
    Err(AddressFault::Wrong(what, if shown(&meant).contains(&meant) { like(&meant) } else { like("127.0.0.1:9000") }))
}

fn health(given: &Spanned<file::Health>, report: &mut Report<'_>) -> Health {
    let table = given.get_ref();
    let path = required(report, &given.span(), "upstream.health.path", table.path.as_ref(), "path = \"/healthz\"");
    let path = path.map_or_else(String::new, |path| {
        if !path.get_ref().starts_with('/') || !path.get_ref().chars().all(|c| c.is_ascii_graphic() && c != '#') {
            let what = format!("{} is not a path to ask for", shown(path.get_ref()));
            report.refuse(&path.span(), "upstream.health.path", what, "expected a path, such as \"/healthz\"");
        }
        path.get_ref().clone()
    });
    let interval =
        duration(report, "upstream.health.interval", table.interval.as_ref(), Duration::from_secs(5), &TIMER);
    let timeout = duration(report, "upstream.health.timeout", table.timeout.as_ref(), Duration::from_secs(2), &TIMER);
    if timeout > interval {
        let place = table.timeout.as_ref().or(table.interval.as_ref()).map_or_else(|| given.span(), Spanned::span);
        let [timeout, interval] = [timeout, interval].map(humantime::format_duration);
        let what = format!("{timeout} is longer than the interval, {interval}");
        report.refuse(&place, "upstream.health.timeout", what, "expected a timeout within the interval");
    }
    Health { path, interval, timeout }
}
