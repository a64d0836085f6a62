//! `keygate inspect`: what a credential is, and whether the gateway would admit it now, without showing secrets.
//!
//! The answer about admission comes from the gateway's own verification, on a keyring that holds this one key.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use super::Exit;
use super::context::{Context, block_on};
use super::output;
use super::prompt;
use crate::config::ConfigError;
use crate::credential::{AppKey, EncodedKey, KeyId, KeyState, OperatorToken, SharedSecret, is_ours};
use crate::keyring::{Generation, Generations, Keyring, NotProven, Record, Verdict};
use crate::lifecycle::Lifecycle;
use crate::store::ApiKey;

/// Say what a credential is, and whether it would be admitted now. Prints no secrets.
///
/// Reads an encoded key, app key, shared secret or operator token from --file, standard input, or asks for it on a
/// terminal. Exit code 1 when it is none of them.
#[derive(Args)]
pub(super) struct Arguments {
    /// File with the credential; - is standard input.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// What is said of a credential.
#[derive(Debug, Default)]
struct Finding {
    kind: &'static str,
    well_formed: bool,
    version: Option<u32>,
    id: Option<KeyId>,
    /// `None`: not a thing that is admitted, or not known.
    admitted: Option<bool>,
    note: Option<String>,
    key: Option<ApiKey>,
}

impl Finding {
    fn is(mut self, admitted: bool, note: impl Into<String>) -> Self {
        self.admitted = Some(admitted);
        self.noting(note)
    }

