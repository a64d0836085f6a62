//! Erased bytes are not to be found in any file of the store.

use std::fs;

use super::{Fixture, new_key, resealed, sealed, signing};
use crate::clock::WallTime;
use crate::credential::SecretDigest;
use crate::store::{KeyUpdate, NewKey, Store as _};

/// The bytes of every file of the store.
fn files(fixture: &Fixture) -> Vec<Vec<u8>> {
    fs::read_dir(fixture.directory.path()).unwrap().map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
}

fn found(fixture: &Fixture, wanted: &[u8]) -> bool {
    files(fixture).iter().any(|bytes| memchr::memmem::find(bytes, wanted).is_some())
}

#[tokio::test]
async fn retired_secrets_are_gone_and_their_signing_keys() {
    let fixture = Fixture::with_secret().await;
    // Both bytes of a version are there, or neither is.
    let there = |version| {
        let [secret, signing] = [sealed(version), signing(version)].map(|bytes| found(&fixture, &bytes));
        assert_eq!(secret, signing, "version {version}");
        secret
    };
    assert!(there(1), "the search finds what is there");
    fixture.regenerate(1, None).await.unwrap();
    assert!(!there(1) && there(2));
    fixture.regenerate(2, Some(10_000)).await.unwrap();
    assert!(there(2));
    fixture.store.end_grace(&super::change_id(), &fixture.audit("shared_secret.end_grace", 1)).await.unwrap();
    assert!(!there(2));
    fixture.regenerate(3, Some(20_000)).await.unwrap();
    fixture.store.retire_ended_grace(WallTime::from_millis(19_999)).await.unwrap();
    assert!(there(3), "the grace period is not over yet");
    fixture.store.retire_ended_grace(WallTime::from_millis(20_000)).await.unwrap();
    assert!(!there(3) && fixture.store.secrets().await.unwrap().secrets.previous.is_none());
    fixture.store.reseal(&[resealed(4, 73)], &fixture.audit("master_key.rotate", 1)).await.unwrap();
    assert!(!there(4) && there(73));
}

#[tokio::test]
async fn digests_of_deleted_and_rolled_keys_are_gone() {
    let fixture = Fixture::with_secret().await;
    // Random ids of different lengths of text: pages are split and rows move about.
    let mut keys = Vec::new();
    for n in 0..600 {
        let mut key = new_key(&format!("key {n}"));
        key.description = "d".repeat(n % 97);
        fixture.insert(&key).await.unwrap();
        keys.push(key);
    }
    for (n, key) in keys.iter().enumerate() {
        if n % 2 == 0 {
            fixture.delete(key.id).await.unwrap();
        } else {
            let digest = Some(SecretDigest::of(key.name.as_str().as_bytes()));
            let roll = KeyUpdate { digest, description: Some("e".repeat(n % 89)), ..KeyUpdate::default() };
            fixture.update(key.id, &roll).await.unwrap();
        }
    }
    let files = files(&fixture);
    let left = |key: &&NewKey| files.iter().any(|bytes| memchr::memmem::find(bytes, key.digest.as_bytes()).is_some());
    assert_eq!(keys.iter().filter(left).count(), 0);
}

#[tokio::test]
async fn a_reader_in_the_way_only_delays_it() {
    let fixture = Fixture::with_secret().await;
    let mut reader = fixture.store.snapshot().await.unwrap();
    sqlx::query("SELECT * FROM shared_secrets").fetch_all(&mut reader.conn).await.unwrap();
    fixture.regenerate(1, None).await.unwrap();
    assert!(found(&fixture, &sealed(1)), "the reader still sees it");
    reader.settle(Ok(())).await.unwrap();
    fixture.store.seen("nobody", crate::clock::WallTime::EPOCH).await.unwrap();
    assert!(!found(&fixture, &sealed(1)));
}
