//! Where a body ends (RFC 9112, sections 6 and 7): told from its bytes, without copying them.
//!
//! One state machine for both codings. It is fed whatever came and says how many of those bytes belong to the
//! body; what follows is the next message's. Of the chunked coding it takes exactly what the grammar allows, since
//! another reader may go on reading where this one stopped: extensions and trailers are read to their last rule,
//! counted and bounded. Of a server it takes a little more, none of which leaves a doubt where the body ends: [`Sender`].

mod extension;

use crate::proxy::headers;
pub use extension::Extension;

/// How a body is framed, and how far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none, or it is over.
    Done,
    /// So many bytes are to come.
    Length(u64),
    /// `Transfer-Encoding: chunked` (RFC 9112, section 7.1).
    Chunked(Chunk, Sender),
    /// An upgraded connection: everything belongs to it, to the end.
    Tunnel,
}

/// Whose body it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Nothing but the grammar: what two readers could take differently lets a request hide in another. And a trailer
    /// must not be named like what keygate acts on.
    Client,
    /// White space where nobody may send it and everybody must bear with it (RFC 9112, sections 5.1 and 7.1.1), folded
    /// trailers (section 5.2), sizes with many zeros, and longer extensions.
    Server,
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
        /// Where in it.
        at: Extension,
    },
    /// At the LF of the size line.
    SizeLf(u64),
    /// In `chunk-data`, with so many bytes to come.
    Data(u64),
    /// At the CR after the data.
    DataCr,
    /// At the LF after the data.
    DataLf,
    /// At the beginning of a trailer field or of the last CRLF.
    TrailerStart(Trailers),
    /// In the name of a trailer field.
    TrailerName(Trailers, Name),
    /// In white space behind the name of a server's.
    TrailerColon(Trailers),
    /// In the value of a trailer field.
    TrailerValue(Trailers),
    /// At the LF of a trailer field.
    TrailerLf(Trailers),
    /// At the last LF.
    EndLf(Trailers),
}

/// What has come of a trailer section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailers {
    /// Bytes, line ends included.
    length: u16,
    fields: u16,
}

/// The beginning of a trailer field's name, as much of it as tells whether keygate acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    bytes: [u8; headers::NAME_MOST],
    length: u8,
}

/// The most bytes of trailers.
const TRAILERS_MAX: u16 = 8 * 1024;
/// The largest chunk: as much as 15 digits can say.
const SIZE_MAX: u64 = (1 << 60) - 1;

