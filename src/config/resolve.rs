//! From the raw file to [`Config`]: defaults, bounds, and what cannot hold together, for all tables but upstreams and
//! routes, which have files of their own.
//!
//! Whatever does not hold is noted in the report and replaced by its default, so that one run tells everything; the
//! caller throws the result away when anything was noted. No I/O. Called by [`super::parse`].

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use toml::Spanned;

use super::error::{Report, is_secret, shown};
use super::file::{self, Given, Quantity, Raw};
use super::names::alike;
use super::resolved::{Config, Limits, Log, Metrics, Secrets, Server, Store, StoreLocation, Usage};
use super::value::{AGE, LEASE, STREAM, TIMER, count, duration, listen_address, network, reaches, size, text};
use super::{admin, routes, token_exchange, upstreams};

const DEFAULT_LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 8080);
/// Pingora, which takes the head over, holds at most 1 MiB and 256 fields, whatever is configured. keygate's own
/// limits stay below these, because the head that it hands on has more fields than the one that it was sent.
const MOST_HEADER_SIZE: ByteSize = ByteSize::kib(512);
const MOST_HEADERS: usize = 240;
const DEFAULT_METRICS: ([u8; 4], u16) = ([127, 0, 0, 1], 9464);
const DEFAULT_AUDIT_RETENTION: Duration = Duration::from_hours(365 * 24);

/// Checks `raw`, which was read from `file`.
pub(super) fn resolve(raw: &Raw, file: &Path, report: &mut Report<'_>) -> Config {
    let directory = file.parent().unwrap_or(Path::new(""));
    let server = server(&raw.server, directory, report);
    let metrics = metrics(&raw.metrics, &raw.server, &server.listen, report);
    let taken = admin::Taken { server: &server.listen, metrics: metrics.listen, raw };
    let admin = admin::admin(&raw.admin, &taken, directory, report);
    let upstreams = upstreams::upstreams(&raw.upstream, &server, report);
    let routes = routes::routes(&raw.route, &raw.upstream, report);
    let token_exchange = token_exchange::token_exchange(raw.token_exchange.as_ref(), &raw.route, report);
    Config {
        file: file.to_owned(),
        server,
        upstreams,
        routes,
        store: store(&raw.store, directory, report),
        secrets: secrets(&raw.secrets, directory, report),
        usage: Usage {
            flush_interval: duration(
                report,
                "usage.flush_interval",
                raw.usage.flush_interval.as_ref(),
                Duration::from_secs(1),
                &TIMER,
            ),
        },
        token_exchange,
        admin,
        metrics,
        log: log(&raw.log, report),
    }
}

fn server(raw: &file::Server, directory: &Path, report: &mut Report<'_>) -> Server {
    let run_dir = text(report, "server.run_dir", raw.run_dir.as_ref(), "a directory, such as \"run\"");
    let threads = count(report, "server.threads", raw.threads.as_ref(), 0, 0..=1024);
    Server {
        listen: listen(raw, report),
        threads: NonZeroUsize::new(threads),
        trusted_proxies: raw
            .trusted_proxies
            .iter()
            .filter_map(|given| network(report, "server.trusted_proxies", given))
            .collect(),
        run_dir: directory.join(run_dir.map_or("run", |given| given.get_ref())),
        express_lane: raw.express_lane.unwrap_or(true),
        drain_timeout: duration(
            report,
            "server.drain_timeout",
            raw.drain_timeout.as_ref(),
            Duration::from_secs(30),
            &TIMER,
        ),
        limits: limits(&raw.limits, report),
    }
}

fn listen(raw: &file::Server, report: &mut Report<'_>) -> Vec<SocketAddr> {
    const KEY: &str = "server.listen";
    let Some(given) = &raw.listen else { return vec![DEFAULT_LISTEN.into()] };
    if given.get_ref().is_empty() {
        report.refuse(&given.span(), KEY, "is empty", "expected at least one address, such as \"127.0.0.1:8080\"");
    }
    let mut addresses = Vec::new();
    for entry in given.get_ref() {
        let Some(address) = listen_address(report, KEY, entry) else { continue };
        // Port 0 is another free port each time.
        if address.port() != 0 && addresses.contains(&address) {
            report.refuse(&entry.span(), KEY, format!("{address} is there twice"), "expected each address once");
            continue;
        }
        addresses.push(address);
    }
    addresses
}

