//! `keygate encode`: makes an encoded key, offline, from an app key (or an old encoded key) and a shared secret.

use std::path::PathBuf;

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
    let environment = &context.environment;
    let variable =
        |name| environment.variable(name).map(|value| Zeroizing::new(value.to_string_lossy().trim().to_owned()));
    let key = if let Some(path) = &arguments.key_file {
        prompt::secret_from_file(path)?
    } else if let Some(key) = variable("KEYGATE_APP_KEY") {
        key
    } else if environment.stdin_is_terminal {
        prompt::secret_from_terminal("App key or old encoded key")?
    } else {
        prompt::secret_from_stdin()?
    };
    if key.is_empty() {
        let way = "no key was given: an app key or an old encoded key comes by --key-file, KEYGATE_APP_KEY or \
                   standard input";
        return Err(Usage(way.to_owned()).into());
    }
    // The reason is left out: what is neither may be anything.
    let app_key = app_key_in(&key).map_err(|_| anyhow!("expected an app key (kga_…) or an encoded key (kg_…)"))?;
    let secret = if let Some(path) = &arguments.secret_file {
        prompt::secret_from_file(path)?
    } else if let Some(secret) = variable("KEYGATE_SHARED_SECRET") {
        secret
    } else if environment.is_interactive() {
        prompt::secret_from_terminal("Shared secret")?
    } else {
        let way = "give the shared secret by --secret-file or KEYGATE_SHARED_SECRET where there is no terminal";
        return Err(Usage(way.to_owned()).into());
    };
    let secret = SharedSecret::parse(&secret)?;
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
