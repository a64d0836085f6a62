//! The encoded key, `kg_<version>_<id>_<43 base62>_<40 hex>`: what an integration sends.
//!
//! `P` is all but the last 41 characters; the 40 hexadecimal digits are the first 160 bits of
//! HMAC-SHA256(shared secret, `P`). Parsing borrows from the request and allocates nothing.

use std::num::NonZeroU32;

use zeroize::Zeroizing;

use super::base62::{BODY_LEN, is_body};
use super::key_id::KEY_ID_LEN;
use super::shared_secret::parse_version;
use super::{AppKey, CredentialError, KeyId, MAC_BYTES, MacKey, SecretDigest, SharedSecret};

const PREFIX: &[u8] = b"kg_";
/// Characters of a MAC.
pub(super) const MAC_HEX: usize = 2 * MAC_BYTES;

/// All but the version, which has one to ten digits.
const FIXED: usize = PREFIX.len() + 1 + KEY_ID_LEN + 1 + BODY_LEN + 1 + MAC_HEX;

/// The longest encoded key: a version of ten digits.
pub const ENCODED_KEY_MAX: usize = 3 + 10 + 1 + KEY_ID_LEN + 1 + BODY_LEN + 1 + MAC_HEX;

/// A presented encoded key, taken apart but not verified.
#[derive(Clone, Copy)]
pub struct EncodedKey<'a> {
    version: NonZeroU32,
    id: KeyId,
    body: &'a [u8; BODY_LEN],
    signed: &'a [u8],
    mac: [u8; MAC_BYTES],
}

impl<'a> EncodedKey<'a> {
    /// Takes a presented value apart. `None` unless every character is as the form says.
    #[must_use]
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        // From the end, where all lengths are fixed, to the version, which has one to ten digits.
        let (signed, tail) = text.split_at_checked(text.len().checked_sub(MAC_HEX + 1)?)?;
        let (separator, hex) = tail.split_first()?;
        let (head, body) = signed.split_at_checked(signed.len().checked_sub(BODY_LEN)?)?;
        let (head, id) = head.split_at_checked(head.len().checked_sub(KEY_ID_LEN + 1)?)?;
        let (id, underscore) = id.split_at_checked(KEY_ID_LEN)?;
        let version = head.strip_prefix(PREFIX)?.strip_suffix(b"_")?;
        if *separator != b'_' || underscore != b"_" || !is_body(body) {
            return None;
        }
        Some(Self {
            version: parse_version(version)?,
            id: KeyId::parse(id)?,
            body: body.try_into().ok()?,
            signed,
            mac: parse_hex(hex)?,
        })
    }

    /// Version and id alone, of a text whose other characters nobody has looked at: enough to find the slot, whose
    /// fingerprint then vouches for the whole text, or does not. Gives the same as [`Self::parse`] wherever that gives
    /// anything.
    #[must_use]
    pub fn claim(text: &[u8]) -> Option<(NonZeroU32, KeyId)> {
        let digits = text.len().checked_sub(FIXED)?;
        let (version, rest) = text.strip_prefix(PREFIX)?.split_at_checked(digits)?;
        let id = rest.strip_prefix(b"_")?.get(..KEY_ID_LEN)?;
        Some((parse_version(version)?, KeyId::parse(id)?))
    }

    /// The shared secret version that it says it was encoded with.
    #[must_use]
    pub fn version(&self) -> NonZeroU32 {
        self.version
    }

    /// The API key that it says it is.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Does the MAC hold under this secret?
    #[must_use]
    pub fn mac_holds(&self, key: &MacKey) -> bool {
        key.verify(self.signed, &self.mac)
    }

    /// SHA-256 of the app key inside.
    #[must_use]
    pub fn app_key_digest(&self) -> SecretDigest {
        self.app_key().digest()
    }

    /// The app key inside.
    #[must_use]
    pub fn app_key(&self) -> AppKey {
        AppKey::from_parts(self.id, self.body)
    }
}

/// Lower-case hexadecimal only: one text for one MAC.
fn parse_hex(hex: &[u8]) -> Option<[u8; MAC_BYTES]> {
    fn digit(c: u8) -> Option<u8> {
        match c {
            b'0'..=b'9' => Some(c - b'0'),
            b'a'..=b'f' => Some(c - b'a' + 10),
            _ => None,
        }
    }
    let hex: &[u8; MAC_HEX] = hex.try_into().ok()?;
    let mut out = [0; MAC_BYTES];
    for (byte, pair) in out.iter_mut().zip(hex.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

/// Encodes an app key with a shared secret.
#[must_use]
pub fn encode(app_key: &AppKey, secret: &SharedSecret) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(ENCODED_KEY_MAX));
    text.push_str("kg_");
    text.push_str(&secret.version().to_string());
    text.push('_');
    text.extend(app_key.id().text().map(char::from));
    text.push('_');
    text.extend(app_key.body().iter().map(|&b| char::from(b)));
    let mac = secret.mac_key().mac(text.as_bytes());
    text.push('_');
    push_hex(&mut text, &mac);
    text
}

/// Appends a MAC in lower-case hexadecimal.
pub(super) fn push_hex(text: &mut String, mac: &[u8; MAC_BYTES]) {
    for byte in mac {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
}

/// The app key in what an operator has at hand: an app key, or an encoded key of any version.
///
/// # Errors
/// [`CredentialError::Malformed`] when it is neither.
pub fn app_key_in(text: &str) -> Result<AppKey, CredentialError> {
    if text.starts_with("kga_") {
        return AppKey::parse(text);
    }
    EncodedKey::parse(text.as_bytes()).map(|key| key.app_key()).ok_or(CredentialError::Malformed(
        "an encoded key is kg_<version>_<12 of 0-9a-z>_<43 letters and digits>_<40 of 0-9a-f>",
    ))
}
