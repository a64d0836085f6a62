//! **HOT** The head of an answer: parsed by httparse and checked (RFC 9112, sections 4 to 6); `write` writes it anew for
//! the client.
//!
//! What comes out of [`parse`] borrows from the server's buffer; nothing is allocated. An answer that two readers
//! could take differently is no answer: the client gets 502. Where the request's head is read: `proxy::head`.

mod write;

use std::mem::MaybeUninit;

use crate::proxy::head::{RawField, connection_options, number};
pub(super) use write::Told;

/// The most bytes of an answer's head.
pub(super) const HEAD_MOST: usize = 256 * 1024;
/// Fields that a head is parsed into on the stack; answers with more pay for it.
pub(super) const USUAL_FIELDS: usize = 100;
/// The most fields of an answer.
pub(super) const FIELDS_MOST: usize = 256;

/// Where the fields of a parsed head lie, each with what it is to keygate. On the stack: little is written to it but
/// what a head has.
pub(super) struct Space<'b, const N: usize> {
    fields: [MaybeUninit<RawField<'b>>; N],
    kinds: [Field; N],
}

impl<const N: usize> Space<'_, N> {
    pub(super) const fn new() -> Self {
        Self { fields: [const { MaybeUninit::uninit() }; N], kinds: [Field::Other; N] }
    }
}

/// How the body of an answer ends (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// There is none.
    None,
    /// After so many bytes.
    Length(u64),
    /// With its last chunk.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// An answer's head, checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer<'h, 'b> {
    /// 100 to 999, and not 101.
    pub(super) status: u16,
    /// Bytes of the head, its last empty line included.
    pub(super) length: usize,
    /// How its body ends.
    pub(super) body: Body,
    /// The server lets its connection be used again.
    pub(super) keeps: bool,
    /// For so many seconds, it says (`Keep-Alive: timeout`, which no RFC defines and many servers send).
    pub(super) keeps_for: Option<u64>,
    /// The head as it came.
    bytes: &'b [u8],
    reason: &'b str,
    fields: &'h [RawField<'b>],
    /// What each of them is.
    kinds: &'h [Field],
    /// The one value of all `Content-Length`s, where it counts.
    content_length: Option<u64>,
    /// `Connection` names fields beside the usual ones; they end here.
    nominates: bool,
    /// It says when it was made.
    pub(super) has_date: bool,
}

/// What a buffer holds.
#[derive(Debug)]
pub(super) enum Parsed<'h, 'b> {
    /// Not yet a whole head.
    Partial,
    /// A head.
    Head(Answer<'h, 'b>),
    /// More fields than there is storage for.
    TooManyFields,
    /// No answer; for the log.
    Malformed(&'static str),
}

/// What a field of an answer is to keygate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    /// Goes on as it came.
    Other,
    Connection,
    ContentLength,
    TransferEncoding,
    Date,
    KeepAlive,
    /// Hop-by-hop (RFC 9110, section 7.6.1), or ours to set.
    Dropped,
}

/// Classifies a field by its name.
pub(crate) fn classify(name: &[u8]) -> Field {
    match name.len() {
        4 if is(name, b"date") => Field::Date,
        7 if is(name, b"upgrade") => Field::Dropped,
        10 if is(name, b"connection") => Field::Connection,
        10 if is(name, b"keep-alive") => Field::KeepAlive,
        12 if is(name, b"x-request-id") => Field::Dropped,
        14 if is(name, b"content-length") => Field::ContentLength,
        16 if is(name, b"proxy-connection") => Field::Dropped,
        17 if is(name, b"transfer-encoding") => Field::TransferEncoding,
        _ => Field::Other,
    }
}

/// Is this the field that is called so, in small letters and hyphens? All bytes are compared at once. What the bit adds
/// to a letter makes it a small one; a hyphen has it, and is without it a CR, which no name holds.
fn is<const N: usize>(name: &[u8], known: &[u8; N]) -> bool {
    <[u8; N]>::try_from(name).is_ok_and(|name| name.map(|byte| byte | 0x20) == *known)
}

