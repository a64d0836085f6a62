//! Opening the shared secret, and the signing key beside it: for showing it, for encoding keys with it, and for sealing
//! both anew.

use std::num::NonZeroU32;
use std::sync::Arc;

use serde_json::json;

use super::{Lifecycle, LifecycleError, MasterKeys, Result};
use crate::clock::WallTime;
use crate::credential::{SharedSecret, SigningKey};
use crate::store::seal::{MasterKey, Purpose};
use crate::store::{Actor, Resealed, SealedSecret, SecretVersion, StoreError};

/// The shared secret in the clear, for whoever asked to see it.
#[derive(Debug)]
pub struct RevealedSecret {
    /// The current one.
    pub secret: SharedSecret,
    /// When it was made.
    pub created_at: WallTime,
    /// The version before and when it ends, during a grace period.
    pub previous: Option<(NonZeroU32, Option<WallTime>)>,
}

/// Times that sealing something is begun anew because the secrets changed meanwhile.
pub(super) const ATTEMPTS: usize = 8;

impl Lifecycle {
    /// The current shared secret. Writes an audit record that it was seen, before it is.
    ///
    /// # Errors
    /// When it does not open, or the store fails (then it is not shown either).
    pub async fn reveal_secret(&self, actor: &Actor) -> Result<RevealedSecret> {
        let secrets = self.store.secrets().await?.secrets;
        let previous = secrets.in_grace(self.clock.wall()).map(|p| (p.version, p.grace_until));
        let (secret, _) = self.master.open(&secrets.current, self.store.store_id())?;
        let audit = self.audit(actor, "shared_secret.view", &secret.version(), json!({}));
        self.store.record(&audit).await?;
        Ok(RevealedSecret { secret, created_at: secrets.current.created_at, previous })
    }

    /// The current shared secret, for encoding a key that is about to be shown.
    pub(super) async fn current_secret(&self) -> Result<(SharedSecret, SecretVersion)> {
        let current = self.store.secrets().await?.secrets.current;
        let (secret, _) = self.master.open(&current, self.store.store_id())?;
        Ok((secret, current))
    }

    /// Seals every shared secret and signing key with `new`, in one transaction. Afterwards only `new` opens them.
    ///
    /// # Errors
    /// When one of them does not open, or the store fails.
    pub async fn reseal(&self, new: &MasterKey, actor: &Actor) -> Result<()> {
        let known = self.master.with(new);
        for _ in 0..ATTEMPTS {
            let secrets = self.store.secrets().await?.secrets;
            let mut sealed = Vec::new();
            let mut old = None;
            for version in secrets.previous.iter().chain([&secrets.current]) {
                let (secret, master) = known.open(version, self.store.store_id())?;
                old = old.or((master.id() != new.id()).then(|| master.id()));
                let signing = known.open_signing(version, self.store.store_id())?;
                sealed.push(self.reseal_one(&secret, signing.as_ref(), new));
            }
            let Some(old) = old else { return Ok(()) };
            let id = format!("{:016x}", new.id());
            let detail = json!({
                "before": { "master_key": format!("{old:016x}") },
                "after": { "master_key": id },
            });
            let audit = self.audit(actor, "master_key.rotate", &id, detail);
            match self.store.reseal(&sealed, &audit).await {
                // A regeneration came between reading and writing. The look that finds nothing left is the last.
                Ok(()) | Err(StoreError::SecretsChanged) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Err(restless())
    }

    /// After the loss of the master key: the stored secrets cannot be opened by anybody, so random ones take their
    /// places, sealed with the key at hand, and of the signing keys as well. Every encoded key and token is refused
    /// from the moment on that a node loads them; a regeneration must follow, which makes a version that nodes follow
    /// and integrations can encode with.
    ///
    /// # Errors
    /// When there is no master key at all, or the store fails.
    pub async fn forget_lost_secrets(&self, actor: &Actor) -> Result<()> {
        let new = self.master.configured()?;
        let secrets = self.store.secrets().await?.secrets;
        let live = secrets.previous.iter().chain([&secrets.current]);
        let sealed: Vec<_> = live
            .map(|lost| {
                let SealedSecret { secret, signing } =
                    new.new_secret(lost.version, self.store.store_id(), &*self.entropy);
                Resealed { version: lost.version.get(), secret, signing: lost.signing.as_ref().map(|_| signing) }
            })
            .collect();
        let id = format!("{:016x}", new.id());
        let audit = self.audit(actor, "master_key.replace_lost", &id, json!({ "secrets": sealed.len() }));
        Ok(self.store.reseal(&sealed, &audit).await?)
    }

    fn reseal_one(&self, secret: &SharedSecret, signing: Option<&SigningKey>, master: &MasterKey) -> Resealed {
        let (store_id, version, entropy) = (self.store.store_id(), secret.version(), &*self.entropy);
        Resealed {
            version: version.get(),
            secret: master.seal_secret(secret, store_id, entropy),
            signing: signing.map(|key| master.seal_signing(key, store_id, version, entropy)),
        }
    }

    /// Does the master key at hand open the current shared secret and its signing key? `Ok` names its id.
    ///
    /// # Errors
    /// When it does not, or the store fails.
    pub async fn check_master_key(&self) -> Result<u64> {
        let current = self.store.secrets().await?.secrets.current;
        self.master.open_signing(&current, self.store.store_id())?;
        Ok(self.master.open(&current, self.store.store_id())?.1.id())
    }
}

/// Somebody else's changes came in between at each of [`ATTEMPTS`].
pub(super) fn restless() -> LifecycleError {
    StoreError::Corrupt("a shared secret that changes all the time".to_owned()).into()
}

impl MasterKeys {
    /// Opens a stored shared secret with the key that sealed it, and says which that was.
    ///
    /// # Errors
    /// No key at hand sealed it; it was altered; or what opens is no shared secret of that version.
    pub fn open(&self, stored: &SecretVersion, store_id: &str) -> Result<(SharedSecret, Arc<MasterKey>)> {
        let version = stored.version.get();
        let erased = || StoreError::Corrupt(format!("an erased shared secret, version {version}, that is in force"));
        let sealed = stored.sealed.as_deref().ok_or_else(erased)?;
        let (plain, master) = self.open_sealed(sealed, store_id, Purpose::SharedSecret, version)?;
        let secret = std::str::from_utf8(&plain)
            .ok()
            .and_then(|text| SharedSecret::parse(text).ok())
            .filter(|secret| secret.version() == stored.version)
            .ok_or_else(|| StoreError::Corrupt(format!("no shared secret where version {version} should be")))?;
        Ok((secret, master))
    }

    /// Opens the signing key of a stored version. `None` when it has none.
    ///
    /// # Errors
    /// No key at hand sealed it; it was altered; or what opens is no signing key.
    pub fn open_signing(&self, stored: &SecretVersion, store_id: &str) -> Result<Option<SigningKey>> {
        let Some(sealed) = stored.signing.as_deref() else { return Ok(None) };
        let version = stored.version.get();
        let (plain, _) = self.open_sealed(sealed, store_id, Purpose::SigningKey, version)?;
        let other = || StoreError::Corrupt(format!("no signing key where that of version {version} should be"));
        Ok(Some(SigningKey::from_bytes(&plain).ok_or_else(other)?))
    }
}
