//! **COLD** Writes what `record` has noted: once an interval, in sorted batches, and for the last time at the end.
//!
//! Never in the way of a request: recording touches no lock and no queue of this file. What the store does not take
//! stays in `pending`, is merged with later news of the same key (maximum and sum), and is written when the store is
//! back. So nothing is ever given up, and `pending` holds at most one entry a key: about 100 bytes for each key that
//! was used during the outage. kill -9 loses what came since the last flush: at most one interval while the store
//! works. Called by `app`.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::{BootTime, Clock, WallTime};
use crate::credential::KeyId;
use crate::keyring::Keyring;
use crate::store::{Store, Usage, UsageDelta};
use crate::usage::record::Taken;

/// Keys in one transaction: long enough to be cheap, short enough that changes of keys do not wait for it.
const BATCH: usize = 1000;
/// A batch that takes longer has failed. It may have been written all the same, so its uses may then count twice;
/// last logins are maxima and cannot be wrong. Long, therefore, and longer than SQLite waits for a lock.
const WRITE_TIMEOUT: Duration = Duration::from_secs(15);

/// Who wants to know how the flushing goes: metrics.
pub trait Observer: Send + Sync + 'static {
    /// After each flush: keys with unwritten news, and the most that the oldest of these may be old.
    fn state(&self, pending: usize, lag: Duration);
    /// A batch could not be written; it stays pending.
    fn failed(&self);
}

/// One key's news that are not in the store yet. The address is not text before it is written: half the memory.
#[derive(Clone, Copy, Debug)]
struct Pending {
    last_login: Option<(WallTime, IpAddr)>,
    uses: u64,
    stale: Option<(u32, WallTime)>,
}

impl Pending {
    fn of(taken: &Taken, now: WallTime) -> Self {
        Self {
            last_login: taken.last_login.map(|at| (at, taken.address)),
            uses: taken.uses,
            stale: taken.stale_version.map(|version| (version, now)),
        }
    }

    fn merge(&mut self, later: Self) {
        if later.last_login.map(|(at, _)| at) >= self.last_login.map(|(at, _)| at) {
            self.last_login = later.last_login;
        }
        self.uses = self.uses.saturating_add(later.uses);
        self.stale = later.stale.or(self.stale);
    }

    fn usage(&self) -> Usage {
        Usage {
            last_login: self.last_login.map(|(at, _)| at),
            last_address: self.last_login.map(|(_, address)| address.to_string()),
            use_count: self.uses,
            stale: self.stale,
        }
    }
}

/// The one reader of a keyring's news.
pub struct Flusher {
    keyring: Arc<Keyring>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
    /// Sorted, as the store wants its batches.
    pending: BTreeMap<KeyId, Pending>,
    /// When news were last collected: those that are collected next are younger than this.
    collected_at: BootTime,
    /// All of `pending` is younger than this.
    oldest: BootTime,
    failing: bool,
}

impl Flusher {
    /// For the news of this keyring.
    #[must_use]
    pub fn new(
        keyring: Arc<Keyring>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let now = clock.boot();
        Self {
            keyring,
            store,
            clock,
            observer,
            pending: BTreeMap::new(),
            collected_at: now,
            oldest: now,
            failing: false,
        }
    }

    /// Flushes every `interval` until `shutdown` resolves, then once more, for at most `last`. Resolve it when no
    /// request is left. Gives the number of keys whose news were lost.
    pub async fn run(mut self, interval: Duration, shutdown: impl Future<Output = ()>, last: Duration) -> usize {
        let stop = Notify::new();
        let out_of_time = async {
            shutdown.await;
            stop.notify_one();
            tokio::time::sleep(last).await;
        };
        tokio::select! {
            biased;
            () = self.flush_until(interval, &stop) => {}
            () = out_of_time => {}
        }
        if !self.pending.is_empty() {
            tracing::error!(keys = self.pending.len(), "the last logins of these keys could not be written");
        }
        self.pending.len()
    }

