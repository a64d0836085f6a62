//! Secrets at rest: XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) under the master key.
//!
//! Store id, purpose, version and master-key id are associated data, so sealed bytes opened in another place,
//! for another purpose or as another version do not open. Layout: `1` (format), 8 bytes master-key id, 24 bytes
//! nonce, ciphertext with its 16-byte tag.

use std::fmt;
use std::num::NonZeroU32;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::SealedSecret;
use crate::credential::{SharedSecret, SigningKey};
use crate::entropy::Entropy;

const FORMAT: u8 = 1;
const ID_LEN: usize = 8;
const NONCE_LEN: usize = 24;
const HEAD_LEN: usize = 1 + ID_LEN + NONCE_LEN;

/// Why sealed bytes do not open, or a master key is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Sealed by another master key.
    #[error("the secret was sealed with master key {sealed:016x}; the configured master key is {configured:016x}")]
    OtherMasterKey {
        /// Id of the key that sealed it.
        sealed: u64,
        /// Id of the key at hand.
        configured: u64,
    },
    /// The tag does not hold.
    #[error("a sealed secret does not open: it was altered, or belongs to another store, purpose or version")]
    Altered,
    /// Not 64 hexadecimal digits.
    #[error("a master key is 64 hexadecimal digits")]
    NotAMasterKey,
}

/// The id of the master key that sealed these bytes; `None` for bytes that were not sealed here.
#[must_use]
pub fn sealed_by(sealed: &[u8]) -> Option<u64> {
    let id = sealed.get(1..=ID_LEN).filter(|_| sealed.first() == Some(&FORMAT) && sealed.len() > HEAD_LEN)?;
    Some(u64::from_be_bytes(id.try_into().ok()?))
}

/// What a sealed secret is for: part of its associated data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A shared secret.
    SharedSecret,
    /// What the tokens of a shared secret version are signed with.
    SigningKey,
}

impl Purpose {
    const fn as_str(self) -> &'static str {
        match self {
            Self::SharedSecret => "shared-secret",
            Self::SigningKey => "signing-key",
        }
    }
}

/// What it is, in front of the version that it is of.
impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SharedSecret => "shared secret",
            Self::SigningKey => "signing key of shared secret",
        })
    }
}

/// The 256-bit key under which secrets are stored.
pub struct MasterKey {
    key: Zeroizing<[u8; 32]>,
    id: [u8; ID_LEN],
}

impl MasterKey {
    /// A new random master key.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        entropy.fill(&mut key[..]);
        Self::from_key(key)
    }

    /// Reads 64 hexadecimal digits; white space around them is ignored.
    ///
    /// # Errors
    /// [`SealError::NotAMasterKey`].
    pub fn parse(text: &str) -> Result<Self, SealError> {
        let digits = text.trim().as_bytes();
        let mut key = Zeroizing::new([0; 32]);
        if digits.len() != 64 {
            return Err(SealError::NotAMasterKey);
        }
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
            let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
                return Err(SealError::NotAMasterKey);
            };
            *byte = high << 4 | low;
        }
        Ok(Self::from_key(key))
    }

    fn from_key(key: Zeroizing<[u8; 32]>) -> Self {
        let hash = Sha256::new().chain_update(b"keygate master key id\0").chain_update(&key[..]).finalize();
        let mut id = [0; ID_LEN];
        id.copy_from_slice(&hash[..ID_LEN]);
        Self { key, id }
    }

    /// The 64 hexadecimal digits, for the key file.
    #[must_use]
    pub fn expose_hex(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(64));
        for byte in self.key.iter() {
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
            }
        }
        text
    }

    /// Public; tells master keys apart.
    #[must_use]
    pub fn id(&self) -> u64 {
        u64::from_be_bytes(self.id)
    }

    /// Seals `plain` for this place.
    #[must_use]
    pub fn seal(&self, plain: &[u8], store_id: &str, purpose: Purpose, version: u32, entropy: &dyn Entropy) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut nonce);
        let aad = associated_data(store_id, purpose, version, self.id);
        #[allow(clippy::expect_used, reason = "the AEAD fails only above 256 GiB")]
        let sealed = self
            .cipher()
            .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: &aad })
            .expect("a short secret can be sealed");
        let mut out = Vec::with_capacity(HEAD_LEN + sealed.len());
        out.push(FORMAT);
        out.extend_from_slice(&self.id);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
        out
    }

    /// Seals a shared secret for its version.
    #[must_use]
    pub fn seal_secret(&self, secret: &SharedSecret, store_id: &str, entropy: &dyn Entropy) -> Vec<u8> {
        self.seal(secret.expose().as_bytes(), store_id, Purpose::SharedSecret, secret.version().get(), entropy)
    }

    /// Seals the signing key of a version.
    #[must_use]
    pub fn seal_signing(
        &self,
        key: &SigningKey,
        store_id: &str,
        version: NonZeroU32,
        entropy: &dyn Entropy,
    ) -> Vec<u8> {
        self.seal(key.expose(), store_id, Purpose::SigningKey, version.get(), entropy)
    }

    /// A new secret of this version and its signing key, which leave here sealed only.
    #[must_use]
    pub fn new_secret(&self, version: NonZeroU32, store_id: &str, entropy: &dyn Entropy) -> SealedSecret {
        SealedSecret {
            secret: self.seal_secret(&SharedSecret::generate(version, entropy), store_id, entropy),
            signing: self.seal_signing(&SigningKey::generate(entropy), store_id, version, entropy),
        }
    }

    /// Opens what was sealed for this place.
    ///
    /// # Errors
    /// [`SealError::OtherMasterKey`] names both keys; [`SealError::Altered`] for everything else.
    pub fn open(
        &self,
        sealed: &[u8],
        store_id: &str,
        purpose: Purpose,
        version: u32,
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (head, body) = sealed.split_at_checked(HEAD_LEN).ok_or(SealError::Altered)?;
        let id: [u8; ID_LEN] = head[1..=ID_LEN].try_into().map_err(|_| SealError::Altered)?;
        let nonce: [u8; NONCE_LEN] = head[1 + ID_LEN..].try_into().map_err(|_| SealError::Altered)?;
        if head[0] != FORMAT {
            return Err(SealError::Altered);
        }
        if id != self.id {
            return Err(SealError::OtherMasterKey { sealed: u64::from_be_bytes(id), configured: self.id() });
        }
        let aad = associated_data(store_id, purpose, version, id);
        self.cipher()
            .decrypt(&XNonce::from(nonce), Payload { msg: body, aad: &aad })
            .map(Zeroizing::new)
            .map_err(|_| SealError::Altered)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&Key::from(*self.key))
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({:016x}, …)", self.id())
    }
}

