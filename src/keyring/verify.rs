//! **HOT** From a presented string to a proven key.
//!
//! Later sight: one keyed hash over (generation, epoch, string), compared with two words of the slot.
//! First sight: MAC under the generation, then SHA-256 of the app key against the slot's digest.
//! The string is looked up by the id in it, which is public: nothing secret is an index.

use std::num::NonZeroU32;

use siphasher::sip128::{Hasher128 as _, SipHasher24};
use std::hash::Hasher as _;

use super::{Found, Keyring};
use crate::clock::Clock;
use crate::credential::{EncodedKey, KeyState};
use crate::entropy::Entropy;

/// What a presented string turned out to be.
#[derive(Debug)]
pub enum Verdict<'k> {
    /// Proven, and the key is active and not expired; with the version of the shared secret that it rests on.
    Proven(Found<'k>, NonZeroU32),
    /// Not proven: malformed, unknown or forged. They are told alike, and told apart in metrics only.
    NotProven(NotProven),
    /// Proven by its digest, but encoded with a secret version that is not in force.
    Stale {
        /// Whose it is.
        found: Found<'k>,
        /// What it was encoded with.
        sent: NonZeroU32,
        /// What it must be encoded with.
        current: NonZeroU32,
    },
    /// Proven, but the key is disabled.
    Disabled(Found<'k>),
    /// Proven, but the key has expired.
    Expired(Found<'k>),
    /// A token that is proven, but over.
    TokenExpired(Found<'k>),
    /// A token that is proven, but of another epoch: the key was rolled or disabled since.
    TokenRevoked(Found<'k>),
}

/// Why a string proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotProven {
    /// It has not the form of an encoded key.
    Malformed,
    /// No key has this id, or it was deleted.
    Unknown,
    /// The MAC or the digest does not hold.
    Forged,
    /// A token of a generation that is not in force: what it was signed with is gone.
    Outdated,
}

/// The key of the fingerprint hash: random, one a process.
pub(super) struct FingerprintKey(u64, u64);

impl FingerprintKey {
    pub(super) fn draw(entropy: &dyn Entropy) -> Self {
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes);
        let value = u128::from_le_bytes(bytes);
        #[allow(clippy::cast_possible_truncation, reason = "the two halves of 128 bits")]
        Self((value >> 64) as u64, value as u64)
    }

    /// SipHash-2-4 with 128 bits (Aumasson and Bernstein 2012) over generation, epoch and the whole string.
    /// Generation and epoch have fixed lengths, so no two inputs have the same bytes. Never all zero, which is
    /// what an empty slot holds.
    fn fingerprint(&self, generation: NonZeroU32, epoch: u32, presented: &[u8]) -> [u64; 2] {
        let mut hasher = SipHasher24::new_with_keys(self.0, self.1);
        hasher.write_u64(u64::from(generation.get()) << 32 | u64::from(epoch));
        hasher.write(presented);
        let hash = hasher.finish128();
        [hash.h1 | 1, hash.h2]
    }
}

impl Keyring {
    /// Verifies a presented encoded key. Reads state and expiry from the slot at every call.
    pub fn verify(&self, presented: &[u8], clock: &dyn Clock) -> Verdict<'_> {
        let malformed = Verdict::NotProven(NotProven::Malformed);
        let Some((version, id)) = EncodedKey::claim(presented) else { return malformed };
        let Some(found) = self.find(id) else { return Verdict::NotProven(NotProven::Unknown) };
        if found.record.state == KeyState::Deleted {
            return Verdict::NotProven(NotProven::Unknown);
        }
        let generations = self.generations.load();
        let Some(generations) = generations.as_ref() else { return Verdict::NotProven(NotProven::Unknown) };
        let Some(generation) = generations.in_force(version, || clock.wall_coarse()) else {
            return stale(found, presented, generations.current().version());
        };
        let fingerprint = self.fingerprint_key.fingerprint(generation.version(), found.record.epoch, presented);
        if !found.slot.is_verified(fingerprint) {
            let Some(encoded) = EncodedKey::parse(presented) else { return malformed };
            if !encoded.mac_holds(generation.mac()) || !encoded.app_key_digest().matches(&found.record.digest) {
                return Verdict::NotProven(NotProven::Forged);
            }
            found.slot.set_verified(fingerprint);
        }
        if found.record.state == KeyState::Disabled {
            return Verdict::Disabled(found);
        }
        if found.record.expires_at().is_some_and(|at| at <= clock.wall_coarse()) {
            return Verdict::Expired(found);
        }
        Verdict::Proven(found, version)
    }
}

/// The digest alone is checked: it proves the holder, who is then told what to do.
#[cold]
fn stale<'k>(found: Found<'k>, presented: &[u8], current: NonZeroU32) -> Verdict<'k> {
    let Some(encoded) = EncodedKey::parse(presented) else { return Verdict::NotProven(NotProven::Malformed) };
    if !encoded.app_key_digest().matches(&found.record.digest) {
        return Verdict::NotProven(NotProven::Forged);
    }
    Verdict::Stale { found, sent: encoded.version(), current }
}
