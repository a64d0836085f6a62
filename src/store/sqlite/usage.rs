//! Merging what keys were used for. Called by the store's facade.
//!
//! A batch travels as JSON: one statement for many rows, without SQL made at run time and without a message to SQLite's
//! thread for each row. Between two statements that thread waits, and others have its processor: requests do not wait for
//! a whole batch.

use sqlx::SqliteConnection;

use super::super::{Result, StoreError, UsageDelta};
use super::row::{failed, id_int, int};
use crate::clock::WallTime;

/// Rows of one statement: about half a millisecond of work.
const ROWS: usize = 128;

/// Times only ever grow, and what belongs to a time goes with the later one.
const MERGE: &str = "
    INSERT INTO key_usage AS old (key_id, last_login, last_address, use_count, stale_version, stale_at)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5
    FROM json_each(?1) WHERE true
    ON CONFLICT (key_id) DO UPDATE SET
        last_address = CASE WHEN excluded.last_login >= coalesce(old.last_login, 0)
            THEN excluded.last_address ELSE old.last_address END,
        last_login = max(coalesce(excluded.last_login, old.last_login), coalesce(old.last_login, excluded.last_login)),
        use_count = old.use_count + excluded.use_count,
        stale_version = CASE WHEN excluded.stale_at >= coalesce(old.stale_at, 0)
            THEN excluded.stale_version ELSE old.stale_version END,
        stale_at = max(coalesce(excluded.stale_at, old.stale_at), coalesce(old.stale_at, excluded.stale_at))";

/// Merges a batch, in the caller's transaction: adding twice what was used once would be wrong.
pub(super) async fn merge(conn: &mut SqliteConnection, batch: &[UsageDelta]) -> Result<()> {
    for rows in batch.chunks(ROWS) {
        let rows: Vec<_> = rows.iter().map(columns).collect();
        let json = serde_json::to_string(&rows)
            .map_err(|e| StoreError::Database("write the last logins", sqlx::Error::Encode(Box::new(e))))?;
        sqlx::query(MERGE).bind(json).execute(&mut *conn).await.map_err(failed("write the last logins"))?;
    }
    Ok(())
}

type Columns<'a> = (i64, Option<i64>, Option<&'a str>, i64, Option<u32>, Option<i64>);

fn columns(delta: &UsageDelta) -> Columns<'_> {
    let usage = &delta.usage;
    (
        id_int(delta.id),
        usage.last_login.map(WallTime::as_i64),
        usage.last_address.as_deref(),
        int(usage.use_count),
        usage.stale.map(|(version, _)| version),
        usage.stale.map(|(_, at)| at.as_i64()),
    )
}
