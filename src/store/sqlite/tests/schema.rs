//! Making, opening, refusing and migrating the file.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::slice;

use sqlx::{ConnectOptions as _, SqliteConnection};

use super::super::connection::{Purpose, options};
use super::super::{SqliteStore, migrate};
use super::{Fixture, change_id};
use crate::clock::WallTime;
use crate::store::{Actor, Audit, KeyFilter, KeyQuery, KeySort, Secrets, Store as _, StoreError};

async fn connect(path: &std::path::Path) -> SqliteConnection {
    options(path, Purpose::Write).connect().await.unwrap()
}

#[tokio::test]
async fn only_the_owner_may_read_its_files() {
    let fixture = Fixture::with_secret().await;
    let mut files = 0;
    for file in fs::read_dir(fixture.directory.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.file_name());
        files += 1;
    }
    assert_eq!(files, 3, "database, log, shared memory");
}

#[tokio::test]
async fn what_is_missing_or_empty_is_not_initialised() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keygate.db");
    assert!(matches!(SqliteStore::open(&path).await, Err(StoreError::NotInitialised(_))));
    assert!(!path.exists(), "opening makes no file");
    fs::write(&path, "").unwrap();
    assert!(matches!(SqliteStore::open(&path).await, Err(StoreError::NotInitialised(_))));
    // As after a crash between the two steps.
    let store = SqliteStore::create(&path, "first").await.unwrap();
    assert_eq!(store.store_id(), "first");
    assert!(matches!(store.secrets().await, Err(StoreError::NotInitialised(_))));
}

#[tokio::test]
async fn what_cannot_be_opened_is_named() {
    let dir = tempfile::tempdir().unwrap();
    // A directory in the file's place: unlike a mode, it stops root too.
    let error = SqliteStore::open(dir.path()).await.unwrap_err().to_string();
    assert!(error.contains(&dir.path().display().to_string()) && error.ends_with("(permissions?)"), "{error}");
}

#[tokio::test]
async fn creating_again_opens_what_is_there() {
    let fixture = Fixture::with_secret().await;
    let again = SqliteStore::create(&fixture.path(), "other").await.unwrap();
    assert_eq!(again.store_id(), fixture.store.store_id());
    assert_eq!(again.head().await.unwrap().revision, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_creators_names_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let path = dir.path().join("keygate.db");
            tokio::spawn(async move { SqliteStore::create(&path, &change_id()).await.unwrap().store_id().to_owned() })
        })
        .collect();
    let mut ids = Vec::new();
    for task in tasks {
        ids.push(task.await.unwrap());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let fixture = Fixture::new().await;
    let mut conn = connect(&fixture.path()).await;
    sqlx::query("UPDATE meta SET schema_version = 99").execute(&mut conn).await.unwrap();
    let refused = SqliteStore::open(&fixture.path()).await.unwrap_err();
    assert!(matches!(refused, StoreError::NewerSchema { found: 99, .. }), "{refused}");
}

