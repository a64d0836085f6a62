//! Regeneration with 10⁷ keys: what the swap costs, and what requests notice of it.
//!
//! One thread decides about requests without pause and times each; the other swaps the generation. The same thread's
//! times before the swap stand beside those in the second of the swap. `KEYGATE_BENCH_KEYS` as in `keyring_scale`.

#![allow(
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a bench asks for the time, the environment and rounded figures"
)]

#[path = "common/mod.rs"]
mod common;

use std::hint::black_box;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use common::{Bench, sizes, version};
use keygate::credential::SharedSecret;
use keygate::entropy::SystemEntropy;
use keygate::keyring::{Generation, Generations};

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SECOND: Duration = Duration::from_secs(1);

fn main() {
    println!("| keys | swap, µs | p50 before / during, ns | p99.9 before / during, ns | decisions before / during |");
    println!("|---|---|---|---|---|");
    for keys in sizes() {
        measure(keys);
    }
}

fn measure(keys: usize) {
    let bench = Bench::new();
    let kept = bench.fill(keys, 100_000);
    let next = SharedSecret::generate(version(8), &SystemEntropy);
    let phase = AtomicU8::new(0);
    let (swap, before, during) = std::thread::scope(|scope| {
        let requests = scope.spawn(|| {
            let mut turn = kept.iter().cycle();
            let mut times: [Vec<u32>; 3] = std::array::from_fn(|_| Vec::with_capacity(8_000_000));
            loop {
                let phase = usize::from(phase.load(Ordering::Relaxed));
                let Some(times) = times.get_mut(phase) else { break };
                let start = Instant::now();
                black_box(
                    bench.decide_about(b"GET /items HTTP/1.1\r\nHost: api\r\n\r\n", turn.next().unwrap()).is_ok(),
                );
                times.push(u32::try_from(start.elapsed().as_nanos()).unwrap_or(u32::MAX));
            }
            times
        });
        // The first second warms up; the second is the yardstick.
        std::thread::sleep(SECOND);
        phase.store(1, Ordering::Relaxed);
        std::thread::sleep(SECOND);
        phase.store(2, Ordering::Relaxed);
        let generations = Generations::new(Generation::new(&next, None), None);
        let start = Instant::now();
        bench.keyring.set_generations(generations);
        let swap = start.elapsed();
        std::thread::sleep(SECOND);
        phase.store(3, Ordering::Relaxed);
        let [_, before, during] = requests.join().expect("the requests' thread ends");
        (swap, before, during)
    });
    let [before, during] = [before, during].map(|mut times| {
        times.sort_unstable();
        let at = |p: f64| times.get((times.len() as f64 * p) as usize).copied().unwrap_or(0);
        (at(0.5), at(0.999), times.len())
    });
    println!(
        "| {keys} | {:.1} | {} / {} | {} / {} | {} / {} |",
        swap.as_secs_f64() * 1e6,
        before.0,
        during.0,
        before.1,
        during.1,
        before.2,
        during.2
    );
}
