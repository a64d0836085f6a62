//! The corpus of refusals in front of servers that are not ours: each sees what keygate admitted, as keygate meant it,
//! and nothing else. Where a server reads bytes otherwise than keygate does, this is where it shows.

use crate::support::asked::{Asked, assert_none, reasons, start};
use crate::support::corpus::{self, Case, Words};
use crate::support::count;
use crate::support::real_upstream::{Kind, RealUpstream};
use crate::support::saw::{Saw, by_connection, check_seen};

/// All cases in front of a real server. What it saw is told apart by keygate's request ids, after the end of both: a
/// request without one is none that keygate sent. Cases that a deadline ends go only in the long form.
fn assert_told_by(kind: Kind) {
    let server = RealUpstream::start(kind);
    let (mut gateway, words) = start(&server.address.to_string());
    let cases = corpus::load();
    let goes = |case: &&Case| count(!case.waits(), true);
    let mut all: Vec<Asked<'_>> =
        cases.iter().filter(goes).map(|case| Asked::ask(&gateway, &words, case, false)).collect();
    let reasons = reasons(&gateway, &all);
    gateway.node.stop();
    let said = server.said();
    let mut wrong = Vec::new();
    let reports = server.finish().into_iter().map(Saw::from);
    let mut seen = by_connection(reports, refused_unread(&cases, kind, &words), &mut wrong);
    for asked in &mut all {
        let may_refuse = asked.case.refused_by.iter().any(|name| name == kind.name());
        asked.check_answers(&reasons, may_refuse);
        let seen = seen.remove(&asked.connection).unwrap_or_default();
        if !may_refuse {
            check_seen(asked.case, &words, &seen, &mut asked.faults);
        }
    }
    wrong.extend(seen.into_values().flatten().map(|saw| format!("of no case: {}", saw.line.escape_ascii())));
    wrong.extend(all.into_iter().filter_map(Asked::told));
    assert_none(&format!("{kind:?}\n{said}"), &wrong);
}

/// Request lines of what the server may refuse unread: its report of them has no id.
fn refused_unread(cases: &[Case], kind: Kind, words: &Words) -> Vec<Vec<u8>> {
    let may_refuse = |case: &&Case| case.refused_by.iter().any(|name| name == kind.name());
    let refused = cases.iter().filter(may_refuse).flat_map(|case| &case.forwarded);
    refused.map(|forwarded| [&words.expand(&forwarded.request)[..], b" HTTP/1.1"].concat()).collect()
}

#[test]
fn nginx_sees_what_was_admitted_and_nothing_else() {
    assert_told_by(Kind::Nginx);
}

#[test]
fn apache_sees_what_was_admitted_and_nothing_else() {
    assert_told_by(Kind::Apache2);
}

#[test]
fn haproxy_sees_what_was_admitted_and_nothing_else() {
    assert_told_by(Kind::HaProxy);
}

#[test]
fn a_python_server_sees_what_was_admitted_and_nothing_else() {
    assert_told_by(Kind::Python);
}

#[test]
fn a_node_server_sees_what_was_admitted_and_nothing_else() {
    assert_told_by(Kind::Node);
}
