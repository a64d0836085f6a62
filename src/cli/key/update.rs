//! `keygate key update`: changes an API key's name, description, role and policy.

use clap::Args;
use ipnet::IpNet;

use super::{check_routes, find, view};
use crate::cli::context::{Context, actor};
use crate::cli::output::{self, line};
use crate::cli::parse::{self, When};
use crate::cli::wait::{WaitOptions, conclude, tell, with_revocation};
use crate::cli::{Exit, Usage};
use crate::config::Config;
use crate::credential::{self, KeyName, Role};
use crate::lifecycle::{KeyChange, Limit};

/// Change an API key. What is not named stays.
///
/// A change that takes authority away (ADMIN to READONLY, an earlier expiry, fewer networks or routes) is a
/// revocation: the command waits until no node can act on the old authority.
#[derive(Args)]
pub(in crate::cli) struct Arguments {
    /// Id or name.
    key: String,
    /// A new application name.
    #[arg(long)]
    name: Option<KeyName>,
    /// A new description.
    #[arg(long, value_parser = parse::description)]
    description: Option<String>,
    /// readonly or admin.
    #[arg(long)]
    role: Option<Role>,
    /// When it stops working: 2027-01-31T12:00:00Z, 2027-01-31, 90d, never.
    #[arg(long, value_name = "WHEN", value_parser = parse::when)]
    expires: Option<When>,
    /// Only for clients in this network; may be given several times, and replaces those before.
    #[arg(long, value_name = "CIDR", value_parser = credential::network)]
    network: Vec<IpNet>,
    /// For clients in all networks.
    #[arg(long, conflicts_with = "network")]
    any_network: bool,
    /// Only for the route with this label; may be given several times, and replaces those before.
    #[arg(long, value_name = "LABEL")]
    route: Vec<String>,
    /// For all routes.
    #[arg(long, conflicts_with = "route")]
    any_route: bool,
    #[command(flatten)]
    wait: WaitOptions,
}

impl Arguments {
    fn is_nothing(&self) -> bool {
        self.name.is_none()
            && self.description.is_none()
            && self.role.is_none()
            && self.expires.is_none()
            && limit(&self.network, self.any_network) == Limit::Keep
            && limit(&self.route, self.any_route) == Limit::Keep
    }
}

fn limit<T: Clone>(given: &[T], any: bool) -> Limit<Vec<T>> {
    match (given, any) {
        ([], false) => Limit::Keep,
        ([], true) => Limit::Lift,
        (given, _) => Limit::Set(given.to_vec()),
    }
}

pub(super) async fn run(context: &Context, config: &Config, arguments: Arguments) -> anyhow::Result<Exit> {
    if arguments.is_nothing() {
        return Err(Usage("nothing to change was named; see keygate key update --help".to_owned()).into());
    }
    check_routes(config, &arguments.route)?;
    parse::not_too_many("--network", arguments.network.len())?;
    parse::not_too_many("--route", arguments.route.len())?;
    let now = context.clock.wall();
    let change = KeyChange {
        if_revision: None,
        expires_at: match arguments.expires {
            None => Limit::Keep,
            Some(when) => when.resolve(now)?.map_or(Limit::Lift, Limit::Set),
        },
        allowed_networks: limit(&arguments.network, arguments.any_network),
        allowed_routes: limit(&arguments.route, arguments.any_route),
        name: arguments.name,
        description: arguments.description,
        role: arguments.role,
    };
    let lifecycle = context.lifecycle(config).await?;
    let (key, usage) = find(&*lifecycle.store, &arguments.key).await?;
    let changed = lifecycle.update(key.id, change, &actor(), arguments.wait.into()).await?;
    if context.output.is_json() {
        output::json(&with_revocation(&changed.waited, view::key_and_usage(&changed.key, &usage, now))?)?;
    } else {
        line(&output::clean(&format!("API key {} ({}) is changed.", changed.key.name, changed.key.id)))?;
        tell(&changed.waited)?;
    }
    Ok(conclude(&changed.waited))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_kept_lifted_or_replaced() {
        assert_eq!(limit::<u8>(&[], false), Limit::Keep);
        assert_eq!(limit::<u8>(&[], true), Limit::Lift);
        assert_eq!(limit(&[1], false), Limit::Set(vec![1]));
    }
}
