//! **HOT** Connections to the servers of one upstream that nobody uses at the moment.
//!
//! Each thread has its own, since a socket wakes the thread that made it; the last that was put back is the first that
//! is taken, so a burst's connections grow old and go. No task and no timer a connection: whether one is still good is
//! seen by reading from it when it is taken, and once a second by [`Pool::sweep`].
//!
//! A connection that has something to say while nobody asked it is never used: the answer would be taken for that of
//! the next request (RFC 9112, section 9.2).

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use pingora_core::protocols::Stream;
use tokio::io::{AsyncRead as _, ReadBuf};

use crate::clock::BootTime;

/// See the module's text.
pub(crate) struct Pool {
    /// By thread; nearly always locked by that thread alone.
    threads: Box<[Mutex<Idle>]>,
    /// How many a thread keeps, of all servers.
    most: usize,
}

/// What one thread keeps.
struct Idle {
    /// By server; the last one was put back last.
    servers: Box<[Vec<Kept>]>,
    count: usize,
}

struct Kept {
    io: Stream,
    /// Not to be used from then on: the server may be closing it.
    until: BootTime,
}

/// Why connections were let go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    /// Nobody had used them for too long.
    pub(crate) idle: usize,
    /// The server had closed them.
    pub(crate) closed: usize,
    /// The server had sent something.
    pub(crate) dirty: usize,
}

/// What a connection does that should do nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Silent,
    Closed,
    /// It has sent something.
    Dirty,
}

impl Pool {
    /// For so many threads and servers; `most` connections in all.
    pub(crate) fn new(threads: usize, servers: usize, most: usize) -> Self {
        let idle = || Mutex::new(Idle { servers: (0..servers).map(|_| Vec::new()).collect(), count: 0 });
        let threads = threads.max(1);
        Self { threads: (0..threads).map(|_| idle()).collect(), most: most.div_ceil(threads) }
    }

    /// A connection to this server that is silent, as it should be.
    pub(crate) fn take(&self, thread: usize, server: usize, now: BootTime) -> Option<Stream> {
        loop {
            let mut kept = {
                let mut idle = self.threads.get(thread % self.threads.len())?.lock();
                let kept = idle.servers.get_mut(server)?.pop()?;
                idle.count -= 1;
                kept
            };
            // Outside of the lock: what is let go here is closed here.
            if now < kept.until && look(&mut kept.io) == State::Silent {
                return Some(kept.io);
            }
        }
    }

    /// Keeps a connection on which an exchange has ended whole, until then; where there is no room, it is closed.
    pub(crate) fn put(&self, thread: usize, server: usize, io: Stream, until: BootTime) {
        let Some(idle) = self.threads.get(thread % self.threads.len()) else { return };
        let mut idle = idle.lock();
        if idle.count >= self.most {
            return drop(idle);
        }
        if let Some(servers) = idle.servers.get_mut(server) {
            servers.push(Kept { io, until });
            idle.count += 1;
        }
    }

    /// Lets go what is too old or no longer silent, of one thread. Called by that thread, once a second.
    pub(crate) fn sweep(&self, thread: usize, now: BootTime) -> Swept {
        let mut swept = Swept::default();
        let mut gone = Vec::new();
        if let Some(idle) = self.threads.get(thread) {
            let mut idle = idle.lock();
            for server in &mut idle.servers {
                gone.extend(server.extract_if(.., |kept| swept.lets_go(kept, now)));
            }
            idle.count -= gone.len();
        }
        // They are closed here, outside of the lock.
        drop(gone);
        swept
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.threads.iter().map(|idle| idle.lock().count).sum()
    }
}

impl Swept {
    /// Is this one to be let go? Counts it.
    fn lets_go(&mut self, kept: &mut Kept, now: BootTime) -> bool {
        let counter = match look(&mut kept.io) {
            _ if now >= kept.until => &mut self.idle,
            State::Closed => &mut self.closed,
            State::Dirty => &mut self.dirty,
            State::Silent => return false,
        };
        *counter += 1;
        true
    }
}

