//! `keygate bundle`: what integrations that exchange tokens are given, made anew and taken apart.

use std::path::PathBuf;

use anyhow::{anyhow, bail};
use clap::{Args, Subcommand};
use serde_json::json;

use super::context::{Context, actor, block_on};
use super::output::{self, line};
use super::{Exit, Usage, encode, prompt};
use crate::config::{Config, ConfigError};
use crate::credential::{
    AppKey, BUNDLE_START, Bundle, CredentialError, KeyName, KeyState, SharedSecret, app_key_in, is_ours, is_shortname,
};
use crate::lifecycle::Lifecycle;

#[derive(Subcommand)]
pub(super) enum Command {
    Encode(Encode),
    Decode(Decode),
}

/// Make a bundle, of an app key or an old bundle.
///
/// The app key, an encoded key of any version, or an old bundle is read from --key-file, `KEYGATE_APP_KEY`, standard
/// input, or asked for on a terminal. The shared secret comes from --secret-file or `KEYGATE_SHARED_SECRET`, else from
/// the configured store, and the audit records say that it was seen. Neither is ever an argument. All else comes from
/// the old bundle; without one, from the configuration and the store, as far as it is not given here. So with an old
/// bundle and the secret at hand, nothing but this program is needed. Prints the bundle and nothing else.
#[derive(Args)]
pub(super) struct Encode {
    /// File with the app key, the encoded key or the old bundle; - is standard input.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// File with the shared secret; - is standard input.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Where the integration reaches the gateway [default: that of the old bundle, then `token_exchange.url`].
    #[arg(long, value_parser = crate::config::origin)]
    url: Option<String>,
    /// The gateway's account name [default: that of the old bundle, then `token_exchange.shortname`].
    #[arg(long, value_parser = shortname)]
    shortname: Option<String>,
    /// Application name of the API key [default: that of the old bundle, then the store's].
    #[arg(long)]
    name: Option<KeyName>,
}

/// Take a bundle apart: prints JSON with its five members, or says what is wrong with it.
///
/// The bundle is read from --file, standard input, or asked for on a terminal. Its two secrets are hidden unless
/// --reveal is given.
#[derive(Args)]
pub(super) struct Decode {
    /// File with the bundle; - is standard input.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Show sharedsecret and appkey as they are.
    #[arg(long)]
    reveal: bool,
}

pub(super) fn run(context: &Context, command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::Encode(arguments) => make(context, arguments),
        Command::Decode(arguments) => take_apart(context, arguments),
    }
}

fn take_apart(context: &Context, arguments: &Decode) -> anyhow::Result<Exit> {
    let text = match &arguments.file {
        Some(path) => prompt::secret_from_file(path)?,
        None if context.environment.stdin_is_terminal => prompt::secret_from_terminal("Bundle")?,
        None => prompt::secret_from_stdin()?,
    };
    let bundle = Bundle::decode(&text)?;
    let (secret, app_key) = if arguments.reveal {
        (bundle.shared_secret.expose().to_owned(), bundle.app_key.expose().to_owned())
    } else {
        eprintln!("keygate: sharedsecret and appkey are hidden; --reveal shows them");
        (format!("kgs_{}_…", bundle.shared_secret.version()), format!("kga_{}_…", bundle.app_key.id()))
    };
    output::json(&json!({
        "url": bundle.url,
        "shortname": bundle.shortname,
        "appname": bundle.appname,
        "sharedsecret": secret,
        "appkey": app_key,
    }))?;
    Ok(Exit::Done)
}

fn make(context: &Context, arguments: &Encode) -> anyhow::Result<Exit> {
    let Some(key) = encode::key(context, arguments.key_file.as_deref(), "App key, encoded key or old bundle")? else {
        let way = "no key was given: an app key, an encoded key or an old bundle comes by --key-file, KEYGATE_APP_KEY \
                   or standard input";
        return Err(Usage(way.to_owned()).into());
    };
    let mut parts = Parts::of(&key)?;
    parts.url = arguments.url.clone().or(parts.url);
    parts.shortname = arguments.shortname.clone().or(parts.shortname);
    parts.name = arguments.name.clone().or(parts.name);
    let secret = encode::secret(context, arguments.secret_file.as_deref())?;
    let bundle = parts.complete(context, secret)?;
    let text = bundle.encode();
    if context.output.is_json() {
        output::json(&json!({
            "id": bundle.app_key.id().to_string(),
            "version": bundle.shared_secret.version().get(),
            "url": bundle.url,
            "shortname": bundle.shortname,
            "appname": bundle.appname,
            "bundle": text.as_str(),
        }))?;
    } else {
        line(&text)?;
    }
    Ok(Exit::Done)
}

