//! [`Store`] on SQLite: which connection each operation takes, and where its transaction begins and ends.
//!
//! Nothing is written or read here itself: that is in the files beside.

use async_trait::async_trait;

use super::super::{
    ApiKey, Audit, AuditQuery, AuditRecord, Changes, Head, KeyCounts, KeyPage, KeyQuery, KeyUpdate, NewKey, NodeRow,
    Operator, RenewalReading, Resealed, Result, SealedSecret, Session, Snapshot, Store, Usage, UsageDelta,
};
use super::{SqliteStore, audit, changes, key_page, keys, nodes, operators, secrets, sessions, usage};
use crate::clock::WallTime;
use crate::credential::{KeyId, SecretDigest};

#[async_trait]
impl Store for SqliteStore {
    fn store_id(&self) -> &str {
        &self.store_id
    }

    async fn load(&self, each: &mut (dyn FnMut(ApiKey) + Send)) -> Result<Snapshot> {
        let mut tx = self.snapshot().await?;
        let outcome = async {
            let head = changes::head(&mut tx.conn).await?;
            let secrets = secrets::read(&mut tx.conn, &self.path()).await?;
            keys::each(&mut tx.conn, each).await?;
            Ok(Snapshot { head, secrets })
        };
        let outcome = outcome.await;
        tx.settle(outcome).await
    }

    async fn changes_since(&self, from: &Head) -> Result<Changes> {
        let mut tx = self.snapshot().await?;
        let outcome = changes::since(&mut tx.conn, &self.path(), from).await;
        tx.settle(outcome).await
    }

    async fn head(&self) -> Result<Head> {
        let mut lent = self.lease.lend().await?;
        let outcome = changes::head(&mut lent.conn).await;
        lent.settle(outcome).await
    }

    async fn secrets(&self) -> Result<Snapshot> {
        let mut tx = self.snapshot().await?;
        let outcome = async {
            let head = changes::head(&mut tx.conn).await?;
            Ok(Snapshot { head, secrets: secrets::read(&mut tx.conn, &self.path()).await? })
        };
        let outcome = outcome.await;
        tx.settle(outcome).await
    }

    async fn key(&self, id: KeyId) -> Result<Option<(ApiKey, Usage)>> {
        let mut lent = self.readers.lend().await?;
        let outcome = keys::by_id(&mut lent.conn, id).await;
        lent.settle(outcome).await
    }

    async fn key_named(&self, name: &str) -> Result<Option<(ApiKey, Usage)>> {
        let mut lent = self.readers.lend().await?;
        let outcome = keys::by_name(&mut lent.conn, name).await;
        lent.settle(outcome).await
    }

    async fn key_page(&self, query: &KeyQuery) -> Result<KeyPage> {
        let mut tx = self.snapshot().await?;
        let outcome = key_page::read(&mut tx.conn, query).await;
        tx.settle(outcome).await
    }

    async fn key_counts(&self, since: WallTime) -> Result<KeyCounts> {
        let mut tx = self.snapshot().await?;
        let outcome = key_page::counts(&mut tx.conn, since).await;
        tx.settle(outcome).await
    }

    async fn audit_page(&self, query: &AuditQuery) -> Result<Vec<AuditRecord>> {
        let mut lent = self.readers.lend().await?;
        let outcome = audit::page(&mut lent.conn, query).await;
        lent.settle(outcome).await
    }

    async fn operator(&self, id: KeyId) -> Result<Option<Operator>> {
        let mut lent = self.readers.lend().await?;
        let outcome = operators::by_id(&mut lent.conn, id).await;
        lent.settle(outcome).await
    }

    async fn operators(&self) -> Result<Vec<Operator>> {
        let mut lent = self.readers.lend().await?;
        let outcome = operators::all(&mut lent.conn).await;
        lent.settle(outcome).await
    }

