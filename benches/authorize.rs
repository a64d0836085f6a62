//! `authorize`, alone: first sight, later sights, forged, stale, READONLY refused; and what recording a use costs.

#[path = "common/mod.rs"]
mod common;

use common::{Bench, version};
use criterion::{Criterion, criterion_group, criterion_main};
use keygate::credential::{Role, SharedSecret};
use keygate::entropy::SystemEntropy;
use keygate::proxy::head::{self, HeadLimits, Parsed};
use std::hint::black_box;

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

const GET: &[u8] = b"GET /items HTTP/1.1\r\nHost: api\r\n\r\n";
const POST: &[u8] = b"POST /items HTTP/1.1\r\nHost: api\r\n\r\n";

fn with_head<T>(text: &[u8], work: impl FnOnce(&head::Head<'_, '_>) -> T) -> T {
    let mut space = head::Space::<4>::new();
    let Parsed::Head(head) = head::parse(text, &mut space, HeadLimits { size: 4096, fields: 3 }) else {
        panic!("the head is plain")
    };
    work(&head)
}

fn authorize(c: &mut Criterion) {
    let bench = Bench::new();
    let keys = bench.fill(10_000, 10_000);
    let mut group = c.benchmark_group("authorize");
    with_head(GET, |get| {
        group.bench_function("later sight, 10^4 keys in turn", |b| {
            let mut turn = keys.iter().cycle();
            b.iter(|| black_box(bench.authorize(get, turn.next().unwrap()).is_ok()));
        });
        group.bench_function("later sight, one key", |b| {
            b.iter(|| black_box(bench.authorize(get, black_box(&keys[0])).is_ok()));
        });
        // A slot remembers one string: each of these was last seen under the other generation.
        let other = SharedSecret::generate(version(8), &SystemEntropy);
        group.bench_function("first sight", |b| {
            let bench = Bench::new();
            let pair = bench.pair(&other);
            let mut turn = pair.iter().cycle();
            b.iter(|| black_box(bench.authorize(get, turn.next().unwrap()).is_ok()));
        });
        let forged: Vec<String> = keys.iter().map(|k| format!("{}{}", &k[..k.len() - 40], "0".repeat(40))).collect();
        group.bench_function("forged", |b| {
            let mut turn = forged.iter().cycle();
            b.iter(|| black_box(bench.authorize(get, turn.next().unwrap()).is_err()));
        });
        let tokens = bench.tokens(&keys);
        group.bench_function("access token, 10^4 keys in turn", |b| {
            let mut turn = tokens.iter().cycle();
            b.iter(|| black_box(bench.authorize(get, turn.next().unwrap()).is_ok()));
        });
        group.bench_function("access token, one", |b| {
            b.iter(|| black_box(bench.authorize(get, black_box(&tokens[0])).is_ok()));
        });
        let stale = bench.key(Role::Admin, &other);
        group.bench_function("stale", |b| b.iter(|| black_box(bench.authorize(get, &stale).is_err())));
    });
    with_head(POST, |post| {
        let readonly = bench.key(Role::ReadOnly, &bench.secret);
        group.bench_function("READONLY refused", |b| b.iter(|| black_box(bench.authorize(post, &readonly).is_err())));
    });
    group.bench_function("record a use", |b| {
        let admission = bench.decide("GET", &keys[0]).unwrap();
        b.iter(|| bench.record(black_box(&admission)));
    });
    group.finish();
}

criterion_group!(benches, authorize);
criterion_main!(benches);
