//! `keygate check`: says what is wrong with a configuration, or sums it up.

use clap::Args;
use serde_json::json;

use super::Exit;
use super::context::Context;
use super::output::{self, line};
use crate::config::resolved::{Access, Config, Secrets, StoreLocation};

/// Check the configuration.
///
/// Prints every mistake with file, line, key and what was expected (exit code 1), or a summary.
#[derive(Args)]
pub(super) struct Arguments {}

pub(super) fn run(context: &Context, _: &Arguments) -> anyhow::Result<Exit> {
    let config = context.config()?;
    let addresses: Vec<String> = config.server.listen.iter().map(ToString::to_string).collect();
    let StoreLocation::Sqlite(store) = &config.store.location;
    if context.output.is_json() {
        output::json(&json!({
            "ok": true,
            "file": config.file,
            "listen": addresses,
            "metrics": config.metrics.listen.map(|a| a.to_string()),
            "upstreams": config.upstreams.iter().map(|u| &u.name).collect::<Vec<_>>(),
            "routes": config.routes.iter().map(crate::config::resolved::Route::label).collect::<Vec<_>>(),
            "store": store,
            "lease": humantime::format_duration(config.store.lease).to_string(),
        }))?;
        return Ok(Exit::Done);
    }
    line(&format!("{} holds.", config.file.display()))?;
    context.output.fields(vec![
        ("Listens on", Some(addresses.join(", "))),
        ("Metrics on", config.metrics.listen.map(|a| a.to_string())),
        ("Routes", Some(routes(&config))),
        ("Store", Some(format!("{} (lease {})", store.display(), humantime::format_duration(config.store.lease)))),
        ("Master key", Some(master_key(&config.secrets))),
    ])?;
    Ok(Exit::Done)
}

fn routes(config: &Config) -> String {
    let route = |route: &crate::config::resolved::Route| {
        let upstream = config.upstreams.get(route.upstream).map_or("?", |u| u.name.as_str());
        let access = if route.access == Access::Public { " (public)" } else { "" };
        format!("{} → {upstream}{access}", route.label())
    };
    config.routes.iter().map(route).collect::<Vec<_>>().join(", ")
}

fn master_key(secrets: &Secrets) -> String {
    match secrets {
        Secrets::File(path) => format!("file {}", path.display()),
        Secrets::Environment(name) => format!("environment variable {name}"),
        Secrets::Credential(name) => format!("systemd credential {name}"),
    }
}