/// The bytes are no chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl Framing {
    /// A chunked body of a request, at its beginning.
    pub const CHUNKED: Self = Self::chunked(Sender::Client);

    /// A chunked body at its beginning.
    #[must_use]
    pub const fn chunked(sender: Sender) -> Self {
        Self::Chunked(Chunk::Size { value: 0, digits: 0 }, sender)
    }

    /// A body of this length.
    #[must_use]
    pub const fn of_length(length: u64) -> Self {
        if length == 0 { Self::Done } else { Self::Length(length) }
    }

    /// A chunked body of which the last chunk has come.
    #[must_use]
    pub const fn at_trailers(sender: Sender) -> Self {
        Self::Chunked(Chunk::TrailerStart(Trailers { length: 0, fields: 0 }), sender)
    }

    /// Is the body over?
    #[must_use]
    pub const fn is_done(self) -> bool {
        matches!(self, Self::Done)
    }

    /// Has the last chunk come, and nothing of what follows it?
    #[must_use]
    pub const fn is_at_trailers(self) -> bool {
        matches!(self, Self::Chunked(chunk, _) if chunk.is_at_trailers())
    }

    /// Bytes that were announced and have not come. Where they are more than may come, nobody needs to wait for them.
    #[must_use]
    pub const fn announced(self) -> u64 {
        match self {
            Self::Length(left) | Self::Chunked(Chunk::Data(left) | Chunk::SizeLf(left), _) => left,
            Self::Done | Self::Tunnel | Self::Chunked(..) => 0,
        }
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
    pub fn feed_with(&mut self, bytes: &[u8], content: impl FnMut(&[u8])) -> Result<usize, Malformed> {
        self.feed_until(bytes, content, false)
    }

    /// As [`Self::feed_with`], but stops in front of the first trailer field: what reads trailers looks at them whole.
    ///
    /// # Errors
    /// As of [`Self::feed`].
    pub fn feed_to_trailers(&mut self, bytes: &[u8], content: impl FnMut(&[u8])) -> Result<usize, Malformed> {
        self.feed_until(bytes, content, true)
    }

    fn feed_until(
        &mut self,
        bytes: &[u8],
        mut content: impl FnMut(&[u8]),
        stops_at_trailers: bool,
    ) -> Result<usize, Malformed> {
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
            Self::Chunked(chunk, sender) => {
                let mut at = 0;
                while let Some(&byte) = bytes.get(at) {
                    if let Chunk::Data(left) = *chunk {
                        let (taken, rest) = take(left, bytes.len() - at);
                        content(bytes.get(at..at + taken).unwrap_or_default());
                        at += taken;
                        *chunk = if rest == 0 { Chunk::DataCr } else { Chunk::Data(rest) };
                        continue;
                    }
                    // An empty section passes, and what can be no field is malformed.
                    if stops_at_trailers && chunk.is_at_trailers() && is_token(byte) {
                        break;
                    }
                    at += 1;
                    match chunk.next(byte, *sender)? {
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

/// `tchar` (RFC 9110, section 5.6.2).
pub(crate) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

/// White space within a line: OWS and BWS (RFC 9110, section 5.6.3).
const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// What a field's value may hold (RFC 9110, section 5.5), white space included.
const fn is_text(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

impl Sender {
    /// White space where none may be sent; of a client's, readers differ in where it ends.
    const fn may_space(self, byte: u8) -> bool {
        matches!(self, Self::Server) && is_space(byte)
    }

    /// The most digits of a chunk's size.
    const fn digits_max(self) -> u8 {
        match self {
            Self::Client => 15,
            Self::Server => 16,
        }
    }

    /// The most bytes of one chunk's extension. A client's: enough for those in use, too few to hide in
    /// (CVE-2023-39326).
    const fn extension_max(self) -> u16 {
        match self {
            Self::Client => 256,
            Self::Server => 4 * 1024,
        }
    }

    /// The most trailer fields. A server's are as many as have room.
    const fn trailer_fields_max(self) -> u16 {
        match self {
            Self::Client => 32,
            Self::Server => TRAILERS_MAX,
        }
    }
}

impl Chunk {
    const fn is_at_trailers(self) -> bool {
        matches!(self, Self::TrailerStart(Trailers { length: 0, .. }))
    }

    /// The state after this byte; `None` at the end of the body.
    fn next(self, byte: u8, sender: Sender) -> Result<Option<Self>, Malformed> {
        let next = match (self, byte) {
            (Self::Size { value, digits }, _) if byte.is_ascii_hexdigit() && digits < sender.digits_max() => {
                let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
                if value > SIZE_MAX >> 4 {
                    return Err(Malformed);
                }
                Self::Size { value: value << 4 | u64::from(digit), digits: digits + 1 }
            }
            (Self::Size { value, digits: 1.. }, b'\r') => Self::SizeLf(value),
            (Self::Size { value, digits: 1.. }, b';') => Self::Extension { value, length: 1, at: Extension::Start },
            (Self::Size { value, digits: 1.. }, _) if sender.may_space(byte) => {
                Self::Extension { value, length: 1, at: Extension::Over }
            }
            (Self::Extension { value, at, .. }, b'\r') if at.may_end() => Self::SizeLf(value),
            (Self::Extension { value, length, at }, _) if length < sender.extension_max() => {
                Self::Extension { value, length: length + 1, at: at.next(byte, sender)? }
            }
            (Self::SizeLf(0), b'\n') => Self::TrailerStart(Trailers { length: 0, fields: 0 }),
            (Self::SizeLf(size), b'\n') => Self::Data(size),
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::Size { value: 0, digits: 0 },
            (Self::TrailerStart(trailers), b'\r') => Self::EndLf(trailers.and_a_byte()?),
            (Self::TrailerStart(trailers), _) if is_token(byte) => {
                Self::TrailerName(trailers.and_a_field(sender)?, Name::beginning_with(byte))
            }
            // A value goes on in this line.
            (Self::TrailerStart(trailers @ Trailers { fields: 1.., .. }), _) if sender.may_space(byte) => {
                Self::TrailerValue(trailers.and_a_byte()?)
            }
            (Self::TrailerName(trailers, name), _) if is_token(byte) => {
                Self::TrailerName(trailers.and_a_byte()?, name.and(byte))
            }
            (Self::TrailerName(trailers, name), b':') if name.may_be_sent_by(sender) => {
                Self::TrailerValue(trailers.and_a_byte()?)
            }
            (Self::TrailerName(trailers, _) | Self::TrailerColon(trailers), _) if sender.may_space(byte) => {
                Self::TrailerColon(trailers.and_a_byte()?)
            }
            (Self::TrailerColon(trailers), b':') => Self::TrailerValue(trailers.and_a_byte()?),
            (Self::TrailerValue(trailers), b'\r') => Self::TrailerLf(trailers.and_a_byte()?),
            (Self::TrailerValue(trailers), _) if is_text(byte) => Self::TrailerValue(trailers.and_a_byte()?),
            (Self::TrailerLf(trailers), b'\n') => Self::TrailerStart(trailers.and_a_byte()?),
            (Self::EndLf(trailers), b'\n') => {
                trailers.and_a_byte()?;
                return Ok(None);
            }
            _ => return Err(Malformed),
        };
        Ok(Some(next))
    }
}

impl Trailers {
    fn and_a_byte(self) -> Result<Self, Malformed> {
        if self.length < TRAILERS_MAX { Ok(Self { length: self.length + 1, ..self }) } else { Err(Malformed) }
    }

    fn and_a_field(self, sender: Sender) -> Result<Self, Malformed> {
        if self.fields == sender.trailer_fields_max() {
            return Err(Malformed);
        }
        Self { fields: self.fields + 1, ..self }.and_a_byte()
    }
}

impl Name {
    fn beginning_with(byte: u8) -> Self {
        Self { bytes: [0; headers::NAME_MOST], length: 0 }.and(byte)
    }

    fn and(mut self, byte: u8) -> Self {
        if let Some(place) = self.bytes.get_mut(usize::from(self.length)) {
            *place = byte;
            self.length += 1;
        }
        self
    }

    /// Some readers merge trailers into the head: what a client cannot say there, it cannot say here (RFC 9110, section
    /// 6.5.1).
    fn may_be_sent_by(self, sender: Sender) -> bool {
        sender == Sender::Server || !headers::is_acted_on(self.bytes())
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
