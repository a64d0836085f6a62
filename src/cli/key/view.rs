//! An API key as it is printed: JSON fields, a state in words.

use comfy_table::{Cell, Color};
use serde_json::{Map, Value};

use crate::admin::view::{KeyView, is_expired};
use crate::cli::output::{Output, cell};
use crate::clock::WallTime;
use crate::credential::KeyState;
use crate::store::{ApiKey, Usage};

/// A key as the API shows it. Never a secret.
pub(super) fn key_and_usage(key: &ApiKey, usage: &Usage, now: WallTime) -> Map<String, Value> {
    match serde_json::to_value(KeyView::new(key, usage, now)) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

/// The state in one word, as people understand it.
pub(super) fn state(key: &ApiKey, now: WallTime) -> &'static str {
    if key.state == KeyState::Active && is_expired(key, now) { "expired" } else { key.state.as_str() }
}

/// `Never`, or when in UTC.
pub(super) fn last_login(usage: &Usage) -> String {
    usage.last_login.map_or_else(|| "Never".to_owned(), WallTime::for_people)
}

/// The row of a table: name and description, id, role, last login, state.
pub(super) fn row(output: Output, key: &ApiKey, usage: &Usage, now: WallTime) -> Vec<Cell> {
    let mut name = crate::cli::output::clean(key.name.as_str());
    if !key.description.is_empty() {
        name.push('\n');
        name.push_str(&crate::cli::output::clean(&key.description));
    }
    let state = match state(key, now) {
        active if key.state == KeyState::Active && active == "active" => cell(&active),
        other => output.marked(other, Color::Yellow),
    };
    vec![Cell::new(name), cell(&key.id), cell(&key.role), cell(&last_login(usage)), state]
}

/// The columns of [`row`].
pub(super) const HEADER: [&str; 5] = ["Name / Desc", "ID", "Role", "Last Login", "State"];
/// Which of them is the id.
pub(super) const ID: usize = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::{KeyId, Policy, Role, SecretDigest};

    fn sample(expires_at: Option<u64>, state: KeyState) -> ApiKey {
        ApiKey {
            id: KeyId::parse(b"0123456789ab").unwrap(),
            name: "reports".parse().unwrap(),
            description: "line\nline\x1b[2J".to_owned(),
            role: Role::ReadOnly,
            state,
            policy: Policy { expires_at: expires_at.map(WallTime::from_millis), ..Policy::default() },
            digest: SecretDigest::ERASED,
            epoch: 0,
            created_at: WallTime::EPOCH,
            updated_at: WallTime::EPOCH,
            revision: 3,
        }
    }

    #[test]
    fn the_fields_are_those_of_the_contract() {
        let fields = key_and_usage(&sample(None, KeyState::Active), &Usage::default(), WallTime::EPOCH);
        for name in ["id", "name", "description", "role", "state", "last_login", "last_address", "use_count"] {
            assert!(fields.contains_key(name), "{name}");
        }
        assert_eq!(fields["role"], "READONLY");
        assert_eq!(fields["state"], "active");
        assert_eq!(fields["last_login"], Value::Null);
        assert!(!fields.contains_key("digest"));
    }

    #[test]
    fn states_and_logins_are_words() {
        let now = WallTime::from_millis(10);
        assert_eq!(state(&sample(Some(10), KeyState::Active), now), "expired");
        assert_eq!(state(&sample(Some(11), KeyState::Active), now), "active");
        assert_eq!(state(&sample(Some(10), KeyState::Disabled), now), "disabled");
        assert_eq!(last_login(&Usage::default()), "Never");
        let used = Usage { last_login: Some(WallTime::from_millis(1_801_396_800_000)), ..Usage::default() };
        assert_eq!(last_login(&used), "2027-01-31 12:00:00");
    }
}
