//! Changes on a real store: what they write, what they wait for, what a crash leaves.

mod signing_keys;

use std::num::NonZeroU32;
use std::time::Duration;

use super::*;
use crate::clock::{SystemClock, WallTime};
use crate::credential::{EncodedKey, KeyState, Policy, Role, SecretDigest};
use crate::entropy::SystemEntropy;
use crate::lifecycle::master_key::{Source, load, pending_path, promote};
use crate::store::seal::{MasterKey, SealError};
use crate::store::sqlite::{SqliteNodeLocks, SqliteStore};
use crate::store::{AuditRecord, NodeRow};

struct Gateway {
    directory: tempfile::TempDir,
    lifecycle: Lifecycle,
    actor: Actor,
}

impl Gateway {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keygate.db");
        let store = SqliteStore::create(&path, "store").await.unwrap();
        let key = MasterKey::generate(&SystemEntropy);
        let sealed = key.new_secret(NonZeroU32::MIN, "store", &SystemEntropy);
        let actor = Actor { who: "cli:test".to_owned(), from: "local".to_owned() };
        let at = WallTime::from_millis(1);
        let audit = Audit { actor: &actor, at, action: "x", subject: "1".to_owned(), detail: Value::Null };
        assert!(store.put_first_secret(sealed, at, "00", &audit).await.unwrap());
        let lifecycle = Lifecycle {
            store: Arc::new(store),
            locks: Arc::new(SqliteNodeLocks::new(&path)),
            master: MasterKeys::of(key),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
        };
        Self { directory, lifecycle, actor }
    }

    async fn make(&self, name: &str, role: Role) -> Issued {
        let new = NewApiKey {
            name: name.parse().unwrap(),
            description: "of the tests".to_owned(),
            role,
            policy: Policy::default(),
        };
        self.lifecycle.create(new, None, &self.actor).await.unwrap()
    }

    async fn last_audit(&self) -> AuditRecord {
        self.lifecycle.store.audit(1).await.unwrap().remove(0)
    }

    /// A node that is alive (its lock is held by this process) and never confirms.
    async fn silent_node(&self, lease: Duration) {
        self.lifecycle.locks.hold("abc").unwrap();
        let at = self.lifecycle.clock.wall();
        let node = NodeRow {
            id: "silent:1".to_owned(),
            incarnation: "abc".to_owned(),
            version: "0".to_owned(),
            lease,
            applied: 0,
            joined_at: at,
            seen_at: at,
        };
        self.lifecycle.store.join(&node).await.unwrap();
    }
}

fn secrets_in(issued: &Issued) -> [String; 2] {
    [issued.app_key.expose()[17..].to_owned(), issued.encoded_key.to_string()]
}

fn detail(record: &AuditRecord) -> Value {
    serde_json::from_str(&record.detail).unwrap()
}

#[tokio::test]
async fn a_made_key_is_what_was_asked_for_and_its_record_holds_no_secret() {
    let gateway = Gateway::new().await;
    let issued = gateway.make("reports", Role::ReadOnly).await;
    assert!(issued.waited.revocation.promise_held && !issued.waited.revokes);
    assert_eq!((issued.key.role, issued.key.state), (Role::ReadOnly, KeyState::Active));
    assert!(issued.key.digest.matches(&issued.app_key.digest()));
    let encoded = EncodedKey::parse(issued.encoded_key.as_bytes()).unwrap();
    let (secret, _) = gateway.lifecycle.current_secret().await.unwrap();
    assert!(encoded.mac_holds(&secret.mac_key()) && encoded.id() == issued.key.id);
    let record = gateway.last_audit().await;
    assert_eq!((record.action.as_str(), record.subject.as_str()), ("api_key.create", &*issued.key.id.to_string()));
    assert_eq!(detail(&record)["role"], "READONLY");
    for secret in secrets_in(&issued) {
        assert!(!record.detail.contains(&secret));
    }
}

