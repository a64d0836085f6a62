//! What was written, read by the letter of RFC 9112.

use std::fmt;

use keygate::proxy::body::Sender;
use keygate::proxy::head::{HeadLimits, Parsed, Space, parse};

use super::world::Seen;

/// A head, and what came of its body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The first line.
    pub line: Vec<u8>,
    /// Names in lower case.
    pub fields: Vec<Field>,
    /// Without its coding.
    pub body: Vec<u8>,
    pub trailers: Vec<Field>,
    pub is_whole: bool,
    /// Bytes of it, if it is whole.
    pub length: usize,
    /// Something comes behind it.
    pub is_followed: bool,
}

/// What bytes are.
pub enum Reading {
    /// Not yet a head.
    Partial,
    Head(Asked),
    Malformed(String),
}

/// How a body ends.
enum Body {
    None,
    Length(usize),
    Chunked,
    UntilClose,
}

/// The request at the beginning of these bytes.
pub fn request(bytes: &[u8]) -> Reading {
    read(bytes, Sender::Client, false, |_, has_chunks, length| match (has_chunks, length) {
        (true, None) => Ok(Body::Chunked),
        (true, Some(_)) => Err("a request with length and coding".to_owned()),
        (false, None) => Ok(Body::None),
        (false, Some(length)) => Ok(Body::Length(length)),
    })
}

/// The answer at the beginning of these bytes; `to_head`: to HEAD. `is_closed`: nothing comes behind them.
pub fn answer(bytes: &[u8], to_head: bool, is_closed: bool) -> Reading {
    read(bytes, Sender::Server, is_closed, |line, has_chunks, length| {
        let status = line.get(9..12).unwrap_or_default();
        if !line.starts_with(b"HTTP/1.1 ") || !status.iter().all(u8::is_ascii_digit) || line.get(12) != Some(&b' ') {
            return Err(format!("a status line: {}", line.escape_ascii()));
        }
        let is_unframed = status[0] == b'1' || status == b"204";
        if is_unframed && (has_chunks || length.is_some()) {
            return Err(format!("a body to {}", status.escape_ascii()));
        }
        Ok(match (is_unframed || to_head || status == b"304", has_chunks, length) {
            (true, ..) => Body::None,
            (_, true, Some(_)) => return Err("an answer with length and coding".to_owned()),
            (_, true, None) => Body::Chunked,
            (_, false, Some(length)) => Body::Length(length),
            (_, false, None) => Body::UntilClose,
        })
    })
}

fn read(
    bytes: &[u8],
    sender: Sender,
    is_closed: bool,
    framed: impl FnOnce(&[u8], bool, Option<usize>) -> Result<Body, String>,
) -> Reading {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Reading::Partial };
    match read_head(&bytes[..end + 2], framed) {
        Err(why) => Reading::Malformed(why),
        Ok((line, fields, body)) => {
            let rest = &bytes[end + 4..];
            let mut asked = Asked { line, fields, ..Asked::default() };
            let taken = match body {
                Body::None => Some(0),
                Body::Length(length) => {
                    asked.body = rest[..length.min(rest.len())].to_vec();
                    Some(length).filter(|length| *length <= rest.len())
                }
                Body::UntilClose => {
                    asked.body = rest.to_vec();
                    Some(rest.len()).filter(|_| is_closed)
                }
                Body::Chunked => match dechunk(rest, sender, &mut asked) {
                    Ok(taken) => taken,
                    Err(why) => return Reading::Malformed(why),
                },
            };
            asked.is_whole = taken.is_some();
            asked.length = end + 4 + taken.unwrap_or(rest.len());
            asked.is_followed = asked.is_whole && bytes.len() > asked.length;
            Reading::Head(asked)
        }
    }
}

