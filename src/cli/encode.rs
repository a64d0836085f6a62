//! `keygate encode`: makes an encoded key, offline, from an app key (or an old encoded key) and a shared secret.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;
use serde_json::json;
use zeroize::Zeroizing;

use super::context::Context;
use super::output::{self, line};
use super::{Exit, Usage, prompt};
use crate::credential::{SharedSecret, app_key_in, encode};

/// Encode an app key with a shared secret, without the gateway and its store.
///
/// The app key, or an old encoded key of any version, is read from --key-file, `KEYGATE_APP_KEY`, standard input, or
/// asked for on a terminal; the shared secret from --secret-file, `KEYGATE_SHARED_SECRET`, or asked for. Neither is
/// ever an argument: those can be seen by every process on the machine. Prints the encoded key and nothing else.
#[derive(Args)]
pub(super) struct Arguments {
    /// File with the app key or the old encoded key; - is standard input.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// File with the shared secret; - is standard input.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> anyhow::Result<Exit> {
    let Some(key) = key(context, arguments.key_file.as_deref(), "App key or old encoded key")? else {
        let way = "no key was given: an app key or an old encoded key comes by --key-file, KEYGATE_APP_KEY or \
                   standard input";
        return Err(Usage(way.to_owned()).into());
    };
    // The reason is left out: what is neither may be anything.
    let app_key = app_key_in(&key).map_err(|_| anyhow!("expected an app key (kga_…) or an encoded key (kg_…)"))?;
    let secret = match secret(context, arguments.secret_file.as_deref())? {
        Some(secret) => secret,
        None => asked_secret(context)?,
    };
    let encoded = encode(&app_key, &secret);
    if context.output.is_json() {
        output::json(&json!({
            "id": app_key.id().to_string(),
            "version": secret.version().get(),
            "encoded_key": encoded.as_str(),
        }))?;
    } else {
        line(&encoded)?;
    }
    Ok(Exit::Done)
}

/// What holds the app key: from this file, the environment, a terminal or standard input. `None`: it is empty.
pub(super) fn key(context: &Context, file: Option<&Path>, question: &str) -> anyhow::Result<Option<Zeroizing<String>>> {
    let key = if let Some(path) = file {
        prompt::secret_from_file(path)?
    } else if let Some(key) = variable(context, "KEYGATE_APP_KEY") {
        key
    } else if context.environment.stdin_is_terminal {
        prompt::secret_from_terminal(question)?
    } else {
        prompt::secret_from_stdin()?
    };
    Ok((!key.is_empty()).then_some(key))
}

/// The shared secret from this file or the environment, if it is given there.
pub(super) fn secret(context: &Context, file: Option<&Path>) -> anyhow::Result<Option<SharedSecret>> {
    let secret = match file {
        Some(path) => Some(prompt::secret_from_file(path)?),
        None => variable(context, "KEYGATE_SHARED_SECRET"),
    };
    Ok(secret.map(|secret| SharedSecret::parse(&secret)).transpose()?)
}

/// The shared secret from a terminal.
pub(super) fn asked_secret(context: &Context) -> anyhow::Result<SharedSecret> {
    if !context.environment.is_interactive() {
        let way = "give the shared secret by --secret-file or KEYGATE_SHARED_SECRET where there is no terminal";
        return Err(Usage(way.to_owned()).into());
    }
    Ok(SharedSecret::parse(&prompt::secret_from_terminal("Shared secret")?)?)
}

fn variable(context: &Context, name: &str) -> Option<Zeroizing<String>> {
    let value = context.environment.variable(name)?;
    Some(Zeroizing::new(value.to_string_lossy().trim().to_owned()))
}
