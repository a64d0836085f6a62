//! API keys: reading, finding, making, changing, deleting.
//!
//! A change runs in a transaction that holds the write lock, so what it reads first is still so when it writes.
//! Called by the store's facade and by `changes`.

use sqlx::SqliteConnection;

use super::super::{ApiKey, Audit, Head, KeyUpdate, NewKey, Result, StoreError, Usage};
use super::audit;
use super::changes::{Subject, advance};
use super::key_row::{PAGE, bind, decode, decode_page, decode_with_usage, key_columns, usage_columns};
use super::key_text::refold;
use super::row::{Fields, failed, id_int, int};
use crate::credential::{KeyId, KeyName, KeyState, SecretDigest};

/// A key's columns, then those of its use, in the order of [`decode_with_usage`].
macro_rules! select_with_usage {
    ($end:literal) => {
        concat!(
            "SELECT ",
            key_columns!(),
            ", ",
            usage_columns!(),
            " FROM api_keys k LEFT JOIN key_usage u ON u.key_id = k.id ",
            $end
        )
    };
}

/// Keys of one step of a load. What it holds in memory at a time is this and their descriptions.
const PAGE_ROWS: i64 = 1000;

/// Every key, tombstones too, one after another; in a read transaction, so all pages are of one moment.
pub(super) async fn each(conn: &mut SqliteConnection, each: &mut (dyn FnMut(ApiKey) + Send)) -> Result<()> {
    let mut after = i64::MIN;
    loop {
        let page = sqlx::query(PAGE).bind(after).bind(PAGE_ROWS).fetch_one(&mut *conn).await;
        match decode_page(&page.map_err(failed("read the API keys"))?, each)? {
            Some(last) => after = last,
            None => return Ok(()),
        }
    }
}

/// The keys whose last change is after `revision`, in the order of those changes.
pub(super) async fn changed_since(conn: &mut SqliteConnection, revision: u64) -> Result<Vec<ApiKey>> {
    const READ: &str = concat!(
        "SELECT ",
        key_columns!(),
        " FROM changes c JOIN api_keys k ON k.id = c.subject AND k.revision = c.revision \
         WHERE c.kind = 'key' AND c.revision > ?1 ORDER BY c.revision"
    );
    let rows = sqlx::query(READ).bind(int(revision)).fetch_all(conn).await.map_err(failed("read the changed keys"))?;
    rows.iter().map(decode).collect()
}

/// A key by id, tombstones too, with its use.
pub(super) async fn by_id(conn: &mut SqliteConnection, id: KeyId) -> Result<Option<(ApiKey, Usage)>> {
    const READ: &str = select_with_usage!("WHERE k.id = ?1");
    let row = sqlx::query(READ).bind(id_int(id)).fetch_optional(conn).await.map_err(failed("read an API key"))?;
    row.as_ref().map(decode_with_usage).transpose()
}

/// A key by name, never a tombstone, with its use.
pub(super) async fn by_name(conn: &mut SqliteConnection, name: &str) -> Result<Option<(ApiKey, Usage)>> {
    const READ: &str = select_with_usage!("WHERE k.name = ?1 AND k.state <> 'deleted'");
    let row = sqlx::query(READ).bind(name).fetch_optional(conn).await.map_err(failed("read an API key"))?;
    row.as_ref().map(decode_with_usage).transpose()
}

/// Makes a key.
pub(super) async fn insert(
    conn: &mut SqliteConnection,
    new: &NewKey,
    change_id: &str,
    audit: &Audit<'_>,
) -> Result<Head> {
    const WRITE: &str = "INSERT INTO api_keys (id, name, description, role, state, expires_at, policy, digest, epoch,
        created_at, updated_at, revision) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    name_must_be_free(conn, &new.name, new.id).await?;
    let head = advance(conn, change_id, Subject::Key(new.id)).await?;
    let key = ApiKey {
        id: new.id,
        name: new.name.clone(),
        description: new.description.clone(),
        role: new.role,
        state: KeyState::Active,
        policy: new.policy.clone(),
        digest: new.digest,
        epoch: 1,
        created_at: audit.at,
        updated_at: audit.at,
        revision: head.revision,
    };
    bind(sqlx::query(WRITE), &key).execute(&mut *conn).await.map_err(failed("make an API key"))?;
    refold(conn, &key).await?;
    audit::insert(conn, audit, Some(head.revision)).await?;
    Ok(head)
}

