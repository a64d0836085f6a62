//! **HOT** Shared secret versions in memory: at most two, the second only during a grace period.

use std::num::NonZeroU32;

use crate::clock::WallTime;
use crate::credential::{MacKey, SharedSecret, SigningKey};

/// One shared secret version, ready to verify.
#[derive(Clone, Debug)]
pub struct Generation {
    version: NonZeroU32,
    mac: MacKey,
    /// `None` for a version of before there were tokens, until it is given one.
    signing: Option<MacKey>,
}

impl Generation {
    /// Of this secret, with what its tokens are signed with. Neither is kept itself.
    #[must_use]
    pub fn new(secret: &SharedSecret, signing: Option<&SigningKey>) -> Self {
        Self { version: secret.version(), mac: secret.mac_key(), signing: signing.map(SigningKey::mac_key) }
    }

    /// Which version.
    #[must_use]
    pub fn version(&self) -> NonZeroU32 {
        self.version
    }

    /// What verifies under it.
    #[must_use]
    pub fn mac(&self) -> &MacKey {
        &self.mac
    }

    /// What signs and verifies its tokens. `None`: there are none under it.
    #[must_use]
    pub fn signing(&self) -> Option<&MacKey> {
        self.signing.as_ref()
    }
}

/// The generations that are in force. Replaced whole, by one pointer store.
#[derive(Debug)]
pub struct Generations {
    current: Generation,
    previous: Option<(Generation, WallTime)>,
}

impl Generations {
    /// `previous` is accepted before the time beside it.
    #[must_use]
    pub fn new(current: Generation, previous: Option<(Generation, WallTime)>) -> Self {
        Self { current, previous }
    }

    /// What keys are encoded with now.
    #[must_use]
    pub fn current(&self) -> &Generation {
        &self.current
    }

    /// The generation of this version, if it is in force. `now` is asked for only when the previous one is meant.
    #[must_use]
    pub fn in_force(&self, version: NonZeroU32, now: impl FnOnce() -> WallTime) -> Option<&Generation> {
        if self.current.version == version {
            return Some(&self.current);
        }
        let (previous, until) = self.previous.as_ref()?;
        (previous.version == version && now() < *until).then_some(previous)
    }

    /// Every generation in force: the current one, then the previous one while it is accepted.
    pub fn live(&self, now: WallTime) -> impl Iterator<Item = &Generation> {
        let previous = self.previous.iter().filter(move |(_, until)| now < *until);
        std::iter::once(&self.current).chain(previous.map(|(generation, _)| generation))
    }

    /// Before when this version is accepted, for the previous one; nothing ends the current one.
    #[must_use]
    pub fn grace_end(&self, version: NonZeroU32) -> Option<WallTime> {
        self.previous.as_ref().filter(|(previous, _)| previous.version == version).map(|(_, until)| *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SystemEntropy;

    fn generation(version: u32) -> Generation {
        Generation::new(&SharedSecret::generate(version.try_into().unwrap(), &SystemEntropy), None)
    }

    fn live(generations: &Generations, now: u64) -> Vec<u32> {
        generations.live(WallTime::from_millis(now)).map(|generation| generation.version().get()).collect()
    }

    #[test]
    fn the_previous_one_is_live_and_in_force_before_its_end() {
        let generations = Generations::new(generation(5), Some((generation(4), WallTime::from_millis(100))));
        let in_force = |version: u32, now| {
            generations.in_force(version.try_into().unwrap(), || WallTime::from_millis(now)).is_some()
        };
        for (now, both) in [(0, true), (99, true), (100, false), (101, false)] {
            let expected: &[u32] = if both { &[5, 4] } else { &[5] };
            assert_eq!(live(&generations, now), expected);
            assert_eq!((in_force(5, now), in_force(4, now), in_force(3, now)), (true, both, false));
        }
        let end = |version: u32| generations.grace_end(version.try_into().unwrap());
        assert_eq!((end(4), end(5), end(3)), (Some(WallTime::from_millis(100)), None, None));
        assert_eq!(live(&Generations::new(generation(5), None), 0), [5]);
    }
}
