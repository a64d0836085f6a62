//! The operator token, `kgo_<id>_<43 base62>`: how a person or automation manages keys.

use std::fmt;

use zeroize::{Zeroize as _, ZeroizeOnDrop};

use super::base62::{BODY_LEN, draw_body, is_body};
use super::key_id::KEY_ID_LEN;
use super::{CredentialError, KeyId, SecretDigest};
use crate::entropy::Entropy;

const LEN: usize = 4 + KEY_ID_LEN + 1 + BODY_LEN;

/// An operator's token in the clear; shown once, stored as a digest. Its id has the form of an API key's.
pub struct OperatorToken {
    id: KeyId,
    text: [u8; LEN],
}

impl OperatorToken {
    /// A new random token with a new id.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self::generate_for(KeyId::draw(entropy), entropy)
    }

    /// A new random token for an operator that is there already.
    pub fn generate_for(id: KeyId, entropy: &dyn Entropy) -> Self {
        let mut text = [b'_'; LEN];
        text[..4].copy_from_slice(b"kgo_");
        text[4..4 + KEY_ID_LEN].copy_from_slice(&id.text());
        let mut body = draw_body(entropy);
        text[LEN - BODY_LEN..].copy_from_slice(&body);
        body.zeroize();
        Self { id, text }
    }

    /// Reads `kgo_<id>_<43 base62>`, exactly.
    ///
    /// # Errors
    /// [`CredentialError::Malformed`] names the form that was expected, never the text.
    pub fn parse(text: &str) -> Result<Self, CredentialError> {
        let malformed = CredentialError::Malformed("an operator token is kgo_<12 of 0-9a-z>_<43 letters and digits>");
        let bytes: &[u8; LEN] = text.as_bytes().try_into().map_err(|_| malformed)?;
        let id = KeyId::parse(&bytes[4..4 + KEY_ID_LEN]).ok_or(malformed)?;
        if &bytes[..4] != b"kgo_" || bytes[4 + KEY_ID_LEN] != b'_' || !is_body(&bytes[LEN - BODY_LEN..]) {
            return Err(malformed);
        }
        Ok(Self { id, text: *bytes })
    }

    /// The operator's id.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        std::str::from_utf8(&self.text).unwrap_or_default()
    }

    /// What is stored of it.
    #[must_use]
    pub fn digest(&self) -> SecretDigest {
        SecretDigest::of(&self.text)
    }
}

impl Drop for OperatorToken {
    fn drop(&mut self) {
        self.text.zeroize();
    }
}

impl ZeroizeOnDrop for OperatorToken {}

impl fmt::Debug for OperatorToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperatorToken({}, …)", self.id)
    }
}
