//! What the store says of a credential, for `keygate inspect`: whose it is, and whether it would be admitted now.
//!
//! The answer about admission comes from the gateway's own verification, on a keyring that holds this one key.

use super::{ACCESS_TOKEN, Finding, REFRESH_TOKEN};
use crate::cli::context::Context;
use crate::cli::one_line;
use crate::config::ConfigError;
use crate::config::resolved::TokenExchange;
use crate::credential::{AppKey, Bundle, EncodedKey, KeyState, OperatorToken, Policy, TokenKind, encode};
use crate::keyring::{Generation, Generations, Keyring, NotProven, Record, Verdict};
use crate::lifecycle::{Lifecycle, LifecycleError};
use crate::store::{ApiKey, SecretVersion};

const DISABLED: &str = "the API key is disabled";
const EXPIRED: &str = "the API key has expired";
const ROLLED: &str = "its app key is not that of the API key (any more); was the key rolled?";
const NO_EXCHANGE: &str = "the configuration has no [token_exchange], so no gateway takes it";

/// What the store says of it, if there is one at hand.
pub(super) async fn look_up(context: &Context, form: Finding, text: &str) -> anyhow::Result<Finding> {
    let lifecycle = match context.config() {
        Ok(config) => context.lifecycle(&config).await.map(|lifecycle| (config, lifecycle)),
        Err(e) if matches!(e.downcast_ref(), Some(ConfigError::Missing { .. })) => {
            return Ok(form.noting("there is no configuration here, so the store was not asked"));
        }
        Err(e) => Err(e),
    };
    let (config, lifecycle) = match lifecycle {
        Ok(both) => both,
        Err(e) => return Ok(form.noting(format!("the store could not be asked: {}", one_line(&e)))),
    };
    let exchange = config.token_exchange.as_ref();
    match form.kind {
        "encoded key" => encoded_key(context, &lifecycle, form, text).await,
        ACCESS_TOKEN => token(context, exchange, &lifecycle, form, (TokenKind::Access, text)).await,
        REFRESH_TOKEN => token(context, exchange, &lifecycle, form, (TokenKind::Refresh, text)).await,
        "bundle" => bundle(context, exchange, &lifecycle, form, text).await,
        "app key" => app_key(&lifecycle, form, text).await,
        "shared secret" => shared_secret(&lifecycle, form, text).await,
        _ => operator_token(&lifecycle, form, text).await,
    }
}

/// The key that the credential names, noted in the finding, and a keyring that holds it alone. `Err`: what is to be
/// said instead.
async fn keyring(
    context: &Context,
    lifecycle: &Lifecycle,
    mut form: Finding,
) -> anyhow::Result<Result<(Finding, Keyring), Finding>> {
    let Some(id) = form.id else { return Ok(Err(form)) };
    let Some((key, _)) = lifecycle.store.key(id).await? else {
        return Ok(Err(form.is(false, "no API key has this id")));
    };
    let state = key.state;
    let keyring = Keyring::new(&*context.entropy);
    keyring.put(key.id, record(&key))?;
    form.key = Some(key);
    if state == KeyState::Deleted {
        return Ok(Err(form.is(false, "the API key was deleted")));
    }
    match generations(lifecycle).await {
        Ok(generations) => keyring.set_generations(generations),
        Err(e) => {
            let note = format!("whether it is admitted is not known: {}", one_line(&e));
            return Ok(Err(form.noting(note)));
        }
    }
    Ok(Ok((form, keyring)))
}

async fn encoded_key(context: &Context, lifecycle: &Lifecycle, form: Finding, text: &str) -> anyhow::Result<Finding> {
    let Some(encoded) = EncodedKey::parse(text.as_bytes()) else { return Ok(form) };
    let (form, keyring) = match keyring(context, lifecycle, form).await? {
        Ok(both) => both,
        Err(finding) => return Ok(finding),
    };
    Ok(match keyring.verify(text.as_bytes(), &*context.clock) {
        Verdict::Proven(..) => form.admitted_within_limits(),
        Verdict::Stale { sent, current, .. } => form.is(
            false,
            format!("encoded with shared secret version {sent}; the current version is {current}. Encode it anew"),
        ),
        Verdict::Disabled(_) => form.is(false, DISABLED),
        Verdict::Expired(_) => form.is(false, EXPIRED),
        Verdict::NotProven(NotProven::Forged) if !form.has_app_key(&encoded.app_key()) => form.is(false, ROLLED),
        _ => form.is(false, "its MAC does not hold under the shared secret of its version"),
    })
}