    async fn session(&self, digest: &SecretDigest) -> Result<Option<(Session, Operator)>> {
        let mut lent = self.readers.lend().await?;
        let outcome = sessions::find(&mut lent.conn, digest).await;
        lent.settle(outcome).await
    }

    async fn insert_key(&self, key: &NewKey, change_id: &str, audit: &Audit<'_>) -> Result<Head> {
        let mut tx = self.change().await?;
        let outcome = keys::insert(&mut tx.conn, key, change_id, audit).await;
        tx.settle(outcome).await
    }

    async fn update_key(
        &self,
        id: KeyId,
        update: &KeyUpdate,
        change_id: &str,
        audit: &Audit<'_>,
    ) -> Result<(ApiKey, ApiKey, Head)> {
        let mut tx = self.change().await?;
        let outcome = keys::update(&mut tx.conn, id, update, change_id, audit).await;
        let done = tx.settle(outcome).await?;
        if !done.0.digest.matches(&done.1.digest) {
            self.scrub().await;
        }
        Ok(done)
    }

    async fn delete_key(
        &self,
        id: KeyId,
        if_revision: Option<u64>,
        change_id: &str,
        audit: &Audit<'_>,
    ) -> Result<Head> {
        let mut tx = self.change().await?;
        let outcome = keys::delete(&mut tx.conn, id, if_revision, change_id, audit).await;
        let head = tx.settle(outcome).await?;
        self.scrub().await;
        Ok(head)
    }

    async fn replace_secret(
        &self,
        expected: u32,
        sealed: SealedSecret,
        grace_until: Option<WallTime>,
        change_id: &str,
        audit: &Audit<'_>,
    ) -> Result<Head> {
        let mut tx = self.change().await?;
        let outcome =
            secrets::replace(&mut tx.conn, &self.path(), expected, &sealed, grace_until, change_id, audit).await;
        let head = tx.settle(outcome).await?;
        self.scrub().await;
        Ok(head)
    }

    async fn end_grace(&self, change_id: &str, audit: &Audit<'_>) -> Result<Option<Head>> {
        let mut tx = self.change().await?;
        let outcome = secrets::end_grace(&mut tx.conn, change_id, audit).await;
        let head = tx.settle(outcome).await?;
        if head.is_some() {
            self.scrub().await;
        }
        Ok(head)
    }

    async fn reseal(&self, sealed: &[Resealed], audit: &Audit<'_>) -> Result<()> {
        let mut tx = self.change().await?;
        let outcome = secrets::reseal(&mut tx.conn, &self.path(), sealed, audit).await;
        tx.settle(outcome).await?;
        self.scrub().await;
        Ok(())
    }

    async fn add_signing_keys(
        &self,
        keys: &[(u32, Vec<u8>)],
        change_id: &str,
        audit: &Audit<'_>,
    ) -> Result<Option<Head>> {
        let mut tx = self.change().await?;
        let outcome = secrets::add_signing_keys(&mut tx.conn, &self.path(), keys, change_id, audit).await;
        tx.settle(outcome).await
    }

    async fn record(&self, audit: &Audit<'_>) -> Result<()> {
        let mut tx = self.change().await?;
        let outcome = audit::insert(&mut tx.conn, audit, None).await;
        tx.settle(outcome).await
    }

    async fn insert_operator(&self, operator: &Operator, audit: &Audit<'_>) -> Result<()> {
        let mut tx = self.change().await?;
        let outcome = operators::insert(&mut tx.conn, operator, audit).await;
        tx.settle(outcome).await
    }

    async fn remove_operator(&self, id: KeyId, audit: &Audit<'_>) -> Result<()> {
        let mut tx = self.change().await?;
        let outcome = operators::remove(&mut tx.conn, id, audit).await;
        tx.settle(outcome).await
    }

    async fn rotate_operator(&self, id: KeyId, digest: SecretDigest, audit: &Audit<'_>) -> Result<()> {
        let mut tx = self.change().await?;
        let outcome = operators::rotate(&mut tx.conn, id, &digest, audit).await;
        tx.settle(outcome).await
    }

