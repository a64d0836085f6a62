//! Header rules: which fields keygate acts on, where credentials are, and what goes on towards the upstream.
//!
//! On bytes and iterators, for every lane. A field is known by its name alone, in any case; a name that would be
//! known if its `_` were read as `-` (as CGI and WSGI do) is refused, so that no upstream sees an identity
//! that keygate did not set.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::credential;

/// Base64 with or without padding (RFC 4648, section 4).
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a field is to keygate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Not acted on: forwarded as it came.
    Other,
    /// `Host`.
    Host,
    /// `Content-Length`.
    ContentLength,
    /// `Transfer-Encoding`.
    TransferEncoding,
    /// `Connection`.
    Connection,
    /// `Upgrade`.
    Upgrade,
    /// `Expect`.
    Expect,
    /// `Sec-WebSocket-Version`.
    WebSocketVersion,
    /// `Authorization`.
    Authorization,
    /// `X-API-Key`.
    ApiKey,
    /// `X-Forwarded-For`.
    ForwardedFor,
    /// Other fields in which proxies tell a client's address: they go on from trusted proxies alone.
    ClientAddress,
    /// `X-Request-Id`.
    RequestId,
    /// `Cookie`: browsers send an operator's session to every port of its host; it goes no further.
    Cookie,
    /// `Origin`.
    Origin,
    /// `Access-Control-Request-Method`.
    PreflightMethod,
    /// Never forwarded: hop-by-hop (RFC 9110, section 7.6.1), `X-Keygate-*`, `X-Forwarded-*`, `Forwarded`, fields that
    /// make some frameworks take one method, host or path for another, and `Proxy`, which CGI makes `HTTP_PROXY` of
    /// (CVE-2016-5385).
    Dropped,
}

/// Classifies a field by its name. **HOT**
#[must_use]
pub fn classify(name: &[u8]) -> Field {
    let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
    match name.len() {
        2 if is("te") => Field::Dropped,
        4 if is("host") => Field::Host,
        5 if is("proxy") => Field::Dropped,
        6 if is("cookie") => Field::Cookie,
        6 if is("expect") => Field::Expect,
        6 if is("origin") => Field::Origin,
        6 if is("x-host") => Field::Dropped,
        7 if is("upgrade") => Field::Upgrade,
        7 if is("trailer") => Field::Dropped,
        8 if is("x-method") => Field::Dropped,
        9 if is("x-api-key") => Field::ApiKey,
        9 if is("x-real-ip") => Field::ClientAddress,
        9 if is("forwarded") => Field::Dropped,
        9 if is("client-ip") => Field::ClientAddress,
        10 if is("connection") => Field::Connection,
        10 if is("keep-alive") => Field::Dropped,
        11 if is("x-client-ip") => Field::ClientAddress,
        11 if is("x-remote-ip") => Field::ClientAddress,
        11 if is("x-forwarded") => Field::ClientAddress,
        12 if is("x-request-id") => Field::RequestId,
        13 if is("authorization") => Field::Authorization,
        13 if is("x-http-method") => Field::Dropped,
        13 if is("x-rewrite-url") => Field::Dropped,
        13 if is("x-remote-addr") => Field::ClientAddress,
        13 if is("forwarded-for") => Field::ClientAddress,
        13 if is("fly-client-ip") => Field::ClientAddress,
        14 if is("content-length") => Field::ContentLength,
        14 if is("http2-settings") => Field::Dropped,
        14 if is("x-original-url") => Field::Dropped,
        14 if is("x-original-uri") => Field::Dropped,
        14 if is("true-client-ip") => Field::ClientAddress,
        15 if is("x-forwarded-for") => Field::ForwardedFor,
        15 if is("x-original-host") => Field::Dropped,
        15 if is("x-original-path") => Field::Dropped,
        15 if is("proxy-client-ip") => Field::ClientAddress,
        16 if is("proxy-connection") => Field::Dropped,
        16 if is("cf-connecting-ip") => Field::ClientAddress,
        16 if is("fastly-client-ip") => Field::ClientAddress,
        16 if is("x-originating-ip") => Field::ClientAddress,
        16 if is("x-azure-clientip") => Field::ClientAddress,
        17 if is("transfer-encoding") => Field::TransferEncoding,
        17 if is("x-method-override") => Field::Dropped,
        17 if is("x-original-method") => Field::Dropped,
        18 if is("proxy-authenticate") => Field::Dropped,
        18 if is("wl-proxy-client-ip") => Field::ClientAddress,
        18 if is("cf-connecting-ipv6") => Field::ClientAddress,
        19 if is("proxy-authorization") => Field::Dropped,
        19 if is("x-cluster-client-ip") => Field::ClientAddress,
        20 if is("x-http-host-override") => Field::Dropped,
        21 if is("sec-websocket-version") => Field::WebSocketVersion,
        21 if is("x-envoy-original-path") => Field::Dropped,
        22 if is("x-http-method-override") => Field::Dropped,
        24 if is("x-envoy-external-address") => Field::ClientAddress,
        29 if is("access-control-request-method") => Field::PreflightMethod,
        10.. if starts_with(name, b"x-keygate-") || starts_with(name, b"x-forwarded-") => Field::Dropped,
        _ => Field::Other,
    }
}

