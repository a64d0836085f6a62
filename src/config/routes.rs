//! `[[route]]` and `[[route.rule]]`: from raw to resolved, and what cannot hold together among them.
//!
//! Paths have the one form that the data plane compares with: it decodes what was sent once, so they are never
//! percent-encoded, and it refuses dot segments and empty ones, so they never hold those. A rule that lowers a demand
//! matches exactly, so its path may end with a slash, which makes it another path. Called by `resolve`.

use toml::Spanned;

use super::error::{Report, shown};
use super::file;
use super::names::alike;
use super::resolve::one_of;
use super::resolved::{Access, Demand, Route, Rule};
use super::value::{Span, is_host, required};
use crate::credential::Role;

/// `[[route]]`.
pub(super) fn routes(
    raw: &[Spanned<file::Route>],
    upstreams: &[Spanned<file::Upstream>],
    report: &mut Report<'_>,
) -> Vec<Route> {
    if raw.is_empty() && !report.knows("route") {
        report.refuse(&(0..0), "route", "there is none", "expected at least one [[route]] with path and upstream");
    }
    let names: Vec<&str> =
        upstreams.iter().map(|one| one.get_ref().name.as_ref().map_or("", |name| name.get_ref().as_str())).collect();
    let mut seen: Vec<(String, Span)> = Vec::new();
    let mut routes = Vec::new();
    for given in raw {
        let (table, span) = (given.get_ref(), given.span());
        let host = table.host.as_ref().and_then(|host| route_host(host, report));
        let path = route_path(table, &span, report);
        let upstream = route_upstream(table, &span, &names, report);
        let rules = table.rule.iter().map(|rule| self::rule(rule, table, path.as_deref(), report)).collect();
        let sound = path.is_some() && host.is_some() == table.host.is_some();
        let route = Route {
            host,
            path: path.unwrap_or_default(),
            upstream,
            access: access(table, report),
            rules,
            preflight: table.preflight,
            lenient_paths: table.lenient_paths,
        };
        let place = table.path.as_ref().map_or(span, Spanned::span);
        match seen.iter().find(|(label, _)| sound && *label == route.label()) {
            Some((label, first)) => {
                let what = format!("{} is already the route of line {}", shown(label), report.line(first.start));
                report.refuse(&place, "route.path", what, "expected each host and path once");
            }
            None if sound => seen.push((route.label(), place)),
            None => {}
        }
        routes.push(route);
    }
    routes
}

fn route_host(given: &Spanned<String>, report: &mut Report<'_>) -> Option<String> {
    const KEY: &str = "route.host";
    let lower = given.get_ref().to_ascii_lowercase();
    if is_host(&lower) {
        return Some(lower);
    }
    let mut meant = lower.as_str();
    meant = meant.strip_prefix("https://").or(meant.strip_prefix("http://")).unwrap_or(meant);
    meant = meant.split('/').next().unwrap_or(meant);
    if let Some((host, port)) = meant.rsplit_once(':')
        && port.bytes().all(|b| b.is_ascii_digit())
    {
        meant = host;
    }
    meant = meant.trim_end_matches('.');
    let (what, expected) = if lower.contains('*') {
        ("is a pattern", "expected one host name; without host, a route is for every host".to_owned())
    } else if is_host(meant) {
        ("is more than a host name", format!("expected {}, without scheme, port or path", shown(meant)))
    } else {
        ("is not a host name", "expected a host name, such as \"api.example.org\"".to_owned())
    };
    report.refuse(&given.span(), KEY, format!("{} {what}", shown(given.get_ref())), expected);
    None
}

fn route_path(table: &file::Route, span: &Span, report: &mut Report<'_>) -> Option<String> {
    const KEY: &str = "route.path";
    let given = required(report, span, KEY, table.path.as_ref(), "path = \"/\"")?;
    let path = given.get_ref();
    let Some((what, expected)) = path_fault(path, table.lenient_paths) else { return Some(path.clone()) };
    report.refuse(&given.span(), KEY, format!("{} {what}", shown(path)), expected);
    None
}

