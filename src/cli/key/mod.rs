//! `keygate key`: API keys. Here is what can be said and how a key is found; one file does each thing.

mod add;
mod list;
mod revoke;
mod show;
mod update;
mod view;

use anyhow::bail;
use clap::Subcommand;
use serde_json::Value;

use super::context::{Context, block_on};
use super::output::line;
use super::{Exit, Usage};
use crate::config::Config;
use crate::credential::{KeyId, KeyState};
use crate::lifecycle::Issued;
use crate::store::{ApiKey, Store, Usage as KeyUsage};

#[derive(Subcommand)]
pub(super) enum Command {
    Add(add::Arguments),
    List(list::Arguments),
    Show(show::Arguments),
    Update(update::Arguments),
    Roll(revoke::Roll),
    Disable(revoke::Disable),
    Enable(revoke::Enable),
    Delete(revoke::Delete),
}

pub(super) fn run(context: &Context, command: Command) -> anyhow::Result<Exit> {
    let config = context.config()?;
    block_on(async {
        match command {
            Command::Add(arguments) => add::run(context, &config, arguments).await,
            Command::List(arguments) => list::run(context, &config, arguments).await,
            Command::Show(arguments) => show::run(context, &config, arguments).await,
            Command::Update(arguments) => update::run(context, &config, arguments).await,
            Command::Roll(arguments) => revoke::roll(context, &config, arguments).await,
            Command::Disable(arguments) => revoke::disable(context, &config, arguments).await,
            Command::Enable(arguments) => revoke::enable(context, &config, arguments).await,
            Command::Delete(arguments) => revoke::delete(context, &config, arguments).await,
        }
    })
}

/// The key that an argument means: an id, or a name. Tombstones are found by id only.
async fn find(store: &dyn Store, text: &str) -> anyhow::Result<(ApiKey, KeyUsage)> {
    let by_id = match text.parse::<KeyId>() {
        Ok(id) => store.key(id).await?,
        Err(_) => None,
    };
    let by_name = store.key_named(text).await?;
    match (by_id, by_name) {
        // A name can look like an id. A tombstone's does not matter any more.
        (Some((old, _)), Some(named)) if old.state == KeyState::Deleted => Ok(named),
        (Some((first, _)), Some((second, _))) if first.id != second.id => {
            bail!("{text:?} is the id of one API key and the name of another; name the other by its id, {}", second.id)
        }
        (Some(found), _) | (None, Some(found)) => Ok(found),
        (None, None) => bail!("there is no API key with the id or name {text:?}"),
    }
}

/// Routes that keys are limited to must be there: a misspelt one would let the key nowhere.
fn check_routes(config: &Config, routes: &[String]) -> anyhow::Result<()> {
    let labels: Vec<String> = config.routes.iter().map(crate::config::resolved::Route::label).collect();
    match routes.iter().find(|route| !labels.contains(route)) {
        Some(unknown) => {
            Err(Usage(format!("no route has the label {unknown:?}; the labels are: {}", labels.join(", "))).into())
        }
        None => Ok(()),
    }
}

/// Shows a new app key and its encoded key to people, this once.
fn show_secrets(context: &Context, issued: &Issued) -> anyhow::Result<()> {
    context.output.fields(vec![
        ("Name", Some(issued.key.name.to_string())),
        ("ID", Some(issued.key.id.to_string())),
        ("Role", Some(issued.key.role.to_string())),
        ("Expires (UTC)", issued.key.policy.expires_at.map(crate::clock::WallTime::for_people)),
    ])?;
    // Not in the table: a terminal's own wrapping does not get into what is copied.
    line(&format!("Encoded key\n{}\nApp key\n{}", *issued.encoded_key, issued.app_key.expose()))?;
    if let Some(bundle) = &issued.bundle {
        line(&format!("Bundle\n{}", **bundle))?;
    }
    let all = if issued.bundle.is_some() { "All three" } else { "Both" };
    line(&format!(
        "\n{all} are shown this once. Clients send the encoded key (Authorization: Bearer …, or X-API-Key: …);"
    ))?;
    line("the app key is for encoding anew after the shared secret is regenerated. Keep it as you keep a password.")?;
    if issued.bundle.is_some() {
        line(
            "The bundle is for integrations that exchange tokens. It holds the shared secret too: give it to no others.",
        )?;
    }
    Ok(())
}

/// The secrets of a new app key as members of an answer, this once.
fn secrets(issued: &Issued) -> impl Iterator<Item = (String, Value)> {
    let bundle = issued.bundle.as_ref().map(|bundle| ("bundle", bundle.as_str()));
    [("encoded_key", issued.encoded_key.as_str()), ("app_key", issued.app_key.expose())]
        .into_iter()
        .chain(bundle)
        .map(|(name, secret)| (name.to_owned(), Value::from(secret)))
}
