//! Values of arguments: durations, moments, networks. Each error says what was expected.

use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use ipnet::IpNet;

use crate::clock::WallTime;

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

fn rfc3339(text: &str) -> Option<WallTime> {
    if !text.is_ascii() {
        return None;
    }
    if text.len() == "2027-01-31".len() {
        return utc(&format!("{text}T00:00:00Z"));
    }
    let text = text.to_ascii_uppercase();
    if text.ends_with('Z') {
        return utc(&text);
    }
    // `+02:00` is ahead of UTC: what its clock shows comes earlier.
    let (local, offset) = text.split_at_checked(text.len().checked_sub("+00:00".len())?)?;
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let (hours, minutes): (u64, u64) = (two_digits(hours)?, two_digits(minutes)?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let offset_millis = (hours * 60 + minutes) * 60_000;
    let local = utc(&format!("{local}Z"))?.as_millis();
    let millis = match text.as_bytes().get(text.len() - "+00:00".len())? {
        b'+' => local.checked_sub(offset_millis)?,
        b'-' => local.checked_add(offset_millis)?,
        _ => return None,
    };
    Some(WallTime::from_millis(millis))
}

fn two_digits(text: &str) -> Option<u64> {
    (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

fn utc(text: &str) -> Option<WallTime> {
    let since = humantime::parse_rfc3339(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(WallTime::from_millis(u64::try_from(since.as_millis()).ok()?))
}

/// `10.0.0.0/8`, `2001:db8::/32`, or one address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text
            .parse::<IpNet>()
            .map_err(|_| "expected a network such as 10.0.0.0/8 or 2001:db8::/32, or an address".to_owned())?,
    };
    if network != network.trunc() {
        return Err(format!("{network} has bits set behind its prefix; did you mean {}?", network.trunc()));
    }
    Ok(network)
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

    #[test]
    fn networks_are_exact() {
        assert_eq!(network("192.0.2.1").unwrap().to_string(), "192.0.2.1/32");
        assert_eq!(network("2001:db8::/32").unwrap().to_string(), "2001:db8::/32");
        assert!(network("10.1.2.3/8").unwrap_err().contains("10.0.0.0/8"));
        assert!(network("localhost").is_err());
    }
}
