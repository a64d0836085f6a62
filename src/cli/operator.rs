//! `keygate operator`: who manages keys.

use anyhow::bail;
use clap::{Subcommand, ValueEnum};
use serde_json::json;

use super::context::{Context, actor, block_on};
use super::output::{self, cell, line};
use super::{Exit, Usage};
use crate::credential::{KeyName, OperatorToken};
use crate::store::{Actor, Audit, Operator, Store};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make an operator and print its token once.
    Add {
        /// For people; the form is that of an API key's name.
        name: String,
        /// admin, or viewer (sees no secrets and changes nothing).
        #[arg(long, value_enum, ignore_case = true)]
        role: OperatorRole,
    },
    /// List the operators.
    List,
}

/// What an operator may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum OperatorRole {
    /// Everything.
    Admin,
    /// See what is no secret.
    Viewer,
}

impl OperatorRole {
    fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Viewer => "viewer",
        }
    }
}

pub(super) fn run(context: &Context, command: Command) -> anyhow::Result<Exit> {
    let config = context.config()?;
    match command {
        Command::Add { name, role } => {
            let name: KeyName = name.parse().map_err(|e| Usage(format!("an operator's name is like a key's: {e}")))?;
            let (operator, token) = block_on(async {
                let store = context.store(&config).await?;
                if store.operators().await?.iter().any(|o| o.name == name.as_str()) {
                    bail!("there is an operator {name:?} already", name = name.as_str());
                }
                create(context, &*store, name.as_str(), role, &actor()).await
            })?;
            if context.output.is_json() {
                let token = token.expose();
                let (id, name, role) = (operator.id.to_string(), operator.name, operator.role);
                output::json(&json!({ "id": id, "name": name, "role": role, "token": token }))?;
            } else {
                context.output.fields(vec![("Operator", Some(operator.name)), ("Role", Some(operator.role))])?;
                line(&format!("Token\n{}", token.expose()))?;
                line("\nThe token is shown this once; only its digest is stored.")?;
            }
        }
        Command::List => {
            let operators = block_on(async { Ok(context.store(&config).await?.operators().await?) })?;
            if context.output.is_json() {
                let operator = |o: &Operator| json!({ "id": o.id.to_string(), "name": o.name, "role": o.role, "created_at": o.created_at.rfc3339() });
                output::json(&json!({ "operators": operators.iter().map(operator).collect::<Vec<_>>() }))?;
            } else if operators.is_empty() {
                line("No operators.")?;
            } else {
                let row =
                    |o: &Operator| vec![cell(&o.name), cell(&o.id), cell(&o.role), cell(&o.created_at.for_people())];
                context.output.table(&["Name", "ID", "Role", "Made (UTC)"], operators.iter().map(row).collect())?;
            }
        }
    }
    Ok(Exit::Done)
}

/// Makes an operator with a new token.
pub(super) async fn create(
    context: &Context,
    store: &dyn Store,
    name: &str,
    role: OperatorRole,
    actor: &Actor,
) -> anyhow::Result<(Operator, OperatorToken)> {
    let token = OperatorToken::generate(&*context.entropy);
    let operator = Operator {
        id: token.id(),
        name: name.to_owned(),
        role: role.as_str().to_owned(),
        digest: token.digest(),
        created_at: context.clock.wall(),
    };
    let audit = Audit {
        actor,
        at: operator.created_at,
        action: "operator.create",
        subject: operator.id.to_string(),
        detail: json!({ "name": operator.name, "role": operator.role }),
    };
    store.insert_operator(&operator, &audit).await?;
    Ok((operator, token))
}
