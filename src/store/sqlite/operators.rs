//! Operators. Each change runs in a transaction that holds the write lock. Called by the store's facade and by
//! `sessions`.

use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::super::{Audit, Operator, OperatorRole, Result, StoreError};
use super::audit;
use super::row::{Fields, failed, id_int};
use super::sessions;
use crate::clock::WallTime;
use crate::credential::{KeyId, SecretDigest};

/// The columns of an operator `o`, in the order of [`decode`].
macro_rules! operator_columns {
    () => {
        "o.id, o.name, o.role, o.digest, o.created_at, o.last_login"
    };
}
pub(super) use operator_columns;

/// An operator by id.
pub(super) async fn by_id(conn: &mut SqliteConnection, id: KeyId) -> Result<Option<Operator>> {
    const READ: &str = concat!("SELECT ", operator_columns!(), " FROM operators o WHERE o.id = ?1");
    let row = sqlx::query(READ).bind(id_int(id)).fetch_optional(conn).await.map_err(failed("read an operator"))?;
    row.as_ref().map(|row| decode(row, 0)).transpose()
}

/// Operators by name.
pub(super) async fn all(conn: &mut SqliteConnection) -> Result<Vec<Operator>> {
    const READ: &str = concat!("SELECT ", operator_columns!(), " FROM operators o ORDER BY o.name, o.id");
    let rows = sqlx::query(READ).fetch_all(conn).await.map_err(failed("read the operators"))?;
    rows.iter().map(|row| decode(row, 0)).collect()
}

/// Reads [`operator_columns!`] from the column `start` on.
pub(super) fn decode(row: &SqliteRow, start: usize) -> Result<Operator> {
    let fields = Fields::new(row, "operators", start);
    let role: &str = fields.get(2, "role")?;
    Ok(Operator {
        id: fields.id(0)?,
        name: fields.get(1, "name")?,
        role: role.parse().map_err(|_| fields.bad("role"))?,
        digest: fields.digest(3)?,
        created_at: fields.sure_time(4, "created_at")?,
        last_login: fields.time(5, "last_login")?,
    })
}

/// Makes an operator.
pub(super) async fn insert(conn: &mut SqliteConnection, operator: &Operator, audit: &Audit<'_>) -> Result<()> {
    const TAKEN: &str = "SELECT EXISTS (SELECT 1 FROM operators WHERE name = ?1)";
    const WRITE: &str =
        "INSERT INTO operators (id, name, role, digest, created_at, last_login) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let row = sqlx::query(TAKEN).bind(operator.name.as_str()).fetch_one(&mut *conn).await;
    if Fields::new(&row.map_err(failed("look for a name"))?, "operators", 0).get(0, "presence")? {
        return Err(StoreError::OperatorNameTaken(operator.name.clone()));
    }
    sqlx::query(WRITE)
        .bind(id_int(operator.id))
        .bind(operator.name.as_str())
        .bind(operator.role.as_str())
        .bind(&operator.digest.as_bytes()[..])
        .bind(operator.created_at.as_i64())
        .bind(operator.last_login.map(WallTime::as_i64))
        .execute(&mut *conn)
        .await
        .map_err(failed("make an operator"))?;
    audit::insert(conn, audit, None).await
}

/// Removes an operator with everything that it can log in by.
pub(super) async fn remove(conn: &mut SqliteConnection, id: KeyId, audit: &Audit<'_>) -> Result<()> {
    const OTHERS: &str = "SELECT EXISTS (SELECT 1 FROM operators WHERE role = ?1 AND id <> ?2)";
    let operator = existing(conn, id).await?;
    if operator.role == OperatorRole::Admin {
        let admin = OperatorRole::Admin.as_str();
        let row = sqlx::query(OTHERS).bind(admin).bind(id_int(id)).fetch_one(&mut *conn).await;
        let others: bool =
            Fields::new(&row.map_err(failed("look for an admin"))?, "operators", 0).get(0, "presence")?;
        if !others {
            return Err(StoreError::LastAdmin);
        }
    }
    // First: whoever removes itself is there until it has.
    audit::insert(conn, audit, None).await?;
    sessions::end_all(conn, id).await?;
    sqlx::query("DELETE FROM operators WHERE id = ?1")
        .bind(id_int(id))
        .execute(&mut *conn)
        .await
        .map_err(failed("remove an operator"))?;
    Ok(())
}

/// Replaces an operator's token and ends everything that the old one opened.
pub(super) async fn rotate(
    conn: &mut SqliteConnection,
    id: KeyId,
    digest: &SecretDigest,
    audit: &Audit<'_>,
) -> Result<()> {
    existing(conn, id).await?;
    sessions::end_all(conn, id).await?;
    sqlx::query("UPDATE operators SET digest = ?2 WHERE id = ?1")
        .bind(id_int(id))
        .bind(&digest.as_bytes()[..])
        .execute(&mut *conn)
        .await
        .map_err(failed("replace an operator's token"))?;
    audit::insert(conn, audit, None).await
}

/// An operator that must be there.
pub(super) async fn existing(conn: &mut SqliteConnection, id: KeyId) -> Result<Operator> {
    by_id(conn, id).await?.ok_or_else(|| StoreError::NoSuchOperator(id.to_string()))
}
