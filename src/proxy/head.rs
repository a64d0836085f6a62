//! The head of an HTTP/1 request: parsed by httparse, then checked for everything that two readers could take
//! differently (RFC 9112), before anything is decided on it.
//!
//! What comes out borrows from the connection's buffer. Nothing is allocated.

use std::mem::MaybeUninit;

use crate::proxy::authority;
use crate::proxy::body::Framing;
use crate::proxy::headers::{self, Field, Presented};
use crate::proxy::path::{self, PathFault};
use crate::proxy::reject::Rejection;

/// A parsed field.
pub type RawField<'b> = httparse::Header<'b>;

/// The most fields that any configuration may allow.
pub const FIELDS_MAX: usize = 256;

/// Bytes of a target, at most: what the general lane can take (`http::Uri`). RFC 9112, section 3, recommends 8,000 at least.
const TARGET_MAX: usize = 65_534;

/// What a head may be.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes.
    pub size: usize,
    /// Fields, at most [`FIELDS_MAX`].
    pub fields: usize,
}

/// Where the fields of a head lie, each with what it is to keygate. On the stack: nothing is written to it but what a
/// head has.
#[derive(Debug)]
pub struct Space<'b, const N: usize> {
    fields: [MaybeUninit<RawField<'b>>; N],
    kinds: [Field; N],
}

impl<const N: usize> Space<'_, N> {
    /// For one field less than `N`: the one more tells that there are too many.
    #[must_use]
    pub const fn new() -> Self {
        Self { fields: [const { MaybeUninit::uninit() }; N], kinds: [Field::Other; N] }
    }
}

impl<const N: usize> Default for Space<'_, N> {
    fn default() -> Self {
        Self::new()
    }
}

/// A request's head, checked.
#[derive(Clone, Copy, Debug)]
pub struct Head<'h, 'b> {
    /// Case as sent: methods are case-sensitive (RFC 9110, section 9.1).
    pub method: &'b [u8],
    /// Path and query, in origin form whatever form was sent.
    pub target: &'b [u8],
    /// Path alone.
    pub path: &'b [u8],
    /// What two readers could take differently in the path: a route may let it through.
    pub path_fault: Option<PathFault>,
    /// From `Host`, or the authority of an absolute form; never empty.
    pub host: &'b [u8],
    /// The same without its port.
    pub host_name: &'b [u8],
    /// As sent.
    pub fields: &'h [RawField<'b>],
    /// What each of them is, by its name.
    pub kinds: &'h [Field],
    /// The value of `Authorization`.
    pub authorization: Option<&'b [u8]>,
    /// The credentials of ours in `X-API-Key`.
    pub in_api_key: Presented<'b>,
    /// Bytes of the head, its last empty line included.
    pub length: usize,
    /// HTTP/1.0, not 1.1.
    pub is_http10: bool,
    /// How the body is framed.
    pub framing: Framing,
    /// The client wants the connection closed afterwards.
    pub close: bool,
    /// `Expect: 100-continue`.
    pub expects_continue: bool,
    /// A WebSocket handshake (RFC 6455, section 4.1).
    pub is_websocket: bool,
    /// Any other upgrade; it is not forwarded as one.
    pub is_upgrade: bool,
    /// There is an `Upgrade` field, whether it counts or not.
    pub has_upgrade: bool,
    /// The target came in absolute form (RFC 9112, section 3.2.2).
    pub is_absolute: bool,
    /// A CORS preflight: OPTIONS with `Origin` and `Access-Control-Request-Method`.
    pub is_preflight: bool,
    /// `Connection` names fields beside the usual ones; they are not forwarded.
    pub nominates: bool,
}

/// What a buffer holds.
#[derive(Debug)]
pub enum Parsed<'h, 'b> {
    /// Not yet a whole head.
    Partial,
    /// A head.
    Head(Head<'h, 'b>),
    /// Something that is refused.
    Refused(Rejection),
}

impl<'h, 'b> Head<'h, 'b> {
    /// The fields, each with what it is.
    #[must_use]
    pub fn classified(&self) -> impl DoubleEndedIterator<Item = (Field, &'h RawField<'b>)> {
        self.kinds.iter().copied().zip(self.fields)
    }

