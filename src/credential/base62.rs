//! The alphabets of credentials, and drawing from them without bias.

use crate::entropy::Entropy;

/// Characters in the body of a secret: 43 of 62 carry 256 bits.
pub const BODY_LEN: usize = 43;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Draws a body uniformly: bytes of 248 and above are thrown away (248 = 4 × 62), so no character is likelier.
pub fn draw_body(entropy: &dyn Entropy) -> [u8; BODY_LEN] {
    draw(entropy, ALPHABET)
}

pub(super) fn draw<const N: usize>(entropy: &dyn Entropy, alphabet: &[u8]) -> [u8; N] {
    let size = alphabet.len();
    let limit = 256 / size * size;
    let mut out = [0; N];
    let mut filled = 0;
    let mut pool = zeroize::Zeroizing::new([0; 64]);
    while filled < N {
        entropy.fill(&mut pool[..]);
        for &byte in pool.iter().filter(|b| usize::from(**b) < limit) {
            if filled == N {
                break;
            }
            out[filled] = alphabet[usize::from(byte) % size];
            filled += 1;
        }
    }
    out
}

/// Is this the body of a secret: 43 base62 characters?
#[must_use]
pub fn is_body(bytes: &[u8]) -> bool {
    bytes.len() == BODY_LEN && bytes.iter().all(u8::is_ascii_alphanumeric)
}
