//! **HOT** Shared secret versions in memory: at most two, the second only during a grace period.

use std::num::NonZeroU32;

use crate::clock::WallTime;
use crate::credential::{MacKey, SharedSecret};

/// One shared secret version, ready to verify.
#[derive(Clone, Debug)]
pub struct Generation {
    version: NonZeroU32,
    mac: MacKey,
}

impl Generation {
    /// Of this secret. The secret itself is not kept.
    #[must_use]
    pub fn of(secret: &SharedSecret) -> Self {
        Self { version: secret.version(), mac: secret.mac_key() }
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
}
