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
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use common::{Bench, Quick, sizes};
use keygate::credential::KeyId;
use keygate::keyring::IdHash;

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
    let papaya = papaya::HashMap::with_hasher(IdHash::default());
    numbered().for_each(|(id, n)| {
        papaya.pin().insert(id, n);
    });
    report(keys, "papaya", LOOK_UPS, || {
        for id in &order {
            black_box(papaya.pin().get(id).copied());
        }
    });
    drop(papaya);
    let dash = dashmap::DashMap::with_hasher(IdHash::default());
    numbered().for_each(|(id, n)| {
        dash.insert(id, n);
    });
    report(keys, "dashmap", LOOK_UPS, || {
        for id in &order {
            black_box(dash.get(id).map(|n| *n));
        }
    });
    drop(dash);
    let mut map = HashMap::with_hasher(IdHash::default());
    map.extend(numbered());
    let swapped = ArcSwap::from(Arc::new(map));
    report(keys, "ArcSwap of HashMap", LOOK_UPS, || {
        for id in &order {
            black_box(swapped.load().get(id).copied());
        }
    });
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
