//! `keygate check`: says what is wrong with a configuration, or sums it up.

use clap::Args;
use serde_json::json;

use super::Exit;
use super::context::Context;
use super::output::{self, line};
use crate::admin::tls;
use crate::config::resolved::{Access, Config, Secrets, StoreLocation};

/// Check the configuration.
///
/// Prints every mistake with file, line, key and what was expected (exit code 1), or a summary. The certificate of
/// the admin plane is read as well; the store and the master key are not.
#[derive(Args)]
pub(super) struct Arguments {}

pub(super) fn run(context: &Context, _: &Arguments) -> anyhow::Result<Exit> {
    let config = context.config()?;
    if let (Some(_), Some(files)) = (config.admin.listen, &config.admin.tls) {
        tls::read(files)?;
    }
    let has_tls = if config.admin.tls.is_some() { " (TLS)" } else { "" };
    let addresses: Vec<String> = config.server.listen.iter().map(ToString::to_string).collect();
    let StoreLocation::Sqlite(store) = &config.store.location;
    if context.output.is_json() {
        output::json(&json!({
            "ok": true,
            "file": config.file,
            "listen": addresses,
            "admin": config.admin.listen.map(|a| a.to_string()),
            "metrics": config.metrics.listen.map(|a| a.to_string()),
            "upstreams": config.upstreams.iter().map(|u| &u.name).collect::<Vec<_>>(),
            "routes": config.routes.iter().map(crate::config::resolved::Route::label).collect::<Vec<_>>(),
            "token_exchange": config.token_exchange.as_ref().map(|exchange| json!({
                "url": exchange.url,
                "shortname": exchange.shortname,
                "path": exchange.path,
                "refresh_path": exchange.refresh_path,
            })),
            "store": store,
            "lease": humantime::format_duration(config.store.lease).to_string(),
        }))?;
        return Ok(Exit::Done);
    }
    line(&format!("{} holds.", config.file.display()))?;
    context.output.fields(vec![
        ("Listens on", Some(addresses.join(", "))),
        ("Admin on", config.admin.listen.map(|a| format!("{a}{has_tls}"))),
        ("Metrics on", config.metrics.listen.map(|a| a.to_string())),
        ("Routes", Some(routes(&config))),
        (
            "Tokens",
            config.token_exchange.as_ref().map(|t| format!("{} and {} ({})", t.path, t.refresh_path, t.shortname)),
        ),
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
