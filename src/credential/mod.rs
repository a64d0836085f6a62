//! Credentials: made, taken apart, verified. No I/O, no store, no clock; randomness is a parameter.
//!
//! ```text
//! shared secret  kgs_<version>_<43 base62>
//! app key        kga_<id>_<43 base62>
//! encoded key    P = kg_<version>_<id>_<43 base62>, then "_" and 40 hex digits of HMAC-SHA256(shared secret, P)
//! access token   kgt_<version>_<id>_<epoch>_<end>_<40 hex>, refresh token the same with kgr_
//! operator token kgo_<id>_<43 base62>
//! bundle         base64 of {"url","shortname","appname","sharedsecret","appkey"}
//! ```
//!
//! The types that hold secrets print redacted, cannot be serialised, and erase themselves. `expose` is the one
//! way out of each.

mod access_token;
mod api_key;
mod app_key;
mod base62;
mod bundle;
mod digest;
mod encoded_key;
pub mod json;
pub mod jwt;
mod key_id;
mod operator_token;
mod session_token;
mod shared_secret;
#[cfg(test)]
mod tests;
mod wording;

pub use access_token::{Claims, SigningKey, Token, TokenKind};
pub use api_key::{KeyName, KeyNameError, KeyState, Policy, Role, RoleError};
pub use app_key::AppKey;
pub use bundle::{BUNDLE_START, Bundle, is_shortname};
pub use digest::SecretDigest;
pub use encoded_key::{ENCODED_KEY_MAX, EncodedKey, app_key_in, encode};
pub use key_id::{KeyId, KeyIdError};
pub use operator_token::OperatorToken;
pub use session_token::SessionToken;
pub use shared_secret::{MacKey, SharedSecret};
pub use wording::{LONGEST_DESCRIPTION, MOST_LISTED, description, network};

/// Bytes of the truncated HMAC in an encoded key: 160 bits.
pub const MAC_BYTES: usize = 20;

/// The prefixes of everything that is a credential of ours, wherever it is seen.
pub const PREFIXES: [&str; 6] = ["kg_", "kga_", "kgs_", "kgt_", "kgr_", "kgo_"];

/// Is this value one of ours, valid or not? Such a value is never forwarded. A bundle is none that anything is let in with,
/// but whoever pastes it in the place of a key must not hand it on either.
#[must_use]
pub fn is_ours(value: &[u8]) -> bool {
    match value {
        [b'e', ..] => value.starts_with(BUNDLE_START.as_bytes()),
        [b'k', b'g', b'_', ..] => true,
        [b'k', b'g', kind, b'_', ..] => matches!(kind, b'a' | b's' | b't' | b'r' | b'o'),
        _ => false,
    }
}

/// Why a text is not the credential that was asked for. Never holds the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The text has not the form; the message says which.
    #[error("{0}")]
    Malformed(&'static str),
    /// A member of a bundle is not there or not as it must be.
    #[error("the bundle's {member} {wrong}")]
    Member {
        /// Which.
        member: &'static str,
        /// What is wrong with it.
        wrong: &'static str,
    },
}
