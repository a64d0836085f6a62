//! Operators and their sessions, as stored. Types alone; digests, never tokens.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::clock::WallTime;
use crate::credential::{KeyId, SecretDigest};

/// What an operator may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OperatorRole {
    /// See what is no secret.
    Viewer,
    /// Everything.
    Admin,
}

impl OperatorRole {
    /// As stored and printed: `viewer` or `admin`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for OperatorRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Neither `viewer` nor `admin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an operator's role is admin or viewer")]
pub struct OperatorRoleError;

impl FromStr for OperatorRole {
    type Err = OperatorRoleError;

    /// Reads in any case.
    fn from_str(s: &str) -> Result<Self, OperatorRoleError> {
        [Self::Viewer, Self::Admin].into_iter().find(|r| r.as_str().eq_ignore_ascii_case(s)).ok_or(OperatorRoleError)
    }
}

impl<'de> Deserialize<'de> for OperatorRole {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An operator as stored.
#[derive(Clone, Debug)]
pub struct Operator {
    /// The id in its first token. Stays when the token is replaced.
    pub id: KeyId,
    /// For people; unique.
    pub name: String,
    /// What it may do.
    pub role: OperatorRole,
    /// SHA-256 of the token.
    pub digest: SecretDigest,
    /// When it was made.
    pub created_at: WallTime,
    /// When a session was last opened.
    pub last_login: Option<WallTime>,
}

/// A browser's session as stored.
#[derive(Clone, Debug)]
pub struct Session {
    /// SHA-256 of the cookie's value.
    pub digest: SecretDigest,
    /// Whose.
    pub operator: KeyId,
    /// Where it was opened from.
    pub address: String,
    /// When it was opened.
    pub created_at: WallTime,
    /// When it was last used, to the minute or so.
    pub seen_at: WallTime,
    /// It ends then, however much it is used.
    pub expires_at: WallTime,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_words_and_ordered_by_what_they_may() {
        assert!(OperatorRole::Viewer < OperatorRole::Admin);
        for role in [OperatorRole::Viewer, OperatorRole::Admin] {
            assert_eq!(role.to_string().parse(), Ok(role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
            assert_eq!(serde_json::from_value::<OperatorRole>(role.as_str().to_uppercase().into()).unwrap(), role);
        }
        assert!("root".parse::<OperatorRole>().is_err());
    }
}
