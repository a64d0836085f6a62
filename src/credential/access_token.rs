//! **HOT** The tokens of a token exchange: access tokens `kgt_…`, which are sent with requests, and refresh tokens `kgr_…`,
//! which are exchanged for the next access token.
//!
//! ```text
//! P = kgt_<version>_<id>_<epoch>_<end, seconds since 1970>      (or kgr_…)
//! P + "_" + first 40 hex digits of HMAC-SHA256(signing key of the generation, P)
//! ```
//!
//! A token is its own record: nothing is remembered of one that was handed out, however many there are, and each is verified
//! anew at each use, by one MAC. The signing key is random, one a generation, and nobody outside has it: who knows the
//! shared secret and an app key can have tokens made, but can make none. `P` begins with its kind, so no access token is a
//! refresh token.

use std::fmt::{self, Write as _};
use std::num::NonZeroU32;

use zeroize::Zeroizing;

use super::encoded_key::{MAC_HEX, push_hex};
use super::key_id::KEY_ID_LEN;
use super::shared_secret::parse_version;
use super::{KeyId, MacKey};
use crate::clock::WallTime;
use crate::entropy::Entropy;

/// Bytes of a signing key.
pub const SIGNING_KEY_BYTES: usize = 32;

/// What access and refresh tokens of one generation are signed with.
#[derive(Clone)]
pub struct SigningKey(Zeroizing<[u8; SIGNING_KEY_BYTES]>);

impl SigningKey {
    /// A new random one.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut key = Zeroizing::new([0; SIGNING_KEY_BYTES]);
        entropy.fill(&mut key[..]);
        Self(key)
    }

    /// As it was stored. `None` unless it is 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Zeroizing::new).map(Self)
    }

    /// The key itself, to be sealed.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0[..]
    }

    /// The HMAC key.
    #[must_use]
    pub fn mac_key(&self) -> MacKey {
        MacKey::new(&self.0[..])
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

/// Which of the two a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Sent with requests.
    Access,
    /// Exchanged for the next access token.
    Refresh,
}

impl TokenKind {
    /// What its texts begin with.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Access => "kgt_",
            Self::Refresh => "kgr_",
        }
    }
}

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The shared secret version under which it was made.
    pub version: NonZeroU32,
    /// Whose it is.
    pub id: KeyId,
    /// The key's epoch when it was made.
    pub epoch: u32,
    /// Valid before this moment, in seconds since 1970.
    pub end: u32,
}

impl Claims {
    /// Is it over?
    #[must_use]
    pub fn is_over(&self, now: WallTime) -> bool {
        now.as_millis() >= u64::from(self.end) * 1000
    }

    /// The token that says this.
    #[must_use]
    pub fn sign(&self, kind: TokenKind, key: &MacKey) -> Zeroizing<String> {
        // Longest: prefix, ten digits, id, twice ten digits, the MAC and four separators. Nothing is left behind by growing.
        let mut text = Zeroizing::new(String::with_capacity(128));
        // Writing to a string does not fail.
        let _ = write!(text, "{}{}_{}_{}_{}", kind.prefix(), self.version, self.id, self.epoch, self.end);
        let mac = key.mac(text.as_bytes());
        text.push('_');
        push_hex(&mut text, &mac);
        text
    }
}

/// A presented token, taken apart but not verified.
#[derive(Clone, Copy)]
pub struct Token<'a> {
    /// What it says, if its MAC holds.
    pub claims: Claims,
    signed: &'a [u8],
    /// As text: what is no hexadecimal is no MAC, and telling its digits apart costs more than writing them.
    mac: &'a [u8; MAC_HEX],
}

impl<'a> Token<'a> {
    /// Takes a presented value apart. `None` unless everything but the MAC is as the form says: one text for one token.
    #[must_use]
    pub fn parse(kind: TokenKind, text: &'a [u8]) -> Option<Self> {
        let (signed, tail) = text.split_at_checked(text.len().checked_sub(MAC_HEX + 1)?)?;
        let (b'_', hex) = tail.split_first()? else { return None };
        let mut fields = signed.strip_prefix(kind.prefix().as_bytes())?.split(|byte| *byte == b'_');
        let (version, id) = (parse_version(fields.next()?)?, fields.next()?);
        let (epoch, end) = (parse_number(fields.next()?)?, parse_number(fields.next()?)?);
        if fields.next().is_some() || id.len() != KEY_ID_LEN {
            return None;
        }
        let claims = Claims { version, id: KeyId::parse(id)?, epoch, end };
        Some(Self { claims, signed, mac: hex.try_into().ok()? })
    }

