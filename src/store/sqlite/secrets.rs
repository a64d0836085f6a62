//! The shared secret's versions, each with its signing key: reading, replacing, ending a grace period, sealing anew.
//!
//! Each change runs in a transaction that holds the write lock. Called by the store's facade and by `changes`.

use std::num::NonZeroU32;

use sqlx::SqliteConnection;

use super::super::seal::{SealError, sealed_by};
use super::super::{Audit, Head, Resealed, Result, SealedSecret, SecretVersion, Secrets, StoreError};
use super::audit;
use super::changes::{Subject, advance};
use super::row::{Fields, failed};
use crate::clock::WallTime;

/// The live versions. `path` is named when there is none.
pub(super) async fn read(conn: &mut SqliteConnection, path: &str) -> Result<Secrets> {
    const READ: &str = "SELECT version, sealed, created_at, grace_until, state, signing_key FROM shared_secrets
        WHERE state <> 'retired'";
    let rows = sqlx::query(READ).fetch_all(conn).await.map_err(failed("read the shared secrets"))?;
    let (mut current, mut previous) = (None, None);
    for row in &rows {
        let fields = Fields::new(row, "shared_secrets", 0);
        let secret = SecretVersion {
            version: fields.version(0)?,
            sealed: Some(fields.get(1, "sealed")?),
            signing: fields.get(5, "signing_key")?,
            created_at: fields.sure_time(2, "created_at")?,
            grace_until: fields.time(3, "grace_until")?,
        };
        match fields.get(4, "state")? {
            "current" => current = Some(secret),
            "previous" => previous = Some(secret),
            _ => return Err(fields.bad("state")),
        }
    }
    let current = current.ok_or_else(|| StoreError::NotInitialised(path.to_owned()))?;
    Ok(Secrets { current, previous })
}

/// Makes version 1, only if there has never been any. `None` when there has.
pub(super) async fn insert_first(
    conn: &mut SqliteConnection,
    sealed: &SealedSecret,
    created_at: WallTime,
    change_id: &str,
    audit: &Audit<'_>,
) -> Result<Option<Head>> {
    if exists(conn).await? {
        return Ok(None);
    }
    let head = advance(conn, change_id, Subject::Secrets).await?;
    insert(conn, NonZeroU32::MIN, sealed, created_at).await?;
    audit::insert(conn, audit, Some(head.revision)).await?;
    Ok(Some(head))
}

/// Is there any version, retired ones included?
pub(super) async fn exists(conn: &mut SqliteConnection) -> Result<bool> {
    let row = sqlx::query("SELECT EXISTS (SELECT 1 FROM shared_secrets)")
        .fetch_one(conn)
        .await
        .map_err(failed("look for a shared secret"))?;
    Fields::new(&row, "shared_secrets", 0).get(0, "presence")
}

/// Makes `sealed` version `expected + 1`. The version before is kept until `grace_until` or erased.
pub(super) async fn replace(
    conn: &mut SqliteConnection,
    path: &str,
    expected: u32,
    sealed: &SealedSecret,
    grace_until: Option<WallTime>,
    change_id: &str,
    audit: &Audit<'_>,
) -> Result<Head> {
    const KEEP: &str = "UPDATE shared_secrets SET state = 'previous', grace_until = ?1 WHERE state = 'current'";
    let stored = read(conn, path).await?.current;
    let current = stored.version;
    if current.get() != expected {
        return Err(StoreError::VersionConflict { expected, actual: current.get() });
    }
    // The master key was rotated while this secret was being made: sealed with the old one, it would be lost.
    for new in [&sealed.secret, &sealed.signing] {
        same_master_key(&stored, new)?;
    }
    let next = current.checked_add(1).ok_or_else(|| {
        StoreError::Corrupt(format!("the last possible version in table shared_secrets, row {current},"))
    })?;
    let head = advance(conn, change_id, Subject::Secrets).await?;
    retire(conn, "previous").await?;
    if let Some(until) = grace_until {
        sqlx::query(KEEP)
            .bind(until.as_i64())
            .execute(&mut *conn)
            .await
            .map_err(failed("keep the previous shared secret"))?;
    } else {
        retire(conn, "current").await?;
    }
    insert(conn, next, sealed, audit.at).await?;
    audit::insert(conn, audit, Some(head.revision)).await?;
    Ok(head)
}

/// Erases the previous version. `None` when there is none.
pub(super) async fn end_grace(conn: &mut SqliteConnection, change_id: &str, audit: &Audit<'_>) -> Result<Option<Head>> {
    if !retire(conn, "previous").await? {
        return Ok(None);
    }
    let head = advance(conn, change_id, Subject::Secrets).await?;
    audit::insert(conn, audit, Some(head.revision)).await?;
    Ok(Some(head))
}

