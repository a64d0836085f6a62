//! A store in memory whose operations can be made to fail or to hang, for the tests of what lives beside a store.
//!
//! What they say of the real store is held by the real store's own tests, and by those that start the binary.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::clock::WallTime;
use crate::credential::{KeyId, KeyState, Policy, Role, SecretDigest};
use crate::entropy::{Entropy as _, SystemEntropy};
use crate::store::seal::MasterKey;
use crate::store::{
    ApiKey, Audit, AuditQuery, AuditRecord, Change, Changes, Head, KeyCounts, KeyPage, KeyQuery, KeyUpdate, NewKey,
    NodeLocks, NodeRow, Operator, RenewalReading, Resealed, Result, SealedSecret, SecretVersion, Secrets, Session,
    Snapshot, Store, StoreError, Usage, UsageDelta,
};

pub(crate) const STORE_ID: &str = "fake";

pub(crate) struct FakeStore {
    pub(crate) master: MasterKey,
    inner: Mutex<Inner>,
    hints: Notify,
}

struct Inner {
    keys: BTreeMap<KeyId, ApiKey>,
    secrets: Secrets,
    history: Vec<(Head, Change)>,
    /// Revisions up to this one are purged.
    horizon: u64,
    head: Head,
    nodes: Vec<NodeRow>,
    usage: HashMap<KeyId, Usage>,
    usage_batches: Vec<Vec<KeyId>>,
    failing: HashSet<&'static str>,
    hanging: HashSet<&'static str>,
    calls: HashMap<&'static str, usize>,
}

