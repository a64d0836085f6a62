//! **HOT** Connections to the servers of one upstream that nobody uses at the moment.
//!
//! Each thread has its own, since a socket wakes the thread that made it; the last that was put back is the first that
//! is taken, so a burst's connections grow old and go. No task and no timer a connection: whether one is still good is
//! seen by reading from it when it is taken, and once a second by [`Pool::sweep`].
//!
//! A connection that has something to say while nobody asked it is never used: the answer would be taken for that of
//! the next request (RFC 9112, section 9.2).

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use pingora_core::protocols::Stream;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::task::coop;

use crate::clock::BootTime;
use crate::metrics::IdleDropped;
use crate::proxy::socket::Socket;

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
    /// What was let go since the last sweep.
    dropped: Dropped,
}

struct Kept {
    io: Stream,
    /// Not to be used from then on: the server may be closing it.
    until: BootTime,
    /// Its last answer could have no body, and a server that is wrong about this may be sending one.
    is_doubtful: bool,
}

/// How many connections were let go, for each reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped([u64; IdleDropped::COUNT]);

impl Pool {
    /// For so many threads and servers; `most` connections in all.
    pub(crate) fn new(threads: usize, servers: usize, most: usize) -> Self {
        let servers = || (0..servers).map(|_| Vec::new()).collect();
        let idle = || Mutex::new(Idle { servers: servers(), count: 0, dropped: Dropped::default() });
        let threads = threads.max(1);
        Self { threads: (0..threads).map(|_| idle()).collect(), most: most.div_ceil(threads) }
    }

    /// A connection to this server that is silent, as it should be. From now on it wakes the task when it is not. `is_sure`:
    /// the system is asked whether it is.
    pub(crate) fn take(
        &self,
        thread: usize,
        server: usize,
        now: BootTime,
        is_sure: bool,
        cx: &mut Context<'_>,
    ) -> Option<Stream> {
        let idle = self.threads.get(thread % self.threads.len())?;
        loop {
            let mut kept = {
                let mut idle = idle.lock();
                let kept = idle.servers.get_mut(server)?.pop()?;
                idle.count -= 1;
                kept
            };
            // Outside of the lock: what is let go here is closed here.
            match kept.look(now, is_sure, cx) {
                None => return Some(kept.io),
                Some(fault) => idle.lock().dropped.count(fault),
            }
        }
    }

    /// Keeps a connection on which an exchange has ended whole, until then; where there is no room, it is closed.
    /// `is_doubtful`: the last answer could have no body (RFC 9112, section 6.3, case 1).
    pub(crate) fn put(&self, thread: usize, server: usize, io: Stream, until: BootTime, is_doubtful: bool) {
        let Some(idle) = self.threads.get(thread % self.threads.len()) else { return };
        let mut idle = idle.lock();
        if idle.count >= self.most {
            return drop(idle);
        }
        if let Some(servers) = idle.servers.get_mut(server) {
            servers.push(Kept { io, until, is_doubtful });
            idle.count += 1;
        }
    }

    /// Lets go what is too old or no longer silent, of one thread. Called by that thread, once a second. Says what was let
    /// go since the last time, whoever did it.
    pub(crate) fn sweep(&self, thread: usize, now: BootTime) -> Dropped {
        let Some(idle) = self.threads.get(thread) else { return Dropped::default() };
        let mut gone = Vec::new();
        let mut idle = idle.lock();
        let mut dropped = std::mem::take(&mut idle.dropped);
        for server in &mut idle.servers {
            gone.extend(server.extract_if(.., |kept| {
                let fault = kept.look(now, false, &mut Context::from_waker(Waker::noop()));
                fault.inspect(|fault| dropped.count(*fault)).is_some()
            }));
        }
        idle.count -= gone.len();
        // What is gone is closed outside of the lock.
        drop(idle);
        dropped
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.threads.iter().map(|idle| idle.lock().count).sum()
    }
}

impl Kept {
    /// Why it must not be used; `None`: it is silent, and wakes whose waker this is when it no longer is.
    ///
    /// That is a read which should find nothing. What the reactor has not seen yet, it does not see either, and a system
    /// call would at every request be too dear. So the system is asked only where it matters most: for a request that
    /// must not be sent twice, and where an unasked body is likely. All others, when the connection turns out closed, are
    /// repeated.
    fn look(&mut self, now: BootTime, is_sure: bool, cx: &mut Context<'_>) -> Option<IdleDropped> {
        if now >= self.until {
            return Some(IdleDropped::Idle);
        }
        let mut byte = [0];
        let mut into = ReadBuf::new(&mut byte);
        // Without the task's budget: when that is used up, every socket says that it is silent.
        let read = coop::unconstrained(poll_fn(|cx| Pin::new(&mut self.io).poll_read(cx, &mut into)));
        match pin!(read).poll(cx) {
            Poll::Pending if is_sure || self.is_doubtful => self.ask(),
            Poll::Pending => None,
            Poll::Ready(Ok(())) if !into.filled().is_empty() => Some(IdleDropped::Dirty),
            Poll::Ready(_) => Some(IdleDropped::Closed),
        }
    }

