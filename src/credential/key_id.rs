//! The public id of an API key: 12 characters of `[0-9a-z]`, which fit into 63 bits.

use std::fmt;
use std::str::FromStr;

use crate::entropy::Entropy;

const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// Characters in an id.
pub const KEY_ID_LEN: usize = 12;

/// An API key's id. The number is the base-36 value of its twelve characters, so equality is equality of text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(u64);

impl KeyId {
    /// A new random id.
    pub fn draw(entropy: &dyn Entropy) -> Self {
        let text: [u8; KEY_ID_LEN] = super::base62::draw(entropy, ALPHABET);
        Self(value(&text).unwrap_or(0))
    }

    /// Reads exactly twelve characters.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == KEY_ID_LEN).then(|| value(bytes)).flatten().map(Self)
    }

    /// From storage: `None` for a number that is no value of twelve base-36 digits.
    #[must_use]
    pub const fn from_u64(value: u64) -> Option<Self> {
        if value < 36_u64.pow(12) { Some(Self(value)) } else { None }
    }

    /// The base-36 value.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The twelve characters.
    #[must_use]
    pub fn text(self) -> [u8; KEY_ID_LEN] {
        let mut out = [b'0'; KEY_ID_LEN];
        let mut rest = self.0;
        for place in out.iter_mut().rev() {
            *place = ALPHABET[(rest % 36) as usize];
            rest /= 36;
        }
        out
    }
}

/// What is no digit.
const NONE: u8 = 255;

/// Of each character, its value as a digit.
const DIGITS: [u8; 256] = {
    let mut table = [NONE; 256];
    let mut digit = 0u8;
    while digit < 36 {
        table[ALPHABET[digit as usize] as usize] = digit;
        digit += 1;
    }
    table
};

/// 36^12 < 2^63: no overflow. **HOT**
fn value(bytes: &[u8]) -> Option<u64> {
    bytes.iter().try_fold(0u64, |sum, c| {
        let digit = DIGITS[usize::from(*c)];
        (digit != NONE).then(|| sum * 36 + u64::from(digit))
    })
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(std::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Not twelve characters of `[0-9a-z]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an API key id is 12 characters of [0-9a-z]")]
pub struct KeyIdError;

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::parse(s.as_bytes()).ok_or(KeyIdError)
    }
}