impl FakeStore {
    /// With shared secret version 1 and no key.
    pub(crate) fn new() -> Self {
        let master = MasterKey::generate(&SystemEntropy);
        let secrets = Secrets { current: sealed(&master, 1), previous: None };
        let inner = Inner {
            keys: BTreeMap::new(),
            secrets,
            history: Vec::new(),
            horizon: 0,
            head: Head { revision: 1, change_id: SystemEntropy.hex128() },
            nodes: Vec::new(),
            usage: HashMap::new(),
            usage_batches: Vec::new(),
            failing: HashSet::new(),
            hanging: HashSet::new(),
            calls: HashMap::new(),
        };
        Self { master, inner: Mutex::new(inner), hints: Notify::new() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub(crate) fn fail(&self, operation: &'static str, fails: bool) {
        let failing = &mut self.inner().failing;
        if fails {
            failing.insert(operation)
        } else {
            failing.remove(operation)
        };
    }

    pub(crate) fn hang(&self, operation: &'static str, hangs: bool) {
        let hanging = &mut self.inner().hanging;
        if hangs {
            hanging.insert(operation)
        } else {
            hanging.remove(operation)
        };
    }

    /// How often an operation was asked for.
    pub(crate) fn calls(&self, operation: &'static str) -> usize {
        self.inner().calls.get(operation).copied().unwrap_or(0)
    }

    pub(crate) fn usage(&self, id: KeyId) -> Option<Usage> {
        self.inner().usage.get(&id).cloned()
    }

    pub(crate) fn usage_batches(&self) -> Vec<Vec<KeyId>> {
        self.inner().usage_batches.clone()
    }

    pub(crate) fn rows(&self) -> Vec<NodeRow> {
        self.inner().nodes.clone()
    }

    pub(crate) fn delete_rows(&self) {
        self.inner().nodes.clear();
    }

    pub(crate) fn head_now(&self) -> Head {
        self.inner().head.clone()
    }

    /// Commits a change.
    pub(crate) fn commit(&self, change: Change) -> Head {
        let mut inner = self.inner();
        let head = Head { revision: inner.head.revision + 1, change_id: SystemEntropy.hex128() };
        match &change {
            Change::Key(key) => drop(inner.keys.insert(key.id, (**key).clone())),
            Change::Secrets(secrets) => inner.secrets = secrets.clone(),
            Change::Unknown(_) => {}
        }
        inner.history.push((head.clone(), change));
        inner.head = head.clone();
        drop(inner);
        self.hints.notify_one();
        head
    }

    /// Commits the next shared secret version.
    pub(crate) fn regenerate(&self) -> Head {
        let version = self.inner().secrets.current.version.get() + 1;
        let secrets = Secrets { current: sealed(&self.master, version), previous: None };
        self.commit(Change::Secrets(secrets))
    }

    /// Forgets all changes up to the present one.
    pub(crate) fn purge(&self) {
        let mut inner = self.inner();
        inner.horizon = inner.head.revision;
        inner.history.clear();
    }

    /// Another history, which stands at this revision.
    pub(crate) fn restore(&self, revision: u64) {
        let mut inner = self.inner();
        inner.history.clear();
        inner.head = Head { revision, change_id: SystemEntropy.hex128() };
        let change = (inner.head.clone(), Change::Secrets(inner.secrets.clone()));
        inner.history.push(change);
    }

    pub(crate) fn forget_key(&self, id: KeyId) {
        self.inner().keys.remove(&id);
    }

    async fn enter(&self, operation: &'static str) -> Result<MutexGuard<'_, Inner>> {
        let (fails, hangs) = {
            let mut inner = self.inner();
            *inner.calls.entry(operation).or_default() += 1;
            (inner.failing.contains(operation), inner.hanging.contains(operation))
        };
        if hangs {
            std::future::pending::<()>().await;
        }
        if fails { Err(StoreError::Database("be reached", sqlx::Error::PoolClosed)) } else { Ok(self.inner()) }
    }
}

pub(crate) fn sealed(master: &MasterKey, version: u32) -> SecretVersion {
    let version = NonZeroU32::new(version).unwrap();
    let SealedSecret { secret, signing } = master.new_secret(version, STORE_ID, &SystemEntropy);
    let (sealed, signing) = (Some(secret), Some(signing));
    SecretVersion { version, sealed, signing, created_at: WallTime::EPOCH, grace_until: None }
}

pub(crate) fn api_key(id: KeyId, name: &str) -> ApiKey {
    ApiKey {
        id,
        name: name.parse().unwrap(),
        description: "words".into(),
        role: Role::Admin,
        state: KeyState::Active,
        policy: Policy::default(),
        digest: SecretDigest::of(name.as_bytes()),
        epoch: 0,
        created_at: WallTime::EPOCH,
        updated_at: WallTime::EPOCH,
        revision: 1,
    }
}

#[async_trait]
impl Store for FakeStore {
    fn store_id(&self) -> &str {
        STORE_ID
    }

    async fn load(&self, each: &mut (dyn FnMut(ApiKey) + Send)) -> Result<Snapshot> {
        let inner = self.enter("load").await?;
        inner.keys.values().cloned().for_each(each);
        Ok(Snapshot { head: inner.head.clone(), secrets: inner.secrets.clone() })
    }

    async fn changes_since(&self, from: &Head) -> Result<Changes> {
        let inner = self.enter("changes_since").await?;
        let known = inner.history.iter().find(|(head, _)| head.revision == from.revision);
        if from.revision > inner.head.revision || known.is_some_and(|(head, _)| head.change_id != from.change_id) {
            return Ok(Changes::OtherHistory);
        }
        if from.revision < inner.horizon {
            return Ok(Changes::Reload);
        }
        let changes = inner.history.iter().filter(|(head, _)| head.revision > from.revision);
        Ok(Changes::Since(changes.map(|(_, change)| change.clone()).collect(), inner.head.clone()))
    }

    async fn head(&self) -> Result<Head> {
        Ok(self.enter("head").await?.head.clone())
    }

    async fn merge_usage(&self, batch: &[UsageDelta]) -> Result<()> {
        let mut inner = self.enter("merge_usage").await?;
        inner.usage_batches.push(batch.iter().map(|delta| delta.id).collect());
        for delta in batch {
            let usage = inner.usage.entry(delta.id).or_default();
            if delta.usage.last_login > usage.last_login {
                usage.last_login = delta.usage.last_login;
                usage.last_address.clone_from(&delta.usage.last_address);
            }
            usage.use_count += delta.usage.use_count;
            usage.stale = delta.usage.stale.or(usage.stale);
        }
        Ok(())
    }

    async fn join(&self, node: &NodeRow) -> Result<()> {
        self.enter("join").await?.nodes.push(node.clone());
        Ok(())
    }

    async fn renew(&self, incarnation: &str) -> Result<RenewalReading> {
        let inner = self.enter("renew").await?;
        let row_present = inner.nodes.iter().any(|node| node.incarnation == incarnation);
        Ok(RenewalReading { row_present, head: inner.head.clone() })
    }

    async fn confirm(&self, incarnation: &str, applied: u64) -> Result<bool> {
        let mut inner = self.enter("confirm").await?;
        let row = inner.nodes.iter_mut().find(|node| node.incarnation == incarnation);
        Ok(row.map(|row| row.applied = row.applied.max(applied)).is_some())
    }

    async fn seen(&self, incarnation: &str, at: WallTime) -> Result<()> {
        let mut inner = self.enter("seen").await?;
        inner.nodes.iter_mut().filter(|node| node.incarnation == incarnation).for_each(|node| node.seen_at = at);
        Ok(())
    }

    async fn nodes(&self) -> Result<Vec<NodeRow>> {
        Ok(self.enter("nodes").await?.nodes.clone())
    }

    async fn remove_node(&self, incarnation: &str) -> Result<()> {
        self.enter("remove_node").await?.nodes.retain(|node| node.incarnation != incarnation);
        Ok(())
    }

    async fn remove_silent_node(&self, incarnation: &str, revision: u64) -> Result<()> {
        let mut inner = self.enter("remove_node").await?;
        inner.nodes.retain(|node| node.incarnation != incarnation || node.applied >= revision);
        Ok(())
    }

    async fn hint(&self) {
        self.hints.notified().await;
    }

    // Nobody beside a store asks for these.

    async fn secrets(&self) -> Result<Snapshot> {
        unimplemented!()
    }

    async fn key(&self, _: KeyId) -> Result<Option<(ApiKey, Usage)>> {
        unimplemented!()
    }

    async fn key_named(&self, _: &str) -> Result<Option<(ApiKey, Usage)>> {
        unimplemented!()
    }

    async fn key_page(&self, _: &KeyQuery) -> Result<KeyPage> {
        unimplemented!()
    }

    async fn key_counts(&self, _: WallTime) -> Result<KeyCounts> {
        unimplemented!()
    }

    async fn audit_page(&self, _: &AuditQuery) -> Result<Vec<AuditRecord>> {
        unimplemented!()
    }

    async fn operator(&self, _: KeyId) -> Result<Option<Operator>> {
        unimplemented!()
    }

    async fn session(&self, _: &SecretDigest) -> Result<Option<(Session, Operator)>> {
        unimplemented!()
    }

    async fn operators(&self) -> Result<Vec<Operator>> {
        unimplemented!()
    }

    async fn insert_key(&self, _: &NewKey, _: &str, _: &Audit<'_>) -> Result<Head> {
        unimplemented!()
    }

    async fn update_key(&self, _: KeyId, _: &KeyUpdate, _: &str, _: &Audit<'_>) -> Result<(ApiKey, ApiKey, Head)> {
        unimplemented!()
    }

    async fn delete_key(&self, _: KeyId, _: Option<u64>, _: &str, _: &Audit<'_>) -> Result<Head> {
        unimplemented!()
    }

    async fn replace_secret(
        &self,
        _: u32,
        _: SealedSecret,
        _: Option<WallTime>,
        _: &str,
        _: &Audit<'_>,
    ) -> Result<Head> {
        unimplemented!()
    }

    async fn end_grace(&self, _: &str, _: &Audit<'_>) -> Result<Option<Head>> {
        unimplemented!()
    }

    async fn reseal(&self, _: &[Resealed], _: &Audit<'_>) -> Result<()> {
        unimplemented!()
    }

    async fn add_signing_keys(&self, _: &[(u32, Vec<u8>)], _: &str, _: &Audit<'_>) -> Result<Option<Head>> {
        unimplemented!()
    }

    async fn record(&self, _: &Audit<'_>) -> Result<()> {
        unimplemented!()
    }

    async fn insert_operator(&self, _: &Operator, _: &Audit<'_>) -> Result<()> {
        unimplemented!()
    }

    async fn remove_operator(&self, _: KeyId, _: &Audit<'_>) -> Result<()> {
        unimplemented!()
    }

    async fn rotate_operator(&self, _: KeyId, _: SecretDigest, _: &Audit<'_>) -> Result<()> {
        unimplemented!()
    }

    async fn insert_session(&self, _: &Session, _: &Audit<'_>) -> Result<()> {
        unimplemented!()
    }

    async fn touch_session(&self, _: &SecretDigest, _: WallTime) -> Result<()> {
        unimplemented!()
    }

    async fn remove_session(&self, _: &SecretDigest, _: Option<&Audit<'_>>) -> Result<bool> {
        unimplemented!()
    }

    async fn insert_login_link(&self, _: SecretDigest, _: KeyId, _: WallTime, _: &Audit<'_>) -> Result<()> {
        unimplemented!()
    }

    async fn take_login_link(&self, _: &SecretDigest, _: WallTime) -> Result<Option<Operator>> {
        unimplemented!()
    }

    async fn purge_sessions(&self, _: WallTime) -> Result<()> {
        unimplemented!()
    }
}

/// Locks that are told who is gone.
#[derive(Default)]
pub(crate) struct FakeLocks {
    /// Held incarnations, and whether their process is gone.
    held: Mutex<HashMap<String, bool>>,
}

impl FakeLocks {
    pub(crate) fn held(&self) -> usize {
        self.held.lock().unwrap().len()
    }

    pub(crate) fn kill(&self, incarnation: &str) {
        self.held.lock().unwrap().insert(incarnation.to_owned(), true);
    }
}

impl NodeLocks for FakeLocks {
    fn hold(&self, incarnation: &str) -> std::io::Result<()> {
        self.held.lock().unwrap().insert(incarnation.to_owned(), false);
        Ok(())
    }

    fn surely_gone(&self, incarnation: &str) -> bool {
        self.held.lock().unwrap().get(incarnation).copied().unwrap_or(false)
    }

    fn forget(&self, incarnation: &str) {
        self.held.lock().unwrap().remove(incarnation);
    }
}
