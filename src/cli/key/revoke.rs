//! `keygate key roll|disable|enable|delete`: taking an API key's authority away, and giving it back.

use clap::Args;

use super::{find, secrets, show_secrets, view};
use crate::cli::context::{Context, actor};
use crate::cli::output::{self, clean, line};
use crate::cli::wait::{WaitOptions, conclude, tell, with_revocation};
use crate::cli::{Exit, prompt};
use crate::config::Config;
use crate::lifecycle::{Lifecycle, Waited};
use crate::store::{ApiKey, Usage as KeyUsage};

/// Give an API key a new app key; the old one stops working.
///
/// This is what a leaked encoded key or app key needs. Id, name, role, policy and history stay. Prints the new
/// encoded key and app key, and with `[token_exchange]` the new bundle, once.
#[derive(Args)]
pub(in crate::cli) struct Roll {
    #[command(flatten)]
    target: Target,
}

/// Refuse an API key until it is enabled again.
#[derive(Args)]
pub(in crate::cli) struct Disable {
    #[command(flatten)]
    target: Target,
}

/// Accept a disabled API key again.
#[derive(Args)]
pub(in crate::cli) struct Enable {
    /// Id or name.
    key: String,
}

/// Delete an API key for good. Its name is free again; its id is never used again.
#[derive(Args)]
pub(in crate::cli) struct Delete {
    #[command(flatten)]
    target: Target,
}

#[derive(Args)]
struct Target {
    /// Id or name.
    key: String,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    wait: WaitOptions,
}

impl Target {
    /// The key, after asking whether it is meant.
    async fn confirmed(
        &self,
        context: &Context,
        config: &Config,
        question: impl Fn(&str) -> String,
    ) -> anyhow::Result<(Lifecycle, ApiKey, KeyUsage)> {
        // A missing --yes is told before anything else that may be wrong.
        if !self.yes && !context.environment.is_interactive() {
            prompt::confirm(&context.environment, self.yes, "")?;
        }
        let lifecycle = context.lifecycle(config).await?;
        let (key, usage) = find(&*lifecycle.store, &self.key).await?;
        prompt::confirm(&context.environment, self.yes, &question(&format!("{} ({})", key.name, key.id)))?;
        Ok((lifecycle, key, usage))
    }
}

pub(super) async fn roll(context: &Context, config: &Config, Roll { target }: Roll) -> anyhow::Result<Exit> {
    let question = |key: &str| format!("Give API key {key} a new app key? Its encoded key stops working at once.");
    let (lifecycle, key, usage) = target.confirmed(context, config, question).await?;
    let issued = lifecycle.roll(key.id, None, config.token_exchange.as_ref(), &actor(), target.wait.into()).await?;
    if context.output.is_json() {
        let mut fields = view::key_and_usage(&issued.key, &usage, context.clock.wall());
        fields.extend(secrets(&issued));
        output::json(&with_revocation(&issued.waited, fields)?)?;
    } else {
        show_secrets(context, &issued)?;
        tell(&issued.waited)?;
    }
    Ok(conclude(&issued.waited))
}

pub(super) async fn disable(context: &Context, config: &Config, Disable { target }: Disable) -> anyhow::Result<Exit> {
    let question = |key: &str| format!("Disable API key {key}? It is refused at once, until it is enabled.");
    let (lifecycle, key, usage) = target.confirmed(context, config, question).await?;
    let changed = lifecycle.disable(key.id, None, &actor(), target.wait.into()).await?;
    tell_state(context, &changed.key, &usage, &changed.waited, "disabled")
}

pub(super) async fn enable(context: &Context, config: &Config, arguments: Enable) -> anyhow::Result<Exit> {
    let lifecycle = context.lifecycle(config).await?;
    let (key, usage) = find(&*lifecycle.store, &arguments.key).await?;
    let changed = lifecycle.enable(key.id, None, &actor()).await?;
    tell_state(context, &changed.key, &usage, &changed.waited, "enabled")
}

pub(super) async fn delete(context: &Context, config: &Config, Delete { target }: Delete) -> anyhow::Result<Exit> {
    let question = |key: &str| format!("Delete API key {key} for good? It is refused at once.");
    let (lifecycle, key, usage) = target.confirmed(context, config, question).await?;
    let (mut deleted, waited) = lifecycle.delete(key.id, None, &actor(), target.wait.into()).await?;
    deleted.state = crate::credential::KeyState::Deleted;
    tell_state(context, &deleted, &usage, &waited, "deleted")
}

fn tell_state(context: &Context, key: &ApiKey, usage: &KeyUsage, waited: &Waited, now: &str) -> anyhow::Result<Exit> {
    if context.output.is_json() {
        output::json(&with_revocation(waited, view::key_and_usage(key, usage, context.clock.wall()))?)?;
    } else {
        line(&clean(&format!("API key {} ({}) is {now}.", key.name, key.id)))?;
        tell(waited)?;
    }
    Ok(conclude(waited))
}