    /// Does the MAC hold under this generation's signing key?
    #[must_use]
    pub fn mac_holds(&self, key: &MacKey) -> bool {
        key.verify_hex(self.signed, self.mac)
    }

    /// All but the MAC: what names the token without being one.
    #[must_use]
    pub fn name(&self) -> &'a [u8] {
        self.signed
    }
}

/// A canonical decimal u32: zero is `0`.
fn parse_number(digits: &[u8]) -> Option<u32> {
    if digits == b"0" { Some(0) } else { parse_version(digits).map(NonZeroU32::get) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::entropy::SystemEntropy;

    fn claims(version: u32, epoch: u32, end: u32) -> Claims {
        Claims { version: NonZeroU32::new(version).unwrap(), id: KeyId::draw(&SystemEntropy), epoch, end }
    }

    #[test]
    fn a_token_is_read_back_under_its_own_key_and_kind() {
        let key = SigningKey::generate(&SystemEntropy).mac_key();
        for claims in [claims(1, 0, 0), claims(7, 3, 1_800_000_000), claims(u32::MAX, u32::MAX, u32::MAX)] {
            for (kind, other) in [(TokenKind::Access, TokenKind::Refresh), (TokenKind::Refresh, TokenKind::Access)] {
                let text = claims.sign(kind, &key);
                let token = Token::parse(kind, text.as_bytes()).unwrap();
                assert_eq!(token.claims, claims);
                assert!(token.mac_holds(&key));
                assert!(!token.mac_holds(&SigningKey::generate(&SystemEntropy).mac_key()));
                assert!(Token::parse(other, text.as_bytes()).is_none());
                let renamed = text.replacen(kind.prefix(), other.prefix(), 1);
                assert!(!Token::parse(other, renamed.as_bytes()).unwrap().mac_holds(&key), "the kind is signed");
            }
        }
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let key = SigningKey::generate(&SystemEntropy).mac_key();
        let text = claims(12, 34, 1_800_000_000).sign(TokenKind::Access, &key);
        for at in 0..text.len() {
            for byte in [b'0', b'1', b'a', b'_', b' ', 0, 0xff] {
                let mut changed = text.as_bytes().to_vec();
                changed[at] = byte;
                let holds = Token::parse(TokenKind::Access, &changed).is_some_and(|token| token.mac_holds(&key));
                assert_eq!(holds, changed == text.as_bytes(), "{at} {byte}");
            }
        }
        for end in 0..text.len() {
            assert!(Token::parse(TokenKind::Access, &text.as_bytes()[..end]).is_none_or(|t| !t.mac_holds(&key)));
        }
    }

    #[test]
    fn numbers_have_one_spelling() {
        let mac = "0".repeat(40);
        let id = "abcdefghijkl";
        let parse = |p: &str| Token::parse(TokenKind::Access, format!("{p}_{mac}").as_bytes()).is_some();
        assert!(parse(&format!("kgt_1_{id}_0_1")));
        for odd in ["kgt_01_", "kgt_0_", "kgt_+1_", "kgt__", "kgt_4294967296_", "kg_1_", "KGT_1_"] {
            assert!(!parse(&format!("{odd}{id}_0_1")), "{odd}");
        }
        for odd in ["_00_1", "_0_01", "_0_", "__1", "_0_1_1", "_0", "_4294967296_1", "_0_-1"] {
            assert!(!parse(&format!("kgt_1_{id}{odd}")), "{odd}");
        }
    }

    #[test]
    fn a_token_is_over_at_its_end() {
        let claims = claims(1, 0, 100);
        assert!(!claims.is_over(WallTime::from_millis(99_999)));
        assert!(claims.is_over(WallTime::from_millis(100_000)));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_or_hold(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let key = SigningKey::from_bytes(&[7; 32]).unwrap().mac_key();
            prop_assert!(Token::parse(TokenKind::Access, &bytes).is_none_or(|token| !token.mac_holds(&key)));
        }

        #[test]
        fn what_is_read_is_written_again(version in 1u32.., epoch: u32, end: u32) {
            let key = SigningKey::from_bytes(&[7; 32]).unwrap().mac_key();
            let text = claims(version, epoch, end).sign(TokenKind::Refresh, &key);
            let again = Token::parse(TokenKind::Refresh, text.as_bytes()).unwrap().claims.sign(TokenKind::Refresh, &key);
            prop_assert_eq!(text, again);
        }
    }
}
