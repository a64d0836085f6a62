//! The keyring: all API keys of the gateway in memory, one slot each, and the generations in force.
//!
//! Readers are the requests; they take no lock and wait for nobody. The one writer is `follow`, which applies
//! what the store says. Slots are appended and never move or go: a deleted key's slot becomes a tombstone, as
//! ids are never reused, so a slot's index is good for the life of the process.
//!
//! Invariants: an id has at most one slot; `index` points only at slots that are there; a record is replaced
//! whole; the generation is published only after every key change of the same revision.

pub mod follow;
mod generation;
mod index;
mod slot;
mod token;
mod verify;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::{ArcSwapOption, Guard};

use crate::credential::{KeyId, KeyState, Role};
use crate::entropy::Entropy;
use crate::usage::record::{MAX_SLOTS, NewsList};

pub use generation::{Generation, Generations};
pub use index::Index;
pub use slot::{Record, Slot};
pub use verify::{NotProven, Verdict};

/// A slot that was looked up, with its record as of then.
#[derive(Debug)]
pub struct Found<'k> {
    /// Position of the slot, good for the life of the process.
    pub index: u32,
    /// The slot.
    pub slot: &'k Slot,
    /// Its record.
    pub record: Guard<Arc<Record>>,
}

/// Keys by role and state, for the gauges.
pub type Census = [[u64; 3]; 2];

/// See the module's text.
pub struct Keyring {
    index: Index,
    slots: boxcar::Vec<Slot>,
    generations: ArcSwapOption<Generations>,
    fingerprint_key: verify::FingerprintKey,
    /// Slots with unwritten usage.
    pub news: NewsList,
    /// Moves whenever authority may have been taken away, after it was.
    taken: AtomicU64,
    /// How many keys of each role and state; held by writers only.
    census: Mutex<Census>,
}

impl Keyring {
    /// An empty keyring. It admits nobody until keys and generations are put in.
    #[must_use]
    pub fn new(entropy: &dyn Entropy) -> Self {
        Self {
            index: Index::new(),
            slots: boxcar::Vec::new(),
            generations: ArcSwapOption::empty(),
            fingerprint_key: verify::FingerprintKey::draw(entropy),
            news: NewsList::default(),
            taken: AtomicU64::new(0),
            census: Mutex::new(Census::default()),
        }
    }

    /// The slot of this id. **HOT**
    pub fn find(&self, id: KeyId) -> Option<Found<'_>> {
        let index = self.index.find(id, |index| self.slot(index).is_some_and(|slot| slot.id() == id))?;
        let slot = self.slot(index)?;
        Some(Found { index, slot, record: slot.record() })
    }

    /// The slot at a position.
    #[must_use]
    pub fn slot(&self, index: u32) -> Option<&Slot> {
        self.slots.get(index as usize)
    }

    /// How many slots there are, tombstones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.count()
    }

    /// Is there no slot?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts in a key, or replaces its record. One writer at a time (`follow`).
    ///
    /// # Errors
    /// [`KeyringFull`] beyond 2³² − 2 keys.
    pub fn put(&self, id: KeyId, record: Record) -> Result<(), KeyringFull> {
        let mut census = self.census.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        census[record.role as usize][record.state as usize] += 1;
        if let Some(found) = self.find(id) {
            census[found.record.role as usize][found.record.state as usize] -= 1;
            let narrows = narrows(&found.record, &record);
            found.slot.replace(record);
            if narrows {
                self.taken.fetch_add(1, Ordering::Release);
            }
            return Ok(());
        }
        let index = self.slots.push(Slot::new(id, record));
        let index = u32::try_from(index).ok().filter(|i| *i < MAX_SLOTS).ok_or(KeyringFull)?;
        self.index.insert(id, index, |index| self.slot(index).map(Slot::id));
        Ok(())
    }

    /// Makes tombstones of all keys that `keep` does not want: what a reload did not bring is gone.
    pub fn retain(&self, keep: impl Fn(KeyId) -> bool) {
        for (_, slot) in &self.slots {
            let record = slot.record();
            if record.state == KeyState::Deleted || keep(slot.id()) {
                continue;
            }
            let tombstone = Record {
                epoch: record.epoch.wrapping_add(1),
                role: record.role,
                state: KeyState::Deleted,
                digest: crate::credential::SecretDigest::ERASED,
                name: "".into(),
                policy: None,
            };
            // The slot is there, so this replaces and cannot be full.
            let _ = self.put(slot.id(), tombstone);
        }
    }

    /// Publishes the generations: one pointer store, whatever the number of keys.
    pub fn set_generations(&self, generations: Generations) {
        self.generations.store(Some(Arc::new(generations)));
        self.taken.fetch_add(1, Ordering::Release);
    }

    /// Another number whenever authority may have been taken away since: who holds a permit must look at it again. Giving
    /// authority, new keys and new names do not move it.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Acquire)
    }

    /// The generations in force; `None` before the first load. The guard is for a moment: it must not be held across an
    /// await.
    pub fn generations(&self) -> Guard<Option<Arc<Generations>>> {
        self.generations.load()
    }

    /// The current shared secret version; `None` before the first load.
    pub fn secret_version(&self) -> Option<u32> {
        self.generations.load().as_ref().map(|g| g.current().version().get())
    }

    /// Keys by role (`READONLY`, `ADMIN`) and state (active, disabled, deleted).
    pub fn census(&self) -> Census {
        *self.census.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Might a request that `before` admitted be refused now? The store raises the epoch for all that takes authority away;
/// the rest stands here so that nothing hangs on that.
fn narrows(before: &Record, after: &Record) -> bool {
    let sooner = match (before.expires_at(), after.expires_at()) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(before), Some(after)) => after < before,
    };
    before.epoch != after.epoch || before.state != after.state || after.role < before.role || sooner
}

