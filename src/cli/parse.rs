//! Values of arguments: durations and moments. Each error says what was expected.

use std::time::Duration;

use crate::clock::WallTime;
use crate::credential::{self, MOST_LISTED};

/// A point in time as people give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// `never`.
    Never,
    /// `90d`: from now.
    After(Duration),
    /// RFC 3339.
    At(WallTime),
}

impl When {
    /// The moment it means, `None` for never.
    ///
    /// # Errors
    /// When it is not in the future.
    pub(super) fn resolve(self, now: WallTime) -> Result<Option<WallTime>, super::Usage> {
        match self {
            Self::Never => Ok(None),
            Self::After(duration) => Ok(Some(now.plus(duration))),
            Self::At(at) if at > now => Ok(Some(at)),
            Self::At(at) => {
                Err(super::Usage(format!("{} is not in the future; to stop a key now, disable it", at.rfc3339())))
            }
        }
    }
}

/// `90d`, `24h`, `1h 30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let expected = |e| format!("{e}; a duration has a unit, as in 30s, 15m, 24h, 90d");
    humantime::parse_duration(text).map_err(expected)
}

/// `never`, a duration from now, or an RFC 3339 time (section 5.6; a date alone is its beginning in UTC).
pub(super) fn when(text: &str) -> Result<When, String> {
    if text.eq_ignore_ascii_case("never") {
        return Ok(When::Never);
    }
    if let Ok(duration) = humantime::parse_duration(text) {
        return if duration.is_zero() {
            Err("it must be longer than nothing".to_owned())
        } else {
            Ok(When::After(duration))
        };
    }
    rfc3339(text).map(When::At).ok_or_else(|| {
        "expected a time such as 2027-01-31T12:00:00Z, a date such as 2027-01-31, a duration such as 90d, or never"
            .to_owned()
    })
}

/// A point in time that was, as people give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Past {
    /// `90d`: ago.
    Ago(Duration),
    /// RFC 3339.
    At(WallTime),
}

impl Past {
    /// The moment it means.
    pub(super) fn resolve(self, now: WallTime) -> WallTime {
        match self {
            Self::Ago(duration) => now.minus(duration),
            Self::At(at) => at,
        }
    }
}

/// A duration before now, or an RFC 3339 time (a date alone is its beginning in UTC).
pub(super) fn past(text: &str) -> Result<Past, String> {
    if let Ok(duration) = humantime::parse_duration(text) {
        return Ok(Past::Ago(duration));
    }
    rfc3339(text).map(Past::At).ok_or_else(|| {
        "expected a time such as 2027-01-31T12:00:00Z, a date such as 2027-01-31, or a duration such as 90d".to_owned()
    })
}

/// A date alone is its beginning in UTC.
fn rfc3339(text: &str) -> Option<WallTime> {
    let is_date = text.len() == "2027-01-31".len();
    WallTime::parse_rfc3339(text).or_else(|| WallTime::parse_rfc3339(&format!("{text}T00:00:00Z")).filter(|_| is_date))
}

/// A description, as an argument.
pub(super) fn description(text: &str) -> Result<String, String> {
    credential::description(text.to_owned())
}

/// Refuses more networks or routes than a key may have.
pub(super) fn not_too_many(option: &str, count: usize) -> Result<(), super::Usage> {
    if count <= MOST_LISTED {
        return Ok(());
    }
    Err(super::Usage(format!("{option} may be given {MOST_LISTED} times; this is {count} times")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let noon = WallTime::from_millis(1_801_396_800_000);
        for text in ["2027-01-31T12:00:00Z", "2027-01-31t12:00:00.000z", "2027-01-31T14:00:00+02:00"] {
            assert_eq!(when(text), Ok(When::At(noon)), "{text}");
        }
        assert_eq!(when("2027-01-31T06:30:00-05:30"), Ok(When::At(noon)));
        assert_eq!(when("2027-01-31"), Ok(When::At(WallTime::from_millis(1_801_353_600_000))));
        assert_eq!(when("90d"), Ok(When::After(Duration::from_hours(90 * 24))));
        assert_eq!(when("NEVER"), Ok(When::Never));
        for bad in
            ["", "tomorrow", "0s", "90", "2027-13-01", "2027-01-31T12:00:00", "2027-01-31T12:00:00+2:00", "ü7-01-3"]
        {
            assert!(when(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn expiry_is_in_the_future() {
        let now = WallTime::from_millis(1_000);
        assert_eq!(When::At(WallTime::from_millis(1_001)).resolve(now).unwrap(), Some(WallTime::from_millis(1_001)));
        assert!(When::At(now).resolve(now).is_err());
        assert_eq!(When::Never.resolve(now).unwrap(), None);
    }

    #[test]
    fn the_past_is_a_time_or_how_long_ago() {
        let now = WallTime::from_millis(10_000);
        assert_eq!(past("4s").unwrap().resolve(now), WallTime::from_millis(6_000));
        assert_eq!(past("1970-01-01T00:00:02Z").unwrap().resolve(now), WallTime::from_millis(2_000));
        assert!(past("yesterday").is_err());
    }
}