fn read_head(
    head: &[u8],
    framed: impl FnOnce(&[u8], bool, Option<usize>) -> Result<Body, String>,
) -> Result<(Vec<u8>, Vec<Field>, Body), String> {
    let end = find(head, b"\r\n").unwrap_or(head.len());
    let (first, mut rest) = (&head[..end], &head[(end + 2).min(head.len())..]);
    if first.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err(format!("a line: {}", first.escape_ascii()));
    }
    let (mut fields, mut length, mut has_chunks) = (Vec::new(), None, false);
    while let Some(end) = find(rest, b"\r\n") {
        let (name, value) = field(&rest[..end])?;
        rest = &rest[end + 2..];
        if name == b"content-length" {
            // A server may say it twice (RFC 9110, section 8.6); the gateway says it once: `Asked::is_alike`.
            let mut numbers = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            let first = numbers.next().unwrap_or_default();
            let digits = std::str::from_utf8(first).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
            let number = digits.and_then(|text| text.parse().ok()).filter(|_| numbers.all(|other| other == first));
            if number.is_none() || length.is_some_and(|before| Some(before) != number) {
                return Err(format!("a length: {}", value.escape_ascii()));
            }
            length = number;
        }
        if name == b"transfer-encoding" {
            let last = value.rsplit(|byte| *byte == b',').next().unwrap_or_default();
            if has_chunks {
                return Err("two codings".to_owned());
            }
            has_chunks = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
        }
        fields.push((name, value));
    }
    let body = framed(first, has_chunks, length)?;
    Ok((first.to_vec(), fields, body))
}

/// What chunks hold; how long they are together, if their end is there.
fn dechunk(bytes: &[u8], sender: Sender, asked: &mut Asked) -> Result<Option<usize>, String> {
    let mut at = 0;
    loop {
        let Some(end) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let line = &bytes[at..at + end];
        let mut digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
        if sender == Sender::Server {
            // Bad white space (RFC 9112, section 7.1.1) goes on as it came.
            digits = digits.trim_ascii_end();
        }
        let size = std::str::from_utf8(digits).ok().filter(|text| !text.starts_with('+'));
        let Some(size) = size.and_then(|text| usize::from_str_radix(text, 16).ok()) else {
            return Err(format!("a chunk's size: {}", line.escape_ascii()));
        };
        at += end + 2;
        if size == 0 {
            break;
        }
        let chunk = &bytes[at..][..size.min(bytes.len() - at)];
        asked.body.extend_from_slice(chunk);
        at += chunk.len();
        match bytes[at..].get(..2) {
            Some(b"\r\n") if chunk.len() == size => at += 2,
            Some(other) if chunk.len() == size => return Err(format!("behind a chunk: {}", other.escape_ascii())),
            _ => return Ok(None),
        }
    }
    loop {
        let Some(end) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let line = &bytes[at..at + end];
        at += end + 2;
        if line.is_empty() {
            return Ok(Some(at));
        }
        asked.trailers.push(field(line)?);
    }
}

type Field = (Vec<u8>, Vec<u8>);

/// A field by its name in lower case.
fn field(line: &[u8]) -> Result<Field, String> {
    let colon = line.iter().position(|byte| *byte == b':').unwrap_or(0);
    let (name, value) = (line[..colon].to_ascii_lowercase(), line[(colon + 1).min(line.len())..].trim_ascii());
    let is_well = !name.is_empty() && name.iter().all(|byte| is_token(*byte));
    if !is_well || line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err(format!("a field: {}", line.escape_ascii()));
    }
    Ok((name, value.to_vec()))
}

