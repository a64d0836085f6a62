//! What each thread of the data plane does beside serving: four times a second it looks whether authority was taken away,
//! and wakes its connections if so, which end what may not go on; once a second it lets go of idle connections to servers.
//!
//! On the thread itself, since it wakes and closes its own alone; so neither a stuck control runtime nor another thread
//! can keep it from ending what must end. What the figures are: a cut comes a quarter of a second after the keyring (or
//! the lease) has changed at most, whatever the number of connections. Started by `app::data_plane`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::metrics::IdleDropped;
use crate::proxy::express::thread;
use crate::proxy::gateway::Gateway;

/// Between two looks.
const TICK: Duration = Duration::from_millis(250);
/// Looks from one sweep of idle connections to the next.
const SWEEP: u32 = 4;

/// Keeps house for the thread that runs it, for ever.
pub async fn house(gateway: Arc<Gateway>) {
    let mut keeper = Keeper::new(&gateway, thread::index());
    let mut ticks = interval(TICK);
    // After a pause (a stopped process, a starved machine) one look is as good as many.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // A panic was counted and logged. It must not be the end of all cutting on this thread.
        let _ = catch_unwind(AssertUnwindSafe(|| keeper.look()));
    }
}

/// What one thread saw at its last look.
struct Keeper<'g> {
    gateway: &'g Gateway,
    thread: usize,
    taken: u64,
    /// How many generations were in force.
    generations: usize,
    looks: u32,
}

impl<'g> Keeper<'g> {
    fn new(gateway: &'g Gateway, thread: usize) -> Self {
        Self { gateway, thread, taken: gateway.keyring.taken(), generations: 0, looks: 0 }
    }

    fn look(&mut self) {
        if self.is_news() {
            self.gateway.open.tell();
            self.gateway.open.wake_busy(self.thread);
        }
        self.looks = self.looks.wrapping_add(1);
        if self.looks.is_multiple_of(SWEEP) {
            self.sweep();
            give_back_memory();
        }
    }

    /// May a permit have ended since the last look?
    fn is_news(&mut self) -> bool {
        let taken = self.gateway.keyring.taken();
        let is_taken = std::mem::replace(&mut self.taken, taken) != taken;
        let now = self.gateway.clock.wall();
        let generations = self.gateway.keyring.generations().as_ref().map_or(0, |all| all.live(now).count());
        // Nothing is put in when a grace period ends: its time is over, that is all.
        let is_over = std::mem::replace(&mut self.generations, generations) > generations;
        // As long as it lasts, not only when it begins: it may have held, and admitted, between two looks.
        let is_lost = !self.gateway.lease.admits(self.gateway.clock.boot());
        is_taken || is_over || is_lost
    }

    fn sweep(&self) {
        let now = self.gateway.clock.boot();
        let live = self.gateway.live.load();
        for upstream in &live.upstreams {
            let dropped = upstream.pool().sweep(self.thread, now);
            if let Some(metrics) = live.upstream_metrics.get(upstream.index) {
                for why in IdleDropped::ALL {
                    metrics.dropped(*why, dropped.of(*why));
                }
                metrics.idle_are(upstream.pool().len());
            }
            let dirty = dropped.of(IdleDropped::Dirty);
            if dirty > 0 {
                // It would have been taken for the answer to somebody's request.
                tracing::warn!(upstream = %upstream.name, connections = dirty, "a server spoke without being asked");
            }
        }
    }
}

/// mimalloc gives freed pages back to the system when it is asked for something that it has not at hand, and on a thread
/// that only serves kept connections nobody asks. A MiB that is never touched costs two system calls.
fn give_back_memory() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(1 << 20)));
}
