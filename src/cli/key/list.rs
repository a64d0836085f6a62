//! `keygate key list`: the API keys and their last logins.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::view;
use crate::cli::Exit;
use crate::cli::context::Context;
use crate::cli::output::{self, line};
use crate::cli::parse;
use crate::config::Config;
use crate::credential::{KeyState, Role};
use crate::store::{KeyCursor, KeyFilter, KeyPage, KeyQuery, KeySort, KeySortError, Store, StoreError};

/// On a terminal of fewer columns than this, the ids are left out, so that the rest can be read.
const NARROW: u16 = 60;

/// List the API keys.
#[derive(Args)]
pub(in crate::cli) struct Arguments {
    /// Only this role.
    #[arg(long)]
    role: Option<Role>,
    /// Only this state; without it, all but deleted ones.
    #[arg(long, value_enum, ignore_case = true)]
    state: Option<State>,
    /// Only names and descriptions that hold this text, in any case; of one or two characters: names that begin so.
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Only keys without a login for this long (30d).
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    unused_for: Option<Duration>,
    /// Only keys that still send an old shared secret version.
    #[arg(long)]
    stale: bool,
    /// name, role, `last_login` or `created_at`; with - in front, the other way round.
    #[arg(long, default_value = "name", value_name = "ORDER", allow_hyphen_values = true, value_parser = order)]
    sort: (KeySort, bool),
    /// How many at most; without it, all.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Go on behind the last key of a list before: its `next_cursor`.
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<KeyCursor>,
}

/// `-name`: descending.
fn order(text: &str) -> Result<(KeySort, bool), KeySortError> {
    let (text, descending) = text.strip_prefix('-').map_or((text, false), |rest| (rest, true));
    Ok((text.parse()?, descending))
}

/// States as they are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum State {
    /// May be used.
    Active,
    /// Refused until enabled.
    Disabled,
    /// Tombstones.
    Deleted,
}

impl From<State> for KeyState {
    fn from(state: State) -> Self {
        match state {
            State::Active => Self::Active,
            State::Disabled => Self::Disabled,
            State::Deleted => Self::Deleted,
        }
    }
}

pub(super) async fn run(context: &Context, config: &Config, arguments: Arguments) -> anyhow::Result<Exit> {
    let now = context.clock.wall();
    let filter = KeyFilter {
        role: arguments.role,
        state: arguments.state.map(KeyState::from),
        text: arguments.search,
        unused_since: arguments.unused_for.map(|duration| now.minus(duration)),
        stale: arguments.stale,
    };
    let (sort, descending) = arguments.sort;
    let query = KeyQuery { filter, sort, descending, after: arguments.cursor, limit: 0 };
    let KeyPage { keys, next } = pages(&*context.store(config).await?, query, arguments.limit).await?;
    if context.output.is_json() {
        let keys: Vec<_> = keys.iter().map(|(key, usage)| view::key_and_usage(key, usage, now)).collect();
        let next = next.map(|cursor| cursor.to_string());
        output::json(&json!({ "api_keys": keys, "next_cursor": next }))?;
    } else if keys.is_empty() {
        line("No API keys. Make one: keygate key add NAME --role readonly")?;
    } else {
        let mut rows: Vec<_> = keys.iter().map(|(key, usage)| view::row(context.output, key, usage, now)).collect();
        let mut header = view::HEADER.to_vec();
        // The id is the widest column that may be missing: `key show` has it, and JSON.
        if context.output.is_narrower_than(NARROW) {
            header.remove(view::ID);
            for row in &mut rows {
                row.remove(view::ID);
            }
        }
        context.output.table(&header, rows)?;
        if let Some(next) = next {
            line(&format!("\nThere are more: --cursor {next}"))?;
        }
    }
    Ok(Exit::Done)
}

/// So many keys, page by page; without a limit, all.
async fn pages(store: &dyn Store, mut query: KeyQuery, limit: Option<u32>) -> Result<KeyPage, StoreError> {
    let mut left = limit.unwrap_or(u32::MAX);
    let mut all = KeyPage::default();
    loop {
        query.limit = left.min(KeyQuery::MOST);
        let page = store.key_page(&query).await?;
        left = left.saturating_sub(u32::try_from(page.keys.len()).unwrap_or(u32::MAX));
        all.keys.extend(page.keys);
        all.next.clone_from(&page.next);
        if page.next.is_none() || left == 0 {
            return Ok(all);
        }
        query.after = page.next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_names_with_a_sign() {
        assert_eq!(order("name"), Ok((KeySort::Name, false)));
        assert_eq!(order("-last_login"), Ok((KeySort::LastLogin, true)));
        assert!(order("--name").is_err() && order("").is_err() && order("size").is_err());
    }
}