/// Every part but the last has a length or an end of its own, so no two places have the same bytes.
fn associated_data(store_id: &str, purpose: Purpose, version: u32, key_id: [u8; ID_LEN]) -> Vec<u8> {
    let mut aad = Vec::with_capacity(64);
    for part in [store_id.as_bytes(), purpose.as_str().as_bytes()] {
        aad.extend_from_slice(part);
        aad.push(0);
    }
    aad.extend_from_slice(&version.to_be_bytes());
    aad.extend_from_slice(&key_id);
    aad
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SystemEntropy;

    #[test]
    fn opens_only_in_its_place() {
        let key = MasterKey::generate(&SystemEntropy);
        let sealed = key.seal(b"kgs_1_x", "store", Purpose::SharedSecret, 1, &SystemEntropy);
        assert_eq!(&key.open(&sealed, "store", Purpose::SharedSecret, 1).unwrap()[..], b"kgs_1_x");
        assert_eq!(key.open(&sealed, "other", Purpose::SharedSecret, 1), Err(SealError::Altered));
        assert_eq!(key.open(&sealed, "store", Purpose::SharedSecret, 2), Err(SealError::Altered));
        assert_eq!(key.open(&sealed, "store", Purpose::SigningKey, 1), Err(SealError::Altered));
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(key.open(&altered, "store", Purpose::SharedSecret, 1).is_err(), "byte {at}");
        }
        let other = MasterKey::generate(&SystemEntropy);
        assert_eq!(sealed_by(&sealed), Some(key.id()));
        assert_eq!(sealed_by(b"something else"), None);
        assert!(matches!(
            other.open(&sealed, "store", Purpose::SharedSecret, 1),
            Err(SealError::OtherMasterKey { .. })
        ));
    }

    #[test]
    fn a_new_secret_and_its_signing_key_open_in_their_places() {
        let (key, version) = (MasterKey::generate(&SystemEntropy), NonZeroU32::new(7).unwrap());
        let [one, other] = [0, 1].map(|_| key.new_secret(version, "store", &SystemEntropy));
        let open = |sealed: &[u8], purpose| key.open(sealed, "store", purpose, 7).unwrap();
        let secret = open(&one.secret, Purpose::SharedSecret);
        assert_eq!(SharedSecret::parse(std::str::from_utf8(&secret).unwrap()).unwrap().version(), version);
        let signing = open(&one.signing, Purpose::SigningKey);
        assert!(SigningKey::from_bytes(&signing).is_some());
        assert_ne!(open(&other.signing, Purpose::SigningKey), signing);
        assert_ne!(open(&other.secret, Purpose::SharedSecret), secret);
    }

    #[test]
    fn reads_what_it_writes_and_nothing_else() {
        let key = MasterKey::generate(&SystemEntropy);
        let again = MasterKey::parse(&format!(" {}\n", *key.expose_hex())).unwrap();
        assert_eq!(again.id(), key.id());
        for bad in ["", "00", &"g".repeat(64), &"0".repeat(65)] {
            assert_eq!(MasterKey::parse(bad).unwrap_err(), SealError::NotAMasterKey);
        }
        assert_eq!(format!("{key:?}"), format!("MasterKey({:016x}, …)", key.id()));
    }
}
