//! `Host` and the authority of an absolute form: one reading, or none.
//!
//! Servers differ in where they end the name when there are several colons, stray brackets or many dots. Routes are
//! chosen by host, so what could be read in two ways is refused (RFC 9110, section 7.2; RFC 3986, section 3.2).

use std::net::Ipv6Addr;

/// The name in `name[:port]`, without its final dot; an IPv6 literal with its brackets. `None`: not of this form.
#[must_use]
pub fn name(authority: &[u8]) -> Option<&[u8]> {
    let (name, port) = match authority.strip_prefix(b"[") {
        Some(rest) => {
            let end = rest.iter().position(|b| *b == b']')?;
            let literal = std::str::from_utf8(rest.get(..end)?).ok()?;
            literal.parse::<Ipv6Addr>().ok()?;
            authority.split_at_checked(end + 2)?
        }
        None => {
            let end = authority.iter().position(|b| *b == b':').unwrap_or(authority.len());
            let (name, port) = authority.split_at_checked(end)?;
            let name = name.strip_suffix(b".").unwrap_or(name);
            is_registered_name(name).then_some((name, port))?
        }
    };
    (port.is_empty() || is_port(port.strip_prefix(b":")?)).then_some(name)
}

/// Letters, digits, `-` and `_`.
const OF_LABELS: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        byte += 1;
    }
    table
};

/// Labels with single dots between them.
fn is_registered_name(name: &[u8]) -> bool {
    let mut is_behind_label = false;
    let all = name.iter().all(|byte| {
        let is_of_label = OF_LABELS[usize::from(*byte)];
        let fits = is_of_label || (*byte == b'.' && is_behind_label);
        is_behind_label = is_of_label;
        fits
    });
    all && is_behind_label
}

/// One to five digits, up to 65535.
fn is_port(digits: &[u8]) -> bool {
    let value = || {
        let digit = |digit: &u8| digit.is_ascii_digit().then(|| u32::from(digit - b'0'));
        digits.iter().try_fold(0, |sum, byte| Some(sum * 10 + digit(byte)?))
    };
    (1..=5).contains(&digits.len()) && value().is_some_and(|value| u16::try_from(value).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_port_and_final_dot() {
        for (authority, expected) in [
            ("a.b:80", "a.b"),
            ("a.b", "a.b"),
            ("a.b.", "a.b"),
            ("a.b.:8080", "a.b"),
            ("A_b-c", "A_b-c"),
            ("127.0.0.1:1", "127.0.0.1"),
            ("[::1]:8080", "[::1]"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(name(authority.as_bytes()), Some(expected.as_bytes()), "{authority}");
        }
    }

    #[test]
    fn what_two_readers_could_take_differently_is_refused() {
        for authority in [
            "",
            ":",
            ":80",
            "a:",
            "a:b",
            "a:80:80",
            "a::",
            "a:80]",
            "a..",
            ".a",
            "a..b",
            ".",
            "a.:80:",
            "a:123456",
            "a:65536",
            "a:99999",
            "a:4294967376",
            "a:14444444444444444444444444444444",
            "[::1",
            "::1",
            "[::1]80",
            "[::1]:",
            "[::1]]",
            "[x]",
            "[::1%25eth0]",
            "a b",
            "a@b",
            "a/b",
            "a,b",
            "ä",
            "a%41",
        ] {
            assert_eq!(name(authority.as_bytes()), None, "{authority}");
        }
    }
}
