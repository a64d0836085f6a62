//! One line of the access log: a JSON object, made of bytes that a client chose. [HOT: with the log on, it runs once
//! a request; it writes into a buffer that its thread keeps and allocates only when a line is longer than any before.]
//!
//! Never in it: a query (it may hold secrets), a credential (`access_text` replaces what looks like one), any other
//! header than Host. Called by `access_log` alone; `proxy` makes the [`Entry`].

use std::io::Write as _;
use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use super::Decision;
use super::access_text::{client_text, own_text, path_text};
use crate::clock::WallTime;
use crate::credential::Role;

/// What is logged of a request. Absent values are left out of the line.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// When its first byte came.
    pub time: WallTime,
    /// `X-Request-Id`.
    pub request_id: &'a [u8],
    /// The client, as `trusted_proxies` makes it out.
    pub client: IpAddr,
    /// As sent.
    pub method: &'a [u8],
    /// As sent.
    pub host: &'a [u8],
    /// The target as sent; a query is cut off here.
    pub path: &'a [u8],
    /// Of the response.
    pub status: u16,
    /// What was decided.
    pub decision: Decision,
    /// Why it was refused.
    pub reason: Option<&'a str>,
    /// Whose key it was, once proven.
    pub key: Option<EntryKey<'a>>,
    /// Label of the route.
    pub route: Option<&'a str>,
    /// Name of the upstream.
    pub upstream: Option<&'a str>,
    /// The address of the server that was asked last.
    pub server: Option<&'a str>,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the response's body.
    pub bytes_out: u64,
    /// From the first byte of the request to the last of the response.
    pub duration: Duration,
    /// From choosing a server to the head of its response.
    pub upstream_duration: Option<Duration>,
}

/// What is logged of an API key.
#[derive(Clone, Copy, Debug)]
pub struct EntryKey<'a> {
    /// Public.
    pub id: &'a str,
    /// "Application Name".
    pub name: &'a str,
    /// What it may do.
    pub role: Role,
}

/// The last second that can be written with four digits of year.
const LAST_SECOND: u64 = 253_402_300_799;

/// What one thread keeps between lines.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// The line.
    bytes: Vec<u8>,
    /// The second that `stamp` is of.
    second: u64,
    /// `2026-01-31T12:00:00`: it changes once a second and costs more than all the rest.
    stamp: Vec<u8>,
}

impl Line {
    pub(super) const fn new() -> Self {
        Self { bytes: Vec::new(), second: 0, stamp: Vec::new() }
    }

    /// The line of `entry`, with its newline. It is one line: every control character is escaped.
    pub(super) fn write(&mut self, entry: &Entry<'_>) -> &[u8] {
        self.bytes.clear();
        self.bytes.extend_from_slice(b"{\"time\":\"");
        self.time(entry.time);
        let out = &mut self.bytes;
        out.extend_from_slice(b"\",\"request_id\":\"");
        client_text(out, entry.request_id);
        out.extend_from_slice(b"\",\"client\":\"");
        address(out, entry.client);
        out.extend_from_slice(b"\",\"method\":\"");
        client_text(out, entry.method);
        out.extend_from_slice(b"\",\"host\":\"");
        client_text(out, entry.host);
        out.extend_from_slice(b"\",\"path\":\"");
        path_text(out, entry.path);
        out.extend_from_slice(b"\",\"status\":");
        decimal(out, u64::from(entry.status));
        out.extend_from_slice(b",\"decision\":\"");
        out.extend_from_slice(entry.decision.as_str().as_bytes());
        out.push(b'"');
        text_member(out, b",\"reason\":\"", entry.reason);
        if let Some(key) = entry.key {
            text_member(out, b",\"key_id\":\"", Some(key.id));
            text_member(out, b",\"key_name\":\"", Some(key.name));
            text_member(out, b",\"role\":\"", Some(key.role.as_str()));
        }
        text_member(out, b",\"route\":\"", entry.route);
        text_member(out, b",\"upstream\":\"", entry.upstream);
        text_member(out, b",\"server\":\"", entry.server);
        out.extend_from_slice(b",\"bytes_in\":");
        decimal(out, entry.bytes_in);
        out.extend_from_slice(b",\"bytes_out\":");
        decimal(out, entry.bytes_out);
        out.extend_from_slice(b",\"duration_us\":");
        decimal(out, micros(entry.duration));
        if let Some(duration) = entry.upstream_duration {
            out.extend_from_slice(b",\"upstream_us\":");
            decimal(out, micros(duration));
        }
        out.extend_from_slice(b"}\n");
        out
    }

    /// Gives back what one very long line made this thread keep.
    pub(super) fn shrink(&mut self) {
        const KEEP: usize = 16 << 10;
        if self.bytes.capacity() > KEEP {
            self.bytes.clear();
            self.bytes.shrink_to(KEEP);
        }
    }

    /// RFC 3339 in UTC with milliseconds.
    fn time(&mut self, time: WallTime) {
        let second = (time.as_millis() / 1000).min(LAST_SECOND);
        if second != self.second || self.stamp.is_empty() {
            self.second = second;
            self.stamp.clear();
            let text = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(second));
            // Neither a Vec nor a second with four digits of year can fail.
            let _ = write!(self.stamp, "{text}");
            self.stamp.pop(); // the Z
        }
        self.bytes.extend_from_slice(&self.stamp);
        let millis = time.as_millis() % 1000;
        let digit = |n: u64| b'0' + u8::try_from(n % 10).unwrap_or(0);
        self.bytes.extend_from_slice(&[b'.', digit(millis / 100), digit(millis / 10), digit(millis), b'Z']);
    }
}

