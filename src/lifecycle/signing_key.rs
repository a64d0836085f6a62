//! Signing keys for shared secret versions that were made before there were any.

use serde_json::json;

use super::secret::{ATTEMPTS, restless};
use super::{Lifecycle, Result};
use crate::credential::SigningKey;
use crate::store::seal::SealError;
use crate::store::{Actor, StoreError};

impl Lifecycle {
    /// Makes a signing key for each live shared secret version that has none, in one transaction. `false`, and nothing
    /// is written, when there is nothing to make: nearly always. Nodes at work load the keys as they load a
    /// regeneration; this does not wait for them, as nothing is taken away.
    ///
    /// # Errors
    /// When the shared secret of such a version does not open, or the store fails.
    pub async fn ensure_signing_keys(&self, actor: &Actor) -> Result<bool> {
        for _ in 0..ATTEMPTS {
            let secrets = self.store.secrets().await?.secrets;
            let mut keys = Vec::new();
            for stored in secrets.previous.iter().chain([&secrets.current]).filter(|s| s.signing.is_none()) {
                // With the key that the secret is sealed with: whoever can open the one can open the other.
                let (_, master) = self.master.open(stored, self.store.store_id())?;
                let key = SigningKey::generate(&*self.entropy);
                let sealed = master.seal_signing(&key, self.store.store_id(), stored.version, &*self.entropy);
                keys.push((stored.version.get(), sealed));
            }
            let Some((version, _)) = keys.last() else { return Ok(false) };
            let versions: Vec<_> = keys.iter().map(|(version, _)| *version).collect();
            let audit = self.audit(actor, "shared_secret.signing_key", version, json!({ "versions": versions }));
            match self.store.add_signing_keys(&keys, &self.entropy.hex128(), &audit).await {
                Ok(added) => return Ok(added.is_some()),
                // A regeneration or a rotation of the master key came between reading and writing.
                Err(StoreError::SecretsChanged | StoreError::Seal(SealError::OtherMasterKey { .. })) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Err(restless())
    }
}
