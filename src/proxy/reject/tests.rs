//! Every refusal, and the page that lists them.

use std::fmt::Write as _;

use super::*;
use crate::clock::WallTime;

/// One of each reason, in the order of [`Rejection::REASONS`].
fn all() -> Vec<Rejection> {
    use NotProvenReason::{Forged, Malformed, Outdated, Unknown};
    vec![
        Rejection::MalformedHead("A line does not end with CR LF."),
        Rejection::HeadTooLarge,
        Rejection::TooManyHeaders,
        Rejection::HeadTimeout,
        Rejection::MethodRefused,
        Rejection::Path(PathFault::DotSegment),
        Rejection::Framing("There is more than one Content-Length."),
        Rejection::BodyTooLarge,
        Rejection::BodyTimeout,
        Rejection::BodyMalformed,
        Rejection::NoRoute,
        Rejection::MissingCredential,
        Rejection::ConflictingCredentials,
        Rejection::InvalidCredential(Malformed),
        Rejection::InvalidCredential(Unknown),
        Rejection::InvalidCredential(Forged),
        Rejection::InvalidCredential(Outdated),
        Rejection::StaleSecret { sent: 6, current: 7 },
        Rejection::KeyDisabled,
        Rejection::KeyExpired,
        Rejection::TokenExpired,
        Rejection::TokenRevoked,
        Rejection::RoleTooLow,
        Rejection::NetworkNotAllowed,
        Rejection::RouteNotAllowed,
        Rejection::NoLease,
        Rejection::NoUpstream,
        Rejection::UpstreamFailed,
        Rejection::UpstreamMalformed,
        Rejection::UpstreamTimeout,
        Rejection::Overloaded,
        Rejection::Stopping,
        Rejection::Internal,
    ]
}

#[test]
fn every_problem_is_json_with_its_status() {
    for (at, rejection) in all().into_iter().enumerate() {
        assert_eq!(rejection.index(), at);
        assert_eq!(rejection.reason(), Rejection::REASONS[at]);
        let problem = rejection.problem("0-1");
        let json: serde_json::Value = serde_json::from_str(&problem.body).unwrap();
        assert_eq!(json["status"], rejection.status());
        assert!(json["type"].as_str().unwrap().starts_with("urn:keygate:problem:"));
        assert_eq!(json["request_id"], "0-1");
        assert_eq!(rejection.status() == 401, rejection.challenge().is_some_and(|c| !c.contains("scope")));
    }
}

/// `KEYGATE_UPDATE_DOCS=1 cargo test --lib proxy::reject` writes the page anew.
#[test]
fn the_page_of_errors_is_that_of_this_program() {
    let mut page = String::from(include_str!("../errors.head.md"));
    page.push_str("\n| status | type: `urn:keygate:problem:` | title | reason (metrics, log) | connection |\n|---|---|---|---|---|\n");
    for rejection in all() {
        let Kind { reason, status, problem, title } = rejection.kind();
        let connection = if rejection.poisons_connection() { "closed" } else { "kept" };
        let _ = writeln!(page, "| {status} | `{problem}` | {title} | `{reason}` | {connection} |");
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/errors.md");
    #[allow(clippy::disallowed_methods, reason = "asked for by whoever runs the test")]
    if std::env::var_os("KEYGATE_UPDATE_DOCS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    assert!(std::fs::read_to_string(path).unwrap() == page, "docs/errors.md is out of date; see this test");
}

#[test]
fn to_head_no_document_is_written_and_none_is_counted() {
    for (head_only, of_document) in [(false, true), (true, false)] {
        let asker = Asker { request_id: "0-1", now: WallTime::default(), head_only, close: false };
        let mut out = Vec::new();
        let counted = Rejection::NoRoute.write_http1(&mut out, &asker);
        let (_, document) = std::str::from_utf8(&out).unwrap().split_once("\r\n\r\n").unwrap();
        assert_eq!((document.len(), counted > 0), (counted, of_document));
    }
}

#[test]
fn the_unproven_are_told_alike() {
    use NotProvenReason::{Forged, Malformed, Outdated, Unknown};
    let told = [Malformed, Unknown, Forged, Outdated].map(|r| Rejection::InvalidCredential(r).problem("x").body);
    assert!(told.iter().all(|body| *body == told[0]));
}

#[test]
fn of_an_old_secret_each_is_told_of_the_one_that_it_sent() {
    for (sent, current) in [(6, 7), (6, 7), (5, 7), (6, 7), (7, 8)] {
        let problem = Rejection::StaleSecret { sent, current }.problem("0-1");
        let json: serde_json::Value = serde_json::from_str(&problem.body).unwrap();
        assert_eq!((&json["sent_version"], &json["current_version"]), (&sent.into(), &current.into()));
        let told = format!("version {sent}; the current version is {current}.");
        assert!(json["detail"].as_str().unwrap().contains(&told), "{json}");
    }
}
