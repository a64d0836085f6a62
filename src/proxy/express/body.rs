//! **HOT** A body on its way through: how many of the bytes that came may go on, and what keygate puts around them.
//!
//! Bodies with a length or in chunks pass as they came (RFC 9112, sections 6.2 and 7.1); one that ends with its
//! connection is put into chunks, so that the client's connection can go on. Trailer fields are not passed unseen:
//! `trailers`. No I/O here, and no copy: only counting.

use crate::proxy::body::{Framing, Malformed, Sender};
use crate::proxy::buffer::Buffer;
use crate::proxy::express::head::Body;

/// How one body is passed, and how far it has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Relay {
    coding: Coding,
    /// Bytes of it on the wire, chunk lines included.
    pub(super) wire: u64,
    /// The same without its coding.
    pub(super) content: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    /// As its framing says, byte for byte.
    AsItIs(Framing),
    /// Whatever comes, each read in a chunk.
    IntoChunks,
}

/// What is to be done after [`Relay::pass`], once those bytes are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Read more.
    Read,
    /// A trailer field begins: `trailers::take`, and then [`Relay::end`].
    Trailers,
    /// Nothing: the body is over.
    Nothing,
}

impl Relay {
    /// Of a request.
    pub(super) fn request(framing: Framing) -> Self {
        Self { coding: Coding::AsItIs(framing), wire: 0, content: 0 }
    }

    /// Of an answer.
    pub(super) fn answer(body: Body) -> Self {
        let coding = match body {
            Body::None => Coding::AsItIs(Framing::Done),
            Body::Length(length) => Coding::AsItIs(Framing::of_length(length)),
            Body::Chunked => Coding::AsItIs(Framing::chunked(Sender::Server)),
            Body::UntilClose => Coding::IntoChunks,
        };
        Self { coding, wire: 0, content: 0 }
    }

    /// Looks at what `input` holds behind its first `skip` bytes, of which nothing was looked at yet, and says how
    /// many bytes there may go on. What follows them belongs to somebody else.
    ///
    /// # Errors
    /// [`Malformed`]: nothing more may go on.
    pub(super) fn pass(&mut self, input: &mut Buffer, skip: usize) -> Result<(usize, Next), Malformed> {
        match &mut self.coding {
            Coding::AsItIs(framing) => {
                let bytes = input.bytes().get(skip..).unwrap_or_default();
                let mut content = 0;
                let taken = framing.feed_to_trailers(bytes, |piece| content += piece.len() as u64)?;
                self.wire += taken as u64;
                self.content += content;
                let next = if framing.is_done() {
                    Next::Nothing
                } else if framing.is_at_trailers() && taken < bytes.len() {
                    Next::Trailers
                } else {
                    Next::Read
                };
                Ok((taken, next))
            }
            Coding::IntoChunks => {
                let length = input.len();
                // A chunk without bytes would be the last one.
                if length > 0 {
                    let (line, digits) = size_line(length);
                    input.enclose(line.get(digits..).unwrap_or_default());
                }
                self.wire += length as u64;
                self.content += length as u64;
                Ok((input.len(), Next::Read))
            }
        }
    }

    /// Bytes that were announced and have not come: all that wants more than `max_body` may be refused at once.
    pub(super) fn announced(&self) -> u64 {
        match self.coding {
            Coding::AsItIs(framing) => framing.announced(),
            Coding::IntoChunks => 0,
        }
    }

    /// The server has ended its connection: what is still to be sent. `None`: the body is not whole (RFC 9112, section
    /// 8).
    pub(super) fn end_of_connection(&mut self) -> Option<&'static [u8]> {
        match self.coding {
            Coding::IntoChunks => {
                self.end();
                Some(b"0\r\n\r\n")
            }
            Coding::AsItIs(framing) => framing.is_done().then_some(b""),
        }
    }

    /// Its trailers were taken: it is over.
    pub(super) fn end(&mut self) {
        self.coding = Coding::AsItIs(Framing::Done);
    }

    /// Is it over?
    pub(super) fn is_over(&self) -> bool {
        self.coding == Coding::AsItIs(Framing::Done)
    }
}

