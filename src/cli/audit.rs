//! `keygate audit`: who changed or saw what.

use clap::Args;
use serde_json::{Value, json};

use super::Exit;
use super::context::{Context, block_on};
use super::output::{self, cell, line};
use super::parse::{self, Past};
use crate::store::{AuditQuery, AuditRecord};

/// Show audit records, newest first.
#[derive(Args)]
pub(super) struct Arguments {
    /// How many at most.
    #[arg(long, default_value_t = 50, value_name = "N")]
    limit: u32,
    /// Only of the operator with this name, or of those whose id, user name or address holds this text.
    #[arg(long, value_name = "TEXT")]
    who: Option<String>,
    /// Only this action (`api_key.create`), or all of a group (`api_key`).
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Only what was done to this: a key's or operator's id, a secret's version.
    #[arg(long, value_name = "ID")]
    subject: Option<String>,
    /// Not before this time, or this long ago (90d).
    #[arg(long, value_name = "WHEN", value_parser = parse::past)]
    since: Option<Past>,
    /// Before this time, or this long ago.
    #[arg(long, value_name = "WHEN", value_parser = parse::past)]
    until: Option<Past>,
    /// Only records with an id below this one: the next page.
    #[arg(long, value_name = "ID")]
    before: Option<u64>,
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> anyhow::Result<Exit> {
    let config = context.config()?;
    let now = context.clock.wall();
    let mut query = AuditQuery {
        who: arguments.who.clone(),
        action: arguments.action.clone(),
        subject: arguments.subject.clone(),
        since: arguments.since.map(|past| past.resolve(now)),
        until: arguments.until.map(|past| past.resolve(now)),
        before: arguments.before,
        limit: arguments.limit,
    };
    let records = block_on(async {
        let store = context.store(&config).await?;
        // Records name operators by id.
        let operators = store.operators().await?;
        if let Some(operator) = operators.iter().find(|o| arguments.who.as_ref() == Some(&o.name)) {
            query.who = Some(format!("operator:{}", operator.id));
        }
        Ok(store.audit_page(&query).await?)
    })?;
    if context.output.is_json() {
        output::json(&json!({ "audit": records.iter().map(record).collect::<Vec<_>>() }))?;
        return Ok(Exit::Done);
    }
    if records.is_empty() {
        line("No audit records.")?;
        return Ok(Exit::Done);
    }
    let row = |r: &AuditRecord| {
        let who = format!("{} ({})", r.actor.who, r.actor.from);
        // One column, so that on a narrow terminal this is what wraps.
        let what = format!("{} {} {}", r.action, r.subject, r.detail);
        vec![cell(&r.at.for_people()), cell(&who), cell(&what)]
    };
    context.output.table(&["When (UTC)", "Who", "What"], records.iter().map(row).collect())?;
    Ok(Exit::Done)
}

fn record(r: &AuditRecord) -> Value {
    json!({
        "id": r.id,
        "at": r.at.rfc3339(),
        "who": r.actor.who,
        "from": r.actor.from,
        "action": r.action,
        "subject": r.subject,
        "detail": serde_json::from_str(&r.detail).unwrap_or_else(|_| Value::from(r.detail.as_str())),
        "revision": r.revision,
    })
}
