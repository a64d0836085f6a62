//! One deadline a connection, moved at every request, at the cost of a timer at few of them.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// A deadline that is mostly moved on before it passes: the timer behind it is only touched when it fires too
/// early, or when the new deadline is the earlier one.
#[derive(Debug)]
pub struct Patience {
    timer: Pin<Box<Sleep>>,
    due: Instant,
}

impl Patience {
    /// Over after `wait`, unless it is set anew.
    #[must_use]
    pub fn new(wait: Duration) -> Self {
        let timer = Box::pin(tokio::time::sleep(wait));
        let due = timer.deadline();
        Self { timer, due }
    }

    /// Over after `wait` from now.
    pub fn set(&mut self, wait: Duration) {
        #[allow(clippy::disallowed_methods, reason = "the timers' own clock, which moves with them in tests")]
        let now = Instant::now();
        self.due = now + wait;
        if self.due < self.timer.deadline() {
            self.timer.as_mut().reset(self.due);
        }
    }

    /// Ready when it is over.
    pub fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            if self.timer.deadline() >= self.due {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(self.due);
        }
    }
}
