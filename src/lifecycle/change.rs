//! What all changes of an existing key share: read it, describe the change for the audit record, write it only if
//! it is still what was read, and read again when it was not.

use serde_json::{Map, Value, json};

use super::{Lifecycle, Result};
use crate::clock::BootTime;
use crate::credential::KeyId;
use crate::store::{Actor, ApiKey, Head, KeyUpdate, StoreError};

/// How often a change is tried again when others change the same key at the same time.
const ATTEMPTS: usize = 8;

/// A change that was written.
pub(super) struct Written {
    pub before: ApiKey,
    pub after: ApiKey,
    pub head: Head,
    /// The boot clock right after the commit: the wait for leases counts from here.
    pub acknowledged: BootTime,
}

/// What the audit record says of a change, beside before and after.
#[derive(Clone, Copy)]
pub(super) struct Told {
    pub action: &'static str,
    /// A bundle is shown afterwards, and with it the shared secret.
    pub bundle: bool,
}

impl From<&'static str> for Told {
    fn from(action: &'static str) -> Self {
        Self { action, bundle: false }
    }
}

impl Lifecycle {
    /// Writes what `plan` makes of the key as it is. The audit record tells before and after, so the key must not
    /// have changed in between: if it has, this begins anew, unless the caller named a revision itself.
    pub(super) async fn change(
        &self,
        id: KeyId,
        if_revision: Option<u64>,
        actor: &Actor,
        told: impl Into<Told>,
        plan: impl Fn(&ApiKey) -> KeyUpdate + Send,
    ) -> Result<Written> {
        let (mut attempts, told) = (ATTEMPTS, told.into());
        loop {
            attempts -= 1;
            let key = self.living(id).await?;
            let update = KeyUpdate { if_revision: Some(if_revision.unwrap_or(key.revision)), ..plan(&key) };
            let audit = self.audit(actor, told.action, &id, describe(&key, &update, told.bundle));
            match self.store.update_key(id, &update, &self.entropy.hex128(), &audit).await {
                Ok((before, after, head)) => {
                    return Ok(Written { before, after, head, acknowledged: self.clock.boot() });
                }
                Err(StoreError::Changed(_)) if if_revision.is_none() && attempts > 0 => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

/// The audit record's detail: the key's name, and before and after of what changes. Secrets are told as "changed".
fn describe(key: &ApiKey, update: &KeyUpdate, bundle: bool) -> Value {
    let mut before = Map::new();
    let mut after = Map::new();
    let mut note = |what: &str, old: Value, new: Value| {
        if old != new {
            before.insert(what.to_owned(), old);
            after.insert(what.to_owned(), new);
        }
    };
    if let Some(name) = &update.name {
        note("name", json!(key.name), json!(name));
    }
    if let Some(description) = &update.description {
        note("description", json!(key.description), json!(description));
    }
    if let Some(role) = update.role {
        note("role", json!(key.role), json!(role));
    }
    if let Some(state) = update.state {
        note("state", json!(key.state), json!(state));
    }
    if let Some(policy) = &update.policy {
        note("policy", policy_json(&key.policy), policy_json(policy));
    }
    let mut detail = Map::new();
    detail.insert("name".to_owned(), json!(key.name));
    if !after.is_empty() {
        detail.insert("before".to_owned(), before.into());
        detail.insert("after".to_owned(), after.into());
    }
    if update.digest.is_some() {
        detail.insert("app_key".to_owned(), json!("changed"));
    }
    if bundle {
        detail.insert("bundle".to_owned(), json!(true));
    }
    detail.into()
}

/// A policy with its expiry, which is a column of its own in the store.
pub(super) fn policy_json(policy: &crate::credential::Policy) -> Value {
    json!({
        "expires_at": policy.expires_at.map(crate::clock::WallTime::rfc3339),
        "allowed_networks": policy.allowed_networks,
        "allowed_routes": policy.allowed_routes,
    })
}
