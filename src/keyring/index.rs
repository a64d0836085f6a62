//! **HOT** From a key's id to the position of its slot: a hash table that only grows, for any number of readers and one
//! writer.
//!
//! An entry is one atomic word: half of the id's hash, and the position. The ids themselves stay in the slots, where
//! the caller compares them. A table that is three quarters full is followed by one of twice its size, filled before it is
//! published; the old ones stay, for readers that are in them, and are together no larger than the new one. So a reader
//! takes no lock, waits for nobody and writes nothing, and nothing has ever to be freed while it looks.
//! Called by the keyring alone (and measured beside other maps by `benches/keyring_scale.rs`).

use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::credential::KeyId;

/// Entries of the first table; each further one has twice as many.
const FIRST_LEN: u64 = 1 << 10;
/// Tables, the last of which has 2³³ entries: twice as many as there can be positions.
const TABLES: usize = 24;

/// The upper half of an entry is the upper half of the hash, the lower half the position + 1. All zero: free.
const POSITION: u64 = 0xffff_ffff;

/// See the module's text.
pub struct Index {
    tables: [OnceLock<Box<[AtomicU64]>>; TABLES],
    /// The table in which readers look.
    current: AtomicUsize,
    /// Written by the writer alone.
    len: AtomicUsize,
    /// Odd, random, one a process. Ids are drawn at random and cannot be chosen by anyone, and this keeps their places
    /// from being guessed: one multiplication is enough of a hash.
    multiplier: u64,
}

impl Default for Index {
    fn default() -> Self {
        Self::new()
    }
}

impl Index {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        let tables: [OnceLock<Box<[AtomicU64]>>; TABLES] = [const { OnceLock::new() }; TABLES];
        let multiplier = RandomState::new().hash_one(0u8) | 1;
        Self { tables, current: AtomicUsize::new(0), len: AtomicUsize::new(0), multiplier }
    }

    /// The position that was put in for this id. `is_it` compares the id with that of the slot at a position.
    pub fn find(&self, id: KeyId, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let hash = self.hash(id);
        let table = self.tables.get(self.current.load(Ordering::Acquire))?.get()?;
        for place in probe(table, hash) {
            let entry = place.load(Ordering::Acquire);
            if entry == 0 {
                return None;
            }
            if (entry ^ hash) & !POSITION == 0
                && let Some(position) = position(entry)
                && is_it(position)
            {
                return Some(position);
            }
        }
        None
    }

    /// Puts in the position of an id that is not there yet. `id_at` gives the id of a position that was put in before.
    /// One writer at a time.
    pub fn insert(&self, id: KeyId, position: u32, id_at: impl Fn(u32) -> Option<KeyId>) {
        let len = self.len.load(Ordering::Relaxed);
        let mut current = self.current.load(Ordering::Relaxed);
        let mut table = self.table(current);
        if len >= table.len() / 4 * 3 {
            let larger = self.table(current + 1);
            for entry in table.iter().map(|place| place.load(Ordering::Relaxed)).filter(|entry| *entry != 0) {
                if let Some(id) = self::position(entry).and_then(&id_at) {
                    put(larger, self.hash(id), entry & POSITION);
                }
            }
            (current, table) = (current + 1, larger);
        }
        put(table, self.hash(id), u64::from(position) + 1);
        self.len.store(len + 1, Ordering::Relaxed);
        self.current.store(current, Ordering::Release);
    }

    /// Made when it is first asked for.
    fn table(&self, number: usize) -> &[AtomicU64] {
        // There are more tables than positions can fill; the last would be stayed with.
        let number = number.min(TABLES - 1);
        let Some(table) = self.tables.get(number) else { return &[] };
        table.get_or_init(|| (0..FIRST_LEN << number).map(|_| AtomicU64::new(0)).collect())
    }

    fn hash(&self, id: KeyId) -> u64 {
        let wide = u128::from(id.as_u64()) * u128::from(self.multiplier);
        #[allow(clippy::cast_possible_truncation, reason = "both halves of the product, folded")]
        {
            wide as u64 ^ (wide >> 64) as u64
        }
    }
}

/// The places of a table in the order in which an entry of this hash is looked for.
fn probe(table: &[AtomicU64], hash: u64) -> impl Iterator<Item = &AtomicU64> {
    // A table's length is a power of two.
    let start = usize::try_from(hash & POSITION).unwrap_or(0) & (table.len() - 1);
    let (before, from) = table.split_at(start.min(table.len()));
    from.iter().chain(before)
}

/// Into the first free place; there always is one.
fn put(table: &[AtomicU64], hash: u64, position_and_one: u64) {
    let free = probe(table, hash).find(|place| place.load(Ordering::Relaxed) == 0);
    if let Some(free) = free {
        free.store(hash & !POSITION | position_and_one, Ordering::Release);
    }
}

fn position(entry: u64) -> Option<u32> {
    u32::try_from((entry & POSITION).checked_sub(1)?).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::atomic::AtomicBool;

    use proptest::prelude::*;

    use super::*;

    fn id(value: u64) -> KeyId {
        KeyId::from_u64(value).unwrap()
    }

    proptest! {
        #[test]
        fn it_finds_what_a_map_finds(values in proptest::collection::vec(0..5_000u64, 0..4_000)) {
            let (index, mut model, mut ids) = (Index::new(), HashMap::new(), Vec::new());
            for value in values {
                let at = |position: u32| ids.get(position as usize).copied();
                let found = index.find(id(value), |position| at(position) == Some(id(value)));
                prop_assert_eq!(found, model.get(&value).copied());
                if found.is_none() {
                    let position = u32::try_from(ids.len()).unwrap();
                    index.insert(id(value), position, at);
                    model.insert(value, position);
                    ids.push(id(value));
                }
            }
        }
    }

    #[test]
    fn readers_find_all_that_was_in_before_they_looked() {
        const KEYS: u64 = 300_000;
        let (index, published, done) = (Index::new(), AtomicU64::new(0), AtomicBool::new(false));
        // Position and id are the same number here.
        let look = |value: u64| index.find(id(value), |position| u64::from(position) == value);
        std::thread::scope(|scope| {
            for reader in 0..2 {
                let (look, published, done) = (&look, &published, &done);
                scope.spawn(move || {
                    let mut step = reader;
                    while !done.load(Ordering::Relaxed) {
                        let there = published.load(Ordering::Acquire);
                        step += 7_919;
                        if there > 0 {
                            let value = step % there;
                            assert_eq!(look(value).map(u64::from), Some(value));
                        }
                        assert_eq!(look(KEYS + step), None);
                    }
                });
            }
            for value in 0..KEYS {
                index.insert(id(value), u32::try_from(value).unwrap(), |position| Some(id(u64::from(position))));
                published.store(value + 1, Ordering::Release);
            }
            done.store(true, Ordering::Relaxed);
        });
    }
}
