//! The secret of a browser's session: 43 base62 characters in a cookie, stored as a digest.

use std::fmt;

use zeroize::{Zeroize as _, ZeroizeOnDrop};

use super::SecretDigest;
use super::base62::{BODY_LEN, draw_body, is_body};
use crate::entropy::Entropy;

/// A session's secret in the clear.
pub struct SessionToken([u8; BODY_LEN]);

impl SessionToken {
    /// A new random one.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self(draw_body(entropy))
    }

    /// Reads exactly 43 letters and digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.as_bytes().try_into().ok().filter(|body: &[u8; BODY_LEN]| is_body(body)).map(Self)
    }

    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// What is stored of it.
    #[must_use]
    pub fn digest(&self) -> SecretDigest {
        SecretDigest::of(&self.0)
    }
}

impl Drop for SessionToken {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for SessionToken {}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SystemEntropy;

    #[test]
    fn a_token_is_read_back_and_not_printed() {
        let token = SessionToken::generate(&SystemEntropy);
        let again = SessionToken::parse(token.expose()).unwrap();
        assert!(again.digest().matches(&token.digest()));
        assert!(!format!("{token:?}").contains(token.expose()));
        for odd in ["", "a", &"a".repeat(42), &"a".repeat(44), &format!("{}-", "a".repeat(42)), &"ä".repeat(22)] {
            assert!(SessionToken::parse(odd).is_none(), "{odd}");
        }
    }
}
