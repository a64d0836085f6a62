//! `keygate key list`: the API keys and their last logins.

use clap::{Args, ValueEnum};
use serde_json::json;

use super::view;
use crate::cli::Exit;
use crate::cli::context::Context;
use crate::cli::output::{self, line};
use crate::config::Config;
use crate::credential::{KeyState, Role};
use crate::store::KeyFilter;

/// On a terminal of fewer columns than this, the ids are left out, so that the rest can be read.
const NARROW: u16 = 60;

/// List the API keys by name.
#[derive(Args)]
pub(in crate::cli) struct Arguments {
    /// Only this role.
    #[arg(long)]
    role: Option<Role>,
    /// Only this state; without it, all but deleted ones.
    #[arg(long, value_enum, ignore_case = true)]
    state: Option<State>,
    /// Only names and descriptions that hold this text, in any case.
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
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
    let filter = KeyFilter { role: arguments.role, state: arguments.state.map(KeyState::from), text: arguments.search };
    let keys = context.store(config).await?.keys(&filter).await?;
    let now = context.clock.wall();
    if context.output.is_json() {
        let keys: Vec<_> = keys.iter().map(|(key, usage)| view::key_and_usage(key, usage, now)).collect();
        output::json(&json!({ "api_keys": keys }))?;
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
    }
    Ok(Exit::Done)
}
