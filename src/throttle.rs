//! Slowing whoever fails to prove who it is: after a few failures from an address, it waits; longer each time.
//!
//! Pure but for the lock: the time is a parameter. Memory is bounded: a table of [`MAX_ADDRESSES`], from which those
//! that failed longest ago make room. An IPv6 client has its whole /64 at hand, so that is what is counted. The admin
//! plane's logins and the token exchange each have one.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::BootTime;

/// Failures that cost nothing: somebody pasted the wrong thing.
const FREE: u32 = 4;
/// The first wait. It doubles with each further failure.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_mins(5);
/// An address that did not fail for so long begins anew.
const FORGOTTEN: Duration = Duration::from_mins(15);
/// Addresses that are remembered.
pub const MAX_ADDRESSES: usize = 10_000;
/// At most one audit record an address, and so many in all, in this time.
const AUDIT_WINDOW: Duration = Duration::from_mins(1);
const AUDITS_IN_ALL: u32 = 60;

/// See the module's text.
#[derive(Default)]
pub struct Throttle(Mutex<Table>);

#[derive(Default)]
struct Table {
    addresses: BTreeMap<u128, Record>,
    window: BootTime,
    audits: u32,
}

#[derive(Clone, Copy, Default)]
struct Record {
    failures: u32,
    /// Nothing is looked at before.
    until: BootTime,
    last: BootTime,
    audited: Option<BootTime>,
    /// Failures that no audit record tells of.
    untold: u32,
}

/// What to do about a failure beside refusing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Write an audit record of so many failures of this address.
    pub audit: Option<u32>,
}

impl Throttle {
    /// May a credential from this address be looked at?
    ///
    /// # Errors
    /// How long not.
    pub fn check(&self, address: IpAddr, now: BootTime) -> Result<(), Duration> {
        let table = self.0.lock();
        let wait = table.addresses.get(&place(address)).map_or(Duration::ZERO, |record| record.until.since(now));
        if wait.is_zero() { Ok(()) } else { Err(wait) }
    }

    /// Counts a credential that was none.
    pub fn failed(&self, address: IpAddr, now: BootTime) -> Failure {
        let mut table = self.0.lock();
        if now.since(table.window) >= AUDIT_WINDOW {
            (table.window, table.audits) = (now, 0);
        }
        let may_audit = table.audits < AUDITS_IN_ALL;
        let record = table.record(place(address), now);
        if now.since(record.last) >= FORGOTTEN {
            record.failures = 0;
        }
        record.failures = record.failures.saturating_add(1);
        record.untold = record.untold.saturating_add(1);
        record.last = now;
        record.until = now.plus(penalty(record.failures));
        let is_due = record.audited.is_none_or(|at| now.since(at) >= AUDIT_WINDOW);
        if !(may_audit && is_due) {
            return Failure { audit: None };
        }
        record.audited = Some(now);
        let untold = std::mem::take(&mut record.untold);
        table.audits += 1;
        Failure { audit: Some(untold) }
    }

    /// Somebody at this address has proven who it is: its failures were mistakes.
    pub fn succeeded(&self, address: IpAddr) {
        // The record stays: it bounds the audit records.
        if let Some(record) = self.0.lock().addresses.get_mut(&place(address)) {
            record.failures = 0;
            record.until = BootTime::ZERO;
        }
    }
}

impl Table {
    /// The record of a place; if there is none and no room, in the place of one that failed longest ago.
    fn record(&mut self, place: u128, now: BootTime) -> &mut Record {
        if self.addresses.len() >= MAX_ADDRESSES && !self.addresses.contains_key(&place) {
            self.addresses.retain(|_, record| now.since(record.last) < FORGOTTEN);
            if self.addresses.len() >= MAX_ADDRESSES {
                self.make_room();
            }
        }
        self.addresses.entry(place).or_default()
    }
}

impl Table {
    /// Throws out the tenth that failed longest ago: looking through the table then costs each new address little.
    fn make_room(&mut self) {
        let mut times: Vec<BootTime> = self.addresses.values().map(|record| record.last).collect();
        let (_, limit, _) = times.select_nth_unstable(MAX_ADDRESSES / 10);
        let limit = *limit;
        self.addresses.retain(|_, record| record.last > limit);
    }
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle").field("addresses", &self.0.lock().addresses.len()).finish()
    }
}

