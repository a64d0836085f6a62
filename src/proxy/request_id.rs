//! Request ids: `X-Request-Id` of every answer, towards the upstream, in the log.

use crate::proxy::head::Head;
use crate::proxy::headers::Field;

/// Makes ids of our own: process (random), connection and request (counted). Unique without asking for randomness at
/// each request.
#[derive(Debug)]
pub struct RequestIds {
    /// What all begin with.
    process: String,
}

impl RequestIds {
    /// Of this process.
    #[must_use]
    pub fn new(process: u64) -> Self {
        Self { process: format!("{process:016x}-") }
    }

    /// Writes one into a text that is kept. **HOT**
    pub fn write(&self, id: &mut String, connection: u64, request: u64) {
        id.clear();
        id.push_str(&self.process);
        push_hex(id, connection);
        id.push('-');
        push_hex(id, request);
    }
}

/// Without the formatting machinery: this runs once a request.
fn push_hex(text: &mut String, number: u64) {
    let digits = (u64::BITS - number.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        let digit = (number >> (4 * place)).to_le_bytes()[0] & 15;
        text.push(char::from(if digit < 10 { b'0' + digit } else { b'a' - 10 + digit }));
    }
}

/// The client's own, if it is of the usual characters; for those whom the configuration trusts.
#[must_use]
pub fn given<'b>(head: &Head<'_, 'b>) -> Option<&'b str> {
    let id = head.values(Field::RequestId).next()?;
    let usual = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    ((1..=128).contains(&id.len()) && id.iter().all(usual)).then(|| std::str::from_utf8(id).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_hexadecimal_and_in_order() {
        let mut id = "another".to_owned();
        for (numbers, text) in [
            ((0xabc, 0, 16), "0000000000000abc-0-10"),
            ((u64::MAX, u64::MAX, 1), "ffffffffffffffff-ffffffffffffffff-1"),
        ] {
            RequestIds::new(numbers.0).write(&mut id, numbers.1, numbers.2);
            assert_eq!(id, text);
        }
    }
}
