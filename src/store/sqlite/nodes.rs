//! Nodes' rows. Called by the store's facade.

use std::time::Duration;

use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::super::{NodeRow, Result};
use super::row::{Fields, failed, int};
use crate::clock::WallTime;

/// Writes a node's row. Again with the same incarnation (its answer was lost): the row is as the last call says.
pub(super) async fn join(conn: &mut SqliteConnection, node: &NodeRow) -> Result<()> {
    const WRITE: &str = "INSERT OR REPLACE INTO nodes (incarnation, id, version, lease_ms, applied, joined_at, seen_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    sqlx::query(WRITE)
        .bind(node.incarnation.as_str())
        .bind(node.id.as_str())
        .bind(node.version.as_str())
        .bind(int(u64::try_from(node.lease.as_millis()).unwrap_or(u64::MAX)))
        .bind(int(node.applied))
        .bind(node.joined_at.as_i64())
        .bind(node.seen_at.as_i64())
        .execute(conn)
        .await
        .map_err(failed("join the nodes"))?;
    Ok(())
}

/// Raises `applied`. `false` when the row is gone.
pub(super) async fn confirm(conn: &mut SqliteConnection, incarnation: &str, applied: u64) -> Result<bool> {
    let done = sqlx::query("UPDATE nodes SET applied = max(applied, ?2) WHERE incarnation = ?1")
        .bind(incarnation)
        .bind(int(applied))
        .execute(conn)
        .await
        .map_err(failed("confirm a revision"))?;
    Ok(done.rows_affected() > 0)
}

/// Writes `seen_at`.
pub(super) async fn seen(conn: &mut SqliteConnection, incarnation: &str, at: WallTime) -> Result<()> {
    sqlx::query("UPDATE nodes SET seen_at = max(seen_at, ?2) WHERE incarnation = ?1")
        .bind(incarnation)
        .bind(at.as_i64())
        .execute(conn)
        .await
        .map_err(failed("write when a node was seen"))?;
    Ok(())
}

/// All rows, in the order of joining.
pub(super) async fn all(conn: &mut SqliteConnection) -> Result<Vec<NodeRow>> {
    const READ: &str = "SELECT incarnation, id, version, lease_ms, applied, joined_at, seen_at FROM nodes
        ORDER BY joined_at, incarnation";
    let rows = sqlx::query(READ).fetch_all(conn).await.map_err(failed("read the nodes"))?;
    rows.iter().map(decode).collect()
}

fn decode(row: &SqliteRow) -> Result<NodeRow> {
    let fields = Fields::new(row, "nodes", 0);
    Ok(NodeRow {
        incarnation: fields.get(0, "incarnation")?,
        id: fields.get(1, "id")?,
        version: fields.get(2, "version")?,
        lease: Duration::from_millis(fields.number(3, "lease_ms")?),
        applied: fields.number(4, "applied")?,
        joined_at: fields.sure_time(5, "joined_at")?,
        seen_at: fields.sure_time(6, "seen_at")?,
    })
}

/// Deletes a row.
pub(super) async fn remove(conn: &mut SqliteConnection, incarnation: &str) -> Result<()> {
    sqlx::query("DELETE FROM nodes WHERE incarnation = ?1")
        .bind(incarnation)
        .execute(conn)
        .await
        .map_err(failed("remove a node"))?;
    Ok(())
}

/// Deletes a row that has not confirmed a revision.
pub(super) async fn remove_silent(conn: &mut SqliteConnection, incarnation: &str, revision: u64) -> Result<()> {
    sqlx::query("DELETE FROM nodes WHERE incarnation = ?1 AND applied < ?2")
        .bind(incarnation)
        .bind(int(revision))
        .execute(conn)
        .await
        .map_err(failed("remove a silent node"))?;
    Ok(())
}
