//! Pages of keys, in any order and narrowed in any way, in time that hardly grows with the number of keys.
//!
//! Every order has an index that begins with the kind of a key (state and role). A page walks the pieces of
//! the kinds that are wanted, merged, from the cursor on. Text, time of use and staleness are looked at key by key on the way.
//! When only few keys can fit, they are gathered from an index of what narrows, and sorted. Both ways give the same
//! list. A walk ends after so many keys: its page may then be short, or empty, and the cursor says where to go on. So no
//! list takes long, whatever it is narrowed by. Called by the store's facade.

use std::fmt::Write as _;

use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection};

use super::super::query::{NEVER, Place};
use super::super::{ApiKey, KeyCounts, KeyCursor, KeyFilter, KeyPage, KeyQuery, KeySort, Result, StoreError, Usage};
use super::key_row::{COLUMNS, USAGE_COLUMNS, decode_with_usage, key_columns, usage_columns};
use super::narrowing::{Narrowing, Source, Text};
use super::row::{Fields, failed, id_int};
use crate::clock::WallTime;
use crate::credential::{KeyId, KeyState, Role};

/// When a list is walked and when gathered. Says how long a page takes and may be, never what is on the list.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    /// So many keys are gathered rather than walked for.
    pub(super) few: i64,
    /// Keys that a walk looks at before it ends, if it wants no more than that.
    pub(super) walk: i64,
}

/// Looking at a key costs about as much on a walk as gathering it does: one or two microseconds.
const PLAN: Plan = Plan { few: 5_000, walk: 5_000 };

/// One page.
pub(super) async fn read(conn: &mut SqliteConnection, query: &KeyQuery) -> Result<KeyPage> {
    read_by(PLAN, conn, query).await
}

/// One page, read in this way.
pub(super) async fn read_by(plan: Plan, conn: &mut SqliteConnection, query: &KeyQuery) -> Result<KeyPage> {
    let KeyQuery { filter, sort, descending, after, limit } = query;
    if after.as_ref().is_some_and(|cursor| !cursor.is_of(*sort, *descending)) {
        return Err(StoreError::OtherOrder);
    }
    let limit = usize::try_from((*limit).clamp(1, KeyQuery::MOST)).unwrap_or(1);
    let narrowing = Narrowing::of(filter);
    let mut found: Vec<Listed> = Vec::new();
    let mut ended = None;
    for piece in pieces(filter, *sort, *descending, after.as_ref()) {
        // One more than the page has, to know whether there is another page.
        let wanted = i64::try_from(limit + 1 - found.len()).unwrap_or(i64::MAX);
        let (listed, end) = piece.read(plan, conn, &narrowing, wanted).await?;
        found.extend(listed);
        ended = end;
        if found.len() > limit || ended.is_some() {
            break;
        }
    }
    let next = if found.len() > limit {
        found.truncate(limit);
        found.last().map(|last| last.place(*sort, *descending))
    } else {
        ended.map(|(value, id)| KeyCursor { sort: *sort, descending: *descending, id, value })
    };
    Ok(KeyPage { keys: found.into_iter().map(|listed| (listed.key, listed.usage)).collect(), next })
}

/// How many keys there are.
pub(super) async fn counts(conn: &mut SqliteConnection, since: WallTime) -> Result<KeyCounts> {
    const READ: &str = "SELECT kind, count(*), count(*) FILTER (WHERE login >= ?1), count(*) FILTER (WHERE login = ?2)
        FROM key_usage INDEXED BY key_usage_login WHERE kind < 4 GROUP BY kind";
    const STALE: &str = "SELECT count(*) FROM key_usage INDEXED BY key_usage_stale WHERE stale AND kind < 2";
    let rows = sqlx::query(READ).bind(since.as_i64()).bind(NEVER).fetch_all(&mut *conn).await;
    let mut counts = KeyCounts::default();
    for row in &rows.map_err(failed("count the API keys"))? {
        let fields = Fields::new(row, "key_usage", 0);
        let (kind, keys): (u8, u64) = (fields.number(0, "kind")?, fields.number(1, "count")?);
        if kind >= kind_of(KeyState::Disabled, Role::ReadOnly) {
            counts.disabled += keys;
            continue;
        }
        counts.active += keys;
        counts.used += fields.number::<u64>(2, "count")?;
        counts.never_used += fields.number::<u64>(3, "count")?;
    }
    let row = sqlx::query(STALE).fetch_one(conn).await.map_err(failed("count the API keys"))?;
    counts.stale = Fields::new(&row, "key_usage", 0).number(0, "count")?;
    Ok(counts)
}

