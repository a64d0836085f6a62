//! What is said of a configuration that is refused: where, which key, what is wrong, what was expected.
//!
//! Never here: the checks themselves. Values are quoted through [`shown`] alone, which holds back whatever looks
//! like a secret; values of `[secrets]` and of `store.url` are never quoted. Called by the rest of `config`.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::credential;

/// The most bytes of a value or name that a message repeats.
const SHOWN_MAX: usize = 60;

/// The shortest run of letters and digits that is taken for a secret. The body of a credential has 43 characters,
/// its MAC 40, a master key 64; a host name or a path rarely has as many in one run.
const SECRET_RUN: usize = 40;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No such file.
    #[error(
        "{}: there is no such file; expected a configuration: `keygate init` makes one, `--config FILE` names \
         another",
        file.display()
    )]
    Missing {
        /// The file that was asked for.
        file: PathBuf,
    },
    /// The operating system refused to read it.
    #[error("{}: cannot be read: {source}", file.display())]
    Unreadable {
        /// The file that was asked for.
        file: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// More bytes than [`super::MAX_BYTES`].
    #[error("{}: is larger than 1 MiB; expected a keygate configuration", file.display())]
    TooLarge {
        /// The file that was asked for.
        file: PathBuf,
    },
    /// It was read and does not hold; every problem that was found, in the order of the file, at least one.
    #[error("{}", Lines(problems))]
    Refused {
        /// What is wrong, one entry a place.
        problems: Vec<Problem>,
    },
}

impl ConfigError {
    /// What is wrong, place by place; empty when the file could not be read at all.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Refused { problems } => problems,
            Self::Missing { .. } | Self::Unreadable { .. } | Self::TooLarge { .. } => &[],
        }
    }
}

/// One thing that is wrong. Prints as `file:line:column: key: what is wrong; what was expected`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}:{column}: {key}: {what}; {expected}", file.display())]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The setting, with the tables that it is in: `server.limits.max_body`.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What would have been right: "expected …" or "did you mean …?".
    pub expected: String,
}

/// Problems, one a line.
struct Lines<'a>(&'a [Problem]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

/// Collects what is wrong while a text is checked, by byte offset.
pub(super) struct Report<'t> {
    text: &'t str,
    issues: Vec<Issue>,
}

struct Issue {
    at: usize,
    key: String,
    what: String,
    expected: String,
}

impl<'t> Report<'t> {
    /// Nothing is wrong with `text` yet.
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, issues: Vec::new() }
    }

    /// Notes that `key`, whose place is `span`, is wrong.
    pub(super) fn refuse(
        &mut self,
        span: &Range<usize>,
        key: &str,
        what: impl Into<String>,
        expected: impl Into<String>,
    ) {
        let (what, expected) = (what.into(), expected.into());
        self.issues.push(Issue { at: span.start, key: key.to_owned(), what, expected });
    }

    /// Notes that `key` asks for `what`, which is known and which this version does not have.
    pub(super) fn not_yet(&mut self, span: &Range<usize>, key: &str, what: &str, instead: impl Into<String>) {
        self.refuse(span, key, format!("this version of keygate does not have {what} yet"), instead);
    }

    /// Is something wrong with `key` already? What follows from that need not be told.
    pub(super) fn knows(&self, key: &str) -> bool {
        self.issues.iter().any(|issue| issue.key == key)
    }

    /// The line of a byte offset, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        place(self.text, at).0
    }

    /// The text up to the end of the line that a byte offset lies in.
    pub(super) fn text_through(&self, at: usize) -> &'t str {
        let at = self.text.floor_char_boundary(at);
        let rest = self.text.get(at..).and_then(|rest| rest.find('\n')).map_or(self.text.len(), |end| at + end);
        self.text.get(..rest).unwrap_or(self.text)
    }

    /// The error that says all of it, if there is anything to say.
    pub(super) fn into_error(mut self, file: &Path) -> Option<ConfigError> {
        self.issues.sort_by_key(|issue| issue.at);
        let problems: Vec<Problem> = self
            .issues
            .into_iter()
            .map(|Issue { at, key, what, expected }| {
                let (line, column) = place(self.text, at);
                Problem { file: file.to_owned(), line, column, key, what, expected }
            })
            .collect();
        (!problems.is_empty()).then_some(ConfigError::Refused { problems })
    }
}

/// Line and column, from 1, of a byte offset; beyond the end is the end.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..text.floor_char_boundary(at)).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}

/// A value or name as a message may repeat it: quoted, escaped, cut short, and not at all if it may hold a secret.
pub(super) fn shown(value: &str) -> String {
    if may_hold_secret(value) {
        return "a value (not shown: it may be a secret)".to_owned();
    }
    match value.get(..value.floor_char_boundary(SHOWN_MAX)) {
        Some(start) if start.len() < value.len() => format!("\"{}…\"", start.escape_debug()),
        _ => format!("\"{}\"", value.escape_debug()),
    }
}

/// Could somebody be harmed by seeing this in a log? A credential of ours, a key, a password in an address.
pub(super) fn may_hold_secret(value: &str) -> bool {
    let word_end = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    value.contains('@')
        || value.split(word_end).any(|word| credential::is_ours(word.as_bytes()))
        || value.split(|c: char| !c.is_ascii_alphanumeric()).any(|run| run.len() >= SECRET_RUN)
}

/// Is the whole value a key or credential, where only the name of one belongs?
pub(super) fn is_secret(value: &str) -> bool {
    let value = value.trim();
    credential::is_ours(value.as_bytes()) || (value.len() == 64 && value.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let text = "a\nä = 1\r\nlast";
        assert_eq!(place(text, 0), (1, 1));
        assert_eq!(place(text, 2), (2, 1));
        assert_eq!(place(text, 3), (2, 1), "inside a character is that character");
        assert_eq!(place(text, 4), (2, 2));
        assert_eq!(place(text, 99), (3, 5));
        assert_eq!(place("", 7), (1, 1));
    }

    #[test]
    fn what_may_be_a_secret_is_not_shown() {
        for secret in
            ["kgs_1_x", "Bearer kg_7_abc", "x=kgo_1", &"0a".repeat(32), &"Z".repeat(43), "http://user:word@host/"]
        {
            assert!(!shown(secret).contains(secret), "{secret}");
        }
        for plain in ["127.0.0.1:9000", "/reports/kg", "api.example.org", "10 s"] {
            assert_eq!(shown(plain), format!("\"{plain}\""));
        }
    }

    #[test]
    fn long_and_odd_values_are_cut_and_escaped() {
        assert_eq!(shown("a\n\u{1b}[31m"), "\"a\\n\\u{1b}[31m\"");
        assert_eq!(shown(&"ä ".repeat(50)), format!("\"{}…\"", "ä ".repeat(20)));
    }
}
