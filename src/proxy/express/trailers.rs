//! Trailer fields (RFC 9110, section 6.5; RFC 9112, section 7.1.2): read whole, looked at like the fields of a head,
//! and written anew.
//!
//! Some readers merge them into the head. So a client's must not hold anything that keygate acts on, as no identity
//! may come from a client on any way; and of a server's, what is of the hop or frames the message ends here, as do
//! folds and white space behind names (RFC 9112, sections 5.1 and 5.2).

pub(super) use crate::proxy::body::Sender;
use crate::proxy::body::{Framing, Malformed};
use crate::proxy::headers::{self, write_field};

/// Takes the trailer section at the beginning of `bytes`: appends what goes on, with the empty line behind it, to
/// `out`, and says how long it was. `None`: it is not all there yet.
///
/// # Errors
/// [`Malformed`]: it is none, is too long, or holds what it must not.
pub(super) fn take(bytes: &[u8], sender: Sender, out: &mut Vec<u8>) -> Result<Option<usize>, Malformed> {
    // The grammar is that of the other lane, and what cannot become a section is known as soon as it is there.
    let mut framing = Framing::at_trailers(sender);
    let length = framing.feed(bytes)?;
    if !framing.is_done() {
        return Ok(None);
    }
    let section = bytes.get(..length).unwrap_or_default();
    let mut goes_on = false;
    for line in section.split(|b| *b == b'\n') {
        if let [b' ' | b'\t', ..] = line {
            // The value before goes on here: a space stands for the fold (RFC 9112, section 5.2).
            if goes_on {
                out.truncate(out.len().saturating_sub(b"\r\n".len()));
                out.push(b' ');
                out.extend_from_slice(line.trim_ascii());
                out.extend_from_slice(b"\r\n");
            }
            continue;
        }
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let (name, value) = line.split_at(colon);
        let name = name.trim_ascii_end();
        goes_on = !headers::is_acted_on(name);
        if goes_on {
            write_field(out, name, value.get(1..).unwrap_or_default().trim_ascii());
        }
    }
    out.extend_from_slice(b"\r\n");
    Ok(Some(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(text: &str, sender: Sender) -> Result<Option<(usize, String)>, Malformed> {
        let mut out = Vec::new();
        let taken = take(text.as_bytes(), sender, &mut out)?;
        Ok(taken.map(|length| (length, String::from_utf8(out).unwrap())))
    }

    #[test]
    fn usual_fields_pass() {
        for sender in [Sender::Client, Sender::Server] {
            let taken = outcome("X-Sum: 42 \r\nGrpc-Status:0:1\r\nE:\r\n\r\nGET /:", sender);
            assert_eq!(taken, Ok(Some((35, "X-Sum: 42\r\nGrpc-Status: 0:1\r\nE: \r\n\r\n".to_owned()))));
            assert_eq!(outcome("X-Sum: 42\r\n", sender), Ok(None));
            assert_eq!(outcome("X", sender), Ok(None));
        }
    }

    #[test]
    fn a_client_cannot_say_in_trailers_what_it_cannot_say_in_the_head() {
        for field in [
            "X-Keygate-Role: ADMIN",
            "x_keygate_role: ADMIN",
            "Authorization: Bearer x",
            "X-API-Key: x",
            "Host: x",
            "Content-Length: 3",
            "Transfer-Encoding: chunked",
            "Connection: close",
            "X-Forwarded-For: 192.0.2.1",
            "X-Request-Id: x",
            "X-HTTP-Method-Override: DELETE",
            "Cookie: a=b",
        ] {
            let text = format!("X-Sum: 1\r\n{field}\r\n\r\n");
            assert_eq!(outcome(&text, Sender::Client), Err(Malformed), "{field}");
            let dropped = Ok(Some((text.len(), "X-Sum: 1\r\n\r\n".to_owned())));
            assert_eq!(outcome(&text, Sender::Server), dropped, "{field}");
        }
    }

    #[test]
    fn a_servers_folds_and_spaces_end_here() {
        let sections = [
            ("X-Sum : 1\r\n\t2:3 \r\n  \r\nY:\r\n z\r\n\r\n", "X-Sum: 1 2:3 \r\nY:  z\r\n\r\n"),
            ("Connection \t: close,\r\n X\r\nY: 1\r\n\r\n", "Y: 1\r\n\r\n"),
            ("Content-Length: 1\r\n X-Sum: 2\r\n\r\n", "\r\n"),
        ];
        for (text, expected) in sections {
            assert_eq!(outcome(text, Sender::Server), Ok(Some((text.len(), expected.to_owned()))), "{text:?}");
            assert_eq!(outcome(text, Sender::Client), Err(Malformed), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_trailer_section_is_refused_before_its_end_has_come() {
        for text in [" X: y", "X\r", "X Y: z", "X: y\nZ", "X\r\n :", "X: a\0", "GET / HTTP/1.1\r\n"] {
            for sender in [Sender::Client, Sender::Server] {
                assert_eq!(outcome(text, sender), Err(Malformed), "{text:?}");
            }
        }
    }
}