/// The number in the column `kind`, which the schema makes.
fn kind_of(state: KeyState, role: Role) -> u8 {
    let state = match state {
        KeyState::Active => 0,
        KeyState::Disabled => 2,
        KeyState::Deleted => 4,
    };
    let role = match role {
        Role::ReadOnly => 0,
        Role::Admin => 1,
    };
    state + role
}

/// A key of a page, with the name that it is sorted by.
struct Listed {
    key: ApiKey,
    usage: Usage,
    name: String,
}

impl Listed {
    fn decode(row: &SqliteRow) -> Result<Self> {
        let (key, usage) = decode_with_usage(row)?;
        let name = row.try_get(COLUMNS + USAGE_COLUMNS);
        let name = name.map_err(|_| StoreError::Corrupt(format!("a name in table key_usage, row {},", key.id)))?;
        Ok(Self { key, usage, name })
    }

    fn place(&self, sort: KeySort, descending: bool) -> KeyCursor {
        let value = match sort {
            KeySort::Name => Place::Name(self.name.clone()),
            KeySort::Role => Place::Role(self.key.role, self.name.clone()),
            KeySort::LastLogin => Place::Time(self.usage.last_login.map_or(NEVER, WallTime::as_i64)),
            KeySort::CreatedAt => Place::Time(self.key.created_at.as_i64()),
        };
        KeyCursor { sort, descending, id: self.key.id, value }
    }
}

/// A column that keys are sorted by, and its index.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Name,
    Created,
    Login,
}

impl Order {
    fn column(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Created => "created_at",
            Self::Login => "login",
        }
    }

    fn index(self) -> &'static str {
        match self {
            Self::Name => "key_usage_name",
            Self::Created => "key_usage_created",
            Self::Login => "key_usage_login",
        }
    }
}

/// A list that one column sorts.
struct Piece<'c> {
    kinds: Vec<u8>,
    order: Order,
    /// The role of all its keys, where roles come first in the order.
    role: Option<Role>,
    descending: bool,
    after: Option<(Bound<'c>, KeyId)>,
}

#[derive(Clone, Copy)]
enum Bound<'c> {
    Name(&'c str),
    Time(i64),
}

/// The pieces that make the whole list, one behind the other: two for the order of roles, otherwise one.
fn pieces<'c>(filter: &KeyFilter, sort: KeySort, descending: bool, after: Option<&'c KeyCursor>) -> Vec<Piece<'c>> {
    let kinds = |roles: &[Role]| {
        let states = filter.state.map_or(vec![KeyState::Active, KeyState::Disabled], |state| vec![state]);
        let wanted = roles.iter().filter(|role| filter.role.is_none_or(|only| only == **role));
        wanted.flat_map(|role| states.iter().map(|state| kind_of(*state, *role))).collect::<Vec<_>>()
    };
    let order = match sort {
        KeySort::Name | KeySort::Role => Order::Name,
        KeySort::LastLogin => Order::Login,
        KeySort::CreatedAt => Order::Created,
    };
    let roles = [Role::Admin, Role::ReadOnly];
    let piece = |roles: &[Role], after| {
        let role = roles.first().copied().filter(|_| sort == KeySort::Role);
        Piece { kinds: kinds(roles), order, role, descending, after }
    };
    let bound = after.map(|cursor| (cursor, cursor.id));
    let pieces = match bound.map(|(cursor, id)| (&cursor.value, id)) {
        _ if sort == KeySort::Role => {
            let [first, second] = if descending { [roles[1], roles[0]] } else { roles };
            match bound.map(|(cursor, id)| (&cursor.value, id)) {
                Some((Place::Role(role, name), id)) if *role == first => {
                    vec![piece(&[first], Some((Bound::Name(name), id))), piece(&[second], None)]
                }
                Some((Place::Role(_, name), id)) => vec![piece(&[second], Some((Bound::Name(name), id)))],
                _ => vec![piece(&[first], None), piece(&[second], None)],
            }
        }
        Some((Place::Name(name) | Place::Role(_, name), id)) => vec![piece(&roles, Some((Bound::Name(name), id)))],
        Some((Place::Time(time), id)) => vec![piece(&roles, Some((Bound::Time(*time), id)))],
        None => vec![piece(&roles, None)],
    };
    pieces.into_iter().filter(|piece| !piece.kinds.is_empty()).collect()
}