    fn noting(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> anyhow::Result<Exit> {
    let text = match &arguments.file {
        Some(path) => prompt::secret_from_file(path)?,
        None if context.environment.stdin_is_terminal => prompt::secret_from_terminal("Credential")?,
        None => prompt::secret_from_stdin()?,
    };
    let form = take_apart(&text);
    let finding = if form.well_formed { block_on(look_up(context, form, &text))? } else { form };
    print(context, &finding)?;
    Ok(if finding.well_formed { Exit::Done } else { Exit::Failed })
}

/// What the text says of itself.
fn take_apart(text: &str) -> Finding {
    let bytes = text.as_bytes();
    if let Some(key) = EncodedKey::parse(bytes) {
        let (version, id) = (Some(key.version().get()), Some(key.id()));
        return Finding { kind: "encoded key", well_formed: true, version, id, ..Finding::default() };
    }
    if let Ok(key) = AppKey::parse(text) {
        return Finding { kind: "app key", well_formed: true, id: Some(key.id()), ..Finding::default() };
    }
    if let Ok(secret) = SharedSecret::parse(text) {
        let version = Some(secret.version().get());
        return Finding { kind: "shared secret", well_formed: true, version, ..Finding::default() };
    }
    if let Ok(token) = OperatorToken::parse(text) {
        return Finding { kind: "operator token", well_formed: true, id: Some(token.id()), ..Finding::default() };
    }
    let kind = match bytes {
        [b'k', b'g', b'_', ..] => "encoded key",
        [b'k', b'g', b'a', b'_', ..] => "app key",
        [b'k', b'g', b's', b'_', ..] => "shared secret",
        [b'k', b'g', b'o', b'_', ..] => "operator token",
        _ if is_ours(bytes) => "token",
        _ => return Finding { kind: "unknown", ..Finding::default() }.noting("this is no credential of keygate"),
    };
    Finding { kind, ..Finding::default() }.noting("it begins like one, but has not its form; was it cut or mistyped?")
}

/// What the store says of it, if there is one at hand.
async fn look_up(context: &Context, form: Finding, text: &str) -> anyhow::Result<Finding> {
    let lifecycle = match context.config() {
        Ok(config) => context.lifecycle(&config).await,
        Err(e) if matches!(e.downcast_ref(), Some(ConfigError::Missing { .. })) => {
            return Ok(form.noting("there is no configuration here, so the store was not asked"));
        }
        Err(e) => Err(e),
    };
    let lifecycle = match lifecycle {
        Ok(lifecycle) => lifecycle,
        Err(e) => return Ok(form.noting(format!("the store could not be asked: {}", super::one_line(&e)))),
    };
    match form.kind {
        "encoded key" => encoded_key(context, &lifecycle, form, text).await,
        "app key" => app_key(&lifecycle, form, text).await,
        "shared secret" => shared_secret(&lifecycle, form, text).await,
        _ => operator_token(&lifecycle, form, text).await,
    }
}

async fn encoded_key(
    context: &Context,
    lifecycle: &Lifecycle,
    mut form: Finding,
    text: &str,
) -> anyhow::Result<Finding> {
    let Some(encoded) = EncodedKey::parse(text.as_bytes()) else { return Ok(form) };
    let Some((key, _)) = lifecycle.store.key(encoded.id()).await? else {
        return Ok(form.is(false, "no API key has this id"));
    };
    let (state, policy, current_app_key) =
        (key.state, key.policy.clone(), encoded.app_key_digest().matches(&key.digest));
    let keyring = Keyring::new(&*context.entropy);
    keyring.put(key.id, record(&key))?;
    form.key = Some(key);
    if state == KeyState::Deleted {
        return Ok(form.is(false, "the API key was deleted"));
    }
    match generations(lifecycle).await {
        Ok(generations) => keyring.set_generations(generations),
        Err(e) => return Ok(form.noting(format!("whether it is admitted is not known: {}", super::one_line(&e)))),
    }
    let finding = match keyring.verify(text.as_bytes(), &*context.clock) {
        Verdict::Proven(_) => {
            let limits = match (policy.allowed_networks.is_some(), policy.allowed_routes.is_some()) {
                (false, false) => "",
                (true, false) => ", from its networks",
                (false, true) => ", on its routes",
                (true, true) => ", from its networks and on its routes",
            };
            form.is(true, format!("the gateway admits it{limits}"))
        }
        Verdict::Stale { sent, current, .. } => form.is(
            false,
            format!("encoded with shared secret version {sent}; the current version is {current}. Encode it anew"),
        ),
        Verdict::Disabled(_) => form.is(false, "the API key is disabled"),
        Verdict::Expired(_) => form.is(false, "the API key has expired"),
        Verdict::NotProven(NotProven::Forged) if !current_app_key => {
            form.is(false, "its app key is not that of the API key (any more); was the key rolled?")
        }
        Verdict::NotProven(_) => form.is(false, "its MAC does not hold under the shared secret of its version"),
    };
    Ok(finding)
}

fn record(key: &ApiKey) -> Record {
    Record {
        epoch: key.epoch,
        role: key.role,
        state: key.state,
        digest: key.digest,
        name: "".into(),
        policy: Some(Box::new(key.policy.clone())),
    }
}

async fn generations(lifecycle: &Lifecycle) -> anyhow::Result<Generations> {
    let secrets = lifecycle.store.secrets().await?.secrets;
    let store_id = lifecycle.store.store_id();
    let current = Generation::of(&lifecycle.master.open(&secrets.current, store_id)?.0);
    let previous = match &secrets.previous {
        Some(previous) => {
            let secret = lifecycle.master.open(previous, store_id)?.0;
            previous.grace_until.map(|until| (Generation::of(&secret), until))
        }
        None => None,
    };
    Ok(Generations::new(current, previous))
}

async fn app_key(lifecycle: &Lifecycle, mut form: Finding, text: &str) -> anyhow::Result<Finding> {
    let app_key = AppKey::parse(text)?;
    let Some((key, _)) = lifecycle.store.key(app_key.id()).await? else {
        return Ok(form.is(false, "no API key has this id"));
    };
    let (state, matches) = (key.state, app_key.digest().matches(&key.digest));
    form.key = Some(key);
    Ok(match (state, matches) {
        (KeyState::Deleted, _) => form.is(false, "the API key was deleted"),
        (_, true) => form.is(false, "it is the API key's app key; clients send it encoded (keygate encode)"),
        (_, false) => form.is(false, "it is not the app key of the API key (any more); was the key rolled?"),
    })
}

async fn shared_secret(lifecycle: &Lifecycle, form: Finding, text: &str) -> anyhow::Result<Finding> {
    let version = form.version;
    let secrets = lifecycle.store.secrets().await?.secrets;
    let now = secrets.current.version.get();
    let live = secrets.previous.iter().chain([&secrets.current]).find(|s| Some(s.version.get()) == version);
    let Some(live) = live else {
        return Ok(form.noting(format!("it is not in force; the current version is {now}")));
    };
    let note = match lifecycle.master.open(live, lifecycle.store.store_id()) {
        // Both were made of text that parses; telling them apart needs no constant time before their owner.
        Ok((secret, _)) if secret.expose() != text => "another secret is in force under this version",
        Ok(_) if live.version.get() == now => "it is the current shared secret",
        Ok(_) => "it is the version before, in its grace period",
        Err(e) => return Ok(form.noting(format!("whether it is in force is not known: {e}"))),
    };
    Ok(form.noting(note))
}

async fn operator_token(lifecycle: &Lifecycle, form: Finding, text: &str) -> anyhow::Result<Finding> {
    let token = OperatorToken::parse(text)?;
    let operators = lifecycle.store.operators().await?;
    let note = match operators.iter().find(|o| o.id == token.id()) {
        Some(o) if o.digest.matches(&token.digest()) => format!("it is the token of operator {} ({})", o.name, o.role),
        Some(_) => "it is not the token of the operator with this id".to_owned(),
        None => "no operator has this id".to_owned(),
    };
    Ok(form.noting(note))
}

fn print(context: &Context, finding: &Finding) -> anyhow::Result<()> {
    let key = finding.key.as_ref();
    if context.output.is_json() {
        let mut fields = Map::from_iter([
            ("kind".to_owned(), json!(finding.kind)),
            ("well_formed".to_owned(), json!(finding.well_formed)),
            ("version".to_owned(), json!(finding.version)),
            ("id".to_owned(), json!(finding.id.map(|id| id.to_string()))),
            ("admitted".to_owned(), json!(finding.admitted)),
            ("note".to_owned(), json!(finding.note)),
        ]);
        if let Some(key) = key {
            fields.insert("name".to_owned(), json!(key.name));
            fields.insert("role".to_owned(), json!(key.role));
            fields.insert("state".to_owned(), json!(key.state));
        }
        return output::json(&Value::Object(fields));
    }
    let yes_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    context.output.fields(vec![
        ("Kind", Some(finding.kind.to_owned())),
        ("Well-formed", Some(yes_no(finding.well_formed))),
        ("Shared secret version", finding.version.map(|v| v.to_string())),
        ("ID", finding.id.map(|id| id.to_string())),
        ("Name", key.map(|key| key.name.to_string())),
        ("Role", key.map(|key| key.role.to_string())),
        ("State", key.map(|key| key.state.as_str().to_owned())),
        ("Admitted now", finding.admitted.map(yes_no)),
        ("Note", finding.note.clone()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::encode;
    use crate::entropy::SystemEntropy;

    #[test]
    fn every_kind_is_known_by_its_form() {
        let id = KeyId::draw(&SystemEntropy);
        let app_key = AppKey::generate(id, &SystemEntropy);
        let secret = SharedSecret::generate(7.try_into().unwrap(), &SystemEntropy);
        let token = OperatorToken::generate(&SystemEntropy);
        let encoded = encode(&app_key, &secret);
        for (text, kind, version) in [
            (encoded.as_str(), "encoded key", Some(7)),
            (app_key.expose(), "app key", None),
            (secret.expose(), "shared secret", Some(7)),
            (token.expose(), "operator token", None),
        ] {
            let finding = take_apart(text);
            assert_eq!((finding.kind, finding.well_formed, finding.version), (kind, true, version));
            let cut = take_apart(&text[..text.len() - 1]);
            assert_eq!((cut.kind, cut.well_formed), (kind, false));
            assert!(!format!("{cut:?}").contains(&text[10..]));
        }
        assert_eq!(take_apart("kgt_x").kind, "token");
        assert_eq!(take_apart("hunter2").kind, "unknown");
    }
}
