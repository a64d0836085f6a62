//! The counter, the list of changes, and what a follower learns from them.
//!
//! Every change begins with [`advance`], in a transaction that already holds the write lock. Called by the files
//! that write keys and secrets, and by followers.

use sqlx::SqliteConnection;

use super::super::{Change, Changes, Head, RenewalReading, Result, StoreError};
use super::row::{Fields, failed, id_int, int};
use super::{keys, secrets};
use crate::clock::WallTime;
use crate::credential::KeyId;

/// A follower that has missed more than this loads anew: that is streamed, and this list is held in memory.
const MOST_CHANGES: u64 = 250_000;

/// What a revision changed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subject {
    Key(KeyId),
    Secrets,
}

impl Subject {
    const KEY: &str = "key";
    const SECRETS: &str = "secrets";
}

/// Takes the next revision.
pub(super) async fn advance(conn: &mut SqliteConnection, change_id: &str, subject: Subject) -> Result<Head> {
    let row = sqlx::query("UPDATE counter SET revision = revision + 1, change_id = ?1 RETURNING revision")
        .bind(change_id)
        .fetch_one(&mut *conn)
        .await
        .map_err(failed("advance the counter"))?;
    let revision: u64 = Fields::new(&row, "counter", 0).number(0, "revision")?;
    let (kind, key) = match subject {
        Subject::Key(id) => (Subject::KEY, Some(id_int(id))),
        Subject::Secrets => (Subject::SECRETS, None),
    };
    sqlx::query("INSERT INTO changes (revision, change_id, kind, subject) VALUES (?1, ?2, ?3, ?4)")
        .bind(int(revision))
        .bind(change_id)
        .bind(kind)
        .bind(key)
        .execute(conn)
        .await
        .map_err(failed("record a change"))?;
    Ok(Head { revision, change_id: change_id.to_owned() })
}

/// The counter.
pub(super) async fn head(conn: &mut SqliteConnection) -> Result<Head> {
    let row = sqlx::query("SELECT revision, change_id FROM counter")
        .fetch_one(conn)
        .await
        .map_err(failed("read the counter"))?;
    let fields = Fields::new(&row, "counter", 0);
    Ok(Head { revision: fields.number(0, "revision")?, change_id: fields.get(1, "change_id")? })
}

/// Counter and own row, in one statement.
pub(super) async fn renew(conn: &mut SqliteConnection, incarnation: &str) -> Result<RenewalReading> {
    const READ: &str = "SELECT revision, change_id, EXISTS (SELECT 1 FROM nodes WHERE incarnation = ?1) FROM counter";
    let row = sqlx::query(READ).bind(incarnation).fetch_one(conn).await.map_err(failed("renew the lease"))?;
    let fields = Fields::new(&row, "counter", 0);
    Ok(RenewalReading {
        row_present: fields.get(2, "presence")?,
        head: Head { revision: fields.number(0, "revision")?, change_id: fields.get(1, "change_id")? },
    })
}

/// What came after `from`; in a read transaction, so all of it is of one moment.
pub(super) async fn since(conn: &mut SqliteConnection, path: &str, from: &Head) -> Result<Changes> {
    let head = head(conn).await?;
    if *from == head {
        return Ok(Changes::Since(Vec::new(), head));
    }
    match history(conn, from, &head).await? {
        History::Same if head.revision - from.revision <= MOST_CHANGES => {}
        History::Same | History::Purged => return Ok(Changes::Reload),
        History::Other => return Ok(Changes::OtherHistory),
    }
    let (mut changes, expected) = other_than_keys(conn, path, from.revision).await?;
    let keys = keys::changed_since(conn, from.revision).await?;
    if u64::try_from(keys.len()).ok() != Some(expected) {
        let after = from.revision;
        return Err(StoreError::Corrupt(format!("changes after revision {after} without their rows in api_keys")));
    }
    changes.extend(keys.into_iter().map(|key| (key.revision, Change::Key(Box::new(key)))));
    changes.sort_by_key(|(revision, _)| *revision);
    Ok(Changes::Since(changes.into_iter().map(|(_, change)| change).collect(), head))
}

/// Where a follower's revision belongs.
enum History {
    /// Here, and before the counter.
    Same,
    /// Behind the horizon, where nothing is known any more.
    Purged,
    /// To a store that was restored or replaced since.
    Other,
}

/// Had the revision `from` that change id here? `from` is not the counter itself.
async fn history(conn: &mut SqliteConnection, from: &Head, head: &Head) -> Result<History> {
    const READ: &str =
        "SELECT horizon, EXISTS (SELECT 1 FROM changes WHERE revision = ?1 AND change_id = ?2) FROM meta";
    let row = sqlx::query(READ)
        .bind(int(from.revision))
        .bind(&from.change_id)
        .fetch_one(conn)
        .await
        .map_err(failed("read the changes"))?;
    let fields = Fields::new(&row, "meta", 0);
    let (horizon, known): (u64, bool) = (fields.number(0, "horizon")?, fields.get(1, "presence")?);
    Ok(match known && from.revision < head.revision {
        true => History::Same,
        false if from.revision < horizon => History::Purged,
        false => History::Other,
    })
}

/// The changes of everything but keys, each with its last revision, and how many keys changed.
async fn other_than_keys(conn: &mut SqliteConnection, path: &str, after: u64) -> Result<(Vec<(u64, Change)>, u64)> {
    const READ: &str = "SELECT kind, max(revision), count(DISTINCT subject) FROM changes
        WHERE revision > ?1 GROUP BY kind";
    let rows = sqlx::query(READ).bind(int(after)).fetch_all(&mut *conn).await.map_err(failed("read the changes"))?;
    let (mut changes, mut keys) = (Vec::new(), 0);
    for row in &rows {
        let fields = Fields::new(row, "changes", 0);
        let revision = fields.number(1, "revision")?;
        match fields.get(0, "kind")? {
            Subject::KEY => keys = fields.number(2, "subject")?,
            Subject::SECRETS => changes.push((revision, Change::Secrets(secrets::read(conn, path).await?))),
            unknown => changes.push((revision, Change::Unknown(unknown.to_owned()))),
        }
    }
    Ok((changes, keys))
}

/// Deletes audit records before a time, and all but the last `keep` changes.
pub(super) async fn purge(conn: &mut SqliteConnection, audit_before: Option<WallTime>, keep: u64) -> Result<()> {
    if let Some(before) = audit_before {
        sqlx::query("DELETE FROM audit WHERE at < ?1")
            .bind(before.as_i64())
            .execute(&mut *conn)
            .await
            .map_err(failed("purge the audit records"))?;
    }
    // The change at the horizon stays: a follower that is there shows by its change id that it is of this history.
    let horizon = int(head(conn).await?.revision.saturating_sub(keep));
    sqlx::query("UPDATE meta SET horizon = max(horizon, ?1)")
        .bind(horizon)
        .execute(&mut *conn)
        .await
        .map_err(failed("record the horizon"))?;
    sqlx::query("DELETE FROM changes WHERE revision < (SELECT horizon FROM meta)")
        .execute(conn)
        .await
        .map_err(failed("purge the changes"))?;
    Ok(())
}