/// The parameters of every statement here, by number.
struct Values<'v> {
    /// `?1`
    wanted: i64,
    /// `?2`, `?3`
    after: Option<(Bound<'v>, KeyId)>,
    /// `?4`, and `?5` where names end that begin with it.
    text: Option<&'v str>,
    text_end: Option<&'v str>,
    /// `?6`
    unused_since: Option<i64>,
    /// `?7`
    question: Option<String>,
    /// `?8`
    walk: i64,
}

impl Values<'_> {
    async fn fetch(&self, conn: &mut SqliteConnection, sql: String) -> Result<Vec<SqliteRow>> {
        let query: sqlx::query::Query<'_, Sqlite, SqliteArguments> = sqlx::query(AssertSqlSafe(sql)).bind(self.wanted);
        let query = match self.after.map(|(bound, _)| bound) {
            Some(Bound::Name(name)) => query.bind(name),
            Some(Bound::Time(time)) => query.bind(time),
            None => query.bind(None::<i64>),
        };
        let query = query
            .bind(self.after.map(|(_, id)| id_int(id)))
            .bind(self.text)
            .bind(self.text_end)
            .bind(self.unused_since)
            .bind(self.question.as_deref())
            .bind(self.walk);
        query.fetch_all(conn).await.map_err(failed("list the API keys"))
    }
}

/// Where a walk ended before the list did.
type End = (Place, KeyId);

