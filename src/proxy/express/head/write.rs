//! **HOT** The head of an answer, written anew for the client. What goes on as it came is copied in as few pieces as it
//! stands in; nearly always that is all of it, down to the fields of the hop.

use std::ops::Range;

use super::{Answer, Body, Field};
use crate::proxy::head::{RawField, connection_options};
use crate::proxy::headers::write_field;

/// What keygate says in the head that goes to the client.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy::express) struct Told<'a> {
    /// `X-Request-Id`.
    pub(in crate::proxy::express) request_id: &'a str,
    /// The connection ends with this answer.
    pub(in crate::proxy::express) closes: bool,
    /// For an answer without `Date` (RFC 9110, section 6.6.1).
    pub(in crate::proxy::express) date: &'a [u8],
}

impl Answer<'_, '_> {
    /// Appends the head that goes to the client.
    pub(in crate::proxy::express) fn write(&self, out: &mut Vec<u8>, told: &Told<'_>) {
        out.reserve(self.length + 192);
        self.write_own(out);
        if self.is_interim() {
            out.extend_from_slice(b"\r\n");
            return;
        }
        if self.body == Body::UntilClose {
            // The client's connection goes on (RFC 9112, section 7.1).
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        if !self.has_date {
            write_field(out, b"Date", told.date);
        }
        out.extend_from_slice(if told.closes {
            b"Connection: close\r\nX-Request-Id: "
        } else {
            b"Connection: keep-alive\r\nX-Request-Id: "
        });
        out.extend_from_slice(told.request_id.as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
    }

    /// The status line, with our own version (RFC 9110, section 6.2), and the fields that go on.
    fn write_own(&self, out: &mut Vec<u8>) {
        let mut copy = Copy { out, head: self.bytes, run: 0..0 };
        match self.status_line() {
            Some(line) => copy.take(line),
            None => write_status(copy.out, self.status, self.reason),
        }
        // Neither length nor coding may stand in these (RFC 9110, section 8.6; RFC 9112, section 6.1).
        let is_unframed = self.is_interim() || self.status == 204;
        let mut has_length = is_unframed || self.content_length.is_none();
        for (kind, field) in self.classified() {
            let name = field.name.as_bytes();
            let value = match kind {
                Field::Connection | Field::KeepAlive | Field::Dropped => continue,
                Field::TransferEncoding if is_unframed => continue,
                Field::ContentLength if std::mem::replace(&mut has_length, true) => continue,
                Field::ContentLength => one_number(field.value),
                Field::Other if self.nominates && self.is_nominated(name) => continue,
                Field::Other | Field::Date | Field::TransferEncoding => field.value,
            };
            match self.line(field) {
                Some(line) if value.len() == field.value.len() => copy.take(line),
                _ => {
                    copy.flush();
                    write_field(copy.out, name, value);
                }
            }
        }
        copy.flush();
    }

    /// Where the status line lies, if it came as it would be written.
    fn status_line(&self) -> Option<Range<usize>> {
        let end = "HTTP/1.1 200 ".len() + self.reason.len() + 2;
        let line = self.bytes.get(..end)?;
        // Without the space behind the status, the empty line may be where the reason would end.
        let is_usual = line.starts_with(b"HTTP/1.1 ") && line.get(12) == Some(&b' ') && line.ends_with(b"\r\n");
        is_usual.then_some(0..end)
    }

    /// Where the line of a field lies, if it came as it would be written.
    fn line(&self, field: &RawField<'_>) -> Option<Range<usize>> {
        let place = |part: &[u8]| part.as_ptr().addr().wrapping_sub(self.bytes.as_ptr().addr());
        let (name, value) = (place(field.name.as_bytes()), place(field.value));
        let (name_end, end) = (name.checked_add(field.name.len())?, value.checked_add(field.value.len() + 2)?);
        let is_usual = self.bytes.get(name_end..value)? == b": " && self.bytes.get(..end)?.ends_with(b"\r\n");
        is_usual.then_some(name..end)
    }

    /// The fields, each with what it is.
    fn classified(&self) -> impl Iterator<Item = (Field, &RawField<'_>)> {
        self.kinds.iter().copied().zip(self.fields)
    }

    #[cold]
    fn is_nominated(&self, name: &[u8]) -> bool {
        let connection = self.classified().filter(|(kind, _)| *kind == Field::Connection);
        let mut options = connection.flat_map(|(_, field)| connection_options(field.value));
        options.any(|option| option.eq_ignore_ascii_case(name))
    }
}

/// Lines that go on as they came, copied when the next one does not follow.
struct Copy<'o, 'b> {
    out: &'o mut Vec<u8>,
    head: &'b [u8],
    run: Range<usize>,
}

impl Copy<'_, '_> {
    fn take(&mut self, line: Range<usize>) {
        if line.start != self.run.end {
            self.flush();
            self.run.start = line.start;
        }
        self.run.end = line.end;
    }

    /// Before anything else is written.
    fn flush(&mut self) {
        let run = std::mem::take(&mut self.run);
        self.out.extend_from_slice(self.head.get(run).unwrap_or_default());
    }
}

fn write_status(out: &mut Vec<u8>, status: u16, reason: &str) {
    let digit = |n: u16| b'0' + u8::try_from(n % 10).unwrap_or(0);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&[digit(status / 100), digit(status / 10), digit(status), b' ']);
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Of a length that was said several times in one field, once; in as few digits as say it.
fn one_number(value: &[u8]) -> &[u8] {
    let first = value.split(|b| *b == b',').next().unwrap_or_default().trim_ascii();
    let zeros = first.iter().take_while(|b| **b == b'0').count();
    first.get(zeros.min(first.len().saturating_sub(1))..).unwrap_or_default()
}
