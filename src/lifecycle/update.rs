//! Changing what an API key is called, may do, and when: name, description, role, policy, state.

use ipnet::IpNet;

use super::change::Written;
use super::{Changed, Lifecycle, Result};
use crate::clock::WallTime;
use crate::credential::{KeyId, KeyName, KeyState, Policy, Role};
use crate::fleet::revoke::Wait;
use crate::store::{Actor, ApiKey, KeyUpdate};

/// What becomes of one limit in a key's policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Limit<T> {
    /// It stays as it is.
    #[default]
    Keep,
    /// There is none any more.
    Lift,
    /// This, whatever it was.
    Set(T),
}

impl<T: Clone> Limit<T> {
    fn of(&self, old: Option<&T>) -> Option<T> {
        match self {
            Self::Keep => old.cloned(),
            Self::Lift => None,
            Self::Set(new) => Some(new.clone()),
        }
    }
}

/// What to change; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct KeyChange {
    /// Only if the key is still at this revision.
    pub if_revision: Option<u64>,
    /// A new name.
    pub name: Option<KeyName>,
    /// A new description.
    pub description: Option<String>,
    /// A new role.
    pub role: Option<Role>,
    /// Refused from this moment on.
    pub expires_at: Limit<WallTime>,
    /// Client addresses must be in one of these.
    pub allowed_networks: Limit<Vec<IpNet>>,
    /// Labels of the routes that it may use.
    pub allowed_routes: Limit<Vec<String>>,
}

impl Lifecycle {
    /// Changes a key. A change that takes authority away (a lower role, a tighter policy) raises the epoch and waits
    /// as a revocation; any other waits at most [`super::SETTLE`].
    ///
    /// # Errors
    /// [`crate::store::StoreError`]: no such key, name taken, changed since `if_revision`.
    pub async fn update(&self, id: KeyId, change: KeyChange, actor: &Actor, wait: Wait) -> Result<Changed> {
        let written = self
            .change(id, change.if_revision, actor, "api_key.update", |key| {
                let policy = new_policy(&key.policy, &change);
                KeyUpdate {
                    name: change.name.clone(),
                    description: change.description.clone(),
                    role: change.role,
                    raise_epoch: takes_away(key, change.role.unwrap_or(key.role), &policy),
                    policy: Some(policy),
                    ..KeyUpdate::default()
                }
            })
            .await?;
        let revokes = takes_away(&written.before, written.after.role, &written.after.policy);
        Ok(self.finish(written, revokes.then_some(wait)).await)
    }

    /// Refuses the key until it is enabled.
    ///
    /// # Errors
    /// No such key; changed since `if_revision`; or the store fails.
    pub async fn disable(&self, id: KeyId, if_revision: Option<u64>, actor: &Actor, wait: Wait) -> Result<Changed> {
        let written = self.set_state(id, KeyState::Disabled, if_revision, actor, "api_key.disable").await?;
        Ok(self.finish(written, Some(wait)).await)
    }

    /// Accepts a disabled key again. Waits at most [`super::SETTLE`].
    ///
    /// # Errors
    /// No such key; changed since `if_revision`; or the store fails.
    pub async fn enable(&self, id: KeyId, if_revision: Option<u64>, actor: &Actor) -> Result<Changed> {
        let written = self.set_state(id, KeyState::Active, if_revision, actor, "api_key.enable").await?;
        Ok(self.finish(written, None).await)
    }

    async fn set_state(
        &self,
        id: KeyId,
        state: KeyState,
        if_revision: Option<u64>,
        actor: &Actor,
        action: &'static str,
    ) -> Result<Written> {
        // Also when it is in that state already: whoever disables wants the wait, and the record of it.
        self.change(id, if_revision, actor, action, |_| KeyUpdate {
            state: Some(state),
            raise_epoch: true,
            ..KeyUpdate::default()
        })
        .await
    }

    async fn finish(&self, written: Written, wait: Option<Wait>) -> Changed {
        let waited = self.settle(&written.head, written.acknowledged, wait).await;
        Changed { key: written.after, waited }
    }
}

fn new_policy(old: &Policy, change: &KeyChange) -> Policy {
    Policy {
        expires_at: change.expires_at.of(old.expires_at.as_ref()),
        allowed_networks: change.allowed_networks.of(old.allowed_networks.as_ref()),
        allowed_routes: change.allowed_routes.of(old.allowed_routes.as_ref()),
    }
}

fn takes_away(before: &ApiKey, role: Role, policy: &Policy) -> bool {
    role < before.role || tightens(&before.policy, policy)
}

/// Is there a request that `before` allows and `after` refuses?
fn tightens(before: &Policy, after: &Policy) -> bool {
    let sooner = match (before.expires_at, after.expires_at) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(before), Some(after)) => after < before,
    };
    // A network that is covered only by two halves together counts as lost: a needless wait, never a missing one.
    let network_lost =
        lost(before.allowed_networks.as_deref(), after.allowed_networks.as_deref(), |old, new| new.contains(old));
    sooner || network_lost || lost(before.allowed_routes.as_deref(), after.allowed_routes.as_deref(), PartialEq::eq)
}

fn lost<T>(before: Option<&[T]>, after: Option<&[T]>, covered: impl Fn(&T, &T) -> bool) -> bool {
    match (before, after) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(before), Some(after)) => before.iter().any(|old| !after.iter().any(|new| covered(old, new))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(expires: Option<u64>, networks: Option<&[&str]>, routes: Option<&[&str]>) -> Policy {
        Policy {
            expires_at: expires.map(WallTime::from_millis),
            allowed_networks: networks.map(|n| n.iter().map(|t| t.parse().unwrap()).collect()),
            allowed_routes: routes.map(|r| r.iter().map(|t| (*t).to_owned()).collect()),
        }
    }

    #[test]
    fn only_what_takes_authority_away_tightens() {
        let open = policy(None, None, None);
        let nets = policy(None, Some(&["10.0.0.0/8"]), None);
        let inner = policy(None, Some(&["10.1.0.0/16"]), None);
        let more = policy(None, Some(&["10.0.0.0/8", "192.0.2.0/24"]), None);
        let sooner = policy(Some(5), None, None);
        let later = policy(Some(6), None, None);
        let routes = policy(None, None, Some(&["/a", "/b"]));
        let fewer = policy(None, None, Some(&["/a"]));
        for (before, after) in
            [(&open, &nets), (&nets, &inner), (&more, &nets), (&open, &later), (&later, &sooner), (&routes, &fewer)]
        {
            assert!(tightens(before, after), "{before:?} to {after:?}");
            assert!(!tightens(after, before), "{after:?} to {before:?}");
            assert!(!tightens(before, before));
        }
    }
}
