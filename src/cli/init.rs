//! `keygate init`: makes what a gateway needs and does not have yet: configuration, master key, store, shared
//! secret, first operator.
//!
//! Each step looks first and makes only what is missing, so a run that died anywhere is finished by the next. The
//! master key is on disk before anything is sealed with it.

use std::fs::{OpenOptions, Permissions};
use std::io::{ErrorKind, Write as _};
use std::num::NonZeroU32;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;

use super::Exit;
use super::context::{Context, actor, block_on};
use super::output::{self, line};
use crate::config::resolved::{Config, StoreLocation};
use crate::credential::{KeyName, OperatorToken};
use crate::lifecycle::master_key::{self, MasterKeyError, Source};
use crate::lifecycle::{self, MasterKeys};
use crate::store::seal::MasterKey;
use crate::store::sqlite::SqliteStore;
use crate::store::{Actor, Audit, Operator, OperatorRole, Store as _, StoreError};

/// Make a gateway: configuration, master key, store, shared secret, first operator.
///
/// In an empty directory this makes keygate.toml too; with an existing configuration it makes what is missing and
/// nothing else. The first operator's token is printed once.
#[derive(Args)]
pub(super) struct Arguments {}

/// What was made, and what was there.
#[derive(Debug, Default)]
pub(super) struct Made {
    steps: Vec<(&'static str, String, bool)>,
    operator: Option<(Operator, OperatorToken)>,
    secret_version: u32,
}

impl Made {
    fn note(&mut self, what: &'static str, which: &impl ToString, made: bool) {
        self.steps.push((what, which.to_string(), made));
    }
}

pub(super) fn run(context: &Context, _: &Arguments) -> anyhow::Result<Exit> {
    let path = context.config_path();
    let mut made = Made::default();
    let wrote = write_config(path, crate::config::starter())?;
    made.note("configuration", &path.display(), wrote);
    let config = context.config()?;
    block_on(prepare(context, &config, &mut made))?;
    if context.output.is_json() {
        let names = |made_here: bool| {
            made.steps.iter().filter(|step| step.2 == made_here).map(|step| step.0).collect::<Vec<_>>()
        };
        let operator = made.operator.as_ref().map(|(operator, token)| {
            let (id, token) = (operator.id.to_string(), token.expose());
            json!({ "id": id, "name": operator.name, "role": operator.role, "token": token })
        });
        output::json(&json!({
            "config": path,
            "made": names(true),
            "found": names(false),
            "secret_version": made.secret_version,
            "operator": operator,
        }))?;
        return Ok(Exit::Done);
    }
    let step = |(what, which, made): &(&str, String, bool)| {
        vec![output::cell(if *made { "made" } else { "there already" }), output::cell(what), output::cell(which)]
    };
    context.output.table(&[], made.steps.iter().map(step).collect())?;
    if let Some((operator, token)) = &made.operator {
        line(&format!("\nToken of operator {}, shown this once: {}", operator.name, token.expose()))?;
        line("\nNext: keygate key add NAME --role readonly, then keygate serve")?;
    }
    Ok(Exit::Done)
}

/// Writes a configuration where there is none. `false` when there is one.
pub(super) fn write_config(path: &Path, text: &str) -> anyhow::Result<bool> {
    let failed = || format!("cannot make {}", path.display());
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o644).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::AlreadyExists => return Ok(false),
        Err(e) => return Err(e).with_context(failed),
    };
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).with_context(failed)?;
    master_key::sync_directory(path).with_context(failed)?;
    Ok(true)
}

/// Everything but the configuration.
pub(super) async fn prepare(context: &Context, config: &Config, made: &mut Made) -> anyhow::Result<()> {
    let StoreLocation::Sqlite(path) = &config.store.location;
    let existing = match SqliteStore::open(path).await {
        Ok(store) => Some(store),
        Err(StoreError::NotInitialised(_)) => None,
        Err(e) => return Err(e.into()),
    };
    let is_sealed = match &existing {
        Some(store) => store.has_secret().await?,
        None => false,
    };
    let master = ensure_master_key(context, config, is_sealed, made)?;
    let found = existing.is_some();
    let store = match existing {
        Some(store) => store,
        None => SqliteStore::create(path, &context.entropy.hex128()).await?,
    };
    restrict(path)?;
    made.note("store", &path.display(), !found);
    let actor = actor();
    ensure_secret(context, &store, &master, &actor, made).await?;
    if store.operators().await?.is_empty() {
        let (clock, entropy, name): (_, _, KeyName) = (&*context.clock, &*context.entropy, "admin".parse()?);
        let created = lifecycle::add_operator(&store, clock, entropy, &name, OperatorRole::Admin, &actor).await?;
        made.note("operator", &created.0.name, true);
        made.operator = Some(created);
    } else {
        made.note("operator", &"one or more", false);
    }
    Ok(())
}

fn ensure_master_key(
    context: &Context,
    config: &Config,
    is_sealed: bool,
    made: &mut Made,
) -> anyhow::Result<MasterKeys> {
    let variable = |name: &str| context.environment.variable(name);
    let source = master_key::source(&config.secrets, &variable)?;
    match (master_key::load(&source, &variable), &source) {
        (Ok(keys), _) => {
            made.note("master key", &source, false);
            Ok(keys)
        }
        (Err(MasterKeyError::Missing(path)), Source::File(_)) if is_sealed => bail!(
            "the master key file {} is missing, and the store's secrets are sealed with it: put it back from a backup; \
             if it is lost for good, run keygate master-key replace-lost",
            path.display()
        ),
        (Err(MasterKeyError::Missing(path)), Source::File(_)) => {
            let key = MasterKey::generate(&*context.entropy);
            master_key::create(&path, &key)?;
            made.note("master key", &source, true);
            Ok(MasterKeys::of(key))
        }
        (Err(e), _) => Err(e.into()),
    }
}

async fn ensure_secret(
    context: &Context,
    store: &SqliteStore,
    master: &MasterKeys,
    actor: &Actor,
    made: &mut Made,
) -> anyhow::Result<()> {
    let mut first = false;
    if !store.has_secret().await? {
        let sealed = master.configured()?.new_secret(NonZeroU32::MIN, store.store_id(), &*context.entropy);
        let now = context.clock.wall();
        let audit = Audit {
            actor,
            at: now,
            action: "shared_secret.create",
            subject: "1".to_owned(),
            detail: json!({ "after": { "version": 1 } }),
        };
        first = store.put_first_secret(sealed, now, &context.entropy.hex128(), &audit).await?;
    }
    let current = store.secrets().await?.secrets.current;
    master.open(&current, store.store_id()).context("the master key does not fit the store")?;
    made.secret_version = current.version.get();
    made.note("shared secret", &format_args!("version {}", current.version), first);
    Ok(())
}

/// Nobody but its owner reads the store: also one that was made with other bits.
fn restrict(path: &Path) -> anyhow::Result<()> {
    let failed = || format!("cannot set the mode of {}", path.display());
    let mode = std::fs::metadata(path).with_context(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).with_context(failed)?;
    }
    Ok(())
}
