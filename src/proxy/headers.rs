//! Header rules: which fields keygate acts on, where credentials are, and what goes on towards the upstream.
//!
//! On bytes and iterators, for every lane. A field is known by its name alone, in any case; a name that would be
//! known if its `_` were read as `-` (as CGI and WSGI do) is refused, so that no upstream sees an identity
//! that keygate did not set.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::credential;

/// Reads Base64 as the most lenient upstream might, so that none reads a credential where keygate saw none.
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
    /// `X-Request-Id`.
    RequestId,
    /// `Origin`.
    Origin,
    /// `Access-Control-Request-Method`.
    PreflightMethod,
    /// Never forwarded: hop-by-hop (RFC 9110, section 7.6.1), `X-Keygate-*`, `X-Forwarded-*`, `Forwarded`, and
    /// fields that make some frameworks take one method for another.
    Dropped,
}

/// Classifies a field by its name.
#[must_use]
pub fn classify(name: &[u8]) -> Field {
    let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
    match name.len() {
        2 if is("te") => Field::Dropped,
        4 if is("host") => Field::Host,
        6 if is("expect") => Field::Expect,
        6 if is("origin") => Field::Origin,
        7 if is("upgrade") => Field::Upgrade,
        7 if is("trailer") => Field::Dropped,
        9 if is("x-api-key") => Field::ApiKey,
        9 if is("forwarded") => Field::Dropped,
        10 if is("connection") => Field::Connection,
        10 if is("keep-alive") => Field::Dropped,
        12 if is("x-request-id") => Field::RequestId,
        13 if is("authorization") => Field::Authorization,
        13 if is("x-http-method") => Field::Dropped,
        14 if is("content-length") => Field::ContentLength,
        14 if is("http2-settings") => Field::Dropped,
        15 if is("x-forwarded-for") => Field::ForwardedFor,
        16 if is("proxy-connection") => Field::Dropped,
        17 if is("transfer-encoding") => Field::TransferEncoding,
        17 if is("x-method-override") => Field::Dropped,
        18 if is("proxy-authenticate") => Field::Dropped,
        19 if is("proxy-authorization") => Field::Dropped,
        21 if is("sec-websocket-version") => Field::WebSocketVersion,
        22 if is("x-http-method-override") => Field::Dropped,
        29 if is("access-control-request-method") => Field::PreflightMethod,
        10.. if starts_with(name, b"x-keygate-") || starts_with(name, b"x-forwarded-") => Field::Dropped,
        _ => Field::Other,
    }
}

fn starts_with(name: &[u8], prefix: &[u8]) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Would this name be one that keygate acts on, if each `_` in it were a `-`?
#[must_use]
pub fn is_alias(name: &[u8]) -> bool {
    if !name.contains(&b'_') {
        return false;
    }
    let mut dashed = [0; 64];
    // Names longer than any that is known can only begin like `X-Keygate-`: the first 64 bytes tell.
    let length = name.len().min(dashed.len());
    for (to, from) in dashed.iter_mut().zip(name) {
        *to = if *from == b'_' { b'-' } else { *from };
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

/// The longest decoded HTTP Basic value that is looked into: two credentials of ours are shorter.
pub const BASIC_MAX: usize = 512;

/// What an `Authorization` value holds of ours. `decoded` is the place for the decoded HTTP Basic value, which
/// the answer may borrow from.
///
/// HTTP Basic (RFC 7617): the credential may be the user name or the password.
#[must_use]
pub fn in_authorization<'a>(value: &'a [u8], decoded: &'a mut [u8; BASIC_MAX]) -> Presented<'a> {
    let value = value.trim_ascii();
    if credential::is_ours(value) {
        return Presented::Misplaced;
    }
    let Some(space) = value.iter().position(|b| *b == b' ') else { return Presented::Absent };
    let (scheme, token) = value.split_at(space);
    let token = token.trim_ascii();
    if scheme.eq_ignore_ascii_case(b"basic") {
        return in_basic(token, decoded);
    }
    match (credential::is_ours(token), scheme.eq_ignore_ascii_case(b"bearer")) {
        (false, _) => Presented::Absent,
        (true, true) => Presented::One(token),
        (true, false) => Presented::Misplaced,
    }
}

fn in_basic<'a>(token: &[u8], decoded: &'a mut [u8; BASIC_MAX]) -> Presented<'a> {
    let length = match BASE64.decode_slice(token, decoded) {
        Ok(length) => length,
        Err(base64::DecodeSliceError::OutputSliceTooSmall) => return in_long_basic(token),
        Err(base64::DecodeSliceError::DecodeError(_)) => return Presented::Absent,
    };
    let decoded: &'a [u8] = decoded;
    let pair = decoded.get(..length).unwrap_or_default();
    let (user, password) = match pair.iter().position(|b| *b == b':') {
        Some(colon) => (pair.get(..colon).unwrap_or_default(), pair.get(colon + 1..).unwrap_or_default()),
        None => (pair, &[][..]),
    };
    let one = |field| if credential::is_ours(field) { Presented::One(field) } else { Presented::Absent };
    one(user).and(one(password))
}

/// Too long to hold a valid credential of ours beside anything sensible; but if it holds one, it is not forwarded.
#[cold]
fn in_long_basic(token: &[u8]) -> Presented<'static> {
    let Ok(pair) = BASE64.decode(token) else { return Presented::Absent };
    let ours = pair.splitn(2, |b| *b == b':').any(credential::is_ours);
    if ours { Presented::Misplaced } else { Presented::Absent }
}

/// What an `X-API-Key` value holds of ours.
#[must_use]
pub fn in_api_key(value: &[u8]) -> Presented<'_> {
    let value = value.trim_ascii();
    if credential::is_ours(value) { Presented::One(value) } else { Presented::Absent }
}

/// Appends `name: value\r\n`.
pub fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_are_known() {
        for name in ["X_Keygate_Role", "x-api_key", "CONTENT_LENGTH", "X_Forwarded_For", "x_keygate_anything-at_all"] {
            assert!(is_alias(name.as_bytes()), "{name}");
        }
        for name in ["X-Keygate-Role", "x_custom", "my_header", "X-Api-Key"] {
            assert!(!is_alias(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn credentials_are_found_where_they_are_read() {
        let mut buffer = [0; BASIC_MAX];
        let mut find = |value: &str| match in_authorization(value.as_bytes(), &mut buffer) {
            Presented::One(text) => format!("one {}", String::from_utf8_lossy(text)),
            other => format!("{other:?}"),
        };
        assert_eq!(find("Bearer kg_1_x"), "one kg_1_x");
        assert_eq!(find("bEARER   kgt_x "), "one kgt_x");
        assert_eq!(find("Bearer eyJ.x"), "Absent");
        assert_eq!(find("Token kg_1_x"), "Misplaced");
        assert_eq!(find("kg_1_x"), "Misplaced");
        let basic = |pair: &str| format!("Basic {}", BASE64.encode(pair));
        assert_eq!(find(&basic("kg_1_x:")), "one kg_1_x");
        assert_eq!(find(&basic("api:kg_1_x")), "one kg_1_x");
        assert_eq!(find(&basic("kg_1_x:kg_1_x")), "one kg_1_x");
        assert_eq!(find(&basic("kg_1_x:kg_1_y")), "Conflicting");
        assert_eq!(find(&basic("user:password")), "Absent");
        assert_eq!(find(&basic(&format!("kg_1_x:{}", "y".repeat(600)))), "Misplaced");
        assert_eq!(find("Basic kg_1"), "Absent");
    }
}
