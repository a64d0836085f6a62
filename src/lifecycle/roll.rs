//! Giving an API key a new app key: the old one is worthless afterwards, id, name, history and policy stay.

use super::change::Told;
use super::{Issued, Lifecycle, Result};
use crate::config::resolved::TokenExchange;
use crate::credential::{AppKey, KeyId};
use crate::fleet::revoke::Wait;
use crate::store::{Actor, KeyUpdate};

impl Lifecycle {
    /// Rolls a key and waits as a revocation. With `exchange` there is a bundle, and the audit record says so.
    ///
    /// # Errors
    /// No such key; when the shared secret does not open, before anything is written.
    pub async fn roll(
        &self,
        id: KeyId,
        if_revision: Option<u64>,
        exchange: Option<&TokenExchange>,
        actor: &Actor,
        wait: Wait,
    ) -> Result<Issued> {
        // First: whoever cannot encode the new app key must not make the old one worthless.
        let (secret, _) = self.current_secret().await?;
        let app_key = AppKey::generate(id, &*self.entropy);
        let digest = app_key.digest();
        let told = Told { action: "api_key.roll", bundle: exchange.is_some() };
        let written = self
            .change(id, if_revision, actor, told, |_| KeyUpdate {
                digest: Some(digest),
                raise_epoch: true,
                ..KeyUpdate::default()
            })
            .await?;
        let waited = self.settle(&written.head, written.acknowledged, Some(wait)).await;
        let secret = self.current_secret().await.map_or(secret, |(newer, _)| newer);
        Ok(Issued::new(written.after, app_key, secret, exchange, waited))
    }
}