#[tokio::test]
async fn a_bundle_is_made_where_tokens_are_exchanged_and_its_record_says_so() {
    let gateway = Gateway::new().await;
    let (lifecycle, actor) = (&gateway.lifecycle, &gateway.actor);
    let none = gateway.make("reports", Role::ReadOnly).await;
    assert!(none.bundle.is_none());
    assert_eq!(detail(&gateway.last_audit().await)["bundle"], Value::Null);

    let text = "[token_exchange]\nurl = \"https://api.example.org\"\nshortname = \"acme\"\n\
                [[upstream]]\nname = \"a\"\nservers = [\"a:1\"]\n[[route]]\npath = \"/\"\nupstream = \"a\"\n";
    let config = crate::config::parse(text, std::path::Path::new("keygate.toml")).unwrap();
    let exchange = config.token_exchange.as_ref();
    let new = NewApiKey {
        name: "nightly".parse().unwrap(),
        description: String::new(),
        role: Role::ReadOnly,
        policy: Policy::default(),
    };
    let made = lifecycle.create(new, exchange, actor).await.unwrap();
    let told = gateway.last_audit().await;
    let rolled = lifecycle.roll(made.key.id, None, exchange, actor, Wait::Full).await.unwrap();
    for (issued, record) in [(made, told), (rolled, gateway.last_audit().await)] {
        assert_eq!(detail(&record)["bundle"], true, "{}", record.action);
        let text = issued.bundle.as_ref().unwrap();
        assert!(!format!("{issued:?}").contains(text.as_str()), "not printed by accident");
        let bundle = Bundle::decode(text).unwrap();
        assert_eq!((bundle.url.as_str(), bundle.shortname.as_str()), ("https://api.example.org", "acme"));
        assert_eq!((&bundle.appname, bundle.app_key.expose()), (&issued.key.name, issued.app_key.expose()));
        let (secret, _) = lifecycle.current_secret().await.unwrap();
        assert_eq!(bundle.shared_secret.expose(), secret.expose());
        assert!(!record.detail.contains(secret.expose()) && !record.detail.contains(text.as_str()));
    }
}

#[tokio::test]
async fn updates_tell_before_and_after_and_only_demotions_revoke() {
    let gateway = Gateway::new().await;
    let made = gateway.make("reports", Role::Admin).await.key;
    let (id, epoch) = (made.id, made.epoch);
    let update = |change| gateway.lifecycle.update(id, change, &gateway.actor, Wait::Full);
    let renamed = update(KeyChange { name: Some("nightly".parse().unwrap()), ..KeyChange::default() }).await.unwrap();
    assert!(!renamed.waited.revokes);
    assert_eq!(renamed.key.epoch, epoch);
    let told = detail(&gateway.last_audit().await);
    assert_eq!(told["before"], serde_json::json!({ "name": "reports" }));
    assert_eq!(told["after"], serde_json::json!({ "name": "nightly" }));

    let demoted = update(KeyChange { role: Some(Role::ReadOnly), ..KeyChange::default() }).await.unwrap();
    assert!(demoted.waited.revokes && demoted.key.epoch == epoch + 1);
    let networks = Limit::Set(vec!["10.0.0.0/8".parse().unwrap()]);
    let limited = update(KeyChange { allowed_networks: networks, ..KeyChange::default() }).await.unwrap();
    assert!(limited.waited.revokes && limited.key.epoch == epoch + 2);
    let lifted = update(KeyChange { allowed_networks: Limit::Lift, ..KeyChange::default() }).await.unwrap();
    assert!(!lifted.waited.revokes && lifted.key.policy == Policy::default());
    let stale = KeyChange { if_revision: Some(demoted.key.revision), role: Some(Role::Admin), ..KeyChange::default() };
    assert!(matches!(update(stale).await, Err(LifecycleError::Store(StoreError::Changed(_)))));
}

#[tokio::test]
async fn roll_disable_enable_delete() {
    let gateway = Gateway::new().await;
    let (lifecycle, actor) = (&gateway.lifecycle, &gateway.actor);
    let first = gateway.make("reports", Role::Admin).await;
    let id = first.key.id;
    let rolled = lifecycle.roll(id, None, None, actor, Wait::Full).await.unwrap();
    assert!(rolled.waited.revokes && rolled.key.epoch == first.key.epoch + 1);
    assert!(!rolled.key.digest.matches(&first.app_key.digest()) && rolled.key.digest.matches(&rolled.app_key.digest()));
    let told = gateway.last_audit().await.detail;
    assert!(secrets_in(&first).iter().chain(&secrets_in(&rolled)).all(|secret| !told.contains(secret)));

    let disabled = lifecycle.disable(id, None, actor, Wait::Full).await.unwrap();
    assert!(disabled.key.state == KeyState::Disabled && disabled.waited.revokes);
    assert_eq!(detail(&gateway.last_audit().await)["before"]["state"], "active");
    let enabled = lifecycle.enable(id, None, actor).await.unwrap();
    assert!(enabled.key.state == KeyState::Active && !enabled.waited.revokes);
    assert_eq!(enabled.key.epoch, rolled.key.epoch + 2);

    let (was, waited) = lifecycle.delete(id, None, actor, Wait::Full).await.unwrap();
    assert!(waited.revokes && waited.revocation.promise_held && was.state == KeyState::Active);
    let (tombstone, _) = lifecycle.store.key(id).await.unwrap().unwrap();
    assert_eq!((tombstone.state, tombstone.digest.as_bytes()), (KeyState::Deleted, SecretDigest::ERASED.as_bytes()));
    assert!(matches!(lifecycle.enable(id, None, actor).await, Err(LifecycleError::Deleted(_))));
    gateway.make("reports", Role::Admin).await;
}

