//! `keygate master-key`: replaces the key under which the store's secrets are kept.
//!
//! The order of a rotation is: new key on disk as `<file>.new`, secrets sealed with it in one transaction, the file
//! replaced by a rename. Whoever loads the master key tries both files, so it does not matter where this ends.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Subcommand;
use serde_json::json;

use super::context::{Context, actor, block_on};
use super::output::{self, line};
use super::wait::{WaitOptions, conclude, tell, with_revocation};
use super::{Exit, Usage, prompt};
use crate::config::Config;
use crate::lifecycle::master_key::{self, Source, pending_path};
use crate::lifecycle::{Lifecycle, MasterKeyError, MasterKeys};
use crate::store::seal::MasterKey;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make a new master key and seal the store's secrets with it.
    ///
    /// Replaces the master key file. Safe to interrupt: run it again, and it finishes. The shared secret and all keys
    /// stay as they are. Running nodes go on, and need the new key at the next change of the shared secret and when
    /// they start: those that find it in the same file read it then. Where the file is a copy, or the master key comes
    /// from elsewhere, put the new one in place and restart the node before that: else it fences itself, and refuses
    /// all requests with 503.
    ///
    /// Where the master key is an environment variable or a systemd credential, --write-to says where the new key
    /// goes; putting it in place is up to you.
    Rotate {
        /// File for the new master key, where keygate cannot replace the old one itself.
        #[arg(long, value_name = "FILE")]
        write_to: Option<PathBuf>,
    },
    /// After the master key was lost for good: make a new one and a new shared secret version.
    ///
    /// The old shared secret cannot be opened by anyone, so every encoded key stops working; API keys, app keys and
    /// their history stay, and integrations encode their app keys anew. Refused while the master key opens the secret.
    ReplaceLost {
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        wait: WaitOptions,
    },
}

pub(super) fn run(context: &Context, command: Command) -> anyhow::Result<Exit> {
    let config = context.config()?;
    let variable = |name: &str| context.environment.variable(name);
    let source = master_key::source(&config.secrets, &variable)?;
    match command {
        Command::Rotate { write_to } => block_on(rotate(context, &config, &source, write_to)),
        Command::ReplaceLost { yes, wait } => block_on(replace_lost(context, &config, &source, yes, wait)),
    }
}

async fn rotate(
    context: &Context,
    config: &Config,
    source: &Source,
    write_to: Option<PathBuf>,
) -> anyhow::Result<Exit> {
    let (target, pending) = match (source, write_to) {
        (Source::File(file), None) => (file.clone(), pending_path(file)),
        (Source::File(file), Some(_)) => {
            return Err(Usage(format!("--write-to is not needed: {} is replaced", file.display())).into());
        }
        (_, Some(file)) => (file.clone(), file),
        (source, None) => {
            let way = "--write-to FILE says where the new one goes";
            return Err(Usage(format!("the master key is {source}, which keygate cannot replace; {way}")).into());
        }
    };
    let lifecycle = context.lifecycle_on(config, context.store(config).await?, context.master_keys(config)?);
    let opens = lifecycle.check_master_key().await?;
    let key = new_key(context, &pending, opens)?;
    lifecycle.reseal(&key, &actor()).await?;
    if pending != target {
        master_key::promote(&target)?;
    }
    let id = format!("{:016x}", key.id());
    if context.output.is_json() {
        output::json(&json!({ "master_key": id, "file": target }))?;
    } else {
        line(&format!("The store's secrets are sealed with the new master key {id} in {} now.", target.display()))?;
        if pending == target {
            line(&format!("Put it in the place of {source}, then restart the gateway."))?;
        } else {
            line("Back it up, apart from the store, and replace copies of it on other machines.")?;
        }
    }
    Ok(Exit::Done)
}

/// The key to rotate to: the one that an interrupted rotation left, or a new one, on disk when this returns.
fn new_key(context: &Context, pending: &Path, opens: u64) -> anyhow::Result<MasterKey> {
    match master_key::read_key(pending) {
        Ok(left) => {
            // Whether the store knows it already or not: nobody else has it, and it is whole.
            let state = if left.id() == opens { "was in force already" } else { "was not in force yet" };
            eprintln!("keygate: finishing an interrupted rotation; the new key in {} {state}", pending.display());
            // What was written may not have been synced before that end.
            std::fs::File::open(pending).and_then(|file| file.sync_all()).context("cannot sync the new master key")?;
            return Ok(left);
        }
        Err(MasterKeyError::Missing(_)) => {}
        // Half a key was never told to the store.
        Err(MasterKeyError::Malformed(_)) => std::fs::remove_file(pending)
            .with_context(|| format!("cannot remove the unfinished {}", pending.display()))?,
        Err(e) => return Err(e.into()),
    }
    let key = MasterKey::generate(&*context.entropy);
    master_key::create(pending, &key)?;
    Ok(key)
}

async fn replace_lost(
    context: &Context,
    config: &Config,
    source: &Source,
    yes: bool,
    wait: WaitOptions,
) -> anyhow::Result<Exit> {
    let question = "Give up the shared secret, which nobody can open? Every encoded key stops working.";
    prompt::confirm(&context.environment, yes, question)?;
    let store = context.store(config).await?;
    let at_hand = context.master_keys(config);
    if let Ok(keys) = &at_hand {
        let lifecycle = context.lifecycle_on(config, store.clone(), keys.clone());
        if lifecycle.check_master_key().await.is_ok() {
            bail!("the master key is not lost: {source} opens the shared secret");
        }
    }
    let (keys, path) = match (source, at_hand) {
        (Source::File(path), Ok(_)) => bail!(
            "{} holds another master key than the one that the secrets are sealed with; \
             if that one is lost, move this file away first",
            path.display()
        ),
        (Source::File(path), Err(MasterKeyError::Missing(_) | MasterKeyError::Lost(_))) => {
            let key = MasterKey::generate(&*context.entropy);
            master_key::create(path, &key)?;
            (MasterKeys::of(key), Some(path))
        }
        (Source::File(_), Err(e)) => return Err(e.into()),
        // A new one in its place is what the operator has put there.
        (_, keys) => (keys?, None),
    };
    let lifecycle = context.lifecycle_on(config, store, keys);
    finish_replacement(context, &lifecycle, path.map(PathBuf::as_path), wait).await
}

async fn finish_replacement(
    context: &Context,
    lifecycle: &Lifecycle,
    path: Option<&Path>,
    wait: WaitOptions,
) -> anyhow::Result<Exit> {
    let actor = actor();
    lifecycle.forget_lost_secrets(&actor).await?;
    let done = lifecycle.regenerate(None, None, &actor, wait.into()).await?;
    if context.output.is_json() {
        let more = [("version".to_owned(), json!(done.version.get())), ("file".to_owned(), json!(path))];
        output::json(&with_revocation(&done.waited, more.into_iter().collect())?)?;
    } else {
        if let Some(path) = path {
            line(&format!("There is a new master key in {}. Back it up, apart from the store.", path.display()))?;
        }
        line(&format!("The shared secret is at version {} now; encode every app key anew with it.", done.version))?;
        tell(&done.waited)?;
    }
    Ok(conclude(&done.waited))
}
