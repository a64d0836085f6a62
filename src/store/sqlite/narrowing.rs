//! What a list of keys is narrowed by beside their kinds: a text, not having been used, sending an old secret version. Which keys fit is told by
//! SQL about a key `u` with the parameters that `key_page` numbers. Called by `key_page`.

use sqlx::{AssertSqlSafe, SqliteConnection};

use super::super::{KeyFilter, Result};
use super::key_text::{Question, fold, question};
use super::row::{Fields, failed};
use crate::clock::WallTime;

/// What each key has to be looked at for.
pub(super) struct Narrowing {
    pub(super) text: Text,
    pub(super) unused_since: Option<i64>,
    pub(super) is_stale: bool,
}

/// The text that is searched for, folded.
pub(super) enum Text {
    Any,
    /// Names from the first to (not including) the second, if there is one.
    Start(String, Option<String>),
    Holds(String),
}

/// An index that finds all keys that fit, and some more.
pub(super) enum Source {
    /// By trigrams of the text.
    Search(Question),
    /// By how the name begins.
    Name,
    /// By the last login.
    Login,
    /// Those that send an old secret version.
    Stale,
}

impl Narrowing {
    pub(super) fn of(filter: &KeyFilter) -> Self {
        let folded = fold(filter.text.as_deref().unwrap_or_default());
        let text = match folded.chars().count() {
            0 => Text::Any,
            1 | 2 => Text::Start(folded.clone(), behind(&folded)),
            _ => Text::Holds(folded),
        };
        Self { text, unused_since: filter.unused_since.map(WallTime::as_i64), is_stale: filter.stale }
    }

    /// What a key `u` must be beside its kind. The name is looked at before the text, which is in another table.
    pub(super) fn looks(&self) -> String {
        let mut looks = match &self.text {
            Text::Any => String::new(),
            Text::Start(_, end) => start(end.as_ref()),
            Text::Holds(_) => " AND (instr(u.name, ?4) > 0 \
                OR (SELECT instr(t.folded, ?4) FROM key_texts t WHERE t.id = u.key_id) > 0)"
                .to_owned(),
        };
        if self.unused_since.is_some() {
            looks.push_str(" AND u.login < ?6 AND u.created_at < ?6");
        }
        if self.is_stale {
            looks.push_str(" AND u.stale");
        }
        looks
    }

    /// The index that finds the fewest keys, and how many about (one more than `few`: more than that). `None` when
    /// nothing narrows.
    pub(super) async fn source(
        &self,
        conn: &mut SqliteConnection,
        kinds: &str,
        few: i64,
    ) -> Result<Option<(Source, i64)>> {
        let by_text = match &self.text {
            Text::Any => None,
            Text::Start(from, end) => {
                let sql = format!("key_usage_name WHERE kind IN ({kinds}){}", start(end.as_ref()));
                Some((Source::Name, self.count(conn, &sql, Some((from, end.as_deref())), few).await?))
            }
            Text::Holds(text) => {
                let question = question(conn, text).await?;
                let about = question.about;
                Some((Source::Search(question), about))
            }
        };
        let by_login = match self.unused_since {
            None => None,
            Some(_) => {
                let sql = format!("key_usage_login WHERE kind IN ({kinds}) AND u.login < ?6");
                Some((Source::Login, self.count(conn, &sql, None, few).await?))
            }
        };
        let by_version = match self.is_stale {
            false => None,
            true => {
                let sql = format!("key_usage_stale WHERE u.stale AND kind IN ({kinds})");
                Some((Source::Stale, self.count(conn, &sql, None, few).await?))
            }
        };
        Ok(by_text.into_iter().chain(by_login).chain(by_version).min_by_key(|(_, about)| *about))
    }

    async fn count(
        &self,
        conn: &mut SqliteConnection,
        index_and_condition: &str,
        names: Option<(&String, Option<&str>)>,
        few: i64,
    ) -> Result<i64> {
        let sql = format!("SELECT count(*) FROM (SELECT 1 FROM key_usage u INDEXED BY {index_and_condition} LIMIT ?1)");
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(few.saturating_add(1))
            .bind(None::<i64>)
            .bind(None::<i64>)
            .bind(names.map(|(from, _)| from))
            .bind(names.and_then(|(_, end)| end))
            .bind(self.unused_since)
            .fetch_one(conn)
            .await
            .map_err(failed("list the API keys"))?;
        Fields::new(&row, "key_usage", 0).get(0, "count")
    }
}

impl Source {
    /// The keys `u` that it finds.
    pub(super) fn from(&self) -> &'static str {
        match self {
            Self::Search(_) => {
                "key_search CROSS JOIN key_usage u ON u.key_id = key_search.rowid WHERE key_search MATCH ?7 AND"
            }
            Self::Name => "key_usage u INDEXED BY key_usage_name WHERE",
            Self::Login => "key_usage u INDEXED BY key_usage_login WHERE",
            Self::Stale => "key_usage u INDEXED BY key_usage_stale WHERE",
        }
    }
}

fn start(end: Option<&String>) -> String {
    if end.is_some() { " AND u.name >= ?4 AND u.name < ?5" } else { " AND u.name >= ?4" }.to_owned()
}

/// The first text behind all that begin with this one.
fn behind(start: &str) -> Option<String> {
    let mut chars = start.chars();
    let last = chars.next_back()?;
    match (last..=char::MAX).nth(1) {
        Some(next) => Some(chars.chain([next]).collect()),
        None => behind(chars.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_all_that_begin_alike() {
        assert_eq!(behind("ab").as_deref(), Some("ac"));
        assert_eq!(behind("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(behind("\u{d7ff}").as_deref(), Some("\u{e000}"));
        assert_eq!(behind("\u{10ffff}"), None);
    }
}
