//! `keygate revision`: waits again for a change whose wait was cut short.

use clap::Subcommand;

use super::Exit;
use super::context::{Context, block_on};
use super::output::{self, line};
use super::wait::{WaitOptions, sentence};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Wait until a change is in force on every node.
    ///
    /// For a change that was made with --no-wait, or whose wait was cut short. Exit code 1 if it is not certain.
    Wait {
        /// The revision that the change answered with.
        revision: u64,
        #[command(flatten)]
        wait: WaitOptions,
    },
}

pub(super) fn run(context: &Context, command: &Command) -> anyhow::Result<Exit> {
    let Command::Wait { revision, wait } = *command;
    let config = context.config()?;
    let revocation = block_on(async {
        let lifecycle = context.lifecycle(&config).await?;
        let head = lifecycle.store.head().await?.revision;
        if revision > head {
            anyhow::bail!("there is no revision {revision} yet; the store is at {head}");
        }
        Ok(lifecycle.wait_for(revision, wait.into()).await?)
    })?;
    if context.output.is_json() {
        output::json(&serde_json::to_value(&revocation)?)?;
    } else {
        line(&sentence(&revocation))?;
    }
    Ok(if revocation.promise_held { Exit::Done } else { Exit::Failed })
}
