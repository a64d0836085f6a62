//! `[token_exchange]`: what goes into bundles, the two paths of the data plane that keygate answers itself, and the
//! lives of what they give.
//!
//! Both paths are compared with what a request sends, byte for byte, and stand in front of routing; so they have a form
//! that no client encodes, and neither lies below the other or takes a route's requests away. Called by `resolve`.

use std::time::Duration;

use toml::Spanned;

use super::error::{Report, shown};
use super::file;
use super::resolved::TokenExchange;
use super::routes::path_fault;
use super::value::{ACCESS, EXCHANGE, REFRESH, count, duration, is_host, required};
use crate::credential;

const DEFAULT_PATH: &str = "/api/v1/auth/token";
const DEFAULT_REFRESH_PATH: &str = "/api/auth/bearer/refresh";

/// Reads `[token_exchange]`, if it is there. `routes` are those that it must leave alone.
pub(super) fn token_exchange(
    given: Option<&Spanned<file::TokenExchange>>,
    routes: &[Spanned<file::Route>],
    report: &mut Report<'_>,
) -> Option<TokenExchange> {
    // Of a table that is none, all would be missing.
    let given = given.filter(|_| !report.knows("token_exchange"))?;
    let (table, span) = (given.get_ref(), given.span());
    let url = "url = \"https://api.example.org\", where integrations reach this gateway";
    let url = required(report, &span, "token_exchange.url", table.url.as_ref(), url);
    let url = url.and_then(|url| self::url(url, report));
    let shortname = "shortname = \"acme\", the account name of this gateway";
    let shortname = required(report, &span, "token_exchange.shortname", table.shortname.as_ref(), shortname);
    let shortname = shortname.and_then(|shortname| self::shortname(shortname, report));
    let path = path("token_exchange.path", table.path.as_ref(), DEFAULT_PATH, routes, report);
    let refresh_path =
        self::path("token_exchange.refresh_path", table.refresh_path.as_ref(), DEFAULT_REFRESH_PATH, routes, report);
    if lies_at_or_below(&path, &refresh_path) || lies_at_or_below(&refresh_path, &path) {
        // By default one of them stands nowhere: the place is then that of the other.
        let place = table.refresh_path.as_ref().or(table.path.as_ref()).map_or(span.clone(), Spanned::span);
        let what =
            format!("{} and path, {}, are one path, or one lies below the other", shown(&refresh_path), shown(&path));
        report.refuse(&place, "token_exchange.refresh_path", what, "expected two paths apart");
    }
    let (access_lifetime, refresh_lifetime) = lifetimes(given, report);
    let timeout = table.request_timeout.as_ref();
    Some(TokenExchange {
        url: url.unwrap_or_default(),
        shortname: shortname.unwrap_or_default(),
        path,
        refresh_path,
        access_lifetime,
        refresh_lifetime,
        request_timeout: duration(
            report,
            "token_exchange.request_timeout",
            timeout,
            Duration::from_secs(10),
            &EXCHANGE,
        ),
        max_concurrent: count(report, "token_exchange.max_concurrent", table.max_concurrent.as_ref(), 256, 1..=100_000),
    })
}

fn url(given: &Spanned<String>, report: &mut Report<'_>) -> Option<String> {
    origin(given.get_ref())
        .map_err(|(what, expected)| {
            let what = format!("{} {what}", shown(given.get_ref()));
            report.refuse(&given.span(), "token_exchange.url", what, expected);
        })
        .ok()
}

/// What a bundle's `url` may be: `http` or `https`, a host, perhaps a port. In lower case, without the `/` at its end.
/// Or what is wrong with it, and what was expected.
pub(super) fn origin(text: &str) -> Result<String, (&'static str, String)> {
    let lower = text.to_ascii_lowercase();
    let (what, meant) = match lower.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => {
            let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            let meant = is_authority(host).then(|| format!("{scheme}://{host}"));
            let what = if authority.contains('@') {
                "holds a user or a password"
            } else if meant.is_none() {
                "has no host name or address, or not the number of a port"
            } else if !matches!(rest.strip_prefix(authority), Some("" | "/")) {
                "has a path, a query or a fragment"
            } else {
                return Ok(meant.unwrap_or_default());
            };
            (what, meant)
        }
        _ if is_authority(&lower) => ("has no scheme", Some(format!("https://{lower}"))),
        _ => ("is not an address of the web", None),
    };
    let example = meant.map_or_else(|| "\"https://api.example.org\"".to_owned(), |meant| shown(&meant));
    Err((what, format!("expected http:// or https://, a host and perhaps a port, such as {example}")))
}