#[tokio::test]
async fn another_programs_database_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("other.db");
    fs::write(&path, "").unwrap();
    let mut conn = connect(&path).await;
    sqlx::query("CREATE TABLE meta (theirs)").execute(&mut conn).await.unwrap();
    let before = fs::read(&path).unwrap();
    assert!(matches!(SqliteStore::open(&path).await, Err(StoreError::Corrupt(_))));
    assert!(matches!(SqliteStore::create(&path, "x").await, Err(StoreError::Corrupt(_))));
    assert_eq!(fs::read(&path).unwrap(), before);
    fs::write(&path, "this is not a database, but it is long enough to be taken for one").unwrap();
    assert!(matches!(SqliteStore::open(&path).await, Err(StoreError::Unopened { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pending_is_applied_once() {
    // The second statement fails: the first must leave nothing behind.
    const DONE: &str = "never run: the store has it";
    const WRONG: &[&str] = &[DONE, DONE, DONE, "CREATE TABLE later (a TEXT); CREATE TABLE broken (a) STRICT"];
    const RIGHT: &[&str] = &[DONE, DONE, DONE, "CREATE TABLE later (a TEXT) STRICT; SELECT 1"];
    let fixture = Fixture::with_secret().await;
    assert!(migrate::migrate(&fixture.path(), WRONG).await.is_err());
    assert!(SqliteStore::open(&fixture.path()).await.is_ok(), "still at the old schema");
    let path = fixture.path();
    let (a, b) = tokio::join!(migrate::migrate(&path, RIGHT), migrate::migrate(&path, RIGHT));
    assert_eq!(a.unwrap(), b.unwrap());
    assert!(matches!(SqliteStore::open(&fixture.path()).await, Err(StoreError::NewerSchema { found: 4, known: 3 })));
}

const FIRST: &str = include_str!("../../migrations/0001_initial.sql");
const SECOND: &str = include_str!("../../migrations/0002_admin.sql");

/// A store as the version of these migrations left it.
async fn old_store(path: &std::path::Path, migrations: &[&'static str], fill: &'static str) {
    fs::write(path, "").unwrap();
    let mut conn = connect(path).await;
    for sql in migrations {
        sqlx::raw_sql(*sql).execute(&mut conn).await.unwrap();
    }
    let rest = "INSERT INTO counter VALUES (1, 0, 'old'); INSERT INTO changes VALUES (0, 'old', 'init', NULL);
        PRAGMA application_id = 1801937268;";
    sqlx::raw_sql(rest).execute(&mut conn).await.unwrap();
    let version = i64::try_from(migrations.len()).unwrap();
    sqlx::query("INSERT INTO meta VALUES (1, 'old', ?1, 0)").bind(version).execute(&mut conn).await.unwrap();
    sqlx::raw_sql(fill).execute(&mut conn).await.unwrap();
}

#[tokio::test]
async fn what_the_first_schema_holds_is_all_there_in_this_one() {
    const FILL: &str = "
        INSERT INTO api_keys VALUES
            (1, 'Ärger', 'Über alles', 'ADMIN', 'active', NULL, NULL, zeroblob(32), 1, 10, 10, 1),
            (2, 'billing', 'Nightly', 'READONLY', 'disabled', NULL, NULL, zeroblob(32), 1, 20, 20, 2),
            (3, 'gone', '', 'READONLY', 'deleted', NULL, NULL, zeroblob(32), 2, 30, 30, 3);
        INSERT INTO key_usage VALUES (1, 500, '192.0.2.1', 3, 1, 600), (99, 1, NULL, 1, NULL, NULL);
        INSERT INTO operators VALUES (7, 'zoe', 'admin', zeroblob(32), 5);";
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keygate.db");
    old_store(&path, &[FIRST], FILL).await;
    let store = SqliteStore::open(&path).await.unwrap();
    assert_eq!(store.store_id(), "old");
    let names = async |filter: KeyFilter| {
        let keys = store.keys(&filter).await.unwrap();
        keys.iter().map(|(key, usage)| (key.name.to_string(), usage.use_count)).collect::<Vec<_>>()
    };
    let all = KeyFilter::default();
    let [aerger, billing] = [("Ärger".to_owned(), 3), ("billing".to_owned(), 0)];
    assert_eq!(names(all.clone()).await, [billing.clone(), aerger.clone()]);
    assert_eq!(names(KeyFilter { text: Some("ÜBER".to_owned()), ..all.clone() }).await, slice::from_ref(&aerger));
    assert_eq!(names(KeyFilter { text: Some("ä".to_owned()), ..all.clone() }).await, slice::from_ref(&aerger));
    assert_eq!(names(KeyFilter { stale: true, ..all.clone() }).await, [aerger]);
    assert_eq!(names(KeyFilter { text: Some("NIGHT".to_owned()), ..all }).await, [billing]);
    let operators = store.operators().await.unwrap();
    assert_eq!((operators[0].name.as_str(), operators[0].last_login), ("zoe", None));
    // The process of the version before, which may still run, writes as it did.
    let mut conn = connect(&path).await;
    let merge = "INSERT INTO key_usage (key_id, last_login, last_address, use_count, stale_version, stale_at)
        VALUES (2, 900, NULL, 1, NULL, NULL) ON CONFLICT (key_id) DO UPDATE SET last_login = excluded.last_login";
    sqlx::query(merge).execute(&mut conn).await.unwrap();
    let latest = KeyQuery { sort: KeySort::LastLogin, descending: true, ..KeyQuery::default() };
    let page = store.key_page(&latest).await.unwrap();
    assert_eq!(page.keys.iter().map(|(key, _)| key.name.as_str()).collect::<Vec<_>>(), ["billing", "Ärger"]);
}

#[tokio::test]
async fn what_the_second_schema_holds_is_all_there_in_this_one() {
    const FILL: &str = "
        INSERT INTO api_keys VALUES
            (1, 'billing', 'Nightly', 'READONLY', 'active', NULL, NULL, zeroblob(32), 1, 20, 20, 2);
        INSERT INTO shared_secrets VALUES
            (1, NULL, 10, NULL, 'retired'), (2, x'0102', 20, 9000, 'previous'), (3, x'0103', 30, NULL, 'current');
        INSERT INTO audit (at, who, origin, action, subject, detail) VALUES (5, 'system', 'local', 'x', '3', '{}');
        INSERT INTO operators VALUES (7, 'zoe', 'admin', zeroblob(32), 5, NULL);";
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keygate.db");
    old_store(&path, &[FIRST, SECOND], FILL).await;
    let store = SqliteStore::open(&path).await.unwrap();
    let Secrets { current, previous } = store.secrets().await.unwrap().secrets;
    let previous = previous.unwrap();
    assert_eq!((current.version.get(), current.sealed, current.signing), (3, Some(vec![1, 3]), None));
    assert_eq!((previous.version.get(), previous.sealed, previous.signing), (2, Some(vec![1, 2]), None));
    assert_eq!(previous.grace_until, Some(WallTime::from_millis(9_000)));
    let (key, _) = store.key_named("billing").await.unwrap().unwrap();
    assert_eq!((key.description.as_str(), key.revision), ("Nightly", 2));
    assert_eq!((store.operators().await.unwrap().len(), store.audit(10).await.unwrap().len()), (1, 1));

    // Schema 2 is worked on while this one is: its process knows nothing of the new column.
    let actor = Actor { who: "system".to_owned(), from: "local".to_owned() };
    let audit = Audit {
        actor: &actor,
        at: WallTime::from_millis(40),
        action: "shared_secret.signing_key",
        subject: "3".to_owned(),
        detail: serde_json::json!({}),
    };
    assert!(store.add_signing_keys(&[(2, vec![2]), (3, vec![3])], "1", &audit).await.unwrap().is_some());
    let mut conn = connect(&path).await;
    let retire = "UPDATE shared_secrets SET state = 'retired', sealed = NULL, grace_until = NULL WHERE version = 2";
    sqlx::query(retire).execute(&mut conn).await.unwrap();
    let reseal = "UPDATE shared_secrets SET sealed = x'0104' WHERE version = 3";
    let keys = "SELECT group_concat(version || ':' || hex(signing_key)) FROM shared_secrets WHERE signing_key NOT NULL";
    let left = async |conn: &mut SqliteConnection| -> Option<String> {
        sqlx::query_scalar(keys).fetch_one(conn).await.unwrap()
    };
    assert_eq!(left(&mut conn).await.as_deref(), Some("3:03"), "retired without its signing key");
    sqlx::query(reseal).execute(&mut conn).await.unwrap();
    assert_eq!(left(&mut conn).await, None, "the other would be under a master key that nobody has any more");
    assert!(store.add_signing_keys(&[(3, vec![4])], "2", &audit).await.unwrap().is_some());
}