    #[cold]
    fn ask(&self) -> Option<IdleDropped> {
        match (*self.io).as_any().downcast_ref::<Socket>()?.peek() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Ok(1..) => Some(IdleDropped::Dirty),
            Ok(_) | Err(_) => Some(IdleDropped::Closed),
        }
    }
}

impl Dropped {
    /// For this reason.
    pub(crate) fn of(self, why: IdleDropped) -> u64 {
        self.0.get(why.index()).copied().unwrap_or(0)
    }

    fn count(&mut self, why: IdleDropped) {
        if let Some(count) = self.0.get_mut(why.index()) {
            *count += 1;
        }
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

    fn take(pool: &Pool, thread: usize, server: usize, now: BootTime) -> Option<Stream> {
        pool.take(thread, server, now, false, &mut Context::from_waker(Waker::noop()))
    }

    /// Idle, closed, dirty.
    fn dropped(pool: &Pool, now: BootTime) -> [u64; 3] {
        let dropped = pool.sweep(0, now);
        [IdleDropped::Idle, IdleDropped::Closed, IdleDropped::Dirty].map(|why| dropped.of(why))
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
        pool.put(0, 0, first, later(), false);
        pool.put(0, 0, last, later(), false);
        pool.put(0, 1, other, later(), false);
        let taken = [take(&pool, 0, 0, NOW).unwrap(), take(&pool, 0, 0, NOW).unwrap()];
        assert_eq!(taken.each_ref().map(place), places);
        assert!(take(&pool, 0, 0, NOW).is_none(), "the other one leads to another server");
        assert_eq!(pool.len(), 1);
    }

    #[test]
    fn no_more_are_kept_than_there_is_room_for() {
        let pool = Pool::new(2, 1, 4);
        for thread in [0, 0, 0, 1] {
            pool.put(thread, 0, silent(), later(), false);
        }
        assert_eq!(pool.len(), 3, "two a thread");
    }

    #[test]
    fn what_is_closed_broken_dirty_or_old_is_never_taken() {
        let pool = Pool::new(1, 1, 10);
        let good = silent();
        let good_place = place(&good);
        pool.put(0, 0, good, later(), false);
        for given in [Given::End, Given::Broken, Given::Bytes(b"HTTP/1.1 200 OK\r\n\r\n".to_vec())] {
            pool.put(0, 0, Script::new([given]).stream(), later(), false);
        }
        pool.put(0, 0, silent(), NOW, false);
        assert_eq!(take(&pool, 0, 0, NOW).as_ref().map(place), Some(good_place));
        assert_eq!(pool.len(), 0, "the others are gone");
        assert_eq!(dropped(&pool, NOW), [1, 2, 1], "and are counted");
    }

    #[test]
    fn a_sweep_lets_go_what_nobody_would_take() {
        let pool = Pool::new(1, 1, 10);
        pool.put(0, 0, silent(), later(), false);
        pool.put(0, 0, Script::new([Given::End]).stream(), later(), false);
        pool.put(0, 0, silent(), NOW, false);
        pool.put(0, 0, Script::new([Given::Bytes(vec![1])]).stream(), later(), false);
        assert_eq!((dropped(&pool, NOW), pool.len()), ([1, 1, 1], 1));
        assert_eq!((dropped(&pool, later()), pool.len()), ([1, 0, 0], 0));
        assert_eq!(dropped(&pool, later()), [0, 0, 0], "each is counted once");
    }

    #[test]
    fn a_server_or_thread_that_is_not_there_has_nothing() {
        let pool = Pool::new(1, 1, 10);
        pool.put(0, 7, silent(), later(), false);
        assert!(take(&pool, 0, 7, NOW).is_none());
        pool.put(5, 0, silent(), later(), false);
        assert!(take(&pool, 5, 0, NOW).is_some(), "threads beyond those that were told share a place");
    }

    #[tokio::test]
    async fn the_system_is_asked_where_it_matters() {
        use tokio::io::AsyncWriteExt as _;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        for (is_sure, is_doubtful, is_taken) in [(false, false, true), (true, false, false), (false, true, false)] {
            let pool = Pool::new(1, 1, 10);
            let io = Socket::connect(listener.local_addr().unwrap(), Duration::from_mins(1)).await.unwrap();
            pool.put(0, 0, Box::new(io), later(), is_doubtful);
            let (mut server, _) = listener.accept().await.unwrap();
            // It is there at once, and the reactor has not turned since.
            coop::unconstrained(server.write_all(b"unasked")).await.unwrap();
            let taken = pool.take(0, 0, NOW, is_sure, &mut Context::from_waker(Waker::noop()));
            assert_eq!(taken.is_some(), is_taken, "{is_sure} {is_doubtful}");
        }
    }
}
