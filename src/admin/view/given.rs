//! What requests say: members of bodies and query strings, read so that every fault is told at once.
//!
//! A body's members are [`Given`], which takes any JSON value; the endpoint reads each into [`Faults`], and only what
//! had none goes on. So a request with three wrong fields is answered with all three (422). What is wrong as JSON, or
//! a member that nobody knows, never comes here: `extract` refuses it; what a name or a time is, say `rules`.
//! Used by the endpoint groups.

use std::fmt::Display;

use axum::http::StatusCode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use crate::admin::problem::{Answer, Problem};
use crate::credential::MOST_LISTED;
use crate::lifecycle::Limit;

/// A member of a body, whatever it holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Given<T> {
    /// It is not there.
    #[default]
    Absent,
    /// `null`.
    Null,
    /// Of the right kind.
    Value(T),
    /// Of another kind, and how it should be.
    Wrong(String),
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(from)?;
        if value.is_null() {
            return Ok(Self::Null);
        }
        Ok(T::deserialize(value).map_or_else(|error| Self::Wrong(expected(&error.to_string())), Self::Value))
    }
}

/// Of serde's message only what was expected: what was given may be a secret in the wrong place.
fn expected(message: &str) -> String {
    match message.split_once(", expected ") {
        Some((_, expected)) => format!("expected {expected}"),
        None => "is not of the right kind".to_owned(),
    }
}

/// What is wrong with a request, field by field.
#[derive(Debug, Default)]
pub struct Faults(Vec<(String, String)>);

impl Faults {
    /// Notes one.
    pub fn add(&mut self, field: impl Into<String>, detail: impl Into<String>) {
        self.0.push((field.into(), detail.into()));
    }

    /// A member that must be there.
    pub fn required<T, U, E: Display>(
        &mut self,
        field: &str,
        given: Given<T>,
        read: impl FnOnce(T) -> Result<U, E>,
    ) -> Option<U> {
        if given.is_absent() {
            self.add(field, "is required");
        }
        self.optional(field, given, read)
    }

    /// A member that may be left out.
    pub fn optional<T, U, E: Display>(
        &mut self,
        field: &str,
        given: Given<T>,
        read: impl FnOnce(T) -> Result<U, E>,
    ) -> Option<U> {
        match given {
            Given::Absent => None,
            Given::Null => {
                self.add(field, "must not be null");
                None
            }
            Given::Value(value) => self.check(field, read(value)),
            Given::Wrong(how) => {
                self.add(field, how);
                None
            }
        }
    }

    /// A member that may be left out, and for which `null` means that there is no such limit.
    pub fn limit<T, U, E: Display>(
        &mut self,
        field: &str,
        given: Given<T>,
        read: impl FnOnce(T) -> Result<U, E>,
    ) -> Limit<U> {
        match given {
            Given::Null => Limit::Lift,
            given => self.optional(field, given, read).map_or(Limit::Keep, Limit::Set),
        }
    }

    /// A parameter of a query string.
    pub fn parameter<U, E: Display>(
        &mut self,
        name: &str,
        given: Option<String>,
        read: impl FnOnce(String) -> Result<U, E>,
    ) -> Option<U> {
        given.and_then(|text| self.check(name, read(text)))
    }

    /// A list of which each item is read; at least one, at most [`MOST_LISTED`]. What is there twice counts once.
    pub fn list<U: PartialEq, E: Display>(
        &mut self,
        field: &str,
        given: Given<Vec<String>>,
        read: impl Fn(&str) -> Result<U, E>,
    ) -> Limit<Vec<U>> {
        let items = self.limit(field, given, |items| match items.len() {
            0 => Err("must hold something; null is for no such limit".to_owned()),
            1..=MOST_LISTED => Ok(items),
            many => Err(format!("has at most {MOST_LISTED} items; these are {many}")),
        });
        let Limit::Set(items) = items else {
            return if items == Limit::Lift { Limit::Lift } else { Limit::Keep };
        };
        let mut read_items = Vec::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            match self.check(&format!("{field}[{i}]"), read(item)) {
                Some(item) if !read_items.contains(&item) => read_items.push(item),
                _ => {}
            }
        }
        Limit::Set(read_items)
    }

    fn check<U, E: Display>(&mut self, field: &str, read: Result<U, E>) -> Option<U> {
        read.map_err(|error| self.add(field, error.to_string())).ok()
    }

    /// What was made of the request, if nothing is wrong with it.
    ///
    /// # Errors
    /// 422 `invalid-request` with all that is.
    pub fn finish<T>(self, made: Option<T>) -> Answer<T> {
        match made {
            Some(made) if self.0.is_empty() => Ok(made),
            _ => Err(self.problem()),
        }
    }

    fn problem(self) -> Problem {
        let detail = match self.0.as_slice() {
            [(field, _)] => format!("{field} is not as it must be"),
            many => format!("{} fields are not as they must be", many.len()),
        };
        let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-request", detail);
        self.0.into_iter().fold(problem, |problem, (field, detail)| problem.field(field, detail))
    }
}

/// For what is made anew: `null` and absent are the same.
pub fn set<T>(limit: Limit<T>) -> Option<T> {
    match limit {
        Limit::Set(value) => Some(value),
        Limit::Keep | Limit::Lift => None,
    }
}

impl<T> Given<T> {
    fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::view::rules::{network, word};
    use crate::credential::Role;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[serde(default)]
        a: Given<String>,
        #[serde(default)]
        b: Given<u32>,
        #[serde(default)]
        c: Given<Vec<String>>,
    }

    fn read(text: &str) -> Sample {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn absent_null_value_and_wrong_are_told_apart() {
        let sample = read(r#"{"a":null,"b":"x"}"#);
        assert_eq!((sample.a, sample.c), (Given::Null, Given::Absent));
        assert!(matches!(sample.b, Given::Wrong(how) if how.contains("expected u32")));
        assert_eq!(read(r#"{"b":7}"#).b, Given::Value(7));
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let mut faults = Faults::default();
        let sample = read(r#"{"b":"x","c":["10.0.0.0/8","10.0.0.0/33","10.0.0.0/8"]}"#);
        assert!(faults.required("a", sample.a, |text| word::<Role>(&text)).is_none());
        assert!(faults.optional("b", sample.b, Ok::<_, String>).is_none());
        assert!(matches!(faults.list("c", sample.c, network), Limit::Set(networks) if networks.len() == 1));
        let fields: Vec<&str> = faults.0.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(fields, ["a", "b", "c[1]"]);
        assert!(faults.finish(Some(())).is_err());
    }

    #[test]
    fn lists_are_kept_lifted_or_replaced_and_never_empty() {
        let mut faults = Faults::default();
        assert_eq!(faults.list("c", Given::Absent, network), Limit::Keep);
        assert_eq!(faults.list("c", Given::Null, network), Limit::Lift);
        assert!(faults.0.is_empty());
        faults.list("c", Given::Value(vec![]), network);
        faults.list("c", Given::Value(vec!["::1".to_owned(); MOST_LISTED + 1]), network);
        assert_eq!(faults.0.len(), 2);
    }
}
