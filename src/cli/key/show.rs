//! `keygate key show`: everything that is known of one API key, but no secret.

use clap::Args;
use serde_json::Value;

use super::{find, view};
use crate::cli::Exit;
use crate::cli::context::Context;
use crate::cli::output;
use crate::clock::WallTime;
use crate::config::Config;

/// Show one API key.
#[derive(Args)]
pub(in crate::cli) struct Arguments {
    /// Id or name.
    key: String,
}

pub(super) async fn run(context: &Context, config: &Config, arguments: Arguments) -> anyhow::Result<Exit> {
    let store = context.store(config).await?;
    let (key, usage) = find(&*store, &arguments.key).await?;
    let now = context.clock.wall();
    if context.output.is_json() {
        output::json(&Value::Object(view::key_and_usage(&key, &usage, now)))?;
        return Ok(Exit::Done);
    }
    let used = usage.last_login.is_some();
    let networks = key.policy.allowed_networks.as_ref();
    let networks = networks.map(|n| n.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    let stale = usage.stale.map(|(version, at)| format!("version {version}, last seen {} UTC", at.for_people()));
    context.output.fields(vec![
        ("Name", Some(key.name.to_string())),
        ("Description", Some(key.description.clone()).filter(|d| !d.is_empty())),
        ("ID", Some(key.id.to_string())),
        ("Role", Some(key.role.to_string())),
        ("State", Some(view::state(&key, now).to_owned())),
        ("Expires (UTC)", key.policy.expires_at.map(WallTime::for_people)),
        ("Networks", networks),
        ("Routes", key.policy.allowed_routes.as_ref().map(|routes| routes.join(", "))),
        ("Last Login (UTC)", Some(view::last_login(&usage))),
        ("Last address", usage.last_address.clone()),
        ("Requests", used.then(|| usage.use_count.to_string())),
        ("Old secret sent", stale),
        ("Made (UTC)", Some(key.created_at.for_people())),
        ("Changed (UTC)", Some(key.updated_at.for_people())),
    ])?;
    Ok(Exit::Done)
}