/// May `Connection` name this field, to end it here? Others are dropped in any case, or no matter of the connection.
pub(crate) fn may_be_nominated(option: &[u8]) -> bool {
    classify(option) == Field::Other
}

/// Parses and checks the head at the beginning of `bytes`. `to_head`: the request was HEAD.
pub(super) fn parse<'h, 'b, const N: usize>(
    bytes: &'b [u8],
    space: &'h mut Space<'b, N>,
    to_head: bool,
) -> Parsed<'h, 'b> {
    let mut response = httparse::Response::new(&mut []);
    let mut config = httparse::ParserConfig::default();
    // White space between name and colon is taken out (RFC 9112, section 5.1): the head is written anew.
    config.allow_spaces_after_header_name_in_responses(true);
    let length = match config.parse_response_with_uninit_headers(&mut response, bytes, &mut space.fields) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Parsed::Partial,
        Err(httparse::Error::TooManyHeaders) => return Parsed::TooManyFields,
        Err(_) => return Parsed::Malformed("what came is no HTTP/1 head"),
    };
    let (Some(status), Some(version)) = (response.code, response.version) else {
        return Parsed::Malformed("the status line is incomplete");
    };
    if status < 100 {
        return Parsed::Malformed("the status code is below 100");
    }
    // Nobody asked for an upgrade in this lane (RFC 9110, section 15.2.2).
    if status == 101 {
        return Parsed::Malformed("101 to a request that asked for no upgrade");
    }
    let fields: &'h [RawField<'b>] = response.headers;
    let mut seen = Seen::default();
    for (kind, field) in space.kinds.iter_mut().zip(fields) {
        *kind = classify(field.name.as_bytes());
        if let Err(why) = seen.look_at(*kind, field.value) {
            return Parsed::Malformed(why);
        }
    }
    let is_bodyless = to_head || status < 200 || matches!(status, 204 | 304);
    let body = match (is_bodyless, seen.is_chunked, seen.content_length) {
        // RFC 9112, section 6.3: cases 1, 4, 6 and 8, in this order.
        (true, ..) => Body::None,
        (false, Some(true), _) => Body::Chunked,
        // The length is then told by the end of the connection, and the coding is none that was asked for: TE is not
        // sent.
        (false, Some(false), _) => return Parsed::Malformed("a Transfer-Encoding that does not end in chunked"),
        (false, None, Some(0)) => Body::None,
        (false, None, Some(length)) => Body::Length(length),
        (false, None, None) => Body::UntilClose,
    };
    let has_coding = seen.is_chunked.is_some();
    // Persistence: RFC 9112, section 9.3. A coding in HTTP/1.0, or beside a length, may have been understood otherwise
    // by somebody on the way (sections 6.1 and 6.3).
    let is_http10 = version == 0;
    let persists = if is_http10 { seen.keep_alive && !seen.close } else { !seen.close };
    let is_faulty = has_coding && (is_http10 || seen.content_length.is_some());
    Parsed::Head(Answer {
        status,
        length,
        body,
        keeps: persists && !is_faulty && body != Body::UntilClose,
        keeps_for: seen.keeps_for,
        bytes,
        reason: response.reason.unwrap_or_default(),
        fields,
        kinds: &space.kinds,
        // Transfer-Encoding overrides it, and it must not go on (RFC 9112, section 6.3, case 3).
        content_length: seen.content_length.filter(|_| !has_coding),
        nominates: seen.nominates,
        has_date: seen.has_date,
    })
}

/// What the fields say, gathered in one pass.
#[derive(Default)]
struct Seen {
    content_length: Option<u64>,
    /// The last coding of all `Transfer-Encoding`s is `chunked`.
    is_chunked: Option<bool>,
    close: bool,
    keep_alive: bool,
    nominates: bool,
    has_date: bool,
    keeps_for: Option<u64>,
}

