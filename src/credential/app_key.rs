//! The app key, `kga_<id>_<43 base62>`: the secret of one API key.

use std::fmt;

use zeroize::{Zeroize as _, ZeroizeOnDrop};

use super::base62::{BODY_LEN, draw_body, is_body};
use super::key_id::KEY_ID_LEN;
use super::{CredentialError, KeyId, SecretDigest};
use crate::entropy::Entropy;

/// Characters in an app key: `kga_`, the id, `_`, the body.
pub const APP_KEY_LEN: usize = 4 + KEY_ID_LEN + 1 + BODY_LEN;

const PREFIX: &[u8; 4] = b"kga_";

/// The app key of one API key, in the clear. It exists only between making and showing, and while it is verified.
pub struct AppKey {
    id: KeyId,
    text: [u8; APP_KEY_LEN],
}

impl AppKey {
    /// A new random app key for this API key.
    pub fn generate(id: KeyId, entropy: &dyn Entropy) -> Self {
        let mut body = draw_body(entropy);
        let key = Self::from_parts(id, &body);
        body.zeroize();
        key
    }

    /// From an id and a body that is already known to be one.
    pub(super) fn from_parts(id: KeyId, body: &[u8; BODY_LEN]) -> Self {
        let mut text = [b'_'; APP_KEY_LEN];
        text[..4].copy_from_slice(PREFIX);
        text[4..4 + KEY_ID_LEN].copy_from_slice(&id.text());
        text[APP_KEY_LEN - BODY_LEN..].copy_from_slice(body);
        Self { id, text }
    }

    /// Reads `kga_<id>_<43 base62>`, exactly.
    ///
    /// # Errors
    /// [`CredentialError::Malformed`] names the form that was expected, never the text.
    pub fn parse(text: &str) -> Result<Self, CredentialError> {
        let malformed = CredentialError::Malformed("an app key is kga_<12 of 0-9a-z>_<43 letters and digits>");
        let bytes: &[u8; APP_KEY_LEN] = text.as_bytes().try_into().map_err(|_| malformed)?;
        let id = KeyId::parse(&bytes[4..4 + KEY_ID_LEN]).ok_or(malformed)?;
        if &bytes[..4] != PREFIX || bytes[4 + KEY_ID_LEN] != b'_' || !is_body(&bytes[APP_KEY_LEN - BODY_LEN..]) {
            return Err(malformed);
        }
        Ok(Self { id, text: *bytes })
    }

    /// Whose it is.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The secret itself. Every caller is a place where it leaves.
    #[must_use]
    pub fn expose(&self) -> &str {
        std::str::from_utf8(&self.text).unwrap_or_default()
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.text[APP_KEY_LEN - BODY_LEN..]
    }

    /// What is stored of it.
    #[must_use]
    pub fn digest(&self) -> SecretDigest {
        SecretDigest::of(&self.text)
    }
}

impl Drop for AppKey {
    fn drop(&mut self) {
        self.text.zeroize();
    }
}

impl ZeroizeOnDrop for AppKey {}

impl fmt::Debug for AppKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AppKey({}, …)", self.id)
    }
}
