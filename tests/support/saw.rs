//! A request as some upstream saw it, held against what its case states. What is right stands in the corpus; what holds
//! for every request is here.

use std::collections::{BTreeMap, BTreeSet};

use super::asked::is_sentinel;
use super::corpus::{Case, Forwarded, Words};
use super::real_upstream::Report;
use super::upstream::Seen;

/// A request as an upstream saw it.
pub struct Saw {
    pub line: Vec<u8>,
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// Real servers tell its length alone.
    pub body: Result<Vec<u8>, usize>,
    pub complete: bool,
}

impl From<Seen> for Saw {
    fn from(seen: Seen) -> Self {
        let mut lines = seen.head.raw.split(|b| *b == b'\n').map(<[u8]>::trim_ascii_end);
        let line = lines.next().unwrap_or_default().to_vec();
        let field = |line: &[u8]| {
            let colon = line.iter().position(|b| *b == b':')?;
            Some((line[..colon].to_vec(), line[colon + 1..].trim_ascii().to_vec()))
        };
        Self { line, fields: lines.filter_map(field).collect(), body: Ok(seen.body.kept), complete: seen.complete }
    }
}

impl From<Report> for Saw {
    fn from(report: Report) -> Self {
        Self { line: report.line, fields: report.fields, body: Err(report.body), complete: report.complete }
    }
}

impl Saw {
    fn all(&self, name: &[u8]) -> Vec<&[u8]> {
        self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_slice()).collect()
    }

    /// Names that are keygate's, for whoever takes other bytes for a hyphen.
    fn identity(&self) -> Vec<&(Vec<u8>, Vec<u8>)> {
        let hyphen = |b: &u8| if b.is_ascii_alphanumeric() { b.to_ascii_lowercase() } else { b'-' };
        let is_ours = |name: &[u8]| name.iter().map(hyphen).collect::<Vec<_>>().starts_with(b"x-keygate-");
        self.fields.iter().filter(|(name, _)| is_ours(name)).collect()
    }

    /// What holds for every request that any upstream sees.
    fn check_always(&self, words: &Words, faults: &mut Vec<String>) {
        let holds = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
        if holds(&self.line, b"smuggled") {
            faults.push("a smuggled request".to_owned());
        }
        for (name, value) in &self.fields {
            if holds(name, b"evil") || holds(value, b"evil") {
                faults.push(format!("what should have ended at keygate: {}", name.escape_ascii()));
            }
            if ["KEY", "READONLY", "APP_KEY", "BASIC"].iter().any(|secret| holds(value, words.get(secret))) {
                faults.push(format!("a credential in {}", name.escape_ascii()));
            }
        }
        for name in ["te", "keep-alive", "proxy-connection", "proxy-authorization", "http2-settings"] {
            if !self.all(name.as_bytes()).is_empty() {
                faults.push(format!("the hop-by-hop field {name}"));
            }
        }
    }

    fn check(&self, wanted: &Forwarded, words: &Words, faults: &mut Vec<String>) {
        let mut expect = |what: &str, is: bool| {
            if !is {
                faults.push(format!("{what} of {}", self.line.escape_ascii()));
            }
        };
        let line = [words.expand(&wanted.request).as_slice(), b" HTTP/1.1"].concat();
        expect("the request line", self.line == line);
        expect("the host", self.all(b"host") == [words.expand(&wanted.host)]);
        let identity = self.identity();
        let role = self.all(b"x-keygate-role");
        match wanted.identity.as_str() {
            "none" => expect("no identity", identity.is_empty()),
            name => expect("the identity", identity.len() == 3 && role == [name.as_bytes()]),
        }
        expect("the client's address", self.all(b"x-forwarded-for") == [b"127.0.0.1"]);
        expect("the end", self.complete == wanted.complete);
        let body = words.expand(&wanted.body);
        let is_same = self.body.as_ref().map_or_else(|length| *length == body.len(), |bytes| *bytes == body);
        expect("the body", !wanted.complete || is_same);
        for (name, values) in by_name(wanted, words) {
            // Some servers join fields of one name before anybody can look at them.
            expect(&format!("{}", name.escape_ascii()), self.all(&name).join(&b", "[..]) == values.join(&b", "[..]));
        }
        for name in &wanted.without {
            expect(&format!("no {name}"), self.all(name.as_bytes()).is_empty());
        }
    }
}

/// The values that each named field must have.
fn by_name(wanted: &Forwarded, words: &Words) -> BTreeMap<Vec<u8>, Vec<Vec<u8>>> {
    let mut all: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    for line in &wanted.fields {
        let line = words.expand(line);
        let colon = line.iter().position(|b| *b == b':').expect("a field line");
        all.entry(line[..colon].to_ascii_lowercase()).or_default().push(line[colon + 1..].trim_ascii().to_vec());
    }
    all
}

/// What an upstream saw of a case, in order, without sentinels.
pub fn check_seen(case: &Case, words: &Words, seen: &[Saw], faults: &mut Vec<String>) {
    let needed = case.forwarded.iter().filter(|forwarded| forwarded.complete).count();
    if seen.len() > case.stated().2 || seen.len() < needed {
        let lines: Vec<String> = seen.iter().map(|saw| saw.line.escape_ascii().to_string()).collect();
        faults.push(format!("the upstream saw {lines:?}"));
    }
    for (saw, wanted) in seen.iter().zip(&case.forwarded) {
        saw.check(wanted, words, faults);
    }
    for saw in seen {
        saw.check_always(words, faults);
    }
}

/// What an upstream saw, by the number of the client's connection, in the order in which keygate sent it, without
/// sentinels: keygate's request ids tell. Each comes once. A request without one is none of keygate's, but for those
/// `unread`: their lines are all that a server tells which refused them, if it tells as much.
pub fn by_connection(
    all: impl IntoIterator<Item = Saw>,
    mut unread: Vec<Vec<u8>>,
    wrong: &mut Vec<String>,
) -> BTreeMap<u64, Vec<Saw>> {
    let mut ids = BTreeSet::new();
    let mut found: BTreeMap<u64, BTreeMap<u64, Saw>> = BTreeMap::new();
    for saw in all {
        let id = match saw.all(b"x-request-id")[..] {
            [id] => String::from_utf8_lossy(id).into_owned(),
            _ => {
                match unread.iter().position(|line| saw.line.is_empty() || *line == saw.line) {
                    Some(known) => drop(unread.swap_remove(known)),
                    None => wrong.push(format!("keygate did not send {}", saw.line.escape_ascii())),
                }
                continue;
            }
        };
        let mut parts = id.split('-').skip(1).map(|part| u64::from_str_radix(part, 16).ok());
        match (parts.next().flatten(), parts.next().flatten(), ids.insert(id.clone())) {
            (Some(_), Some(_), true) if is_sentinel(&saw.line) => {}
            (Some(connection), Some(request), true) => {
                found.entry(connection).or_default().insert(request, saw);
            }
            _ => wrong.push(format!("the id {id:?} came twice, or is none of keygate's: {}", saw.line.escape_ascii())),
        }
    }
    found.into_iter().map(|(connection, seen)| (connection, seen.into_values().collect())).collect()
}
