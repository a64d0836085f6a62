//! How many bodies are waited for at a time, and who gives way when there are too many.
//!
//! A true client sends its body with its head, or milliseconds later. So when all places are taken, the one that has been
//! waited for longest makes room: whoever fills the places with bodies that never come pushes out its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Those that are waited for, the longest first.
#[derive(Debug, Default)]
pub(super) struct Limit(Mutex<Places>);

#[derive(Debug, Default)]
struct Places {
    taken: BTreeMap<u64, Arc<Notify>>,
    next: u64,
}

impl Limit {
    /// One more. If there were `most` already, the longest one gives way.
    pub(super) fn begin(&self, most: usize) -> Reading<'_> {
        let mut places = self.0.lock();
        while places.taken.len() >= most.max(1) {
            let Some((_, longest)) = places.taken.pop_first() else { break };
            longest.notify_one();
        }
        let (number, gives_way) = (places.next, Arc::new(Notify::new()));
        places.next += 1;
        places.taken.insert(number, Arc::clone(&gives_way));
        drop(places);
        Reading { limit: self, number, gives_way }
    }
}

/// One that is waited for, until it is dropped.
#[derive(Debug)]
pub struct Reading<'a> {
    limit: &'a Limit,
    number: u64,
    gives_way: Arc<Notify>,
}

impl Reading<'_> {
    /// Resolves when it must make room.
    pub async fn gives_way(&self) {
        self.gives_way.notified().await;
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.limit.0.lock().taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn must_go(reading: &Reading<'_>) -> bool {
        tokio::time::timeout(Duration::ZERO, reading.gives_way()).await.is_ok()
    }

    #[tokio::test]
    async fn the_longest_gives_way_and_places_come_back() {
        let limit = Limit::default();
        let (one, two) = (limit.begin(2), limit.begin(2));
        drop(one);
        let three = limit.begin(2);
        assert!(!must_go(&two).await && !must_go(&three).await);
        let four = limit.begin(2);
        assert!(must_go(&two).await && !must_go(&three).await && !must_go(&four).await);
        drop((two, three, four));
        assert!(limit.0.lock().taken.is_empty());
        let alone = limit.begin(0);
        assert!(!must_go(&alone).await, "there is always a place");
    }
}
