//! **HOT** The head of an answer: parsed by httparse, checked (RFC 9112, sections 4 to 6), and written anew for the
//! client.
//!
//! What comes out of [`parse`] borrows from the server's buffer; nothing is allocated. An answer that two readers
//! could take differently is no answer: the client gets 502. Where the request's head is read: `proxy::head`.

use std::mem::MaybeUninit;

use crate::proxy::head::{RawField, connection_options, number};
use crate::proxy::headers::write_field;

/// The most bytes of an answer's head.
pub(super) const HEAD_MOST: usize = 256 * 1024;
/// Fields that a head is parsed into on the stack; answers with more pay for it.
pub(super) const USUAL_FIELDS: usize = 100;
/// The most fields of an answer.
pub(super) const FIELDS_MOST: usize = 256;

/// Where the fields of a parsed head lie.
pub(super) type Storage<'b> = [MaybeUninit<RawField<'b>>];

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
    reason: &'b str,
    fields: &'h [RawField<'b>],
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

/// What keygate says in the head that goes to the client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<'a> {
    /// `X-Request-Id`.
    pub(super) request_id: &'a str,
    /// The connection ends with this answer.
    pub(super) closes: bool,
    /// For an answer without `Date` (RFC 9110, section 6.6.1).
    pub(super) date: &'a [u8],
}

/// What a field of an answer is to keygate.
#[derive(Clone, Copy, PartialEq, Eq)]
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
    let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
    match name.len() {
        4 if is("date") => Field::Date,
        7 if is("upgrade") => Field::Dropped,
        10 if is("connection") => Field::Connection,
        10 if is("keep-alive") => Field::KeepAlive,
        12 if is("x-request-id") => Field::Dropped,
        14 if is("content-length") => Field::ContentLength,
        16 if is("proxy-connection") => Field::Dropped,
        17 if is("transfer-encoding") => Field::TransferEncoding,
        _ => Field::Other,
    }
}

/// May `Connection` name this field, to end it here? Others are dropped in any case, or no matter of the connection.
pub(crate) fn may_be_nominated(option: &[u8]) -> bool {
    classify(option) == Field::Other
}

