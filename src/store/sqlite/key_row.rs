//! An API key as a row: its columns, written and read, one by one or many at a time. Pure; called by `keys`.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use sqlx::Row as _;
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteRow};

use super::super::{ApiKey, Result, StoreError, Usage};
use super::policy;
use super::row::{Fields, id_int, int};
use crate::clock::WallTime;
use crate::credential::{KeyId, SecretDigest};

/// The columns of a key `k`, in the order of [`Columns`].
macro_rules! key_columns {
    () => {
        "k.id, k.name, k.description, k.role, k.state, k.expires_at, k.policy, k.digest, k.epoch, \
         k.created_at, k.updated_at, k.revision"
    };
}
pub(super) use key_columns;

/// The columns of a key's use `u`, which stand behind the key's own.
macro_rules! usage_columns {
    () => {
        "u.last_login, u.last_address, u.use_count, u.stale_version, u.stale_at"
    };
}
pub(super) use usage_columns;

/// A page of keys in one row: the last id and a JSON array of rows. A million single rows take several times as
/// long, because each is handed from SQLite's thread to the task by itself, column by column.
pub(super) const PAGE: &str = "SELECT max(id), json_group_array(json_array(id, name, description, role, state,
        expires_at, policy, hex(digest), epoch, created_at, updated_at, revision))
    FROM (SELECT * FROM api_keys WHERE id > ?1 ORDER BY id LIMIT ?2)";

/// How many of [`key_columns!`] there are.
pub(super) const COLUMNS: usize = 12;

/// How many of [`usage_columns!`].
pub(super) const USAGE_COLUMNS: usize = 5;

/// A key's columns, of the types that they have in the table and not yet looked at.
#[derive(Deserialize)]
struct Columns<'a> {
    id: i64,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    description: Cow<'a, str>,
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(borrow)]
    state: Cow<'a, str>,
    expires_at: Option<i64>,
    policy: Option<String>,
    #[serde(deserialize_with = "from_hex")]
    digest: [u8; 32],
    epoch: i64,
    created_at: i64,
    updated_at: i64,
    revision: i64,
}

impl Columns<'_> {
    fn check(self) -> Result<ApiKey> {
        let number = self.id;
        let id = u64::try_from(number).ok().and_then(KeyId::from_u64);
        let id = id.ok_or_else(|| StoreError::Corrupt(format!("an id in table api_keys, row {number},")))?;
        let bad = |what: &str| StoreError::Corrupt(format!("a {what} in table api_keys, row {id},"));
        let time = |millis, what| u64::try_from(millis).map(WallTime::from_millis).map_err(|_| bad(what));
        let expires_at = self.expires_at.map(|at| time(at, "expires_at")).transpose()?;
        Ok(ApiKey {
            id,
            name: self.name.parse().map_err(|_| bad("name"))?,
            description: self.description.into_owned(),
            role: self.role.parse().map_err(|_| bad("role"))?,
            state: self.state.parse().map_err(|()| bad("state"))?,
            policy: policy::from_columns(expires_at, self.policy.as_deref()).ok_or_else(|| bad("policy"))?,
            digest: SecretDigest::from_bytes(self.digest),
            epoch: u32::try_from(self.epoch).map_err(|_| bad("epoch"))?,
            created_at: time(self.created_at, "created_at")?,
            updated_at: time(self.updated_at, "updated_at")?,
            revision: u64::try_from(self.revision).map_err(|_| bad("revision"))?,
        })
    }
}

/// 64 hexadecimal digits, as SQLite's `hex` writes them.
fn from_hex<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<[u8; 32], D::Error> {
    let text = <&str>::deserialize(deserializer)?;
    let bad = || serde::de::Error::custom("a digest is 64 hexadecimal digits");
    let mut digest = [0; 32];
    if text.len() != 2 * digest.len() {
        return Err(bad());
    }
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().as_chunks::<2>().0) {
        for &digit in pair {
            let value = char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok()).ok_or_else(bad)?;
            *byte = *byte << 4 | value;
        }
    }
    Ok(digest)
}

