//! **HOT** The head of an answer: parsed by httparse and checked (RFC 9112, sections 4 to 6); `write` writes it anew for
//! the client.
//!
//! What comes out of [`parse`] borrows from the server's buffer; nothing is allocated. An answer that two readers
//! could take differently is no answer: the client gets 502. Where the request's head is read: `proxy::head`.

mod write;

use std::mem::MaybeUninit;

use crate::proxy::body::is_token;
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
    let lengths = &seen.lengths;
    if let Err(why) = lengths.check(is_bodyless) {
        return Parsed::Malformed(why);
    }
    let has_coding = lengths.is_chunked.is_some();
    let body = match (is_bodyless, has_coding, lengths.content_length) {
        // RFC 9112, section 6.3: cases 1, 4, 6 and 8, in this order.
        (true, ..) | (false, false, Some(0)) => Body::None,
        (false, true, _) => Body::Chunked,
        (false, false, Some(length)) => Body::Length(length),
        (false, false, None) => Body::UntilClose,
    };
    // Persistence: RFC 9112, section 9.3. A coding in HTTP/1.0, or beside a length, may have been understood otherwise
    // by somebody on the way (sections 6.1 and 6.3).
    let is_http10 = version == 0;
    let persists = if is_http10 { seen.keep_alive && !seen.close } else { !seen.close };
    let is_faulty = (has_coding && is_http10) || lengths.are_both();
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
        content_length: lengths.content_length.filter(|_| !has_coding),
        nominates: seen.nominates,
        has_date: seen.has_date,
    })
}

/// What the fields say, gathered in one pass.
#[derive(Default)]
struct Seen {
    lengths: Lengths,
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
            Field::TransferEncoding => self.lengths.look_at_coding(value)?,
            Field::ContentLength => self.lengths.look_at_length(value),
            Field::Connection => self.look_at_connection(value),
        }
        Ok(())
    }

    fn look_at_connection(&mut self, value: &[u8]) {
        // What nearly all servers say, if anything.
        if is(value, b"keep-alive") {
            self.keep_alive = true;
            return;
        }
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

/// What an answer says of where its body ends; the same for both lanes.
#[derive(Default)]
pub(crate) struct Lengths {
    /// The one value of all `Content-Length`s.
    pub(crate) content_length: Option<u64>,
    /// The last coding of all `Transfer-Encoding`s is `chunked`.
    pub(crate) is_chunked: Option<bool>,
    /// Why the `Content-Length`s are no length.
    fault: Option<&'static str>,
}

impl Lengths {
    /// Chunked once, and last (RFC 9112, section 6.1): twice, some readers would decode it twice. No registered coding
    /// has parameters (section 7), so each is a token.
    pub(crate) fn look_at_coding(&mut self, value: &[u8]) -> Result<(), &'static str> {
        for coding in value.split(|b| *b == b',') {
            let coding = coding.trim_ascii();
            if coding.is_empty() || !coding.iter().copied().all(is_token) || self.is_chunked == Some(true) {
                return Err("a Transfer-Encoding with a member that is no coding, or one behind chunked");
            }
            self.is_chunked = Some(coding.eq_ignore_ascii_case(b"chunked"));
        }
        Ok(())
    }

    /// The same length twice, in one field or in two, is one length (RFC 9110, section 8.6).
    pub(crate) fn look_at_length(&mut self, value: &[u8]) {
        if let (Some(length), None) = (number(value), self.content_length) {
            self.content_length = Some(length);
            return;
        }
        for length in value.split(|b| *b == b',') {
            let Some(length) = number(length.trim_ascii()) else {
                self.fault = Some("a Content-Length that is no number");
                return;
            };
            if self.content_length.replace(length).is_some_and(|before| before != length) {
                self.fault = Some("two different Content-Lengths");
            }
        }
    }

    /// Is there something that tells the end, where there is a body? A coding overrides whatever is said of a length (RFC
    /// 9112, section 6.3, cases 3 and 5).
    pub(crate) fn check(&self, is_bodyless: bool) -> Result<(), &'static str> {
        match (self.is_chunked, self.fault) {
            // The length is then told by the end of the connection, and the coding is none that was asked for: TE is not
            // sent.
            (Some(false), _) if !is_bodyless => Err("a Transfer-Encoding that does not end in chunked"),
            (None, Some(why)) => Err(why),
            _ => Ok(()),
        }
    }

    /// Was a length told, beside a coding?
    fn are_both(&self) -> bool {
        self.is_chunked.is_some() && (self.content_length.is_some() || self.fault.is_some())
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
