//! **HOT** One API key in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, Guard};
use percent_encoding::percent_decode_str;

use crate::clock::WallTime;
use crate::credential::{KeyId, KeyState, Policy, Role, SecretDigest};
use crate::usage::record::UsageWords;

/// What is known of a key and read anew by every request: never cached, replaced whole by a change.
#[derive(Debug)]
pub struct Record {
    /// Raised whenever authority is taken away; part of the fingerprint.
    pub epoch: u32,
    /// What it may do.
    pub role: Role,
    /// Active, disabled, deleted.
    pub state: KeyState,
    /// SHA-256 of the app key.
    pub digest: SecretDigest,
    /// Percent-encoded as it stands in `X-Keygate-Key-Name`.
    pub name: Box<str>,
    /// `None` for the usual key, which may be used from everywhere for ever.
    pub policy: Option<Box<Policy>>,
}

impl Record {
    /// Is this the key's name?
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        percent_decode_str(&self.name).eq(name.bytes())
    }

    /// When the key expires.
    #[must_use]
    pub fn expires_at(&self) -> Option<WallTime> {
        self.policy.as_ref().and_then(|p| p.expires_at)
    }
}

/// One API key: its record, the fingerprint of the string last verified for it, and its usage.
#[derive(Debug)]
pub struct Slot {
    id: KeyId,
    record: ArcSwap<Record>,
    verified: [AtomicU64; 2],
    /// Last login and so on.
    pub usage: UsageWords,
}

impl Slot {
    pub(super) fn new(id: KeyId, record: Record) -> Self {
        Self {
            id,
            record: ArcSwap::from_pointee(record),
            verified: [AtomicU64::new(0), AtomicU64::new(0)],
            usage: UsageWords::default(),
        }
    }

    /// Whose slot it is.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The record as it is now. The guard is for a moment: it must not be held across an await.
    #[must_use]
    pub fn record(&self) -> Guard<Arc<Record>> {
        self.record.load()
    }

    pub(super) fn replace(&self, record: Record) {
        self.record.store(Arc::new(record));
    }

    /// Was a string with this fingerprint verified for this slot? Two racing writers may leave halves of two
    /// fingerprints, which then match neither: a torn read can only miss.
    pub(super) fn is_verified(&self, fingerprint: [u64; 2]) -> bool {
        self.verified[0].load(Ordering::Relaxed) == fingerprint[0]
            && self.verified[1].load(Ordering::Relaxed) == fingerprint[1]
    }

    pub(super) fn set_verified(&self, fingerprint: [u64; 2]) {
        self.verified[0].store(fingerprint[0], Ordering::Relaxed);
        self.verified[1].store(fingerprint[1], Ordering::Relaxed);
    }
}
