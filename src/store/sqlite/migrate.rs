//! Making the database file and bringing its schema up to date, under an exclusive lock.
//!
//! Called by the store's facade when it is created or opened; never while it is in use.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use sqlx::{ConnectOptions as _, Row as _, SqliteConnection};

use super::super::{Result, StoreError};
use super::connection::{Purpose, options};
use super::key_text;
use super::row::{Fields, failed, int};

/// Schema version n is what the first n of these make. None is ever changed once released.
const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/0001_initial.sql"),
    include_str!("../migrations/0002_admin.sql"),
    include_str!("../migrations/0003_token_exchange.sql"),
];

/// The schema version since which there are texts to search in.
const WITH_TEXTS: i64 = 2;

/// `PRAGMA application_id` of our files: "kgat". Tells them from other programs' databases.
const APPLICATION_ID: i64 = 0x6b67_6174;

/// What a file is.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// Without any table.
    Empty,
    /// Ours, with this schema version.
    Ours(i64),
    /// Another program's.
    Foreign,
}

/// Makes the file and the schema if they are not there yet. An existing store stays as it is.
pub(super) async fn create(path: &Path, store_id: &str) -> Result<()> {
    create_file(path).map_err(|e| StoreError::Database("create the file", sqlx::Error::Io(e)))?;
    let mut conn = options(path, Purpose::Write).connect().await.map_err(failed("open the database"))?;
    if kind(&mut conn).await? == Kind::Empty {
        use_log(&mut conn).await?;
        run(&mut conn, "BEGIN EXCLUSIVE").await?;
        // Someone else may have been faster.
        if kind(&mut conn).await? == Kind::Empty {
            initialise(&mut conn, store_id).await?;
        }
        run(&mut conn, "COMMIT").await?;
    }
    Ok(())
}

/// Checks that the file is a store that this binary understands, brings it up to date, and returns its id.
pub(super) async fn bring_up_to_date(path: &Path) -> Result<String> {
    migrate(path, MIGRATIONS).await
}

/// Mode 0600 from its first moment; SQLite gives its log and shared memory the same.
fn create_file(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file.sync_all()?,
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(e) => return Err(e),
    }
    // The name must be as durable as what is acknowledged to be in the file.
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

