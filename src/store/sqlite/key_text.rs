//! Names and descriptions as they are searched: folded to lower case, and found by three characters at a time.
//!
//! Triggers keep the searched texts; they fold ASCII letters only, so what has others is written once more from here,
//! in the same transaction. Called by `keys` (writing), `migrate` and `key_page` (searching).

use std::collections::BTreeSet;

use sqlx::SqliteConnection;

use super::super::{ApiKey, Result};
use super::row::{Fields, failed, id_int};

/// Trigrams of one search that are looked at. More would not find less: the text itself is read in the end.
const LOOKED_AT: usize = 32;

/// How many of them are asked for together.
const ASKED_FOR: usize = 3;

/// Lower case, letter by letter, so that the folded part of a text is a part of the folded text. Control characters
/// become spaces: a line end stands between name and description, and the search reads nothing behind a NUL.
pub(super) fn fold(text: &str) -> String {
    let lower = |c: char| c.to_lowercase().map(|c| if c.is_control() { ' ' } else { c });
    text.chars().flat_map(lower).collect()
}

/// Writes what the triggers could not know of a key that was just written.
pub(super) async fn refold(conn: &mut SqliteConnection, key: &ApiKey) -> Result<()> {
    refold_texts(conn, id_int(key.id), key.name.as_str(), &key.description).await
}

async fn refold_texts(conn: &mut SqliteConnection, id: i64, name: &str, description: &str) -> Result<()> {
    let (folded_name, folded) = (fold(name), fold(description));
    if folded_name != name.to_ascii_lowercase() {
        sqlx::query("UPDATE key_usage SET name = ?2 WHERE key_id = ?1")
            .bind(id)
            .bind(folded_name.as_str())
            .execute(&mut *conn)
            .await
            .map_err(failed("write a name to sort by"))?;
    } else if folded == description.to_ascii_lowercase() {
        return Ok(());
    }
    sqlx::query("UPDATE key_texts SET folded = ?2 WHERE id = ?1")
        .bind(id)
        .bind(format!("{folded_name}\n{folded}"))
        .execute(conn)
        .await
        .map_err(failed("write a text to search in"))?;
    Ok(())
}

/// The same for every key that was there before the triggers.
pub(super) async fn refold_all(conn: &mut SqliteConnection) -> Result<()> {
    const ROWS: usize = 1_000;
    const READ: &str = "SELECT id, name, description FROM api_keys
        WHERE id > ?1 AND (name || description GLOB '*[^ -~]*' OR instr(description, char(0)) > 0) ORDER BY id LIMIT ?2";
    let mut after = i64::MIN;
    loop {
        let limit = i64::try_from(ROWS).unwrap_or(i64::MAX);
        let rows = sqlx::query(READ).bind(after).bind(limit).fetch_all(&mut *conn).await;
        let rows = rows.map_err(failed("read the API keys"))?;
        for row in &rows {
            let fields = Fields::new(row, "api_keys", 0);
            after = fields.get(0, "id")?;
            refold_texts(conn, after, fields.get(1, "name")?, fields.get(2, "description")?).await?;
        }
        if rows.len() < ROWS {
            return Ok(());
        }
    }
}

/// What to ask the search for, and how many texts that finds about.
pub(super) struct Question {
    pub(super) text: String,
    pub(super) about: i64,
}

/// The rarest trigrams of a folded text of three or more characters.
///
/// Asking for all of them takes as long as the common ones are long. How common one is shows in the ids, which are
/// random: the sooner so many keys that hold it have been met, the more there are. A wrong guess costs time alone.
pub(super) async fn question(conn: &mut SqliteConnection, folded: &str) -> Result<Question> {
    const RANK: &str = "SELECT value, (SELECT rowid FROM key_search WHERE key_search MATCH value LIMIT 1 OFFSET ?2)
        FROM json_each(?1)";
    let quoted: Vec<_> = trigrams(folded).into_iter().take(LOOKED_AT).map(|gram| quote(&gram)).collect();
    let json = serde_json::Value::from(quoted).to_string();
    let rows = sqlx::query(RANK).bind(json).bind(MET).fetch_all(conn).await.map_err(failed("look at the search"))?;
    let mut ranked = Vec::with_capacity(rows.len());
    for row in &rows {
        let fields = Fields::new(row, "key_search", 0);
        let met: Option<i64> = fields.get(1, "rowid")?;
        ranked.push((met.unwrap_or(i64::MAX), fields.get::<String>(0, "trigram")?));
    }
    ranked.sort_unstable_by(|a, b| b.cmp(a));
    let rarest = ranked.first().map_or(i64::MAX, |(met, _)| *met);
    // One that only a few hold is enough.
    let asked = if rarest == i64::MAX { 1 } else { ASKED_FOR };
    let text = ranked.into_iter().take(asked).map(|(_, gram)| gram).collect::<Vec<_>>().join(" ");
    Ok(Question { text, about: (MET + 1).saturating_mul(IDS / rarest.clamp(1, IDS)) })
}

/// So many texts with a trigram are passed over to see how soon they come.
const MET: i64 = 500;

/// How many ids there can be.
const IDS: i64 = 36_i64.pow(12);

fn trigrams(folded: &str) -> BTreeSet<String> {
    let chars: Vec<char> = folded.chars().collect();
    chars.windows(3).map(|window| window.iter().collect()).collect()
}

/// A string of the search's own language, in which only quotes mean something.
fn quote(gram: &str) -> String {
    format!("\"{}\"", gram.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_fold_of_a_part_is_part_of_the_fold(before in ".*", part in ".*", after in ".*") {
            let whole = fold(&format!("{before}{part}{after}"));
            prop_assert!(whole.contains(&fold(&part)));
            prop_assert!(!whole.contains('\n') && !whole.contains('\0'));
        }
    }

    #[test]
    fn folding_knows_more_than_ascii() {
        assert_eq!(fold("ÄRGER Straße ΟΔΟΣ\n\0x"), "ärger straße οδοσ  x");
        assert_eq!(quote("a\"b"), "\"a\"\"b\"");
        assert_eq!(trigrams("abcabc").len(), 3);
    }
}