fn limits(raw: &file::Limits, report: &mut Report<'_>) -> Limits {
    let seconds = Duration::from_secs;
    let mut timer = |name: &str, given: &Given<Quantity>, default| {
        duration(report, &format!("server.limits.{name}"), given.as_ref(), seconds(default), &TIMER)
    };
    let header_timeout = timer("header_timeout", &raw.header_timeout, 10);
    let body_stall = timer("body_stall", &raw.body_stall, 30);
    let write_stall = timer("write_stall", &raw.write_stall, 30);
    let idle_timeout = timer("idle_timeout", &raw.idle_timeout, 75);
    let max_connections =
        count(report, "server.limits.max_connections", raw.max_connections.as_ref(), 10_000, 1..=10_000_000);
    let max_header_size = size(
        report,
        "server.limits.max_header_size",
        raw.max_header_size.as_ref(),
        ByteSize::kib(32),
        ByteSize::kib(1)..=MOST_HEADER_SIZE,
    );
    Limits {
        max_connections,
        max_connections_per_address: count(
            report,
            "server.limits.max_connections_per_address",
            raw.max_connections_per_address.as_ref(),
            max_connections.min(256),
            1..=max_connections,
        ),
        max_header_size: usize::try_from(max_header_size).unwrap_or(usize::MAX),
        max_headers: count(report, "server.limits.max_headers", raw.max_headers.as_ref(), 100, 1..=MOST_HEADERS),
        max_body: size(
            report,
            "server.limits.max_body",
            raw.max_body.as_ref(),
            ByteSize::mib(100),
            ByteSize::b(1)..=ByteSize::pib(1),
        ),
        header_timeout,
        body_stall,
        write_stall,
        idle_timeout,
        max_stream_age: max_stream_age(raw, report),
    }
}

fn max_stream_age(raw: &file::Limits, report: &mut Report<'_>) -> Option<Duration> {
    let given = raw.max_stream_age.as_ref();
    let off = matches!(given.map(Spanned::get_ref), Some(Quantity::Text(text)) if text == "off");
    let default = Duration::from_hours(1);
    (!off).then(|| duration(report, "server.limits.max_stream_age", given, default, &STREAM))
}

fn store(raw: &file::Store, directory: &Path, report: &mut Report<'_>) -> Store {
    let path = raw.url.as_ref().map_or(Some(PathBuf::from("keygate.db")), |given| sqlite_path(given, report));
    let forever = matches!(
        raw.audit_retention.as_ref().map(Spanned::get_ref),
        Some(Quantity::Text(text)) if text == "forever"
    );
    Store {
        location: StoreLocation::Sqlite(directory.join(path.unwrap_or_default())),
        lease: duration(report, "store.lease", raw.lease.as_ref(), Duration::from_secs(30), &LEASE),
        audit_retention: (!forever).then(|| {
            duration(report, "store.audit_retention", raw.audit_retention.as_ref(), DEFAULT_AUDIT_RETENTION, &AGE)
        }),
    }
}

/// The path in `sqlite:<path>`. The value is never repeated: addresses of databases hold passwords.
fn sqlite_path(given: &Spanned<String>, report: &mut Report<'_>) -> Option<PathBuf> {
    const KEY: &str = "store.url";
    const EXPECTED: &str = "expected a file, such as \"sqlite:keygate.db\" or \"sqlite:/var/lib/keygate/keygate.db\"";
    let (span, url) = (given.span(), given.get_ref().as_str());
    let scheme = url.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    if matches!(scheme.as_deref(), Some("postgres" | "postgresql")) {
        report.not_yet(&span, KEY, "PostgreSQL", EXPECTED);
        return None;
    }
    let Some(path) = url.strip_prefix("sqlite:") else {
        report.refuse(&span, KEY, "is not the address of a store", EXPECTED);
        return None;
    };
    // `sqlite:///var/…` is how others write an absolute path; `sqlite://var/…` could be meant either way.
    let path = if path.starts_with("///") { path.trim_start_matches("//") } else { path };
    let what = if path.is_empty() || path.ends_with('/') {
        "names no file"
    } else if path.starts_with("//") {
        "has two slashes where a path begins"
    } else if path == ":memory:" {
        "would forget every key at the end of the process"
    } else if path.contains('?') || path.contains(char::is_control) {
        "has parameters or control characters, which are not read"
    } else {
        return Some(PathBuf::from(path));
    };
    report.refuse(&span, KEY, what, EXPECTED);
    None
}

