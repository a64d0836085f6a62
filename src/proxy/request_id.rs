//! Request ids: `X-Request-Id` of every answer, towards the upstream, in the log.

use crate::proxy::head::Head;
use crate::proxy::headers::{self, Field};

/// An id of our own: process (random), connection and request (counted). Unique without asking for randomness at each
/// request.
#[must_use]
pub fn make(process: u64, connection: u64, request: u64) -> String {
    let mut id = String::with_capacity(48);
    for (number, digits) in [(process, 16), (connection, 1), (request, 1)] {
        if !id.is_empty() {
            id.push('-');
        }
        push_hex(&mut id, number, digits);
    }
    id
}

/// Appends at least so many hexadecimal digits, without the formatting machinery: this runs once a request.
fn push_hex(text: &mut String, number: u64, digits: u32) {
    let needed = (u64::BITS - number.leading_zeros()).div_ceil(4).max(digits);
    for place in (0..needed).rev() {
        let digit = u32::try_from(number >> (4 * place) & 15).unwrap_or(0);
        text.push(char::from_digit(digit, 16).unwrap_or('0'));
    }
}

/// The client's own, if it is of the usual characters; for those whom the configuration trusts.
#[must_use]
pub fn given<'b>(head: &Head<'_, 'b>) -> Option<&'b str> {
    let field = head.fields.iter().find(|f| headers::classify(f.name.as_bytes()) == Field::RequestId)?;
    let usual = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let id = field.value;
    ((1..=128).contains(&id.len()) && id.iter().all(usual)).then(|| std::str::from_utf8(id).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_hexadecimal_and_in_order() {
        assert_eq!(make(0xabc, 0, 16), "0000000000000abc-0-10");
        assert_eq!(make(u64::MAX, u64::MAX, 1), "ffffffffffffffff-ffffffffffffffff-1");
    }
}