    /// The values of all fields of this kind.
    #[must_use]
    pub fn values(&self, kind: Field) -> impl DoubleEndedIterator<Item = &'b [u8]> {
        self.classified().filter(move |(of, _)| *of == kind).map(|(_, field)| field.value)
    }
}

/// Parses and checks the head at the beginning of `bytes`.
pub fn parse<'h, 'b, const N: usize>(
    bytes: &'b [u8],
    space: &'h mut Space<'b, N>,
    limits: HeadLimits,
) -> Parsed<'h, 'b> {
    let most = N.min(limits.fields + 1);
    let (fields, kinds) = (space.fields.get_mut(..most).unwrap_or_default(), &mut space.kinds);
    let mut request = httparse::Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(bytes, fields) {
        Ok(httparse::Status::Complete(length)) if length <= limits.size => length,
        Ok(httparse::Status::Complete(_)) => return Parsed::Refused(Rejection::HeadTooLarge),
        Ok(httparse::Status::Partial) if bytes.len() < limits.size => return Parsed::Partial,
        Ok(httparse::Status::Partial) => return Parsed::Refused(Rejection::HeadTooLarge),
        Err(httparse::Error::TooManyHeaders) => return Parsed::Refused(Rejection::TooManyHeaders),
        Err(error) => return Parsed::Refused(Rejection::MalformedHead(describe(error))),
    };
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Parsed::Refused(Rejection::MalformedHead("The request line is incomplete."));
    };
    let fields: &'h [RawField<'b>] = request.headers;
    if fields.len() > limits.fields {
        return Parsed::Refused(Rejection::TooManyHeaders);
    }
    let (bytes, method, target) = (bytes.get(..length).unwrap_or_default(), method.as_bytes(), target.as_bytes());
    match check(bytes, method, target, version == 0, fields, kinds) {
        Ok(head) => Parsed::Head(head),
        Err(rejection) => Parsed::Refused(rejection),
    }
}

const fn describe(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => "A header field's name holds a byte that it must not.",
        httparse::Error::HeaderValue => "A header field's value holds a byte that it must not.",
        httparse::Error::NewLine => "A line does not end with CR LF.",
        httparse::Error::Version => "The version is neither HTTP/1.1 nor HTTP/1.0.",
        _ => "The request line is malformed.",
    }
}

fn check<'h, 'b>(
    bytes: &'b [u8],
    method: &'b [u8],
    target: &'b [u8],
    is_http10: bool,
    fields: &'h [RawField<'b>],
    kinds: &'h mut [Field],
) -> Result<Head<'h, 'b>, Rejection> {
    // Bare LF ends a line for some readers (RFC 9112, section 2.2); httparse takes it.
    if holds_bare_lf(bytes) {
        return Err(Rejection::MalformedHead("A line does not end with CR LF."));
    }
    // Methods are case-sensitive (RFC 9110, section 9.1), and some servers fold them all the same: one in lower case
    // would be decided on as a method that nobody knows, and served as another.
    if method == b"CONNECT" || method == b"TRACE" || method.iter().any(u8::is_ascii_lowercase) {
        return Err(Rejection::MethodRefused);
    }
    if target.len() > TARGET_MAX {
        return Err(Rejection::HeadTooLarge);
    }
    let (authority, target) = origin_form(target)?;
    let path_end = memchr::memchr(b'?', target).unwrap_or(target.len());
    let (path, query) = target.split_at_checked(path_end).unwrap_or_default();
    let mut head = Head {
        method,
        target,
        path,
        path_fault: path::check(path).err(),
        host: b"",
        host_name: b"",
        fields,
        kinds: &[],
        authorization: None,
        in_api_key: Presented::Absent,
        length: bytes.len(),
        is_http10,
        framing: Framing::Done,
        close: false,
        expects_continue: false,
        is_websocket: false,
        is_upgrade: false,
        has_upgrade: false,
        is_absolute: authority.is_some(),
        is_preflight: false,
        nominates: false,
    };
    check_fields(&mut head, kinds, authority)?;
    if path == b"*" && method == b"OPTIONS" {
        return Ok(head);
    }
    if head.path_fault.is_some() {
        path::check_bytes(path).map_err(Rejection::Path)?;
    }
    if !path::query_is_clear(query) {
        return Err(Rejection::MalformedHead("The query holds a byte that must be percent-encoded."));
    }
    Ok(head)
}

