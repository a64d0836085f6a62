//! **COLD** Applies what the store says to the keyring: everything once, and then change by change.
//!
//! The only writer of the keyring; called by `fleet::member`, which alone decides when, and when the result may be
//! relied on. Key changes go in before the generations of the same batch: a request never meets a new secret
//! version with an old key.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use zeroize::Zeroizing;

use super::{Generation, Generations, Keyring, KeyringFull, Record};
use crate::credential::{KeyState, Policy, SharedSecret, SigningKey};
use crate::store::seal::{MasterKey, Purpose};
use crate::store::{ApiKey, Change, Head, SecretVersion, Secrets, Store, StoreError};

/// Why the keyring could not be brought to where the store is.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The store did not give everything.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A shared secret, or the signing key beside it, does not open.
    #[error("{0} version {1} does not open: {2}")]
    Sealed(Purpose, u32, #[source] BoxError),
    /// There are more keys than positions.
    #[error(transparent)]
    Full(#[from] KeyringFull),
    /// A newer keygate wrote a change that this one does not know.
    #[error("the store holds a change of the kind {0:?}, which this version of keygate does not know")]
    Unknown(String),
}

/// Any error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Opens what was sealed under a master key: the key itself, or whatever finds the right one of several.
pub trait Opener: Send + Sync + 'static {
    /// Opens what was sealed for this place (see [`MasterKey::open`]).
    ///
    /// # Errors
    /// Whatever the reason is that it does not open.
    fn open(
        &self,
        sealed: &[u8],
        store_id: &str,
        purpose: Purpose,
        version: u32,
    ) -> Result<Zeroizing<Vec<u8>>, BoxError>;
}

impl Opener for MasterKey {
    fn open(
        &self,
        sealed: &[u8],
        store_id: &str,
        purpose: Purpose,
        version: u32,
    ) -> Result<Zeroizing<Vec<u8>>, BoxError> {
        Self::open(self, sealed, store_id, purpose, version).map_err(Into::into)
    }
}

/// Keeps a keyring where its store is.
#[derive(Clone)]
pub struct Follower {
    keyring: Arc<Keyring>,
    opener: Arc<dyn Opener>,
}

impl Follower {
    /// The one follower of this keyring.
    #[must_use]
    pub fn new(keyring: Arc<Keyring>, opener: Arc<dyn Opener>) -> Self {
        Self { keyring, opener }
    }

    /// Loads everything, of one snapshot; keys that the snapshot does not hold become tombstones. `progress` counts
    /// the keys, so that a store that has stopped giving any is told from a large one.
    ///
    /// # Errors
    /// The keyring is then between two states, and must not be relied on before a load has succeeded.
    pub async fn load(&self, store: &dyn Store, progress: &AtomicU64) -> Result<Head, FollowError> {
        // Slots of before are marked by position: one byte each, and nothing at all on the first load. Keys that
        // are new have positions behind these.
        let mut seen = vec![false; self.keyring.len()];
        let mut outcome = Ok(());
        let mut put = |key: ApiKey| {
            progress.fetch_add(1, Ordering::Relaxed);
            if let Some(found) = self.keyring.find(key.id)
                && let Some(mark) = seen.get_mut(found.index as usize)
            {
                *mark = true;
            }
            if outcome.is_ok() {
                outcome = self.put(key);
            }
        };
        let snapshot = store.load(&mut put).await?;
        outcome?;
        let generations = self.generations(&snapshot.secrets, store.store_id())?;
        if !seen.is_empty() {
            self.keyring.retain(|id| {
                let position = self.keyring.find(id).map_or(usize::MAX, |found| found.index as usize);
                seen.get(position).copied().unwrap_or(true)
            });
        }
        self.keyring.set_generations(generations);
        Ok(snapshot.head)
    }

    /// Applies changes in their order, the generations last.
    ///
    /// # Errors
    /// [`FollowError::Unknown`] and a secret that does not open are found before anything is applied. After any
    /// error the same changes can be applied again.
    pub fn apply(&self, changes: Vec<Change>, store_id: &str) -> Result<(), FollowError> {
        let mut generations = None;
        for change in &changes {
            match change {
                Change::Key(_) => {}
                Change::Secrets(secrets) => generations = Some(self.generations(secrets, store_id)?),
                Change::Unknown(kind) => return Err(FollowError::Unknown(kind.clone())),
            }
        }
        for change in changes {
            if let Change::Key(key) = change {
                self.put(*key)?;
            }
        }
        if let Some(generations) = generations {
            self.keyring.set_generations(generations);
        }
        Ok(())
    }

