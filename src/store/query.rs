//! What lists are asked for: how keys are narrowed, sorted and paged, and which audit records are wanted.
//!
//! A page of keys begins after a [`KeyCursor`], a place in one order, not after a count: keys that come or go
//! meanwhile neither repeat nor hide others. Types alone; called by whoever lists.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::rows::{ApiKey, Usage};
use crate::clock::WallTime;
use crate::credential::{KeyId, KeyState, Role};

/// How a list of keys is narrowed. What is `None` or `false` does not narrow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFilter {
    /// Only this role.
    pub role: Option<Role>,
    /// Only this state; without it, all but deleted ones.
    pub state: Option<KeyState>,
    /// Only names or descriptions that hold this text, in any case. A text of one or two characters: only names that
    /// begin with it.
    pub text: Option<String>,
    /// Only keys made before this moment without a login since.
    pub unused_since: Option<WallTime>,
    /// Only keys that were seen sending an old shared secret version, and not the current one since.
    pub stale: bool,
}

/// What a list of keys is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeySort {
    /// Name, in lower case.
    #[default]
    Name,
    /// Role as it is written (ADMIN comes first), then name.
    Role,
    /// Last login; `Never` is before all others.
    LastLogin,
    /// When the key was made.
    CreatedAt,
}

impl KeySort {
    /// As written: `name`, `role`, `last_login`, `created_at`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Role => "role",
            Self::LastLogin => "last_login",
            Self::CreatedAt => "created_at",
        }
    }
}

impl fmt::Display for KeySort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Not the name of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("keys are sorted by name, role, last_login or created_at")]
pub struct KeySortError;

impl FromStr for KeySort {
    type Err = KeySortError;

    fn from_str(s: &str) -> Result<Self, KeySortError> {
        let all = [Self::Name, Self::Role, Self::LastLogin, Self::CreatedAt];
        all.into_iter().find(|sort| sort.as_str() == s).ok_or(KeySortError)
    }
}

/// One page of a list of keys.
#[derive(Clone, Debug)]
pub struct KeyQuery {
    /// Which keys.
    pub filter: KeyFilter,
    /// In which order. Keys that are equal in it come by id.
    pub sort: KeySort,
    /// The order turned round, ids included.
    pub descending: bool,
    /// After this place; from the beginning without it.
    pub after: Option<KeyCursor>,
    /// How many at most: 1 to [`KeyQuery::MOST`]. Other numbers are taken for the nearest of these.
    pub limit: u32,
}

impl KeyQuery {
    /// The longest page.
    pub const MOST: u32 = 1_000;
}

impl Default for KeyQuery {
    fn default() -> Self {
        Self { filter: KeyFilter::default(), sort: KeySort::Name, descending: false, after: None, limit: 50 }
    }
}

/// A page of keys.
#[derive(Clone, Debug, Default)]
pub struct KeyPage {
    /// The keys, sorted. Fewer than were asked for, or none, do not mean that the list is at its end: a page ends also
    /// when it took long to find what fits.
    pub keys: Vec<(ApiKey, Usage)>,
    /// Where the next page begins; `None` when this is the last one.
    pub next: Option<KeyCursor>,
}

/// A place in a list of keys: behind a key that may be gone by now.
///
/// As text it is opaque and fits into a URL. It belongs to one order and direction; what narrows the list may change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyCursor {
    #[serde(rename = "s")]
    pub(super) sort: KeySort,
    #[serde(rename = "d")]
    pub(super) descending: bool,
    #[serde(rename = "i", with = "id_text")]
    pub(super) id: KeyId,
    #[serde(rename = "v")]
    pub(super) value: Place,
}

/// What a key is sorted by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Place {
    /// Milliseconds since 1970; -1 stands for Never.
    Time(i64),
    /// Name in lower case.
    Name(String),
    /// Role, and name in lower case.
    Role(Role, String),
}

/// A login that has not been.
pub(super) const NEVER: i64 = -1;

impl KeyCursor {
    /// Is it a place in this order?
    #[must_use]
    pub fn is_of(&self, sort: KeySort, descending: bool) -> bool {
        self.sort == sort && self.descending == descending
    }
}

impl fmt::Display for KeyCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_vec(self).map_err(|_| fmt::Error)?;
        f.write_str(&URL_SAFE_NO_PAD.encode(json))
    }
}

/// Not a cursor that came from a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no cursor of a list of keys")]
pub struct KeyCursorError;

impl FromStr for KeyCursor {
    type Err = KeyCursorError;

    fn from_str(s: &str) -> Result<Self, KeyCursorError> {
        let json = URL_SAFE_NO_PAD.decode(s).map_err(|_| KeyCursorError)?;
        let cursor: Self = serde_json::from_slice(&json).map_err(|_| KeyCursorError)?;
        let fits = matches!(
            (cursor.sort, &cursor.value),
            (KeySort::Name, Place::Name(_))
                | (KeySort::Role, Place::Role(..))
                | (KeySort::LastLogin | KeySort::CreatedAt, Place::Time(_))
        );
        if fits { Ok(cursor) } else { Err(KeyCursorError) }
    }
}

mod id_text {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::credential::KeyId;

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
    pub(super) fn serialize<S: Serializer>(id: &KeyId, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<KeyId, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// How many keys there are of each kind. Deleted ones do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyCounts {
    /// Active ones, expired or not.
    pub active: u64,
    /// Disabled ones.
    pub disabled: u64,
    /// Active ones with a login since the moment that was asked for.
    pub used: u64,
    /// Active ones without any login.
    pub never_used: u64,
    /// Active ones that were seen sending an old shared secret version, and not the current one since.
    pub stale: u64,
}

/// Which audit records are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Only of those whose name or address holds this text, in any case (of ASCII letters).
    pub who: Option<String>,
    /// Only this action (`api_key.create`) or group of actions (`api_key`).
    pub action: Option<String>,
    /// Only what was done to this.
    pub subject: Option<String>,
    /// Not before.
    pub since: Option<WallTime>,
    /// Not at or after.
    pub until: Option<WallTime>,
    /// Only records with a lower id: the next page.
    pub before: Option<u64>,
    /// How many at most.
    pub limit: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(sort: KeySort, value: Place) -> KeyCursor {
        KeyCursor { sort, descending: true, id: KeyId::parse(b"0123456789ab").unwrap(), value }
    }

    #[test]
    fn cursors_come_back_as_they_were_and_fit_into_a_url() {
        for (sort, value) in [
            (KeySort::Name, Place::Name("Ünïcode & \"quotes\" 世界".to_owned())),
            (KeySort::Role, Place::Role(Role::ReadOnly, "x".to_owned())),
            (KeySort::LastLogin, Place::Time(NEVER)),
            (KeySort::CreatedAt, Place::Time(1_801_396_800_000)),
        ] {
            let cursor = cursor(sort, value);
            let text = cursor.to_string();
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{text}");
            assert_eq!(text.parse(), Ok(cursor.clone()));
            assert!(cursor.is_of(sort, true) && !cursor.is_of(sort, false));
        }
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        let unfit = cursor(KeySort::Name, Place::Time(1)).to_string();
        for text in ["", "x", "e30", "{}", &unfit, "bnVsbA"] {
            assert_eq!(text.parse::<KeyCursor>(), Err(KeyCursorError), "{text}");
        }
    }
}