/// Parses and checks the head at the beginning of `bytes`. `to_head`: the request was HEAD.
pub(super) fn parse<'h, 'b>(bytes: &'b [u8], storage: &'h mut Storage<'b>, to_head: bool) -> Parsed<'h, 'b> {
    let mut response = httparse::Response::new(&mut []);
    let mut config = httparse::ParserConfig::default();
    // White space between name and colon is taken out (RFC 9112, section 5.1): the head is written anew.
    config.allow_spaces_after_header_name_in_responses(true);
    let length = match config.parse_response_with_uninit_headers(&mut response, bytes, storage) {
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
    for field in fields {
        if let Err(why) = seen.look_at(field) {
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
        reason: response.reason.unwrap_or_default(),
        fields,
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
    fn look_at(&mut self, field: &RawField<'_>) -> Result<(), &'static str> {
        match classify(field.name.as_bytes()) {
            Field::Other | Field::Dropped => {}
            Field::Date => self.has_date = true,
            Field::KeepAlive => self.keeps_for = timeout(field.value),
            Field::TransferEncoding => {
                // Chunked once, and last (RFC 9112, section 6.1): twice, some readers would decode it twice.
                for coding in field.value.split(|b| *b == b',') {
                    if self.is_chunked == Some(true) {
                        return Err("a Transfer-Encoding that goes on behind chunked");
                    }
                    self.is_chunked = Some(coding.trim_ascii().eq_ignore_ascii_case(b"chunked"));
                }
            }
            // The same length twice, in one field or in two, is one length (RFC 9110, section 8.6).
            Field::ContentLength => {
                for value in field.value.split(|b| *b == b',') {
                    let length = number(value.trim_ascii()).ok_or("a Content-Length that is no number")?;
                    if self.content_length.replace(length).is_some_and(|before| before != length) {
                        return Err("two different Content-Lengths");
                    }
                }
            }
            Field::Connection => {
                for option in connection_options(field.value) {
                    if option.eq_ignore_ascii_case(b"close") {
                        self.close = true;
                    } else if option.eq_ignore_ascii_case(b"keep-alive") {
                        self.keep_alive = true;
                    } else {
                        // What is written anew or dropped in any case, nobody needs to look for.
                        self.nominates |= may_be_nominated(option);
                    }
                }
            }
        }
        Ok(())
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

    /// Appends the head that goes to the client.
    pub(super) fn write(&self, out: &mut Vec<u8>, told: &Told<'_>) {
        out.reserve(self.length + 192);
        self.write_own(out);
        if self.is_interim() {
            out.extend_from_slice(b"\r\n");
            return;
        }
        if self.body == Body::UntilClose {
            // The client's connection goes on (RFC 9112, section 7.1).
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        if !self.has_date {
            write_field(out, b"Date", told.date);
        }
        out.extend_from_slice(if told.closes { b"Connection: close\r\n" } else { b"Connection: keep-alive\r\n" });
        write_field(out, b"X-Request-Id", told.request_id.as_bytes());
        out.extend_from_slice(b"\r\n");
    }

    /// The status line, with our own version (RFC 9110, section 6.2), and the fields that go on.
    fn write_own(&self, out: &mut Vec<u8>) {
        let digit = |n: u16| b'0' + u8::try_from(n % 10).unwrap_or(0);
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(&[digit(self.status / 100), digit(self.status / 10), digit(self.status), b' ']);
        out.extend_from_slice(self.reason.as_bytes());
        out.extend_from_slice(b"\r\n");
        // Neither length nor coding may stand in these (RFC 9110, section 8.6; RFC 9112, section 6.1).
        let is_unframed = self.is_interim() || self.status == 204;
        let mut length = self.content_length.filter(|_| !is_unframed);
        for field in self.fields {
            let name = field.name.as_bytes();
            match classify(name) {
                Field::Connection | Field::KeepAlive | Field::Dropped => {}
                Field::TransferEncoding if is_unframed => {}
                Field::ContentLength => {
                    if let Some(length) = length.take() {
                        write_length(out, name, length);
                    }
                }
                Field::Other if self.nominates && self.is_nominated(name) => {}
                Field::Other | Field::Date | Field::TransferEncoding => write_field(out, name, field.value),
            }
        }
    }

    #[cold]
    fn is_nominated(&self, name: &[u8]) -> bool {
        let connection = self.fields.iter().filter(|f| classify(f.name.as_bytes()) == Field::Connection);
        connection.flat_map(|field| connection_options(field.value)).any(|option| option.eq_ignore_ascii_case(name))
    }
}

/// Appends a `Content-Length`, in decimal.
fn write_length(out: &mut Vec<u8>, name: &[u8], mut length: u64) {
    // Below 10^18.
    let mut digits = [b'0'; 18];
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(length % 10).unwrap_or(0);
        length /= 10;
        used += 1;
        if length == 0 {
            break;
        }
    }
    write_field(out, name, digits.get(digits.len() - used..).unwrap_or_default());
}

/// Makes one line of each field that was folded over several (RFC 9112, section 5.2: "replace each received obs-fold
/// with one or more SP octets"). False: nothing was. Lengths stay as they are. What is folded behind the status line
/// is left as it is, and malformed (section 2.2).
#[cold]
pub(super) fn unfold(bytes: &mut [u8]) -> bool {
    let head = memchr::memmem::find(bytes, b"\r\n\r\n").map_or(bytes.len(), |end| end + 2);
    let fields = memchr::memchr(b'\n', bytes).map_or(head, |line_end| line_end + 2);
    let mut found = false;
    for at in fields..head.saturating_sub(2) {
        if let Some(fold @ [b'\r', b'\n', b' ' | b'\t']) = bytes.get_mut(at..at + 3) {
            fold.fill(b' ');
            found = true;
        }
    }
    found
}
