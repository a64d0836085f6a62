//! The store on real files. Here is what the themes beside need to start; no test.

mod erase;
mod follow;
mod isolation;
mod key_page;
mod keys;
mod operators;
mod rest;
mod schema;
mod secrets;
mod signing_keys;

use std::path::PathBuf;

use sqlx::ConnectOptions as _;
use tempfile::TempDir;

use super::SqliteStore;
use super::connection::{Purpose, options};
use crate::clock::WallTime;
use crate::credential::{AppKey, KeyId, Policy, Role};
use crate::entropy::{Entropy as _, SystemEntropy};
use crate::store::{Actor, ApiKey, Audit, Head, KeyUpdate, NewKey, Resealed, SealedSecret, Store as _, StoreError};

/// A new store, in a directory that lasts as long as this.
struct Fixture {
    directory: TempDir,
    store: SqliteStore,
    actor: Actor,
}

impl Fixture {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::create(&directory.path().join("keygate.db"), &change_id()).await.unwrap();
        let actor = Actor { who: "cli:test".to_owned(), from: "local".to_owned() };
        Self { directory, store, actor }
    }

    /// With version 1 of the shared secret, which makes revision 1.
    async fn with_secret() -> Self {
        let fixture = Self::new().await;
        let at = WallTime::from_millis(1_000);
        let audit = fixture.audit("shared_secret.create", 1_000);
        assert!(fixture.store.put_first_secret(pair(1), at, &change_id(), &audit).await.unwrap());
        fixture
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("keygate.db")
    }

    /// As another process would.
    async fn open_again(&self) -> SqliteStore {
        SqliteStore::open(&self.path()).await.unwrap()
    }

    fn audit(&self, action: &'static str, at: u64) -> Audit<'_> {
        let detail = serde_json::json!({ "at": at });
        Audit { actor: &self.actor, at: WallTime::from_millis(at), action, subject: "subject".to_owned(), detail }
    }

    /// Leaves the live versions as a store of before there were signing keys has them.
    async fn forget_signing_keys(&self) {
        let mut conn = options(&self.path(), Purpose::Write).connect().await.unwrap();
        sqlx::query("UPDATE shared_secrets SET signing_key = NULL").execute(&mut conn).await.unwrap();
    }

    async fn insert(&self, key: &NewKey) -> Result<Head, StoreError> {
        self.store.insert_key(key, &change_id(), &self.audit("api_key.create", 2_000)).await
    }

    async fn update(&self, id: KeyId, update: &KeyUpdate) -> Result<(ApiKey, ApiKey, Head), StoreError> {
        self.store.update_key(id, update, &change_id(), &self.audit("api_key.update", 3_000)).await
    }

    async fn delete(&self, id: KeyId) -> Result<Head, StoreError> {
        self.store.delete_key(id, None, &change_id(), &self.audit("api_key.delete", 4_000)).await
    }

    async fn regenerate(&self, expected: u32, grace_until: Option<u64>) -> Result<Head, StoreError> {
        let until = grace_until.map(WallTime::from_millis);
        let audit = self.audit("shared_secret.regenerate", 5_000);
        self.store.replace_secret(expected, pair(expected + 1), until, &change_id(), &audit).await
    }
}

fn change_id() -> String {
    SystemEntropy.hex128()
}

/// As long as what `seal` makes, and easily told apart.
fn sealed(version: u32) -> Vec<u8> {
    format!("sealed secret of version {version:09} ").repeat(3).into_bytes()
}

/// The same of a signing key.
fn signing(version: u32) -> Vec<u8> {
    format!("signing key of version {version:09} ").repeat(3).into_bytes()
}

fn pair(version: u32) -> SealedSecret {
    SealedSecret { secret: sealed(version), signing: signing(version) }
}

/// What takes the place of a version's bytes: those of another.
fn resealed(version: u32, with: u32) -> Resealed {
    Resealed { version, secret: sealed(with), signing: Some(signing(with)) }
}

fn new_key(name: &str) -> NewKey {
    let id = KeyId::draw(&SystemEntropy);
    NewKey {
        id,
        name: name.parse().unwrap(),
        description: format!("{name}, described"),
        role: Role::ReadOnly,
        policy: Policy::default(),
        digest: AppKey::generate(id, &SystemEntropy).digest(),
    }
}
