//! Opening the shared secret: for showing it, for encoding keys with it, and for sealing it anew.

use std::num::NonZeroU32;

use serde_json::json;

use super::{Lifecycle, LifecycleError, MasterKeys, Result};
use crate::clock::WallTime;
use crate::credential::SharedSecret;
use crate::store::seal::{MasterKey, Purpose};
use crate::store::{Actor, SecretVersion, StoreError};

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

/// Times that a resealing is begun anew because the secret changed meanwhile.
const ATTEMPTS: usize = 8;

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

    /// Seals every shared secret with `new`, in one transaction. Afterwards only `new` opens them.
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
                sealed.push(self.seal(&secret, new));
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
                Ok(()) | Err(StoreError::VersionConflict { .. }) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Err(LifecycleError::Store(StoreError::Corrupt("a shared secret that changes all the time".to_owned())))
    }

    /// After the loss of the master key: the stored secrets cannot be opened by anybody, so random ones take their
    /// places, sealed with the key at hand. Every encoded key is refused from the moment on that a node loads them; a
    /// regeneration must follow, which makes a version that nodes follow and integrations can encode with.
    ///
    /// # Errors
    /// When there is no master key at all, or the store fails.
    pub async fn forget_lost_secrets(&self, actor: &Actor) -> Result<()> {
        let new = self.master.configured()?;
        let secrets = self.store.secrets().await?.secrets;
        let live = secrets.previous.iter().chain([&secrets.current]);
        let sealed: Vec<_> =
            live.map(|lost| self.seal(&SharedSecret::generate(lost.version, &*self.entropy), new)).collect();
        let id = format!("{:016x}", new.id());
        let audit = self.audit(actor, "master_key.replace_lost", &id, json!({ "secrets": sealed.len() }));
        Ok(self.store.reseal(&sealed, &audit).await?)
    }

    fn seal(&self, secret: &SharedSecret, master: &MasterKey) -> (u32, Vec<u8>) {
        let version = secret.version().get();
        let plain = secret.expose().as_bytes();
        (version, master.seal(plain, self.store.store_id(), Purpose::SharedSecret, version, &*self.entropy))
    }

    /// Does the master key at hand open the current shared secret? `Ok` names its id.
    ///
    /// # Errors
    /// When it does not, or the store fails.
    pub async fn check_master_key(&self) -> Result<u64> {
        let current = self.store.secrets().await?.secrets.current;
        Ok(self.master.open(&current, self.store.store_id())?.1.id())
    }
}

impl MasterKeys {
    /// Opens a stored shared secret with the key that sealed it, and says which that was.
    ///
    /// # Errors
    /// No key at hand sealed it; it was altered; or what opens is no shared secret of that version.
    pub fn open(&self, stored: &SecretVersion, store_id: &str) -> Result<(SharedSecret, std::sync::Arc<MasterKey>)> {
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
}
