//! **HOT** `Date` of the answers that keygate makes itself, which are an origin server's (RFC 9110, section 6.6.1).
//!
//! Each thread keeps the text of one second.

use std::cell::Cell;
use std::io::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use crate::clock::WallTime;

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7).
#[derive(Clone, Copy, Debug)]
pub struct Date([u8; 29]);

/// The last second of the last year with four digits.
const LAST_SECOND: u64 = 253_402_300_799;

thread_local! {
    static KEPT: Cell<(u64, Date)> = const { Cell::new((u64::MAX, Date([b' '; 29]))) };
}

/// The `Date` of this moment.
#[must_use]
pub fn at(now: WallTime) -> Date {
    let second = (now.as_millis() / 1000).min(LAST_SECOND);
    KEPT.with(|kept| {
        let (of, date) = kept.get();
        if of == second {
            return date;
        }
        let date = Date::of(second);
        kept.set((second, date));
        date
    })
}

impl Date {
    #[cold]
    fn of(second: u64) -> Self {
        const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        // 1970-01-01, a Thursday: `2026-01-31T12:00:00Z`.
        let mut stamp = [0; 20];
        let of = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(second));
        let mut text = [b' '; 29];
        let _ = write!(&mut stamp[..], "{of}");
        let stamp = std::str::from_utf8(&stamp).unwrap_or_default();
        let part = |range: std::ops::Range<usize>| stamp.get(range).unwrap_or_default();
        let weekday = usize::try_from(second / 86_400 % 7).ok().and_then(|day| WEEKDAYS.get(day)).unwrap_or(&"");
        let month = part(5..7).parse::<usize>().ok().and_then(|month| MONTHS.get(month.wrapping_sub(1))).unwrap_or(&"");
        // Neither can fail: the second is of a year with four digits.
        let _ = write!(&mut text[..], "{weekday}, {} {month} {} {} GMT", part(8..10), part(0..4), part(11..19));
        Self(text)
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The same, as it is written.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_of_the_preferred_form() {
        for (second, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            // The example of RFC 9110, section 5.6.7.
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_798_761_599, "Thu, 31 Dec 2026 23:59:59 GMT"),
            (LAST_SECOND, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            for millis in [0, 999] {
                let date = at(WallTime::from_millis(1000 * second + millis));
                assert_eq!((date.as_str(), date.as_bytes()), (text, text.as_bytes()));
            }
        }
        assert_eq!(at(WallTime::from_millis(u64::MAX)).as_str(), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
