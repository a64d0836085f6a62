//! A key's policy as it is stored: the expiry in a column of its own, the rest as JSON where there is any. Pure;
//! called by `keys`.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::clock::WallTime;
use crate::credential::Policy;

/// The JSON column. A member that this binary does not know would be a restriction that it does not apply, so it
/// is refused, not ignored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    allowed_networks: Option<Vec<IpNet>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    allowed_routes: Option<Vec<String>>,
}

/// What goes into the JSON column: nothing for a key that may be used from everywhere on every route.
pub(super) fn to_column(policy: &Policy) -> Option<String> {
    let Policy { expires_at: _, allowed_networks, allowed_routes } = policy.clone();
    (allowed_networks.is_some() || allowed_routes.is_some())
        .then(|| serde_json::json!(Stored { allowed_networks, allowed_routes }).to_string())
}

/// Reads both columns. `None`: not a policy, or a list without members, which would be read as "nobody" by one
/// reader and as "everybody" by another.
pub(super) fn from_columns(expires_at: Option<WallTime>, json: Option<&str>) -> Option<Policy> {
    let Some(json) = json else {
        return Some(Policy { expires_at, ..Policy::default() });
    };
    // serde would read an array as the members in their order.
    let object = json.starts_with('{').then_some(json)?;
    let Stored { allowed_networks, allowed_routes } = serde_json::from_str(object).ok()?;
    let holds = allowed_networks.as_ref().is_none_or(|list| !list.is_empty())
        && allowed_routes.as_ref().is_none_or(|list| !list.is_empty());
    holds.then_some(Policy { expires_at, allowed_networks, allowed_routes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_as_it_was() {
        for (networks, routes) in [(None, None), (Some("10.0.0.0/8"), None), (Some("::1/128"), Some("/reports"))] {
            let policy = Policy {
                expires_at: Some(WallTime::from_millis(5)),
                allowed_networks: networks.map(|n| vec![n.parse().unwrap()]),
                allowed_routes: routes.map(|r| vec![r.to_owned()]),
            };
            let column = to_column(&policy);
            assert_eq!(column.is_none(), networks.is_none());
            assert_eq!(from_columns(policy.expires_at, column.as_deref()), Some(policy));
        }
    }

    #[test]
    fn what_would_not_restrict_is_refused() {
        for json in ["", "[]", r#"{"allowed_networks":[]}"#, r#"{"allowed_routes":[]}"#, r#"{"rate_limit":5}"#] {
            assert_eq!(from_columns(None, Some(json)), None, "{json}");
        }
    }
}