fn shortname(text: &str) -> Result<String, String> {
    let expected = "expected 1 to 64 of the characters a-z A-Z 0-9 . _ -";
    if is_shortname(text) { Ok(text.to_owned()) } else { Err(expected.to_owned()) }
}

/// What is known of the bundle that is to be made.
struct Parts {
    app_key: AppKey,
    url: Option<String>,
    shortname: Option<String>,
    name: Option<KeyName>,
}

impl Parts {
    /// What an app key, an encoded key or an old bundle tells.
    fn of(text: &str) -> anyhow::Result<Self> {
        if !text.starts_with(BUNDLE_START) && is_ours(text.as_bytes()) {
            // The reason is left out: what is neither may be anything.
            let expected = || anyhow!("expected an app key (kga_…), an encoded key (kg_…) or a bundle");
            let app_key = app_key_in(text).map_err(|_| expected())?;
            return Ok(Self { app_key, url: None, shortname: None, name: None });
        }
        let Bundle { url, shortname, appname, app_key, .. } = Bundle::decode(text).map_err(|error| match error {
            CredentialError::Malformed(_) => {
                anyhow!("expected an app key (kga_…), an encoded key (kg_…) or a bundle: {error}")
            }
            member @ CredentialError::Member { .. } => member.into(),
        })?;
        Ok(Self { app_key, url: Some(url), shortname: Some(shortname), name: Some(appname) })
    }

    /// With what is missing taken from the configuration and the store; neither is looked at when nothing is.
    fn complete(self, context: &Context, secret: Option<SharedSecret>) -> anyhow::Result<Bundle> {
        let Self { app_key, url, shortname, name } = self;
        let (url, shortname, name, secret) = match (url, shortname, name, secret) {
            (Some(url), Some(shortname), Some(name), Some(secret)) => (url, shortname, name, secret),
            (url, shortname, name, secret) => {
                let config = configuration(context)?;
                let exchange = config.as_ref().and_then(|config| config.token_exchange.as_ref());
                let Some((url, shortname)) = url
                    .or_else(|| exchange.map(|exchange| exchange.url.clone()))
                    .zip(shortname.or_else(|| exchange.map(|exchange| exchange.shortname.clone())))
                else {
                    let why = if config.is_some() { "the configuration has no [token_exchange]" } else { NONE_HERE };
                    return Err(Usage(format!("give --url and --shortname: {why}")).into());
                };
                let (name, secret) = match (name, secret, config) {
                    (Some(name), Some(secret), _) => (name, secret),
                    (name, secret, Some(config)) => from_store(context, &config, &app_key, name, secret)?,
                    (Some(name), None, None) => (name, encode::asked_secret(context)?),
                    (None, _, None) => return Err(Usage(format!("give --name: {NONE_HERE}")).into()),
                };
                (url, shortname, name, secret)
            }
        };
        Ok(Bundle { url, shortname, appname: name, shared_secret: secret, app_key })
    }
}

const NONE_HERE: &str = "there is no configuration here";

/// The configuration, if there is one here.
fn configuration(context: &Context) -> anyhow::Result<Option<Config>> {
    match context.config() {
        Ok(config) => Ok(Some(config)),
        Err(e) if matches!(e.downcast_ref(), Some(ConfigError::Missing { .. })) => Ok(None),
        Err(e) => Err(e),
    }
}

/// The name and the shared secret that are not given, as the store has them.
fn from_store(
    context: &Context,
    config: &Config,
    app_key: &AppKey,
    name: Option<KeyName>,
    secret: Option<SharedSecret>,
) -> anyhow::Result<(KeyName, SharedSecret)> {
    block_on(async {
        let lifecycle = context.lifecycle(config).await?;
        let name = match name {
            Some(name) => name,
            None => name_of(&lifecycle, app_key).await?,
        };
        let secret = match secret {
            Some(secret) => secret,
            None => lifecycle.reveal_secret(&actor()).await?.secret,
        };
        Ok((name, secret))
    })
}

async fn name_of(lifecycle: &Lifecycle, app_key: &AppKey) -> anyhow::Result<KeyName> {
    let id = app_key.id();
    match lifecycle.store.key(id).await? {
        Some((key, _)) if key.state == KeyState::Deleted => bail!("API key {id} was deleted"),
        Some((key, _)) if !app_key.digest().matches(&key.digest) => {
            bail!("this is not the app key of API key {id} (any more); was the key rolled?")
        }
        Some((key, _)) => Ok(key.name),
        None => bail!("the store has no API key with the id {id}; give --name for one of another store"),
    }
}
