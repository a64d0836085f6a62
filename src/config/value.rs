//! Single values: durations, sizes, counts, addresses, networks. Each is read, held to its bounds and, where it does
//! not hold, noted; the default then stands in so that the checks can go on.
//!
//! Never here: what two settings mean together. Called by `resolve`, `upstreams` and `routes`.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;
use toml::Spanned;

use super::error::{Report, shown};
use super::file::Quantity;

/// What a duration may be, and how messages say so.
pub(super) struct Bounds {
    least: Duration,
    most: Duration,
    text: &'static str,
    example: &'static str,
}

/// Deadlines and intervals. Shorter than a millisecond is a mistake and longer than a year means "never", which is
/// no deadline.
pub(super) const TIMER: Bounds = Bounds {
    least: Duration::from_millis(1),
    most: Duration::from_hours(365 * 24),
    text: "between 1ms and 365d",
    example: "10s",
};

/// How old a request with its answer may become. Shorter than a second, it would be a deadline for answers.
pub(super) const STREAM: Bounds = Bounds {
    least: Duration::from_secs(1),
    most: Duration::from_hours(365 * 24),
    text: "between 1s and 365d, or \"off\"",
    example: "1h",
};

/// Leases: what a revocation may have to wait for.
pub(super) const LEASE: Bounds =
    Bounds { least: Duration::from_secs(1), most: Duration::from_mins(10), text: "between 1s and 10m", example: "30s" };

/// Lives of access tokens: long enough for one request, and no longer than a day, since nothing ends a single one.
pub(super) const ACCESS: Bounds = Bounds {
    least: Duration::from_mins(1),
    most: Duration::from_hours(24),
    text: "between 1m and 24h",
    example: "15m",
};

/// From an exchange to the end of what it gave.
pub(super) const REFRESH: Bounds = Bounds {
    least: Duration::from_mins(1),
    most: Duration::from_hours(30 * 24),
    text: "between 1m and 30d",
    example: "8h",
};

/// For the body of an exchange, which has a few hundred bytes.
pub(super) const EXCHANGE: Bounds =
    Bounds { least: Duration::from_secs(1), most: Duration::from_mins(5), text: "between 1s and 5m", example: "10s" };

/// Ages of records.
pub(super) const AGE: Bounds = Bounds {
    least: Duration::from_hours(1),
    most: Duration::from_hours(36_500 * 24),
    text: "between 1h and 36500d, or \"forever\"",
    example: "365d",
};

/// A duration with its unit.
pub(super) fn duration(
    report: &mut Report<'_>,
    key: &str,
    given: Option<&Spanned<Quantity>>,
    default: Duration,
    bounds: &Bounds,
) -> Duration {
    let Some(given) = given else { return default };
    let expected = || format!("expected a duration with its unit, such as \"{}\", {}", bounds.example, bounds.text);
    let (what, expected) = match given.get_ref() {
        Quantity::Bare => ("is a number without a unit".to_owned(), expected()),
        Quantity::Text(text) if is_bare(text) => (format!("{} has no unit", shown(text)), expected()),
        Quantity::Text(text) => match humantime::parse_duration(text) {
            Ok(duration) if duration < bounds.least => (format!("{} is too short", shown(text)), expected()),
            Ok(duration) if duration > bounds.most => (format!("{} is too long", shown(text)), expected()),
            Ok(duration) => return duration,
            Err(_) => (format!("{} is not a duration", shown(text)), expected()),
        },
    };
    report.refuse(&given.span(), key, what, expected);
    default
}

/// A size with its unit, in bytes.
pub(super) fn size(
    report: &mut Report<'_>,
    key: &str,
    given: Option<&Spanned<Quantity>>,
    default: ByteSize,
    bounds: RangeInclusive<ByteSize>,
) -> u64 {
    let Some(given) = given else { return default.as_u64() };
    let (least, most) = bounds.into_inner();
    let what = match given.get_ref() {
        Quantity::Bare => "is a number without a unit".to_owned(),
        Quantity::Text(text) if is_bare(text) => format!("{} has no unit", shown(text)),
        Quantity::Text(text) => match text.trim().parse::<ByteSize>() {
            Ok(size) if size < least => format!("{} is too small", shown(text)),
            Ok(size) if size > most => format!("{} is too large", shown(text)),
            Ok(size) => return size.as_u64(),
            Err(_) => format!("{} is not a size", shown(text)),
        },
    };
    let expected = format!(
        "expected a size with its unit, such as \"{}\", between {} and {}",
        spelt(default),
        spelt(least),
        spelt(most)
    );
    report.refuse(&given.span(), key, what, expected);
    default.as_u64()
}

