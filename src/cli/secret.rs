//! `keygate secret`: the gateway's shared secret, seen and replaced.

use std::time::Duration;

use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::context::{Context, actor, block_on};
use super::output::{self, line};
use super::wait::{WaitOptions, conclude, tell, with_revocation};
use super::{Exit, parse, prompt};
use crate::clock::WallTime;
use crate::lifecycle::Lifecycle;

/// Keys used within this count as in use.
const IN_USE: Duration = Duration::from_hours(24);

/// How an integration gets its new encoded key.
const RECIPE: &str = "\
Every integration now needs its encoded key made anew from its app key (or old encoded key) and the new shared
secret, which `keygate secret show` prints. Offline with keygate:

  KEYGATE_SHARED_SECRET=… keygate encode --key-file app-key.txt

or with openssl (id and body are those of the app key kga_<id>_<body>):

  P=kg_VERSION_<id>_<body>; echo ${P}_$(printf %s $P | openssl dgst -sha256 -hmac \"$SHARED_SECRET\" -r | cut -c1-40)";

/// How an integration that exchanges tokens gets its new bundle.
const BUNDLE_RECIPE: &str = "\
Of a bundle only its sharedsecret is out of date. Replace it by hand, or offline with keygate:

  KEYGATE_SHARED_SECRET=… keygate bundle encode --key-file old-bundle.txt";

#[derive(Subcommand)]
pub(super) enum Command {
    /// Show the current shared secret. That it was seen is written into the audit records.
    Show,
    /// Show its version and age, and how many keys regenerating it would stop: without the secret, and not audited.
    Impact,
    /// Replace the shared secret; every key encoded with the old one stops working until it is encoded anew.
    ///
    /// A leaked encoded key is not helped by this, as it contains its app key: roll that key.
    Regenerate {
        /// Do it only if this version is in force.
        #[arg(long, value_name = "VERSION")]
        expect: Option<u32>,
        /// Go on accepting the old version for this long, e.g. 24h.
        #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
        grace: Option<Duration>,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        wait: WaitOptions,
    },
    /// Stop accepting the version before the current one now.
    EndGrace {
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        wait: WaitOptions,
    },
}

pub(super) fn run(context: &Context, command: &Command) -> anyhow::Result<Exit> {
    let config = context.config()?;
    block_on(async {
        let lifecycle = context.lifecycle(&config).await?;
        match *command {
            Command::Show => show(context, &lifecycle).await,
            Command::Impact => impact(context, &lifecycle).await,
            Command::Regenerate { expect, grace, yes, wait } => {
                let bundles = config.token_exchange.is_some();
                regenerate(context, &lifecycle, expect, grace, yes, wait, bundles).await
            }
            Command::EndGrace { yes, wait } => end_grace(context, &lifecycle, yes, wait).await,
        }
    })
}

async fn show(context: &Context, lifecycle: &Lifecycle) -> anyhow::Result<Exit> {
    let revealed = lifecycle.reveal_secret(&actor()).await?;
    let (secret, previous) = (&revealed.secret, revealed.previous);
    let until = |at: Option<WallTime>| at.map(WallTime::rfc3339);
    if context.output.is_json() {
        output::json(&json!({
            "version": secret.version().get(),
            "secret": secret.expose(),
            "created_at": revealed.created_at.rfc3339(),
            "previous": previous.map(|(v, at)| json!({ "version": v.get(), "grace_until": until(at) })),
        }))?;
        return Ok(Exit::Done);
    }
    let grace = previous.map(|(version, at)| grace_period(version.get(), at));
    context.output.fields(vec![
        ("Version", Some(secret.version().to_string())),
        ("Made (UTC)", Some(revealed.created_at.for_people())),
        ("Grace period", grace),
    ])?;
    // Not in the table: a terminal's own wrapping does not get into what is copied.
    line(&format!("Shared secret\n{}", secret.expose()))?;
    Ok(Exit::Done)
}

fn grace_period(version: u32, until: Option<WallTime>) -> String {
    format!("version {version} is accepted until {} UTC", until.map(WallTime::for_people).unwrap_or_default())
}

async fn impact(context: &Context, lifecycle: &Lifecycle) -> anyhow::Result<Exit> {
    let now = context.clock.wall();
    let secrets = lifecycle.store.secrets().await?.secrets;
    let keys = lifecycle.store.key_counts(now.minus(IN_USE)).await?;
    let made = secrets.current.created_at;
    let version = secrets.current.version.get();
    let previous = secrets.in_grace(now).map(|previous| (previous.version.get(), previous.grace_until));
    let age = Duration::from_secs(now.since(made).as_secs());
    if context.output.is_json() {
        let until = |at: Option<WallTime>| at.map(WallTime::rfc3339);
        output::json(&json!({
            "version": version,
            "created_at": made.rfc3339(),
            "age_s": age.as_secs(),
            "previous": previous.map(|(version, at)| json!({ "version": version, "grace_until": until(at) })),
            "keys": {
                "active": keys.active,
                "disabled": keys.disabled,
                "used_24h": keys.used,
                "never_used": keys.never_used,
                "stale": keys.stale,
            },
        }))?;
        return Ok(Exit::Done);
    }
    let number = |count: u64| Some(count.to_string());
    context.output.fields(vec![
        ("Version", Some(version.to_string())),
        ("Made (UTC)", Some(made.for_people())),
        ("Age", Some(humantime::format_duration(age).to_string())),
        ("Grace period", previous.map(|(version, at)| grace_period(version, at))),
        ("Active keys", number(keys.active)),
        ("Used in the last 24 hours", number(keys.used)),
        ("Never used", number(keys.never_used)),
        ("Still send an old version", number(keys.stale)),
        ("Disabled keys", number(keys.disabled)),
    ])?;
    Ok(Exit::Done)
}

async fn regenerate(
    context: &Context,
    lifecycle: &Lifecycle,
    expect: Option<u32>,
    grace: Option<Duration>,
    yes: bool,
    wait: WaitOptions,
    bundles: bool,
) -> anyhow::Result<Exit> {
    let mut expect = expect;
    if !yes {
        // What was asked about is what is done.
        let question = question(context, lifecycle, &mut expect, grace).await?;
        prompt::confirm(&context.environment, yes, &question)?;
    }
    let done = lifecycle.regenerate(expect, grace, &actor(), wait.into()).await?;
    if context.output.is_json() {
        let more = Map::from_iter([
            ("version".to_owned(), Value::from(done.version.get())),
            ("grace_until".to_owned(), Value::from(done.grace_until.map(WallTime::rfc3339))),
        ]);
        output::json(&with_revocation(&done.waited, more)?)?;
    } else {
        line(&format!("The shared secret is at version {} now.", done.version))?;
        if let Some(until) = done.grace_until {
            let before = done.version.get() - 1;
            line(&format!("Version {before} is still accepted until {} UTC.", until.for_people()))?;
        }
        tell(&done.waited)?;
        line(&format!("\n{}", RECIPE.replace("VERSION", &done.version.to_string())))?;
        if bundles {
            line(&format!("\n{BUNDLE_RECIPE}"))?;
        }
    }
    Ok(conclude(&done.waited))
}

async fn question(
    context: &Context,
    lifecycle: &Lifecycle,
    expect: &mut Option<u32>,
    grace: Option<Duration>,
) -> anyhow::Result<String> {
    if !context.environment.is_interactive() {
        return Ok(String::new());
    }
    let current = lifecycle.store.secrets().await?.secrets.current.version.get();
    let used = lifecycle.store.key_counts(context.clock.wall().minus(IN_USE)).await?.used;
    let version = *expect.get_or_insert(current);
    let when = grace.map_or_else(|| "at once".to_owned(), |grace| format!("in {}", humantime::format_duration(grace)));
    Ok(format!(
        "Replace version {version} of the shared secret? {used} keys were used in the last 24 hours; \
         all keys stop working {when}, until they are encoded anew."
    ))
}

async fn end_grace(context: &Context, lifecycle: &Lifecycle, yes: bool, wait: WaitOptions) -> anyhow::Result<Exit> {
    // It ends by itself anyway, so without a terminal this needs no --yes.
    let yes = yes || !context.environment.is_interactive();
    let question = "End the grace period now? Keys encoded with the version before stop working.";
    prompt::confirm(&context.environment, yes, question)?;
    let Some((version, waited)) = lifecycle.end_grace(&actor(), wait.into()).await? else {
        anyhow::bail!("there is no grace period to end");
    };
    if context.output.is_json() {
        let more = Map::from_iter([("ended_version".to_owned(), Value::from(version))]);
        output::json(&with_revocation(&waited, more)?)?;
    } else {
        line(&format!("Version {version} of the shared secret is not accepted any more."))?;
        tell(&waited)?;
    }
    Ok(conclude(&waited))
}
