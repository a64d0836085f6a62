//! JSON objects in which every member has one value: what one reader takes is what every reader takes (RFC 8259, section 4,
//! leaves it open which of two members of one name counts).

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

/// Reads an object without duplicate members; `T` takes the members that it knows. `None` for everything else.
#[must_use]
pub fn object<'j, T: Deserialize<'j>>(json: &'j [u8]) -> Option<T> {
    // Also what nobody reads must be text.
    let json = std::str::from_utf8(json).ok()?;
    let _: Unique = serde_json::from_str(json).ok()?;
    serde_json::from_str(json).ok()
}

/// An object whose members differ in their names.
struct Unique;

impl<'j> Deserialize<'j> for Unique {
    fn deserialize<D: Deserializer<'j>>(from: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'j> Visitor<'j> for Members {
            type Value = Unique;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'j>>(self, mut map: A) -> Result<Unique, A::Error> {
                let mut names: BTreeSet<Cow<'j, str>> = BTreeSet::new();
                while let Some(name) = map.next_key()? {
                    map.next_value::<IgnoredAny>()?;
                    if !names.insert(name) {
                        return Err(A::Error::custom("a member is there twice"));
                    }
                }
                Ok(Unique)
            }
        }
        from.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn members_are_there_once_and_objects_are_objects() {
        assert!(object::<Value>(br#"{"a":1,"b":{"a":2}}"#).is_some());
        assert!(object::<Value>(b"{\"a\":\"\xff\"}").is_none());
        for odd in
            [r#"{"a":1,"a":1}"#, r#"{"a":1,"\u0061":2}"#, "[]", "1", "null", "", "{", "{}{}", "{\"a\":1,}", "{}x"]
        {
            assert!(object::<Value>(odd.as_bytes()).is_none(), "{odd}");
        }
    }
}