/// Erases the previous version if its grace period is over. No revision: every node knows when it ends. `false` when
/// there is nothing to erase.
pub(super) async fn retire_ended(conn: &mut SqliteConnection, now: WallTime) -> Result<bool> {
    const WRITE: &str =
        "UPDATE shared_secrets SET state = 'retired', sealed = NULL, signing_key = NULL, grace_until = NULL
        WHERE state = 'previous' AND grace_until <= ?1";
    let done = sqlx::query(WRITE).bind(now.as_i64()).execute(conn).await.map_err(failed("erase a shared secret"))?;
    Ok(done.rows_affected() > 0)
}

/// Puts newly sealed bytes in place. Every live version must be named and no other: one left out would stay under
/// the old master key, and one that was erased meanwhile would come back. The same goes for each one's signing key.
pub(super) async fn reseal(
    conn: &mut SqliteConnection,
    path: &str,
    sealed: &[Resealed],
    audit: &Audit<'_>,
) -> Result<()> {
    const WRITE: &str = "UPDATE shared_secrets SET sealed = ?2, signing_key = ?3 WHERE version = ?1";
    let Secrets { current, previous } = read(conn, path).await?;
    let mut live: Vec<_> = previous.iter().chain([&current]).map(|s| (s.version.get(), s.signing.is_some())).collect();
    let mut named: Vec<_> = sealed.iter().map(|s| (s.version, s.signing.is_some())).collect();
    live.sort_unstable();
    named.sort_unstable();
    if named != live {
        return Err(StoreError::SecretsChanged);
    }
    for Resealed { version, secret, signing } in sealed {
        sqlx::query(WRITE)
            .bind(i64::from(*version))
            .bind(&secret[..])
            .bind(signing.as_deref())
            .execute(&mut *conn)
            .await
            .map_err(failed("seal a shared secret anew"))?;
    }
    audit::insert(conn, audit, None).await
}

/// Gives signing keys to the live versions that have none. `None` when all have one: then somebody was faster, or there
/// was nothing to do.
pub(super) async fn add_signing_keys(
    conn: &mut SqliteConnection,
    path: &str,
    keys: &[(u32, Vec<u8>)],
    change_id: &str,
    audit: &Audit<'_>,
) -> Result<Option<Head>> {
    const WRITE: &str = "UPDATE shared_secrets SET signing_key = ?2 WHERE version = ?1";
    let Secrets { current, previous } = read(conn, path).await?;
    let lacking: Vec<_> = previous.iter().chain([&current]).filter(|secret| secret.signing.is_none()).collect();
    if lacking.is_empty() {
        return Ok(None);
    }
    if keys.len() != lacking.len() {
        return Err(StoreError::SecretsChanged);
    }
    for secret in lacking {
        let named = keys.iter().find(|(version, _)| *version == secret.version.get());
        same_master_key(secret, &named.ok_or(StoreError::SecretsChanged)?.1)?;
    }
    let head = advance(conn, change_id, Subject::Secrets).await?;
    for (version, sealed) in keys {
        sqlx::query(WRITE)
            .bind(i64::from(*version))
            .bind(&sealed[..])
            .execute(&mut *conn)
            .await
            .map_err(failed("write a signing key"))?;
    }
    audit::insert(conn, audit, Some(head.revision)).await?;
    Ok(Some(head))
}

/// Were these bytes sealed with the master key that the stored secret is sealed with?
fn same_master_key(stored: &SecretVersion, new: &[u8]) -> Result<()> {
    match (sealed_by(new), stored.sealed.as_deref().and_then(sealed_by)) {
        (Some(configured), Some(sealed)) if configured != sealed => {
            Err(SealError::OtherMasterKey { sealed, configured }.into())
        }
        _ => Ok(()),
    }
}

/// Erases the version in this state, if there is one.
async fn retire(conn: &mut SqliteConnection, state: &'static str) -> Result<bool> {
    const WRITE: &str =
        "UPDATE shared_secrets SET state = 'retired', sealed = NULL, signing_key = NULL, grace_until = NULL
        WHERE state = ?1";
    let done = sqlx::query(WRITE).bind(state).execute(conn).await.map_err(failed("erase a shared secret"))?;
    Ok(done.rows_affected() > 0)
}

async fn insert(conn: &mut SqliteConnection, version: NonZeroU32, sealed: &SealedSecret, at: WallTime) -> Result<()> {
    const WRITE: &str = "INSERT INTO shared_secrets (version, sealed, signing_key, created_at, grace_until, state)
        VALUES (?1, ?2, ?3, ?4, NULL, 'current')";
    sqlx::query(WRITE)
        .bind(i64::from(version.get()))
        .bind(&sealed.secret[..])
        .bind(&sealed.signing[..])
        .bind(at.as_i64())
        .execute(conn)
        .await
        .map_err(failed("write a shared secret"))?;
    Ok(())
}