pub fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn with_single_spaces(value: &[u8]) -> Vec<u8> {
    let words = value.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(&b' ')
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

impl Asked {
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter(move |(n, _)| n == name.as_bytes()).map(|(_, value)| value.as_slice())
    }

    pub fn id(&self) -> Vec<u8> {
        self.all("x-request-id").next().unwrap_or_default().to_vec()
    }

    pub fn is_idempotent(&self) -> bool {
        let method = self.line.split(|byte| *byte == b' ').next().unwrap_or_default();
        matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"PUT" | b"DELETE" | b"TRACE")
    }

    /// Does it say that the API's answer was none?
    pub fn is_malformed(&self) -> bool {
        // To HEAD it says no more than its status.
        self.status() == 502 && (self.body.is_empty() || find(&self.body, b"problem:upstream-malformed").is_some())
    }

    /// Does it say that the request's body was none, or too large?
    pub fn is_refusal_of_a_body(&self) -> bool {
        let problem = match self.status() {
            400 => &b"problem:malformed-body"[..],
            413 => b"problem:body-too-large",
            _ => return false,
        };
        self.body.is_empty() || find(&self.body, problem).is_some()
    }

    pub fn status(&self) -> u16 {
        std::str::from_utf8(&self.line[9..12]).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// By name; of one name in their order.
    fn sorted(&self) -> Vec<Field> {
        // The general lane writes `Date` anew.
        let kept = self.fields.iter().filter(|(name, _)| name != b"date" && name != b"x-request-id");
        // What was folded is one line, with any number of spaces (RFC 9112, section 5.2).
        let mut fields: Vec<_> = kept.map(|(name, value)| (name.clone(), with_single_spaces(value))).collect();
        // Of ids the request's number: connections have one each.
        fields.push((
            b"x-request-id".to_vec(),
            self.id().rsplit(|byte| *byte == b'-').next().unwrap_or_default().to_vec(),
        ));
        // It orders fields by name.
        fields.sort_by(|one, other| one.0.cmp(&other.0));
        // As sent, or in lower case: names of codings are the same (RFC 9112, section 7).
        for (_, value) in fields.iter_mut().filter(|(name, _)| name == b"transfer-encoding") {
            value.make_ascii_lowercase();
        }
        fields
    }

    /// The same message. Not looked at: where chunks begin, and trailers, which the general lane drops (RFC 9110,
    /// section 6.5.1).
    pub fn is_alike(&self, other: &Self) -> bool {
        // How much of what comes to nothing was passed on first is nobody's concern.
        let same_body = !self.is_whole || self.body == other.body;
        self.is_whole == other.is_whole && same_body && self.begins_alike(other)
    }

    /// The same, as far as both have come.
    pub fn begins_alike(&self, other: &Self) -> bool {
        let is_part = |one: &[u8], other: &[u8]| one.starts_with(other) || other.starts_with(one);
        self.line == other.line && self.sorted() == other.sorted() && is_part(&self.body, &other.body)
    }
}

/// What a client asks for.
#[derive(Clone, Debug)]
pub struct Told {
    pub method: Vec<u8>,
    pub target: Vec<u8>,
    pub host: Vec<u8>,
}

/// The requests that a client sends, as the gateway reads them.
pub fn told(mut bytes: &[u8]) -> Vec<Told> {
    let mut all = Vec::new();
    loop {
        let mut space = Space::<31>::new();
        let Parsed::Head(head) = parse(bytes, &mut space, HeadLimits { size: 4096, fields: 30 }) else { return all };
        let [method, target, host] = [head.method, head.target, head.host].map(<[u8]>::to_vec);
        all.push(Told { method, target, host });
        let mut framing = head.framing;
        let Ok(taken) = framing.feed(&bytes[head.length..]) else { return all };
        bytes = &bytes[head.length + taken..];
    }
}

/// All that the client was answered.
pub fn answers(seen: &Seen, methods: &[Vec<u8>]) -> Result<Vec<Asked>, String> {
    let (mut all, mut rest, mut finals) = (Vec::new(), &seen.answered[..], 0);
    while !rest.is_empty() {
        let to_head = methods.get(finals).is_some_and(|method| method == b"HEAD");
        match answer(rest, to_head, seen.is_closed) {
            Reading::Malformed(why) => return Err(format!("{why}\n{}", rest.escape_ascii())),
            Reading::Partial => return Err(format!("a part of a head: {}", rest.escape_ascii())),
            Reading::Head(head) => {
                rest = &rest[head.length..];
                finals += usize::from(head.status() >= 200);
                let is_whole = head.is_whole;
                all.push(head);
                if !is_whole {
                    break;
                }
            }
        }
    }
    Ok(all)
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.line.escape_ascii())?;
        for (name, value) in &self.fields {
            write!(f, " | {}: {}", name.escape_ascii(), value.escape_ascii())?;
        }
        let whole = if self.is_whole { "whole" } else { "a part" };
        write!(f, " || {whole}, {} bytes \"{}\"", self.body.len(), self.body.escape_ascii())
    }
}