impl Seen {
    #[inline]
    fn look_at(&mut self, kind: Field, value: &[u8]) -> Result<(), &'static str> {
        match kind {
            Field::Other | Field::Dropped => {}
            Field::Date => self.has_date = true,
            Field::KeepAlive => self.keeps_for = timeout(value),
            Field::TransferEncoding => self.look_at_coding(value)?,
            Field::ContentLength => self.look_at_length(value)?,
            Field::Connection => self.look_at_connection(value),
        }
        Ok(())
    }

    /// Chunked once, and last (RFC 9112, section 6.1): twice, some readers would decode it twice.
    fn look_at_coding(&mut self, value: &[u8]) -> Result<(), &'static str> {
        for coding in value.split(|b| *b == b',') {
            let coding = coding.trim_ascii();
            if coding.is_empty() || self.is_chunked == Some(true) {
                return Err("a Transfer-Encoding with an empty member, or one behind chunked");
            }
            self.is_chunked = Some(coding.eq_ignore_ascii_case(b"chunked"));
        }
        Ok(())
    }

    /// The same length twice, in one field or in two, is one length (RFC 9110, section 8.6).
    fn look_at_length(&mut self, value: &[u8]) -> Result<(), &'static str> {
        for length in value.split(|b| *b == b',') {
            let length = number(length.trim_ascii()).ok_or("a Content-Length that is no number")?;
            if self.content_length.replace(length).is_some_and(|before| before != length) {
                return Err("two different Content-Lengths");
            }
        }
        Ok(())
    }

    fn look_at_connection(&mut self, value: &[u8]) {
        for option in connection_options(value) {
            if is(option, b"close") {
                self.close = true;
            } else if is(option, b"keep-alive") {
                self.keep_alive = true;
            } else {
                // What is written anew or dropped in any case, nobody needs to look for.
                self.nominates |= may_be_nominated(option);
            }
        }
    }
}

/// The `timeout` of a `Keep-Alive`.
fn timeout(value: &[u8]) -> Option<u64> {
    let mut parameters = value.split(|b| *b == b',').map(<[u8]>::trim_ascii);
    parameters.find_map(|parameter| {
        let (name, seconds) = parameter.split_at_checked(8)?;
        name.eq_ignore_ascii_case(b"timeout=").then(|| number(seconds)).flatten()
    })
}

impl Answer<'_, '_> {
    /// One of those before the answer itself (RFC 9110, section 15.2).
    pub(super) fn is_interim(&self) -> bool {
        self.status < 200
    }
}

/// Makes one line of each field's value that was folded over several (RFC 9112, section 5.2: "replace each received
/// obs-fold with one or more SP octets"). False: nothing was. Lengths stay as they are. What is folded behind the status
/// line (section 2.2) or in front of a colon is left as it is, and malformed. A bare LF ends a line here too, as for the
/// parser.
#[cold]
pub(super) fn unfold(bytes: &mut [u8]) -> bool {
    let mut line = bytes.iter().position(|byte| !b"\r\n".contains(byte)).unwrap_or(bytes.len());
    let (mut is_status, mut is_value, mut found) = (true, false, false);
    while let Some(length) = memchr::memchr(b'\n', bytes.get(line..).unwrap_or_default()) {
        let next = line + length + 1;
        let (before, after) = bytes.split_at_mut(next);
        is_value |= !is_status && memchr::memchr(b':', before.get(line..).unwrap_or_default()).is_some();
        match after {
            // The end of the head: what follows is none of ours.
            [b'\n', ..] | [b'\r', b'\n', ..] => break,
            [white @ (b' ' | b'\t'), ..] if is_value => {
                *white = b' ';
                before.iter_mut().rev().take_while(|byte| b"\r\n".contains(byte)).take(2).for_each(|end| *end = b' ');
                found = true;
            }
            _ => is_value = false,
        }
        (line, is_status) = (next, false);
    }
    found
}
