//! Making an API key.

use serde_json::json;

use super::change::policy_json;
use super::{Issued, Lifecycle, LifecycleError, Result};
use crate::config::resolved::TokenExchange;
use crate::credential::{AppKey, KeyId, KeyName, Policy, Role};
use crate::store::{Actor, NewKey, StoreError};

/// Draws of an id before giving up. A second one is needed about once in 10¹¹ keys (36¹² ids, 10 million taken).
const DRAWS: usize = 4;

/// An API key to be made.
#[derive(Clone, Debug)]
pub struct NewApiKey {
    /// Unique.
    pub name: KeyName,
    /// Free text.
    pub description: String,
    /// What it may do.
    pub role: Role,
    /// When, from where and to which routes.
    pub policy: Policy,
}

impl Lifecycle {
    /// Makes an API key with a new app key, and waits at most [`super::SETTLE`] for the nodes to know it. With
    /// `exchange` there is a bundle, and the audit record says so.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`]; when the shared secret does not open, before anything is written.
    pub async fn create(&self, new: NewApiKey, exchange: Option<&TokenExchange>, actor: &Actor) -> Result<Issued> {
        // First: whoever cannot encode the key must not make it.
        let (secret, _) = self.current_secret().await?;
        let id = self.free_id().await?;
        let app_key = AppKey::generate(id, &*self.entropy);
        let mut detail = json!({
            "name": new.name,
            "description": new.description,
            "role": new.role,
            "policy": policy_json(&new.policy),
        });
        if exchange.is_some() {
            detail["bundle"] = json!(true);
        }
        let row = NewKey {
            id,
            name: new.name,
            description: new.description,
            role: new.role,
            policy: new.policy,
            digest: app_key.digest(),
        };
        let audit = self.audit(actor, "api_key.create", &id, detail);
        let head = self.store.insert_key(&row, &self.entropy.hex128(), &audit).await?;
        let acknowledged = self.clock.boot();
        let waited = self.settle(&head, acknowledged, None).await;
        // A regeneration may have come between; the answer should be worth something.
        let secret = self.current_secret().await.map_or(secret, |(newer, _)| newer);
        let (key, _) = self.store.key(id).await?.ok_or_else(|| StoreError::NoSuchKey(id.to_string()))?;
        Ok(Issued::new(key, app_key, secret, exchange, waited))
    }

    async fn free_id(&self) -> Result<KeyId> {
        for _ in 0..DRAWS {
            let id = KeyId::draw(&*self.entropy);
            if self.store.key(id).await?.is_none() {
                return Ok(id);
            }
        }
        Err(LifecycleError::NoFreeId)
    }
}
