//! **HOT** Last login, use count and last address of a key: words in its slot, and a list of slots that have news.
//!
//! Recording costs one atomic addition, a few loads and stores, and nothing else: no lock, no allocation, no
//! queue that could fill. The list is linked through the slots themselves (a stack as in Treiber 1986, whose
//! only removal takes it whole, so the ABA problem cannot arise): it is bounded by the number of keys, whatever
//! happens to the store. `usage::flush` takes it once an interval.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::clock::WallTime;

/// `next` of a slot that is not in the list.
const CLEAN: u32 = u32::MAX;
/// `next` of the last slot in the list, and the head of an empty list.
const END: u32 = u32::MAX - 1;

/// The most slots that there can be.
pub const MAX_SLOTS: u32 = END;

/// The words of one slot.
#[derive(Debug)]
pub struct UsageWords {
    /// Milliseconds since 1970 of the last admitted request; 0: none since the process began.
    last_login: AtomicU64,
    /// Admitted requests since the last flush.
    uses: AtomicU64,
    /// The client address as IPv6 (IPv4 mapped), two halves. Two racing clients may leave a half of each: the
    /// writer below stores both halves each time they differ, so the next request mends it.
    address: [AtomicU64; 2],
    /// The old shared secret version last seen from this key; 0: none since the last flush.
    stale_version: AtomicU32,
    /// Link in the list of slots with news.
    next: AtomicU32,
}

impl Default for UsageWords {
    fn default() -> Self {
        Self {
            last_login: AtomicU64::new(0),
            uses: AtomicU64::new(0),
            address: [AtomicU64::new(0), AtomicU64::new(0)],
            stale_version: AtomicU32::new(0),
            next: AtomicU32::new(CLEAN),
        }
    }
}

/// What a flush takes out of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The last admitted request, if there was one.
    pub last_login: Option<WallTime>,
    /// Its client address.
    pub address: IpAddr,
    /// Admitted requests since the flush before.
    pub uses: u64,
    /// The old shared secret version seen since the flush before.
    pub stale_version: Option<u32>,
}

impl UsageWords {
    /// Notes an admitted request.
    fn admitted(&self, now: WallTime, client: IpAddr) {
        // Stores only what differs: a hot key's line is then written for the count alone.
        if self.last_login.load(Ordering::Relaxed) < now.as_millis() {
            self.last_login.store(now.as_millis(), Ordering::Relaxed);
        }
        for (word, half) in self.address.iter().zip(halves(client)) {
            if word.load(Ordering::Relaxed) != half {
                word.store(half, Ordering::Relaxed);
            }
        }
        // Last, and sequentially consistent: see `NewsList::push`.
        self.uses.fetch_add(1, Ordering::SeqCst);
    }

    fn take(&self) -> Taken {
        // First: it synchronises with the request that counted last, whose other words are then visible.
        let uses = self.uses.swap(0, Ordering::SeqCst);
        let last_login = self.last_login.load(Ordering::Relaxed);
        let [high, low] = [0, 1].map(|i: usize| u128::from(self.address[i].load(Ordering::Relaxed)));
        Taken {
            last_login: (last_login > 0).then(|| WallTime::from_millis(last_login)),
            address: Ipv6Addr::from(high << 64 | low).to_canonical(),
            uses,
            stale_version: Some(self.stale_version.swap(0, Ordering::SeqCst)).filter(|v| *v > 0),
        }
    }
}

fn halves(client: IpAddr) -> [u64; 2] {
    let bits = match client {
        IpAddr::V4(a) => a.to_ipv6_mapped().to_bits(),
        IpAddr::V6(a) => a.to_bits(),
    };
    #[allow(clippy::cast_possible_truncation, reason = "the two halves of 128 bits")]
    [(bits >> 64) as u64, bits as u64]
}

/// The slots with news.
#[derive(Debug)]
pub struct NewsList {
    head: AtomicU32,
}

impl Default for NewsList {
    fn default() -> Self {
        Self { head: AtomicU32::new(END) }
    }
}

impl NewsList {
    /// Notes an admitted request of the slot at `index`.
    pub fn admitted(&self, index: u32, words: &UsageWords, now: WallTime, client: IpAddr) {
        words.admitted(now, client);
        self.push(index, words);
    }

    /// Notes that the key at `index` still sends this old shared secret version.
    pub fn stale(&self, index: u32, words: &UsageWords, version: u32) {
        words.stale_version.store(version, Ordering::SeqCst);
        self.push(index, words);
    }

    fn push(&self, index: u32, words: &UsageWords) {
        // The news were written before this load, and `drain` marks a slot clean before it takes its words: whoever
        // sees "not clean" here can rely on a drain that will still see the news. Each side writes one word and
        // reads the other's, so all four accesses are sequentially consistent.
        if words.next.load(Ordering::SeqCst) != CLEAN {
            return;
        }
        if words.next.compare_exchange(CLEAN, END, Ordering::SeqCst, Ordering::Relaxed).is_err() {
            return;
        }
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            words.next.store(head, Ordering::Relaxed);
            match self.head.compare_exchange_weak(head, index, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(seen) => head = seen,
            }
        }
    }

    /// Takes all slots with news and gives each, with what it held, to `each`. One caller at a time
    /// (`usage::flush`).
    pub fn drain<'a>(&self, words_of: impl Fn(u32) -> Option<&'a UsageWords>, mut each: impl FnMut(u32, Taken)) {
        let mut index = self.head.swap(END, Ordering::AcqRel);
        while index != END {
            // It is always there: indexes come here only with their slot's words, and slots never go.
            let Some(words) = words_of(index) else { return };
            index = {
                let current = index;
                let next = words.next.swap(CLEAN, Ordering::SeqCst);
                each(current, words.take());
                next
            };
        }
    }
}