/// As one writes it: `32KiB`.
fn spelt(size: ByteSize) -> String {
    size.display().iec().to_string().replace(".0", "").replace(' ', "")
}

/// Is this a number alone?
fn is_bare(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '_' | '+' | '-'))
}

/// A number that counts something, without a unit.
pub(super) fn count(
    report: &mut Report<'_>,
    key: &str,
    given: Option<&Spanned<i64>>,
    default: usize,
    bounds: RangeInclusive<usize>,
) -> usize {
    let Some(given) = given else { return default };
    let number = *given.get_ref();
    match usize::try_from(number) {
        Ok(number) if bounds.contains(&number) => number,
        _ => {
            let expected = format!("expected a whole number from {} to {}", bounds.start(), bounds.end());
            report.refuse(&given.span(), key, format!("{number} is out of range"), expected);
            default
        }
    }
}

/// An address to listen on.
pub(super) fn listen_address(report: &mut Report<'_>, key: &str, given: &Spanned<String>) -> Option<SocketAddr> {
    const EXPECTED: &str = "expected an IP address and a port, such as";
    let text = given.get_ref().as_str();
    if text.starts_with("unix:") {
        report.not_yet(&given.span(), key, "Unix sockets", format!("{EXPECTED} \"127.0.0.1:8080\""));
        return None;
    }
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let meant = match text.rsplit_once(':') {
        Some(("localhost", port)) if port.parse::<u16>().is_ok() => format!("127.0.0.1:{port}"),
        Some(("" | "*", port)) if port.parse::<u16>().is_ok() => format!("0.0.0.0:{port}"),
        _ => match text.parse::<IpAddr>() {
            Ok(alone) => SocketAddr::new(alone, 8080).to_string(),
            Err(_) => "127.0.0.1:8080".to_owned(),
        },
    };
    let what = format!("{} is not an address to listen on", shown(text));
    report.refuse(&given.span(), key, what, format!("{EXPECTED} \"{meant}\""));
    None
}

/// Would a connection to `address` reach this host's socket that listens on `listen`?
pub(super) fn reaches(address: SocketAddr, listen: SocketAddr) -> bool {
    let (to, on) = (address.ip(), listen.ip());
    let here = to == on || (on.is_unspecified() && to.is_loopback() && on.is_ipv4() == to.is_ipv4());
    here && address.port() == listen.port() && listen.port() != 0
}

/// A network in CIDR form, or a single address.
pub(super) fn network(report: &mut Report<'_>, key: &str, given: &Spanned<String>) -> Option<IpNet> {
    let text = given.get_ref().as_str();
    let read = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let (what, expected) = match read {
        Ok(network) if network.trunc() == network => return Some(network),
        Ok(network) => (
            format!("{} has bits beyond its prefix", shown(text)),
            format!("expected \"{}\" or \"{}\"", network.trunc(), network.addr()),
        ),
        Err(_) => (
            format!("{} is not a network", shown(text)),
            "expected a network or an address, such as \"10.0.0.0/8\" or \"10.0.0.1\"".to_owned(),
        ),
    };
    report.refuse(&given.span(), key, what, expected);
    None
}

/// Text that must not be empty; `example` says what is expected.
pub(super) fn text<'g>(
    report: &mut Report<'_>,
    key: &str,
    given: Option<&'g Spanned<String>>,
    example: &str,
) -> Option<&'g Spanned<String>> {
    let given = given?;
    if given.get_ref().trim().is_empty() || given.get_ref().contains(char::is_control) {
        report.refuse(&given.span(), key, "is empty or holds control characters", format!("expected {example}"));
        return None;
    }
    Some(given)
}

/// A place in the text, in bytes.
pub(super) type Span = Range<usize>;

/// The value, or a note that it is missing from the table at `span`.
pub(super) fn required<'g, T>(
    report: &mut Report<'_>,
    span: &Span,
    key: &str,
    given: Option<&'g Spanned<T>>,
    expected: &str,
) -> Option<&'g Spanned<T>> {
    if given.is_none() && !report.knows(key) {
        report.refuse(span, key, "is missing", format!("expected {expected}"));
    }
    given
}

/// A host name or address in lower case, without port; IPv6 in brackets.
pub(super) fn is_host(host: &str) -> bool {
    if let Some(v6) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return v6.parse::<Ipv6Addr>().is_ok();
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
    };
    host.len() <= 253 && host.split('.').all(label)
}
