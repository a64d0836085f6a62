//! Audit records. Called by the store's facade, and by every change in its own transaction.

use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::super::{Actor, Audit, AuditQuery, AuditRecord, Result, StoreError};
use super::row::{Fields, failed, id_int, int};
use crate::clock::WallTime;
use crate::credential::KeyId;

/// Writes the record of what the running transaction does.
///
/// Refuses what an operator does who is not there any more: proven before the removal, but later in the queue of
/// writers. As every change writes its record in its own transaction, the change is not made either.
pub(super) async fn insert(conn: &mut SqliteConnection, audit: &Audit<'_>, revision: Option<u64>) -> Result<()> {
    const WRITE: &str = "INSERT INTO audit (at, who, origin, action, subject, detail, revision)
        SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 WHERE ?8 IS NULL OR EXISTS (SELECT 1 FROM operators WHERE id = ?8)";
    let operator = audit.actor.who.strip_prefix("operator:").and_then(|id| KeyId::parse(id.as_bytes()));
    let done = sqlx::query(WRITE)
        .bind(audit.at.as_i64())
        .bind(audit.actor.who.as_str())
        .bind(audit.actor.from.as_str())
        .bind(audit.action)
        .bind(audit.subject.as_str())
        .bind(audit.detail.to_string())
        .bind(revision.map(int))
        .bind(operator.map(id_int))
        .execute(conn)
        .await
        .map_err(failed("write an audit record"))?;
    if done.rows_affected() == 0 {
        return Err(StoreError::OperatorGone);
    }
    Ok(())
}

/// Records, newest first. Every condition is in one statement: a list of records is read from its end, and of those
/// that are narrowed most, by subject, there is an index.
pub(super) async fn page(conn: &mut SqliteConnection, query: &AuditQuery) -> Result<Vec<AuditRecord>> {
    let AuditQuery { who, action, subject, since, until, before, limit } = query;
    let rows = sqlx::query(if subject.is_some() { BY_SUBJECT } else { BY_ID })
        .bind(i64::from(*limit))
        .bind(before.map(int))
        .bind(since.map(WallTime::as_i64))
        .bind(until.map(WallTime::as_i64))
        .bind(who.as_deref())
        .bind(action.as_deref())
        .bind(subject.as_deref())
        .fetch_all(conn)
        .await;
    rows.map_err(failed("read the audit records"))?.iter().map(decode).collect()
}

/// Ids and times both only grow, but for a clock that was set back: the time narrows, it does not end the search.
macro_rules! page {
    ($subject:literal) => {
        concat!(
            "SELECT id, at, who, origin, action, subject, detail, revision FROM audit WHERE ",
            $subject,
            " AND (?2 IS NULL OR id < ?2) AND (?3 IS NULL OR at >= ?3) AND (?4 IS NULL OR at < ?4) \
             AND (?5 IS NULL OR instr(lower(who), lower(?5)) > 0 OR instr(lower(origin), lower(?5)) > 0) \
             AND (?6 IS NULL OR action = ?6 OR substr(action, 1, length(?6) + 1) = ?6 || '.') \
             ORDER BY id DESC LIMIT ?1"
        )
    };
}

const BY_ID: &str = page!("?7 IS NULL");
const BY_SUBJECT: &str = page!("subject = ?7");

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