/// Reads a row of [`PAGE`] into `each`; returns the last id, `None` when there were no more rows.
pub(super) fn decode_page(row: &SqliteRow, each: &mut (dyn FnMut(ApiKey) + Send)) -> Result<Option<i64>> {
    let bad = |_| StoreError::Corrupt("a page that cannot be read in table api_keys".to_owned());
    let last: Option<i64> = row.try_get(0).map_err(bad)?;
    let json: &str = row.try_get(1).map_err(bad)?;
    let page: Vec<Columns<'_>> = serde_json::from_str(json).map_err(|e| bad(sqlx::Error::Decode(Box::new(e))))?;
    for columns in page {
        each(columns.check()?);
    }
    Ok(last)
}

/// Reads a row of [`key_columns!`].
pub(super) fn decode(row: &SqliteRow) -> Result<ApiKey> {
    let fields = Fields::new(row, "api_keys", 0);
    let text = |index, what| fields.get::<&str>(index, what).map(Cow::Borrowed);
    let digest: &[u8] = fields.get(7, "digest")?;
    Columns {
        id: fields.get(0, "id")?,
        name: text(1, "name")?,
        description: text(2, "description")?,
        role: text(3, "role")?,
        state: text(4, "state")?,
        expires_at: fields.get(5, "expires_at")?,
        policy: fields.get(6, "policy")?,
        digest: digest.try_into().map_err(|_| fields.bad("digest"))?,
        epoch: fields.get(8, "epoch")?,
        created_at: fields.get(9, "created_at")?,
        updated_at: fields.get(10, "updated_at")?,
        revision: fields.get(11, "revision")?,
    }
    .check()
}

/// Reads a row of [`key_columns!`] and, after them, [`usage_columns!`].
pub(super) fn decode_with_usage(row: &SqliteRow) -> Result<(ApiKey, Usage)> {
    let key = decode(row)?;
    let bad = |what: &str| StoreError::Corrupt(format!("a {what} in table key_usage, row {},", key.id));
    let number = |index| row.try_get::<Option<i64>, _>(COLUMNS + index);
    let time = |index, what| {
        let millis = number(index).map_err(|_| bad(what))?;
        millis.map(|m| u64::try_from(m).map(WallTime::from_millis).map_err(|_| bad(what))).transpose()
    };
    let version = number(3).map_err(|_| bad("stale_version"))?;
    let stale = match (version, time(4, "stale_at")?) {
        (Some(version), Some(at)) => Some((u32::try_from(version).map_err(|_| bad("stale_version"))?, at)),
        _ => None,
    };
    let count = number(2).map_err(|_| bad("use_count"))?;
    let usage = Usage {
        last_login: time(0, "last_login")?,
        last_address: row.try_get(COLUMNS + 1).map_err(|_| bad("last_address"))?,
        use_count: count.map_or(Ok(0), u64::try_from).map_err(|_| bad("use_count"))?,
        stale,
    };
    Ok((key, usage))
}

/// Binds a key's columns in the order of [`key_columns!`].
pub(super) fn bind<'q>(query: Query<'q, Sqlite, SqliteArguments>, key: &ApiKey) -> Query<'q, Sqlite, SqliteArguments> {
    query
        .bind(id_int(key.id))
        .bind(key.name.as_str())
        .bind(key.description.as_str())
        .bind(key.role.as_str())
        .bind(key.state.as_str())
        .bind(key.policy.expires_at.map(WallTime::as_i64))
        .bind(policy::to_column(&key.policy))
        .bind(&key.digest.as_bytes()[..])
        .bind(i64::from(key.epoch))
        .bind(key.created_at.as_i64())
        .bind(key.updated_at.as_i64())
        .bind(int(key.revision))
}