    async fn insert_session(&self, session: &Session, audit: &Audit<'_>) -> Result<()> {
        let mut tx = self.change().await?;
        let outcome = sessions::insert(&mut tx.conn, session, audit).await;
        tx.settle(outcome).await
    }

    async fn touch_session(&self, digest: &SecretDigest, at: WallTime) -> Result<()> {
        let mut tx = self.change().await?;
        let outcome = sessions::touch(&mut tx.conn, digest, at).await;
        tx.settle(outcome).await
    }

    async fn remove_session(&self, digest: &SecretDigest, audit: Option<&Audit<'_>>) -> Result<bool> {
        let mut tx = self.change().await?;
        let outcome = sessions::remove(&mut tx.conn, digest, audit).await;
        tx.settle(outcome).await
    }

    async fn insert_login_link(
        &self,
        digest: SecretDigest,
        operator: KeyId,
        expires_at: WallTime,
        audit: &Audit<'_>,
    ) -> Result<()> {
        let mut tx = self.change().await?;
        let outcome = sessions::insert_link(&mut tx.conn, &digest, operator, expires_at, audit).await;
        tx.settle(outcome).await
    }

    async fn take_login_link(&self, digest: &SecretDigest, now: WallTime) -> Result<Option<Operator>> {
        let mut tx = self.change().await?;
        let outcome = sessions::take_link(&mut tx.conn, digest, now).await;
        tx.settle(outcome).await
    }

    async fn purge_sessions(&self, now: WallTime) -> Result<()> {
        let mut tx = self.change().await?;
        let outcome = sessions::purge(&mut tx.conn, now).await;
        tx.settle(outcome).await
    }

    async fn merge_usage(&self, batch: &[UsageDelta]) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut tx = self.usage.begin("BEGIN IMMEDIATE").await?;
        let outcome = usage::merge(&mut tx.conn, batch).await;
        tx.settle(outcome).await
    }

    async fn join(&self, node: &NodeRow) -> Result<()> {
        let mut tx = self.change().await?;
        let outcome = nodes::join(&mut tx.conn, node).await;
        tx.settle(outcome).await
    }

    async fn renew(&self, incarnation: &str) -> Result<RenewalReading> {
        let mut lent = self.lease.lend().await?;
        let outcome = changes::renew(&mut lent.conn, incarnation).await;
        lent.settle(outcome).await
    }

    async fn confirm(&self, incarnation: &str, applied: u64) -> Result<bool> {
        let mut tx = self.change().await?;
        let outcome = nodes::confirm(&mut tx.conn, incarnation, applied).await;
        tx.settle(outcome).await
    }

    async fn seen(&self, incarnation: &str, at: WallTime) -> Result<()> {
        let mut tx = self.change().await?;
        let outcome = nodes::seen(&mut tx.conn, incarnation, at).await;
        tx.settle(outcome).await?;
        // Once a minute, for what another process erased and could not scrub before it ended. Unchecked: a busy
        // moment now is followed by another chance.
        let _ = self.empty_log().await;
        Ok(())
    }

    async fn nodes(&self) -> Result<Vec<NodeRow>> {
        let mut lent = self.readers.lend().await?;
        let outcome = nodes::all(&mut lent.conn).await;
        lent.settle(outcome).await
    }

    async fn remove_node(&self, incarnation: &str) -> Result<()> {
        let mut tx = self.change().await?;
        let outcome = nodes::remove(&mut tx.conn, incarnation).await;
        tx.settle(outcome).await
    }

    async fn remove_silent_node(&self, incarnation: &str, revision: u64) -> Result<()> {
        let mut tx = self.change().await?;
        let outcome = nodes::remove_silent(&mut tx.conn, incarnation, revision).await;
        tx.settle(outcome).await
    }

    async fn hint(&self) {
        self.watch.changed().await;
    }
}