/// A host, with or without a port.
fn is_authority(text: &str) -> bool {
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|number| number != 0 && number.to_string() == port);
    is_host(text) || text.rsplit_once(':').is_some_and(|(host, port)| is_host(host) && is_port(port))
}

fn shortname(given: &Spanned<String>, report: &mut Report<'_>) -> Option<String> {
    let name = given.get_ref();
    if credential::is_shortname(name) {
        return Some(name.clone());
    }
    let what = format!("{} is not an account name", shown(name));
    report.refuse(
        &given.span(),
        "token_exchange.shortname",
        what,
        "expected 1 to 64 of the characters a-z A-Z 0-9 . _ -",
    );
    None
}

/// A path of the data plane that keygate answers itself.
fn path(
    key: &str,
    given: Option<&Spanned<String>>,
    default: &str,
    routes: &[Spanned<file::Route>],
    report: &mut Report<'_>,
) -> String {
    let path = given.map_or(default, |given| given.get_ref().as_str());
    if let Some(given) = given {
        let fault = path_fault(path, false).or_else(|| {
            let fault = |what: &str, expected: &str| Some((what.to_owned(), expected.to_owned()));
            match path {
                "/" => fault("would take every path", &format!("expected a path of its own, such as \"{default}\"")),
                path if !path.bytes().all(is_sent_as_it_is) => {
                    fault("holds characters that clients encode", "expected a-z A-Z 0-9 / and any of -._~!$&'()*+,=:@")
                }
                _ => None,
            }
        });
        if let Some((what, expected)) = fault {
            report.refuse(&given.span(), key, format!("{} {what}", shown(path)), expected);
            return default.to_owned();
        }
    }
    for route in routes.iter().filter_map(|route| route.get_ref().path.as_ref()) {
        if lies_at_or_below(route.get_ref(), path) {
            let place = given.unwrap_or(route).span();
            let what =
                format!("{} takes the requests of the route of line {}", shown(path), report.line(route.span().start));
            report.refuse(&place, key, what, "expected a path that no [[route]] has or lies below");
        }
    }
    path.to_owned()
}

/// Does a path hold this byte as it is (RFC 3986, section 3.3)?
fn is_sent_as_it_is(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,=:@".contains(&byte)
}

/// Does a word go on with this character?
fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
}

/// Is `path` the path `above`, or below it, or nearly? In any case: near-misses of an exchange's path are never forwarded.
fn lies_at_or_below(path: &str, above: &str) -> bool {
    path.split_at_checked(above.len())
        .is_some_and(|(start, rest)| start.eq_ignore_ascii_case(above) && !rest.starts_with(is_word))
}

fn lifetimes(given: &Spanned<file::TokenExchange>, report: &mut Report<'_>) -> (Duration, Duration) {
    const KEY: &str = "token_exchange.refresh_lifetime";
    let table = given.get_ref();
    let (access, refresh) = (table.access_lifetime.as_ref(), table.refresh_lifetime.as_ref());
    let access_lifetime = duration(report, "token_exchange.access_lifetime", access, Duration::from_mins(15), &ACCESS);
    let refresh_lifetime = duration(report, KEY, refresh, Duration::from_hours(8), &REFRESH);
    if refresh_lifetime < access_lifetime && !report.knows(KEY) && !report.knows("token_exchange.access_lifetime") {
        let place = refresh.or(access).map_or_else(|| given.span(), Spanned::span);
        let [refresh, access] = [refresh_lifetime, access_lifetime].map(humantime::format_duration);
        report.refuse(
            &place,
            KEY,
            format!("{refresh} is shorter than access_lifetime, {access}"),
            "expected at least as long",
        );
    }
    (access_lifetime, refresh_lifetime)
}