/// Why a path is not in the one form that is compared, and what form that would be.
pub(super) fn path_fault(path: &str, lenient: bool) -> Option<(String, String)> {
    let fault = |what: &str, expected: &str| Some((what.to_owned(), expected.to_owned()));
    if path.contains(['?', '#']) {
        return fault("holds a query or fragment", "expected a path alone");
    }
    if path.contains('%') {
        return fault("is percent-encoded", "expected the path as it reads decoded");
    }
    if path.contains(char::is_control) || path.contains('\\') || (!lenient && path.contains(';')) {
        return fault("holds characters that keygate refuses in requests", "expected a path without ; \\ and controls");
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let fixed = format!("/{}", segments.join("/"));
    if fixed == path {
        return None;
    }
    let what = if !path.starts_with('/') {
        "does not begin with /"
    } else if path.contains("//") {
        "has an empty segment"
    } else if path.split('/').any(|segment| segment == "." || segment == "..") {
        "has dot segments"
    } else {
        "ends with /"
    };
    Some((what.to_owned(), format!("expected {}", shown(&fixed))))
}

fn route_upstream(table: &file::Route, span: &Span, names: &[&str], report: &mut Report<'_>) -> usize {
    const KEY: &str = "route.upstream";
    let Some(given) = required(report, span, KEY, table.upstream.as_ref(), "the name of an [[upstream]]") else {
        return 0;
    };
    let name = given.get_ref().as_str();
    if let Some(index) = names.iter().position(|known| *known == name && !name.is_empty()) {
        return index;
    }
    let known: Vec<&str> = names.iter().copied().filter(|name| !name.is_empty()).collect();
    if known.is_empty() {
        return 0; // That there is none was noted where upstreams belong.
    }
    let expected = match alike(name, known.iter().copied()) {
        Some(meant) => format!("did you mean {}?", shown(meant)),
        None => format!("expected one of {}", known.into_iter().map(shown).collect::<Vec<_>>().join(", ")),
    };
    report.refuse(&given.span(), KEY, format!("there is no upstream {}", shown(name)), expected);
    0
}

fn access(table: &file::Route, report: &mut Report<'_>) -> Access {
    let Some(given) = &table.access else { return Access::Key };
    match given.get_ref().as_str() {
        "key" => Access::Key,
        "public" => Access::Public,
        other => {
            let what = format!("{} is not an access", shown(other));
            report.refuse(&given.span(), "route.access", what, one_of(other, &["key", "public"]));
            Access::Key
        }
    }
}

fn rule(given: &Spanned<file::Rule>, route: &file::Route, under: Option<&str>, report: &mut Report<'_>) -> Rule {
    let table = given.get_ref();
    let expected = "role = \"READONLY\", \"ADMIN\" or \"public\"";
    let role = required(report, &given.span(), "route.rule.role", table.role.as_ref(), expected);
    let demand = role.map_or(Demand::Role(Role::Admin), |role| demand(role, report));
    Rule { methods: methods(table, report), path: rule_path(table, route, under, report), demand }
}

fn demand(given: &Spanned<String>, report: &mut Report<'_>) -> Demand {
    let text = given.get_ref().as_str();
    if text.eq_ignore_ascii_case("public") {
        return Demand::Public;
    }
    text.parse().map_or_else(
        |_| {
            let what = format!("{} is not a role", shown(text));
            report.refuse(&given.span(), "route.rule.role", what, one_of(text, &["READONLY", "ADMIN", "public"]));
            Demand::Role(Role::Admin)
        },
        Demand::Role,
    )
}

fn methods(table: &file::Rule, report: &mut Report<'_>) -> Vec<String> {
    const KEY: &str = "route.rule.methods";
    let Some(given) = &table.methods else { return Vec::new() };
    if given.get_ref().is_empty() {
        report.refuse(&given.span(), KEY, "is empty", "expected at least one method; without methods, all are meant");
    }
    let mut methods = Vec::new();
    for entry in given.get_ref() {
        let method = entry.get_ref().to_ascii_uppercase();
        if http::Method::from_bytes(method.as_bytes()).is_err() {
            let what = format!("{} is not a method", shown(entry.get_ref()));
            report.refuse(&entry.span(), KEY, what, "expected methods, such as [\"GET\", \"POST\"]");
        } else if method == "TRACE" || method == "CONNECT" {
            let what = format!("{method} is refused before any rule");
            report.refuse(&entry.span(), KEY, what, "expected other methods");
        } else if !methods.contains(&method) {
            methods.push(method);
        }
    }
    methods
}

/// The path of a rule, which must lie `under` the path of its route (if that one is known).
fn rule_path(table: &file::Rule, route: &file::Route, under: Option<&str>, report: &mut Report<'_>) -> Option<String> {
    const KEY: &str = "route.rule.path";
    let given = table.path.as_ref()?;
    let path = given.get_ref();
    let bare = path.strip_suffix('/').filter(|bare| !bare.is_empty() && !bare.ends_with('/')).unwrap_or(path);
    if let Some((what, expected)) = path_fault(bare, route.lenient_paths) {
        report.refuse(&given.span(), KEY, format!("{} {what}", shown(path)), expected);
        return None;
    }
    let under = under.unwrap_or("/");
    let lies_under =
        under == "/" || path.strip_prefix(under).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if !lies_under {
        let what = format!("{} is not under the path of its route, {}", shown(path), shown(under));
        let expected = format!("expected {}", shown(&format!("{under}{path}")));
        report.refuse(&given.span(), KEY, what, expected);
    }
    Some(path.clone())
}
