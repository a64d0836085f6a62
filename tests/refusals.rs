//! The corpus of refusals (tests/corpus), as raw bytes through keygate: each case is answered as it states, each
//! refusal is a problem document, counted and logged by its reason, and no upstream sees a request that was not
//! admitted, or another than was decided on, or two where one was sent.

use std::collections::{BTreeMap, BTreeSet};

use keygate::proxy::reject::Rejection;

use crate::support::asked::{Asked, assert_none, reasons, start};
use crate::support::corpus::{self, Case, Forwarded, Words};
use crate::support::saw::{Saw, by_connection, check_seen};
use crate::support::{Gateway, Upstream, wait_for};

/// Longer ones are not sent byte by byte.
const PIECES_MAX: usize = 3000;

#[test]
fn every_case_is_well_formed() {
    let mut words = Words::default();
    let placeholders =
        ["HOST", "KEY", "READONLY", "APP_KEY", "BASIC", "BASIC_BOTH", "FORGED", "TRUNCATED", "UNKNOWN", "UPPER"];
    for name in placeholders {
        words.set(name, "x");
    }
    let cases = corpus::load();
    assert!(cases.len() >= 900, "{} cases", cases.len());
    let mut names = BTreeSet::new();
    for case in &cases {
        let (answers, _, most) = case.stated();
        assert!(names.insert(&case.name), "{}: the name is taken", case.name);
        assert!(case.why.len() > 3 && case.why.ends_with(['.', '?']), "{}: {:?}", case.name, case.why);
        assert!(case.rfc.split(", ").all(is_citation), "{}: {:?}", case.name, case.rfc);
        let reasons = answers.iter().filter_map(|answer| answer.reason.as_deref());
        reasons.for_each(|reason| assert!(Rejection::REASONS.contains(&reason), "{}: {reason:?}", case.name));
        let admitted = answers.iter().filter(|answer| answer.reason.is_none()).count();
        assert!(admitted == 0 || admitted == case.forwarded.len(), "{}: each 200 forwards one", case.name);
        assert!(case.forwarded.len() <= most && most <= 2, "{}", case.name);
        words.expand(&case.send);
        for forwarded in &case.forwarded {
            let Forwarded { request, host, body, fields, .. } = forwarded;
            [request, host, body].into_iter().chain(fields).for_each(|text| drop(words.expand(text)));
        }
    }
}

/// `9112 6.1` or `7230 erratum 4667`.
fn is_citation(cite: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let is_section = |text: &str| text.split('.').all(|part| is_number(part) || matches!(part, "A" | "B" | "C"));
    let Some((rfc, place)) = cite.split_once(' ') else { return false };
    rfc.len() == 4 && is_number(rfc) && place.strip_prefix("erratum ").map_or_else(|| is_section(place), is_number)
}

/// Each refusal is counted once, by its reason, and nothing else is.
fn check_counts(gateway: &Gateway, asked: &[Asked<'_>], wrong: &mut Vec<String>) {
    let stated = asked.iter().flat_map(|asked| asked.case.stated().0).filter_map(|answer| answer.reason);
    let mut counts: BTreeMap<String, f64> = BTreeMap::new();
    stated.for_each(|reason| *counts.entry(reason).or_default() += 1.0);
    for reason in Rejection::REASONS {
        let counted = gateway.node.metric("keygate_refusals_total", &[&format!("reason=\"{reason}\"")]);
        let wanted = counts.get(reason).copied().unwrap_or_default();
        if (counted - wanted).abs() > 0.5 {
            wrong.push(format!("{reason} was counted {counted} times instead of {wanted}"));
        }
    }
}

/// All cases in front of the recording upstream, which is looked at when both have ended: what is cut may come to it
/// late.
fn assert_answered_as_stated(in_pieces: bool) {
    let upstream = Upstream::echo();
    let (mut gateway, words) = start(&upstream.address().to_string());
    let cases = corpus::load();
    let goes =
        |case: &&Case| !in_pieces || case.pieces && case.end.is_none() && words.expand(&case.send).len() < PIECES_MAX;
    let ask = |case| Asked::ask(&gateway, &words, case, in_pieces);
    let mut all: Vec<Asked<'_>> = cases.iter().filter(goes).map(ask).collect();
    let reasons = reasons(&gateway, &all);
    let mut wrong = Vec::new();
    check_counts(&gateway, &all, &mut wrong);
    gateway.node.stop();
    wait_for("the upstream's connections end", || upstream.open_connections() == 0);
    let mut seen = by_connection(upstream.seen().into_iter().map(Saw::from), Vec::new(), &mut wrong);
    for asked in &mut all {
        asked.check_answers(&reasons, false);
        check_seen(asked.case, &words, &seen.remove(&asked.connection).unwrap_or_default(), &mut asked.faults);
    }
    wrong.extend(seen.into_values().flatten().map(|saw| format!("of no case: {}", saw.line.escape_ascii())));
    wrong.extend(all.into_iter().filter_map(Asked::told));
    assert_none("the corpus", &wrong);
}

#[test]
fn every_case_is_answered_as_it_states() {
    assert_answered_as_stated(false);
}

#[test]
fn every_case_is_answered_as_it_states_when_it_comes_byte_by_byte() {
    assert_answered_as_stated(true);
}