/// As [`bring_up_to_date`], to these migrations.
pub(super) async fn migrate(path: &Path, migrations: &[&'static str]) -> Result<String> {
    let missing = || StoreError::NotInitialised(path.display().to_string());
    // Without a file there is nothing to open, and SQLite would only say that it cannot.
    if !path.try_exists().map_err(|e| StoreError::Database("find the file", sqlx::Error::Io(e)))? {
        return Err(missing());
    }
    let known = int(u64::try_from(migrations.len()).unwrap_or(u64::MAX));
    let mut conn = options(path, Purpose::Write).connect().await.map_err(failed("open the database"))?;
    match kind(&mut conn).await? {
        Kind::Empty => return Err(missing()),
        Kind::Foreign => return Err(foreign(path)),
        Kind::Ours(found) if found > known => return Err(StoreError::NewerSchema { found, known }),
        Kind::Ours(found) if found < known => apply(&mut conn, migrations, known).await?,
        Kind::Ours(_) => {}
    }
    use_log(&mut conn).await?;
    let row =
        sqlx::query("SELECT store_id FROM meta").fetch_one(&mut conn).await.map_err(failed("read the store's id"))?;
    Fields::new(&row, "meta", 0).get(0, "store_id")
}

/// Looks without changing anything.
async fn kind(conn: &mut SqliteConnection) -> Result<Kind> {
    if number(conn, "PRAGMA application_id").await? == APPLICATION_ID {
        return number(conn, "SELECT schema_version FROM meta").await.map(Kind::Ours);
    }
    let tables = number(conn, "SELECT count(*) FROM sqlite_schema").await?;
    Ok(if tables == 0 { Kind::Empty } else { Kind::Foreign })
}

fn foreign(path: &Path) -> StoreError {
    StoreError::Corrupt(format!("another program's tables, at {}", path.display()))
}

/// Switches to the write-ahead log, which stays so. SQLite does not wait for other connections here, so we do.
async fn use_log(conn: &mut SqliteConnection) -> Result<()> {
    const PAUSE: Duration = Duration::from_millis(20);
    const TRIES: u32 = 250;
    for _ in 1..TRIES {
        if matches!(journal_mode(conn).await.as_deref(), Ok("wal")) {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    match journal_mode(conn).await.map_err(failed("switch to the write-ahead log"))?.as_str() {
        "wal" => Ok(()),
        other => Err(StoreError::Corrupt(format!("the journal mode {other}, which the file system forces"))),
    }
}

async fn journal_mode(conn: &mut SqliteConnection) -> std::result::Result<String, sqlx::Error> {
    sqlx::query("PRAGMA journal_mode = WAL").fetch_one(conn).await?.try_get(0)
}

/// The first schema, and what an empty store holds.
async fn initialise(conn: &mut SqliteConnection, store_id: &str) -> Result<()> {
    steps(conn, MIGRATIONS, 0).await?;
    sqlx::query("INSERT INTO meta (one, store_id, schema_version, horizon) VALUES (1, ?1, ?2, 0)")
        .bind(store_id)
        .bind(int(u64::try_from(MIGRATIONS.len()).unwrap_or(u64::MAX)))
        .execute(&mut *conn)
        .await
        .map_err(failed("name the store"))?;
    // Revision 0 belongs to this store alone, so its change id is the store's own.
    sqlx::query("INSERT INTO counter (one, revision, change_id) SELECT 1, 0, store_id FROM meta")
        .execute(&mut *conn)
        .await
        .map_err(failed("start the counter"))?;
    sqlx::query("INSERT INTO changes (revision, change_id, kind) SELECT 0, store_id, 'init' FROM meta")
        .execute(&mut *conn)
        .await
        .map_err(failed("start the list of changes"))?;
    // APPLICATION_ID in decimal: a pragma takes no parameters.
    run(conn, "PRAGMA application_id = 1801937268").await
}

/// Applies what is pending. Two processes that start at once take turns, and the second finds nothing to do.
async fn apply(conn: &mut SqliteConnection, migrations: &[&'static str], known: i64) -> Result<()> {
    run(conn, "BEGIN EXCLUSIVE").await?;
    let Kind::Ours(found) = kind(conn).await? else {
        return Err(StoreError::Corrupt("a schema that vanished".to_owned()));
    };
    if found > known {
        return Err(StoreError::NewerSchema { found, known });
    }
    steps(conn, migrations, found).await?;
    if found < WITH_TEXTS && known >= WITH_TEXTS {
        key_text::refold_all(conn).await?;
    }
    sqlx::query("UPDATE meta SET schema_version = ?1")
        .bind(known)
        .execute(&mut *conn)
        .await
        .map_err(failed("write the schema version"))?;
    run(conn, "COMMIT").await
}

async fn steps(conn: &mut SqliteConnection, migrations: &[&'static str], from: i64) -> Result<()> {
    let done = usize::try_from(from).unwrap_or(0);
    for sql in migrations.iter().skip(done) {
        sqlx::raw_sql(*sql).execute(&mut *conn).await.map_err(failed("migrate the schema"))?;
    }
    Ok(())
}

async fn run(conn: &mut SqliteConnection, sql: &'static str) -> Result<()> {
    sqlx::query(sql).execute(conn).await.map_err(failed("migrate the schema")).map(drop)
}

async fn number(conn: &mut SqliteConnection, sql: &'static str) -> Result<i64> {
    let row = sqlx::query(sql).fetch_one(conn).await.map_err(failed("look at the schema"))?;
    Fields::new(&row, "meta", 0).get(0, "number")
}
