//! Deleting an API key: a tombstone stays, so that its id is never used again.

use serde_json::json;

use super::{Lifecycle, Result, Waited};
use crate::credential::KeyId;
use crate::fleet::revoke::Wait;
use crate::store::{Actor, ApiKey};

impl Lifecycle {
    /// Deletes a key and waits as a revocation. Gives back what it was.
    ///
    /// # Errors
    /// No such key; changed since `if_revision`; or the store fails.
    pub async fn delete(
        &self,
        id: KeyId,
        if_revision: Option<u64>,
        actor: &Actor,
        wait: Wait,
    ) -> Result<(ApiKey, Waited)> {
        let key = self.living(id).await?;
        let detail = json!({ "name": key.name, "role": key.role, "before": { "state": key.state } });
        let audit = self.audit(actor, "api_key.delete", &id, detail);
        let head = self.store.delete_key(id, if_revision, &self.entropy.hex128(), &audit).await?;
        let acknowledged = self.clock.boot();
        Ok((key, self.settle(&head, acknowledged, Some(wait)).await))
    }
}
