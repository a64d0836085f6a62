//! The JWT that an integration makes of its bundle, to be exchanged for an access token: taken apart strictly, and
//! verified under the shared secret (RFC 7515, RFC 7519; HS256 of RFC 7518, section 3.2).
//!
//! What is not exactly one compact JWS with HS256 is nothing: no other algorithm, no critical extension, no second reading
//! of a member or of a base64url text. Header parameters that name keys (`kid`, `jku`, `jwk`, `x5u`) say nothing here: there
//! is one key. Whether the claims are true is for `exchange` to say. No I/O, no clock.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};
use serde_json::Value;
use zeroize::Zeroizing;

use super::json::object;
use super::{AppKey, MacKey};

/// The longest `jti` that is remembered.
pub const JTI_MAX: usize = 256;

/// Bytes of an HS256 signature: the whole HMAC.
const SIGNATURE: usize = 32;

/// A JWT that was taken apart but not verified.
pub struct Jwt<'a> {
    /// What it claims, if its signature holds.
    pub claims: Claims,
    signing_input: &'a [u8],
    signature: [u8; SIGNATURE],
}

/// What is wrong with a text that is no such JWT; for the log, since it is told to nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwtFault {
    /// Not three parts of base64url, or not objects in them.
    Malformed,
    /// Another algorithm than HS256.
    Algorithm,
    /// It has `crit`: an extension that must be understood, and none is.
    Critical,
    /// There is no app key in it, so it can be nobody's.
    NoAppKey,
}

/// The claims. Those that do not prove who it is are taken as they come, so that whoever has proven itself can be told
/// what is wrong with them.
pub struct Claims {
    /// `appkey`.
    pub app_key: AppKey,
    /// `appname`: the name of the API key.
    pub app_name: Claim<String>,
    /// `shortname`: the account of the gateway.
    pub short_name: Claim<String>,
    /// `iat`, in seconds since 1970.
    pub issued_at: Claim<f64>,
    /// `jti`.
    pub id: Claim<String>,
    /// `exp`, in seconds since 1970.
    pub expires_at: Claim<f64>,
    /// `nbf`, in seconds since 1970.
    pub not_before: Claim<f64>,
    /// `aud` is there.
    pub has_audience: bool,
}

/// A claim that may be missing, or of another type than it must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim<T> {
    /// Not there, or null.
    Absent,
    /// Of another type.
    Odd,
    /// As it should be.
    Is(T),
}

#[derive(Deserialize)]
struct Header<'j> {
    #[serde(borrow)]
    alg: Cow<'j, str>,
    #[serde(default, deserialize_with = "is_there")]
    crit: bool,
}

#[derive(Deserialize)]
struct RawClaims {
    appkey: Zeroizing<String>,
    #[serde(default)]
    appname: Value,
    #[serde(default)]
    shortname: Value,
    #[serde(default)]
    iat: Value,
    #[serde(default)]
    jti: Value,
    #[serde(default)]
    exp: Value,
    #[serde(default)]
    nbf: Value,
    #[serde(default)]
    aud: Option<IgnoredAny>,
}

/// A member is there, whatever it is.
fn is_there<'j, D: Deserializer<'j>>(from: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(from).map(|_| true)
}

impl<'a> Jwt<'a> {
    /// Takes a compact serialisation apart (RFC 7515, section 7.1).
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(text: &'a [u8]) -> Result<Self, JwtFault> {
        let mut parts = text.split(|byte| *byte == b'.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(JwtFault::Malformed);
        };
        let header_json = decode(header)?;
        let header_read: Header<'_> = object(&header_json).ok_or(JwtFault::Malformed)?;
        // Names of algorithms are case-sensitive (RFC 7515, section 4.1.1).
        if header_read.alg != "HS256" {
            return Err(JwtFault::Algorithm);
        }
        // RFC 7515, section 4.1.11: who understands no extension must refuse all of them.
        if header_read.crit {
            return Err(JwtFault::Critical);
        }
        let signature = decode(signature)?.as_slice().try_into().map_err(|_| JwtFault::Malformed)?;
        let claims = Claims::read(&decode(payload)?)?;
        let signing_input = text.get(..=header.len() + payload.len()).ok_or(JwtFault::Malformed)?;
        Ok(Self { claims, signing_input, signature })
    }

    /// Does the signature hold under this shared secret? In constant time.
    #[must_use]
    pub fn signature_holds(&self, key: &MacKey) -> bool {
        key.verify_whole(self.signing_input, &self.signature)
    }
}

impl Claims {
    fn read(json: &[u8]) -> Result<Self, JwtFault> {
        // An object whose app key is missing or no text is none of ours, as is what is no object.
        let raw: RawClaims = object(json).ok_or(JwtFault::Malformed)?;
        let app_key = AppKey::parse(&raw.appkey).map_err(|_| JwtFault::NoAppKey)?;
        Ok(Self {
            app_key,
            app_name: text(raw.appname),
            short_name: text(raw.shortname),
            issued_at: number(&raw.iat),
            id: text(raw.jti),
            expires_at: number(&raw.exp),
            not_before: number(&raw.nbf),
            has_audience: raw.aud.is_some(),
        })
    }
}

/// Base64url without padding (RFC 7515, section 2), and with the one spelling that each text has.
fn decode(part: &[u8]) -> Result<Zeroizing<Vec<u8>>, JwtFault> {
    URL_SAFE_NO_PAD.decode(part).map(Zeroizing::new).map_err(|_| JwtFault::Malformed)
}

fn text(value: Value) -> Claim<String> {
    match value {
        Value::Null => Claim::Absent,
        Value::String(text) => Claim::Is(text),
        _ => Claim::Odd,
    }
}

/// A `NumericDate` (RFC 7519, section 2): whole or with a fraction.
fn number(value: &Value) -> Claim<f64> {
    match value {
        Value::Null => Claim::Absent,
        Value::Number(number) => number.as_f64().filter(|n| n.is_finite()).map_or(Claim::Odd, Claim::Is),
        _ => Claim::Odd,
    }
}

impl fmt::Debug for Jwt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jwt({}, …)", self.claims.app_key.id())
    }
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Claims({}, …)", self.app_key.id())
    }
}

#[cfg(test)]
mod tests;