/// More keys than the keyring has positions for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the keyring is full: it holds at most 2^32 - 2 keys")]
pub struct KeyringFull;

/// The order of [`Census`]'s rows and columns is that of the enums.
const _: () = assert!(Role::ReadOnly as usize == 0 && Role::Admin as usize == 1 && KeyState::Deleted as usize == 2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::WallTime;
    use crate::credential::{AppKey, Policy, SharedSecret};
    use crate::entropy::SystemEntropy;

    fn record() -> Record {
        Record {
            epoch: 1,
            role: Role::Admin,
            state: KeyState::Active,
            digest: crate::credential::SecretDigest::ERASED,
            name: "a".into(),
            policy: None,
        }
    }

    fn until(millis: u64) -> Record {
        let policy = Policy { expires_at: Some(WallTime::from_millis(millis)), ..Policy::default() };
        Record { policy: Some(Box::new(policy)), ..record() }
    }

    #[test]
    fn what_takes_authority_away_is_told_and_nothing_else() {
        let keyring = Keyring::new(&SystemEntropy);
        let id = KeyId::draw(&SystemEntropy);
        // From the second record on, each is compared with the one before.
        for (record, takes) in [
            (record(), false),
            (Record { name: "b".into(), ..record() }, false),
            (until(9), true),
            (until(10), false),
            (until(8), true),
            (record(), false),
            (Record { role: Role::ReadOnly, ..record() }, true),
            (record(), false),
            (Record { epoch: 2, ..record() }, true),
            (Record { epoch: 2, state: KeyState::Disabled, ..record() }, true),
        ] {
            let before = keyring.taken();
            let text = format!("{record:?}");
            keyring.put(id, record).unwrap();
            assert_eq!(keyring.taken() != before, takes, "{text}");
        }
        let before = keyring.taken();
        keyring.put(AppKey::generate(KeyId::draw(&SystemEntropy), &SystemEntropy).id(), record()).unwrap();
        assert_eq!(keyring.taken(), before, "a new key takes nothing from anybody");
        keyring.retain(|other| other == id);
        assert_ne!(keyring.taken(), before);
        let (before, secret) = (keyring.taken(), SharedSecret::generate(std::num::NonZeroU32::MIN, &SystemEntropy));
        keyring.set_generations(Generations::new(Generation::new(&secret, None), None));
        assert_ne!(keyring.taken(), before);
    }
}
