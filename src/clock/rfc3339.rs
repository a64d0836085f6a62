//! Reading times as RFC 3339, section 5.6, writes them. Called by [`WallTime::parse_rfc3339`].

use std::time::UNIX_EPOCH;

use super::WallTime;

/// See [`WallTime::parse_rfc3339`].
pub(super) fn parse(text: &str) -> Option<WallTime> {
    if !text.is_ascii() {
        return None;
    }
    let text = text.to_ascii_uppercase();
    // `+02:00` is ahead of UTC: what its clock shows comes earlier.
    let (local, offset_minutes) = match text.strip_suffix('Z') {
        Some(local) => (local, 0),
        None => {
            let (local, offset) = text.split_at_checked(text.len().checked_sub("+00:00".len())?)?;
            let (hours, minutes) = (number(offset, 1..3)?, number(offset, 4..6)?);
            if hours > 23 || minutes > 59 || offset.get(3..4)? != ":" {
                return None;
            }
            match offset.get(..1)? {
                "+" => (local, hours * 60 + minutes),
                "-" => (local, -(hours * 60 + minutes)),
                _ => return None,
            }
        }
    };
    let (whole, millis) = fraction(local)?;
    if number(whole, 0..4)? < 1970 {
        // Of these years the form alone counts; it is looked at in a year with the same calendar.
        let same = 2000 + number(whole, 0..4)? % 400;
        return seconds(&format!("{same}{}", whole.get(4..)?)).map(|_| WallTime::EPOCH);
    }
    Some(WallTime::from_i64((seconds(whole)? - offset_minutes * 60) * 1_000 + millis))
}

/// Takes `.123456` off; more than milliseconds is cut.
fn fraction(local: &str) -> Option<(&str, i64)> {
    let (whole, digits) = local.split_at_checked("2027-01-31T12:00:00".len())?;
    if digits.is_empty() {
        return Some((whole, 0));
    }
    let digits = digits.strip_prefix('.').filter(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()))?;
    format!("{digits}00").get(..3)?.parse().ok().map(|millis| (whole, millis))
}

/// Seconds since 1970. A leap second is the one after it.
fn seconds(whole: &str) -> Option<i64> {
    let (text, leap) = match whole.strip_suffix(":60") {
        Some(minute) => (format!("{minute}:59Z"), 1),
        None => (format!("{whole}Z"), 0),
    };
    let since = humantime::parse_rfc3339(&text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok().map(|seconds| seconds + leap)
}

fn number(text: &str, at: std::ops::Range<usize>) -> Option<i64> {
    text.get(at).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_rfc() {
        let noon = WallTime::from_millis(1_801_396_800_000);
        for text in [
            "2027-01-31T12:00:00Z",
            "2027-01-31t12:00:00.000z",
            "2027-01-31T14:00:00+02:00",
            "2027-01-31T06:30:00.0000000000000-05:30",
            "2027-01-31T11:59:60Z",
        ] {
            assert_eq!(parse(text), Some(noon), "{text}");
        }
        assert_eq!(parse("2027-01-31T12:00:00.25Z"), Some(WallTime::from_millis(1_801_396_800_250)));
        assert_eq!(parse("0000-02-29T00:00:00Z"), Some(WallTime::EPOCH));
        assert_eq!(parse("1969-12-31T23:00:00-02:00"), Some(WallTime::EPOCH));
        assert!(parse("9999-12-31T23:59:59Z").is_some());
        for bad in ["", "tomorrow", "2027-01-31", "2027-13-01T00:00:00Z", "1900-02-29T00:00:00Z"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        for bad in ["T12:00:00", "T12:00:00+2:00", "T12:00:00+24:00", "T12:00:00.Z", "T24:00:00Z", " 12:00:00Z", "T1"] {
            assert_eq!(parse(&format!("2027-01-31{bad}")), None, "{bad}");
        }
    }
}
