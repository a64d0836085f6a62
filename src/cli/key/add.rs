//! `keygate key add`: makes an API key and shows its secrets, once.

use clap::Args;
use ipnet::IpNet;

use super::{check_routes, secrets, show_secrets, view};
use crate::cli::context::{Context, actor};
use crate::cli::parse::{self, When};
use crate::cli::wait::{conclude, tell, with_revocation};
use crate::cli::{Exit, output};
use crate::config::Config;
use crate::credential::{self, KeyName, Policy, Role};
use crate::lifecycle::NewApiKey;
use crate::store::Usage as KeyUsage;

/// Make an API key; prints its encoded key and app key, and with `[token_exchange]` its bundle, once.
#[derive(Args)]
pub(in crate::cli) struct Arguments {
    /// Application name: 1 to 128 characters, unique.
    name: KeyName,
    /// readonly (safe methods) or admin (all methods).
    #[arg(long)]
    role: Role,
    /// Free text.
    #[arg(long, default_value = "", hide_default_value = true, value_parser = parse::description)]
    description: String,
    /// When it stops working: 2027-01-31T12:00:00Z, 2027-01-31, 90d, never.
    #[arg(long, value_name = "WHEN", value_parser = parse::when)]
    expires: Option<When>,
    /// Only for clients in this network, e.g. 10.0.0.0/8; may be given several times.
    #[arg(long, value_name = "CIDR", value_parser = credential::network)]
    network: Vec<IpNet>,
    /// Only for the route with this label (host and path, e.g. /reports); may be given several times.
    #[arg(long, value_name = "LABEL")]
    route: Vec<String>,
}

pub(super) async fn run(context: &Context, config: &Config, arguments: Arguments) -> anyhow::Result<Exit> {
    check_routes(config, &arguments.route)?;
    parse::not_too_many("--network", arguments.network.len())?;
    parse::not_too_many("--route", arguments.route.len())?;
    let now = context.clock.wall();
    let policy = Policy {
        expires_at: arguments.expires.map(|when| when.resolve(now)).transpose()?.flatten(),
        allowed_networks: (!arguments.network.is_empty()).then_some(arguments.network),
        allowed_routes: (!arguments.route.is_empty()).then_some(arguments.route),
    };
    let lifecycle = context.lifecycle(config).await?;
    let Arguments { name, description, role, .. } = arguments;
    let issued = lifecycle
        .create(NewApiKey { name, description, role, policy }, config.token_exchange.as_ref(), &actor())
        .await?;
    if context.output.is_json() {
        let mut fields = view::key_and_usage(&issued.key, &KeyUsage::default(), now);
        fields.extend(secrets(&issued));
        output::json(&with_revocation(&issued.waited, fields)?)?;
    } else {
        show_secrets(context, &issued)?;
        tell(&issued.waited)?;
    }
    Ok(conclude(&issued.waited))
}
