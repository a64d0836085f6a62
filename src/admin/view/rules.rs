//! What a name, a time, a network in a request is: how each is read, and how the API's description says so.
//!
//! The two belong together: what the description allows is accepted, what it forbids is refused. The types here are
//! for the description alone; nothing is ever made of them. Used by the endpoint groups.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use utoipa::openapi::{ArrayBuilder, ObjectBuilder, Ref, RefOr, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::clock::WallTime;
use crate::credential::{KeyName, LONGEST_DESCRIPTION, MOST_LISTED};
pub use crate::credential::{description, network};

/// The most characters of a text that is searched for.
const LONGEST_SEARCH: usize = 128;

/// A name of a key or an operator, in the description.
pub enum Name {}

impl PartialSchema for Name {
    fn schema() -> RefOr<Schema> {
        // Neither a control character anywhere nor white space (Unicode) at an end.
        const INNER: &str = r"[^\x00-\x1f\x7f-\x9f]";
        const OUTER: &str = r"[^\x00-\x20\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]";
        text("A name: 1 to 128 characters, no control characters, no white space at its ends.")
            .min_length(Some(1))
            .max_length(Some(KeyName::MAX_CHARS))
            .pattern(Some(format!("^{OUTER}({INNER}*{OUTER})?$")))
            .examples(["nightly reports"])
            .into()
    }
}

impl ToSchema for Name {}

/// A description, in the description.
pub enum Description {}

impl PartialSchema for Description {
    fn schema() -> RefOr<Schema> {
        text("Free text; of control characters only tab and line feed.")
            .max_length(Some(LONGEST_DESCRIPTION))
            .pattern(Some(r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*$"))
            .examples(["Reads the orders every night; ask finance before you touch it"])
            .into()
    }
}

impl ToSchema for Description {}

/// Networks of clients, in the description.
pub enum Networks {}

impl PartialSchema for Networks {
    fn schema() -> RefOr<Schema> {
        let network = text("A network (CIDR) without bits behind its prefix, or one address.")
            .format(Some(SchemaFormat::Custom("cidr".to_owned())))
            .pattern(Some("^[0-9A-Fa-f:.]{2,45}(/[0-9]{1,3})?$"))
            .examples(["10.0.0.0/8"]);
        list("Networks that clients must be in.").items(network).examples([["10.0.0.0/8", "2001:db8::/32"]]).into()
    }
}

impl ToSchema for Networks {}

/// Labels of routes, in the description. Which labels there are, `openapi` says when it is asked.
pub enum RouteLabels {}

impl PartialSchema for RouteLabels {
    fn schema() -> RefOr<Schema> {
        list("Labels (host and path) of routes.").items(Ref::from_schema_name("RouteLabel")).into()
    }
}

impl ToSchema for RouteLabels {}

fn text(description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).description(Some(description))
}

fn list(description: &str) -> ArrayBuilder {
    ArrayBuilder::new().description(Some(description)).min_items(Some(1)).max_items(Some(MOST_LISTED))
}

/// Names, ids and other words that have a form of their own. Unlike the command line, the API has words in one case.
pub fn word<T: FromStr<Err: Display> + Display>(text: &str) -> Result<T, String> {
    let read: T = text.parse().map_err(|error: T::Err| error.to_string())?;
    if read.to_string() == text { Ok(read) } else { Err(format!("expected {read}")) }
}

/// A text that is searched for; an empty one searches nothing.
pub fn search(text: String) -> Result<Option<String>, String> {
    match text.chars().count() {
        0 => Ok(None),
        count if count > LONGEST_SEARCH => {
            Err(format!("has at most {LONGEST_SEARCH} characters; this one has {count}"))
        }
        _ if text.chars().any(char::is_control) => Err("must not hold control characters".to_owned()),
        _ => Ok(Some(text)),
    }
}

/// The length of a page.
pub fn page_length(text: &str) -> Result<u32, &'static str> {
    const EXPECTED: &str = "expected a number from 1 to 200";
    let is_number = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|n| is_number && (1..=200).contains(n)).ok_or(EXPECTED)
}

/// A version of the shared secret. 7.0 is the same number.
pub fn version(number: &serde_json::Number) -> Result<u32, &'static str> {
    let text = number.to_string();
    let whole = text.strip_suffix(".0").unwrap_or(&text);
    whole.parse().ok().filter(|version| *version > 0).ok_or("expected a whole number from 1 to 4294967295")
}

/// `90d`, `24h`, `15m`, `30s`.
pub fn duration(text: &str) -> Result<Duration, &'static str> {
    const EXPECTED: &str = "expected a whole number of up to five digits with a unit, as in 30s, 15m, 24h, 90d";
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or(EXPECTED)?;
    if digits.is_empty() || digits.len() > 5 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(EXPECTED);
    }
    let count: u64 = digits.parse().map_err(|_| EXPECTED)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(EXPECTED),
    };
    Ok(Duration::from_secs(count * seconds))
}

/// A time after now.
pub fn future(text: &str, now: WallTime) -> Result<WallTime, String> {
    let at = moment(text)?;
    if at > now { Ok(at) } else { Err("is not in the future; to stop a key now, disable it".to_owned()) }
}

/// A time as RFC 3339 section 5.6 writes it, to the millisecond. What is before 1970 counts as 1970.
pub fn moment(text: &str) -> Result<WallTime, &'static str> {
    WallTime::parse_rfc3339(text).ok_or("expected a time such as 2027-01-31T12:00:00Z or 2027-01-31T14:00:00+02:00")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::Role;

    #[test]
    fn an_end_is_in_the_future() {
        let noon = WallTime::from_millis(1_801_396_800_000);
        assert_eq!(moment("2027-01-31T12:00:00Z"), Ok(noon));
        assert!(moment("2027-01-31").is_err(), "a date is no time");
        assert!(future("2027-01-31T12:00:00Z", noon).is_err());
        assert!(future("2027-01-31T12:00:00.001Z", noon).is_ok());
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("90d"), Ok(Duration::from_hours(90 * 24)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert_eq!(duration("15m"), Ok(Duration::from_mins(15)));
        for bad in ["", "d", "90", "1.5h", "-1s", "123456s", "1w", "+1s", " 1s", "1 s", "1ü"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn texts_and_numbers_have_limits() {
        assert_eq!((page_length("1"), page_length("200")), (Ok(1), Ok(200)));
        for bad in ["", "0", "201", "+5", "x", "-1", "99999999999"] {
            assert!(page_length(bad).is_err(), "{bad}");
        }
        assert_eq!(search(String::new()), Ok(None));
        assert!(search("ä".repeat(128)).is_ok() && search("ä".repeat(129)).is_err() && search("\0".into()).is_err());
        assert!(word::<Role>("ADMIN").is_ok() && word::<Role>("admin").is_err() && word::<Role>("x").is_err());
    }
}
