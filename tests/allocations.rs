//! Proves what allocates nothing: a decision that admits (later sights, first sights, access tokens, and recording the
//! use), and a whole request in the express lane, admitted or refused.
//!
//! A test program of its own, since it counts what its global allocator gives out.

#[path = "../benches/common/mod.rs"]
mod common;
#[path = "allocations/lane.rs"]
mod lane;

use common::Bench;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const TESTS: [(&str, fn()); 2] = [
    ("admitted_decisions_allocate_nothing", admitted_decisions_allocate_nothing),
    ("requests_in_the_express_lane_allocate_nothing", lane::requests_in_the_express_lane_allocate_nothing),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| words.iter().any(|w| w == word);
    // What nextest asks every test program; none is ignored.
    if has("--list") {
        for (name, _) in TESTS.iter().filter(|_| !has("--ignored")) {
            println!("{name}: test");
        }
        return;
    }
    let is_one_named = TESTS.iter().any(|(name, _)| has(name));
    for (name, test) in TESTS.iter().filter(|(name, _)| !is_one_named || has(name)) {
        test();
        println!("test {name} ... ok");
    }
}

/// What the allocator gave out meanwhile, in blocks.
fn counted(work: impl FnOnce()) -> u64 {
    let before = dhat::HeapStats::get().total_blocks;
    work();
    dhat::HeapStats::get().total_blocks - before
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
        let allocated = counted(|| {
            for key in keys {
                let admission = bench.decide_about(text, key).expect("the key is valid");
                bench.record(&admission);
            }
        });
        assert_eq!(allocated, 0, "allocations in 1,000 decisions at {sight} sight");
    }
    // It can fail: this allocates.
    let mut text = String::new();
    assert!(counted(|| text = format!("{}", keys.len())) > 0 && !text.is_empty());
}
