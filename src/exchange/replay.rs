//! JWTs that were exchanged, so that none is twice: on this node, for as long as it is of now.
//!
//! A key that has proven itself is what fills this table, so it is bounded by key and in all. A JWT is remembered as 128
//! bits of SHA-256 over its `iat` and `jti`: whoever finds two that collide has only kept itself from using one of them.

use std::collections::HashMap;

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::assertion::WINDOW;

/// JWTs of one key that are remembered.
pub(super) const PER_KEY: usize = 1024;
/// Of all keys: 32 MiB and the tables' own room.
const IN_ALL: usize = 1 << 20;
/// Seconds between two times that what is over is thrown out.
const SWEEP: u64 = 60;

/// See the module's text.
#[derive(Default)]
pub(super) struct Replays(Mutex<Table>);

#[derive(Default)]
struct Table {
    /// By slot; of each JWT until when it must be remembered, in seconds since 1970.
    keys: HashMap<u32, HashMap<u128, u64>>,
    entries: usize,
    swept: u64,
}

/// Why a JWT is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It was seen.
    Before,
    /// There is no room for another one of this key.
    TooMany {
        /// Seconds until there is.
        wait: u64,
    },
    /// There is no room at all.
    Full,
}

impl Replays {
    /// Takes note of a JWT. `issued_at` and `now` are seconds since 1970.
    pub(super) fn note(&self, slot: u32, id: &str, issued_at: u64, now: u64) -> Result<(), Seen> {
        let mut table = self.0.lock();
        let idle = now.saturating_sub(table.swept);
        if idle >= SWEEP || (table.entries >= IN_ALL && idle > 0) {
            table.sweep(now);
        }
        let is_full = table.entries >= IN_ALL;
        let jwts = table.keys.entry(slot).or_default();
        let name = name(id, issued_at);
        if jwts.get(&name).is_some_and(|until| *until >= now) {
            return Err(Seen::Before);
        }
        if is_full {
            return Err(Seen::Full);
        }
        if jwts.len() >= PER_KEY {
            let before = jwts.len();
            jwts.retain(|_, until| *until >= now);
            let (left, gone) = (jwts.len(), before - jwts.len());
            let first = jwts.values().min().copied().unwrap_or(now);
            table.entries -= gone;
            if left >= PER_KEY {
                return Err(Seen::TooMany { wait: first.saturating_sub(now) + 1 });
            }
        }
        // Of now to this very second: a second later it is refused for its age.
        let until = issued_at.saturating_add(WINDOW);
        if table.keys.entry(slot).or_default().insert(name, until).is_none() {
            table.entries += 1;
        }
        Ok(())
    }
}

impl Table {
    fn sweep(&mut self, now: u64) {
        self.keys.retain(|_, jwts| {
            jwts.retain(|_, until| *until >= now);
            if jwts.capacity() > 4 * jwts.len() {
                jwts.shrink_to_fit();
            }
            !jwts.is_empty()
        });
        self.entries = self.keys.values().map(HashMap::len).sum();
        self.swept = now;
    }
}

fn name(id: &str, issued_at: u64) -> u128 {
    let hash = Sha256::new().chain_update(issued_at.to_be_bytes()).chain_update(id).finalize();
    let mut half = [0; 16];
    half.copy_from_slice(&hash[..16]);
    u128::from_be_bytes(half)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    #[test]
    fn none_is_taken_twice_while_it_is_of_now() {
        let replays = Replays::default();
        assert_eq!(replays.note(1, "a", NOW, NOW), Ok(()));
        assert_eq!(replays.note(1, "a", NOW, NOW), Err(Seen::Before));
        assert_eq!(replays.note(1, "a", NOW + 1, NOW), Ok(()), "of another moment");
        assert_eq!(replays.note(1, "b", NOW, NOW), Ok(()), "of another name");
        assert_eq!(replays.note(2, "a", NOW, NOW), Ok(()), "of another key");
        assert_eq!(replays.note(1, "a", NOW, NOW + WINDOW), Err(Seen::Before), "to its last second");
        assert_eq!(replays.note(1, "c", NOW + WINDOW, NOW), Ok(()), "of a clock that is ahead");
        assert_eq!(replays.note(1, "c", NOW + WINDOW, NOW + 2 * WINDOW), Err(Seen::Before));
    }

    #[test]
    fn a_key_has_so_many_and_no_more_and_others_have_theirs() {
        let replays = Replays::default();
        for n in 0..PER_KEY {
            assert_eq!(replays.note(1, &n.to_string(), NOW, NOW + 10), Ok(()));
        }
        assert_eq!(replays.note(1, "x", NOW, NOW + 10), Err(Seen::TooMany { wait: WINDOW - 9 }));
        assert_eq!(replays.note(1, "0", NOW, NOW + 10), Err(Seen::Before));
        assert_eq!(replays.note(2, "x", NOW, NOW + 10), Ok(()));
        assert_eq!(replays.note(1, "x", NOW + WINDOW, NOW + WINDOW + 1), Ok(()), "the old ones are over");
    }

    #[test]
    fn what_is_over_is_thrown_out() {
        let replays = Replays::default();
        for slot in 0..1000 {
            replays.note(slot, "a", NOW, NOW).unwrap();
        }
        replays.note(5000, "a", NOW + 2 * WINDOW, NOW + 2 * WINDOW).unwrap();
        let table = replays.0.lock();
        assert_eq!((table.entries, table.keys.len()), (1, 1));
    }

    #[test]
    fn all_keys_together_are_bounded() {
        let replays = Replays::default();
        replays.0.lock().entries = IN_ALL;
        assert_eq!(replays.note(1, "a", NOW, NOW), Ok(()), "the count is made anew before anybody is refused");
        let mut table = replays.0.lock();
        table.keys.extend((10..).take(IN_ALL).map(|slot| (slot, HashMap::from([(0, u64::MAX)]))));
        table.entries = IN_ALL + 1;
        drop(table);
        assert_eq!(replays.note(1, "b", NOW, NOW), Err(Seen::Full));
        assert_eq!(replays.note(1, "a", NOW, NOW), Err(Seen::Before));
    }
}
