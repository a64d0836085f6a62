//! A duration or a size as it is written in the file. What it means, and within which bounds, is for `value` to say.

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

/// A duration or a size: text with a unit. A bare number is taken in as well, to be refused with its place and reason.
pub(super) enum Quantity {
    Text(String),
    Bare,
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Quantity;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number with its unit, in quotes")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Quantity, E> {
                Ok(Quantity::Text(text.to_owned()))
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<Quantity, E> {
                Ok(Quantity::Bare)
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<Quantity, E> {
                Ok(Quantity::Bare)
            }
        }
        from.deserialize_any(Any)
    }
}