/// A read that waits for nobody. What the reactor has not seen yet is not seen here either: then the exchange meets
/// the closed connection, and is repeated where that can do no harm.
fn look(io: &mut Stream) -> State {
    let mut byte = [0];
    let mut into = ReadBuf::new(&mut byte);
    match Pin::new(io).poll_read(&mut Context::from_waker(Waker::noop()), &mut into) {
        Poll::Pending => State::Silent,
        Poll::Ready(Ok(())) if !into.filled().is_empty() => State::Dirty,
        Poll::Ready(_) => State::Closed,
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("len", &self.len()).field("most", &self.most).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::proxy::script::{Given, Script};

    const NOW: BootTime = BootTime::from_nanos(1_000_000_000);

    fn later() -> BootTime {
        NOW.plus(Duration::from_mins(1))
    }

    fn silent() -> Stream {
        Script::new([]).stream()
    }

    /// Tells connections apart: two that are open are never at one place.
    fn place(io: &Stream) -> *const () {
        std::ptr::from_ref(&**io).cast()
    }

    #[test]
    fn the_last_that_was_put_back_is_taken_first() {
        let pool = Pool::new(1, 2, 10);
        let (first, last, other) = (silent(), silent(), silent());
        let places = [place(&last), place(&first)];
        pool.put(0, 0, first, later());
        pool.put(0, 0, last, later());
        pool.put(0, 1, other, later());
        let taken = [pool.take(0, 0, NOW).unwrap(), pool.take(0, 0, NOW).unwrap()];
        assert_eq!(taken.each_ref().map(place), places);
        assert!(pool.take(0, 0, NOW).is_none(), "the other one leads to another server");
        assert_eq!(pool.len(), 1);
    }

    #[test]
    fn no_more_are_kept_than_there_is_room_for() {
        let pool = Pool::new(2, 1, 4);
        for thread in [0, 0, 0, 1] {
            pool.put(thread, 0, silent(), later());
        }
        assert_eq!(pool.len(), 3, "two a thread");
    }

    #[test]
    fn what_is_closed_broken_dirty_or_old_is_never_taken() {
        let pool = Pool::new(1, 1, 10);
        let good = silent();
        let good_place = place(&good);
        pool.put(0, 0, good, later());
        for given in [Given::End, Given::Broken, Given::Bytes(b"HTTP/1.1 200 OK\r\n\r\n".to_vec())] {
            pool.put(0, 0, Script::new([given]).stream(), later());
        }
        pool.put(0, 0, silent(), NOW);
        assert_eq!(pool.take(0, 0, NOW).as_ref().map(place), Some(good_place));
        assert_eq!(pool.len(), 0, "the others are gone");
    }

    #[test]
    fn a_sweep_lets_go_what_nobody_would_take() {
        let pool = Pool::new(1, 1, 10);
        pool.put(0, 0, silent(), later());
        pool.put(0, 0, Script::new([Given::End]).stream(), later());
        pool.put(0, 0, silent(), NOW);
        pool.put(0, 0, Script::new([Given::Bytes(vec![1])]).stream(), later());
        assert_eq!(pool.sweep(0, NOW), Swept { idle: 1, closed: 1, dirty: 1 });
        assert_eq!(pool.len(), 1);
        assert_eq!(pool.sweep(0, later()), Swept { idle: 1, closed: 0, dirty: 0 });
        assert_eq!((pool.len(), pool.sweep(0, later())), (0, Swept::default()));
    }

    #[test]
    fn a_server_or_thread_that_is_not_there_has_nothing() {
        let pool = Pool::new(1, 1, 10);
        pool.put(0, 7, silent(), later());
        assert!(pool.take(0, 7, NOW).is_none());
        pool.put(5, 0, silent(), later());
        assert!(pool.take(5, 0, NOW).is_some(), "threads beyond those that were told share a place");
    }
}