/// A chunk's size and its CRLF, at the end of the array; and where they begin.
fn size_line(mut size: usize) -> ([u8; 18], usize) {
    let mut line = *b"0000000000000000\r\n";
    let mut begin = 16;
    while size > 0 && begin > 0 {
        begin -= 1;
        if let (Some(place), Some(digit)) = (line.get_mut(begin), b"0123456789abcdef".get(size & 15)) {
            *place = *digit;
        }
        size >>= 4;
    }
    (line, begin)
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use pingora_core::protocols::Stream;
    use proptest::prelude::*;

    use super::*;
    use crate::proxy::script::{Given, Script};

    fn read(buffer: &mut Buffer, io: &mut Stream) -> usize {
        match buffer.poll_fill(io, &mut Context::from_waker(Waker::noop()), 64 * 1024) {
            Poll::Ready(Ok(count)) => count,
            _ => 0,
        }
    }

    /// All that passes of a body whose pieces come one by one, and what is left; the body must be well-formed.
    fn passed(relay: &mut Relay, pieces: &[&[u8]]) -> (Vec<u8>, Vec<u8>, Next) {
        let mut io = Script::new(pieces.iter().map(|piece| Given::Bytes(piece.to_vec()))).stream();
        let (mut buffer, mut out, mut next) = (Buffer::new(), Vec::new(), Next::Read);
        while next == Next::Read && read(&mut buffer, &mut io) > 0 {
            let ready;
            (ready, next) = relay.pass(&mut buffer, 0).unwrap();
            out.extend_from_slice(&buffer.bytes()[..ready]);
            buffer.consume(ready);
        }
        (out, buffer.bytes().to_vec(), next)
    }

    #[test]
    fn a_length_is_passed_to_its_last_byte_and_no_further() {
        let mut relay = Relay::answer(Body::Length(5));
        let (out, rest, next) = passed(&mut relay, &[b"ab", b"cdeGET"]);
        assert_eq!((&*out, &*rest, next), (&b"abcde"[..], &b"GET"[..], Next::Nothing));
        assert_eq!((relay.wire, relay.content, relay.is_over()), (5, 5, true));
        assert!(Relay::answer(Body::Length(0)).is_over());
        assert!(Relay::answer(Body::None).is_over());
    }

    #[test]
    fn chunks_pass_as_they_came_up_to_the_trailers() {
        let mut relay = Relay::answer(Body::Chunked);
        let (out, rest, next) = passed(&mut relay, &[b"3;x=y\r\nabc\r\n", b"0\r\n", b"\r\nHTTP/1.1"]);
        assert_eq!((&*out, &*rest, next), (&b"3;x=y\r\nabc\r\n0\r\n\r\n"[..], &b"HTTP/1.1"[..], Next::Nothing));
        assert_eq!((relay.wire, relay.content), (17, 3));

        // A server's spaces too, which a client would not be granted.
        let mut relay = Relay::answer(Body::Chunked);
        let (out, rest, next) = passed(&mut relay, &[b"3 ", b" ; x = y \r\nabc\r\n0 \r", b"\n\r\nHTTP/1.1"]);
        assert_eq!((&*out, next), (&b"3  ; x = y \r\nabc\r\n0 \r\n\r\n"[..], Next::Nothing));
        assert_eq!((&*rest, relay.content), (&b"HTTP/1.1"[..], 3));
        let mut io = Script::texts(&["3 \r\nabc\r\n"]).stream();
        let (mut buffer, mut relay) = (Buffer::new(), Relay::request(Framing::CHUNKED));
        read(&mut buffer, &mut io);
        assert_eq!(relay.pass(&mut buffer, 0), Err(Malformed));

        let mut relay = Relay::request(Framing::CHUNKED);
        let (out, rest, next) = passed(&mut relay, &[b"1\r\na\r\n0\r\n", b"X-Sum: 1\r\n\r\nGET"]);
        assert_eq!((&*out, &*rest, next), (&b"1\r\na\r\n0\r\n"[..], &b"X-Sum: 1\r\n\r\nGET"[..], Next::Trailers));
        assert!(!relay.is_over());
        relay.end();
        assert!(relay.is_over());
    }

    #[test]
    fn what_ends_with_its_connection_is_put_into_chunks() {
        let mut relay = Relay::answer(Body::UntilClose);
        let long = [b'x'; 300];
        let (out, rest, next) = passed(&mut relay, &[b"abc", &long]);
        let expected = [b"3\r\nabc\r\n12c\r\n".as_slice(), &long, b"\r\n"].concat();
        assert_eq!((out, rest.len(), next), (expected, 0, Next::Read));
        assert_eq!((relay.wire, relay.content), (303, 303));
        assert_eq!(relay.end_of_connection(), Some(&b"0\r\n\r\n"[..]));
        assert!(relay.is_over());
    }

    #[test]
    fn an_empty_body_that_ends_with_its_connection_has_only_the_last_chunk() {
        let mut relay = Relay::answer(Body::UntilClose);
        assert_eq!(relay.pass(&mut Buffer::new(), 0), Ok((0, Next::Read)));
        assert_eq!(relay.end_of_connection(), Some(&b"0\r\n\r\n"[..]));
    }

    #[test]
    fn a_body_that_is_cut_off_is_not_whole() {
        for body in [Body::Length(9), Body::Chunked] {
            let mut relay = Relay::answer(body);
            let (..) = passed(&mut relay, &[b"5\r\nab"]);
            assert_eq!(relay.end_of_connection(), None, "{body:?}");
        }
    }

    #[test]
    fn malformed_chunks_do_not_pass() {
        for bad in [&b"x\r\n"[..], b"3\nabc", b"3\r\nabcd", b"0\r\n\n", b"0\r\n X: y\r\n"] {
            let mut io = Script::new([Given::Bytes(bad.to_vec())]).stream();
            let (mut buffer, mut relay) = (Buffer::new(), Relay::answer(Body::Chunked));
            read(&mut buffer, &mut io);
            assert_eq!(relay.pass(&mut buffer, 0), Err(Malformed), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn what_was_kept_for_a_second_attempt_is_not_looked_at_again() {
        let mut io = Script::texts(&["abc", "de"]).stream();
        let (mut buffer, mut relay) = (Buffer::new(), Relay::request(Framing::Length(5)));
        read(&mut buffer, &mut io);
        assert_eq!(relay.pass(&mut buffer, 0), Ok((3, Next::Read)));
        read(&mut buffer, &mut io);
        assert_eq!(relay.pass(&mut buffer, 3), Ok((2, Next::Nothing)));
        assert_eq!(buffer.bytes(), b"abcde");
    }

    proptest! {
        /// However the bytes are cut, what is put into chunks decodes to the same content.
        #[test]
        fn chunks_of_any_size_decode(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..400), 0..20),
        ) {
            let mut relay = Relay::answer(Body::UntilClose);
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let (mut out, ..) = passed(&mut relay, &pieces);
            out.extend_from_slice(relay.end_of_connection().unwrap());
            let (mut framing, mut content) = (Framing::CHUNKED, Vec::new());
            prop_assert_eq!(framing.feed_with(&out, |piece| content.extend_from_slice(piece)), Ok(out.len()));
            prop_assert!(framing.is_done());
            prop_assert_eq!(content, pieces.concat());
        }

        #[test]
        fn sizes_are_hexadecimal(size in 1usize..) {
            let (line, begin) = size_line(size);
            prop_assert_eq!(std::str::from_utf8(&line[begin..]).unwrap(), format!("{size:x}\r\n"));
        }
    }
}