/// An IPv4 address as IPv6 maps it, or the /64 of an IPv6 address.
fn place(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits() & !u128::from(u64::MAX),
    }
}

fn penalty(failures: u32) -> Duration {
    match failures.checked_sub(FREE + 1) {
        None => Duration::ZERO,
        Some(doublings) => {
            FIRST_WAIT.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(LONGEST_WAIT)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: BootTime = BootTime::from_nanos(1 << 40);

    fn v4(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[test]
    fn waits_double_up_to_five_minutes_and_end() {
        let throttle = Throttle::default();
        let mut now = START;
        let mut waits = Vec::new();
        for _ in 0..16 {
            assert_eq!(throttle.check(v4(1), now), Ok(()));
            throttle.failed(v4(1), now);
            let wait = throttle.check(v4(1), now).err().unwrap_or_default();
            waits.push(wait.as_secs());
            now = now.plus(wait);
        }
        assert_eq!(waits, [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(throttle.check(v4(2), now), Ok(()), "others do not wait");
        throttle.failed(v4(1), now);
        throttle.succeeded(v4(1));
        assert_eq!(throttle.check(v4(1), now), Ok(()));
        for _ in 0..FREE {
            throttle.failed(v4(1), now);
        }
        assert_eq!(throttle.check(v4(1), now), Ok(()));
        throttle.failed(v4(1), now.plus(FORGOTTEN));
        assert_eq!(throttle.check(v4(1), now.plus(FORGOTTEN)), Ok(()), "old failures are forgotten");
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let throttle = Throttle::default();
        for n in 0..=FREE {
            throttle.failed(format!("2001:db8::{n}").parse().unwrap(), START);
        }
        assert!(throttle.check("2001:db8::ffff:1".parse().unwrap(), START).is_err());
        assert!(throttle.check("2001:db8:0:1::1".parse().unwrap(), START).is_ok());
        for _ in 0..=FREE {
            throttle.failed("::ffff:192.0.2.1".parse().unwrap(), START);
        }
        assert!(throttle.check("192.0.2.1".parse().unwrap(), START).is_err());
        assert!(throttle.check("192.0.2.2".parse().unwrap(), START).is_ok());
    }

    #[test]
    fn the_table_is_bounded_and_the_oldest_makes_room() {
        let throttle = Throttle::default();
        let mut now = START;
        for n in 0..u32::try_from(MAX_ADDRESSES).unwrap() + 50 {
            now = now.plus(Duration::from_millis(1));
            for _ in 0..=FREE {
                throttle.failed(v4(n), now);
            }
        }
        let left = throttle.0.lock().addresses.len();
        assert!((MAX_ADDRESSES * 9 / 10..=MAX_ADDRESSES).contains(&left), "{left}");
        assert!(throttle.check(v4(49), now).is_ok());
        assert!(throttle.check(v4(u32::try_from(MAX_ADDRESSES).unwrap() + 49), now).is_err());
        let later = now.plus(FORGOTTEN);
        for n in 0..=u32::try_from(MAX_ADDRESSES - left).unwrap() {
            throttle.failed(v4(u32::MAX - n), later);
        }
        let all_are_later = throttle.0.lock().addresses.values().all(|record| record.last == later);
        assert!(all_are_later, "when there was no room, the forgotten ones went");
    }

    #[test]
    fn audit_records_are_bounded_per_address_and_in_all() {
        let throttle = Throttle::default();
        assert_eq!(throttle.failed(v4(1), START).audit, Some(1));
        throttle.succeeded(v4(1));
        assert_eq!(throttle.failed(v4(1), START).audit, None);
        assert_eq!(throttle.failed(v4(1), START).audit, None);
        let later = START.plus(AUDIT_WINDOW);
        assert_eq!(throttle.failed(v4(1), later).audit, Some(3), "what was not told is told then");
        let told = (0..1000).filter(|n| throttle.failed(v4(1000 + n), later).audit.is_some()).count();
        assert_eq!(told + 1, AUDITS_IN_ALL as usize);
        assert_eq!(throttle.failed(v4(1999), later.plus(AUDIT_WINDOW)).audit, Some(2));
    }
}
