//! The promise, held against arbitrary interleavings of the model's steps.
//!
//! That the model can fail is part of the test: each [`Flaw`] breaks one rule of the protocol, and must be found.

use super::model::{Flaw, Tally, World};

const STEPS: u32 = 3_000;
const SEEDS: u64 = 300;

fn run(seed: u64, flaw: Flaw) -> Result<Tally, String> {
    let mut world = World::new(seed, flaw);
    for step in 0..STEPS {
        world.step().map_err(|violation| format!("seed {seed}, step {step}: {violation}"))?;
    }
    if world.recovers() { Ok(world.tally) } else { Err(format!("seed {seed}: a healthy node does not come back")) }
}

#[test]
fn no_admission_breaks_a_promise_and_every_healthy_node_comes_back() {
    let mut sum = Tally::default();
    for seed in 0..SEEDS {
        let tally = run(seed, Flaw::None).unwrap();
        sum.promises += tally.promises;
        sum.by_time += tally.by_time;
        sum.admitted += tally.admitted;
        sum.refused += tally.refused;
        sum.joined_anew += tally.joined_anew;
    }
    // All of it happened, and often.
    let least = [sum.promises, sum.by_time, sum.admitted, sum.refused, sum.joined_anew].into_iter().min();
    assert!(least > Some(100), "{sum:?}");
}

#[test]
fn the_model_finds_every_flaw() {
    for flaw in [
        Flaw::NoWait,
        Flaw::NoMargin,
        Flaw::AdmitUnconfirmed,
        Flaw::DeleteConfirmed,
        Flaw::GateAfterVerification,
        Flaw::AdmitBeforeApply,
        Flaw::ClockAfterStore,
        Flaw::NoRow,
        Flaw::ConfirmBeforeApply,
    ] {
        let found = (0..10 * SEEDS).find_map(|seed| run(seed, flaw).err().filter(|e| e.contains("promised")));
        println!("{flaw:?}: {found:?}");
        assert!(found.is_some(), "{flaw:?} is not found");
    }
}
