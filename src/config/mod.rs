//! Configuration: the file as written (`file`, `quantity`, `names`), checked and completed (`resolve`, `upstreams`,
//! `routes`, `token_exchange`, `admin`, `value`) into [`Config`], and what is said when it does not hold (`error`).
//!
//! All that is wrong with values is told at once, each with file, line, column and key; text that is no TOML, and the
//! first value of a type that its setting cannot have, end the reading there. Never here: the environment and command
//! line, which `app` and `cli` read, and any look at what the settings point to. Called by `app`, for start-up and
//! reload, and by `cli` for `check` and `init`.

mod admin;
mod error;
mod file;
mod names;
mod quantity;
mod resolve;
pub mod resolved;
mod routes;
#[cfg(test)]
mod tests;
mod token_exchange;
mod upstreams;
mod value;

use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::Path;

use serde::Deserialize as _;
use toml::de::{DeTable, Deserializer};

pub use error::{ConfigError, Problem};
pub use resolved::Config;

use error::{Report, may_hold_secret};

/// The most bytes that a configuration file may have: 1 MiB.
pub const MAX_BYTES: u64 = 1024 * 1024;

/// What `keygate init` writes as `keygate.toml` in an empty directory.
#[must_use]
pub fn starter() -> &'static str {
    include_str!("starter.toml")
}

/// An address as `token_exchange.url` has it: scheme, host and perhaps a port.
///
/// # Errors
/// What is wrong with it, and what was expected.
pub fn origin(text: &str) -> Result<String, String> {
    token_exchange::origin(text).map_err(|(what, expected)| format!("it {what}; {expected}"))
}

/// Reads and checks the configuration in `path`.
///
/// # Errors
/// When the file is missing, cannot be read, is too large, or does not hold.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let unreadable = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => ConfigError::Missing { file: path.to_owned() },
        _ => ConfigError::Unreadable { file: path.to_owned(), source },
    };
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    match String::from_utf8(bytes) {
        Ok(text) => parse(&text, path),
        Err(e) if e.as_bytes().len() as u64 > MAX_BYTES => Err(ConfigError::TooLarge { file: path.to_owned() }),
        Err(e) => {
            let at = e.utf8_error().valid_up_to();
            let sound = String::from_utf8_lossy(e.as_bytes().get(..at).unwrap_or_default()).into_owned();
            let mut report = Report::new(&sound);
            refuse_syntax(&mut report, &(at..at), "is not UTF-8", "expected UTF-8 text");
            Err(refused(report, path))
        }
    }
}

/// Checks a configuration that was read from `file`; relative paths in it are relative to that file's directory.
///
/// # Errors
/// When the text is too large or does not hold.
pub fn parse(text: &str, file: &Path) -> Result<Config, ConfigError> {
    if text.len() as u64 > MAX_BYTES {
        return Err(ConfigError::TooLarge { file: file.to_owned() });
    }
    let mut report = Report::new(text);
    let mut table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(e) => {
            let (what, expected) = e.message().split_once(", expected ").unwrap_or((e.message(), "nothing"));
            let expected = match (what, expected) {
                ("duplicate key", _) => "each key once",
                (_, "nothing") => "TOML: name = value, text in quotes",
                (_, expected) => expected,
            };
            let span = e.span().unwrap_or_default();
            refuse_syntax(&mut report, &span, &format!("is not TOML: {what}"), &format!("expected {expected}"));
            return Err(refused(report, file));
        }
    };
    names::check(table.get_mut(), &file::ROOT, "", &mut report);
    let raw = match file::Raw::deserialize(Deserializer::from(table)) {
        Ok(raw) => raw,
        Err(e) => {
            refuse_type(&mut report, text, &e);
            return Err(refused(report, file));
        }
    };
    let config = resolve::resolve(&raw, file, &mut report);
    report.into_error(file).map_or(Ok(config), Err)
}

/// The error of a report in which something was noted.
fn refused(report: Report<'_>, file: &Path) -> ConfigError {
    report.into_error(file).unwrap_or(ConfigError::Refused { problems: Vec::new() })
}

/// Notes that the text is no TOML at `span`, under the name of the setting in that line as far as it can be told.
fn refuse_syntax(report: &mut Report<'_>, span: &Range<usize>, what: &str, expected: &str) {
    let mut lines = report.text_through(span.start).lines().rev().map(str::trim);
    let line = lines.next().unwrap_or("");
    let header = |line: &str| line.trim_start_matches('[').split(']').next().unwrap_or("").trim().to_owned();
    let key = if line.starts_with('[') {
        header(line)
    } else {
        let name = line.split('=').next().unwrap_or("").trim();
        match lines.find(|line| line.starts_with('[')).map(header) {
            Some(table) if !name.is_empty() => format!("{table}.{name}"),
            _ => name.to_owned(),
        }
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let named = !key.is_empty() && key.chars().all(plain) && !may_hold_secret(&key);
    report.refuse(span, if named { &key } else { "syntax" }, what, expected);
}

/// Notes that a value has a type that its setting cannot have. The library's message repeats the value, which may be
/// a secret, so it is told from the types alone.
fn refuse_type(report: &mut Report<'_>, text: &str, error: &toml::de::Error) {
    let span = error.span().unwrap_or_default();
    let root = DeTable::parse(text).ok();
    let key = root.and_then(|root| names::key_at(root.get_ref(), span.start)).unwrap_or_else(|| "(file)".to_owned());
    let message = error.message();
    let kind = message.strip_prefix("invalid type: ").map_or("does not fit", |given| {
        [
            ("string", "is text"),
            ("integer", if message.ends_with("i64") { "is too large" } else { "is a number" }),
            ("floating", "is a number with a fraction"),
            ("boolean", "is true or false"),
            ("sequence", "is a list"),
            ("map", "is a table or a date"),
        ]
        .into_iter()
        .find_map(|(start, kind)| given.starts_with(start).then_some(kind))
        .unwrap_or("has another type")
    });
    let expected = match message.rsplit_once(", expected ").map_or("", |(_, expected)| expected) {
        "i64" => "a whole number without quotes",
        "a boolean" => "true or false without quotes",
        "a string" => "text in quotes",
        "a sequence" => "a list: [ … ]",
        other if other.starts_with("a number with") || other.starts_with('"') => other,
        _ => "the form that config/keygate.toml shows",
    };
    report.refuse(&span, &key, kind, format!("expected {expected}"));
}