#[expect(clippy::needless_bitwise_bool, reason = "looked at all in the same way, the compiler looks at many at once")]
fn holds_bare_lf(bytes: &[u8]) -> bool {
    let pairs = bytes.iter().zip(bytes.get(1..).unwrap_or_default());
    let found = pairs.fold(false, |found, (before, byte)| found | ((*byte == b'\n') & (*before != b'\r')));
    found || bytes.first() == Some(&b'\n')
}

/// Splits an absolute form (RFC 9112, section 3.2.2) into authority and origin form.
fn origin_form(target: &[u8]) -> Result<(Option<&[u8]>, &[u8]), Rejection> {
    let malformed = Rejection::MalformedHead("The request target is neither a path nor an http URI.");
    if target.first() == Some(&b'/') || target == b"*" {
        return Ok((None, target));
    }
    let scheme = target.get(..7).filter(|s| s.eq_ignore_ascii_case(b"http://")).ok_or(malformed.clone())?;
    let rest = target.get(scheme.len()..).unwrap_or_default();
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).ok_or(malformed.clone())?;
    let (authority, path) = rest.split_at(end);
    if path.first() != Some(&b'/') {
        return Err(malformed);
    }
    Ok((Some(authority), path))
}

/// What the fields say, gathered in one pass.
#[derive(Default)]
struct Seen<'b> {
    /// With its name.
    host: Option<(&'b [u8], &'b [u8])>,
    length: Option<u64>,
    chunked: bool,
    upgrade: Option<&'b [u8]>,
    websocket_version: Option<&'b [u8]>,
    connection_upgrade: bool,
    close: bool,
    keep_alive: bool,
    origin: bool,
    preflight_method: bool,
}

fn check_fields<'h, 'b>(
    head: &mut Head<'h, 'b>,
    kinds: &'h mut [Field],
    authority: Option<&'b [u8]>,
) -> Result<(), Rejection> {
    let mut seen = Seen::default();
    for (field, kind) in head.fields.iter().zip(&mut *kinds) {
        *kind = headers::classify(field.name.as_bytes());
        check_field(head, &mut seen, *kind, field)?;
    }
    head.kinds = kinds.get(..head.fields.len()).unwrap_or_default();
    (head.host, head.host_name) = match (seen.host, authority) {
        (Some(host), None) => host,
        (Some(host), Some(authority)) if host.0.eq_ignore_ascii_case(authority) => host,
        // HTTP/1.0 knows no Host, but what goes on is HTTP/1.1, where it must not be missing (RFC 9112, section 3.2).
        (None, None) => return Err(Rejection::MalformedHead("There is no Host.")),
        (None, Some(_)) if !head.is_http10 => return Err(Rejection::MalformedHead("There is no Host.")),
        (None, Some(authority)) => match authority::name(authority) {
            Some(name) => (authority, name),
            None => return Err(Rejection::MalformedHead("The request target's authority is not a host and port.")),
        },
        (Some(_), Some(_)) => return Err(Rejection::MalformedHead("Host and request target disagree.")),
    };
    head.framing = match (seen.chunked, seen.length) {
        (true, Some(_)) => return Err(Rejection::Framing("Both Content-Length and Transfer-Encoding were sent.")),
        (true, None) if head.is_http10 => {
            return Err(Rejection::Framing("HTTP/1.0 has no Transfer-Encoding."));
        }
        (true, None) => Framing::CHUNKED,
        (false, length) => Framing::of_length(length.unwrap_or(0)),
    };
    head.close = seen.close || (head.is_http10 && !seen.keep_alive);
    head.is_preflight = seen.origin && seen.preflight_method && head.method == b"OPTIONS";
    if let (Some(upgrade), true) = (seen.upgrade, seen.connection_upgrade && !head.is_http10) {
        head.is_upgrade = true;
        head.is_websocket = upgrade.eq_ignore_ascii_case(b"websocket")
            && head.method == b"GET"
            && seen.websocket_version == Some(b"13")
            && head.framing.is_done();
    }
    Ok(())
}

