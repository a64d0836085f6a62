//! The next shared secret version, and the end of a grace period.

use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::json;

use super::{Lifecycle, LifecycleError, Result, Waited};
use crate::clock::WallTime;
use crate::fleet::revoke::Wait;
use crate::store::{Actor, StoreError};

/// A new shared secret version.
#[derive(Debug)]
pub struct Regenerated {
    /// The version that is in force now.
    pub version: NonZeroU32,
    /// Until when the version before is still accepted; `None`: no longer.
    pub grace_until: Option<WallTime>,
    /// The wait for it.
    pub waited: Waited,
}

impl Lifecycle {
    /// Replaces the shared secret and waits as a revocation. Every credential of earlier versions dies, the tokens that
    /// were exchanged for one too; with `grace` those of the last one only when it ends.
    ///
    /// `expect` is the version that is to be replaced; without it, the one that is in force when this begins.
    ///
    /// # Errors
    /// [`StoreError::VersionConflict`] when another version is in force; the caller decides whether to go on. When
    /// the current secret does not open: a new one would be sealed with a master key that the nodes do not have.
    pub async fn regenerate(
        &self,
        expect: Option<u32>,
        grace: Option<Duration>,
        actor: &Actor,
        wait: Wait,
    ) -> Result<Regenerated> {
        let current = self.store.secrets().await?.secrets.current;
        let (_, master) = self.master.open(&current, self.store.store_id())?;
        let actual = current.version.get();
        if let Some(expected) = expect.filter(|e| *e != actual) {
            return Err(StoreError::VersionConflict { expected, actual }.into());
        }
        let version = current.version.checked_add(1).ok_or(LifecycleError::NoMoreVersions(actual))?;
        let sealed = master.new_secret(version, self.store.store_id(), &*self.entropy);
        let now = self.clock.wall();
        let grace_until = grace.filter(|g| !g.is_zero()).map(|g| now.plus(g));
        let detail = json!({
            "before": { "version": actual },
            "after": { "version": version.get() },
            "grace_until": grace_until.map(WallTime::rfc3339),
        });
        let audit = self.audit(actor, "shared_secret.regenerate", &version, detail);
        let change_id = self.entropy.hex128();
        let head = self.store.replace_secret(actual, sealed, grace_until, &change_id, &audit).await?;
        let acknowledged = self.clock.boot();
        let waited = self.settle(&head, acknowledged, Some(wait)).await;
        Ok(Regenerated { version, grace_until, waited })
    }

    /// Ends the grace period now and waits as a revocation. `None` when there is none.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn end_grace(&self, actor: &Actor, wait: Wait) -> Result<Option<(u32, Waited)>> {
        let Some(previous) = self.store.secrets().await?.secrets.previous else { return Ok(None) };
        let version = previous.version.get();
        let detail = json!({ "grace_until": previous.grace_until.map(WallTime::rfc3339) });
        let audit = self.audit(actor, "shared_secret.end_grace", &version, detail);
        let Some(head) = self.store.end_grace(&self.entropy.hex128(), &audit).await? else { return Ok(None) };
        let acknowledged = self.clock.boot();
        Ok(Some((version, self.settle(&head, acknowledged, Some(wait)).await)))
    }
}
