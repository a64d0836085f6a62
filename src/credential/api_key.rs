//! What an API key is besides its secret: name, role, state, policy.

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::clock::WallTime;

/// What an API key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Role {
    /// Safe methods only.
    #[serde(rename = "READONLY")]
    ReadOnly,
    /// Every method.
    #[serde(rename = "ADMIN")]
    Admin,
}

impl Role {
    /// As printed: `READONLY` or `ADMIN`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "READONLY",
            Self::Admin => "ADMIN",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Neither `READONLY` nor `ADMIN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a role is READONLY or ADMIN")]
pub struct RoleError;

impl FromStr for Role {
    type Err = RoleError;

    /// Reads in any case.
    fn from_str(s: &str) -> Result<Self, RoleError> {
        [Self::ReadOnly, Self::Admin].into_iter().find(|r| r.as_str().eq_ignore_ascii_case(s)).ok_or(RoleError)
    }
}

impl<'de> Deserialize<'de> for Role {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The state of an API key. (Expired is not a state: it is what the clock says of `expires_at`.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// It may be used.
    Active,
    /// It is refused until it is enabled.
    Disabled,
    /// A tombstone: name freed, digest erased, id never used again.
    Deleted,
}

impl KeyState {
    /// As stored and printed: `active`, `disabled`, `deleted`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Deleted => "deleted",
        }
    }
}

impl FromStr for KeyState {
    type Err = ();

    fn from_str(s: &str) -> Result<Self, ()> {
        [Self::Active, Self::Disabled, Self::Deleted].into_iter().find(|k| k.as_str() == s).ok_or(())
    }
}

/// When and from where a key may be used. An absent list allows all; a present one is never empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Refused from this moment on.
    #[serde(skip)]
    pub expires_at: Option<WallTime>,
    /// Client addresses must be in one of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_networks: Option<Vec<IpNet>>,
    /// Labels of the routes that it may use (`/reports`, `api.example.org/`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_routes: Option<Vec<String>>,
}

/// The name of an API key ("Application Name"): 1 to 128 characters, none a control character, not only spaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct KeyName(String);

impl KeyName {
    /// The most characters that a name may have.
    pub const MAX_CHARS: usize = 128;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Why a text is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyNameError {
    /// No characters, or only white space.
    #[error("a name must not be empty")]
    Empty,
    /// More than [`KeyName::MAX_CHARS`].
    #[error("a name has at most 128 characters; this one has {0}")]
    TooLong(usize),
    /// A control character.
    #[error("a name must not hold control characters; character {0} is one")]
    Control(usize),
    /// White space at an end, which nobody would see.
    #[error("a name must not begin or end with white space")]
    Padded,
}

impl FromStr for KeyName {
    type Err = KeyNameError;

    fn from_str(s: &str) -> Result<Self, KeyNameError> {
        let count = s.chars().count();
        if s.trim().is_empty() {
            return Err(KeyNameError::Empty);
        }
        if count > Self::MAX_CHARS {
            return Err(KeyNameError::TooLong(count));
        }
        if let Some(at) = s.chars().position(char::is_control) {
            return Err(KeyNameError::Control(at + 1));
        }
        if s.trim() != s {
            return Err(KeyNameError::Padded);
        }
        Ok(Self(s.to_owned()))
    }
}
