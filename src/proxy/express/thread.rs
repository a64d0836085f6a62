//! Which thread of the data plane this is. Connections stay on their thread, and so does what is kept for them.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Threads that have asked.
static ASKED: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static INDEX: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The number of this thread, from 0, in the order in which threads first asked.
pub(crate) fn index() -> usize {
    INDEX.get().unwrap_or_else(|| {
        let index = ASKED.fetch_add(1, Ordering::Relaxed);
        INDEX.set(Some(index));
        index
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_has_a_number_of_its_own() {
        let (here, there) = (index(), std::thread::spawn(index).join().unwrap());
        assert_ne!(here, there);
        assert_eq!(here, index());
    }
}