/// Names are known by their first so many bytes: longer ones are known by how they begin.
pub const NAME_MOST: usize = 32;

/// Does keygate act on a field of this name, or would it if somebody read the name in another way?
#[must_use]
pub fn is_acted_on(name: &[u8]) -> bool {
    classify(name) != Field::Other || is_alias(name)
}

fn starts_with(name: &[u8], prefix: &[u8]) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Would this name be one that keygate acts on, if whatever is no letter or digit in it were a `-`? (CGI and WSGI
/// read `-` as `_`; some servers do so with every such byte.)
#[must_use]
pub fn is_alias(name: &[u8]) -> bool {
    if name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-') {
        return false;
    }
    // What is longer than any name that is known can only begin like `X-Keygate-`.
    let mut dashed = [0; NAME_MOST];
    let length = name.len().min(dashed.len());
    for (to, from) in dashed.iter_mut().zip(name) {
        *to = if from.is_ascii_alphanumeric() { *from } else { b'-' };
    }
    classify(dashed.get(..length).unwrap_or_default()) != Field::Other
}

/// The credentials of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presented<'a> {
    /// None of ours.
    #[default]
    Absent,
    /// One, perhaps in several fields.
    One(&'a [u8]),
    /// Two that differ.
    Conflicting,
    /// One of ours where none is read (another scheme, no scheme).
    Misplaced,
}

impl<'a> Presented<'a> {
    /// With another credential beside it.
    #[must_use]
    pub fn and(self, other: Presented<'a>) -> Presented<'a> {
        match (self, other) {
            (one, Presented::Absent) | (Presented::Absent, one) => one,
            (Presented::One(a), Presented::One(b)) if a == b => self,
            (Presented::Misplaced, Presented::Misplaced) => Presented::Misplaced,
            _ => Presented::Conflicting,
        }
    }
}

/// The longest decoded HTTP Basic value that a credential is read from: two credentials of ours are shorter.
pub const BASIC_MAX: usize = 512;

/// What an `Authorization` value holds of ours. `decoded` is the place for the decoded HTTP Basic value, which
/// the answer may borrow from.
///
/// Read strictly: `Bearer` and one token (RFC 6750, section 2.1), or HTTP Basic with the credential as user name or as
/// password (RFC 7617). Found leniently: what some upstream might read as a credential of ours is ours all the same, and
/// goes no further.
#[must_use]
pub fn in_authorization<'a>(value: &'a [u8], decoded: &'a mut [u8; BASIC_MAX]) -> Presented<'a> {
    let end = value.iter().position(|b| matches!(b, b' ' | b'\t')).unwrap_or(value.len());
    let (scheme, rest) = value.split_at(end);
    let token = rest.trim_ascii();
    if scheme.eq_ignore_ascii_case(b"basic") {
        return match in_basic(token, decoded) {
            // Read after a space alone, as `Bearer` is.
            Presented::One(_) if rest.first() != Some(&b' ') => Presented::Misplaced,
            found => found,
        };
    }
    if scheme.eq_ignore_ascii_case(b"bearer") && rest.first() == Some(&b' ') && is_one(token) {
        return Presented::One(token);
    }
    let begins = credential::is_ours(value) || credential::is_ours(token);
    if begins || holds_ours(value) { Presented::Misplaced } else { Presented::Absent }
}

fn in_basic<'a>(token: &[u8], decoded: &'a mut [u8; BASIC_MAX]) -> Presented<'a> {
    let Ok(length) = BASE64.decode_slice(token, decoded) else { return in_odd_basic(token) };
    let decoded: &'a [u8] = decoded;
    let pair = decoded.get(..length).unwrap_or_default();
    let (user, password) = match pair.iter().position(|b| *b == b':') {
        Some(colon) => (pair.get(..colon).unwrap_or_default(), pair.get(colon + 1..).unwrap_or_default()),
        None => (pair, &[][..]),
    };
    let one = |field| match is_one(field) {
        true => Presented::One(field),
        false if credential::is_ours(field.trim_ascii()) || holds_ours(field) => Presented::Misplaced,
        false => Presented::Absent,
    };
    one(user).and(one(password))
}

