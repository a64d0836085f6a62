//! The keyring at 10⁴, 10⁶ and 10⁷ keys: look-up, decision, memory a key, time to fill; and the maps that could be its
//! index, side by side, with the same numbers and the same hash.
//!
//! `KEYGATE_BENCH_KEYS` limits the sizes (default 10⁶; `make bench` sets 10⁷).

#![allow(
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a bench asks for the time, the environment and rounded figures"
)]

#[path = "common/mod.rs"]
mod common;

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use common::{Bench, Quick, sizes};
use keygate::credential::KeyId;
use keygate::keyring::Index;

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LOOK_UPS: usize = 2_000_000;
const ROUNDS: usize = 7;

fn main() {
    // Criterion's arguments (`--bench`, filters) do not concern this one.
    println!("| keys | what | median ns | range |\n|---|---|---|---|");
    for keys in sizes() {
        maps(keys);
        keyring(keys);
    }
}

/// Resident bytes of this process.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Median and range of the time of one of `LOOK_UPS` calls, over several rounds.
fn report(keys: usize, what: &str, count: usize, mut round: impl FnMut()) {
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            round();
            nanos(start.elapsed()) / count as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("| {keys} | {what} | {:.0} | {:.0} to {:.0} |", times[ROUNDS / 2], times[0], times[ROUNDS - 1]);
}

fn nanos(d: Duration) -> f64 {
    d.as_secs_f64() * 1e9
}

/// Ids in the order in which requests ask for them: random, so that large maps miss the caches.
fn ids(keys: usize) -> (Vec<KeyId>, Vec<KeyId>) {
    let source = Quick::new();
    let all: Vec<KeyId> = (0..keys).map(|_| KeyId::draw(&source)).collect();
    let mut at = 1usize;
    let order = (0..LOOK_UPS)
        .map(|_| {
            at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            all[(at >> 20) % keys]
        })
        .collect();
    (all, order)
}

fn maps(keys: usize) {
    let (all, order) = ids(keys);
    let numbered = || all.iter().enumerate().map(|(n, id)| (*id, n as u32));
    let index = Index::new();
    numbered().for_each(|(id, n)| index.insert(id, n, |n| all.get(n as usize).copied()));
    look_up(keys, "own index", &order, |id| index.find(id, |n| all.get(n as usize) == Some(&id)));
    drop(index);
    let papaya = papaya::HashMap::with_hasher(IdHash::default());
    numbered().for_each(|(id, n)| {
        papaya.pin().insert(id, n);
    });
    look_up(keys, "papaya", &order, |id| papaya.pin().get(&id).copied());
    drop(papaya);
    let dash = dashmap::DashMap::with_hasher(IdHash::default());
    numbered().for_each(|(id, n)| {
        dash.insert(id, n);
    });
    look_up(keys, "dashmap", &order, |id| dash.get(&id).map(|n| *n));
    drop(dash);
    let mut map = HashMap::with_hasher(IdHash::default());
    map.extend(numbered());
    let swapped = ArcSwap::from(Arc::new(map));
    look_up(keys, "ArcSwap of HashMap", &order, |id| swapped.load().get(&id).copied());
}

/// One thread on all keys; two threads on all keys; two threads on one key, as when one integration sends most requests.
fn look_up(keys: usize, what: &str, order: &[KeyId], find: impl Fn(KeyId) -> Option<u32> + Sync) {
    let all = |order: &[KeyId]| {
        for id in order {
            black_box(find(*id));
        }
    };
    report(keys, what, LOOK_UPS, || all(order));
    let both = |order: &[KeyId]| {
        std::thread::scope(|scope| {
            scope.spawn(|| all(order));
            all(order);
        });
    };
    report(keys, &format!("{what}, two threads"), LOOK_UPS, || both(order));
    let hot = vec![order[0]; LOOK_UPS];
    report(keys, &format!("{what}, two threads on one key"), LOOK_UPS, || both(&hot));
}

/// The hash of [`Index`], for the maps that it is measured against.
#[derive(Clone)]
struct IdHash(u64);

impl Default for IdHash {
    fn default() -> Self {
        Self(RandomState::new().hash_one(0u8) | 1)
    }
}

impl BuildHasher for IdHash {
    type Hasher = IdHasher;

    fn build_hasher(&self) -> IdHasher {
        IdHasher { multiplier: self.0, hash: 0 }
    }
}

/// See [`IdHash`].
struct IdHasher {
    multiplier: u64,
    hash: u64,
}

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(self.hash ^ u64::from(byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        let wide = u128::from(value ^ self.hash) * u128::from(self.multiplier);
        #[allow(clippy::cast_possible_truncation, reason = "both halves of the product, folded")]
        {
            self.hash = (wide as u64) ^ (wide >> 64) as u64;
        }
    }

    fn finish(&self) -> u64 {
        self.hash
    }
}

fn keyring(keys: usize) {
    let before = resident();
    let bench = Bench::new();
    let start = Instant::now();
    let kept = bench.fill(keys, 100_000);
    let filled = start.elapsed();
    let bytes = resident().saturating_sub(before).saturating_sub(kept.iter().map(|k| k.capacity() as u64 + 24).sum());
    println!("| {keys} | keyring: bytes a key | {:.0} | |", bytes as f64 / keys as f64);
    println!("| {keys} | keyring: made and filled in, s | {:.2} | |", filled.as_secs_f64());
    let ids: Vec<KeyId> = kept.iter().filter_map(|k| KeyId::parse(&k.as_bytes()[5..17])).collect();
    report(keys, "keyring: find", ids.len(), || {
        for id in &ids {
            black_box(bench.keyring.find(*id).is_some());
        }
    });
    report(keys, "head parsed and decided, later sight", kept.len(), || {
        for key in &kept {
            black_box(bench.decide_about(b"GET /items HTTP/1.1\r\nHost: api\r\n\r\n", key).is_ok());
        }
    });
}
