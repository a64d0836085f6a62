//! The shared secret, `kgs_<version>_<43 base62>`, and the MAC key that is made of it.

use std::fmt;
use std::num::NonZeroU32;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::base62::{draw_body, is_body};
use super::{CredentialError, MAC_BYTES};
use crate::entropy::Entropy;

const PREFIX: &str = "kgs_";

/// One version of the gateway's shared secret.
pub struct SharedSecret {
    version: NonZeroU32,
    text: Zeroizing<String>,
}

impl SharedSecret {
    /// A new random secret of this version.
    pub fn generate(version: NonZeroU32, entropy: &dyn Entropy) -> Self {
        let body = Zeroizing::new(draw_body(entropy));
        let mut text = Zeroizing::new(String::with_capacity(64));
        text.push_str(PREFIX);
        text.push_str(&version.to_string());
        text.push('_');
        text.extend(body.iter().map(|&b| char::from(b)));
        Self { version, text }
    }

    /// Reads `kgs_<version>_<43 base62>`, exactly.
    ///
    /// # Errors
    /// [`CredentialError::Malformed`] names the form that was expected, never the text.
    pub fn parse(text: &str) -> Result<Self, CredentialError> {
        let malformed = CredentialError::Malformed("a shared secret is kgs_<version>_<43 letters and digits>");
        let (version, body) = text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')).ok_or(malformed)?;
        let version = parse_version(version.as_bytes()).ok_or(malformed)?;
        if !is_body(body.as_bytes()) {
            return Err(malformed);
        }
        Ok(Self { version, text: Zeroizing::new(text.to_owned()) })
    }

    /// Which version it is.
    #[must_use]
    pub fn version(&self) -> NonZeroU32 {
        self.version
    }

    /// The secret itself. Every caller is a place where it leaves: showing it, sealing it, signing with it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The HMAC key: the ASCII bytes of the whole text.
    #[must_use]
    pub fn mac_key(&self) -> MacKey {
        MacKey::new(self.text.as_bytes())
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedSecret(version {}, …)", self.version)
    }
}

/// A canonical decimal u32 above zero: digits, no sign, no leading zero.
pub(super) fn parse_version(digits: &[u8]) -> Option<NonZeroU32> {
    if digits.is_empty() || digits.len() > 10 || digits[0] == b'0' {
        return None;
    }
    let value = digits.iter().try_fold(0u64, |sum, &c| c.is_ascii_digit().then(|| sum * 10 + u64::from(c - b'0')))?;
    NonZeroU32::new(u32::try_from(value).ok()?)
}

/// HMAC-SHA256 with the key's two blocks already hashed: a verification costs two compressions less.
#[derive(Clone)]
pub struct MacKey(Hmac<Sha256>);

impl MacKey {
    /// From the key's bytes, of any length (RFC 2104).
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        #[allow(clippy::expect_used, reason = "HMAC takes keys of any length")]
        Self(Hmac::new_from_slice(key).expect("HMAC takes keys of any length"))
    }

    /// The first 160 bits of HMAC-SHA256(key, message).
    #[must_use]
    pub fn mac(&self, message: &[u8]) -> [u8; MAC_BYTES] {
        let tag = self.0.clone().chain_update(message).finalize().into_bytes();
        let mut out = [0; MAC_BYTES];
        out.copy_from_slice(&tag[..MAC_BYTES]);
        out
    }

    /// Is this the whole HMAC-SHA256(key, message)? In constant time.
    #[must_use]
    pub fn verify_whole(&self, message: &[u8], tag: &[u8; 32]) -> bool {
        self.0.clone().chain_update(message).finalize().into_bytes().ct_eq(&tag[..]).into()
    }

    /// Does this MAC hold, written in lower-case hexadecimal? In constant time.
    #[must_use]
    pub fn verify_hex(&self, message: &[u8], hex: &[u8; 2 * MAC_BYTES]) -> bool {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut expected = [0; 2 * MAC_BYTES];
        for (pair, byte) in expected.as_chunks_mut::<2>().0.iter_mut().zip(self.mac(message)) {
            *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
        }
        expected.ct_eq(hex).into()
    }

    /// Does this MAC hold? In constant time.
    #[must_use]
    pub fn verify(&self, message: &[u8], mac: &[u8; MAC_BYTES]) -> bool {
        self.mac(message).ct_eq(mac).into()
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey(…)")
    }
}
