//! **HOT** The connections that are open: who has to be woken when authority was taken away, or when the gateway
//! stops.
//!
//! A request looks whether its permit still holds whenever its connection is woken, which costs one load while nothing
//! was taken away (`cutting::Watch`). What waits for bytes that do not come is woken by its thread's housekeeping (`keep`):
//! four times a second it compares a counter, and only when that has moved it wakes the busy connections of its
//! thread. So an open exchange ends within a quarter of a second, and no request pays for it.
//!
//! Why none is missed. A connection says that it is busy and then reads the counter, each time before it waits; who
//! takes authority away moves the counter, and then the busy ones are looked for. Each side writes one word and reads
//! the other's, so all four accesses are sequentially consistent.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use parking_lot::Mutex;

use crate::proxy::reject::Rejection;

/// By number of the connection.
type Places = HashMap<u64, Arc<Place>>;

/// All open connections, by thread.
pub struct Open {
    /// Moves whenever authority may have been taken away.
    news: AtomicU64,
    threads: Box<[Mutex<Places>]>,
}

/// One open connection.
#[derive(Debug, Default)]
pub struct Place {
    /// Of its task, which it keeps for life.
    waker: OnceLock<Waker>,
    /// It has a request that is not over.
    is_busy: AtomicBool,
    /// Its request is to end; the general lane's stream looks at it before it reads or writes.
    is_cut: AtomicBool,
    /// What the client is told, if it was told nothing yet.
    why: Mutex<Option<Rejection>>,
}

impl Open {
    /// For so many threads.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        let threads = (0..threads.max(1)).map(|_| Mutex::new(HashMap::new())).collect();
        Self { news: AtomicU64::new(0), threads }
    }

    /// A new connection, until [`Self::leave`]. Its number is nobody else's.
    #[must_use]
    pub fn enter(&self, thread: usize, number: u64) -> Arc<Place> {
        let place = Arc::new(Place::default());
        self.at(thread).lock().insert(number, Arc::clone(&place));
        place
    }

    /// It is closed.
    pub fn leave(&self, thread: usize, number: u64) {
        self.at(thread).lock().remove(&number);
    }

    /// Authority may have been taken away: every request looks at its permit again before it goes on. Those that wait
    /// are woken by [`Self::wake_busy`].
    pub fn tell(&self) {
        self.news.fetch_add(1, Ordering::SeqCst);
    }

    /// What is compared. Read before the decision that leads to the permit.
    #[must_use]
    pub fn news(&self) -> u64 {
        self.news.load(Ordering::SeqCst)
    }

    /// Wakes the connections of this thread that have a request.
    pub fn wake_busy(&self, thread: usize) {
        self.wake(thread, |place| place.is_busy.load(Ordering::SeqCst));
    }

    /// Wakes all connections, to look whether the gateway stops.
    pub fn wake_all(&self) {
        for thread in 0..self.threads.len() {
            self.wake(thread, |_| true);
        }
    }

    fn wake(&self, thread: usize, which: impl Fn(&Place) -> bool) {
        for place in self.at(thread).lock().values().filter(|place| which(place)) {
            if let Some(waker) = place.waker.get() {
                waker.wake_by_ref();
            }
        }
    }

    /// How many connections have a request.
    #[must_use]
    pub fn busy(&self) -> usize {
        let busy = |place: &&Arc<Place>| place.is_busy.load(Ordering::Relaxed);
        self.threads.iter().map(|thread| thread.lock().values().filter(busy).count()).sum()
    }

    fn at(&self, thread: usize) -> &Mutex<Places> {
        // There is at least one, and the remainder is below the length.
        &self.threads[thread % self.threads.len()]
    }
}

impl Place {
    /// The task that has the connection. Called once, in its first poll.
    pub fn belongs_to(&self, waker: &Waker) {
        let _ = self.waker.set(waker.clone());
    }

    /// From here to the drop of the answer, the connection is woken by news.
    #[must_use]
    pub fn busy(&self) -> Busy<'_> {
        self.is_cut.store(false, Ordering::Relaxed);
        self.is_busy.store(true, Ordering::SeqCst);
        Busy(self)
    }

    /// Ends what goes on.
    #[cold]
    pub fn cut(&self, why: Rejection) {
        *self.why.lock() = Some(why);
        self.is_cut.store(true, Ordering::Release);
    }

    /// Why the request that is under way was cut, if it was.
    #[must_use]
    pub fn why_cut(&self) -> Option<Rejection> {
        if self.is_cut() { self.why.lock().clone() } else { None }
    }

    /// Was it?
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Acquire)
    }
}

/// A request that is not over.
#[derive(Debug)]
pub struct Busy<'p>(&'p Place);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.is_busy.store(false, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open").field("news", &self.news).field("busy", &self.busy()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn connection(open: &Open, thread: usize, number: u64) -> (Arc<Place>, Arc<Count>) {
        let (place, count) = (open.enter(thread, number), Arc::new(Count::default()));
        place.belongs_to(&Waker::from(Arc::clone(&count)));
        (place, count)
    }

    #[test]
    fn only_the_busy_of_the_thread_are_woken_by_news() {
        let open = Open::new(2);
        let (busy, woken) = connection(&open, 0, 1);
        let (_idle, idle_woken) = connection(&open, 0, 2);
        let (other, other_woken) = connection(&open, 1, 3);
        let (first, second) = (busy.busy(), other.busy());
        assert_eq!(open.busy(), 2);
        open.wake_busy(0);
        let count = |count: &Count| count.0.load(Ordering::SeqCst);
        assert_eq!([count(&woken), count(&idle_woken), count(&other_woken)], [1, 0, 0]);
        drop((first, second));
        open.wake_busy(0);
        assert_eq!((count(&woken), open.busy()), (1, 0));
        open.wake_all();
        assert_eq!([count(&woken), count(&idle_woken), count(&other_woken)], [2, 1, 1]);
        open.leave(0, 1);
        open.wake_all();
        assert_eq!([count(&woken), count(&idle_woken)], [2, 2]);
    }

    #[test]
    fn a_cut_is_of_one_request() {
        let open = Open::new(1);
        let place = open.enter(0, 1);
        let request = place.busy();
        place.cut(Rejection::NoLease);
        assert_eq!((place.is_cut(), place.why_cut()), (true, Some(Rejection::NoLease)));
        drop(request);
        let _next = place.busy();
        assert_eq!((place.is_cut(), place.why_cut()), (false, None));
    }
}