    /// A flush that is under way when it should stop is finished, not cut.
    async fn flush_until(&mut self, interval: Duration, stop: &Notify) {
        let mut stopping = false;
        while !stopping {
            tokio::select! {
                biased;
                () = stop.notified() => stopping = true,
                () = tokio::time::sleep(interval) => {}
            }
            self.flush().await;
        }
    }

    /// Collects the news and writes what is pending, until all is written or a batch fails.
    async fn flush(&mut self) {
        self.collect();
        self.tell();
        self.write().await;
        if self.pending.is_empty() {
            self.oldest = self.collected_at;
        }
        self.tell();
    }

    /// Before a write too: it may take its time, and what waits meanwhile should show.
    fn tell(&self) {
        let lag = if self.pending.is_empty() { Duration::ZERO } else { self.clock.boot().since(self.oldest) };
        self.observer.state(self.pending.len(), lag);
    }

    fn collect(&mut self) {
        let (boot, now) = (self.clock.boot(), self.clock.wall());
        let keyring = &self.keyring;
        let pending = &mut self.pending;
        keyring.news.drain(
            |index| keyring.slot(index).map(|slot| &slot.usage),
            |index, taken| {
                let Some(slot) = keyring.slot(index) else { return };
                let news = Pending::of(&taken, now);
                pending.entry(slot.id()).and_modify(|before| before.merge(news)).or_insert(news);
            },
        );
        self.collected_at = boot;
    }

