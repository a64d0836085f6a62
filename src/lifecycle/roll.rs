//! Giving an API key a new app key: the old one is worthless afterwards, id, name, history and policy stay.

use super::{Issued, Lifecycle, Result};
use crate::credential::{AppKey, KeyId, encode};
use crate::fleet::revoke::Wait;
use crate::store::{Actor, KeyUpdate};

impl Lifecycle {
    /// Rolls a key and waits as a revocation.
    ///
    /// # Errors
    /// No such key; when the shared secret does not open, before anything is written.
    pub async fn roll(&self, id: KeyId, if_revision: Option<u64>, actor: &Actor, wait: Wait) -> Result<Issued> {
        // First: whoever cannot encode the new app key must not make the old one worthless.
        let (secret, _) = self.current_secret().await?;
        let app_key = AppKey::generate(id, &*self.entropy);
        let digest = app_key.digest();
        let written = self
            .change(id, if_revision, actor, "api_key.roll", |_| KeyUpdate {
                digest: Some(digest),
                raise_epoch: true,
                ..KeyUpdate::default()
            })
            .await?;
        let waited = self.settle(&written.head, written.acknowledged, Some(wait)).await;
        let secret = self.current_secret().await.map_or(secret, |(newer, _)| newer);
        let encoded_key = encode(&app_key, &secret);
        Ok(Issued { key: written.after, app_key, encoded_key, waited })
    }
}