impl Piece<'_> {
    /// Those that fit, `wanted` at most; with the place where the walk ended, there may be more of them behind it.
    async fn read(
        &self,
        plan: Plan,
        conn: &mut SqliteConnection,
        narrowing: &Narrowing,
        wanted: i64,
    ) -> Result<(Vec<Listed>, Option<End>)> {
        let (text, text_end) = match &narrowing.text {
            Text::Any => (None, None),
            Text::Start(from, end) => (Some(from.as_str()), end.as_deref()),
            Text::Holds(text) => (Some(text.as_str()), None),
        };
        let (after, unused_since) = (self.after, narrowing.unused_since);
        let mut values = Values { wanted, after, text, text_end, unused_since, question: None, walk: wanted };
        let mut end = None;
        let rows = if self.looks(narrowing) {
            let source = narrowing.source(conn, &self.kinds(), plan.few).await?;
            match source.filter(|(_, about)| *about <= plan.few) {
                Some((source, _)) => {
                    let sql = self.gather(narrowing, &source);
                    if let Source::Search(question) = source {
                        values.question = Some(question.text);
                    }
                    values.fetch(conn, sql).await?
                }
                None => {
                    values.walk = wanted.max(plan.walk);
                    let rows = values.fetch(conn, self.walk(narrowing)).await?;
                    if i64::try_from(rows.len()).is_ok_and(|found| found < wanted) {
                        end = self.end(conn, narrowing, &values).await?;
                    }
                    rows
                }
            }
        } else {
            values.fetch(conn, self.walk(narrowing)).await?
        };
        let listed: Result<Vec<_>> = rows.iter().map(Listed::decode).collect();
        Ok((listed?, end))
    }

    /// The last key that a walk has looked at; `None` if the list ended first.
    async fn end(
        &self,
        conn: &mut SqliteConnection,
        narrowing: &Narrowing,
        values: &Values<'_>,
    ) -> Result<Option<End>> {
        let rows = values.fetch(conn, self.merged(narrowing, "1 OFFSET ?8 - 1")).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let corrupt = |_| StoreError::Corrupt("a place in table key_usage".to_owned());
        let value = match (self.order, self.role) {
            (Order::Name, Some(role)) => Place::Role(role, row.try_get(0).map_err(corrupt)?),
            (Order::Name, None) => Place::Name(row.try_get(0).map_err(corrupt)?),
            (Order::Created | Order::Login, _) => Place::Time(row.try_get(0).map_err(corrupt)?),
        };
        let id: i64 = row.try_get(1).map_err(corrupt)?;
        let id = u64::try_from(id).ok().and_then(KeyId::from_u64);
        Ok(Some((value, id.ok_or_else(|| StoreError::Corrupt("an id in table key_usage".to_owned()))?)))
    }

    fn kinds(&self) -> String {
        self.kinds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// Is there anything that the order's own index does not tell?
    fn looks(&self, narrowing: &Narrowing) -> bool {
        let text = match narrowing.text {
            Text::Any => false,
            Text::Start(..) => self.order != Order::Name,
            Text::Holds(_) => true,
        };
        text || narrowing.unused_since.is_some() || narrowing.is_stale
    }

    fn direction(&self) -> &'static str {
        if self.descending { "DESC" } else { "ASC" }
    }

    /// Behind the cursor.
    fn bound(&self, table: &str) -> String {
        let column = self.order.column();
        match (&self.after, self.descending) {
            (None, _) => String::new(),
            (Some(_), false) => format!(" AND ({table}{column}, {table}key_id) > (?2, ?3)"),
            (Some(_), true) => format!(" AND ({table}{column}, {table}key_id) < (?2, ?3)"),
        }
    }

    /// Ends of the list that narrowing sets on the order's own column. The end where the cursor is must not be one
    /// for the planner too (`+`): it would begin there.
    fn ends(&self, narrowing: &Narrowing) -> String {
        let plus = |descending| if self.after.is_some() && self.descending == descending { "+" } else { "" };
        let (lower, upper) = (plus(false), plus(true));
        let mut ends = String::new();
        if let (Text::Start(_, to), Order::Name) = (&narrowing.text, self.order) {
            let _ = write!(ends, " AND {lower}name >= ?4");
            if to.is_some() {
                let _ = write!(ends, " AND {upper}name < ?5");
            }
        }
        if narrowing.unused_since.is_some() && self.order != Order::Name {
            let _ = write!(ends, " AND {upper}{} < ?6", self.order.column());
        }
        ends
    }

    /// The keys of the wanted kinds from the cursor on, in order, as many as `limit` says.
    fn merged(&self, narrowing: &Narrowing, limit: &str) -> String {
        let (column, index, direction) = (self.order.column(), self.order.index(), self.direction());
        let (bound, ends) = (self.bound(""), self.ends(narrowing));
        let each = |kind: &u8| {
            format!(
                "SELECT {column} AS place, key_id FROM key_usage INDEXED BY {index} WHERE kind = {kind}{bound}{ends}"
            )
        };
        let all = self.kinds.iter().map(each).collect::<Vec<_>>().join(" UNION ALL ");
        format!("{all} ORDER BY place {direction}, key_id {direction} LIMIT {limit}")
    }

    /// Walks and looks. The inner limit also keeps the order and the looking apart: SQLite must not look at more keys
    /// of one kind than the merged order has need of.
    fn walk(&self, narrowing: &Narrowing) -> String {
        let (merged, looks) = (self.merged(narrowing, "?8"), narrowing.looks());
        format!(
            "SELECT {KEY_AND_USAGE} FROM ({merged}) p CROSS JOIN key_usage u ON u.key_id = p.key_id \
             CROSS JOIN api_keys k ON k.id = p.key_id WHERE true{looks} LIMIT ?1"
        )
    }

    /// Gathers what fits and sorts it.
    fn gather(&self, narrowing: &Narrowing, source: &Source) -> String {
        let (column, direction, kinds) = (self.order.column(), self.direction(), self.kinds());
        let (from, looks, bound) = (source.from(), narrowing.looks(), self.bound("u."));
        format!(
            "SELECT {KEY_AND_USAGE} FROM (SELECT u.{column} AS place, u.key_id AS key_id FROM {from} \
             u.kind IN ({kinds}){looks}{bound} ORDER BY place {direction}, u.key_id {direction} LIMIT ?1) p \
             CROSS JOIN key_usage u ON u.key_id = p.key_id CROSS JOIN api_keys k ON k.id = p.key_id"
        )
    }
}

/// All of a page's row.
const KEY_AND_USAGE: &str = concat!(key_columns!(), ", ", usage_columns!(), ", u.name");