/// Changes a key; returns what it was and what it is.
pub(super) async fn update(
    conn: &mut SqliteConnection,
    id: KeyId,
    update: &KeyUpdate,
    change_id: &str,
    audit: &Audit<'_>,
) -> Result<(ApiKey, ApiKey, Head)> {
    let before = live(conn, id).await?;
    if update.if_revision.is_some_and(|revision| revision != before.revision) {
        return Err(StoreError::Changed(id));
    }
    if let Some(name) = &update.name {
        name_must_be_free(conn, name, id).await?;
    }
    let mut after = before.clone();
    let KeyUpdate { if_revision: _, name, description, role, policy, state, digest, raise_epoch } = update.clone();
    after.name = name.unwrap_or(after.name);
    after.description = description.unwrap_or(after.description);
    after.role = role.unwrap_or(after.role);
    after.policy = policy.unwrap_or(after.policy);
    after.state = state.unwrap_or(after.state);
    after.digest = digest.unwrap_or(after.digest);
    if after.state == KeyState::Deleted {
        entomb(&mut after)?;
    } else if raise_epoch {
        self::raise_epoch(&mut after)?;
    }
    let head = replace(conn, &mut after, change_id, audit).await?;
    Ok((before, after, head))
}

/// Makes a tombstone of a key.
pub(super) async fn delete(
    conn: &mut SqliteConnection,
    id: KeyId,
    if_revision: Option<u64>,
    change_id: &str,
    audit: &Audit<'_>,
) -> Result<Head> {
    let mut key = live(conn, id).await?;
    if if_revision.is_some_and(|revision| revision != key.revision) {
        return Err(StoreError::Changed(id));
    }
    entomb(&mut key)?;
    replace(conn, &mut key, change_id, audit).await
}

/// A key that is not a tombstone.
async fn live(conn: &mut SqliteConnection, id: KeyId) -> Result<ApiKey> {
    let found = by_id(conn, id).await?.map(|(key, _)| key);
    found.filter(|key| key.state != KeyState::Deleted).ok_or_else(|| StoreError::NoSuchKey(id.to_string()))
}

async fn name_must_be_free(conn: &mut SqliteConnection, name: &KeyName, of: KeyId) -> Result<()> {
    const READ: &str = "SELECT EXISTS (SELECT 1 FROM api_keys WHERE name = ?1 AND state <> 'deleted' AND id <> ?2)";
    let row = sqlx::query(READ)
        .bind(name.as_str())
        .bind(id_int(of))
        .fetch_one(conn)
        .await
        .map_err(failed("look for a name"))?;
    let taken: bool = Fields::new(&row, "api_keys", 0).get(0, "presence")?;
    if taken { Err(StoreError::NameTaken(name.to_string())) } else { Ok(()) }
}

fn entomb(key: &mut ApiKey) -> Result<()> {
    key.state = KeyState::Deleted;
    key.digest = SecretDigest::ERASED;
    raise_epoch(key)
}

/// An epoch never wraps: an old one would be in force again.
fn raise_epoch(key: &mut ApiKey) -> Result<()> {
    let id = key.id;
    key.epoch = key
        .epoch
        .checked_add(1)
        .ok_or_else(|| StoreError::Corrupt(format!("the last possible epoch in table api_keys, row {id},")))?;
    Ok(())
}

/// Writes all of a changed key.
async fn replace(conn: &mut SqliteConnection, key: &mut ApiKey, change_id: &str, audit: &Audit<'_>) -> Result<Head> {
    const WRITE: &str = "UPDATE api_keys SET name = ?2, description = ?3, role = ?4, state = ?5, expires_at = ?6,
        policy = ?7, digest = ?8, epoch = ?9, created_at = ?10, updated_at = ?11, revision = ?12 WHERE id = ?1";
    let head = advance(conn, change_id, Subject::Key(key.id)).await?;
    key.updated_at = audit.at;
    key.revision = head.revision;
    bind(sqlx::query(WRITE), key).execute(&mut *conn).await.map_err(failed("change an API key"))?;
    refold(conn, key).await?;
    audit::insert(conn, audit, Some(head.revision)).await?;
    Ok(head)
}
