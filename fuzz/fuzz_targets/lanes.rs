//! Both lanes, side by side: the same client and the same servers, in this process, without network and on a clock that
//! stands still. What the servers were asked and what the client was answered must be the same, but for what
//! `compare` names; and each of them must be well formed in itself.

#![no_main]

#[path = "gateway/mod.rs"]
mod gateway;

use libfuzzer_sys::fuzz_target;

use gateway::compare::compare;
use gateway::plan::Plan;
use gateway::world::World;

fuzz_target!(|input: &[u8]| {
    let plan = Plan::read(input);
    World::with(|world| {
        let express = world.express.run(&plan);
        let general = world.general.run(&plan);
        if let Err(difference) = compare(&plan, &express, &general) {
            panic!("{difference}\n\n{plan}\n\nexpress: {express}\n\ngeneral: {general}");
        }
    });
});
