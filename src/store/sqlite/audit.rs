//! Audit records, and the operators who cause them. Called by the store's facade, and by every change in its own
//! transaction.

use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::super::{Actor, Audit, AuditRecord, Operator, Result};
use super::row::{Fields, failed, id_int, int};

/// Writes the record of what the running transaction does.
pub(super) async fn insert(conn: &mut SqliteConnection, audit: &Audit<'_>, revision: Option<u64>) -> Result<()> {
    const WRITE: &str = "INSERT INTO audit (at, who, origin, action, subject, detail, revision)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    sqlx::query(WRITE)
        .bind(audit.at.as_i64())
        .bind(audit.actor.who.as_str())
        .bind(audit.actor.from.as_str())
        .bind(audit.action)
        .bind(audit.subject.as_str())
        .bind(audit.detail.to_string())
        .bind(revision.map(int))
        .execute(conn)
        .await
        .map_err(failed("write an audit record"))?;
    Ok(())
}

/// The latest records, newest first.
pub(super) async fn latest(conn: &mut SqliteConnection, limit: u32) -> Result<Vec<AuditRecord>> {
    const READ: &str = "SELECT id, at, who, origin, action, subject, detail, revision FROM audit
        ORDER BY id DESC LIMIT ?1";
    let rows = sqlx::query(READ).bind(i64::from(limit)).fetch_all(conn).await;
    rows.map_err(failed("read the audit records"))?.iter().map(decode).collect()
}

fn decode(row: &SqliteRow) -> Result<AuditRecord> {
    let fields = Fields::new(row, "audit", 0);
    let revision: Option<i64> = fields.get(7, "revision")?;
    Ok(AuditRecord {
        id: fields.number(0, "id")?,
        at: fields.sure_time(1, "at")?,
        actor: Actor { who: fields.get(2, "who")?, from: fields.get(3, "origin")? },
        action: fields.get(4, "action")?,
        subject: fields.get(5, "subject")?,
        detail: fields.get(6, "detail")?,
        revision: revision.map(u64::try_from).transpose().map_err(|_| fields.bad("revision"))?,
    })
}

/// Makes an operator, with its audit record.
pub(super) async fn insert_operator(conn: &mut SqliteConnection, operator: &Operator, audit: &Audit<'_>) -> Result<()> {
    sqlx::query("INSERT INTO operators (id, name, role, digest, created_at) VALUES (?1, ?2, ?3, ?4, ?5)")
        .bind(id_int(operator.id))
        .bind(operator.name.as_str())
        .bind(operator.role.as_str())
        .bind(&operator.digest.as_bytes()[..])
        .bind(operator.created_at.as_i64())
        .execute(&mut *conn)
        .await
        .map_err(failed("make an operator"))?;
    insert(conn, audit, None).await
}

/// Operators by name.
pub(super) async fn operators(conn: &mut SqliteConnection) -> Result<Vec<Operator>> {
    let rows = sqlx::query("SELECT id, name, role, digest, created_at FROM operators ORDER BY name, id")
        .fetch_all(conn)
        .await
        .map_err(failed("read the operators"))?;
    let decode = |row| {
        let fields = Fields::new(row, "operators", 0);
        Ok(Operator {
            id: fields.id(0)?,
            name: fields.get(1, "name")?,
            role: fields.get(2, "role")?,
            digest: fields.digest(3)?,
            created_at: fields.sure_time(4, "created_at")?,
        })
    };
    rows.iter().map(decode).collect()
}
