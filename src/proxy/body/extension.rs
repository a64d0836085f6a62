//! What may stand behind a chunk's size (RFC 9112, section 7.1.1), byte by byte. Nothing acts on it, and each reader
//! has to find its end.

use super::{Malformed, Sender, is_text, is_token};

/// Where in `chunk-ext` (RFC 9112, section 7.1.1) the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// Behind `;`.
    Start,
    /// In the name.
    Name,
    /// In white space behind it.
    Named,
    /// Behind `=`.
    Equals,
    /// In a value that is a token.
    Token,
    /// In a value in quotes.
    Quoted,
    /// Behind a backslash in it.
    Escaped,
    /// Behind the last quote, or in white space behind the size or a value.
    Over,
}

impl Extension {
    pub(super) fn next(self, byte: u8, sender: Sender) -> Result<Self, Malformed> {
        Ok(match (self, byte) {
            (Self::Start | Self::Name, _) if is_token(byte) => Self::Name,
            (Self::Name | Self::Named, b'=') => Self::Equals,
            (Self::Equals, b'"') => Self::Quoted,
            (Self::Equals | Self::Token, _) if is_token(byte) => Self::Token,
            // A quoted string (RFC 9110, section 5.6.4): no line ends in it.
            (Self::Quoted, b'"') => Self::Over,
            (Self::Quoted, b'\\') => Self::Escaped,
            (Self::Quoted | Self::Escaped, _) if is_text(byte) => Self::Quoted,
            (Self::Name | Self::Named | Self::Token | Self::Over, b';') => Self::Start,
            _ if sender.may_space(byte) => match self {
                Self::Name | Self::Named => Self::Named,
                Self::Token | Self::Over => Self::Over,
                Self::Start | Self::Equals | Self::Quoted | Self::Escaped => self,
            },
            _ => return Err(Malformed),
        })
    }

    pub(super) const fn may_end(self) -> bool {
        matches!(self, Self::Name | Self::Named | Self::Token | Self::Over)
    }
}