    async fn write(&mut self) {
        while !self.pending.is_empty() {
            let batch: Vec<UsageDelta> =
                self.pending.iter().take(BATCH).map(|(id, news)| UsageDelta { id: *id, usage: news.usage() }).collect();
            let refusal = match tokio::time::timeout(WRITE_TIMEOUT, self.store.merge_usage(&batch)).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some(format!("the store did not answer within {WRITE_TIMEOUT:?}")),
            };
            if let Some(reason) = refusal {
                self.observer.failed();
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(reason, keys = self.pending.len(), "last logins cannot be written; they are kept");
                }
                return;
            }
            for delta in &batch {
                self.pending.remove(&delta.id);
            }
            if std::mem::take(&mut self.failing) {
                tracing::info!("last logins are written again");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Mutex;

    use super::*;
    use crate::clock::FakeClock;
    use crate::credential::{KeyState, Role, SecretDigest};
    use crate::entropy::SystemEntropy;
    use crate::fleet::test_store::FakeStore;
    use crate::keyring::Record;

    #[derive(Default)]
    struct Seen(Mutex<Vec<(usize, Duration)>>, Mutex<usize>);

    impl Observer for Seen {
        fn state(&self, pending: usize, lag: Duration) {
            self.0.lock().unwrap().push((pending, lag));
        }

        fn failed(&self) {
            *self.1.lock().unwrap() += 1;
        }
    }

    struct World {
        keyring: Arc<Keyring>,
        store: Arc<FakeStore>,
        clock: Arc<FakeClock>,
        seen: Arc<Seen>,
        ids: Vec<KeyId>,
    }

    impl World {
        fn with_keys(count: usize) -> (Self, Flusher) {
            let keyring = Arc::new(Keyring::new(&SystemEntropy));
            let ids: Vec<KeyId> = (0..count).map(|_| KeyId::draw(&SystemEntropy)).collect();
            for id in &ids {
                let record = Record {
                    epoch: 0,
                    role: Role::Admin,
                    state: KeyState::Active,
                    digest: SecretDigest::ERASED,
                    name: "x".into(),
                    policy: None,
                };
                keyring.put(*id, record).unwrap();
            }
            let world = Self {
                keyring,
                store: Arc::new(FakeStore::new()),
                clock: Arc::new(FakeClock::at(BootTime::ZERO, WallTime::from_millis(1_000_000))),
                seen: Arc::default(),
                ids,
            };
            let (keyring, store, clock) =
                (Arc::clone(&world.keyring), Arc::clone(&world.store), Arc::clone(&world.clock));
            let flusher = Flusher::new(keyring, store, clock, Arc::clone(&world.seen) as Arc<dyn Observer>);
            (world, flusher)
        }

        fn used(&self, key: usize, client: u8) {
            let found = self.keyring.find(self.ids[key]).unwrap();
            let client = IpAddr::V4(Ipv4Addr::new(10, 0, 0, client));
            self.keyring.news.admitted(found.index, &found.slot.usage, self.clock.wall(), client);
        }

        fn stored(&self, key: usize) -> Usage {
            self.store.usage(self.ids[key]).unwrap_or_default()
        }
    }

    #[tokio::test]
    async fn writes_maximum_sum_and_address() {
        let (world, mut flusher) = World::with_keys(2);
        world.used(0, 1);
        world.clock.advance(Duration::from_secs(1));
        world.used(0, 2);
        flusher.flush().await;
        world.clock.advance(Duration::from_secs(1));
        world.used(0, 3);
        flusher.flush().await;
        let expected = Usage {
            last_login: Some(world.clock.wall()),
            last_address: Some("10.0.0.3".into()),
            use_count: 3,
            stale: None,
        };
        assert_eq!(world.stored(0), expected);
        assert_eq!(world.stored(1), Usage::default());
        flusher.flush().await;
        assert_eq!(world.store.calls("merge_usage"), 2, "without news nothing is written");
    }

    #[tokio::test]
    async fn an_outage_loses_nothing_and_shows_as_lag() {
        let (world, mut flusher) = World::with_keys(2);
        world.store.fail("merge_usage", true);
        for client in 1..=5 {
            world.used(0, client);
            world.clock.advance(Duration::from_secs(1));
            flusher.flush().await;
        }
        assert_eq!(world.seen.0.lock().unwrap().last(), Some(&(1, Duration::from_secs(5))));
        assert_eq!(*world.seen.1.lock().unwrap(), 5);
        world.store.fail("merge_usage", false);
        world.used(1, 9);
        flusher.flush().await;
        assert_eq!(world.stored(0).use_count, 5);
        assert_eq!(world.stored(0).last_address.as_deref(), Some("10.0.0.5"));
        assert_eq!(world.stored(1).use_count, 1);
        assert_eq!(world.seen.0.lock().unwrap().last(), Some(&(0, Duration::ZERO)));
    }

    #[tokio::test]
    async fn remembers_who_still_sends_an_old_secret_version() {
        let (world, mut flusher) = World::with_keys(1);
        let found = world.keyring.find(world.ids[0]).unwrap();
        world.keyring.news.stale(found.index, &found.slot.usage, 6);
        flusher.flush().await;
        assert_eq!(world.stored(0).stale, Some((6, world.clock.wall())));
        assert_eq!(world.stored(0).last_login, None);
        assert_eq!(world.stored(0).use_count, 0);
    }

    #[tokio::test]
    async fn batches_are_sorted_and_short() {
        let (world, mut flusher) = World::with_keys(2 * BATCH + 1);
        (0..world.ids.len()).for_each(|key| world.used(key, 1));
        flusher.flush().await;
        let batches = world.store.usage_batches();
        assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [BATCH, BATCH, 1]);
        assert!(batches.concat().is_sorted());
    }

    #[tokio::test]
    async fn shutdown_flushes_once_more() {
        let (world, flusher) = World::with_keys(1);
        world.used(0, 1);
        let lost = flusher.run(Duration::from_hours(1), async {}, Duration::from_secs(5)).await;
        assert_eq!((lost, world.stored(0).use_count), (0, 1));
    }

    #[tokio::test]
    async fn a_silent_store_delays_shutdown_no_longer_than_allowed() {
        let (world, flusher) = World::with_keys(1);
        world.used(0, 1);
        world.store.hang("merge_usage", true);
        assert_eq!(flusher.run(Duration::from_hours(1), async {}, Duration::from_millis(20)).await, 1);
    }
}