#[tokio::test]
async fn regenerate_names_what_it_replaces_and_grace_keeps_one_version() {
    let gateway = Gateway::new().await;
    let (lifecycle, actor) = (&gateway.lifecycle, &gateway.actor);
    let conflict = lifecycle.regenerate(Some(4), None, actor, Wait::Full).await;
    let Err(LifecycleError::Store(StoreError::VersionConflict { expected: 4, actual: 1 })) = conflict else {
        panic!("{conflict:?}");
    };
    let grace = Some(Duration::from_hours(1));
    let second = lifecycle.regenerate(Some(1), grace, actor, Wait::Full).await.unwrap();
    assert!(second.version.get() == 2 && second.grace_until.is_some() && second.waited.revocation.promise_held);
    let shown = lifecycle.reveal_secret(actor).await.unwrap();
    assert_eq!((shown.secret.version().get(), shown.previous.map(|p| p.0.get())), (2, Some(1)));
    assert_eq!(gateway.last_audit().await.action, "shared_secret.view");
    assert!(!gateway.last_audit().await.detail.contains("kgs_"));
    assert_eq!(lifecycle.end_grace(actor, Wait::Full).await.unwrap().unwrap().0, 1);
    assert!(lifecycle.end_grace(actor, Wait::Full).await.unwrap().is_none());
    let third = lifecycle.regenerate(None, Some(Duration::ZERO), actor, Wait::Full).await.unwrap();
    assert!(third.version.get() == 3 && third.grace_until.is_none());
}

#[tokio::test]
async fn revocations_wait_for_silent_nodes_and_what_gives_authority_does_not() {
    let gateway = Gateway::new().await;
    let (lifecycle, actor) = (&gateway.lifecycle, &gateway.actor);
    let id = gateway.make("reports", Role::Admin).await.key.id;
    gateway.silent_node(Duration::from_millis(1_500)).await;
    let cut = lifecycle.disable(id, None, actor, Wait::None).await.unwrap();
    assert!(!cut.waited.revocation.promise_held && cut.waited.failure.is_none());
    let enabled = lifecycle.enable(id, None, actor).await.unwrap();
    assert!(!enabled.waited.revocation.promise_held && !enabled.waited.revokes);
    let whole = lifecycle.disable(id, None, actor, Wait::Full).await.unwrap().waited.revocation;
    assert!(whole.promise_held && whole.fenced == ["silent:1"] && whole.took_ms >= 1_700);
}

#[tokio::test]
async fn a_key_can_be_disabled_without_the_master_key_but_not_made() {
    let gateway = Gateway::new().await;
    let id = gateway.make("reports", Role::Admin).await.key.id;
    let reason = MasterKeyError::Missing("master.key".into());
    let lifecycle = Lifecycle { master: MasterKeys::unavailable(&reason), ..gateway.lifecycle.clone() };
    let failed = lifecycle.roll(id, None, None, &gateway.actor, Wait::Full).await;
    assert!(matches!(failed, Err(LifecycleError::MasterKey(MasterKeyError::Unavailable(_)))));
    assert!(lifecycle.regenerate(None, None, &gateway.actor, Wait::Full).await.is_err());
    lifecycle.disable(id, None, &gateway.actor, Wait::Full).await.unwrap();
    let other = Lifecycle { master: MasterKeys::of(MasterKey::generate(&SystemEntropy)), ..gateway.lifecycle.clone() };
    let failed = other.regenerate(None, None, &gateway.actor, Wait::Full).await;
    let Err(LifecycleError::MasterKey(MasterKeyError::Seal(SealError::OtherMasterKey { .. }))) = failed else {
        panic!("{failed:?}");
    };
}