/// Too long, or no Base64 in the strict sense: decoded as lenient readers do. Some pass over padding wherever it is, some
/// begin anew after it.
#[cold]
fn in_odd_basic(token: &[u8]) -> Presented<'static> {
    let holds = |bytes: &[u8]| credential::is_ours(bytes.trim_ascii()) || holds_ours(bytes);
    let pieces = token.split(|b| *b == b'=').chain([token]);
    if holds(token) || pieces.map(decode_leniently).any(|pair| holds(&pair)) {
        Presented::Misplaced
    } else {
        Presented::Absent
    }
}

/// Either alphabet; what is of neither is passed over.
fn decode_leniently(text: &[u8]) -> Vec<u8> {
    let usual: Vec<u8> = text
        .iter()
        .filter_map(|b| match b {
            b'-' => Some(b'+'),
            b'_' => Some(b'/'),
            b'+' | b'/' => Some(*b),
            b if b.is_ascii_alphanumeric() => Some(*b),
            _ => None,
        })
        .collect();
    // One character alone carries no byte: lenient readers drop it.
    let whole = usual.len() - usize::from(usual.len() % 4 == 1);
    BASE64.decode(usual.get(..whole).unwrap_or_default()).unwrap_or_default()
}

/// What an `X-API-Key` value holds of ours.
#[must_use]
pub fn in_api_key(value: &[u8]) -> Presented<'_> {
    let trimmed = value.trim_ascii();
    match is_one(trimmed) {
        true => Presented::One(trimmed),
        false if is_api_key_ours(value) => Presented::Misplaced,
        false => Presented::Absent,
    }
}

/// Does an `X-API-Key` value hold something of ours? Then it goes no further.
#[must_use]
pub fn is_api_key_ours(value: &[u8]) -> bool {
    credential::is_ours(value.trim_ascii()) || holds_ours(value)
}

/// A credential of ours and nothing else: no byte that separates two readings of a value.
#[expect(clippy::needless_bitwise_bool, reason = "looked at all in the same way, the compiler looks at many at once")]
fn is_one(value: &[u8]) -> bool {
    value.first() == Some(&b'k')
        && credential::is_ours(value)
        && value.iter().fold(true, |all, b| all & (b.is_ascii_alphanumeric() | (*b == b'_')))
}

/// Fewer characters than any credential of ours has: shorter words with its prefix are somebody's names.
const SHORTEST: usize = 40;

/// Is a credential of ours anywhere in it, beginning where a word may begin?
fn holds_ours(value: &[u8]) -> bool {
    let is_long = |at: usize| {
        let word = value.get(at..).unwrap_or_default().iter().take(SHORTEST);
        word.filter(|b| b.is_ascii_alphanumeric() || **b == b'_').count() == SHORTEST
    };
    memchr::memmem::find(value, credential::BUNDLE_START.as_bytes()).is_some()
        || memchr::memchr_iter(b'k', value).any(|at| {
            let inside =
                at > 0 && value.get(at - 1).is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
            !inside && credential::is_ours(value.get(at..).unwrap_or_default()) && is_long(at)
        })
}

/// The name of the admin plane's cookie, without the prefix that it has with TLS.
const SESSION: &[u8] = b"keygate_session";

/// The pairs of a `Cookie` value that go on, where one of them is an operator's session; else `None`.
pub fn cookies_without_session(value: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    memchr::memmem::find(value, SESSION)?;
    let is_session = |pair: &&[u8]| {
        let name = pair.split(|b| *b == b'=').next().unwrap_or_default().trim_ascii();
        name.strip_prefix(b"__Host-").unwrap_or(name) == SESSION
    };
    Some(value.split(|b| *b == b';').map(<[u8]>::trim_ascii).filter(move |pair| !is_session(pair)))
}

/// Appends `name: value\r\n`.
pub fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends a number in decimal.
pub fn write_decimal(out: &mut Vec<u8>, mut number: u64) {
    // u64::MAX has 20 digits.
    let (mut digits, mut used) = ([0; 20], 0);
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10).to_le_bytes()[0];
        number /= 10;
        used += 1;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - used..).unwrap_or_default());
}

#[cfg(test)]
mod tests;
