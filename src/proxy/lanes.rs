//! **HOT** Which lane an admitted request takes: express, if it is strictly plain, or general, and why.

use crate::metrics::LaneReason;
use crate::proxy::head::Head;

/// Why a request takes the lane that it takes; [`LaneReason::Plain`] is the express lane's. The first row that applies.
#[must_use]
pub fn reason(head: &Head<'_, '_>, is_on: bool) -> LaneReason {
    if !is_on {
        LaneReason::SwitchedOff
    } else if head.is_http10 {
        // No chunks, no interim answers, other rules of persistence (RFC 9112, sections 6.1 and 9.3).
        LaneReason::Http10
    } else if head.is_absolute {
        LaneReason::AbsoluteForm
    } else if head.expects_continue {
        // The server's word is wanted before the body is sent (RFC 9110, section 10.1.1).
        LaneReason::Expect
    } else if head.has_upgrade {
        LaneReason::Upgrade
    } else if head.nominates {
        LaneReason::ConnectionOption
    } else {
        LaneReason::Plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::head::{self, HeadLimits, Parsed};

    fn lane(text: &str, is_on: bool) -> &'static str {
        match head::parse(text.as_bytes(), &mut head::Space::<16>::new(), HeadLimits { size: 1024, fields: 15 }) {
            Parsed::Head(head) => reason(&head, is_on).as_str(),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn what_is_plain_and_what_is_not() {
        for (text, expected) in [
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "plain"),
            ("BREW /a?b HTTP/1.1\r\nHost: x\r\nConnection: close, te\r\nTE: trailers\r\n\r\n", "plain"),
            ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", "plain"),
            ("GET / HTTP/1.0\r\nHost: x\r\n\r\n", "http_1_0"),
            ("GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n", "absolute_form"),
            ("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", "expect"),
            ("GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\n\r\n", "upgrade"),
            ("GET / HTTP/1.1\r\nHost: x\r\nConnection: X-Mine\r\n\r\n", "connection_option"),
        ] {
            assert_eq!(lane(text, true), expected, "{text}");
            assert_eq!(lane(text, false), "switched_off", "{text}");
        }
    }
}
