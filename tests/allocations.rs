//! Proves that a decision that admits allocates nothing: later sights, first sights, access tokens, and recording the use.
//!
//! A test program of its own, since it counts what its global allocator gives out.

#[path = "../benches/common/mod.rs"]
mod common;

use common::Bench;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

fn main() {
    // What nextest asks every test program.
    if std::env::args().any(|a| a == "--list") {
        println!("admitted_decisions_allocate_nothing: test");
        return;
    }
    admitted_decisions_allocate_nothing();
    println!("test admitted_decisions_allocate_nothing ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored");
}

fn admitted_decisions_allocate_nothing() {
    let bench = Bench::new();
    let keys = bench.fill(1_000, 1_000);
    let tokens = bench.tokens(&keys);
    let text = b"GET /items HTTP/1.1\r\nHost: api\r\n\r\n";
    // The maps' reclamation sets up its thread's part at the first look-up of a thread: not a request's cost.
    assert!(bench.decide_about(text, &keys[0]).is_ok());
    let _profiler = dhat::Profiler::builder().testing().build();
    for (sight, keys) in [("first", &keys), ("later", &keys), ("a token's", &tokens)] {
        let before = dhat::HeapStats::get().total_blocks;
        for key in keys {
            let admission = bench.decide_about(text, key).expect("the key is valid");
            bench.record(&admission);
        }
        let allocated = dhat::HeapStats::get().total_blocks - before;
        assert_eq!(allocated, 0, "allocations in 1,000 decisions at {sight} sight");
    }
    // It can fail: this allocates.
    let before = dhat::HeapStats::get().total_blocks;
    let text = format!("{}", keys.len());
    assert!(dhat::HeapStats::get().total_blocks > before && !text.is_empty());
}