/// Where the master key comes from. Values of this table are never repeated: somebody may have put the key there.
fn secrets(raw: &file::Secrets, directory: &Path, report: &mut Report<'_>) -> Secrets {
    let given: Vec<_> = [
        ("secrets.master_key_file", &raw.master_key_file),
        ("secrets.master_key_env", &raw.master_key_env),
        ("secrets.master_key_credential", &raw.master_key_credential),
    ]
    .into_iter()
    .filter_map(|(key, given)| given.as_ref().map(|given| (key, given)))
    .collect();
    if let [(first, _), others @ ..] = given.as_slice() {
        for (key, value) in others {
            report.refuse(
                &value.span(),
                key,
                format!("is one source of the master key too many, beside {first}"),
                "expected exactly one of master_key_file, master_key_env, master_key_credential",
            );
        }
    }
    for (key, value) in &given {
        let (is_name, expected) = match *key {
            "secrets.master_key_env" => (is_variable(value.get_ref()), "the name of an environment variable"),
            "secrets.master_key_credential" => (is_file_name(value.get_ref()), "the name of a systemd credential"),
            _ => (is_path(value.get_ref()), "the path of a file, such as \"master.key\""),
        };
        if is_secret(value.get_ref()) {
            let what = "looks like a key itself (not shown), which does not belong in this file";
            report.refuse(&value.span(), key, what, format!("expected {expected}"));
        } else if !is_name {
            report.refuse(&value.span(), key, "does not name a source", format!("expected {expected}"));
        }
    }
    match given.first() {
        Some(("secrets.master_key_env", name)) => Secrets::Environment(name.get_ref().clone()),
        Some(("secrets.master_key_credential", name)) => Secrets::Credential(name.get_ref().clone()),
        Some((_, path)) => Secrets::File(directory.join(path.get_ref())),
        None => Secrets::File(directory.join("master.key")),
    }
}

fn is_variable(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && name.starts_with(|c: char| !c.is_ascii_digit())
}

fn is_file_name(name: &str) -> bool {
    is_path(name) && !name.contains('/') && name != "." && name != ".."
}

fn is_path(path: &str) -> bool {
    !path.trim().is_empty() && !path.contains(char::is_control)
}

fn metrics(raw: &file::Metrics, server: &file::Server, taken: &[SocketAddr], report: &mut Report<'_>) -> Metrics {
    const KEY: &str = "metrics.listen";
    let listen = match &raw.listen {
        Some(given) if given.get_ref() == "off" => return Metrics { listen: None },
        Some(given) => listen_address(report, KEY, given),
        None => Some(DEFAULT_METRICS.into()),
    };
    if let Some(listen) = listen.filter(|listen| taken.iter().any(|other| reaches(*listen, *other))) {
        let what = format!("{listen} is an address of server.listen too");
        // By default it stands nowhere: the place is then that of the setting which took it.
        let place = raw.listen.as_ref().map(Spanned::span).or(server.listen.as_ref().map(Spanned::span));
        report.refuse(&place.unwrap_or_default(), KEY, what, "expected an address of its own, or \"off\"");
    }
    Metrics { listen }
}

fn log(raw: &file::Log, report: &mut Report<'_>) -> Log {
    let choices = ["json", "off"];
    let access = raw.access.as_ref().is_none_or(|given| match given.get_ref().as_str() {
        "json" => true,
        "off" => false,
        other => {
            let what = format!("{} is not a form of the access log", shown(other));
            report.refuse(&given.span(), "log.access", what, one_of(other, &choices));
            true
        }
    });
    let level = raw.level.as_ref().map_or(tracing::Level::INFO, |given| {
        let levels = ["error", "warn", "info", "debug", "trace"];
        let known = levels.iter().find(|level| level.eq_ignore_ascii_case(given.get_ref()));
        known.and_then(|level| level.parse().ok()).unwrap_or_else(|| {
            let what = format!("{} is not a level", shown(given.get_ref()));
            report.refuse(&given.span(), "log.level", what, one_of(given.get_ref(), &levels));
            tracing::Level::INFO
        })
    });
    Log { access, level }
}

/// "expected …" for a value out of a fixed few, with a suggestion.
pub(super) fn one_of(written: &str, choices: &[&str]) -> String {
    let list = choices.iter().map(|choice| format!("\"{choice}\"")).collect::<Vec<_>>().join(", ");
    match alike(written, choices.iter().copied()) {
        Some(meant) => format!("did you mean \"{meant}\"? (expected one of {list})"),
        None => format!("expected one of {list}"),
    }
}
