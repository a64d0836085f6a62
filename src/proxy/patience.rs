//! **HOT** One deadline a connection, moved at every request, at the cost of a timer at few of them.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::task::coop;
use tokio::time::Sleep;

use crate::clock::{BootTime, Clock};

/// A deadline that is mostly moved on before it passes. It is a point on the boot clock; the timer behind it only
/// wakes the connection, and is touched when it fires too early or when the new deadline is the earlier one.
#[derive(Debug)]
pub struct Patience {
    timer: Pin<Box<Sleep>>,
    /// The timer knows the task and will wake it: it need not be told again.
    is_awaited: bool,
    /// When the timer fires.
    rings: BootTime,
    due: BootTime,
}

impl Patience {
    /// Over after `wait` from now, unless it is set anew.
    #[must_use]
    pub fn new(now: BootTime, wait: Duration) -> Self {
        let due = now.plus(wait);
        Self { timer: Box::pin(tokio::time::sleep(wait)), is_awaited: false, rings: due, due }
    }

    /// Over at `due`; `now` is a reading that the caller has anyway.
    pub fn set(&mut self, now: BootTime, due: BootTime) {
        self.due = due;
        if due < self.rings {
            self.ring(now);
        }
    }

    /// Ready when it is over. The clock is asked only when the timer has fired. Only one task may ask: the first that does
    /// is the one that is woken.
    pub fn poll_over(&mut self, cx: &mut Context<'_>, clock: &dyn Clock) -> Poll<()> {
        if self.is_awaited && !self.timer.is_elapsed() {
            return Poll::Pending;
        }
        loop {
            // Who must let others go on is told "pending" without having been noted down.
            self.is_awaited = coop::has_budget_remaining();
            ready!(self.timer.as_mut().poll(cx));
            let now = clock.boot();
            if now >= self.due {
                return Poll::Ready(());
            }
            self.ring(now);
        }
    }

    fn ring(&mut self, now: BootTime) {
        // Timers count milliseconds: one more, so that it does not fire just before.
        let wait = self.due.since(now) + Duration::from_millis(1);
        let timer = tokio::time::sleep(wait);
        self.timer.as_mut().reset(timer.deadline());
        self.is_awaited = false;
        self.rings = now.plus(wait);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::clock::{FakeClock, WallTime};

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_moves_on_touches_no_timer() {
        let clock = FakeClock::at(BootTime::ZERO, WallTime::EPOCH);
        let mut patience = Patience::new(clock.boot(), 10 * SECOND);
        for _ in 0..9 {
            clock.advance(SECOND);
            patience.set(clock.boot(), clock.boot().plus(10 * SECOND));
            assert_eq!(patience.rings, BootTime::ZERO.plus(10 * SECOND));
        }
        patience.set(clock.boot(), clock.boot().plus(SECOND / 2));
        assert!(patience.rings < BootTime::ZERO.plus(10 * SECOND), "the earlier one is kept");
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_over_when_the_boot_clock_says_so() {
        let clock = FakeClock::at(BootTime::ZERO, WallTime::EPOCH);
        let mut patience = Patience::new(clock.boot(), SECOND);
        patience.set(clock.boot(), clock.boot().plus(3 * SECOND));
        let mut polls = 0;
        poll_fn(|cx| {
            polls += 1;
            // Each firing of the timer is a second more.
            clock.advance(SECOND);
            patience.poll_over(cx, &clock)
        })
        .await;
        assert!(clock.boot() >= BootTime::ZERO.plus(3 * SECOND));
        assert!(polls <= 4, "{polls}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_has_used_up_its_budget_is_woken_all_the_same() {
        let clock = FakeClock::at(BootTime::ZERO, WallTime::EPOCH);
        let mut patience = Patience::new(clock.boot(), SECOND);
        clock.advance(2 * SECOND);
        let mut polls = 0;
        poll_fn(|cx| {
            polls += 1;
            while polls == 1 && coop::has_budget_remaining() {
                let _ = std::pin::pin!(coop::consume_budget()).poll(cx);
            }
            patience.poll_over(cx, &clock)
        })
        .await;
        assert!(polls > 1);
    }
}