    fn put(&self, key: ApiKey) -> Result<(), FollowError> {
        // A tombstone of a key that was never here proves the same as no slot, and would cost memory for ever.
        if key.state == KeyState::Deleted && self.keyring.find(key.id).is_none() {
            return Ok(());
        }
        Ok(self.keyring.put(key.id, record(key))?)
    }

    fn generations(&self, secrets: &Secrets, store_id: &str) -> Result<Generations, FollowError> {
        let current = self.generation(&secrets.current, store_id)?;
        let previous = match &secrets.previous {
            // Erased, or without an end: nothing is accepted under it.
            Some(SecretVersion { sealed: None, .. } | SecretVersion { grace_until: None, .. }) | None => None,
            Some(previous @ SecretVersion { grace_until: Some(until), .. }) => {
                Some((self.generation(previous, store_id)?, *until))
            }
        };
        Ok(Generations::new(current, previous))
    }

    fn generation(&self, secret: &SecretVersion, store_id: &str) -> Result<Generation, FollowError> {
        let version = secret.version;
        let corrupt = |purpose, what| StoreError::Corrupt(format!("a {purpose} version {version} that {what}"));
        let open = |sealed: &[u8], purpose| {
            let opened = self.opener.open(sealed, store_id, purpose, version.get());
            opened.map_err(|error| FollowError::Sealed(purpose, version.get(), error))
        };
        let sealed = secret.sealed.as_deref().ok_or_else(|| corrupt(Purpose::SharedSecret, "is current and erased"))?;
        let plain = open(sealed, Purpose::SharedSecret)?;
        let opened = std::str::from_utf8(&plain).ok().and_then(|text| SharedSecret::parse(text).ok());
        let opened = opened.filter(|opened| opened.version() == version);
        let opened = opened.ok_or_else(|| corrupt(Purpose::SharedSecret, "is something else"))?;
        let signing = match secret.signing.as_deref() {
            None => None,
            Some(sealed) => {
                let plain = open(sealed, Purpose::SigningKey)?;
                Some(SigningKey::from_bytes(&plain).ok_or_else(|| corrupt(Purpose::SigningKey, "is something else"))?)
            }
        };
        Ok(Generation::new(&opened, signing.as_ref()))
    }
}

/// What requests need of a stored key. The description stays in the store.
fn record(key: ApiKey) -> Record {
    let usual = key.policy == Policy::default();
    Record {
        epoch: key.epoch,
        role: key.role,
        state: key.state,
        name: if key.state == KeyState::Deleted { "".into() } else { header_name(key.name.as_str()) },
        digest: key.digest,
        policy: (!usual).then(|| Box::new(key.policy)),
    }
}

/// What is escaped in a name as it stands in `X-Keygate-Key-Name`: all but visible ASCII, and the escape itself. So two
/// names never look the same, and most look as they are.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