#[tokio::test]
async fn a_rotation_can_end_anywhere() {
    let gateway = Gateway::new().await;
    let (lifecycle, actor) = (&gateway.lifecycle, &gateway.actor);
    lifecycle.regenerate(None, Some(Duration::from_hours(1)), actor, Wait::Full).await.unwrap();
    let before = lifecycle.reveal_secret(actor).await.unwrap().secret;
    let path = gateway.directory.path().join("master.key");
    let source = Source::File(path.clone());
    let opens = async || {
        let master = load(&source, &|_| None).unwrap();
        let now = Lifecycle { master, ..lifecycle.clone() };
        now.check_master_key().await.unwrap();
        now.reveal_secret(actor).await.unwrap().secret.expose() == before.expose()
    };
    master_key::create(&path, lifecycle.master.configured().unwrap()).unwrap();
    assert!(opens().await);
    let started_before = load(&source, &|_| None).unwrap();
    // Half a new key, as a full disk leaves it.
    std::fs::write(pending_path(&path), "0123").unwrap();
    assert!(opens().await);
    std::fs::remove_file(pending_path(&path)).unwrap();
    let new = MasterKey::generate(&SystemEntropy);
    master_key::create(&pending_path(&path), &new).unwrap();
    assert!(opens().await, "the new key is there, the store does not know it");
    lifecycle.reseal(&new, actor).await.unwrap();
    assert_eq!(gateway.last_audit().await.action, "master_key.rotate");
    assert!(opens().await, "the store knows it, the file is the old one");
    let resumed = Lifecycle { master: load(&source, &|_| None).unwrap(), ..lifecycle.clone() };
    resumed.reseal(&new, actor).await.unwrap();
    let running = Lifecycle { master: started_before, ..lifecycle.clone() };
    assert!(running.check_master_key().await.is_ok(), "a node that runs reads the file again");
    promote(&path).unwrap();
    assert!(running.check_master_key().await.is_ok());
    assert!(opens().await, "done");
    assert!(!pending_path(&path).exists());
    assert!(lifecycle.check_master_key().await.is_err(), "the old key opens nothing any more");
    let secrets = resumed.store.secrets().await.unwrap().secrets;
    assert!(MasterKeys::of(new).open(&secrets.previous.unwrap(), "store").is_ok());
}

#[tokio::test]
async fn a_lost_master_key_costs_the_secret_and_no_key() {
    let gateway = Gateway::new().await;
    let issued = gateway.make("reports", Role::Admin).await;
    let master = MasterKeys::of(MasterKey::generate(&SystemEntropy));
    let lifecycle = Lifecycle { master, ..gateway.lifecycle.clone() };
    lifecycle.forget_lost_secrets(&gateway.actor).await.unwrap();
    let done = lifecycle.regenerate(None, None, &gateway.actor, Wait::Full).await.unwrap();
    assert_eq!(done.version.get(), 2);
    let (key, _) = lifecycle.store.key(issued.key.id).await.unwrap().unwrap();
    assert!(key.digest.matches(&issued.app_key.digest()));
}

#[test]
fn master_key_files_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("master.key");
    let source = Source::File(path.clone());
    assert!(matches!(load(&source, &|_| None), Err(MasterKeyError::Missing(_))));
    let key = MasterKey::generate(&SystemEntropy);
    master_key::create(&path, &key).unwrap();
    assert!(master_key::create(&path, &key).is_err(), "never replaced");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", *key.expose_hex()));
    assert_eq!(load(&source, &|_| None).unwrap().configured().unwrap().id(), key.id());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let refused = load(&source, &|_| None).unwrap_err().to_string();
    assert!(refused.contains("chmod 600") && refused.contains("0640"), "{refused}");
}

#[test]
fn the_environment_wins_over_the_file() {
    use crate::config::resolved::Secrets;
    let key = MasterKey::generate(&SystemEntropy);
    let hex = key.expose_hex();
    let set = |name: &str| (name == master_key::VARIABLE).then(|| hex.as_str().into());
    let source = |secrets, variable: &dyn Fn(&str) -> _| master_key::source(&secrets, variable);
    let from = source(Secrets::File("master.key".into()), &set).unwrap();
    assert_eq!(from, Source::Variable(master_key::VARIABLE.to_owned()));
    assert_eq!(load(&from, &set).unwrap().configured().unwrap().id(), key.id());
    assert!(matches!(source(Secrets::Credential("k".to_owned()), &|_| None), Err(MasterKeyError::NoCredentials(_))));
    let directory = |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| "/run/credentials/x".into());
    let credential = source(Secrets::Credential("k".to_owned()), &directory).unwrap();
    assert_eq!(credential, Source::Credential("/run/credentials/x/k".into()));
    let unset = source(Secrets::Environment("OTHER".to_owned()), &|_| None).unwrap();
    assert!(matches!(load(&unset, &|_| None), Err(MasterKeyError::Unset(_))));
}