async fn token(
    context: &Context,
    exchange: Option<&TokenExchange>,
    lifecycle: &Lifecycle,
    form: Finding,
    (kind, text): (TokenKind, &str),
) -> anyhow::Result<Finding> {
    let Some(exchange) = exchange else { return Ok(form.is(false, NO_EXCHANGE)) };
    let (form, keyring) = match keyring(context, lifecycle, form).await? {
        Ok(both) => both,
        Err(finding) => return Ok(finding),
    };
    let (verdict, _) = keyring.verify_token(kind, text.as_bytes(), &*context.clock);
    Ok(match verdict {
        Verdict::Proven(..) if kind == TokenKind::Access => form.admitted_within_limits(),
        Verdict::Proven(..) => {
            // The one place that takes it is no route.
            form.noting(format!("POST {} gives the next access token for it", exchange.refresh_path))
        }
        Verdict::Disabled(_) => form.is(false, DISABLED),
        Verdict::Expired(_) => form.is(false, EXPIRED),
        Verdict::TokenExpired(_) => form.is(false, "it is over"),
        Verdict::TokenRevoked(_) => {
            form.is(false, "it is of before the API key was last rolled, disabled, enabled or limited")
        }
        Verdict::NotProven(NotProven::Outdated) => {
            form.is(false, "the shared secret version that it was made under is not in force any more")
        }
        Verdict::NotProven(_) | Verdict::Stale { .. } => form.is(false, "its MAC does not hold; no gateway made it"),
    })
}

/// Would a JWT that is made of this bundle be exchanged? Its secrets are proven as those of an encoded key are.
async fn bundle(
    context: &Context,
    exchange: Option<&TokenExchange>,
    lifecycle: &Lifecycle,
    form: Finding,
    text: &str,
) -> anyhow::Result<Finding> {
    let bundle = Bundle::decode(text)?;
    let Some(exchange) = exchange else { return Ok(form.is(false, NO_EXCHANGE)) };
    let (form, keyring) = match keyring(context, lifecycle, form).await? {
        Ok(both) => both,
        Err(finding) => return Ok(finding),
    };
    let encoded = encode(&bundle.app_key, &bundle.shared_secret);
    let is_named = form.key.as_ref().is_some_and(|key| key.name == bundle.appname);
    Ok(match keyring.verify(encoded.as_bytes(), &*context.clock) {
        Verdict::Disabled(_) => form.is(false, DISABLED),
        Verdict::Expired(_) => form.is(false, EXPIRED),
        Verdict::Stale { sent, current, .. } => form.is(
            false,
            format!(
                "its sharedsecret is version {sent}; the current version is {current}. Replace it (keygate bundle encode)"
            ),
        ),
        Verdict::Proven(..) if !is_named => form.is(false, "its appname is not the name of the API key"),
        Verdict::Proven(..) if bundle.shortname != exchange.shortname => {
            form.is(false, format!("its shortname is not that of this gateway, {:?}", exchange.shortname))
        }
        Verdict::Proven(..) => form.is(true, format!("tokens are exchanged for it at {}", bundle.url)),
        _ if !form.has_app_key(&bundle.app_key) => form.is(false, ROLLED),
        _ => form.is(false, "another shared secret is in force under the version of its sharedsecret"),
    })
}

impl Finding {
    /// The gateway admits it, as far as its key may go.
    fn admitted_within_limits(self) -> Self {
        let policy = self.key.as_ref().map(|key| &key.policy);
        let is_limited = |list: fn(&Policy) -> bool| policy.is_some_and(list);
        let limits = match (is_limited(|p| p.allowed_networks.is_some()), is_limited(|p| p.allowed_routes.is_some())) {
            (false, false) => "",
            (true, false) => ", from its networks",
            (false, true) => ", on its routes",
            (true, true) => ", from its networks and on its routes",
        };
        self.is(true, format!("the gateway admits it{limits}"))
    }

    /// Is this the app key of the API key?
    fn has_app_key(&self, app_key: &AppKey) -> bool {
        self.key.as_ref().is_some_and(|key| app_key.digest().matches(&key.digest))
    }
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
    let generation = |stored| {
        let signing = lifecycle.master.open_signing(stored, store_id)?;
        Ok::<_, LifecycleError>(Generation::new(&lifecycle.master.open(stored, store_id)?.0, signing.as_ref()))
    };
    let current = generation(&secrets.current)?;
    let previous = match &secrets.previous {
        Some(previous @ SecretVersion { grace_until: Some(until), .. }) => Some((generation(previous)?, *until)),
        Some(_) | None => None,
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
