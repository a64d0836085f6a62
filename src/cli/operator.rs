//! `keygate operator`: who manages keys.

use clap::Subcommand;
use serde_json::json;

use super::context::{Context, actor, block_on};
use super::output::{self, cell, line};
use super::{Exit, Usage, prompt};
use crate::admin::state::Origin;
use crate::clock::WallTime;
use crate::config::Config;
use crate::config::resolved::Admin;
use crate::credential::{KeyId, KeyName, OperatorToken};
use crate::lifecycle::{LINK_AT_MOST, Lifecycle};
use crate::store::{Operator, OperatorRole, Store, StoreError};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make an operator and print its token once.
    Add {
        /// For people; the form is that of an API key's name.
        name: String,
        /// admin, or viewer (sees no secrets and changes nothing).
        #[arg(long)]
        role: OperatorRole,
    },
    /// List the operators.
    List,
    /// Remove an operator: its token and its sessions end at once.
    Remove {
        /// Id or name.
        #[arg(value_name = "ID-OR-NAME")]
        operator: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Give an operator another token: the old one and its sessions end at once.
    Rotate {
        /// Id or name.
        #[arg(value_name = "ID-OR-NAME")]
        operator: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Print a link that logs an operator in to the page, once and within ten minutes.
    Login {
        /// Id or name.
        #[arg(value_name = "ID-OR-NAME")]
        operator: String,
    },
}

pub(super) fn run(context: &Context, command: Command) -> anyhow::Result<Exit> {
    let config = context.config()?;
    block_on(async {
        // None of this needs the master key.
        let lifecycle = context.lifecycle(&config).await?;
        match command {
            Command::Add { name, role } => {
                let name: KeyName =
                    name.parse().map_err(|e| Usage(format!("an operator's name is like a key's: {e}")))?;
                let (operator, token) = lifecycle.add_operator(name, role, &actor()).await?;
                show_token(context, &operator, &token)
            }
            Command::List => list(context, &*lifecycle.store).await,
            Command::Remove { operator, yes } => remove(context, &lifecycle, &operator, yes).await,
            Command::Rotate { operator, yes } => rotate(context, &lifecycle, &operator, yes).await,
            Command::Login { operator } => login(context, &config, &lifecycle, &operator).await,
        }
    })?;
    Ok(Exit::Done)
}

fn show_token(context: &Context, operator: &Operator, token: &OperatorToken) -> anyhow::Result<()> {
    let Operator { id, name, role, .. } = operator;
    if context.output.is_json() {
        let token = token.expose();
        return output::json(&json!({ "id": id.to_string(), "name": name, "role": role, "token": token }));
    }
    let fields = [("Operator", name.clone()), ("ID", id.to_string()), ("Role", role.to_string())];
    context.output.fields(fields.into_iter().map(|(what, value)| (what, Some(value))).collect())?;
    line(&format!("Token\n{}", token.expose()))?;
    line("\nThe token is shown this once; only its digest is stored.")
}

async fn list(context: &Context, store: &dyn Store) -> anyhow::Result<()> {
    let operators = store.operators().await?;
    if context.output.is_json() {
        let operator = |o: &Operator| {
            json!({
                "id": o.id.to_string(),
                "name": o.name,
                "role": o.role,
                "created_at": o.created_at.rfc3339(),
                "last_login": o.last_login.map(WallTime::rfc3339),
            })
        };
        return output::json(&json!({ "operators": operators.iter().map(operator).collect::<Vec<_>>() }));
    }
    if operators.is_empty() {
        return line("No operators.");
    }
    let row = |o: &Operator| {
        let last_login = o.last_login.map_or_else(|| "Never".to_owned(), WallTime::for_people);
        vec![cell(&o.name), cell(&o.id), cell(&o.role), cell(&o.created_at.for_people()), cell(&last_login)]
    };
    let header = ["Name", "ID", "Role", "Made (UTC)", "Last Login"];
    context.output.table(&header, operators.iter().map(row).collect())
}

async fn remove(context: &Context, lifecycle: &Lifecycle, wanted: &str, yes: bool) -> anyhow::Result<()> {
    let operator = find(&*lifecycle.store, wanted).await?;
    let question =
        format!("Remove operator {} ({})? Its token and sessions end at once.", operator.name, operator.role);
    prompt::confirm(&context.environment, yes, &question)?;
    lifecycle.remove_operator(operator.id, &actor()).await?;
    if context.output.is_json() {
        return output::json(&json!({ "id": operator.id.to_string(), "name": operator.name, "removed": true }));
    }
    line(&format!("Operator {} is removed.", output::clean(&operator.name)))
}

async fn rotate(context: &Context, lifecycle: &Lifecycle, wanted: &str, yes: bool) -> anyhow::Result<()> {
    let operator = find(&*lifecycle.store, wanted).await?;
    let question = format!("Give operator {} another token? The old one and its sessions end at once.", operator.name);
    prompt::confirm(&context.environment, yes, &question)?;
    let (operator, token) = lifecycle.rotate_operator(operator.id, &actor()).await?;
    show_token(context, &operator, &token)
}

async fn login(context: &Context, config: &Config, lifecycle: &Lifecycle, wanted: &str) -> anyhow::Result<()> {
    let operator = find(&*lifecycle.store, wanted).await?;
    let (token, until) = lifecycle.login_link(operator.id, LINK_AT_MOST, &actor()).await?;
    let url = link(&config.admin, &token);
    if context.output.is_json() {
        let (id, token, until) = (operator.id.to_string(), token.expose(), until.rfc3339());
        return output::json(&json!({ "id": id, "token": token, "url": url, "expires_at": until }));
    }
    if let Some(url) = &url {
        line(url)?;
    } else {
        line(token.expose())?;
        line("\nThe page has no address of its own here (admin.listen): give the token to its login form.")?;
    }
    let name = output::clean(&operator.name);
    line(&format!("\nIt logs {name} in once, until {} UTC.", until.for_people()))
}

/// Where the page is, with the token behind `#`, which browsers do not send. `None` when there is no page, or the
/// system chooses its port.
fn link(admin: &Admin, token: &OperatorToken) -> Option<String> {
    let listen = admin.listen.filter(|listen| listen.port() != 0)?;
    Some(Origin::of(listen, admin.tls.is_some()).login_link(token.expose()))
}

/// By id, or by name.
async fn find(store: &dyn Store, wanted: &str) -> anyhow::Result<Operator> {
    let operators = store.operators().await?;
    let id = KeyId::parse(wanted.as_bytes());
    let by_id = operators.iter().position(|o| Some(o.id) == id);
    let found = by_id.or_else(|| operators.iter().position(|o| o.name == wanted));
    let found = found.and_then(|at| operators.into_iter().nth(at));
    Ok(found.ok_or_else(|| StoreError::NoSuchOperator(wanted.to_owned()))?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::entropy::SystemEntropy;

    #[test]
    fn a_link_leads_to_the_page_and_keeps_the_token_out_of_requests() {
        let token = OperatorToken::generate(&SystemEntropy);
        let admin = |listen: &str| Admin {
            listen: listen.parse().ok(),
            hosts: Vec::new(),
            session_idle: Duration::ZERO,
            session_max: Duration::ZERO,
            request_timeout: Duration::ZERO,
            tls: None,
        };
        let expected = |base: &str| Some(format!("{base}/#login={}", token.expose()));
        assert_eq!(link(&admin("127.0.0.1:8081"), &token), expected("http://127.0.0.1:8081"));
        assert_eq!(link(&admin("[::1]:8081"), &token), expected("http://[::1]:8081"));
        assert_eq!(link(&admin("0.0.0.0:8081"), &token), expected("http://127.0.0.1:8081"));
        assert_eq!(link(&admin("127.0.0.1:0"), &token), None);
        assert_eq!(link(&admin("off"), &token), None);
    }
}