fn check_field<'b>(
    head: &mut Head<'_, 'b>,
    seen: &mut Seen<'b>,
    kind: Field,
    field: &RawField<'b>,
) -> Result<(), Rejection> {
    let value = field.value;
    match kind {
        Field::Other if headers::is_alias(field.name.as_bytes()) => {
            return Err(Rejection::MalformedHead("A header field's name holds an underscore in place of a hyphen."));
        }
        Field::Host if seen.host.is_some() => return Err(Rejection::MalformedHead("There is more than one Host.")),
        Field::Host => {
            let name = authority::name(value).ok_or(Rejection::MalformedHead("The Host is not a host and port."))?;
            seen.host = Some((value, name));
        }
        Field::ContentLength if seen.length.is_some() => {
            return Err(Rejection::Framing("There is more than one Content-Length."));
        }
        Field::ContentLength => {
            seen.length = Some(number(value).ok_or(Rejection::Framing("The Content-Length is not a number."))?);
        }
        Field::TransferEncoding if seen.chunked || !value.eq_ignore_ascii_case(b"chunked") => {
            return Err(Rejection::Framing("The only Transfer-Encoding that is understood is chunked, once."));
        }
        Field::TransferEncoding => seen.chunked = true,
        Field::Connection => check_connection(head, seen, value)?,
        // Of several fields, as of a list in one, none is the one upgrade, and none the one version, that make a
        // WebSocket (RFC 9110, sections 5.3 and 7.8).
        Field::Upgrade => {
            seen.upgrade = Some(if head.has_upgrade { b"" } else { value });
            head.has_upgrade = true;
        }
        Field::WebSocketVersion => {
            seen.websocket_version = Some(if seen.websocket_version.is_some() { b"" } else { value });
        }
        // RFC 9110, section 10.1.1: not of HTTP/1.0, and ignored there.
        Field::Expect if head.is_http10 => {}
        Field::Expect if !head.expects_continue && value.eq_ignore_ascii_case(b"100-continue") => {
            head.expects_continue = true;
        }
        Field::Expect => {
            return Err(Rejection::MalformedHead("The only Expect that is understood is 100-continue, once."));
        }
        Field::Authorization if head.authorization.is_some() => {
            return Err(Rejection::MalformedHead("There is more than one Authorization."));
        }
        Field::Authorization => head.authorization = Some(value),
        Field::ApiKey => head.in_api_key = head.in_api_key.and(headers::in_api_key(value)),
        Field::Origin => seen.origin = true,
        Field::PreflightMethod => seen.preflight_method = true,
        Field::Other
        | Field::Cookie
        | Field::ForwardedFor
        | Field::ClientAddress
        | Field::RequestId
        | Field::Dropped => {}
    }
    Ok(())
}

/// Options that name what is dropped in any case.
const HARMLESS: [&[u8]; 4] = [b"te", b"trailer", b"http2-settings", b"proxy-connection"];

/// `Connection` may name fields that go no further (RFC 9110, section 7.6.1), but none that keygate acts on: that
/// would take from the upstream what the decision rests on.
fn check_connection<'b>(head: &mut Head<'_, 'b>, seen: &mut Seen<'b>, value: &'b [u8]) -> Result<(), Rejection> {
    for option in connection_options(value) {
        if option.eq_ignore_ascii_case(b"close") {
            seen.close = true;
        } else if option.eq_ignore_ascii_case(b"keep-alive") {
            seen.keep_alive = true;
        } else if option.eq_ignore_ascii_case(b"upgrade") {
            seen.connection_upgrade = true;
        } else if matches!(headers::classify(option), Field::Other) && !headers::is_alias(option) {
            head.nominates = true;
        } else if !HARMLESS.iter().any(|harmless| option.eq_ignore_ascii_case(harmless)) {
            return Err(Rejection::MalformedHead("Connection names a field that must not be dropped."));
        }
    }
    Ok(())
}

/// The options of a `Connection` value.
pub fn connection_options(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|option| !option.is_empty())
}

/// Digits alone (RFC 9110, section 8.6), below 10^18.
pub(crate) fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 {
        return None;
    }
    value.iter().try_fold(0u64, |sum, c| c.is_ascii_digit().then(|| sum * 10 + u64::from(c - b'0')))
}

#[cfg(test)]
mod tests;
