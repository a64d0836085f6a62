//! The two clocks, as parameters.
//!
//! Leases are measured on the boot clock (`CLOCK_BOOTTIME`, which goes on during suspend and is never set);
//! what people read and what expires is on the wall clock. `app` makes the one [`SystemClock`]; tests make a
//! [`FakeClock`]. Nothing else in the crate may ask the operating system for the time (held by `clippy.toml`).

mod rfc3339;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

/// A point on the boot clock, in nanoseconds since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(u64);

impl BootTime {
    /// The moment of boot: before everything.
    pub const ZERO: Self = Self(0);

    /// `nanos` nanoseconds since boot.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since boot.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// `self + by`, or the end of time when that is beyond what 64 bits hold (584 years).
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(nanos(by)))
    }

    /// `self - by`, or [`Self::ZERO`].
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(by)))
    }

    /// How long after `earlier` this is; zero if it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

/// A point on the wall clock, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallTime(u64);

impl WallTime {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// `millis` milliseconds since 1970.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// As stored in a database column.
    #[must_use]
    pub fn as_i64(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    /// From a database column; negative values read as 1970.
    #[must_use]
    pub fn from_i64(millis: i64) -> Self {
        Self(u64::try_from(millis).unwrap_or(0))
    }

    /// `self + by`.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }

    /// `self - by`, or [`Self::EPOCH`].
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; zero if it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// A time as RFC 3339, section 5.6, writes it, to the millisecond; `None` for anything else. What is before 1970 counts as
    /// 1970.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        rfc3339::parse(text)
    }

    /// RFC 3339 in UTC with milliseconds: `2026-01-31T12:00:00.000Z`.
    #[must_use]
    pub fn rfc3339(self) -> String {
        humantime::format_rfc3339_millis(std::time::UNIX_EPOCH + Duration::from_millis(self.0)).to_string()
    }

    /// For tables that people read: `2026-01-31 12:00:00` (UTC).
    #[must_use]
    pub fn for_people(self) -> String {
        let text = humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + Duration::from_millis(self.0)).to_string();
        text.replace('T', " ").trim_end_matches('Z').to_owned()
    }
}

/// What the time is.
pub trait Clock: Send + Sync + 'static {
    /// The boot clock.
    fn boot(&self) -> BootTime;
    /// The wall clock.
    fn wall(&self) -> WallTime;
    /// The wall clock to the resolution of the kernel's tick (1 to 10 ms), for what runs per request.
    fn wall_coarse(&self) -> WallTime {
        self.wall()
    }
}

/// The operating system's clocks, read through the vDSO (no system call).
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn boot(&self) -> BootTime {
        let t = read(ClockId::Boottime);
        BootTime(count(t.tv_sec) * 1_000_000_000 + count(t.tv_nsec))
    }

    fn wall(&self) -> WallTime {
        wall_from(read(ClockId::Realtime))
    }

    fn wall_coarse(&self) -> WallTime {
        wall_from(read(ClockId::RealtimeCoarse))
    }
}

#[allow(clippy::disallowed_methods, reason = "the one place where the program asks for the time")]
fn read(clock: ClockId) -> Timespec {
    clock_gettime(clock)
}

fn wall_from(t: Timespec) -> WallTime {
    WallTime(count(t.tv_sec) * 1_000 + count(t.tv_nsec) / 1_000_000)
}

fn count(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
pub struct FakeClock {
    boot: AtomicU64,
    wall: AtomicU64,
}

impl FakeClock {
    /// A clock at these times.
    #[must_use]
    pub fn at(boot: BootTime, wall: WallTime) -> Self {
        Self { boot: AtomicU64::new(boot.0), wall: AtomicU64::new(wall.0) }
    }

    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        self.boot.fetch_add(nanos(by), Ordering::SeqCst);
        self.wall.fetch_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }
}

impl Clock for FakeClock {
    fn boot(&self) -> BootTime {
        BootTime(self.boot.load(Ordering::SeqCst))
    }

    fn wall(&self) -> WallTime {
        WallTime(self.wall.load(Ordering::SeqCst))
    }
}