/// Percent-encoded (RFC 3986, section 2.1), as UTF-8.
fn header_name(name: &str) -> Box<str> {
    utf8_percent_encode(name, ESCAPED).to_string().into_boxed_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{BootTime, FakeClock, WallTime};
    use crate::credential::{AppKey, KeyId, Role, SecretDigest, encode};
    use crate::entropy::SystemEntropy;
    use crate::fleet::test_store::{FakeStore, STORE_ID, api_key, sealed};
    use crate::keyring::Verdict;

    /// Opens nothing.
    struct Shut;

    impl Opener for Shut {
        fn open(&self, _: &[u8], _: &str, _: Purpose, _: u32) -> Result<Zeroizing<Vec<u8>>, BoxError> {
            Err("shut".into())
        }
    }

    fn opener(store: &FakeStore) -> Arc<MasterKey> {
        Arc::new(MasterKey::parse(&store.master.expose_hex()).unwrap())
    }

    fn follower(store: &FakeStore) -> (Arc<Keyring>, Follower) {
        let keyring = Arc::new(Keyring::new(&SystemEntropy));
        (Arc::clone(&keyring), Follower::new(keyring, opener(store)))
    }

    fn new_key(store: &FakeStore, name: &str) -> (ApiKey, AppKey) {
        let id = KeyId::draw(&SystemEntropy);
        let app_key = AppKey::generate(id, &SystemEntropy);
        let key = ApiKey { digest: app_key.digest(), ..api_key(id, name) };
        store.commit(Change::Key(Box::new(key.clone())));
        (key, app_key)
    }

    async fn load(follower: &Follower, store: &FakeStore) -> Result<Head, FollowError> {
        follower.load(store, &AtomicU64::new(0)).await
    }

    fn opened(store: &FakeStore, secret: &SecretVersion) -> SharedSecret {
        let (version, sealed) = (secret.version.get(), secret.sealed.as_deref().unwrap());
        let plain = store.master.open(sealed, STORE_ID, Purpose::SharedSecret, version).unwrap();
        SharedSecret::parse(std::str::from_utf8(&plain).unwrap()).unwrap()
    }

    fn signing_key(store: &FakeStore, secret: &SecretVersion) -> SigningKey {
        let (version, sealed) = (secret.version.get(), secret.signing.as_deref().unwrap());
        SigningKey::from_bytes(&store.master.open(sealed, STORE_ID, Purpose::SigningKey, version).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn what_was_loaded_verifies() {
        let store = FakeStore::new();
        let (key, app_key) = new_key(&store, "a");
        let (keyring, follower) = follower(&store);
        assert_eq!(load(&follower, &store).await.unwrap(), store.head_now());
        let clock = FakeClock::at(BootTime::ZERO, WallTime::EPOCH);
        let first = sealed(&store.master, 2);
        let previous = SecretVersion { grace_until: Some(WallTime::from_millis(10)), ..sealed(&store.master, 1) };
        let secrets = Secrets { current: first.clone(), previous: Some(previous.clone()) };
        follower.apply(vec![Change::Secrets(secrets)], STORE_ID).unwrap();
        for secret in [&first, &previous] {
            let text = encode(&app_key, &opened(&store, secret));
            assert!(
                matches!(keyring.verify(text.as_bytes(), &clock), Verdict::Proven(found, _) if found.slot.id() == key.id)
            );
        }
        clock.advance(std::time::Duration::from_millis(10));
        let old = encode(&app_key, &opened(&store, &previous));
        assert!(matches!(keyring.verify(old.as_bytes(), &clock), Verdict::Stale { .. }));
    }

    #[tokio::test]
    async fn each_generation_has_the_signing_key_of_its_version() {
        let store = FakeStore::new();
        let (keyring, follower) = follower(&store);
        load(&follower, &store).await.unwrap();
        assert!(keyring.generations.load().as_ref().unwrap().current().signing().is_some(), "loaded with the rest");
        let current = sealed(&store.master, 2);
        let previous = SecretVersion { grace_until: Some(WallTime::from_millis(10)), ..sealed(&store.master, 1) };
        let secrets = Secrets { current: current.clone(), previous: Some(previous.clone()) };
        follower.apply(vec![Change::Secrets(secrets)], STORE_ID).unwrap();
        let generations = keyring.generations.load();
        let live: Vec<_> = generations.as_ref().unwrap().live(WallTime::EPOCH).collect();
        for (generation, stored) in live.iter().zip([&current, &previous]) {
            assert_eq!(generation.version(), stored.version);
            let expected = signing_key(&store, stored).mac_key().mac(b"message");
            assert!(generation.signing().unwrap().verify(b"message", &expected));
            assert!(!generation.mac().verify(b"message", &expected), "the shared secret signs no tokens");
        }
        assert_eq!(live.len(), 2);
        // A version of before has none, and verifies keys all the same. Given one, it has one.
        let before = Secrets { current: SecretVersion { signing: None, ..current.clone() }, previous: None };
        for (secrets, has) in [(before, false), (Secrets { current, previous: None }, true)] {
            follower.apply(vec![Change::Secrets(secrets)], STORE_ID).unwrap();
            let generations = keyring.generations.load();
            assert_eq!(generations.as_ref().unwrap().current().signing().is_some(), has);
        }
    }

    #[test]
    fn a_signing_key_that_does_not_open_is_told_from_the_secret() {
        let store = FakeStore::new();
        let (keyring, follower) = follower(&store);
        let apply = |secret: SecretVersion| {
            let outcome = follower.apply(vec![Change::Secrets(Secrets { current: secret, previous: None })], STORE_ID);
            outcome.unwrap_err()
        };
        let good = sealed(&store.master, 2);
        let swapped = apply(SecretVersion { signing: good.sealed.clone(), ..good.clone() });
        assert!(matches!(swapped, FollowError::Sealed(Purpose::SigningKey, 2, _)));
        assert!(swapped.to_string().starts_with("signing key of shared secret version 2 does not open: "), "{swapped}");
        let secret = apply(SecretVersion { sealed: good.signing.clone(), ..good.clone() });
        assert!(matches!(secret, FollowError::Sealed(Purpose::SharedSecret, 2, _)));
        assert!(secret.to_string().starts_with("shared secret version 2 does not open: "), "{secret}");
        let short = store.master.seal(b"short", STORE_ID, Purpose::SigningKey, 2, &SystemEntropy);
        let short = apply(SecretVersion { signing: Some(short), ..good });
        assert!(matches!(short, FollowError::Store(StoreError::Corrupt(_))));
        assert!(keyring.generations.load().is_none());
    }

    #[tokio::test]
    async fn a_reload_makes_tombstones_of_what_it_does_not_bring() {
        let store = FakeStore::new();
        let (stays, _) = new_key(&store, "stays");
        let (goes, _) = new_key(&store, "goes");
        let (keyring, follower) = follower(&store);
        load(&follower, &store).await.unwrap();
        store.forget_key(goes.id);
        let (comes, _) = new_key(&store, "comes");
        load(&follower, &store).await.unwrap();
        let state = |id| keyring.find(id).map(|found| found.record.state);
        assert_eq!(state(stays.id), Some(KeyState::Active));
        assert_eq!(state(goes.id), Some(KeyState::Deleted));
        assert_eq!(state(comes.id), Some(KeyState::Active));
        assert!(keyring.find(goes.id).unwrap().record.digest.as_bytes().iter().all(|byte| *byte == 0));
    }

    #[tokio::test]
    async fn changes_replace_the_whole_record() {
        let store = FakeStore::new();
        let (key, _) = new_key(&store, "a b");
        let (keyring, follower) = follower(&store);
        load(&follower, &store).await.unwrap();
        assert_eq!(&*keyring.find(key.id).unwrap().record.name, "a%20b");
        assert!(keyring.find(key.id).unwrap().record.policy.is_none());
        let policy = Policy { expires_at: Some(WallTime::from_millis(5)), ..Policy::default() };
        let changed = ApiKey { role: Role::ReadOnly, epoch: 7, policy, ..key.clone() };
        follower.apply(vec![Change::Key(Box::new(changed))], STORE_ID).unwrap();
        let found = keyring.find(key.id).unwrap();
        assert_eq!((found.record.role, found.record.epoch), (Role::ReadOnly, 7));
        assert_eq!(found.record.expires_at(), Some(WallTime::from_millis(5)));
    }

    #[test]
    fn tombstones_of_unknown_keys_take_no_slot() {
        let store = FakeStore::new();
        let (keyring, follower) = follower(&store);
        let id = KeyId::draw(&SystemEntropy);
        let tombstone = ApiKey { state: KeyState::Deleted, digest: SecretDigest::ERASED, ..api_key(id, "a") };
        follower.apply(vec![Change::Key(Box::new(tombstone))], STORE_ID).unwrap();
        assert!(keyring.is_empty());
    }

    #[test]
    fn nothing_is_applied_with_what_is_not_understood() {
        let store = FakeStore::new();
        let (keyring, follower) = follower(&store);
        let key = || Change::Key(Box::new(api_key(KeyId::draw(&SystemEntropy), "a")));
        let outcome = follower.apply(vec![key(), Change::Unknown("new".into())], STORE_ID);
        assert!(matches!(outcome, Err(FollowError::Unknown(kind)) if kind == "new"));
        let shut = Follower::new(Arc::clone(&keyring), Arc::new(Shut));
        let secrets = Secrets { current: sealed(&store.master, 2), previous: None };
        let outcome = shut.apply(vec![key(), Change::Secrets(secrets)], STORE_ID);
        assert!(matches!(outcome, Err(FollowError::Sealed(Purpose::SharedSecret, 2, _))));
        let other = Secrets {
            current: SecretVersion { version: 3.try_into().unwrap(), ..sealed(&store.master, 2) },
            previous: None,
        };
        assert!(follower.apply(vec![key(), Change::Secrets(other)], STORE_ID).is_err());
        assert!(keyring.is_empty());
    }

    #[test]
    fn names_become_headers() {
        for (name, header) in [
            ("reports", "reports"),
            ("a b", "a%20b"),
            ("100%", "100%25"),
            ("B\u{fc}ro", "B%C3%BCro"),
            ("\u{1f511}", "%F0%9F%94%91"),
            ("x\"y\\z,;=~", "x\"y\\z,;=~"),
        ] {
            assert_eq!(&*header_name(name), header);
        }
    }
}
