//! Where a request's body ends (RFC 9112, sections 6 and 7): told from its bytes, without copying them.
//!
//! One state machine for both codings. It is fed whatever came and says how many of those bytes belong to the
//! body; what follows is the next request's. Chunk extensions and trailers are counted and bounded.

/// How a body is framed, and how far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none, or it is over.
    Done,
    /// So many bytes are to come.
    Length(u64),
    /// `Transfer-Encoding: chunked` (RFC 9112, section 7.1).
    Chunked(Chunk),
    /// An upgraded connection: everything belongs to it, to the end.
    Tunnel,
}

/// Where in the chunked coding the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// In `chunk-size`, after so many digits.
    Size {
        /// The value of the digits so far.
        value: u64,
        /// How many there were.
        digits: u8,
    },
    /// In `chunk-ext`, after so many bytes of it.
    Extension {
        /// The chunk's size.
        value: u64,
        /// Bytes of the extension so far.
        length: u16,
    },
    /// At the LF of the size line.
    SizeLf(u64),
    /// In `chunk-data`, with so many bytes to come.
    Data(u64),
    /// At the CR after the data.
    DataCr,
    /// At the LF after the data.
    DataLf,
    /// At the beginning of a trailer field or of the last CRLF, after so many bytes of trailers.
    TrailerStart(u16),
    /// In a trailer field.
    Trailer(u16),
    /// At the LF of a trailer field.
    TrailerLf(u16),
    /// At the last LF.
    EndLf,
}

/// The most bytes of one chunk's extension: enough for those in use, too few to hide in (CVE-2023-39326).
const EXTENSION_MAX: u16 = 256;
/// The most bytes of trailers.
const TRAILERS_MAX: u16 = 8 * 1024;
/// The most digits of a chunk's size: 2^60 bytes.
const SIZE_DIGITS_MAX: u8 = 15;

/// The bytes are no chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl Framing {
    /// A chunked body at its beginning.
    pub const CHUNKED: Self = Self::Chunked(Chunk::Size { value: 0, digits: 0 });

    /// A body of this length.
    #[must_use]
    pub const fn of_length(length: u64) -> Self {
        if length == 0 { Self::Done } else { Self::Length(length) }
    }

    /// Is the body over?
    #[must_use]
    pub const fn is_done(self) -> bool {
        matches!(self, Self::Done)
    }

    /// Takes note of `bytes`, the next that came, and says how many of them belong to the body.
    ///
    /// # Errors
    /// [`Malformed`] at the first byte that cannot be; the framing is of no use afterwards.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        self.feed_with(bytes, |_| ())
    }

    /// The same; `content` is given what the body is without its coding, piece by piece.
    ///
    /// # Errors
    /// As of [`Self::feed`].
    pub fn feed_with(&mut self, bytes: &[u8], mut content: impl FnMut(&[u8])) -> Result<usize, Malformed> {
        match self {
            Self::Done => Ok(0),
            Self::Tunnel => {
                content(bytes);
                Ok(bytes.len())
            }
            Self::Length(left) => {
                let (taken, rest) = take(*left, bytes.len());
                content(bytes.get(..taken).unwrap_or_default());
                *self = Self::of_length(rest);
                Ok(taken)
            }
            Self::Chunked(chunk) => {
                let mut at = 0;
                while let Some(&byte) = bytes.get(at) {
                    if let Chunk::Data(left) = *chunk {
                        let (taken, rest) = take(left, bytes.len() - at);
                        content(bytes.get(at..at + taken).unwrap_or_default());
                        at += taken;
                        *chunk = if rest == 0 { Chunk::DataCr } else { Chunk::Data(rest) };
                        continue;
                    }
                    at += 1;
                    match chunk.next(byte)? {
                        Some(next) => *chunk = next,
                        None => {
                            *self = Self::Done;
                            break;
                        }
                    }
                }
                Ok(at)
            }
        }
    }
}

/// Of `left` bytes, `available` are here: how many can be taken, and how many are left then.
fn take(left: u64, available: usize) -> (usize, u64) {
    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(available);
    (taken, left - taken as u64)
}

