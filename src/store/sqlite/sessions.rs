//! Sessions of operators and the one-time links that open them. Each change runs in a transaction that holds the
//! write lock. Called by the store's facade and by `operators`.

use sqlx::SqliteConnection;

use super::super::{Audit, Operator, Result, Session};
use super::audit;
use super::operators::{self, operator_columns};
use super::row::{Fields, failed, id_int};
use crate::clock::WallTime;
use crate::credential::{KeyId, SecretDigest};

/// Opens a session; the operator has logged in.
pub(super) async fn insert(conn: &mut SqliteConnection, session: &Session, audit: &Audit<'_>) -> Result<()> {
    const WRITE: &str = "INSERT INTO sessions (digest, operator, address, created_at, seen_at, expires_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    operators::existing(conn, session.operator).await?;
    sqlx::query(WRITE)
        .bind(&session.digest.as_bytes()[..])
        .bind(id_int(session.operator))
        .bind(session.address.as_str())
        .bind(session.created_at.as_i64())
        .bind(session.seen_at.as_i64())
        .bind(session.expires_at.as_i64())
        .execute(&mut *conn)
        .await
        .map_err(failed("open a session"))?;
    sqlx::query("UPDATE operators SET last_login = max(coalesce(last_login, 0), ?2) WHERE id = ?1")
        .bind(id_int(session.operator))
        .bind(session.created_at.as_i64())
        .execute(&mut *conn)
        .await
        .map_err(failed("write an operator's last login"))?;
    audit::insert(conn, audit, None).await
}

/// The session with this digest, and whose it is.
pub(super) async fn find(conn: &mut SqliteConnection, digest: &SecretDigest) -> Result<Option<(Session, Operator)>> {
    const READ: &str = concat!(
        "SELECT s.digest, s.operator, s.address, s.created_at, s.seen_at, s.expires_at, ",
        operator_columns!(),
        " FROM sessions s JOIN operators o ON o.id = s.operator WHERE s.digest = ?1"
    );
    let row = sqlx::query(READ).bind(&digest.as_bytes()[..]).fetch_optional(conn).await;
    let Some(row) = row.map_err(failed("read a session"))? else { return Ok(None) };
    let operator = operators::decode(&row, COLUMNS)?;
    let fields = Fields::new(&row, "sessions", 0);
    let session = Session {
        digest: fields.digest(0)?,
        operator: operator.id,
        address: fields.get(2, "address")?,
        created_at: fields.sure_time(3, "created_at")?,
        seen_at: fields.sure_time(4, "seen_at")?,
        expires_at: fields.sure_time(5, "expires_at")?,
    };
    Ok(Some((session, operator)))
}

/// How many columns of a session stand before its operator's.
const COLUMNS: usize = 6;

/// Writes when a session was used.
pub(super) async fn touch(conn: &mut SqliteConnection, digest: &SecretDigest, at: WallTime) -> Result<()> {
    sqlx::query("UPDATE sessions SET seen_at = max(seen_at, ?2) WHERE digest = ?1")
        .bind(&digest.as_bytes()[..])
        .bind(at.as_i64())
        .execute(conn)
        .await
        .map(drop)
        .map_err(failed("write that a session was used"))
}

/// Ends a session. `false` when there was none.
pub(super) async fn remove(
    conn: &mut SqliteConnection,
    digest: &SecretDigest,
    audit: Option<&Audit<'_>>,
) -> Result<bool> {
    let done = sqlx::query("DELETE FROM sessions WHERE digest = ?1").bind(&digest.as_bytes()[..]);
    let done = done.execute(&mut *conn).await.map_err(failed("end a session"))?;
    let found = done.rows_affected() > 0;
    if let Some(audit) = audit.filter(|_| found) {
        audit::insert(conn, audit, None).await?;
    }
    Ok(found)
}

/// Ends all sessions of an operator, and what could open another.
pub(super) async fn end_all(conn: &mut SqliteConnection, operator: KeyId) -> Result<()> {
    for sql in ["DELETE FROM sessions WHERE operator = ?1", "DELETE FROM login_links WHERE operator = ?1"] {
        sqlx::query(sql)
            .bind(id_int(operator))
            .execute(&mut *conn)
            .await
            .map_err(failed("end an operator's sessions"))?;
    }
    Ok(())
}

/// Makes a login link.
pub(super) async fn insert_link(
    conn: &mut SqliteConnection,
    digest: &SecretDigest,
    operator: KeyId,
    expires_at: WallTime,
    audit: &Audit<'_>,
) -> Result<()> {
    operators::existing(conn, operator).await?;
    sqlx::query("INSERT INTO login_links (digest, operator, expires_at) VALUES (?1, ?2, ?3)")
        .bind(&digest.as_bytes()[..])
        .bind(id_int(operator))
        .bind(expires_at.as_i64())
        .execute(&mut *conn)
        .await
        .map_err(failed("make a login link"))?;
    audit::insert(conn, audit, None).await
}

/// Takes a login link: whoever comes second finds none.
pub(super) async fn take_link(
    conn: &mut SqliteConnection,
    digest: &SecretDigest,
    now: WallTime,
) -> Result<Option<Operator>> {
    const TAKE: &str = "DELETE FROM login_links WHERE digest = ?1 RETURNING operator, expires_at";
    let row = sqlx::query(TAKE).bind(&digest.as_bytes()[..]).fetch_optional(&mut *conn).await;
    let Some(row) = row.map_err(failed("take a login link"))? else { return Ok(None) };
    let fields = Fields::new(&row, "login_links", 0);
    if fields.sure_time(1, "expires_at")? <= now {
        return Ok(None);
    }
    operators::by_id(conn, fields.id(0)?).await
}

/// Deletes what has expired.
pub(super) async fn purge(conn: &mut SqliteConnection, now: WallTime) -> Result<()> {
    for sql in ["DELETE FROM sessions WHERE expires_at <= ?1", "DELETE FROM login_links WHERE expires_at <= ?1"] {
        sqlx::query(sql).bind(now.as_i64()).execute(&mut *conn).await.map_err(failed("delete expired sessions"))?;
    }
    Ok(())
}