fn text_member(out: &mut Vec<u8>, name: &[u8], value: Option<&str>) {
    if let Some(value) = value {
        out.extend_from_slice(name);
        own_text(out, value);
        out.push(b'"');
    }
}

fn micros(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(duration.subsec_micros()))
}

fn decimal(out: &mut Vec<u8>, mut n: u64) {
    // u64::MAX has 20 digits.
    let mut digits = [0; 20];
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(n % 10).unwrap_or(0);
        used += 1;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - used..).unwrap_or_default());
}

fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            for (at, octet) in v4.octets().into_iter().enumerate() {
                if at > 0 {
                    out.push(b'.');
                }
                if octet >= 100 {
                    out.push(b'0' + octet / 100);
                }
                if octet >= 10 {
                    out.push(b'0' + octet / 10 % 10);
                }
                out.push(b'0' + octet % 10);
            }
        }
        IpAddr::V6(v6) => {
            // Writing into a Vec cannot fail.
            let _ = write!(out, "{v6}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn plain() -> Entry<'static> {
        Entry {
            time: WallTime::from_millis(1_769_860_800_007),
            request_id: b"0123456789abcdef",
            client: IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)),
            method: b"GET",
            host: b"api.example.org",
            path: b"/reports/7?token=kga_secret",
            status: 200,
            decision: Decision::Admitted,
            reason: None,
            key: Some(EntryKey { id: "abcdefghijkl", name: "Nightly \"jobs\"", role: Role::ReadOnly }),
            route: Some("/reports"),
            upstream: Some("api"),
            server: Some("127.0.0.1:9000"),
            bytes_in: 0,
            bytes_out: u64::MAX,
            duration: Duration::from_micros(1_000_234),
            upstream_duration: Some(Duration::from_micros(99)),
        }
    }

    fn parsed(entry: &Entry<'_>) -> Value {
        let mut line = Line::new();
        let bytes = line.write(entry);
        assert_eq!(
            bytes.iter().filter(|&&b| b < 0x20 || b == 0x7F).count(),
            1,
            "only the newline is a control character"
        );
        assert!(bytes.ends_with(b"\n"));
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn a_line_has_these_members() {
        assert_eq!(
            parsed(&plain()),
            json!({
                "time": "2026-01-31T12:00:00.007Z", "request_id": "0123456789abcdef", "client": "203.0.113.9",
                "method": "GET", "host": "api.example.org", "path": "/reports/7", "status": 200,
                "decision": "admitted", "key_id": "abcdefghijkl", "key_name": "Nightly \"jobs\"", "role": "READONLY",
                "route": "/reports", "upstream": "api", "server": "127.0.0.1:9000", "bytes_in": 0,
                "bytes_out": u64::MAX, "duration_us": 1_000_234, "upstream_us": 99
            })
        );
    }

    #[test]
    fn what_is_absent_is_left_out() {
        let refused = Entry {
            client: IpAddr::V6(Ipv6Addr::LOCALHOST),
            status: 401,
            decision: Decision::Refused,
            reason: Some("no_key"),
            key: None,
            route: None,
            upstream: None,
            server: None,
            upstream_duration: None,
            ..plain()
        };
        assert_eq!(
            parsed(&refused),
            json!({
                "time": "2026-01-31T12:00:00.007Z", "request_id": "0123456789abcdef", "client": "::1",
                "method": "GET", "host": "api.example.org", "path": "/reports/7", "status": 401,
                "decision": "refused", "reason": "no_key", "bytes_in": 0, "bytes_out": u64::MAX,
                "duration_us": 1_000_234
            })
        );
    }

    #[test]
    fn the_stamp_follows_the_clock() {
        let mut line = Line::new();
        for millis in [0, 1, 999, 1000, 1_769_860_800_007, 86_399_999, u64::MAX] {
            let time = WallTime::from_millis(millis);
            let value: Value = serde_json::from_slice(line.write(&Entry { time, ..plain() })).unwrap();
            let capped = WallTime::from_millis(millis.min(LAST_SECOND * 1000 + millis % 1000));
            assert_eq!(value["time"].as_str().unwrap(), capped.rfc3339());
        }
    }

    #[test]
    fn a_long_line_does_not_stay_in_memory() {
        let mut line = Line::new();
        line.write(&Entry { path: &[1; 4096], host: &[1; 4096], ..plain() });
        line.shrink();
        assert!(line.bytes.capacity() <= 20 << 10);
    }

    proptest! {
        #[test]
        fn any_bytes_give_one_line_of_json(path: Vec<u8>, host: Vec<u8>, method: Vec<u8>, id: Vec<u8>, name: String) {
            let key = Some(EntryKey { id: "abcdefghijkl", name: &name, role: Role::Admin });
            let value = parsed(&Entry { path: &path, host: &host, method: &method, request_id: &id, key, ..plain() });
            prop_assert_eq!(value["key_name"].as_str(), Some(name.as_str()));
        }

        #[test]
        fn numbers_are_written_as_everywhere(n: u64) {
            let mut out = Vec::new();
            decimal(&mut out, n);
            prop_assert_eq!(String::from_utf8(out).unwrap(), n.to_string());
        }
    }
}
