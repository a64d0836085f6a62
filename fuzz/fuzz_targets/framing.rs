//! Body framing, against a reader that is written down from the grammar once more and knows the whole body: both find
//! the same end and the same content, or none; and it does not matter how the bytes were cut on their way.
//!
//! The first two bytes say where the bytes are cut.

#![no_main]

use keygate::proxy::body::{Framing, Sender};
use keygate::proxy::headers::is_acted_on;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&[first, second], bytes)) = input.split_first_chunk() else { return };
    let (mut whole, mut content) = (Framing::CHUNKED, Vec::new());
    let taken = whole.feed_with(bytes, |piece| content.extend_from_slice(piece));
    match (taken, read(bytes)) {
        (Ok(taken), Some((length, expected))) => {
            assert!(whole.is_done(), "a whole body is not seen");
            assert_eq!((taken, &content), (length, &expected));
        }
        (Ok(taken), None) => assert!(!whole.is_done() && taken == bytes.len(), "a body where there is none"),
        (Err(_), expected) => assert_eq!(expected, None, "a body that is refused"),
    }

    // In three pieces.
    let (mut framing, mut pieces, mut at) = (Framing::CHUNKED, Vec::new(), 0);
    let mut outcome = Ok(());
    for end in [usize::from(first), usize::from(first) + usize::from(second), bytes.len()] {
        let piece = bytes.get(at..end.min(bytes.len())).unwrap_or_default();
        match framing.feed_with(piece, |piece| pieces.extend_from_slice(piece)) {
            Ok(taken) => at += taken,
            Err(malformed) => outcome = Err(malformed),
        }
        if outcome.is_err() || framing.is_done() {
            break;
        }
    }
    assert_eq!(outcome, taken.map(drop), "cut at {first} and {second}");
    assert_eq!(pieces, content);
    assert!(outcome.is_err() || (framing == whole && taken == Ok(at)));

    // Of a server more is taken, wherever it is cut, and all that is taken of a client.
    let (mut lenient, mut of_server) = (Framing::chunked(Sender::Server), Vec::new());
    let outcome = lenient.feed_with(bytes, |piece| of_server.extend_from_slice(piece));
    assert!(taken.is_err() || (outcome == taken && of_server == content));
    let (mut framing, mut count) = (Framing::chunked(Sender::Server), 0);
    let bytewise = bytes.chunks(1).try_for_each(|byte| framing.feed(byte).map(|taken| count += taken));
    assert_eq!(bytewise.map(|()| count), outcome);
    assert!(outcome.is_err() || framing == lenient);

    // Stopped in front of the trailers, and gone on.
    let mut framing = Framing::CHUNKED;
    if let Ok(before) = framing.feed_to_trailers(bytes, |_| ()) {
        assert!(taken.is_err() || framing.is_done() || framing.is_at_trailers() || before == bytes.len());
        let rest = framing.feed(&bytes[before..]);
        assert_eq!(rest.map(|rest| before + rest), taken);
    } else {
        assert!(taken.is_err());
    }
});

/// A whole chunked body of a request at the beginning: how long it is, and what it holds (RFC 9112, section 7.1, and
/// the limits of the program).
fn read(bytes: &[u8]) -> Option<(usize, Vec<u8>)> {
    let (mut rest, mut content) = (bytes, Vec::new());
    loop {
        let (line, behind) = line(rest)?;
        let (digits, extension) = line.split_at(line.iter().position(|b| !b.is_ascii_hexdigit()).unwrap_or(line.len()));
        if !(1..=15).contains(&digits.len()) || extension.len() > 256 || !is_extension(extension) {
            return None;
        }
        let size = usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        rest = behind;
        if size == 0 {
            break;
        }
        content.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
    let (mut fields, begin) = (0, rest.len());
    loop {
        let (line, behind) = line(rest)?;
        rest = behind;
        if begin - rest.len() > 8 * 1024 {
            return None;
        }
        if line.is_empty() {
            return Some((bytes.len() - rest.len(), content));
        }
        fields += 1;
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if fields > 32 || !is_token(name) || !value.iter().copied().all(is_text) || is_acted_on(name) {
            return None;
        }
    }
}

/// Up to CRLF, and what is behind it.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    Some((&bytes[..end], &bytes[end + 2..]))
}

/// `*( ";" token [ "=" ( token / quoted-string ) ] )`, without white space.
fn is_extension(mut bytes: &[u8]) -> bool {
    while let Some(rest) = bytes.strip_prefix(b";") {
        let name = rest.iter().position(|byte| !is_token(&[*byte])).unwrap_or(rest.len());
        if name == 0 {
            return false;
        }
        bytes = &rest[name..];
        let Some(value) = bytes.strip_prefix(b"=") else { continue };
        let end = match value.strip_prefix(b"\"") {
            None => value.iter().position(|byte| !is_token(&[*byte])).unwrap_or(value.len()),
            Some(quoted) => match end_of_quoted(quoted) {
                Some(end) => end + 1,
                None => return false,
            },
        };
        if end == 0 {
            return false;
        }
        bytes = &value[end..];
    }
    bytes.is_empty()
}

/// Behind the last quote.
fn end_of_quoted(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => {
                is_text(*bytes.get(at + 1)?).then_some(())?;
                at += 2;
            }
            byte if is_text(*byte) => at += 1,
            _ => return None,
        }
    }
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}