impl Chunk {
    /// The state after this byte; `None` at the end of the body.
    fn next(self, byte: u8) -> Result<Option<Self>, Malformed> {
        let next = match (self, byte) {
            (Self::Size { value, digits }, _) if byte.is_ascii_hexdigit() && digits < SIZE_DIGITS_MAX => {
                let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
                Self::Size { value: value << 4 | u64::from(digit), digits: digits + 1 }
            }
            (Self::Size { value, digits: 1.. }, b'\r') => Self::SizeLf(value),
            (Self::Size { value, digits: 1.. }, b';') => Self::Extension { value, length: 0 },
            (Self::Extension { value, .. }, b'\r') => Self::SizeLf(value),
            (Self::Extension { value, length }, b'\t' | b' '..=b'~' | 0x80..) if length < EXTENSION_MAX => {
                Self::Extension { value, length: length + 1 }
            }
            (Self::SizeLf(0), b'\n') => Self::TrailerStart(0),
            (Self::SizeLf(size), b'\n') => Self::Data(size),
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::Size { value: 0, digits: 0 },
            (Self::TrailerStart(_), b'\r') => Self::EndLf,
            (Self::TrailerStart(length), b'!'..=b'~') if length < TRAILERS_MAX => Self::Trailer(length + 1),
            (Self::Trailer(length), b'\r') => Self::TrailerLf(length),
            (Self::Trailer(length), b'\t' | b' '..=b'~' | 0x80..) if length < TRAILERS_MAX => Self::Trailer(length + 1),
            (Self::TrailerLf(length), b'\n') => Self::TrailerStart(length),
            (Self::EndLf, b'\n') => return Ok(None),
            _ => return Err(Malformed),
        };
        Ok(Some(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ends_at(body: &[u8]) -> Result<Option<usize>, Malformed> {
        let mut framing = Framing::CHUNKED;
        let taken = framing.feed(body)?;
        Ok(framing.is_done().then_some(taken))
    }

    #[test]
    fn chunked_bodies_end_where_they_end() {
        assert_eq!(ends_at(b"0\r\n\r\nGET /"), Ok(Some(5)));
        assert_eq!(ends_at(b"3\r\nabc\r\n0\r\n\r\n"), Ok(Some(13)));
        assert_eq!(ends_at(b"A;x=y\r\n0123456789\r\n0\r\nT: v\r\n\r\nrest"), Ok(Some(30)));
        assert_eq!(ends_at(b"3\r\nab"), Ok(None));
        for bad in [
            &b"\r\n"[..],
            b";\r\n",
            b"g\r\n",
            b"3\nabc",
            b"3\r\nabcd",
            b"3 \r\n",
            b"-1\r\n",
            b"0x3\r\n",
            b"0\r\n\n",
            b"1234567890123456\r\n",
            b"3\r\nabc\n",
            b"0\r\n T: v\r\n",
            b"0\r\nT\n",
        ] {
            assert_eq!(ends_at(bad), Err(Malformed), "{}", bad.escape_ascii());
        }
    }

    proptest! {
        /// However the bytes are cut, the body ends at the same place, and its content is the same.
        #[test]
        fn cuts_do_not_matter(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
                              cuts in prop::collection::vec(1usize..9, 1..200)) {
            let mut body = Vec::new();
            for chunk in &chunks {
                body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                body.extend_from_slice(chunk);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"0\r\n\r\n");
            let length = body.len();
            body.extend_from_slice(b"GET / HTTP/1.1\r\n");
            let (mut framing, mut at, mut content) = (Framing::CHUNKED, 0, Vec::new());
            for cut in cuts.iter().cycle() {
                let piece = &body[at..(at + cut).min(body.len())];
                at += framing.feed_with(piece, |data| content.extend_from_slice(data)).unwrap();
                if framing.is_done() || at == body.len() { break; }
            }
            prop_assert_eq!(at, length);
            prop_assert_eq!(content, chunks.concat());
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Framing::CHUNKED.clone().feed(&bytes);
        }
    }
}
