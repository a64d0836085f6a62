//! Reading columns and naming what is wrong with them. Pure; called by the other files of this store.

use std::num::NonZeroU32;
use std::path::Path;

use sqlx::sqlite::{Sqlite, SqliteRow};
use sqlx::{Decode, Row as _, Type};

use super::super::{Result, StoreError};
use crate::clock::WallTime;
use crate::credential::{KeyId, SecretDigest};

/// Names what the database failed to do.
pub(super) fn failed(doing: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |error| StoreError::Database(doing, error)
}

/// Names the file that could not be opened.
pub(super) fn unopened(path: &Path) -> impl FnOnce(StoreError) -> StoreError {
    move |error| match error {
        StoreError::Database(doing, source) => {
            let hint = if cannot_open(&source) { " (permissions?)" } else { "" };
            StoreError::Unopened { at: path.display().to_string(), doing, hint, source }
        }
        other => other,
    }
}

/// `SQLITE_CANTOPEN` (14, the low byte of an extended code), which says no more than that.
fn cannot_open(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.and_then(|code| code.parse::<u32>().ok()).is_some_and(|code| code & 0xff == 14)
}

/// A count or time as SQLite holds it: 63 bits.
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A key id as SQLite holds it; no id has more than 63 bits.
pub(super) fn id_int(id: KeyId) -> i64 {
    int(id.as_u64())
}

/// One row of a named table, read by position.
pub(super) struct Fields<'r> {
    row: &'r SqliteRow,
    table: &'static str,
    /// The position of the row's own columns; the first of them is its primary key.
    start: usize,
}

impl<'r> Fields<'r> {
    pub(super) fn new(row: &'r SqliteRow, table: &'static str, start: usize) -> Self {
        Self { row, table, start }
    }

    /// The column at `index` as it is.
    pub(super) fn get<T: Decode<'r, Sqlite> + Type<Sqlite>>(&self, index: usize, what: &str) -> Result<T> {
        self.row.try_get(self.start + index).map_err(|_| self.bad(what))
    }

    /// A number that is not negative and fits.
    pub(super) fn number<N: TryFrom<i64>>(&self, index: usize, what: &str) -> Result<N> {
        N::try_from(self.get::<i64>(index, what)?).map_err(|_| self.bad(what))
    }

    /// A time that may be absent.
    pub(super) fn time(&self, index: usize, what: &str) -> Result<Option<WallTime>> {
        let millis: Option<i64> = self.get(index, what)?;
        millis.map(|m| u64::try_from(m).map(WallTime::from_millis).map_err(|_| self.bad(what))).transpose()
    }

    /// A time that must be there.
    pub(super) fn sure_time(&self, index: usize, what: &str) -> Result<WallTime> {
        self.time(index, what)?.ok_or_else(|| self.bad(what))
    }

    /// A key's or operator's id.
    pub(super) fn id(&self, index: usize) -> Result<KeyId> {
        KeyId::from_u64(self.number(index, "id")?).ok_or_else(|| self.bad("id"))
    }

    /// A SHA-256 digest.
    pub(super) fn digest(&self, index: usize) -> Result<SecretDigest> {
        let bytes: &[u8] = self.get(index, "digest")?;
        bytes.try_into().map(SecretDigest::from_bytes).map_err(|_| self.bad("digest"))
    }

    /// A shared secret version.
    pub(super) fn version(&self, index: usize) -> Result<NonZeroU32> {
        NonZeroU32::new(self.number(index, "version")?).ok_or_else(|| self.bad("version"))
    }

    /// The error that names table, row and column.
    pub(super) fn bad(&self, what: &str) -> StoreError {
        let number = |index| self.row.try_get::<i64, _>(index).ok();
        let text = |index| self.row.try_get::<&str, _>(index).ok();
        let key = match (number(self.start), text(self.start)) {
            (Some(n), _) => n.to_string(),
            (None, Some(t)) => t.to_owned(),
            (None, None) => "?".to_owned(),
        };
        StoreError::Corrupt(format!("a {what} in table {}, row {key},", self.table))
    }
}
