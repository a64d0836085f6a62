//! Where the process stands, for `/readyz`.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::metrics::NotReady;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Phase(AtomicU8);

impl Phase {
    pub(super) const SERVING: u8 = 1;
    pub(super) const DRAINING: u8 = 2;

    pub(super) fn set(&self, phase: u8) {
        self.0.store(phase, Ordering::Release);
    }

    pub(super) fn reason(&self) -> Option<NotReady> {
        match self.0.load(Ordering::Acquire) {
            Self::SERVING => None,
            Self::DRAINING => Some(NotReady::Draining),
            _ => Some(NotReady::Starting),
        }
    }
}
